"""What a runtime says to other nodes: which ops go out, once each, and what it keeps until they are answered."""

from __future__ import annotations

from typing import Any

import pytest

import supervisor.distribution as distribution
import supervisor.processes as process
from supervisor.distribution import (
    CALL_OP,
    CANCEL,
    CAST_OP,
    DEMONITOR,
    DOWN,
    EXIT,
    FAIL,
    LINK,
    MONITOR,
    REFUSED,
    REPLY,
    SEND,
    UNLINK,
    RemoteWait,
)
from supervisor.errors import CallTimeout, EncodeError, NoConnection, NoProcess
from supervisor.gen_server import GenServer
from supervisor.inbound import receive_op
from supervisor.pids import NodeId, Pid, Ref
from supervisor.runtime import current_process
from supervisor.signals import Down, ExitSignal
from tests.supervisor.kit import FAR, Echo, Ether, ManualClock, far, here, in_background, info, kept

AWAY = "away@127.0.0.1:2"


def ether() -> Ether:
    found = Ether(here())
    found.away.add(AWAY)
    return found


def test_every_opcode_is_a_number_of_its_own() -> None:
    codes = [SEND, CAST_OP, CALL_OP, REPLY, FAIL, CANCEL, LINK, UNLINK, EXIT, MONITOR, DEMONITOR, DOWN, REFUSED]
    assert codes == list(range(1, 14))  # they are on the wire: a number keeps its meaning


# -- messages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("use", "op"), [(process.send, SEND), (GenServer.cast, CAST_OP)])
def test_a_message_names_the_pid_or_the_name_alone(clock: ManualClock, use: Any, op: int) -> None:
    air = ether()
    use(far(), "hello")
    use(("name", FAR), "hello")
    assert air.take() == [(FAR, (op, far(), "hello")), (FAR, (op, "name", "hello"))]
    use(far(7, AWAY), "dropped")
    assert air.take() == []


def test_without_a_router_every_other_node_is_not_connected(clock: ManualClock) -> None:
    assert not here().connected(FAR)
    process.send(far(), "dropped")
    with pytest.raises(NoConnection):
        GenServer.call(far(), "hello")
    ref = process.monitor(far())
    assert process.receive(timeout=0) == Down(ref, far(), "noconnection")


# -- calls -----------------------------------------------------------------------------------------------------------


def test_a_call_carries_the_caller_and_its_wait_and_the_answer_ends_it(clock: ManualClock) -> None:
    air = ether()
    caller, outcome = in_background(lambda: GenServer.call(far(), "hello", 5.0))
    clock.settle()
    ((node, (op, to, from_, ref, request)),) = air.take()
    assert (node, op, to, from_, request) == (FAR, CALL_OP, far(), caller, "hello")
    assert list(kept()) == ["waits"]
    receive_op(here(), FAR, (REPLY, Ref(ref.home, ref.serial), "world"))
    clock.settle()
    assert outcome == ["world"]
    assert air.take() == []
    assert kept() == {}
    assert clock.pending() == 0


def test_a_call_that_times_out_is_cancelled_there(clock: ManualClock) -> None:
    air = ether()
    _, outcome = in_background(lambda: GenServer.call(("name", FAR), "hello", 5.0))
    clock.settle()
    ((_, (_, _, _, ref, _)),) = air.take()
    clock.advance(5.0)
    assert [type(error) for error in outcome] == [CallTimeout]
    assert air.take() == [(FAR, (CANCEL, "name", ref))]
    assert kept() == {}


def test_a_call_whose_caller_is_killed_is_cancelled_there(clock: ManualClock) -> None:
    air = ether()
    caller, outcome = in_background(lambda: GenServer.call(far(), "hello", None))
    clock.settle()
    ((_, (_, _, _, ref, _)),) = air.take()
    process.exit(caller, "kill")
    clock.settle()
    assert air.take() == [(FAR, (CANCEL, far(), ref))]
    assert (outcome, kept()) == ([], {})


def test_a_call_to_a_node_that_is_away_fails_at_once_and_names_it(clock: ManualClock) -> None:
    ether()
    with pytest.raises(NoConnection, match=r"away@127\.0\.0\.1:2"):
        GenServer.call(far(7, AWAY), "hello", None)


