"""Future: the outcome of work that a hub does, to wait for, to be told of, or to ignore.

It may be completed and waited for anywhere: in processes, in other greenlets, in native threads. A wait in a greenlet
of the node's thread is a `Wait` of the node's scheduler, so it runs on the node's clock; a native thread waits through
a process of the node, for the same reason.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future as ThreadFuture
from typing import Any, Final, Generic, TypeVar, cast

from gevent.monkey import get_original

from supervisor.errors import CallTimeout
from supervisor.native import Answer, get_ident
from supervisor.processes import new_wait
from supervisor.runtime import Runtime
from supervisor.waits import EXPIRED, Wait

log = logging.getLogger(__name__)

T = TypeVar("T")
Link = Callable[[Any], object]

# A native lock, patched or not, one for all futures: it is held for a few instructions, in which nothing can switch.
_lock: Final = get_original("_thread", "allocate_lock")()
_PENDING: Final = object()


class Future(Generic[T]):
    """A value that will be there once.

    Args:
        runtime: the node whose clock and event loop serve those who wait.
        label: what it is the outcome of, for `repr` and timeouts.
    """

    __slots__ = ("_callbacks", "_error", "_links", "_value", "_waits", "label", "runtime")

    def __init__(self, runtime: Runtime, label: str = "") -> None:
        self.runtime = runtime
        self.label = label
        # Invariant: when _value is set, the three lists are empty for good. All change under the lock only.
        self._value: Any = _PENDING
        self._error: BaseException | None = None
        self._waits: list[Wait] = []
        self._callbacks: list[Callable[[Future[T]], object]] = []
        self._links: list[Link] = []

    @classmethod
    def of(cls, runtime: Runtime, value: T, label: str = "") -> Future[T]:
        """A future that is done already."""
        future = cls(runtime, label)
        future._value = value
        return future

    # -- completing

    def set_result(self, value: T) -> bool:
        """Complete it and wake all that wait. From anywhere; never blocks. False if it was done before."""
        return self._complete(value, None)

    def set_error(self, error: BaseException) -> bool:
        """Complete it with an exception, which `result` raises: the work itself broke down. Else as `set_result`."""
        return self._complete(None, error)

    def _complete(self, value: Any, error: BaseException | None) -> bool:
        with _lock:
            if self._value is not _PENDING:
                return False
            self._value, self._error = value, error
            waits, self._waits = self._waits, []
            callbacks, self._callbacks = self._callbacks, []
            links, self._links = self._links, []
        if waits or callbacks or links:
            self._on_thread(self._wake, waits, callbacks, links)
        return True

    def _wake(self, waits: list[Wait], callbacks: list[Callable[[Future[T]], object]], links: list[Link]) -> None:
        for wait in waits:
            wait.reply(None)
        for fn in callbacks:
            self._spawn_callback(fn)
        for link in links:
            self._call_link(link)

    def _on_thread(self, fn: Callable[..., object], *args: Any) -> None:
        """Call now, when we are on the node's thread, else from its event loop."""
        if get_ident() == self.runtime.scheduler.thread:
            fn(*args)
        else:
            self.runtime.scheduler.run_in_loop(fn, *args)

    # -- asking

    def done(self) -> bool:
        """Whether the outcome is there."""
        return self._value is not _PENDING

    def result(self, timeout: float | None = None) -> T:
        """The outcome, waited for if need be.

        Args:
            timeout: seconds on the node's clock; None waits for ever, 0 only looks.

        Raises:
            CallTimeout: it is not there in time. Nothing is cancelled: ask again later.
            RuntimeError: it would wait on the event loop's own greenlet.
            The error given to `set_error`.
        """
        if self._value is _PENDING:
            if timeout is not None and timeout <= 0:
                raise self._timed_out(timeout)
            if get_ident() == self.runtime.scheduler.thread:
                self._wait(timeout)
            else:
                self._wait_in_thread(timeout)
        if self._error is not None:
            raise self._error
        return cast("T", self._value)

    def _wait(self, timeout: float | None) -> None:
        scheduler = self.runtime.scheduler
        if scheduler.on_loop_greenlet():
            raise RuntimeError(f"{self!r}: result() was called on the event loop's own greenlet; use add_done_callback")
        wait = new_wait(self.runtime, timeout)
        with _lock:
            if self._value is not _PENDING:
                return
            self._waits.append(wait)
        try:
            scheduler.suspend(wait)
        finally:
            self._remove(self._waits, wait)
        if wait.state == EXPIRED and self._value is _PENDING:
            raise self._timed_out(timeout)

    def _wait_in_thread(self, timeout: float | None) -> None:
        """Let a process of the node wait in our place."""
        woken = Answer()
        self.runtime.scheduler.run_in_loop(self.runtime.spawn, self._wait_for_thread, (woken, timeout), {})
        woken.result()

    def _wait_for_thread(self, woken: Answer, timeout: float | None) -> None:
        try:
            if not self.done():
                self._wait(timeout)
            woken.set_result(None)
        except BaseException as error:
            woken.set_exception(error)

    def _timed_out(self, timeout: float | None) -> CallTimeout:
        return CallTimeout(
            f"no result within {timeout} s{f' of {self.label}' if self.label else ''}; it may still come"
        )

    # -- being told

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """Have `fn(future)` called once, when the outcome is there: at once if it is.

        It runs in a process of its own, never here, and may block. What it raises is logged.
        """
        with _lock:
            if self._value is _PENDING:
                self._callbacks.append(fn)
                return
        self._on_thread(self._spawn_callback, fn)

    def _spawn_callback(self, fn: Callable[[Future[T]], object]) -> None:
        self.runtime.spawn(self._run_callback, (fn,), {})

    def _run_callback(self, fn: Callable[[Future[T]], object]) -> None:
        try:
            fn(self)
        except Exception:
            log.exception("a done callback of %r failed: %r", self, fn)

    def concurrent(self) -> ThreadFuture[T]:
        """A `concurrent.futures.Future` of the same outcome, for other libraries (`asyncio.wrap_future`).

        Cancelling that one cancels nothing here.
        """
        other: ThreadFuture[T] = ThreadFuture()

        def pass_on(_: Future[T]) -> None:
            if not other.set_running_or_notify_cancel():
                return
            if self._error is not None:
                other.set_exception(self._error)
            else:
                other.set_result(self._value)

        self.add_done_callback(pass_on)
        return other

    # -- what gevent.wait and gevent.iwait ask for

    def ready(self) -> bool:
        """`done`, as gevent calls it."""
        return self.done()

    def rawlink(self, link: Link) -> None:
        """Have `link(self)` called on the event loop when the outcome is there. For gevent; it must not block."""
        with _lock:
            if self._value is _PENDING:
                self._links.append(link)
                return
        self._on_thread(self._call_link, link)

    def unlink(self, link: Link) -> None:
        """Undo `rawlink`."""
        self._remove(self._links, link)

    def _call_link(self, link: Link) -> None:
        self.runtime.scheduler.run_in_loop(link, self)

    def _remove(self, items: list[Any], item: Any) -> None:
        with _lock:
            if item in items:
                items.remove(item)

    def __repr__(self) -> str:
        state = "pending" if self._value is _PENDING else "done" if self._error is None else f"failed: {self._error!r}"
        return f"<Future{f' {self.label}' if self.label else ''} {state}>"
