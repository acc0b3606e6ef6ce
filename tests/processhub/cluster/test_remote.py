"""Everything remote that is local: calls, casts, messages, links, monitors and exits between nodes. On virtual time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

import supervisor.debug as debug
import supervisor.processes as process
from processhub.cluster.node import Node
from processhub.testing import Cluster
from supervisor.errors import (
    CallTimeout,
    EncodeError,
    Exit,
    NoConnection,
    NoProcess,
    NotImportable,
    ProcessExit,
    ReceiveTimeout,
)
from supervisor.gen_server import GenServer
from supervisor.pids import Pid
from supervisor.reasons import Crash, Shutdown
from supervisor.signals import Down, ExitSignal
from tests.processhub.cluster.servers import Echo, call, start

NOWHERE = "nobody@127.0.0.1:9"


@pytest.fixture
def pair() -> Iterator[Cluster]:
    with Cluster(2) as cluster:
        yield cluster


@pytest.fixture
def three() -> Iterator[Cluster]:
    with Cluster(3) as cluster:
        yield cluster


def quietly_empty(cluster: Cluster) -> None:
    """No node keeps anything about calls, monitors and links that are over."""
    cluster.advance(1.0)
    for node in cluster:
        for peer in node.runtime.peers.values():
            assert not any(left_of(peer).values()), left_of(peer)


def left_of(peer: Any) -> dict[str, Any]:
    return {name: getattr(peer, name) for name in peer.__slots__}


# -- calls, casts, messages ------------------------------------------------------------------------------------------


def test_calls_casts_and_messages_reach_a_pid_and_a_name_in_order(pair: Cluster) -> None:
    here, there = pair
    pid = start(there, Echo, "echo")
    named = ("echo", there.name)

    def body() -> Any:
        for number in range(10):
            GenServer.cast(pid, number)
            process.send(named, -number)
        assert GenServer.call(pid, {"any": (1, {2})}) == {"any": (1, {2})}
        return GenServer.call(named, "casts")

    assert here.run(body) == [sign * number for number in range(10) for sign in (1, -1)]
    quietly_empty(pair)


def test_a_dead_pid_and_an_unknown_name_are_no_process_and_casts_to_them_are_dropped(pair: Cluster) -> None:
    here, there = pair
    pid = start(there, Echo, "echo")
    there.run(GenServer.stop, pid)

    def body() -> None:
        for dest in (pid, ("nobody", there.name)):
            with pytest.raises(NoProcess):
                GenServer.call(dest, "?")
            GenServer.cast(dest, 1)
            process.send(dest, 1)

    here.run(body)
    quietly_empty(pair)


def test_a_node_that_is_not_connected_is_no_connection_and_casts_to_it_are_dropped(pair: Cluster) -> None:
    here, there = pair
    pid = start(there, Echo, "echo")
    pair.crash(there)
    pair.run_until(lambda: not here.peers())

    def body() -> None:
        process.trap_exit(True)
        for dest in (pid, ("echo", there.name), ("echo", NOWHERE)):
            with pytest.raises(NoConnection):
                GenServer.call(dest, "?")
            GenServer.cast(dest, 1)
            process.send(dest, 1)
            ref = process.monitor(dest)
            assert process.receive(timeout=0) == Down(ref, dest, "noconnection")
        process.link(pid)
        assert process.receive(timeout=0) == ExitSignal(pid, "noconnection")
        process.exit(pid, "kill")

    here.run(body)


def test_a_crash_ends_the_call_with_its_reason(pair: Cluster) -> None:
    here, there = pair
    pid = start(there, Echo, "echo")
    with pytest.raises(ProcessExit) as caught:
        call(here, pid, "crash")
    assert isinstance(caught.value.reason, Crash)
    assert caught.value.reason.type == "ZeroDivisionError"
    quietly_empty(pair)


def test_a_late_reply_reaches_nobody(pair: Cluster) -> None:
    here, there = pair
    pid = start(there, Echo, "echo")

    def body() -> None:
        with pytest.raises(CallTimeout):
            GenServer.call(pid, "later", 1.0)
        with pytest.raises(ReceiveTimeout):
            process.receive(timeout=5.0)

    errand = here.begin(body)
    pair.advance(2.0)
    from_ = there.run(GenServer.call, pid, "casts")[0]
    there.run(GenServer.reply, from_, "too late")
    pair.run_until(errand.is_over)
    errand.outcome()
    quietly_empty(pair)


def test_a_trace_shows_the_answers_to_calls_from_other_nodes_whoever_gives_them(pair: Cluster) -> None:
    here, there = pair
    pid = start(there, Echo, "echo")
    seen: list[Any] = []
    there.run(debug.trace, pid, seen.append)
    assert call(here, pid, "at once") == "at once"
    errand = here.begin(GenServer.call, pid, "later")
    pair.advance(0.1)
    from_ = there.run(debug.get_state, pid).pop()
    there.run(GenServer.reply, from_, "by another process")
    pair.run_until(errand.is_over)
    assert errand.outcome() == "by another process"
    replies = [event for event in seen if event.direction == "out"]
    assert [event.message for event in replies] == ["at once", "by another process"]
    assert replies[1].other == from_[0]
    quietly_empty(pair)


def test_a_third_node_may_answer_a_call(three: Cluster) -> None:
    here, there, third = three
    pid = start(there, Echo, "echo")
    errand = here.begin(GenServer.call, pid, "later")
    three.settle()
    three.advance(0.1)
    from_ = call(third, pid, "casts")[0]
    third.run(GenServer.reply, from_, "from far away")
    three.run_until(errand.is_over)
    assert errand.outcome() == "from far away"
    quietly_empty(three)


def test_an_answer_that_cannot_be_sent_fails_the_call_and_not_the_server(
    pair: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = pair
    pid = start(there, Echo, "echo")
    with caplog.at_level(logging.ERROR), pytest.raises(EncodeError, match="lambda"):
        call(here, pid, "lambda")
    assert "cannot be sent" in caplog.text
    assert call(here, pid, "still there?") == "still there?"
    quietly_empty(pair)


def test_a_reply_that_cannot_be_sent_raises_in_who_replies_and_the_call_stays_open(pair: Cluster) -> None:
    here, there = pair
    pid = start(there, Echo, "echo")
    errand = here.begin(GenServer.call, pid, "later")
    pair.advance(0.1)
    from_ = there.run(GenServer.call, pid, "casts")[0]
    with pytest.raises(NotImportable):
        there.run(GenServer.reply, from_, lambda: None)
    there.run(GenServer.reply, from_, "plain")
    pair.run_until(errand.is_over)
    assert errand.outcome() == "plain"
    quietly_empty(pair)


def test_what_cannot_be_sent_raises_in_the_sender(pair: Cluster) -> None:
    here, there = pair
    pid = start(there, Echo, "echo")
    for send in (GenServer.call, GenServer.cast, process.send):
        with pytest.raises(EncodeError, match=r"request|message"):
            here.run(send, pid, {"key": object()})
    quietly_empty(pair)


def test_stop_ends_a_server_of_another_node(pair: Cluster) -> None:
    here, there = pair
    pid = start(there, Echo, "echo")
    here.run(GenServer.stop, pid, "enough", 5.0)
    assert there.run(process.whereis, "echo") is None
    with pytest.raises(NoProcess):
        here.run(GenServer.stop, pid)
    quietly_empty(pair)


def test_the_caller_that_dies_takes_its_call_back(pair: Cluster) -> None:
    here, there = pair
    pid = start(there, Echo, "echo")
    errand = here.begin(GenServer.call, pid, "later", None)
    pair.advance(0.1)
    assert there.runtime.peers[here.name].served
    here.run(process.exit, errand.pid, "kill")
    quietly_empty(pair)


# -- monitors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_name", [False, True])
def test_a_monitor_tells_the_end_of_a_process_of_another_node(pair: Cluster, by_name: bool) -> None:
    here, there = pair
    pid = start(there, Echo, "echo")

    def body() -> tuple[Any, Any]:
        ref = process.monitor(("echo", there.name) if by_name else pid)
        GenServer.stop(pid, Shutdown("done"))
        return ref, process.receive()

    ref, down = here.run(body)
    assert down == Down(ref, pid, Shutdown("done"))
    quietly_empty(pair)


def test_a_monitor_of_nobody_fires_at_once_with_what_was_watched(pair: Cluster) -> None:
    here, there = pair
    pid = start(there, Echo, "echo")
    there.run(GenServer.stop, pid)

    def body() -> None:
        for dest in (pid, ("nobody", there.name)):
            ref = process.monitor(dest)
            assert process.receive() == Down(ref, dest, "noproc")

    here.run(body)
    quietly_empty(pair)


def test_a_monitor_that_was_taken_back_is_silent(pair: Cluster) -> None:
    here, there = pair
    pid = start(there, Echo, "echo")

    def body() -> None:
        ref = process.monitor(pid)
        process.demonitor(ref)
        GenServer.stop(pid)
        with pytest.raises(ReceiveTimeout):
            process.receive(timeout=1.0)

    here.run(body)
    quietly_empty(pair)


def test_the_loss_of_a_node_fires_monitors_and_links_once(pair: Cluster) -> None:
    here, there = pair
    pid = start(there, Echo, "echo")
    heard: list[Any] = []
    here.run(lambda: process.spawn(watch, pid, heard))
    pair.settle()
    pair.crash(there)
    pair.run_until(lambda: not here.peers())
    pair.restart(there)
    pair.run_until(pair.is_connected)
    pair.advance(5.0)
    assert heard == [("ExitSignal", "noconnection"), ("Down", "noconnection")] or heard == [
        ("Down", "noconnection"),
        ("ExitSignal", "noconnection"),
    ]


def watch(pid: Pid, heard: list[Any]) -> None:
    process.trap_exit(True)
    process.link(pid)
    process.monitor(pid)
    while True:
        message = process.receive()
        heard.append((type(message).__name__, message.reason))


# -- links and exits -------------------------------------------------------------------------------------------------


def test_a_link_ends_the_other_side_with_the_same_reason(pair: Cluster) -> None:
    here, there = pair
    pid = start(there, Echo, "echo")
    errand = here.begin(link_and_wait, pid)
    pair.advance(0.1)
    there.run(process.exit, pid, "boom")
    pair.run_until(errand.is_over)
    with pytest.raises(ProcessExit, match=r"boom|killed"):
        errand.outcome()
    quietly_empty(pair)


def link_and_wait(pid: Pid) -> None:
    process.link(pid)
    process.receive()


def test_a_process_that_traps_exits_gets_them_from_other_nodes(pair: Cluster) -> None:
    here, there = pair
    pid = start(there, Echo, "echo")

    def body() -> Any:
        process.trap_exit(True)
        process.link(pid)
        process.exit(pid, "go away")
        return process.receive()

    assert here.run(body) == ExitSignal(pid, "go away")
    quietly_empty(pair)


def test_a_link_to_a_dead_process_answers_noproc(pair: Cluster) -> None:
    here, there = pair
    pid = start(there, Echo, "echo")
    there.run(GenServer.stop, pid)

    def body() -> Any:
        process.trap_exit(True)
        process.link(pid)
        return process.receive()

    assert here.run(body) == ExitSignal(pid, "noproc")
    quietly_empty(pair)


def test_an_unlinked_process_survives_the_other(pair: Cluster) -> None:
    here, there = pair
    pid = start(there, Echo, "echo")

    def body() -> str:
        process.link(pid)
        process.unlink(pid)
        GenServer.stop(pid, "boom")
        process.sleep(1.0)
        return "alive"

    assert here.run(body) == "alive"
    quietly_empty(pair)


def test_kill_cannot_be_trapped_from_another_node_and_normal_kills_nobody(pair: Cluster) -> None:
    here, there = pair
    heard: list[Any] = []
    trapper = there.run(lambda: process.spawn(trap, heard))
    pid = start(there, Echo, "echo")

    def body() -> Any:
        ref = process.monitor(trapper)
        process.exit(pid, "normal")
        process.exit(trapper, "polite")
        process.sleep(0.1)
        process.exit(trapper, "kill")
        return process.receive(lambda m: isinstance(m, Down) and m.ref == ref).reason

    assert here.run(body) == "killed"
    assert [signal.reason for signal in heard] == ["polite"]
    assert call(here, pid, 1) == 1


def trap(heard: list[Any]) -> None:
    process.trap_exit(True)
    while True:
        heard.append(process.receive())


class Unspeakable:
    """Neither encodable nor printable."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


