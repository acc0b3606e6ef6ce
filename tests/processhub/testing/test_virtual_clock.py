"""Virtual time: nothing moves by itself, and everything fires in one order."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processhub.testing.virtual_clock import EPOCH, VirtualTime


def turn(time: VirtualTime, seconds: float) -> None:
    """Move the time, firing what is due, without an event loop."""
    end = time.now() + seconds
    while (instant := time.next_deadline()) is not None and instant <= end:
        time.move_to(instant)
        time.fire_due()
    time.move_to(end)


def test_time_stands_still_until_it_is_moved() -> None:
    time = VirtualTime()
    clock = time.clock("a")
    assert (time.now(), clock.now(), clock.wall()) == (0.0, 0.0, EPOCH)
    time.move_to(2.5)
    assert (clock.now(), clock.wall()) == (2.5, EPOCH + 2.5)


def test_time_does_not_go_back() -> None:
    time = VirtualTime()
    time.move_to(1.0)
    with pytest.raises(ValueError, match="cannot go back"):
        time.move_to(0.5)


def test_a_skewed_wall_clock_leaves_the_monotonic_one_alone() -> None:
    time = VirtualTime()
    ahead = time.clock("a", skew=90.0)
    assert ahead.wall() - time.clock("b").wall() == 90.0
    ahead.skew = -10.0
    assert (ahead.wall(), ahead.now()) == (EPOCH - 10.0, 0.0)


def test_timers_fire_at_their_deadline_and_see_that_time() -> None:
    time = VirtualTime()
    clock = time.clock()
    seen: list[tuple[str, float]] = []
    clock.call_later(2.0, lambda: seen.append(("two", clock.now())))
    clock.call_later(1.0, lambda: seen.append(("one", clock.now())))
    turn(time, 1.5)
    assert seen == [("one", 1.0)]
    turn(time, 10.0)
    assert seen == [("one", 1.0), ("two", 2.0)]


def test_at_one_instant_nodes_fire_in_their_order_and_each_its_timers_by_age() -> None:
    time = VirtualTime()
    first, second = time.clock("z"), time.clock("a")
    seen: list[str] = []
    for label, clock in (("s1", second), ("f1", first), ("s2", second), ("f2", first)):
        clock.call_later(1.0, seen.append, label)
    turn(time, 1.0)
    assert seen == ["f1", "f2", "s1", "s2"]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), max_size=30), st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_which_node_ran_first(timers: list[tuple[int, int]], shuffle: Any) -> None:
    def fired(in_order: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        time = VirtualTime()
        clocks = [time.clock(str(number)) for number in range(3)]
        seen: list[tuple[int, int, int]] = []
        for timer in in_order:
            clocks[timer[0]].call_later(timer[1], seen.append, timer)
        turn(time, 10.0)
        return seen

    numbered = [(node, seconds, age) for age, (node, seconds) in enumerate(timers)]
    by_node = {node: [timer for timer in numbered if timer[0] == node] for node in range(3)}
    turns = [node for node, _, _ in numbered]
    shuffle.shuffle(turns)  # another interleaving of the same nodes
    assert fired([by_node[node].pop(0) for node in turns]) == fired(numbered)


def test_a_cancelled_timer_does_not_fire() -> None:
    time = VirtualTime()
    clock = time.clock()
    seen: list[int] = []
    timers = [clock.call_later(1.0, seen.append, number) for number in range(200)]
    for timer in timers[1:]:
        timer.cancel()
    assert clock.pending() == 1
    turn(time, 2.0)
    assert seen == [0]
    assert clock.pending() == 0


def test_a_timer_may_cancel_another_one_that_is_due_as_well() -> None:
    time = VirtualTime()
    clock = time.clock()
    seen: list[str] = []
    clock.call_later(1.0, lambda: later.cancel())
    later = clock.call_later(1.0, seen.append, "cancelled")
    turn(time, 2.0)
    assert seen == []


def test_a_timer_of_zero_seconds_that_a_timer_starts_waits_for_the_next_round() -> None:
    time = VirtualTime()
    clock = time.clock()
    seen: list[str] = []

    def again() -> None:
        seen.append("fired")
        clock.call_later(0.0, again)

    clock.call_later(1.0, again)
    time.move_to(1.0)
    time.fire_due()
    assert seen == ["fired"]
    assert time.next_deadline() == 1.0


def test_a_timer_that_raises_is_logged_and_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    time = VirtualTime()
    clock = time.clock()
    seen: list[str] = []

    def fail() -> None:
        raise ZeroDivisionError

    clock.call_later(1.0, fail)
    clock.call_later(1.0, seen.append, "other")
    with caplog.at_level(logging.ERROR):
        turn(time, 1.0)
    assert seen == ["other"]
    assert "a timer's function failed" in caplog.text


def test_the_timers_of_a_paused_node_fire_late() -> None:
    time = VirtualTime()
    paused, other = time.clock("a"), time.clock("b")
    seen: list[tuple[str, float]] = []

    def note(label: str) -> Callable[[], None]:
        return lambda: seen.append((label, time.now()))

    paused.call_later(1.0, note("paused 1"))
    paused.call_later(2.0, note("paused 2"))
    other.call_later(1.5, note("other"))
    paused.pause()
    turn(time, 5.0)
    assert seen == [("other", 1.5)]
    assert paused.now() == 5.0
    paused.resume()
    assert time.next_deadline() == 5.0
    turn(time, 0.0)
    assert seen[1:] == [("paused 1", 5.0), ("paused 2", 5.0)]


def test_a_stopped_node_has_no_timers_and_gets_no_new_ones() -> None:
    time = VirtualTime()
    clock = time.clock()
    seen: list[str] = []
    old = clock.call_later(1.0, seen.append, "old")
    clock.stop()
    new = clock.call_later(1.0, seen.append, "new")
    assert time.next_deadline() is None
    turn(time, 5.0)
    old.cancel()
    new.cancel()
    assert seen == []
    assert clock.pending() == 0


def test_the_next_deadline_is_the_earliest_of_all_nodes() -> None:
    time = VirtualTime()
    assert time.next_deadline() is None
    time.clock("a").call_later(3.0, print)
    time.clock("b").call_later(2.0, print)
    assert time.next_deadline() == 2.0
