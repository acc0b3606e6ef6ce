"""One member's copy of the registry: Desired and Presence together, with the indexes that lookups need.

Pure data: the hub's shell tells it what was done and what came from peers, sends what it gives out, and learns from the
`Changes` that it returns what is different now. The difference is the event; no table is ever scanned for it.

The protocol, whoever sends and however often, in whatever order:

    after local writes      take_batch() to all members
    now and then            vector() to members, less often or more as the synchronization strategy likes
    a vector came           heard(vector); send delta_since(vector); if lacks(vector): send our own vector
    a batch or chunk came   apply(...), and settle() in slices while it says so

Lost, repeated and reordered batches are harmless: what is missing comes with a delta, what is known is ignored.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, KeysView, Mapping, Sequence
from hashlib import blake2b
from itertools import chain
from typing import Any, NamedTuple

from processhub.registry.batches import Batch, Chunk, RegistryVector, RowOps
from processhub.registry.changes import Changes, ChildChange, RowChange, make_child_change, make_row_change
from processhub.registry.clocks import KEPT_INCARNATIONS, Vector
from processhub.registry.desired import UNCHANGED, Desired
from processhub.registry.operations import Child, Op
from processhub.registry.placements import NO_ROWS, STATES, Row, make_row
from processhub.registry.presence import NO_TABLE, Presence, Version
from processhub.registry.snapshots import Inbox, Whole, cut, cut_operations
from processhub.registry.tags import Tags


class Limits(NamedTuple):
    """The bounds of a registry.

    Attributes:
        log: operations kept to bring peers up to date (and as many presence changes). Fewer save memory (a few hundred
            bytes each), more spare peers that were away a snapshot.
        waiting: operations kept that came before others. When it is full, a delta is asked for.
        half_received: children and rows in snapshots of which pieces are missing.
        piece: children in one chunk, or visited in one slice: 1 000 take 1 to 3 ms.
        incarnations: see `clocks.KEPT_INCARNATIONS`.
    """

    log: int = 20_000
    waiting: int = 10_000
    half_received: int = 5_000_000
    piece: int = 1_000
    incarnations: int = KEPT_INCARNATIONS


class Registry:
    """The registry as one member of a hub's cluster has it.

    Args:
        node: our name.
        incarnation: our hub incarnation, greater than 0 and greater than all earlier ones on a node of this name. (The
            wall clock in milliseconds is such a number.)
        limits: see `Limits`.

    Attributes:
        children: child id -> `Child`: all that should run. Read only; it changes while you iterate with a yield inside.
        own_table: child id -> row: what we hold. Read only.
        pids: child id -> the pid that answers for it, see `placements.Placements`. Read only.
    """

    def __init__(self, node: str, incarnation: int, limits: Limits = Limits()) -> None:  # noqa: B008 - immutable
        if incarnation < 1:
            raise ValueError(f"a hub incarnation must be greater than 0, not {incarnation!r}")
        self.node = node
        self._limits = limits
        self._desired = Desired(node, incarnation, limits.log, limits.waiting)
        self._presence = Presence(node, incarnation, limits.log)
        self._tags = Tags()
        self._inbox = Inbox(limits.half_received)
        # What members have, and what members and those that are down had when they were heard last.
        self._reports: dict[str, Vector] = {}
        self._heard: dict[str, Vector] = {}
        self._streams = 0
        self._changes = Changes()
        self.pids: Mapping[str, Any] = self._presence.placements.pids
        self.own_table: Mapping[str, Row] = self._presence.tables[node]
        self._rows = self._presence.placements.rows

    @property
    def incarnation(self) -> int:
        """Our hub incarnation: as given, or higher since (see `Changes.renewed`)."""
        return self._desired.incarnation

    # Lookups.

    @property
    def children(self) -> Mapping[str, Child]:
        return self._desired.children

    def child(self, child_id: str) -> Child | None:
        """What should run under this id."""
        return self._desired.children.get(child_id)

    def rows(self, child_id: str) -> Mapping[str, Row]:
        """node -> row: all copies of the child, in whatever state."""
        return self._rows.get(child_id, NO_ROWS)

    def running(self, child_id: str) -> list[tuple[str, Row]]:
        """(node, row) of the running copies, the highest epoch first, then by node name."""
        return self._presence.placements.running(child_id)

    def holders(self, child_id: str) -> list[str]:
        """The nodes that hold a copy in whatever state, sorted."""
        return sorted(self._rows.get(child_id, NO_ROWS))

    def table(self, node: str) -> Mapping[str, Row]:
        """child id -> row: what that node holds, as far as it is known."""
        return self._presence.tables.get(node, NO_TABLE)

    def placed(self) -> KeysView[str]:
        """The ids of all children that have a copy somewhere, desired or not."""
        return self._rows.keys()

    def tagged(self, tag: Hashable) -> Collection[str]:
        """The ids of the desired children with this tag in their metadata."""
        return self._tags.tagged(tag)

    def nodes(self) -> list[str]:
        """The nodes whose table is known, ours included, sorted."""
        return self._presence.known()

    def unknown(self, members: Iterable[str]) -> list[str]:
        """Those of the members whose table is not known, sorted. Unknown is not empty."""
        return sorted(node for node in members if not self._presence.is_known(node))

    # Our own writes.

    def put(
        self, child_id: str, now_ms: int, spec: Any = UNCHANGED, metadata: Any = UNCHANGED, placement: Any = UNCHANGED
    ) -> ChildChange:
        """Write registers of a child with one operation. A start writes all three.

        It is written even if nothing differs. Raises KeyError if there is no spec and the child is not desired.
        """
        desired = self._desired
        old = desired.children.get(child_id)
        desired.put(child_id, now_ms, spec, metadata, placement)
        return self._changed(child_id, old)

    def remove(self, child_id: str, now_ms: int) -> ChildChange | None:
        """The child should not run any more. None if it should not anyway."""
        old = self._desired.children.get(child_id)
        return self._changed(child_id, old) if self._desired.remove(child_id, now_ms) else None

    def _changed(self, child_id: str, old: Child | None) -> ChildChange:
        # A merge may have visited the child meanwhile; this change reports both.
        old = self._desired.before.pop(child_id, old)
        new = self._desired.children.get(child_id)
        change = make_child_change((child_id, old, new))
        self._tags.apply((change,))
        return change

    def set_row(self, child_id: str, pid: Any, state: str, epoch: int, to: Any = None) -> RowChange | None:
        """Our copy of the child is this from now on. None if it was already. Raises ValueError for an unknown state."""
        if state not in STATES:
            raise ValueError(f"state must be one of {STATES}, not {state!r}")
        old = self.own_table.get(child_id)
        row = make_row((pid, state, epoch, to))
        return make_row_change((child_id, self.node, old, row)) if self._presence.set_row(child_id, row) else None

    def drop_row(self, child_id: str) -> RowChange | None:
        """We hold no copy any more. None if we held none."""
        old = self._presence.drop_row(child_id)
        return None if old is None else RowChange(child_id, self.node, old, None)

    def take_batch(self) -> Batch | None:
        """Our writes since the last take, for all members; None if there are none.

        To be called after writing on a lone member too: what is not taken is kept.
        """
        ops = self._desired.take()
        version, changes = self._presence.take()
        if not ops and not changes:
            return None
        return Batch.of(self.node, ops, RowOps(self.node, *version, changes) if changes else None)

    # What peers sent.

    def apply(self, message: Batch | Chunk, now_ms: int) -> Changes:
        """Take in what a peer sent, and return what is different now.

        A batch of our own, or one that was applied before, changes nothing. Raises MalformedBatch for a chunk that does
        not fit the others of its snapshot; then nothing was changed.
        """
        if isinstance(message, Chunk):
            whole = self._inbox.add(message)
            if message.table is None:
                self._desired.observe(message.items, now_ms)
            if whole is not None:
                self._begin(whole)
                return self.settle(self._limits.piece)
        else:
            self._apply_ops(message.runs, now_ms)
            if message.rows is not None:
                self._apply_rows(message.rows)
        return self._report()

    def _apply_ops(self, runs: Iterable[list[Op]], now_ms: int) -> None:
        for run in runs:
            if run[0].node == self.node:
                self._renew_above(run[0].incarnation)
            if not self._desired.apply(run, now_ms):
                self._changes.need_delta = True

    def _apply_rows(self, rows: RowOps) -> None:
        if rows.node == self.node:
            self._renew_above(rows.incarnation)
            return
        was_known = self._presence.is_known(rows.node)
        if not self._presence.apply(*rows):
            self._changes.need_tables.append(rows.node)
        elif not was_known and self._presence.is_known(rows.node):
            self._changes.tables.append(rows.node)

    def _begin(self, whole: Whole) -> None:
        if isinstance(whole.header, Version):
            node = whole.table or ""
            if self._presence.wants(node, whole.header):
                self._presence.replace(node, whole.header, whole.rows.items())
            return
        self._renew_above(whole.header.highest_incarnation(self.node))
        self._desired.follow(whole.header)
        if not self._desired.accepts(whole.header):
            return
        if not self._desired.merge(whole.header, whole.children, self._heard.get(whole.sender)):
            self._renewed()

    @property
    def settling(self) -> bool:
        """Whether a snapshot is not wholly applied, or not reported."""
        # (A snapshot that had to be finished at once, to give one out ourselves, is still to be reported.)
        unreported = self._desired.before or self._presence.before
        return self._desired.is_settling or bool(unreported or self._presence.merging())

    def settle(self, limit: int | None = None) -> Changes:
        """Go on applying a snapshot: up to `limit` children and rows (a piece, if not given)."""
        room = self._desired.settle(self._limits.piece if limit is None else limit)
        for node in self._presence.merging():
            room = self._presence.settle(node, room)
            if self._presence.is_known(node):
                self._changes.tables.append(node)
        return self._report()

    def drop_member(self, node: str) -> Changes:
        """The node is down: its table is dropped and unknown from now on. (What it wrote in Desired stays.)"""
        self._inbox.drop(node)
        self._reports.pop(node, None)
        self._presence.drop(node)
        return self._report()

    def _report(self) -> Changes:
        """The net differences since the last report."""
        changes, self._changes = self._changes, Changes()
        desired, presence = self._desired, self._presence
        if desired.before:
            children = desired.children
            changes.children = [
                make_child_change((child_id, old, new))
                for child_id, old in desired.before.items()
                if (new := children.get(child_id)) is not old and (old is None or new is None or old[:3] != new[:3])
            ]
            desired.before.clear()
            self._tags.apply(changes.children)
        if presence.before:
            changes.rows = presence.differences()
            presence.before.clear()
        changes.clock_ahead_ms, desired.clock_ahead_ms = desired.clock_ahead_ms, 0
        changes.settling = self.settling
        return changes

    # What members compare.

    def vector(self) -> RegistryVector:
        """What we have: small, whatever the size of the registry."""
        versions = {node: version for node in self.nodes() if (version := self._presence.version_of(node)) is not None}
        return RegistryVector(self.node, self._desired.vector.copy(), versions)

    def digest(self) -> int:
        """64 bits of the vector, node name left out: equal digests, equal registries."""
        _, desired, tables = self.vector().to_wire()
        return int.from_bytes(blake2b(repr((desired, tables)).encode(), digest_size=8).digest(), "big")

    def heard(self, vector: RegistryVector) -> Changes:
        """Take note of what another member has. To be called with every vector that comes."""
        if vector.node != self.node:
            table = vector.tables.get(self.node)
            known = max(vector.desired.highest_incarnation(self.node), table.incarnation if table else 0)
            self._renew_above(known)
            self._desired.follow(vector.desired)
            self._reports[vector.node] = self._heard[vector.node] = vector.desired
        return self._report()

    def lacks(self, vector: RegistryVector) -> bool:
        """Whether its sender has operations, or changes of its own table, that we lack: then send it our vector."""
        table = vector.tables.get(vector.node)
        if table is not None and self._presence.wants(vector.node, table):
            return True
        return self._desired.accepts(vector.desired) and self._desired.vector.lacks(vector.desired)

    def should_report(self, vector: RegistryVector) -> bool:
        """Whether its sender should have our vector though it need not lack anything: so that old incarnations retire.

        We have retired what it has not, or all must have heard of each other before something can.
        """
        ours, theirs = self._desired.vector, vector.desired
        is_ahead = any(there.incarnation > theirs.retired_of(node).incarnation for node, there in ours.retired.items())
        return is_ahead or ours.has_old(self._limits.incarnations)

    def tables_ahead(self, vector: RegistryVector, nodes: Iterable[str]) -> list[str]:
        """Those of these nodes of whose table the sender of `vector` knows a newer version than we do."""
        ahead = vector.tables
        return [node for node in nodes if node in ahead and self._presence.wants(node, ahead[node])]

    def tables_behind(self, vector: RegistryVector, nodes: Iterable[str]) -> list[str]:
        """Those of these nodes of whose table we know a newer version than the sender of `vector` does."""
        versions = ((node, self._presence.version_of(node)) for node in nodes)
        return [node for node, version in versions if version and version > vector.tables.get(node, (0, 0))]

    def delta_since(self, vector: RegistryVector, tables: Iterable[str] = ()) -> Iterator[Batch | Chunk]:
        """All that the sender of `vector` lacks, as of now, in pieces that are made when they are asked for.

        Args:
            vector: what the other one has.
            tables: nodes whose presence tables are to be passed on too, as far as they are known here and newer. (Our
                own always is.)
        """
        parts = [self._desired_since(vector.desired), self._own_table_since(vector.tables.get(self.node))]
        for node in tables:
            version = self._presence.version_of(node)
            if node not in (self.node, vector.node) and version and version > vector.tables.get(node, (0, 0)):
                parts.append(self._table_snapshot(node, version))
        return chain.from_iterable(parts)

    def _desired_since(self, vector: Vector) -> Iterable[Batch | Chunk]:
        desired = self._desired
        if desired.vector.conflicts(vector):
            return self._desired_snapshot() if desired.vector.outranks(vector) else ()
        if not vector.lacks(desired.vector):
            return ()
        ops = desired.operations_since(vector)
        return self._desired_snapshot() if ops is None else cut_operations(self.node, ops, self._limits.piece)

    def _desired_snapshot(self) -> Iterator[Chunk]:
        vector, ops = self._desired.snapshot()
        return cut(self.node, self._next_stream(), None, vector, ops, self._limits.piece)

    def _own_table_since(self, version: Version | None) -> Iterable[Batch | Chunk]:
        presence = self._presence
        if version == presence.version:
            return ()
        changes = presence.changes_since(version)
        if not changes:
            # Too far behind, or unknown there and empty here, which must be told as well.
            return self._table_snapshot(self.node, presence.version)
        base = presence.version.counter - len(changes)
        return Batch(self.node, [], RowOps(self.node, self.incarnation, base, changes)).pieces(self._limits.piece)

    def _table_snapshot(self, node: str, version: Version) -> Iterator[Chunk]:
        rows: Sequence[tuple[str, Row]] = list(self._presence.tables[node].items())
        return cut(self.node, self._next_stream(), node, version, rows, self._limits.piece)

    def _next_stream(self) -> tuple[int, int]:
        self._streams += 1
        return (self.incarnation, self._streams)

    # Housekeeping.

    def sweep(self, now_ms: int, members: Iterable[str]) -> int:
        """Remove what metadata written concurrently with a remove left behind. Returns how many operations that took.

        Anyone might, but one is enough: only the first member by name does.
        """
        return self._desired.sweep(now_ms) if self.node == min((*members, self.node)) else 0

    def retire(self, members: Iterable[str]) -> None:
        """Forget old incarnations of which all members have the same, as far as they reported (`heard`)."""
        others = {node for node in members if node != self.node}
        if others <= self._reports.keys():
            self._desired.retire({node: self._reports[node] for node in others}, self._limits.incarnations)

    def _renew_above(self, known: int) -> None:
        """Another life of ours is known to others by a higher number: go above it, or they take us for a former one."""
        if known > self.incarnation:
            self._desired.renew(known)
            self._renewed()

    def _renewed(self) -> None:
        self._presence.renew(self.incarnation)
        self._changes.renewed = True
