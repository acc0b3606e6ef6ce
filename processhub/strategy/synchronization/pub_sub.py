"""PubSub: every change goes to every member at once. The default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from processhub.strategy.options import check_seconds
from processhub.strategy.synchronization.base import Synchronization, jittered


@dataclass(frozen=True)
class PubSub(Synchronization):
    """Every change goes to every member at once; every `sync_interval` each node sends its vector to all.

    Args:
        sync_interval: seconds between two rounds, which find what a lost message left different. Shorter: such a
            difference lasts less long. Longer: less idle traffic (one small message per pair of members and round).
    """

    direct: ClassVar[bool] = True

    sync_interval: float = 15.0

    def __post_init__(self) -> None:
        check_seconds("PubSub", "sync_interval", self.sync_interval)

    def targets(self, members: Sequence[str], rng: Random) -> Sequence[str]:
        """All of them."""
        return members

    def partners(self, members: Sequence[str], rng: Random) -> Sequence[str]:
        """All of them."""
        return members

    def pause(self, rng: Random) -> float:
        """`sync_interval`, give or take a tenth."""
        return jittered(self.sync_interval, rng)
