"""What members send each other: operations in batches, snapshots in chunks, and vectors.

A `Batch` holds runs of operations, each of one actor and without gaps, and changes of the sender's own presence table
with the version that they follow. A `Chunk` is a piece of a snapshot. Both have a plain encoding, column by column;
`decode` reads either and raises `MalformedBatch` for anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby, repeat
from typing import Any, NamedTuple

from processhub.registry import columns
from processhub.registry.clocks import Retired, Vector
from processhub.registry.columns import MalformedBatch, Wire, check, integer, name, sequence, unpack, unpack_integers
from processhub.registry.operations import ALL_REGISTERS, Op, make_op
from processhub.registry.placements import STATES, make_row
from processhub.registry.presence import RowOp, Version

MAX_PER_MESSAGE = 1_000_000
"""Operations or rows in one message. (The number of child ids, which are always there one by one, bounds the rest.)"""

_BATCH, _CHILDREN, _ROWS = 0, 1, 2
_DROPPED = 0
_STATE_CODES = {state: code for code, state in enumerate(STATES, 1)}
_STATE_NAMES = ("", *STATES)


class RowOps(NamedTuple):
    """Changes of `node`'s presence table, each one step of its counter, the first from `base` to `base + 1`."""

    node: str
    incarnation: int
    base: int
    items: list[RowOp]


@dataclass(slots=True)
class Batch:
    """Operations of one or more actors, and presence changes of the sender.

    Invariant: the operations of a run are of one actor, and their sequences follow one another.
    """

    sender: str
    runs: list[list[Op]] = field(default_factory=list)
    rows: RowOps | None = None

    @classmethod
    def of(cls, sender: str, ops: Iterable[Op], rows: RowOps | None = None) -> Batch:
        """A batch of operations in any order."""
        numbered = groupby(enumerate(ops), lambda item: (item[1][0], item[1][1], item[1][2] - item[0]))
        return cls(sender, [[op for _, op in run] for _, run in numbered], rows)

    @property
    def ops(self) -> list[Op]:
        return list(chain.from_iterable(self.runs))

    def __len__(self) -> int:
        return sum(map(len, self.runs)) + (len(self.rows.items) if self.rows else 0)

    def pieces(self, size: int) -> Iterator[Batch]:
        """The same in batches of at most `size` children, made one by one: for a receiver's loop, and bounded frames.

        The operation and the row of a child stay together where each has one, as in a burst of starts.
        """
        ops, rows = self.ops, self.rows.items if self.rows else []
        for start in range(0, max(len(ops), len(rows)), size):
            some = rows[start : start + size]
            changes = self.rows._replace(base=self.rows.base + start, items=some) if self.rows and some else None
            yield Batch.of(self.sender, ops[start : start + size], changes)

    def to_wire(self) -> Wire:
        runs = [_pack_run(run) for run in self.runs]
        ids = runs[0][3] if len(runs) == 1 else None
        return [_BATCH, self.sender, runs, _pack_row_ops(self.rows, ids) if self.rows else None]


@dataclass(slots=True)
class Chunk:
    """A piece of a snapshot of Desired (`table` is None) or of one node's presence table.

    Attributes:
        sender: who took the snapshot.
        stream: rises with every snapshot that this sender takes: (its incarnation, a number).
        index, total: which piece, of how many. The receiver needs all of one stream, in any order.
        header: the vector or the table's version at that instant, in the piece of index 0 only.
        items: alive writes, or (child id, row) pairs.
    """

    sender: str
    stream: tuple[int, int]
    index: int
    total: int
    table: str | None
    header: Vector | Version | None
    items: Sequence[Any]

    def __len__(self) -> int:
        return len(self.items)

    def to_wire(self) -> Wire:
        place = [*self.stream, self.index, self.total]
        if self.table is None:
            header = pack_vector(self.header) if isinstance(self.header, Vector) else None
            return [_CHILDREN, self.sender, place, header, _pack_alive(self.items)]
        version = list(self.header) if isinstance(self.header, Version) else None
        return [_ROWS, self.sender, place, version, self.table, _pack_rows(self.items, None)]


