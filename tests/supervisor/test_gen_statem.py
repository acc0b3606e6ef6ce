from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import supervisor.debug as debug
import supervisor.processes as process
from supervisor.errors import Exit, NoProcess, ProcessExit, StartError
from supervisor.gen_server import Continue, NoReply, Reply, run_inside
from supervisor.gen_statem import (
    CancelTimeout,
    EventTimeout,
    EventType,
    GenericTimeout,
    GenStatem,
    Ignore,
    Keep,
    Next,
    NextEvent,
    Postpone,
    Repeat,
    ReplyTo,
    StateTimeout,
    Stop,
    StopAndReply,
    UpdateTimeout,
)
from supervisor.pids import Pid
from supervisor.reasons import Crash, Shutdown
from supervisor.runtime import Runtime, current_process
from supervisor.signals import Down
from supervisor.supervisors import Supervisor
from tests.supervisor.kit import ManualClock, info, run_as_process

TIMEOUTS = ("timeout", "state_timeout", ("timeout", "a"))


@dataclass
class Do:
    """An event that says itself what its handler returns: `result`, or what `result(machine, event_type)` returns."""

    name: str
    result: Any = field(default_factory=Keep)

    def __repr__(self) -> str:
        return self.name


class Script(GenStatem):
    """Begins as told and then does what each event says; notes what happens in `log`, as "type content in state"."""

    callback_mode = "handle_event"

    def init(self, beginning: Any, log: list[str]) -> Any:
        self.log = log
        return beginning(self) if callable(beginning) else beginning

    def handle_event(self, event_type: Any, content: Any, state: Any, data: Any) -> Any:
        kind = event_type[0] if isinstance(event_type, tuple) else event_type
        self.log.append(f"{kind} {content} in {state}")
        result = content.result if isinstance(content, Do) else Keep()
        return result(self, event_type) if callable(result) else result

    def terminate(self, reason: Any) -> None:
        self.log.append(f"terminate {reason} with {self.state}")


class EnterScript(Script):
    """With enter calls, which do what `data[state]` says."""

    state_enter = True

    def handle_event(self, event_type: Any, content: Any, state: Any, data: Any) -> Any:
        if event_type != "enter":
            return super().handle_event(event_type, content, state, data)
        self.log.append(f"enter from {content} in {state}")
        result = data.get(state, Keep())
        return result(self, event_type) if callable(result) else result


IN_ONE = Next("one", {})


def script(beginning: Any = IN_ONE, cls: type[Script] = Script) -> tuple[Pid, list[str]]:
    log: list[str] = []
    return cls.start(beginning, log), log


def state_of(pid: Any) -> Any:
    """The pair (state, data) once all that is ready has run."""
    clock = current_process().runtime.clock
    assert isinstance(clock, ManualClock)
    clock.settle()
    return run_inside(pid, lambda p: p.server.state, 1)


def go(state: Any, *actions: Any) -> Any:
    """A result that goes to `state` and keeps the data."""
    return lambda machine, _: Next(state, machine.state[1], actions)


def answer(value: Any, *more: Any) -> Callable[[Any, Any], Any]:
    """A result that replies to the call at hand."""
    return lambda _, event_type: Keep([ReplyTo(event_type[1], value), *more])


def end_of(pid: Pid, event: Any) -> Any:
    """The reason for which the machine ends when it gets the event."""
    process.monitor(pid)
    GenStatem.cast(pid, event)
    down = process.receive(timeout=1)
    assert isinstance(down, Down)
    return down.reason


# -- the code lock of OTP's documentation ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Code:
    code: list[int]
    buttons: list[int]

    def press(self, button: int) -> Code:
        return Code(self.code, [*self.buttons, button][-len(self.code) :])

    def clear(self) -> Code:
        return Code(self.code, [])


class CodeLock(GenStatem):
    """Buttons are casts; the right ones open it for 10 seconds, and 30 without any forget those before."""

    state_enter = True

    def init(self, code: list[int], seen: list[str]) -> Next:
        self.seen = seen
        return Next("locked", Code(code, []))

    def locked(self, event_type: EventType, content: Any, data: Code) -> Any:
        match event_type:
            case "enter":
                self.seen.append("lock")
                return Keep(data=data.clear())
            case "timeout":
                return Keep(data=data.clear())
            case "cast":
                data = data.press(content)
                return Next("open", data) if data.buttons == data.code else Keep(EventTimeout(30.0), data=data)
        return self.anywhere(event_type, content, data)

    def open(self, event_type: EventType, content: Any, data: Code) -> Any:
        match event_type:
            case "enter":
                self.seen.append("unlock")
                return Keep(StateTimeout(10.0))
            case "state_timeout":
                return Next("locked", data)
            case "cast":
                return Keep(Postpone())
        return self.anywhere(event_type, content, data)

    def anywhere(self, event_type: EventType, content: Any, data: Code) -> Any:
        assert isinstance(event_type, tuple)
        assert event_type[0] == "call"
        return Keep(ReplyTo(event_type[1], len(data.code)))


class CodeLockInOneFunction(GenStatem):
    callback_mode = "handle_event"
    state_enter = True

    def init(self, code: list[int], seen: list[str]) -> Next:
        self.seen = seen
        return Next("locked", Code(code, []))

    def handle_event(self, event_type: EventType, content: Any, state: Any, data: Code) -> Any:
        match event_type, state:
            case "enter", "locked":
                self.seen.append("lock")
                return Keep(data=data.clear())
            case "timeout", "locked":
                return Keep(data=data.clear())
            case "cast", "locked":
                data = data.press(content)
                return Next("open", data) if data.buttons == data.code else Keep(EventTimeout(30.0), data=data)
            case "enter", "open":
                self.seen.append("unlock")
                return Keep(StateTimeout(10.0))
            case "state_timeout", "open":
                return Next("locked", data)
            case "cast", "open":
                return Keep(Postpone())
            case ("call", from_), _:
                return Keep(ReplyTo(from_, len(data.code)))
        raise ValueError(event_type)


