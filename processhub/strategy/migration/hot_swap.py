"""HotSwap: the new copy starts first, and takes over in one instant what the old one was and had still to do."""

from __future__ import annotations

from dataclasses import dataclass

from processhub.strategy.migration.base import Migration, Order
from processhub.strategy.options import check_flag, check_seconds


@dataclass(frozen=True)
class HotSwap(Migration):
    """The new copy starts and waits; the old one stops at its turn, hands over, and what comes for it is forwarded.

    No call is lost, refused or handled twice, and the order of what one process sends is kept. Children that are no
    GenServers (supervisors, state machines, plain processes) move as with ColdSwap.

    Args:
        retention: seconds for which the new copy holds messages of a node that could be ahead of what that node sent
            before by way of the old one. Longer keeps the order on slower networks; shorter lets messages of a node
            that does not know of the move come through sooner.
        handover: whether the state travels: `prepare_handover_state` of the old copy, `alter_handover_state` of the
            new one. Without it the new copy begins as any start does.
        confirm_handover: whether `children_migrated` is fired only once the new copy is known to run.
        handover_data_wait: seconds that a node which shuts down gives its children to move. Those that have not by
            then are stopped.
        child_migration_timeout: seconds from the start of the new copy to the end of the hand-over, for each child
            alone. A child that takes longer stays where it is, goes on, and is tried again later.
    """

    retention: float = 5.0
    handover: bool = False
    confirm_handover: bool = False
    handover_data_wait: float = 3.0
    child_migration_timeout: float = 10.0

    def __post_init__(self) -> None:
        check_seconds("HotSwap", "retention", self.retention, positive=False)
        check_flag("HotSwap", "handover", self.handover)
        check_flag("HotSwap", "confirm_handover", self.confirm_handover)
        check_seconds("HotSwap", "handover_data_wait", self.handover_data_wait, positive=False)
        check_seconds("HotSwap", "child_migration_timeout", self.child_migration_timeout)

    @property
    def order(self) -> Order:
        """Start first."""
        return Order.START_FIRST

    @property
    def carries_state(self) -> bool:
        """`handover`."""
        return self.handover

    def time_limit(self, base: float) -> float:
        """`base`, or `child_migration_timeout` if that is longer."""
        return max(base, self.child_migration_timeout)
