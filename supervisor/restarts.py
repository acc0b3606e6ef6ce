"""The rules of restarting, as pure functions and one small counter: they take the time and never ask for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Any, Final, TypeVar

from supervisor.reasons import is_orderly

ONE_FOR_ONE: Final = "one_for_one"
ONE_FOR_ALL: Final = "one_for_all"
REST_FOR_ONE: Final = "rest_for_one"
STRATEGIES: Final = (ONE_FOR_ONE, ONE_FOR_ALL, REST_FOR_ONE)

NEVER: Final = "never"
ANY_SIGNIFICANT: Final = "any_significant"
ALL_SIGNIFICANT: Final = "all_significant"
AUTO_SHUTDOWNS: Final = (NEVER, ANY_SIGNIFICANT, ALL_SIGNIFICANT)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Intensity:
    """How often a supervisor may restart: at most `max_restarts` times within any `max_seconds`.

    A window that slides with the restarts, as OTP's. Invariant: `times` holds at most `max_restarts` + 1 entries.
    """

    __slots__ = ("max_restarts", "max_seconds", "times")

    def __init__(self, max_restarts: int, max_seconds: float) -> None:
        _check(_is_count(max_restarts), "max_restarts", "a whole number >= 0", max_restarts)
        _check(_is_seconds(max_seconds), "max_seconds", "seconds > 0", max_seconds)
        self.max_restarts = max_restarts
        self.max_seconds = max_seconds
        self.times: deque[float] = deque()

    def count(self, now: float) -> bool:
        """Count a restart at `now` (which never goes back). False when it is one too many."""
        times = self.times
        oldest = now - self.max_seconds
        while times and times[0] < oldest:
            times.popleft()
        if len(times) > self.max_restarts:
            times.popleft()
        times.append(now)
        return len(times) <= self.max_restarts

    def __repr__(self) -> str:
        return f"<Intensity {len(self.times)} of {self.max_restarts} in {self.max_seconds} s>"


def wants_restart(restart: str, reason: Any) -> bool:
    """Whether a child of this restart type is started again after it ended with `reason`."""
    if restart == "permanent":
        return True
    return restart == "transient" and not is_orderly(reason)


def affected(strategy: str, children: dict[K, V], failed: K) -> list[K]:
    """The children that are stopped and started again when `failed` is restarted, in start order.

    `children` are all of them by id, in start order. The cost is that of the answer, not that of all children.
    """
    if strategy == ONE_FOR_ONE:
        return [failed]
    if strategy == ONE_FOR_ALL:
        return list(children)
    rest = []
    for child_id in reversed(children):
        rest.append(child_id)
        if child_id == failed:
            break
    rest.reverse()
    return rest


def ends_supervisor(auto_shutdown: str, significant_left: int) -> bool:
    """Whether the end of a significant child, which is not restarted, ends its supervisor too.

    significant_left: how many other significant children run or are to be restarted.
    """
    return auto_shutdown == ANY_SIGNIFICANT or (auto_shutdown == ALL_SIGNIFICANT and significant_left == 0)


def check_options(strategy: str, auto_shutdown: str) -> None:
    """Raise ValueError for a strategy or an auto_shutdown that does not exist."""
    _check(strategy in STRATEGIES, "strategy", f"one of {', '.join(STRATEGIES)}", strategy)
    _check(auto_shutdown in AUTO_SHUTDOWNS, "auto_shutdown", f"one of {', '.join(AUTO_SHUTDOWNS)}", auto_shutdown)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _check(good: bool, name: str, expected: str, value: object) -> None:
    if not good:
        raise ValueError(f"{name} must be {expected}; got {value!r:.200}")
