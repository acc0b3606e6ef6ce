"""The pool of greenlets that take turns of server processes.

Nothing of one process may show in the next that uses the same greenlet, so a parked worker is used again only if
nobody else refers to it.
"""

from __future__ import annotations

import logging
from sys import getrefcount
from typing import TYPE_CHECKING, Any, Final
from weakref import getweakrefcount

from greenlet import GreenletExit, getcurrent, greenlet

from supervisor.pids import NodeId
from supervisor.waits import Wait

if TYPE_CHECKING:
    from supervisor.records import Process
    from supervisor.scheduler import Scheduler

log = logging.getLogger(__name__)

_PARKED_AT_MOST: Final = 512
_HELD_AT_FIRST: Final = 64  # set-aside workers before the first look at all of them


class Worker(greenlet):
    """A pooled greenlet that takes turns of server processes, one after the other.

    Nothing of one process may show in the next that uses the same greenlet. So the context is reset after each turn,
    and a worker is used again only if nobody else refers to it (`WorkerPool.take`): who kept `getcurrent()`, left a
    `gevent.Timeout` behind or used a `gevent.local` refers to it.
    """

    __slots__ = ("holds", "hub", "message", "otp_process", "pool")

    def __init__(self, pool: WorkerPool) -> None:
        greenlet.__init__(self, None, pool.hub)
        self.pool = pool
        self.hub = pool.hub
        self.holds = 0  # references by workers that switched here with a reply and are parked since, see `run`
        self.otp_process: Process | None = None
        self.message: Any = None

    def run(self) -> None:
        """Take a turn, park, take the next one. Nothing escapes: the parent is the event loop.

        One flat loop, and the locals are cleared: each turn passes here, and a parked greenlet must keep nothing
        alive. Where it parks it may be thrown at: killed, or a forgotten gevent.Timeout of a process that is long
        done. Whoever throws held a reference, so this greenlet was never to be used again, and it ends.
        """
        pool, hub, parked = self.pool, self.hub, self.pool.parked
        waiter = None
        while True:
            process, message, self.message = self.otp_process, self.message, None
            if process is None:
                wait = message  # its first turn, see `WorkerPool._raise_workers`
            else:
                try:
                    wait = process.behaviour.take_turn(process, message)  # type: ignore[union-attr]
                except BaseException as error:
                    wait = None
                    self._turn_failed(process, error)
            process = message = None
            self.otp_process = None
            if self.gr_context is not None:
                self.gr_context = None
            if len(parked) < _PARKED_AT_MOST:
                parked.append(self)
            else:
                pool.discard(self)
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

    def _turn_failed(self, process: Process, error: BaseException) -> None:
        # Behaviours catch everything their callbacks raise; what arrives here is a bug or a late throw.
        log.error("turn of %r failed", process, exc_info=error)
        if isinstance(error, KeyboardInterrupt):
            self.hub.handle_system_error(KeyboardInterrupt, error)


class WorkerPool:
    """The workers of one scheduler.

    parked: those that may be taken, the last one first. references: what `getrefcount` says in `take` of one to which
    nobody else refers; the hot path of calls compares with it, too.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.hub = scheduler.hub
        self.parked: list[Worker] = []
        self._all: set[Worker] = set()
        self._nursery = greenlet(self._raise_workers, self.hub)
        self._asker: greenlet | None = None
        self._aside: list[Worker] = []
        self._held: list[Worker] = []
        self._held_at_most = _HELD_AT_FIRST
        self.references = self._measure_references()
        self.hub.loop.run_callback(self._move_nursery)

    def __len__(self) -> int:
        return len(self._all)

    def close(self) -> None:
        """End all that are parked. The frames of suspended greenlets are invisible to the collector: they would keep
        the whole runtime alive."""
        self._nursery.throw()
        for worker in [worker for worker in self._all if worker.otp_process is None]:
            worker.throw()
        self.parked.clear()
        self._aside.clear()
        self._held.clear()
        self._all.clear()

    def take(self) -> Worker:
        """A parked worker that nobody else refers to."""
        pool = self.parked
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

    def look_again(self) -> None:
        """Use workers again that were set aside, as far as nobody refers to them any more.

        Most had been switched to by a frame that has gone on by now. The others wait until they are twice as many.
        """
        if not self._aside:
            return
        aside, self._aside = self._aside, []
        sweep = len(self._held) + len(aside) > self._held_at_most
        if sweep:
            aside += self._held
            self._held.clear()
        while aside:
            worker = aside.pop()
            alone = getrefcount(worker) == self.references + worker.holds
            if worker.dead:
                self._all.discard(worker)
            elif not alone or getweakrefcount(worker) or worker.__dict__:
                self._held.append(worker)
            elif len(self.parked) < _PARKED_AT_MOST:
                self.parked.append(worker)
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
        return self.parked.pop()

    def _raise_workers(self) -> None:
        """Start workers, as the body of a greenlet of their own; each parks and switches to who asked for it.

        A greenlet counts its recursion from where it was started. A worker that was started in the midst of somebody's
        recursion would have that much less for every server that it serves; so they all start here, near the bottom.
        """
        while True:
            worker = Worker(self)
            self._all.add(worker)
            worker.message = Wait(NodeId("", 0), 0, self.scheduler, self._asker, None)
            worker.holds += 2  # this frame, which stays in `switch`
            worker.switch()
            worker.holds -= 2

    def _move_nursery(self) -> None:
        """The first nursery began wherever the runtime was made; the lasting one begins in the event loop."""
        if not self._nursery:
            return  # closed meanwhile
        first, self._nursery = self._nursery, greenlet(self._raise_workers, self.hub)
        first.throw()
        while self.parked:
            self.discard(self.parked.pop())

    def _measure_references(self) -> int:
        """What `getrefcount` says in `take` of a parked worker that nobody else refers to.

        Measured on a real one: the count differs between versions of Python.
        """
        worker = self._new_worker()
        references = getrefcount(worker) - worker.holds
        self.parked.append(worker)
        return references

    def discard(self, worker: Worker) -> None:
        """Let a worker that parks end. It would not do so by itself: its own `run` refers to it."""
        self._all.discard(worker)
        self.hub.loop.run_callback(worker.throw, GreenletExit)
