"""What the distributed supervisor tells of its starts: PRE_ and POST_CHILDREN_START, PROCESS_STARTUPS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from processhub.hub.hooks import ChildData, Hook
from processhub.hub.hub import Hub
from processhub.registry import SpecRecord
from supervisor.pids import Pid

Outcome = tuple[str, Any, Pid | None, list[str]]
"""(child id, "ok" or why it did not start, pid, its owners)."""


def tell_before(hub: Hub, children: Iterable[tuple[str, SpecRecord, Any, Any]]) -> None:
    """These are about to start: (child id, record, metadata, placement) each, read only if somebody listens."""
    if Hook.PRE_CHILDREN_START not in hub.hooks:
        return
    data = {
        child_id: ChildData(
            hub.specs.decode(child_id, record), hub.copy_of(metadata or {}, "metadata"), _owners(hub, child_id, chosen)
        )
        for child_id, record, metadata, chosen in children
    }
    if data:
        hub.fire(Hook.PRE_CHILDREN_START, data)


def note(hub: Hub, outcomes: list[Outcome], child_id: str, pid: Pid | None, reason: Any, chosen: Any) -> None:
    """A start has ended: put down what came of it, if somebody listens."""
    if hub.hooks:
        outcomes.append((child_id, "ok" if pid is not None else reason, pid, _owners(hub, child_id, chosen)))


def tell_after(hub: Hub, outcomes: list[Outcome]) -> None:
    """These were started and registered, or failed."""
    if not outcomes:
        return
    hub.fire(Hook.POST_CHILDREN_START, outcomes)
    started = [(child_id, pid) for child_id, _, pid, _ in outcomes if pid is not None]
    if started:
        hub.fire(Hook.PROCESS_STARTUPS, started)


def _owners(hub: Hub, child_id: str, chosen: Any) -> list[str]:
    return list(hub.placement.owners(child_id, chosen, hub.copies))
