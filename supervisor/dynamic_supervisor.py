"""DynamicSupervisor: a supervisor of any number of children that are started one by one, after Elixir's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from supervisor.child_spec import ChildSpec, Shutdown, child_spec
from supervisor.children import (
    INFINITY,
    ChildEntry,
    Requests,
    refused,
    report,
    request_handler,
    result_of,
    split_options,
    start_failed,
    start_one,
    stop_all,
    stop_one,
)
from supervisor.directives import REFUSALS
from supervisor.errors import BadReturn, StartError
from supervisor.gen_server import From, GenServer, Stop
from supervisor.pids import Pid
from supervisor.reasons import NORMAL, SHUTDOWN, is_orderly
from supervisor.records import CAST, RESTART, Process
from supervisor.restarts import Intensity, wants_restart
from supervisor.runtime import current_process
from supervisor.signals import ExitSignal


@dataclass(frozen=True)
class DynamicSupervisorSpec:
    """What `init` of a DynamicSupervisor returns.

    max_children: None for any number.
    extra_arguments: positional arguments put before each child's own whenever it is started.
    """

    max_children: int | None = None
    max_restarts: int = 3
    max_seconds: float = 5.0
    extra_arguments: tuple[Any, ...] = ()


class DynamicSupervisor(GenServer):
    """Starts children on request, known by their pids; each is restarted alone. It begins with none.

    Of its children only the spec is kept. All of them are stopped at the same time when it ends.
    """

    shutdown: ClassVar[Shutdown] = INFINITY
    _init_results = REFUSALS
    _moves_hot = False
    state: dict[Pid, ChildSpec]  # the children that run
    restarting: dict[Pid, ChildSpec]  # those whose restart is to be retried, by the last pid that they had
    spec: DynamicSupervisorSpec
    intensity: Intensity
    supervisors: int  # how many of all of them are supervisors

    def init(self, *args: Any, **kwargs: Any) -> Any:
        """Return the limits: a DynamicSupervisorSpec, or Ignore() or Stop(reason). The default makes one of `args`."""
        return DynamicSupervisorSpec(*args, **kwargs)

    @classmethod
    def child_spec(cls, *args: Any, id: Any = None, **options: Any) -> ChildSpec:
        """A spec of this supervisor for another one: of type supervisor, with all the time it needs to shut down.

        `options` are those of ChildSpec; others (max_children, name, ...) go to `start_link`.
        """
        for_spec, for_start = split_options(options)
        for_spec = {"restart": cls.restart, "shutdown": cls.shutdown, "type": "supervisor", **for_spec}
        return ChildSpec(cls.__name__ if id is None else id, (cls, "start_link", args, for_start), **for_spec)

    # -- using -------------------------------------------------------------------------------------------------------

    @staticmethod
    def start_child(sup: Any, spec: Any) -> Pid:
        """Start a child. None where it does not want to run (its init returned Ignore): it is forgotten then.

        The id in its spec need not be unique. Raises InvalidChildSpec, and StartError with what its start failed with,
        or with "max_children".
        """
        answer = GenServer.call(sup, (_START, spec if type(spec) is ChildSpec else child_spec(spec)), None)
        return answer if type(answer) is Pid else result_of(answer)

    @staticmethod
    def terminate_child(sup: Any, pid: Pid) -> None:
        """Stop a child and forget it. ChildError("not_found")."""
        result_of(GenServer.call(sup, ("terminate_child", pid), None))

    @staticmethod
    def which_children(sup: Any) -> list[ChildEntry]:
        """All children; `id` is that of the spec, `pid` None while a restart is being retried."""
        return [ChildEntry(*row) for row in result_of(GenServer.call(sup, ("which_children",), None))]

    @staticmethod
    def count_children(sup: Any) -> dict[str, int]:
        """How many: "specs", "active" (running), "supervisors" and "workers" (running or being restarted)."""
        return result_of(GenServer.call(sup, ("count_children",), None))  # type: ignore[no-any-return]

    @staticmethod
    def stop(server: Any, reason: Any = NORMAL, timeout: float | None = None) -> None:
        """Stop all children, then the supervisor; all have ended when this returns."""
        GenServer.stop(server, reason, timeout)

    # -- the process: beginning and end ------------------------------------------------------------------------------

    def _take_init(self, value: Any) -> Any:
        if not isinstance(value, DynamicSupervisorSpec):
            raise BadReturn(f"init of {type(self).__name__} returned {value!r:.200}; expected a DynamicSupervisorSpec")
        if value.max_children is not None and value.max_children < 0:
            raise ValueError(f"max_children must be None or a number >= 0; got {value.max_children!r}")
        if not isinstance(value.extra_arguments, tuple | list):
            raise ValueError(f"extra_arguments must be a tuple or list; got {value.extra_arguments!r:.200}")
        current_process().trap_exit = True
        self.spec = value
        self.intensity = Intensity(value.max_restarts, value.max_seconds)
        self.state = {}
        self.restarting = {}
        self.supervisors = 0

    def terminate(self, reason: Any) -> None:
        """Stop all children at the same time."""
        children, self.state, self.restarting = self.state, {}, {}
        stop_all(current_process(), children.items())

    # -- the process: requests ---------------------------------------------------------------------------------------

    def handle_call(self, request: Any, from_: From) -> Any:
        # By far the most frequent request goes ahead of the look at the table.
        if type(request) is tuple and len(request) == 2 and request[0] == _START and type(request[1]) is ChildSpec:
            return self._start_child(request[1])
        handler = request_handler(_REQUESTS, request)
        return handler(self, *request[1:]) if handler is not None else refused(f"bad request {request!r:.80}", None)

    def _start_child(self, spec: ChildSpec) -> Any:
        limit = self.spec.max_children
        if limit is not None and len(self.state) + len(self.restarting) >= limit:
            return start_failed("max_children", spec.id)
        if self.spec.extra_arguments:
            spec = spec.with_arguments(lambda own: (*self.spec.extra_arguments, *own))
        try:
            pid = start_one(current_process(), spec)
        except StartError as error:
            return start_failed(error.reason, spec.id)
        if pid is not None:
            self.state[pid] = spec
            if spec.type == "supervisor":
                self.supervisors += 1
        return pid

    def _terminate_child(self, pid: Pid) -> Any:
        if self.restarting.get(pid) is not None:
            self._forget(self.restarting.pop(pid))
            return None
        spec = self.state.pop(pid, None)
        if spec is None:
            return refused("not_found", pid)
        self._forget(spec)
        stop_one(current_process(), spec, pid)
        return None

    def _which_children(self) -> list[ChildEntry]:
        running = [ChildEntry(spec.id, pid, spec.type, spec.modules) for pid, spec in self.state.items()]
        return running + [ChildEntry(spec.id, None, spec.type, spec.modules) for spec in self.restarting.values()]

    def _count_children(self) -> dict[str, int]:
        specs = len(self.state) + len(self.restarting)
        workers = specs - self.supervisors
        return {"specs": specs, "active": len(self.state), "supervisors": self.supervisors, "workers": workers}

    # -- the process: children that end ------------------------------------------------------------------------------

    def handle_info(self, message: Any) -> Any:
        if not isinstance(message, ExitSignal):
            return super().handle_info(message)
        spec = self.state.pop(message.pid, None)
        # An unknown pid is a child that was stopped since, or one whose start failed.
        return self._ended(current_process(), message.pid, spec, message.reason) if spec is not None else None

    def handle_cast(self, request: Any) -> Any:
        if not (isinstance(request, tuple) and len(request) == 2 and request[0] == "try_again"):
            return super().handle_info(request)
        spec = self.restarting.pop(request[1], None)
        return self._restart(current_process(), request[1], spec) if spec is not None else None

    def _ended(self, me: Process, pid: Pid, spec: ChildSpec, reason: Any) -> Stop | None:
        if wants_restart(spec.restart, reason):
            report(me, spec, pid, reason, "restarting")
            return self._restart(me, pid, spec)
        if not is_orderly(reason):
            report(me, spec, pid, reason, f"not restarted ({spec.restart})")
        self._forget(spec)
        return None

    def _restart(self, me: Process, old: Pid, spec: ChildSpec) -> Stop | None:
        if not self.intensity.count(me.runtime.clock.now()):
            report(me, spec, old, "reached max restart intensity", "the supervisor ends")
            self._forget(spec)
            return Stop(SHUTDOWN)
        try:
            pid = start_one(me, spec, RESTART)
        except StartError as error:
            # Retried through the mailbox, so that other requests (a stop among them) come in between.
            report(me, spec, old, error.reason, "restart failed, trying again")
            self.restarting[old] = spec
            me.enqueue((CAST, ("try_again", old)))
            return None
        if pid is not None:
            self.state[pid] = spec
        else:
            self._forget(spec)
        return None

    def _forget(self, spec: ChildSpec) -> None:
        self.supervisors -= spec.type == "supervisor"


_START: Final = "start_child"
_REQUESTS: Final[Requests] = {
    _START: (DynamicSupervisor._start_child, ChildSpec),
    "terminate_child": (DynamicSupervisor._terminate_child, Pid),
    "which_children": (DynamicSupervisor._which_children, None),
    "count_children": (DynamicSupervisor._count_children, None),
}
