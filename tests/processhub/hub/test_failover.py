"""Nodes that die: their children run again on the survivors, soon and once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from processhub import ChildSpec, GenServer, NoConnection, ProcessHub
from processhub.hub.messages import StartChildren
from processhub.hub.start_requests import Starting, StartRequests
from tests.processhub.hub.children import (
    HUB,
    Counter,
    Slow,
    Stubborn,
    cluster_of,
    copies_alive,
    counters,
    hub_of,
    kill,
    owner_of,
    pid_of,
    runs,
    settle,
    start,
    stop,
)

IDS = [f"c{n}" for n in range(40)]


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_children_of_a_node_that_crashes_run_again_within_a_second(victim: int) -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(40))
        settle(cluster)
        survivors = [number for number in range(3) if number != victim]
        before = {child_id: pid_of(cluster[survivors[0]], child_id) for child_id in IDS}
        crashed = cluster.now()
        cluster.crash(victim)
        cluster.run_until(lambda: copies_alive(cluster, IDS), 5.0)
        assert cluster.now() - crashed < 1.0
        settle(cluster)
        for child_id, pid in before.items():
            assert pid is not None
            stayed = pid_of(cluster[survivors[1]], child_id) == pid
            assert stayed == (pid.node != cluster[victim].name)


def test_calls_by_via_are_answered_again_within_a_second_of_a_crash() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(40))
        settle(cluster)
        child_id = next(child_id for child_id in IDS if owner_of(cluster, child_id) is cluster[2])
        cluster.crash(2)
        before = cluster.now()
        while True:
            try:
                assert cluster[0].run(GenServer.call, ProcessHub.via(HUB, child_id), "get", 5.0) == 0
                break
            except NoConnection:  # its node was not yet declared down: handled or not, who knows
                cluster.advance(0.01)
        assert cluster.now() - before < 1.0


def test_two_nodes_that_crash_at_once_are_both_made_good() -> None:
    with cluster_of(4) as cluster:
        start(cluster[0], counters(40))
        settle(cluster)
        cluster.crash(1)
        cluster.crash(3)
        assert settle(cluster) < 1.0
        assert copies_alive(cluster, IDS)


def test_the_last_node_takes_everything() -> None:
    with cluster_of(4) as cluster:
        start(cluster[0], counters(40))
        for victim in (1, 3, 0):
            cluster.crash(victim)
            settle(cluster)
        assert {nodes[0] for nodes in runs(cluster).values()} == {cluster[2].name}
        assert copies_alive(cluster, IDS)


def test_a_node_that_crashes_during_the_failover_of_another_is_made_good() -> None:
    with cluster_of(4) as cluster:
        start(cluster[0], [*counters(40), *(Slow.child_spec(1.0, id=f"s{n}") for n in range(10))])
        settle(cluster)
        cluster.crash(1)
        cluster.advance(0.5)
        cluster.crash(2)
        settle(cluster)
        assert copies_alive(cluster, [*IDS, *(f"s{n}" for n in range(10))])


def test_a_node_that_restarts_at_once_under_its_name_is_a_new_life() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(40))
        settle(cluster)
        for _ in range(4):
            cluster.restart(1)
            settle(cluster)
            assert copies_alive(cluster, IDS)


def test_a_whole_cluster_that_restarts_node_by_node_loses_nothing() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(40))
        settle(cluster)
        for number in (0, 1, 2):
            cluster.restart(number)
            settle(cluster)
        assert copies_alive(cluster, IDS)


def test_temporary_children_of_a_lost_node_run_again() -> None:
    """Loss of a node is no end of the child."""
    with cluster_of(3) as cluster:
        start(cluster[0], counters(40, restart="temporary"))
        settle(cluster)
        cluster.crash(2)
        settle(cluster)
        assert copies_alive(cluster, IDS)


def test_a_start_whose_owner_dies_meanwhile_is_made_by_the_next_owner() -> None:
    with cluster_of(3) as cluster:
        specs = [Slow.child_spec(1.0, id=child_id) for child_id in IDS]
        errand = cluster[0].begin(lambda: ProcessHub.start_children(HUB, specs).result())
        cluster.advance(0.5)
        cluster.crash(2)
        cluster.run_until(errand.is_over)
        result = errand.outcome()
        assert (result.status, sorted(result.started)) == ("ok", sorted(IDS))
        assert result.nodes == [cluster[0].name, cluster[1].name]
        settle(cluster)
        for child_id, nodes in runs(cluster).items():
            assert nodes == list(result.started[child_id])


@pytest.mark.parametrize("refuses_first", [False, True], ids=["", "its heir refuses first"])
def test_a_start_whose_owner_dies_without_a_word_is_no_success_if_it_may_be_anothers(
    refuses_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner made it known to a third node, and not to the caller. Nobody can tell whose start that was."""
    with cluster_of(3) as cluster:
        owner, heir = cluster[2], cluster[1]
        if refuses_first:
            refuse_once(monkeypatch, heir.name)
        placement = hub_of(cluster[0]).placement
        others = hub_of(cluster[0]).config.distribution_strategy.place([cluster[0].name, heir.name])
        ids = [c for c in IDS if (*placement.owners(c, None, 1), *others.owners(c, None, 1)) == (owner.name, heir.name)]
        assert ids
        errand = cluster[0].begin(
            lambda: ProcessHub.start_children(HUB, [Slow.child_spec(1.0, id=c) for c in ids]).result()
        )
        cluster.advance(0.5)
        cluster.cut(owner, 0)
        cluster.run_until(lambda: all(c in hub_of(heir).registry.children for c in ids))
        cluster.crash(owner)
        cluster.heal()
        cluster.run_until(errand.is_over)
        result = errand.outcome()
        assert [(error.child_id, error.node, error.reason) for error in result.errors] == [
            (c, owner.name, "noconnection") for c in ids
        ]
        settle(cluster)
        assert copies_alive(cluster, ids)


