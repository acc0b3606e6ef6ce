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

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import gevent
from greenlet import getcurrent

from supervisor.clock import Clock
from supervisor.native import get_ident
from supervisor.waits import ABANDONED, EXPIRED, PENDING, Runnable, Wait
from supervisor.workers import Worker, WorkerPool

_BUDGET_CHUNK: Final = 32  # hand-overs between two looks at the clock
_BUDGET_CHUNKS: Final = 16  # chunks before a call goes through the loop whatever the clock says
_BUDGET_SECONDS: Final = 0.002
_SLICE_SECONDS: Final = 0.002  # how long one drain of the ready queue may hold the loop
_SLICE_ITEMS: Final = 32  # items before the first look at the clock
_LOOP: Final = "gevent.libev.corecext"
_SLICE_ITEMS_AT_MOST: Final = 4096  # a virtual clock stands still during a drain: a count bounds it too


class Scheduler:
    """Runs the processes of one runtime on the event loop of one thread."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.hub = gevent.get_hub()
        check_loop(self.hub.loop)
        self.thread = get_ident()
        self.budget = _BUDGET_CHUNK
        self.lazy: list[Wait] = []  # waits that began since the loop last polled, see `arm_waits`
        self.waits: dict[int, Wait] = {}  # armed waits by serial: what a reply from another node can name
        self._ready: deque[Runnable] = deque()
        self._scheduled = False
        self._slice = 0
        self._chunks = _BUDGET_CHUNKS
        self._pass_began = clock.now()
        self._continue: Any = None
        self._pulse: Any = None
        # The lowest priority: gevent runs its callbacks in a prepare watcher too, and a wait that begins in one of them
        # must be armed before the loop polls (with equal priorities libev calls ours first: seen).
        self._prepare = self.hub.loop.prepare(ref=False, priority=-2)
        self._prepare.start(self._before_poll)
        self._check = self.hub.loop.check(ref=False, priority=-2)  # after all timers and I/O of a pass
        self._check.start(self._after_poll)
        self.pool = WorkerPool(self)

    def close(self) -> None:
        """Stop the watchers and let the pooled greenlets go. Processes must be gone by then; who was told to exit does
        so here, at the latest. Runs on the loop's greenlet."""
        while self._ready:
            self._ready.popleft().resume()
        for watcher in (self._prepare, self._check):
            watcher.stop()
            watcher.close()
        if self._continue is not None:
            self._continue.stop()
            self._continue.close()
            self._continue = None
        if self._pulse is not None:
            self._pulse.stop()
            self._pulse.close()
            self._pulse = None
        self.pool.close()

    @property
    def workers(self) -> int:
        """How many pooled greenlets there are, parked and at work."""
        return len(self.pool)

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

    def has_time(self) -> bool:
        """Whether the loop may wait for one more step of a millisecond or more."""
        self.budget = 0
        return self._refuel()

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
            try:
                wait.timer = self.clock.call_later(wait.timeout, self._expire, wait)
            except TypeError:  # raised where it was given; here it would hit the loop, and the waits behind this one
                wait.fail(TypeError(f"a timeout must be seconds or None; got {wait.timeout!r:.80}"))

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
        self.pool.look_again()
        if self.lazy:
            self.arm_waits()
            if self._ready:
                self._drain_next_pass()  # callbacks have run in this pass: only a timer keeps the poll from blocking

    def _after_poll(self) -> None:
        """Timers and I/O of this pass have been served.

        A greenlet that one of them resumed may wait by now. Without a timer, and with nothing else to watch, the loop
        would end here ("would block forever") instead of coming by `_before_poll`.
        """
        if self.lazy and not self._scheduled:
            self.arm_waits()

    def wake_for_signals(self) -> None:
        """Let the loop come back to Python once a second, though nothing else is due.

        A signal (Ctrl-C) that arrives just between Python's last look and the loop's poll is not noticed before the
        poll ends, which for a node at rest is never (seen: about one time in twenty).
        """
        if self._pulse is None:
            self._pulse = self.hub.loop.timer(1.0, repeat=1.0, ref=False)
            self._pulse.start(_nothing)

    def run_in_loop(self, fn: Callable[..., object], *args: Any) -> None:
        """Call `fn(*args)` on the loop's greenlet; from any thread."""
        if get_ident() == self.thread:
            self.hub.loop.run_callback(fn, *args)
        else:
            self.hub.loop.run_callback_threadsafe(fn, *args)

    def on_loop_greenlet(self) -> bool:
        """Whether the caller is a callback of the event loop, which must never block."""
        return getcurrent() is self.hub


def check_loop(loop: Any) -> None:
    """Raise RuntimeError for a loop of gevent's other than libev's of C, its default but on Windows.

    libuv has no watchers that run right before it polls: nothing would tell when a wait is to get its timer. With libev
    by way of cffi a wait that begins in the last callback of a pass ends the loop, and the watchdog is blind (seen).
    """
    if not any(cls.__module__ == _LOOP for cls in type(loop).__mro__):
        raise RuntimeError(
            f"gevent runs here on {type(loop).__module__}; the runtime needs {_LOOP}, gevent's default but on Windows: "
            "set the environment variable GEVENT_LOOP to libev-cext, or leave it unset"
        )


def _nothing() -> None:
    """What the pulse does."""
