"""MajorityQuorum: more than half of the largest cluster seen must be present."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from processhub.strategy.errors import HubNotAlive, InvalidConfig
from processhub.strategy.options import check_count, check_flag
from processhub.strategy.partition_tolerance.base import PartitionTolerance
from supervisor.errors import NoProcess
from supervisor.gen_server import GenServer

RESET_CLUSTER_SIZE: Final = "reset_cluster_size"


@dataclass(frozen=True)
class MajorityQuorum(PartitionTolerance):
    """Partitioned while fewer than largest // 2 + 1 nodes are present, where largest is the largest cluster seen.

    Args:
        initial_cluster_size: what `largest` begins with. It counts from the start: a node that is started or restarted
            works once a majority of so many is present. With 1 a node that is restarted in a small part, and meets
            nobody there who knows better, works alone.
        track_max_size: whether `largest` grows with the cluster. If not, it changes by `reset_cluster_size` only.

    The memory is (number of resets, largest). Of two memories the one with more resets is newer, and of equal ones the
    larger counts; so all members, and those that were away and come back, end with the same one.
    """

    initial_cluster_size: int = 1
    track_max_size: bool = True

    def __post_init__(self) -> None:
        check_count("MajorityQuorum", "initial_cluster_size", self.initial_cluster_size)
        check_flag("MajorityQuorum", "track_max_size", self.track_max_size)

    def has_quorum(self, memory: Any, members: Collection[str], now: float) -> bool:
        """Whether they are more than half of the largest cluster."""
        _, largest = self._known(memory)
        return len(members) >= largest // 2 + 1

    def remember(self, memory: Any, before: Collection[str], members: Collection[str], now: float) -> Any:
        """The largest cluster grows when a member joins, not when one is lost: a reset may precede a downsizing."""
        resets, largest = self._known(memory)
        if self.track_max_size and any(node not in before for node in members):
            largest = max(largest, len(members))
        return resets, largest

    def merge(self, mine: Any, theirs: Any, now: float) -> Any:
        """The one with more resets, then the larger one."""
        return max(self._known(mine), self._known(theirs))

    def reset(self, memory: Any, size: int) -> Any:
        """The memory after one more reset."""
        resets, _ = self._known(memory)
        return resets + 1, size

    def _known(self, memory: Any) -> tuple[int, int]:
        resets, largest = memory if memory is not None else (0, self.initial_cluster_size)
        return resets, largest

    @staticmethod
    def reset_cluster_size(hub_id: str, n: int) -> None:
        """From now on the cluster has `n` nodes, until more join: for a cluster that was made smaller on purpose.

        It holds on every member at once, and on one that is away when it comes back. A hub that is partitioned and has
        the majority of `n` goes on. Of two resets at the same time the larger holds. Call it when the nodes that are to
        go have gone, or right before: until then parts of the old cluster may each have a majority of `n`.

        Raises HubNotAlive, and InvalidConfig where `n` is no int >= 1 or the hub has another strategy.
        """
        check_count("reset_cluster_size", "n", n)
        try:
            done = GenServer.call(hub_id, (RESET_CLUSTER_SIZE, n))
        except NoProcess as error:
            raise HubNotAlive(hub_id) from error
        if not done:
            raise InvalidConfig(f"hub {hub_id!r}: there is nothing to reset: it has no MajorityQuorum")
