"""Metadata of children: changing them, and finding children by their tag."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from processhub.hub.hub import Hub
from supervisor.pids import Pid


def update_metadata(hub: Hub, child_id: str, fn: Callable[[dict[str, Any]], Mapping[str, Any]]) -> dict[str, Any]:
    """See `ProcessHub.update_metadata`."""
    child = hub.registry.child(child_id)
    if child is None:
        raise _unknown(hub, child_id)
    before = dict(child.metadata or {})
    returned = fn(hub.copy_of(before, "metadata"))
    if not isinstance(returned, Mapping):
        raise TypeError(f"update_metadata: the function must return a mapping; it returned {returned!r:.200}")
    metadata: dict[str, Any] = hub.copy_of(dict(returned), "metadata")
    if metadata != before:
        try:
            hub.registry.put(child_id, hub.now_ms(), metadata=metadata)
        except KeyError:  # it was stopped while the function ran
            raise _unknown(hub, child_id) from None
        hub.publish()
    return hub.copy_of(metadata, "metadata")  # type: ignore[no-any-return]


def _unknown(hub: Hub, child_id: Any) -> KeyError:
    return KeyError(f"hub {hub.hub_id!r} has no child {child_id!r:.100}")


def tagged(hub: Hub, tag: Hashable) -> dict[str, dict[str, Pid]]:
    """See `ProcessHub.tag_query`."""
    registry = hub.registry
    return {child_id: {node: row.pid for node, row in registry.running(child_id)} for child_id in registry.tagged(tag)}
