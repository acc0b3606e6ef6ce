"""One node's runtime: the process table, the names, the scheduler and the clock.

A node is an object, not a global. An operating-system process has one default runtime, made on first use in its main
thread or where `claim_thread` says; tests put many into one operating-system process. Code that runs inside a process
finds its runtime through that process.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import gevent
from greenlet import getcurrent, greenlet

import supervisor.reports as reports
from supervisor.clock import Clock, LoopClock
from supervisor.distribution import Peer, Router
from supervisor.errors import AlreadyRegistered, Exit, ForkError, NoProcess
from supervisor.forwarding import Forwarding
from supervisor.native import get_ident
from supervisor.pids import NodeId, Pid, Ref
from supervisor.plain import PlainGreenlet, Start, end_reason
from supervisor.plain import interrupt_main as interrupt_main
from supervisor.plain import reason_of as reason_of
from supervisor.reasons import KILLED, NORMAL
from supervisor.records import DEAD, RUNNING, Behaviour, Process
from supervisor.scheduler import Scheduler
from supervisor.signals import exit_process
from supervisor.vias import register_via, unregister_via
from supervisor.waits import Wait

if TYPE_CHECKING:
    from supervisor.gates import Gate

log = logging.getLogger(__name__)

NO_NODE: Final = "nonode@nohost"
_SPARE_MAILBOXES: Final = 256


class Runtime:
    """The processes of one node. All its methods belong to the thread that made it, unless they say otherwise."""

    def __init__(self, name: str = NO_NODE, clock: Clock | None = None) -> None:
        self.clock: Clock = clock if clock is not None else LoopClock()
        self.scheduler = Scheduler(self.clock)
        self.home = NodeId(name, 0 if name == NO_NODE else 1)
        self.table: dict[int, Process] = {}
        self.names: dict[Any, Process] = {}
        self.router: Router | None = None
        self.peers: dict[str, Peer] = {}
        self.dying: deque[tuple[Process, Any]] = deque()
        # Those that had a greenlet when they died, for as long as it keeps their record: orphans are among them.
        self.leaving: weakref.WeakSet[Process] = weakref.WeakSet()
        self.flood = reports.Flood(self.clock)
        self.moved = Forwarding(self.clock)
        self.gates: dict[int, Gate] = {}  # by the serial of the process, see `supervisor.gates`
        self.node: Any = None  # the Node that joined this runtime to a network
        self.services: dict[str, Any] = {}  # what upper layers keep here by name: hubs
        self.serials = itertools.count(1)
        self._homes: weakref.WeakValueDictionary[tuple[str, int], NodeId] = weakref.WeakValueDictionary()
        self._homes[(self.home.name, self.home.incarnation)] = self.home
        self.last_parent: tuple[Any] = (None,)  # the links of who was started last, see `signals.link_new`
        self._spare: list[deque[Any]] = []

    def __repr__(self) -> str:
        return f"<Runtime {self.home.name}: {len(self.table)} processes>"

    # -- identity ----------------------------------------------------------------------------------------------------

    def node_id(self, name: str, incarnation: int) -> NodeId:
        """The one `NodeId` of this runtime for that life of that node."""
        found = self._homes.get((name, incarnation))
        if found is None:
            found = self._homes[(name, incarnation)] = NodeId(name, incarnation)
        return found

    def rename(self, name: str, incarnation: int) -> None:
        """Take a name, when the node joins a network or leaves it. Pids that were made before stay valid."""
        self._homes.pop((self.home.name, self.home.incarnation), None)
        self.home.name, self.home.incarnation = name, incarnation
        self._homes[(name, incarnation)] = self.home

    def new_pid(self) -> Pid:
        """A pid that was never used before."""
        return Pid(self.home, next(self.serials))

    def new_ref(self) -> Ref:
        """A reference that was never used before."""
        return Ref(self.home, next(self.serials))

    # -- finding processes -------------------------------------------------------------------------------------------

    def local(self, pid: Pid) -> Process | None:
        """The live process with this pid, if it belongs to this node."""
        if pid.home is self.home or pid.home.same_as(self.home):
            return self.table.get(pid.serial)
        return None

    def find(self, target: Any) -> Process | None:
        """The live process behind a local pid, a name, or (name, this node)."""
        if isinstance(target, Pid):
            return self.local(target)
        if isinstance(target, tuple) and len(target) == 2 and target[1] in (self.home.name, NO_NODE):
            return self.names.get(target[0])
        return self.names.get(target)

    def is_own(self, one: Pid | Ref) -> bool:
        """Whether a pid or a ref was made by this life of this node."""
        return one.home is self.home or one.home.same_as(self.home)

    def is_remote(self, target: Any) -> bool:
        """Whether a pid or (name, node) belongs to another node, or to another life of this one."""
        if isinstance(target, Pid):
            return not self.is_own(target)
        # Whatever the name of this node, what was called by its first one goes on being found by that.
        return isinstance(target, tuple) and len(target) == 2 and target[1] not in (self.home.name, NO_NODE)

    def address(self, target: Any) -> tuple[str, Any]:
        """(node, what to name there) of a remote pid or (name, node)."""
        return (target.node, target) if isinstance(target, Pid) else (target[1], target[0])

    # -- processes ---------------------------------------------------------------------------------------------------

    def add(self, behaviour: Behaviour | None, status: int) -> Process:
        """A new process in the table."""
        pid = Pid(self.home, next(self.serials))
        process = Process(self, pid, behaviour, status)
        self.table[pid.serial] = process
        return process

    def forget(self, process: Process) -> None:
        """Take a process that dies out of the table and give its names back."""
        self.table.pop(process.pid.serial, None)
        if self.gates:
            self.gates.pop(process.pid.serial, None)
        for name in process.names:
            if self.names.get(name) is process:
                del self.names[name]

    def spawn(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Process:
        """A plain process that runs `fn`; it begins when the caller next gives way."""
        process = self.add(None, RUNNING)
        process.label = getattr(fn, "__qualname__", None)
        process.greenlet = PlainGreenlet(self.scheduler.hub, process, fn, args, kwargs)
        self.scheduler.ready_up(Start(process))
        return process

    def register(self, name: Any, process: Process) -> None:
        """Give `process` a name, which may be a via name. Raises AlreadyRegistered where another one has it."""
        if hasattr(name, "resolve"):
            register_via(name, process)
            return
        owner = self.names.setdefault(name, process)
        if owner is not process:
            raise AlreadyRegistered(name, owner.pid)
        if name not in process.names:
            process.names = (*process.names, name)

    def unregister(self, name: Any) -> None:
        """Take a name, which may be a via name, away. Raises NoProcess where nobody has it."""
        if hasattr(name, "resolve"):
            unregister_via(name)
            return
        process = self.names.pop(name, None)
        if process is None:
            raise NoProcess(name)
        process.names = tuple(other for other in process.names if other != name)

    def new_mailbox(self) -> deque[Any]:
        """An empty mailbox. A deque takes 600 bytes, so idle servers hold none and give theirs back."""
        return self._spare.pop() if self._spare else deque()

    def recycle_mailbox(self, mailbox: deque[Any]) -> None:
        """Take back an empty mailbox."""
        if len(self._spare) < _SPARE_MAILBOXES:
            self._spare.append(mailbox)

    # -- other nodes -------------------------------------------------------------------------------------------------

    def connected(self, node: str) -> bool:
        """Whether there is a link to `node`."""
        return self.router is not None and self.router.connected(node)

    def transmit(self, node: str, op: tuple[Any, ...]) -> bool:
        """Send an op to a node; False when it is not connected."""
        return self.router is not None and self.router.send(node, op)

    def peer(self, node: str) -> Peer:
        """What this node has to do with `node`."""
        found = self.peers.get(node)
        if found is None:
            found = self.peers[node] = Peer()
        return found

    def armed_wait(self, ref: Ref) -> Wait | None:
        """The wait that `ref` names, if somebody still waits."""
        if not self.is_own(ref):
            return None
        wait = self.scheduler.waits.get(ref.serial)
        if wait is None:
            self.scheduler.arm_waits()  # it may have begun in this very pass of the loop
            wait = self.scheduler.waits.get(ref.serial)
        return wait

    # -- greenlets that were there before ----------------------------------------------------------------------------

    def adopt(self, current: greenlet) -> Process:
        """Make a greenlet of somebody else a process: the prompt, a test, a web request handler."""
        self.check_thread()
        if current is self.scheduler.hub:
            raise RuntimeError(
                "this runs on the event loop's own greenlet, which must not block or receive; "
                "start a process (process.spawn) or a greenlet (gevent.spawn) from the callback"
            )
        process = self.add(None, RUNNING)
        process.adopted = True
        process.label = type(current).__name__
        process.greenlet = current
        current.otp_process = process  # type: ignore[attr-defined]
        if isinstance(current, gevent.Greenlet):
            current.rawlink(lambda ended: exit_process(process, end_reason(ended)))
        elif current.parent is not None:
            self._watch_raw(process, current)
        return process

    def _watch_raw(self, process: Process, target: greenlet) -> None:
        """A raw greenlet cannot tell that it ended: look now and then."""
        if target.dead:
            exit_process(process, NORMAL)
        elif process.status != DEAD:
            self.clock.call_later(1.0, self._watch_raw, process, target)

    def check_thread(self) -> None:
        """Raise RuntimeError in a native thread: only send, cast and call may be used there."""
        if get_ident() != self.scheduler.thread:
            raise RuntimeError(
                "receive, link, monitor, trap_exit, spawn, sleep and send_after need a greenlet of the node's own "
                "thread; from a native thread use send, cast and call"
            )

    def close(self) -> None:
        """End every process with `killed` and stop. For tests that make many runtimes; the default one lives on."""
        for process in list(self.table.values()):
            if process.greenlet is not getcurrent():
                exit_process(process, KILLED)
        self.scheduler.hub.loop.run_callback(self.scheduler.close)


# -- the default runtime ---------------------------------------------------------------------------------------------

_default: Runtime | None = None
_forked = False
_main_thread: int = gevent.hub.MAIN_THREAD_IDENT  # type: ignore[attr-defined]


def default_runtime() -> Runtime:
    """The runtime of this operating-system process, made on first use in the main thread.

    RuntimeError on first use in another thread. Rejected: to let the node live there (whichever thread comes first
    would get it, a worker of a web server say, and take it along when it ends), and to make it for the main thread from
    here (that thread may never run an event loop, and calls would hang).
    """
    if _forked:
        raise ForkError(
            "this is a forked child: the parent's node does not live here. Call Node.start in the child first, "
            "or start the library only after forking"
        )
    if _default is not None:
        return _default
    if get_ident() != _main_thread:
        raise RuntimeError(
            "no node runs in this operating-system process yet, and this is not its main thread. Start "
            "the first process in the main thread, which must run its event loop then; or, if the node is to live in "
            "this thread, call process.claim_thread() or Node.start here first"
        )
    return _new_default()


def _new_default() -> Runtime:
    global _default
    _default = Runtime()
    _default.scheduler.wake_for_signals()
    return _default


def claim_thread() -> None:
    """Let the node of this operating-system process live in the calling native thread.

    For programs whose main thread runs something else (asyncio, a window system): call it first thing in a thread that
    lives as long as the node and gives way to gevent's event loop. Harmless in the thread where the node lives already;
    RuntimeError where it lives in another one.
    """
    process = getattr(getcurrent(), "otp_process", None)
    runtime = process.runtime if process is not None else _default
    if _forked:
        default_runtime()  # raises
    if runtime is None:
        _new_default()
    elif get_ident() != runtime.scheduler.thread:
        raise RuntimeError("the node of this operating-system process lives in another thread already")


def reset_after_fork() -> Runtime:
    """Give a forked child a runtime of its own. Node.start calls it."""
    global _forked
    _forked = False
    return _new_default()


def is_forked() -> bool:
    """Whether this is a forked child that has not called Node.start."""
    return _forked


def _after_fork_in_child() -> None:
    global _forked, _main_thread
    _main_thread = get_ident()
    if _default is None:
        return
    _forked = True
    # Greenlets of the parent's processes were copied with it: what they try from here on must fail, not half work.
    for process in _default.table.values():
        process.status = DEAD
    current = getcurrent()
    if getattr(current, "otp_process", None) is not None:
        current.otp_process = None  # type: ignore[attr-defined]


os.register_at_fork(after_in_child=_after_fork_in_child)


def current_process() -> Process:
    """The process that runs; the current greenlet becomes one if it is none. Raises Exit in one that is dead."""
    try:
        process: Process = getcurrent().otp_process  # type: ignore[attr-defined]
        if process.status != DEAD:
            return process
    except AttributeError:
        current = getcurrent()
        return _home_of(current).adopt(current)
    return _when_dead(process)


def _when_dead(process: Process) -> Process:
    current = getcurrent()
    if process.adopted and not _forked:
        # Its Exit is still on the way, and comes here instead. Afterwards the greenlet can become another process.
        del current.otp_process  # type: ignore[attr-defined]
        raise Exit(KILLED)
    if _forked:
        default_runtime()  # raises
    raise Exit(KILLED)


def current_runtime() -> Runtime:
    """The runtime of the process that runs, without making the current greenlet a process."""
    process = getattr(getcurrent(), "otp_process", None)
    if process is None:
        return _home_of(getcurrent())
    if process.status == DEAD and _forked:
        default_runtime()  # raises
    if process.status == DEAD and not process.adopted:
        raise Exit(KILLED)  # an orphan: it can do nothing in the name of the process
    runtime: Runtime = process.runtime
    return runtime


def _home_of(current: greenlet) -> Runtime:
    """The runtime of a greenlet that is no process: that of the process that spawned it, else the default one."""
    spawner = getattr(current, "spawning_greenlet", None)
    parent = spawner() if spawner is not None else None
    process = getattr(parent, "otp_process", None)
    return process.runtime if process is not None else default_runtime()


def new_incarnation() -> int:
    """An incarnation for a node that starts: higher than that of any earlier life on this machine."""
    return time.time_ns() // 1_000_000
