"""Signals of roles: to exactly the copies that the option names, at their start and whenever their role changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from processhub import ProcessHub, RedundancySignal, Replication, process
from processhub.testing import Cluster
from tests.processhub.hub.children import (
    HUB,
    cluster_of,
    hub_of,
    journal,
    kill,
    local_pids,
    part_of,
    runs,
    settle,
    start,
    stop,
)
from tests.processhub.hub.replicas import active_node, by_name, members, owners, signals, told

IDS = [f"m{number}" for number in range(40)]


def replicated(signal: Any = "all", copies: Any = 2, model: Any = "active_passive") -> Replication:
    return Replication(copies, model, signal)


def last_told(cluster: Cluster, child_ids: Iterable[str] = IDS) -> dict[str, dict[str, str]]:
    """child -> {node: the last mode that the process running there now was told}."""
    modes = {pid: mode for _, _, mode, pid in signals()}
    found: dict[str, dict[str, str]] = {child_id: {} for child_id in child_ids}
    for node in cluster:
        for child_id, pid in local_pids(node).items() if node.is_alive else ():
            found[child_id][node.name] = modes.get(pid, "nothing")
    return found


def expected(cluster: Cluster, child_ids: Iterable[str] = IDS) -> dict[str, dict[str, str]]:
    node = next(node for node in cluster if node.is_alive)
    return {
        child_id: {
            name: "active" if name == active_node(node, child_id) else "passive" for name in owners(node, child_id)
        }
        for child_id in child_ids
    }


@pytest.mark.parametrize("model", ["active_passive", "active_active"])
@pytest.mark.parametrize("signal", ["none", "active", "passive", "all"])
def test_exactly_the_copies_that_the_option_names_are_told_at_their_start(signal: str, model: str) -> None:
    with cluster_of(3, redundancy_strategy=replicated(signal, model=model)) as cluster:
        start(cluster[0], members(40))
        settle(cluster)
        right = {
            (child_id, node): mode
            for child_id in IDS
            for node in owners(cluster[0], child_id)
            if (mode := "active" if active_node(cluster[0], child_id) in (node, None) else "passive") == signal
            or signal == "all"
        }
        assert told() == {copy: [mode] for copy, mode in right.items()}
        assert len(right) == {"none": 0, "all": 80}.get(signal, 40 if model == "active_passive" else len(right))


def test_a_copy_has_been_told_when_its_start_is_over() -> None:
    """No other copy, and so no news from other members, is needed for it."""
    with cluster_of(1, redundancy_strategy=replicated()) as cluster:
        pid = start(cluster[0], members(1)).pid
        assert signals() == [("m0", cluster[0].name, "active", pid)]


def test_a_copy_that_was_restarted_is_told_again_and_nobody_else() -> None:
    with cluster_of(3, redundancy_strategy=replicated()) as cluster:
        start(cluster[0], members(1))
        settle(cluster)
        for name in owners(cluster[0], "m0"):
            node = by_name(cluster, name)
            journal.clear()
            kill(node, local_pids(node)["m0"])
            settle(cluster)
            mode = "active" if active_node(node, "m0") == name else "passive"
            assert signals() == [("m0", name, mode, local_pids(node)["m0"])]


def test_roles_follow_joins_crashes_and_leaves_and_only_changes_are_told() -> None:
    with cluster_of(2, redundancy_strategy=replicated()) as cluster:
        start(cluster[0], members(40))
        settle(cluster)
        assert last_told(cluster) == expected(cluster)
        for change in (cluster.add, cluster.add, lambda: cluster.crash(0), lambda: cluster.leave(2)):
            before, count = last_told(cluster), len(signals())
            change()
            settle(cluster)
            after = last_told(cluster)
            assert after == expected(cluster)
            fresh = signals()[count:]
            assert fresh
            for child_id, node, mode, _ in fresh:
                assert before[child_id].get(node) != mode, "told what it knew"


def test_the_role_changes_though_nothing_has_to_be_started_locally() -> None:
    """With a copy on every node, those that remain only change roles when another node is lost."""
    with cluster_of(3, redundancy_strategy=replicated(copies="cluster_size")) as cluster:
        start(cluster[0], members(40))
        settle(cluster)
        promoted = [child_id for child_id in IDS if active_node(cluster[0], child_id) == cluster[2].name]
        pids = [local_pids(node) for node in (cluster[0], cluster[1])]
        assert promoted
        journal.clear()
        cluster.crash(2)
        settle(cluster)
        assert [local_pids(node) for node in (cluster[0], cluster[1])] == pids
        assert sorted((child_id, mode) for child_id, _, mode, _ in signals()) == sorted(
            (child_id, "active") for child_id in promoted
        )


def test_when_a_node_comes_the_copies_that_it_relieves_are_told() -> None:
    with cluster_of(2, redundancy_strategy=replicated("passive", "cluster_size")) as cluster:
        start(cluster[0], members(40))
        settle(cluster)
        journal.clear()
        cluster.add()
        settle(cluster)
        relieved = {child_id for child_id in IDS if active_node(cluster[0], child_id) == cluster[2].name}
        assert relieved
        by_old_nodes = {child_id for child_id, node, _, _ in signals() if node != cluster[2].name}
        by_new_node = {child_id for child_id, node, _, _ in signals() if node == cluster[2].name}
        assert by_old_nodes == relieved
        assert by_new_node == set(IDS) - relieved


def test_a_copy_that_becomes_active_again_is_told_again_though_passive_copies_are_not() -> None:
    with cluster_of(2, redundancy_strategy=replicated("active")) as cluster:
        start(cluster[0], members(40))
        settle(cluster)
        child_id = next(child_id for child_id in IDS if active_node(cluster[0], child_id) == cluster[1].name)
        cluster.crash(1)
        settle(cluster)
        cluster.restart(1)
        settle(cluster)
        cluster.crash(1)
        settle(cluster)
        assert told()[child_id, cluster[0].name] == ["active", "active"]


def test_a_coordinator_that_is_killed_tells_nobody_twice() -> None:
    with cluster_of(2, redundancy_strategy=replicated()) as cluster:
        start(cluster[0], members(40))
        settle(cluster)
        count = len(signals())
        kill(cluster[0], cluster[0].run(process.whereis, HUB))
        cluster.advance(20.0)
        settle(cluster)
        assert len(signals()) == count


def test_children_of_a_distributed_supervisor_that_was_killed_are_told_again() -> None:
    with cluster_of(2, redundancy_strategy=replicated()) as cluster:
        start(cluster[0], members(40))
        settle(cluster)
        kill(cluster[0], cluster[0].run(process.whereis, f"{HUB}.distributed_supervisor"))
        settle(cluster)
        assert last_told(cluster) == expected(cluster)


def test_after_a_partition_one_copy_of_each_child_is_active() -> None:
    with cluster_of(4, redundancy_strategy=replicated()) as cluster:
        start(cluster[0], members(40))
        cluster.partition([[0, 1], [2, 3]])
        cluster.advance(15.0)
        cluster.heal()
        settle(cluster)
        modes = last_told(cluster)
        assert modes == expected(cluster)
        assert all(sorted(of.values()) == ["active", "passive"] for of in modes.values())


def test_many_role_changes_are_told_in_slices() -> None:
    """No turn of the coordinator visits more than a slice of the children."""
    with cluster_of(2, redundancy_strategy=replicated(copies="cluster_size")) as cluster:
        start(cluster[0], members(1200), timeout=60.0)
        settle(cluster)
        looks: list[int] = []
        roles = hub_of(cluster[0]).roles
        look_at = roles.look_at

        def counting(child_ids: Any) -> None:
            looks.append(len(child_ids))
            look_at(child_ids)

        roles.look_at = counting
        cluster.crash(1)
        settle(cluster)
        assert max(looks) == 250
        assert last_told(cluster, [f"m{n}" for n in range(1200)]) == expected(cluster, [f"m{n}" for n in range(1200)])


def test_what_was_told_is_forgotten_with_the_copy() -> None:
    with cluster_of(2, redundancy_strategy=replicated()) as cluster:
        start(cluster[0], members(40))
        settle(cluster)
        stop(cluster[0], IDS)
        settle(cluster)
        assert all(hub_of(node).roles._known == {} for node in cluster)
        assert runs(cluster) == {}
        assert part_of(cluster[0], "distributed_supervisor").copies.children == {}


def test_a_signal_can_be_sent_between_nodes() -> None:
    def receive_one() -> Any:
        process.register("inbox", process.self())
        return process.receive(timeout=5.0)

    with cluster_of(2) as cluster:
        errand = cluster[1].begin(receive_one)
        cluster.settle()
        cluster[0].run(process.send, ("inbox", cluster[1].name), RedundancySignal("active"))
        cluster.run_until(errand.is_over)
        assert errand.outcome() == RedundancySignal("active")


def test_the_signals_are_none_with_single_copies() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], members(5))
        settle(cluster)
        assert signals() == []
        assert all(node.run(ProcessHub.active, HUB, "m0") for node in cluster)
