"""Several copies of each child: where they run, what a start of them says, which one answers."""

from __future__ import annotations

from typing import Any

import pytest

from processhub import ChildSpec, Crash, GenServer, HashRing, NoProcess, ProcessHub, Replication, process
from processhub.hub.config import HubConfig
from processhub.hub.messages import AwaitCopies
from processhub.testing import Cluster
from tests.processhub.hub.children import (
    HUB,
    Counter,
    Slow,
    cluster_of,
    counters,
    hub_of,
    journal,
    kill,
    local_pids,
    part_of,
    pid_of,
    runs,
    settle,
    start,
    stop,
)
from tests.processhub.hub.replicas import active_node, by_name, members, owners

TWO = Replication(2)
PASSIVE = Replication(2, "active_passive")
IDS = [f"c{number}" for number in range(30)]


class FailsElsewhere(GenServer):
    """Its init raises on every node but the one named, until the journal has ("mended",)."""

    def init(self, node: str) -> None:
        if process.self().node != node and ("mended",) not in journal:
            raise ValueError("not on this node")


def host(config: HubConfig) -> None:
    """Run a hub for ever."""
    ProcessHub.start_link(config)
    process.receive(lambda _: False)


def two_copies(cluster: Cluster, child_ids: Any = IDS) -> bool:
    truth = runs(cluster)
    return all(len(truth.get(child_id, ())) == 2 for child_id in child_ids)


# -- starting --------------------------------------------------------------------------------------------------------


def test_the_result_of_a_start_has_all_copies_and_every_node_knows_them() -> None:
    with cluster_of(4, redundancy_strategy=TWO) as cluster:
        result = start(cluster[0], counters(30))
        assert result.status == "ok"
        assert two_copies(cluster)
        for child_id in IDS:
            assert list(result.started[child_id]) == owners(cluster[0], child_id)
            assert set(cluster[0].run(ProcessHub.get_pids, HUB, child_id)) == set(result.started[child_id].values())
        settle(cluster)
        assert len(result.pids) == 60


def test_more_copies_than_members_are_as_many_as_there_are_and_more_when_members_come() -> None:
    with cluster_of(1, redundancy_strategy=Replication(3)) as cluster:
        assert start(cluster[0], counters(10)).status == "ok"
        for size in (2, 3, 4):
            cluster.add()
            settle(cluster)
            assert {len(nodes) for nodes in runs(cluster).values()} == {min(size, 3)}


def test_cluster_size_follows_joins_and_leaves() -> None:
    with cluster_of(2, redundancy_strategy=Replication("cluster_size")) as cluster:
        assert len(start(cluster[0], counters(10)).pids) == 20
        cluster.add()
        settle(cluster)
        assert {len(nodes) for nodes in runs(cluster).values()} == {3}
        cluster.crash(1)
        settle(cluster)
        cluster.leave(0)
        settle(cluster)
        assert {tuple(nodes) for nodes in runs(cluster).values()} == {(cluster[2].name,)}


def test_a_further_copy_that_fails_is_a_failure_with_its_node_and_is_tried_again() -> None:
    with cluster_of(3, redundancy_strategy=TWO) as cluster:
        first, second = owners(cluster[0], "kid")
        before = cluster.now()
        result = start(cluster[0], FailsElsewhere.child_spec(first, id="kid"))
        assert cluster.now() - before < 0.1
        assert result.status == "error"
        assert list(result.started["kid"]) == [first]
        [error] = result.errors
        assert (error.child_id, error.node) == ("kid", second)
        assert isinstance(error.reason, Crash)
        assert error.reason.type == "ValueError"
        journal.append(("mended",))
        settle(cluster)
        assert runs(cluster)["kid"] == sorted([first, second])
        assert all(hub_of(node).failures == {} for node in cluster)


