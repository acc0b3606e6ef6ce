"""Supervisor: a process that starts, watches, restarts and stops other processes, after OTP's supervisor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import supervisor.restarts as restarts
from supervisor.child_spec import ChildSpec, InvalidChildSpec, Shutdown, child_spec
from supervisor.child_table import Child, Children
from supervisor.children import (
    FAILED_TO_START,
    INFINITY,
    ChildEntry,
    Requests,
    name_child,
    refused,
    report,
    request_handler,
    result_of,
    split_options,
    start_failed,
    start_one,
    stop_one,
)
from supervisor.directives import REFUSALS
from supervisor.errors import BadReturn, StartError
from supervisor.gen_server import From, GenServer, Stop
from supervisor.pids import Pid
from supervisor.processes import give_way
from supervisor.reasons import NORMAL, SHUTDOWN, is_orderly
from supervisor.reasons import Shutdown as ShutdownReason
from supervisor.records import CAST, RESTART, START, Process
from supervisor.restarts import Intensity
from supervisor.runtime import current_process
from supervisor.signals import ExitSignal


@dataclass(frozen=True)
class SupervisorSpec:
    """What `init` of a Supervisor returns.

    children: specs in start order, in any form that `child_spec` takes.
    strategy: "one_for_one" restarts the child that ended, "one_for_all" all of them, "rest_for_one" it and those that
        were started after it.
    max_restarts, max_seconds: with more restarts within that many seconds the supervisor stops its children and ends.
    auto_shutdown: "never"; "any_significant" or "all_significant" end the supervisor when a significant child, or the
        last one of them, has ended by itself and is not restarted.
    """

    children: Iterable[Any] = ()
    strategy: str = restarts.ONE_FOR_ONE
    max_restarts: int = 3
    max_seconds: float = 5.0
    auto_shutdown: str = restarts.NEVER


class Supervisor(GenServer):
    """Starts its children in order, restarts those that end, and stops them in reverse order when it ends.

    Made of a list, `Supervisor.start_link(children, strategy="rest_for_one")`, or as a class of its own whose
    `init(self, ...)` returns a `SupervisorSpec`. It traps exits and ends with `shutdown` when its children are
    restarted too often, or by `auto_shutdown`.
    """

    shutdown: ClassVar[Shutdown] = INFINITY
    _init_results = REFUSALS
    _moves_hot = False
    state: Children
    spec: SupervisorSpec
    intensity: Intensity

    def init(self, *args: Any, **kwargs: Any) -> Any:
        """Return what to supervise: a SupervisorSpec, or Ignore() or Stop(reason). The default makes one of `args`."""
        return SupervisorSpec(*args, **kwargs)

    # -- starting ----------------------------------------------------------------------------------------------------

    @classmethod
    def start_link(cls, *args: Any, name: Any = None, timeout: float | None = None, **kwargs: Any) -> Pid:
        """Start the supervisor and its children, linked to the caller: start_link(children, strategy="one_for_one",
        max_restarts=3, max_seconds=5.0, auto_shutdown="never", name=None); the arguments of `init` in a subclass.

        When a child does not start, those before it are stopped and StartError(reason, child_id) is raised.
        """
        try:
            return super().start_link(*args, name=name, timeout=timeout, **kwargs)
        except StartError as error:
            raise name_child(error) from None

    @classmethod
    def start(cls, *args: Any, name: Any = None, timeout: float | None = None, **kwargs: Any) -> Pid:
        """Like `start_link`, without the link."""
        try:
            return super().start(*args, name=name, timeout=timeout, **kwargs)
        except StartError as error:
            raise name_child(error) from None

    @classmethod
    def child_spec(cls, *args: Any, id: Any = None, **options: Any) -> ChildSpec:
        """A spec of this supervisor for another one: of type supervisor, with all the time it needs to shut down.

        `options` are those of ChildSpec; others (strategy, name, ...) go to `start_link`.
        """
        for_spec, for_start = split_options(options)
        for_spec = {"restart": cls.restart, "shutdown": cls.shutdown, "type": "supervisor", **for_spec}
        return ChildSpec(cls.__name__ if id is None else id, (cls, "start_link", args, for_start), **for_spec)

    # -- using -------------------------------------------------------------------------------------------------------

    @staticmethod
    def start_child(sup: Any, spec: Any) -> Pid:
        """Add a child after all others and start it. None where it does not want to run (its init returned Ignore).

        Raises InvalidChildSpec, and StartError with the reason: what its start failed with (its spec is dropped then),
        ("already_started", pid) or "already_present" where there is a child of this id.
        """
        return result_of(GenServer.call(sup, ("start_child", child_spec(spec)), None))  # type: ignore[no-any-return]

    @staticmethod
    def terminate_child(sup: Any, child_id: Any) -> None:
        """Stop a child and do not restart it; its spec stays unless it is temporary. ChildError("not_found")."""
        result_of(GenServer.call(sup, ("terminate_child", child_id), None))

    @staticmethod
    def restart_child(sup: Any, child_id: Any) -> Pid:
        """Start a child that does not run. ChildError("not_found", "running" or "restarting"); StartError."""
        return result_of(GenServer.call(sup, ("restart_child", child_id), None))  # type: ignore[no-any-return]

    @staticmethod
    def delete_child(sup: Any, child_id: Any) -> None:
        """Forget the spec of a child that does not run. ChildError("not_found", "running" or "restarting")."""
        result_of(GenServer.call(sup, ("delete_child", child_id), None))

    @staticmethod
    def get_childspec(sup: Any, child: Any) -> ChildSpec:
        """The spec of a child, by id or pid. ChildError("not_found")."""
        return result_of(GenServer.call(sup, ("get_childspec", child), None))  # type: ignore[no-any-return]

    @staticmethod
    def which_children(sup: Any) -> list[ChildEntry]:
        """All children in start order."""
        return [ChildEntry(*row) for row in result_of(GenServer.call(sup, ("which_children",), None))]

    @staticmethod
    def count_children(sup: Any) -> dict[str, int]:
        """How many: "specs", "active" (running), "supervisors" and "workers" (running or not)."""
        return result_of(GenServer.call(sup, ("count_children",), None))  # type: ignore[no-any-return]

    @staticmethod
    def stop(server: Any, reason: Any = NORMAL, timeout: float | None = None) -> None:
        """Stop the children in reverse order, then the supervisor; all have ended when this returns."""
        GenServer.stop(server, reason, timeout)

    # -- the process: beginning and end ------------------------------------------------------------------------------

    def _take_init(self, value: Any) -> Any:
        if not isinstance(value, SupervisorSpec):
            raise BadReturn(f"init of {type(self).__name__} returned {value!r:.200}; expected a SupervisorSpec")
        me = current_process()
        me.trap_exit = True
        restarts.check_options(value.strategy, value.auto_shutdown)
        self.spec = value
        self.intensity = Intensity(value.max_restarts, value.max_seconds)
        self.state = Children()
        for spec in [self._checked(given) for given in value.children]:
            if spec.id in self.state.by_id:
                raise InvalidChildSpec(f"two children have the id {spec.id!r}")
            self.state.add(spec)
        return self._start_first(me)

    def _checked(self, given: Any) -> ChildSpec:
        spec = child_spec(given)
        if spec.significant and (spec.restart == "permanent" or self.spec.auto_shutdown == restarts.NEVER):
            raise InvalidChildSpec(
                f"child spec {spec.id!r}: significant needs restart transient or temporary (it is {spec.restart}) and "
                f"auto_shutdown any_significant or all_significant (it is {self.spec.auto_shutdown})"
            )
        return spec

    def _start_first(self, me: Process) -> Stop | None:
        for child in list(self.state.by_id.values()):
            try:
                self._run(me, child)
            except StartError as error:
                report(me, child.spec, None, error.reason, "not started: stopping the children before it")
                self.terminate(SHUTDOWN)
                return Stop(ShutdownReason((FAILED_TO_START, child.spec.id, error.reason)))
        return None

    def terminate(self, reason: Any) -> None:
        """Stop all children, the last one first."""
        me = current_process()
        for child in reversed(list(self.state.by_id.values())):
            self._halt(me, child)

    # -- the process: requests ---------------------------------------------------------------------------------------

    def handle_call(self, request: Any, from_: From) -> Any:
        handler = request_handler(_REQUESTS, request)
        return handler(self, *request[1:]) if handler is not None else refused(f"bad request {request!r:.80}", None)

    def _start_child(self, given: Any) -> Any:
        present = self.state.by_id.get(given.id)
        if present is not None:
            reason = ("already_started", present.pid) if present.pid is not None else "already_present"
            return start_failed(reason, given.id)
        try:
            child = self.state.add(self._checked(given))
            pid = self._run(current_process(), child)
        except (InvalidChildSpec, StartError) as error:
            if given.id in self.state.by_id:
                self.state.remove(self.state.by_id[given.id])
            return start_failed(getattr(error, "reason", str(error)), given.id)
        if pid is None and given.restart == "temporary":
            self.state.remove(child)
        return pid

    def _terminate_child(self, child_id: Any) -> Any:
        child = self._find(child_id)
        if child is None:
            return refused("not_found", child_id)
        self._halt(current_process(), child)
        return None

    def _restart_child(self, child_id: Any) -> Any:
        child = self._find(child_id)
        if child is None or child.pid is not None or child.restarting:
            return refused(_standing(child), child_id)
        try:
            return self._run(current_process(), child)
        except StartError as error:
            return start_failed(error.reason, child_id)

    def _delete_child(self, child_id: Any) -> Any:
        child = self._find(child_id)
        if child is None or child.pid is not None or child.restarting:
            return refused(_standing(child), child_id)
        self.state.remove(child)
        return None

    def _find(self, child_id: Any) -> Child | None:
        try:
            return self.state.by_id.get(child_id)
        except TypeError:  # not hashable, so certainly not the id of a child
            return None

    def _get_childspec(self, which: Any) -> Any:
        child = self.state.by_pid.get(which) if isinstance(which, Pid) else self._find(which)
        return child.spec if child is not None else refused("not_found", which)

    def _which_children(self) -> list[ChildEntry]:
        children = self.state.by_id.values()
        return [ChildEntry(c.spec.id, c.pid, c.spec.type, c.spec.modules) for c in children]

    def _count_children(self) -> dict[str, int]:
        specs, supervisors = len(self.state.by_id), self.state.supervisors
        workers = specs - supervisors
        return {"specs": specs, "active": len(self.state.by_pid), "supervisors": supervisors, "workers": workers}

    # -- the process: children that end ------------------------------------------------------------------------------

    def handle_info(self, message: Any) -> Any:
        if not isinstance(message, ExitSignal):
            return super().handle_info(message)
        child = self.state.by_pid.get(message.pid)
        # An unknown pid is a child that was stopped or replaced since, or one whose start failed.
        return self._ended(current_process(), child, message.reason) if child is not None else None

    def handle_cast(self, request: Any) -> Any:
        if not (isinstance(request, tuple) and len(request) == 2 and request[0] == "try_again"):
            return super().handle_info(request)
        child = self.state.by_id.get(request[1])
        return self._restart(current_process(), child) if child is not None and child.restarting else None

    def _ended(self, me: Process, child: Child, reason: Any) -> Stop | None:
        spec = child.spec
        if restarts.wants_restart(spec.restart, reason):
            report(me, spec, child.pid, reason, f"restarting ({self.spec.strategy})")
            return self._restart(me, child)
        if not is_orderly(reason):
            report(me, spec, child.pid, reason, f"not restarted ({spec.restart})")
        self._put_down(child)
        if spec.significant and restarts.ends_supervisor(self.spec.auto_shutdown, len(self.state.significant)):
            report(me, spec, None, reason, f"the supervisor ends ({self.spec.auto_shutdown})")
            return Stop(SHUTDOWN)
        return None

    def _restart(self, me: Process, child: Child) -> Stop | None:
        """Stop what the strategy says and start it again, within the intensity."""
        children = self.state
        children.set_pid(child, None)
        if not self.intensity.count(me.runtime.clock.now()):
            report(me, child.spec, None, "reached max restart intensity", "the supervisor ends")
            return Stop(SHUTDOWN)
        group = [children.by_id[key] for key in restarts.affected(self.spec.strategy, children.by_id, child.spec.id)]
        for other in reversed(group):
            if other is not child:  # it has ended
                self._halt(me, other)
        for other in group:
            if other.spec.restart == "temporary":
                continue  # it was stopped, and is forgotten
            try:
                self._run(me, other, RESTART)
            except StartError as error:
                self._retry_later(me, other, error.reason)
                break
        return None

    def _retry_later(self, me: Process, child: Child, reason: Any) -> None:
        # Through the mailbox, so that other requests (a stop among them) come in between.
        report(me, child.spec, None, reason, "restart failed, trying again")
        self.state.set_pid(child, None, restarting=True)
        me.enqueue((CAST, ("try_again", child.spec.id)))

    # -- the process: one child --------------------------------------------------------------------------------------

    def _run(self, me: Process, child: Child, reason: str = START) -> Pid | None:
        pid = start_one(me, child.spec, reason)
        self.state.set_pid(child, pid)
        return pid

    def _halt(self, me: Process, child: Child) -> None:
        """Stop a child, if it runs."""
        pid = child.pid
        self._put_down(child)
        if pid is not None:
            stop_one(me, child.spec, pid)
            give_way(me)

    def _put_down(self, child: Child) -> None:
        """It does not run any more: a temporary child is forgotten with its spec."""
        if child.spec.restart == "temporary":
            self.state.remove(child)
        else:
            self.state.set_pid(child, None)


def _standing(child: Child | None) -> str:
    if child is None:
        return "not_found"
    return "restarting" if child.restarting else "running"


_REQUESTS: Final[Requests] = {
    "start_child": (Supervisor._start_child, ChildSpec),
    "terminate_child": (Supervisor._terminate_child, object),
    "restart_child": (Supervisor._restart_child, object),
    "delete_child": (Supervisor._delete_child, object),
    "get_childspec": (Supervisor._get_childspec, object),
    "which_children": (Supervisor._which_children, None),
    "count_children": (Supervisor._count_children, None),
}
