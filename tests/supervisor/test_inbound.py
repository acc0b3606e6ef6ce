"""What a runtime does with ops of other nodes, good and malformed, and what follows when a node is lost."""

from __future__ import annotations

from typing import Any

import pytest

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
)
from supervisor.errors import EncodeError, NoConnection, NoProcess, ProcessExit
from supervisor.gen_server import GenServer
from supervisor.inbound import peer_lost, receive_op
from supervisor.pids import NodeId, Pid, Ref
from supervisor.signals import Down, ExitSignal
from tests.supervisor.kit import FAR, Echo, Ether, ManualClock, Trapper, far, here, info, kept

OTHER = "other@127.0.0.1:2"


def far_ref(serial: int = 70) -> Ref:
    return Ref(here().node_id(FAR, 1), serial)


def arrives(*op: Any, node: str = FAR) -> None:
    receive_op(here(), node, op)


def calling(clock: ManualClock, air: Ether) -> tuple[Any, list[Any]]:
    """A call to FAR that waits for its answer: its reference, and what it will end with."""
    outcome: list[Any] = []

    def caller() -> None:
        try:
            outcome.append(GenServer.call(far(), "hello", None))
        except Exception as error:
            outcome.append(error)

    process.spawn(caller)
    clock.settle()
    ((_, op),) = air.take()
    return op[3], outcome


# -- messages and calls ------------------------------------------------------------------------------------------------


def test_messages_and_casts_reach_a_pid_or_a_name_and_the_dead_get_none(clock: ManualClock) -> None:
    air, events = Ether(here()), list[Any]()
    pid = Trapper.start(events, name="trapper")
    for to in (pid, "trapper", "nobody", Pid(pid.home, 10_000)):
        arrives(SEND, to, "message")
        arrives(CAST_OP, to, lambda: events.append("cast"))
    clock.settle()
    assert events == ["message", "cast"] * 2
    assert air.take() == []


def test_a_call_to_nobody_is_answered_at_once(clock: ManualClock) -> None:
    air = Ether(here())
    for to in ("nobody", Pid(here().home, 10_000)):
        arrives(CALL_OP, to, far(), far_ref(), "hello")
        assert air.take() == [(FAR, (FAIL, far_ref(), "noproc"))]
    assert kept() == {}


def test_a_call_that_is_cancelled_is_answered_to_nobody_and_handled_all_the_same(clock: ManualClock) -> None:
    air, handled = Ether(here()), list[Any]()
    pid = Echo.start()
    arrives(CALL_OP, pid, far(), far_ref(), lambda: handled.append(1))
    arrives(CANCEL, pid, far_ref())
    arrives(CANCEL, pid, far_ref())
    assert kept() == {}
    record = here().local(pid)
    assert record is not None
    assert record.waiters is None
    clock.settle()
    assert handled == [1]
    process.exit(pid, "kill")
    assert [op for _, op in air.take() if op[0] == FAIL] == []


@pytest.mark.parametrize(
    ("op", "args", "error", "text"),
    [
        (FAIL, ("boom",), ProcessExit, "boom"),
        (FAIL, ("noproc",), NoProcess, "<Pid far@127.0.0.1:1.7>"),
        (REFUSED, ("at [0]: a lambda",), EncodeError, "a lambda"),
    ],
)
def test_a_call_that_fails_there_raises_here(clock: ManualClock, op: int, args: Any, error: Any, text: str) -> None:
    air = Ether(here())
    ref, outcome = calling(clock, air)
    arrives(op, ref, *args)
    clock.settle()
    assert [type(found) for found in outcome] == [error]
    assert text in str(outcome[0])
    assert kept() == {}
    assert air.take() == []


