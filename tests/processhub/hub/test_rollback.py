"""Starts with on_failure="rollback": all of the children run, or none does."""

from __future__ import annotations

from typing import Any

from processhub import ChildSpec, ProcessHub
from processhub.testing import Cluster, ClusterNode
from tests.processhub.hub.children import (
    HUB,
    Counter,
    Failing,
    Slow,
    Stubborn,
    cluster_of,
    copies_alive,
    counters,
    hub_of,
    owner_of,
    runs,
    settle,
    start,
    start_raises,
)

BAD = ChildSpec("bad", (start_raises, ()))


def rolled_back(cluster: Cluster, specs: list[Any], **options: Any) -> Any:
    result = start(cluster[0], specs, on_failure="rollback", **options)
    assert (result.status, result.rollback, result.started) == ("error", True, {})
    return result


def id_at(cluster: Cluster, node: ClusterNode, prefix: str = "s") -> str:
    """An id of a child that this node owns."""
    return next(f"{prefix}{n}" for n in range(1000) if owner_of(cluster, f"{prefix}{n}") is node)


def assert_nothing_is_left(cluster: Cluster) -> None:
    settle(cluster)
    assert runs(cluster) == {}
    for node in cluster:
        if node.is_alive:
            assert node.run(ProcessHub.registry_dump, HUB) == {}
            assert not hub_of(node).registry.own_table


def test_one_failure_of_many_stops_what_started_on_every_node() -> None:
    with cluster_of(3) as cluster:
        result = rolled_back(cluster, [*counters(30), BAD, Failing.child_spec(id="worse")])
        assert sorted(error.child_id for error in result.errors) == ["bad", "worse"]
        assert_nothing_is_left(cluster)
        assert start(cluster[1], counters(30)).status == "ok"


def test_when_nothing_had_started_there_is_nothing_to_roll_back() -> None:
    with cluster_of(2) as cluster:
        result = start(cluster[0], [BAD], on_failure="rollback")
        assert (result.status, result.rollback) == ("error", False)


def test_without_a_failure_everything_runs() -> None:
    with cluster_of(2) as cluster:
        result = start(cluster[0], counters(10), on_failure="rollback")
        assert (result.status, result.rollback, len(result.started)) == ("ok", False, 10)
        settle(cluster)
        assert copies_alive(cluster, result.child_ids)


def test_a_start_that_takes_too_long_rolls_the_others_back() -> None:
    with cluster_of(3) as cluster:
        before = cluster.now()
        result = rolled_back(cluster, [*counters(20), Slow.child_spec(60.0, id="slow")], timeout=2.0)
        assert [(error.child_id, error.reason) for error in result.errors] == [("slow", "timeout")]
        assert cluster.now() - before < 3.0
        assert_nothing_is_left(cluster)


def test_children_that_ran_before_the_start_go_on() -> None:
    with cluster_of(3) as cluster:
        theirs = start(cluster[1], Counter.child_spec(id="c3"))
        result = rolled_back(cluster, counters(10), check_existing=False)
        assert [(error.child_id, error.reason) for error in result.errors] == [("c3", "already_started")]
        settle(cluster)
        assert list(runs(cluster)) == ["c3"]
        assert cluster[0].run(ProcessHub.get_pid, HUB, "c3") == theirs.pid


def test_a_child_that_does_not_stop_in_time_is_named_and_stops_later() -> None:
    with cluster_of(3) as cluster:
        stubborn = ChildSpec("stubborn", (Stubborn.start_link, (5.0,)), shutdown=20.0)
        before = cluster.now()
        result = rolled_back(cluster, [*counters(10), stubborn, BAD], timeout=2.0)
        assert cluster.now() - before < 4.5
        named = {error.child_id: error.reason for error in result.errors}
        assert named.pop("bad") is not None
        assert named.pop("stubborn") == ("rollback_failed", "timeout")
        # Those that were to stop in the same request were not confirmed either; none of them is desired any more.
        assert set(named.values()) <= {("rollback_failed", "timeout")}
        assert cluster[0].run(ProcessHub.registry_dump, HUB) == {}
        cluster.advance(10.0)
        assert_nothing_is_left(cluster)


def test_a_node_that_is_lost_during_the_rollback_is_named_and_nothing_comes_back() -> None:
    with cluster_of(3) as cluster:
        node = cluster[2]
        stubborn = ChildSpec(id_at(cluster, node), (Stubborn.start_link, (3.0,)), shutdown=20.0)
        errand = cluster[0].begin(
            lambda: ProcessHub.start_children(HUB, [*counters(10), stubborn, BAD], on_failure="rollback").result()
        )
        cluster.run_until(lambda: len(runs(cluster)) == 11)
        cluster.run_until(lambda: "c1" not in runs(cluster))
        cluster.crash(node)
        cluster.run_until(errand.is_over)
        result = errand.outcome()
        assert result.rollback
        reasons = {error.child_id: error.reason for error in result.errors if error.node == node.name}
        assert reasons[stubborn.id] == ("rollback_failed", "noconnection")
        cluster.restart(node)
        assert_nothing_is_left(cluster)


def test_a_node_that_does_not_answer_in_time_is_named_and_the_others_are_rolled_back() -> None:
    with cluster_of(3) as cluster:
        node = cluster[2]
        silent, mine = id_at(cluster, node), [id_at(cluster, cluster[n], "a") for n in (0, 1)]
        specs = [Counter.child_spec(id=child_id) for child_id in [*mine, silent]]
        errand = cluster[0].begin(
            lambda: ProcessHub.start_children(HUB, specs, on_failure="rollback", timeout=1.0).result()
        )
        cluster.pause(node)
        cluster.run_until(errand.is_over)
        result = errand.outcome()
        assert result.rollback
        assert [(error.child_id, error.node, error.reason) for error in result.errors] == [
            (silent, node.name, "timeout")
        ]
        assert runs(cluster) == {}


def test_a_child_that_was_started_though_its_node_could_not_say_so_is_stopped_as_well() -> None:
    with cluster_of(3) as cluster:
        node = cluster[2]
        quick, slow = id_at(cluster, node, "q"), id_at(cluster, node)
        specs = [Counter.child_spec(id=quick), Slow.child_spec(1.0, id=slow)]
        errand = cluster[0].begin(lambda: ProcessHub.start_children(HUB, specs, on_failure="rollback").result())
        cluster.run_until(lambda: quick in hub_of(cluster[0]).registry.children)
        cluster.crash(node)
        cluster.run_until(errand.is_over)
        result = errand.outcome()
        assert (result.rollback, result.started) == (True, {})
        assert [(error.child_id, error.node, error.reason) for error in result.errors] == [
            (quick, node.name, "noconnection")
        ]
        assert_nothing_is_left(cluster)
