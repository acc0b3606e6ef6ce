"""Partition tolerance: may this part of the cluster go on working?

What has to be remembered for the answer (the largest cluster seen, the nodes lost lately) is a plain value: the
coordinator keeps it, hands it in and sends it to members that it meets. `members` are the members of the hub that are
alive, this node included; `now` is monotonic time of this node, in seconds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any

from processhub.strategy.base import Strategy


class PartitionTolerance(Strategy, ABC):
    """Whether the members that are present may work: a question, and the memory that it needs."""

    @abstractmethod
    def has_quorum(self, memory: Any, members: Collection[str], now: float) -> bool:
        """Whether these members may work. While they may not, the hub is *partitioned*: no child runs or starts.

        Args:
            memory: what `remember` or `merge` last returned.
        """

    def remember(self, memory: Any, members: Collection[str], now: float) -> Any:
        """The memory from now on. Called when the hub starts (with None) and whenever the members change.

        A memory must be sendable, and is never changed, only replaced. By default there is none.
        """
        return memory

    def merge(self, mine: Any, theirs: Any, now: float) -> Any:
        """The memory after meeting a member whose memory is `theirs`. By default ours."""
        return mine

    def recheck(self, memory: Any, members: Collection[str], now: float) -> float | None:
        """In how many seconds the answer may change though the members do not; None (the default) for never."""
        return None
