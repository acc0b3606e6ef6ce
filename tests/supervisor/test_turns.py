"""The server's side: what follows from what a callback returns or raises, in one turn of a server."""

from __future__ import annotations

import logging
from typing import Any

import gevent
import pytest

import supervisor.processes as process
from supervisor.errors import Exit, ProcessExit
from supervisor.gen_server import TIMEOUT, GenServer, NoReply, Reply, Stop
from supervisor.reasons import Shutdown
from supervisor.records import CALL, Process
from supervisor.runtime import current_process
from supervisor.signals import Down
from supervisor.turns import BEHAVIOUR
from tests.supervisor.kit import Echo, ManualClock, info, raising, scripted

USES = pytest.mark.parametrize("use", ["call", "cast", "send", "continue"])


def ask(use: str, pid: Any, fn: Any) -> None:
    """Have the server run `fn` in that callback; what a call raises does not matter here."""
    if use == "call":
        process.spawn(GenServer.call, pid, fn, 60.0)
    elif use == "continue":
        GenServer.cast(pid, lambda _: NoReply(continue_=fn))
    else:
        (GenServer.cast if use == "cast" else process.send)(pid, fn)


# -- what callbacks return -------------------------------------------------------------------------------------------


def test_stop_with_a_reply_answers_after_terminate_and_ends(clock: ManualClock) -> None:
    pid, events = scripted()
    ref = process.monitor(pid)
    assert GenServer.call(pid, lambda self: Stop("enough", reply=self.state)) == [("terminate", "enough")]
    assert process.receive(timeout=1) == Down(ref, pid, "enough")
    assert events == [("terminate", "enough")]


def test_stop_without_a_reply_fails_the_call_with_its_reason(clock: ManualClock) -> None:
    pid, _ = scripted()
    with pytest.raises(ProcessExit) as failed:
        GenServer.call(pid, Stop(Shutdown("moved")))
    assert failed.value.reason == Shutdown("moved")


def test_anything_else_from_a_cast_is_a_bad_return(clock: ManualClock) -> None:
    pid, events = scripted()
    process.monitor(pid)
    GenServer.cast(pid, lambda _: 42)
    reason = process.receive(timeout=1).reason
    assert reason.type == "BadReturn"
    assert "expected None, NoReply" in reason.message
    assert events[-1] == ("terminate", reason)


def test_a_continue_chain_runs_before_other_messages(clock: ManualClock) -> None:
    pid, events = scripted()
    GenServer.cast(pid, lambda _: NoReply(continue_=lambda _: NoReply(continue_="second")))
    GenServer.cast(pid, "after")
    clock.settle()
    assert [kind for kind, _ in events] == ["cast", "continue", "continue", "cast"]


def test_a_reply_with_a_bad_timeout_crashes_the_server_and_its_caller_hears_of_it(clock: ManualClock) -> None:
    pid, _ = scripted()
    with pytest.raises(ProcessExit):
        GenServer.call(pid, Reply(1, timeout="soon"))  # type: ignore[arg-type]
    assert not process.alive(pid)


@USES
def test_stop_from_any_callback_ends_the_server_with_its_reason(clock: ManualClock, use: str) -> None:
    pid, events = scripted()
    ref = process.monitor(pid)
    ask(use, pid, lambda _: Stop(Shutdown("enough")))
    assert process.receive(timeout=1) == Down(ref, pid, Shutdown("enough"))
    assert events[-1] == ("terminate", Shutdown("enough"))


@pytest.mark.parametrize("use", ["cast", "send", "continue"])
@pytest.mark.parametrize("result", [0, "reply", Reply(1), Stop], ids=repr)
def test_what_only_a_call_may_return_is_a_bad_return_of_every_other_callback(
    clock: ManualClock, use: str, result: Any
) -> None:
    pid, _ = scripted()
    process.monitor(pid)
    ask(use, pid, lambda _: result)
    reason = process.receive(timeout=1).reason
    assert reason.type == "BadReturn"
    assert f"a handler of Scripted returned {result!r}" in reason.message


@USES
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no"), "Crash(ValueError: no)"),
        (Exit("enough"), "'enough'"),
        (gevent.GreenletExit(), "'killed'"),
        (SystemExit(0), "'normal'"),
        (SystemExit(3), "Crash(SystemExit: 3)"),
        (gevent.Timeout(5), "Crash(Timeout: 5 seconds)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_escapes_from_any_callback_is_the_end_and_terminate_hears_why(
    clock: ManualClock, use: str, error: BaseException, reason: str
) -> None:
    pid, events = scripted()
    process.monitor(pid)
    ask(use, pid, lambda _: raising(error))
    down = process.receive(timeout=1)
    assert repr(down.reason) == reason
    assert events[-1] == ("terminate", down.reason)


