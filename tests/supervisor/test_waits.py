"""Waits end exactly once, whoever comes first, and leave nothing behind; exits hit the right greenlet only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import pytest
from greenlet import getcurrent, greenlet

import supervisor.processes as process
from supervisor.errors import CallTimeout, Exit, ProcessExit
from supervisor.gen_server import GenServer
from supervisor.processes import new_wait
from supervisor.records import Process
from supervisor.runtime import current_process
from supervisor.scheduler import Scheduler
from supervisor.waits import ABANDONED, EXPIRED, FAILED, PENDING, REPLIED, Throw, Wait
from tests.supervisor.kit import Echo, ManualClock


def scheduler() -> Scheduler:
    return current_process().runtime.scheduler


def waiting(clock: ManualClock, timeout: float | None = None, target: Any = None) -> tuple[Wait, list[Any]]:
    """A wait in which a process of its own is; the list gets what it ended with."""
    outcome: list[Any] = []
    waits: list[Wait] = []

    def waiter() -> None:
        wait = new_wait(current_process().runtime, timeout)
        wait.target = target
        waits.append(wait)
        scheduler().suspend(wait)
        try:
            outcome.append(wait.outcome())
        except Exception as error:
            outcome.append(error)

    process.spawn(waiter)
    clock.settle()
    return waits[0], outcome


class Debtor:
    """Owes an answer: notes who waits for it."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def add_waiter(self, wait: Wait) -> None:
        self.log.append("added")

    def drop_waiter(self, wait: Wait) -> None:
        self.log.append("dropped")


# -- one end ---------------------------------------------------------------------------------------------------------


def test_a_wait_ends_once(clock: ManualClock) -> None:
    runtime = current_process().runtime
    wait = new_wait(runtime, None)
    assert wait.reply(1)
    assert not wait.reply(2)
    assert not wait.fail(ValueError("late"))
    scheduler().suspend(wait)
    assert wait.outcome() == 1


ENDS: dict[str, tuple[Callable[[Wait], object], int]] = {
    "reply": (lambda wait: wait.reply("value"), REPLIED),
    "fail": (lambda wait: wait.fail(ValueError("no")), FAILED),
    "target died": (lambda wait: wait.target_died("boom"), FAILED),
    "expire": (lambda wait: wait.scheduler._expire(wait), EXPIRED),
}


@pytest.mark.parametrize("first", ENDS)
@pytest.mark.parametrize("second", ENDS)
def test_the_first_end_of_a_wait_counts_and_the_second_changes_nothing(
    clock: ManualClock, first: str, second: str
) -> None:
    wait, outcome = waiting(clock)
    assert (wait.state, outcome) == (PENDING, [])
    end, state = ENDS[first]
    end(wait)
    value = wait.value
    ENDS[second][0](wait)
    assert (wait.state, wait.value) == (state, value)
    clock.settle()
    assert len(outcome) == 1
    assert wait.greenlet is None


def test_each_end_gives_the_waiter_what_it_says(clock: ManualClock) -> None:
    found = []
    for end, _ in ENDS.values():
        wait, outcome = waiting(clock)
        end(wait)
        clock.settle()
        found += outcome
    value, error, died, expired = found
    assert value == "value"
    assert (type(error), str(error)) == (ValueError, "no")
    assert (type(died), died.reason) == (ProcessExit, "boom")
    assert type(expired) is CallTimeout


def test_reply_and_fail_say_whether_they_ended_it(clock: ManualClock) -> None:
    wait, _ = waiting(clock)
    assert wait.fail(ValueError("first")) is True
    assert wait.fail(ValueError("second")) is False
    assert wait.reply(1) is False


def test_a_waiter_is_switched_to_once(clock: ManualClock) -> None:
    wait, outcome = waiting(clock)
    wait.reply(1)
    scheduler().ready_up(wait)
    scheduler().ready_up(wait)
    clock.settle()
    assert outcome == [1]