def test_rollback_stops_all_copies_when_a_further_one_fails() -> None:
    with cluster_of(3, redundancy_strategy=TWO) as cluster:
        first, _ = owners(cluster[0], "kid")
        specs = [*counters(10), FailsElsewhere.child_spec(first, id="kid")]
        result = start(cluster[0], specs, on_failure="rollback")
        assert result.rollback
        assert runs(cluster) == {}
        settle(cluster)
        assert runs(cluster) == {}
        assert cluster[2].run(ProcessHub.registry_dump, HUB) == {}


def test_rollback_stops_copies_whose_start_is_still_under_way() -> None:
    """A copy that nobody has seen yet must not come up after the rollback is over."""
    with cluster_of(2, redundancy_strategy=TWO) as cluster:
        first, _ = owners(cluster[0], "kid")
        specs = [FailsElsewhere.child_spec(first, id="kid"), Slow.child_spec(3.0, id="slow")]
        before = cluster.now()
        assert start(cluster[0], specs, on_failure="rollback", timeout=4.0).rollback
        assert all(part_of(node, "distributed_supervisor").copies.children == {} for node in cluster)
        assert cluster.now() - before < 8.1
        settle(cluster)
        assert runs(cluster) == {}


def test_copies_that_take_too_long_are_timeouts_and_the_others_are_kept() -> None:
    with cluster_of(3, redundancy_strategy=TWO) as cluster:
        before = cluster.now()
        result = start(cluster[0], [*counters(5), Slow.child_spec(3.0, id="slow")], timeout=4.0)
        assert cluster.now() - before == pytest.approx(4.0, abs=0.2)  # one deadline for both copies
        assert sorted(result.started) == ["c0", "c1", "c2", "c3", "c4", "slow"]
        assert [(error.child_id, error.reason) for error in result.errors] == [("slow", "timeout")]
        settle(cluster)
        assert two_copies(cluster, ["slow"])


def test_a_node_that_dies_during_a_start_is_a_failure_and_another_one_takes_its_place() -> None:
    with cluster_of(3, redundancy_strategy=TWO) as cluster:
        _, second = owners(cluster[0], "slow")
        starter = next(node for node in cluster if node.name != second)
        errand = starter.begin(
            lambda: ProcessHub.start_child(HUB, Slow.child_spec(1.0, id="slow"), timeout=20.0).result()
        )
        cluster.advance(1.5)
        cluster.crash(second)
        cluster.run_until(errand.is_over)
        result: Any = errand.outcome()
        assert [(error.node, error.reason) for error in result.errors] == [(second, "noconnection")]
        settle(cluster)
        assert two_copies(cluster, ["slow"])


def test_a_child_that_is_over_before_its_further_copy_is_needed_holds_nothing_up() -> None:
    with cluster_of(2, redundancy_strategy=TWO) as cluster:
        before = cluster.now()
        first = owners(cluster[0], "kid")[0]
        [node] = [node for node in cluster if node.name == first]
        for other in cluster:
            if other is not node:  # the put and the remove get there in one go
                cluster.delay(node, other, 0.3)
        errand = cluster[0].begin(
            lambda: ProcessHub.start_child(HUB, Counter.child_spec(id="kid", restart="temporary")).result()
        )
        cluster.run_until(lambda: "kid" in local_pids(node))
        kill(node, pid_of(node, "kid"))
        cluster.run_until(errand.is_over)
        assert cluster.now() - before < 5.0
        settle(cluster)
        assert runs(cluster) == {}


def test_a_malformed_question_for_copies_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    with cluster_of(1, redundancy_strategy=TWO) as cluster:
        errand = cluster[0].begin(GenServer.call, f"{HUB}.distributed_supervisor", AwaitCopies(["x"], 1.0, "?"), 2.0)
        cluster.advance(2.5)
        assert errand.is_over()
        assert "malformed request" in caplog.text


