"""Singularity: one copy of each child. The default."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from processhub.strategy.redundancy.base import Redundancy


@dataclass(frozen=True)
class Singularity(Redundancy):
    """One copy of each child, which is the active one."""

    def copies(self, members: Collection[str]) -> int:
        """1."""
        return 1

    def active(self, child_id: str, owners: Sequence[str]) -> str | None:
        """The first owner."""
        return owners[0] if owners else None
