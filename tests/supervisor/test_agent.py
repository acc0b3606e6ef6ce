from __future__ import annotations

import traceback
from typing import Any

import gevent
import pytest

import supervisor.processes as process
from supervisor.agent import Agent, AgentError
from supervisor.calls import call_any
from supervisor.errors import AlreadyRegistered, BadReturn, CallTimeout, Exit, NoProcess, ProcessExit, StartError
from supervisor.gen_server import GenServer, Reply, Stop
from supervisor.pids import Pid
from supervisor.reasons import Crash
from supervisor.runtime import current_runtime
from supervisor.signals import Down, ExitSignal
from supervisor.supervisors import Supervisor
from tests.supervisor.kit import ManualClock, info


def same(value: Any) -> Any:
    return value


def fail(value: Any, *_: Any) -> Any:
    raise KeyError("oops")


def add(value: int, n: int) -> int:
    return value + n


def take_one(value: list[int]) -> tuple[int, list[int]]:
    return value[0], value[1:]


# -- starting and ending ---------------------------------------------------------------------------------------------


def test_the_value_is_what_the_function_returns_in_the_new_process(clock: ManualClock) -> None:
    agent = Agent.start_link(process.self)
    assert Agent.get(agent, same) == agent
    assert info(agent)["links"] == [process.self()]
    assert info(agent)["label"] == "Agent"


def test_the_first_function_may_take_arguments_and_the_agent_a_name(clock: ManualClock) -> None:
    Agent.start(dict, [("a", 1)], b=2, name="table")
    assert Agent.get("table", dict) == {"a": 1, "b": 2}
    with pytest.raises(AlreadyRegistered):
        Agent.start(dict, name="table")


def test_a_first_function_that_raises_fails_the_start(clock: ManualClock) -> None:
    with pytest.raises(StartError) as failed:
        Agent.start_link(fail, 1)
    assert isinstance(failed.value.reason, Crash)
    assert failed.value.reason.type == "KeyError"


def test_a_first_function_that_takes_too_long_fails_the_start(clock: ManualClock) -> None:
    process.spawn(clock.advance, 2.0)
    with pytest.raises(StartError, match="timeout"):
        Agent.start(process.sleep, 3.0, timeout=2.0)


def test_stop_ends_the_agent_after_what_was_asked_before(clock: ManualClock) -> None:
    process.trap_exit(True)
    agent, seen = Agent.start_link(lambda: 1), list[int]()
    Agent.cast(agent, lambda value: seen.append(value))
    Agent.stop(agent, "shutdown")
    assert seen == [1]
    assert process.receive(timeout=0) == ExitSignal(agent, "shutdown")
    with pytest.raises(NoProcess):
        Agent.stop(agent)


def test_stop_gives_up_at_its_timeout(clock: ManualClock) -> None:
    agent = Agent.start(lambda: 1)
    Agent.cast(agent, lambda _: process.sleep(60.0))
    process.spawn(clock.advance, 1.0)
    with pytest.raises(CallTimeout):
        Agent.stop(agent, timeout=1.0)
    assert process.alive(agent)


def test_a_supervisor_starts_it_anew_with_its_first_value(clock: ManualClock) -> None:
    Supervisor.start_link([Agent.child_spec(lambda: 0, name="counter", id="counter")])
    Agent.update("counter", add, 5)
    before = process.whereis("counter")
    assert before is not None
    process.exit(before, "kill")
    clock.settle()
    assert Agent.get("counter", same) == 0
    assert process.whereis("counter") != before


# -- reading and changing --------------------------------------------------------------------------------------------


def test_get_runs_its_function_in_the_agent_and_changes_nothing(clock: ManualClock) -> None:
    agent = Agent.start(lambda: 1)
    assert Agent.get(agent, lambda value: (value, process.self())) == (1, agent)
    assert Agent.get(agent, add, 2) == 3
    assert Agent.get(agent, same) == 1


def test_update_takes_what_its_function_returns(clock: ManualClock) -> None:
    agent = Agent.start(lambda: 1)
    Agent.update(agent, add, 2)
    assert Agent.get(agent, same) == 3


def test_get_and_update_does_both_in_one_step(clock: ManualClock) -> None:
    agent = Agent.start(lambda: [1, 2, 3])
    assert [Agent.get_and_update(agent, take_one) for _ in range(2)] == [1, 2]
    assert Agent.get(agent, same) == [3]


def test_updates_of_many_processes_are_all_counted(clock: ManualClock) -> None:
    agent = Agent.start(lambda: 0)
    for _ in range(50):
        process.spawn(Agent.update, agent, add, 1)
        process.spawn(Agent.cast, agent, add, 1)
    clock.settle()
    assert Agent.get(agent, same) == 100


def test_a_cast_is_done_before_what_is_asked_afterwards(clock: ManualClock) -> None:
    agent = Agent.start(lambda: 0)
    Agent.cast(agent, add, 5)
    assert Agent.get(agent, same) == 5


def test_any_value_can_be_returned_even_what_servers_understand(clock: ManualClock) -> None:
    agent = Agent.start(lambda: Stop("boom"))
    for value in (Stop("boom"), Reply(1), None, (True, 1), KeyError("a value")):
        given = Agent.get(agent, lambda _, value=value: value)
        assert type(given) is type(value)
        assert str(given) == str(value)
    assert process.alive(agent)


