"""Telling which children have other owners, now that members came or went: PRE_CHILDREN_REDISTRIBUTION."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from processhub.hub.hooks import Hook
from processhub.hub.hub import Hub
from processhub.strategy.distribution.base import Placement

PORTION: Final = 250  # children in one event


def announced(
    hub: Hub, child_ids: Iterator[str], old: Placement, copies: int, change: tuple[str, str]
) -> Iterator[str]:
    """The same children; before each portion of them the hook is told of those whose owners differ.

    old, copies: placement and number of copies as they were before. change: ("up" or "down", node).
    """
    new, new_copies = hub.placement, hub.copies
    while portion := list(islice(child_ids, PORTION)):
        moving = {}
        for child_id in portion:
            child = hub.registry.children.get(child_id)
            if child is None:
                continue
            owners = new.owners(child_id, child.placement, new_copies)
            if owners != old.owners(child_id, child.placement, copies):
                moving[child_id] = list(owners)
        if moving:
            hub.fire(Hook.PRE_CHILDREN_REDISTRIBUTION, (moving, change))
        yield from portion
