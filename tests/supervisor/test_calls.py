"""The client's side of servers: every way in which a call or a stop can fail, and that it leaves nothing behind."""

from __future__ import annotations

from typing import Any

import gevent.event
import pytest

import supervisor.calls as calls
import supervisor.processes as process
from supervisor.errors import CallTimeout, Exit, NoConnection, NoProcess, ProcessExit
from supervisor.gen_server import GenServer, NoReply, Reply, Stop, run_inside
from supervisor.pids import NodeId, Pid
from supervisor.processes import new_wait
from supervisor.reasons import Crash, Shutdown
from supervisor.records import Process
from supervisor.runtime import current_process
from supervisor.signals import Down
from tests.supervisor.kit import Echo, ManualClock, Trapper, in_background, info, scripted

# The two ways of a call: handed over to an idle server, or waiting in the mailbox of one that is at work.
WAYS = pytest.mark.parametrize("busy", [False, True], ids=["handed over", "queued"])


def record(pid: Pid) -> Process:
    found = current_process().runtime.local(pid)
    assert found is not None
    return found


def occupied(clock: ManualClock, pid: Pid, seconds: float) -> None:
    """Have the server work for some time, so that others wait."""
    GenServer.cast(pid, lambda *_: process.sleep(seconds))
    clock.settle()


def nothing_is_left(pid: Pid) -> None:
    """The server has nobody who waits for it, this process no message, the scheduler no wait."""
    assert record(pid).waiters is None
    assert info(process.self())["queue_length"] == 0
    assert not current_process().runtime.scheduler.waits


# -- nobody is there -------------------------------------------------------------------------------------------------


def test_calls_to_nobody_raise_no_process(clock: ManualClock) -> None:
    pid, _ = scripted()
    process.exit(pid, "boom")
    for target in (pid, "nobody"):
        with pytest.raises(NoProcess) as failed:
            GenServer.call(target, "hello")
        assert failed.value.reason == "noproc"
        assert "hello" in str(failed.value)


@pytest.mark.parametrize("attempt", [lambda to: GenServer.call(to, 1), GenServer.stop], ids=["call", "stop"])
@pytest.mark.parametrize("earlier_life", [True, False])
def test_a_pid_of_an_earlier_life_is_dead_and_one_of_another_node_is_not_connected(
    clock: ManualClock, attempt: Any, earlier_life: bool
) -> None:
    here = current_process().runtime.home
    home = NodeId(here.name, here.incarnation + 7) if earlier_life else NodeId("far@127.0.0.1:1", 1)
    error = NoProcess if earlier_life else NoConnection
    with pytest.raises(error):
        attempt(Pid(home, 1))
    with pytest.raises(NoConnection, match=r"far@127\.0\.0\.1:1"):
        attempt(("name", "far@127.0.0.1:1"))
    assert info(process.self())["queue_length"] == 0


def test_a_server_that_dies_before_it_comes_to_a_call_fails_it(clock: ManualClock) -> None:
    pid, _events = scripted()
    occupied(clock, pid, 100.0)
    _, outcome = in_background(lambda: GenServer.call(pid, "hello", None))
    clock.settle()
    process.exit(pid, "boom")
    clock.settle()
    (error,) = outcome
    assert (type(error), error.reason) == (ProcessExit, "boom")
    assert "hello" in error.call


# -- the server ends during the call ---------------------------------------------------------------------------------


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


@WAYS
@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda self: process.exit(process.self(), "kill"), "killed"),
        (lambda self: process.exit(process.self(), "boom"), "boom"),
        (lambda self: Stop(Shutdown("moved")), Shutdown("moved")),
        (lambda self: 1 / 0, "Crash(ZeroDivisionError: division by zero)"),
    ],
    ids=["killed", "exit", "stop", "crash"],
)
def test_a_call_fails_with_the_reason_for_which_the_server_ended(
    clock: ManualClock, busy: bool, end: Any, reason: Any
) -> None:
    pid, _ = scripted()
    if busy:
        occupied(clock, pid, 1.0)
    _, outcome = in_background(lambda: GenServer.call(pid, end, 5.0))
    clock.advance(1.0)
    (error,) = outcome
    assert type(error) is ProcessExit
    assert reason in (error.reason, repr(error.reason))
    assert "GenServer.call" in error.call
    assert clock.pending() == 0
    assert not process.alive(pid)


