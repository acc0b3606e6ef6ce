"""debug: get_state, replace_state, suspend, resume, statistics, trace and dump; system messages go ahead of users'."""

from __future__ import annotations

import io
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import pytest

import supervisor.debug as debug
import supervisor.processes as process
from supervisor.debugged import Debugged
from supervisor.errors import CallTimeout, NoProcess, ProcessExit
from supervisor.gen_server import TIMEOUT, Continue, From, GenServer, NoReply, Reply, Stop, run_inside
from supervisor.gen_statem import GenStatem, Keep
from supervisor.pids import NodeId, Pid
from supervisor.runtime import current_process
from supervisor.supervisors import Supervisor
from supervisor.turns import BEHAVIOUR
from tests.supervisor.kit import HANGS, Echo, ManualClock

ROOT = Path(__file__).resolve().parents[2]


class Notes(GenServer):
    """Keeps what comes, in order, in its state; a call ("do", fn) runs fn."""

    def init(self, events: list[Any]) -> None:
        self.state = events

    def handle_call(self, request: Any, from_: From) -> Any:
        if type(request) is tuple and request[0] == "do":
            return request[1]()
        self.state.append(("call", request))
        return request

    def handle_cast(self, request: Any) -> Any:
        self.state.append(("cast", request))
        return NoReply(timeout=5.0) if request == "with timeout" else None

    def handle_info(self, message: Any) -> None:
        self.state.append(("info", message))

    def terminate(self, reason: Any) -> None:
        self.state.append(("terminate", reason))


def notes(**options: Any) -> tuple[Pid, list[Any]]:
    events: list[Any] = []
    return Notes.start(events, **options), events


def behaviour_of(pid: Pid) -> Any:
    found = current_process().runtime.find(pid)
    assert found is not None
    return found.behaviour


def in_background(fn: Any) -> list[Any]:
    """Run `fn` in a process of its own; what it returned or raised will be in the list."""
    outcome: list[Any] = []

    def body() -> None:
        try:
            outcome.append(fn())
        except Exception as error:
            outcome.append(error)

    process.spawn(body)
    return outcome


# -- state -----------------------------------------------------------------------------------------------------------


def test_get_state_returns_the_state_of_a_server_by_pid_and_by_name(clock: ManualClock) -> None:
    pid = Echo.start([1], name="it")
    assert debug.get_state(pid) == [1]
    assert debug.get_state("it") == [1]
    assert debug.get_state(pid) is debug.get_state(pid)


def test_get_state_of_a_state_machine_is_its_state_and_data(clock: ManualClock) -> None:
    class Door(GenStatem):
        def init(self) -> Any:
            return "shut", 7

        def shut(self, event_type: Any, content: Any, data: Any) -> Any:
            return Keep()

    assert debug.get_state(Door.start()) == ("shut", 7)


def test_replace_state_gives_the_server_what_the_function_makes_of_its_state(clock: ManualClock) -> None:
    pid = GenServer.start(1)
    assert debug.replace_state(pid, lambda state: state + 1) == 2
    assert debug.get_state(pid) == 2


def test_a_replace_that_fails_raises_here_and_harms_no_server(clock: ManualClock) -> None:
    pid = GenServer.start(1)
    with pytest.raises(ZeroDivisionError):
        debug.replace_state(pid, lambda state: state / 0)
    assert debug.get_state(pid) == 1


def test_debug_says_clearly_what_it_cannot_look_into(clock: ManualClock) -> None:
    gone = Echo.start()
    GenServer.stop(gone)
    with pytest.raises(NoProcess):
        debug.get_state(gone)
    with pytest.raises(NoProcess):
        debug.suspend("nobody")
    with pytest.raises(ValueError, match=r"belongs to another node.*Node\.spawn"):
        debug.get_state(Pid(NodeId("b@127.0.0.1:1", 1), 1))
    with pytest.raises(ValueError, match="belongs to another node"):
        debug.get_state(("it", "b@127.0.0.1:1"))
    with pytest.raises(TypeError, match="plain process"):
        debug.get_state(process.self())
    with pytest.raises(ValueError, match="'on', 'off' or 'get'"):
        debug.statistics(Echo.start(), "maybe")
    with pytest.raises(TypeError, match="True, False or a callable"):
        debug.trace(Echo.start(), 3)  # type: ignore[arg-type]


def test_a_server_that_looks_into_itself_gets_an_error_and_no_deadlock(clock: ManualClock) -> None:
    def look() -> Any:
        try:
            return debug.get_state(process.self())
        except ProcessExit as error:
            return error.reason

    assert GenServer.call(Echo.start(), look) == "calling_self"


