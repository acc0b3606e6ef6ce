"""Children whose nodes are to be chosen anew by the leader of a load balancer: who is told, and who waits.

The coordinator's looks find them, so nothing here is remembered for correctness. Where this node leads, its balancer
gets them slice by slice. All others leave such a child alone until the leader's choice arrives, but not for ever: after
`migr_base_timeout` the stand-ins that the placement names take it, and the leader, once there is one, keeps them.
"""

from __future__ import annotations

from typing import Final

from processhub.hub.hub import Hub
from processhub.strategy.distribution.centralized_load_balancer import BALANCER
from processhub.strategy.distribution.load_placement import LoadPlacement

REPEAT_SECONDS: Final = 2.0
# How long a stand-in stays in the value beside the node that is back. Two leaders that differ about who is there would
# otherwise choose it and take it out again in turns, as fast as they hear of each other.
SPARE_SECONDS: Final = 60.0


class _Waiting:
    """One child: when it was found without nodes, when it was looked at last, when our own balancer was told."""

    __slots__ = ("looked", "since", "told")

    def __init__(self, now: float) -> None:
        self.since = self.looked = now
        self.told = -REPEAT_SECONDS


class Choosing:
    """What the coordinator of one hub does about children that are not placed."""

    def __init__(self, hub: Hub) -> None:
        self.waiting: dict[str, _Waiting] = {}
        self._spare: dict[str, float] = {}  # child -> since when this node, which leads, sees a spare one
        self._hub = hub
        self._found: list[str] = []

    def holds_back(self, child_id: str, now: float) -> bool:
        """Whether this child is to be left alone for now. To be asked at every look at it."""
        hub, placement = self._hub, self._hub.placement
        child = hub.registry.children.get(child_id)
        if child is None or not isinstance(placement, LoadPlacement):
            self.waiting.pop(child_id, None)
            self._spare.pop(child_id, None)
            return False
        copies = hub.copies
        if placement.is_chosen(child.placement, copies):
            self.waiting.pop(child_id, None)
            self._look_for_spare(child_id, placement.has_spare(child.placement, copies), now)
            return False
        waiting = self.waiting.get(child_id)
        if waiting is None:
            waiting = self.waiting[child_id] = _Waiting(now)
        waiting.looked = now
        if now - waiting.told >= REPEAT_SECONDS and hub.leader() == hub.node:
            waiting.told = now
            self._found.append(child_id)
        return now - waiting.since < hub.config.migr_base_timeout

    def _look_for_spare(self, child_id: str, has_spare: bool, now: float) -> None:
        if not has_spare or self._hub.leader() != self._hub.node:
            if self._spare:
                self._spare.pop(child_id, None)
        elif now - self._spare.setdefault(child_id, now) >= SPARE_SECONDS:
            self._found.append(child_id)

    def due(self, now: float) -> list[str]:
        """Children to look at again: the leader may be another one now, or never have got them."""
        return [child_id for child_id, waiting in self.waiting.items() if now - waiting.looked >= REPEAT_SECONDS]

    def carry_out(self) -> None:
        """Let the balancer of this node choose, if this node leads."""
        found, self._found = self._found, []
        if found and self._hub.leader() == self._hub.node:
            self._hub.tell(BALANCER, ("choose", found))
