"""Servers into whose mailbox not everything goes: those that have not begun yet, and those that stand still.

A server that moves to another node exists twice for a moment. The new copy starts *gated*: its init has run, and what
is sent to it waits in its gate. The old one is *held* at its turn: it handles nothing any more, and what reaches it is
kept. Both still end by exit signals and kill, and answer system messages (`supervisor.debug`).

It costs nothing where no gate is: the record of such a process gets the class `Gated`, which looks at what is put into
the mailbox, and gives it back when the gate has gone. The gates are in `Runtime.gates`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from supervisor.records import CLOSED, CONTINUE, QUEUED, Process
from supervisor.turns import for_all_servers

if TYPE_CHECKING:
    from supervisor.runtime import Runtime


class Gated(Process):
    """The record of a server that has a gate."""

    __slots__ = ()

    at_rest = CLOSED  # so that calls are not handed over, but come to `enqueue`

    def enqueue(self, entry: Any) -> None:
        self.enqueue_from(self.runtime.home.name, entry)

    def enqueue_from(self, node: str, entry: Any) -> None:
        gate = self.runtime.gates.get(self.pid.serial)
        if gate is None:
            return  # it is dead
        if entry[0] >= CONTINUE or for_all_servers(self, entry):
            admit(self, (entry,))
        else:
            gate.put(self, node, entry)

    @property
    def queue_length(self) -> int:
        return len(self.waiting)

    @property
    def waiting(self) -> list[Any]:
        gate = self.runtime.gates.get(self.pid.serial)
        behind = gate.entries() if gate is not None else []
        return [*(self.behaviour.held if self.behaviour is not None else ()), *(self.mailbox or ()), *behind]


class Gate(ABC):
    """What waits for a server, and which of it may go in."""

    __slots__ = ()

    @abstractmethod
    def put(self, process: Process, node: str, entry: Any) -> None:
        """A message for users' callbacks comes from a process of `node`."""

    @abstractmethod
    def entries(self) -> list[Any]:
        """What waits here, in order as far as there is one."""

    @abstractmethod
    def mark(self, process: Process, node: str) -> None:
        """Nothing comes any more on the way round from that node."""


class Kept(Gate):
    """What reaches a server that stands still.

    timeout: seconds that were left of the timeout that its last callback returned.
    """

    __slots__ = ("kept", "timeout")

    def __init__(self) -> None:
        self.kept: deque[Any] = deque()
        self.timeout: float | None = None

    def put(self, process: Process, node: str, entry: Any) -> None:
        self.kept.append(entry)

    def entries(self) -> list[Any]:
        return list(self.kept)

    def mark(self, process: Process, node: str) -> None:
        pass  # it waits for nobody


class Entrance(Gate):
    """The gate of a new copy. Closed at first; once open, it still holds what comes from the nodes of `awaited`.

    Messages to the old pid come on the way round, by the former node. A node whose processes wrote to the old pid and
    now write to the new one must not be ahead of itself: what it sends here waits until its mark has come by the same
    way round.

    source: the former node. Its own messages need no mark: all it sends comes by one link.
    """

    __slots__ = ("_queues", "awaited", "is_open", "marked", "source")

    def __init__(self) -> None:
        self.is_open = False
        self.source = ""
        self.awaited: set[str] = set()
        self.marked: set[str] = set()  # before it was open
        self._queues: dict[str, deque[Any]] = {}

    def put(self, process: Process, node: str, entry: Any) -> None:
        if self.is_open and node not in self.awaited:
            admit(process, (entry,))
        else:
            self._queues.setdefault(node, deque()).append(entry)

    def entries(self) -> list[Any]:
        return [entry for node in self._in_order() for entry in self._queues[node]]

    def _in_order(self) -> list[str]:
        return sorted(self._queues, key=lambda node: (node != self.source, node))

    def open(self, process: Process, kept: Iterable[Any], source: str, awaited: Iterable[str]) -> None:
        """Let in what was kept at the former node, then what came here directly."""
        self.is_open = True
        self.source = source
        self.awaited = {node for node in awaited if node not in self.marked and node != source}
        admit(process, kept)
        self._let_in(process, [node for node in self._in_order() if node not in self.awaited])

    def mark(self, process: Process, node: str) -> None:
        if not self.is_open:
            self.marked.add(node)
        elif node in self.awaited:
            self.awaited.remove(node)
            self._let_in(process, [node])

    def lost(self, process: Process, node: str) -> None:
        """That node is gone: no mark of it comes any more, and if it was the way round, none at all."""
        if self.is_open and node == self.source:
            self.finish(process)
        else:
            self.mark(process, node)

    def finish(self, process: Process) -> None:
        """Wait for nobody any more. Does nothing while it is closed."""
        if self.is_open:
            self.awaited.clear()
            self._let_in(process, self._in_order())

    def _let_in(self, process: Process, nodes: list[str]) -> None:
        for node in nodes:
            admit(process, self._queues.pop(node, ()))
        if not self.awaited:
            remove(process)