def refuse_once(monkeypatch: pytest.MonkeyPatch, node: str) -> None:
    """Let a node say of each child, the first time that it is to start it, that it does not own it."""
    take_in = StartRequests._take_in
    refused: set[str] = set()

    def take_in_at_second(self: StartRequests, request: StartChildren, starting: Starting) -> Any:
        if self._hub.node == node:
            first = [row[0] for row in request.rows if row[0] not in refused]
            request = replace(request, rows=[row for row in request.rows if row[0] in refused])
            refused.update(first)
            starting.foreign.extend(first)
        return take_in(self, request, starting)

    monkeypatch.setattr(StartRequests, "_take_in", take_in_at_second)


@pytest.mark.parametrize("how", ["leave", "stop"])
def test_a_start_on_a_node_that_leaves_in_good_order_is_made_by_the_next_owner(how: str) -> None:
    with cluster_of(2) as cluster:
        stubborn = ChildSpec("stubborn", (Stubborn.start_link, (1.0,)), shutdown=5.0)
        while owner_of(cluster, stubborn.id) is not cluster[1]:
            stubborn = replace(stubborn, id=stubborn.id + "!")
        start(cluster[0], stubborn)
        if how == "leave":
            cluster[1].begin(cluster[1].node.end)
        else:
            cluster[1].begin(ProcessHub.stop, HUB)
        cluster.advance(0.5)
        result = start(cluster[0], counters(20))
        assert (result.status, result.nodes) == ("ok", [cluster[0].name])


def test_a_start_whose_owner_is_gone_and_has_no_heir_in_time_fails_with_its_name() -> None:
    with cluster_of(2) as cluster:
        child_id = next(c for c in IDS if owner_of(cluster, c) is cluster[1])
        hub = hub_of(cluster[0])
        cluster.crash(1)
        placement = hub.placement
        cluster.advance(5.0)
        hub.placement = placement  # as if the loss were not noticed
        before = cluster.now()
        result = start(cluster[0], Counter.child_spec(id=child_id), timeout=3.0)
        assert [(error.node, error.reason) for error in result.errors] == [(cluster[1].name, "noconnection")]
        assert cluster.now() - before <= 3.2


def test_a_stop_whose_holder_dies_meanwhile_leaves_nothing_running() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(40))
        settle(cluster)
        errand = cluster[0].begin(lambda: ProcessHub.stop_children(HUB, IDS).result())
        cluster.crash(2)
        cluster.run_until(errand.is_over)
        settle(cluster)
        cluster.advance(30.0)
        assert runs(cluster) == {}
        cluster.restart(2)
        settle(cluster)
        assert runs(cluster) == {}


def test_what_was_stopped_while_a_node_was_away_does_not_come_back_with_it() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(40))
        settle(cluster)
        cluster.crash(1)
        settle(cluster)
        stop(cluster[0], IDS[:20])
        cluster.restart(1)
        settle(cluster)
        assert sorted(runs(cluster)) == sorted(IDS[20:])


def test_a_child_that_crashes_with_its_node_paused_is_restarted_once_it_goes_on() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], counters(40))
        settle(cluster)
        child_id = next(child_id for child_id in IDS if owner_of(cluster, child_id) is cluster[1])
        kill(cluster[1], pid_of(cluster[1], child_id))
        cluster.pause(1, 2.0)
        cluster.advance(3.0)
        settle(cluster)
        assert copies_alive(cluster, IDS)
