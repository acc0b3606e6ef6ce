"""CentralizedLoadBalancer: new children go where there is room, as measured; nothing moves when a node joins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from processhub.strategy.distribution.base import Distribution
from processhub.strategy.distribution.load import Load
from processhub.strategy.distribution.load_placement import LoadPlacement
from processhub.strategy.errors import ProcessHubError
from processhub.strategy.options import check, check_count, check_seconds, is_number
from supervisor.gen_server import GenServer
from supervisor.runtime import current_runtime

FULL_LAG: Final = 0.1  # seconds by which a loop is late on average that counts as having no time at all
FULL_PROCESSES: Final = 10_000
FULL_MEMORY: Final = 1_000_000_000  # bytes
LEAST_SHARE: Final = 0.1
BALANCER: Final = "balancer"
SCORES: Final = "scores"


@dataclass(frozen=True)
class CentralizedLoadBalancer(Distribution):
    """Children are placed by the member with the longest uptime, the leader, to which all members report their load.

    Every `push_interval` each member measures itself and tells the leader:

    | what | weight | counts as full (1) at |
    | --- | --- | --- |
    | CPU time of its operating-system process | 0.4 | one core all of the time |
    | how late timers of its event loop fire | 0.3 | 0.1 s on average |
    | processes of its runtime | 0.2 | 10 000 |
    | resident memory | 0.1 | 1 GB |

    The weighted sum is the score of one measurement, from 0 (idle) to 1 (full). The score of a node is the weighted
    mean of its own measurements, the i-th newest with the weight `weight_decay_factor ** i`. The children of a start
    are dealt out in proportion to 1 - score, but at least 0.1. What was dealt lately counts, so that many small starts
    spread as one large one does. Members of which nothing is known count as the mean of the others: with a new leader
    all are equal until their reports come.

    Where a child was placed it stays: members that join get new children only. Children of a lost member are placed
    anew, by load. A lost leader is replaced by the member with the next longest uptime. Uptimes are those of the hub:
    all compare the times at which it started on each node, by the wall clock of that node. A start whose leader does
    not answer deals evenly.

    Subclass it and override `score` to weigh the measurements in another way.

    Args:
        max_history_size: how many measurements of a node count. More make scores steadier, fewer make them follow.
        weight_decay_factor: weight of a measurement against that of the one after it, above 0 and at most 1. With 1 all
            of the history counts the same; smaller ones follow faster.
        push_interval: seconds between two measurements. Shorter ones follow faster and send more.

    Raises:
        InvalidConfig: names the option.
    """

    max_history_size: int = 30
    weight_decay_factor: float = 0.9
    push_interval: float = 10.0

    def __post_init__(self) -> None:
        owner = type(self).__name__
        check_count(owner, "max_history_size", self.max_history_size)
        good = is_number(self.weight_decay_factor) and 0 < self.weight_decay_factor <= 1
        check(good, owner, "weight_decay_factor", "a number > 0 and <= 1", self.weight_decay_factor)
        check_seconds(owner, "push_interval", self.push_interval)

    def place(self, members: Mapping[str, int]) -> LoadPlacement:
        """The placement among these lives of nodes."""
        return LoadPlacement(members)

    def score(self, load: Load) -> float:
        """How full a node is by one measurement: 0 idle, 1 full."""
        return (
            0.4 * _part(load.cpu, 1.0)
            + 0.3 * _part(load.loop_lag, FULL_LAG)
            + 0.2 * _part(load.processes, FULL_PROCESSES)
            + 0.1 * _part(load.memory, FULL_MEMORY)
        )

    def mean(self, scores: Iterable[float]) -> float:
        """The weighted mean of one node's scores, the newest first. 0 if there are none."""
        total = weights = 0.0
        weight = 1.0
        for score in scores:
            total += weight * score
            weights += weight
            weight *= self.weight_decay_factor
        return total / weights if weights else 0.0

    def share(self, score: float) -> float:
        """What a node gets of new children, relative to others: its free capacity, at least 0.1."""
        return max(LEAST_SHARE, 1.0 - score)

    @staticmethod
    def scores(hub_id: str, timeout: float = 5.0) -> dict[str, float]:
        """The score of each member, as the leader has it now; those that it has not heard of are missing.

        Args:
            timeout: seconds to wait for the leader.

        Raises ProcessHubError where this node runs no hub of that id with this strategy, or it has no members;
        ProcessExit or CallTimeout when the leader does not answer.
        """
        hub: Any = current_runtime().services.get(hub_id)
        if not isinstance(
            getattr(getattr(hub, "config", None), "distribution_strategy", None), CentralizedLoadBalancer
        ):
            raise ProcessHubError(f"this node runs no hub {hub_id!r} with a CentralizedLoadBalancer")
        leader = hub.leader()
        if leader is None:
            raise ProcessHubError(f"hub {hub_id!r} has no members")
        return dict(GenServer.call((hub.name_of(BALANCER), leader), SCORES, timeout))


def _part(value: float, full: float) -> float:
    return min(1.0, max(0.0, value / full))
