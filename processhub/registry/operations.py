"""The operations on Desired, and the children that they make up.

An operation is one flat tuple, and so is a child, because there may be a million of each: the collector visits every
tracked object, and a tuple of plain values costs it nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from processhub.registry.clocks import Dot

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
make_op: Callable[[tuple[Any, ...]], Op] = partial(tuple.__new__, Op)
make_child: Callable[[tuple[Any, ...]], Child] = partial(tuple.__new__, Child)
make_spec_record: Callable[[tuple[Any, ...]], SpecRecord] = partial(tuple.__new__, SpecRecord)


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
        if op[5] == ALL_REGISTERS:
            return make_child((op[6], op[7], op[8], (op,)))
        return child_of([op]) if op[5] else None
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
    if len(child[3]) == 1 and child[3][0][5] & registers == registers:  # nearly always
        (op,) = child[3]
        return ((registers, op[0], op[1], op[2]),)
    return tuple((op[5] & registers, op[0], op[1], op[2]) for op in child.ops if op[5] & registers)
