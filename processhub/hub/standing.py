"""How a hub stands in a divided cluster: what outlives the coordinator, whose `processhub.hub.quorum` decides on it.

The memory and the field `partitioned` outlive the hub too, as long as its node lives: a hub that its supervisor starts
again knows what the former one knew. Stopping the hub or the node on purpose ends that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from processhub.hub.config import HubConfig
from processhub.hub.lost import LostMembers
from supervisor.runtime import Runtime


@dataclass
class Standing:
    """The standing of one hub on one node.

    Attributes:
        partitioned: whether quorum is lost. Only `Quorum` sets it.
        memory: the strategy's.
        present: the members that the memory counts as present, sorted.
        stale: members whose table may be older than it looks, since they have not answered us since they joined, or
            since quorum was lost.
        lost: the members that are not seen.
        is_careful: whether the strategy wants lost members to be waited for.
    """

    is_careful: bool
    partitioned: bool = False
    memory: Any = None
    present: tuple[str, ...] = ()
    stale: set[str] = field(default_factory=set)
    lost: LostMembers = field(default_factory=LostMembers)

    def may_run_elsewhere(self, child_id: str) -> bool:
        """Whether a node may hold this child, which we own, without our knowing."""
        return bool(self.stale) or (len(self.lost) > 0 and self.lost.may_hold(child_id))


def standing_of(runtime: Runtime, config: HubConfig, observer: bool) -> Standing:
    """The standing of a hub that starts: what a former one on this node left, if its strategy was the same."""
    strategy = config.partition_tolerance_strategy
    standing = Standing(strategy.stable_after > 0)
    if observer:
        return standing  # it runs nothing, and is never partitioned
    key, description = _key(config.hub_id), strategy.describe()
    former = runtime.services.get(key)
    if former is not None and former[0] == description:
        standing.partitioned, standing.memory = former[1].partitioned, former[1].memory
    runtime.services[key] = (description, standing)
    return standing


def forget_standing(runtime: Runtime, hub_id: str) -> None:
    """The hub is stopped on purpose: the next one of its id begins with nothing."""
    runtime.services.pop(_key(hub_id), None)


def _key(hub_id: str) -> str:
    return f"processhub.standing.{hub_id}"