def test_a_server_that_answers_and_dies_at_once_has_answered(clock: ManualClock) -> None:
    pid, _ = scripted()

    def last_words(self: Any) -> NoReply:
        GenServer.reply(self.from_, "last words")
        process.exit(process.self(), "kill")
        return NoReply()

    assert GenServer.call(pid, last_words) == "last words"
    assert not process.alive(pid)


# -- time is over ----------------------------------------------------------------------------------------------------


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


@WAYS
def test_a_call_that_timed_out_names_the_request_and_leaves_nothing(clock: ManualClock, busy: bool) -> None:
    pid, _ = scripted()
    if busy:
        occupied(clock, pid, 9.0)
    request = "hello" if busy else (lambda self: process.sleep(9.0))
    _, outcome = in_background(lambda: GenServer.call(pid, request, 2.0))
    clock.advance(1.9)
    assert outcome == []
    clock.advance(0.2)
    assert type(outcome[0]) is CallTimeout
    assert str(outcome[0]).startswith("no reply within 2.0 s to GenServer.call(..., ")
    assert record(pid).waiters is None
    clock.advance(10.0)
    nothing_is_left(pid)
    assert GenServer.call(pid, "next") == "next"


@WAYS
def test_a_timeout_of_zero_gets_what_is_there_without_waiting(clock: ManualClock, busy: bool) -> None:
    pid, _ = scripted()
    if busy:
        occupied(clock, pid, 1.0)
        process.spawn(clock.advance, 0.0)
        with pytest.raises(CallTimeout):
            GenServer.call(pid, "hello", 0)
    else:
        assert GenServer.call(pid, "hello", 0) == "hello"


def test_a_request_whose_caller_gave_up_is_handled_all_the_same(clock: ManualClock) -> None:
    pid, _events = scripted()
    occupied(clock, pid, 2.0)
    handled: list[Any] = []
    _, outcome = in_background(lambda: GenServer.call(pid, handled.append, 1.0))
    clock.advance(3.0)
    assert type(outcome[0]) is CallTimeout
    assert len(handled) == 1


def test_a_second_reply_is_dropped(clock: ManualClock) -> None:
    pid, _ = scripted()

    def twice(self: Any) -> str:
        GenServer.reply(self.from_, "first")
        GenServer.reply(self.from_, "second")
        return "third"

    assert GenServer.call(pid, twice) == "first"
    assert GenServer.call(pid, "next") == "next"


def test_a_call_may_be_answered_later_from_another_process(clock: ManualClock) -> None:
    pid, _ = scripted()

    def later(self: Any) -> NoReply:
        process.spawn(lambda: GenServer.reply(self.from_, process.self()))
        return NoReply()

    answer = GenServer.call(pid, later)
    assert answer not in (pid, process.self())


# -- the caller ends meanwhile ---------------------------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize("reason", ["kill", "boom"])
def test_a_caller_that_is_ended_while_it_waits_leaves_nothing_and_the_server_goes_on(
    clock: ManualClock, busy: bool, reason: str
) -> None:
    pid, _ = scripted()
    if busy:
        occupied(clock, pid, 5.0)
    unwound: list[Any] = []

    def caller() -> None:
        try:
            GenServer.call(pid, lambda self: process.sleep(5.0), 60.0)
        except Exit as error:
            unwound.append(error.reason)
            raise

    asker = process.spawn(caller)
    clock.settle()
    process.exit(asker, reason)
    clock.settle()
    assert unwound == ["killed" if reason == "kill" else reason]
    assert record(pid).waiters is None
    clock.advance(10.0)
    nothing_is_left(pid)
    assert GenServer.call(pid, "next") == "next"