@pytest.mark.parametrize("use", ["call", "cast", "send", "continue"])
def test_the_messages_behind_one_that_ends_the_server_are_dropped(clock: ManualClock, use: str) -> None:
    pid, events = scripted()
    GenServer.cast(pid, lambda _: process.sleep(1.0))
    ask(use, pid, lambda _: Stop("enough"))
    clock.settle()
    process.send(pid, "behind")
    clock.advance(1.0)
    assert ("info", "behind") not in events
    assert not process.alive(pid)


def test_a_call_that_is_not_answered_holds_up_no_other(clock: ManualClock) -> None:
    pid, _ = scripted()
    process.spawn(GenServer.call, pid, NoReply(), 60.0)
    clock.settle()
    assert GenServer.call(pid, "next") == "next"


def test_stop_with_a_reply_of_none_answers_none(clock: ManualClock) -> None:
    pid, _ = scripted()
    assert GenServer.call(pid, Stop("enough", reply=None)) is None
    assert not process.alive(pid)


# -- timeouts --------------------------------------------------------------------------------------------------------


def test_a_timeout_comes_as_a_message_when_nothing_else_does(clock: ManualClock) -> None:
    pid, events = scripted()
    GenServer.call(pid, Reply(1, timeout=2.0))
    clock.advance(1.9)
    assert not events
    clock.advance(0.2)
    assert events == [("info", TIMEOUT)]
    clock.advance(10.0)
    assert events == [("info", TIMEOUT)]


def test_any_message_cancels_the_timeout(clock: ManualClock) -> None:
    pid, events = scripted()
    GenServer.call(pid, Reply(1, timeout=2.0))
    clock.advance(1.0)
    assert GenServer.call(pid, 5) == 5
    clock.advance(10.0)
    assert events == []
    assert clock.pending() == 0


def test_a_timeout_that_is_due_while_messages_wait_is_dropped(clock: ManualClock) -> None:
    pid, events = scripted()
    GenServer.call(pid, Reply(1, timeout=2.0))
    target = current_process().runtime.local(pid)
    assert target is not None
    clock.time += 2.0
    process.send(pid, "in time")
    clock._fire_due()
    clock.settle()
    assert events == [("info", "in time")]


@pytest.mark.parametrize("use", ["cast", "send", "continue"])
def test_every_callback_may_set_a_timeout(clock: ManualClock, use: str) -> None:
    pid, events = scripted()
    ask(use, pid, lambda _: NoReply(timeout=2.0))
    clock.advance(1.9)
    assert ("info", TIMEOUT) not in events
    clock.advance(0.2)
    assert events[-1] == ("info", TIMEOUT)


def test_a_new_timeout_replaces_the_former_one(clock: ManualClock) -> None:
    pid, events = scripted()
    GenServer.call(pid, Reply(1, timeout=2.0))
    GenServer.call(pid, Reply(1, timeout=5.0))
    clock.advance(4.0)
    assert events == []
    clock.advance(1.0)
    assert events == [("info", TIMEOUT)]


def test_the_timeout_of_a_server_that_ends_goes_with_it(clock: ManualClock) -> None:
    pid, _ = scripted()
    GenServer.call(pid, Reply(1, timeout=2.0))
    process.exit(pid, "kill")
    assert clock.pending() == 0