def test_a_call_to_a_node_that_is_lost_before_the_call_is_armed_fails(clock: ManualClock) -> None:
    air = ether()

    def lose(*_: Any) -> bool:
        air.away.add(FAR)
        return True

    air.send = lose  # type: ignore[method-assign, assignment]
    _, outcome = in_background(lambda: GenServer.call(far(), "hello", None))
    clock.settle()
    assert [(type(error), error.node) for error in outcome] == [(NoConnection, FAR)]


def test_a_request_that_cannot_be_sent_raises_in_the_caller_and_nothing_is_kept(clock: ManualClock) -> None:
    air = ether()
    for use in (process.send, GenServer.cast, GenServer.call):
        air.refuse = EncodeError("at [0]: a lambda")
        with pytest.raises(EncodeError, match="a lambda"):
            use(far(), [lambda: None])
    assert kept() == {}
    assert not here().scheduler.waits


def test_time_in_a_full_queue_counts_for_the_deadline_of_the_call(clock: ManualClock) -> None:
    air = ether()
    send = air.send

    def slow(node: str, op: tuple[Any, ...]) -> bool:
        if op[0] == CALL_OP:
            process.sleep(3.0)
        return send(node, op)

    air.send = slow  # type: ignore[method-assign]
    _, outcome = in_background(lambda: GenServer.call(far(), "hello", 5.0))
    clock.advance(4.9)
    assert outcome == []
    clock.advance(0.2)
    assert [type(error) for error in outcome] == [CallTimeout]


def test_a_stop_of_a_process_elsewhere_is_a_call_that_its_end_answers(clock: ManualClock) -> None:
    air = ether()
    _, outcome = in_background(lambda: GenServer.stop(far(), "shutdown", 5.0))
    clock.settle()
    ((_, (op, _, _, ref, request)),) = air.take()
    assert (op, request.reason) == (CALL_OP, "shutdown")
    receive_op(here(), FAR, (FAIL, ref, "shutdown"))
    clock.settle()
    assert outcome == [None]
    _, outcome = in_background(lambda: GenServer.stop(far(), "shutdown", 5.0))
    clock.settle()
    ((_, (_, _, _, ref, _)),) = air.take()
    receive_op(here(), FAR, (FAIL, ref, "boom"))
    clock.settle()
    assert [error.reason for error in outcome] == ["boom"]


# -- answers ---------------------------------------------------------------------------------------------------------


def called(pid: Pid, request: Any) -> Ref:
    """A process of FAR has called `pid`."""
    ref = Ref(here().node_id(FAR, 1), 99)
    receive_op(here(), FAR, (CALL_OP, pid, far(), ref, request))
    return ref


def test_an_answer_goes_out_once_and_nobody_waits_any_more(clock: ManualClock) -> None:
    air = ether()
    pid = Echo.start()
    ref = called(pid, "hello")
    assert list(kept()) == ["served"]
    clock.settle()
    assert air.take() == [(FAR, (REPLY, ref, "hello"))]
    assert kept() == {}
    process.exit(pid, "kill")
    assert air.take() == []


def test_an_answer_that_cannot_be_sent_is_refused_and_the_server_lives(clock: ManualClock) -> None:
    air = ether()
    pid = Echo.start()
    ref = called(pid, "hello")
    air.refuse = EncodeError("a lambda")
    clock.settle()
    assert air.take() == [(FAR, (REFUSED, ref, "a lambda"))]
    assert kept() == {}
    assert process.alive(pid)


def test_the_end_of_a_server_answers_who_waits_for_it_elsewhere(clock: ManualClock) -> None:
    air = ether()
    pid = Echo.start()
    GenServer.cast(pid, lambda: process.sleep(9.0))
    ref = called(pid, "hello")
    clock.settle()
    process.exit(pid, "boom")
    assert air.take() == [(FAR, (FAIL, ref, "boom"))]
    assert kept() == {}


def test_a_remote_wait_is_equal_to_the_reference_that_came_with_the_call(clock: ManualClock) -> None:
    ref = Ref(NodeId(FAR, 1), 5)
    assert RemoteWait(ref, current_process()) == ref
    assert {RemoteWait(ref, current_process()): 1}[ref] == 1  # type: ignore[index]


# -- links, monitors, exits --------------------------------------------------------------------------------------------


