"""Redundancy: how many copies a child has, and which of them is active."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

from processhub.strategy.base import Strategy


class Redundancy(Strategy, ABC):
    """How many copies run, and which one of them works."""

    @abstractmethod
    def replication_factor(self, members: Collection[str]) -> int:
        """The number of copies of each child, at least 1, in a hub of these members.

        It may exceed the number of members: then each of them has a copy.
        """

    @abstractmethod
    def active(self, child_id: str, owners: Sequence[str]) -> str | None:
        """The node whose copy is the active one; None when there are no owners, or when all copies are active.

        A pure function of the id and the owners, so that all nodes agree without asking.
        """
