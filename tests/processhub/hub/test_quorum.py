"""Quorum on a cluster: loss and recovery, who takes over and when, and what changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from processhub import (
    DynamicQuorum,
    HubNotAlive,
    MajorityQuorum,
    Partitioned,
    ProcessHub,
    StaticQuorum,
    process,
)
from processhub.hub.config import HubConfig
from processhub.hub.errors import InvalidConfig
from processhub.testing import Cluster, ClusterNode
from tests.processhub.hub.children import (
    HUB,
    Counter,
    Named,
    Slow,
    Stubborn,
    cluster_of,
    copies_alive,
    counters,
    hub_of,
    journal,
    kill,
    local_pids,
    part_of,
    pid_of,
    runs,
    settle,
    start,
    stop,
)

IDS = [f"c{n}" for n in range(30)]
DETECTED = 8.0  # seconds after a cut in which the smaller part has noticed it
TAKEN_OVER = 22.0  # and in which the larger one has taken over


def quorum_cluster(n: int, strategy: Any = None, **options: Any) -> Any:
    if strategy is None:
        strategy = MajorityQuorum(initial_cluster_size=n)
    return cluster_of(n, partition_tolerance_strategy=strategy, **options)


def partitioned(cluster: Cluster) -> list[int]:
    """The indexes of the nodes whose hub is partitioned."""
    return [node.index for node in cluster if node.is_alive and hub_of(node).partitioned]


def watch(cluster: Cluster, seconds: float, allowed: int = 1) -> None:
    """Let time pass; at no instant more than `allowed` copies of a child run."""
    end = cluster.now() + seconds

    def look() -> bool:
        assert all(len(nodes) <= allowed for nodes in runs(cluster).values()), (cluster.now(), runs(cluster))
        return cluster.now() >= end - 1e-9

    cluster.run_until(look, seconds + 1.0)


def split(cluster: Cluster, left: list[int], right: list[int], stagger: float = 0.0) -> None:
    """Cut two groups off each other, link by link."""
    for a in left:
        for b in right:
            cluster.cut(a, b)
            cluster.cut(b, a)
            watch(cluster, stagger)


# --- loss and recovery ------------------------------------------------------------------------------------------


def test_the_smaller_part_stops_everything_and_the_larger_one_takes_over() -> None:
    with quorum_cluster(5) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        cluster.partition([[0, 1], [2, 3, 4]])
        watch(cluster, DETECTED)
        assert partitioned(cluster) == [0, 1]
        assert not any(node in nodes for nodes in runs(cluster).values() for node in [cluster[0].name, cluster[1].name])
        watch(cluster, TAKEN_OVER - DETECTED)
        settle(cluster, among=[2, 3, 4])
        assert copies_alive(cluster, IDS)
        assert sorted(cluster[0].run(ProcessHub.registry_dump, HUB)) == sorted(IDS)  # still desired
        cluster.heal()
        watch(cluster, 5.0)
        settle(cluster)
        assert partitioned(cluster) == []
        assert copies_alive(cluster, IDS)
        assert all(local_pids(node) for node in cluster)


def test_after_an_even_split_with_staggered_notices_both_halves_stop_and_nobody_takes_over() -> None:
    with quorum_cluster(6) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        before = runs(cluster)
        split(cluster, [0, 1, 2], [3, 4, 5], stagger=1.1)  # for seconds there are four who see each other
        for _ in range(60):
            watch(cluster, 0.5)
            assert all(before[child_id] == nodes for child_id, nodes in runs(cluster).items())
        assert partitioned(cluster) == list(range(6))
        assert runs(cluster) == {}
        cluster.heal()
        watch(cluster, 5.0)
        settle(cluster)
        assert runs(cluster) == before


@pytest.mark.parametrize("is_deaf", [True, False])
def test_a_node_that_is_cut_off_in_one_direction_has_stopped_before_others_take_over(is_deaf: bool) -> None:
    with quorum_cluster(3) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        for other in (1, 2):
            cluster.cut(*((other, 0) if is_deaf else (0, other)))
        watch(cluster, 12.0)
        assert partitioned(cluster) == [0]
        watch(cluster, 40.0)
        assert copies_alive(cluster, IDS)
        assert not local_pids(cluster[0])
        cluster.heal()
        watch(cluster, 5.0)
        settle(cluster)
        assert copies_alive(cluster, IDS)


@pytest.mark.parametrize("both_ways", [True, False])
def test_two_nodes_that_do_not_see_each_other_leave_each_other_their_children(both_ways: bool) -> None:
    """A-B and B-C are up, A-C is not: each has quorum with B."""
    with quorum_cluster(3) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        before = {node.index: local_pids(node) for node in cluster}
        cluster.cut(0, 2)
        if both_ways:
            cluster.cut(2, 0)
        watch(cluster, 90.0)
        assert partitioned(cluster) == []
        assert {node.index: local_pids(node) for node in cluster} == before
        cluster.heal()
        settle(cluster)
        assert {node.index: local_pids(node) for node in cluster} == before


def test_a_crashed_node_is_replaced_though_two_others_do_not_see_each_other() -> None:
    with quorum_cluster(5) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        cluster.cut(0, 2)
        cluster.cut(2, 0)
        watch(cluster, 15.0)
        cluster.crash(4)
        watch(cluster, TAKEN_OVER)
        assert copies_alive(cluster, IDS)
        cluster.heal()
        settle(cluster)
        assert copies_alive(cluster, IDS)


def test_children_of_a_crashed_node_are_taken_over_after_the_time_of_the_strategy() -> None:
    with quorum_cluster(3) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        cluster.crash(1)
        watch(cluster, 9.5)
        assert len(runs(cluster)) < 30
        watch(cluster, 3.0)
        assert copies_alive(cluster, IDS)
        assert partitioned(cluster) == []


def test_children_of_a_node_that_leaves_are_taken_over_at_once() -> None:
    with quorum_cluster(4) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        cluster.leave(1)
        watch(cluster, 0.5)
        settle(cluster)
        assert copies_alive(cluster, IDS)
        assert partitioned(cluster) == []


def test_who_leaves_is_present_no_more() -> None:
    """As in the original: an intended downsizing needs `reset_cluster_size`."""
    with quorum_cluster(3) as cluster:
        start(cluster[0], counters(5))
        cluster.leave(1)
        watch(cluster, 1.0)
        cluster[2].run(ProcessHub.stop, HUB)
        watch(cluster, 1.0)
        assert cluster[0].run(ProcessHub.is_partitioned, HUB)
        cluster[0].run(MajorityQuorum.reset_cluster_size, HUB, 1)
        watch(cluster, 1.0)
        assert not cluster[0].run(ProcessHub.is_partitioned, HUB)
        assert copies_alive(cluster, IDS[:5])


@pytest.mark.parametrize("period", [2.0, 9.0, 14.0])
def test_a_flapping_link_moves_nothing(period: float) -> None:
    with quorum_cluster(3) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        before = {child_id: pid_of(cluster[0], child_id) for child_id in IDS}
        for _ in range(15):
            cluster.cut(0, 1)
            cluster.cut(1, 0)
            watch(cluster, period)
            cluster.heal()
            watch(cluster, period)
        settle(cluster)
        assert {child_id: pid_of(cluster[0], child_id) for child_id in IDS} == before


def test_a_node_that_flickers_restarts_its_children_and_nobody_elses() -> None:
    with quorum_cluster(3) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        placed, others = runs(cluster), {**local_pids(cluster[1]), **local_pids(cluster[2])}
        for _ in range(8):
            split(cluster, [0], [1, 2])
            watch(cluster, 12.0)  # long enough to be lost, too short to be replaced
            assert partitioned(cluster) == [0]
            cluster.heal()
            watch(cluster, 12.0)
        settle(cluster)
        assert runs(cluster) == placed
        assert {**local_pids(cluster[1]), **local_pids(cluster[2])} == others


@pytest.mark.parametrize("seconds", [20.0, 60.0])
def test_a_node_that_stood_still_stops_its_children_when_it_wakes(seconds: float) -> None:
    with quorum_cluster(3) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        before = local_pids(cluster[1])
        cluster.pause(1, seconds)
        cluster.advance(seconds)
        watch(cluster, 0.6)
        assert not any(hub_of(node).partitioned for node in cluster if node.index != 1)
        settle(cluster)
        assert copies_alive(cluster, IDS)
        assert not before.items() & local_pids(cluster[1]).items()


def test_a_stubborn_child_is_killed_before_others_take_over() -> None:
    with quorum_cluster(3) as cluster:
        specs = [Stubborn.child_spec(500.0, id=f"c{n}", shutdown="infinity") for n in range(12)]
        start(cluster[0], specs)
        settle(cluster)
        split(cluster, [0], [1, 2])
        cluster.run_until(lambda: partitioned(cluster) == [0])
        watch(cluster, 2.9)
        assert any(cluster[0].name in nodes for nodes in runs(cluster).values())
        watch(cluster, 0.2)
        assert all(cluster[0].name not in nodes for nodes in runs(cluster).values())
        watch(cluster, 20.0)
        assert copies_alive(cluster, [f"c{n}" for n in range(12)])


# --- what changes nothing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["coordinator", "distributed_supervisor", "event_queue", "worker_queue", "all"])
def test_a_crash_of_the_control_plane_is_no_partition_and_ends_none(part: str) -> None:
    parts = ["coordinator", "distributed_supervisor", "event_queue", "worker_queue"] if part == "all" else [part]
    with quorum_cluster(3) as cluster:
        start(cluster[0], counters(10))
        settle(cluster)
        for is_divided in (False, True):
            if is_divided:
                split(cluster, [0], [1, 2])
                watch(cluster, DETECTED)
            for name in parts:
                server = HUB if name == "coordinator" else f"{HUB}.{name}"
                kill(cluster[0], cluster[0].run(process.whereis, server))
                for _ in range(20):
                    watch(cluster, 0.05)
                    assert partitioned(cluster) == ([0] if is_divided else [])
                assert part_of(cluster[0], name) is not None
            watch(cluster, 30.0)
            assert partitioned(cluster) == ([0] if is_divided else [])
            assert bool(local_pids(cluster[0])) is not is_divided
        assert copies_alive(cluster, IDS[:10])
        cluster.heal()
        settle(cluster)
        assert partitioned(cluster) == []
        assert copies_alive(cluster, IDS[:10])


def host(strategy: Any) -> None:
    ProcessHub.start_link(HubConfig(HUB, partition_tolerance_strategy=strategy))
    process.receive(lambda _: False)


def test_a_hub_that_is_started_again_on_its_node_knows_what_the_former_one_knew() -> None:
    strategy = MajorityQuorum()  # so that nothing but the memory tells of three nodes
    with quorum_cluster(3, strategy) as cluster:
        start(cluster[0], counters(10))
        settle(cluster)
        split(cluster, [0], [1, 2])
        watch(cluster, TAKEN_OVER)
        kill(cluster[0], hub_of(cluster[0]).initializer)
        watch(cluster, 1.0)
        cluster[0].begin(host, strategy)
        watch(cluster, 20.0)
        assert partitioned(cluster) == [0]
        cluster.heal()
        watch(cluster, 5.0)
        settle(cluster)
        assert partitioned(cluster) == []


def test_a_node_that_restarts_in_the_smaller_part_stays_partitioned() -> None:
    with quorum_cluster(5) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        cluster.partition([[0, 1], [2, 3, 4]])
        watch(cluster, TAKEN_OVER)
        cluster.restart(0)
        watch(cluster, 20.0)
        assert partitioned(cluster) == [0, 1]
        assert copies_alive(cluster, IDS)
        cluster.heal()
        watch(cluster, 8.0)
        settle(cluster)
        assert partitioned(cluster) == []


def test_the_lock_of_a_partition_outlives_deadlock_recovery() -> None:
    with quorum_cluster(3, deadlock_recovery_timeout=5.0) as cluster:
        split(cluster, [0], [1, 2])
        watch(cluster, 60.0)
        assert cluster[0].run(ProcessHub.is_locked, HUB)
        cluster.heal()
        settle(cluster)
        watch(cluster, 1.0)
        assert not cluster[0].run(ProcessHub.is_locked, HUB)


def test_observers_are_no_members_and_never_partitioned() -> None:
    with quorum_cluster(3) as cluster:
        watcher = cluster.add()
        watcher.run(ProcessHub.stop, HUB)
        watch(cluster, 1.0)
        watcher.run(ProcessHub.observe, HUB)
        watch(cluster, 1.0)
        cluster.crash(1)
        cluster.crash(2)
        watch(cluster, DETECTED)
        assert cluster[0].run(ProcessHub.is_partitioned, HUB)  # one of three; the observer does not count
        assert not watcher.run(ProcessHub.is_partitioned, HUB)


# --- starts -----------------------------------------------------------------------------------------------------


def test_starts_are_refused_while_partitioned() -> None:
    with quorum_cluster(3) as cluster:
        split(cluster, [0], [1, 2])
        watch(cluster, DETECTED)
        with pytest.raises(Partitioned):
            start(cluster[0], counters(1))


def test_a_start_that_reaches_a_partitioned_node_fails() -> None:
    with quorum_cluster(4) as cluster:
        cluster.partition([[0, 1], [2, 3]])
        cluster.run_until(lambda: 0 in partitioned(cluster) and 1 in partitioned(cluster))
        hub_of(cluster[0]).standing.partitioned = False  # as if the news had not come here yet
        errors = start(cluster[0], counters(20)).errors
        reasons = {error.reason for error in errors if error.node == cluster[1].name}
        assert reasons == {"partitioned"}


def test_a_start_that_is_in_progress_when_quorum_is_lost_is_cancelled() -> None:
    with quorum_cluster(3) as cluster:
        split(cluster, [0], [1, 2])
        watch(cluster, 5.5)
        specs = [Slow.child_spec(3.0, id=f"s{n}") for n in range(20)]
        errand = cluster[0].begin(lambda: ProcessHub.start_children(HUB, specs, timeout=9.0).result())
        cluster.run_until(lambda: 0 in partitioned(cluster))
        cluster.advance(0.1)
        assert local_pids(cluster[0]) == {}
        cluster.run_until(errand.is_over)
        own = [error for error in errand.outcome().errors if error.node == cluster[0].name]
        assert {error.reason for error in own} == {"partitioned"}
        assert not any(event[0] == "init ends" for event in journal)
        assert cluster[0].run(ProcessHub.registry_dump, HUB) == {}


def test_a_start_while_a_lost_owner_is_waited_for_goes_to_its_successor() -> None:
    with quorum_cluster(3) as cluster:
        cluster.crash(1)
        watch(cluster, 2.0)
        result = start(cluster[0], counters(30), timeout=15.0)
        assert result.status == "ok"
        assert cluster[1].name not in result.nodes


def test_what_was_stopped_by_the_larger_part_does_not_come_back() -> None:
    with quorum_cluster(3) as cluster:
        start(cluster[0], counters(10))
        settle(cluster)
        split(cluster, [0], [1, 2])
        watch(cluster, TAKEN_OVER)
        assert stop(cluster[1], IDS[:10]).status == "ok"
        cluster.heal()
        watch(cluster, 5.0)
        settle(cluster)
        assert runs(cluster) == {}


def test_static_children_wait_for_a_quorum() -> None:
    journal.clear()
    strategy = StaticQuorum(2, startup_confirm=True)
    config = HubConfig(HUB, [Named.child_spec("a", id="a")], partition_tolerance_strategy=strategy)
    with Cluster(1, hubs=[config]) as cluster:
        cluster.advance(5.0)
        assert partitioned(cluster) == [0]
        assert runs(cluster) == {}
        cluster.add()
        settle(cluster)
        assert partitioned(cluster) == []
        assert copies_alive(cluster, ["a"])
    journal.clear()


# --- the other strategies ---------------------------------------------------------------------------------------


def test_static_quorum_stops_the_part_with_too_few_and_starts_it_again() -> None:
    with quorum_cluster(3, StaticQuorum(2)) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        split(cluster, [0], [1, 2])
        watch(cluster, TAKEN_OVER)
        assert partitioned(cluster) == [0]
        assert copies_alive(cluster, IDS)
        cluster.heal()
        watch(cluster, 5.0)
        settle(cluster)
        assert partitioned(cluster) == []


def test_static_quorum_lets_the_first_nodes_of_a_cluster_work() -> None:
    with quorum_cluster(2, StaticQuorum(3)) as cluster:
        assert start(cluster[0], counters(4)).status == "ok"
        cluster.crash(1)
        watch(cluster, 1.0)
        assert partitioned(cluster) == [0]  # the first loss: now its number counts
        cluster.restart(1)
        cluster.add()
        watch(cluster, 3.0)
        settle(cluster)
        assert partitioned(cluster) == []
        assert copies_alive(cluster, IDS[:4])


def test_dynamic_quorum_lets_the_smaller_part_work_again_after_its_time() -> None:
    with quorum_cluster(3, DynamicQuorum(60, threshold_time=40.0)) as cluster:
        start(cluster[0], counters(10))
        settle(cluster)
        split(cluster, [0], [1, 2])
        watch(cluster, 40.0)
        assert partitioned(cluster) == [0]
        cluster.advance(10.0)
        assert partitioned(cluster) == []
        cluster.advance(30.0)
        assert len(local_pids(cluster[0])) == 10  # as wanted: now both parts run everything
        cluster.heal()
        settle(cluster)
        assert copies_alive(cluster, IDS[:10])


def test_a_node_that_joins_a_part_takes_over_its_log_of_lost_nodes() -> None:
    with quorum_cluster(4, DynamicQuorum(60, threshold_time=100.0)) as cluster:
        settle(cluster)
        cluster.crash(2)
        cluster.crash(3)
        watch(cluster, 2.0)
        assert partitioned(cluster) == [0, 1]
        cluster.restart(1)
        watch(cluster, 5.0)
        assert partitioned(cluster) == [0, 1]  # it did not see the loss itself
        assert set(hub_of(cluster[1]).standing.memory) >= {cluster[2].name, cluster[3].name}


# --- the size of the cluster ------------------------------------------------------------------------------------


def sizes(cluster: Cluster) -> list[Any]:
    return [hub_of(node).standing.memory for node in cluster if node.is_alive]


def reset(node: ClusterNode, n: int) -> None:
    node.run(MajorityQuorum.reset_cluster_size, HUB, n)


def test_majority_quorum_tracks_the_largest_cluster_everywhere() -> None:
    with quorum_cluster(3, MajorityQuorum()) as cluster:
        assert sizes(cluster) == [(0, 3)] * 3
        cluster.add()
        settle(cluster)
        assert sizes(cluster) == [(0, 4)] * 4
        cluster.crash(1)
        cluster.restart(1)
        settle(cluster)
        assert sizes(cluster) == [(0, 4)] * 4


def test_a_reset_reaches_every_node_and_one_that_was_away_when_it_comes_back() -> None:
    with quorum_cluster(5) as cluster:
        start(cluster[0], counters(10))
        settle(cluster)
        split(cluster, [4], [0, 1, 2, 3])
        watch(cluster, TAKEN_OVER)
        cluster.crash(2)
        cluster.crash(3)
        watch(cluster, DETECTED)
        assert partitioned(cluster) == [0, 1, 4]
        reset(cluster[0], 3)
        watch(cluster, 1.0)
        assert sizes(cluster) == [(1, 3), (1, 3), (0, 5)]
        assert partitioned(cluster) == [4]
        watch(cluster, TAKEN_OVER)
        assert copies_alive(cluster, IDS[:10])
        cluster.heal()
        watch(cluster, 5.0)
        assert sizes(cluster) == [(1, 3)] * 3
        assert partitioned(cluster) == []


def test_concurrent_resets_end_with_the_larger_one() -> None:
    with quorum_cluster(4) as cluster:
        errands = [
            node.begin(MajorityQuorum.reset_cluster_size, HUB, n) for node, n in zip(cluster, (2, 3, 7, 1), strict=True)
        ]
        cluster.run_until(lambda: all(errand.is_over() for errand in errands))
        watch(cluster, 1.0)
        assert sizes(cluster) == [(1, 7)] * 4


def test_resets_in_two_parts_converge_when_they_meet() -> None:
    with quorum_cluster(4) as cluster:
        cluster.partition([[0, 1], [2, 3]])
        watch(cluster, DETECTED)
        reset(cluster[0], 9)
        reset(cluster[2], 8)
        watch(cluster, 1.0)
        reset(cluster[2], 4)
        watch(cluster, 1.0)
        cluster.heal()
        settle(cluster)
        assert sizes(cluster) == [(2, 4)] * 4


def test_a_reset_of_what_is_not_there_is_an_error() -> None:
    with cluster_of(1) as cluster:
        with pytest.raises(InvalidConfig, match="no MajorityQuorum"):
            cluster[0].run(MajorityQuorum.reset_cluster_size, HUB, 2)
        with pytest.raises(HubNotAlive):
            cluster[0].run(MajorityQuorum.reset_cluster_size, "nothing", 2)


def test_divergence_is_never_partitioned_and_takes_over_at_once() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], [Counter.child_spec(id=child_id) for child_id in IDS])
        settle(cluster)
        cluster.crash(1)
        cluster.crash(2)
        cluster.advance(2.0)
        assert not cluster[0].run(ProcessHub.is_partitioned, HUB)
        assert copies_alive(cluster, IDS)
