"""Faults of the original and of its peers in what is registered, told, counted and cleaned up, one test each."""

from __future__ import annotations

from typing import Any

import pytest

from processhub import (
    HOOK_DATA,
    ChildSpec,
    Gossip,
    Hook,
    HookHandler,
    MajorityQuorum,
    ProcessHub,
    PubSub,
    Replication,
    StaticQuorum,
)
from processhub.testing import Cluster
from tests.processhub.hub.children import (
    HUB,
    Counter,
    Stubborn,
    cluster_of,
    copies_alive,
    counters,
    hub_of,
    kill,
    local_pids,
    pid_of,
    runs,
    settle,
    start,
    stop,
)

IDS = [f"c{n}" for n in range(30)]
PARTS = ("coordinator", "distributed_supervisor", "event_queue", "worker_queue", "janitor", "system_registry")


def listen(cluster: Cluster, hook: Hook) -> dict[str, list[Any]]:
    """Node -> what its handlers of this hook are told from now on."""
    told: dict[str, list[Any]] = {node.name: [] for node in cluster}
    for node in cluster:
        handler = HookHandler("lesson", told[node.name].append, (HOOK_DATA,))
        node.run(ProcessHub.register_hook_handlers, HUB, hook, [handler])
    return told


@pytest.mark.parametrize("strategy", [PubSub(), Gossip(), Gossip(restricted_init=False)], ids=repr)
def test_inserted_hooks_do_not_fire_again_at_a_synchronisation(strategy: Any) -> None:
    """The original's periodic sync fires "inserted" anew for every row that it finds unchanged."""
    with cluster_of(3, synchronization_strategy=strategy) as cluster:
        told = listen(cluster, Hook.REGISTRY_PID_INSERTED)
        start(cluster[0], counters(30))
        settle(cluster)
        cluster.advance(100.0)
        for heard in told.values():
            assert sorted(child_id for child_id, _ in heard) == sorted(IDS)


@pytest.mark.parametrize("copies", [1, 2])
def test_removal_hooks_fire_for_a_lost_node(copies: int) -> None:
    """The original never fires them: it passes a wrong table."""
    options: dict[str, Any] = {"redundancy_strategy": Replication(copies)} if copies > 1 else {}
    with cluster_of(4, **options) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        lost = cluster[3].name
        there = sorted(child_id for child_id, nodes in runs(cluster).items() if lost in nodes)
        assert there
        told = listen(cluster, Hook.REGISTRY_PID_REMOVED)
        cluster.crash(3)
        settle(cluster)
        for node in cluster.nodes[:3]:
            assert sorted(child_id for child_id, nodes in told[node.name] if nodes == [lost]) == there


@pytest.mark.parametrize("strategy", [StaticQuorum(2), MajorityQuorum(initial_cluster_size=3)], ids=repr)
def test_a_restart_of_any_part_is_no_partition(strategy: Any) -> None:
    """The original takes "supervisor not found" for "partitioned"."""
    with cluster_of(3, partition_tolerance_strategy=strategy) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        told = listen(cluster, Hook.PRIORITY_STATE_UPDATED)
        for node in cluster:
            for part in PARTS:
                kill(node, node.runtime.names[HUB if part == "coordinator" else f"{HUB}.{part}"].pid)
                assert not node.run(ProcessHub.is_partitioned, HUB)
                cluster.advance(0.3)
                assert not node.run(ProcessHub.is_partitioned, HUB)
        settle(cluster)
        assert not [state for heard in told.values() for _, state in heard if state["partitioned"]]
        assert copies_alive(cluster, IDS)


def test_the_timeout_of_a_stop_is_for_all_of_it_not_per_child() -> None:
    """The original waits for each item in turn, and adds 50 s."""
    with cluster_of(3) as cluster:
        start(cluster[0], [ChildSpec(c, (Stubborn.start_link, (30.0,)), shutdown=40.0) for c in IDS])
        before = cluster.now()
        result = stop(cluster[0], IDS, timeout=2.0)
        assert cluster.now() - before < 3.1
        assert [error.reason for error in result.errors] == ["timeout"] * 30
        settle(cluster)
        assert runs(cluster) == {}


