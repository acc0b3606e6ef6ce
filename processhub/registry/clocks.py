"""Dots, version vectors and the hybrid logical clock: what orders the operations of many writers.

A *dot* names one operation: (node, hub incarnation, sequence). The operations of one incarnation are numbered 1, 2, 3
and so on and applied in that order, so a *vector*, the last applied sequence of every incarnation, says exactly which
operations a map was made from. Equal vectors mean equal maps, and a vector is small whatever the size of the map.

Restarts would let it grow, since each brings a new incarnation. So an old one *retires*: once all members applied the
same operations of it, its entry is folded into two numbers per node name, the highest `retired` incarnation and a
*digest* of all that was folded. Operations of incarnations up to `retired` count as applied.

Why the digest. A member that was away meanwhile still has the entry, and perhaps operations of that incarnation that
nobody else has; the number alone would make its vector look like the others' while its map differs for ever. With the
digest each pair of vectors is one of three:

- the one behind folds its own entries and gets the same digest: it had the same operations, and retires them too;
- it knows nothing of what was folded: it loses nothing by taking over a snapshot and the numbers with it;
- else they *conflict*. `outranks` orders any two such vectors the same way on every node: the lower one takes the
  snapshot of the higher one in place of its own map and writes anew what it alone had (see `merges`). Its
  rank only ever rises, so conflicts die out. Without the total order two members that are each ahead in one name
  would swap their maps for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import NamedTuple

MAX_CLOCK_AHEAD_MS = 60_000
KEPT_INCARNATIONS = 4
"""Old incarnations of a name that are kept although all agree on them. More keep a longer absence from being a
conflict (which costs a snapshot and rewritten operations); each costs one number per name in every vector."""

_COUNTER_BITS = 16

Actor = tuple[str, int]
"""A writer: (node, hub incarnation)."""


class Dot(NamedTuple):
    """The name of one operation."""

    node: str
    incarnation: int
    sequence: int


class Retired(NamedTuple):
    """What was folded of one node name: the highest incarnation, and a digest of all (incarnation, last sequence)."""

    incarnation: int
    digest: int


NOTHING_RETIRED = Retired(0, 0)


class HybridClock:
    """Stamps that follow the wall clock and yet exceed every stamp seen before: milliseconds * 2**16 + counter.

    Stamps only choose among concurrent writes; a write that knows of another one replaces it by name, whatever the
    stamps say. So a peer whose clock runs ahead can win such a choice, never freeze a value. A stamp more than
    `MAX_CLOCK_AHEAD_MS` ahead does not advance this clock. (It is stored as it came: were it clamped in the map,
    nodes with different clocks would choose differently, and equal vectors would not mean equal maps.)
    """

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last = 0

    def next(self, now_ms: int) -> int:
        """The stamp for an operation made now."""
        stamp = now_ms << _COUNTER_BITS
        if stamp <= self.last:
            stamp = self.last + 1
        self.last = stamp
        return stamp

    def observe(self, stamp: int, now_ms: int) -> int:
        """Take note of a peer's stamp. Returns 0, or by how many ms it is ahead if that is too much to follow."""
        if stamp <= self.last:
            return 0
        ahead = (stamp >> _COUNTER_BITS) - now_ms
        if ahead > MAX_CLOCK_AHEAD_MS:
            return ahead
        self.last = stamp
        return 0


