"""Children that are bound to a node which is lost: they wait for it, and are not to be down in silence."""

from __future__ import annotations

import logging

from processhub.hub.hub import Hub
from supervisor.processes import unhurried

log = logging.getLogger(__name__)


def warn_of_down(hub: Hub, node: str) -> None:
    """Log, once for a member that is lost, how many children are down until it is back. Nothing where none is bound."""
    if hub.config.distribution_strategy.binds:
        hub.runtime.spawn(_warn, (hub, node), {})


def _warn(hub: Hub, node: str) -> None:
    children = unhurried(hub.registry.children.items())
    down = [child_id for child_id, child in children if node in hub.placement.absent(child.placement)]
    if down:
        log.warning(
            "hub %s: %d children are bound to %s and down until it is back: %s%s",
            hub.hub_id,
            len(down),
            node,
            ", ".join(map(repr, down[:5])),
            ", ..." if len(down) > 5 else "",
        )
