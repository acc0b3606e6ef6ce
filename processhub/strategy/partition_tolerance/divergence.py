"""Divergence: every part of a divided cluster carries on. The default."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

from processhub.strategy.partition_tolerance.base import PartitionTolerance


@dataclass(frozen=True)
class Divergence(PartitionTolerance):
    """Every part carries on with all children, and what they have too many is stopped when they meet again.

    So a lost member's children are taken over at once.
    """

    heard_within: ClassVar[float] = math.inf
    stable_after: ClassVar[float] = 0.0

    def has_quorum(self, memory: Any, members: Collection[str], now: float) -> bool:
        """Always."""
        return True
