from __future__ import annotations

import logging
from typing import Any

import gevent
import pytest

import supervisor.processes as process
from supervisor.errors import CallTimeout, Exit, NoProcess, ProcessExit, StartError
from supervisor.gen_server import TIMEOUT, Continue, GenServer, Ignore, NoReply, Reply, Stop, run_inside
from supervisor.pids import Pid
from supervisor.reasons import Crash, Shutdown
from supervisor.runtime import current_process
from supervisor.signals import Down, ExitSignal
from tests.supervisor.kit import Echo, ManualClock, Trapper, info


class Scripted(GenServer):
    """Does what the message says: a callable is called with the server, anything else is returned."""

    def init(self, script: Any = None, events: list[Any] | None = None) -> Any:
        self.state = events if events is not None else []
        return script(self) if callable(script) else script

    def handle_call(self, request: Any, from_: Any) -> Any:
        self.from_ = from_
        return request(self) if callable(request) else request

    def handle_cast(self, request: Any) -> Any:
        self.state.append(("cast", request))
        return request(self) if callable(request) else None

    def handle_info(self, message: Any) -> Any:
        self.state.append(("info", message))
        return message(self) if callable(message) else None

    def handle_continue(self, token: Any) -> Any:
        self.state.append(("continue", token))
        return token(self) if callable(token) else None

    def terminate(self, reason: Any) -> None:
        self.state.append(("terminate", reason))


def scripted(script: Any = None, **options: Any) -> tuple[Pid, list[Any]]:
    events: list[Any] = []
    return Scripted.start(script, events, **options), events


# -- start -----------------------------------------------------------------------------------------------------------


def test_init_has_run_when_start_returns(clock: ManualClock) -> None:
    pid, events = scripted(lambda self: self.state.append("init"))
    assert events == ["init"]
    assert process.alive(pid)


def test_the_default_init_keeps_a_single_argument_as_the_state(clock: ManualClock) -> None:
    assert run_inside(GenServer.start(7), lambda p: p.server.state, 1) == 7
    assert run_inside(GenServer.start(), lambda p: p.server.state, 1) is None
    assert run_inside(GenServer.start(1, 2), lambda p: p.server.state, 1) == ((1, 2), {})


@pytest.mark.parametrize("link", [True, False])
def test_ignore_starts_nothing_and_is_no_error(clock: ManualClock, link: bool) -> None:
    start = Scripted.start_link if link else Scripted.start
    before = len(current_process().runtime.table)
    assert start(Ignore(), name="ignored") is None
    assert process.whereis("ignored") is None
    assert len(current_process().runtime.table) == before
    assert info(process.self())["queue_length"] == 0


@pytest.mark.parametrize(
    ("init", "reason"),
    [
        (Stop("not today"), "not today"),
        (lambda _: raising(Exit("enough")), "enough"),
        (lambda _: raising(ValueError("no")), "Crash(ValueError: no)"),
        (lambda _: raising(SystemExit(1)), "Crash(SystemExit: 1)"),
        (lambda _: raising(gevent.Timeout()), "Crash(Timeout)"),
        ("nonsense", "BadReturn"),
        (NoReply(), "BadReturn"),
    ],
)
def test_a_failed_init_raises_and_sends_no_exit_signal(clock: ManualClock, init: Any, reason: str) -> None:
    process.trap_exit(True)
    with pytest.raises(StartError) as failed:
        Scripted.start_link(init, name="failed")
    assert reason in repr(failed.value.reason)
    assert process.whereis("failed") is None
    clock.settle()
    assert info(process.self())["queue_length"] == 0
    assert info(process.self())["links"] == []


def raising(error: BaseException) -> None:
    raise error


def test_an_init_that_takes_too_long_is_killed(clock: ManualClock) -> None:
    process.spawn(clock.advance, 5.0)
    cleaned: list[Any] = []

    def slow(_: Any) -> None:
        try:
            process.sleep(100.0)
        finally:
            cleaned.append("finally")

    with pytest.raises(StartError, match="timeout"):
        Scripted.start_link(slow, name="slow", timeout=3.0)
    assert process.whereis("slow") is None
    clock.settle()
    assert cleaned == ["finally"]
    assert process.alive(process.self())


