"""Which copy of a child answers for it: one rule for `get_pid`, `get_pids`, `active` and via names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from processhub.registry import RUNNING, Row
from supervisor.pids import Pid

if TYPE_CHECKING:
    from processhub.hub.hub import Hub


class CopyLookup:
    """Lookups of a hub's children, which may have several copies.

    Of single copies the registry's index says which one answers. Else the order of the copies of a child is: the active
    one; the local one; those of the owners, in their order; those on nodes that are no owners (they move just now).
    Only running copies count.
    """

    __slots__ = ("_hub",)

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def pid_of(self, child_id: str, gone: Pid | None = None) -> Pid | None:
        """The first copy by that order; a leaving one, which passes on what it gets, if none runs.

        gone: a pid that is known to be dead, and does not count.
        """
        registry = self._hub.registry
        rows = registry.rows(child_id)
        first: Pid | None = registry.pids.get(child_id)
        if len(rows) > 1 and not self._hub.has_single_copies:
            first = next((pid for pid in self._in_order(child_id, rows) if pid != gone), first)
        return first if first != gone else None

    def active(self, child_id: str) -> Pid | None:
        """The copy on the active node if it runs there; where all copies are active, what `pid_of` says."""
        hub = self._hub
        node = None if hub.has_single_copies else self._active_node(child_id)
        if node is None:
            return self.pid_of(child_id)
        return _running_pid(hub.registry.rows(child_id), node)

    def all_pids(self, child_id: str) -> list[Pid]:
        """All running copies: the active one, then in the order of the owners."""
        hub = self._hub
        if hub.has_single_copies:  # two of them are being reconciled
            return [row.pid for _, row in hub.registry.running(child_id)]
        rows = hub.registry.rows(child_id)
        return self._pids(child_id, rows, (self._active_node(child_id), *hub.owners(child_id)))

    def _in_order(self, child_id: str, rows: Mapping[str, Row]) -> list[Pid]:
        hub = self._hub
        return self._pids(child_id, rows, (self._active_node(child_id), hub.node, *hub.owners(child_id)))

    def _pids(self, child_id: str, rows: Mapping[str, Row], nodes: tuple[str | None, ...]) -> list[Pid]:
        others = (node for node, _ in self._hub.registry.running(child_id))
        found = (_running_pid(rows, node) for node in dict.fromkeys((*nodes, *others)) if node is not None)
        return [pid for pid in found if pid is not None]

    def _active_node(self, child_id: str) -> str | None:
        hub = self._hub
        return hub.config.redundancy_strategy.active(child_id, hub.owners(child_id))


def _running_pid(rows: Mapping[str, Row], node: str) -> Pid | None:
    row = rows.get(node)
    return row.pid if row is not None and row.state == RUNNING else None
