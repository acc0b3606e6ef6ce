"""Synchronization: who is told of a change, and who compares notes with whom.

A *batch* is what one node wrote (see `processhub.registry`); a *vector* says what a node knows. Batches make the
members agree quickly, vectors make sure of it: whoever lacks something is sent it.

`members` are always the other members, sorted, without the node that asks; `rng` is the node's random source.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from random import Random

from processhub.strategy.base import Strategy


class Synchronization(Strategy, ABC):
    """To whom batches and vectors go, and when."""

    @abstractmethod
    def recipients(self, members: Sequence[str], rng: Random) -> Sequence[str]:
        """The members to which a batch that this node wrote is sent at once."""

    @abstractmethod
    def partners(self, members: Sequence[str], rng: Random) -> Sequence[str]:
        """The members to which this node sends its vector in a periodic round."""

    @abstractmethod
    def pause(self, rng: Random) -> float:
        """Seconds until this node's next round."""

    def relay(self, members: Sequence[str], seen: Collection[str], rng: Random) -> Sequence[str]:
        """The members to which a batch received from another node is passed on.

        Args:
            seen: nodes to which it has been sent already, its writer included.

        By default nobody: its writer sent it to all.
        """
        return ()
