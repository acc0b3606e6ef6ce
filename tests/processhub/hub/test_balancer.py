"""CentralizedLoadBalancer on a cluster: who leads, where children go, and that they stay there."""

from __future__ import annotations

import logging
from collections import Counter as Tally
from collections.abc import Iterable
from contextlib import AbstractContextManager
from random import Random
from typing import Any

import pytest

from processhub import (
    CentralizedLoadBalancer,
    GenServer,
    HotSwap,
    InvalidChildMapping,
    ProcessHub,
    ProcessHubError,
    Replication,
    process,
)
from processhub.hub.balancer_messages import LoadReport
from processhub.hub.config import HubConfig
from processhub.testing import Cluster, ClusterNode
from tests.processhub.hub.children import (
    HUB,
    Counter,
    cluster_of,
    copies_alive,
    counters,
    hub_of,
    kill,
    owner_of,
    part_of,
    pid_of,
    runs,
    settle,
    start,
    stop,
)
from tests.processhub.hub.test_partitions import watch_copies

IDS = [f"c{n}" for n in range(30)]
SOON = CentralizedLoadBalancer(push_interval=2.0)


def balanced(n: int, seed: int = 1, **options: Any) -> AbstractContextManager[Cluster]:
    return cluster_of(n, seed, distribution_strategy=SOON, **options)


def leaders(cluster: Cluster) -> set[str | None]:
    """Whom the living nodes take for the leader."""
    return {hub_of(node).leader() for node in cluster if node.is_alive}


def leader_of(cluster: Cluster) -> ClusterNode:
    (name,) = leaders(cluster)
    return next(node for node in cluster if node.name == name)


def spread(cluster: Cluster, ids: Iterable[str] | None = None) -> list[int]:
    """How many copies of these children (all of them) run on each node, by the numbers of the nodes."""
    truth = runs(cluster)
    found = Tally(node for child_id in (truth if ids is None else ids) for node in truth.get(child_id, ()))
    return [found[node.name] for node in cluster]


def scores(node: ClusterNode) -> list[float]:
    """The scores by name of node, as the leader tells them to this one."""
    found = node.run(CentralizedLoadBalancer.scores, HUB)
    return [round(found[name], 3) for name in sorted(found)]


def pids(node: ClusterNode, ids: Iterable[str] = IDS) -> dict[str, Any]:
    return {child_id: pid_of(node, child_id) for child_id in ids}


# -- the leader ------------------------------------------------------------------------------------------------------


def test_the_member_with_the_longest_uptime_leads_and_all_agree() -> None:
    with balanced(3) as cluster:
        assert leader_of(cluster) is cluster[0]
        cluster.restart(0)
        settle(cluster)
        assert leader_of(cluster) is cluster[1]
        cluster.add()
        settle(cluster)
        assert leader_of(cluster) is cluster[1]
        cluster.crash(1)
        settle(cluster)
        assert leader_of(cluster) is cluster[2]


def test_wall_clocks_that_differ_leave_one_leader() -> None:
    with Cluster(3, 1, [HubConfig(HUB, distribution_strategy=SOON)], skews=[30.0, -5.0, 0.0]) as cluster:
        settle(cluster)
        assert leader_of(cluster) is cluster[1]


def test_a_hub_that_starts_anew_on_a_living_node_leads_no_more() -> None:
    with balanced(3) as cluster:
        start(cluster[1], counters(30))
        settle(cluster)
        kill(cluster[0], hub_of(cluster[0]).initializer)
        cluster[0].begin(host)
        settle(cluster)
        assert leader_of(cluster) is cluster[1]
        assert copies_alive(cluster, IDS)
        assert pids(cluster[0]) == pids(cluster[2])