def test_of_two_starts_at_once_one_gets_all_copies() -> None:
    with cluster_of(3, redundancy_strategy=TWO) as cluster:
        errands = [
            node.begin(lambda: ProcessHub.start_child(HUB, Counter.child_spec(id="kid")).result()) for node in cluster
        ]
        cluster.run_until(lambda: all(errand.is_over() for errand in errands))
        results: list[Any] = [errand.outcome() for errand in errands]
        assert sorted(len(result.pids) for result in results) == [0, 0, 2]
        settle(cluster)
        assert two_copies(cluster, ["kid"])


def test_stopping_stops_every_copy() -> None:
    with cluster_of(3, redundancy_strategy=TWO) as cluster:
        start(cluster[0], counters(30))
        result = stop(cluster[1], IDS)
        assert result.status == "ok"
        assert {len(nodes) for nodes in result.stopped.values()} == {2}
        assert runs(cluster) == {}


def test_static_children_have_all_copies_once() -> None:
    config = HubConfig(HUB, child_specs=[Counter.child_spec(id="c0")], redundancy_strategy=TWO)
    with Cluster(3, seed=1, hubs=[config]) as cluster:
        settle(cluster)
        assert two_copies(cluster, ["c0"])


def test_a_static_child_that_runs_elsewhere_does_not_keep_a_hub_from_starting() -> None:
    with cluster_of(1, redundancy_strategy=TWO) as cluster:
        names = [cluster[0].name, "node2@127.0.0.1:4371"]
        child_id = next(child_id for child_id in IDS if HashRing(names).owners(child_id)[0] == names[0])
        spec = FailsElsewhere.child_spec(names[0], id=child_id)
        cluster._hubs = []
        added = cluster.add()
        cluster.run_until(cluster.is_connected)
        added.begin(host, HubConfig(HUB, child_specs=[spec], redundancy_strategy=TWO))
        cluster.advance(1.0)
        assert added.run(ProcessHub.is_alive, HUB)
        assert runs(cluster) == {child_id: [names[0]]}
        journal.append(("mended",))
        settle(cluster)
        assert runs(cluster) == {child_id: names}


# -- members come and go ---------------------------------------------------------------------------------------------


def test_a_copy_of_a_lost_node_comes_up_elsewhere_and_the_other_one_is_not_touched() -> None:
    with cluster_of(4, redundancy_strategy=TWO) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        before = [local_pids(node) for node in cluster]
        cluster.crash(2)
        assert settle(cluster) < 1.0
        assert two_copies(cluster)
        for number in (0, 1, 3):
            after = local_pids(cluster[number])
            assert all(after[child_id] == pid for child_id, pid in before[number].items())


def test_children_stop_on_nodes_that_are_one_too_many() -> None:
    with cluster_of(2, redundancy_strategy=TWO) as cluster:
        start(cluster[0], counters(30))
        cluster.add()
        cluster.add()
        settle(cluster)
        assert two_copies(cluster)
        for child_id, nodes in runs(cluster).items():
            assert nodes == sorted(owners(cluster[0], child_id))


def test_after_a_partition_each_child_has_its_two_copies_again() -> None:
    with cluster_of(4, redundancy_strategy=TWO) as cluster:
        start(cluster[0], counters(30))
        cluster.partition([[0, 1], [2, 3]])
        cluster.advance(15.0)
        assert {len(nodes) for nodes in runs(cluster).values()} == {4}
        cluster.heal()
        settle(cluster)
        assert two_copies(cluster)


def test_a_copy_that_crashes_is_restarted_where_it_was() -> None:
    with cluster_of(3, redundancy_strategy=TWO) as cluster:
        pids = start(cluster[0], counters(1)).started["c0"]
        node, pid = next(iter(pids.items()))
        kill(by_name(cluster, node), pid)
        settle(cluster)
        after = {pid.node: pid for pid in cluster[0].run(ProcessHub.get_pids, HUB, "c0")}
        assert after.keys() == pids.keys()
        assert sum(after[name] == pids[name] for name in pids) == 1


# -- lookups ---------------------------------------------------------------------------------------------------------


