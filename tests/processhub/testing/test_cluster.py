"""A cluster in one operating-system process: nodes find, lose and find each other again in virtual time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

import supervisor.processes as process
from processhub.testing import Cluster
from supervisor.gen_server import GenServer


class Echo(GenServer):
    def handle_call(self, request: Any, from_: Any) -> Any:
        return request


@pytest.fixture
def three() -> Iterator[Cluster]:
    with Cluster(3) as cluster:
        yield cluster


def names(cluster: Cluster, *numbers: int) -> list[str]:
    return [cluster[number].name for number in numbers]


def test_the_nodes_are_connected_and_run_processes_that_reach_each_other(three: Cluster) -> None:
    def serve() -> str:
        Echo.start(name="echo")
        return process.self().node

    assert three[2].run(serve) == three[2].name
    assert three[0].run(GenServer.call, ("echo", three[2].name), "hello", timeout=1.0) == "hello"


def test_a_crash_is_noticed_within_half_a_second(three: Cluster) -> None:
    crashed_at = three.now()
    three.crash(1)
    three.run_until(three.is_connected)
    assert three.now() - crashed_at < 0.5
    assert (three[0].peers(), three[1].peers()) == (names(three, 2), [])


def test_a_crashed_node_runs_nothing_more(three: Cluster) -> None:
    seen: list[str] = []

    def work() -> None:
        process.sleep(1.0)
        seen.append("ran")

    three[1].begin(work)
    three.crash(1)
    three.advance(10.0)
    assert seen == []
    with pytest.raises(RuntimeError, match="cannot run anything"):
        three[1].run(work)


def test_a_restarted_node_joins_as_another_life(three: Cluster) -> None:
    def me() -> Any:
        return process.self()

    before = three[1].run(me)
    three.restart(1)
    three.run_until(three.is_connected)
    after = three[1].run(me)
    assert (before.node, before.incarnation) != (after.node, after.incarnation)
    assert before.node == after.node


def test_a_partition_splits_the_views_and_a_heal_joins_them_within_seconds(three: Cluster) -> None:
    three.partition([[0, 1], [2]])
    three.advance(20.0)
    assert [node.peers() for node in three] == [names(three, 1), names(three, 0), []]
    three.advance(300.0)  # long enough for the longest pauses between attempts
    three.heal()
    three.run_until(three.is_connected, timeout=10.0)


def test_a_node_that_stands_still_for_20_seconds_is_not_lost_and_loses_nobody(three: Cluster) -> None:
    three.pause(1, 20.0)
    for _ in range(60):
        three.advance(0.5)
        assert three.is_connected()


def test_a_node_that_stands_still_for_too_long_is_lost_and_comes_back(three: Cluster) -> None:
    three.pause(1, 40.0)
    three.advance(39.0)
    assert three[0].peers() == names(three, 2)
    assert three[1].peers() == names(three, 0, 2)
    with pytest.raises(RuntimeError, match="paused"):
        three[1].run(process.self)
    three.run_until(three.is_connected, timeout=10.0)


def test_a_one_way_cut_ends_the_membership_on_both_sides(three: Cluster) -> None:
    three.cut(0, 1)
    three.advance(30.0)
    assert three[0].peers() == names(three, 2)
    assert three[1].peers() == names(three, 2)
    three.heal()
    three.run_until(three.is_connected, timeout=10.0)


def test_a_node_that_leaves_is_gone_at_once_and_one_that_is_added_joins(three: Cluster) -> None:
    left_at = three.now()
    three.leave(0)
    three.run_until(three.is_connected)
    assert three.now() - left_at < 0.1
    added = three.add()
    three.run_until(three.is_connected, timeout=5.0)
    assert added.peers() == names(three, 1, 2)


def test_links_survive_frames_that_are_lost_doubled_and_overtaken(three: Cluster) -> None:
    three[1].run(Echo.start, name="echo")
    three.drop(0, 1, 0.02)
    three.delay(0, 1, 0.01, jitter=0.01)
    three.duplicate(1, 0, 0.2)
    three.reorder(1, 0, 0.05)
    three.advance(120.0)
    three.network.calm()
    three.run_until(three.is_connected, timeout=20.0)
    assert three[0].run(GenServer.call, ("echo", three[1].name), 1, timeout=1.0) == 1


def replay(seed: int) -> str:
    """A digest of every frame of an eventful minute, with its time."""
    digest = hashlib.sha256()
    with Cluster(4, seed=seed) as cluster:
        cluster.network.tap = lambda *frame: digest.update(repr(frame).encode())
        cluster.drop(0, 1, 0.1)
        cluster.delay(1, 2, 0.01, jitter=0.05)
        cluster.reorder(2, 0, 0.2)
        cluster.advance(10.0)
        cluster.partition([[0, 1], [2, 3]])
        cluster.crash(3)
        cluster.advance(20.0)
        cluster.heal()
        cluster.restart(3)
        cluster.advance(30.0)
    return digest.hexdigest()


def test_a_seed_replays_every_frame() -> None:
    assert replay(1) == replay(1)
    assert replay(1) != replay(2)


def test_frames_that_a_sinking_delay_pushes_together_keep_their_order() -> None:
    """Those that were to arrive at one instant overtook each other by a rounding error: `now + (at - now)` is not `at`
    while the clock shows little. The link was ended, since frames were missing."""

    def collect(count: int) -> list[Any]:
        return [process.receive(timeout=5.0) for _ in range(count)]

    random = Random("sinking")
    with Cluster(2, seed=1) as cluster:
        cluster.advance(0.01)
        collector = cluster[1].begin(collect, 100)
        cluster.delay(0, 1, 0.7)
        for number in range(100):
            cluster[0].run(process.send, collector.pid, number)
            cluster.delay(0, 1, 0.0)
            cluster.advance(random.random() * 0.004)
        cluster.advance(1.0)
        assert collector.outcome() == list(range(100))