def test_get_state_of_a_server_that_blocks_times_out(clock: ManualClock) -> None:
    pid = Echo.start()
    GenServer.cast(pid, lambda: process.sleep(100.0))
    outcome = in_background(lambda: debug.get_state(pid, timeout=2.0))
    clock.advance(2.0)
    assert [type(error) for error in outcome] == [CallTimeout]


# -- system messages go first ----------------------------------------------------------------------------------------


def test_system_messages_go_ahead_of_users_messages_in_their_own_order(clock: ManualClock) -> None:
    pid, events = notes()
    blocked = in_background(lambda: GenServer.call(pid, ("do", lambda: process.sleep(1.0)), None))
    clock.settle()
    GenServer.cast(pid, 1)
    for n in range(3):
        in_background(lambda n=n: run_inside(pid, lambda p: events.append(("system", n)), None))
        clock.settle()
    GenServer.cast(pid, 2)
    clock.advance(1.0)
    assert events == [("system", 0), ("system", 1), ("system", 2), ("cast", 1), ("cast", 2)]
    assert blocked == [None]


def test_a_continue_goes_ahead_of_system_messages_and_an_init_too(clock: ManualClock) -> None:
    class Slow(Notes):
        def init(self, events: list[Any]) -> Any:
            self.state = events
            process.sleep(1.0)
            events.append("init")
            return Continue("more")

        def handle_continue(self, token: Any) -> None:
            self.state.append(token)

    events: list[Any] = []
    starter = in_background(lambda: Slow.start(events, name="slow"))
    clock.settle()
    seen = in_background(lambda: run_inside("slow", lambda p: events.append("system"), None))
    clock.settle()
    process.send("slow", "hello")
    clock.advance(1.0)
    assert len(starter) == len(seen) == 1
    assert events == ["init", "more", "system", ("info", "hello")]


def test_a_stop_keeps_its_place_behind_the_messages_that_were_sent_before(clock: ManualClock) -> None:
    pid, events = notes()
    GenServer.cast(pid, 1)
    GenServer.stop(pid)
    assert events == [("cast", 1), ("terminate", "normal")]


def test_looking_at_a_server_does_not_cancel_the_timeout_of_its_callback(clock: ManualClock) -> None:
    pid, events = notes()
    GenServer.cast(pid, "with timeout")
    clock.settle()
    clock.advance(4.0)
    debug.get_state(pid)
    clock.advance(1.0)
    assert events == [("cast", "with timeout"), ("info", TIMEOUT)]


# -- suspend ---------------------------------------------------------------------------------------------------------


def test_a_suspended_server_answers_system_messages_only_and_goes_on_in_order(clock: ManualClock) -> None:
    pid, events = notes()
    debug.suspend(pid)
    GenServer.cast(pid, 1)
    process.send(pid, 2)
    called = in_background(lambda: GenServer.call(pid, 3, None))
    clock.settle()
    GenServer.cast(pid, 4)
    clock.settle()
    assert events == []
    assert called == []
    assert debug.get_state(pid) == []
    assert process.info(pid, "queue_length") == 4
    assert process.info(pid, "messages")[1] == 2
    debug.resume(pid)
    assert GenServer.call(pid, 5) == 5
    clock.settle()
    assert events == [("cast", 1), ("info", 2), ("call", 3), ("cast", 4), ("call", 5)]
    assert called == [3]
    assert behaviour_of(pid) is BEHAVIOUR


def test_messages_that_wait_when_a_server_is_suspended_wait_on(clock: ManualClock) -> None:
    pid, events = notes()
    in_background(lambda: GenServer.call(pid, ("do", lambda: process.sleep(1.0)), None))
    clock.settle()
    for n in range(600):  # more than one turn
        GenServer.cast(pid, n)
    suspended = in_background(lambda: debug.suspend(pid))
    clock.advance(1.0)
    assert suspended == [None]
    assert events == []
    debug.suspend(pid)  # twice is once
    GenServer.cast(pid, 600)
    clock.settle()
    assert process.info(pid, "queue_length") == 601
    debug.resume(pid)
    clock.settle()
    assert events == [("cast", n) for n in range(601)]


def test_a_call_to_a_suspended_server_times_out(clock: ManualClock) -> None:
    pid, _ = notes()
    debug.suspend(pid)
    outcome = in_background(lambda: GenServer.call(pid, 1, 2.0))
    clock.advance(2.0)
    assert [type(error) for error in outcome] == [CallTimeout]
    assert process.alive(pid)


