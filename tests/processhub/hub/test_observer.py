"""Observers: they own nothing, see everything, and start and stop children."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from processhub import GenServer, HubNotAlive, ProcessHub, process
from processhub.hub.config import HubConfig
from processhub.testing import Cluster, ClusterNode
from tests.processhub.hub.children import (
    HUB,
    Named,
    cluster_of,
    copies_alive,
    counters,
    kill,
    pid_of,
    runs,
    settle,
    start,
    stop,
)

IDS = [f"c{n}" for n in range(30)]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Two members with 30 children, and a third node that observes."""
    with cluster_of(2) as found:
        start(found[0], counters(30))
        found._hubs = []
        found.add()
        found.run_until(found.is_connected)
        found[2].run(observe)
        yield found


def observe() -> None:
    ProcessHub.observe(HUB)


def observer(cluster: Cluster) -> ClusterNode:
    return cluster[2]


def test_an_observer_sees_all_children_when_observe_returns(cluster: Cluster) -> None:
    node = observer(cluster)
    assert sorted(node.run(ProcessHub.process_list, HUB)) == sorted(IDS)
    assert node.run(ProcessHub.process_list, HUB) == cluster[0].run(ProcessHub.process_list, HUB)
    assert node.run(ProcessHub.process_list, HUB, "local") == {}
    assert node.run(ProcessHub.is_alive, HUB)


def test_an_observer_is_no_member_and_owns_nothing(cluster: Cluster) -> None:
    names = [cluster[0].name, cluster[1].name]
    for node in cluster:
        assert node.run(ProcessHub.nodes, HUB, True) == names
    for child_id in IDS:
        owners = {tuple(node.run(ProcessHub.owners, HUB, child_id)) for node in cluster}
        assert len(owners) == 1
        assert cluster[2].name not in next(iter(owners))
    cluster.advance(60.0)
    assert not any(observer(cluster).name in nodes for nodes in runs(cluster).values())


def test_an_observer_learns_of_changes_at_once(cluster: Cluster) -> None:
    start(cluster[0], counters(5, prefix="d"))
    stop(cluster[1], IDS[:10])
    cluster.advance(0.01)
    assert sorted(observer(cluster).run(ProcessHub.process_list, HUB)) == sorted(runs(cluster))


def test_an_observer_starts_calls_and_stops_children(cluster: Cluster) -> None:
    node = observer(cluster)
    result = start(node, [Named.child_spec("kid", id="kid"), *counters(10, prefix="d")])
    assert result.status == "ok"
    assert set(result.nodes) <= {cluster[0].name, cluster[1].name}
    assert pid_of(node, "kid") == result.started["kid"][next(iter(result.started["kid"]))]
    assert node.run(GenServer.call, ProcessHub.via(HUB, "kid"), "who") == "kid"
    assert stop(node, ["kid", "d1"]).status == "ok"
    assert pid_of(node, "kid") is None
    cluster.advance(0.01)
    assert "kid" not in runs(cluster)


def test_an_observer_that_crashes_or_stops_moves_nothing(cluster: Cluster) -> None:
    before = runs(cluster)
    observer(cluster).run(ProcessHub.stop, HUB)
    cluster.advance(5.0)
    assert not observer(cluster).run(ProcessHub.is_alive, HUB)
    assert runs(cluster) == before
    observer(cluster).run(observe)
    cluster.crash(2)
    cluster.advance(5.0)
    settle(cluster)
    assert runs(cluster) == before


def test_an_observer_sees_a_failover(cluster: Cluster) -> None:
    cluster.crash(1)
    cluster.run_until(lambda: copies_alive(cluster, IDS), 5.0)
    cluster.advance(0.1)
    seen = observer(cluster).run(ProcessHub.process_list, HUB)
    assert {next(iter(copies)) for copies in seen.values()} == {cluster[0].name}


def test_an_observer_that_lost_all_members_finds_them_again(cluster: Cluster) -> None:
    cluster.partition([[0, 1], [2]])
    cluster.advance(30.0)
    assert observer(cluster).run(ProcessHub.nodes, HUB, True) == []
    start(cluster[0], counters(5, prefix="d"))
    cluster.heal()
    cluster.advance(30.0)
    assert observer(cluster).run(ProcessHub.process_list, HUB) == cluster[0].run(ProcessHub.process_list, HUB)


def test_a_start_by_an_observer_without_members_fails_with_a_reason(cluster: Cluster) -> None:
    cluster.partition([[0, 1], [2]])
    cluster.advance(30.0)
    result = start(observer(cluster), counters(1, prefix="d"))
    assert result.status == "error"
    assert "no members" in str(result.errors[0].reason)


def test_an_observers_coordinator_may_be_killed(cluster: Cluster) -> None:
    node = observer(cluster)
    kill(node, node.runtime.names[HUB].pid)
    cluster.advance(2.0)
    start(cluster[0], counters(5, prefix="d"))
    cluster.advance(1.0)
    assert sorted(node.run(ProcessHub.process_list, HUB)) == sorted(runs(cluster))


def test_an_observer_waits_for_the_hub_to_settle(cluster: Cluster) -> None:
    observer(cluster).run(ProcessHub.await_settled, HUB, 5.0, [cluster[0].name, cluster[1].name])


def test_observing_a_hub_that_nobody_runs_is_refused() -> None:
    with Cluster(2) as cluster, pytest.raises(HubNotAlive, match="ghost"):
        cluster[0].run(ProcessHub.observe, "ghost")


def test_a_hub_that_is_found_late_is_a_member_beside_an_observer(cluster: Cluster) -> None:
    cluster._hubs = [HubConfig(HUB)]
    cluster.add()
    for node in (cluster[0], cluster[1], cluster[3]):
        node.run(ProcessHub.await_settled, HUB, 30.0, sorted(n.name for n in cluster if n is not cluster[2]))
    assert copies_alive(cluster, IDS)
    assert len(observer(cluster).run(ProcessHub.nodes, HUB)) == 3
    assert process is not None
