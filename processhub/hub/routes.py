"""Who sends a batch to whom, so that all get it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from random import Random
from typing import Final

from processhub.strategy.synchronization.base import Synchronization

Shares = list[tuple[str, list[str]]]
"""(node, to whom it passes on what it gets)."""

_KEPT: Final = 1000


def deal(members: Sequence[str], chosen: Sequence[str]) -> Shares:
    """Deal out the members that were not chosen among those that were, one by one."""
    picked = set(chosen)
    rest = [node for node in members if node not in picked]
    return [(node, rest[number :: len(chosen)]) for number, node in enumerate(chosen)]


class Routes:
    """The ways that batches take from here, for each set of members.

    They are kept until `redraw`: batches of one writer that took another way each would overtake each other, and what
    does not follow what is known of a presence table must be asked for.
    """

    def __init__(self, strategy: Synchronization, rng: Random) -> None:
        self._strategy = strategy
        self._rng = rng
        self._kept: dict[tuple[str, ...], Shares] = {}

    def to(self, members: Sequence[str], directly: Collection[str] = ()) -> Shares:
        """To whom this node sends a batch that all these members are to get.

        `directly`: who gets it from this node in any case. (Perhaps from another one as well, which does no harm.)
        """
        key = tuple(members)
        shares = self._kept.get(key)
        if shares is None:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            shares = self._kept[key] = deal(members, self._strategy.targets(members, self._rng))
        others = sorted(set(directly).difference(node for node, _ in shares)) if directly else []
        return [*shares, *((node, []) for node in others)] if others else shares

    def redraw(self) -> None:
        """Choose anew from now on: a way over a node that is slow does not stay."""
        self._kept.clear()
