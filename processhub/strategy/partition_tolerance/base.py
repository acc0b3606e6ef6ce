"""Partition tolerance: may this part of the cluster go on working?

What has to be remembered for the answer (the largest cluster seen, the nodes lost lately) is a plain value: the
coordinator keeps it, hands it in and exchanges it with the other members. `members` are the members of the hub that
are present, this node included and observers not; `now` is monotonic time of this node, in seconds.

A member that stops its hub or its node is present no more, just as one that is lost: who takes a cluster down node by
node loses quorum on the way.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any, ClassVar

from processhub.strategy.base import Strategy


class PartitionTolerance(Strategy, ABC):
    """Whether the members that are present may work: a question, and the memory that it needs.

    Three numbers keep two parts from running one child at the same time. Not options, since they belong together; a
    subclass may set them.

    heard_within: a member counts as present if anything was heard of it in so many seconds. Shorter: a part that lost
        quorum stops sooner. Longer: an event loop that is blocked for long costs no quorum.
    stop_within: seconds that children get to stop when quorum is lost, whatever their specs say. Then they are killed.
    stable_after: a lost member's children are taken over once every member present has missed it for so many seconds.
        Must exceed the other two together: by then the lost node has noticed, if it still runs, and its children are
        gone. 0: at once, with no regard to what the others see. (A member that leaves by itself stops its children
        first, so those are taken over at once in any case.) A node whose event loop stood still for as long stops its
        own when it wakes, until it has heard from the others what they did meanwhile.
    """

    heard_within: ClassVar[float] = 6.0
    stop_within: ClassVar[float] = 3.0
    stable_after: ClassVar[float] = 10.0

    @abstractmethod
    def has_quorum(self, memory: Any, members: Collection[str], now: float) -> bool:
        """Whether these members may work. While they may not, the hub is *partitioned*: no child runs or starts.

        Args:
            memory: what `remember` or `merge` last returned.
        """

    def remember(self, memory: Any, before: Collection[str], members: Collection[str], now: float) -> Any:
        """The memory from now on. Called when the hub starts, and whenever the members present are others.

        A memory is never changed, only replaced. By default there is none.

        Args:
            memory: None when the hub starts.
            before: the members that were present until now; none when the hub starts.
        """
        return memory

    def outgoing(self, memory: Any, now: float) -> Any:
        """The memory in the form in which other members get it: sendable, and without times of this node's clock."""
        return memory

    def merge(self, mine: Any, theirs: Any, now: float) -> Any:
        """The memory after hearing from a member whose `outgoing` memory is `theirs`. By default ours.

        Must not depend on who tells whom first: in the end all members have the same.
        """
        return mine

    def recheck(self, memory: Any, members: Collection[str], now: float) -> float | None:
        """In how many seconds the answer may change though the members do not; None (the default) for never."""
        return None
