"""Divided clusters, one-way cuts, flapping links and frozen nodes: nothing is lost, and copies meet again as one."""

from __future__ import annotations

from typing import Any

import pytest

from processhub import ProcessHub
from processhub.testing import Cluster
from tests.processhub.hub.children import (
    HUB,
    Counter,
    cluster_of,
    copies_alive,
    counters,
    kill,
    owner_of,
    pid_of,
    runs,
    settle,
    start,
    stop,
)

IDS = [f"c{n}" for n in range(30)]


def members(cluster: Cluster) -> list[list[int]]:
    """Per living node: the numbers of those that it counts as members of the hub."""
    numbers = {node.name: node.index for node in cluster}
    return [[numbers[name] for name in node.run(ProcessHub.nodes, HUB, True)] for node in cluster if node.is_alive]


def watch_copies(cluster: Cluster, ids: list[str], seconds: float, step: float = 0.02) -> list[int]:
    """Let time pass, looking often. Returns the fewest copies of any child seen at each look."""
    fewest = []
    end = cluster.now() + seconds
    while cluster.now() < end:
        cluster.advance(step)
        truth = runs(cluster)
        fewest.append(min(len(truth.get(child_id, ())) for child_id in ids))
    return fewest


@pytest.mark.parametrize("groups", [[[0], [1]], [[0, 1], [2]], [[0], [1, 2]], [[0, 1], [2, 3]], [[0], [1], [2]]])
def test_each_part_runs_everything_and_after_the_heal_one_copy_is_left_at_its_owner(groups: list[list[int]]) -> None:
    with cluster_of(sum(map(len, groups))) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        cluster.partition(groups)
        cluster.advance(20.0)
        for group in groups:
            settle(cluster, among=group)
        assert all(len(nodes) == len(groups) for nodes in runs(cluster).values())
        cluster.heal()
        settle(cluster)
        assert copies_alive(cluster, IDS)
        for child_id, nodes in runs(cluster).items():
            assert nodes == [owner_of(cluster, child_id).name]


def test_duplicates_never_both_stop_when_a_partition_heals() -> None:
    with cluster_of(4) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        for groups in ([[0, 1], [2, 3]], [[0], [1, 2, 3]], [[0, 3], [1], [2]]):
            cluster.partition(groups)
            cluster.advance(15.0)
            cluster.heal()
            assert min(watch_copies(cluster, IDS, 8.0)) >= 1
            settle(cluster)
            assert copies_alive(cluster, IDS)


def test_the_copy_that_stays_keeps_its_pid_and_its_state() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        before = {child_id: pid_of(cluster[0], child_id) for child_id in IDS}
        cluster.partition([[0], [1]])
        cluster.advance(15.0)
        cluster.heal()
        settle(cluster)
        assert {child_id: pid_of(cluster[0], child_id) for child_id in IDS} == before


def test_what_was_started_and_stopped_in_the_parts_is_merged() -> None:
    with cluster_of(4) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        cluster.partition([[0, 1], [2, 3]])
        cluster.advance(15.0)
        assert start(cluster[0], counters(10, prefix="left")).status == "ok"
        assert start(cluster[3], counters(10, prefix="right")).status == "ok"
        assert stop(cluster[1], IDS[:10]).status == "ok"
        assert stop(cluster[2], IDS[10:20]).status == "ok"
        cluster.heal()
        settle(cluster)
        expected = [*IDS[20:], *(f"left{n}" for n in range(10)), *(f"right{n}" for n in range(10))]
        assert sorted(runs(cluster)) == sorted(expected)
        assert copies_alive(cluster, expected)


def test_one_id_started_in_both_parts_is_one_child_afterwards() -> None:
    with cluster_of(2) as cluster:
        cluster.partition([[0], [1]])
        cluster.advance(15.0)
        for node, first in ((cluster[0], 100), (cluster[1], 200)):
            assert start(node, [Counter.child_spec(first, id=f"c{n}") for n in range(10)]).status == "ok"
        cluster.heal()
        settle(cluster)
        assert copies_alive(cluster, [f"c{n}" for n in range(10)])
        dumps = [node.run(ProcessHub.registry_dump, HUB) for node in cluster]
        starts = [{child_id: info.spec.start for child_id, info in dump.items()} for dump in dumps]
        assert starts[0] == starts[1]


def test_a_child_stopped_in_one_part_does_not_come_back_from_the_other() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], counters(10))
        settle(cluster)
        cluster.partition([[0], [1]])
        cluster.advance(15.0)
        stop(cluster[0], [f"c{n}" for n in range(10)])
        kill(cluster[1], pid_of(cluster[1], "c3"))
        cluster.heal()
        settle(cluster)
        cluster.advance(40.0)
        assert runs(cluster) == {}


