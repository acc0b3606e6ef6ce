"""ConsistentHashing: owners are the first nodes clockwise from the child's place on a hash ring. The default."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from processhub.strategy.distribution.base import Distribution, Placement
from processhub.strategy.distribution.ring_index import RingIndex
from ring.hash_ring import HashRing, changes


class RingPlacement(Placement):
    """Owners by a hash ring of the members."""

    __slots__ = ("members", "ring")

    def __init__(self, ring: HashRing) -> None:
        self.ring = ring
        self.members = ring.nodes

    def owners(self, child_id: str, chosen: Any, n: int) -> tuple[str, ...]:
        """The first `n` distinct nodes clockwise from the child's position; nothing is chosen by hand."""
        return self.ring.owners(child_id, n)

    def __eq__(self, other: object) -> bool:
        return self.ring == other.ring if isinstance(other, RingPlacement) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.ring)

    def __repr__(self) -> str:
        return f"RingPlacement({self.ring!r})"


@dataclass(frozen=True)
class ConsistentHashing(Distribution):
    """A node that joins takes an equal share from all others; one that leaves spreads its own. Nothing else moves."""

    uses_index: ClassVar[bool] = True

    def place(self, members: Iterable[str]) -> RingPlacement:
        """The ring of these nodes, all of the same weight."""
        return RingPlacement(HashRing(members))

    def affected(self, old: Placement, new: Placement, n: int, index: RingIndex) -> Iterator[str] | None:
        """The children in the ranges of the ring that got other owners."""
        if not isinstance(old, RingPlacement) or not isinstance(new, RingPlacement):
            return None
        return index.within(changes(old.ring, new.ring, n))
