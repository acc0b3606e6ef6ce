from __future__ import annotations

import logging
from typing import Any

import pytest

import supervisor.processes as process
from supervisor.errors import Exit, ProcessExit
from supervisor.gen_server import Continue, GenServer, Reply, Stop, run_inside
from supervisor.runtime import current_process
from supervisor.signals import Down, ExitSignal
from tests.supervisor.kit import Echo, ManualClock, Scripted, Trapper, info, scripted

# -- start -----------------------------------------------------------------------------------------------------------


def test_the_default_init_keeps_a_single_argument_as_the_state(clock: ManualClock) -> None:
    assert run_inside(GenServer.start(7), lambda p: p.server.state, 1) == 7
    assert run_inside(GenServer.start(), lambda p: p.server.state, 1) is None
    assert run_inside(GenServer.start(1, 2), lambda p: p.server.state, 1) == ((1, 2), {})


def test_a_continue_from_init_comes_before_messages_that_wait_already(clock: ManualClock) -> None:
    def init(self: Any) -> Any:
        process.send(process.self(), "early")
        return Continue("go on")

    pid, events = scripted(init)
    process.send(pid, "late")
    clock.settle()
    assert events == [("continue", "go on"), ("info", "early"), ("info", "late")]


def test_child_spec_starts_the_class_with_its_options(clock: ManualClock) -> None:
    class Short(Echo):
        restart = "transient"
        shutdown = 0.5

    spec = Short.child_spec(1, id="me", name="short")
    assert (spec.id, spec.restart, spec.shutdown) == ("me", "transient", 0.5)
    assert spec.run_start() == process.whereis("short")
    assert Echo.child_spec(1, restart="temporary").restart == "temporary"


# -- calls -----------------------------------------------------------------------------------------------------------


def test_a_call_returns_what_handle_call_returns(clock: ManualClock) -> None:
    pid, _ = scripted()
    for value in (1, None, (1, 2), "x", [Reply]):
        assert GenServer.call(pid, lambda _, value=value: value) == value


def test_from_names_the_caller_and_the_call(clock: ManualClock) -> None:
    pid, _ = scripted()
    caller, ref = GenServer.call(pid, lambda self: self.from_)
    assert caller == process.self()
    assert ref.home is caller.home


def test_reply_answers_and_goes_on(clock: ManualClock) -> None:
    pid, events = scripted()
    assert GenServer.call(pid, Reply(1, continue_="more")) == 1
    clock.settle()
    assert events == [("continue", "more")]


def test_a_request_that_no_handler_takes_says_so(clock: ManualClock) -> None:
    with pytest.raises(ProcessExit, match="has no handle_call"):
        GenServer.call(GenServer.start(), "hello")


# -- what callbacks return -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use", ["cast", "send"])
def test_stop_from_a_cast_or_a_message_ends_the_server(clock: ManualClock, use: str) -> None:
    pid, events = scripted()
    ref = process.monitor(pid)
    (GenServer.cast if use == "cast" else process.send)(pid, lambda _: Stop("enough"))
    assert process.receive(timeout=1) == Down(ref, pid, "enough")
    assert events[-1] == ("terminate", "enough")


# -- ends ------------------------------------------------------------------------------------------------------------


def test_an_exit_signal_of_the_parent_ends_a_server_that_traps_exits(clock: ManualClock) -> None:
    events: list[Any] = []
    pid = Trapper.start_link(events)
    process.unlink(pid)
    process.exit(pid, "shutdown")
    clock.settle()
    assert events == [("terminate", "shutdown")]
    assert not process.alive(pid)


def test_an_exit_signal_of_another_comes_as_a_message(clock: ManualClock) -> None:
    events: list[Any] = []
    pid = Trapper.start_link(events)

    def stranger() -> None:
        process.link(pid)
        raise Exit("boom")

    other = process.spawn(stranger)
    clock.settle()
    assert events == [ExitSignal(other, "boom")]
    assert process.alive(pid)


def test_a_crash_is_logged_with_the_message_and_the_state(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    class Named(GenServer):
        state = "the state"

        def handle_cast(self, request: Any) -> None:
            raise ValueError("the error")

    GenServer.cast(Named.start(name="the name"), "the message")
    with caplog.at_level(logging.ERROR):
        clock.settle()
    for part in ("the name", "the error", "the message", "the state", "handle_cast"):
        assert part in caplog.text


# -- labels and types ------------------------------------------------------------------------------------------------


def test_a_label_shows_in_the_crash_report(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    pid, _ = scripted(lambda self: process.set_label(("order", 17)))
    assert info(pid)["label"] == ("order", 17)
    with caplog.at_level(logging.CRITICAL):
        assert "('order', 17)" in repr(current_process().runtime.local(pid))
    with caplog.at_level(logging.ERROR):
        GenServer.cast(pid, lambda self: 1 / 0)
        clock.settle()
    assert "('order', 17)> crashed: ZeroDivisionError" in caplog.text


def test_a_handle_is_the_address_itself(clock: ManualClock) -> None:
    for address in (scripted()[0], "name", ("name", "a@127.0.0.1:1")):
        handle: object = Scripted.at(address)
        assert handle is address
