"""Synchronization: who is told of a change, and who compares notes with whom.

A *batch* is what one node wrote (see `processhub.registry`); a *vector* says what a node knows. Batches make the
members agree quickly, vectors make sure of it: whoever lacks something is sent it.

`members` are always other members, and observers with them, sorted, without the node that asks; `rng` is the node's
random source.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from random import Random
from typing import ClassVar, Final

from processhub.strategy.base import Strategy

_JITTER: Final = 0.1


def jittered(seconds: float, rng: Random) -> float:
    """`seconds`, give or take a tenth: nodes that were started together do not stay in step."""
    return seconds * rng.uniform(1 - _JITTER, 1 + _JITTER)


class Synchronization(Strategy, ABC):
    """To whom batches and vectors go, and when."""

    direct: ClassVar[bool] = False
    """Whether `targets` are always all: then who got a reply has all that was written before it."""

    @abstractmethod
    def targets(self, members: Sequence[str], rng: Random) -> Sequence[str]:
        """Those of `members` to which this node sends a batch itself.

        The others are dealt out among the targets, each of which passes the batch on to its share, asking the same
        question. So a batch gets to every member once, whatever is chosen here. The choice is kept until this node's
        next round, or until the members change: batches of one writer stay in order that way.

        Args:
            members: for what this node wrote all other members; for a batch of another node its share.
        """

    @abstractmethod
    def partners(self, members: Sequence[str], rng: Random) -> Sequence[str]:
        """The members to which this node sends its vector in a periodic round."""

    @abstractmethod
    def pause(self, rng: Random) -> float:
        """Seconds until this node's next round."""

    def starts_rounds(self, node: str, members: Sequence[str]) -> bool:
        """Whether this node, called `node`, starts periodic rounds among all these members. By default each does."""
        return True

    @property
    def relays_rounds(self) -> bool:
        """Whether a round goes on to the members that are no partners, as a batch does. By default it does not."""
        return False

    def again(self, rng: Random) -> float | None:
        """In how many seconds a node that found a difference compares notes again; None (the default): next round.

        It does so whether it starts rounds or not, until it finds none.
        """
        return None
