"""Guided: children stay on the nodes that they were given, are down without them, and come back with them."""

from __future__ import annotations

from typing import Any

import pytest

from processhub import (
    CallTimeout,
    ChildMappingMismatch,
    ChildReplicationMismatch,
    GenServer,
    Guided,
    InvalidChildMapping,
    MissingChildMapping,
    ProcessHub,
    Replication,
)
from processhub.hub.config import HubConfig
from processhub.strategy.errors import InvalidConfig
from processhub.testing import Cluster
from tests.processhub.hub.children import (
    HUB,
    Counter,
    cluster_of,
    counters,
    local_pids,
    pid_of,
    runs,
    settle,
    start,
    stop,
)

GUIDED: dict[str, Any] = {"distribution_strategy": Guided()}
IDS = [f"c{number}" for number in range(12)]


def dealt(cluster: Cluster, child_ids: Any = IDS) -> dict[str, list[str]]:
    """c0 on the first node, c1 on the second, and so on."""
    return {child_id: [cluster[number % 3].name] for number, child_id in enumerate(child_ids)}


def start_dealt(cluster: Cluster) -> dict[str, list[str]]:
    mapping = dealt(cluster)
    assert start(cluster[0], counters(12), child_mapping=mapping).status == "ok"
    settle(cluster)
    return mapping


def states(cluster: Cluster, child_id: str) -> list[dict[str, str]]:
    infos = [node.run(ProcessHub.child_lookup, HUB, child_id) for node in cluster if node.is_alive]
    return [info.states if info is not None else {} for info in infos]


def test_children_run_where_the_mapping_says() -> None:
    with cluster_of(3, **GUIDED) as cluster:
        mapping = start_dealt(cluster)
        assert runs(cluster) == mapping
        assert all(cluster[1].run(ProcessHub.owners, HUB, child_id) == mapping[child_id] for child_id in IDS)


@pytest.mark.parametrize(
    ("mapping", "error"),
    [
        (None, MissingChildMapping),
        ({"c0": "node"}, InvalidChildMapping),
        ({"other": ["node"]}, ChildMappingMismatch),
        ({"c0": ["a", "b"]}, ChildReplicationMismatch),
    ],
)
def test_a_wrong_mapping_is_raised_by_the_call_and_starts_nothing(mapping: Any, error: type[Exception]) -> None:
    with cluster_of(2, **GUIDED) as cluster:
        options = {} if mapping is None else {"child_mapping": mapping}
        with pytest.raises(error):
            cluster[0].run(ProcessHub.start_children, HUB, counters(1), **options)
        assert cluster[0].run(ProcessHub.registry_dump, HUB) == {}


def test_static_children_are_refused_since_they_have_no_mapping() -> None:
    with pytest.raises(InvalidConfig, match="child_specs must be empty"):
        HubConfig(HUB, child_specs=counters(1), distribution_strategy=Guided())


def test_nothing_moves_when_nodes_join_or_leave() -> None:
    with cluster_of(3, **GUIDED) as cluster:
        start_dealt(cluster)
        before = [local_pids(node) for node in cluster]
        cluster.add()
        settle(cluster)
        cluster.crash(3)
        settle(cluster)
        assert [local_pids(node) for node in (cluster[0], cluster[1], cluster[2])] == before


def test_children_of_a_lost_node_are_reported_as_down_and_come_back_with_it() -> None:
    with cluster_of(3, **GUIDED) as cluster:
        mapping = start_dealt(cluster)
        lost = cluster[2].name
        cluster.crash(2)
        settle(cluster)  # there is nothing left to do
        assert states(cluster, "c2") == [{lost: "down"}] * 2
        assert states(cluster, "c0") == [{cluster[0].name: "running"}] * 2
        assert cluster[0].run(ProcessHub.process_list, HUB)["c2"] == {}
        assert pid_of(cluster[0], "c2") is None
        dump = cluster[1].run(ProcessHub.registry_dump, HUB)
        assert sorted(child_id for child_id, info in dump.items() if "down" in info.states.values()) == [
            "c11",
            "c2",
            "c5",
            "c8",
        ]
        cluster.restart(2)
        settle(cluster)
        assert runs(cluster) == mapping
        assert states(cluster, "c2") == [{lost: "running"}] * 3


def test_a_node_that_leaves_in_good_order_has_its_children_down_as_well() -> None:
    with cluster_of(3, **GUIDED) as cluster:
        mapping = start_dealt(cluster)
        cluster.leave(1)
        settle(cluster)
        assert states(cluster, "c1") == [{cluster[1].name: "down"}] * 2
        cluster.restart(1)
        settle(cluster)
        assert runs(cluster) == mapping


