"""Gossip: a change goes to a few members, which pass it on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from processhub.strategy.options import check_count, check_flag, check_seconds
from processhub.strategy.synchronization.base import Synchronization, jittered

_AGAIN_SECONDS = 1.0


@dataclass(frozen=True)
class Gossip(Synchronization):
    """A change goes to `recipients` members drawn at random, each of which passes it on to its share of the others.

    No node sends a change more often than that, each member gets it once, after log(members) hops. What a lost message
    or a node that died half way left different is found by a periodic round, as with `PubSub`; whoever finds a
    difference compares notes again about every second, until there is none.

    Args:
        sync_interval: seconds between two rounds. Shorter: a difference lasts less long. Longer: less idle traffic.
        recipients: to how many members each node sends. More: fewer hops, and one lost message leaves fewer members
            behind. Fewer: less work for the node that writes.
        restricted_init: True: only the first member by name starts rounds, and a round is passed on through the whole
            cluster, with one small message per member. False: every member compares notes with `recipients` others:
            more messages, and no round is missed because the first member is busy.
    """

    sync_interval: float = 15.0
    recipients: int = 3
    restricted_init: bool = True

    def __post_init__(self) -> None:
        check_seconds("Gossip", "sync_interval", self.sync_interval)
        check_count("Gossip", "recipients", self.recipients)
        check_flag("Gossip", "restricted_init", self.restricted_init)

    def targets(self, members: Sequence[str], rng: Random) -> Sequence[str]:
        """`recipients` of them, drawn at random."""
        return rng.sample(members, min(self.recipients, len(members)))

    def partners(self, members: Sequence[str], rng: Random) -> Sequence[str]:
        """`recipients` of them, drawn at random."""
        return self.targets(members, rng)

    def starts_rounds(self, node: str, members: Sequence[str]) -> bool:
        """Every node, or (`restricted_init`) the first member by name."""
        return not self.restricted_init or node == min(members, default=None)

    @property
    def relays_rounds(self) -> bool:
        """`restricted_init`: one node starts a round for all. Equal along a tree of pairs is equal everywhere."""
        return self.restricted_init

    def pause(self, rng: Random) -> float:
        """`sync_interval`, give or take a tenth."""
        return jittered(self.sync_interval, rng)

    def again(self, rng: Random) -> float:
        """About a second, and less where rounds are more frequent than that."""
        return jittered(min(_AGAIN_SECONDS, self.sync_interval), rng)