def test_a_process_that_is_killed_in_its_init_fails_its_start(clock: ManualClock) -> None:
    def killer() -> None:
        victim = process.whereis("victim")
        assert victim is not None
        process.exit(victim, "kill")

    process.spawn(killer)
    with pytest.raises(StartError) as failed:
        Scripted.start(lambda _: process.sleep(100.0), name="victim")
    assert failed.value.reason == "killed"


def test_a_starter_that_is_thrown_at_leaves_no_process_behind(clock: ManualClock) -> None:
    def starter() -> None:
        # real time: gevent's own timeout is what is thrown
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
            Scripted.start(lambda _: process.sleep(100.0), name="half")
        assert process.whereis("half") is None
        process.send(me, "checked")

    me = process.self()
    process.spawn(starter)
    assert process.receive() == "checked"


def test_a_starter_that_dies_takes_a_linked_process_in_its_init_along(clock: ManualClock) -> None:
    starter = process.spawn(lambda: Scripted.start_link(lambda _: process.sleep(100.0), name="orphan") and None)
    clock.settle()
    assert process.whereis("orphan") is not None
    process.exit(starter, "boom")
    assert process.whereis("orphan") is None


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


def test_a_reply_with_a_bad_timeout_crashes_the_server_and_its_caller_hears_of_it(clock: ManualClock) -> None:
    pid, _ = scripted()
    with pytest.raises(ProcessExit):
        GenServer.call(pid, Reply(1, timeout="soon"))  # type: ignore[arg-type]
    assert not process.alive(pid)


def test_a_call_may_be_answered_later_from_another_process(clock: ManualClock) -> None:
    pid, _ = scripted()

    def later(self: Any) -> NoReply:
        process.spawn(lambda: GenServer.reply(self.from_, process.self()))
        return NoReply()

    answer = GenServer.call(pid, later)
    assert answer not in (pid, process.self())


def test_a_second_reply_is_dropped(clock: ManualClock) -> None:
    pid, _ = scripted()

    def twice(self: Any) -> str:
        GenServer.reply(self.from_, "first")
        GenServer.reply(self.from_, "second")
        return "third"

    assert GenServer.call(pid, twice) == "first"
    assert GenServer.call(pid, "next") == "next"


def test_a_call_times_out_and_the_server_goes_on(clock: ManualClock) -> None:
    pid, _ = scripted()
    process.spawn(clock.advance, 5.0)
    with pytest.raises(CallTimeout, match=r"5\.0 s") as failed:
        GenServer.call(pid, NoReply())
    assert isinstance(failed.value, TimeoutError)
    assert GenServer.call(pid, 1) == 1


def test_a_timeout_of_none_waits_for_ever(clock: ManualClock) -> None:
    pid, _ = scripted()
    got: list[Any] = []
    process.spawn(lambda: got.append(GenServer.call(pid, lambda _: process.sleep(1e6), None)))
    clock.advance(999_999.0)
    assert not got
    clock.advance(1.0)
    assert got == [None]


def test_calls_to_nobody_raise_no_process(clock: ManualClock) -> None:
    pid, _ = scripted()
    process.exit(pid, "boom")
    for target in (pid, "nobody"):
        with pytest.raises(NoProcess) as failed:
            GenServer.call(target, "hello")
        assert failed.value.reason == "noproc"
        assert "hello" in str(failed.value)


def test_the_exit_of_a_failed_call_names_the_reason_and_the_request(clock: ManualClock) -> None:
    pid, _ = scripted()
    with pytest.raises(ProcessExit, match="ZeroDivisionError") as failed:
        GenServer.call(pid, lambda _: 1 / 0)
    assert isinstance(failed.value.reason, Crash)
    assert "GenServer.call" in failed.value.call


def test_a_server_that_promised_an_answer_and_dies_fails_the_call(clock: ManualClock) -> None:
    pid, _ = scripted()
    process.spawn(process.exit, pid, "boom")
    with pytest.raises(ProcessExit) as failed:
        GenServer.call(pid, NoReply())
    assert failed.value.reason == "boom"


def test_a_request_that_no_handler_takes_says_so(clock: ManualClock) -> None:
    with pytest.raises(ProcessExit, match="has no handle_call"):
        GenServer.call(GenServer.start(), "hello")


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


@pytest.mark.parametrize("use", ["cast", "send"])
def test_stop_from_a_cast_or_a_message_ends_the_server(clock: ManualClock, use: str) -> None:
    pid, events = scripted()
    ref = process.monitor(pid)
    (GenServer.cast if use == "cast" else process.send)(pid, lambda _: Stop("enough"))
    assert process.receive(timeout=1) == Down(ref, pid, "enough")
    assert events[-1] == ("terminate", "enough")


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


