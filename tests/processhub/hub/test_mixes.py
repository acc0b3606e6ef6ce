"""Faults that random runs of combined strategies found, each as small as it can be."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pytest

from processhub import (
    ChildSpec,
    DynamicQuorum,
    GenServer,
    Hook,
    HookHandler,
    HotSwap,
    MajorityQuorum,
    NoConnection,
    Node,
    ProcessHub,
    process,
)
from processhub.hub.config import HubConfig
from processhub.hub.handover_messages import Commit
from processhub.hub.outbox import Outbox
from processhub.testing import Cluster
from tests.processhub.hub.children import (
    HUB,
    Counter,
    Slow,
    cluster_of,
    copies_alive,
    counters,
    hub_of,
    kill,
    part_of,
    pid_of,
    runs,
    settle,
    start,
)
from tests.processhub.hub.movers import ids_that_move


def listen(told: list[Any], *hooks: Hook) -> None:
    for hook in hooks:
        handler = HookHandler("told", lambda data, hook=hook: told.append((hook, data)))
        ProcessHub.register_hook_handlers(HUB, hook, [handler])


def test_a_copy_first_seen_while_it_restarts_is_told_as_new_once_it_runs() -> None:
    """A node that joins just then was told of a new pid of a copy that it had never heard of."""
    hooks = (Hook.REGISTRY_PID_INSERTED, Hook.REGISTRY_PID_REMOVED, Hook.CHILD_PROCESS_PID_UPDATE)
    with cluster_of(2) as cluster:
        slow = [f"slow{number}" for number in range(12)]
        start(cluster[0], [ChildSpec(one, (Slow.start_link, (3.0,))) for one in slow])
        settle(cluster)
        for one in slow:
            node = next(node for node in cluster if pid_of(node, one).node == node.name)  # type: ignore[union-attr]
            kill(node, pid_of(node, one))
        told: list[Any] = []
        third = cluster.add()
        cluster.run_until(lambda: HUB in third.runtime.services)
        third.run(listen, told, *hooks)
        settle(cluster)
        cluster.advance(1.0)
        seen: set[tuple[str, str]] = set()
        for hook, data in told:
            if hook is Hook.REGISTRY_PID_INSERTED:
                seen |= {(data[0], node) for node in data[1]}
            elif hook is Hook.CHILD_PROCESS_PID_UPDATE:
                assert data[:2] in seen
            else:
                assert {(data[0], node) for node in data[1]} <= seen
                seen -= {(data[0], node) for node in data[1]}
        assert sorted(child_id for child_id, _ in seen) == sorted(slow)


def test_a_redistribution_ends_though_the_coordinator_crashes_in_its_midst(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was told that children are placed anew was never told that this is over."""
    with cluster_of(2) as cluster:
        start(cluster[0], counters(20))
        told: list[Any] = []
        cluster[0].run(listen, told, Hook.PRE_NODES_REDISTRIBUTION, Hook.POST_NODES_REDISTRIBUTION)
        monkeypatch.setattr(part_of(cluster[0], "coordinator").loop, "reconcile", lambda: None)  # it gets no further
        third = cluster.add()
        hub = hub_of(cluster[0])
        cluster.run_until(lambda: third.name in hub.members)
        assert hub.redistributing
        cluster[0].run(exit_part, HUB)
        settle(cluster)
        data = ("nodeup", third.name)
        assert told == [(Hook.PRE_NODES_REDISTRIBUTION, data), (Hook.POST_NODES_REDISTRIBUTION, data)]


def exit_part(name: str) -> None:
    pid = process.whereis(name)
    assert pid is not None
    process.exit(pid, "kill")


def host(config: HubConfig) -> None:
    ProcessHub.start_link(config)
    process.receive(lambda _: False)


def test_a_hub_killed_at_a_blow_can_be_started_again() -> None:
    """Nobody of it was left who could have taken it off its node's record, and every start "runs already"."""

    def kill_both() -> None:
        process.exit(former.initializer, "kill")
        exit_part(f"{HUB}.system_registry")

    with cluster_of(2) as cluster:
        start(cluster[0], counters(10))
        former = hub_of(cluster[0])
        cluster[0].run(kill_both)
        cluster.advance(1.0)
        errand = cluster[0].begin(host, HubConfig(HUB))
        settle(cluster)
        assert not errand.is_over()
        assert hub_of(cluster[0]) is not former
        assert copies_alive(cluster, [f"c{number}" for number in range(10)])
        cluster.leave(cluster[0])
        settle(cluster)
        assert copies_alive(cluster, [f"c{number}" for number in range(10)])


