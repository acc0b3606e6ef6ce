"""Snapshots on their way: cut into chunks by the sender, put together by the receiver.

Half a snapshot says nothing about what is absent, so the receiver only stages pieces until it has all of one stream.
Then the snapshot is whole at one instant. A later stream of the same sender and subject takes the place of a
half-received one; what never becomes whole is dropped with its sender, or to make room.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from processhub.registry.batches import Batch, Chunk
from processhub.registry.clocks import Vector
from processhub.registry.columns import check
from processhub.registry.operations import Op
from processhub.registry.placements import Row
from processhub.registry.presence import Version


def cut(
    sender: str, stream: tuple[int, int], table: str | None, header: Vector | Version, items: Sequence[Any], size: int
) -> Iterator[Chunk]:
    """The chunks of a snapshot that was taken at one instant, made one by one as they are asked for."""
    total = max(1, -(-len(items) // size))
    for index in range(total):
        piece = items[index * size : (index + 1) * size]
        yield Chunk(sender, stream, index, total, table, header if index == 0 else None, piece)


def cut_operations(sender: str, ops: Sequence[Op], size: int) -> Iterator[Batch]:
    for start in range(0, len(ops), size):
        yield Batch.of(sender, ops[start : start + size])


class Whole(NamedTuple):
    """A snapshot of which every piece has come: of Desired if `table` is None."""

    sender: str
    table: str | None
    header: Vector | Version
    children: dict[str, tuple[Op, ...]]
    rows: dict[str, Row]


class _Half:
    """The pieces of one stream so far, staged by child so that the last piece is no more work than the others."""

    __slots__ = ("children", "got", "header", "rows", "size", "stream", "total")

    def __init__(self, chunk: Chunk) -> None:
        self.stream = chunk.stream
        self.total = chunk.total
        self.header: Vector | Version | None = None
        self.got: set[int] = set()
        self.size = 0
        self.children: dict[str, tuple[Op, ...]] = {}
        self.rows: dict[str, Row] = {}

    def add(self, chunk: Chunk) -> int:
        """Returns by how many items it grew."""
        check(chunk.total == self.total, "pieces of one snapshot disagree about their number")
        if chunk.index in self.got:
            return 0
        self.got.add(chunk.index)
        self.header = chunk.header or self.header
        if chunk.table is None:
            children = self.children
            for op in chunk.items:
                had = children.get(op[4])
                children[op[4]] = (op,) if had is None else (*had, op)
        else:
            self.rows.update(chunk.items)
        self.size += len(chunk.items)
        return len(chunk.items)

    @property
    def is_whole(self) -> bool:
        return len(self.got) == self.total


class Inbox:
    """Half-received snapshots of all peers, together of at most `limit` items (the oldest gives way)."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._halves: dict[tuple[str, str | None], _Half] = {}
        self._done: dict[tuple[str, str | None], tuple[int, int]] = {}

    def __len__(self) -> int:
        return self._size

    def add(self, chunk: Chunk) -> Whole | None:
        """The snapshot, if this was its last missing piece. Raises MalformedBatch for a piece that does not fit."""
        subject = (chunk.sender, chunk.table)
        if chunk.stream <= self._done.get(subject, (0, 0)):
            return None
        half = self._halves.get(subject)
        if half is None or half.stream < chunk.stream:
            self._forget(subject)
            half = self._halves[subject] = _Half(chunk)
        elif half.stream > chunk.stream:
            return None
        self._size += half.add(chunk)
        if half.is_whole:
            self._forget(subject)
            self._done[subject] = chunk.stream
            assert half.header is not None  # the piece of index 0 brought it
            return Whole(chunk.sender, chunk.table, half.header, half.children, half.rows)
        self._make_room(subject)
        return None

    def _forget(self, subject: tuple[str, str | None]) -> None:
        half = self._halves.pop(subject, None)
        if half is not None:
            self._size -= half.size

    def _make_room(self, newest: tuple[str, str | None]) -> None:
        while self._size > self._limit:
            others = [subject for subject in self._halves if subject != newest]
            self._forget(others[0] if others else newest)

    def drop(self, sender: str) -> None:
        """The sender is down: nothing more will come."""
        for subject in [subject for subject in self._halves if subject[0] == sender]:
            self._forget(subject)
        self._done = {subject: stream for subject, stream in self._done.items() if subject[0] != sender}
