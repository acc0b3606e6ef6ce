"""Hubs that join and leave, hubs that do not fit together, and parts of a hub that crash."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import pytest

from processhub import ConsistentHashing, GenServer, ProcessHub, Singularity, process
from processhub.hub.config import HubConfig
from processhub.testing import Cluster, ClusterNode
from tests.processhub.hub.children import (
    HUB,
    Counter,
    Named,
    Stubborn,
    cluster_of,
    copies_alive,
    counters,
    hub_of,
    journal,
    kill,
    owner_of,
    part_of,
    pid_of,
    runs,
    settle,
    start,
    stop,
)

IDS = [f"c{n}" for n in range(30)]
PARTS = (
    "system_registry",
    "event_queue",
    "distributed_supervisor",
    "task_supervisor",
    "coordinator",
    "worker_queue",
    "janitor",
)


def host(config: Any) -> None:
    ProcessHub.start_link(config)
    process.receive(lambda _: False)


def add_without_hub(cluster: Cluster) -> ClusterNode:
    """One node more, connected, that does not run the hub."""
    hubs, cluster._hubs = cluster._hubs, []
    node = cluster.add()
    cluster._hubs = hubs
    cluster.run_until(cluster.is_connected)
    return node


def pids(cluster: Cluster) -> dict[str, Any]:
    return {child_id: pid_of(cluster[0], child_id) for child_id in IDS}


def part_name(part: str) -> str:
    return HUB if part == "coordinator" else f"{HUB}.{part}"


# -- joining and leaving ---------------------------------------------------------------------------------------------


def test_when_a_node_joins_only_the_children_that_move_move() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        before = pids(cluster)
        cluster.add()
        assert settle(cluster) < 1.0
        after = pids(cluster)
        moved = {child_id for child_id in IDS if after[child_id] != before[child_id]}
        assert moved == {child_id for child_id in IDS if owner_of(cluster, child_id) is cluster[2]}
        assert 0 < len(moved) < 20
        assert copies_alive(cluster, IDS)


def test_a_child_that_moves_stops_before_it_starts_elsewhere() -> None:
    with cluster_of(1) as cluster:
        specs = [Stubborn.child_spec(1.0, id=f"s{n}") for n in range(10)]
        start(cluster[0], specs)
        cluster.add()
        most = 0
        while cluster.now() < 10.0:
            cluster.advance(0.05)
            most = max([most, *(len(nodes) for nodes in runs(cluster).values())])
        assert most == 1
        settle(cluster)
        assert len({nodes[0] for nodes in runs(cluster).values()}) == 2


def test_a_node_that_leaves_in_good_order_hands_over_at_once() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        before = pids(cluster)
        cluster.leave(1)
        assert settle(cluster) < 1.0
        after = pids(cluster)
        assert all(before[c].node == cluster[1].name for c in IDS if after[c] != before[c])
        assert copies_alive(cluster, IDS)


def test_a_node_that_leaves_stops_its_children_before_the_others_start_them() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], [Stubborn.child_spec(1.0, id=f"s{n}") for n in range(10)])
        settle(cluster)
        most: list[int] = []
        cluster.network.tap = lambda *_: most.append(max([0, *(len(nodes) for nodes in runs(cluster).values())]))
        cluster.leave(1)
        settle(cluster)
        assert max(most) == 1
        assert len(runs(cluster)) == 10


def test_a_node_comes_back_late_and_gets_its_children_back() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        owned = {child_id for child_id in IDS if owner_of(cluster, child_id) is cluster[2]}
        cluster.crash(2)
        cluster.advance(60.0)
        assert copies_alive(cluster, IDS)
        stop(cluster[0], ["c0", "c1"])
        start(cluster[1], counters(5, prefix="d"))
        cluster.restart(2)
        settle(cluster)
        assert {child_id for child_id, nodes in runs(cluster).items() if nodes == [cluster[2].name]} >= owned - {
            "c0",
            "c1",
        }
        assert sorted(runs(cluster)) == sorted([*IDS[2:], *(f"d{n}" for n in range(5))])


def test_many_nodes_that_join_at_once_settle() -> None:
    with cluster_of(1) as cluster:
        start(cluster[0], counters(30))
        nodes = [add_without_hub(cluster) for _ in range(4)]
        for node in nodes:
            node.begin(host, HubConfig(HUB))
        settle(cluster)
        assert copies_alive(cluster, IDS)
        assert len({nodes[0] for nodes in runs(cluster).values()}) == 5


def test_nodes_without_the_hub_are_no_members() -> None:
    with cluster_of(2) as cluster:
        node = add_without_hub(cluster)
        start(cluster[0], counters(30))
        cluster.advance(30.0)
        settle(cluster, among=[0, 1])
        assert not node.run(ProcessHub.is_alive, HUB)
        assert copies_alive(cluster, IDS)


def test_a_hub_that_starts_later_on_a_connected_node_is_found_at_once() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], counters(30))
        node = add_without_hub(cluster)
        cluster.advance(33.3)
        node.begin(host, HubConfig(HUB))
        cluster.advance(0.0)
        cluster.run_until(lambda: node.runtime.services.get(HUB) is not None)
        assert settle(cluster) < 1.0
        assert copies_alive(cluster, IDS)


def test_a_member_that_is_silent_holds_a_join_up_for_the_base_timeout_only() -> None:
    with cluster_of(2, migr_base_timeout=3.0) as cluster:
        start(cluster[0], counters(30))
        node = add_without_hub(cluster)
        cluster.pause(1)
        node.begin(host, HubConfig(HUB, migr_base_timeout=3.0))
        cluster.advance(1.0)
        assert not hub_of(node).joined
        cluster.advance(3.0)
        assert hub_of(node).joined
        cluster.resume(1)
        settle(cluster)
        assert copies_alive(cluster, IDS)


def test_the_hub_is_locked_only_while_something_moves() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        assert not any(node.run(ProcessHub.is_locked, HUB) for node in cluster)
        cluster.add()
        settle(cluster)
        assert not any(node.run(ProcessHub.is_locked, HUB) for node in cluster)


def test_starts_go_on_while_nodes_come_and_go() -> None:
    with cluster_of(2) as cluster:
        for number in range(10):
            if number == 2:
                cluster.add()
            if number == 5:
                cluster.crash(1)
            spec = Counter.child_spec(id=f"c{number}")
            result = start(cluster[0], spec)
            if result.errors:  # the owner was dying just then
                assert [error.reason for error in result.errors] == ["noconnection"]
                settle(cluster)
                result = start(cluster[0], spec)
            assert result.status == "ok"
        settle(cluster)
        assert copies_alive(cluster, [f"c{n}" for n in range(10)])


def test_a_hub_whose_processes_are_all_killed_is_missed_soon() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        node = cluster[1]
        initializer = hub_of(node).initializer
        kill(node, initializer)
        assert settle(cluster, among=[0, 2]) < 5.0
        assert copies_alive(cluster, IDS)


# -- hubs that do not fit together -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class OtherHashing(ConsistentHashing):
    """A strategy of another name."""


@dataclass(frozen=True)
class Weighted(Singularity):
    """A strategy with an option."""

    weight: int = 1


@pytest.mark.parametrize(
    ("one", "other", "field"),
    [
        ({}, {"distribution_strategy": OtherHashing()}, "distribution_strategy"),
        ({"redundancy_strategy": Weighted()}, {"redundancy_strategy": Weighted(2)}, "redundancy_strategy.weight"),
        ({}, {"redundancy_strategy": Weighted()}, "redundancy_strategy"),
    ],
)
def test_a_hub_with_other_options_is_refused_on_both_sides_with_the_field_named(
    one: dict[str, Any], other: dict[str, Any], field: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    with cluster_of(2, **one) as cluster:
        start(cluster[0], counters(10))
        stranger = add_without_hub(cluster)
        stranger.begin(host, HubConfig(HUB, **other))
        cluster.advance(35.0)
        names = [node.name for node in cluster]
        assert cluster[0].run(ProcessHub.nodes, HUB, True) == names[:2]
        assert cluster[1].run(ProcessHub.nodes, HUB, True) == names[:2]
        assert stranger.run(ProcessHub.nodes, HUB, True) == [stranger.name]
        assert hub_of(stranger).joined
        assert stranger.run(ProcessHub.registry_dump, HUB) == {}
        refusals = [record.getMessage() for record in caplog.records if field in record.getMessage()]
        assert any(stranger.name in message and "refused" in message for message in refusals)
        assert any(names[0] in message and "refuses" in message for message in refusals)
        settle(cluster, among=[0, 1])
        assert copies_alive(cluster, [f"c{n}" for n in range(10)])


def test_a_refused_hub_joins_when_it_comes_back_with_the_right_options() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], counters(30))
        stranger = add_without_hub(cluster)
        stranger.begin(host, HubConfig(HUB, distribution_strategy=OtherHashing()))
        cluster.advance(5.0)
        stranger.run(ProcessHub.stop, HUB)
        stranger.begin(host, HubConfig(HUB))
        settle(cluster)
        assert copies_alive(cluster, IDS)


# -- parts that crash ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [part for part in PARTS if part != "distributed_supervisor"])
def test_a_part_that_is_killed_leaves_the_children_running_and_the_hub_works_on(part: str) -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        before = pids(cluster)
        for node in cluster:
            kill(node, node.runtime.names[part_name(part)].pid)
        assert settle(cluster) < 2.0
        assert pids(cluster) == before
        works(cluster)


def works(cluster: Cluster) -> None:
    """Start, call, stop, restart, crash and join still do what they should."""
    assert start(cluster[0], counters(5, prefix="x")).status == "ok"
    assert cluster[0].run(GenServer.call, ProcessHub.via(HUB, "x1"), "get") == 0
    assert stop(cluster[1], [f"x{n}" for n in range(5)]).status == "ok"
    cluster.crash(2)
    settle(cluster)
    assert copies_alive(cluster, IDS)
    cluster.restart(2)
    settle(cluster)
    assert copies_alive(cluster, IDS)


@pytest.mark.parametrize("part", PARTS)
def test_a_node_that_dies_while_a_part_is_killed_is_not_forgotten(part: str) -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        for delay in (0.0, 0.05):
            cluster.crash(2)
            cluster.advance(delay)
            for node in cluster.nodes[:2]:
                kill(node, node.runtime.names[part_name(part)].pid)
            assert settle(cluster) < 12.0
            assert copies_alive(cluster, IDS)
            cluster.restart(2)
            settle(cluster)


@pytest.mark.parametrize("part", PARTS)
def test_a_node_leaves_in_good_order_though_parts_were_killed_before(part: str) -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], counters(30))
        for _ in range(2):
            kill(cluster[1], cluster[1].runtime.names[part_name(part)].pid)
            settle(cluster)
        cluster.leave(1)
        assert settle(cluster) < 1.0
        assert copies_alive(cluster, IDS)
        assert not cluster[1].node.on_stop


def test_a_node_down_that_a_killed_event_queue_missed_is_found_out() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        node = cluster[0]
        node.node._watchers.clear()  # nobody is told
        cluster.crash(1)
        assert settle(cluster) < 12.0
        assert copies_alive(cluster, IDS)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_killed_while_a_node_joins_is_no_harm(part: str) -> None:
    for delay in (0.0, 0.0003, 0.001, 0.01):
        with cluster_of(2) as cluster:
            start(cluster[0], counters(30))
            settle(cluster)
            node = add_without_hub(cluster)
            node.begin(host, HubConfig(HUB))
            cluster.advance(delay)
            for other in cluster.nodes[:2]:
                kill(other, other.runtime.names[part_name(part)].pid)
            settle(cluster)
            assert copies_alive(cluster, IDS)


def test_static_children_that_were_stopped_stay_stopped_when_the_worker_queue_is_killed() -> None:
    with cluster_of(2, child_specs=[Named.child_spec("a", id="a"), Named.child_spec("b", id="b")]) as cluster:
        stop(cluster[0], "a")
        for node in cluster:
            kill(node, node.runtime.names[part_name("worker_queue")].pid)
        cluster.advance(1.0)
        settle(cluster)
        assert list(runs(cluster)) == ["b"]


def test_the_worker_queue_runs_work_in_order_and_survives_its_failures(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    with cluster_of(1) as cluster:
        queue = part_name("worker_queue")

        def use() -> None:
            GenServer.cast(queue, lambda: journal.append((1,)))
            GenServer.cast(queue, lambda: 1 / 0)
            GenServer.cast(queue, lambda: journal.append((2,)))

        cluster[0].run(use)
        cluster.settle()
        assert journal == [(1,), (2,)]


def test_the_lock_is_lifted_after_the_recovery_timeout() -> None:
    with cluster_of(1, deadlock_recovery_timeout=5.0) as cluster:
        node = cluster[0]
        node.run(GenServer.cast, part_name("event_queue"), ("level", 10))
        cluster.advance(1.0)
        assert node.run(ProcessHub.is_locked, HUB)
        node.run(GenServer.cast, part_name("event_queue"), ("event", 5, "held"))
        assert node.run(GenServer.call, part_name("event_queue"), "held") == 1
        cluster.advance(5.0)
        assert not node.run(ProcessHub.is_locked, HUB)
        assert node.run(GenServer.call, part_name("event_queue"), "held") == 0


def test_the_janitor_lets_the_registry_forget_what_was_removed() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], counters(30))
        stop(cluster[1], IDS)
        settle(cluster)
        cluster.advance(40.0)
        for node in cluster:
            assert hub_of(node).registry.children == {}
            assert part_of(node, "janitor") is not None
