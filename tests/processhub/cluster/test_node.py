"""Nodes: starting and stopping, names and lives, who learns of whom, partitions. On virtual time where it can be."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

import supervisor.processes as process
from processhub.cluster.messages import NodeDown, NodeUp
from processhub.cluster.node import Node, NodeError
from processhub.testing import Cluster, ClusterNode
from supervisor.errors import NoConnection, NoProcess
from supervisor.gen_server import GenServer
from supervisor.runtime import Runtime
from tests.processhub.cluster.servers import Echo, call, start


@pytest.fixture
def pair() -> Iterator[Cluster]:
    with Cluster(2) as cluster:
        yield cluster


@pytest.fixture
def three() -> Iterator[Cluster]:
    with Cluster(3) as cluster:
        yield cluster


def all_linked(cluster: Cluster) -> bool:
    """Whether everybody is a member, and has a link that is up, to everybody: a suspect is a member without one."""
    alive = [node for node in cluster if node.is_alive]
    pairs = [(node, peer) for node in alive for peer in alive if node is not peer]
    return cluster.is_connected() and all(node.node.links.connected(peer.name) for node, peer in pairs)


# -- without a node --------------------------------------------------------------------------------------------------


def test_without_start_there_is_no_node() -> None:
    assert Node.self() == "nonode@nohost"
    assert Node.list() == []
    for ask in (lambda: Node.connect("a@127.0.0.1:1"), lambda: Node.disconnect("a@127.0.0.1:1")):
        with pytest.raises(NodeError, match=r"Node\.start"):
            ask()
    Node.stop()


@pytest.mark.parametrize("name", ["", "a", "a@b", "a@b:", "@b:1", "a@:1", "a@b:x", "a@b:65536", "a b:1"])
def test_a_bad_name_is_a_value_error_that_shows_a_good_one(pair: Cluster, name: str) -> None:
    with pytest.raises(ValueError, match="name@host:port"):
        Node.start(name, cookie="x")
    with pytest.raises(ValueError, match="name@host:port"):
        pair[0].run(Node.connect, name)


# -- names and lives -------------------------------------------------------------------------------------------------


def test_a_node_is_connected_to_itself(pair: Cluster) -> None:
    assert pair[0].run(Node.connect, pair[0].name) is True
    assert pair[0].run(Node.list) == [pair[1].name]


def test_connect_says_false_when_nobody_answers(pair: Cluster) -> None:
    began = pair.now()
    assert pair[0].run(Node.connect, "nobody@127.0.0.1:9") is False
    assert pair.now() - began < 5.1
    assert not pair[0].node._connecting


def start_on(runtime: Runtime, cluster: Cluster) -> Any:
    return cluster.driver.run(runtime, lambda: Echo.start(name="early"))


def test_pids_made_before_start_stay_valid_after_it_and_on_other_nodes() -> None:
    with Cluster(1) as cluster:
        here = cluster[0]
        here.run(here.node.end)
        pid = start_on(here.runtime, cluster)
        assert pid.node == "nonode@nohost"
        # The same runtime joins the network: as Node.start does with the default one.
        from processhub.testing.cluster import build_node

        here.transport = cluster.network.transport(here.name, "cookie")
        here.node = build_node(here.runtime, here.name, here.transport, [], "again")
        here.run(here.node.begin, 2)
        there = cluster.add()
        cluster.run_until(lambda: all_linked(cluster))
        assert pid.node == here.name
        found = there.run(lambda: GenServer.call(("early", here.name), "casts"))
        assert found == []
        here.run(GenServer.cast, pid, pid)
        assert there.run(lambda: GenServer.call(("early", here.name), "casts")) == [pid]
        assert call(there, pid, "hello") == "hello"


def restart_with(cluster: Cluster, node: ClusterNode, incarnation: int) -> None:
    """Start it anew as a life with this incarnation."""
    node.lives = incarnation - 1
    cluster.seed = f"{cluster.seed}, again"  # or it would draw the same numbers as its earlier life
    cluster.restart(node)


def test_pids_of_an_earlier_life_are_dead(pair: Cluster) -> None:
    here, there = pair
    old = start(there, Echo, "echo")
    pair.restart(there)
    start(there, Echo, "echo")
    pair.run_until(lambda: all_linked(pair))
    with pytest.raises(NoProcess):
        call(here, old, "?")
    assert call(here, ("echo", there.name), "!") == "!"
    # The node itself knows them as dead, too, and not as somebody it is not connected to.
    with pytest.raises(NoProcess):
        call(there, old, "?")
    assert there.run(lambda: (process.monitor(old), process.receive(timeout=0).reason)[1]) == "noproc"


@pytest.mark.parametrize("incarnation", [1, 3, 5])
def test_a_restart_with_an_equal_or_lower_incarnation_takes_a_higher_one_before_a_pid_leaves(incarnation: int) -> None:
    with Cluster(2) as cluster:
        here, there = cluster
        restart_with(cluster, there, 5)
        cluster.run_until(lambda: all_linked(cluster))
        old = start(there, Echo, "echo")
        call(here, old, "so it is known here")
        cluster.crash(there)
        cluster.run_until(lambda: not here.peers())
        restart_with(cluster, there, incarnation)
        new = start(there, Echo, "echo")
        cluster.run_until(lambda: all_linked(cluster))
        assert there.runtime.home.incarnation > 5
        assert call(here, new, "!") == "!"
        with pytest.raises(NoProcess):
            call(here, old, "?")


def test_a_restart_is_a_node_down_and_a_node_up_in_this_order(pair: Cluster) -> None:
    here, there = pair
    heard: list[Any] = []
    here.run(lambda: process.spawn(watch_nodes, heard))
    pair.settle()
    pair.restart(there)
    pair.run_until(lambda: all_linked(pair))
    pair.advance(3.0)
    assert heard == [NodeDown(there.name), NodeUp(there.name)]


def watch_nodes(heard: list[Any]) -> None:
    Node.monitor_nodes(True)
    while True:
        heard.append(process.receive())


def test_who_no_longer_watches_nodes_hears_nothing(pair: Cluster) -> None:
    here, there = pair

    def body() -> bool:
        Node.monitor_nodes(True)
        Node.monitor_nodes(False)
        Node.disconnect(there.name)
        process.sleep(1.0)
        return bool(process.info(process.self())["queue_length"])  # type: ignore[index]

    assert here.run(body) is False


# -- leaving ---------------------------------------------------------------------------------------------------------


def test_disconnect_ends_the_connection_on_both_sides(pair: Cluster) -> None:
    here, there = pair
    heard: list[Any] = []
    there.run(lambda: process.spawn(watch_nodes, heard))
    start(there, Echo, "echo")
    here.run(Node.disconnect, there.name)
    pair.advance(0.5)
    assert here.peers() == there.peers() == []
    assert heard == [NodeDown(here.name)]
    with pytest.raises(NoConnection):
        call(here, ("echo", there.name), 1)
    here.run(Node.disconnect, there.name)
    here.run(Node.disconnect, "nobody@127.0.0.1:9")
    assert here.run(Node.connect, there.name) is True
    assert here.node.membership.status(there.name) == "alive"
    pair.run_until(lambda: all_linked(pair))


def test_stop_tells_the_peers_drains_first_and_works_twice(pair: Cluster) -> None:
    here, there = pair
    heard: list[Any] = []
    start(here, Echo, "echo")
    here.run(lambda: process.spawn(watch_nodes, heard))
    there.run(lambda: process.spawn(watch_nodes, heard))
    drained: list[list[str]] = []
    here.node.on_stop += [fail, lambda: drained.append(here.node.peers())]
    began = pair.now()
    here.run(lambda: (Node.stop(), Node.stop()))
    assert here.run(Node.self) == "nonode@nohost"
    assert drained == [[there.name]]
    pair.advance(0.5)
    assert heard == [NodeDown(there.name), NodeDown(here.name)]
    assert there.peers() == []
    assert pair.now() - began < 1.0
    assert here.run(GenServer.call, "echo", 1) == 1  # its processes live on
    assert here.run(process.whereis, "processhub.node") is None


def fail() -> None:
    raise RuntimeError("this drain fails")


def test_stop_waits_for_a_drain_no_longer_than_its_timeout(pair: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    here, _there = pair
    here.node.on_stop.append(lambda: process.sleep(100.0))
    began = pair.now()
    with caplog.at_level(logging.WARNING):
        here.run(Node.stop, 2.0)
    assert pair.now() - began == pytest.approx(2.0, abs=0.1)
    assert "before" in caplog.text


# -- who learns of whom ----------------------------------------------------------------------------------------------


def test_nodes_learn_of_each_other_through_a_third(three: Cluster) -> None:
    # The seeds of `Cluster` name all that were there before; so a fourth that names only one is made by hand.
    from random import Random

    from processhub.cluster.discovery import StaticSeeds
    from processhub.testing.cluster import ClusterNode as Made

    fourth = Made(three, 3)
    fourth.lives, fourth.is_alive = 1, True
    fourth.clock = three.time.clock(fourth.name)
    fourth.runtime = Runtime(clock=fourth.clock)
    fourth.transport = three.network.transport(fourth.name, "cookie")
    seeds = StaticSeeds([three[1].name])
    fourth.node = Node(fourth.runtime, fourth.name, fourth.transport, discovery=seeds, rng=Random(4))
    three.nodes.append(fourth)
    three.driver.watch(fourth.runtime)
    fourth.run(fourth.node.begin, 1)
    three.run_until(three.is_connected, 5.0)


@pytest.mark.parametrize("seed", range(4))
def test_overlapping_partitions_leave_nothing_behind_once_healed(seed: int) -> None:
    with Cluster(3, seed) as cluster:
        a, b, c = cluster
        for node in cluster:
            start(node, Echo, "echo")
        cluster.cut(a, c)
        cluster.cut(c, a)
        cluster.run_until(lambda: c.name not in a.peers() and a.name not in c.peers())
        assert call(a, ("echo", b.name), 1) == 1
        assert call(c, ("echo", b.name), 1) == 1
        cluster.advance(30.0)
        cluster.heal()
        cluster.run_until(lambda: all_linked(cluster), 30.0)
        everybody_calls_everybody(cluster)


def everybody_calls_everybody(cluster: Cluster) -> None:
    for node in cluster:
        for peer in cluster:
            assert call(node, ("echo", peer.name), peer.name) == peer.name


@pytest.mark.parametrize("seed", range(4))
def test_a_one_way_cut_is_noticed_by_both_and_heals(seed: int) -> None:
    with Cluster(2, seed) as cluster:
        for node in cluster:
            start(node, Echo, "echo")
        cluster.cut(0, 1)
        cluster.run_until(lambda: not cluster[0].peers() and not cluster[1].peers(), 90.0)
        cluster.heal()
        cluster.run_until(lambda: all_linked(cluster), 30.0)
        everybody_calls_everybody(cluster)


@pytest.mark.parametrize("seed", range(4))
def test_a_flapping_link_ends_up_connected_with_nothing_left(seed: int) -> None:
    with Cluster(3, seed) as cluster:
        for node in cluster:
            start(node, Echo, "echo")
        for _ in range(30):
            cluster.cut(0, 1)
            cluster.cut(1, 0)
            cluster.advance(1.0)
            cluster.heal()
            cluster.advance(1.0)
        cluster.run_until(lambda: all_linked(cluster), 30.0)
        cluster.advance(5.0)
        everybody_calls_everybody(cluster)
        for node in cluster:
            links = node.node.links
            assert sorted(links.by_node) == node.peers()
            assert len(links.by_session) == 2
