"""PartitionSupervisor: many copies of one child, and a name that leads each key to one of them, after Elixir's."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from numbers import Number
from typing import Any, Final
from zlib import crc32

from supervisor.calls import local_server
from supervisor.child_spec import ChildSpec, InvalidChildSpec, child_spec
from supervisor.children import Requests, request_handler
from supervisor.errors import NoProcess, ProcessExit
from supervisor.gen_server import From, GenServer
from supervisor.pids import Pid, Ref
from supervisor.records import Process
from supervisor.restarts import ONE_FOR_ONE
from supervisor.runtime import current_process, current_runtime
from supervisor.supervisors import Supervisor, SupervisorSpec

WithArguments = Callable[[tuple[Any, ...], int], Iterable[Any]]
"""(the arguments in the child spec, the number of the partition) -> the arguments of that partition."""


class PartitionSupervisor(Supervisor):
    """Starts the same child several times; each is a partition, with the ids 0 to n - 1, and restarted alone.

    For a process that everything goes through: `via` spreads its keys over the partitions, and all that concerns one
    key stays in one of them, in order. `start_link` and `start` take the arguments of `init`, `name` and `timeout`;
    StartError(reason, partition) says which partition did not start.
    """

    partition_count: int
    pid: Pid

    @classmethod
    def child_spec(cls, *args: Any, id: Any = None, **options: Any) -> ChildSpec:
        """A spec of this supervisor for another one. Its id is the name where there is one, else the class name.

        `options` are those of ChildSpec; others (name and what `init` takes) go to `start_link`.
        """
        return super().child_spec(*args, id=id or options.get("name"), **options)

    @staticmethod
    def via(supervisor: Any, key: Any) -> PartitionVia:
        """A name for the partition of `key`: the same one for equal keys, as long as the supervisor lives.

        Good in GenServer.call, cast and stop, in process.send and monitor. A key is spread by `partition_of`.
        """
        return PartitionVia(supervisor, key)

    @staticmethod
    def partitions(supervisor: Any) -> int:
        """How many partitions there are, running or not. Raises NoProcess where there is no such supervisor."""
        return _server(supervisor).partition_count

    # -- the process -------------------------------------------------------------------------------------------------

    def init(
        self,
        child: Any,
        partitions: int | None = None,
        with_arguments: WithArguments | None = None,
        max_restarts: int = 3,
        max_seconds: float = 5.0,
    ) -> SupervisorSpec:
        """What `start_link(child, partitions, name=...)` takes.

        child: a child spec in any form; its id is replaced by the number of the partition.
        partitions: how many; None for as many as the machine has CPUs.
        with_arguments: called as (arguments, partition) before the start; returns the arguments of that partition.
        max_restarts, max_seconds: as in SupervisorSpec, for all partitions together.
        """
        specs = partition_specs(child, partitions, with_arguments)
        self.partition_count = len(specs)
        self.pid = current_process().pid
        return SupervisorSpec(specs, ONE_FOR_ONE, max_restarts, max_seconds)

    def handle_call(self, request: Any, from_: From) -> Any:
        handler = request_handler(_REQUESTS, request)
        return handler(self, *request[1:]) if handler is not None else super().handle_call(request, from_)

    def _partition(self, number: int) -> Any:
        child = self.state.by_id.get(number)
        if child is None:
            return None
        return RESTARTING if child.restarting else child.pid

    def is_starting(self, process: Process) -> bool:
        """Whether `process` is a partition whose init runs."""
        return process.parent == self.pid and process.pid not in self.state.by_pid


RESTARTING: Final = "restarting"
_REQUESTS: Final[Requests] = {"partition": (PartitionSupervisor._partition, int)}


def _server(supervisor: Any) -> PartitionSupervisor:
    found = local_server(supervisor, PartitionSupervisor)
    if found.state is None:  # its init has not got that far
        raise NoProcess(supervisor)
    return found


def partition_specs(child: Any, partitions: int | None, with_arguments: WithArguments | None) -> list[ChildSpec]:
    """The specs of all partitions. Raises InvalidChildSpec, or ValueError for a number that is none."""
    count = (os.cpu_count() or 1) if partitions is None else partitions
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ValueError(f"partitions must be None or a whole number >= 1; got {partitions!r:.200}")
    spec = child_spec(child)
    return [_spec_of(spec, n, with_arguments) for n in range(count)]


def _spec_of(spec: ChildSpec, partition: int, with_arguments: WithArguments | None) -> ChildSpec:
    spec = replace(spec, id=partition)
    if with_arguments is None:
        return spec

    def change(own: tuple[Any, ...]) -> Sequence[Any]:
        args = with_arguments(own, partition)
        if not isinstance(args, tuple | list):
            raise InvalidChildSpec(f"with_arguments must return a tuple or a list of arguments; got {args!r:.200}")
        return args

    return spec.with_arguments(change)


class PartitionVia:
    """The partition of `key`, whichever process it is at the moment of use. See `PartitionSupervisor.via`."""

    __slots__ = ("key", "supervisor")

    def __init__(self, supervisor: Any, key: Any) -> None:
        self.supervisor = supervisor
        self.key = key

    def __repr__(self) -> str:
        return f"PartitionSupervisor.via({self.supervisor!r}, {self.key!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PartitionVia) and (self.supervisor, self.key) == (other.supervisor, other.key)

    def __hash__(self) -> int:
        return hash((self.supervisor, self.key))

    def resolve(self, timeout: float | None = 0.0, gone: Pid | None = None) -> Pid:
        """The pid of the partition. One that is being restarted is waited for, up to `timeout` seconds.

        Raises NoProcess where there is no such supervisor, where the partition does not run and is not being restarted,
        where there is no time to wait, and in the init of another partition, for which the supervisor waits itself.
        Raises CallTimeout where the restart took too long.
        """
        runtime = current_runtime()
        deadline = None if timeout is None else runtime.clock.now() + timeout
        server, number, pid = self._look()
        seen: Pid | None = None
        while pid is None or pid == gone or runtime.local(pid) is None:
            if (timeout is not None and timeout <= 0) or server.is_starting(current_process()):
                raise NoProcess(self)
            answer = self._ask(number, None if deadline is None else max(0.0, deadline - runtime.clock.now()))
            if answer is None or answer == seen:  # a dead one twice: its supervisor does not know that it ended
                raise NoProcess(self)
            pid = seen = answer if isinstance(answer, Pid) else None
        return pid

    def _look(self) -> tuple[PartitionSupervisor, int, Pid | None]:
        """The supervisor, the number of the partition, and the pid that it has, or had last."""
        server = _server(self.supervisor)
        number = partition_of(self.key, server.partition_count)
        child = server.state.by_id.get(number)
        if child is None:
            raise NoProcess(self)
        return server, number, child.pid

    def _ask(self, number: int, seconds: float | None) -> Any:
        """What the supervisor says. The question stands in its mailbox behind the end of the partition."""
        try:
            return GenServer.call(self.supervisor, ("partition", number), seconds)
        except ProcessExit:
            raise NoProcess(self) from None


# -- keys ------------------------------------------------------------------------------------------------------------


def partition_of(key: Any, partitions: int) -> int:
    """The number of the partition of `key`; equal keys have the same.

    An int n that is not negative goes to n % partitions. The hash of str, bytes, numbers, None, enum members, pids and
    tuples of those is the same in every run of the interpreter; other keys are taken by their own `hash`.
    """
    return _stable_hash(key) % partitions


def _stable_hash(key: Any) -> int:
    if isinstance(key, str):
        return crc32(key.encode("utf-8", "surrogatepass"))
    if isinstance(key, bytes):
        return crc32(key)
    if isinstance(key, _HASHED_ALIKE):
        return abs(hash(key))
    if isinstance(key, tuple):
        return crc32(b"".join(_stable_hash(part).to_bytes(8, "big") for part in key))
    if isinstance(key, enum.Enum):
        return _stable_hash((type(key).__qualname__, key.name))
    return _NONE if key is None else abs(hash(key))


_HASHED_ALIKE: Final = (int, Number, Pid, Ref)  # their own hash does not depend on the run
_NONE: Final = crc32(b"None")
