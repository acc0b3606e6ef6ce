"""Presence: what does run, and where.

Every node has a table, child id -> `Row`, which only that node writes. A table's version is (hub incarnation, counter);
each change is one step of the counter. With one writer per table no merge is needed, only order: changes are applied
if they directly follow the version that is known here, and otherwise discarded and reported, so that the table is asked
for.

Unknown is not empty. A table is *known* once a snapshot of it was applied (or its changes from the very first one on:
at counter 0 it is empty). A newer incarnation of which only later changes are seen makes it unknown again; its rows
stay readable until the new table comes, since processes outlive a crashed hub.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from processhub.registry.changes import RowChange, make_row_change
from processhub.registry.placements import Placements, Row

RowOp = tuple[str, Row | None]
"""(child id, its row from now on); None: it has none any more."""

Before = dict[str, dict[str, Row | None]]
"""node -> child id -> the row before the first change: from this net differences are made."""

NO_TABLE: Mapping[str, Row] = {}


class Version(NamedTuple):
    """How far a table is: the hub incarnation that writes it, and the number of changes so far."""

    incarnation: int
    counter: int


class Presence:
    """The tables of all nodes, our own one to write.

    Attributes:
        tables: node -> child id -> row.
        placements: the same rows by child.
        before: what changed in the others' tables since the owner of this last cleared it.

    Invariant: a node has a version exactly if its table was known at some time since it was last dropped; it is known
    unless it is in `_outdated` (a newer incarnation was seen) or `_merging` (a snapshot is not wholly applied).
    """

    def __init__(self, node: str, incarnation: int, log_limit: int) -> None:
        self.node = node
        self.tables: dict[str, dict[str, Row]] = {node: {}}
        self.placements = Placements()
        self.before: Before = {}
        self._own = self.tables[node]
        self._versions: dict[str, Version] = {}
        self._incarnation = incarnation
        self._counter = 0
        # The latest changes of our table, and how many of them no batch has taken yet.
        self._log: deque[RowOp] = deque()
        self._log_limit = log_limit
        self._untaken: list[RowOp] = []
        self._outdated: set[str] = set()
        # node -> what of a snapshot is still to be applied.
        self._merging: dict[str, dict[str, Row | None]] = {}
        # Late changes of a former life must not bring back a table that was dropped, so this outlives the drop.
        self._newest: dict[str, int] = {}

    # Our own table.

    @property
    def version(self) -> Version:
        return Version(self._incarnation, self._counter)

    def set_row(self, child_id: str, row: Row) -> bool:
        """False: it is that already."""
        if self._own.get(child_id) == row:
            return False
        self._own[child_id] = row
        change = (child_id, row)
        self.placements.update(self.node, (change,))
        self._record(change)
        return True

    def drop_row(self, child_id: str) -> Row | None:
        """The row that was dropped, if there was one."""
        row = self._own.pop(child_id, None)
        if row is not None:
            change = (child_id, None)
            self.placements.update(self.node, (change,))
            self._record(change)
        return row

    def _record(self, change: RowOp) -> None:
        self._counter += 1
        self._untaken.append(change)
        self._log.append(change)
        if len(self._log) > self._log_limit:
            self._log.popleft()

    def take(self) -> tuple[Version, list[RowOp]]:
        """The changes since the last take, and the version that they follow."""
        changes, self._untaken = self._untaken, []
        return Version(self._incarnation, self._counter - len(changes)), changes

    def renew(self, incarnation: int) -> None:
        """Go on under a higher incarnation: the whole table is written anew, from counter 0 on."""
        self._incarnation = incarnation
        self._counter = 0
        self._log.clear()
        self._untaken = []
        for change in self._own.items():
            self._record(change)

    def changes_since(self, version: Version | None) -> list[RowOp] | None:
        """What leads from `version` of our table to ours; None if the log does not reach back to it."""
        if version is None:
            version = Version(self._incarnation, 0)
        missing = self._counter - version.counter
        if version.incarnation != self._incarnation or not 0 <= missing <= len(self._log):
            return None
        return list(islice(self._log, len(self._log) - missing, None))

    # The others' tables.

    def version_of(self, node: str) -> Version | None:
        """The version known of that node's table; None while it is unknown."""
        if node == self.node:
            return self.version
        return self._versions.get(node) if self.is_known(node) else None

    def is_known(self, node: str) -> bool:
        return node == self.node or (
            node in self._versions and node not in self._outdated and node not in self._merging
        )

    def known(self) -> list[str]:
        return sorted(node for node in self.tables if self.is_known(node))

    def apply(self, node: str, incarnation: int, base: int, changes: list[RowOp]) -> bool:
        """Apply changes of another node's table. False: it must be asked for, nothing was applied."""
        if incarnation < self._newest.get(node, 0):
            return True
        self._newest[node] = incarnation
        known = self._versions.get(node)
        if known is None or known.incarnation != incarnation:
            return self._begin(node, incarnation, base, changes)
        if base > known.counter:
            return False
        fresh = changes if base == known.counter else changes[known.counter - base :]
        if fresh:
            self._versions[node] = Version(incarnation, known.counter + len(fresh))
            self._overrule(node, fresh)
            self._write(node, fresh)
        return True

    def _begin(self, node: str, incarnation: int, base: int, changes: list[RowOp]) -> bool:
        """The first changes seen of an incarnation: those from 0 on are a table, others only tell that there is one."""
        if base != 0:
            if node in self._versions:
                self._outdated.add(node)
            return False
        self.replace(node, Version(incarnation, len(changes)), changes)
        self.settle(node, len(changes) + len(self.tables[node]))
        return True

    def _write(self, node: str, changes: Sequence[RowOp]) -> None:
        table = self.tables[node]
        old_rows = self.before.setdefault(node, {})
        for child_id, row in changes:
            if child_id not in old_rows:
                old_rows[child_id] = table.get(child_id)
            if row is not None:
                table[child_id] = row
            else:
                table.pop(child_id, None)
        self.placements.update(node, changes)

    def _overrule(self, node: str, changes: Sequence[RowOp]) -> None:
        """These changes came after the snapshot that is being applied."""
        todo = self._merging.get(node)
        if todo is not None:
            for child_id, _ in changes:
                todo.pop(child_id, None)

    def wants(self, node: str, version: Version) -> bool:
        """Whether a snapshot of that version would tell us something."""
        if node == self.node or version.incarnation < self._newest.get(node, 0):
            return False
        known = self.version_of(node)
        return known is None or known < version

    def replace(self, node: str, version: Version, rows: Iterable[tuple[str, Row | None]]) -> None:
        """Begin to put a complete table in place of the one known. `settle` does the rest, in slices.

        Meanwhile the table is unknown, and changes that follow `version` are applied; they win over the snapshot.
        """
        table = self.tables.setdefault(node, {})
        todo: dict[str, Row | None] = dict.fromkeys(table)
        todo.update(rows)
        self._merging[node] = todo
        self._versions[node] = version
        self._newest[node] = version.incarnation
        self._outdated.discard(node)

    def settle(self, node: str, limit: int) -> int:
        """Apply up to `limit` rows of a snapshot; the table is known after the last. Returns how many were left for."""
        todo = self._merging[node]
        count = min(limit, len(todo))
        slice_ = [todo.popitem() for _ in range(count)]
        self._write(node, slice_)
        if not todo:
            del self._merging[node]
        return limit - count

    def merging(self) -> list[str]:
        """The nodes whose snapshot is not wholly applied."""
        return sorted(self._merging)

    def drop(self, node: str) -> None:
        """The node is down: its rows are gone and its table is unknown."""
        if node == self.node or node not in self.tables:
            return
        self._write(node, [(child_id, None) for child_id in list(self.tables[node])])
        del self.tables[node]
        self._versions.pop(node, None)
        self._merging.pop(node, None)
        self._outdated.discard(node)

    def differences(self) -> list[RowChange]:
        """What really differs from before."""
        found = []
        for node, rows in self.before.items():
            table = self.tables.get(node, NO_TABLE)
            for child_id, old in rows.items():
                new = table.get(child_id)
                if new is not old and new != old:
                    found.append(make_row_change((child_id, node, old, new)))
        return found