def test_system_messages_that_wait_go_ahead_of_those_that_were_held(clock: ManualClock) -> None:
    def slowly(state: Any) -> Any:
        process.sleep(1.0)
        return state

    pid, events = notes()
    debug.suspend(pid)
    GenServer.cast(pid, 1)
    clock.settle()
    for step in (
        lambda: debug.replace_state(pid, slowly, None),
        lambda: debug.resume(pid),
        lambda: run_inside(pid, lambda p: events.append("system"), None),
    ):
        in_background(step)
        clock.settle()
    clock.advance(1.0)
    assert events == ["system", ("cast", 1)]


def test_a_suspended_server_can_be_stopped_and_killed(clock: ManualClock) -> None:
    stopped, events = notes()
    killed, _ = notes()
    for pid in (stopped, killed):
        debug.suspend(pid)
        GenServer.cast(pid, 1)
    waiting = in_background(lambda: GenServer.call(killed, 1, None))
    clock.settle()
    GenServer.stop(stopped, "shutdown")
    assert events == [("terminate", "shutdown")]
    process.exit(killed, "kill")
    clock.settle()
    assert [error.reason for error in waiting] == ["killed"]


def test_the_supervisor_of_a_suspended_child_can_stop_it(clock: ManualClock) -> None:
    class Trapping(Notes):
        def init(self, events: list[Any]) -> None:
            super().init(events)
            process.trap_exit(True)

    events: list[Any] = []
    sup = Supervisor.start_link([Trapping.child_spec(events, id="it")])
    debug.suspend(Supervisor.which_children(sup)[0].pid)
    Supervisor.terminate_child(sup, "it")
    assert events == [("terminate", "shutdown")]


def test_the_timeout_of_a_callback_stands_still_while_its_server_is_suspended(clock: ManualClock) -> None:
    pid, events = notes()
    GenServer.cast(pid, "with timeout")
    clock.advance(3.0)
    debug.suspend(pid)
    clock.advance(100.0)
    debug.resume(pid)
    clock.advance(1.9)
    assert events == [("cast", "with timeout")]
    clock.advance(0.2)
    assert events[1:] == [("info", TIMEOUT)]


def test_a_message_that_came_meanwhile_comes_instead_of_the_timeout(clock: ManualClock) -> None:
    pid, events = notes()
    GenServer.cast(pid, "with timeout")
    clock.settle()
    debug.suspend(pid)
    process.send(pid, "hello")
    clock.settle()
    debug.resume(pid)
    clock.advance(100.0)
    assert events == [("cast", "with timeout"), ("info", "hello")]


# -- statistics ------------------------------------------------------------------------------------------------------


def test_statistics_count_messages_while_they_are_on(clock: ManualClock) -> None:
    pid, _ = notes()
    assert debug.statistics(pid) is None
    assert debug.statistics(pid, "on") is None
    start = clock.wall()
    clock.advance(2.0)
    GenServer.call(pid, 1)
    GenServer.cast(pid, 2)
    process.send(pid, 3)
    clock.settle()
    counts = debug.statistics(pid, "get")
    assert counts == {
        "start_time": start,
        "current_time": start + 2.0,
        "messages_in": 3,
        "messages_out": 1,
        "reductions": 4,
        "queue_length": 0,
    }
    debug.statistics(pid, "off")
    assert debug.statistics(pid) is None
    assert behaviour_of(pid) is BEHAVIOUR


def test_what_waits_when_statistics_are_turned_on_is_counted(clock: ManualClock) -> None:
    pid, events = notes()
    GenServer.cast(pid, 0)
    in_background(lambda: debug.statistics(pid, "on"))
    clock.settle()
    in_background(lambda: GenServer.call(pid, ("do", lambda: process.sleep(1.0)), None))
    clock.settle()
    debug_off = in_background(lambda: debug.statistics(pid, "off"))
    debug_on = in_background(lambda: debug.statistics(pid, "on"))
    clock.settle()
    for n in range(10):
        GenServer.cast(pid, n)
    clock.advance(1.0)
    assert debug_off == debug_on == [None]
    counts = debug.statistics(pid)
    assert counts is not None
    assert counts["messages_in"] == 10
    assert events == [("cast", 0), *(("cast", n) for n in range(10))]


# -- trace -----------------------------------------------------------------------------------------------------------


