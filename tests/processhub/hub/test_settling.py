"""await_settled returns when nothing is left to do, and says what is left when it is not."""

from __future__ import annotations

import pytest

from processhub import CallTimeout, ChildSpec, MajorityQuorum, ProcessHub
from tests.processhub.hub.children import (
    HUB,
    ShortLived,
    Slow,
    Stubborn,
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


def test_a_settled_hub_is_settled_at_once() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(10))
        settle(cluster)
        assert settle(cluster) < 0.01


def test_it_waits_for_the_members_that_are_named() -> None:
    with cluster_of(2) as cluster:
        names = [node.name for node in cluster]
        late = f"node3@127.0.0.1:{4372}"
        with pytest.raises(CallTimeout, match="members are"):
            cluster[0].run(ProcessHub.await_settled, HUB, 2.0, [*names, late])
        errand = cluster[0].begin(ProcessHub.await_settled, HUB, 30.0, [*names, late])
        cluster.add()
        cluster.run_until(errand.is_over)
        errand.outcome()


def test_it_waits_for_moves() -> None:
    with cluster_of(1) as cluster:
        ids = [f"s{n}" for n in range(10)]
        start(cluster[0], [Stubborn.child_spec(2.0, id=child_id) for child_id in ids])
        cluster.add()
        assert settle(cluster) > 1.9
        assert copies_alive(cluster, ids)


def test_it_waits_for_a_restart_and_names_the_child_that_is_late() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], ChildSpec("slow", (Slow.start_link, (3.0,))))
        settle(cluster)
        for node in cluster:
            pid = pid_of(node, "slow")
            if pid is not None and pid.node == node.name:
                kill(node, pid)
        cluster.advance(0.1)
        with pytest.raises(CallTimeout, match=r"'slow' runs on .*\(restarting\)"):
            cluster[0].run(ProcessHub.await_settled, HUB, 1.0)
        assert settle(cluster) > 1.0


def test_it_names_a_child_that_has_failed() -> None:
    with cluster_of(1, dsup_max_restarts=1) as cluster:
        start(cluster[0], ChildSpec("fly", (ShortLived.start_link, (0.01,))))
        cluster.advance(0.2)
        with pytest.raises(CallTimeout, match=r"'fly' runs on .*\(failed\)"):
            cluster[0].run(ProcessHub.await_settled, HUB, 0.3)


def test_it_lists_a_few_of_many_problems() -> None:
    with cluster_of(1) as cluster:
        start(cluster[0], [ChildSpec(f"slow{n}", (Slow.start_link, (3.0,))) for n in range(30)])
        for number in range(30):
            kill(cluster[0], pid_of(cluster[0], f"slow{number}"))
        with pytest.raises(CallTimeout) as caught:
            cluster[0].run(ProcessHub.await_settled, HUB, 1.0)
        assert str(caught.value).count("its owners are") == 10
        assert "..." in str(caught.value)


def test_a_member_that_does_not_answer_is_named() -> None:
    with cluster_of(2) as cluster:
        name = cluster[1].name
        cluster.pause(1, 8.0)
        with pytest.raises(CallTimeout, match=name):
            cluster[0].run(ProcessHub.await_settled, HUB, 3.0)


def test_it_ends_within_its_timeout_whatever_the_others_do() -> None:
    with cluster_of(3) as cluster:
        cluster.pause(1, 20.0)
        before = cluster.now()
        with pytest.raises(CallTimeout):
            cluster[0].run(ProcessHub.await_settled, HUB, 1.0)
        assert cluster.now() - before <= 1.1


def test_two_parts_of_a_divided_cluster_settle_each_for_itself() -> None:
    with cluster_of(4) as cluster:
        start(cluster[0], counters(20))
        cluster.partition([[0, 1], [2, 3]])
        cluster.advance(15.0)
        settle(cluster, among=[0, 1])
        settle(cluster, among=[2, 3])
        with pytest.raises(CallTimeout):
            cluster[0].run(ProcessHub.await_settled, HUB, 1.0, [node.name for node in cluster])


def test_a_partitioned_hub_is_not_settled_though_it_has_no_children() -> None:
    """It refuses starts."""
    with cluster_of(3, partition_tolerance_strategy=MajorityQuorum(initial_cluster_size=3)) as cluster:
        cluster.partition([[0], [1, 2]])
        cluster.advance(15.0)
        settle(cluster, among=[1, 2])
        with pytest.raises(CallTimeout, match=f"{cluster[0].name} is partitioned"):
            cluster[0].run(ProcessHub.await_settled, HUB, 1.0, [cluster[0].name])
        cluster.heal()
        settle(cluster)
        assert start(cluster[0], counters(10)).status == "ok"


def test_it_waits_for_children_that_were_stopped_and_are_not_gone_yet() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], ChildSpec("mule", (Stubborn.start_link, (8.0,)), shutdown=10.0))
        assert stop(cluster[0], "mule", timeout=1.0).status == "error"
        with pytest.raises(CallTimeout, match=r"'mule' runs on .*, its owners are \[\]"):
            cluster[0].run(ProcessHub.await_settled, HUB, 1.0)
        assert settle(cluster) > 4.0
        assert runs(cluster) == {}