def test_a_hub_whose_goodbye_is_lost_and_that_starts_anew_is_another_life() -> None:
    with balanced(3) as cluster:
        start(cluster[1], counters(30))
        former = dict(hub_of(cluster[1]).lives)
        for other in (1, 2):
            cluster.cut(0, other)
        kill(cluster[0], hub_of(cluster[0]).initializer)
        cluster[0].begin(host)
        cluster.advance(0.05)
        assert set(hub_of(cluster[1]).lives.items()) == set(former.items())
        cluster.heal()
        settle(cluster)
        assert hub_of(cluster[1]).lives == hub_of(cluster[2]).lives == hub_of(cluster[0]).lives != former
        assert leader_of(cluster) is cluster[1]
        assert copies_alive(cluster, IDS)
        assert pids(cluster[0]) == pids(cluster[2])


def host() -> None:
    ProcessHub.start_link(HubConfig(HUB, distribution_strategy=SOON))
    process.receive(lambda _: False)


def test_a_node_that_drains_gets_no_children_and_loses_no_state() -> None:
    with balanced(2, migration_strategy=HotSwap(handover=True)) as cluster:
        start(cluster[0], counters(6))
        for number in range(6):
            cluster[0].run(GenServer.cast, ProcessHub.via(HUB, f"c{number}"), "add")
        assert min(spread(cluster)) > 0
        cluster.leave(1)
        settle(cluster)
        values = [cluster[0].run(GenServer.call, ProcessHub.via(HUB, f"c{number}"), "get") for number in range(6)]
        assert values == [1] * 6


def test_both_parts_of_a_divided_cluster_have_a_leader_and_the_older_one_stays() -> None:
    with balanced(4) as cluster:
        cluster.partition([[0, 1], [2, 3]])
        cluster.advance(15.0)
        assert [hub_of(node).leader() for node in cluster] == [cluster[i].name for i in (0, 0, 2, 2)]
        cluster.heal()
        settle(cluster)
        assert leader_of(cluster) is cluster[0]


# -- loads -----------------------------------------------------------------------------------------------------------


def test_every_node_reports_at_every_interval_and_the_leader_scores_each_by_itself() -> None:
    with balanced(3) as cluster:
        cluster[0].load.cpu = 1.0
        cluster[1].load.memory = 500_000_000
        cluster.advance(4.0)
        assert scores(cluster[2]) == [0.4, 0.05, 0.0]
        taken = [node.load.taken for node in cluster]
        cluster.advance(20.0)
        assert [node.load.taken for node in cluster] == [count + 10 for count in taken]


def test_a_busy_leader_makes_no_other_node_look_busy() -> None:
    with balanced(3) as cluster:
        cluster[0].load.cpu, cluster[0].load.loop_lag = 1.0, 0.2
        cluster.advance(60.0)
        assert scores(cluster[0]) == [0.7, 0.0, 0.0]


def test_scores_follow_the_newest_loads_most() -> None:
    with balanced(2) as cluster:
        cluster[1].load.cpu = 1.0
        cluster.advance(40.0)
        cluster[1].load.cpu = 0.0
        after = []
        for _ in range(4):
            cluster.advance(2.0)
            after.append(scores(cluster[0])[1])
        assert 0.4 > after[0] > after[1] > after[2] > after[3] > 0.2


def test_a_report_of_a_former_life_counts_for_nothing() -> None:
    with balanced(2) as cluster:
        former = hub_of(cluster[1]).lives[cluster[1].name]
        cluster.restart(1)
        settle(cluster)
        cluster.advance(5.0)
        late = LoadReport(cluster[1].name, former, 1.0, 1.0, 0, 0)
        cluster[0].run(GenServer.cast, f"{HUB}.balancer", late)
        assert scores(cluster[0]) == [0.0, 0.0]


def test_with_a_new_leader_the_metrics_start_anew() -> None:
    with balanced(3) as cluster:
        cluster[2].load.cpu = 1.0
        cluster.advance(40.0)
        cluster[2].load.cpu = 0.0
        cluster.advance(2.1)
        assert scores(cluster[1])[2] > 0.3
        cluster.crash(0)
        settle(cluster)
        cluster.advance(2.1)
        assert scores(cluster[1]) == [0.0, 0.0]


