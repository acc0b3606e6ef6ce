"""The two bounded stores that operations pass through: those applied of late, and those that cannot be applied yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from processhub.registry.clocks import Actor, Vector
from processhub.registry.operations import Op


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
        ops, floor = self._ops, self._floor
        for _ in range(len(ops) - self._limit):
            op = ops.popleft()
            actor, at = op[:2], op[2]
            # An op from before a `skip` must not lower the floor again.
            if at > floor.get(actor, 0):
                floor[actor] = at

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

    def discard(self, applied: Iterable[Op]) -> None:
        """Let go of operations that came again and could be applied at once."""
        for op in applied:
            queue = self._ops.get((op.node, op.incarnation))
            if queue is not None and queue.pop(op.sequence, None) is not None:
                self._size -= 1

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
    for _, node, incarnation, at in op[9]:  # noqa: SIM110 - a generator would cost more than all of it
        if not vector.covers(node, incarnation, at):
            return False
    return True