@pytest.mark.parametrize("since", [0.0, 0.01, 7.5, 14.99])
def test_clean_up_of_what_was_stopped_never_deletes_what_was_registered_anew(since: float) -> None:
    """In ProcessHub and Horde the clean-up of an expired entry deletes one that has come in its place.

    `since`: seconds between a run of the janitors and the stop; they run many times more after the new start.
    """
    with cluster_of(3, storage_purge_interval=15.0) as cluster:
        start(cluster[0], counters(30), metadata={"tag": "first"})
        settle(cluster)
        cluster.advance(15.0 - cluster.now() + since)
        stop(cluster[0], IDS)
        assert start(cluster[1], counters(30), metadata={"tag": "second"}).status == "ok"
        pids = {child_id: pid_of(cluster[2], child_id) for child_id in IDS}
        cluster.advance(120.0)
        settle(cluster)
        for node in cluster:
            assert {child_id: pid_of(node, child_id) for child_id in IDS} == pids
            assert sorted(node.run(ProcessHub.tag_query, HUB, "second")) == sorted(IDS)
        assert copies_alive(cluster, IDS)


def test_what_the_janitor_sweeps_is_no_child_that_was_started_meanwhile() -> None:
    """Metadata written in one part while the other part stops the child are a residue of it, and swept."""
    with cluster_of(2) as cluster:
        start(cluster[0], counters(10))
        settle(cluster)
        cluster.partition([[0], [1]])
        stop(cluster[0], IDS[:10])
        for child_id in IDS[:10]:
            cluster[1].run(ProcessHub.update_metadata, HUB, child_id, late)
        cluster.heal()
        settle(cluster)
        assert start(cluster[0], counters(5)).status == "ok"
        cluster.advance(120.0)
        settle(cluster)
        assert sorted(runs(cluster)) == IDS[:5]
        for node in cluster:
            assert sorted(node.run(ProcessHub.registry_dump, HUB)) == IDS[:5]
            assert not hub_of(node).registry._desired._residues


def late(metadata: dict[str, Any]) -> dict[str, Any]:
    return {**metadata, "late": True}


def test_a_fast_restart_under_the_same_name_survives_the_late_down_of_its_former_life() -> None:
    """In Dapr and Phoenix the late "down" wipes the entries of the new life. Incarnations tell them apart."""
    with cluster_of(3) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        for victim in (1, 2, 1):
            cluster.restart(victim)  # before anybody has missed it
            settle(cluster)
            name, new = cluster[victim].name, local_pids(cluster[victim])
            assert new
            cluster.advance(90.0)  # what is noticed late has been noticed
            for node in cluster:
                known = node.run(ProcessHub.process_list, HUB)
                assert {child_id: copies[name] for child_id, copies in known.items() if name in copies} == new
        assert copies_alive(cluster, IDS)


@pytest.mark.parametrize("seed", range(3))
def test_starts_and_stops_of_one_id_at_once_leave_one_child_or_none_and_all_agree(seed: int) -> None:
    """Two removals, or a removal and an insertion, in one pass undo each other in the original."""
    with cluster_of(3, seed) as cluster:
        for number in range(12):
            cluster[number % 3].begin(lambda: ProcessHub.start_child(HUB, Counter.child_spec(id="x")).result())
            cluster[(number + 1) % 3].begin(lambda: ProcessHub.stop_child(HUB, "x").result())
            cluster.advance(0.00005 * number)
        cluster.advance(30.0)
        settle(cluster)
        views = [node.run(ProcessHub.process_list, HUB) for node in cluster]
        assert views[0] == views[1] == views[2]
        assert {child_id: list(copies) for child_id, copies in views[0].items()} == runs(cluster)
        assert all(len(nodes) == 1 for nodes in runs(cluster).values())
