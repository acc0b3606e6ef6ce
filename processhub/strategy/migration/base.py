"""Migration: how a child gets from a node that should not hold it to an owner."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum

from processhub.strategy.base import Strategy


class Order(Enum):
    """What happens first, once the owner has accepted the child."""

    STOP_FIRST = "stop_first"
    """The old node stops its copy, drops its row and sends the child; the new node starts it when it arrives."""

    START_FIRST = "start_first"
    """The new node starts its copy; the old node stops its own when it hears that the new one runs."""


class Migration(Strategy, ABC):
    """How one child moves. The coordinator carries it out: Offer, Accept, and then as `order` says."""

    @property
    @abstractmethod
    def order(self) -> Order:
        """Which copy acts first after an Accept."""

    @property
    @abstractmethod
    def carries_state(self) -> bool:
        """Whether the state of the old copy goes to the new one."""

    @abstractmethod
    def time_limit(self, base: float) -> float:
        """Seconds from the Accept after which the move of a child counts as failed.

        The old node then keeps its copy if it still has it, and the child is decided upon anew.

        Args:
            base: `migr_base_timeout` of the hub, in seconds.
        """