@pytest.mark.parametrize("direction", [(0, 1), (1, 0), (0, 2), (2, 1)])
def test_a_one_way_cut_does_no_lasting_harm(direction: tuple[int, int]) -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        cluster.cut(*direction)
        assert min(watch_copies(cluster, IDS, 40.0, 0.5)) >= 1
        cluster.heal()
        settle(cluster)
        assert copies_alive(cluster, IDS)


def test_overlapping_partitions_leave_no_lasting_inconsistency() -> None:
    """A-B and B-C are up, A-C is down."""
    with cluster_of(3) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        cluster.cut(0, 2)
        cluster.cut(2, 0)
        assert min(watch_copies(cluster, IDS, 40.0, 0.5)) >= 1
        results = [start(cluster[0], counters(10, prefix="a")), start(cluster[2], counters(10, prefix="b"))]
        for result in results:  # some have an owner that does not see itself as one
            assert result.started
            assert all(str(error.reason).startswith("not_owner") for error in result.errors)
        stop(cluster[1], IDS[:5])
        cluster.advance(40.0)
        cluster.heal()
        settle(cluster)
        expected = [*IDS[5:], *results[0].started, *results[1].started]
        assert sorted(runs(cluster)) == sorted(expected)
        assert copies_alive(cluster, expected)


def test_a_link_that_flaps_moves_little() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        before = {child_id: pid_of(cluster[0], child_id) for child_id in IDS}
        for _ in range(20):
            cluster.cut(0, 1)
            cluster.cut(1, 0)
            cluster.advance(2.0)
            cluster.heal()
            cluster.advance(2.0)
        settle(cluster)
        assert copies_alive(cluster, IDS)
        assert {child_id: pid_of(cluster[0], child_id) for child_id in IDS} == before


def test_a_node_that_is_frozen_for_3_seconds_is_suspected_by_nobody() -> None:
    with cluster_of(4) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        before = {child_id: pid_of(cluster[0], child_id) for child_id in IDS}
        cluster.pause(2, 3.0)
        for _ in range(50):
            cluster.advance(0.1)
            assert all(len(views) == 4 for index, views in enumerate(all_members(cluster)) if index != 2)
        settle(cluster)
        assert {child_id: pid_of(cluster[0], child_id) for child_id in IDS} == before


def all_members(cluster: Cluster) -> list[list[str]]:
    """As `members`, without running anything on the nodes (one may be paused)."""
    return [sorted(node.runtime.services[HUB].members) for node in cluster]


def test_only_a_node_that_is_frozen_for_20_seconds_is_suspected() -> None:
    with cluster_of(4) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        frozen = cluster[2].name
        others = [node.name for node in cluster if node.name != frozen]
        cluster.pause(2, 20.0)
        for _ in range(400):
            cluster.advance(0.1)
            for index, views in enumerate(all_members(cluster)):
                assert set(others) <= set(views), f"node {index} lost {set(others) - set(views)}"
        settle(cluster)
        assert copies_alive(cluster, IDS)


def test_a_node_that_is_frozen_for_a_minute_comes_back_and_one_copy_of_each_is_left() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        cluster.pause(1, 60.0)
        cluster.advance(50.0)
        assert all(len(views) == 2 for index, views in enumerate(all_members(cluster)) if index != 1)
        cluster.advance(10.0)
        settle(cluster)
        assert copies_alive(cluster, IDS)


def test_lost_and_doubled_and_reordered_frames_are_made_good() -> None:
    with cluster_of(3) as cluster:
        for a in range(3):
            for b in range(3):
                if a != b:
                    cluster.drop(a, b, 0.02)
                    cluster.duplicate(a, b, 0.1)
                    cluster.reorder(a, b, 0.1)
        results: list[Any] = []
        for number in range(10):
            ids = [f"c{number}.{n}" for n in range(5)]
            results.append(start(cluster[number % 3], [Counter.child_spec(id=child_id) for child_id in ids]))
            cluster.advance(1.0)
        cluster.network.calm()
        cluster.advance(30.0)
        settle(cluster)
        started = [child_id for result in results for child_id in result.started]
        assert set(started) <= set(runs(cluster))
        assert copies_alive(cluster, list(runs(cluster)))


def test_a_slow_link_is_no_partition() -> None:
    with cluster_of(3) as cluster:
        cluster.delay(0, 1, 0.8, 0.4)
        cluster.delay(1, 0, 0.8, 0.4)
        assert start(cluster[0], counters(30)).status == "ok"
        cluster.advance(60.0)
        assert members(cluster) == [[0, 1, 2]] * 3
        settle(cluster)
        assert copies_alive(cluster, IDS)