@pytest.mark.parametrize("lock", [CodeLock, CodeLockInOneFunction])
def test_the_code_lock_opens_locks_itself_and_takes_early_buttons_later(
    clock: ManualClock, lock: type[GenStatem]
) -> None:
    seen: list[str] = []
    pid = lock.start_link([1, 2, 3], seen)
    for button in (9, 1, 2, 3):
        GenStatem.cast(pid, button)
    assert GenStatem.call(pid, "code_length") == 3
    assert (seen, state_of(pid)) == (["lock", "unlock"], ("open", Code([1, 2, 3], [1, 2, 3])))
    for button in (1, 2):
        GenStatem.cast(pid, button)  # while it is open
    clock.advance(9.9)
    assert seen == ["lock", "unlock"]
    clock.advance(0.2)
    assert (seen[2:], state_of(pid)) == (["lock"], ("locked", Code([1, 2, 3], [1, 2])))
    GenStatem.cast(pid, 3)
    assert GenStatem.call(pid, "code_length") == 3
    assert state_of(pid)[0] == "open"


@pytest.mark.parametrize("lock", [CodeLock, CodeLockInOneFunction])
def test_the_code_lock_forgets_buttons_after_a_pause(clock: ManualClock, lock: type[GenStatem]) -> None:
    pid = lock.start_link([1, 2], [])
    GenStatem.cast(pid, 1)
    clock.advance(29.0)
    GenStatem.cast(pid, 1)
    clock.advance(29.0)
    assert state_of(pid)[1].buttons == [1, 1]
    clock.advance(1.1)
    assert state_of(pid)[1].buttons == []


# -- start -----------------------------------------------------------------------------------------------------------


def test_the_state_and_the_data_are_there_when_start_returns(clock: ManualClock) -> None:
    for beginning in (Next("one", 1), ("one", 1)):
        pid, log = script(beginning)
        assert (state_of(pid), log) == (("one", 1), [])


def test_actions_of_init_come_before_messages_that_wait_already(clock: ManualClock) -> None:
    def beginning(_: Any) -> Next:
        process.send(process.self(), "early")
        return Next("one", 0, [NextEvent("internal", "first"), NextEvent("cast", "second"), StateTimeout(0, "third")])

    _, log = script(beginning)
    clock.settle()
    assert log == ["internal first in one", "cast second in one", "state_timeout third in one", "info early in one"]


