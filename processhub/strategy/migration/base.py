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
    """The new node starts its copy, which takes over from the old one: see `processhub.hub.handover`. Needs HotSwap."""


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
        """Seconds for which an owner waits to be handed a child before it starts the child itself.

        A hand-over that is under way does not count: it has its own deadline.

        Args:
            base: `migr_base_timeout` of the hub, in seconds.
        """