def test_a_new_leader_hears_the_loads_at_once_however_long_the_interval() -> None:
    with cluster_of(3, distribution_strategy=CentralizedLoadBalancer()) as cluster:
        cluster[2].load.cpu = 1.0
        cluster.advance(2.0)
        cluster.crash(0)
        cluster.run_until(lambda: leaders(cluster) == {cluster[1].name}, 5.0)
        cluster.advance(0.05)
        assert scores(cluster[1]) == [0.0, 0.4]


def test_a_node_that_led_only_its_part_of_a_cluster_forgets_what_it_knew() -> None:
    with balanced(3) as cluster:
        cluster[2].load.cpu = 1.0
        cluster.partition([[0], [1, 2]])
        cluster.advance(40.0)
        cluster.heal()
        settle(cluster)
        cluster[2].load.cpu = 0.0
        cluster.advance(10.0)
        cluster.crash(0)
        settle(cluster)
        assert scores(cluster[1]) == [0.0, 0.0]


def test_a_balancer_that_crashes_learns_the_loads_again() -> None:
    with balanced(3) as cluster:
        cluster[1].load.cpu = 1.0
        cluster.advance(10.0)
        kill(cluster[0], part_pid(cluster[0]))
        assert start(cluster[1], counters(30)).status == "ok"
        assert spread(cluster) == [10, 10, 10]
        cluster.advance(3.0)
        assert scores(cluster[1]) == [0.0, 0.4, 0.0]


def part_pid(node: ClusterNode) -> Any:
    return node.runtime.names[f"{HUB}.balancer"].pid


def test_scores_of_a_hub_without_a_balancer_are_refused() -> None:
    with cluster_of(1) as cluster:
        for hub_id in (HUB, "no such hub"):
            with pytest.raises(ProcessHubError, match="CentralizedLoadBalancer"):
                cluster[0].run(CentralizedLoadBalancer.scores, hub_id)
        assert part_of(cluster[0], "balancer") is None


# -- where children go -----------------------------------------------------------------------------------------------


def test_children_of_one_start_are_dealt_in_proportion_to_capacity() -> None:
    with balanced(3) as cluster:
        cluster[1].load.cpu, cluster[1].load.loop_lag = 1.0, 1.0  # score 0.7
        cluster[2].load.cpu, cluster[2].load.processes = 0.5, 10_000  # score 0.4
        cluster.advance(10.0)
        result = start(cluster[2], counters(190))
        assert result.status == "ok"
        assert spread(cluster) == [100, 30, 60]
        assert settle(cluster) == pytest.approx(0.0, abs=0.1)


def test_a_full_node_gets_some_children_too() -> None:
    with balanced(2) as cluster:
        load = cluster[1].load
        load.cpu, load.loop_lag, load.processes, load.memory = 9.0, 9.0, 10**6, 10**12
        cluster.advance(10.0)
        start(cluster[0], counters(110))
        assert spread(cluster) == [100, 10]


def test_small_starts_are_spread_as_one_large_one() -> None:
    with balanced(3) as cluster:
        for number in range(9):
            start(cluster[number % 3], Counter.child_spec(id=f"c{number}"))
        assert spread(cluster) == [3, 3, 3]


def test_slow_single_starts_do_not_all_go_to_one_node() -> None:
    with balanced(3) as cluster:
        for number in range(12):
            start(cluster[1], Counter.child_spec(id=f"c{number}"))
            cluster.advance(3.0)
        assert min(spread(cluster)) >= 3


def test_any_node_may_start_children_at_the_same_time() -> None:
    with balanced(3) as cluster:
        errands = [
            node.begin(lambda prefix: ProcessHub.start_children(HUB, counters(20, prefix)).result(), "xyz"[node.index])
            for node in cluster
        ]
        cluster.run_until(lambda: all(errand.is_over() for errand in errands))
        assert all(errand.outcome().status == "ok" for errand in errands)
        assert spread(cluster) == [20, 20, 20]


def test_a_child_mapping_is_refused_at_once() -> None:
    with balanced(1) as cluster, pytest.raises(InvalidChildMapping):
        start(cluster[0], counters(1), child_mapping={"c0": [cluster[0].name]})


