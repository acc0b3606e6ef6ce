"""What a runtime says to other nodes. It knows ops and a `Router`, but no network.

An op is a small tuple (opcode, ...). The router carries them in order per peer; `supervisor.inbound` carries out what
arrives, and what follows when a peer is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from supervisor.errors import EncodeError, NoConnection, NoProcess
from supervisor.pids import Pid, Ref
from supervisor.records import Process
from supervisor.waits import Wait

if TYPE_CHECKING:
    from supervisor.runtime import Runtime

# Opcodes. `to` is a Pid or a registered name.
SEND: Final = 1  # (SEND, to, message)
CAST_OP: Final = 2  # (CAST_OP, to, request)
CALL_OP: Final = 3  # (CALL_OP, to, caller, ref, request)
REPLY: Final = 4  # (REPLY, ref, value)
FAIL: Final = 5  # (FAIL, ref, reason): the process that owed the reply is dead
CANCEL: Final = 6  # (CANCEL, to, ref): nobody waits for this reply any more
LINK: Final = 7  # (LINK, source, to)
UNLINK: Final = 8  # (UNLINK, source, to)
EXIT: Final = 9  # (EXIT, source, to, reason, linked)
MONITOR: Final = 10  # (MONITOR, ref, watcher, to)
DEMONITOR: Final = 11  # (DEMONITOR, ref, to)
DOWN: Final = 12  # (DOWN, ref, watcher, pid or name, reason)
REFUSED: Final = 13  # (REFUSED, ref, text): the request or the reply could not be encoded or decoded


class Router(Protocol):
    """Carries ops to other nodes."""

    def connected(self, node: str) -> bool:
        """Whether there is a link to `node`."""
        ...

    def send(self, node: str, op: tuple[Any, ...]) -> bool:
        """Queue an op. It may suspend the calling greenlet while the queue is full, never the event loop.

        False when the node is not connected. Raises EncodeError when the op cannot be sent, CallTimeout when the queue
        was full for all of a call's timeout.
        """
        ...


class Peer:
    """What processes here have to do with one other node, so that its loss is noticed by all of them."""

    __slots__ = ("links", "monitors", "served", "waits", "watched")

    def __init__(self) -> None:
        self.links: dict[tuple[Pid, Pid], Process] = {}  # (local pid, remote pid) -> local process
        self.monitors: dict[Ref, Process] = {}  # monitors that processes here hold there
        self.watched: dict[Ref, Process] = {}  # processes here that are monitored from there
        self.waits: dict[int, Wait] = {}  # calls from here to there
        self.served: dict[Ref, RemoteWait] = {}  # calls from there to here


class RemoteWait(Ref):
    """A caller on another node who waits for a process here."""

    __slots__ = ("process",)

    def __init__(self, ref: Ref, process: Process) -> None:
        super().__init__(ref.home, ref.serial)
        self.process = process

    def target_died(self, reason: Any) -> None:
        """Pass the end of the process on to the caller's node."""
        runtime = self.process.runtime
        runtime.peer(self.node).served.pop(self, None)
        _pass_on(runtime, self.node, (FAIL, self), reason)

    def answered(self, value: Any) -> None:
        """The answer is on its way. For `supervisor.debugged`, which takes note."""


class RemoteTarget:
    """The owner of an answer on another node, as a `Wait.target`."""

    __slots__ = ("node", "runtime", "to")

    def __init__(self, runtime: Runtime, node: str, to: Any) -> None:
        self.runtime = runtime
        self.node = node
        self.to = to

    def add_waiter(self, wait: Wait) -> None:
        if not self.runtime.connected(self.node):
            wait.fail(NoConnection(self.node))
        else:
            self.runtime.peer(self.node).waits[wait.serial] = wait

    def drop_waiter(self, wait: Wait) -> None:
        peer = self.runtime.peers.get(self.node)
        if peer is not None and peer.waits.pop(wait.serial, None) is not None:
            self.runtime.transmit(self.node, (CANCEL, self.to, wait))


# -- saying ----------------------------------------------------------------------------------------------------------