class Garbage:
    """Its text cannot be encoded either."""

    def __repr__(self) -> str:
        return "\udc80"


@pytest.mark.parametrize("reason", [object(), Unspeakable(), Garbage(), Shutdown(object()), "lone \udc80 surrogate"])
def test_a_reason_that_cannot_be_sent_arrives_as_text(pair: Cluster, reason: Any) -> None:
    here, there = pair
    pid = start(there, Echo, "echo")
    errand = here.begin(down_reason, pid)
    pair.advance(0.1)
    waiting = here.begin(GenServer.call, pid, "later", None)
    pair.advance(0.1)
    there.run(process.exit, pid, reason)
    pair.run_until(lambda: errand.is_over() and waiting.is_over())
    assert isinstance(errand.outcome(), str)
    with pytest.raises(ProcessExit):
        waiting.outcome()
    quietly_empty(pair)


def down_reason(pid: Pid) -> Any:
    process.monitor(pid)
    return process.receive().reason


# -- Node.spawn ------------------------------------------------------------------------------------------------------


def send_back(to: Pid, what: Any) -> None:
    process.send(to, (what, Node.self()))


def test_spawn_runs_a_function_on_another_node(pair: Cluster) -> None:
    here, there = pair

    def body() -> Any:
        pid = Node.spawn(there.name, send_back, process.self(), "hello")
        assert pid.node == there.name
        return process.receive()

    assert here.run(body) == ("hello", there.name)


def test_spawn_refuses_what_another_node_could_not_find(pair: Cluster) -> None:
    here, there = pair
    with pytest.raises(NotImportable):
        here.run(Node.spawn, there.name, lambda: None)
    with pytest.raises(NoConnection):
        here.run(Node.spawn, NOWHERE, send_back)


def test_the_node_server_survives_requests_that_it_does_not_know(pair: Cluster) -> None:
    here, there = pair
    server = ("processhub.node", there.name)
    with pytest.raises(CallTimeout):
        call(here, server, "what?", 1.0)
    here.run(GenServer.cast, server, "what?")
    here.run(process.send, server, "what?")
    assert here.run(lambda: Node.spawn(there.name, send_back, process.self(), 1)).node == there.name


def test_an_exit_that_is_raised_on_another_node_is_its_reason(pair: Cluster) -> None:
    here, there = pair

    def body() -> Any:
        process.monitor(Node.spawn(there.name, raise_exit, "as planned"))
        return process.receive().reason

    assert here.run(body) == "as planned"


def raise_exit(reason: str) -> None:
    process.sleep(0.1)
    raise Exit(reason)
