"""An index of children by their position on the ring, for visiting only those in some ranges.

Positions are hashes, so they spread evenly, and a table with buckets by their leading bits is sorted as it stands:
adding and removing cost one dict operation however many children there are, and nothing is ever sorted or rebuilt as a
whole. A range visits whole buckets, and looks closer only at those at its two ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ring.hash_ring import position

_BUCKET_BITS = 12  # 4096 buckets, about 250 children in each at 1 000 000
_SHIFT = 64 - _BUCKET_BITS


class RingIndex:
    """A set of child ids that can be asked for those in ranges of ring positions."""

    __slots__ = ("_buckets", "_count")

    def __init__(self, child_ids: Iterable[str] = ()) -> None:
        # Invariant: _buckets[b] is None or holds {child id: position} of exactly the ids with position >> _SHIFT == b.
        self._buckets: list[dict[str, int] | None] = [None] * (1 << _BUCKET_BITS)
        self._count = 0
        self.update(child_ids)

    def add(self, child_id: str) -> None:
        """Put a child in; does nothing if it is there."""
        at = position(child_id)
        bucket = self._buckets[at >> _SHIFT]
        if bucket is None:
            bucket = self._buckets[at >> _SHIFT] = {}
        if child_id not in bucket:
            bucket[child_id] = at
            self._count += 1

    def update(self, child_ids: Iterable[str]) -> None:
        """Put many in."""
        for child_id in child_ids:
            self.add(child_id)

    def discard(self, child_id: str) -> None:
        """Take a child out; does nothing if it is not there."""
        number = position(child_id) >> _SHIFT
        bucket = self._buckets[number]
        if bucket is not None and bucket.pop(child_id, None) is not None:
            self._count -= 1
            if not bucket:
                self._buckets[number] = None

    def clear(self) -> None:
        """Take all out."""
        self._buckets = [None] * (1 << _BUCKET_BITS)
        self._count = 0

    def within(self, ranges: Iterable[tuple[int, int]]) -> Iterator[str]:
        """The children at positions p with low < p <= high of some range, in the order of ranges and positions.

        The ranges are those of `ring.hash_ring.changes`. Children may be put in and taken out between two steps: each
        that is there all the time comes once.
        """
        for low, high in ranges:
            first = max(low + 1, 0) >> _SHIFT
            for number in range(first, (high >> _SHIFT) + 1):
                bucket = self._buckets[number]
                if bucket is not None:
                    # sorted() takes a copy, so that the bucket may change while we pause in the yield.
                    found = sorted((at, child_id) for child_id, at in bucket.items() if low < at <= high)
                    yield from (child_id for _, child_id in found)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, child_id: object) -> bool:
        if not isinstance(child_id, str):
            return False
        bucket = self._buckets[position(child_id) >> _SHIFT]
        return bucket is not None and child_id in bucket

    def __repr__(self) -> str:
        return f"<RingIndex of {self._count} children>"
