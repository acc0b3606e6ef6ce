"""What belongs to native threads, patched or not: after `gevent.monkey.patch_all()` the standard library's own names
tell greenlets apart instead of threads, and their locks belong to greenlets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gevent.monkey import get_original

get_ident: Final[Callable[[], int]] = get_original("_thread", "get_ident")
start_thread: Final[Callable[[Callable[..., object], tuple[Any, ...]], int]] = get_original(
    "_thread", "start_new_thread"
)
_allocate_lock: Final[Callable[[], Any]] = get_original("_thread", "allocate_lock")


class Answer:
    """One value or exception that a native thread waits for. The wait blocks the thread, event loop and all."""

    __slots__ = ("_error", "_lock", "_value")

    def __init__(self) -> None:
        self._lock = _allocate_lock()
        self._lock.acquire()
        self._value: Any = None
        self._error: BaseException | None = None

    def set_result(self, value: Any) -> None:
        """Let the waiter go on with `value`."""
        self._value = value
        self._lock.release()

    def set_exception(self, error: BaseException) -> None:
        """Raise `error` in the waiter."""
        self._error = error
        self._lock.release()

    def result(self) -> Any:
        """The value, waited for. Once only."""
        self._lock.acquire()
        if self._error is not None:
            raise self._error
        return self._value
