"""Checks of options and config fields: each raises InvalidConfig, with the field, the accepted form and the value."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from processhub.strategy.errors import InvalidConfig


def check(good: bool, owner: str, field: str, expected: str, value: Any) -> None:
    """Raise InvalidConfig("<owner>: <field> must be <expected>; got <value>") unless `good`."""
    if not good:
        raise InvalidConfig(f"{owner}: {field} must be {expected}; got {value!r:.200}")


def check_seconds(owner: str, field: str, value: Any, *, positive: bool = True) -> None:
    """A finite number of seconds, greater than 0 or (positive=False) at least 0."""
    good = is_number(value) and (value > 0 or (value == 0 and not positive))
    check(good, owner, field, f"a number of seconds {'> 0' if positive else '>= 0'}", value)


def check_count(owner: str, field: str, value: Any, at_least: int = 1) -> None:
    """An int of at least `at_least`."""
    good = isinstance(value, int) and not isinstance(value, bool) and value >= at_least
    check(good, owner, field, f"an int >= {at_least}", value)


def check_flag(owner: str, field: str, value: Any) -> None:
    """True or False."""
    check(isinstance(value, bool), owner, field, "True or False", value)


def check_choice(owner: str, field: str, value: Any, choices: Collection[str]) -> None:
    """One of these texts."""
    good = isinstance(value, str) and value in choices
    check(good, owner, field, "one of " + ", ".join(repr(choice) for choice in choices), value)


def is_number(value: Any) -> bool:
    """Whether it is a finite int or float, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
