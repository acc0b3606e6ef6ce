"""DynamicQuorum: a share of the nodes must be present, and lost ones count for a while."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from processhub.strategy.options import check, check_seconds, is_number
from processhub.strategy.partition_tolerance.base import PartitionTolerance

SAME_LOSS_SECONDS: Final = 1.0  # two nodes that tell of one loss give or take this: what a message may take


@dataclass(frozen=True)
class DynamicQuorum(PartitionTolerance):
    """Partitioned while present / (present + lost lately) * 100 is less than `quorum_size`.

    Args:
        quorum_size: the share that it takes, in percent: greater than 0 and at most 100. Above 50, or two equal parts
            both have it.
        threshold_time: seconds for which a lost node counts. Then a part, however small, works again on its own: longer
            keeps the parts from it for longer, shorter lets what is left of a cluster work sooner.

    The memory is a log, {node: when it was lost}. Members merge theirs node by node, by the latest loss that anybody
    knows of; so one that joins takes over whatever the others remember, and nobody's log replaces another one's. It
    travels as ages, since clocks differ.
    """

    quorum_size: float
    threshold_time: float = 30.0

    def __post_init__(self) -> None:
        good = is_number(self.quorum_size) and 0 < self.quorum_size <= 100
        check(good, "DynamicQuorum", "quorum_size", "a percentage > 0 and <= 100", self.quorum_size)
        check_seconds("DynamicQuorum", "threshold_time", self.threshold_time)

    def has_quorum(self, memory: Any, members: Collection[str], now: float) -> bool:
        """Whether the share of those present is large enough."""
        lost = sum(1 for _ in self._lost(memory, members, now))
        return len(members) * 100 >= self.quorum_size * (len(members) + lost)

    def remember(self, memory: Any, before: Collection[str], members: Collection[str], now: float) -> Any:
        """The log with those that are gone, without those that are back or were lost too long ago."""
        log = dict(self._lost(memory, members, now))
        log.update((node, now) for node in before if node not in members)
        return log

    def outgoing(self, memory: Any, now: float) -> Any:
        """{node: seconds since it was lost}."""
        return {node: now - at for node, at in self._lost(memory, (), now)}

    def merge(self, mine: Any, theirs: Any, now: float) -> Any:
        """Per node the latest loss that either knows of."""
        log = dict(self._lost(mine, (), now))
        for node, age in (theirs or {}).items():
            at = now - age
            if age < self.threshold_time and (node not in log or at > log[node] + SAME_LOSS_SECONDS):
                log[node] = at
        return log

    def recheck(self, memory: Any, members: Collection[str], now: float) -> float | None:
        """When the next lost node stops counting."""
        times = [at + self.threshold_time - now for _, at in self._lost(memory, members, now)]
        return min(times, default=None)

    def _lost(self, memory: Mapping[str, float] | None, members: Collection[str], now: float) -> Iterator[Any]:
        """(node, when) of those that count as lost."""
        for node, at in (memory or {}).items():
            if node not in members and now - at < self.threshold_time:
                yield node, at
