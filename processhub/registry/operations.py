"""The operations on Desired, the children they make up, and the two bounded stores that operations pass through.

An operation is one flat tuple, and so is a child, because there may be a million of each: the collector visits every
tracked object, and a tuple of plain values costs it nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

from processhub.registry.clocks import Actor, Dot, Vector

SPEC, METADATA, PLACEMENT = 1, 2, 4
ALL_REGISTERS = SPEC | METADATA | PLACEMENT

Replaced = tuple[int, str, int, int]
"""(registers, node, incarnation, sequence): the write of that dot is replaced in these registers."""


class SpecRecord(NamedTuple):
    """A spec in two parts, for the many children that differ in their arguments only.

    Attributes:
        template: what such specs share (start function, options); hashable, sent once per batch.
        args: what they do not; opaque.
    """

    template: Any
    args: Any


class Op(NamedTuple):
    """One operation: writes the registers of `registers` (none: a remove) and replaces the writes it names.

    As an element of `Child.ops`, `registers` holds only those in which the write is still alive.
    """

    node: str
    incarnation: int
    sequence: int
    stamp: int
    child_id: str
    registers: int
    spec: Any
    metadata: Any
    placement: Any
    replaces: tuple[Replaced, ...]

    @property
    def dot(self) -> Dot:
        return Dot(self.node, self.incarnation, self.sequence)


class Child(NamedTuple):
    """What should run under one id: the winning value of each register, and all writes that nothing replaced.

    Invariant: every register of `ALL_REGISTERS` that some op writes shows the value of the highest (stamp, dot).
    """

    spec: Any
    metadata: Any
    placement: Any
    ops: tuple[Op, ...]

    @property
    def is_desired(self) -> bool:
        """False for a *residue*: metadata or placement that was written while another node removed the child."""
        return any(op.registers & SPEC for op in self.ops)


# NamedTuple constructors are Python functions; these make the same values in a third of the time.
make_op = partial(tuple.__new__, Op)
make_child = partial(tuple.__new__, Child)
make_spec_record = partial(tuple.__new__, SpecRecord)


def precedence(op: Op) -> tuple[int, str, int, int]:
    """Among concurrent writes the one with the highest precedence is read."""
    return (op.stamp, op.node, op.incarnation, op.sequence)


def child_of(ops: Iterable[Op]) -> Child | None:
    """The child that these alive writes make up, in whatever order they come; None if there are none."""
    ordered = sorted(ops, key=precedence)
    if not ordered:
        return None
    spec = metadata = placement = None
    for op in ordered:
        if op.registers & SPEC:
            spec = op.spec
        if op.registers & METADATA:
            metadata = op.metadata
        if op.registers & PLACEMENT:
            placement = op.placement
    return Child(spec, metadata, placement, tuple(ordered))


def without(op: Op, registers: int) -> Op | None:
    """The write when it is no longer alive in these registers; None when it is alive in none."""
    left = op.registers & ~registers
    if left == op.registers:
        return op
    return restricted(op, left) if left else None


def restricted(op: Op, registers: int) -> Op:
    """The write in these registers only. The other values are let go, so that nothing replaced stays in memory."""
    return op._replace(
        registers=registers,
        spec=op.spec if registers & SPEC else None,
        metadata=op.metadata if registers & METADATA else None,
        placement=op.placement if registers & PLACEMENT else None,
        replaces=(),
    )


def integrate(child: Child | None, op: Op) -> Child | None:
    """The child after `op`. All that `op` names has been applied before; it has not."""
    if child is None or _replaces_all_of(child, op):
        # (Without a child, what the operation replaces is gone already, through a concurrent remove.)
        return make_child((op[6], op[7], op[8], (op,))) if op[5] == ALL_REGISTERS else child_of([op] if op[5] else ())
    replaced = {(node, incarnation, at): registers for registers, node, incarnation, at in op.replaces}
    alive = [kept for old in child.ops if (kept := without(old, replaced.get(old[:3], 0))) is not None]
    if op.registers:
        alive.append(op)
    return child_of(alive)


def _replaces_all_of(child: Child, op: Op) -> bool:
    """Whether nothing of the child is left, seen quickly in the usual case: one write, and the operation names it."""
    if len(child.ops) != 1 or len(op.replaces) != 1:
        return False
    (old,), (replaced,) = child.ops, op.replaces
    return replaced[1:] == old[:3] and not old[5] & ~replaced[0]


def named(child: Child | None, registers: int) -> tuple[Replaced, ...]:
    """The names of all writes of these registers: what an operation made now replaces."""
    if child is None:
        return ()
    return tuple((op[5] & registers, op[0], op[1], op[2]) for op in child.ops if op[5] & registers)


class OpLog:
    """The most recent operations of all actors, in the order of their application here, at most `limit`.

    Invariant: of each actor it holds all operations after `floor` up to the last applied one, and none before.
    """

    __slots__ = ("_floor", "_limit", "_ops")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ops: deque[Op] = deque()
        self._floor: dict[Actor, int] = {}

    def __len__(self) -> int:
        return len(self._ops)

    def append(self, op: Op) -> None:
        self._ops.append(op)
        if len(self._ops) > self._limit:
            self._trim()

    def extend(self, ops: Iterable[Op]) -> None:
        self._ops.extend(ops)
        self._trim()

    def _trim(self) -> None:
        while len(self._ops) > self._limit:
            op = self._ops.popleft()
            # An op from before a `skip` must not lower the floor again.
            if op.sequence > self._floor.get((op.node, op.incarnation), 0):
                self._floor[op.node, op.incarnation] = op.sequence

    def skip(self, before: Vector, after: Vector) -> None:
        """The map took operations over without the log: what it holds of those actors leads up to no later ones."""
        for actor, sequence in after.last.items():
            if sequence > before.last.get(actor, 0):
                self._floor[actor] = sequence
        self.forget_retired(after)

    def clear(self, vector: Vector) -> None:
        """Start anew for a map that was made otherwise."""
        self._ops.clear()
        self._floor = dict(vector.last)

    def forget_retired(self, vector: Vector) -> None:
        self._floor = {actor: at for actor, at in self._floor.items() if actor in vector.last}

    def since(self, vector: Vector, upto: Vector) -> list[Op] | None:
        """The operations that lead from `vector` to `upto` (ours), causally ordered; None if some are gone."""
        missing: dict[Actor, int] = {}
        for actor, sequence in upto.last.items():
            start = vector.last.get(actor, 0)
            if start < sequence and not vector.covers(*actor, sequence):
                if self._floor.get(actor, 0) > start:
                    return None
                missing[actor] = start
        count = sum(upto.last[actor] - start for actor, start in missing.items())
        found: list[Op] = []
        newest_first = reversed(self._ops)
        while len(found) < count:
            op = next(newest_first)
            if op.sequence > missing.get((op.node, op.incarnation), op.sequence):
                found.append(op)
        found.reverse()
        return found


class Waiting:
    """Operations that came before others on which they depend. At most `limit`, the earliest of each actor first.

    When it is full, further operations are not kept: a delta brings them again, together with what is missing.
    """

    __slots__ = ("_limit", "_ops", "_size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ops: dict[Actor, dict[int, Op]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, op: Op) -> bool:
        """False: full, not kept."""
        queue = self._ops.setdefault((op.node, op.incarnation), {})
        if op.sequence not in queue:
            if self._size >= self._limit:
                if not queue:
                    del self._ops[op.node, op.incarnation]
                return False
            queue[op.sequence] = op
            self._size += 1
        return True

    def take_ready(self, vector: Vector) -> Iterator[Op]:
        """Yield what can be applied now. The caller applies each one, `vector` included, before it takes the next.

        One pass per round over the first operation of each actor, so linear in operations and in actors.
        """
        progress = bool(self._size)
        while progress:
            progress = False
            for actor in sorted(self._ops):
                for op in self._run_of(actor, vector):
                    progress = True
                    yield op

    def _run_of(self, actor: Actor, vector: Vector) -> Iterator[Op]:
        queue = self._ops[actor]
        while (op := queue.get(vector.last.get(actor, 0) + 1)) is not None and is_ready(op, vector):
            del queue[op.sequence]
            self._size -= 1
            yield op
        if not queue:
            del self._ops[actor]

    def drop_covered(self, vector: Vector) -> None:
        """Let go of what counts as applied already."""
        for actor in list(self._ops):
            queue = {at: op for at, op in self._ops[actor].items() if not vector.covers(*actor, at)}
            self._size -= len(self._ops[actor]) - len(queue)
            if queue:
                self._ops[actor] = queue
            else:
                del self._ops[actor]


def is_ready(op: Op, vector: Vector) -> bool:
    """Whether all that the operation replaces has been applied. (That its actor's earlier ones were: see `Desired`.)"""
    return all(vector.covers(node, incarnation, at) for _, node, incarnation, at in op.replaces)