# -- ends ------------------------------------------------------------------------------------------------------------


def test_stop_waits_until_terminate_has_run_and_the_process_has_ended(clock: ManualClock) -> None:
    pid, events = scripted(name="it")
    GenServer.stop("it", "shutdown")
    assert events == [("terminate", "shutdown")]
    assert not process.alive(pid)
    with pytest.raises(NoProcess):
        GenServer.stop(pid)


def test_stop_comes_after_the_messages_that_wait(clock: ManualClock) -> None:
    pid, events = scripted()
    process.send(pid, "first")
    GenServer.stop(pid)
    assert events == [("info", "first"), ("terminate", "normal")]


def test_stop_gives_up_at_its_deadline(clock: ManualClock) -> None:
    pid, _ = scripted()
    GenServer.cast(pid, lambda _: process.sleep(100.0))
    process.spawn(clock.advance, 3.0)
    with pytest.raises(CallTimeout):
        GenServer.stop(pid, timeout=3.0)


def test_a_server_cannot_stop_itself_by_stop(clock: ManualClock) -> None:
    pid, _ = scripted()
    with pytest.raises(ProcessExit, match="calling_self"):
        GenServer.call(pid, lambda _: GenServer.stop(process.self()))


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


# -- inside ----------------------------------------------------------------------------------------------------------


def test_run_inside_runs_between_two_messages_and_raises_what_it_raises(clock: ManualClock) -> None:
    pid, _ = scripted()
    assert run_inside(pid, lambda p: process.self(), 1.0) == pid
    with pytest.raises(ZeroDivisionError):
        run_inside(pid, lambda p: 1 / 0, 1.0)
    assert process.alive(pid)
    with pytest.raises(NoProcess):
        run_inside(process.self(), lambda p: 1, 1.0)


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


# -- many at once ----------------------------------------------------------------------------------------------------


def test_multi_call_and_abcast_work_on_a_lone_node(clock: ManualClock) -> None:
    here = process.self().node
    pid, events = scripted(None, name="scripted")
    assert GenServer.multi_call([here, "nobody@127.0.0.1:1"], "scripted", "ping") == (
        {here: "ping"},
        ["nobody@127.0.0.1:1"],
    )
    assert GenServer.multi_call([here], "unknown", 1) == ({}, [here])
    assert GenServer.multi_call([], "scripted", 1) == ({}, [])
    GenServer.abcast([here, "nobody@127.0.0.1:1"], "scripted", "cast")
    GenServer.abcast([here], "unknown", "cast")
    GenServer.call(pid, 0)
    assert events == [("cast", "cast")]


def test_multi_call_names_the_caller_and_gives_up_at_its_deadline(clock: ManualClock) -> None:
    here = process.self().node
    pid, _ = scripted(None, name="scripted")
    assert GenServer.multi_call([here], "scripted", lambda self: self.from_[0]) == ({here: process.self()}, [])
    process.spawn(clock.advance, 5.0)
    assert GenServer.multi_call([here], "scripted", lambda self: process.sleep(4.0), 3.0) == ({}, [here])
    assert process.now() == pytest.approx(1003.0)
    clock.advance(5.0)
    assert process.alive(pid)
    assert info(process.self())["queue_length"] == 0


def test_a_multi_call_to_oneself_raises_instead_of_waiting(clock: ManualClock) -> None:
    here = process.self().node
    pid, _ = scripted(None, name="scripted")
    with pytest.raises(ProcessExit, match="calling_self"):
        GenServer.call(pid, lambda self: GenServer.multi_call([here], "scripted", 1))


def test_a_multi_call_whose_caller_is_killed_leaves_nothing(clock: ManualClock) -> None:
    here = process.self().node
    pid, _ = scripted(None, name="scripted")
    table = current_process().runtime.table
    GenServer.cast(pid, lambda self: process.sleep(50.0))
    clock.settle()
    before = len(table)
    caller = process.spawn(GenServer.multi_call, [here], "scripted", 1, None)
    clock.settle()
    assert len(table) == before + 2
    process.exit(caller, "kill")
    clock.settle()
    assert len(table) == before
    assert len(current_process().runtime.scheduler.waits) == 1  # that of the server, which sleeps


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