@pytest.mark.parametrize("op", [(REPLY, "late"), (FAIL, "late"), (REFUSED, "late")], ids=["reply", "fail", "refused"])
def test_an_answer_for_which_nobody_waits_is_dropped(clock: ManualClock, op: tuple[Any, ...]) -> None:
    air = Ether(here())
    ref, outcome = calling(clock, air)
    arrives(REPLY, ref, "first")
    arrives(op[0], ref, *op[1:])
    arrives(op[0], Ref(here().home, 10_000), *op[1:])
    arrives(op[0], far_ref(), *op[1:])  # a reference of another node
    clock.settle()
    assert outcome == ["first"]


def test_a_third_node_may_answer_and_the_called_one_is_told_that_nobody_waits(clock: ManualClock) -> None:
    air = Ether(here())
    ref, outcome = calling(clock, air)
    arrives(REPLY, ref, "from another", node=OTHER)
    clock.settle()
    assert outcome == ["from another"]
    assert air.take() == [(FAR, (CANCEL, far(), ref))]


# -- links, monitors, exits --------------------------------------------------------------------------------------------


def test_a_link_from_elsewhere_ends_with_either_side(clock: ManualClock) -> None:
    Ether(here())
    pid = Echo.start()
    arrives(LINK, far(), pid)
    assert info(pid)["links"] == [far()]
    arrives(EXIT, far(), pid, "boom", True)
    assert not process.alive(pid)
    assert kept() == {}


def test_a_link_to_the_dead_is_answered_with_noproc(clock: ManualClock) -> None:
    air = Ether(here())
    dead = Pid(here().home, 10_000)
    arrives(LINK, far(), dead)
    assert air.take() == [(FAR, (EXIT, dead, far(), "noproc", True))]


def test_an_exit_through_a_link_that_is_not_there_any_more_does_nothing(clock: ManualClock) -> None:
    Ether(here())
    pid = Echo.start()
    arrives(LINK, far(), pid)
    arrives(UNLINK, far(), pid)
    arrives(UNLINK, far(), pid)
    arrives(EXIT, far(), pid, "boom", True)
    assert process.alive(pid)
    assert (info(pid)["links"], kept()) == ([], {})


def test_an_exit_signal_needs_no_link_and_kill_cannot_be_trapped(clock: ManualClock) -> None:
    Ether(here())
    events: list[Any] = []
    pid = Trapper.start(events)
    arrives(EXIT, far(), pid, "boom", False)
    clock.settle()
    assert events == [ExitSignal(far(), "boom")]
    arrives(EXIT, far(), pid, "kill", False)
    assert not process.alive(pid)
    arrives(EXIT, far(), pid, "kill", False)


def test_a_monitor_of_nobody_is_answered_with_what_was_watched(clock: ManualClock) -> None:
    air = Ether(here())
    arrives(MONITOR, far_ref(), far(), "nobody")
    assert air.take() == [(FAR, (DOWN, far_ref(), far(), "nobody", "noproc"))]
    assert kept() == {}


def test_a_monitor_that_was_taken_back_there_tells_nothing(clock: ManualClock) -> None:
    air = Ether(here())
    pid = Echo.start()
    arrives(MONITOR, far_ref(), far(), pid)
    assert info(pid)["watched_by"] == [far()]
    arrives(DEMONITOR, far_ref(), pid)
    arrives(DEMONITOR, far_ref(), pid)
    assert (info(pid)["watched_by"], kept()) == ([], {})
    process.exit(pid, "boom")
    assert air.take() == []


def test_a_down_tells_the_pid_or_the_name_with_its_node_once(clock: ManualClock) -> None:
    Ether(here())
    by_pid, by_name = process.monitor(far()), process.monitor(("nobody", FAR))
    for _ in range(2):
        arrives(DOWN, by_pid, process.self(), far(), "boom")
        arrives(DOWN, by_name, process.self(), "nobody", "noproc")
    assert process.receive(timeout=0) == Down(by_pid, far(), "boom")
    assert process.receive(timeout=0) == Down(by_name, ("nobody", FAR), "noproc")
    assert info(process.self())["queue_length"] == 0
    assert kept() == {}


