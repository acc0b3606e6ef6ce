"""How long to wait before the next try at something that failed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from processhub.strategy.options import check, check_seconds, is_number


@dataclass(frozen=True)
class Backoff:
    """Pauses that grow by `factor` from `first` to `limit` seconds, each shortened or lengthened a little by chance.

    Args:
        first: the pause after the first failure, in seconds.
        factor: each further pause is so many times the one before.
        limit: the longest pause, chance included, in seconds.
        jitter: the share of a pause that is left to chance, 0 to 1: nodes that failed together do not retry together.
    """

    first: float = 0.5
    factor: float = 2.0
    limit: float = 60.0
    jitter: float = 0.1

    def __post_init__(self) -> None:
        check_seconds("Backoff", "first", self.first)
        check(is_number(self.factor) and self.factor >= 1, "Backoff", "factor", "a number >= 1", self.factor)
        check(is_number(self.limit) and self.limit >= self.first, "Backoff", "limit", "seconds >= first", self.limit)
        check(is_number(self.jitter) and 0 <= self.jitter <= 1, "Backoff", "jitter", "from 0 to 1", self.jitter)

    def pause(self, failures: int, rng: Random) -> float:
        """Seconds to wait after so many failures in a row (1 after the first one)."""
        pause = self.first
        for _ in range(min(failures, 1000) - 1):
            if pause >= self.limit:
                break
            pause *= self.factor
        return min(self.limit, pause * rng.uniform(1 - self.jitter, 1 + self.jitter))