def test_each_node_warns_once_of_children_that_are_down(caplog: pytest.LogCaptureFixture) -> None:
    with cluster_of(3, **GUIDED) as cluster:
        start_dealt(cluster)
        cluster.crash(2)
        settle(cluster)
        cluster.advance(60.0)
        down = [record.getMessage() for record in caplog.records if "down until it is back" in record.getMessage()]
        assert len(down) == 2
        assert f"4 children are bound to {cluster[2].name}" in down[0]
        assert "'c2', 'c5', 'c8', 'c11'" in down[0]


def test_nobody_warns_when_nothing_was_bound_to_the_lost_node(caplog: pytest.LogCaptureFixture) -> None:
    with cluster_of(3, **GUIDED) as cluster:
        start(cluster[0], counters(1), child_mapping={"c0": [cluster[0].name]})
        cluster.crash(2)
        settle(cluster)
        assert "down until" not in caplog.text


def test_a_call_to_a_child_that_is_down_waits_for_its_node() -> None:
    with cluster_of(3, **GUIDED) as cluster:
        start_dealt(cluster)
        cluster.crash(2)
        settle(cluster)
        with pytest.raises(CallTimeout):
            cluster[0].run(GenServer.call, ProcessHub.via(HUB, "c2"), "get", 2.0)
        errand = cluster[0].begin(GenServer.call, ProcessHub.via(HUB, "c2"), "get", 30.0)
        cluster.restart(2)
        cluster.run_until(errand.is_over)
        assert errand.outcome() == 0


def test_a_child_that_was_stopped_while_its_node_was_away_does_not_come_back() -> None:
    with cluster_of(3, **GUIDED) as cluster:
        start_dealt(cluster)
        cluster.partition([[0, 1], [2]])
        cluster.advance(15.0)
        assert stop(cluster[0], "c2").status == "ok"
        cluster.heal()
        settle(cluster)
        assert "c2" not in runs(cluster)
        assert len(runs(cluster)) == 11


def test_a_partition_leaves_every_child_running_on_its_own_node() -> None:
    with cluster_of(3, **GUIDED) as cluster:
        mapping = start_dealt(cluster)
        before = [local_pids(node) for node in cluster]
        cluster.partition([[0], [1], [2]])
        cluster.advance(15.0)
        cluster.heal()
        settle(cluster)
        assert runs(cluster) == mapping
        assert [local_pids(node) for node in cluster] == before


def test_a_mapping_to_a_node_that_is_no_member_is_a_failure_of_the_start() -> None:
    with cluster_of(2, **GUIDED) as cluster:
        ghost = "ghost@127.0.0.1:1"
        mapping = {"c0": [cluster[1].name], "c1": [ghost]}
        result = start(cluster[0], counters(2), child_mapping=mapping)
        assert list(result.started) == ["c0"]
        assert [(error.child_id, error.node, error.reason) for error in result.errors] == [("c1", ghost, "not_member")]
        settle(cluster)
        assert list(cluster[0].run(ProcessHub.registry_dump, HUB)) == ["c0"]


def test_with_replication_the_mapping_names_all_nodes_and_each_is_bound() -> None:
    with cluster_of(4, redundancy_strategy=Replication(2, "active_passive"), **GUIDED) as cluster:
        pair = [cluster[2].name, cluster[1].name]
        result = start(cluster[0], Counter.child_spec(id="kid"), child_mapping={"kid": pair})
        assert list(result.started["kid"]) == pair
        settle(cluster)
        cluster.crash(2)
        settle(cluster)
        assert states(cluster, "kid") == [{cluster[1].name: "running", cluster[2].name: "down"}] * 3
        pid = cluster[0].run(ProcessHub.active, HUB, "kid")
        assert pid is not None
        assert pid.node == cluster[1].name
        cluster.restart(2)
        settle(cluster)
        assert runs(cluster)["kid"] == sorted(pair)


def test_a_copy_on_a_node_that_is_no_member_is_a_failure_and_the_other_one_runs() -> None:
    with cluster_of(3, redundancy_strategy=Replication(2), **GUIDED) as cluster:
        ghost = "ghost@127.0.0.1:1"
        result = start(cluster[0], counters(1), child_mapping={"c0": [ghost, cluster[1].name]})
        assert list(result.started["c0"]) == [cluster[1].name]
        assert [(error.node, error.reason) for error in result.errors] == [(ghost, "not_member")]
        settle(cluster)
        assert states(cluster, "c0")[0] == {cluster[1].name: "running", ghost: "down"}
