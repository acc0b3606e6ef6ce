"""StaticQuorum: a fixed number of nodes must be present."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from processhub.strategy.options import check_count, check_flag
from processhub.strategy.partition_tolerance.base import PartitionTolerance


@dataclass(frozen=True)
class StaticQuorum(PartitionTolerance):
    """Partitioned while fewer than `quorum_size` nodes are present.

    Args:
        quorum_size: how many nodes it takes, this one included. More than half of the cluster, or two parts can both
            have it.
        startup_confirm: whether that holds from the start. If not, a node that starts works with however few others,
            until it loses its first member: a cluster may be started node by node with children running all along. The
            price: a node that is restarted in a small part works there, alone.

    The memory is whether a member was ever lost: what one node has lost is no fact about another one.
    """

    quorum_size: int
    startup_confirm: bool = False

    def __post_init__(self) -> None:
        check_count("StaticQuorum", "quorum_size", self.quorum_size)
        check_flag("StaticQuorum", "startup_confirm", self.startup_confirm)

    def has_quorum(self, memory: Any, members: Collection[str], now: float) -> bool:
        """Whether there are `quorum_size` of them, or nothing was lost yet and the start needs no confirmation."""
        is_starting = not self.startup_confirm and not memory
        return is_starting or len(members) >= self.quorum_size

    def remember(self, memory: Any, before: Collection[str], members: Collection[str], now: float) -> Any:
        """True from the first loss of a member on."""
        return bool(memory) or any(node not in members for node in before)
