"""Pauses grow, and never beyond the limit."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processhub.hub.backoff import Backoff
from processhub.hub.errors import InvalidConfig


def test_pauses_double_up_to_the_limit() -> None:
    backoff = Backoff(first=0.5, factor=2.0, limit=3.0, jitter=0.0)
    assert [backoff.pause(failures, Random(0)) for failures in (1, 2, 3, 4, 5, 100_000)] == [
        0.5,
        1.0,
        2.0,
        3.0,
        3.0,
        3.0,
    ]


@given(failures=st.integers(1, 10_000), seed=st.integers(0, 1000))
def test_chance_changes_a_pause_by_its_share_at_most(failures: int, seed: int) -> None:
    plain = Backoff(jitter=0.0).pause(failures, Random(seed))
    pause = Backoff(jitter=0.2).pause(failures, Random(seed))
    assert 0.8 * plain - 1e-9 <= pause <= min(60.0, 1.2 * plain + 1e-9)


def test_a_factor_of_one_gives_equal_pauses() -> None:
    assert Backoff(first=2.0, factor=1.0, jitter=0.0).pause(10**9, Random(0)) == 2.0


@pytest.mark.parametrize("option", [{"first": 0}, {"factor": 0.5}, {"limit": 0.1}, {"jitter": 1.5}, {"jitter": "x"}])
def test_a_wrong_option_is_named(option: dict[str, object]) -> None:
    with pytest.raises(InvalidConfig, match=next(iter(option))):
        Backoff(**option)  # type: ignore[arg-type]