def test_a_link_is_told_once_and_taken_back_once(clock: ManualClock) -> None:
    air = ether()
    process.link(far())
    assert air.take() == [(FAR, (LINK, process.self(), far()))]
    assert info(process.self())["links"] == [far()]
    process.unlink(far())
    process.unlink(far())
    assert air.take() == [(FAR, (UNLINK, process.self(), far()))]
    assert (info(process.self())["links"], kept()) == ([], {})


def test_a_link_to_a_node_that_is_away_is_an_exit_signal(clock: ManualClock) -> None:
    ether()
    process.trap_exit(True)
    process.link(far(7, AWAY))
    assert process.receive(timeout=0) == ExitSignal(far(7, AWAY), "noconnection")
    assert info(process.self())["links"] == []


def test_a_monitor_is_told_once_and_taken_back_once(clock: ManualClock) -> None:
    air = ether()
    for target, to in ((far(), far()), (("name", FAR), "name")):
        ref = process.monitor(target)
        assert air.take() == [(FAR, (MONITOR, ref, process.self(), to))]
        process.demonitor(ref)
        process.demonitor(ref)
        assert air.take() == [(FAR, (DEMONITOR, ref, to))]
    assert kept() == {}


def test_who_dies_takes_its_monitors_back_and_breaks_its_links(clock: ManualClock) -> None:
    air = ether()
    pid = Echo.start()
    GenServer.call(pid, lambda: process.link(far()))
    ref = GenServer.call(pid, lambda: process.monitor(far(8)))
    air.take()
    process.exit(pid, "boom")
    assert air.take() == [(FAR, (EXIT, pid, far(), "boom", True)), (FAR, (DEMONITOR, ref, far(8)))]
    assert kept() == {}


def test_who_is_watched_and_linked_from_elsewhere_tells_its_end_once(clock: ManualClock) -> None:
    air = ether()
    pid = Echo.start()
    ref = Ref(here().node_id(FAR, 1), 50)
    receive_op(here(), FAR, (MONITOR, ref, far(), pid))
    receive_op(here(), FAR, (LINK, far(), pid))
    process.exit(pid, "boom")
    assert air.take() == [(FAR, (EXIT, pid, far(), "boom", True)), (FAR, (DOWN, ref, far(), pid, "boom"))]
    assert kept() == {}


def test_an_exit_signal_goes_out_whoever_is_there(clock: ManualClock) -> None:
    air = ether()
    process.exit(far(), "kill")
    process.exit(far(7, AWAY), "kill")
    assert air.take() == [(FAR, (EXIT, process.self(), far(), "kill", False))]


def test_a_reason_that_cannot_be_sent_goes_as_text(clock: ManualClock) -> None:
    air = ether()
    pid = Echo.start()
    receive_op(here(), FAR, (LINK, far(), pid))
    air.refuse = EncodeError("a lambda")
    process.exit(pid, ("reason", 1))
    assert air.take() == [(FAR, (EXIT, pid, far(), "('reason', 1)", True))]


def test_of_an_earlier_life_of_this_node_there_is_no_process(clock: ManualClock) -> None:
    air = ether()
    air.away.add(here().home.name)
    gone = Pid(NodeId(here().home.name, here().home.incarnation + 1), 3)
    with pytest.raises(NoProcess):
        GenServer.call(gone, "hello")
    ref = process.monitor(gone)
    assert process.receive(timeout=0) == Down(ref, gone, "noproc")
    process.exit(gone, "kill")
    assert air.take() == []


def test_a_wait_that_is_dropped_twice_is_cancelled_once(clock: ManualClock) -> None:
    air = ether()
    target = distribution.RemoteTarget(here(), FAR, far())
    wait = process.new_wait(here(), None)
    target.add_waiter(wait)
    target.drop_waiter(wait)
    target.drop_waiter(wait)
    assert air.take() == [(FAR, (CANCEL, far(), wait))]


def test_a_wait_for_a_node_that_is_away_by_now_fails_at_once(clock: ManualClock) -> None:
    air = ether()
    wait = process.new_wait(here(), None)
    distribution.RemoteTarget(here(), AWAY, far()).add_waiter(wait)
    with pytest.raises(NoConnection, match="away"):
        wait.outcome()
    assert air.take() == []