def decode(wire: Wire) -> Batch | Chunk:
    """Read what `to_wire` wrote. Raises MalformedBatch."""
    try:
        kind, sender, *rest = sequence(wire)
        check(type(kind) is int, "unknown kind of message")
        read = _READERS[kind]
        return read(name(sender), *rest)
    except MalformedBatch:
        raise
    except (TypeError, ValueError, LookupError, OverflowError, RecursionError) as error:
        raise MalformedBatch(f"no batch: {error}") from error


def _read_batch(sender: str, packed: Wire, rows: Wire) -> Batch:
    runs = list(map(_unpack_run, sequence(packed)))
    ids = [op[4] for op in runs[0]] if len(runs) == 1 else None
    return Batch(sender, runs, _unpack_row_ops(sender, rows, ids) if rows is not None else None)


def _read_children(sender: str, place: Wire, header: Wire, content: Wire) -> Chunk:
    stream, index, total = _unpack_place(place)
    check((header is not None) == (index == 0), "only the first piece has a vector")
    vector = unpack_vector(header) if header is not None else None
    return Chunk(sender, stream, index, total, None, vector, _unpack_alive(content))


def _read_rows(sender: str, place: Wire, header: Wire, table: Wire, content: Wire) -> Chunk:
    stream, index, total = _unpack_place(place)
    check((header is not None) == (index == 0), "only the first piece has a version")
    version = _unpack_version(header) if header is not None else None
    items = _unpack_rows(content, None)
    check(all(row is not None for _, row in items), "a snapshot has no dropped rows")
    return Chunk(sender, stream, index, total, name(table), version, items)


_READERS: dict[int, Callable[..., Batch | Chunk]] = {_BATCH: _read_batch, _CHILDREN: _read_children, _ROWS: _read_rows}


def _unpack_place(wire: Wire) -> tuple[tuple[int, int], int, int]:
    incarnation, number, index, total = sequence(wire, 4)
    integer(total, 1, 10_000_000)
    return (integer(incarnation, 1), integer(number)), integer(index, 0, total - 1), total


# Operations.


def _pack_run(ops: Sequence[Op]) -> list[Wire]:
    fields = zip(*ops, strict=True)
    nodes, incarnations, sequences, stamps, ids, registers, specs, metadata, placement, replaces = fields
    return [
        nodes[0],
        incarnations[0],
        sequences[0],
        list(ids),
        columns.pack_stamps(stamps),
        columns.pack(registers),
        columns.pack_specs(specs),
        columns.pack(metadata),
        columns.pack(placement),
        columns.pack_replaces(replaces),
    ]


def _unpack_run(wire: Wire) -> list[Op]:
    node, incarnation, first, ids, stamps, registers, specs, metadata, placement, replaces = sequence(wire, 10)
    ids = _unpack_ids(ids)
    count = len(ids)
    integer(first, 1, columns.MAX_INT - count)
    fields = zip(
        repeat(name(node), count),
        repeat(integer(incarnation, 1), count),
        range(first, first + count),
        columns.unpack_stamps(stamps, count),
        ids,
        unpack_integers(registers, count, 0, ALL_REGISTERS),
        columns.unpack_specs(specs, count),
        unpack(metadata, count),
        unpack(placement, count),
        columns.unpack_replaces(replaces, count),
        strict=True,
    )
    return list(map(make_op, fields))


def _unpack_ids(wire: Wire) -> list[str]:
    check(0 < len(sequence(wire)) <= MAX_PER_MESSAGE, "no or too many operations in one run")
    return columns.unpack_names(wire)


def _pack_alive(ops: Sequence[Op]) -> Wire:
    """Writes of many actors in any order. What they replaced does not matter any more."""
    if not ops:
        return None
    nodes, incarnations, sequences, stamps, ids, registers, specs, metadata, placement, _ = zip(*ops, strict=True)
    actors = list(zip(nodes, incarnations, strict=True))
    table = columns.actor_table(actors)
    return [
        list(map(list, table)),
        columns.pack(list(map(table.__getitem__, actors))),
        columns.pack(sequences),
        list(ids),
        columns.pack_stamps(stamps),
        columns.pack(registers),
        columns.pack_specs(specs),
        columns.pack(metadata),
        columns.pack(placement),
    ]


