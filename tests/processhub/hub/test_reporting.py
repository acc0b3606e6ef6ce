"""What nodes say of themselves and of their hubs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from processhub import CallTimeout, ChildSpec, GenServer, NoConnection, Node, NoProcess, ProcessHub, process
from processhub.hub.reporting import NAMED
from processhub.testing import Cluster
from tests.processhub.hub.children import HUB, cluster_of, counters, start


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Two members with 30 children, and a third node that runs no hub."""
    with cluster_of(2) as found:
        start(found[0], counters(30))
        found._hubs = []
        found.add()
        found.run_until(found.is_connected)
        yield found


def test_a_node_says_whom_it_is_connected_to_and_what_runs_on_it(cluster: Cluster) -> None:
    info = cluster[2].run(Node.info, cluster[0].name)
    assert (info.name, list(info.nodes)) == (cluster[0].name, [cluster[1].name, cluster[2].name])
    assert info.services == {HUB: "hub"}
    assert cluster[2].run(Node.info).services == {}
    assert cluster[0].run(Node.info) == info


def test_the_hubs_of_a_node_are_listed_without_observers(cluster: Cluster) -> None:
    cluster[2].run(lambda: ProcessHub.observe(HUB))
    assert cluster[2].run(ProcessHub.hub_ids, cluster[0].name) == [HUB]
    assert cluster[0].run(ProcessHub.hub_ids) == [HUB]
    assert cluster[0].run(ProcessHub.hub_ids, cluster[2].name) == []
    assert cluster[0].run(Node.info, cluster[2].name).services == {HUB: "observer"}


def test_a_node_that_is_not_connected_says_nothing(cluster: Cluster) -> None:
    with pytest.raises(NoConnection):
        cluster[0].run(Node.info, "ghost@127.0.0.1:1")
    with pytest.raises(NoConnection):
        cluster[0].run(ProcessHub.report, HUB, "ghost@127.0.0.1:1")
    with pytest.raises(NoProcess):
        cluster[0].run(ProcessHub.report, HUB, cluster[2].name)


def test_a_report_counts_children_and_is_read_from_anywhere(cluster: Cluster) -> None:
    names = [cluster[0].name, cluster[1].name]
    reports = [cluster[2].run(ProcessHub.report, HUB, name) for name in names]
    assert [report.node for report in reports] == names
    assert [report.members for report in reports] == [names, names]
    assert sum(report.states["running"] for report in reports) == 30
    assert {report.children for report in reports} == {30}
    assert reports[0].digest == reports[1].digest
    assert not any(report.is_locked or report.is_partitioned or report.is_busy or report.down for report in reports)
    assert cluster[0].run(ProcessHub.report, HUB) == reports[0]


class Broken(GenServer):
    """Crashes a moment after each start."""

    def init(self) -> None:
        process.send_after(process.self(), "crash", 0.01)

    def handle_info(self, message: Any) -> None:
        raise ValueError(message)


def test_a_report_names_the_first_failed_children_and_those_that_run_nowhere() -> None:
    with Cluster(1, hubs=[ProcessHub("shop", dsup_max_restarts=0)]) as cluster:
        specs = [ChildSpec(f"b{number:02}", (Broken.start_link, ())) for number in range(NAMED + 2)]
        cluster[0].run(lambda: ProcessHub.start_children("shop", specs).result())
        cluster.advance(0.1)
        report = cluster[0].run(ProcessHub.report, "shop")
        assert report.states == {"failed": NAMED + 2}
        assert report.down == NAMED + 2
        assert report.failed == report.down_ids == [f"b{number:02}" for number in range(NAMED)]


def test_a_report_that_does_not_come_in_time_is_a_timeout(cluster: Cluster) -> None:
    cluster.cut(1, 0)
    with pytest.raises(CallTimeout):
        cluster[0].run(ProcessHub.report, HUB, cluster[1].name, 0.5)


def test_a_lone_node_has_no_refusals_and_no_peers() -> None:
    assert Node.refusals() == {}
    assert Node.info().nodes == ()
    assert ProcessHub.hub_ids() == []
