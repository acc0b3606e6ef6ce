"""Owners that were chosen once, by load, and stay: the value of a child's placement register, and who owns by it.

A chosen node is named with its *life*, a number that its hub takes when it starts. So a node that comes back after a
crash, without its children, takes nothing back from those that took over, while one that was only out of reach is the
owner of its running copies again.

A node that is lost is kept in the value, before the one that was chosen in its place. Without that the two parts of a
divided cluster would each hand the other's children to themselves, and the part that wrote last would own them all once
they meet again: a single node that was cut off for a minute would take everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from processhub.strategy.distribution.base import Placement
from processhub.strategy.distribution.dealing import Dealer
from ring.hash_ring import HashRing

Chosen = tuple[tuple[str, int], ...]
"""(node, life) in order of preference. What the placement register holds."""

_LOST_KEPT: Final = 4  # lost nodes that a value remembers at most: as many losses may overlap before one is forgotten


class LoadPlacement(Placement):
    """The first of the chosen lives that are members own a child.

    Attributes:
        members: the nodes, sorted.
        lives: node -> the life that is a member.
    """

    __slots__ = ("_ring", "lives", "members")

    def __init__(self, lives: Mapping[str, int]) -> None:
        self.lives = dict(lives)
        self._ring = HashRing(lives)
        self.members = self._ring.nodes

    def owners(self, child_id: str, chosen: Any, n: int) -> tuple[str, ...]:
        """The first `n` chosen nodes that are members.

        While there are too few of them (`is_chosen` is False), others by a hash ring make up the number, so that every
        member names the same ones.
        """
        alive = self._alive(chosen)[:n]
        missing = min(n, len(self.members)) - len(alive)
        if missing > 0:
            others = (node for node in self._ring.owners(child_id, n + len(alive)) if node not in alive)
            alive += [node for node, _ in zip(others, range(missing), strict=False)]
        return tuple(alive)

    def is_chosen(self, chosen: Any, n: int) -> bool:
        """Whether as many of the chosen nodes are members as there should be owners."""
        return len(self._alive(chosen)) >= min(n, len(self.members))

    def has_spare(self, chosen: Any, n: int) -> bool:
        """Whether more of them are members: one was chosen for a node that was lost, and that node is back."""
        return len(self._alive(chosen)) > n

    def choose(self, chosen: Any, holders: Iterable[str], n: int, dealer: Dealer) -> Chosen:
        """The value with exactly as many members as there should be owners.

        Who was chosen and is a member stays, then come those that hold a copy; the dealer gives the rest. Members that
        are too many go; so do former lives of nodes that are back with another one.
        """
        lives = self.lives
        alive = self._alive(chosen)
        kept = alive[:n]
        want = min(n, len(self.members))
        kept += [node for node in holders if node in lives and node not in kept][: max(0, want - len(kept))]
        if len(kept) < want:
            kept += dealer.pick(want - len(kept), kept)
        lost = [entry for entry in chosen or () if entry[0] not in lives][-_LOST_KEPT:]
        stay = {*lost, *((node, lives[node]) for node in kept)}
        old = [entry for entry in chosen or () if entry in stay]
        return (*old, *((node, lives[node]) for node in kept if node not in alive))

    def _alive(self, chosen: Any) -> list[str]:
        lives = self.lives
        return [node for node, life in chosen or () if lives.get(node) == life]

    def __eq__(self, other: object) -> bool:
        return self.lives == other.lives if isinstance(other, LoadPlacement) else NotImplemented

    def __hash__(self) -> int:
        return hash(frozenset(self.lives.items()))

    def __repr__(self) -> str:
        return f"LoadPlacement({self.lives!r})"
