"""Who runs next: pooled greenlets, direct hand-over of calls, and waits that end exactly once.

A server process owns no greenlet while it is idle. When there is something to do, a pooled `Worker` takes one *turn*
of it: handles messages until the mailbox is empty. A caller of an idle server switches straight into the worker and
the worker switches straight back with the reply; nothing goes through the event loop. Three things keep this sound:

- A wait is a record (`Wait`), not a greenlet. It ends once (reply, failure, timeout, or the waiter left), and whoever
  comes later finds it ended. Nothing else ever switches into a waiting greenlet.
- Timers of waits are armed lazily: a wait that began goes on a stack, and only when control reaches the event loop
  (some handler blocked) does `arm_waits` give every wait on the stack its timer. A call that is answered by direct
  hand-over never touches the clock.
- A budget of hand-overs and of time sends a call through the loop now and then, so that a busy pair starves neither
  timers nor I/O.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from sys import getrefcount
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import getweakrefcount

import gevent
from greenlet import GreenletExit, getcurrent, greenlet

from supervisor.clock import Clock, Timer
from supervisor.errors import CallTimeout, ProcessExit
from supervisor.pids import NodeId, Ref

if TYPE_CHECKING:
    from supervisor.records import Process

log = logging.getLogger(__name__)

# How a wait stands. It leaves PENDING once.
PENDING: Final = 0
REPLIED: Final = 1
FAILED: Final = 2
EXPIRED: Final = 3
ABANDONED: Final = 4

_BUDGET_CHUNK: Final = 32  # hand-overs between two looks at the clock
_BUDGET_CHUNKS: Final = 16  # chunks before a call goes through the loop whatever the clock says
_BUDGET_SECONDS: Final = 0.002
_SLICE_SECONDS: Final = 0.002  # how long one drain of the ready queue may hold the loop
_SLICE_ITEMS: Final = 32  # items before the first look at the clock
_SLICE_ITEMS_AT_MOST: Final = 4096  # a virtual clock stands still during a drain: a count bounds it too
_POOL_SIZE: Final = 512
_HELD_AT_FIRST: Final = 64  # set-aside workers before the first look at all of them


class Runnable(Protocol):
    """What the ready queue holds. `resume` is called on the loop's greenlet and returns when the work pauses."""

    def resume(self) -> None: ...


class Wait(Ref):
    """One greenlet waiting for one answer; it is the `Ref` in the `from_` of the call that it waits for.

    Invariant: `greenlet` is set exactly while that greenlet is suspended for this wait.
    """

    __slots__ = ("greenlet", "scheduler", "state", "target", "timeout", "timer", "value")

    def __init__(
        self,
        home: NodeId,
        serial: int,
        scheduler: Scheduler,
        waiter: greenlet | None,
        timeout: float | None,
        target: Any = None,
    ) -> None:
        self.home = home
        self.serial = serial
        self.scheduler = scheduler
        self.greenlet = waiter
        self.timeout = timeout
        self.target = target  # who owes the answer: it learns that nobody waits any more, see `settle`
        self.state = PENDING
        self.timer: Timer | None = None
        self.value: Any = None

    def reply(self, value: Any) -> bool:
        """End the wait with `value`; the waiter runs from the ready queue. False when it had ended before."""
        if self.state != PENDING:
            return False
        self.state = REPLIED
        self.value = value
        self.scheduler.ready_up(self)
        return True

    def fail(self, error: BaseException) -> bool:
        """End the wait with an exception, which is raised in the waiter. False when it had ended before."""
        if self.state != PENDING:
            return False
        self.state = FAILED
        self.value = error
        self.scheduler.ready_up(self)
        return True

    def target_died(self, reason: Any) -> None:
        """The process that owed the answer is dead."""
        self.fail(ProcessExit(reason))

    def resume(self) -> None:
        """Switch to the waiter, if it still waits."""
        waiter, self.greenlet = self.greenlet, None
        if waiter is not None:
            waiter.switch()

    def outcome(self) -> Any:
        """What the wait ended with: the value, or its exception is raised."""
        if self.state == REPLIED:
            return self.value
        if self.state == FAILED:
            raise self.value
        raise CallTimeout(f"no answer within {self.timeout} s")