def test_the_active_copy_is_the_same_everywhere_and_the_first_of_all() -> None:
    with cluster_of(3, redundancy_strategy=PASSIVE) as cluster:
        start(cluster[0], members(20))
        settle(cluster)
        for number in range(20):
            child_id = f"m{number}"
            expected = active_node(cluster[0], child_id)
            for node in cluster:
                pid = node.run(ProcessHub.active, HUB, child_id)
                assert pid is not None
                assert pid.node == expected
                assert node.run(ProcessHub.get_pids, HUB, child_id)[0] == pid
                assert node.run(ProcessHub.get_pid, HUB, child_id) == pid
                assert node.run(GenServer.call, ProcessHub.via(HUB, child_id), "who") == expected


def test_while_the_active_copy_does_not_run_another_one_answers_and_active_is_none() -> None:
    with cluster_of(3, redundancy_strategy=PASSIVE) as cluster:
        start(cluster[0], ChildSpec("slow", (Slow.start_link, (2.0,))))
        settle(cluster)
        node = by_name(cluster, active_node(cluster[0], "slow"))
        kill(node, pid_of(node, "slow"))
        cluster.advance(0.5)
        assert node.run(ProcessHub.active, HUB, "slow") is None
        other = pid_of(node, "slow")
        assert other is not None
        assert other.node != node.name
        assert node.run(GenServer.call, ProcessHub.via(HUB, "slow"), "x") == "here"
        settle(cluster)
        assert pid_of(node, "slow") == node.run(ProcessHub.active, HUB, "slow")


def test_a_call_whose_copy_has_just_died_goes_to_another_copy() -> None:
    def kill_and_call() -> Any:
        pid = ProcessHub.get_pid(HUB, "slow")
        assert pid is not None
        process.exit(pid, "kill")
        return GenServer.call(ProcessHub.via(HUB, "slow"), "who")

    with cluster_of(2, redundancy_strategy=PASSIVE) as cluster:
        start(cluster[0], Slow.child_spec(2.0, id="slow"))
        settle(cluster)
        before = cluster.now()
        assert by_name(cluster, active_node(cluster[0], "slow")).run(kill_and_call) == "here"
        assert cluster.now() - before < 0.1  # it did not wait for the restart


def test_of_active_copies_the_local_one_answers_else_the_first_owners() -> None:
    with cluster_of(4, redundancy_strategy=TWO) as cluster:
        start(cluster[0], members(10))
        settle(cluster)
        for node in cluster:
            for number in range(10):
                names = owners(node, f"m{number}")
                expected = node.name if node.name in names else names[0]
                assert node.run(GenServer.call, ProcessHub.via(HUB, f"m{number}"), "who") == expected
                found = [node.run(ask, HUB, f"m{number}") for ask in (ProcessHub.get_pid, ProcessHub.active)]
                assert [pid.node if pid is not None else None for pid in found] == [expected, expected]
                pids = node.run(ProcessHub.get_pids, HUB, f"m{number}")
                assert [pid.node for pid in pids] == names


def test_a_single_copy_is_the_active_one() -> None:
    with cluster_of(2) as cluster:
        pid = start(cluster[0], counters(1)).pid
        settle(cluster)
        assert [node.run(ProcessHub.active, HUB, "c0") for node in cluster] == [pid, pid]
        assert cluster[0].run(ProcessHub.active, HUB, "ghost") is None
        assert hub_of(cluster[0]).pid_of == hub_of(cluster[0]).registry.pids.get  # one dict lookup, nothing else


def test_a_child_that_is_not_desired_has_no_active_copy() -> None:
    with cluster_of(2, redundancy_strategy=PASSIVE) as cluster:
        assert cluster[0].run(ProcessHub.active, HUB, "ghost") is None
        assert cluster[0].run(ProcessHub.get_pids, HUB, "ghost") == []
        with pytest.raises(NoProcess):
            cluster[0].run(GenServer.call, ProcessHub.via(HUB, "ghost"), "who")
