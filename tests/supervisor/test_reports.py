"""Crash reports and supervisors' reports: what they say, how they are shortened, and that they do not flood."""

from __future__ import annotations

import logging
from collections import namedtuple
from typing import Any

import pytest

import supervisor.processes as process
from supervisor.errors import Exit, ProcessExit
from supervisor.gen_server import From, GenServer, Stop
from supervisor.reasons import Crash
from supervisor.reports import AT_MOST, Report
from supervisor.supervisors import Supervisor
from tests.supervisor.kit import Echo, ManualClock

Point = namedtuple("Point", "x y")


def reports_in(caplog: pytest.LogCaptureFixture, kind: str = "crashed") -> list[Report]:
    found = [getattr(record, "report", None) for record in caplog.records]
    return [report for report in found if report is not None and report.kind == kind]


class Failing(GenServer):
    """Crashes at every cast; its state is what it is started with."""

    def handle_cast(self, request: Any) -> Any:
        raise ValueError("the error")

    def handle_call(self, request: Any, from_: From) -> Any:
        raise ValueError("the error")


# -- what a report says ----------------------------------------------------------------------------------------------


def test_a_crash_report_has_all_its_parts_as_text_and_as_an_object(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    pid = Failing.start("the state", name="the name")
    with pytest.raises(ProcessExit):
        GenServer.call(pid, "the request")
    (report,) = reports_in(caplog)
    assert report == Report(
        kind="crashed",
        pid=pid,
        process=report.process,
        label="Failing",
        reason="ValueError: the error",
        crash="ValueError",
        last_message=f"call 'the request' from {process.self()!r}",
        state="'the state'",
    )
    text = caplog.text
    for part in (f"CRASH REPORT {report.process} crashed: ValueError: the error", "last message: call 'the request'"):
        assert part in text
    for part in ("state: 'the state'", "Traceback (most recent call last)", "in handle_call", "'the name'"):
        assert part in text


def test_a_plain_process_is_reported_in_the_same_form(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        raise ValueError("the error")

    process.spawn(fails)
    clock.settle()
    (report,) = reports_in(caplog)
    assert (report.reason, report.last_message, report.state) == ("ValueError: the error", None, None)
    assert "fails" in report.label


def test_a_stop_that_is_not_orderly_and_a_terminate_that_fails_are_reported(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Bad(Echo):
        def terminate(self, reason: Any) -> None:
            raise ZeroDivisionError

    with pytest.raises(ProcessExit):
        GenServer.call(Bad.start(), lambda: Stop("out of luck"))
    (stopped,) = reports_in(caplog, "stopped")
    (failed,) = reports_in(caplog, "failed in terminate")
    assert stopped.reason == "out of luck"
    assert failed.crash == "ZeroDivisionError"


def test_an_orderly_end_is_not_reported(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    GenServer.stop(Echo.start(), "shutdown")
    assert not caplog.records


def test_the_supervisors_report_names_child_reason_and_decision(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    sup = Supervisor.start_link([Failing.child_spec(id="the child")], name="the supervisor")
    child = Supervisor.which_children(sup)[0].pid
    GenServer.cast(child, 1)
    clock.settle()
    (report,) = reports_in(caplog, "supervisor")
    assert (report.child_id, report.pid, report.crash) == ("the child", child, "ValueError")
    assert report.reason == "ValueError: the error"
    assert report.decision == "restarting (one_for_one)"
    assert "SUPERVISOR REPORT" in caplog.text


def test_a_server_decides_by_format_status_what_is_shown_of_its_state(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Secretive(Failing):
        def format_status(self, reason: Any, state: Any) -> Any:
            assert isinstance(reason, Crash)
            return {**state, "password": "***"}

    class Broken(Failing):
        def format_status(self, reason: Any, state: Any) -> Any:
            raise KeyError("password")

    for cls in (Secretive, Broken):
        GenServer.cast(cls.start({"user": "me", "password": "secret"}), 1)
    clock.settle()
    secretive, broken = reports_in(caplog)
    assert secretive.state == "{'user': 'me', 'password': '***'}"
    assert broken.state == "<format_status failed: KeyError>"
    assert "secret" not in caplog.text


# -- values that are hard to show ------------------------------------------------------------------------------------


class BadRepr:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class BadError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no str")


class Exiting:
    def __repr__(self) -> str:
        raise Exit("from a repr")


@pytest.mark.parametrize("value", [BadRepr(), [BadRepr()], {"key": BadRepr()}, Exiting(), BadError()])
def test_a_crash_with_values_that_cannot_be_shown_is_reported_or_at_least_ends_the_process(
    clock: ManualClock, caplog: pytest.LogCaptureFixture, value: Any
) -> None:
    class Raises(GenServer):
        def handle_cast(self, request: Any) -> Any:
            raise request if isinstance(request, BaseException) else ValueError("the error")

    pid = Raises.start(value)
    ref = process.monitor(pid)
    GenServer.cast(pid, value)
    clock.settle()
    down = process.receive(timeout=0)
    assert (down.ref, down.pid) == (ref, pid)
    assert isinstance(down.reason, Crash)
    if not isinstance(value, Exiting):
        (report,) = reports_in(caplog)
        assert report.crash == down.reason.type


def test_a_giant_traceback_and_message_are_cut(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        raise ValueError("x" * 1_000_000)

    process.spawn(fails)
    clock.settle()
    (record,) = caplog.records
    assert len(record.getMessage()) < 10_000
    assert "Traceback" in record.getMessage()


# -- floods ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def flood(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.ERROR, "supervisor.reports")
    return caplog


def test_of_a_flood_of_equal_crashes_the_first_are_written_and_the_rest_is_counted(
    clock: ManualClock, flood: pytest.LogCaptureFixture
) -> None:
    for _ in range(100):
        GenServer.cast(Failing.start(), 1)
    clock.settle()
    assert len(reports_in(flood)) == AT_MOST
    clock.advance(1.0)
    assert flood.records[-1].getMessage() == (
        f"Failing crashed: ValueError: {100 - AT_MOST} more like this within 1 s, not written"
    )
    assert len(flood.records) == AT_MOST + 1
    GenServer.cast(Failing.start(), 1)
    clock.settle()
    assert len(reports_in(flood)) == AT_MOST + 1
    assert clock.pending() == 0


def test_other_crashes_are_written_in_the_midst_of_a_flood(clock: ManualClock, flood: pytest.LogCaptureFixture) -> None:
    class Other(Failing):
        pass

    for _ in range(100):
        GenServer.cast(Failing.start(), 1)
    GenServer.cast(Other.start(), 1)
    with pytest.raises(ProcessExit):
        GenServer.call(Echo.start(), lambda: 1 / 0)
    clock.settle()
    assert {report.label for report in reports_in(flood)} == {"Failing", "Echo", "Other"}
    clock.advance(1.0)


def test_a_child_that_crashes_all_the_time_does_not_flood_with_its_supervisors_reports(
    clock: ManualClock, flood: pytest.LogCaptureFixture
) -> None:
    sup = Supervisor.start_link([Failing.child_spec(id="it")], max_restarts=1000)
    for _ in range(50):
        GenServer.cast(Supervisor.which_children(sup)[0].pid, 1)
        clock.settle()
    assert len(reports_in(flood, "supervisor")) == AT_MOST
    assert len(reports_in(flood, "crashed")) == AT_MOST
    clock.advance(1.0)
    counted = [record.getMessage() for record in flood.records if "not written" in record.getMessage()]
    assert len(counted) == 2
    assert all(f": {50 - AT_MOST} more like this" in line for line in counted)
