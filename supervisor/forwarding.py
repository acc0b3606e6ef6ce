"""Where processes have gone that moved to another node: what still comes for their old pids follows them.

The node that a process left forwards messages, and answers calls with `AGAIN`: certainly not handled, to be sent to the
new pid. A node that hears of a move sends nothing to the old pid any more, and says so with a `MARK` on its link to the
former node, which passes it on behind all that it has forwarded: see `gates.Entrance`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from supervisor.clock import Clock
from supervisor.pids import Pid

if TYPE_CHECKING:
    from supervisor.runtime import Runtime

REMEMBERED_SECONDS: Final = 600.0
REMEMBERED_AT_MOST: Final = 200_000
_PIDS_AT_ONCE: Final = 1_000  # in one mark

# Opcodes, besides those of `supervisor.distribution`.
AGAIN: Final = 14  # (AGAIN, ref, pid): the call was not handled; send it to `pid`
MARK: Final = 15  # (MARK, old pids): nothing follows for them from this node
MARKED: Final = 16  # (MARKED, node, new pids): the same, passed on


class Forwarding(dict[Pid, tuple[Pid, float]]):
    """Old pid -> (new pid, until when), in the order of the times: for 10 minutes each, and the latest 200 000 at most.

    A dict, so that every send can ask at no cost whether there is anything in it.
    """

    __slots__ = ("_clock", "_timer")

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._timer: Any = None

    def add(self, old: Pid, new: Pid) -> None:
        """`old` lives on as `new`."""
        self.pop(old, None)
        self[old] = (new, self._clock.now() + REMEMBERED_SECONDS)
        if len(self) > REMEMBERED_AT_MOST:
            del self[next(iter(self))]
        if self._timer is None:
            self._timer = self._clock.call_later(REMEMBERED_SECONDS, self._purge)

    def latest(self, pid: Any) -> Any:
        """The pid under which it lives on, as far as it is known here; else `pid` itself, whatever that is."""
        if type(pid) is Pid:
            for _ in range(len(self)):
                found = self.get(pid)
                if found is None:
                    break
                pid = found[0]
        return pid

    def _purge(self) -> None:
        now = self._clock.now()
        self._timer = None
        for old, (_, until) in list(self.items()):
            if until > now:
                self._timer = self._clock.call_later(until - now, self._purge)
                return
            del self[old]


def note_moves(runtime: Runtime, pairs: Iterable[tuple[Pid, Pid]]) -> None:
    """Processes have moved: (old pid, new pid). What is sent here to the old ones goes to the new ones from now on."""
    by_node: dict[str, list[Pid]] = {}
    for old, new in pairs:
        if runtime.moved.latest(old) == old and old != new:
            runtime.moved.add(old, new)
            if runtime.is_remote(old):
                by_node.setdefault(old.node, []).append(old)
    for node in sorted(by_node):
        for start in range(0, len(by_node[node]), _PIDS_AT_ONCE):
            runtime.transmit(node, (MARK, by_node[node][start : start + _PIDS_AT_ONCE]))


def pass_on_marks(runtime: Runtime, node: str, pids: Iterable[Pid]) -> None:
    """`node` sends nothing more to these pids, which have left this node."""
    groups: dict[str, list[Pid]] = {}
    for pid in pids:
        new = runtime.moved.latest(pid)
        if new != pid and runtime.is_remote(new):
            groups.setdefault(new.node, []).append(new)
    for target in sorted(groups):
        runtime.transmit(target, (MARKED, node, groups[target]))


def take_marks(runtime: Runtime, origin: str, pids: Iterable[Pid]) -> None:
    """What `origin` sent to these processes by the way round has all come."""
    for pid in pids:
        process = runtime.local(pid)
        gate = runtime.gates.get(pid.serial) if process is not None else None
        if process is not None and gate is not None:
            gate.mark(process, origin)