def test_static_children_are_spread_too() -> None:
    config = HubConfig(HUB, counters(30), distribution_strategy=SOON)
    with Cluster(3, 1, [config]) as cluster:
        settle(cluster)
        assert copies_alive(cluster, IDS)


def test_an_observer_starts_children_by_the_leaders_choice() -> None:
    with balanced(3) as cluster:
        cluster[1].load.cpu, cluster[1].load.loop_lag = 1.0, 1.0
        cluster.advance(5.0)
        cluster._hubs = []  # what is added now observes
        observer = cluster.add()
        cluster.run_until(cluster.is_connected)
        observer.run(ProcessHub.observe, HUB)
        assert start(observer, counters(23)).status == "ok"
        assert spread(cluster) == [10, 3, 10, 0]


# -- a start never fails because the leader does ---------------------------------------------------------------------


def test_a_start_right_after_the_leader_died_works() -> None:
    with balanced(3) as cluster:
        cluster.crash(0)
        result = start(cluster[1], counters(30))
        assert result.status == "ok", result.errors
        settle(cluster)
        assert spread(cluster) == [0, 15, 15]


def test_a_start_while_the_leader_hangs_works_within_its_time() -> None:
    with balanced(3) as cluster:
        cluster.pause(0, 3.0)
        before = cluster.now()
        result = start(cluster[1], counters(30), timeout=8.0)
        assert result.status == "ok", result.errors
        assert cluster.now() - before < 4.0
        assert spread(cluster) == [0, 15, 15]


def test_a_start_whose_leader_dies_with_the_question_works() -> None:
    with balanced(3) as cluster:
        cluster.delay(1, 0, 0.05)
        errand = cluster[1].begin(lambda: ProcessHub.start_children(HUB, counters(30)).result())
        cluster.advance(0.01)
        cluster.crash(0)
        cluster.run_until(errand.is_over)
        assert errand.outcome().status == "ok"
        settle(cluster)
        assert copies_alive(cluster, IDS)


def test_a_node_alone_places_children_without_its_balancer() -> None:
    with balanced(1) as cluster:
        kill(cluster[0], part_pid(cluster[0]))
        assert start(cluster[0], counters(5)).status == "ok"


# -- and stay --------------------------------------------------------------------------------------------------------


def test_nothing_moves_when_a_node_joins_and_new_children_go_there_too() -> None:
    with balanced(2) as cluster:
        start(cluster[0], counters(30))
        before = pids(cluster[0])
        cluster.add()
        settle(cluster)
        assert pids(cluster[2]) == before
        start(cluster[0], counters(30, "d"))
        assert spread(cluster) == [25, 25, 10]


def test_the_children_of_a_lost_node_are_placed_anew_by_load() -> None:
    with balanced(4) as cluster:
        start(cluster[0], counters(120))
        cluster[1].load.cpu = cluster[1].load.loop_lag = 1.0
        cluster.advance(120.0)
        before = spread(cluster)
        cluster.crash(3)
        crashed = cluster.now()
        cluster.run_until(lambda: copies_alive(cluster, [f"c{n}" for n in range(120)]), 5.0)
        assert cluster.now() - crashed < 1.0
        settle(cluster)
        gained = [after - had for after, had in zip(spread(cluster), before, strict=True)]
        assert gained[1] < 6 < 10 < min(gained[0], gained[2])


def test_the_return_of_a_lost_node_moves_nothing() -> None:
    with balanced(3) as cluster:
        start(cluster[0], counters(30))
        for victim in (2, 1, 0):
            cluster.crash(victim)
            settle(cluster)
            before = pids(cluster[victim - 1])
            cluster.restart(victim)
            settle(cluster)
            assert pids(cluster[victim]) == before


def test_a_node_that_restarts_before_its_loss_was_noticed_has_its_children_placed_anew() -> None:
    with balanced(3) as cluster:
        start(cluster[0], counters(30))
        cluster.restart(2)
        settle(cluster)
        assert copies_alive(cluster, IDS)
        assert pids(cluster[0]) == pids(cluster[2])


