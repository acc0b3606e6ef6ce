"""Faults of the original in what concerns copies, roles, gossip and bound children, one test each, named after it."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from processhub import Gossip, Guided, ProcessHub, PubSub, Replication
from processhub.hub.config import HubConfig
from processhub.registry import Changes
from processhub.strategy.distribution.consistent_hashing import RingPlacement
from processhub.strategy.synchronization.base import Synchronization
from processhub.testing import Cluster
from tests.processhub.hub.children import (
    HUB,
    cluster_of,
    counters,
    hub_of,
    kill,
    local_pids,
    part_of,
    pid_of,
    runs,
    settle,
    start,
)
from tests.processhub.hub.replicas import active_node, members, signals

SIGNALLED = Replication("cluster_size", "active_passive", "all")


def test_the_role_signal_is_sent_when_a_node_comes_up() -> None:
    """The original passed a record where a pid was expected."""
    with cluster_of(1, redundancy_strategy=SIGNALLED) as cluster:
        start(cluster[0], members(20))
        cluster.add()
        settle(cluster)
        moved = {f"m{n}" for n in range(20) if active_node(cluster[0], f"m{n}") == cluster[1].name}
        assert moved
        assert {
            child_id for child_id, node, mode, _ in signals() if mode == "passive" and node == cluster[0].name
        } == moved
        assert {
            child_id for child_id, node, mode, _ in signals() if mode == "active" and node == cluster[1].name
        } == moved


def test_roles_are_promoted_when_a_node_goes_down_though_nothing_is_started_locally() -> None:
    with cluster_of(2, redundancy_strategy=SIGNALLED) as cluster:
        start(cluster[0], members(20))
        settle(cluster)
        pids, count = local_pids(cluster[0]), len(signals())
        promoted = [f"m{n}" for n in range(20) if active_node(cluster[0], f"m{n}") == cluster[1].name]
        cluster.crash(1)
        settle(cluster)
        assert local_pids(cluster[0]) == pids
        assert sorted(signals()[count:]) == sorted((c, cluster[0].name, "active", pids[c]) for c in promoted)


@pytest.mark.parametrize("behind", [0, 1, 2])
def test_gossip_decides_freshness_by_version_and_not_by_the_wall_clock(behind: int) -> None:
    """What a node whose clock is 50 s behind writes last is what all have, and what was replaced stays replaced."""
    skews = [50.0 if number != behind else 0.0 for number in range(3)]
    config = HubConfig(HUB, synchronization_strategy=Gossip(recipients=1))
    with Cluster(3, seed=1, hubs=[config], skews=skews) as cluster:
        settle(cluster)
        start(cluster[(behind + 1) % 3], counters(12))
        settle(cluster)
        for _ in range(3):
            for pid in local_pids(cluster[behind]).values():
                kill(cluster[behind], pid)
            cluster.advance(0.1)
        settle(cluster)
        for child_id, pid in local_pids(cluster[behind]).items():
            assert [pid_of(node, child_id) for node in cluster] == [pid] * 3
        removed = cluster[behind].run(lambda: ProcessHub.stop_children(HUB, [f"c{n}" for n in range(6)]).result())
        assert removed.status == "ok"
        cluster.advance(40.0)  # and no round brings back what was removed
        settle(cluster)
        assert sorted(runs(cluster)) == sorted(f"c{n}" for n in range(6, 12))


def test_guided_children_do_not_stay_down_silently_when_their_node_dies(caplog: pytest.LogCaptureFixture) -> None:
    with cluster_of(2, distribution_strategy=Guided()) as cluster:
        lost = cluster[1].name
        start(cluster[0], counters(2), child_mapping={"c0": [lost], "c1": [lost]})
        settle(cluster)
        with caplog.at_level(logging.WARNING):
            cluster.crash(1)
            settle(cluster)
        assert f"2 children are bound to {lost} and down until it is back" in caplog.text
        info = cluster[0].run(ProcessHub.child_lookup, HUB, "c0")
        assert info is not None
        assert info.states == {lost: "down"}
        cluster.restart(1)
        settle(cluster)
        assert runs(cluster) == {"c0": [lost], "c1": [lost]}


@pytest.mark.parametrize("strategy", [PubSub(), Gossip(), Gossip(restricted_init=False)], ids=repr)
def test_periodic_synchronisation_reports_no_row_that_has_not_changed(strategy: Synchronization) -> None:
    """What hooks are told comes from these changes: "inserted" must not fire again for what is known."""
    with cluster_of(3, synchronization_strategy=strategy, redundancy_strategy=Replication(2)) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        changed: list[Any] = []
        for node in cluster:
            coordinator = part_of(node, "coordinator")

            def watched(changes: Changes | None, to: Any = coordinator.changed) -> None:
                changed.extend([*changes.rows, *changes.children] if changes is not None else [])
                to(changes)

            coordinator.changed = watched  # that of `members` too: its events are the coordinator
        cluster.advance(100.0)
        assert changed == []
        kill(cluster[0], next(iter(local_pids(cluster[0]).values())))
        cluster.advance(100.0)
        assert {change.child_id for change in changed if change.new is not None} == {changed[0].child_id}


def test_a_pid_that_changed_leaves_one_entry_for_its_node_with_copies_too() -> None:
    with cluster_of(3, redundancy_strategy=Replication(2), synchronization_strategy=Gossip()) as cluster:
        start(cluster[0], counters(5))
        settle(cluster)
        for _ in range(5):
            for node in cluster:
                for pid in local_pids(node).values():
                    kill(node, pid)
            cluster.advance(0.1)
        settle(cluster)
        for node in cluster:
            assert [len(node.run(ProcessHub.get_pids, HUB, f"c{n}")) for n in range(5)] == [2] * 5


def test_copies_cost_no_more_each_when_there_are_more_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking up owners is what starts, failovers and roles are made of: linear, not quadratic."""
    asked = 0
    owners = RingPlacement.owners

    def counting(self: RingPlacement, child_id: str, chosen: Any, n: int) -> tuple[str, ...]:
        nonlocal asked
        asked += 1
        return owners(self, child_id, chosen, n)

    monkeypatch.setattr(RingPlacement, "owners", counting)
    costs = []
    for count in (200, 800):
        with cluster_of(4, redundancy_strategy=Replication(3, "active_passive", "all")) as cluster:
            asked = 0
            assert start(cluster[0], counters(count)).status == "ok"
            cluster.crash(3)
            settle(cluster)
            costs.append(asked / count)
            assert len(hub_of(cluster[0]).roles._known) == len(local_pids(cluster[0]))
    assert costs[1] < costs[0] * 1.3
