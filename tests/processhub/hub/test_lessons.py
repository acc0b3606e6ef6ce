"""Faults of the original and of its peers, one test each, named after the fault that must not happen here."""

from __future__ import annotations

from typing import Any

import pytest

from processhub import CallTimeout, ChildSpec, GenServer, ProcessExit, ProcessHub, process
from processhub.cluster.member_actions import Limits
from processhub.hub.config import HubConfig
from processhub.testing import Cluster
from tests.processhub.hub.children import (
    HUB,
    Counter,
    ShortLived,
    Slow,
    Stubborn,
    cluster_of,
    copies_alive,
    counters,
    hub_of,
    kill,
    local_pids,
    owner_of,
    part_of,
    pid_of,
    runs,
    settle,
    start,
    stop,
)

IDS = [f"c{n}" for n in range(30)]


def get(child_id: str) -> Any:
    return GenServer.call(ProcessHub.via(HUB, child_id), "get")


def split_and_heal(cluster: Cluster, groups: list[list[int]], seconds: float = 15.0) -> None:
    cluster.partition(groups)
    cluster.advance(seconds)
    cluster.heal()
    settle(cluster)


# -- of the original -------------------------------------------------------------------------------------------------


def test_after_a_heal_the_losers_state_does_not_overwrite_the_winners() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], Counter.child_spec(id="kid"))
        settle(cluster)
        owner = owner_of(cluster, "kid")
        other = cluster[1 - owner.index]
        cluster.partition([[0], [1]])
        cluster.advance(15.0)
        for node, times in ((owner, 5), (other, 70)):
            for _ in range(times):
                node.run(GenServer.cast, ProcessHub.via(HUB, "kid"), "add")
        cluster.heal()
        settle(cluster)
        assert [node.run(get, "kid") for node in cluster] == [5, 5]


def test_a_late_snapshot_deletes_nothing_that_is_newer_than_itself() -> None:
    with cluster_of(3) as cluster:
        cluster.delay(0, 1, 2.0)  # what node 1 says of itself arrives long after what the others say
        for number in range(12):
            start(cluster[number % 3], Counter.child_spec(id=f"c{number}"))
            cluster.advance(3.0)
        cluster.advance(40.0)  # some rounds of the periodic exchange
        for node in cluster:
            assert len(node.run(ProcessHub.process_list, HUB)) == 12
        assert copies_alive(cluster, [f"c{n}" for n in range(12)])


def test_a_changed_pid_leaves_one_entry_for_its_node() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], counters(5))
        settle(cluster)
        for _ in range(5):
            for node in cluster:
                for pid in local_pids(node).values():
                    kill(node, pid)
            cluster.advance(0.1)
        settle(cluster)
        for node in cluster:
            for child_id in IDS[:5]:
                assert len(node.run(ProcessHub.get_pids, HUB, child_id)) == 1


def test_removals_in_one_pass_do_not_undo_each_other() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        errands = [
            cluster[number % 3].begin(lambda n=number: ProcessHub.stop_children(HUB, IDS[n : n + 5]).result())
            for number in range(0, 30, 5)
        ]
        cluster.run_until(lambda: all(errand.is_over() for errand in errands))
        settle(cluster)
        assert runs(cluster) == {}
        assert all(node.run(ProcessHub.registry_dump, HUB) == {} for node in cluster)


def test_one_crashing_child_does_not_stop_every_child_of_its_node() -> None:
    with cluster_of(1, dsup_max_restarts=10) as cluster:
        pids = start(cluster[0], counters(30)).pids
        start(cluster[0], ChildSpec("fly", (ShortLived.start_link, (0.001,))))
        cluster.advance(20.0)
        assert [pid_of(cluster[0], child_id) for child_id in IDS] == pids