class Worker(greenlet):
    """A pooled greenlet that takes turns of server processes, one after the other.

    Nothing of one process may show in the next that uses the same greenlet. So the context is reset after each turn,
    and a worker is used again only if nobody else refers to it (`Scheduler.take`): who kept `getcurrent()`, left a
    `gevent.Timeout` behind or used a `gevent.local` refers to it.
    """

    __slots__ = ("holds", "message", "otp_process", "scheduler")

    def __init__(self, scheduler: Scheduler) -> None:
        greenlet.__init__(self, None, scheduler.hub)
        self.scheduler = scheduler
        self.holds = 0  # references by workers that switched here with a reply and are parked since, see `run`
        self.otp_process: Process | None = None
        self.message: Any = None

    def run(self) -> None:
        """Take a turn, park, take the next one. Nothing escapes: the parent is the event loop.

        One flat loop, and the locals are cleared: each turn passes here, and a parked greenlet must keep nothing
        alive. Where it parks it may be thrown at: killed, or a forgotten gevent.Timeout of a process that is long
        done. Whoever throws held a reference, so this greenlet was never to be used again, and it ends.
        """
        scheduler, hub, pool = self.scheduler, self.scheduler.hub, self.scheduler.pool
        waiter = None
        while True:
            wait = self._turn()
            self.otp_process = None
            if self.gr_context is not None:
                self.gr_context = None
            if len(pool) < _POOL_SIZE:
                pool.append(self)
            else:
                scheduler.discard(self)
            if wait is not None:
                waiter, wait.greenlet, wait = wait.greenlet, None, None
            try:
                if waiter is None:
                    hub.switch()
                elif type(waiter) is Worker:
                    # While this one is parked in `switch` its frame refers to the waiter, which may be wanted again.
                    waiter.holds += 2
                    waiter.switch()
                    waiter.holds -= 2
                    waiter = None
                else:
                    waiter.switch()
                    waiter = None
            except BaseException:
                if type(waiter) is Worker:
                    waiter.holds -= 2
                return

    def _turn(self) -> Wait | None:
        process, message = self.otp_process, self.message
        self.message = None
        if process is None:
            return message  # type: ignore[no-any-return]  # its first turn, see `Scheduler._raise_workers`
        try:
            return process.behaviour.take_turn(process, message)  # type: ignore[union-attr]
        except BaseException as error:
            # Behaviours catch everything their callbacks raise; what arrives here is a bug or a late throw.
            log.exception("turn of %r failed", process)
            if isinstance(error, KeyboardInterrupt):
                self.scheduler.hub.handle_system_error(KeyboardInterrupt, error)
            return None


class Throw:
    """An exit on its way into the greenlet of a dead process. Thrown from the loop only."""

    __slots__ = ("error", "process", "target")

    def __init__(self, process: Process, target: greenlet, error: BaseException) -> None:
        self.process = process
        self.target = target
        self.error = error

    def resume(self) -> None:
        if self.target.dead or getattr(self.target, "otp_process", None) is not self.process:
            return  # it finished, or its greenlet works for somebody else by now
        if self.process.adopted:
            del self.target.otp_process  # type: ignore[attr-defined]
        self.target.throw(self.error)


