"""The keys that events touched, each once, first come first served."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class Touched:
    """A queue of child ids without duplicates.

    Rejected: one dict as an ordered set. Taking its first key again and again walks over the keys that were taken
    before, which is quadratic.
    """

    __slots__ = ("_queue", "_waiting")

    def __init__(self) -> None:
        self._queue: deque[str] = deque()
        self._waiting: set[str] = set()

    def __len__(self) -> int:
        return len(self._queue)

    def update(self, child_ids: Iterable[str]) -> None:
        """Put ids at the end, those that do not wait already."""
        for child_id in child_ids:
            if child_id not in self._waiting:
                self._waiting.add(child_id)
                self._queue.append(child_id)

    def popleft(self) -> str:
        """Take the one that waits longest. Raises IndexError when none waits."""
        child_id = self._queue.popleft()
        self._waiting.discard(child_id)
        return child_id

    def clear(self) -> None:
        """Forget all."""
        self._queue.clear()
        self._waiting.clear()