def test_a_trace_shows_messages_in_and_out_as_they_pass(clock: ManualClock) -> None:
    seen: list[debug.TraceEvent] = []
    pid, _ = notes()
    debug.trace(pid, seen.append)
    GenServer.call(pid, "question")
    GenServer.cast(pid, "cast")
    process.send(pid, "info")
    clock.settle()
    debug.get_state(pid)  # not shown
    me = process.self()
    assert [(e.direction, e.kind, e.message, e.other) for e in seen] == [
        ("in", "call", "question", me),
        ("out", "reply", "question", me),
        ("in", "cast", "cast", None),
        ("in", "info", "info", None),
    ]
    debug.trace(pid, False)
    GenServer.call(pid, "unseen")
    assert len(seen) == 4
    assert behaviour_of(pid) is BEHAVIOUR


def test_replies_by_directives_are_traced_too(clock: ManualClock) -> None:
    replies: list[Any] = []
    pid, _ = notes()
    debug.trace(pid, lambda event: replies.append(event.message) if event.direction == "out" else None)
    assert GenServer.call(pid, ("do", lambda: Reply("reply"))) == "reply"
    assert GenServer.call(pid, ("do", lambda: Stop("normal", "last"))) == "last"
    assert replies == ["reply", "last"]


def test_a_trace_goes_to_the_log(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    pid, _ = notes()
    with caplog.at_level(logging.INFO, "supervisor.debug"):
        debug.trace(pid, True)
        GenServer.call(pid, "question")
    way_in, way_out = [record.getMessage() for record in caplog.records]
    assert f"Notes {pid!r} <- call 'question' from {process.self()!r}" in way_in
    assert f"-> reply 'question' to {process.self()!r}" in way_out


def test_a_trace_that_fails_is_taken_away_and_the_server_goes_on(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    pid, _ = notes()
    debug.trace(pid, lambda event: 1 / 0)
    assert GenServer.call(pid, 1) == 1
    assert GenServer.call(pid, 2) == 2
    assert caplog.text.count("ZeroDivisionError") == 1


def test_messages_keep_their_order_when_a_trace_is_turned_on_between_them(clock: ManualClock) -> None:
    pid, events = notes()
    in_background(lambda: GenServer.call(pid, ("do", lambda: process.sleep(1.0)), None))
    clock.settle()
    for n in range(300):
        GenServer.cast(pid, n)
    seen: list[Any] = []
    in_background(lambda: debug.trace(pid, seen.append))
    late = in_background(lambda: GenServer.call(pid, "late", None))
    clock.advance(1.0)
    assert late == ["late"]
    assert events == [*(("cast", n) for n in range(300)), ("call", "late")]
    assert [event.message for event in seen] == [*range(300), "late", "late"]


def test_suspend_trace_and_statistics_are_independent(clock: ManualClock) -> None:
    pid, events = notes()
    seen: list[Any] = []
    debug.trace(pid, seen.append)
    debug.suspend(pid)
    debug.statistics(pid, "on")
    GenServer.cast(pid, 1)
    clock.settle()
    assert seen == events == []
    debug.trace(pid, None)
    debug.resume(pid)
    clock.settle()
    assert events == [("cast", 1)]
    assert isinstance(behaviour_of(pid), Debugged)
    debug.statistics(pid, "off")
    assert behaviour_of(pid) is BEHAVIOUR


def test_a_traced_server_crashes_and_stops_like_any_other(clock: ManualClock) -> None:
    pid = Echo.start()
    debug.trace(pid, lambda event: None)
    with pytest.raises(ProcessExit, match="ZeroDivisionError"):
        GenServer.call(pid, lambda: 1 / 0)
    assert not process.alive(pid)


# -- dump ------------------------------------------------------------------------------------------------------------


def dumped() -> str:
    out = io.StringIO()
    debug.dump(out)
    return out.getvalue()


def block_of(text: str, name: str) -> str:
    """What the dump says of the process with that name."""
    (found,) = [
        block for block in re.split(r"^(?=<Process )", text, flags=re.MULTILINE) if f"'{name}'" in block.splitlines()[0]
    ]
    return found


def asks(name: str) -> Any:
    """What a process runs that waits for the answer of another one."""
    return lambda: GenServer.call(name, lambda: process.sleep(50.0), 20.0)


def waits_for_a_message() -> None:
    process.receive(timeout=9.0)


def test_a_dump_shows_every_process_with_what_it_handles_and_waits_for(clock: ManualClock) -> None:
    Echo.start(name="idle")
    Echo.start(name="sleeper")
    asker = process.spawn(asks("sleeper"))
    process.register("asker", asker)
    process.register("receiver", process.spawn(waits_for_a_message))
    clock.advance(1.0)
    process.send("sleeper", "waits")
    process.register("unborn", process.spawn(waits_for_a_message))
    text = dumped()
    assert "6 processes" in text.splitlines()[0]
    assert "Echo> idle" in block_of(text, "idle")
    sleeper = block_of(text, "sleeper")
    assert "running, 1 messages wait" in sleeper
    assert "handles call <function" in sleeper
    assert "in Echo.handle_call (" in sleeper
    assert "waits for time to pass (49 s of 50 s left)" in sleeper
    assert "return lambda: GenServer.call(name, lambda: process.sleep(50.0), 20.0)" in sleeper
    assert "'sleeper' Echo> (19 s of 20 s left)" in block_of(text, "asker")
    assert "waits for a message (8 s of 9 s left)" in block_of(text, "receiver")
    assert "waits for its turn" in block_of(text, "unborn")
    assert "waits for nothing: it runs" in text  # this test
    for pid in (asker, process.whereis("receiver"), process.whereis("unborn")):
        process.exit(pid, "kill")  # type: ignore[arg-type]


def test_a_dump_shows_suspended_servers_and_orphans(clock: ManualClock) -> None:
    def stubborn() -> None:
        try:
            process.sleep(100.0)
        finally:
            gate.wait()

    gate = gevent.event.Event()
    debug.suspend(Echo.start(name="held"))
    pid = process.spawn(stubborn)
    clock.settle()
    process.exit(pid, "kill")
    clock.settle()
    text = dumped()
    assert "idle, suspended" in block_of(text, "held")
    assert "1 orphans" in text.splitlines()[0]
    assert "orphan\n" in text
    assert "gate.wait()" in text
    gate.set()
    clock.settle()
    assert "0 orphans" in dumped().splitlines()[0]


def test_a_dump_survives_values_that_cannot_be_shown(clock: ManualClock) -> None:
    class Nasty:
        def __repr__(self) -> str:
            raise ValueError("no")

        def __call__(self) -> None:
            process.sleep(10.0)

    pid = Echo.start()
    GenServer.cast(pid, Nasty())
    clock.settle()
    assert "handles cast <Nasty whose repr failed: ValueError> in Echo.handle_cast" in dumped()


def test_a_dump_in_a_native_thread_shows_the_same(clock: ManualClock) -> None:
    Echo.start(name="idle")
    runtime = current_process().runtime
    out = io.StringIO()
    gevent.get_hub().threadpool.apply(debug.dump, (out, runtime))
    assert "Echo> idle" in block_of(out.getvalue(), "idle")


SIGNALLED = """
import os, signal, sys, time
import gevent
import gevent.event
import supervisor.debug as debug, supervisor.processes as process
from supervisor.gen_server import GenServer

class Spinner(GenServer):
    def handle_cast(self, request):
        print("spinning", flush=True)
        while not self.state:
            pass

state = []
def on_other_signal(signum, frame):
    state.append(1)
signal.signal(signal.SIGUSR1, on_other_signal)
debug.dump_on_signal()
pid = Spinner.start(state, name="the spinner")
process.spawn(print, "idle", flush=True)  # runs once this process waits
if sys.argv[1] == "idle":
    process.receive(timeout=600.0)
GenServer.cast(pid, "spin")
GenServer.stop(pid)
"""


@pytest.mark.parametrize("how", ["idle", "spinning"])
def test_a_signal_makes_a_node_dump_its_processes_also_while_a_handler_holds_the_loop(how: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", SIGNALLED, how],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stderr is not None
        while child.stdout.readline().strip() != how:
            assert child.poll() is None, child.stderr.read()
        child.send_signal(signal.SIGUSR2)
        wanted = "waits for a message" if how == "idle" else "handles cast 'spin' in Spinner.handle_cast"
        lines = [""]
        while not all(any(text in line for line in lines) for text in (wanted, "'the spinner' Spinner>")):
            lines.append(child.stderr.readline())
            assert lines[-1], "".join(lines)
        assert "=== node nonode@nohost" in lines[1]
        if how == "spinning":
            child.send_signal(signal.SIGUSR1)
            assert child.wait(HANGS) == 0
    finally:
        child.kill()
        child.communicate()


def test_the_former_handler_of_the_signal_can_be_put_back(clock: ManualClock) -> None:
    former = signal.getsignal(signal.SIGUSR2)
    out = io.StringIO()
    undo = debug.dump_on_signal(file=out)
    os.kill(os.getpid(), signal.SIGUSR2)
    clock.settle()
    assert "=== node" in out.getvalue()
    undo()
    assert signal.getsignal(signal.SIGUSR2) == former