class Scheduler:
    """Runs the processes of one runtime on the event loop of one thread."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.hub = gevent.get_hub()
        self.thread = get_ident()
        self.pool: list[Worker] = []
        self.budget = _BUDGET_CHUNK
        self.references = 0  # see `_measure_references`
        self.lazy: list[Wait] = []  # waits that began since the loop last polled, see `arm_waits`
        self.waits: dict[int, Wait] = {}  # armed waits by serial: what a reply from another node can name
        self._workers: set[Worker] = set()
        self._ready: deque[Runnable] = deque()
        self._scheduled = False
        self._slice = 0
        self._chunks = _BUDGET_CHUNKS
        self._pass_began = clock.now()
        self._continue: Any = None
        # The lowest priority: gevent runs its callbacks in a prepare watcher too, and a wait that begins in one of them
        # must be armed before the loop polls (with equal priorities libev calls ours first: seen).
        self._prepare = self.hub.loop.prepare(ref=False, priority=-2)
        self._prepare.start(self._before_poll)
        self._nursery = greenlet(self._raise_workers, self.hub)
        self._asker: greenlet | None = None
        self._aside: list[Worker] = []
        self._held: list[Worker] = []
        self._held_at_most = _HELD_AT_FIRST
        self.references = self._measure_references()
        self.hub.loop.run_callback(self._move_nursery)

    def close(self) -> None:
        """Stop the watchers and let the pooled greenlets go. Processes must be gone by then; who was told to exit does
        so here, at the latest. Runs on the loop's greenlet."""
        while self._ready:
            self._ready.popleft().resume()
        self._prepare.stop()
        self._prepare.close()
        if self._continue is not None:
            self._continue.stop()
            self._continue.close()
            self._continue = None
        # The frames of suspended greenlets are invisible to the collector: they would keep all of this alive.
        self._nursery.throw()
        for worker in [worker for worker in self._workers if worker.otp_process is None]:
            worker.throw()
        self.pool.clear()
        self._aside.clear()
        self._held.clear()
        self._workers.clear()

    # -- greenlets ---------------------------------------------------------------------------------------------------

    def take(self) -> Worker:
        """A parked worker that nobody else refers to."""
        pool = self.pool
        while pool:
            worker = pool.pop()
            alone = getrefcount(worker) == self.references + worker.holds
            if alone and not getweakrefcount(worker) and not worker.__dict__:
                return worker
            self._aside.append(worker)
        return self._new_worker()

    def take_instead_of(self, worker: Worker) -> Worker:
        """Another worker than this one, to which somebody still refers."""
        self._aside.append(worker)
        return self.take()

    def _look_again(self) -> None:
        """Use workers again that were set aside, as far as nobody refers to them any more.

        Most had been switched to by a frame that has gone on by now. The others wait until they are twice as many.
        """
        aside, self._aside = self._aside, []
        sweep = len(self._held) + len(aside) > self._held_at_most
        if sweep:
            aside += self._held
            self._held.clear()
        while aside:
            worker = aside.pop()
            alone = getrefcount(worker) == self.references + worker.holds
            if worker.dead:
                self._workers.discard(worker)
            elif not alone or getweakrefcount(worker) or worker.__dict__:
                self._held.append(worker)
            elif len(self.pool) < _POOL_SIZE:
                self.pool.append(worker)
            else:
                self.discard(worker)
        if sweep:
            self._held_at_most = max(_HELD_AT_FIRST, 2 * len(self._held))

    def _new_worker(self) -> Worker:
        self._asker = getcurrent()
        if self._nursery.dead:  # Ctrl-C can hit it
            self._nursery = greenlet(self._raise_workers, self.hub)
        self._nursery.switch()
        self._asker = None
        return self.pool.pop()

    def _raise_workers(self) -> None:
        """Start workers, as the body of a greenlet of their own; each parks and switches to who asked for it.

        A greenlet counts its recursion from where it was started. A worker that was started in the midst of somebody's
        recursion would have that much less for every server that it serves; so they all start here, near the bottom.
        """
        while True:
            worker = Worker(self)
            self._workers.add(worker)
            worker.message = Wait(NodeId("", 0), 0, self, self._asker, None)
            worker.holds += 2  # this frame, which stays in `switch`
            worker.switch()
            worker.holds -= 2

    def _move_nursery(self) -> None:
        """The first nursery began wherever the runtime was made; the lasting one begins in the event loop."""
        if not self._nursery:
            return  # closed meanwhile
        first, self._nursery = self._nursery, greenlet(self._raise_workers, self.hub)
        first.throw()
        while self.pool:
            self.discard(self.pool.pop())

    def _measure_references(self) -> int:
        """What `getrefcount` says in `take` of a parked worker that nobody else refers to.

        Measured on a real one: the count differs between versions of Python.
        """
        worker = self._new_worker()
        references = getrefcount(worker) - worker.holds
        self.pool.append(worker)
        return references

    def discard(self, worker: Worker) -> None:
        """Let a worker that parks end. It would not do so by itself: its own `run` refers to it."""
        self._workers.discard(worker)
        self.hub.loop.run_callback(worker.throw, GreenletExit)

    @property
    def idle_workers(self) -> int:
        """How many greenlets wait in the pool."""
        return len(self.pool)

    @property
    def workers(self) -> int:
        """How many pooled greenlets there are, parked and at work."""
        return len(self._workers)

    # -- the ready queue ---------------------------------------------------------------------------------------------

    def ready_up(self, item: Runnable) -> None:
        """Run `item.resume()` from the loop, after what is ready already."""
        self._ready.append(item)
        if not self._scheduled:
            self._scheduled = True
            if self.budget > 0:
                self.hub.loop.run_callback(self._drain)
            else:
                self._drain_next_pass()

    def idle(self) -> bool:
        """Whether nothing is ready to run."""
        return not self._ready

    def _drain(self) -> None:
        """Run what is ready, for a slice; the rest after the loop has looked at timers and I/O.

        It counts as scheduled all the while: what becomes ready meanwhile must not bring it back in the same pass.
        """
        ready = self._ready
        end = self.clock.now() + _SLICE_SECONDS
        self._slice = _SLICE_ITEMS
        try:
            while ready:
                ready.popleft().resume()
                self._slice -= 1
                if self.budget <= 0 or (self._slice <= 0 and self._slice_is_over(end)):
                    break
        finally:  # one that failed must not hold up the others
            self._scheduled = bool(ready)
            if ready:
                self._drain_next_pass()

    def _slice_is_over(self, end: float) -> bool:
        return self._slice <= -_SLICE_ITEMS_AT_MOST or self.clock.now() >= end

    def took_long(self, items: int) -> None:
        """What runs counts as that many items of the slice."""
        self._slice -= items

    def pass_is_long(self, seconds: float) -> bool:
        """Whether the loop has not polled for `seconds`."""
        return self.clock.now() - self._pass_began > seconds

    def _drain_next_pass(self) -> None:
        # run_callback would come back in the same pass of the loop; a timer of zero lets the loop poll first.
        if self._continue is None:
            self._continue = self.hub.loop.timer(0)
        self._continue.start(self._drain)

    # -- waiting -----------------------------------------------------------------------------------------------------

    def has_budget(self) -> bool:
        """Whether one more hand-over may skip the loop. Counts as one."""
        self.budget -= 1
        return self.budget >= 0 or self._refuel()

    def _refuel(self) -> bool:
        self._chunks -= 1
        if self._chunks <= 0 or self.clock.now() - self._pass_began > _BUDGET_SECONDS:
            self.budget = 0
            return False
        self.budget = _BUDGET_CHUNK
        return True

    def suspend(self, wait: Wait, worker: Worker | None = None) -> None:
        """Suspend the current greenlet until `wait` has ended, starting with a switch into `worker` if given.

        Whatever is thrown into the greenlet meanwhile (an exit, a gevent.Timeout of the caller) ends the wait as
        abandoned and goes on to the caller.
        """
        self.lazy.append(wait)
        try:
            if worker is not None:
                worker.switch()
            else:
                self.hub.switch()
            if wait.state == PENDING:
                self.resume_waiting(wait)
        except BaseException:
            self.abandon(wait)
            raise
        if self.lazy and self.lazy[-1] is wait:
            self.lazy.pop()
        else:
            self.settle(wait)

    def resume_waiting(self, wait: Wait) -> None:
        """Somebody switched here who had nothing to do with `wait`: go on waiting."""
        while wait.state == PENDING:
            self.hub.switch()

    def abandon(self, wait: Wait) -> None:
        """The waiter leaves: an answer that comes later finds nobody."""
        if wait.state == PENDING:
            wait.state = ABANDONED
        wait.greenlet = None
        self.settle(wait)

    def give_way(self, wait: Wait) -> None:
        """Let everything that is ready run before the current greenlet goes on; `wait` is a fresh one of it."""
        wait.reply(None)
        self.suspend(wait)

    def arm_waits(self) -> None:
        """Give every wait that began since the last pass its timer, and make it known to who owes the answer."""
        lazy, self.lazy[:] = self.lazy[:], []
        for wait in lazy:
            if wait.state == PENDING:
                self._arm(wait)

    def _arm(self, wait: Wait) -> None:
        self.waits[wait.serial] = wait
        if wait.target is not None:
            wait.target.add_waiter(wait)
        if wait.timeout is not None:
            wait.timer = self.clock.call_later(wait.timeout, self._expire, wait)

    def _expire(self, wait: Wait) -> None:
        if wait.state == PENDING:
            wait.state = EXPIRED
            self.ready_up(wait)

    def settle(self, wait: Wait) -> None:
        """Forget an armed wait."""
        if self.waits.pop(wait.serial, None) is None:
            return
        if wait.timer is not None:
            wait.timer.cancel()
        if wait.target is not None:
            wait.target.drop_waiter(wait)

    def _before_poll(self) -> None:
        """The loop is about to look at timers and I/O."""
        self.budget = _BUDGET_CHUNK
        self._chunks = _BUDGET_CHUNKS
        self._pass_began = self.clock.now()
        if self._aside:
            self._look_again()
        if self.lazy:
            self.arm_waits()
            if self._ready:
                self._drain_next_pass()  # callbacks have run in this pass: only a timer keeps the poll from blocking

    def run_in_loop(self, fn: Callable[..., object], *args: Any) -> None:
        """Call `fn(*args)` on the loop's greenlet; from any thread."""
        if get_ident() == self.thread:
            self.hub.loop.run_callback(fn, *args)
        else:
            self.hub.loop.run_callback_threadsafe(fn, *args)

    def on_loop_greenlet(self) -> bool:
        """Whether the caller is a callback of the event loop, which must never block."""
        return getcurrent() is self.hub