def test_many_children_that_exit_during_a_stop_deadlock_nothing() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], [Counter.child_spec(id=f"c{n}", restart="transient") for n in range(30)])
        settle(cluster)

        def stop_while_they_end() -> Any:
            future = ProcessHub.stop_children(HUB, IDS)
            for pid in ProcessHub.process_list(HUB, "local").values():
                process.exit(pid, "shutdown")
            return future.result()

        before = cluster.now()
        result = cluster[0].run(stop_while_they_end)
        assert cluster.now() - before < 1.0
        assert result.status == "ok"
        settle(cluster)
        assert runs(cluster) == {}


def test_a_restart_of_the_supervisor_does_not_look_like_a_partition() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        for node in cluster:
            kill(node, node.runtime.names[f"{HUB}.distributed_supervisor"].pid)
            assert not hub_of(node).partitioned
        assert start(cluster[0], counters(5, prefix="d"), timeout=5.0).status == "ok"
        settle(cluster)
        assert copies_alive(cluster, IDS)


def test_the_timeout_of_a_start_is_for_all_of_it_not_per_child() -> None:
    with cluster_of(3) as cluster:
        before = cluster.now()
        result = start(cluster[0], [Slow.child_spec(30.0, id=child_id) for child_id in IDS], timeout=2.0)
        assert cluster.now() - before < 3.1
        assert {error.reason for error in result.errors} == {"timeout"}
        assert len(result.errors) == 30


def test_a_stop_with_no_node_to_ask_does_not_crash() -> None:
    with cluster_of(2) as cluster:
        assert stop(cluster[0], ["a", "b"]).status == "error"
        start(cluster[0], counters(30))
        settle(cluster)
        cluster.crash(1)
        cluster.advance(0.3)
        result = stop(cluster[0], IDS)
        assert sorted(result.stopped) == sorted(IDS)
        settle(cluster)
        assert runs(cluster) == {}


# -- of its peers ----------------------------------------------------------------------------------------------------


def test_duplicates_are_reconciled_after_a_heal_and_one_survives() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        for groups in ([[0], [1], [2]], [[0, 1], [2]], [[0], [1, 2]]):
            split_and_heal(cluster, groups)
            assert copies_alive(cluster, IDS)


def test_conflicts_and_moves_are_no_crashes() -> None:
    with cluster_of(2, dsup_max_restarts=0, dsup_max_seconds=1000.0) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        for _ in range(4):
            split_and_heal(cluster, [[0], [1]])
        cluster.add()
        settle(cluster)
        for node in cluster:
            for child in part_of(node, "distributed_supervisor").copies.children.values():
                assert not child.restarts
                assert child.failures == 0


def test_a_late_down_of_a_former_life_does_not_wipe_the_entries_of_the_new_one() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        cluster.delay(1, 0, 1.5)  # one node hears of everything late
        for _ in range(3):
            cluster.restart(2)
            cluster.advance(0.5)
        cluster.network.calm()
        cluster.advance(10.0)
        settle(cluster)
        cluster.advance(60.0)
        assert copies_alive(cluster, IDS)
        for node in cluster:
            assert len(node.run(ProcessHub.process_list, HUB)) == 30
            assert all(len(copies) == 1 for copies in node.run(ProcessHub.process_list, HUB).values())


def test_a_starved_node_accuses_nobody() -> None:
    with cluster_of(4) as cluster:
        cluster.pause(3, 20.0)
        others = {node.name for node in cluster.nodes[:3]}
        for _ in range(300):
            cluster.advance(0.1)
            for node in cluster:
                assert others <= set(hub_of(node).members)


def test_bulk_data_on_a_slow_link_is_no_reason_to_suspect_a_node() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], counters(10))
        for a, b in ((0, 1), (1, 0)):
            cluster.network.throttle(cluster[a].name, cluster[b].name, 100_000)
        specs = [ChildSpec(f"big{n}", (Counter.start_link, ("x" * 1_000_000,))) for n in range(10)]
        before = cluster.now()
        errand = cluster[0].begin(lambda: ProcessHub.start_children(HUB, specs, timeout=600.0).result())
        while not errand.is_over():
            cluster.advance(0.5)
            assert all(len(hub_of(node).members) == 2 for node in cluster)
        assert errand.outcome().status == "ok"
        assert cluster.now() - before > 2 * Limits.silence  # else nobody would have been suspected in any case
        settle(cluster, 900.0)


