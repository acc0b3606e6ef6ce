"""debug: get_state, replace_state, suspend, resume, statistics, trace and dump; system messages go ahead of users'."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import pytest

import supervisor.debug as debug
import supervisor.processes as process
from supervisor.debugged import Debugged
from supervisor.errors import CallTimeout, NoProcess, ProcessExit, ReceiveTimeout
from supervisor.gen_server import TIMEOUT, Continue, From, GenServer, NoReply, Reply, Stop, run_inside
from supervisor.gen_statem import GenericTimeout, GenStatem, Keep, Next, Postpone, ReplyTo, StateTimeout
from supervisor.pids import NodeId, Pid
from supervisor.registries import Registry
from supervisor.runtime import current_process
from supervisor.supervisors import Supervisor
from supervisor.turns import BEHAVIOUR
from tests.supervisor.kit import Echo, ManualClock, in_background

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


def outcome_of(fn: Any) -> list[Any]:
    """What `in_background` will put into its list."""
    return in_background(fn)[1]


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


def test_get_status_shows_the_state_as_format_status_wants_it(clock: ManualClock) -> None:
    class Secretive(Echo):
        def format_status(self, reason: Any, state: Any) -> Any:
            return {**state, "reason": reason, "password": "***"}

    pid = Secretive.start_link({"user": "me", "password": "secret"}, name="secretive")
    debug.suspend(pid)
    process.send(pid, "waits")
    clock.settle()
    assert debug.get_status(pid) == {
        "pid": pid,
        "names": ["secretive"],
        "label": "Secretive",
        "parent": process.self(),
        "server": Secretive.__qualname__,
        "links": [process.self()],
        "trap_exit": False,
        "queue_length": 1,
        "suspended": True,
        "traced": False,
        "counted": False,
        "state": {"user": "me", "reason": None, "password": "***"},
    }
    assert debug.get_state(pid)["password"] == "secret"  # whoever asks for the state itself gets it, as in OTP


def test_get_status_of_a_state_machine_tells_what_is_before_it(clock: ManualClock) -> None:
    class Door(GenStatem):
        def init(self) -> Any:
            return Next("shut", {"code": 1234}, [GenericTimeout("lunch", 5.0), StateTimeout(9.0)])

        def shut(self, event_type: Any, content: Any, data: Any) -> Any:
            return Keep(Postpone())

        def format_status(self, reason: Any, state: Any) -> Any:
            name, data = state
            return name, {**data, "code": "***"}

    pid = Door.start()
    GenStatem.cast(pid, 1)
    GenStatem.cast(pid, 2)
    clock.settle()
    status = debug.get_status(pid)
    assert status["state"] == ("shut", {"code": "***"})
    assert (status["postponed"], status["timeouts"]) == (2, [("timeout", "lunch"), "state_timeout"])


def test_get_status_hides_the_state_when_format_status_fails(clock: ManualClock) -> None:
    class Broken(Echo):
        def format_status(self, reason: Any, state: Any) -> Any:
            raise KeyError("password")

    pid = Broken.start("secret")
    assert repr(debug.get_status(pid)["state"]) == "<format_status failed: KeyError>"
    assert debug.get_state(pid) == "secret"


# -- how a server is named -------------------------------------------------------------------------------------------


def test_debug_takes_a_via_name_and_the_name_with_its_own_node_as_call_does(clock: ManualClock) -> None:
    Registry.start_link("registry")
    pid = Echo.start(7, name=Registry.via("registry", "it"))
    process.register("plain", pid)
    for server in (pid, "plain", ("plain", pid.node), Registry.via("registry", "it")):
        seen: list[Any] = []
        assert debug.get_state(server) == 7
        assert debug.get_status(server)["pid"] == pid
        assert debug.replace_state(server, lambda state: state) == 7
        debug.statistics(server, "on")
        debug.trace(server, seen.append)
        assert GenServer.call(server, 1) == 1
        assert [event.kind for event in seen] == ["call", "reply"]
        counts = debug.statistics(server)
        assert counts is not None
        assert counts["messages_in"] == 1
        debug.suspend(server)
        debug.resume(server)
        debug.trace(server, False)
        debug.statistics(server, "off")
    for nobody in (("nobody", pid.node), Registry.via("registry", "nobody")):
        with pytest.raises(NoProcess):
            debug.get_state(nobody)


def test_debug_by_a_via_name_asks_the_successor_of_one_that_was_dead_already(clock: ManualClock) -> None:
    dead, alive = Echo.start("dead"), Echo.start("alive")
    GenServer.stop(dead)

    class Slow:
        """Knows late who is dead, as the registry of a cluster may."""

        def resolve(self, timeout: float | None = 0.0, gone: Pid | None = None) -> Pid:
            asked.append((timeout, gone))
            process.sleep(1.0)
            return alive if gone == dead else dead

    asked: list[Any] = []
    found = outcome_of(lambda: debug.get_state(Slow(), timeout=5.0))
    clock.advance(2.0)
    assert found == ["alive"]
    assert asked == [(5.0, None), (4.0, dead)]


def test_debug_by_a_via_name_has_one_timeout_for_finding_and_looking(clock: ManualClock) -> None:
    busy = Echo.start()
    GenServer.cast(busy, lambda: process.sleep(100.0))

    class Slow:
        def resolve(self, timeout: float | None = 0.0, gone: Pid | None = None) -> Pid:
            process.sleep(1.5)
            return busy

    outcome = outcome_of(lambda: debug.get_state(Slow(), timeout=2.0))
    clock.advance(1.9)
    assert outcome == []
    clock.advance(0.1)
    assert [type(error) for error in outcome] == [CallTimeout]


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
    outcome = outcome_of(lambda: debug.get_state(pid, timeout=2.0))
    clock.advance(2.0)
    assert [type(error) for error in outcome] == [CallTimeout]


# -- system messages go first ----------------------------------------------------------------------------------------


def test_system_messages_go_ahead_of_users_messages_in_their_own_order(clock: ManualClock) -> None:
    pid, events = notes()
    blocked = outcome_of(lambda: GenServer.call(pid, ("do", lambda: process.sleep(1.0)), None))
    clock.settle()
    GenServer.cast(pid, 1)
    for n in range(3):
        outcome_of(lambda n=n: run_inside(pid, lambda p: events.append(("system", n)), None))
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
    starter = outcome_of(lambda: Slow.start(events, name="slow"))
    clock.settle()
    seen = outcome_of(lambda: run_inside("slow", lambda p: events.append("system"), None))
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
    called = outcome_of(lambda: GenServer.call(pid, 3, None))
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
    outcome_of(lambda: GenServer.call(pid, ("do", lambda: process.sleep(1.0)), None))
    clock.settle()
    for n in range(600):  # more than one turn
        GenServer.cast(pid, n)
    suspended = outcome_of(lambda: debug.suspend(pid))
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
    outcome = outcome_of(lambda: GenServer.call(pid, 1, 2.0))
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
        outcome_of(step)
        clock.settle()
    clock.advance(1.0)
    assert events == ["system", ("cast", 1)]


def test_a_suspended_server_can_be_stopped_and_killed(clock: ManualClock) -> None:
    stopped, events = notes()
    killed, _ = notes()
    for pid in (stopped, killed):
        debug.suspend(pid)
        GenServer.cast(pid, 1)
    waiting = outcome_of(lambda: GenServer.call(killed, 1, None))
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
    outcome_of(lambda: debug.statistics(pid, "on"))
    clock.settle()
    outcome_of(lambda: GenServer.call(pid, ("do", lambda: process.sleep(1.0)), None))
    clock.settle()
    debug_off = outcome_of(lambda: debug.statistics(pid, "off"))
    debug_on = outcome_of(lambda: debug.statistics(pid, "on"))
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


def outgoing(events: list[debug.TraceEvent]) -> list[Any]:
    return [(event.kind, event.message, event.other) for event in events if event.direction == "out"]


class Delayed(Notes):
    """Answers a call later: when it gets the cast ("answer", value), or through whoever takes `from_` from its list."""

    def handle_call(self, request: Any, from_: From) -> Any:
        self.state.append(from_)
        return NoReply()

    def handle_cast(self, request: Any) -> None:
        GenServer.reply(self.state.pop(), request)


def test_replies_that_are_given_later_are_traced_whoever_gives_them(clock: ManualClock) -> None:
    askers: list[Any] = []
    seen: list[debug.TraceEvent] = []

    def ask() -> Any:
        askers.append(process.self())
        return GenServer.call(pid, "question", 5.0)

    pid = Delayed.start([])
    debug.trace(pid, seen.append)
    answers = [outcome_of(ask) for _ in range(3)]
    clock.settle()
    GenServer.cast(pid, "by itself")
    clock.settle()
    GenServer.reply(debug.get_state(pid).pop(), "by another process")
    clock.settle()
    assert answers == [[], ["by another process"], ["by itself"]]
    assert outgoing(seen) == [("reply", "by itself", askers[2]), ("reply", "by another process", askers[1])]
    debug.trace(pid, False)
    GenServer.reply(debug.get_state(pid).pop(), "after the trace")
    clock.settle()
    assert answers[0] == ["after the trace"]
    assert len(outgoing(seen)) == 2


def test_a_late_reply_that_reaches_nobody_is_not_traced_and_harms_nobody(clock: ManualClock) -> None:
    seen: list[debug.TraceEvent] = []
    pid = Delayed.start([])
    debug.trace(pid, seen.append)
    asked = outcome_of(lambda: GenServer.call(pid, "question", 1.0))
    clock.advance(1.0)
    assert [type(error) for error in asked] == [CallTimeout]
    GenServer.cast(pid, "too late")
    clock.settle()
    assert outgoing(seen) == []
    assert process.alive(pid)


def test_a_caller_of_a_traced_server_that_dies_learns_why(clock: ManualClock) -> None:
    pid = Delayed.start([])
    debug.trace(pid, lambda event: None)
    asked = outcome_of(lambda: GenServer.call(pid, "question", None))
    clock.settle()
    process.exit(pid, "enough")
    clock.settle()
    assert [error.reason for error in asked] == ["enough"]


def test_replies_of_a_state_machine_are_traced_however_it_gives_them(clock: ManualClock) -> None:
    class Machine(GenStatem):
        def init(self) -> Any:
            return "idle", None

        def idle(self, event_type: Any, content: Any, data: Any) -> Any:
            if event_type == "cast":
                return Keep(ReplyTo(data, content), data=None)
            return Keep(data=event_type[1]) if content == "later" else Keep(ReplyTo(event_type[1], content))

    seen: list[debug.TraceEvent] = []
    pid = Machine.start()
    debug.trace(pid, seen.append)
    assert GenStatem.call(pid, "now") == "now"
    answer = outcome_of(lambda: GenStatem.call(pid, "later"))
    clock.settle()
    GenStatem.cast(pid, "it is later")
    clock.settle()
    assert answer == ["it is later"]
    assert [event[:2] for event in outgoing(seen)] == [("reply", "now"), ("reply", "it is later")]


def test_what_a_traced_server_sends_casts_and_calls_is_traced(clock: ManualClock) -> None:
    Registry.start_link("registry")
    other, heard = notes(name=Registry.via("registry", "other"))
    process.register("other", other)
    answers: list[Any] = []

    def talk() -> str:
        process.send(other, 1)
        process.send("other", 2)
        process.send(Registry.via("registry", "other"), 3)
        GenServer.cast(other, 4)
        GenServer.cast(("other", other.node), 5)
        answers.append(GenServer.call(other, 6))
        answers.append(GenServer.call("other", 7))
        process.sleep(0.5)
        answers.append(GenServer.call(Registry.via("registry", "other"), 8))
        with pytest.raises(NoProcess):
            process.send("nobody", 9)
        return "done"

    seen: list[debug.TraceEvent] = []
    pid, _ = notes()
    assert GenServer.call(pid, ("do", lambda: process.send(other, 0))) is None
    debug.trace(pid, seen.append)
    debug.statistics(pid, "on")
    called = outcome_of(lambda: GenServer.call(pid, ("do", talk)))
    clock.advance(1.0)
    assert called == ["done"]
    assert answers == [6, 7, 8]
    sent = [("info", 1, other), ("info", 2, "other"), ("info", 3, other), ("cast", 4, other)]
    sent += [("cast", 5, ("other", other.node)), ("call", 6, other), ("call", 7, "other"), ("call", 8, other)]
    assert outgoing(seen)[:-1] == [*sent, ("info", 9, "nobody")]
    assert outgoing(seen)[-1][:2] == ("reply", "done")
    counts = debug.statistics(pid)
    assert counts is not None
    assert counts["messages_out"] == len(outgoing(seen))
    debug.trace(pid, False)
    debug.statistics(pid, "off")
    GenServer.call(pid, ("do", lambda: process.send(other, 10)))
    clock.settle()
    assert len(seen) == 11
    assert [message for _, message in heard] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10]


def test_a_traced_server_that_answers_the_call_of_another_one_shows_it(clock: ManualClock) -> None:
    asked = Delayed.start([])
    seen: list[debug.TraceEvent] = []
    helper, _ = notes()
    debug.trace(helper, seen.append)
    answer = outcome_of(lambda: GenServer.call(asked, "question"))
    clock.settle()
    from_ = debug.get_state(asked).pop()
    GenServer.call(helper, ("do", lambda: GenServer.reply(from_, "answer")))
    clock.settle()
    assert answer == ["answer"]
    assert outgoing(seen)[0] == ("reply", "answer", from_[0])


def test_a_trace_may_send_its_events_to_a_process_and_does_not_see_that(clock: ManualClock) -> None:
    viewer = process.self()
    pid, _ = notes()
    debug.trace(pid, lambda event: process.send(viewer, (event.direction, event.message)))
    GenServer.call(pid, "question")
    assert [process.receive(timeout=0) for _ in range(2)] == [("in", "question"), ("out", "question")]
    with pytest.raises(ReceiveTimeout):
        process.receive(timeout=0)


def test_what_terminate_sends_is_traced_too(clock: ManualClock) -> None:
    class Polite(Echo):
        def terminate(self, reason: Any) -> None:
            process.send(me, ("bye", reason))

    me = process.self()
    seen: list[debug.TraceEvent] = []
    pid = Polite.start()
    debug.trace(pid, seen.append)
    GenServer.cast(pid, lambda: 1 / 0)
    clock.settle()
    assert [event[::2] for event in outgoing(seen)] == [("info", me)]


def test_a_traced_server_is_shown_as_running_while_it_works(clock: ManualClock) -> None:
    out = io.StringIO()
    pid, _ = notes(name="worker")
    debug.trace(pid, lambda event: None)
    outcome_of(lambda: GenServer.call(pid, ("do", lambda: process.sleep(1.0)), None))
    clock.settle()
    assert process.info(pid, "status") == "running"
    debug.dump(out)
    assert "'worker' Notes> running\n    handles call ('do'" in out.getvalue()
    clock.advance(1.0)
    assert process.info(pid, "status") == "idle"


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
    outcome_of(lambda: GenServer.call(pid, ("do", lambda: process.sleep(1.0)), None))
    clock.settle()
    for n in range(300):
        GenServer.cast(pid, n)
    seen: list[Any] = []
    outcome_of(lambda: debug.trace(pid, seen.append))
    late = outcome_of(lambda: GenServer.call(pid, "late", None))
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
