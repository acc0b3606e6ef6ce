"""Dealing children out to nodes in proportion to their shares, one after the other.

The rule is that of Webster and Sainte-Laguë: the next child goes to the node with the smallest (dealt + 1/2) / share.
Small batches are as fair as large ones, and many single deals come to the same as one batch. (Rounding each batch by
itself, by largest remainder, would give the first child of every batch to the same node.)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from heapq import heapify, heappop, heappush

Group = tuple[tuple[str, ...], int]
"""(nodes, how many children they all get)."""


class Dealer:
    """Deals children to nodes. Deterministic: ties go to the first node by name.

    Args:
        shares: node -> its share, greater than 0; in proportion to these.
        dealt: node -> how much it has got before. Counted on in place; a node that is missing begins level with the
            one that got least for its share.
    """

    def __init__(self, shares: Mapping[str, float], dealt: dict[str, float] | None = None) -> None:
        self.dealt: dict[str, float] = {} if dealt is None else dealt
        self._shares = shares
        level = min((self.dealt[node] / shares[node] for node in shares if node in self.dealt), default=0.0)
        for node in shares:
            self.dealt.setdefault(node, level * shares[node])
        self._heap = [self._turn(node) for node in shares]
        heapify(self._heap)

    def _turn(self, node: str) -> tuple[float, str]:
        return (self.dealt[node] + 0.5) / self._shares[node], node

    def pick(self, n: int, taken: Collection[str] = ()) -> tuple[str, ...]:
        """Up to `n` different nodes for one child, best first, none of those `taken`. Each of them has got one more."""
        picked: list[str] = []
        skipped = []
        while self._heap and len(picked) < n:
            turn = heappop(self._heap)
            if turn[1] in taken:
                skipped.append(turn)
            else:
                picked.append(turn[1])
        for turn in skipped:
            heappush(self._heap, turn)
        for node in picked:
            self.dealt[node] += 1
            heappush(self._heap, self._turn(node))
        return tuple(picked)

    def deal(self, count: int, n: int) -> list[Group]:
        """Nodes for `count` children with `n` copies each: which nodes, and how many children get just these."""
        groups: dict[tuple[str, ...], int] = {}
        for _ in range(count):
            picked = self.pick(n)
            groups[picked] = groups.get(picked, 0) + 1
        return list(groups.items())
