"""Starting and stopping children of a hub: where they run, who wins, what is kept, what is left."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from processhub import AlreadyStarted, ChildSpec, GenServer, HubNotAlive, Pid, ProcessHub, StartError, process
from processhub.hub.config import HubConfig
from processhub.testing import Cluster
from tests.processhub.hub import children
from tests.processhub.hub.children import (
    HUB,
    Counter,
    Named,
    Slow,
    Stubborn,
    cluster_of,
    copies_alive,
    counters,
    hub_of,
    journal,
    owner_of,
    part_of,
    pid_of,
    runs,
    settle,
    start,
    stop,
)


def test_a_child_starts_on_its_owner_wherever_it_is_asked_for() -> None:
    with cluster_of(3) as cluster:
        for number in range(12):
            child_id = f"c{number}"
            result = start(cluster[number % 3], Counter.child_spec(id=child_id))
            assert result.node == owner_of(cluster, child_id).name
        settle(cluster)
        assert len({nodes[0] for nodes in runs(cluster).values()}) == 3


def test_every_node_calls_a_child_by_its_via_name() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], ChildSpec("sum", (Counter.start_link, (40,))))
        settle(cluster)
        for node in cluster:
            node.run(GenServer.cast, ProcessHub.via(HUB, "sum"), "add")
        cluster.advance(0.1)
        for node in cluster:
            assert node.run(GenServer.call, ProcessHub.via(HUB, "sum"), "get") == 43


@pytest.mark.parametrize("delay", [0.0, 0.00005, 0.0001, 0.00015, 0.0002, 0.0003])
@pytest.mark.parametrize("check", [True, False])
def test_of_two_concurrent_starts_of_one_id_exactly_one_wins(delay: float, check: bool) -> None:
    def attempt(wait: float) -> Any:
        process.sleep(wait)
        try:
            return ProcessHub.start_child(HUB, Counter.child_spec(id="prize"), check_existing=check).result()
        except AlreadyStarted as error:
            return error

    with cluster_of(3) as cluster:
        errands = [node.begin(attempt, number * delay) for number, node in enumerate(cluster)]
        cluster.run_until(lambda: all(errand.is_over() for errand in errands))
        outcomes = [errand.outcome() for errand in errands]
        winners = [outcome for outcome in outcomes if getattr(outcome, "status", "") == "ok"]
        assert len(winners) == 1
        for outcome in outcomes:
            if isinstance(outcome, AlreadyStarted):
                assert outcome.child_ids == ["prize"]
            elif outcome not in winners:
                assert [error.reason for error in outcome.errors] == ["already_started"]
        settle(cluster)
        assert copies_alive(cluster, ["prize"])
        assert pid_of(cluster[0], "prize") == winners[0].pid


def test_concurrent_starts_on_one_node_of_one_id_have_one_winner() -> None:
    def both() -> list[str]:
        futures = [ProcessHub.start_child(HUB, Counter.child_spec(id="prize")) for _ in range(2)]
        return sorted(future.result().status for future in futures)

    with cluster_of(2) as cluster:
        assert cluster[0].run(both) == ["error", "ok"]
        assert copies_alive(cluster, ["prize"])


def test_what_started_is_kept_when_another_child_fails() -> None:
    with cluster_of(3) as cluster:
        bad = ChildSpec("bad", (children.start_raises, ()))
        result = start(cluster[0], [*counters(10), bad])
        assert result.status == "error"
        assert not result.rollback
        assert len(result.started) == 10
        assert [error.child_id for error in result.errors] == ["bad"]
        settle(cluster)
        assert sorted(runs(cluster)) == sorted(f"c{number}" for number in range(10))
        assert cluster[1].run(ProcessHub.child_lookup, HUB, "bad") is None


def test_a_rollback_stops_what_had_started_everywhere() -> None:
    with cluster_of(3) as cluster:
        bad = ChildSpec("bad", (children.start_raises, ()))
        result = start(cluster[0], [*counters(10), bad], on_failure="rollback")
        assert (result.status, result.rollback, result.started) == ("error", True, {})
        settle(cluster)
        assert runs(cluster) == {}
        for node in cluster:
            assert node.run(ProcessHub.registry_dump, HUB) == {}


def test_a_rollback_leaves_children_alone_that_others_had_started() -> None:
    with cluster_of(3) as cluster:
        start(cluster[1], Counter.child_spec(id="c3"))
        result = start(cluster[0], counters(10), on_failure="rollback", check_existing=False)
        assert result.rollback
        settle(cluster)
        assert list(runs(cluster)) == ["c3"]


def test_an_init_of_30_seconds_delays_no_other_start_and_no_lookup() -> None:
    with cluster_of(2) as cluster:
        slow = cluster[0].begin(
            lambda: ProcessHub.start_children(
                HUB, [ChildSpec(f"slow{n}", (Slow.start_link, (30.0,))) for n in range(20)], timeout=60.0
            ).result()
        )
        cluster.advance(1.0)
        before = cluster.now()
        assert start(cluster[0], counters(20)).status == "ok"
        assert start(cluster[1], counters(20, prefix="d")).status == "ok"
        assert pid_of(cluster[0], "c1") is not None
        assert stop(cluster[1], ["c1"]).status == "ok"
        assert cluster.now() - before < 0.05
        assert not slow.is_over()
        cluster.run_until(slow.is_over)
        assert slow.outcome().status == "ok"
        assert len([entry for entry in journal if entry[0] == "init ends"]) == 20


def test_a_slow_init_in_a_start_counts_against_its_own_timeout_only() -> None:
    with cluster_of(2) as cluster:
        slow = ChildSpec("slow", (Slow.start_link, (30.0,)))
        result = start(cluster[0], [slow, *counters(10)], timeout=2.0)
        assert [(error.child_id, error.reason) for error in result.errors] == [("slow", "timeout")]
        assert len(result.started) == 10
        cluster.advance(40.0)
        assert "slow" not in runs(cluster)
        assert ("init ends",) not in [entry[:1] for entry in journal]


def test_a_start_while_the_hub_joins_waits_for_it() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], counters(10))
        cluster._hubs = []  # the third node has no hub yet
        node = cluster.add()
        cluster.run_until(cluster.is_connected)
        errand = node.begin(host, lambda: ProcessHub.start_child(HUB, Counter.child_spec(id="early")).result())
        cluster.run_until(lambda: journal)
        assert journal[0][1].status == "ok"
        assert not errand.is_over()
        settle(cluster)
        assert copies_alive(cluster, ["early", *(f"c{n}" for n in range(10))])
        assert runs(cluster)["early"] == [owner_of(cluster, "early").name]


def host(then: Any, config: Any = None) -> None:
    """Start a hub, do something at once, and keep the hub alive."""
    ProcessHub.start_link(config or HubConfig(HUB))
    journal.append(("done", then()))
    process.receive(lambda _: False)


def test_a_start_on_a_hub_that_cannot_join_yet_times_out() -> None:
    with cluster_of(2) as cluster:
        cluster._hubs = []
        node = cluster.add()
        cluster.run_until(cluster.is_connected)
        cluster.pause(1)
        node.begin(host, lambda: ProcessHub.start_child(HUB, Counter.child_spec(id="early"), timeout=3.0).result())
        cluster.run_until(lambda: journal, 10.0)
        assert [error.reason for error in journal[0][1].errors] == ["timeout"]
        cluster.resume(1)
        settle(cluster)
        assert runs(cluster) == {}


# -- stopping --------------------------------------------------------------------------------------------------------


def test_a_stopped_child_is_gone_everywhere_when_the_future_resolves() -> None:
    with cluster_of(3) as cluster:
        pids = start(cluster[0], counters(9)).pids
        settle(cluster)
        result = stop(cluster[1], [f"c{n}" for n in range(9)])
        assert result.status == "ok"
        assert result.child_ids == [f"c{n}" for n in range(9)]
        assert pid_of(cluster[1], "c1") is None
        assert runs(cluster) == {}
        assert not any(node.runtime.local(pid) for node in cluster for pid in pids)
        settle(cluster)
        assert all(node.run(ProcessHub.registry_dump, HUB) == {} for node in cluster)


def test_a_stop_names_the_nodes_on_which_copies_were() -> None:
    with cluster_of(3) as cluster:
        node = start(cluster[0], Counter.child_spec(id="kid")).node
        settle(cluster)
        assert stop(cluster[1], "kid").stopped == {"kid": [node]}


def test_unknown_ids_are_errors_of_a_stop_and_the_others_stop() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(3))
        result = stop(cluster[0], ["c0", "ghost", "c1"])
        assert result.status == "error"
        assert [(error.child_id, error.reason) for error in result.errors] == [("ghost", "not_found")]
        assert sorted(result.stopped) == ["c0", "c1"]
        assert list(runs(cluster)) == ["c2"]


def test_a_stop_of_one_id_named_twice_stops_it_once() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], counters(1))
        result = stop(cluster[0], ["c0", "c0"])
        assert (result.status, list(result.stopped)) == ("ok", ["c0"])


@pytest.mark.parametrize("shutdown", [0.5, 3.0])
def test_a_child_that_ignores_shutdown_is_killed_after_its_time(shutdown: float) -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], ChildSpec("mule", (Stubborn.start_link, (1000.0,)), shutdown=shutdown))
        before = cluster.now()
        result = stop(cluster[0], "mule")
        assert result.status == "ok"
        assert cluster.now() - before == pytest.approx(shutdown, abs=0.01)
        assert runs(cluster) == {}
        assert journal == []


def test_a_child_with_brutal_kill_is_killed_at_once() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], ChildSpec("mule", (Stubborn.start_link, (1000.0,)), shutdown="brutal_kill"))
        before = cluster.now()
        assert stop(cluster[0], "mule").status == "ok"
        assert cluster.now() - before < 0.01


def test_a_child_that_takes_its_time_to_terminate_gets_it() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], ChildSpec("mule", (Stubborn.start_link, (2.0,)), shutdown=5.0))
        before = cluster.now()
        assert stop(cluster[0], "mule").status == "ok"
        assert cluster.now() - before == pytest.approx(2.0, abs=0.01)
        assert journal[0][0] == "terminated"


def test_slow_stops_of_many_children_run_side_by_side() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], [ChildSpec(f"m{n}", (Stubborn.start_link, (2.0,))) for n in range(30)])
        before = cluster.now()
        assert stop(cluster[0], [f"m{n}" for n in range(30)]).status == "ok"
        assert cluster.now() - before < 2.1


def test_a_stopped_child_can_be_started_at_once_again() -> None:
    with cluster_of(3) as cluster:
        for number in range(5):
            node = cluster[number % 3]

            def again() -> tuple[str, str]:
                one = ProcessHub.start_child(HUB, Counter.child_spec(id="kid")).result().status
                return one, ProcessHub.stop_child(HUB, "kid").result().status

            assert node.run(again) == ("ok", "ok")
        settle(cluster)
        assert runs(cluster) == {}


def test_a_child_is_stopped_though_some_of_the_others_have_failed() -> None:
    """The answer comes when the last one has stopped, not when the first one has."""
    with cluster_of(1) as cluster:
        journal.append(("mended",))
        start(cluster[0], [ChildSpec("weak", (children.Failing.start_link, ())), *counters(3)])
        start(cluster[0], ChildSpec("mule", (Stubborn.start_link, (2.0,))))
        journal.clear()
        children.kill(cluster[0], pid_of(cluster[0], "weak"))
        result = stop(cluster[0], ["weak", "c0", "mule"])
        assert sorted(result.stopped) == ["c0", "mule", "weak"]
        assert {child: len(nodes) for child, nodes in result.stopped.items()} == {"weak": 1, "c0": 1, "mule": 1}
        assert sorted(runs(cluster)) == ["c1", "c2"]


# -- the hub itself --------------------------------------------------------------------------------------------------


def test_a_hub_alone_without_a_network_works() -> None:
    from processhub.testing import Driver, VirtualTime
    from supervisor.runtime import Runtime

    time = VirtualTime()
    runtime = Runtime(clock=time.clock())
    driver = Driver(time, [runtime])

    def use() -> Any:
        ProcessHub.start_link(HubConfig(HUB, child_specs=[Counter.child_spec(id="static")]))
        assert ProcessHub.nodes(HUB, include_local=True) == ["nonode@nohost"]
        result = ProcessHub.start_children(HUB, counters(5)).result()
        assert result.status == "ok"
        assert sorted(ProcessHub.process_list(HUB, "local")) == ["c0", "c1", "c2", "c3", "c4", "static"]
        pid = ProcessHub.get_pid(HUB, "c1")
        assert pid is not None
        process.exit(pid, "kill")
        assert GenServer.call(ProcessHub.via(HUB, "c1"), "get") == 0
        ProcessHub.await_settled(HUB, 5.0)
        assert ProcessHub.stop_child(HUB, "c0").result().status == "ok"
        ProcessHub.stop(HUB)
        return ProcessHub.is_alive(HUB)

    try:
        assert driver.run(runtime, use) is False
        driver.settle()
        assert runtime.table == {}
    finally:
        runtime.close()
        driver.settle()
        driver.forget(runtime)


def test_static_children_run_once_though_every_node_has_them() -> None:
    with cluster_of(4, child_specs=[Named.child_spec(f"n{n}", id=f"n{n}") for n in range(10)]) as cluster:
        truth = runs(cluster)
        assert sorted(truth) == sorted(f"n{n}" for n in range(10))
        for child_id, nodes in truth.items():
            assert nodes == [owner_of(cluster, child_id).name]


def test_static_children_of_nodes_that_start_at_the_same_time_run_once() -> None:
    config = HubConfig(HUB, child_specs=[Named.child_spec(f"n{n}", id=f"n{n}") for n in range(10)])
    journal.clear()
    with Cluster(3) as cluster:
        for node in cluster:
            node.begin(host, lambda: None, config)
        cluster.run_until(lambda: len([entry for entry in journal if entry[0] == "done"]) == 3)
        settle(cluster)
        assert copies_alive(cluster, [f"n{n}" for n in range(10)])
        assert sorted(runs(cluster)) == sorted(f"n{n}" for n in range(10))


def test_a_static_child_that_fails_makes_the_start_of_the_hub_fail() -> None:
    with Cluster(1) as cluster:
        node = cluster[0]
        before = len(node.runtime.table)
        config = HubConfig(HUB, child_specs=[*counters(3), ChildSpec("bad", (children.start_raises, ()))])

        def attempt() -> str:
            process.trap_exit(True)
            with pytest.raises(StartError) as caught:
                ProcessHub.start_link(config)
            return str(caught.value)

        message = node.run(attempt)
        assert "bad" in message
        assert "no such thing" in message
        assert not node.run(ProcessHub.is_alive, HUB)
        with pytest.raises(HubNotAlive):
            node.run(ProcessHub.get_pid, HUB, "c0")
        assert len(node.runtime.table) == before
        assert node.runtime.services.get(HUB) is None
        node.begin(host, lambda: None)
        cluster.run_until(lambda: node.run(ProcessHub.is_alive, HUB))


def test_a_hub_stops_its_children_and_starts_anew() -> None:
    with cluster_of(1) as cluster:
        node = cluster[0]
        start(node, counters(5))
        base = len(node.runtime.table)
        node.run(ProcessHub.stop, HUB)
        cluster.settle()
        assert len(node.runtime.table) < base - 5
        assert not node.run(ProcessHub.is_alive, HUB)
        node.begin(host, lambda: None)
        cluster.run_until(lambda: node.run(ProcessHub.is_alive, HUB))
        assert node.run(ProcessHub.registry_dump, HUB) == {}
        assert start(node, counters(5)).status == "ok"


def test_a_hub_that_stops_gives_its_children_their_own_shutdown_times() -> None:
    with cluster_of(1) as cluster:
        specs = [
            ChildSpec("brutal", (Stubborn.start_link, (500.0,)), shutdown="brutal_kill"),
            ChildSpec("short", (Stubborn.start_link, (500.0,)), shutdown=1.0),
            ChildSpec("polite", (Stubborn.start_link, (2.0,)), shutdown=5.0),
        ]
        start(cluster[0], specs)
        before = cluster.now()
        cluster[0].run(ProcessHub.stop, HUB)
        assert cluster.now() - before == pytest.approx(2.0, abs=0.1)
        assert len(journal) == 1


def test_the_time_for_the_whole_hub_bounds_that_of_its_children() -> None:
    with cluster_of(1, dsup_shutdown_timeout=3.0) as cluster:
        start(cluster[0], [ChildSpec(f"m{n}", (Stubborn.start_link, (500.0,)), shutdown="infinity") for n in range(5)])
        before = cluster.now()
        cluster[0].run(ProcessHub.stop, HUB)
        assert cluster.now() - before == pytest.approx(3.0, abs=0.1)


def test_a_hub_that_stops_hands_its_children_to_the_others() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        cluster[2].run(ProcessHub.stop, HUB)
        assert settle(cluster, among=[0, 1]) < 1.0
        assert copies_alive(cluster, [f"c{n}" for n in range(30)])


def test_several_hubs_live_on_one_node_side_by_side() -> None:
    journal.clear()
    with Cluster(2, hubs=[HubConfig("a"), HubConfig("b")]) as cluster:
        for hub_id in ("a", "b"):

            def use(hub_id: str = hub_id) -> Pid | None:
                ProcessHub.await_settled(hub_id, 5.0, [node.name for node in cluster])
                spec = ChildSpec("kid", (Named.start_link, (hub_id,)))
                return ProcessHub.start_child(hub_id, spec).result().pid

            assert cluster[0].run(use) is not None
        cluster.advance(0.1)
        for node in cluster:
            for hub_id in ("a", "b"):
                assert node.run(GenServer.call, ProcessHub.via(hub_id, "kid"), "who") == hub_id
        cluster[0].run(ProcessHub.stop, "a")
        assert not cluster[0].run(ProcessHub.is_alive, "a")
        assert cluster[0].run(GenServer.call, ProcessHub.via("b", "kid"), "who") == "b"


def test_the_same_hub_twice_on_a_node_is_refused_and_the_first_one_lives(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)

    def attempt() -> str:
        process.trap_exit(True)
        with pytest.raises(StartError) as caught:
            ProcessHub.start_link(HubConfig(HUB))
        return str(caught.value)

    with cluster_of(1) as cluster:
        start(cluster[0], counters(2))
        assert "runs on node1" in cluster[0].run(attempt)
        assert cluster[0].run(ProcessHub.is_alive, HUB)
        assert len(runs(cluster)) == 2
        assert start(cluster[0], counters(1, prefix="d")).status == "ok"


def test_a_hub_runs_under_a_supervisor_of_the_user() -> None:
    from processhub import Supervisor

    def use() -> Any:
        top = Supervisor.start_link([ProcessHub.child_spec(HubConfig("mine"))])
        entry = Supervisor.which_children(top)[0]
        assert (entry.id, entry.type) == ("mine", "supervisor")
        ProcessHub.start_children("mine", counters(3)).result()
        Supervisor.stop(top)
        return ProcessHub.is_alive("mine")

    with Cluster(1) as cluster:
        assert cluster[0].run(use) is False


def test_nothing_is_left_of_starts_and_stops() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], counters(1))
        settle(cluster)
        cluster.advance(60.0)
        base = left(cluster)
        for _ in range(5):
            start(cluster[0], counters(40, prefix="d"))
            stop(cluster[1], [f"d{n}" for n in range(40)])
        settle(cluster)
        cluster.advance(60.0)
        assert left(cluster) == base


def left(cluster: Cluster) -> list[Any]:
    """What a hub keeps in memory, per node: sizes only."""
    sizes: list[Any] = []
    for node in cluster:
        moves = part_of(node, "coordinator").loop.moves
        hub = hub_of(node)
        sizes.append(
            (
                len(node.runtime.table),
                len(node.runtime.scheduler.waits),
                len(moves.waiting),
                len(moves._pending),
                len(moves._promises),
                len(hub.registry.children),
                len(hub.registry.own_table),
                len(hub.changing),
                len(hub.joining),
                len(hub.index),
            )
        )
    return sizes