def admit(process: Process, entries: Iterable[Any]) -> None:
    """Put entries into the mailbox of a gated process, which runs if it is at rest."""
    mailbox = process.mailbox
    if mailbox is None:
        mailbox = process.mailbox = process.runtime.new_mailbox()
    mailbox.extend(entries)
    _wake(process)


def _wake(process: Process) -> None:
    if process.status != CLOSED:
        return
    if process.mailbox:
        process.status = QUEUED
        process.runtime.scheduler.ready_up(process)
    else:
        process.status = process.at_rest


def close(process: Process) -> None:
    """Put a closed entrance in front of a process that was just made."""
    process.runtime.gates[process.pid.serial] = Entrance()
    process.__class__ = Gated


def remove(process: Process) -> None:
    """Take the gate away; nothing must wait behind it."""
    if process.runtime.gates.pop(process.pid.serial, None) is not None:
        process.__class__ = Process
        _wake(process)


def stand_still(process: Process) -> None:
    """Keep what waits for a server, and what comes, instead of handling it. Runs inside the server, at its turn."""
    runtime = process.runtime
    entrance = runtime.gates.get(process.pid.serial)
    if isinstance(entrance, Entrance):
        entrance.finish(process)
    kept = Kept()
    runtime.gates[process.pid.serial] = kept
    process.__class__ = Gated
    if process.timer is not None:
        kept.timeout = process.timer.deadline - runtime.clock.now()
        process.timer.cancel()
        process.timer = None
    if process.behaviour is not None:
        kept.kept.extend(process.behaviour.hand_out())
    mailbox = process.mailbox or ()
    staying = [entry for entry in mailbox if _stays(process, entry)]
    kept.kept.extend(entry for entry in mailbox if not _stays(process, entry))
    if process.mailbox is not None:
        process.mailbox.clear()
        process.mailbox.extend(staying)


def _stays(process: Process, entry: Any) -> bool:
    return entry[0] >= CONTINUE or for_all_servers(process, entry)


def release(process: Process) -> None:
    """A server that stood still goes on with what was kept."""
    kept = process.runtime.gates.get(process.pid.serial)
    if not isinstance(kept, Kept):
        return
    if kept.kept:
        admit(process, kept.kept)
    elif kept.timeout is not None and process.behaviour is not None:
        process.timer = process.runtime.clock.call_later(kept.timeout, process.behaviour.time_out, process)
    remove(process)


def open_at_once(process: Process) -> None:
    """Let a server that was started behind a gate begin, without anything that was kept elsewhere."""
    gate = process.runtime.gates.get(process.pid.serial)
    if isinstance(gate, Entrance):
        gate.open(process, (), "", ())


def finish(process: Process) -> None:
    """Wait for no node's mark any more. Does nothing where there is no entrance, or it is closed."""
    gate = process.runtime.gates.get(process.pid.serial)
    if isinstance(gate, Entrance):
        gate.finish(process)


def node_lost(runtime: Runtime, node: str) -> None:
    """The link to `node` has ended."""
    for serial in sorted(runtime.gates):
        gate, process = runtime.gates.get(serial), runtime.table.get(serial)
        if isinstance(gate, Entrance) and process is not None:
            gate.lost(process, node)
