"""Redundancy: how many copies a child has, and which of them is active."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Literal

from processhub.strategy.base import Strategy

Mode = Literal["active", "passive"]
"""The role of a copy."""


class Redundancy(Strategy, ABC):
    """How many copies run, and which one of them works."""

    @abstractmethod
    def copies(self, members: Collection[str]) -> int:
        """The number of copies of each child, at least 1, in a hub of these members.

        It may exceed the number of members: then each of them has a copy.
        """

    @abstractmethod
    def active(self, child_id: str, owners: Sequence[str]) -> str | None:
        """The node whose copy is the active one; None when there are no owners, or when all copies are active.

        A pure function of the id and the owners, so that all nodes agree without asking.
        """

    def signals(self, mode: Mode) -> bool:
        """Whether a copy is sent `RedundancySignal(mode)` when this becomes its role. By default none is."""
        return False

    def mode(self, child_id: str, node: str, owners: Sequence[str]) -> Mode:
        """The role of the copy on `node`: "active" where it is the active one or all are, else "passive"."""
        return "active" if self.active(child_id, owners) in (node, None) else "passive"