def test_a_server_that_is_killed_while_it_calls_fails_its_own_callers_at_once(clock: ManualClock) -> None:
    inner, middle = Echo.start(), Echo.start()
    _, outcome = in_background(
        lambda: GenServer.call(middle, lambda: GenServer.call(inner, lambda: process.sleep(9.0), None), None)
    )
    clock.settle()
    process.exit(middle, "kill")
    clock.settle()
    assert [error.reason for error in outcome] == ["killed"]
    assert record(inner).waiters is None


# -- bad use ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [7, "nobody", ("nobody", "nonode@nohost"), 1.5, object()], ids=repr)
def test_what_is_no_process_is_no_process_for_call_and_stop_and_says_what_it_got(
    clock: ManualClock, target: Any
) -> None:
    for attempt in (lambda: GenServer.call(target, 1), lambda: GenServer.stop(target)):
        with pytest.raises(NoProcess) as failed:
            attempt()
        assert repr(target) in str(failed.value)


@pytest.mark.parametrize("target", [[], {}, {1}], ids=repr)
def test_an_address_that_cannot_be_hashed_is_a_mistake_of_the_caller(clock: ManualClock, target: Any) -> None:
    for attempt in (lambda: GenServer.call(target, 1), lambda: GenServer.stop(target)):
        with pytest.raises(TypeError):
            attempt()


@WAYS
def test_a_timeout_that_is_no_number_hits_the_caller_and_not_the_server(clock: ManualClock, busy: bool) -> None:
    pid, _ = scripted()
    if busy:
        occupied(clock, pid, 1.0)
    target: Any = lambda self: process.sleep(1.0)  # noqa: E731
    _, outcome = in_background(lambda: GenServer.call(pid, target, "soon"))  # type: ignore[call-overload]
    clock.advance(5.0)
    assert [type(error) for error in outcome] == [TypeError]
    assert process.alive(pid)
    nothing_is_left(pid)


def test_a_call_to_oneself_by_any_address_says_so(clock: ManualClock) -> None:
    me = process.self()
    process.register("me", me)
    for address in (me, "me", ("me", me.node)):
        with pytest.raises(ProcessExit, match="calling_self") as failed:
            GenServer.call(address, "hello")
        assert "hello" in failed.value.call
        with pytest.raises(ProcessExit, match="calling_self"):
            GenServer.stop(address)
    assert info(me)["queue_length"] == 0


def test_a_long_request_is_shortened_in_the_error(clock: ManualClock) -> None:
    with pytest.raises(NoProcess) as failed:
        GenServer.call("nobody", "x" * 1000)
    assert len(str(failed.value)) < 150


# -- via names -------------------------------------------------------------------------------------------------------


class Directory:
    """A via name that resolves to one pid after the other, as they turn out to be dead."""

    def __init__(self, *pids: Any) -> None:
        self.pids = list(pids)
        self.asked: list[Any] = []

    def resolve(self, timeout: float | None = 0.0, gone: Pid | None = None) -> Any:
        self.asked.append((timeout, gone))
        if not self.pids:
            raise NoProcess("of the directory")
        return self.pids.pop(0)


def dead() -> Pid:
    pid = Echo.start()
    process.exit(pid, "kill")
    return pid


def test_a_call_asks_a_via_name_for_the_successor_of_who_was_dead_already(clock: ManualClock) -> None:
    gone, pid = dead(), Echo.start()
    via = Directory(gone, pid)
    assert GenServer.call(via, "hello", 3.0) == "hello"
    assert via.asked == [(3.0, None), (3.0, gone)]


def test_a_call_through_a_via_name_has_one_deadline_for_looking_and_asking(clock: ManualClock) -> None:
    class Slow(Directory):
        def resolve(self, timeout: float | None = 0.0, gone: Pid | None = None) -> Any:
            process.sleep(2.0)
            return super().resolve(timeout, gone)

    pid = Echo.start()
    via = Slow(dead(), pid)
    _, outcome = in_background(lambda: GenServer.call(via, lambda: process.sleep(9.0), 5.0))
    clock.advance(4.9)
    assert outcome == []
    assert [timeout for timeout, _ in via.asked] == [5.0, 3.0]
    clock.advance(0.2)
    assert [type(error) for error in outcome] == [CallTimeout]