def test_a_wait_that_had_ended_before_it_began_lets_the_waiter_go_on(clock: ManualClock) -> None:
    wait = new_wait(current_process().runtime, 5.0)
    wait.fail(ValueError("early"))
    scheduler().suspend(wait)
    with pytest.raises(ValueError, match="early"):
        wait.outcome()
    assert clock.pending() == 0


# -- timers ----------------------------------------------------------------------------------------------------------


def test_a_wait_expires_on_the_clock_and_a_late_reply_is_refused(clock: ManualClock) -> None:
    ended = []

    def waiter() -> None:
        wait = new_wait(current_process().runtime, 2.0)
        scheduler().suspend(wait)
        ended.append(wait)

    process.spawn(waiter)
    clock.advance(1.9)
    assert not ended
    clock.advance(0.2)
    (wait,) = ended
    assert wait.state == EXPIRED
    assert not wait.reply("late")
    with pytest.raises(CallTimeout):
        wait.outcome()


def test_the_error_of_a_wait_that_expired_names_its_timeout(clock: ManualClock) -> None:
    _, outcome = waiting(clock, 2.5)
    clock.advance(2.5)
    assert str(outcome[0]) == "no answer within 2.5 s"


def test_a_reply_in_the_instant_of_the_deadline_counts_if_it_comes_first(clock: ManualClock) -> None:
    wait, outcome = waiting(clock, 2.0)
    clock.call_later(1.0, lambda: clock.call_later(1.0, lambda: None))
    clock.time += 2.0
    wait.reply("in time")
    clock._fire_due()
    clock.settle()
    assert outcome == ["in time"]


def test_a_wait_that_is_answered_takes_its_timer_back(clock: ManualClock) -> None:
    wait, _outcome = waiting(clock, 60.0)
    assert clock.pending() == 1
    wait.reply(1)
    clock.settle()
    assert clock.pending() == 0
    assert not scheduler().waits


@pytest.mark.parametrize("timeout", ["soon", [], object()], ids=["text", "list", "object"])
def test_a_timeout_that_is_no_number_fails_its_own_wait_and_no_other(clock: ManualClock, timeout: Any) -> None:
    """Both begin in one pass of the loop and are armed together."""
    outcome: list[Any] = []

    def waiter(timeout: Any) -> None:
        wait = new_wait(current_process().runtime, timeout)
        scheduler().suspend(wait)
        try:
            wait.outcome()
        except Exception as error:
            outcome.append((type(error), process.now()))

    process.spawn(waiter, timeout)
    process.spawn(waiter, 2.0)
    clock.advance(5.0)
    assert outcome == [(TypeError, 1000.0), (CallTimeout, 1002.0)]


# -- who owes the answer ---------------------------------------------------------------------------------------------


def test_a_wait_that_was_answered_leaves_nothing_at_who_answered(clock: ManualClock) -> None:
    pid = Echo.start()
    process.spawn(GenServer.call, pid, lambda: process.sleep(1.0))
    clock.settle()
    target = current_process().runtime.local(pid)
    assert target is not None
    assert len(target.waiters or ()) == 1
    clock.advance(1.0)
    assert target.waiters is None


@pytest.mark.parametrize("end", [*ENDS, "kill"])
def test_who_owes_the_answer_learns_once_that_nobody_waits_any_more(clock: ManualClock, end: str) -> None:
    debtor = Debtor()
    wait, _ = waiting(clock, 60.0, debtor)
    assert debtor.log == ["added"]
    if end == "kill":
        assert wait.greenlet is not None
        process.exit(wait.greenlet.otp_process.pid, "kill")  # type: ignore[attr-defined]
    else:
        ENDS[end][0](wait)
    clock.settle()
    assert debtor.log == ["added", "dropped"]
    assert clock.pending() == 0


def test_who_answers_before_the_loop_polls_never_learns_of_the_wait(clock: ManualClock) -> None:
    debtor = Debtor()
    wait = new_wait(current_process().runtime, 60.0)
    wait.target = debtor
    wait.reply("at once")
    scheduler().suspend(wait)
    assert debtor.log == []


