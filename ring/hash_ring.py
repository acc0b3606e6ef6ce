"""A consistent hash ring: which nodes own a key, so that few keys move when nodes come and go.

Every node puts a number of *points* (128 for each unit of weight) on a circle of 2**64 positions. A key is hashed to a
position too, and its owners are the first distinct nodes clockwise from there, the point at the very position included.
A new node takes only the keys that lie just before its own points, and a lost node's keys go to those that come next.

    >>> ring = HashRing(["a", "b", "c"])
    >>> ring.owners("user:17", 2)
    ('c', 'a')
    >>> ring.remove("c").owners("user:17")
    ('a',)

Positions come from BLAKE2b, so they are the same in every process, on every platform and in every Python version (the
builtin ``hash`` of a string differs per process). Two points at one position are ordered by node name, so the ring
does not depend on the order in which its nodes were added.

Which keys move when the ring changes? `changes` answers with ranges of positions, so that whoever keeps keys sorted by
position visits only those that move:

    >>> from bisect import bisect_right
    >>> keys = sorted(f"user:{i}" for i in range(1000))
    >>> by_position = sorted((position(key), key) for key in keys)
    >>> positions = [at for at, _ in by_position]
    >>> bigger = ring.add("d")
    >>> moved = [key for low, high in changes(ring, bigger)
    ...          for _, key in by_position[bisect_right(positions, low):bisect_right(positions, high)]]
    >>> sorted(moved) == [key for key in keys if ring.owners(key) != bigger.owners(key)]
    True
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from hashlib import blake2b
from heapq import merge
from itertools import chain

POINTS_PER_WEIGHT = 128
MAX_POSITION = 2**64 - 1

_unpack_position = struct.Struct(">Q").unpack
_unpack_points = struct.Struct(">8Q").unpack


# Remembered: who starts a child, or hears of it, asks for the same position two or three times within moments, with
# all the others of the same start in between. (A full one takes about 10 MB.)
@lru_cache(maxsize=65_536)
def position(key: str) -> int:
    """The place of `key` on the circle: 0 to `MAX_POSITION`, the same in every ring and process."""
    found: int = _unpack_position(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest())[0]
    return found


@lru_cache(maxsize=1024)
def _points(node: str, count: int) -> tuple[int, ...]:
    """The first `count` points of `node`. More weight adds points and leaves those it had where they were."""
    name = node.encode("utf-8", "surrogatepass")
    blocks = (_unpack_points(blake2b(b"%d:%b" % (block, name)).digest()) for block in range((count + 7) // 8))
    return tuple(chain.from_iterable(blocks))[:count]


class HashRing:
    """An immutable ring of weighted nodes.

    Args:
        nodes: names of the nodes. Order and repetition do not matter.
        weights: the weight of some of these nodes, a number greater than 0; 1 for those that it leaves out. A node of
            weight 2 owns about twice as many keys as one of weight 1.

    Raises:
        ValueError: a weight is not greater than 0, or is given for a node that is not in `nodes`.
    """

    __slots__ = ("_owners", "_positions", "_walks", "_weights")

    def __init__(self, nodes: Iterable[str] = (), weights: Mapping[str, float] | None = None) -> None:
        weights = weights or {}
        names = sorted(set(nodes))
        strangers = weights.keys() - set(names)
        if strangers:
            raise ValueError(f"weights for nodes that are not in the ring: {sorted(strangers)}")
        self._place({name: weights.get(name, 1) for name in names})

    def _place(self, weights: dict[str, float]) -> None:
        points = sorted((at, name) for name, weight in weights.items() for at in _points(name, _count(name, weight)))
        # Invariant: _weights is in order of names; _positions is sorted; _positions[i] is a point of node _owners[i].
        self._weights = weights
        self._positions = [at for at, _ in points]
        self._owners = [name for _, name in points]
        # n -> for each point the first n nodes clockwise from it, or None where nobody asked yet.
        self._walks: dict[int, list[tuple[str, ...] | None]] = {}

    @classmethod
    def _with(cls, weights: Mapping[str, float]) -> HashRing:
        ring = cls.__new__(cls)
        ring._place(dict(sorted(weights.items())))
        return ring

    def add(self, node: str, weight: float = 1) -> HashRing:
        """The ring with `node` in it at this weight, whether or not it was there before."""
        if self._weights.get(node) == weight:
            return self
        return self._with({**self._weights, node: weight})

    def remove(self, node: str) -> HashRing:
        """The ring without `node`; this ring if it is not there."""
        if node not in self._weights:
            return self
        return self._with({name: weight for name, weight in self._weights.items() if name != node})

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of the nodes, sorted."""
        return tuple(self._weights)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each node."""
        return dict(self._weights)

    def owners(self, key: str, n: int = 1) -> tuple[str, ...]:
        """The first `n` distinct nodes clockwise from the key; all nodes if there are fewer; () if there are none."""
        return self.owners_at(position(key), n)

    def owners_at(self, at: int, n: int = 1) -> tuple[str, ...]:
        """What `owners` gives for a key at this position."""
        positions = self._positions
        index = bisect_left(positions, at)
        if index == len(positions):
            index = 0
        try:
            owners = self._walks[n][index]
        except (KeyError, IndexError):
            return self._owners_from(index, n)
        return self._owners_from(index, n) if owners is None else owners

    position = staticmethod(position)

    def _owners_from(self, index: int, n: int) -> tuple[str, ...]:
        """The owners of what lies just before the point at `index`, remembered for the next time."""
        if n < 1 or not self._owners:
            return ()
        n = min(n, len(self._weights))
        walk = self._walks.get(n)
        if walk is None:
            walk = self._walks[n] = [None] * len(self._owners)
        owners = walk[index]
        if owners is None:
            owners = walk[index] = self._walk(index, n)
        return owners

    def _walk(self, index: int, n: int) -> tuple[str, ...]:
        # n is at most the number of nodes, so this ends within one round. A dict keeps the order in which they come.
        found: dict[str, None] = {}
        count = len(self._owners)
        while len(found) < n:
            found[self._owners[index]] = None
            index = index + 1 if index + 1 < count else 0
        return tuple(found)

    def __contains__(self, node: object) -> bool:
        return node in self._weights

    def __len__(self) -> int:
        return len(self._weights)

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __eq__(self, other: object) -> bool:
        return self._weights == other._weights if isinstance(other, HashRing) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self._weights.items()))

    def __repr__(self) -> str:
        weighted = {name: weight for name, weight in self._weights.items() if weight != 1}
        return f"HashRing({list(self._weights)!r}" + (f", weights={weighted!r})" if weighted else ")")


def _count(name: str, weight: float) -> int:
    if not weight > 0:
        raise ValueError(f"the weight of {name!r} must be greater than 0, not {weight!r}")
    return max(1, round(POINTS_PER_WEIGHT * weight))


def changes(old: HashRing, new: HashRing, n: int = 1) -> list[tuple[int, int]]:
    """The ranges of positions whose first `n` owners differ between the two rings, in content or in order.

    A range ``(low, high)`` holds the positions p with ``low < p <= high``. The ranges are sorted, disjoint and as few
    as possible. None wraps around: what crosses the end of the circle comes as two, ``(low, MAX_POSITION)`` and
    ``(-1, high)``.
    """
    ranges: list[tuple[int, int]] = []
    low = -1
    for high in merge(old._positions, new._positions, (MAX_POSITION,)):
        if high == low:
            continue
        # Between two neighbouring points of both rings nothing changes, so one position speaks for all of them.
        if old.owners_at(high, n) != new.owners_at(high, n):
            if ranges and ranges[-1][1] == low:
                ranges[-1] = (ranges[-1][0], high)
            else:
                ranges.append((low, high))
        low = high
    return ranges
