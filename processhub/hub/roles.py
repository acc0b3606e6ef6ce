"""Telling the copies of this node their roles: active or passive.

A role is computed, never agreed upon: a pure function of the child's id and owners says which copy is active. So each
node looks at its own copies, whenever one has started or its owners have changed, and tells those whose role is another
one than it was told last. Nothing depends on an event: looking once more does no harm, and a look that was missed is
made good by the next.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from processhub.cluster.wire import register
from processhub.registry import RUNNING
from processhub.strategy.redundancy.base import Mode
from supervisor.pids import Pid
from supervisor.processes import send

if TYPE_CHECKING:
    from processhub.hub.hub import Hub


@dataclass(frozen=True)
class RedundancySignal:
    """The role of the copy that gets this message, in `handle_info`: mode "active" or "passive"."""

    mode: Mode


register(83, RedundancySignal)


class Roles:
    """The roles of the copies on one node, and what was told to whom."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        strategy = hub.config.redundancy_strategy
        self._is_needed = strategy.signals("active") or strategy.signals("passive")
        # What each copy was last found to be, told or not: another pid or another role is news.
        self._known: dict[str, tuple[Pid, Mode]] = {}

    def forget(self, child_id: str) -> None:
        """The copy of this child is gone for good."""
        self._known.pop(child_id, None)

    def forget_all(self) -> None:
        """All copies are gone, with their supervisor."""
        self._known.clear()

    def look_at(self, child_ids: Iterable[str]) -> None:
        """Tell the copies of these children that run here, and whose role is new, what it is."""
        if self._is_needed:
            for child_id in child_ids:
                self._look(child_id)

    def _look(self, child_id: str) -> None:
        hub = self._hub
        row = hub.registry.own_table.get(child_id)
        if row is None or row.state != RUNNING:
            return
        owners = hub.owners(child_id) if child_id in hub.registry.children else ()
        if not owners:
            return  # it is about to stop
        strategy = hub.config.redundancy_strategy
        mode = strategy.mode(child_id, hub.node, owners)
        if self._known.get(child_id) != (row.pid, mode):
            self._known[child_id] = (row.pid, mode)
            if strategy.signals(mode):
                send(row.pid, RedundancySignal(mode))