# -- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [ValueError("again"), SystemExit(1), Exit("other"), gevent.GreenletExit(), gevent.Timeout(1)]
)
def test_a_terminate_that_fails_does_not_hold_up_the_end(
    clock: ManualClock, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    class Bad(Echo):
        def terminate(self, reason: Any) -> None:
            ran.append(reason)
            raise error

    ran: list[Any] = []
    pid = Bad.start(name="bad")
    with caplog.at_level(logging.ERROR):
        GenServer.stop(pid, "shutdown")
    assert ran == ["shutdown"]
    assert process.whereis("bad") is None
    assert type(error).__name__ in caplog.text
    crashing = Bad.start(name="bad")
    with pytest.raises(ProcessExit, match="ZeroDivisionError"):
        GenServer.call(crashing, lambda: 1 / 0)
    assert len(ran) == 2


def test_terminate_runs_when_a_handler_raises_exit(clock: ManualClock) -> None:
    pid, events = scripted()
    with pytest.raises(ProcessExit) as failed:
        GenServer.call(pid, lambda _: raising(Exit("enough")))
    assert failed.value.reason == "enough"
    assert events == [("terminate", "enough")]


def test_no_terminate_runs_in_a_server_that_is_killed(clock: ManualClock) -> None:
    pid, events = scripted()

    def stubborn(_: Any) -> Any:
        try:
            process.sleep(100.0)
        except BaseException:
            return Stop("by myself", reply="late")

    process.spawn(GenServer.cast, pid, stubborn)
    clock.settle()
    process.exit(pid, "kill")
    clock.settle()
    assert [kind for kind, _ in events] == ["cast"]


@pytest.mark.parametrize(
    "result", [Stop("late"), NoReply(timeout=5.0), Reply(1, timeout=5.0), Reply(1, continue_=2), 1]
)
@pytest.mark.parametrize("use", ["call", "cast"])
def test_what_a_handler_of_a_killed_server_returns_does_not_count(clock: ManualClock, result: Any, use: str) -> None:
    pid, events = scripted()

    def stubborn(_: Any) -> Any:
        try:
            process.sleep(100.0)
        except BaseException:
            return result

    outcome: list[Any] = []

    def caller() -> None:
        with pytest.raises(ProcessExit) as failed:
            GenServer.call(pid, stubborn, None)
        outcome.append(failed.value.reason)

    process.spawn(*((caller,) if use == "call" else (GenServer.cast, pid, stubborn)))
    clock.settle()
    process.exit(pid, "kill")
    clock.settle()
    assert outcome == (["killed"] if use == "call" else [])
    assert [kind for kind, _ in events if kind != "cast"] == []
    assert clock.pending() == 0


@pytest.mark.parametrize("reason", ["normal", "shutdown", Shutdown("moved")], ids=repr)
def test_an_orderly_stop_is_not_reported_and_any_other_is(
    clock: ManualClock, caplog: pytest.LogCaptureFixture, reason: Any
) -> None:
    with caplog.at_level(logging.INFO):
        GenServer.stop(Echo.start(), reason)
        assert caplog.text == ""
        GenServer.stop(Echo.start(), "boom")
    assert "stopped: boom" in caplog.text


def test_a_server_that_is_killed_in_its_terminate_ends_as_killed(clock: ManualClock) -> None:
    class Slow(Echo):
        def terminate(self, reason: Any) -> None:
            process.sleep(100.0)

    pid = Slow.start()
    ref = process.monitor(pid)
    GenServer.cast(pid, lambda: raising(Exit("enough")))
    clock.settle()
    process.exit(pid, "kill")
    assert process.receive(timeout=0) == Down(ref, pid, "killed")
    clock.settle()
    assert clock.pending() == 0


# -- one turn --------------------------------------------------------------------------------------------------------


def test_messages_that_arrive_while_a_handler_blocks_are_handled_in_order_afterwards(clock: ManualClock) -> None:
    pid, events = scripted()
    GenServer.cast(pid, lambda _: process.sleep(1.0))
    for n in range(5):
        process.send(pid, n)
    clock.advance(1.0)
    assert [value for kind, value in events if kind == "info"] == list(range(5))


def test_a_server_whose_handler_gives_way_handles_one_message_at_a_time(clock: ManualClock) -> None:
    inside: list[int] = []

    def handler(_: Any) -> None:
        inside.append(1)
        assert len(inside) == 1
        gevent.sleep(0)
        process.sleep(0.5)
        inside.pop()

    pid, _ = scripted()
    for _ in range(5):
        process.spawn(GenServer.call, pid, handler)
    clock.advance(3.0)
    assert not inside
    assert process.alive(pid)


def record_of(pid: Any) -> Process:
    found = current_process().runtime.local(pid)
    assert found is not None
    return found


def test_a_server_is_idle_without_greenlet_and_mailbox_after_its_turn(clock: ManualClock) -> None:
    pid, _ = scripted()
    for n in range(5):
        process.send(pid, n)
    clock.settle()
    record = record_of(pid)
    assert (record.greenlet, record.mailbox, info(pid)["status"]) == (None, None, "idle")


def test_a_turn_is_bounded_and_the_rest_of_the_messages_keep_their_order(clock: ManualClock) -> None:
    pid, events = scripted()
    for n in range(1000):
        process.send(pid, n)
    turns: list[int] = []
    process.spawn(lambda: turns.append(len(events)))
    clock.settle()
    assert 0 < turns[0] < 1000
    assert events == [("info", n) for n in range(1000)]


def test_a_message_that_a_server_sends_itself_comes_after_those_that_wait(clock: ManualClock) -> None:
    pid, events = scripted()
    process.send(pid, lambda _: process.send(pid, "second"))
    process.send(pid, "first")
    clock.settle()
    assert [message for _, message in events[1:]] == ["first", "second"]


def test_a_caller_that_gave_up_meanwhile_is_not_answered_by_the_hot_path(clock: ManualClock) -> None:
    """The answer finds its wait ended: the worker then has nobody to switch to, and parks."""
    pid, _ = scripted()
    asker = process.spawn(GenServer.call, pid, lambda self: process.exit(self.from_[0], "kill"), None)
    clock.settle()
    assert not process.alive(asker)
    assert info(pid)["status"] == "idle"
    assert BEHAVIOUR.held == ()
    assert GenServer.call(pid, CALL) == CALL