# -- thrown at, or switched to -----------------------------------------------------------------------------------------


def test_a_wait_whose_waiter_is_thrown_at_is_abandoned_and_disarmed(clock: ManualClock) -> None:
    waits = []

    def waiter() -> None:
        waits.append(new_wait(current_process().runtime, 60.0))
        scheduler().suspend(waits[0])

    pid = process.spawn(waiter)
    clock.settle()
    assert clock.pending() == 1
    process.exit(pid, "kill")
    clock.settle()
    assert waits[0].state == ABANDONED
    assert waits[0].greenlet is None
    assert clock.pending() == 0


def test_a_stranger_who_switches_into_a_waiting_greenlet_does_not_end_its_wait(clock: ManualClock) -> None:
    ended = []

    def waiter() -> None:
        wait = new_wait(current_process().runtime, None)
        waits.append((wait, getcurrent()))
        scheduler().suspend(wait)
        ended.append(wait.outcome())

    waits: list[Any] = []
    process.spawn(waiter)
    clock.settle()
    wait, target = waits[0]
    gevent.get_hub().loop.run_callback(target.switch)
    clock.settle()
    assert not ended
    wait.reply("the answer")
    clock.settle()
    assert ended == ["the answer"]


@pytest.mark.parametrize("late", ENDS)
def test_whatever_comes_to_a_wait_that_was_left_reaches_nobody(clock: ManualClock, late: str) -> None:
    wait, outcome = waiting(clock)
    assert wait.greenlet is not None
    scheduler().hub.loop.run_callback(wait.greenlet.throw, ValueError("thrown"))
    clock.settle()
    assert wait.state == ABANDONED
    ENDS[late][0](wait)
    clock.settle()
    assert wait.state == ABANDONED
    assert outcome == []


def throw_of(pid: Any, error: BaseException) -> Throw:
    found = current_process().runtime.local(pid)
    assert found is not None
    assert found.greenlet is not None
    return Throw(found, found.greenlet, error)


def test_a_throw_hits_the_greenlet_that_still_works_for_its_process(clock: ManualClock) -> None:
    caught: list[Any] = []

    def waiter() -> None:
        try:
            process.sleep(100.0)
        except Exit as error:
            caught.append(error.reason)

    pid = process.spawn(waiter)
    clock.settle()
    scheduler().ready_up(throw_of(pid, Exit("on its way")))
    clock.settle()
    assert caught == ["on its way"]


def test_a_throw_at_a_greenlet_that_works_for_another_process_by_now_does_nothing(clock: ManualClock) -> None:
    first, second = Echo.start(), Echo.start()
    throws: list[Throw] = []
    GenServer.call(first, lambda: throws.append(throw_of(first, Exit("late"))))
    worker: Any = throws[0].target
    throws[0].resume()  # it works for nobody
    worker.otp_process = current_process().runtime.local(second)
    throws[0].resume()
    worker.otp_process = None
    assert not worker.dead
    assert GenServer.call(second, "unharmed") == "unharmed"


def test_a_throw_at_a_greenlet_that_has_ended_does_nothing(clock: ManualClock) -> None:
    ended: Any = greenlet(lambda: None)
    ended.switch()
    Throw(current_process(), ended, Exit("late")).resume()
    assert ended.dead


def test_a_greenlet_that_was_there_before_is_free_once_the_exit_has_hit_it(clock: ManualClock) -> None:
    caught: list[Any] = []
    records: list[Process] = []

    def stranger() -> None:
        records.append(current_process())
        try:
            process.receive()
        except Exit as error:
            caught.append(error.reason)
        caught.append(hasattr(getcurrent(), "otp_process"))

    gevent.spawn(stranger)
    clock.settle()
    process.exit(records[0].pid, "boom")
    clock.settle()
    assert caught == ["boom", False]