def test_a_server_behind_a_via_name_that_dies_during_the_call_has_no_successor(clock: ManualClock) -> None:
    via = Directory(Echo.start(), Echo.start())
    with pytest.raises(ProcessExit, match="boom"):
        GenServer.call(via, lambda: process.exit(process.self(), "boom"))
    assert len(via.pids) == 1


def test_what_a_via_name_raises_reaches_the_caller(clock: ManualClock) -> None:
    for attempt in (lambda: GenServer.call(Directory(), 1), lambda: GenServer.stop(Directory())):
        with pytest.raises(NoProcess, match="of the directory"):
            attempt()


# -- stop ------------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("reason", ["normal", "shutdown", Shutdown("moved"), "boom", ("any", "value")], ids=repr)
def test_a_server_that_is_stopped_ends_with_the_reason_that_was_given(clock: ManualClock, reason: Any) -> None:
    pid, events = scripted()
    ref = process.monitor(pid)
    GenServer.stop(pid, reason)
    assert process.receive(timeout=0) == Down(ref, pid, reason)
    assert events == [("terminate", reason)]
    assert clock.pending() == 0


@pytest.mark.parametrize("by", ["pid", "name", "name of this node", "via"])
def test_a_server_can_be_stopped_by_any_address(clock: ManualClock, by: str) -> None:
    pid, events = scripted(name="it")
    addresses = {"pid": pid, "name": "it", "name of this node": ("it", pid.node), "via": Directory(pid)}
    GenServer.stop(addresses[by])
    assert events == [("terminate", "normal")]
    with pytest.raises(NoProcess):
        GenServer.stop(pid)


def test_a_stubborn_server_is_left_alone_by_a_stop_that_times_out_and_ends_in_its_own_time(
    clock: ManualClock,
) -> None:
    class Stubborn(Trapper):
        def terminate(self, reason: Any) -> None:
            process.sleep(10.0)
            super().terminate(reason)

    events: list[Any] = []
    pid = Stubborn.start(events)
    _, outcome = in_background(lambda: GenServer.stop(pid, "shutdown", 3.0))
    clock.advance(3.1)
    assert type(outcome[0]) is CallTimeout
    assert process.alive(pid)
    assert record(pid).waiters is None
    clock.advance(7.0)
    assert events == [("terminate", "shutdown")]
    assert not process.alive(pid)


def test_a_server_that_ends_for_another_reason_while_it_is_stopped_is_no_success(clock: ManualClock) -> None:
    pid, _ = scripted()
    occupied(clock, pid, 100.0)
    _, outcome = in_background(lambda: GenServer.stop(pid, "shutdown", None))
    clock.settle()
    process.exit(pid, "kill")
    clock.settle()
    assert [(type(error), error.reason) for error in outcome] == [(ProcessExit, "killed")]


def test_everybody_who_stops_a_server_gets_its_end(clock: ManualClock) -> None:
    pid, events = scripted()
    occupied(clock, pid, 1.0)
    outcomes = [in_background(lambda: GenServer.stop(pid, "shutdown"))[1] for _ in range(3)]
    clock.advance(1.0)
    assert outcomes == [[None]] * 3
    assert events[-1:] == [("terminate", "shutdown")]


def test_who_is_killed_while_it_stops_a_server_does_not_save_it(clock: ManualClock) -> None:
    pid, events = scripted()
    occupied(clock, pid, 1.0)
    stopper, outcome = in_background(lambda: GenServer.stop(pid, "shutdown", None))
    clock.settle()
    process.exit(stopper, "kill")
    clock.advance(1.0)
    assert events[-1] == ("terminate", "shutdown")
    assert outcome == []
    assert not process.alive(pid)


def test_calls_that_wait_behind_a_stop_fail_with_its_reason(clock: ManualClock) -> None:
    pid, _ = scripted()
    occupied(clock, pid, 1.0)
    _, stopped = in_background(lambda: GenServer.stop(pid, Shutdown("moved")))
    clock.settle()
    _, outcome = in_background(lambda: GenServer.call(pid, "too late"))
    clock.advance(1.0)
    assert stopped == [None]
    assert [error.reason for error in outcome] == [Shutdown("moved")]


