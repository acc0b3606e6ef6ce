"""Taking over a snapshot of Desired.

A snapshot is complete: for each dot that its vector covers, absence means that it was replaced. So a *merge* keeps of
ours what is in the snapshot or not covered by its vector, and adds of the snapshot what our vector does not cover.
It takes its time for many children. So from the instant at which it begins our vector counts the snapshot as applied,
the children are visited in slices, and one that is written meanwhile just before that.

When a snapshot comes from before or after a retirement that cannot be squared with ours (see `clocks`), the lower in
rank *rejoins*: it takes the snapshot instead of its own map, as a new incarnation, and writes anew what only it had. A
merge would not do: operations that we applied, and the others count as retired unseen, may have replaced writes that
are yet to reach them, and those writes would be there for them and not for us, under equal vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from processhub.registry.clocks import Vector
from processhub.registry.operations import Op, restricted

Staged = dict[str, tuple[Op, ...]]
"""child id -> its alive writes in a snapshot."""


class Merge(NamedTuple):
    """A snapshot that is being taken over, child by child.

    Attributes:
        todo: the children not visited yet, ours and theirs, with their writes in the snapshot.
        known: our vector at the instant at which it began.
        theirs: the vector of the snapshot.

    Invariant: a child in `todo` is what it was at that instant.
    """

    todo: Staged
    known: Vector
    theirs: Vector

    def alive(self, ours: tuple[Op, ...], staged: tuple[Op, ...]) -> list[Op] | None:
        """The writes of a child after the merge; None if they are those it had."""
        alive = [*self._kept(ours, staged), *self._added(staged)]
        if len(alive) == len(ours) and all(op is had for op, had in zip(alive, ours, strict=True)):
            return None
        return alive

    def _kept(self, ours: tuple[Op, ...], staged: tuple[Op, ...]) -> Iterator[Op]:
        """Of ours: what is alive there too, or not known there."""
        alive_there = {op[:3]: op.registers for op in staged}
        for op in ours:
            registers = alive_there.get(op[:3])
            if registers is None:
                registers = 0 if self.theirs.covers(*op[:3]) else op.registers
            left = op.registers & registers
            if left:
                yield op if left == op.registers else restricted(op, left)

    def _added(self, staged: tuple[Op, ...]) -> Iterator[Op]:
        """Of theirs: what is not known here."""
        return (op for op in staged if not self.known.covers(*op[:3]))


def only_ours(ours: tuple[Op, ...], known: Vector, staged: tuple[Op, ...], theirs: Vector, had: Vector) -> list[Op]:
    """What a member that rejoins writes anew for a child: a remove of what only it knew to be replaced, and its writes.

    Args:
        ours, known: the alive writes that it had, and its vector.
        staged, theirs: those of the snapshot.
        had: a former vector of who sent the snapshot, see `proof_of`.
    """
    alive_here = {op[:3]: op.registers for op in ours}
    alive_there = {op[:3]: op.registers for op in staged}
    # (Of what we retired we may never have had the write, so that its absence here proves nothing.)
    gone = tuple(
        (left, *op[:3])
        for op in staged
        if (left := op.registers & ~alive_here.get(op[:3], 0)) and known.last.get((op[0], op[1]), 0) >= op.sequence
    )
    lost = [op for op in ours if op[:3] not in alive_there and not _was_seen(op, known, theirs, had)]
    writes = [restricted(op, op.registers) for op in lost]
    return [restricted(staged[0], 0)._replace(replaces=gone), *writes] if gone else writes


def _was_seen(op: Op, ours: Vector, theirs: Vector, had: Vector) -> bool:
    """Whether the others once had this write, so that its absence means that they replaced it.

    Of what they retired since and did not report before nobody can tell any more. Then no: a child too many is better
    than one lost.
    """
    retired = min(ours.retired_of(op.node).incarnation, theirs.retired_of(op.node).incarnation)
    return op.incarnation <= retired or any(
        vector.last.get((op.node, op.incarnation), 0) >= op.sequence for vector in (theirs, had)
    )


def proof_of(reported: Vector | None, theirs: Vector) -> Vector:
    """What a member certainly had, by what it reported before we parted.

    A report proves nothing once its sender lost what it had then (all of its side started anew): then the empty vector.
    """
    return Vector() if reported is None or theirs.lacks(reported) else reported