def call(runtime: Runtime, node: str, to: Any, caller: Pid, wait: Wait, request: Any) -> None:
    """Send a call whose answer ends `wait`. Raises NoConnection, and what `Router.send` raises."""
    if not runtime.transmit(node, (CALL_OP, to, caller, wait, request)):
        # Of this node's own name there can only be pids of an earlier life.
        raise NoProcess(to) if node == runtime.home.name else NoConnection(node, was_sent=False)
    wait.target = RemoteTarget(runtime, node, to)


def reply(runtime: Runtime, ref: Ref, value: Any) -> None:
    """Send an answer to the node of `ref`. Raises EncodeError where it cannot be sent; the call is still open then."""
    node = ref.home.name
    runtime.transmit(node, (REPLY, ref, value))
    remote = _close(runtime, node, ref)
    if remote is not None:
        remote.answered(value)


def refuse(runtime: Runtime, ref: Ref, error: EncodeError) -> None:
    """There is an answer, but it cannot be sent: the caller gets an EncodeError."""
    runtime.transmit(ref.node, (REFUSED, ref, str(error)))
    _close(runtime, ref.node, ref)


def _close(runtime: Runtime, node: str, ref: Ref) -> RemoteWait | None:
    """The call from there to a process here is answered. Returns who waited, if anybody did."""
    peer = runtime.peers.get(node)
    remote = peer.served.pop(ref, None) if peer is not None else None
    if remote is not None:
        remote.process.drop_waiter(remote)
    return remote


def link(process: Process, pid: Pid) -> bool:
    """Tell the node of `pid` of a link. False without a connection."""
    runtime = process.runtime
    if not runtime.transmit(pid.node, (LINK, process.pid, pid)):
        return False
    runtime.peer(pid.node).links[(process.pid, pid)] = process
    return True


def unlink(process: Process, pid: Pid) -> None:
    """Take a link to another node back."""
    runtime = process.runtime
    peer = runtime.peers.get(pid.node)
    if peer is not None and peer.links.pop((process.pid, pid), None) is not None:
        runtime.transmit(pid.node, (UNLINK, process.pid, pid))


def tell_link(process: Process, pid: Pid, reason: Any) -> None:
    """`process` died, and `pid` on another node was linked to it."""
    peer = process.runtime.peers.get(pid.node)
    if peer is not None and peer.links.pop((process.pid, pid), None) is not None:
        _pass_on(process.runtime, pid.node, (EXIT, process.pid, pid), reason, True)


def tell_exit(sender: Process, pid: Pid, reason: Any) -> None:
    """Send an exit signal to a process of another node; nothing happens for a dead one of this node."""
    if pid.home is not sender.runtime.home:
        sender.runtime.transmit(pid.node, (EXIT, sender.pid, pid, reason, False))


def monitor(process: Process, ref: Ref, target: Any) -> bool:
    """Watch a process of another node. False without a connection."""
    runtime = process.runtime
    node, to = runtime.address(target)
    if not runtime.transmit(node, (MONITOR, ref, process.pid, to)):
        return False
    runtime.peer(node).monitors[ref] = process
    return True


def demonitor(process: Process, ref: Ref, target: Any) -> None:
    """Stop watching a process of another node."""
    runtime = process.runtime
    node, to = runtime.address(target)
    peer = runtime.peers.get(node)
    if peer is not None and peer.monitors.pop(ref, None) is not None:
        runtime.transmit(node, (DEMONITOR, ref, to))


def tell_watcher(process: Process, ref: Ref, watcher: Pid, reason: Any) -> None:
    """`process` died, and a process of another node watches it."""
    peer = process.runtime.peers.get(watcher.node)
    if peer is not None and peer.watched.pop(ref, None) is not None:
        _pass_on(process.runtime, watcher.node, (DOWN, ref, watcher, process.pid), reason)


def _pass_on(runtime: Runtime, node: str, op: tuple[Any, ...], reason: Any, *rest: Any) -> None:
    """Tell a node why a process ended. A reason that cannot be sent goes as text: the end itself must be known."""
    try:
        runtime.transmit(node, (*op, reason, *rest))
    except EncodeError:
        runtime.transmit(node, (*op, repr(reason), *rest))
