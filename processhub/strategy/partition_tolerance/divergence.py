"""Divergence: every part of a divided cluster carries on. The default."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from processhub.strategy.partition_tolerance.base import PartitionTolerance


@dataclass(frozen=True)
class Divergence(PartitionTolerance):
    """Every part carries on with all children, and what they have too many is stopped when they meet again."""

    def has_quorum(self, memory: Any, members: Collection[str], now: float) -> bool:
        """Always."""
        return True
