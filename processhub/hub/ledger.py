"""What the leader of a load balancer knows of the members: their scores, and what they were given lately."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

from processhub.strategy.distribution.centralized_load_balancer import CentralizedLoadBalancer
from processhub.strategy.distribution.dealing import Dealer
from processhub.strategy.distribution.load import Load

FORGOTTEN: Final = 0.01  # of a child: counts as nothing dealt


class Ledger:
    """The histories of the members, each by itself, and the count of what was dealt.

    Lives of nodes: whatever concerns another life than the present one is dropped, so a node that restarts begins anew
    and what its former life sent counts for nothing.
    """

    def __init__(self, strategy: CentralizedLoadBalancer) -> None:
        self._strategy = strategy
        self._lives: dict[str, int] = {}
        self._histories: dict[str, deque[float]] = {}  # the newest first
        self._dealt: dict[str, float] = {}

    def follow(self, lives: Mapping[str, int]) -> None:
        """These are the members from now on."""
        for node, life in self._lives.items():
            if lives.get(node) != life:
                self._histories.pop(node, None)
                self._dealt.pop(node, None)
        self._lives = dict(lives)

    def record(self, node: str, life: int, load: Load) -> bool:
        """A member reports. False: it is none, or that was another life of it."""
        if self._lives.get(node) != life:
            return False
        if node not in self._histories:
            self._histories[node] = deque(maxlen=self._strategy.max_history_size)
        self._histories[node].appendleft(self._strategy.score(load))
        return True

    def scores(self) -> dict[str, float]:
        """The score of each member that has reported, by name."""
        return {node: self._strategy.mean(self._histories[node]) for node in sorted(self._histories)}

    def shares(self) -> dict[str, float]:
        """What each member gets, relative to others. Those that have not reported get the mean of those that have."""
        known = {node: self._strategy.share(score) for node, score in self.scores().items()}
        mean = sum(known.values()) / len(known) if known else 1.0
        return {node: known.get(node, mean) for node in sorted(self._lives)}

    def dealer(self) -> Dealer:
        """Deals by the shares of now. What it deals is counted here."""
        return Dealer(self.shares(), self._dealt)

    def age(self) -> None:
        """Another interval is over: what was dealt shows more and more in the scores, and counts less and less.

        All counts shrink together. Were each set to 0 by its own node's report, the first one to report would get all
        of the next start.
        """
        factor = self._strategy.weight_decay_factor
        self._dealt = {node: count * factor for node, count in self._dealt.items()}
        if all(count < FORGOTTEN for count in self._dealt.values()):
            self._dealt.clear()

    def clear(self) -> None:
        """Forget all scores and counts: another node leads."""
        self._histories.clear()
        self._dealt.clear()