def test_each_of_many_calls_to_a_black_hole_ends_within_its_timeout() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        target = next(child_id for child_id in IDS if owner_of(cluster, child_id) is cluster[1])

        def attempt(results: list[tuple[str, float]]) -> None:
            before = process.now()
            pid = ProcessHub.get_pid(HUB, target)
            assert pid is not None
            try:
                GenServer.call(pid, "get", 1.0)
                results.append(("answered", process.now() - before))
            except CallTimeout:
                results.append(("timeout", process.now() - before))
            except ProcessExit:
                results.append(("lost", process.now() - before))

        def call_many(results: list[tuple[str, float]]) -> None:
            for _ in range(5000):
                process.spawn(attempt, results)

        cluster.cut(0, 1)
        results: list[tuple[str, float]] = []
        cluster[0].run(call_many, results)
        cluster.advance(1.1)
        assert len(results) == 5000
        assert all(seconds <= 1.01 for _, seconds in results)
        assert not any(outcome == "answered" for outcome, _ in results)


def test_a_flapping_link_does_not_move_everything_back_and_forth() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        before = {child_id: pid_of(cluster[0], child_id) for child_id in IDS}
        for _ in range(30):
            cluster.partition([[0, 1], [2]])
            cluster.advance(2.0)
            cluster.heal()
            cluster.advance(2.0)
        settle(cluster)
        after = {child_id: pid_of(cluster[0], child_id) for child_id in IDS}
        assert copies_alive(cluster, IDS)
        assert after == before


def test_nodes_with_different_views_do_not_forward_for_ever() -> None:
    with cluster_of(3) as cluster:
        cluster.cut(0, 2)
        cluster.cut(2, 0)
        cluster.advance(40.0)
        before = cluster.now()
        result = start(cluster[0], counters(30), timeout=3.0)
        assert cluster.now() - before <= 3.2
        assert len(result.started) + len(result.errors) == 30
        views = [sorted(hub_of(node).members) for node in cluster]
        for error in result.errors:
            asked = next(node for node in cluster if node.name == error.node)
            assert error.reason.startswith(f"not_owner: {asked.name} ")
            assert f"sees the members {views[asked.index]}, and this node sees {views[0]}" in error.reason
            assert views[asked.index] != views[0]


def test_islands_that_formed_at_the_start_merge() -> None:
    with Cluster(0) as cluster:
        for number in range(4):
            cluster.add()
            cluster.partition([[n] for n in range(number + 1)])
        for node in cluster:
            node.begin(host)
        cluster.advance(20.0)
        for node in cluster:
            assert node.run(ProcessHub.nodes, HUB) == []
            start(node, [*counters(5), Counter.child_spec(id=f"own{node.index}")])
        cluster.heal()
        settle(cluster)
        assert copies_alive(cluster, [*(f"c{n}" for n in range(5)), *(f"own{n}" for n in range(4))])


def host() -> None:
    ProcessHub.start_link(HubConfig(HUB))
    process.receive(lambda _: False)


@pytest.mark.parametrize("cuts", [[(0, 2)], [(0, 2), (2, 0)], [(0, 1), (1, 2), (2, 0)]])
def test_overlapping_and_one_way_partitions_leave_nothing_inconsistent(cuts: list[tuple[int, int]]) -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        for cut in cuts:
            cluster.cut(*cut)
        cluster.advance(45.0)
        stop(cluster[1], IDS[:10], timeout=5.0)
        cluster.heal()
        settle(cluster)
        assert sorted(runs(cluster)) == sorted(IDS[10:])
        assert copies_alive(cluster, IDS[10:])
        dumps = [node.run(ProcessHub.process_list, HUB) for node in cluster]
        assert dumps[0] == dumps[1] == dumps[2]


