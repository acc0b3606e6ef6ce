"""Servers that are gated, and servers that stand still, on one node. (For moves see test_moving.py of the cluster.)"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

import supervisor.debug as debug
import supervisor.gates as gates
import supervisor.processes as process
from supervisor.dynamic_supervisor import DynamicSupervisor
from supervisor.errors import CallTimeout, ProcessExit
from supervisor.gen_server import TIMEOUT, Continue, From, GenServer, NoReply
from supervisor.handover import Hold, moves_hot, take_over
from supervisor.pids import Pid
from supervisor.records import CAST, HANDOVER, ActingAs, Process
from supervisor.runtime import current_process, current_runtime
from supervisor.supervisors import Supervisor
from tests.supervisor.kit import ManualClock


class Log(GenServer):
    """Keeps all it handles; its state is the list."""

    def init(self, *first: Any) -> Any:
        self.state = [("init", self.start_reason)]
        if first == ("trap",):
            process.trap_exit(True)
        if first == ("continue",):
            return Continue("more")
        if first == ("self",):
            process.send(process.self(), "to myself")
        return None

    def handle_continue(self, token: Any) -> None:
        self.state.append(("continue", token))

    def handle_call(self, request: Any, from_: From) -> Any:
        if callable(request):
            return request()
        self.state.append(request)
        return list(self.state)

    def handle_cast(self, request: Any) -> Any:
        self.state.append(request)
        return NoReply(timeout=5.0) if request == "timeout" else None

    def handle_info(self, message: Any) -> None:
        self.state.append(message)

    def prepare_handover_state(self) -> Any:
        if "bad" in self.state:
            raise ValueError("not this one")
        return [*self.state, "prepared"]

    def terminate(self, reason: Any) -> None:
        seen.append(("terminate", reason))


seen: list[Any] = []


@pytest.fixture(autouse=True)
def _forget_seen() -> None:
    seen.clear()


def gated(*args: Any, link: bool = False) -> Process:
    """A server that was started behind a gate."""
    me = current_process()
    me.acting_as = ActingAs(me, HANDOVER)
    me.acting_as.gated = True
    try:
        pid = (Log.start_link if link else Log.start)(*args)
    finally:
        me.acting_as = None
    return record(pid)


def record(pid: Pid) -> Process:
    found = current_runtime().local(pid)
    assert found is not None
    return found


def held(pid: Pid, clock: ManualClock) -> tuple[Process, list[Any]]:
    """Hold a server, and let it come to its turn."""
    outcome: list[Any] = []
    server = record(pid)
    Hold(server, True, lambda hold, state, error: outcome.extend((state, error)))
    clock.settle()
    return server, outcome


def caller_of(pid: Pid, request: Any, timeout: float | None = 5.0) -> list[Any]:
    """Call in a process of its own; the list gets the outcome."""
    outcome: list[Any] = []

    def call() -> None:
        try:
            outcome.append(GenServer.call(pid, request, timeout))
        except (ProcessExit, CallTimeout) as error:
            outcome.append(error)

    process.spawn(call)
    return outcome


# --- gated ------------------------------------------------------------------------------------------------------


def test_a_gated_server_has_run_its_init_and_handles_nothing(clock: ManualClock) -> None:
    server = gated("continue")
    GenServer.cast(server.pid, 1)
    process.send(server.pid, 2)
    outcome = caller_of(server.pid, 3)
    clock.settle()
    assert server.server.state == [("init", "handover"), ("continue", "more")]
    assert process.info(server.pid, "queue_length") == 3
    cast, info, call = process.info(server.pid, "messages")
    assert (cast, info, call[:2]) == (("cast", 1), 2, ("call", 3))
    gates.open_at_once(server)
    clock.settle()
    assert outcome == [[("init", "handover"), ("continue", "more"), 1, 2, 3]]
    assert type(server) is Process
    assert not server.runtime.gates


def test_what_was_kept_elsewhere_comes_before_what_came_directly(clock: ManualClock) -> None:
    server = gated("self")
    GenServer.cast(server.pid, "direct")
    take_over(server, [(CAST, "kept")], [], "former@x:1", [])
    assert GenServer.call(server.pid, "call") == [("init", "handover"), "kept", "to myself", "direct", "call"]


def test_a_call_to_a_gated_server_keeps_its_deadline(clock: ManualClock) -> None:
    server = gated()
    outcome = caller_of(server.pid, "late", 2.0)
    clock.advance(2.1)
    assert isinstance(outcome[0], CallTimeout)


@pytest.mark.parametrize("how", ["kill", "shutdown", "parent", "stop"])
def test_a_gated_server_ends_as_any_other(clock: ManualClock, how: str) -> None:
    process.trap_exit(True)
    server = gated("trap", link=how == "parent") if how != "shutdown" else gated()
    outcome = caller_of(server.pid, "in vain")
    clock.settle()
    if how == "stop":
        GenServer.stop(server.pid)
    else:
        process.exit(server.pid, "kill" if how == "kill" else "shutdown")
    clock.settle()
    assert not process.alive(server.pid)
    assert isinstance(outcome[0], ProcessExit)
    assert seen == {"parent": [("terminate", "shutdown")], "stop": [("terminate", "normal")]}.get(how, [])
    assert not server.runtime.gates
    GenServer.cast(server.pid, "to a dead one")


def test_a_linked_process_takes_a_gated_server_along(clock: ManualClock) -> None:
    server = gated()

    def linked() -> None:
        process.link(server.pid)
        process.sleep(100.0)

    pid = process.spawn(linked)
    clock.settle()
    process.exit(pid, "kill")
    clock.settle()
    assert not process.alive(server.pid)


def test_debugging_works_behind_a_gate_and_does_not_open_it(clock: ManualClock) -> None:
    server = gated()
    GenServer.cast(server.pid, "user")
    assert debug.get_state(server.pid) == [("init", "handover")]
    debug.replace_state(server.pid, lambda state: [*state, "replaced"])
    debug.suspend(server.pid)
    debug.resume(server.pid)
    debug.statistics(server.pid, "on")
    debug.trace(server.pid, seen.append)
    clock.settle()
    assert debug.get_state(server.pid) == [("init", "handover"), "replaced"]
    gates.open_at_once(server)
    assert GenServer.call(server.pid, "x") == [("init", "handover"), "replaced", "user", "x"]
    assert [event.message for event in seen if event.direction == "in"] == ["user", "x"]


def test_an_open_entrance_waits_for_the_marks_of_nodes_that_could_be_ahead_of_themselves(clock: ManualClock) -> None:
    server = gated()
    take_over(server, [], [], "old@x:1", ["a@x:1", "b@x:1", "old@x:1"])
    for node in ("a@x:1", "b@x:1", "old@x:1", "a@x:1"):
        server.enqueue_from(node, (CAST, node))
    clock.settle()
    assert server.server.state[1:] == ["old@x:1"]
    server.runtime.gates[server.pid.serial].mark(server, "b@x:1")
    clock.settle()
    assert server.server.state[1:] == ["old@x:1", "b@x:1"]
    GenServer.cast(server.pid, "here")  # (this node was not to be waited for)
    gates.finish(server)
    clock.settle()
    assert server.server.state[1:] == ["old@x:1", "b@x:1", "here", "a@x:1", "a@x:1"]
    assert type(server) is Process


def test_when_the_way_round_is_lost_nothing_is_waited_for(clock: ManualClock) -> None:
    server = gated()
    take_over(server, [], [], "old@x:1", ["a@x:1", "b@x:1"])
    server.enqueue_from("a@x:1", (CAST, "a"))
    gates.node_lost(server.runtime, "c@x:1")
    clock.settle()
    assert server.server.state[1:] == []
    gates.node_lost(server.runtime, "old@x:1")
    clock.settle()
    assert server.server.state[1:] == ["a"]
    assert not server.runtime.gates


def test_a_mark_that_comes_before_the_gate_opens_counts(clock: ManualClock) -> None:
    server = gated()
    server.runtime.gates[server.pid.serial].mark(server, "a@x:1")
    take_over(server, [], [], "old@x:1", ["a@x:1"])
    assert type(server) is Process


# --- held -------------------------------------------------------------------------------------------------------


def test_a_server_stands_still_at_its_turn(clock: ManualClock) -> None:
    pid = Log.start()
    for number in range(3):
        GenServer.cast(pid, number)
    outcome: list[Any] = []
    Hold(record(pid), True, lambda hold, state, error: outcome.append((state, error)))
    GenServer.cast(pid, "after")
    waiting = caller_of(pid, "call")
    clock.settle()
    assert outcome == [([("init", "start"), 0, 1, 2, "prepared"], None)]
    assert debug.get_state(pid) == [("init", "start"), 0, 1, 2]
    process.send(pid, "later")
    clock.settle()
    assert not waiting
    gates.release(record(pid))
    clock.settle()
    assert waiting == [[("init", "start"), 0, 1, 2, "after", "call"]]
    assert GenServer.call(pid, "x")[-2:] == ["later", "x"]
    assert type(record(pid)) is Process
    assert not current_runtime().gates


def test_without_a_state_nothing_is_prepared(clock: ManualClock) -> None:
    outcome: list[Any] = []
    Hold(record(Log.start()), False, lambda hold, state, error: outcome.append((state, error)))
    clock.settle()
    assert outcome == [(None, None)]


def test_a_server_whose_preparation_raises_goes_on(clock: ManualClock) -> None:
    pid = Log.start()
    GenServer.cast(pid, "bad")
    _, (state, error) = held(pid, clock)
    assert state is None
    assert isinstance(error, ValueError)
    assert GenServer.call(pid, "x")[-1] == "x"


def test_a_hold_waits_for_a_handler_that_blocks(clock: ManualClock) -> None:
    pid = Log.start()
    waiting = caller_of(pid, lambda: process.sleep(2.0), None)
    clock.settle()
    server, outcome = held(pid, clock)
    assert not outcome
    clock.advance(2.1)
    assert waiting == [None]
    assert outcome
    assert server.queue_length == 0


def test_a_hold_that_is_cancelled_before_its_turn_does_nothing(clock: ManualClock) -> None:
    pid = Log.start()
    outcome: list[Any] = []
    hold = Hold(record(pid), True, lambda *args: outcome.append(args))
    hold.cancel()
    assert GenServer.call(pid, "x")[-1] == "x"
    assert not outcome


def test_the_timeout_of_a_callback_stands_still_while_the_server_does(clock: ManualClock) -> None:
    pid = Log.start()
    GenServer.cast(pid, "timeout")
    clock.advance(3.0)
    server, _ = held(pid, clock)
    clock.advance(10.0)
    assert server.server.state[-1] == "timeout"
    gates.release(server)
    clock.advance(1.9)
    assert server.server.state[-1] == "timeout"
    clock.advance(0.2)
    assert server.server.state[-1] == TIMEOUT
    assert len(server.server.state) == 3  # the cast "timeout", and the timeout


def test_a_held_server_ends_by_kill_and_its_callers_are_told(clock: ManualClock) -> None:
    pid = Log.start()
    held(pid, clock)
    waiting = caller_of(pid, "x")
    clock.settle()
    process.exit(pid, "kill")
    clock.settle()
    assert [error.reason for error in waiting] == ["killed"]
    assert not current_runtime().gates


def test_what_a_suspended_server_holds_is_kept_in_order(clock: ManualClock) -> None:
    pid = Log.start()
    debug.suspend(pid)
    GenServer.cast(pid, 1)
    clock.settle()
    server, outcome = held(pid, clock)
    assert outcome[0] == [("init", "start"), "prepared"]
    GenServer.cast(pid, 2)
    debug.resume(pid)
    clock.settle()
    assert server.server.state == [("init", "start")]
    gates.release(server)
    assert GenServer.call(pid, 3) == [("init", "start"), 1, 2, 3]


def test_a_system_message_that_fails_without_a_caller_is_logged(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    server = record(Log.start())

    def fail(hold: Hold, state: Any, error: BaseException | None) -> None:
        raise RuntimeError("a bug of ours")

    with caplog.at_level(logging.ERROR):
        Hold(server, True, fail)
        clock.settle()
    assert "a bug of ours" in caplog.text


def test_only_servers_whose_state_is_all_of_them_can_be_held(clock: ManualClock) -> None:
    assert moves_hot(record(Log.start()))
    assert not moves_hot(record(Supervisor.start_link([])))
    assert not moves_hot(record(DynamicSupervisor.start_link()))
    assert not moves_hot(record(process.spawn(process.sleep, 1.0)))
    assert not moves_hot(None)


# --- why a server starts ------------------------------------------------------------------------------------------


def first_reason(pid: Pid | None) -> Any:
    assert pid is not None
    return GenServer.call(pid, "x")[0]


@pytest.mark.parametrize("kind", [Supervisor, DynamicSupervisor])
def test_a_restarted_server_knows_that_it_is_one(clock: ManualClock, kind: Any) -> None:
    if kind is Supervisor:
        sup = Supervisor.start_link([Log.child_spec()])
        find: Callable[[], Pid | None] = lambda: Supervisor.which_children(sup)[0].pid  # noqa: E731
    else:
        sup = DynamicSupervisor.start_link()
        DynamicSupervisor.start_child(sup, Log.child_spec())
        find = lambda: DynamicSupervisor.which_children(sup)[0].pid  # noqa: E731
    pid = find()
    assert first_reason(pid) == ("init", "start")
    assert pid is not None
    process.exit(pid, "kill")
    clock.settle()
    assert first_reason(find()) == ("init", "restart")
    assert current_process().acting_as is None


def test_a_server_says_nothing_of_its_start_where_it_need_not(clock: ManualClock) -> None:
    server = record(Log.start())
    assert server.server.start_reason == "start"
    assert "start_reason" not in vars(server.server)