# -- replies ---------------------------------------------------------------------------------------------------------


def test_a_reply_may_come_before_the_handler_goes_on(clock: ManualClock) -> None:
    pid, events = scripted()
    gate = gevent.event.Event()

    def early(self: Any) -> NoReply:
        GenServer.reply(self.from_, "early")
        gate.wait()
        self.state.append("went on")
        return NoReply()

    assert GenServer.call(pid, early) == "early"
    assert events == []
    gate.set()
    clock.settle()
    assert events == ["went on"]


def test_a_reply_to_a_caller_of_an_earlier_life_of_this_node_is_dropped(clock: ManualClock) -> None:
    here = current_process().runtime.home
    gone = NodeId(here.name, here.incarnation + 1)
    GenServer.reply((Pid(gone, 1), new_wait(current_process().runtime, None)), "dropped")
    pid, _ = scripted()
    GenServer.call(pid, Reply("anything"))
    from_ = record(pid).server.from_
    GenServer.reply(from_, "dropped, it was answered")
    assert info(process.self())["queue_length"] == 0


# -- inside ----------------------------------------------------------------------------------------------------------


def test_run_inside_runs_between_two_messages_and_raises_what_it_raises(clock: ManualClock) -> None:
    pid, _ = scripted()
    assert run_inside(pid, lambda p: process.self(), 1.0) == pid
    with pytest.raises(ZeroDivisionError):
        run_inside(pid, lambda p: 1 / 0, 1.0)
    assert process.alive(pid)
    with pytest.raises(NoProcess):
        run_inside(process.self(), lambda p: 1, 1.0)


def test_run_inside_of_oneself_and_of_a_server_that_dies_meanwhile_raises(clock: ManualClock) -> None:
    pid, _ = scripted()
    with pytest.raises(ProcessExit, match="calling_self"):
        GenServer.call(pid, lambda self: run_inside(process.self(), lambda p: 1, None))
    pid, _ = scripted()
    with pytest.raises(ProcessExit, match="boom"):
        run_inside(pid, lambda p: process.exit(p.pid, "boom"), None)


def test_run_inside_of_a_server_that_is_at_work_times_out_and_leaves_nothing(clock: ManualClock) -> None:
    pid, _ = scripted()
    occupied(clock, pid, 5.0)
    _, outcome = in_background(lambda: run_inside(pid, lambda p: 1, 2.0))
    clock.advance(2.0)
    assert [type(error) for error in outcome] == [CallTimeout]
    clock.advance(5.0)
    nothing_is_left(pid)


def test_local_server_finds_the_object_or_says_what_is_there_instead(clock: ManualClock) -> None:
    pid = Echo.start(name="echo")
    for address in (pid, "echo", Directory(pid)):
        assert calls.local_server(address, Echo) is record(pid).server
    with pytest.raises(TypeError, match="is a Echo; expected a Trapper"):
        calls.local_server(pid, Trapper)
    with pytest.raises(NoProcess):
        calls.local_server("nobody", Echo)
    with pytest.raises(NoProcess):
        calls.local_server(process.self(), Echo)  # a plain process
    with pytest.raises(ValueError, match="belongs to another node"):
        calls.local_server(Pid(NodeId("far@127.0.0.1:1", 1), 1), Echo)


# -- threads ---------------------------------------------------------------------------------------------------------


def test_a_thread_that_asks_gets_the_value_or_the_error_of_a_process_of_the_node(clock: ManualClock) -> None:
    runtime = current_process().runtime
    pool = runtime.scheduler.hub.threadpool
    assert pool.apply(calls.ask_from_thread, (runtime, lambda: process.self().node)) == process.self().node
    with pytest.raises(Exit, match="enough"):
        pool.apply(calls.ask_from_thread, (runtime, raise_exit))
    assert isinstance(Crash.from_exception(Exit("enough")), Crash)


def raise_exit() -> None:
    raise Exit("enough")
