"""Each of the hooks: when its handlers are called, with which data, and what a bad handler does (nothing)."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from processhub import (
    HOOK_DATA,
    ChildData,
    ChildSpec,
    ConsistentHashing,
    DuplicateHookHandler,
    GenServer,
    Hook,
    HookHandler,
    HubNotAlive,
    ProcessHub,
    process,
)
from processhub.hub import hook_calls
from processhub.hub.moves import Moves
from processhub.testing import Cluster, ClusterNode
from tests.processhub.hub.children import (
    HUB,
    Counter,
    Failing,
    Named,
    cluster_of,
    counters,
    hub_of,
    journal,
    kill,
    local_pids,
    owner_of,
    part_of,
    pid_of,
    settle,
    start,
    stop,
)


class Heard:
    """Registers a handler on nodes, and keeps what it was called with: (node, data)."""

    def __init__(self, hook: Hook) -> None:
        self.hook = hook
        self.events: list[tuple[str, Any]] = []

    def on(self, *nodes: ClusterNode) -> Heard:
        for node in nodes:
            handler = HookHandler("heard", self._note, (node.name, HOOK_DATA))
            node.run(ProcessHub.register_hook_handlers, HUB, self.hook, [handler])
        return self

    def _note(self, node: str, data: Any) -> None:
        assert process.info(process.self()) is not None
        self.events.append((node, data))

    def at(self, node: ClusterNode) -> list[Any]:
        return [data for name, data in self.events if name == node.name]


def heard(hook: Hook, *nodes: ClusterNode) -> Heard:
    return Heard(hook).on(*nodes)


def register(node: ClusterNode, hook: Hook, func: Callable[..., Any], handler_id: str = "own", **options: Any) -> None:
    node.run(ProcessHub.register_hook_handlers, HUB, hook, [HookHandler(handler_id, func, **options)])


def owned(cluster: Cluster, node: ClusterNode, count: int = 30) -> list[str]:
    """Those of c0, c1, ... that this node owns."""
    return [f"c{n}" for n in range(count) if owner_of(cluster, f"c{n}") is node]


def slowly(seconds: float, func: Callable[[Any], Any]) -> Callable[[Any], None]:
    """A handler that takes its time."""

    def handler(data: Any) -> None:
        process.sleep(seconds)
        func(data)

    return handler


# -- members ---------------------------------------------------------------------------------------------------------


def test_a_join_is_told_before_and_after_it_with_the_name_of_the_node() -> None:
    with cluster_of(1) as cluster:
        members: list[list[str]] = []
        before, after = heard(Hook.PRE_CLUSTER_JOIN, cluster[0]), heard(Hook.POST_CLUSTER_JOIN, cluster[0])
        register(cluster[0], Hook.POST_CLUSTER_JOIN, lambda node: members.append(ProcessHub.nodes(HUB)))
        cluster.add()
        settle(cluster)
        assert before.events == after.events == [(cluster[0].name, cluster[1].name)]
        assert members == [[cluster[1].name]]


@pytest.mark.parametrize("how", ["crash", "leave", "stop"])
def test_a_leave_and_a_loss_are_told_before_and_after_with_the_name_of_the_node(how: str) -> None:
    with cluster_of(2) as cluster:
        before, after = heard(Hook.PRE_CLUSTER_LEAVE, cluster[0]), heard(Hook.POST_CLUSTER_LEAVE, cluster[0])
        if how == "stop":
            cluster[1].run(ProcessHub.stop, HUB)
        else:
            getattr(cluster, how)(1)
        settle(cluster, among=[0])
        assert before.events == after.events == [(cluster[0].name, cluster[1].name)]


def test_the_events_of_a_join_come_in_their_order() -> None:
    with cluster_of(1) as cluster:
        start(cluster[0], counters(20))
        order: list[str] = []
        for hook in Hook:
            if hook is not Hook.CHILD_DATA_ALTER:
                register(cluster[0], hook, order.append, args=(hook.value,))
        cluster.add()
        settle(cluster)
        told = [hook for hook in order if "registry" not in hook]
        assert told == [
            "pre_cluster_join",
            "pre_nodes_redistribution",
            "priority_state_updated",
            "post_cluster_join",
            "pre_children_redistribution",
            "forwarded_migration",
            "priority_state_updated",
            "post_nodes_redistribution",
            "children_migrated",
        ]


# -- redistribution --------------------------------------------------------------------------------------------------


def test_a_redistribution_is_told_before_and_after_for_a_node_that_comes_and_one_that_goes() -> None:
    with cluster_of(2) as cluster:
        before = heard(Hook.PRE_NODES_REDISTRIBUTION, cluster[0])
        after = heard(Hook.POST_NODES_REDISTRIBUTION, cluster[0])
        third = cluster.add()
        settle(cluster)
        cluster.crash(third)
        settle(cluster)
        assert before.at(cluster[0]) == after.at(cluster[0]) == [("nodeup", third.name), ("nodedown", third.name)]


@pytest.mark.parametrize("count", [30, 600])
def test_children_with_other_owners_are_told_with_these_on_every_node(count: int) -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], counters(count))
        told = heard(Hook.PRE_CHILDREN_REDISTRIBUTION, cluster[0], cluster[1])
        third = cluster.add()
        settle(cluster)
        moving = {child_id: [third.name] for child_id in owned(cluster, third, count)}
        assert moving
        for node in (cluster[0], cluster[1]):
            assert {change for _, change in told.at(node)} == {("up", third.name)}
            assert {child_id: nodes for part, _ in told.at(node) for child_id, nodes in part.items()} == moving
            assert all(len(part) <= 250 for part, _ in told.at(node))
        told.events.clear()
        cluster.crash(third)
        settle(cluster)
        parts = told.at(cluster[0])
        assert {change for _, change in parts} == {("down", third.name)}
        assert sorted(child_id for part, _ in parts for child_id in part) == sorted(moving)


@dataclass(frozen=True)
class Unindexed(ConsistentHashing):
    """Cannot tell which children a change concerns."""

    def affected(self, old: Any, new: Any, n: int, index: Any) -> None:
        return None


def test_only_children_with_other_owners_are_told_though_all_are_looked_at() -> None:
    with cluster_of(1, distribution_strategy=Unindexed()) as cluster:
        start(cluster[0], counters(600))
        told = heard(Hook.PRE_CHILDREN_REDISTRIBUTION, cluster[0])
        second = cluster.add()
        settle(cluster)
        parts = [part for part, _ in told.at(cluster[0])]
        assert len(parts) == 3
        assert sorted(child_id for part in parts for child_id in part) == sorted(owned(cluster, second, 600))


def test_a_redistribution_that_moves_nothing_tells_of_no_children() -> None:
    with cluster_of(1) as cluster:
        told = heard(Hook.PRE_CHILDREN_REDISTRIBUTION, cluster[0])
        cluster.add()
        settle(cluster)
        assert told.events == []


def test_children_that_moved_away_are_told_on_the_node_that_they_left() -> None:
    with cluster_of(1) as cluster:
        start(cluster[0], counters(30))
        told = heard(Hook.CHILDREN_MIGRATED, cluster[0])
        there: list[bool] = []
        register(cluster[0], Hook.CHILDREN_MIGRATED, lambda data: there.extend(i in local_ids() for i in data[1]))
        second = cluster.add()
        settle(cluster)
        assert [node for node, _ in told.at(cluster[0])] == [second.name]
        ((_, moved),) = told.at(cluster[0])
        assert sorted(moved) == sorted(owned(cluster, second))
        assert not any(there)


def local_ids() -> dict[str, Any]:
    return ProcessHub.process_list(HUB, "local")


def test_whoever_moves_children_tells_of_it_through_the_hub() -> None:
    with cluster_of(1) as cluster:
        told = heard(Hook.CHILDREN_MIGRATED, cluster[0])
        cluster[0].run(hub_of(cluster[0]).moved_away, "elsewhere", ["a", "b"])
        cluster[0].run(hub_of(cluster[0]).moved_away, "elsewhere", [])
        cluster.settle()
        assert told.at(cluster[0]) == [("elsewhere", ["a", "b"])]


def test_children_that_are_offered_to_their_new_owner_are_forwarded() -> None:
    with cluster_of(1) as cluster:
        start(cluster[0], counters(30))
        told = heard(Hook.FORWARDED_MIGRATION, cluster[0])
        second = cluster.add()
        settle(cluster)
        (data,) = told.at(cluster[0])
        assert list(data) == [second.name]
        assert sorted(data[second.name]) == sorted(owned(cluster, second))


def test_an_offer_that_nobody_answers_is_forwarded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with cluster_of(1) as cluster:
        start(cluster[0], counters(30))
        told = heard(Hook.FORWARDED_MIGRATION, cluster[0])
        offers: list[Any] = []
        monkeypatch.setattr(Moves, "on_offer", lambda moves, offer: offers.append(offer))
        monkeypatch.setattr(Moves, "_ask_for", lambda *_: None)
        cluster.add()
        cluster.advance(10.0)
        assert len(offers) > 2
        assert len(told.events) == 1


def test_a_start_that_a_node_does_not_own_is_passed_on_and_told_where_it_was_called() -> None:
    with cluster_of(3) as cluster:
        told = heard(Hook.FORWARDED_MIGRATION, *cluster)
        hub, third = hub_of(cluster[0]), cluster[2].name
        right = hub.placement
        # For a moment the first node does not know of the third one, and asks the second one for its children.
        hub.placement = hub.config.distribution_strategy.place([cluster[0].name, cluster[1].name])
        wrong = owned_by(hub.placement, cluster[1].name)
        children = [child_id for child_id in owned_by(right, third) if child_id in wrong]
        assert children
        errand = cluster[0].begin(start_here, children)
        cluster.advance(0.05)
        hub.placement = right
        cluster.run_until(errand.is_over)
        assert errand.outcome().status == "ok"
        assert told.events == [(cluster[0].name, {third: children})]


def owned_by(placement: Any, node: str) -> list[str]:
    return [f"c{n}" for n in range(60) if placement.owners(f"c{n}", None, 1)[0] == node]


def start_here(child_ids: list[str]) -> Any:
    return ProcessHub.start_children(HUB, [Counter.child_spec(id=child_id) for child_id in child_ids]).result()


# -- the registry ----------------------------------------------------------------------------------------------------


def test_a_registered_copy_is_told_once_on_every_node_with_its_pid() -> None:
    with cluster_of(3) as cluster:
        told = heard(Hook.REGISTRY_PID_INSERTED, *cluster)
        result = start(cluster[0], counters(20))
        settle(cluster)
        cluster.advance(100.0)  # many rounds of the exchange
        for node in cluster:
            assert sorted(told.at(node)) == sorted(result.started.items())


def test_a_removed_copy_is_told_once_on_every_node() -> None:
    with cluster_of(3) as cluster:
        result = start(cluster[0], counters(20))
        told = heard(Hook.REGISTRY_PID_REMOVED, *cluster)
        stop(cluster[1], [f"c{n}" for n in range(20)])
        settle(cluster)
        cluster.advance(100.0)
        for node in cluster:
            assert sorted(told.at(node)) == sorted((c, list(copies)) for c, copies in result.started.items())


@pytest.mark.parametrize(("restart", "reason"), [("temporary", "kill"), ("transient", "shutdown")])
def test_a_child_that_ends_for_good_by_itself_is_told_as_removed_on_every_node(restart: str, reason: str) -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], Counter.child_spec(id="c", restart=restart))
        settle(cluster)
        owner = owner_of(cluster, "c")
        told = heard(Hook.REGISTRY_PID_REMOVED, *cluster)
        kill(owner, pid_of(owner, "c"), reason)
        settle(cluster)
        for node in cluster:
            assert told.at(node) == [("c", [owner.name])]
            assert node.run(ProcessHub.child_lookup, HUB, "c") is None


def test_the_copies_of_a_lost_node_are_told_as_removed_and_as_inserted_elsewhere() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        lost = owned(cluster, cluster[2])
        removed = heard(Hook.REGISTRY_PID_REMOVED, cluster[0], cluster[1])
        inserted = heard(Hook.REGISTRY_PID_INSERTED, cluster[0], cluster[1])
        cluster.crash(2)
        settle(cluster)
        for node in (cluster[0], cluster[1]):
            assert sorted(removed.at(node)) == sorted((child_id, [cluster[2].name]) for child_id in lost)
            expected = sorted((c, {owner_of(cluster, c).name: pid_of(node, c)}) for c in lost)
            assert sorted(inserted.at(node), key=lambda event: event[0]) == expected


def test_a_move_is_one_removal_and_one_insertion() -> None:
    with cluster_of(1) as cluster:
        start(cluster[0], counters(30))
        removed = heard(Hook.REGISTRY_PID_REMOVED, cluster[0])
        inserted = heard(Hook.REGISTRY_PID_INSERTED, cluster[0])
        second = cluster.add()
        settle(cluster)
        moved = sorted(owned(cluster, second))
        assert sorted(removed.at(cluster[0])) == [(child_id, [cluster[0].name]) for child_id in moved]
        assert sorted(inserted.at(cluster[0])) == [(c, {second.name: pid_of(cluster[0], c)}) for c in moved]


def test_a_hub_that_joins_is_told_of_all_that_runs_already() -> None:
    with cluster_of(2) as cluster:
        result = start(cluster[0], counters(10))
        cluster._hubs = [lambda: ProcessHub(HUB, hooks={Hook.REGISTRY_PID_INSERTED: [HookHandler("own", note)]})]
        cluster.add()
        settle(cluster)
        first = {child_id: pids for _, (child_id, pids) in reversed(journal)}
        assert {child_id: list(pids) for child_id, pids in first.items()} == {
            child_id: list(copies) for child_id, copies in result.started.items()
        }


def note(data: Any) -> None:
    journal.append(("told", data))


def test_a_restarted_child_is_told_on_every_node_with_its_new_pid() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], Counter.child_spec(id="c"))
        settle(cluster)
        owner = owner_of(cluster, "c")
        told = heard(Hook.CHILD_PROCESS_PID_UPDATE, *cluster)
        others = [heard(hook, *cluster) for hook in (Hook.REGISTRY_PID_INSERTED, Hook.REGISTRY_PID_REMOVED)]
        kill(owner, pid_of(owner, "c"))
        settle(cluster)
        cluster.advance(60.0)
        for node in cluster:
            assert told.at(node) == [("c", owner.name, pid_of(node, "c"))]
        assert [other.events for other in others] == [[], []]


def test_a_child_over_its_restart_limit_is_told_as_removed_and_once_it_runs_again_as_inserted() -> None:
    with cluster_of(2, dsup_max_restarts=1) as cluster:
        start(cluster[0], Counter.child_spec(id="c"))
        settle(cluster)
        owner = owner_of(cluster, "c")
        removed = heard(Hook.REGISTRY_PID_REMOVED, *cluster)
        inserted = heard(Hook.REGISTRY_PID_INSERTED, *cluster)
        for _ in range(2):
            kill(owner, pid_of(owner, "c"))
            cluster.advance(0.01)
        cluster.run_until(lambda: len(inserted.events) == 2)
        for node in cluster:
            assert removed.at(node) == [("c", [owner.name])]
            assert inserted.at(node) == [("c", {owner.name: pid_of(node, "c")})]


# -- starts ----------------------------------------------------------------------------------------------------------


def test_what_is_about_to_start_is_told_with_spec_metadata_and_owners() -> None:
    with cluster_of(2) as cluster:
        told = heard(Hook.PRE_CHILDREN_START, *cluster)
        specs = [Named.child_spec(f"n{n}", id=f"n{n}", restart="transient") for n in range(10)]
        start(cluster[0], specs, metadata={"tag": "blue"})
        found = {child_id: data for _, event in told.events for child_id, data in event.items()}
        assert sorted(found) == sorted(spec.id for spec in specs)
        for spec in specs:
            data = found[spec.id]
            assert isinstance(data, ChildData)
            assert (data.spec.id, data.spec.restart, data.spec.start[1]) == (spec.id, "transient", (spec.id,))
            assert data.metadata == {"tag": "blue"}
            assert data.nodes == [owner_of(cluster, spec.id).name]
        for node in cluster:
            assert {i for event in told.at(node) for i in event} == set(local_pids(node))


def test_what_came_of_starts_is_told_with_results_pids_and_owners() -> None:
    with cluster_of(2) as cluster:
        told = heard(Hook.POST_CHILDREN_START, *cluster)
        result = start(cluster[0], [*counters(10), Failing.child_spec(id="bad")])
        rows = {row[0]: row for _, event in told.events for row in event}
        assert len(rows) == 11
        for child_id, copies in result.started.items():
            ((node, pid),) = copies.items()
            assert rows[child_id] == (child_id, "ok", pid, [node])
        assert rows["bad"] == ("bad", result.errors[0].reason, None, [owner_of(cluster, "bad").name])


def test_children_that_were_started_are_told_with_their_pids_where_they_run() -> None:
    with cluster_of(2) as cluster:
        told = heard(Hook.PROCESS_STARTUPS, *cluster)
        start(cluster[0], [*counters(10), Failing.child_spec(id="bad")])
        for node in cluster:
            assert dict(pair for event in told.at(node) for pair in event) == local_pids(node)


def test_starts_after_a_loss_are_told_as_well_and_restarts_after_a_crash_are_not() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], counters(20))
        settle(cluster)
        lost = owned(cluster, cluster[1], 20)
        events = {
            hook: heard(hook, cluster[0])
            for hook in (Hook.PRE_CHILDREN_START, Hook.POST_CHILDREN_START, Hook.PROCESS_STARTUPS)
        }
        cluster.crash(1)
        settle(cluster)
        pids = local_pids(cluster[0])
        before = [child_id for event in events[Hook.PRE_CHILDREN_START].at(cluster[0]) for child_id in event]
        assert sorted(before) == sorted(lost)
        after = [row for event in events[Hook.POST_CHILDREN_START].at(cluster[0]) for row in event]
        assert sorted(after) == sorted((c, "ok", pids[c], [cluster[0].name]) for c in lost)
        ups = [row for event in events[Hook.PROCESS_STARTUPS].at(cluster[0]) for row in event]
        assert sorted(ups) == sorted((c, pids[c]) for c in lost)
        for event in events.values():
            event.events.clear()
        kill(cluster[0], pids["c0"])
        settle(cluster)
        assert [event.events for event in events.values()] == [[], [], []]


# -- the lock and the end --------------------------------------------------------------------------------------------


def test_every_change_of_the_level_is_told_once_whoever_makes_it() -> None:
    with cluster_of(1, deadlock_recovery_timeout=5.0) as cluster:
        told = heard(Hook.PRIORITY_STATE_UPDATED, cluster[0])
        cluster.add()
        settle(cluster)
        free, locked = (0, {"partitioned": False}), (10, {"partitioned": False})
        assert told.at(cluster[0]) == [locked, free]
        cluster[0].run(GenServer.cast, f"{HUB}.event_queue", ("level", 10))
        cluster.advance(6.0)
        assert told.at(cluster[0]) == [locked, free, locked, free]
        cluster[0].run(setattr, hub_of(cluster[0]), "level", 3)
        cluster.settle()
        assert told.at(cluster[0])[-1] == (3, {"partitioned": False})


@pytest.mark.parametrize("how", ["stop", "leave"])
def test_the_end_of_a_hub_is_told_while_its_children_are_there_to_be_asked(how: str) -> None:
    with cluster_of(1) as cluster:
        node = cluster[0]
        start(node, Counter.child_spec(id="c"))
        told = heard(Hook.COORDINATOR_SHUTDOWN, node)
        alive: list[bool] = []
        register(node, Hook.COORDINATOR_SHUTDOWN, lambda reason: alive.append(ProcessHub.is_alive(HUB)))
        node.run(ProcessHub.stop, HUB) if how == "stop" else cluster.leave(node)
        assert told.at(node) == ["shutdown"]
        assert alive == [True]


def test_what_happened_before_the_end_is_told_before_it() -> None:
    with cluster_of(1) as cluster:
        order: list[str] = []
        register(cluster[0], Hook.PROCESS_STARTUPS, slowly(0.5, lambda _: order.append("start")))
        register(cluster[0], Hook.COORDINATOR_SHUTDOWN, lambda _: order.append("end"))
        start(cluster[0], counters(1))
        cluster[0].run(ProcessHub.stop, HUB)
        assert order == ["start", "end"]


def test_handlers_that_hang_hold_the_end_of_a_hub_up_for_seconds_only(caplog: pytest.LogCaptureFixture) -> None:
    with cluster_of(1) as cluster:
        order: list[str] = []
        register(cluster[0], Hook.PROCESS_STARTUPS, lambda _: process.sleep(1e9))
        register(cluster[0], Hook.COORDINATOR_SHUTDOWN, lambda _: order.append("told"), priority=1)
        register(cluster[0], Hook.COORDINATOR_SHUTDOWN, lambda _: process.sleep(1e9), "hangs")
        start(cluster[0], counters(1))
        before = cluster.now()
        cluster[0].run(ProcessHub.stop, HUB)
        assert cluster.now() - before == pytest.approx(4.0, abs=0.1)
        assert order == ["told"]
        assert "coordinator_shutdown handlers are done" in caplog.text
        assert cluster[0].runtime.names.get(HUB) is None
        assert len(cluster[0].runtime.table) < 10


def test_a_coordinator_that_crashes_does_not_tell_the_end_of_the_hub() -> None:
    with cluster_of(1) as cluster:
        told = heard(Hook.COORDINATOR_SHUTDOWN, cluster[0])
        later = heard(Hook.PROCESS_STARTUPS, cluster[0])
        kill(cluster[0], cluster[0].runtime.names[HUB].pid, "a bug")
        cluster.settle()
        settle(cluster)
        start(cluster[0], counters(1))
        assert told.events == []
        assert len(later.events) == 1


# -- altering --------------------------------------------------------------------------------------------------------


def another_name(data: ChildData) -> Any:
    (name,) = data.spec.start[1]
    return (Named.child_spec(f"{name}!", id=data.spec.id), {**data.metadata, "by": "another_name"}, data.nodes)


def noting(seen: list[Any], data: Any) -> Any:
    seen.append(data)
    return data


def louder(data: ChildData) -> Any:
    (name,) = data.spec.start[1]
    return data._replace(spec=Named.child_spec(name.upper(), id=data.spec.id))


def asked(node: ClusterNode, child_id: str) -> Any:
    return node.run(GenServer.call, ProcessHub.via(HUB, child_id), "name")


def test_altered_children_start_altered_and_are_registered_so_everywhere() -> None:
    with cluster_of(2) as cluster:
        for node in cluster:
            register(node, Hook.CHILD_DATA_ALTER, another_name)
        result = start(cluster[0], [Named.child_spec(f"n{n}", id=f"n{n}") for n in range(6)], metadata={"tag": "t"})
        assert result.status == "ok"
        settle(cluster)
        for n in range(6):
            for node in cluster:
                assert asked(node, f"n{n}") == f"n{n}!"
                info = node.run(ProcessHub.child_lookup, HUB, f"n{n}")
                assert info is not None
                assert info.spec.start[1] == (f"n{n}!",)
                assert info.metadata == {"tag": "t", "by": "another_name"}


def test_handlers_that_alter_are_chained_by_priority_and_get_the_owners() -> None:
    with cluster_of(1) as cluster:
        seen: list[Any] = []
        register(cluster[0], Hook.CHILD_DATA_ALTER, louder, "second", priority=1)
        register(cluster[0], Hook.CHILD_DATA_ALTER, lambda d: another_name(noting(seen, d)), priority=2)
        register(cluster[0], Hook.CHILD_DATA_ALTER, lambda d: noting(seen, d), "third")
        start(cluster[0], Named.child_spec("name", id="n"))
        assert asked(cluster[0], "n") == "NAME!"
        assert [(data.nodes, data.spec.start[1]) for data in seen] == [
            ([cluster[0].name], ("name",)),
            ([cluster[0].name], ("NAME!",)),
        ]


def test_a_child_that_moves_or_is_restarted_starts_with_what_was_altered_and_is_altered_again() -> None:
    with cluster_of(2) as cluster:
        for node in cluster:
            register(node, Hook.CHILD_DATA_ALTER, louder)
        start(cluster[0], Named.child_spec("name", id="n"))
        settle(cluster)
        owner = owner_of(cluster, "n")
        other = next(node for node in cluster if node is not owner)
        vector = hub_of(other).registry.digest
        before = vector()
        other.run(ProcessHub.cancel_hook_handlers, HUB, Hook.CHILD_DATA_ALTER, ["own"])
        register(other, Hook.CHILD_DATA_ALTER, another_name)
        cluster.crash(owner)
        settle(cluster)
        assert asked(other, "n") == "NAME!"
        info = other.run(ProcessHub.child_lookup, HUB, "n")
        assert info is not None
        assert info.spec.start[1] == ("NAME!",)
        assert info.metadata == {"by": "another_name"}
        assert vector() != before


def test_a_handler_that_changes_nothing_writes_nothing() -> None:
    with cluster_of(1) as cluster:
        start(cluster[0], Named.child_spec("NAME", id="n"))
        register(cluster[0], Hook.CHILD_DATA_ALTER, louder)
        written = hub_of(cluster[0]).registry.vector().to_wire()[1]
        kill(cluster[0], pid_of(cluster[0], "n"))
        settle(cluster)
        assert asked(cluster[0], "n") == "NAME"
        assert hub_of(cluster[0]).registry.vector().to_wire()[1] == written


def test_a_spec_that_another_node_writes_during_an_alteration_is_kept() -> None:
    def slow(data: ChildData) -> Any:
        process.sleep(1.0)
        return louder(data)

    with cluster_of(1) as cluster:
        start(cluster[0], Named.child_spec("name", id="n"))
        register(cluster[0], Hook.CHILD_DATA_ALTER, slow)
        kill(cluster[0], pid_of(cluster[0], "n"))
        cluster.advance(0.5)
        hub = hub_of(cluster[0])
        hub.registry.put("n", hub.now_ms(), spec=hub.specs.encode(Named.child_spec("newer", id="n")))
        cluster.advance(1.0)
        info = cluster[0].run(ProcessHub.child_lookup, HUB, "n")
        assert info is not None
        assert info.spec.start[1] == ("newer",)


def raises(data: ChildData) -> Any:
    data.metadata["half"] = "done"
    raise LookupError("as asked")


@pytest.mark.parametrize(
    "func",
    [
        raises,
        lambda data: None,
        lambda data: (data.spec, data.metadata),
        lambda data: ("no spec", data.metadata, data.nodes),
        lambda data: (Named.child_spec("x", id="other"), data.metadata, data.nodes),
        lambda data: (data.spec, ["no", "mapping"], data.nodes),
        lambda data: (data.spec, {"lock": object()}, data.nodes),
        lambda data: (ChildSpec("n", (lambda: None, ())), data.metadata, data.nodes),
        lambda data: (data.spec, data.metadata, 7),
        lambda data: sys.exit(3),
    ],
)
def test_a_handler_that_alters_badly_is_logged_and_passed_over(func: Any, caplog: pytest.LogCaptureFixture) -> None:
    with cluster_of(1) as cluster:
        register(cluster[0], Hook.CHILD_DATA_ALTER, func, "the bad one", priority=1)
        register(cluster[0], Hook.CHILD_DATA_ALTER, louder, "the good one")
        caplog.set_level(logging.ERROR)
        assert start(cluster[0], Named.child_spec("name", id="n"), metadata={"a": 1}).status == "ok"
        assert asked(cluster[0], "n") == "NAME"
        info = cluster[0].run(ProcessHub.child_lookup, HUB, "n")
        assert info is not None
        assert info.metadata == {"a": 1}
        (record,) = caplog.records
        for part in (HUB, "'the bad one'", "child_data_alter"):
            assert part in record.getMessage()


def test_a_slow_alteration_counts_against_the_timeout_of_its_start_and_delays_no_other() -> None:
    def slow(data: ChildData) -> Any:
        if data.spec.id == "slow":
            process.sleep(30.0)
        return data

    with cluster_of(1) as cluster:
        register(cluster[0], Hook.CHILD_DATA_ALTER, slow)
        errand = cluster[0].begin(
            lambda: ProcessHub.start_child(HUB, Counter.child_spec(id="slow"), timeout=2.0).result()
        )
        cluster.advance(0.01)
        before = cluster.now()
        assert start(cluster[0], counters(5)).status == "ok"
        assert cluster.now() - before < 0.1
        cluster.run_until(errand.is_over, 3.0)
        assert errand.outcome().errors[0].reason == "timeout"


# -- handlers --------------------------------------------------------------------------------------------------------


@contextmanager
def fails_as(func: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> Iterator[Cluster]:
    with cluster_of(2) as cluster:
        caplog.set_level(logging.ERROR)
        register(cluster[0], Hook.PRE_CLUSTER_LEAVE, func, "the bad one", priority=1)
        yield cluster


@pytest.mark.parametrize("error", [ValueError, SystemExit, TypeError])
def test_a_handler_that_raises_is_logged_with_its_id_and_harms_nothing(
    error: type, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Any) -> None:
        raise error("as asked")

    with fails_as(fail, caplog) as cluster:
        told = heard(Hook.PRE_CLUSTER_LEAVE, cluster[0])
        cluster.crash(1)
        settle(cluster)
        assert told.at(cluster[0]) == [cluster[1].name]
        (record,) = caplog.records
        for part in (HUB, "'the bad one'", "pre_cluster_leave"):
            assert part in record.getMessage()


def test_a_handler_that_ends_its_process_takes_only_its_own_event_with_it(caplog: pytest.LogCaptureFixture) -> None:
    def leave(_: Any) -> None:
        process.exit(process.self(), "enough")
        process.sleep(1.0)

    with fails_as(leave, caplog) as cluster:
        later = heard(Hook.POST_CLUSTER_LEAVE, cluster[0])
        cluster.crash(1)
        settle(cluster)
        assert later.at(cluster[0]) == [cluster[1].name]
        assert "enough" in caplog.text


def test_a_handler_that_blocks_delays_nothing_of_the_hub() -> None:
    with cluster_of(2) as cluster:
        for node in cluster:
            for hook in Hook:
                if hook not in (Hook.CHILD_DATA_ALTER, Hook.COORDINATOR_SHUTDOWN):
                    register(node, hook, lambda _: process.sleep(1e6))
        before = cluster.now()
        assert start(cluster[0], counters(20)).status == "ok"
        kill(cluster[0], next(iter(local_pids(cluster[0]).values())))
        cluster.add()
        settle(cluster)
        stop(cluster[0], ["c1"])
        cluster.crash(1)
        settle(cluster)
        assert cluster.now() - before < 10.0


def test_events_are_handled_in_order_and_one_after_the_other() -> None:
    with cluster_of(1) as cluster:
        seen: list[Any] = []

        def slow(data: Any) -> None:
            seen.append(("begins", data[0]))
            process.sleep(0.1)
            seen.append(("ends", data[0]))

        register(cluster[0], Hook.REGISTRY_PID_INSERTED, slow)
        start(cluster[0], counters(3))
        cluster.advance(1.0)
        order = [child_id for word, child_id in seen if word == "begins"]
        assert seen == [(word, child_id) for child_id in order for word in ("begins", "ends")]
        assert sorted(order) == ["c0", "c1", "c2"]


def test_too_many_events_for_slow_handlers_are_dropped_with_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hook_calls, "QUEUED", 10)
    with cluster_of(1) as cluster:
        caplog.set_level(logging.ERROR)
        seen: list[Any] = []
        register(cluster[0], Hook.REGISTRY_PID_INSERTED, slowly(0.1, seen.append))
        start(cluster[0], counters(50))
        cluster.advance(10.0)
        assert 10 <= len(seen) <= 12
        assert len(caplog.records) == 1
        assert "slow hook handlers" in caplog.text
        start(cluster[0], Counter.child_spec(id="later"))
        cluster.advance(1.0)
        assert seen[-1][0] == "later"
        start(cluster[0], counters(50, "d"))
        cluster.advance(10.0)
        assert len(caplog.records) == 2, "once more, for it had caught up in between"


def test_handlers_of_many_events_let_others_run_in_between() -> None:
    with cluster_of(1) as cluster:
        seen: list[int] = []
        seen_by_another: list[int] = []

        def handler(number: int) -> None:
            seen.append(number)
            if number == 0:
                process.spawn(lambda: seen_by_another.append(len(seen)))

        def fire_many() -> None:
            for number in range(20_000):
                hub_of(cluster[0]).fire(Hook.PROCESS_STARTUPS, number)

        register(cluster[0], Hook.PROCESS_STARTUPS, handler)
        cluster[0].run(fire_many)
        cluster.settle()
        assert seen == list(range(20_000))
        assert seen_by_another[0] < 20_000


def test_nothing_is_kept_for_handlers_once_the_hub_has_stopped() -> None:
    with cluster_of(1) as cluster:
        start(cluster[0], counters(10))
        told = heard(Hook.REGISTRY_PID_REMOVED, cluster[0])
        calls = hub_of(cluster[0]).hook_calls
        cluster[0].run(ProcessHub.stop, HUB)
        assert not calls._events
        assert told.events == []


def test_a_killed_task_supervisor_loses_at_most_the_event_at_hand() -> None:
    with cluster_of(1) as cluster:
        seen: list[str] = []
        register(cluster[0], Hook.REGISTRY_PID_INSERTED, slowly(0.1, lambda data: seen.append(data[0])))
        start(cluster[0], counters(5))
        cluster.advance(0.15)
        kill(cluster[0], cluster[0].runtime.names[f"{HUB}.task_supervisor"].pid)
        cluster.advance(5.0)
        assert len(seen) == 4


def test_handlers_survive_the_restart_of_every_part() -> None:
    with cluster_of(1) as cluster:
        told = heard(Hook.REGISTRY_PID_INSERTED, cluster[0])
        for part in ("event_queue", "distributed_supervisor", "task_supervisor", "worker_queue", "janitor"):
            kill(cluster[0], cluster[0].runtime.names[f"{HUB}.{part}"].pid)
            cluster.advance(0.1)
        start(cluster[0], Counter.child_spec(id="c"))
        cluster.settle()
        assert told.at(cluster[0]) == [("c", {cluster[0].name: pid_of(cluster[0], "c")})]


def test_a_cancelled_handler_is_called_no_more_and_its_id_is_free() -> None:
    with cluster_of(1) as cluster:
        told = heard(Hook.PROCESS_STARTUPS, cluster[0])
        start(cluster[0], counters(1))
        with pytest.raises(DuplicateHookHandler):
            told.on(cluster[0])
        node = cluster[0]
        assert node.run(ProcessHub.cancel_hook_handlers, HUB, "process_startups", ["heard", "unknown"]) == ["heard"]
        start(cluster[0], counters(1, "d"))
        assert len(told.events) == 1
        told.on(cluster[0])
        start(cluster[0], counters(1, "e"))
        assert len(told.events) == 2


def test_handlers_of_the_configuration_are_there_from_the_start() -> None:
    hooks = {
        "process_startups": [HookHandler("b", note, args=("b", HOOK_DATA)[1:]), HookHandler("a", note, priority=5)],
        Hook.PRE_CHILDREN_START: [HookHandler("a", note, args=("before",))],
    }
    with cluster_of(1, hooks=hooks, child_specs=[Counter.child_spec(id="c")]) as cluster:
        pid = pid_of(cluster[0], "c")
        assert journal == [("told", "before"), ("told", [("c", pid)]), ("told", [("c", pid)])]


def test_handlers_are_registered_on_one_node_only() -> None:
    with cluster_of(2) as cluster:
        told = heard(Hook.REGISTRY_PID_INSERTED, cluster[1])
        start(cluster[0], counters(5))
        settle(cluster)
        assert {node for node, _ in told.events} == {cluster[1].name}


def test_hooks_of_an_unknown_hub_are_refused() -> None:
    with cluster_of(1) as cluster:
        with pytest.raises(HubNotAlive):
            cluster[0].run(ProcessHub.register_hook_handlers, "other", Hook.PROCESS_STARTUPS, [])
        with pytest.raises(HubNotAlive):
            cluster[0].run(ProcessHub.cancel_hook_handlers, "other", Hook.PROCESS_STARTUPS, [])


def test_without_handlers_nothing_is_queued_and_no_process_runs() -> None:
    with cluster_of(1) as cluster:
        calls = hub_of(cluster[0]).hook_calls
        before = len(cluster[0].runtime.table)
        start(cluster[0], counters(20))
        heard(Hook.PRE_CLUSTER_JOIN, cluster[0])
        start(cluster[0], counters(20, "d"))
        assert not calls._events
        assert len(cluster[0].runtime.table) - before <= 41
        assert part_of(cluster[0], "task_supervisor").tasks == set()
