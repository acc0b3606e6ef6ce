"""ColdSwap: the old copy stops, then the new one starts. The default."""

from __future__ import annotations

from dataclasses import dataclass

from processhub.strategy.migration.base import Migration, Order


@dataclass(frozen=True)
class ColdSwap(Migration):
    """The old copy stops, then the new one starts, without its state. The two never run at the same time."""

    @property
    def order(self) -> Order:
        """Stop first."""
        return Order.STOP_FIRST

    @property
    def carries_state(self) -> bool:
        """False."""
        return False

    def time_limit(self, base: float) -> float:
        """`base`."""
        return base
