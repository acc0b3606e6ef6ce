"""One request to many nodes, on a lone node; between nodes see tests/processhub/cluster/test_multi_call.py."""

from __future__ import annotations

import pytest

import supervisor.processes as process
from supervisor.errors import EncodeError, ProcessExit
from supervisor.gen_server import GenServer
from supervisor.runtime import current_process
from tests.supervisor.kit import Ether, ManualClock, info, scripted


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


def test_a_server_that_dies_meanwhile_is_a_node_that_did_not_reply(clock: ManualClock) -> None:
    here = process.self().node
    scripted(None, name="scripted")
    assert GenServer.multi_call([here], "scripted", lambda self: 1 / 0) == ({}, [here])


def test_a_node_that_is_named_twice_is_asked_once(clock: ManualClock) -> None:
    here = process.self().node
    _, events = scripted(None, name="scripted")
    asked: list[int] = []
    assert GenServer.multi_call([here, here], "scripted", lambda _: asked.append(1)) == ({here: None}, [])
    assert asked == [1]
    GenServer.abcast([here, here], "scripted", "cast")
    clock.settle()
    assert events == [("cast", "cast")]


def test_a_request_that_cannot_be_sent_raises_and_leaves_no_asker(clock: ManualClock) -> None:
    runtime = current_process().runtime
    ether = Ether(runtime)
    ether.refuse = EncodeError("planted")
    before = len(runtime.table)
    with pytest.raises(EncodeError, match="planted"):
        GenServer.multi_call(["far@127.0.0.1:1"], "name", object())
    assert len(runtime.table) == before
