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
        waiting = self._waiting
        new = [child_id for child_id in dict.fromkeys(child_ids) if child_id not in waiting]
        waiting.update(new)
        self._queue.extend(new)

    def take(self, count: int) -> list[str]:
        """Take those that wait longest, at most `count`."""
        queue = self._queue
        taken = [queue.popleft() for _ in range(min(count, len(queue)))]
        self._waiting.difference_update(taken)
        return taken

    def clear(self) -> None:
        """Forget all."""
        self._queue.clear()
        self._waiting.clear()
