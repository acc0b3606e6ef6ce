"""Which rows a child has, and which pid answers for it: the indexes that lookups read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

STARTING = "starting"
RUNNING = "running"
RESTARTING = "restarting"
FAILED = "failed"
LEAVING = "leaving"
STATES = (STARTING, RUNNING, RESTARTING, FAILED, LEAVING)
"""In the order of their codes on the wire: add new ones at the end."""


class Row(NamedTuple):
    """One copy of a child on one node.

    Attributes:
        pid: its pid; None where the state has none.
        state: one of `STATES`.
        epoch: the number of this ownership; higher is newer.
        to: the pid that takes over, in state leaving; the pid from which it took over, in state running, where there
            was a hand-over: who sees the new row knows what has become of the old one.
    """

    pid: Any
    state: str
    epoch: int
    to: Any = None


make_row: Callable[[tuple[Any, ...]], Row] = partial(tuple.__new__, Row)

NO_ROWS: Mapping[str, Row] = {}

_ANSWERING = {RUNNING: 1, LEAVING: 0}
"""A leaving copy answers too (it forwards), if no running one does: a child that moves is never absent."""


class Placements:
    """All rows by child.

    Attributes:
        rows: child id -> node -> row; no entry for a child without rows.
        pids: child id -> the pid of the running row of the highest epoch, of the first node by name where epochs are
            equal; of a leaving row if none runs; no entry if there is neither.

    Invariant: `pids` is what `_answering` says of `rows`, at all times.
    """

    __slots__ = ("pids", "rows")

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Row]] = {}
        self.pids: dict[str, Any] = {}

    def update(self, node: str, changes: Iterable[tuple[str, Row | None]]) -> None:
        """Write the rows of some children on that node; None drops one, if it is there. One loop: there may be many."""
        all_rows, pids = self.rows, self.pids
        for child_id, row in changes:
            holders = all_rows.get(child_id)
            if row is None:
                if holders is not None:
                    self._drop(child_id, node, holders)
            elif holders is None:
                all_rows[child_id] = {node: row}
                if row[1] in _ANSWERING:
                    pids[child_id] = row[0]
            else:
                holders[node] = row
                self._choose(child_id, holders)

    def _drop(self, child_id: str, node: str, holders: dict[str, Row]) -> None:
        holders.pop(node, None)
        if holders:
            self._choose(child_id, holders)
        else:
            del self.rows[child_id]
            self.pids.pop(child_id, None)

    def _choose(self, child_id: str, holders: dict[str, Row]) -> None:
        answering = _answering(holders) if len(holders) > 1 else _only(holders)
        if answering is None:
            self.pids.pop(child_id, None)
        else:
            self.pids[child_id] = answering.pid

    def running(self, child_id: str) -> list[tuple[str, Row]]:
        """The running rows, the highest epoch first, then by node name."""
        found = [(node, row) for node, row in self.rows.get(child_id, NO_ROWS).items() if row.state == RUNNING]
        return sorted(found, key=lambda held: (-held[1].epoch, held[0]))


def _only(holders: dict[str, Row]) -> Row | None:
    (row,) = holders.values()
    return row if row.state in _ANSWERING else None


def _answering(holders: dict[str, Row]) -> Row | None:
    rows = [(-_ANSWERING[row.state], -row.epoch, node) for node, row in holders.items() if row.state in _ANSWERING]
    return holders[min(rows)[2]] if rows else None
