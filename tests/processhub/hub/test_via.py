"""Via names of children: found wherever they run, waited for while they do not, refused when they never will."""

from __future__ import annotations

from typing import Any

import pytest

from processhub import CallTimeout, ChildSpec, GenServer, HubNotAlive, NoProcess, ProcessExit, ProcessHub, process
from tests.processhub.hub.children import (
    HUB,
    Counter,
    Slow,
    Stubborn,
    cluster_of,
    counters,
    hub_of,
    kill,
    owner_of,
    pid_of,
    settle,
    start,
    stop,
)


def get(child_id: str, timeout: float = 5.0) -> Any:
    return GenServer.call(ProcessHub.via(HUB, child_id), "get", timeout)


def test_a_child_is_called_by_name_from_every_node() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], ChildSpec("kid", (Counter.start_link, (7,))))
        settle(cluster)
        assert [node.run(get, "kid") for node in cluster] == [7, 7, 7]


def test_a_child_that_is_not_desired_raises_no_process_at_once() -> None:
    with cluster_of(2) as cluster:
        before = cluster.now()
        with pytest.raises(NoProcess, match="ghost"):
            cluster[0].run(get, "ghost")
        assert cluster.now() == before


def test_a_call_waits_for_a_child_that_is_being_restarted() -> None:
    with cluster_of(1) as cluster:
        start(cluster[0], ChildSpec("slow", (Slow.start_link, (2.0,))))
        kill(cluster[0], pid_of(cluster[0], "slow"))
        before = cluster.now()
        assert cluster[0].run(get, "slow") == "here"
        assert cluster.now() - before == pytest.approx(2.0, abs=0.1)


def test_a_call_to_a_child_that_just_died_gets_its_successor() -> None:
    """The name still leads to the dead pid on the caller's node: the call was certainly not handled."""

    def kill_and_get() -> Any:
        pid = ProcessHub.get_pid(HUB, "kid")
        assert pid is not None
        process.exit(pid, "kill")
        return get("kid")

    with cluster_of(2) as cluster:
        start(cluster[0], ChildSpec("kid", (Counter.start_link, (7,))))
        settle(cluster)
        for node in cluster:
            assert node.run(kill_and_get) == 7


def test_a_call_that_waits_in_vain_ends_within_its_timeout_and_leaves_nothing() -> None:
    with cluster_of(1) as cluster:
        start(cluster[0], ChildSpec("slow", (Slow.start_link, (5.0,))))
        kill(cluster[0], pid_of(cluster[0], "slow"))
        before = cluster.now()
        with pytest.raises(CallTimeout, match="slow"):
            cluster[0].run(get, "slow", 1.5)
        assert cluster.now() - before == pytest.approx(1.5, abs=0.01)
        assert not hub_of(cluster[0]).changing


def test_a_call_that_waits_raises_no_process_when_the_child_is_stopped_meanwhile() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], ChildSpec("slow", (Slow.start_link, (3.0,)), shutdown=1.0))
        settle(cluster)
        owner = owner_of(cluster, "slow")
        kill(owner, pid_of(owner, "slow"))
        cluster.advance(0.1)
        errands = [node.begin(get, "slow", 30.0) for node in cluster]
        cluster.advance(0.1)
        stop(cluster[0], "slow")
        cluster.advance(0.1)
        for node, errand in zip(cluster, errands, strict=True):
            with pytest.raises(NoProcess):
                errand.outcome()
            assert not hub_of(node).changing


def test_a_cast_by_name_is_delivered() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], Counter.child_spec(id="kid"))
        settle(cluster)
        for node in cluster:
            node.run(GenServer.cast, ProcessHub.via(HUB, "kid"), "add")
        cluster.advance(0.1)
        assert cluster[0].run(get, "kid") == 2


def test_a_call_that_crashes_its_child_says_so() -> None:
    with cluster_of(1) as cluster:
        start(cluster[0], Counter.child_spec(id="kid"))
        with pytest.raises(ProcessExit, match="as asked"):
            cluster[0].run(GenServer.call, ProcessHub.via(HUB, "kid"), "crash")
        assert cluster[0].run(get, "kid") == 0


def test_calls_go_on_while_a_child_moves() -> None:
    with cluster_of(1) as cluster:
        start(cluster[0], [Stubborn.child_spec(1.0, id=f"s{n}") for n in range(5)] + counters(20))
        cluster.add()
        for _ in range(40):
            for number in range(20):
                assert cluster[0].run(get, f"c{number}", 5.0) == 0
            cluster.advance(0.1)
        settle(cluster)


def test_a_name_of_a_hub_that_stopped_raises_hub_not_alive() -> None:
    with cluster_of(1) as cluster:
        start(cluster[0], Counter.child_spec(id="kid"))
        cluster[0].run(ProcessHub.stop, HUB)
        with pytest.raises(HubNotAlive):
            cluster[0].run(get, "kid")


def test_via_names_are_values() -> None:
    assert ProcessHub.via("a", "b") == ProcessHub.via("a", "b")
    assert ProcessHub.via("a", "b") != ProcessHub.via("a", "c")
    assert ProcessHub.via("a", "b") != "b"
    assert len({ProcessHub.via("a", "b"), ProcessHub.via("a", "b")}) == 1
    assert repr(ProcessHub.via("a", "b")) == "ProcessHub.via('a', 'b')"
