"""What can go wrong on the way from one node to another: pure arithmetic over times and one random stream."""

from __future__ import annotations

from random import Random


class Path:
    """The way of frames in one direction between two nodes, and what is wrong with it.

    Each direction draws from a stream of its own, made from the seed and the two addresses. So which frame of it is hit
    depends on the frames that went this way, and not on what happened elsewhere.

    Attributes:
        cut_since: since when frames vanish here, or None.
        drop: the probability that a frame is lost.
        delay, jitter: seconds that a frame takes longer: `delay` and up to `jitter` more. The order is kept.
        reorder: the probability that a frame is held back by up to `window` seconds, so that later ones overtake it.
        duplicate: the probability that a frame arrives twice.
        rate: bytes per second, or None for no limit.
    """

    def __init__(self, source: str, target: str, seed: int | str, latency: float) -> None:
        self.source = source
        self.target = target
        self.latency = latency
        self.cut_since: float | None = None
        self.rate: float | None = None
        self.calm()
        self._random = Random(f"{seed}:{source}>{target}")  # a string is hashed the same way in every process
        self._is_free_at = 0.0
        self._last_arrival = 0.0

    def calm(self) -> None:
        """Take back every fault but the cut."""
        self.drop = self.delay = self.jitter = self.reorder = self.window = self.duplicate = 0.0
        self.rate = None

    def transit(self) -> float:
        """Seconds that a frame takes at least."""
        return self.latency + self.delay

    def carry(self, now: float, size: int) -> tuple[float, list[float]]:
        """Send `size` bytes: when they have left the sender, and when they arrive (never, once or twice)."""
        departure = now
        if self.rate is not None:
            departure = self._is_free_at = max(now, self._is_free_at) + size / self.rate
        if self.cut_since is not None or self._happens(self.drop):
            return departure, []
        arrival = departure + self.transit() + (self._random.random() * self.jitter if self.jitter else 0.0)
        arrival = max(arrival, self._last_arrival)
        if self._happens(self.reorder):
            arrival += self._random.random() * self.window
        else:
            self._last_arrival = arrival
        if self._happens(self.duplicate):
            return departure, [arrival, arrival + self.latency * (1.0 + self._random.random())]
        return departure, [arrival]

    def _happens(self, probability: float) -> bool:
        return probability > 0.0 and self._random.random() < probability
