"""Processes that wait for something to happen, by a key that says what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from supervisor.processes import new_wait
from supervisor.runtime import Runtime
from supervisor.waits import Wait

K = TypeVar("K")


class Waiters(Generic[K]):
    """Those who wait, all of them woken at once per key. Keys for which nobody waits take no room."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waits: dict[K, list[Wait]] = {}

    def __len__(self) -> int:
        return len(self._waits)

    def __iter__(self) -> Iterator[K]:
        return iter(self._waits)

    def wait(self, key: K, timeout: float | None) -> bool:
        """Suspend until `wake(key)`. Returns what that says; False when it takes longer than `timeout` seconds."""
        wait = new_wait(self._runtime, timeout)
        self._waits.setdefault(key, []).append(wait)
        try:
            self._runtime.scheduler.suspend(wait)
        finally:
            waits = self._waits.get(key)
            if waits is not None and wait in waits:
                waits.remove(wait)
                if not waits:
                    del self._waits[key]
        return wait.value is True

    def wake(self, key: K, answer: bool = True) -> None:
        """Let all go on that wait for this."""
        for wait in self._waits.pop(key, ()):
            wait.reply(answer)
