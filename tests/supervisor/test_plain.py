"""Plain processes: how they begin, and the exit reason that each way to end comes to."""

from __future__ import annotations

import logging
from typing import Any

import gevent
import pytest

import supervisor.processes as process
from supervisor.errors import Exit
from supervisor.plain import end_reason, reason_of
from supervisor.reasons import Crash
from supervisor.runtime import current_process
from supervisor.signals import Down
from tests.supervisor.kit import ManualClock, raising


def test_a_spawned_function_runs_with_its_arguments_when_the_caller_gives_way(clock: ManualClock) -> None:
    seen: list[Any] = []
    pid = process.spawn(lambda *args, **kwargs: seen.append((process.self(), args, kwargs)), 1, b=2)
    assert process.alive(pid)
    assert not seen
    clock.settle()
    assert seen == [(pid, (1,), {"b": 2})]
    assert not process.alive(pid)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda: None, "normal"),
        (lambda: gevent.get_hub().loop.run_callback(int), "normal"),
        (lambda: raising(SystemExit(0)), "normal"),
        (lambda: raising(Exit("enough")), "enough"),
        (lambda: raising(gevent.GreenletExit()), "killed"),
    ],
)
def test_a_plain_process_ends_with_the_reason_of_how_it_returned(clock: ManualClock, end: Any, reason: Any) -> None:
    pid, ref = process.spawn_monitor(end)
    assert process.receive(timeout=1) == Down(ref, pid, reason)


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), gevent.Timeout(1)])
def test_what_escapes_from_a_plain_process_is_its_crash(clock: ManualClock, error: BaseException) -> None:
    process.spawn_monitor(raising, error)
    reason = process.receive(timeout=1).reason
    assert isinstance(reason, Crash)
    assert reason.type == type(error).__qualname__
    assert "raise error" in reason.traceback


def test_a_process_that_is_killed_before_it_began_never_runs(clock: ManualClock) -> None:
    seen: list[int] = []
    pid = process.spawn(seen.append, 1)
    process.exit(pid, "kill")
    clock.settle()
    assert not seen


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Exit("enough"), "enough"),
        (Exit(), "normal"),
        (gevent.GreenletExit(), "killed"),
        (SystemExit(), "normal"),
        (SystemExit(0), "normal"),
    ],
    ids=repr,
)
def test_an_exit_is_a_reason_and_no_crash(error: BaseException, reason: Any) -> None:
    assert reason_of(error) == reason


@pytest.mark.parametrize(
    "error", [SystemExit(1), SystemExit("text"), KeyboardInterrupt(), gevent.Timeout(1), OSError()]
)
def test_anything_else_is_a_crash(error: BaseException) -> None:
    reason = reason_of(error)
    assert isinstance(reason, Crash)
    assert reason.type == type(error).__qualname__


def test_the_reason_of_a_greenlet_of_gevents_is_that_of_how_it_ended() -> None:
    fine = gevent.spawn(lambda: 1)
    killed = gevent.spawn(gevent.sleep, 60.0)
    exited = gevent.spawn(raising, Exit("enough"))
    crashed = gevent.spawn(raising, ZeroDivisionError("planted"))
    gevent.sleep(0)
    killed.kill()
    ended: list[gevent.Greenlet[Any, Any]] = [fine, killed, exited, crashed]
    gevent.joinall(ended)
    reasons = [end_reason(greenlet) for greenlet in ended]
    assert reasons[:3] == ["normal", "killed", "enough"]
    assert reasons[3].type == "ZeroDivisionError"


def test_a_crash_is_reported_with_its_function_and_an_orderly_end_is_not(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    def clumsy() -> None:
        raise ValueError("planted")

    with caplog.at_level(logging.INFO):
        process.spawn(lambda: None)
        process.spawn(raising, Exit("enough"))
        clock.settle()
        assert caplog.text == ""
        process.spawn(clumsy)
        clock.settle()
    assert "clumsy> crashed: ValueError: planted" in caplog.text


def test_a_process_that_crashes_after_its_end_is_not_reported(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    def stubborn() -> None:
        try:
            process.sleep(100.0)
        finally:
            raise ValueError("planted")

    pid, ref = process.spawn_monitor(stubborn)
    clock.settle()
    process.exit(pid, "boom")
    clock.settle()
    assert process.receive(timeout=0) == Down(ref, pid, "boom")
    assert "planted" not in caplog.text


def test_a_function_that_takes_other_arguments_is_a_crash_of_its_process(clock: ManualClock) -> None:
    process.spawn_monitor(lambda: None, 1)
    assert process.receive(timeout=1).reason.type == "TypeError"


def test_a_process_keeps_nothing_of_its_call_once_it_has_begun(clock: ManualClock) -> None:
    pid = process.spawn(process.sleep, 100.0)
    record = current_process().runtime.local(pid)
    assert record is not None
    clock.settle()
    target: Any = record.greenlet
    assert target.call == ()
    process.exit(pid, "kill")