def test_a_lost_leader_is_replaced_and_its_children_are_placed_anew() -> None:
    with balanced(3) as cluster:
        start(cluster[2], counters(30))
        cluster.crash(0)
        crashed = cluster.now()
        cluster.run_until(lambda: copies_alive(cluster, IDS), 5.0)
        assert cluster.now() - crashed < 1.0
        settle(cluster)
        assert spread(cluster) == [0, 15, 15]


def test_a_leader_that_is_lost_together_with_others_is_made_good() -> None:
    with balanced(5) as cluster:
        start(cluster[2], counters(30))
        for victim in (0, 1, 3):
            cluster.crash(victim)
        settle(cluster)
        assert copies_alive(cluster, IDS)
        assert spread(cluster) == [0, 0, 15, 0, 15]


@pytest.mark.parametrize("pause", [0.0, 0.0005, 0.05, 0.0505, 0.051, 0.2])
def test_a_leader_that_dies_while_it_places_the_children_of_another_is_made_good(pause: float) -> None:
    with balanced(4) as cluster:
        start(cluster[2], counters(400))
        cluster.crash(3)
        cluster.advance(pause)
        cluster.crash(0)
        settle(cluster)
        assert copies_alive(cluster, [f"c{n}" for n in range(400)])


def test_the_last_node_takes_everything_and_keeps_it() -> None:
    with balanced(3) as cluster:
        start(cluster[0], counters(30))
        cluster.crash(1)
        cluster.crash(0)
        settle(cluster)
        assert spread(cluster) == [0, 0, 30]
        cluster.restart(0)
        cluster.restart(1)
        settle(cluster)
        assert spread(cluster) == [0, 0, 30]


def test_the_children_of_a_node_that_leaves_are_placed_anew() -> None:
    with balanced(3) as cluster:
        start(cluster[1], counters(30))
        cluster.leave(0)
        settle(cluster)
        assert spread(cluster) == [0, 15, 15]


def test_without_any_balancer_the_children_of_a_lost_node_run_again_all_the_same() -> None:
    with balanced(3, migr_base_timeout=4.0) as cluster:
        start(cluster[0], counters(30))
        for node in (cluster[0], cluster[1]):
            hub_of(node).tell = without_balancer(hub_of(node).tell)
        cluster.crash(2)
        cluster.advance(3.0)
        assert not copies_alive(cluster, IDS)
        cluster.advance(4.0)
        assert copies_alive(cluster, IDS)
        for node in (cluster[0], cluster[1]):
            del hub_of(node).tell
        before = spread(cluster)
        settle(cluster)
        cluster.restart(2)
        settle(cluster)
        assert spread(cluster) == before


def without_balancer(tell: Any) -> Any:
    return lambda part, request: tell(part, request) if part != "balancer" else None


def test_many_children_of_a_lost_node_are_placed_in_slices_each_once() -> None:
    with balanced(2) as cluster:
        start(cluster[0], counters(4000))
        cluster.add()
        settle(cluster)
        slices: list[int] = []
        balancer = part_of(cluster[0], "balancer")
        choose = balancer._choose

        def noted(child_ids: list[str]) -> None:
            slices.append(len(child_ids))
            choose(child_ids)

        balancer._choose = noted
        cluster.crash(1)
        settle(cluster)
        assert spread(cluster) == [3000, 0, 1000]
        assert sum(slices) == 2000
        assert max(slices) <= 250


# -- partitions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [[[0], [1, 2, 3]], [[3], [0, 1, 2]], [[0, 1], [2, 3]], [[0], [1], [2, 3]]])
def test_after_a_partition_every_child_is_where_it_was_with_its_state(groups: list[list[int]]) -> None:
    """Both parts have a leader that places the other's children. No part takes all when they meet again."""
    with balanced(4) as cluster:
        start(cluster[0], counters(30))
        for child_id in IDS:
            cluster[0].run(GenServer.cast, ProcessHub.via(HUB, child_id), "add")
        before = pids(cluster[0])
        cluster.partition(groups)
        cluster.advance(20.0)
        for group in groups:
            settle(cluster, among=group)
        assert all(len(nodes) == len(groups) for nodes in runs(cluster).values())
        cluster.heal()
        assert min(watch_copies(cluster, IDS, 8.0)) >= 1
        settle(cluster)
        assert copies_alive(cluster, IDS)
        assert pids(cluster[3]) == before
        get = [cluster[1].run(GenServer.call, ProcessHub.via(HUB, child_id), "get") for child_id in IDS]
        assert get == [1] * 30


