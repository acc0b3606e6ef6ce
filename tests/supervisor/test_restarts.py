from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.reasons import Crash, Shutdown
from supervisor.restarts import Intensity, affected, check_options, ends_supervisor, wants_restart

limits = st.tuples(st.integers(0, 5), st.integers(1, 10))
steps = st.lists(st.integers(0, 12), max_size=60)


@given(limits, steps)
def test_a_restart_is_one_too_many_exactly_when_more_than_allowed_lie_within_the_window(
    limit: tuple[int, int], steps: list[int]
) -> None:
    intensity, now, times = Intensity(*limit), 0.0, list[float]()
    for step in steps:
        now += step
        times.append(now)
        recent = [time for time in times if time >= now - limit[1]]
        assert intensity.count(now) == (len(recent) <= limit[0])


@given(limits, steps)
def test_the_window_never_holds_more_than_it_needs(limit: tuple[int, int], steps: list[int]) -> None:
    intensity, now = Intensity(*limit), 0.0
    for step in steps:
        now += step
        intensity.count(now)
        assert len(intensity.times) <= limit[0] + 1


def test_the_window_includes_its_edge() -> None:
    intensity = Intensity(1, 5.0)
    assert [intensity.count(now) for now in (0.0, 5.0, 10.1)] == [True, False, True]


def test_without_restarts_allowed_the_first_is_too_many() -> None:
    assert not Intensity(0, 5.0).count(0.0)


@pytest.mark.parametrize("options", [(-1, 5.0), (1.5, 5.0), (True, 5.0), (3, 0), (3, -1.0), (3, "5")])
def test_impossible_limits_are_refused(options: tuple[Any, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Intensity(*options)


@pytest.mark.parametrize(
    ("reason", "transient"),
    [
        ("normal", False),
        ("shutdown", False),
        (Shutdown("x"), False),
        ("killed", True),
        ("noproc", True),
        (Crash("E", "m"), True),
        (None, True),
        (("shutdown", 1), True),
    ],
)
def test_a_restart_type_decides_by_the_reason(reason: Any, transient: bool) -> None:
    assert wants_restart("permanent", reason)
    assert not wants_restart("temporary", reason)
    assert wants_restart("transient", reason) is transient


@given(st.lists(st.integers(), unique=True, min_size=1), st.data())
def test_a_strategy_restarts_one_or_all_or_the_rest_in_start_order(ids: list[int], data: st.DataObject) -> None:
    failed = data.draw(st.sampled_from(ids))
    children = dict.fromkeys(ids)
    assert affected("one_for_one", children, failed) == [failed]
    assert affected("one_for_all", children, failed) == ids
    assert affected("rest_for_one", children, failed) == ids[ids.index(failed) :]


def test_the_end_of_a_significant_child_ends_the_supervisor_as_configured() -> None:
    assert [ends_supervisor("never", left) for left in (0, 1)] == [False, False]
    assert [ends_supervisor("any_significant", left) for left in (0, 1)] == [True, True]
    assert [ends_supervisor("all_significant", left) for left in (0, 1)] == [True, False]


def test_unknown_options_are_refused_with_those_that_exist() -> None:
    check_options("rest_for_one", "never")
    with pytest.raises(ValueError, match="one_for_one, one_for_all, rest_for_one; got 'simple'"):
        check_options("simple", "never")
    with pytest.raises(ValueError, match="auto_shutdown must be one of"):
        check_options("one_for_one", "always")
