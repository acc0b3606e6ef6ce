"""The record of one process: what the process table holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from greenlet import greenlet

from supervisor.pids import Pid, Ref
from supervisor.waits import Wait

if TYPE_CHECKING:
    from supervisor.runtime import Runtime

# How a process stands.
IDLE: Final = 0  # a server with an empty mailbox: it holds no greenlet
QUEUED: Final = 1  # a server in the ready queue
RUNNING: Final = 2  # it has a greenlet, at work or blocked; plain processes always do
DEAD: Final = 3  # not in the process table any more
TRACED: Final = 4  # RUNNING, and `supervisor.debug` is to see what it sends: all short ways end at `== RUNNING`
CLOSED: Final = 5  # a server with an empty mailbox into which not everything goes, see `supervisor.gates`

# What a mailbox entry is: entries are tuples (kind, ...). Kinds from CONTINUE on go ahead of users' messages.
INFO: Final = 0  # (INFO, message)
CAST: Final = 1  # (CAST, request)
CALL: Final = 2  # (CALL, request, from_)
CONTINUE: Final = 3  # (CONTINUE, token): goes ahead of everything else
SYSTEM: Final = 4  # (SYSTEM, fn, from_): fn(process) runs between two messages, ahead of users' messages
INIT: Final = 5  # (INIT, Start): the first turn of a server


class Waiter(Protocol):
    """Somebody, here or on another node, who waits for an answer of a process."""

    def target_died(self, reason: Any) -> None: ...


class Behaviour(Protocol):
    """What a server process runs. One object per class of server; the state is in `process.server`.

    held: messages that wait although they are not in the mailbox any more, see `supervisor.debug`.
    """

    @property
    def held(self) -> Sequence[Any]: ...

    def take_turn(self, process: Process, entry: Any) -> Wait | None: ...

    def time_out(self, process: Process) -> None: ...

    def hand_out(self) -> Sequence[Any]:
        """Give up what it holds."""
        ...


class Tie(Protocol):
    """Somebody who keeps something for processes, and lets go of it in the very instant in which one of them ends."""

    def let_go(self, process: Process, kept: Any, reason: Any) -> None:
        """`process` has just left the table, and nobody knows yet. `kept` is what `process.ties` held for this tie.

        Must not give way; a process that it ends is buried after this one.
        """
        ...


# Why a server starts: what its `start_reason` says.
START: Final = "start"
RESTART: Final = "restart"
HANDOVER: Final = "handover"
FAILOVER: Final = "failover"


class ActingAs:
    """In whose name somebody starts children and why, and what was started since this was set.

    gated: servers that are started have run their init, and handle nothing until their gates open.
    """

    __slots__ = ("gated", "start_reason", "started", "supervisor")

    def __init__(self, supervisor: Process, start_reason: str = START) -> None:
        self.supervisor = supervisor
        self.start_reason = start_reason
        self.gated = False
        self.started: list[Pid] = []


class Process:
    """A process as the runtime sees it.

    Invariants: `status` is DEAD exactly when the table does not hold it. `greenlet` is set exactly while RUNNING or
    TRACED, or while an orphan of a dead process still runs. Rarely used fields are None until used: an idle server
    costs this record, its `Pid`, its state and one table entry.
    """

    __slots__ = (
        "__weakref__",
        "acting_as",
        "adopted",
        "behaviour",
        "greenlet",
        "label",
        "links",
        "mailbox",
        "monitors",
        "names",
        "parent",
        "pid",
        "receiving",
        "runtime",
        "server",
        "status",
        "ties",
        "timer",
        "trap_exit",
        "waiters",
        "watchers",
    )

    at_rest: ClassVar[int] = IDLE  # the status of a server with an empty mailbox

    def __init__(self, runtime: Runtime, pid: Pid, behaviour: Behaviour | None, status: int) -> None:
        self.runtime = runtime
        self.pid = pid
        self.behaviour = behaviour
        self.status = status
        self.server: Any = None
        self.mailbox: deque[Any] | None = None
        self.greenlet: greenlet | None = None
        self.parent: Pid | None = None  # who started it: exit signals from there stop a server that traps exits
        self.acting_as: ActingAs | None = None  # a start worker starts children in the name of its supervisor
        self.links: Links = ()
        self.monitors: dict[Ref, Any] | None = None  # those that this process holds: ref -> target
        self.watchers: dict[Ref, Pid] | None = None  # those that watch this process: ref -> watcher
        self.waiters: dict[Ref, Waiter] | None = None
        self.ties: dict[Tie, Any] | None = None  # who lets go of something when this process ends
        self.receiving: Wait | None = None
        self.names: tuple[Any, ...] = ()
        self.label: Any = None
        self.timer: Any = None  # the timeout that a server's callback returned
        self.trap_exit = False
        self.adopted = False  # a greenlet that was there before and may become another process afterwards

    @property
    def alive(self) -> bool:
        """Whether it is in the process table."""
        return self.status != DEAD

    @property
    def is_server(self) -> bool:
        """Whether it is a server process; a plain one otherwise."""
        return self.behaviour is not None

    def __repr__(self) -> str:
        name = f" {self.names[0]!r}" if self.names else ""
        label = f" {self.label!s:.200}" if self.label is not None else ""
        return f"<Process {self.pid.node}.{self.pid.serial}{name}{label}>"

    # -- running -----------------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Take a turn, from the ready queue. Does nothing when a caller has taken it there before."""
        if self.status != QUEUED:
            return
        scheduler = self.runtime.scheduler
        worker = scheduler.pool.take()
        self.status = RUNNING
        self.greenlet = worker
        worker.otp_process = self
        worker.switch()

    def enqueue(self, entry: Any) -> None:
        """Put an entry into the mailbox; an idle server becomes ready, a receiver that waits wakes up."""
        mailbox = self.mailbox
        if mailbox is None:
            mailbox = self.mailbox = self.runtime.new_mailbox()
        mailbox.append(entry)
        if self.status == IDLE:
            self.status = QUEUED
            self.runtime.scheduler.ready_up(self)
        elif self.receiving is not None:
            self.receiving.reply(None)

    def enqueue_from(self, node: str, entry: Any) -> None:
        """`enqueue` what came from another node."""
        self.enqueue(entry)

    def enqueue_system(self, entry: Any) -> None:
        """Like `enqueue`, but ahead of users' messages: behind the init of a server and what goes ahead already."""
        self.enqueue(entry)
        mailbox = self.mailbox
        assert mailbox is not None
        ahead = 0
        for waiting in mailbox:
            if waiting is entry or waiting[0] < CONTINUE:
                break
            ahead += 1
        if ahead < len(mailbox) - 1:
            mailbox.pop()
            mailbox.insert(ahead, entry)

    @property
    def queue_length(self) -> int:
        """How many messages wait."""
        held = len(self.behaviour.held) if self.behaviour is not None else 0
        return held + (len(self.mailbox) if self.mailbox is not None else 0)

    @property
    def waiting(self) -> list[Any]:
        """The entries that wait, first come first."""
        return [*(self.behaviour.held if self.behaviour is not None else ()), *(self.mailbox or ())]

    # -- who is to be told -------------------------------------------------------------------------------------------

    def add_waiter(self, waiter: Any) -> None:
        """`waiter` (a Ref with `target_died`) is told when this process dies before it answered."""
        if self.status == DEAD:
            waiter.target_died("noproc")
            return
        if self.waiters is None:
            self.waiters = {}
        self.waiters[waiter] = waiter

    def drop_waiter(self, waiter: Ref) -> None:
        """It was answered, or nobody waits any more."""
        if self.waiters is not None:
            self.waiters.pop(waiter, None)
            if not self.waiters:
                self.waiters = None


def parent_of(process: Process, starter: Process) -> Process:
    """Note who started `process`: the starter, or the supervisor that it acts as. Returns the parent."""
    parent = starter
    if starter.acting_as is not None:
        parent = starter.acting_as.supervisor
        starter.acting_as.started.append(process.pid)
    process.parent = parent.pid
    return parent


# Links are few for most processes (a parent) and many for some (a supervisor): a tuple, then a set.
Links = tuple[Pid, ...] | set[Pid]
_FEW: Final = 4


def link_added(links: Links, pid: Pid) -> Links:
    """`links` with `pid`; a set is changed in place."""
    if isinstance(links, set):
        links.add(pid)
        return links
    if pid in links:
        return links
    return (*links, pid) if len(links) < _FEW else {*links, pid}


def link_removed(links: Links, pid: Pid) -> Links:
    """`links` without `pid`; a set is changed in place."""
    if isinstance(links, set):
        links.discard(pid)
        return links
    return tuple(other for other in links if other != pid)


def sorted_ids(ids: Iterable[Pid]) -> list[Pid]:
    """Pids in an order that is the same in every run, so that a seed replays a test exactly."""
    return sorted(ids, key=lambda pid: pid.sort_key)
