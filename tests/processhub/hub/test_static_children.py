"""Children of the configuration, which every node has: they run once, and a node that starts again writes nothing."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from processhub import ChildSpec, ProcessHub, process
from processhub.hub.config import HubConfig
from processhub.testing import Cluster
from tests.processhub.hub.children import (
    HUB,
    Named,
    cluster_of,
    copies_alive,
    hub_of,
    journal,
    pid_of,
    runs,
    settle,
    stop,
)

IDS = [f"n{n}" for n in range(12)]
SPECS = [Named.child_spec(child_id, id=child_id) for child_id in IDS]


def host(config: HubConfig) -> None:
    ProcessHub.start_link(config)
    process.receive(lambda _: False)


def written(cluster: Cluster, number: int = 0) -> Any:
    """What was written into Desired, as a node has it."""
    return hub_of(cluster[number]).registry.vector().to_wire()[1]


def pids(cluster: Cluster, number: int = 0) -> dict[str, Any]:
    return {child_id: pid_of(cluster[number], child_id) for child_id in IDS}


@pytest.mark.parametrize("size", [2, 5])
def test_nodes_that_all_start_at_once_run_each_child_once_without_a_word(
    size: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    journal.clear()
    with Cluster(size) as cluster:
        for node in cluster:
            node.begin(host, HubConfig(HUB, child_specs=SPECS))
        cluster.run_until(lambda: all(HUB in node.runtime.services for node in cluster))
        settle(cluster)
        assert sorted(runs(cluster)) == sorted(IDS)
        assert copies_alive(cluster, IDS)
        assert sorted(name for name, _ in journal) == sorted(IDS), "none was started twice"
        assert [record.getMessage() for record in caplog.records] == []


def test_a_node_that_joins_with_the_same_children_writes_nothing_and_starts_none_twice() -> None:
    with cluster_of(2, child_specs=SPECS) as cluster:
        before = written(cluster)
        cluster.add()
        settle(cluster)
        assert written(cluster) == written(cluster, 2) == before
        assert copies_alive(cluster, IDS)


@pytest.mark.parametrize("how", ["crash", "leave"])
def test_a_node_that_starts_again_with_the_same_children_writes_nothing(how: str) -> None:
    with cluster_of(3, child_specs=SPECS) as cluster:
        before, kept = written(cluster), pids(cluster)
        getattr(cluster, how)(2)
        settle(cluster)
        cluster.restart(2)
        settle(cluster)
        assert written(cluster) == written(cluster, 2) == before
        assert copies_alive(cluster, IDS)
        stayed = [child_id for child_id, pid in kept.items() if pid.node != cluster[2].name]
        assert {child_id: pid_of(cluster[0], child_id) for child_id in stayed} == {c: kept[c] for c in stayed}


def test_a_node_that_starts_again_before_it_is_missed_writes_nothing() -> None:
    with cluster_of(3, child_specs=SPECS) as cluster:
        before = written(cluster)
        cluster.restart(1)
        settle(cluster)
        assert written(cluster) == before
        assert copies_alive(cluster, IDS)


def test_a_child_that_was_stopped_comes_back_with_the_next_node_that_has_it_in_its_configuration() -> None:
    """The configuration says that it should run; a stop holds for the nodes that have started already."""
    with cluster_of(2, child_specs=SPECS) as cluster:
        stop(cluster[0], "n3")
        settle(cluster)
        assert "n3" not in runs(cluster)
        cluster.add()
        settle(cluster)
        assert copies_alive(cluster, IDS)


def test_a_child_that_is_desired_with_another_spec_is_left_as_it_is() -> None:
    with cluster_of(1) as cluster:
        cluster[0].run(
            lambda: ProcessHub.start_child(HUB, Named.child_spec("another", id="n1"), metadata={"tag": "t"}).result()
        )
        before, pid = written(cluster), pid_of(cluster[0], "n1")
        cluster._hubs = [HubConfig(HUB, child_specs=[ChildSpec("n1", (Named.start_link, ("n1",)))])]
        cluster.add()
        settle(cluster)
        assert written(cluster) == before
        info = cluster[1].run(ProcessHub.child_lookup, HUB, "n1")
        assert info is not None
        assert (info.spec.start[1], info.metadata) == (("another",), {"tag": "t"})
        assert pid is not None