def test_a_greenlet_that_is_no_process_uses_an_agent_too(clock: ManualClock) -> None:
    agent = Agent.start(lambda: 1)
    asking = gevent.spawn(Agent.get, agent, same)
    clock.settle()
    assert asking.get(timeout=0) == 1


# -- functions that fail ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [Agent.get, Agent.update, Agent.get_and_update])
def test_a_function_that_raises_raises_in_the_caller_and_the_agent_keeps_its_value(
    clock: ManualClock, ask: Any
) -> None:
    agent = Agent.start_link(lambda: 1)
    with pytest.raises(KeyError) as failed:
        ask(agent, fail)
    assert "in fail" in "".join(traceback.format_tb(failed.value.__traceback__))
    assert Agent.get(agent, same) == 1


@pytest.mark.parametrize("returned", [None, 1, (1,), (1, 2, 3), [1, 2]])
def test_get_and_update_wants_a_pair(clock: ManualClock, returned: Any) -> None:
    agent = Agent.start(lambda: 1)
    with pytest.raises(BadReturn, match="result, new value"):
        Agent.get_and_update(agent, lambda _: returned)
    assert Agent.get(agent, same) == 1


def test_a_cast_that_raises_ends_the_agent(clock: ManualClock) -> None:
    agent = Agent.start(lambda: 1)
    ref = process.monitor(agent)
    Agent.cast(agent, fail)
    clock.settle()
    down = process.receive(timeout=0)
    assert isinstance(down, Down)
    assert (down.ref, down.reason.type) == (ref, "KeyError")


def test_an_exit_in_a_function_ends_the_agent(clock: ManualClock) -> None:
    def leave(_: int) -> None:
        raise Exit("enough")

    agent = Agent.start(lambda: 1)
    with pytest.raises(ProcessExit) as failed:
        Agent.get(agent, leave)
    assert failed.value.reason == "enough"
    assert not process.alive(agent)


def test_an_agent_that_asks_itself_is_told_so(clock: ManualClock) -> None:
    agent = Agent.start(lambda: 1)
    with pytest.raises(ProcessExit) as failed:
        Agent.get(agent, lambda _: Agent.get(agent, same))
    assert failed.value.reason == "calling_self"
    assert Agent.get(agent, same) == 1


def test_what_is_no_function_is_refused_at_once(clock: ManualClock) -> None:
    agent = Agent.start(lambda: 1)
    with pytest.raises(TypeError, match="needs a function"):
        Agent.get(agent, 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="needs a function"):
        Agent.cast(agent, None)  # type: ignore[arg-type]
    assert process.alive(agent)


def test_a_dead_agent_is_no_process(clock: ManualClock) -> None:
    agent = Agent.start(lambda: 1)
    process.exit(agent, "kill")
    for ask in (Agent.get, Agent.update, Agent.get_and_update):
        with pytest.raises(NoProcess):
            ask(agent, same)
    Agent.cast(agent, same)
    with pytest.raises(NoProcess):
        Agent.cast("nobody", same)


def test_an_agent_that_dies_meanwhile_says_why(clock: ManualClock) -> None:
    agent = Agent.start(lambda: 1)
    process.spawn(process.exit, agent, "boom")
    with pytest.raises(ProcessExit) as failed:
        Agent.get(agent, lambda _: process.sleep(1.0))
    assert failed.value.reason == "boom"


# -- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [Agent.get, Agent.update, Agent.get_and_update])
def test_a_call_ends_at_its_timeout_and_its_late_result_reaches_nobody(clock: ManualClock, ask: Any) -> None:
    def slow(value: int) -> tuple[int, int]:
        process.sleep(3.0)
        return value, value

    agent = Agent.start(lambda: 1)
    process.spawn(clock.advance, 2.0)
    with pytest.raises(CallTimeout):
        ask(agent, slow, timeout=2.0)
    clock.advance(5.0)
    assert info(process.self())["queue_length"] == 0
    assert not [wait for wait in current_runtime().scheduler.waits.values() if wait.timeout is not None]
    assert clock.pending() == 0


def test_the_timeout_is_five_seconds_unless_it_is_given(clock: ManualClock) -> None:
    agent = Agent.start(lambda: 1)
    process.spawn(clock.advance, 5.0)
    with pytest.raises(CallTimeout):
        Agent.get(agent, lambda _: process.sleep(60.0))
    assert process.now() == 1005.0


# -- from elsewhere --------------------------------------------------------------------------------------------------


def test_an_error_for_another_node_travels_as_text(clock: ManualClock) -> None:
    # What a call from another node comes with: a plain Ref instead of a Wait.
    server = Agent.__new__(Agent)
    server.state = 1
    done, reason = server.handle_call(("get", fail, ()), (process.self(), current_runtime().new_ref()))
    assert (done, reason.type) == (False, "KeyError")

    class Remote(GenServer):
        def handle_call(self, request: Any, from_: Any) -> Any:
            return done, reason

    with pytest.raises(AgentError, match="KeyError: 'oops'") as failed:
        Agent.get(Remote.start(), fail)
    assert failed.value.reason == reason


def test_a_nonsense_request_is_answered_and_does_no_harm(clock: ManualClock) -> None:
    agent: Pid = Agent.start(lambda: 1)
    done, error = call_any(agent, ("what",), 1.0)
    assert (done, type(error)) == (False, TypeError)
    assert Agent.get(agent, same) == 1
