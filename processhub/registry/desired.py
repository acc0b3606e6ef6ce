"""Desired: what should run. A replicated map that any node may write at any time, and that converges.

A child has three registers: spec, metadata, placement. A register keeps *every* write that no later operation replaced,
and readers get the one of the highest (stamp, dot). Every operation, a remove too, has a dot of its own, names the dots
that it replaces, and is applied once all earlier operations of its actor and all those dots have been; until then it
waits. So a map is a function of the set of operations applied, and a vector says which these are:

    alive(register) = the writes in the set that no operation in the set names

Invariant: equal vectors, equal maps. Simpler forms break it:

- *One entry per child, the latest stamp wins*: of two concurrent writes one is forgotten where the other is known, and
  comes up where a remove of that other one arrives first.
- *Removes without a dot*: the vectors do not tell who has seen a remove, so if it is lost nobody sends it again.
- *Applying on arrival*: a remove that comes before the write it names has nothing to remove, and the write then stays.

Snapshots, and what a merge or a rejoin does with them: see `merges`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from processhub.registry.clocks import Actor, HybridClock, Vector
from processhub.registry.merges import Merge, Staged, only_ours, proof_of
from processhub.registry.operations import (
    ALL_REGISTERS,
    METADATA,
    PLACEMENT,
    SPEC,
    Child,
    Op,
    child_of,
    integrate,
    make_child,
    make_op,
    named,
)
from processhub.registry.oplog import OpLog, Waiting, is_ready


class _Unchanged:
    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final[Any] = _Unchanged()
"""Stands for a register that an operation does not write."""

Before = dict[str, Child | None]
"""child id -> the child before the first change: from this net differences are made."""


class Desired:
    """One member's copy of the map.

    Attributes:
        node, incarnation: who we are as an actor.
        children: child id -> `Child`, all that should run.
        vector: which operations were applied. Not to be changed by others.
        before: what operations and snapshots of others changed, since the owner of this map last cleared it. (Our own
            operations are not in it, but a merge that they hastened is.)
        clock_ahead_ms: by how much stamps of peers were too far ahead, since this was last set to 0.

    Invariant: `children` and `_residues` are disjoint; a residue is what `Child.is_desired` says.
    """

    def __init__(self, node: str, incarnation: int, log_limit: int, waiting_limit: int) -> None:
        self.node = node
        self.incarnation = incarnation
        self.children: dict[str, Child] = {}
        self.vector = Vector()
        self.clock_ahead_ms = 0
        self.before: Before = {}
        self._residues: dict[str, Child] = {}
        self._clock = HybridClock()
        self._log = OpLog(log_limit)
        self._waiting = Waiting(waiting_limit)
        self._untaken: list[Op] = []
        self._merge: Merge | None = None

    # Our own operations.

    def put(self, child_id: str, now_ms: int, spec: Any, metadata: Any, placement: Any) -> None:
        """Write those registers that are not UNCHANGED. Without a spec the child must be desired, else KeyError."""
        if self._merge is not None:
            self._visit(child_id)
        old = self.children.get(child_id)
        if old is None:
            if spec is UNCHANGED:
                raise KeyError(child_id)
            old = self._residues.get(child_id)
        registers = ALL_REGISTERS
        if spec is UNCHANGED:
            registers, spec = registers & ~SPEC, None
        if metadata is UNCHANGED:
            registers, metadata = registers & ~METADATA, None
        if placement is UNCHANGED:
            registers, placement = registers & ~PLACEMENT, None
        replaces = () if old is None else named(old, registers)
        self._issue(child_id, self._clock.next(now_ms), registers, spec, metadata, placement, replaces, old)

    def remove(self, child_id: str, now_ms: int) -> bool:
        """False: there is no such child."""
        if self._merge is not None:
            self._visit(child_id)
        old = self.children.get(child_id)
        if old is None:
            return False
        self._erase(child_id, old, now_ms)
        return True

    def _erase(self, child_id: str, old: Child, now_ms: int) -> None:
        self._new_op(child_id, self._clock.next(now_ms), 0, None, None, None, named(old, ALL_REGISTERS))
        self._store(child_id, None)  # it names all that was alive

    def sweep(self, now_ms: int) -> int:
        """Remove all residues. Returns how many. (Metadata written concurrently with a remove would stay for ever.)"""
        self.settle_all()
        residues = list(self._residues.items())
        for child_id, residue in residues:
            self._erase(child_id, residue, now_ms)
        return len(residues)

    def _issue(
        self, child_id: str, stamp: int, registers: int, spec: Any, metadata: Any, placement: Any, replaces: Any,
        old: Child | None,
    ) -> None:  # fmt: skip
        op = self._new_op(child_id, stamp, registers, spec, metadata, placement, replaces)
        if old is None and registers == ALL_REGISTERS:
            self.children[child_id] = make_child((spec, metadata, placement, (op,)))
        else:
            self._store(child_id, integrate(old, op))

    def _new_op(
        self, child_id: str, stamp: int, registers: int, spec: Any, metadata: Any, placement: Any, replaces: Any
    ) -> Op:
        actor = (self.node, self.incarnation)
        last = self.vector.last
        at = last[actor] = last.get(actor, 0) + 1
        op = make_op((*actor, at, stamp, child_id, registers, spec, metadata, placement, replaces))
        self._untaken.append(op)
        self._log.append(op)
        return op

    def take(self) -> list[Op]:
        """Our operations since the last take."""
        taken, self._untaken = self._untaken, []
        return taken

    # The others' operations.

    def apply(self, run: list[Op], now_ms: int) -> bool:
        """Apply operations of one actor, in order, or let them wait. False: too many wait, a delta is needed."""
        actor = (run[0].node, run[0].incarnation)
        if self.vector.covers(*actor, run[-1].sequence):
            return True
        self.observe(run, now_ms)
        at = self.vector.last.get(actor, 0)
        if run[0].sequence == at + 1 and self._waits_for_nothing(run):
            kept, applied = True, self._apply_starts(actor, run)
        else:
            kept, applied = self._apply_each(actor, at, run)
        self._log.extend(applied)
        if self._waiting:
            self._waiting.discard(applied)
            self.apply_ready()
        return kept

    def _apply_each(self, actor: Actor, at: int, run: list[Op]) -> tuple[bool, list[Op]]:
        """Whether nothing had to be dropped, and which operations could be applied."""
        kept, applied = True, []
        for op in run:
            if op[2] == at + 1 and (not op[9] or is_ready(op, self.vector)):
                at = self.vector.last[actor] = op[2]
                self._absorb(op)
                applied.append(op)
            elif op[2] > at:
                kept = self._waiting.add(op) and kept
        return kept, applied

    def _waits_for_nothing(self, run: list[Op]) -> bool:
        return not any(op[9] for op in run) and not self._residues and self._merge is None

    def _apply_starts(self, actor: Actor, run: list[Op]) -> list[Op]:
        """The same for operations that replace nothing and directly follow: in bulk, since many starts come at once."""
        self.vector.last[actor] = run[-1].sequence
        children, before = self.children, self.before
        for op in run:
            child_id = op[4]
            if op[5] == ALL_REGISTERS and child_id not in children and child_id not in before:
                before[child_id] = None
                children[child_id] = make_child((op[6], op[7], op[8], (op,)))
            else:
                self._absorb(op)
        return run

    def apply_ready(self) -> None:
        """Apply those waiting operations that have become ready."""
        for op in self._waiting.take_ready(self.vector):
            self.vector.last[op.node, op.incarnation] = op.sequence
            self._absorb(op)
            self._log.append(op)

    @property
    def waiting(self) -> int:
        """How many operations wait for others."""
        return len(self._waiting)

    def _absorb(self, op: Op) -> None:
        child_id = op[4]
        if self._merge is not None:
            self._visit(child_id)
        children = self.children
        old = children.get(child_id)
        if child_id not in self.before:
            self.before[child_id] = old
        if old is None and op[5] == ALL_REGISTERS and not self._residues:
            children[child_id] = make_child((op[6], op[7], op[8], (op,)))
        else:
            self._store(child_id, integrate(old or self._residues.get(child_id), op))

    def _store(self, child_id: str, child: Child | None) -> None:
        if child is not None and child.is_desired:
            self.children[child_id] = child
            self._residues.pop(child_id, None)
            return
        self.children.pop(child_id, None)
        if child is None:
            self._residues.pop(child_id, None)
        else:
            self._residues[child_id] = child

    def observe(self, ops: Sequence[Op], now_ms: int) -> None:
        """Let the clock follow the stamps of peers."""
        ahead = self._clock.observe(max((op[3] for op in ops), default=0), now_ms)
        if ahead:
            # The highest stamp is refused; those of the other operations must still be followed.
            for op in ops:
                self._clock.observe(op[3], now_ms)
            self.clock_ahead_ms = max(self.clock_ahead_ms, ahead)

    # What others lack.

    def operations_since(self, vector: Vector) -> list[Op] | None:
        """The operations that `vector` lacks, causally ordered; None: only a snapshot can tell."""
        if self._retired_beyond(vector):
            return None
        return self._log.since(vector, self.vector)

    def _retired_beyond(self, vector: Vector) -> bool:
        theirs = vector.copy()
        theirs.fold_like(self.vector)
        return any(
            retired.incarnation > theirs.retired_of(node).incarnation for node, retired in self.vector.retired.items()
        )

    def snapshot(self) -> tuple[Vector, list[Op]]:
        """All alive writes, with the vector of the same instant."""
        self.settle_all()
        ops = [op for children in (self.children, self._residues) for child in children.values() for op in child.ops]
        return self.vector.copy(), ops

    # Snapshots of others.

    def accepts(self, vector: Vector) -> bool:
        """Whether a snapshot with that vector may be taken over: in a conflict only the lower in rank gives way."""
        return not self.vector.conflicts(vector) or vector.outranks(self.vector)

    def merge(self, vector: Vector, staged: Staged, reported: Vector | None) -> bool:
        """Take over a complete snapshot: begins a merge, to be gone on with by `settle`, or rejoins at once.

        False: our incarnation is another one now. `reported` is the last vector heard from the sender before. Must only
        be called if `accepts(vector)`.
        """
        self.settle_all()
        if self.vector.conflicts(vector):
            self._rejoin(vector, staged, proof_of(reported, vector))
            return False
        known = self.vector.copy()
        self.vector.join(vector)
        self._log.skip(known, self.vector)
        todo: Staged = {**dict.fromkeys(self.children, ()), **dict.fromkeys(self._residues, ()), **staged}
        self._merge = Merge(todo, known, vector)
        self._waiting.drop_covered(self.vector)
        self.apply_ready()
        return True

    @property
    def is_settling(self) -> bool:
        return self._merge is not None

    def settle(self, limit: int) -> int:
        """Visit up to `limit` children of a merge. Returns how many more there was room for."""
        merge = self._merge
        if merge is None:
            return limit
        count = min(limit, len(merge.todo))
        for _ in range(count):
            self._take_over(merge, *merge.todo.popitem())
        if not merge.todo:
            self._merge = None
        return limit - count

    def _visit(self, child_id: str) -> None:
        """Merge this child, if that is still to be done."""
        merge = self._merge
        staged = None if merge is None else merge.todo.pop(child_id, None)
        if merge is not None and staged is not None:
            self._take_over(merge, child_id, staged)

    def _take_over(self, merge: Merge, child_id: str, staged: tuple[Op, ...]) -> None:
        old = self.children.get(child_id)
        self.before.setdefault(child_id, old)
        current = old or self._residues.get(child_id)
        alive = merge.alive(current.ops if current else (), staged)
        if alive is not None:
            self._store(child_id, child_of(alive))

    def settle_all(self) -> None:
        """Finish a merge at once."""
        while self._merge is not None:
            self.settle(10_000)

    # Incarnations.

    def follow(self, vector: Vector) -> None:
        """Retire what that member retired, if we had the same of it."""
        if self.vector.fold_like(vector):
            self._forget_retired()

    def retire(self, reports: Mapping[str, Vector], keep: int) -> None:
        """Retire what all these members and we agree on."""
        if self.vector.retire(reports.values(), keep):
            self._forget_retired()

    def _forget_retired(self) -> None:
        self._log.forget_retired(self.vector)
        self._waiting.drop_covered(self.vector)

    def renew(self, known: int) -> None:
        """Go on as an incarnation above that one."""
        self.incarnation = max(self.incarnation, known) + 1

    def _rejoin(self, vector: Vector, staged: Staged, had: Vector) -> None:
        """Become a copy of the snapshot, then write anew, as a new incarnation, what only we had."""
        ours, ours_vector = {**self.children, **self._residues}, self.vector
        for child_id in ours.keys() | staged.keys():
            self.before.setdefault(child_id, self.children.get(child_id))
        # (Cleared in place: lookups hold on to the dict.)
        self.children.clear()
        self._residues.clear()
        self._untaken = []
        for child_id, ops in staged.items():
            self._store(child_id, child_of(ops))
        self.vector = vector.copy()
        self._log.clear(self.vector)
        self.renew(max(vector.highest_incarnation(self.node), ours_vector.highest_incarnation(self.node)))
        for child_id in sorted(ours.keys() | staged.keys()):
            old = ours.get(child_id)
            for op in only_ours(old.ops if old else (), ours_vector, staged.get(child_id, ()), vector, had):
                self._reissue(child_id, op)
        self._waiting.drop_covered(self.vector)
        self.apply_ready()

    def _reissue(self, child_id: str, op: Op) -> None:
        """With its own stamp: it is as old as it was, and loses against what is newer."""
        old = self.children.get(child_id) or self._residues.get(child_id)
        self._issue(child_id, op.stamp, op.registers, op.spec, op.metadata, op.placement, op.replaces, old)