# -- malformed -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", [(), (0,), (99, 1), ("send", 1, 2), (None,)], ids=repr)
def test_an_op_that_nobody_knows_is_an_error(clock: ManualClock, op: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="unknown op"):
        arrives(*op)


@pytest.mark.parametrize(
    "op",
    [
        (SEND, "echo"),
        (CALL_OP, "echo", "no pid", "no ref", 1),
        (CALL_OP, "echo"),
        (REPLY,),
        (LINK, "no pid", "echo"),
        (LINK, 1, 2),
        (EXIT, "no pid", "echo", "boom", True),
        (MONITOR, "no ref", Pid(NodeId(FAR, 1), 7), "echo"),
        (MONITOR, Ref(NodeId(FAR, 1), 7), "no pid", "echo"),
        (DOWN, 1),
        (SEND, "echo", 1, 2),
    ],
    ids=repr,
)
def test_a_malformed_op_raises_and_changes_nothing(clock: ManualClock, op: tuple[Any, ...]) -> None:
    air = Ether(here())
    pid = Echo.start(name="echo")
    before = info(pid)
    with pytest.raises(TypeError):
        arrives(*op)
    assert info(pid) == before
    assert (kept(), air.take()) == ({}, [])


# -- a node is lost --------------------------------------------------------------------------------------------------


def test_everything_that_crosses_the_link_to_a_lost_node_ends_with_noconnection(clock: ManualClock) -> None:
    air = Ether(here())
    process.trap_exit(True)
    _, outcome = calling(clock, air)
    process.link(far())
    by_pid, by_name = process.monitor(far(8)), process.monitor(("name", FAR))
    air.away.add(FAR)
    air.take()
    peer_lost(here(), FAR)
    clock.settle()
    assert [(type(error), error.node) for error in outcome] == [(NoConnection, FAR)]
    found = [process.receive(timeout=0) for _ in range(3)]
    assert found == [
        Down(by_pid, far(8), "noconnection"),
        Down(by_name, ("name", FAR), "noconnection"),
        ExitSignal(far(), "noconnection"),
    ]
    assert info(process.self())["queue_length"] == 0
    assert (info(process.self())["links"], info(process.self())["monitors"]) == ([], [])
    assert FAR not in here().peers
    assert air.take() == []


def test_a_process_that_is_linked_to_a_lost_node_ends(clock: ManualClock) -> None:
    air = Ether(here())
    pid = Echo.start()
    ref = process.monitor(pid)
    GenServer.call(pid, lambda: process.link(far()))
    air.away.add(FAR)
    peer_lost(here(), FAR)
    assert process.receive(timeout=0) == Down(ref, pid, "noconnection")


def test_what_a_lost_node_wanted_here_is_forgotten(clock: ManualClock) -> None:
    air = Ether(here())
    pid = Echo.start()
    GenServer.cast(pid, lambda: process.sleep(1.0))
    arrives(CALL_OP, pid, far(), far_ref(), "hello")
    arrives(MONITOR, far_ref(71), far(), pid)
    air.away.add(FAR)
    peer_lost(here(), FAR)
    record = here().local(pid)
    assert record is not None
    assert (record.waiters, record.watchers) == (None, None)
    clock.advance(1.0)
    assert process.alive(pid)  # it answers somebody who is gone, and goes on
    process.exit(pid, "boom")
    assert air.take() == []


def test_the_loss_of_one_node_touches_nothing_of_another(clock: ManualClock) -> None:
    air = Ether(here())
    ref, outcome = calling(clock, air)
    process.monitor(far())
    peer_lost(here(), OTHER)
    peer_lost(here(), OTHER)
    clock.settle()
    assert (outcome, info(process.self())["queue_length"]) == ([], 0)
    arrives(REPLY, ref, "answer")
    clock.settle()
    assert outcome == ["answer"]
