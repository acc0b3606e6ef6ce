"""Nodes as operating-system processes on loopback: signals, busy loops, wrong cookies, garbage.

Times are measured and printed (`pytest -s`), and asserted generously: other things run on the same machine.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest

from tests.cluster import deeds
from tests.cluster.harness import Failed, Fleet


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet(3) as fleet:
        yield fleet


def test_calls_casts_monitors_and_links_reach_other_nodes(fleet: Fleet) -> None:
    first, second, _ = fleet
    assert first.do(deeds.call, "echo", second.name, {"a": [1, 2]}) == {"a": [1, 2]}
    for number in range(100):
        first.do(deeds.cast, "echo", second.name, number)
    assert first.do(deeds.call, "echo", second.name, "casts") == list(range(100))
    with pytest.raises(Failed, match="NoProcess"):
        first.do(deeds.call, "nobody", second.name, 1)
    for deed in (deeds.monitored_reason, deeds.linked_reason):
        second.do(deeds.start_server, deed.__name__)
        watching = first.begin(deed, deed.__name__, second.name)
        first.do(deeds.await_monitoring)
        first.do(deeds.stop_server, deed.__name__, second.name, "enough")
        assert first.finish(watching) == "enough"


def test_sigkill_of_a_node_is_noticed_everywhere(fleet: Fleet) -> None:
    survivors, victim = fleet.nodes[:2], fleet[2]
    victim.do(deeds.start_server, "watched")
    for node in survivors:
        node.do(deeds.watch_nodes)
    watching = survivors[0].begin(deeds.monitored_reason, "watched", victim.name)
    survivors[0].do(deeds.await_monitoring)
    killed_at = victim.kill()
    noticed = [node.do(deeds.await_down, victim.name) - killed_at for node in survivors]
    print(f"SIGKILL noticed after {', '.join(f'{seconds:.3f}' for seconds in noticed)} s")
    assert max(noticed) < 5.0
    assert survivors[0].finish(watching) == "noconnection"
    assert survivors[0].do(deeds.peers) == [survivors[1].name]


def test_a_killed_node_that_starts_again_is_a_member_again(fleet: Fleet) -> None:
    victim = fleet[2]
    victim.kill()
    fleet.nodes.remove(victim)
    fleet.nodes[0].do(deeds.await_peers, [fleet[1].name])
    victim.close()
    again = fleet.add(victim.name).ready()
    assert again.do(deeds.await_peers, [fleet[0].name, fleet[1].name])
    assert fleet[1].do(deeds.call, "echo", again.name, "pid") == again.pid


def test_a_node_whose_loop_is_busy_for_three_seconds_stays_a_member(fleet: Fleet) -> None:
    first, second, busy = fleet
    for node in fleet:
        node.do(deeds.watch_nodes)
    busy.do(deeds.start_burner)
    first.do(deeds.cast, "burner", busy.name, 3.0)
    # The answer comes once the handler is done: it waits for the loop in between.
    assert first.do(deeds.call, "echo", busy.name, "after", 10.0) == "after"
    for node in fleet:
        assert node.do(deeds.downs) == []
    assert first.do(deeds.peers) == sorted([second.name, busy.name])


def test_a_node_that_was_stopped_for_seconds_goes_on(fleet: Fleet) -> None:
    first, second, stopped = fleet
    for node in fleet:
        node.do(deeds.watch_nodes)
    stopped.signal(signal.SIGSTOP)
    question = first.begin(deeds.call, "echo", stopped.name, "still there?", 15.0)
    # The call ends after the process goes on, or with its node if that was given up.
    with pytest.raises(Failed, match="CallTimeout"):
        second.do(deeds.call, "echo", stopped.name, "?", 3.0)
    stopped.signal(signal.SIGCONT)
    assert first.finish(question) == "still there?"
    stopped.do(deeds.await_peers, [first.name, second.name])
    assert stopped.do(deeds.downs) == []


def test_a_node_with_another_cookie_is_refused_and_both_sides_say_why(fleet: Fleet) -> None:
    stranger = fleet.add(cookie="another")
    stranger.ready()
    assert stranger.do(deeds.connect, fleet[0].name) is False
    assert stranger.do(deeds.peers) == []
    assert "cookie" in stranger.do(deeds.refusals)[fleet[0].name]
    assert fleet[0].do(deeds.peers) == sorted(node.name for node in fleet.nodes[1:3])
    assert "cookie" in stranger.log()
    assert "cookie" in fleet[0].log()
    assert fleet[0].do(deeds.malformed) == 0  # nothing of it was even looked at


def test_garbage_sent_to_the_port_harms_nothing(fleet: Fleet) -> None:
    first, second, _ = fleet
    port = int(first.name.rpartition(":")[2])
    for garbage in (
        b"GET / HTTP/1.1\r\n\r\n",
        os.urandom(4096),
        b"\xff" + b"\0" * 8 + b"\x7f" + b"\3\0" + os.urandom(64),
    ):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(garbage)
    assert second.do(deeds.call, "echo", first.name, "well?") == "well?"
    assert first.do(deeds.peers) == sorted(node.name for node in fleet.nodes[1:])


def test_children_of_a_killed_node_run_again_on_the_others(fleet: Fleet) -> None:
    names = [node.name for node in fleet]
    ids = [f"child{i}" for i in range(30)]
    for node in fleet:
        node.do(deeds.start_hub, "shop")
    fleet[0].do(deeds.await_settled, "shop", names)
    assert fleet[0].do(deeds.start_children, "shop", ids) == "ok"
    fleet[0].do(deeds.await_settled, "shop", names)
    placed = [node.do(deeds.locate, "shop", ids) for node in fleet]
    assert placed[0] == placed[1] == placed[2]
    assert set(placed[0].values()) == set(names)
    victim = fleet[2]
    victim.kill()
    for node in fleet.nodes[:2]:
        node.do(deeds.await_settled, "shop", names[:2])
        assert set(node.do(deeds.locate, "shop", ids).values()) == set(names[:2])
        assert node.do(deeds.call_children, "shop", ids) == [f"hello {child}" for child in ids]