class Vector:
    """Which operations a map was made from.

    Attributes:
        last: (node, incarnation) -> last applied sequence, for incarnations that are not retired; never 0.
        retired: node -> `Retired`, for names of which something is.

    Invariant: every incarnation in `last` is higher than the retired one of its node.
    """

    __slots__ = ("last", "retired")

    def __init__(self, last: Mapping[Actor, int] | None = None, retired: Mapping[str, Retired] | None = None) -> None:
        self.last: dict[Actor, int] = dict(last or {})
        self.retired: dict[str, Retired] = dict(retired or {})

    def copy(self) -> Vector:
        return Vector(self.last, self.retired)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vector):
            return NotImplemented
        return self.last == other.last and self.retired == other.retired

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Vector({self.last!r}, {self.retired!r})"

    # Questions.

    def retired_of(self, node: str) -> Retired:
        return self.retired.get(node, NOTHING_RETIRED)

    def covers(self, node: str, incarnation: int, sequence: int) -> bool:
        """Whether that operation counts as applied."""
        if self.last.get((node, incarnation), 0) >= sequence:
            return True
        retired = self.retired.get(node)
        return retired is not None and incarnation <= retired.incarnation

    def incarnations(self, node: str) -> list[int]:
        """The incarnations of `node` that are not retired, oldest first."""
        return sorted(incarnation for name, incarnation in self.last if name == node)

    def highest_incarnation(self, node: str) -> int:
        """The highest incarnation known of `node`; 0 for none."""
        return max(self.retired_of(node).incarnation, *self.incarnations(node), 0)

    def lacks(self, other: Vector) -> bool:
        """Whether `other` counts an operation as applied that this one does not. Takes no side in a conflict."""
        if any(not self.covers(node, incarnation, sequence) for (node, incarnation), sequence in other.last.items()):
            return True
        return any(self.retired_of(node).incarnation < there.incarnation for node, there in other.retired.items())

    def conflicts(self, other: Vector) -> bool:
        """Whether what was folded on one side cannot be squared with what the other one has of it."""
        return any(
            not self._squares(node, self.retired_of(node), other, other.retired_of(node))
            for node in self.retired.keys() | other.retired.keys()
        )

    def _squares(self, node: str, here: Retired, other: Vector, there: Retired) -> bool:
        if here.incarnation == there.incarnation:
            return here.digest == there.digest
        if here.incarnation > there.incarnation:
            return other._squares(node, there, self, here)
        folded = [incarnation for incarnation in self.incarnations(node) if incarnation <= there.incarnation]
        knows_nothing = here == NOTHING_RETIRED and not folded
        return knows_nothing or self._digest_through(node, folded) == there.digest

    def outranks(self, other: Vector) -> bool:
        """Whether, in a conflict, the other one gives way. Of two that conflict exactly one outranks the other."""
        return sorted(self.retired.items()) > sorted(other.retired.items())

    def has_old(self, keep: int = KEPT_INCARNATIONS) -> bool:
        """Whether `retire` would fold something if all agreed."""
        counts: dict[str, int] = {}
        for node, _ in self.last:
            counts[node] = counts.get(node, 0) + 1
        return max(counts.values(), default=0) > 1 + keep

    # Changes.

    def fold(self, node: str, upto: int) -> None:
        """Retire all incarnations of `node` up to that one."""
        folded = [incarnation for incarnation in self.incarnations(node) if incarnation <= upto]
        digest = self._digest_through(node, folded)
        for incarnation in folded:
            del self.last[node, incarnation]
        self.retired[node] = Retired(upto, digest)

    def fold_like(self, other: Vector) -> bool:
        """Retire what `other` has retired, wherever this one had applied exactly the same of it. True if it changed."""
        changed = False
        for node, there in other.retired.items():
            here = self.retired_of(node)
            if here.incarnation >= there.incarnation:
                continue
            folded = [incarnation for incarnation in self.incarnations(node) if incarnation <= there.incarnation]
            if folded and self._digest_through(node, folded) == there.digest:
                self.fold(node, there.incarnation)
                changed = True
        return changed

    def join(self, other: Vector) -> None:
        """Count as applied what either of the two does. They must not conflict."""
        for node, there in other.retired.items():
            if there.incarnation > self.retired_of(node).incarnation:
                self.retired[node] = there
        for actor, sequence in other.last.items():
            if sequence > self.last.get(actor, 0):
                self.last[actor] = sequence
        self.last = {actor: at for actor, at in self.last.items() if actor[1] > self.retired_of(actor[0]).incarnation}

    def retire(self, reports: Iterable[Vector], keep: int = KEPT_INCARNATIONS) -> bool:
        """Fold the old incarnations on which all reports agree with this vector, except the last `keep`.

        The highest incarnation of a name never retires. It is the caller's duty that there is a report of every
        member; a wrong guess costs a conflict later, not convergence. True if something was folded.
        """
        reports = list(reports)
        changed = False
        for node in sorted({name for name, _ in self.last}):
            for incarnation in self.incarnations(node)[: -1 - keep]:
                actor = (node, incarnation)
                if any(report.last.get(actor) != self.last[actor] for report in reports):
                    break
                self.fold(node, incarnation)
                changed = True
        return changed

    def _digest_through(self, node: str, incarnations: Iterable[int]) -> int:
        digest = self.retired_of(node).digest
        for incarnation in incarnations:
            text = f"{digest}:{incarnation}:{self.last[node, incarnation]}"
            # 63 bits, so that every wire format has an integer for it.
            digest = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
        return digest