def test_stand_ins_of_a_partition_are_forgotten_after_it() -> None:
    """Else the node that was alone would get the children of the next one that is lost, all of them."""
    with balanced(4) as cluster:
        start(cluster[0], counters(40))
        cluster.partition([[0, 1, 2], [3]])
        cluster.advance(20.0)
        cluster.heal()
        settle(cluster)
        cluster.advance(90.0)
        settle(cluster)
        values = {len(child.placement) for child in hub_of(cluster[3]).registry.children.values()}
        assert values == {1}
        cluster.crash(0)
        settle(cluster)
        assert max(spread(cluster)) <= 15


def test_both_parts_that_place_the_children_of_a_third_node_end_with_one_copy() -> None:
    with balanced(5) as cluster:
        start(cluster[0], counters(30))
        cluster.crash(4)
        cluster.partition([[0, 1], [2, 3]])
        cluster.advance(20.0)
        cluster.heal()
        assert min(watch_copies(cluster, IDS, 8.0)) >= 1
        settle(cluster)
        assert copies_alive(cluster, IDS)
        before = pids(cluster[0])
        cluster.advance(60.0)
        assert pids(cluster[0]) == before


def test_one_id_started_in_both_parts_is_one_child_afterwards() -> None:
    with balanced(4) as cluster:
        cluster.partition([[0, 1], [2, 3]])
        cluster.advance(15.0)
        for node in (cluster[0], cluster[3]):
            assert start(node, counters(30)).status == "ok"
        cluster.heal()
        settle(cluster)
        assert copies_alive(cluster, IDS)
        for child_id in IDS:
            assert runs(cluster)[child_id] == [owner_of(cluster, child_id).name]


def test_what_one_part_stopped_does_not_come_back() -> None:
    with balanced(4) as cluster:
        start(cluster[0], counters(30))
        cluster.partition([[0, 1], [2, 3]])
        cluster.advance(15.0)
        assert stop(cluster[1], IDS[:15]).status == "ok"
        cluster.heal()
        settle(cluster)
        cluster.advance(40.0)
        assert sorted(runs(cluster)) == sorted(IDS[15:])


@pytest.mark.parametrize("far", [[2], [1], [2, 3], [1, 3]])
def test_views_that_overlap_cause_no_endless_writing_and_move_nothing(far: list[int]) -> None:
    """Node 0, the oldest, does not see some that the others see: there are two leaders, for as long as it lasts."""
    with balanced(4) as cluster:
        start(cluster[0], counters(30))
        before = pids(cluster[0])
        for other in far:
            cluster.cut(0, other)
            cluster.cut(other, 0)
        cluster.advance(30.0)
        assert len({hub_of(node).leader() for node in cluster}) == 2
        written = operations(cluster)
        assert min(watch_copies(cluster, IDS, 120.0, 0.5)) >= 1
        assert operations(cluster) - written <= 2 * 30 * 2  # each child out and in again, once a minute
        cluster.heal()
        settle(cluster)
        cluster.advance(90.0)
        settle(cluster)
        assert copies_alive(cluster, IDS)
        assert pids(cluster[0]) == before


def operations(cluster: Cluster) -> int:
    """How many operations the nodes have written into their registries."""
    return sum(
        last
        for node in cluster
        for (name, _), last in hub_of(node).registry.vector().desired.last.items()
        if name == node.name
    )


def test_a_frozen_node_that_comes_back_keeps_its_children() -> None:
    with balanced(3) as cluster:
        start(cluster[0], counters(30))
        before = pids(cluster[0])
        cluster.pause(2, 60.0)
        cluster.advance(50.0)
        assert set(pids(cluster[0])) == set(IDS)
        cluster.advance(20.0)
        settle(cluster)
        assert copies_alive(cluster, IDS)
        assert pids(cluster[0]) == before