def test_the_first_enter_call_has_its_own_state_as_the_former_one_and_fails_no_start(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("no entry")

    pid, log = script(Next("one", {}, NextEvent("internal", "first")), EnterScript)
    clock.settle()
    assert log == ["enter from one in one", "internal first in one"]
    pid, log = script(Next("one", {"one": broken}), EnterScript)
    assert not process.alive(pid)  # as in OTP its start had succeeded before
    assert "no entry" in caplog.text


@pytest.mark.parametrize(
    ("beginning", "reason"),
    [
        (None, r"returned None; expected Next\(state, data, actions\), \(state, data\), Ignore\(\) or Stop"),
        (Keep(), r"returned Keep\(.*expected Next"),
        (Continue("x"), r"returned Continue\(.*expected Next"),
        (
            Next("one", 0, Postpone()),
            r"init returned the action Postpone\(.*expected .*ReplyTo\(from_, value\), NextEv",
        ),
        (Next("one", 0, "hello"), "the action 'hello'"),  # type: ignore[arg-type]
        (Stop("not today"), "not today"),
    ],
)
def test_a_failed_init_raises_and_says_what_is_accepted(clock: ManualClock, beginning: Any, reason: str) -> None:
    with pytest.raises(StartError, match=reason):
        script(beginning)


def test_init_may_ignore_the_start(clock: ManualClock) -> None:
    assert script(Ignore())[0] is None


def test_a_machine_without_init_says_so(clock: ManualClock) -> None:
    with pytest.raises(StartError, match="Bare has no init"):
        type("Bare", (GenStatem,), {}).start()  # type: ignore[attr-defined]


def test_an_unknown_callback_mode_is_refused_with_the_class() -> None:
    with pytest.raises(TypeError, match=r"'state_function'; expected one of \('state_functions', 'handle_event'\)"):
        type("Wrong", (GenStatem,), {"callback_mode": "state_function"})


# -- events ----------------------------------------------------------------------------------------------------------


def test_casts_calls_and_messages_come_with_their_type(clock: ManualClock) -> None:
    pid, log = script()
    GenStatem.cast(pid, "a")
    process.send(pid, "b")
    assert GenStatem.call(pid, Do("c", answer(7))) == 7
    assert log == ["cast a in one", "info b in one", "call c in one"]


def test_a_process_that_traps_exits_gets_the_exit_of_a_link_as_info_and_ends_with_its_parent(
    clock: ManualClock,
) -> None:
    def trapping(_: Any) -> Any:
        process.trap_exit(True)
        return ("one", 0)

    def parent_body() -> None:
        Script.start_link(trapping, log, name="machine")
        process.receive()

    def other_body(pid: Pid) -> None:
        process.link(pid)
        raise Exit("boom")

    log: list[str] = []
    parent = process.spawn(parent_body)
    clock.settle()
    pid = process.whereis("machine")
    assert pid is not None
    other = process.spawn(other_body, pid)
    clock.settle()
    assert log == [f"info ExitSignal(pid={other!r}, reason='boom') in one"]
    process.exit(parent, "enough")
    clock.settle()
    assert log[1:] == ["terminate enough with ('one', 0)"]
    assert not process.alive(pid)


def test_a_state_of_any_kind_is_fine_where_one_function_handles_all(clock: ManualClock) -> None:
    pid, log = script(Next(("idle", 1), {}))
    GenStatem.cast(pid, Do("a", go(("idle", 1))))
    GenStatem.cast(pid, Do("b", go(frozenset({1}))))
    clock.settle()
    assert log == ["cast a in ('idle', 1)", "cast b in ('idle', 1)"]
    assert state_of(pid) == (frozenset({1}), {})


def test_debug_shows_the_pair_and_replaces_it_without_an_enter_call(clock: ManualClock) -> None:
    pid, log = script(cls=EnterScript)
    clock.settle()
    assert debug.get_state(pid) == ("one", {})
    assert debug.replace_state(pid, lambda pair: ("two", pair[1])) == ("two", {})
    GenStatem.cast(pid, "a")
    clock.settle()
    assert log == ["enter from one in one", "cast a in two"]


# -- results ---------------------------------------------------------------------------------------------------------


def test_keep_keeps_the_data_unless_it_brings_new_ones(clock: ManualClock) -> None:
    pid, _ = script(Next("one", 1))
    assert GenStatem.call(pid, Do("a", answer(0))) == 0
    assert state_of(pid) == ("one", 1)
    for result in (Keep(data=None), Keep((), data=None), Repeat(data=None), Next("one", None)):
        GenStatem.cast(pid, Do("a", result))
        assert state_of(pid) == ("one", None)
        GenStatem.cast(pid, Do("b", Keep(data=1)))
        assert state_of(pid) == ("one", 1)


def test_stop_ends_it_after_terminate(clock: ManualClock) -> None:
    pid, log = script(Next("one", 1))
    assert end_of(pid, Do("a", Stop("enough"))) == "enough"
    assert log == ["cast a in one", "terminate enough with ('one', 1)"]


def test_stop_in_a_call_fails_the_call_with_its_reason(clock: ManualClock) -> None:
    pid, _ = script()
    with pytest.raises(ProcessExit) as failed:
        GenStatem.call(pid, Do("a", Stop(Shutdown("moved"))))
    assert failed.value.reason == Shutdown("moved")


def test_stop_and_reply_answers_all_and_ends_with_the_new_data(clock: ManualClock) -> None:
    pid, log = script(Next("one", []))
    got: list[Any] = []
    waiting = Do("wait", lambda machine, event_type: Keep(data=[*machine.state[1], event_type[1]]))
    for number in range(2):
        process.spawn(lambda number=number: got.append((number, GenStatem.call(pid, waiting))))
    clock.settle()
    assert (len(state_of(pid)[1]), got) == (2, [])

    def end(machine: Any, event_type: Any) -> StopAndReply:
        others = [ReplyTo(from_, "bye") for from_ in machine.state[1]]
        return StopAndReply("shutdown", [*others, ReplyTo(event_type[1], "last")], data="gone")

    assert GenStatem.call(pid, Do("end", end)) == "last"
    clock.settle()
    assert got == [(0, "bye"), (1, "bye")]
    assert log[-1] == "terminate shutdown with ('one', 'gone')"
    assert not process.alive(pid)


def test_a_single_reply_is_enough_for_stop_and_reply(clock: ManualClock) -> None:
    pid, _ = script()
    end = Do("end", lambda _, event_type: StopAndReply("normal", ReplyTo(event_type[1], "bye")))
    assert GenStatem.call(pid, end) == "bye"


def test_an_exception_is_a_crash_and_terminate_finds_the_state_of_before(clock: ManualClock) -> None:
    pid, log = script(Next("one", 1))
    reason = end_of(pid, Do("a", lambda *_: 1 / 0))
    assert isinstance(reason, Crash)
    assert reason.type == "ZeroDivisionError"
    assert log[-1].endswith("with ('one', 1)")


def test_the_crash_report_shows_the_event_the_state_and_the_data(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    pid, _ = script(Next("one", "some data"))
    end_of(pid, Do("a", Keep(NextEvent("internal", Do("the inner one", lambda *_: 1 / 0)))))
    assert "('internal', the inner one)" in caplog.text
    assert "('one', 'some data')" in caplog.text


def test_a_machine_decides_by_format_status_what_is_shown_of_its_state_and_data(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Secretive(Script):
        def format_status(self, reason: Any, state: tuple[Any, Any]) -> Any:
            name, data = state
            return name, {**data, "password": "***"}, reason if reason is None else reason.type

    pid = Secretive.start(Next("one", {"user": "me", "password": "secret"}), [])
    assert debug.get_status(pid)["state"] == ("one", {"user": "me", "password": "***"}, None)
    end_of(pid, Do("a", lambda *_: 1 / 0))
    assert "state: ('one', {'user': 'me', 'password': '***'}, 'ZeroDivisionError')" in caplog.text
    assert "secret" not in caplog.text


# -- misuse ----------------------------------------------------------------------------------------------------------

FORMS = (
    "expected Next(state, data, actions), Keep(actions, data=), Repeat(actions, data=), Stop(reason) or StopAndReply"
)


@pytest.mark.parametrize(
    ("result", "complaint"),
    [
        (None, f"a state function in state 'one' returned None; {FORMS}"),
        ("nonsense", f"returned 'nonsense'; {FORMS}"),
        (NoReply(), f"returned NoReply(timeout=None, continue_=None); {FORMS}"),
        (Stop("x", reply=1), "to reply, return StopAndReply(reason, replies)"),
        (StopAndReply("x", [Postpone()]), "its replies must be ReplyTo(from_, value)"),  # type: ignore[list-item]
        (Keep("hello"), "the action 'hello'; expected one or a list of ReplyTo(from_, value), Postpone(), NextEvent("),  # type: ignore[arg-type]
        (Keep(None), "the action None"),  # type: ignore[arg-type]
        (Keep(Reply("x")), "the action Reply("),  # type: ignore[arg-type]
        (Keep([Postpone, Postpone()]), "the action <class"),  # type: ignore[list-item]
        (Keep(Postpone("yes")), "the flag must be True or False"),  # type: ignore[arg-type]
        (Keep(ReplyTo("me", 1)), "from_ must be that of a call: (Pid, Ref)"),  # type: ignore[arg-type]
        (Keep(NextEvent("enter", 1)), 'the type must be "internal", "cast", ("call", from_), "info"'),
        (Keep(NextEvent(("call", 1), 1)), 'the type must be "internal"'),  # type: ignore[arg-type]
        (Keep(StateTimeout(-1)), "bad action StateTimeout(seconds=-1"),
        (Keep(StateTimeout("soon")), "seconds must be a number >= 0 or None"),  # type: ignore[arg-type]
        (Keep(EventTimeout(True)), "seconds must be a number >= 0 or None"),
        (Keep(GenericTimeout("x", float("nan"))), "seconds must be a number >= 0 or None"),
        (Keep(StateTimeout(float("inf"))), "seconds must be a number >= 0 or None"),
        (Keep(GenericTimeout(([],), 1.0)), "with a hashable name"),
        (Keep(CancelTimeout("x")), '"timeout", "state_timeout" or ("timeout", name)'),  # type: ignore[arg-type]
        (Keep(UpdateTimeout(("state_timeout", 1))), '"timeout", "state_timeout" or'),  # type: ignore[arg-type]
    ],
)
def test_misuse_is_a_bad_return_that_shows_what_is_accepted(clock: ManualClock, result: Any, complaint: str) -> None:
    pid, log = script(Next("one", 1))
    reason = end_of(pid, Do("a", result))
    assert reason.type == "BadReturn"
    assert complaint in reason.message
    assert log[-1].endswith("with ('one', 1)")


class Named(GenStatem):
    not_a_method = 1

    def init(self, first: Any) -> Next:
        return Next(first, 0)

    def one(self, event_type: Any, content: Any, data: Any) -> Next:
        return Next(content, data)


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        (
            "nowhere",
            "Named goes to state 'nowhere'; with callback_mode \"state_functions\" a state must be the name of",
        ),
        ("not_a_method", "must be the name of one of its methods"),
        (7, "must be a str"),
        ("terminate", "must not be a name of GenStatem itself"),
        ("call", "must not be a name of GenStatem itself"),
    ],
)
def test_a_state_without_its_method_is_a_bad_return_of_who_goes_there(
    clock: ManualClock, state: Any, complaint: str
) -> None:
    with pytest.raises(StartError) as failed:
        Named.start(state)
    assert complaint in str(failed.value)
    reason = end_of(Named.start("one"), state)
    assert reason.type == "BadReturn"
    assert complaint in reason.message


def test_an_event_that_nobody_handles_says_so(clock: ManualClock) -> None:
    class Empty(GenStatem):
        callback_mode = "handle_event"

        def init(self) -> Next:
            return Next("one", 0)

    assert "Empty got 'cast' but has no handle_event" in end_of(Empty.start(), "a").message


# -- replies ---------------------------------------------------------------------------------------------------------


def test_a_call_may_be_answered_in_a_later_state(clock: ManualClock) -> None:
    pid, _ = script()
    got: list[Any] = []
    ask = Do("ask", lambda _, event_type: Next("two", event_type[1]))
    process.spawn(lambda: got.append(GenStatem.call(pid, ask)))
    clock.settle()
    assert got == []
    GenStatem.cast(pid, Do("b", lambda machine, _: Keep(ReplyTo(machine.state[1], "at last"))))
    clock.settle()
    assert got == ["at last"]


def test_a_call_may_be_answered_by_another_process(clock: ManualClock) -> None:
    pid, _ = script()

    def ask(_: Any, event_type: Any) -> Keep:
        process.spawn(GenStatem.reply, event_type[1], "from outside")
        return Keep()

    assert GenStatem.call(pid, Do("ask", ask)) == "from outside"


@pytest.mark.parametrize("value", [None, Reply(1), NoReply(), Stop("x"), Keep(), ("a", 1)])
def test_every_value_can_be_a_reply(clock: ManualClock, value: Any) -> None:
    pid, _ = script()
    for more in ((), (NextEvent("internal", "b"),)):
        assert GenStatem.call(pid, Do("ask", answer(value, *more))) == value
    assert process.alive(pid)


def test_a_second_reply_is_dropped(clock: ManualClock) -> None:
    def twice(_: Any, event_type: Any) -> Keep:
        caller, ref = event_type[1]
        return Keep([ReplyTo(event_type[1], 1), ReplyTo((caller, ref), 2)])

    pid, _ = script()
    assert GenStatem.call(pid, Do("ask", twice)) == 1
    assert GenStatem.call(pid, Do("ask", answer(3))) == 3


def test_a_reply_goes_out_before_an_enter_call_that_takes_long(clock: ManualClock) -> None:
    def slow(machine: Any, _: Any) -> Keep:
        process.sleep(100.0)
        machine.log.append("entered")
        return Keep()

    pid, log = script(Next("one", {"two": slow}), EnterScript)
    ask = Do("ask", lambda machine, event_type: Next("two", machine.state[1], ReplyTo(event_type[1], "moving")))
    assert GenStatem.call(pid, ask, timeout=5.0) == "moving"
    assert "entered" not in log
    clock.advance(100.0)
    assert log[-1] == "entered"


def test_a_reply_comes_before_the_events_that_were_inserted_with_it(clock: ManualClock) -> None:
    def slow(*_: Any) -> Keep:
        process.sleep(10.0)
        return Keep()

    pid, log = script()
    insert = NextEvent("internal", Do("slow", slow))
    assert GenStatem.call(pid, Do("ask", answer(1, insert)), timeout=5.0) == 1
    clock.advance(10.0)
    assert log == ["call ask in one", "internal slow in one"]


# -- postponing ------------------------------------------------------------------------------------------------------


def test_postponed_events_are_retried_in_their_order_before_later_ones(clock: ManualClock) -> None:
    pid, log = script()

    def only_in_two(machine: Any, _: Any) -> Any:
        return Keep() if machine.state[0] == "two" else Keep(Postpone())

    for name in "ab":
        GenStatem.cast(pid, Do(name, only_in_two))
    GenStatem.cast(pid, Do("move", go("two")))
    GenStatem.cast(pid, "later")
    clock.settle()
    kept = ["cast a in one", "cast b in one"]
    assert log == [*kept, "cast move in one", "cast a in two", "cast b in two", "cast later in two"]


def test_postponed_events_stay_while_the_state_does(clock: ManualClock) -> None:
    pid, log = script()
    GenStatem.cast(pid, Do("a", lambda machine, _: Keep(Postpone())))
    for result in (Keep(data=1), Next("one", 2), Repeat()):
        GenStatem.cast(pid, Do("b", result))
    clock.settle()
    assert log == ["cast a in one", *["cast b in one"] * 3]


def test_an_event_that_is_postponed_while_it_changes_the_state_comes_again_at_once(clock: ManualClock) -> None:
    pid, log = script()

    def twice(machine: Any, _: Any) -> Any:
        return Next("two", 0, Postpone()) if machine.state[0] == "one" else Keep()

    GenStatem.cast(pid, Do("a", twice))
    GenStatem.cast(pid, "b")
    clock.settle()
    assert log == ["cast a in one", "cast a in two", "cast b in two"]


def test_the_last_word_on_postponing_counts(clock: ManualClock) -> None:
    pid, log = script()
    GenStatem.cast(pid, Do("a", Keep([Postpone(), Postpone(False)])))
    GenStatem.cast(pid, Do("move", go("two")))
    clock.settle()
    assert log == ["cast a in one", "cast move in one"]


def test_a_postponed_call_is_answered_when_its_state_has_come(clock: ManualClock) -> None:
    pid, _ = script()
    got: list[Any] = []

    def ask(machine: Any, event_type: Any) -> Any:
        return Keep(Postpone() if machine.state[0] == "one" else ReplyTo(event_type[1], "now"))

    process.spawn(lambda: got.append(GenStatem.call(pid, Do("ask", ask))))
    clock.settle()
    assert got == []
    GenStatem.cast(pid, Do("move", go("two")))
    clock.settle()
    assert got == ["now"]


# -- inserted events -------------------------------------------------------------------------------------------------


def test_inserted_events_come_in_their_order_before_all_that_waits(clock: ManualClock) -> None:
    pid, log = script()
    GenStatem.cast(pid, Do("p", lambda machine, _: Keep([Postpone()] if machine.state[0] == "one" else [])))
    nested = Do("x", Keep(NextEvent("internal", "y")))
    GenStatem.cast(pid, Do("a", go("two", NextEvent("internal", nested), NextEvent("info", "z"))))
    GenStatem.cast(pid, "waiting")
    clock.settle()
    expected = ["internal x", "internal y", "info z", "cast p", "cast waiting"]
    assert log == ["cast p in one", "cast a in one", *(f"{event} in two" for event in expected)]


def test_every_type_of_event_can_be_inserted(clock: ManualClock) -> None:
    pid, log = script()
    types: list[Any] = ["internal", "cast", "info", *TIMEOUTS]
    GenStatem.cast(pid, Do("a", Keep([NextEvent(kind, number) for number, kind in enumerate(types)])))
    clock.settle()
    kinds = ["internal", "cast", "info", "timeout", "state_timeout", "timeout"]
    assert log[1:] == [f"{kind} {number} in one" for number, kind in enumerate(kinds)]


def test_a_call_can_be_inserted_for_a_caller_that_waits(clock: ManualClock) -> None:
    pid, log = script()
    again = Do("again", answer("done"))
    ask = Do("ask", lambda _, event_type: Keep(NextEvent(event_type, again)))
    assert GenStatem.call(pid, ask) == "done"
    assert log == ["call ask in one", "call again in one"]


def test_a_chain_of_inserted_events_lets_others_run_and_a_stop_waits_for_its_end(clock: ManualClock) -> None:
    pid, log = script(Next("one", 0))

    def count(machine: Any, _: Any) -> Any:
        done = machine.state[1] + 1
        return Keep([NextEvent("internal", Do("n", count))] if done < 10_000 else [], data=done)

    seen: list[int] = []
    GenStatem.cast(pid, Do("n", count))
    process.spawn(lambda: seen.append(len(log)))
    process.spawn(GenStatem.stop, pid)
    clock.settle()
    assert 0 < seen[0] < 10_000
    assert log[-1] == "terminate normal with ('one', 10000)"


# -- timeouts --------------------------------------------------------------------------------------------------------


def timed(which: Any, seconds: float | None, content: Any = "t", absolute: bool = False) -> Any:
    if which == "timeout":
        return EventTimeout(seconds, content, absolute)
    if which == "state_timeout":
        return StateTimeout(seconds, content, absolute)
    return GenericTimeout(which[1], seconds, content, absolute)


@pytest.mark.parametrize("which", TIMEOUTS)
def test_a_timeout_comes_once_when_its_time_has_come(clock: ManualClock, which: Any) -> None:
    pid, log = script()
    GenStatem.cast(pid, Do("a", lambda *_: Keep(timed(which, 2.0))))
    clock.advance(1.9)
    assert len(log) == 1
    clock.advance(0.2)
    kind = which[0] if isinstance(which, tuple) else which
    assert log[1:] == [f"{kind} t in one"]
    clock.advance(10.0)
    assert len(log) == 2
    assert clock.pending() == 0


def test_a_generic_timeout_comes_with_its_name(clock: ManualClock) -> None:
    seen: list[Any] = []

    def note(_: Any, event_type: Any) -> Keep:
        seen.append(event_type)
        return Keep()

    script(Next("one", 0, GenericTimeout("x", 1.0, Do("a", note))))
    clock.advance(1.0)
    assert seen == [("timeout", "x")]


@pytest.mark.parametrize(
    ("which", "by_event", "by_change"),
    [("timeout", True, True), ("state_timeout", False, True), (("timeout", "a"), False, False)],
)
def test_what_cancels_a_timeout(clock: ManualClock, which: Any, by_event: bool, by_change: bool) -> None:
    for event, cancelled in ((Keep(), by_event), (go("two"), by_change)):
        pid, log = script(Next("one", {}, timed(which, 2.0)))
        clock.advance(1.0)
        GenStatem.cast(pid, Do("a", event))
        clock.advance(5.0)
        assert (len(log) == 1) == cancelled
    assert clock.pending() == 0


def test_a_state_timeout_of_the_event_that_changes_the_state_belongs_to_the_new_one(clock: ManualClock) -> None:
    pid, log = script(Next("one", {}, StateTimeout(1.0, "old")))
    GenStatem.cast(pid, Do("a", go("two", StateTimeout(3.0, "new"))))
    clock.advance(2.9)
    assert log == ["cast a in one"]
    clock.advance(0.2)
    assert log[1:] == ["state_timeout new in two"]


@pytest.mark.parametrize("which", [which for which in TIMEOUTS if which != "timeout"])
def test_a_timeout_that_runs_starts_anew(clock: ManualClock, which: Any) -> None:
    pid, log = script(Next("one", {}, timed(which, 2.0, "old")))
    clock.advance(1.0)
    GenStatem.cast(pid, Do("a", Keep(timed(which, 2.0, "new"))))
    clock.advance(1.9)
    assert len(log) == 1
    clock.advance(0.1)
    assert len(log) == 2
    assert "new" in log[1]
    assert clock.pending() == 0


@pytest.mark.parametrize("which", TIMEOUTS)
@pytest.mark.parametrize("way", ["cancel", "none"])
def test_a_timeout_can_be_cancelled(clock: ManualClock, which: Any, way: str) -> None:
    cancel = CancelTimeout(which) if way == "cancel" else timed(which, None)
    pid, log = script(Next("one", {}, [timed(which, 2.0)]))
    GenStatem.cast(pid, Do("a", Keep(cancel)))
    GenStatem.cast(pid, Do("b", Keep([timed(which, 2.0), timed(which, 0), cancel])))
    clock.settle()
    assert clock.pending() == 0
    clock.advance(5.0)
    assert log == ["cast a in one", "cast b in one"]


def test_generic_timeouts_of_different_names_are_independent(clock: ManualClock) -> None:
    pid, log = script(Next("one", {}, [GenericTimeout(name, 1.0 + name, name) for name in range(3)]))
    GenStatem.cast(pid, Do("a", Keep(CancelTimeout(("timeout", 1)))))
    clock.advance(5.0)
    assert log == ["cast a in one", "timeout 0 in one", "timeout 2 in one"]


@pytest.mark.parametrize("which", ["state_timeout", ("timeout", "a")])
def test_an_update_changes_what_a_timeout_brings_and_not_when(clock: ManualClock, which: Any) -> None:
    pid, log = script(Next("one", {}, timed(which, 2.0, "old")))
    clock.advance(1.0)
    GenStatem.cast(pid, Do("a", Keep(UpdateTimeout(which, "new"))))
    clock.advance(0.9)
    assert len(log) == 1
    clock.advance(0.2)
    assert [line.split()[1] for line in log] == ["a", "new"]


def test_an_update_of_a_timeout_that_does_not_run_is_one_of_zero_seconds(clock: ManualClock) -> None:
    pid, log = script()
    GenStatem.cast(pid, Do("a", Keep([UpdateTimeout("state_timeout", "s"), UpdateTimeout(("timeout", 1), "g")])))
    GenStatem.cast(pid, "b")
    clock.settle()
    assert log == ["cast a in one", "state_timeout s in one", "timeout g in one", "cast b in one"]


def test_an_update_of_a_timeout_that_is_in_the_mailbox_changes_what_it_brings(clock: ManualClock) -> None:
    pid, log = script(Next("one", {}, StateTimeout(1.0, "old")))
    clock.settle()
    GenStatem.cast(pid, Do("a", Keep(UpdateTimeout("state_timeout", "new"))))
    clock.time += 1.0
    clock._fire_due()
    clock.settle()
    assert log == ["cast a in one", "state_timeout new in one"]


@pytest.mark.parametrize("which", TIMEOUTS)
def test_a_timeout_that_is_cancelled_when_it_is_in_the_mailbox_does_not_come(clock: ManualClock, which: Any) -> None:
    pid, log = script(Next("one", {}, timed(which, 1.0)))
    clock.settle()
    GenStatem.cast(pid, Do("a", Keep(CancelTimeout(which))))
    clock.time += 1.0
    clock._fire_due()
    assert info(pid)["queue_length"] == 2
    clock.settle()
    assert log == ["cast a in one"]


def test_a_late_timeout_is_no_event_and_cancels_nothing(clock: ManualClock) -> None:
    pid, log = script(Next("one", {}, GenericTimeout("a", 1.0)))
    clock.settle()
    GenStatem.cast(pid, Do("a", Keep([CancelTimeout(("timeout", "a")), EventTimeout(1.0, "quiet")])))
    clock.time += 1.0
    clock._fire_due()
    clock.advance(1.0)
    assert log == ["cast a in one", "timeout quiet in one"]


def test_zero_seconds_come_after_inserted_and_retried_events_and_before_the_mailbox(clock: ManualClock) -> None:
    pid, log = script()
    GenStatem.cast(pid, Do("p", lambda machine, _: Keep([Postpone()] if machine.state[0] == "one" else [])))
    zero = [GenericTimeout("a", 0, "g"), StateTimeout(0, "s")]
    GenStatem.cast(pid, Do("a", go("two", *zero, NextEvent("internal", "i"))))
    GenStatem.cast(pid, "waiting")
    clock.settle()
    order = ["internal i", "cast p", "timeout g", "state_timeout s", "cast waiting"]
    assert log[2:] == [f"{event} in two" for event in order]
    assert clock.pending() == 0


def test_an_event_timeout_of_zero_seconds_comes_only_if_no_event_waits_in_the_machine(clock: ManualClock) -> None:
    for more, comes in (((), True), ((NextEvent("internal", "x"),), False), ((StateTimeout(0, "s"),), False)):
        pid, log = script()
        GenStatem.cast(pid, Do("a", Keep([*more, EventTimeout(0, "quiet")])))
        GenStatem.cast(pid, "b")
        clock.settle()
        assert ("timeout quiet in one" in log) == comes
        assert log[-1] == "cast b in one"


def test_a_state_timeout_of_zero_seconds_is_cancelled_by_an_inserted_event_that_changes_the_state(
    clock: ManualClock,
) -> None:
    pid, log = script()
    GenStatem.cast(pid, Do("a", Keep([StateTimeout(0), NextEvent("internal", Do("b", go("two")))])))
    clock.settle()
    assert log == ["cast a in one", "internal b in one"]


def test_of_several_timeouts_of_one_type_the_last_counts(clock: ManualClock) -> None:
    _, log = script(Next("one", {}, [StateTimeout(1.0, "first"), GenericTimeout("a", 1.0), StateTimeout(2.0, "last")]))
    clock.advance(1.5)
    assert log == ["timeout None in one"]
    clock.advance(1.0)
    assert log[1:] == ["state_timeout last in one"]


def test_timeouts_of_zero_seconds_come_in_the_order_of_the_last_words_on_each(clock: ManualClock) -> None:
    _, log = script(Next("one", {}, [StateTimeout(0, "first"), GenericTimeout("a", 0, "g"), StateTimeout(0, "last")]))
    clock.settle()
    assert log == ["timeout g in one", "state_timeout last in one"]


def test_a_timeout_may_name_a_time_instead_of_a_duration(clock: ManualClock) -> None:
    pid, log = script(Next("one", {}, StateTimeout(process.now() + 2.0, "then", absolute=True)))
    clock.advance(1.9)
    assert log == []
    clock.advance(0.2)
    assert log == ["state_timeout then in one"]
    GenStatem.cast(pid, Do("a", Keep(StateTimeout(1.0, "long ago", absolute=True))))
    clock.advance(0.1)
    assert log[-1] == "state_timeout long ago in one"


def test_a_system_message_cancels_no_timeout(clock: ManualClock) -> None:
    pid, log = script(Next("one", {}, EventTimeout(2.0, "quiet")))
    clock.advance(1.0)
    assert state_of(pid) == ("one", {})
    clock.advance(1.1)
    assert log == ["timeout quiet in one"]


def test_a_suspended_machine_gets_its_events_and_timeouts_when_it_goes_on(clock: ManualClock) -> None:
    pid, log = script(Next("one", {}, [StateTimeout(1.0, "s"), GenericTimeout("a", 2.0, "g")]))
    clock.settle()
    debug.suspend(pid)
    clock.advance(1.5)
    GenStatem.cast(pid, Do("move", go("two")))
    clock.advance(1.0)
    assert log == []
    debug.resume(pid)
    clock.settle()
    assert log == ["state_timeout s in one", "cast move in one", "timeout g in two"]


@pytest.mark.parametrize("end", ["kill", "stop", "crash"])
def test_no_timer_outlives_its_machine(clock: ManualClock, end: str) -> None:
    pid, _ = script(Next("one", {}, [StateTimeout(9.0), EventTimeout(9.0), GenericTimeout("a", 9.0)]))
    clock.settle()
    assert clock.pending() == 3
    if end == "stop":
        GenStatem.stop(pid)
    elif end == "kill":
        process.exit(pid, "kill")
    else:
        GenStatem.cast(pid, Do("a", lambda *_: 1 / 0))
        clock.settle()
    assert clock.pending() == 0


def test_a_machine_at_rest_keeps_nothing_but_its_state(clock: ManualClock) -> None:
    pid, _ = script()
    postpone = Do("p", lambda machine, _: Keep([Postpone()] if machine.state[0] == "one" else []))
    for event in (postpone, Do("t", Keep([StateTimeout(5.0), GenericTimeout("a", 1.0)])), Do("m", go("two"))):
        GenStatem.cast(pid, event)
    clock.settle()
    target = current_process().runtime.local(pid)
    assert target is not None
    assert target.ties
    clock.advance(1.0)
    assert target.server._agenda is None
    assert not target.ties


# -- enter calls -----------------------------------------------------------------------------------------------------


def test_an_enter_call_comes_with_the_former_state_before_any_event_in_the_new_one(clock: ManualClock) -> None:
    pid, log = script(cls=EnterScript)
    GenStatem.cast(pid, Do("p", lambda machine, _: Keep([Postpone()] if machine.state[0] == "one" else [])))
    GenStatem.cast(pid, Do("a", go("two", NextEvent("internal", "i"))))
    clock.settle()
    assert log[0] == "enter from one in one"
    assert log[3:] == ["enter from one in two", "internal i in two", "cast p in two"]


def test_keeping_the_state_makes_no_enter_call_and_repeat_does(clock: ManualClock) -> None:
    pid, log = script(cls=EnterScript)
    for name, result in (("a", Keep()), ("b", Next("one", {})), ("c", Repeat()), ("d", Repeat(data={"new": 1}))):
        GenStatem.cast(pid, Do(name, result))
    clock.settle()
    enter = "enter from one in one"
    assert log == [enter, "cast a in one", "cast b in one", "cast c in one", enter, "cast d in one", enter]


def test_repeat_retries_nothing_and_leaves_the_state_timeout(clock: ManualClock) -> None:
    pid, log = script(Next("one", {}, StateTimeout(2.0, "s")), EnterScript)
    GenStatem.cast(pid, Do("p", Keep(Postpone())))
    clock.advance(1.0)
    GenStatem.cast(pid, Do("r", Repeat()))
    clock.advance(1.1)
    assert log == ["enter from one in one", "cast p in one", "cast r in one", "enter from one in one", log[-1]]
    assert log[-1] == "state_timeout s in one"


def test_an_enter_call_sees_the_new_data_and_may_change_them(clock: ManualClock) -> None:
    seen: list[Any] = []

    class Entering(GenStatem):
        state_enter = True

        def init(self) -> Next:
            return Next("one", 1)

        def one(self, event_type: Any, content: Any, data: Any) -> Any:
            return Keep() if event_type == "enter" else Next("two", data + 1)

        def two(self, event_type: Any, content: Any, data: Any) -> Any:
            seen.append((event_type, content, data))
            return Next("two", data * 10)

    pid = Entering.start()
    GenStatem.cast(pid, "go")
    assert state_of(pid) == ("two", 20)
    assert seen == [("enter", "one", 2)]


def test_timeouts_of_an_enter_call_count_as_appended_to_those_of_the_event(clock: ManualClock) -> None:
    entering = Keep([StateTimeout(2.0, "enter"), GenericTimeout("a", 0, "g")])
    pid, log = script(Next("one", {"two": entering}), EnterScript)
    GenStatem.cast(pid, Do("a", go("two", StateTimeout(0, "event"))))
    clock.advance(1.0)
    assert log[2:] == ["enter from one in two", "timeout g in two"]
    clock.advance(1.5)
    assert log[4:] == ["state_timeout enter in two"]


def test_an_enter_call_may_reply_to_the_call_that_led_to_it(clock: ManualClock) -> None:
    class Waiting(GenStatem):
        state_enter = True

        def init(self) -> Next:
            return Next("one", None)

        def one(self, event_type: Any, content: Any, data: Any) -> Any:
            return Keep() if event_type == "enter" else Next("two", event_type[1])

        def two(self, event_type: Any, content: Any, data: Any) -> Keep:
            return Keep(ReplyTo(data, f"came from {content}"))

    assert GenStatem.call(Waiting.start(), "go") == "came from one"


def test_an_enter_call_may_repeat_itself(clock: ManualClock) -> None:
    def three_times(machine: Any, _: Any) -> Any:
        return Repeat() if len(machine.log) < 4 else Keep()

    pid, log = script(Next("one", {"two": three_times}), EnterScript)
    GenStatem.cast(pid, Do("a", go("two")))
    clock.settle()
    assert log[2:] == ["enter from one in two"] * 2
    assert state_of(pid)[0] == "two"


def test_an_enter_call_may_stop_the_machine_which_ends_in_the_new_state(clock: ManualClock) -> None:
    pid, log = script(Next("one", {"two": Stop("enough")}), EnterScript)
    assert end_of(pid, Do("a", lambda machine, _: Next("two", {"two": Stop("enough"), "new": 1}))) == "enough"
    assert log[-1].startswith("terminate enough with ('two', ")
    assert "'new': 1" in log[-1]


@pytest.mark.parametrize(
    ("result", "complaint"),
    [
        (Next("one", {}), "cannot change the state"),
        (
            Keep(Postpone()),
            "an enter call returned the action Postpone(flag=True); expected one or a list of ReplyTo(fr",
        ),
        (Keep(NextEvent("internal", 1)), "an enter call returned the action NextEvent("),
        (None, "an enter call in state 'two' returned None; expected Next"),
    ],
)
def test_an_enter_call_cannot_postpone_insert_or_change_the_state(
    clock: ManualClock, result: Any, complaint: str
) -> None:
    pid, _ = script(Next("one", {"two": lambda *_: result}), EnterScript)
    reason = end_of(pid, Do("a", go("two")))
    assert reason.type == "BadReturn"
    assert complaint in reason.message


def test_without_state_enter_there_are_no_enter_calls(clock: ManualClock) -> None:
    pid, log = script()
    GenStatem.cast(pid, Do("a", go("two")))
    GenStatem.cast(pid, Do("b", Repeat()))
    clock.settle()
    assert log == ["cast a in one", "cast b in two"]


# -- as any server ---------------------------------------------------------------------------------------------------


def test_stop_waits_until_terminate_has_run(clock: ManualClock) -> None:
    pid, log = script(Next("one", 1))
    GenStatem.stop(pid, "shutdown")
    assert log == ["terminate shutdown with ('one', 1)"]
    with pytest.raises(NoProcess):
        GenStatem.call(pid, "a")


def test_a_supervisor_restarts_a_machine_in_its_first_state(clock: ManualClock) -> None:
    spec = Script.child_spec(Next("one", 1), [], name="machine", id="machine")
    assert (spec.restart, spec.shutdown) == ("permanent", 5.0)
    sup = Supervisor.start_link([spec])
    first = process.whereis("machine")
    GenStatem.cast("machine", Do("a", Next("two", 2)))
    GenStatem.cast("machine", Do("b", lambda *_: 1 / 0))
    clock.settle()
    second = process.whereis("machine")
    assert second not in (None, first)
    assert state_of("machine") == ("one", 1)
    Supervisor.stop(sup)


def test_a_machine_that_is_killed_in_a_callback_leaves_nothing(clock: ManualClock) -> None:
    def stubborn(*_: Any) -> Keep:
        try:
            process.sleep(100.0)
        except BaseException:
            pass
        return Keep([StateTimeout(50.0), GenericTimeout("a", 50.0), NextEvent("internal", "never")])

    pid, log = script(Next("one", {}, GenericTimeout("b", 70.0)))
    GenStatem.cast(pid, Do("a", stubborn))
    clock.settle()
    process.exit(pid, "kill")
    clock.settle()
    assert log == ["cast a in one"]
    assert clock.pending() == 0


# -- a random machine against a model --------------------------------------------------------------------------------


@dataclass(eq=False)
class Plan:
    """An event and what each of its deliveries does, one after the other; later deliveries do nothing."""

    name: str
    steps: list[Plan.Step]

    @dataclass
    class Step:
        postpone: bool
        goes_to: int | None
        inserts: list[Plan]
        timeouts: list[tuple[Any, Any, Plan]]  # (type, what to do with it, what it brings)
        order: int  # seeds the order of the actions

    def actions(self, step: Plan.Step) -> list[Any]:
        """The actions in a random order, in which inserted events keep theirs among themselves, timeouts likewise."""
        inserts = [NextEvent("internal", plan) for plan in step.inserts]
        timeouts = [as_action(*timeout) for timeout in step.timeouts]
        mixed = [Postpone()] if step.postpone else []
        choose = random.Random(step.order)
        queues: list[list[Any]] = [inserts, timeouts, mixed]
        found: list[Any] = []
        while any(queues):
            found.append(choose.choice([queue for queue in queues if queue]).pop(0))
        return found


def as_action(which: Any, what: Any, plan: Plan) -> Any:
    if what == "cancel":
        return CancelTimeout(which)
    return UpdateTimeout(which, plan) if what == "update" else timed(which, 0, plan)


class Planned(GenStatem):
    callback_mode = "handle_event"
    state_enter = True

    def init(self, log: list[tuple[str, int]]) -> Next:
        return Next(0, (log, {}))

    def handle_event(self, event_type: Any, content: Any, state: int, data: Any) -> Any:
        log, deliveries = data
        if event_type == "enter":
            log.append(("enter", state))
            return Keep()
        log.append((content.name, state))
        at = deliveries[content] = deliveries.get(content, -1) + 1
        if at >= len(content.steps):
            return Keep()
        step = content.steps[at]
        actions = content.actions(step)
        return Keep(actions) if step.goes_to is None else Next(step.goes_to, data, actions)


def model(mailbox: list[Plan]) -> list[tuple[str, int]]:
    """What OTP's documentation says, as plainly as it can be said; quadratic and proud of it."""
    log: list[tuple[str, int]] = [("enter", 0)]
    state = 0
    queue: list[Plan] = []
    postponed: list[Plan] = []
    zero: list[tuple[Any, Plan]] = []
    deliveries: dict[Plan, int] = {}
    mailbox = list(mailbox)
    while queue or zero or mailbox:
        plan = queue.pop(0) if queue else zero.pop(0)[1] if zero else mailbox.pop(0)
        log.append((plan.name, state))
        zero = [entry for entry in zero if entry[0] != "timeout"]
        at = deliveries[plan] = deliveries.get(plan, -1) + 1
        if at >= len(plan.steps):
            continue
        step = plan.steps[at]
        if step.postpone:
            postponed.append(plan)
        if step.goes_to not in (None, state):
            state = step.goes_to
            log.append(("enter", state))
            zero = [entry for entry in zero if entry[0] != "state_timeout"]
            queue, postponed = postponed + queue, []
        queue = step.inserts + queue
        last_words = [
            t for at, t in enumerate(step.timeouts) if t[0] not in [later[0] for later in step.timeouts[at + 1 :]]
        ]
        for which, what, content in last_words:
            if what == "update" and which in [entry[0] for entry in zero]:
                zero = [(kind, content if kind == which else old) for kind, old in zero]
                continue
            zero = [entry for entry in zero if entry[0] != which]
            if what != "cancel":
                zero.append((which, content))
    return log


names = st.text("abcdefgh", min_size=1, max_size=3)
timeouts_of = st.sampled_from([*TIMEOUTS, ("timeout", "b")])


def plans_with(inner: st.SearchStrategy[Plan]) -> st.SearchStrategy[Plan]:
    step = st.builds(
        Plan.Step,
        st.booleans(),
        st.one_of(st.none(), st.integers(0, 2)),
        st.lists(inner, max_size=2),
        st.lists(st.tuples(timeouts_of, st.sampled_from(["zero", "zero", "update", "cancel"]), inner), max_size=3),
        st.integers(0, 1000),
    )
    return st.builds(Plan, names, st.lists(step, min_size=1, max_size=2))


plans = st.recursive(st.builds(Plan, names, st.just([])), plans_with, max_leaves=12)


@given(st.lists(plans, max_size=6))
def test_events_come_in_the_order_of_the_model_after_any_sequence(mailbox: list[Plan]) -> None:
    log: list[tuple[str, int]] = []

    def run() -> None:
        pid = Planned.start(log)
        for plan in mailbox:
            GenStatem.cast(pid, plan)
        clock.settle()
        assert process.alive(pid)
        process.exit(pid, "kill")

    clock = ManualClock()
    clock.runtime = Runtime(clock=clock)
    run_as_process(clock.runtime, run)
    assert log == model(mailbox)
