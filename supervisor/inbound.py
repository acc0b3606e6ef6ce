"""What a runtime hears from other nodes, and what follows when one is lost.

Ops that name a dead process are dropped, except those that expect an answer. When the router loses a peer it calls
`peer_lost`, and everything that waited for that node hears `noconnection`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from supervisor.distribution import (
    CALL_OP,
    CANCEL,
    CAST_OP,
    DEMONITOR,
    DOWN,
    EXIT,
    FAIL,
    LINK,
    MONITOR,
    REFUSED,
    REPLY,
    SEND,
    UNLINK,
    RemoteTarget,
    RemoteWait,
)
from supervisor.errors import CallAgain, EncodeError, NoConnection, NoProcess, ProcessExit
from supervisor.forwarding import AGAIN, MARK, MARKED, note_moves, pass_on_marks, take_marks
from supervisor.gates import node_lost
from supervisor.handover import follow, follow_monitor
from supervisor.pids import Pid, Ref
from supervisor.reasons import NOCONNECTION, NOPROC, Moved
from supervisor.records import CALL, CAST, INFO, Process, link_added, link_removed
from supervisor.signals import add_watcher, deliver_exit, fire_monitor, remove_watcher
from supervisor.waits import Wait

if TYPE_CHECKING:
    from supervisor.runtime import Runtime


def receive_op(runtime: Runtime, node: str, op: Sequence[Any]) -> None:
    """Carry out one op that came from `node`. A malformed one raises TypeError or ValueError and changes nothing."""
    handler = _HANDLERS.get(op[0]) if op else None
    if handler is None:
        raise ValueError(f"unknown op {op!r:.80}")
    handler(runtime, node, *op[1:])


def _check(kind: type, *values: Any) -> None:
    """What is kept until later must be what it should be: otherwise it would fail then, in the midst of something."""
    for value in values:
        if not isinstance(value, kind):
            raise TypeError(f"{value!r:.80} where a {kind.__name__} should be")


def _on_send(runtime: Runtime, node: str, to: Any, message: Any) -> None:
    process = runtime.find(to)
    if process is not None:
        process.enqueue_from(node, (INFO, message))
    elif runtime.moved:
        _forward(runtime, node, to, SEND, (INFO, message))


def _on_cast(runtime: Runtime, node: str, to: Any, request: Any) -> None:
    process = runtime.find(to)
    if process is not None:
        process.enqueue_from(node, (CAST, request))
    elif runtime.moved:
        _forward(runtime, node, to, CAST_OP, (CAST, request))


def _forward(runtime: Runtime, node: str, to: Any, code: int, entry: tuple[int, Any]) -> None:
    """A message for a process that has left this node, or came back."""
    pid = runtime.moved.latest(to)
    process = runtime.find(pid)
    if process is not None:
        process.enqueue_from(node, entry)
    elif pid is not to and runtime.is_remote(pid):
        runtime.transmit(pid.node, (code, pid, entry[1]))


def _on_call(runtime: Runtime, node: str, to: Any, caller: Pid, ref: Ref, request: Any) -> None:
    if type(caller) is not Pid or type(ref) is not Ref:
        raise TypeError(f"a call from {caller!r:.80}, {ref!r:.80}")
    process = runtime.find(to)
    if process is None:
        pid = runtime.moved.latest(to)
        runtime.transmit(node, (FAIL, ref, NOPROC) if pid is to else (AGAIN, ref, pid))
        return
    remote = RemoteWait(ref, process)
    runtime.peer(node).served[remote] = remote
    process.add_waiter(remote)
    process.enqueue_from(node, (CALL, request, (caller, ref)))


def _on_reply(runtime: Runtime, node: str, ref: Ref, value: Any) -> None:
    wait = runtime.armed_wait(ref)
    if wait is not None:
        _take_answer(runtime, node, wait)
        wait.reply(value)


def _on_fail(runtime: Runtime, node: str, ref: Ref, reason: Any) -> None:
    wait = runtime.armed_wait(ref)
    if wait is None:
        return
    if type(reason) is Moved:
        _follow_call(runtime, node, wait, reason.pid)
        return
    _take_answer(runtime, node, wait)
    if reason == NOPROC:
        wait.fail(NoProcess(getattr(wait.target, "to", None)))
    else:
        wait.fail(NoConnection(node) if reason == NOCONNECTION else ProcessExit(reason))


def _follow_call(runtime: Runtime, node: str, wait: Wait, pid: Pid) -> None:
    """The process that owes the answer lives on as `pid`, and has taken the call along."""
    target = wait.target
    if type(target) is RemoteTarget and target.node == node:
        note_moves(runtime, [(target.to, pid)] if type(target.to) is Pid else [])
        follow(runtime, wait, pid)


def _on_again(runtime: Runtime, node: str, ref: Ref, pid: Pid) -> None:
    """The process had left when the call came: it is to be made again, at `pid`."""
    _check(Pid, pid)
    wait = runtime.armed_wait(ref)
    if wait is not None:
        target = wait.target
        _take_answer(runtime, node, wait)
        if type(target) is RemoteTarget and type(target.to) is Pid:
            note_moves(runtime, [(target.to, pid)])
        wait.fail(CallAgain(pid))


def _on_refused(runtime: Runtime, node: str, ref: Ref, text: str) -> None:
    wait = runtime.armed_wait(ref)
    if wait is not None:
        _take_answer(runtime, node, wait)
        wait.fail(EncodeError(text))


def _take_answer(runtime: Runtime, node: str, wait: Wait) -> None:
    """If it was the called node that answered, there is nothing to cancel there any more."""
    target = wait.target
    if type(target) is RemoteTarget and target.node == node:
        peer = runtime.peers.get(node)
        if peer is not None:
            peer.waits.pop(wait.serial, None)


def _on_cancel(runtime: Runtime, node: str, to: Any, ref: Ref) -> None:
    remote = runtime.peer(node).served.pop(ref, None)
    if remote is not None:
        remote.process.drop_waiter(remote)


def _on_link(runtime: Runtime, node: str, source: Pid, to: Pid) -> None:
    _check(Pid, source, to)
    process = runtime.local(to)
    if process is None:
        runtime.transmit(node, (EXIT, to, source, NOPROC, True))
        return
    process.links = link_added(process.links, source)
    runtime.peer(node).links[(to, source)] = process


def _on_unlink(runtime: Runtime, node: str, source: Pid, to: Pid) -> None:
    process = runtime.peer(node).links.pop((to, source), None)
    if process is not None:
        process.links = link_removed(process.links, source)


def _on_exit(runtime: Runtime, node: str, source: Pid, to: Pid, reason: Any, linked: bool) -> None:
    _check(Pid, source, to)
    process = runtime.local(to)
    if process is None:
        return
    if not linked:
        deliver_exit(process, source, reason, False)
    elif runtime.peer(node).links.pop((to, source), None) is not None:
        _break_link(process, source, reason)


def _on_monitor(runtime: Runtime, node: str, ref: Ref, watcher: Pid, to: Any) -> None:
    _check(Ref, ref)
    _check(Pid, watcher)
    process = runtime.find(to)
    if process is None:
        pid = runtime.moved.latest(to)
        runtime.transmit(node, (DOWN, ref, watcher, to, NOPROC if pid is to else Moved(pid)))
        return
    runtime.peer(node).watched[ref] = process
    add_watcher(process, ref, watcher)


def _on_demonitor(runtime: Runtime, node: str, ref: Ref, to: Any) -> None:
    process = runtime.peer(node).watched.pop(ref, None)
    if process is not None:
        remove_watcher(process, ref)


def _on_down(runtime: Runtime, node: str, ref: Ref, watcher: Pid, pid: Any, reason: Any) -> None:
    process = runtime.peer(node).monitors.pop(ref, None)
    if process is not None and type(reason) is Moved:
        follow_monitor(process, ref, reason.pid)
    elif process is not None:
        # A name that nobody has comes back as the watcher wrote it, with the node.
        found = pid if isinstance(pid, Pid) else (process.monitors or {}).get(ref)
        fire_monitor(process, ref, found, reason)


def _on_mark(runtime: Runtime, node: str, pids: list[Pid]) -> None:
    _check(Pid, *pids)
    pass_on_marks(runtime, node, pids)


def _on_marked(runtime: Runtime, node: str, origin: str, pids: list[Pid]) -> None:
    _check(Pid, *pids)
    take_marks(runtime, origin, pids)


_HANDLERS: Final[dict[int, Callable[..., None]]] = {
    SEND: _on_send,
    CAST_OP: _on_cast,
    CALL_OP: _on_call,
    REPLY: _on_reply,
    FAIL: _on_fail,
    CANCEL: _on_cancel,
    LINK: _on_link,
    UNLINK: _on_unlink,
    EXIT: _on_exit,
    MONITOR: _on_monitor,
    DEMONITOR: _on_demonitor,
    DOWN: _on_down,
    REFUSED: _on_refused,
    AGAIN: _on_again,
    MARK: _on_mark,
    MARKED: _on_marked,
}


# -- losing ----------------------------------------------------------------------------------------------------------


def peer_lost(runtime: Runtime, node: str) -> None:
    """The link to `node` has ended: every call, link and monitor that crosses it ends with `noconnection`."""
    runtime.scheduler.arm_waits()
    if runtime.gates:
        node_lost(runtime, node)
    peer = runtime.peers.pop(node, None)
    if peer is None:
        return
    for wait in peer.waits.values():
        wait.fail(NoConnection(node))
    for remote in peer.served.values():
        remote.process.drop_waiter(remote)
    for ref, process in peer.watched.items():
        remove_watcher(process, ref)
    for ref, process in peer.monitors.items():
        fire_monitor(process, ref, (process.monitors or {}).get(ref), NOCONNECTION)
    for (_local, remote_pid), process in peer.links.items():
        _break_link(process, remote_pid, NOCONNECTION)


def _break_link(process: Process, pid: Pid, reason: Any) -> None:
    process.links = link_removed(process.links, pid)
    deliver_exit(process, pid, reason, True)