# -- copies ----------------------------------------------------------------------------------------------------------


def exactly(cluster: Cluster, number: int, ids: Iterable[str] = IDS) -> bool:
    truth = runs(cluster)
    return all(len(truth.get(child_id, ())) == len(set(truth[child_id])) == number for child_id in ids)


def test_copies_of_a_child_run_on_different_nodes() -> None:
    """The original had no copies with it."""
    with balanced(4, redundancy_strategy=Replication(2)) as cluster:
        start(cluster[1], counters(30))
        settle(cluster)
        assert exactly(cluster, 2)
        assert spread(cluster) == [15, 15, 15, 15]


def test_the_best_node_has_the_first_copy() -> None:
    with balanced(3, redundancy_strategy=Replication(2)) as cluster:
        cluster[0].load.cpu = cluster[0].load.loop_lag = 1.0
        cluster[1].load.cpu = 1.0
        cluster.advance(10.0)
        start(cluster[1], counters(1))
        assert cluster[0].run(ProcessHub.owners, HUB, "c0") == [cluster[2].name, cluster[1].name]


def test_a_lost_copy_is_placed_anew_and_the_others_stay() -> None:
    with balanced(4, redundancy_strategy=Replication(2)) as cluster:
        start(cluster[1], counters(30))
        settle(cluster)
        before = runs(cluster)
        cluster.crash(2)
        settle(cluster)
        assert exactly(cluster, 2)
        gone = cluster[2].name
        assert all(set(nodes) - {gone} <= set(runs(cluster)[child_id]) for child_id, nodes in before.items())
        now = runs(cluster)
        cluster.restart(2)
        cluster.add()
        settle(cluster)
        assert runs(cluster) == now


def test_with_fewer_nodes_than_copies_each_has_one_and_a_node_that_joins_gets_one() -> None:
    with balanced(2, redundancy_strategy=Replication(3)) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        assert exactly(cluster, 2)
        cluster.add()
        settle(cluster)
        assert exactly(cluster, 3)
        cluster.crash(0)
        settle(cluster)
        assert exactly(cluster, 2)


@pytest.mark.parametrize("seed", range(4))
def test_after_joins_crashes_and_partitions_each_child_runs_exactly_twice(seed: int) -> None:
    chance = Random(f"copies {seed}")
    logging.disable(logging.CRITICAL)
    try:
        with balanced(4, seed, redundancy_strategy=Replication(2), migr_base_timeout=5.0) as cluster:
            start(cluster[0], counters(30))
            for _ in range(12):
                disturb(cluster, chance)
                cluster.advance(chance.choice((0.0, 0.05, 1.0, 10.0)))
            cluster.heal()
            for node in cluster:
                if not node.is_alive:
                    cluster.restart(node)
            cluster.advance(20.0)
            settle(cluster, 120.0)
            assert exactly(cluster, 2), f"seed {seed}: {runs(cluster)}"
            before = runs(cluster)
            cluster.advance(60.0)
            assert runs(cluster) == before
    finally:
        logging.disable(logging.NOTSET)


def disturb(cluster: Cluster, chance: Any) -> None:
    """One fault, or the end of some. Two nodes at least stay alive."""
    alive, dead = [n for n in cluster if n.is_alive], [n for n in cluster if not n.is_alive]
    kind = chance.choice(("crash", "restart", "partition", "heal", "cut", "load", "add"))
    if kind == "crash" and len(alive) > 2:
        cluster.crash(chance.choice(alive))
    elif kind == "restart" and dead:
        cluster.restart(chance.choice(dead))
    elif kind == "partition":
        middle = chance.randint(1, len(cluster) - 1)
        cluster.partition([range(middle), range(middle, len(cluster))])
    elif kind == "cut":
        cluster.cut(*chance.sample(range(len(cluster)), 2))
    elif kind == "load":
        chance.choice(alive).load.cpu = chance.random()
    elif kind == "add" and len(cluster) < 6:
        cluster.add()
    else:
        cluster.heal()