def test_a_slow_init_stalls_no_lookup_no_sync_and_no_move() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], counters(30))
        node = cluster[0]
        node.begin(
            lambda: ProcessHub.start_children(
                HUB, [Slow.child_spec(30.0, id=f"slow{n}") for n in range(10)], timeout=60.0
            ).result()
        )
        cluster.advance(0.5)
        before = cluster.now()
        for child_id in IDS:
            assert node.run(get, child_id) == 0
        assert stop(cluster[1], IDS[:5]).status == "ok"
        cluster.add()
        cluster.run_until(lambda: cluster[2].name in {name for names in runs(cluster).values() for name in names})
        cluster.run_until(lambda: copies_alive(cluster, IDS[5:]))
        assert cluster.now() - before < 1.0


def test_a_copy_that_does_not_stop_holds_its_move_up_for_the_base_timeout_only() -> None:
    with cluster_of(1, migr_base_timeout=5.0) as cluster:
        ids = [f"mule{n}" for n in range(10)]
        specs = [ChildSpec(child_id, (Stubborn.start_link, (60.0,)), shutdown="infinity") for child_id in ids]
        start(cluster[0], specs)
        before = cluster.now()
        cluster.add()
        cluster.run_until(lambda: cluster[1].run(ProcessHub.process_list, HUB, "local"), 10.0)
        assert cluster.now() - before == pytest.approx(5.0, abs=1.0)
        settle(cluster, 90.0)
        assert copies_alive(cluster, ids)


def test_what_is_kept_does_not_grow_with_starts_stops_and_restarts() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(5))

        for number in range(14):
            start(cluster[0], counters(20, prefix="d"))
            stop(cluster[0], [f"d{n}" for n in range(20)])
            cluster.restart(1 + number % 2)
            settle(cluster)
        cluster.advance(40.0)
        settle(cluster)
        for node in cluster:
            _, (dots, retired), tables = hub_of(node).registry.vector().to_wire()
            assert len(dots) <= 3 * 5  # the present life and a few former ones of each name
            assert len(retired) <= 3
            assert len(tables) == 3
            assert len(hub_of(node).registry.children) == 5


def test_a_node_that_leaves_does_not_join_again() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], [Stubborn.child_spec(1.0, id=f"s{n}") for n in range(10)])
        errand = cluster[2].begin(cluster[2].node.end)
        seen: list[bool] = []
        for _ in range(100):
            cluster.advance(0.05)
            seen.append(cluster[2].name in hub_of(cluster[0]).members)
        assert errand.is_over()
        assert seen == sorted(seen, reverse=True)
        assert not seen[-1]
        cluster._end(cluster[2])
        settle(cluster)
        assert copies_alive(cluster, [f"s{n}" for n in range(10)])


def test_nothing_is_left_when_a_cluster_is_closed() -> None:
    import gc

    import gevent
    from greenlet import greenlet

    def count() -> int:
        for _ in range(3):
            gevent.sleep(0)
            gc.collect()
        return sum(1 for thing in gc.get_objects() if isinstance(thing, greenlet) and not thing.dead)

    with cluster_of(3) as cluster:
        start(cluster[0], counters(30))
    before = count()
    for seed in range(3):
        with cluster_of(3, seed) as cluster:
            start(cluster[0], [*counters(30), Slow.child_spec(0.1, id="slow")])
            cluster.crash(1)
            cluster[0].begin(lambda: ProcessHub.start_child(HUB, Slow.child_spec(30.0, id="late")).result())
            cluster.advance(1.0)
            runtimes = [node.runtime for node in cluster]
        for runtime in runtimes:
            assert runtime.table == {}
            assert runtime.names == {}
            assert not runtime.scheduler.waits
        assert [node.clock.pending() for node in cluster] == [0, 0, 0]
    del runtimes, runtime, cluster
    assert count() <= before