def test_a_call_by_name_that_could_not_be_sent_waits_until_the_child_can_be_reached_again() -> None:
    """The node was not connected any more, but the registry did not know that yet."""

    def cut_and_get(other: str, child_id: str) -> Any:
        Node.disconnect(other)
        pid = ProcessHub.get_pid(HUB, child_id)
        assert pid is not None
        assert pid.node == other
        with pytest.raises(NoConnection):
            GenServer.call(pid, "get")
        return GenServer.call(ProcessHub.via(HUB, child_id), "get", 30.0)

    with cluster_of(2) as cluster:
        start(cluster[0], [ChildSpec(f"c{n}", (Counter.start_link, (7,))) for n in range(10)])
        settle(cluster)
        child_id = next(one for one, held in _places(cluster[0]).items() if cluster[1].name in held)
        assert cluster[0].run(cut_and_get, cluster[1].name, child_id) == 7


def test_a_call_by_name_to_who_stays_out_of_reach_ends_within_its_timeout() -> None:
    class Lost:
        def resolve(self, timeout: float | None = 0.0, gone: Any = None) -> Any:
            return pid

    with cluster_of(2) as cluster:
        pid = cluster[1].run(process.self)
        cluster.partition([[0], [1]])
        cluster.advance(40.0)
        before = cluster.now()
        with pytest.raises(NoConnection):
            cluster[0].run(GenServer.call, Lost(), "get", 1.0)
        assert cluster.now() - before == pytest.approx(1.0, abs=0.01)


def _places(node: Any) -> dict[str, Any]:
    found: dict[str, Any] = node.run(ProcessHub.process_list, HUB)
    return found


@dataclass(frozen=True)
class Impatient(DynamicQuorum):
    """Its answer is always about to change, by a rounding error of the clock."""

    def recheck(self, memory: Any, members: Collection[str], now: float) -> float | None:
        return 1e-18


def test_a_quorum_about_to_change_by_a_rounding_error_is_not_asked_without_end() -> None:
    """The timer came just before its time, and was set again for no time at all: the node did nothing else any more."""
    with cluster_of(1, partition_tolerance_strategy=Impatient(50)) as cluster:
        cluster.advance(1.0)


def test_who_comes_back_with_a_hand_over_that_was_never_confirmed_starts_no_second_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The new node had given it up and gone on alone. At the repeated Commit the former one started the child again."""
    moved: list[str] = []
    send = Outbox.send

    def send_and_cut(self: Outbox, node: str, message: Any) -> None:
        if type(message) is Commit and not moved:
            moved.extend(row[0] for row in message.rows)
            cluster.partition([[0], [1, 2, 3]])
        send(self, node, message)

    monkeypatch.setattr(Outbox, "send", send_and_cut)
    strategy = MajorityQuorum(initial_cluster_size=3)
    with cluster_of(3, migration_strategy=HotSwap(handover=True), partition_tolerance_strategy=strategy) as cluster:
        start(cluster[0], [Counter.child_spec(id=one) for one in ids_that_move(3, 12)])
        settle(cluster)
        new = cluster.add()
        cluster.run_until(lambda: moved)
        watch(cluster, 40.0, moved)
        assert [runs(cluster).get(one) for one in moved] == [[new.name]] * len(moved)
        cluster.heal()
        watch(cluster, 10.0, moved)
        settle(cluster)
        assert [runs(cluster).get(one) for one in moved] == [[new.name]] * len(moved)


def watch(cluster: Cluster, seconds: float, child_ids: list[str]) -> None:
    """Let time pass; at no instant does one of these run twice."""
    end = cluster.now() + seconds

    def look() -> bool:
        truth = runs(cluster)
        assert all(len(truth.get(one, ())) <= 1 for one in child_ids), f"{truth} at {cluster.now()}"
        return cluster.now() >= end - 1e-9

    cluster.run_until(look, seconds + 5.0)


def test_a_start_given_up_while_the_owner_stood_still_is_not_begun_when_it_wakes() -> None:
    """The caller was told that its time was over, and then the children ran after all."""
    with cluster_of(2) as cluster:
        cluster.pause(1, 4.0)
        result = start(cluster[0], counters(20), timeout=2.0)
        late = {error.child_id for error in result.errors if error.reason == "timeout"}
        assert late
        settle(cluster)
        cluster.advance(2.0)
        assert late.isdisjoint(runs(cluster))
        assert start(cluster[0], counters(20), check_existing=False).started.keys() == late
