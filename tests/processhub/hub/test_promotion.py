"""A hub that was started before its node joined a network, and joins the others when it is promoted."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from processhub import (
    CentralizedLoadBalancer,
    ConsistentHashing,
    GenServer,
    HubNotAlive,
    Node,
    Pid,
    ProcessHub,
    ProcessHubError,
    process,
)
from processhub.hub import promotion
from processhub.hub.config import HubConfig
from processhub.testing import Cluster, ClusterNode
from processhub.testing.cluster import build_node
from supervisor.runtime import NO_NODE, Runtime
from tests.processhub.hub.children import (
    HUB,
    Counter,
    Named,
    Slow,
    cluster_of,
    copies_alive,
    counters,
    hub_of,
    kill,
    local_pids,
    owner_of,
    part_of,
    pid_of,
    runs,
    settle,
    start,
    stop,
)
from tests.processhub.hub.test_coordinator import add_without_hub


def host(config: HubConfig, started: list[Pid]) -> None:
    started.append(ProcessHub.start_link(config))
    process.receive(lambda _: False)


def lone_node(cluster: Cluster, **options: Any) -> ClusterNode:
    """One node more, which runs the hub and has no name yet."""
    node = ClusterNode(cluster, len(cluster))
    cluster.nodes.append(node)
    node.lives, node.is_alive = 1, True
    node.clock = cluster.time.clock(node.name)
    node.runtime = Runtime(clock=node.clock)
    cluster.driver.watch(node.runtime)
    started: list[Pid] = []
    node.begin(host, HubConfig(HUB, **options), started)
    cluster.run_until(lambda: started)
    return node


def join(cluster: Cluster, node: ClusterNode) -> None:
    """What `Node.start` does."""
    node.transport = cluster.network.transport(node.name, "cookie")
    seeds = [other.name for other in cluster if other is not node]
    node.node = build_node(node.runtime, node.name, node.transport, seeds, "lone")
    node.run(node.node.begin, 1)
    cluster.run_until(cluster.is_connected)


def promote(cluster: Cluster, node: ClusterNode) -> None:
    node.run(ProcessHub.promote_to_node, HUB)
    settle(cluster)


@contextmanager
def lone_and_others(count: int, others: int = 2, **options: Any) -> Iterator[tuple[Cluster, ClusterNode]]:
    """A hub on `others` nodes, and a private one with children p0, p1, ... on a node that has joined these."""
    with cluster_of(others, **options) as cluster:
        node = lone_node(cluster, **options)
        if count:
            assert start(node, counters(count, "p"), metadata={"tag": "mine"}).status == "ok"
        join(cluster, node)
        yield cluster, node


def test_a_promoted_hub_alone_on_its_network_keeps_every_process() -> None:
    with Cluster(0) as cluster:
        node = lone_node(cluster)
        start(node, counters(20, "p"), metadata={"tag": "mine"})
        before = local_pids(node)
        node.run(GenServer.cast, before["p1"], "add")
        join(cluster, node)
        promote(cluster, node)
        assert local_pids(node) == before
        assert all(pid.node == node.name for pid in before.values())
        assert node.run(ProcessHub.nodes, HUB, True) == [node.name]
        assert node.run(ProcessHub.process_list, HUB) == {i: {node.name: pid} for i, pid in before.items()}
        assert node.run(ProcessHub.owners, HUB, "p1") == [node.name]
        assert sorted(node.run(ProcessHub.tag_query, HUB, "mine")) == sorted(before)
        assert node.run(GenServer.call, ProcessHub.via(HUB, "p1"), "get") == 1


def test_until_it_is_promoted_a_hub_works_and_is_no_member_of_anything() -> None:
    with lone_and_others(5) as (cluster, node):
        cluster.advance(60.0)
        others = [cluster[0], cluster[1]]
        for other in others:
            assert other.run(ProcessHub.nodes, HUB, True) == [found.name for found in others]
            assert other.run(ProcessHub.process_list, HUB) == {}
        assert node.run(ProcessHub.nodes, HUB, True) == [NO_NODE]
        assert start(node, counters(5, "q")).status == "ok"
        assert stop(node, "p0").status == "ok"
        kill(node, pid_of(node, "p1"))
        node.run(ProcessHub.await_settled, HUB, 5.0)
        assert sorted(local_pids(node)) == ["p1", "p2", "p3", "p4", *(f"q{n}" for n in range(5))]
        (listed,) = node.run(ProcessHub.which_children, HUB).values()
        assert {entry.id: entry.pid for entry in listed} == local_pids(node)


@pytest.mark.parametrize("part", ["coordinator", "system_registry", "event_queue", "distributed_supervisor"])
def test_a_part_of_a_private_hub_that_is_restarted_stays_private(part: str) -> None:
    with lone_and_others(5) as (cluster, node):
        name = HUB if part == "coordinator" else f"{HUB}.{part}"
        kill(node, node.runtime.names[name].pid)
        cluster.advance(30.0)
        assert hub_of(cluster[0]).others() == [cluster[1].name]
        assert sorted(local_pids(node)) == [f"p{n}" for n in range(5)]
        promote(cluster, node)
        assert copies_alive(cluster, [f"p{n}" for n in range(5)])


def test_a_private_hub_holds_up_nobody_who_joins_and_is_not_observed() -> None:
    with lone_and_others(3) as (cluster, node):
        late = add_without_hub(cluster)
        late.begin(host, HubConfig(HUB), [])
        assert settle(cluster, among=[0, 1, late.index]) < 2.0
        assert node.run(ProcessHub.nodes, HUB) == []
    with Cluster(0) as cluster:
        node = lone_node(cluster)
        join(cluster, node)
        watcher = cluster.add()
        cluster.run_until(cluster.is_connected)
        with pytest.raises(HubNotAlive):
            watcher.run(ProcessHub.observe, HUB)


def test_a_promoted_hub_joins_the_others_and_no_child_is_lost() -> None:
    with lone_and_others(30) as (cluster, node):
        start(cluster[0], counters(30))
        settle(cluster, among=[0, 1])
        stays, theirs = local_pids(node), {**local_pids(cluster[0]), **local_pids(cluster[1])}
        promote(cluster, node)
        ids = [*(f"p{n}" for n in range(30)), *(f"c{n}" for n in range(30))]
        assert copies_alive(cluster, ids)
        assert sorted(runs(cluster)) == sorted(ids)
        for child_id in ids:
            owner = owner_of(cluster, child_id)
            assert runs(cluster)[child_id] == [owner.name]
            if owner is node and child_id in stays:
                assert pid_of(cluster[0], child_id) == stays[child_id]
            elif owner is not node and child_id in theirs:
                assert pid_of(node, child_id) == theirs[child_id]


def test_children_that_were_dealt_out_by_load_stay_where_they_are() -> None:
    with lone_and_others(12, 2, distribution_strategy=CentralizedLoadBalancer()) as (cluster, node):
        start(cluster[0], counters(12))
        settle(cluster, among=[0, 1])
        before = {**local_pids(node), **local_pids(cluster[0]), **local_pids(cluster[1])}
        promote(cluster, node)
        assert {child_id: pid_of(cluster[0], child_id) for child_id in before} == before
        assert len(before) == 24


def test_children_that_run_in_both_are_one_child_afterwards() -> None:
    with lone_and_others(0) as (cluster, node):
        specs = [Named.child_spec(f"n{n}", id=f"n{n}") for n in range(20)]
        start(node, specs)
        start(cluster[0], specs)
        settle(cluster, among=[0, 1])
        mine = local_pids(node)
        promote(cluster, node)
        assert copies_alive(cluster, [f"n{n}" for n in range(20)])
        for child_id in mine:
            if owner_of(cluster, child_id) is node:
                assert pid_of(cluster[0], child_id) == mine[child_id]


def test_starts_stops_and_crashes_during_a_promotion_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotion, "SLICE", 3)
    monkeypatch.setattr(promotion, "give_way", lambda me: process.sleep(0.01))
    with lone_and_others(30, 1) as (cluster, node):
        slow = node.begin(lambda: ProcessHub.start_child(HUB, Slow.child_spec(0.2, id="slow")).result())
        promoting = [node.begin(ProcessHub.promote_to_node, HUB) for _ in range(2)]
        cluster.advance(0.05)
        assert start(node, counters(5, "q")).status == "ok"
        assert stop(node, ["p1", "p29"]).status == "ok"
        kill(node, pid_of(node, "p2"))
        cluster.run_until(lambda: slow.is_over() and all(one.is_over() for one in promoting))
        for one in promoting:
            one.outcome()
        assert slow.outcome().status == "ok"
        settle(cluster)
        left = {*(f"p{n}" for n in range(30)), *(f"q{n}" for n in range(5)), "slow"} - {"p1", "p29"}
        assert set(runs(cluster)) == left
        assert copies_alive(cluster, left)


class Caller(GenServer):
    """Is started with the pid of somebody, and calls it."""

    def init(self, pid: Pid) -> None:
        self.state = pid

    def handle_call(self, request: Any, from_: Any) -> Any:
        return GenServer.call(self.state, "get")


def test_pids_among_the_arguments_of_children_stay_valid_wherever_these_go() -> None:
    with cluster_of(2) as cluster:
        node = lone_node(cluster)
        friend = node.run(Counter.start)
        start(node, [Caller.child_spec(friend, id=f"caller{n}") for n in range(10)])
        join(cluster, node)
        kill(node, pid_of(node, "caller1"))
        node.run(ProcessHub.await_settled, HUB, 5.0)
        assert node.run(GenServer.call, ProcessHub.via(HUB, "caller1"), "ask") == 0
        promote(cluster, node)
        assert len({owner_of(cluster, f"caller{n}").name for n in range(10)}) == 3
        for n in range(10):
            assert cluster[0].run(GenServer.call, ProcessHub.via(HUB, f"caller{n}"), "ask") == 0


@pytest.mark.parametrize("how", ["leave", "crash"])
def test_a_promoted_hub_leaves_and_is_missed_like_any_other(how: str) -> None:
    with lone_and_others(12) as (cluster, node):
        promote(cluster, node)
        getattr(cluster, how)(node)
        settle(cluster)
        assert copies_alive(cluster, [f"p{n}" for n in range(12)])


def test_a_promoted_hub_is_drained_before_its_node_leaves_and_told_of_nodes() -> None:
    with lone_and_others(12, 1) as (cluster, node):
        promote(cluster, node)
        watchers = {process.pid for process in node.node._watchers.values()}
        assert node.runtime.names[f"{HUB}.event_queue"].pid in watchers
        node.run(node.node.end)
        assert not node.run(ProcessHub.is_alive, HUB)
        settle(cluster, among=[0])
        assert copies_alive(cluster, [f"p{n}" for n in range(12)])


def test_a_promoted_hub_learns_of_nodes_that_come_and_go() -> None:
    with lone_and_others(12, 1) as (cluster, node):
        promote(cluster, node)
        cluster.add()
        settle(cluster)
        cluster.crash(0)
        assert settle(cluster) < 5.0
        assert copies_alive(cluster, [f"p{n}" for n in range(12)])


def test_a_private_hub_survives_the_end_of_its_node() -> None:
    with lone_and_others(5) as (cluster, node):
        before = local_pids(node)
        kill(node, node.runtime.names[f"{HUB}.system_registry"].pid)
        cluster.advance(0.1)
        node.run(node.node.end)
        assert local_pids(node) == before
        assert start(node, counters(1)).status == "ok"


def test_a_hub_that_has_the_name_already_is_left_as_it_is() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], counters(5))
        registry = hub_of(cluster[0]).registry
        cluster[0].run(ProcessHub.promote_to_node, HUB, cluster[0].name)
        assert hub_of(cluster[0]).registry is registry
        assert part_of(cluster[0], "coordinator") is not None


def test_a_promotion_that_makes_no_sense_is_refused() -> None:
    with cluster_of(1) as cluster:
        node = lone_node(cluster)
        with pytest.raises(ProcessHubError, match=r"call Node.start\(name\) first"):
            node.run(ProcessHub.promote_to_node, HUB)
        join(cluster, node)
        with pytest.raises(ValueError, match="promoted to the node that it runs on"):
            node.run(ProcessHub.promote_to_node, HUB, cluster[0].name)
        with pytest.raises(HubNotAlive):
            node.run(ProcessHub.promote_to_node, "other")
        node.run(ProcessHub.promote_to_node, HUB, node.name)
        settle(cluster)


@dataclass(frozen=True)
class OtherHashing(ConsistentHashing):
    """Places children as the default does, and is another strategy nevertheless."""


def test_a_promoted_hub_with_other_options_is_refused_and_keeps_its_children(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    with cluster_of(1) as cluster:
        node = lone_node(cluster, distribution_strategy=OtherHashing())
        start(node, counters(5, "p"))
        before = local_pids(node)
        join(cluster, node)
        node.run(ProcessHub.promote_to_node, HUB)
        cluster.advance(20.0)
        assert local_pids(node) == before
        assert node.run(ProcessHub.nodes, HUB) == []


def test_a_private_hub_is_listed_once_it_is_promoted() -> None:
    with lone_and_others(0) as (cluster, node):
        assert cluster[0].run(ProcessHub.hub_ids, node.name) == []
        assert cluster[0].run(Node.info, node.name).services == {HUB: "private"}
        promote(cluster, node)
        assert cluster[0].run(ProcessHub.hub_ids, node.name) == [HUB]
