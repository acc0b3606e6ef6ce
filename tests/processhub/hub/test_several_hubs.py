"""Several hubs on the same nodes: they share nothing but these."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from processhub import ConsistentHashing, GenServer, Hook, HookHandler, Pid, ProcessHub, Singularity, process
from processhub.hub.config import HubConfig
from processhub.testing import Cluster, ClusterNode
from tests.processhub.hub.children import Counter, Named, journal

IDS = [f"c{n}" for n in range(20)]


@dataclass(frozen=True)
class Backwards(ConsistentHashing):
    """Another distribution strategy."""


@dataclass(frozen=True)
class Labelled(Singularity):
    """A redundancy strategy with an option."""

    label: str = ""


@pytest.fixture(name="cluster")
def _cluster() -> Iterator[Cluster]:
    """Three nodes with the hubs "a" and "b", whose strategies differ; both have children c0, c1, ..."""
    configs = [
        HubConfig("a", dsup_max_restarts=1),
        HubConfig("b", distribution_strategy=Backwards(), redundancy_strategy=Labelled("b")),
    ]
    journal.clear()
    with Cluster(3, hubs=configs) as cluster:
        for hub_id in ("a", "b"):
            settle(cluster, hub_id)
            specs = [Named.child_spec(hub_id, id=child_id) for child_id in IDS]
            assert cluster[0].run(started, hub_id, specs).status == "ok"
            settle(cluster, hub_id)
        yield cluster


def started(hub_id: str, specs: list[Any]) -> Any:
    return ProcessHub.start_children(hub_id, specs, metadata={"tag": hub_id}).result()


def settle(cluster: Cluster, hub_id: str) -> None:
    names = [node.name for node in cluster if node.is_alive]
    for node in cluster:
        if node.is_alive:
            node.run(ProcessHub.await_settled, hub_id, 60.0, names)


def pids(node: ClusterNode, hub_id: str) -> dict[str, Pid | None]:
    return {child_id: node.run(ProcessHub.get_pid, hub_id, child_id) for child_id in IDS}


def all_answer(cluster: Cluster, hub_id: str) -> None:
    for node in cluster:
        if node.is_alive:
            for child_id in IDS:
                assert node.run(GenServer.call, ProcessHub.via(hub_id, child_id), "who") == hub_id


def test_the_same_ids_in_two_hubs_are_different_children(cluster: Cluster) -> None:
    a, b = pids(cluster[0], "a"), pids(cluster[0], "b")
    assert len({*a.values(), *b.values()}) == 2 * len(IDS)
    all_answer(cluster, "a")
    all_answer(cluster, "b")
    assert sorted(cluster[1].run(ProcessHub.tag_query, "a", "a")) == sorted(IDS)
    assert cluster[1].run(ProcessHub.tag_query, "a", "b") == {}


def test_a_stopped_child_runs_on_in_the_other_hub(cluster: Cluster) -> None:
    b = pids(cluster[0], "b")
    cluster[1].run(lambda: ProcessHub.stop_children("a", IDS).result())
    settle(cluster, "a")
    assert cluster[2].run(ProcessHub.process_list, "a") == {}
    assert pids(cluster[2], "b") == b


def test_a_hub_that_stops_on_one_node_leaves_the_other_hub_there_alone(cluster: Cluster) -> None:
    b = pids(cluster[0], "b")
    cluster[0].run(ProcessHub.stop, "a")
    assert not cluster[0].run(ProcessHub.is_alive, "a")
    assert cluster[0].run(ProcessHub.is_alive, "b")
    for node in (cluster[1], cluster[2]):
        node.run(ProcessHub.await_settled, "a", 60.0, [cluster[1].name, cluster[2].name])
        assert all(node.run(GenServer.call, ProcessHub.via("a", child_id), "who") == "a" for child_id in IDS)
    settle(cluster, "b")
    assert pids(cluster[1], "b") == b
    all_answer(cluster, "b")


def test_a_node_that_leaves_hands_the_children_of_all_its_hubs_over(cluster: Cluster) -> None:
    cluster.leave(2)
    for hub_id in ("a", "b"):
        settle(cluster, hub_id)
        all_answer(cluster, hub_id)


def test_a_hub_that_is_locked_or_crashes_does_not_lock_or_take_down_the_other(cluster: Cluster) -> None:
    b = pids(cluster[0], "b")
    cluster[0].run(GenServer.cast, "a.event_queue", ("level", 10))
    for part in ("a", "a.distributed_supervisor", "a.task_supervisor"):
        cluster[0].run(process.exit, cluster[0].runtime.names[part].pid, "kill")
    cluster.settle()
    assert not cluster[0].run(ProcessHub.is_locked, "b")
    assert pids(cluster[0], "b") == b
    settle(cluster, "a")
    all_answer(cluster, "a")


def test_hooks_and_restart_limits_belong_to_one_hub(cluster: Cluster) -> None:
    told: list[Any] = []
    for node in cluster:
        handler = HookHandler("told", told.append)
        node.run(ProcessHub.register_hook_handlers, "a", Hook.CHILD_PROCESS_PID_UPDATE, [handler])

    def crash_twice(hub_id: str) -> None:
        for _ in range(2):
            pid = ProcessHub.get_pid(hub_id, "c1")
            assert pid is not None
            process.exit(pid, "kill")
            process.sleep(0.01)

    cluster[0].run(crash_twice, "b")
    settle(cluster, "b")
    assert told == []
    cluster[0].run(crash_twice, "a")
    cluster.advance(0.05)
    info = {hub_id: cluster[0].run(ProcessHub.child_lookup, hub_id, "c1") for hub_id in ("a", "b")}
    assert [list(found.states.values()) for found in info.values() if found is not None] == [["failed"], ["running"]]
    assert len(told) == 3


def test_a_hub_may_run_on_some_of_the_nodes_only(cluster: Cluster) -> None:
    def host() -> None:
        ProcessHub.start_link(HubConfig("c"))
        process.receive(lambda _: False)

    cluster[0].begin(host)
    cluster[1].begin(host)
    cluster.advance(1.0)
    assert cluster[0].run(ProcessHub.nodes, "c", True) == [cluster[0].name, cluster[1].name]
    assert not cluster[2].run(ProcessHub.is_alive, "c")
    result = cluster[1].run(started, "c", [Counter.child_spec(id=child_id) for child_id in IDS])
    assert result.nodes == [cluster[0].name, cluster[1].name]
