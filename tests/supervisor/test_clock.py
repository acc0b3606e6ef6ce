from __future__ import annotations

import logging
from typing import Any

import gevent.event
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.clock import HeapClock, LoopClock


class Stopped(HeapClock):
    """A clock that a test moves, without an event loop."""

    time = 0.0

    def now(self) -> float:
        return self.time

    def move(self, seconds: float) -> None:
        self.time += seconds
        self._fire_due()


def test_timers_fire_in_the_order_of_their_deadlines_and_equal_ones_in_the_order_of_their_calls() -> None:
    clock, fired = Stopped(), list[str]()
    for seconds, name in ((2.0, "c"), (1.0, "a"), (1.0, "b"), (3.0, "d")):
        clock.call_later(seconds, fired.append, name)
    clock.move(2.0)
    assert fired == ["a", "b", "c"]
    clock.move(1.0)
    assert fired == ["a", "b", "c", "d"]
    assert clock.pending() == 0


def test_a_timer_fires_once_and_is_not_active_afterwards() -> None:
    clock, fired = Stopped(), list[int]()
    timer = clock.call_later(1.0, fired.append, 1)
    assert timer.active
    clock.move(1.0)
    clock.move(1.0)
    assert fired == [1]
    assert not timer.active
    timer.cancel()
    assert clock.pending() == 0


def test_a_cancelled_timer_does_not_fire_and_frees_its_arguments() -> None:
    clock, fired = Stopped(), list[int]()
    timer = clock.call_later(1.0, fired.append, 1)
    timer.cancel()
    timer.cancel()
    clock.move(2.0)
    assert fired == []
    assert timer.args == ()
    assert (clock.pending(), clock.next_deadline()) == (0, None)


def test_a_negative_delay_is_due_at_once() -> None:
    clock, fired = Stopped(), list[int]()
    clock.call_later(-5.0, fired.append, 1)
    clock.move(0.0)
    assert fired == [1]


def test_a_timer_that_fails_is_logged_and_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    clock, fired = Stopped(), list[int]()
    clock.call_later(1.0, lambda: 1 / 0)
    clock.call_later(1.0, fired.append, 2)
    with caplog.at_level(logging.ERROR):
        clock.move(1.0)
    assert fired == [2]
    assert "ZeroDivisionError" in caplog.text


def test_a_timer_may_start_and_cancel_others_while_it_fires() -> None:
    clock, fired = Stopped(), list[str]()
    victim = clock.call_later(2.0, fired.append, "victim")
    clock.call_later(1.0, victim.cancel)
    clock.call_later(1.0, lambda: clock.call_later(0.0, fired.append, "nested"))
    clock.move(5.0)
    assert fired == ["nested"]


def test_many_cancelled_timers_do_not_pile_up() -> None:
    clock = Stopped()
    keep = clock.call_later(1000.0, print)
    for _ in range(10_000):
        clock.call_later(5.0, print).cancel()
    assert clock.pending() == 1
    assert len(clock._heap) < 200
    assert clock.next_deadline() == keep.deadline


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=200))
def test_exactly_the_timers_that_are_not_cancelled_fire_in_order(plan: list[tuple[int, bool]]) -> None:
    clock, fired = Stopped(), list[tuple[int, int]]()
    timers = [clock.call_later(float(due), fired.append, (due, n)) for n, (due, _) in enumerate(plan)]
    for timer, (_, cancelled) in zip(timers, plan, strict=True):
        if cancelled:
            timer.cancel()
    assert clock.pending() == sum(not cancelled for _, cancelled in plan)
    for _ in range(51):
        clock.move(1.0)
    assert fired == sorted((due, n) for n, (due, cancelled) in enumerate(plan) if not cancelled)
    assert clock.pending() == 0


def wait_for(happened: Any) -> None:
    assert happened.wait(timeout=10.0)


def test_the_loop_clock_fires_an_earlier_timer_that_was_started_later() -> None:
    # real time: this is the clock that the operating system turns
    clock, fired, done = LoopClock(), list[str](), gevent.event.Event()
    late = clock.call_later(60.0, fired.append, "late")
    clock.call_later(0.02, done.set)
    clock.call_later(0.01, fired.append, "early")
    wait_for(done)
    assert fired == ["early"]
    late.cancel()
    assert clock.pending() == 0


def test_the_loop_clock_survives_that_the_timer_it_is_armed_for_is_cancelled() -> None:
    # real time: this is the clock that the operating system turns
    clock, done = LoopClock(), gevent.event.Event()
    clock.call_later(0.01, print).cancel()
    clock.call_later(0.02, done.set)
    wait_for(done)
    assert clock.now() <= clock.now()