def _unpack_alive(wire: Wire) -> list[Op]:
    if wire is None:
        return []
    table, places, sequences, ids, stamps, registers, specs, metadata, placement = sequence(wire, 9)
    ids = _unpack_ids(ids)
    count = len(ids)
    actors = columns.unpack_actors(table)
    writers = list(map(actors.__getitem__, unpack_integers(places, count, 0, len(actors) - 1)))
    fields = zip(
        (node for node, _ in writers),
        (incarnation for _, incarnation in writers),
        unpack_integers(sequences, count, 1),
        columns.unpack_stamps(stamps, count),
        ids,
        unpack_integers(registers, count, 1, ALL_REGISTERS),
        columns.unpack_specs(specs, count),
        unpack(metadata, count),
        unpack(placement, count),
        repeat((), count),
        strict=True,
    )
    return list(map(make_op, fields))


# Rows.


def _pack_row_ops(rows: RowOps, ids_of_run: list[str] | None) -> Wire:
    return [rows.incarnation, rows.base, _pack_rows(rows.items, ids_of_run)]


def _unpack_row_ops(sender: str, wire: Wire, ids_of_run: list[str] | None) -> RowOps:
    incarnation, base, content = sequence(wire, 3)
    items = _unpack_rows(content, ids_of_run)
    check(bool(items), "presence changes without a change")
    return RowOps(sender, integer(incarnation, 1), integer(base, 0, columns.MAX_INT - len(items)), items)


_DROPPED_FIELDS = (None, "", 0, None)


def _pack_rows(items: Sequence[RowOp], ids_of_run: list[str] | None) -> Wire:
    """Ids are left out where they are those of the run beside it: a start writes an operation and a row for each."""
    if not items:
        return None
    ids: Any
    ids, rows = zip(*items, strict=True)
    ids = list(ids)
    pids, states, epochs, to = zip(*[row or _DROPPED_FIELDS for row in rows], strict=True)
    codes = [_STATE_CODES.get(state, _DROPPED) for state in states]
    packed = (columns.pack(values) for values in (pids, codes, epochs, to))
    return [None if ids == ids_of_run else ids, *packed]


def _unpack_rows(wire: Wire, ids_of_run: list[str] | None) -> list[RowOp]:
    if wire is None:
        return []
    packed_ids, pids, packed_codes, packed_epochs, to = sequence(wire, 5)
    ids = ids_of_run if packed_ids is None and ids_of_run is not None else _unpack_ids(packed_ids)
    count = len(ids)
    codes = unpack_integers(packed_codes, count, 0, len(STATES))
    epochs = unpack_integers(packed_epochs, count)
    states = map(_STATE_NAMES.__getitem__, codes)
    rows: list[Any] = list(map(make_row, zip(unpack(pids, count), states, epochs, unpack(to, count), strict=True)))
    if _DROPPED in codes:
        rows = [row if row.state else None for row in rows]
    return list(zip(ids, rows, strict=True))


# Vectors.


class RegistryVector(NamedTuple):
    """What one member has: the vector of Desired, and the version of every presence table that it knows."""

    node: str
    desired: Vector
    tables: dict[str, Version]

    def to_wire(self) -> Wire:
        tables = [[node, *version] for node, version in sorted(self.tables.items())]
        return [self.node, pack_vector(self.desired), tables]

    @classmethod
    def from_wire(cls, wire: Wire) -> RegistryVector:
        """Raises MalformedBatch."""
        node, desired, packed = sequence(wire, 3)
        tables = {}
        for entry in sequence(packed):
            owner, *version = sequence(entry, 3)
            tables[name(owner)] = _unpack_version(version)
        return cls(name(node), unpack_vector(desired), tables)


def pack_vector(vector: Vector) -> Wire:
    last = [[*actor, at] for actor, at in sorted(vector.last.items())]
    return [last, [[node, *retired] for node, retired in sorted(vector.retired.items())]]


def unpack_vector(wire: Wire) -> Vector:
    vector = Vector()
    packed_last, packed_retired = sequence(wire, 2)
    for entry in sequence(packed_retired):
        node, incarnation, digest = sequence(entry, 3)
        vector.retired[name(node)] = Retired(integer(incarnation, 1), integer(digest))
    for entry in sequence(packed_last):
        node, incarnation, at = sequence(entry, 3)
        check(integer(incarnation, 1) > vector.retired_of(name(node)).incarnation, "an incarnation retired and not")
        vector.last[node, incarnation] = integer(at, 1)
    return vector


def _unpack_version(wire: Wire) -> Version:
    incarnation, counter = sequence(wire, 2)
    return Version(integer(incarnation, 1), integer(counter))
