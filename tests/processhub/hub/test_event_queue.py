"""The event queue: priorities, the lock, and the lock that nobody lifts."""

from __future__ import annotations

from typing import Any

import pytest

from processhub import GenServer, Hook, HookHandler, ProcessHub
from processhub.testing import Cluster, ClusterNode
from tests.processhub.hub.children import HUB, cluster_of, hub_of, kill, part_of, settle

QUEUE = f"{HUB}.event_queue"


def cast(node: ClusterNode, *request: Any) -> None:
    node.run(GenServer.cast, QUEUE, request)


def held(node: ClusterNode) -> Any:
    return node.run(GenServer.call, QUEUE, "held")


def reached(cluster: Cluster, node: ClusterNode, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Events that reach the coordinator from now on."""
    events: list[Any] = []
    monkeypatch.setattr(part_of(node, "coordinator"), "_on_event", events.append)
    return events


def test_events_below_the_level_wait_and_come_highest_priority_first(monkeypatch: pytest.MonkeyPatch) -> None:
    with cluster_of(1) as cluster:
        node = cluster[0]
        events = reached(cluster, node, monkeypatch)
        cast(node, "level", 10)
        for priority, name in ((1, "low"), (5, "first"), (9, "high"), (5, "second"), (10, "urgent")):
            cast(node, "event", priority, name)
        cluster.settle()
        assert events == ["urgent"]
        assert held(node) == 4
        cast(node, "level", 5)
        cluster.settle()
        assert events == ["urgent", "high", "first", "second"]
        cast(node, "level", 0)
        cluster.settle()
        assert events == ["urgent", "high", "first", "second", "low"]
        assert held(node) == 0


def test_nodes_that_come_and_go_are_handled_though_the_hub_is_locked() -> None:
    with cluster_of(2) as cluster:
        cast(cluster[0], "level", 10)
        cluster.crash(1)
        cluster.run_until(lambda: hub_of(cluster[0]).others() == [], 5.0)


def test_a_lock_that_nobody_lifts_is_lifted_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with cluster_of(1, deadlock_recovery_timeout=5.0) as cluster:
        cast(cluster[0], "level", 10)
        cluster.advance(4.9)
        assert cluster[0].run(ProcessHub.is_locked, HUB)
        cluster.advance(0.2)
        assert not cluster[0].run(ProcessHub.is_locked, HUB)
        assert [r.getMessage() for r in caplog.records] == ["hub hub was locked for 5.0 s: the lock is lifted"]


def test_the_lock_of_a_partition_is_not_lifted_by_time_but_once_the_partition_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with cluster_of(1, deadlock_recovery_timeout=5.0) as cluster:
        hub = hub_of(cluster[0])
        monkeypatch.setattr(part_of(cluster[0], "coordinator").quorum, "tick", lambda: None)  # it would see a quorum
        hub.standing.partitioned = True
        cast(cluster[0], "level", 10)
        # The reconciler unlocks when it has nothing left to do; here something is always left.
        monkeypatch.setattr(part_of(cluster[0], "coordinator").loop, "reconcile", lambda: None)
        cluster.advance(60.0)
        assert cluster[0].run(ProcessHub.is_locked, HUB)
        hub.standing.partitioned = False
        cluster.advance(6.0)
        assert not cluster[0].run(ProcessHub.is_locked, HUB)


def test_a_lock_that_is_lifted_in_time_is_not_lifted_again() -> None:
    with cluster_of(1, deadlock_recovery_timeout=5.0) as cluster:
        levels: list[int] = []
        handler = HookHandler("levels", lambda data: levels.append(data[0]))
        cluster[0].run(ProcessHub.register_hook_handlers, HUB, Hook.PRIORITY_STATE_UPDATED, [handler])
        cast(cluster[0], "level", 10)
        cluster.advance(3.0)
        cast(cluster[0], "level", 0)
        cluster.advance(1.0)
        cast(cluster[0], "level", 10)
        cluster.advance(4.5)
        assert cluster[0].run(ProcessHub.is_locked, HUB)
        assert levels == [10, 0, 10]
        cluster.advance(1.0)
        assert levels == [10, 0, 10, 0]


def test_an_event_queue_that_is_killed_while_the_hub_is_locked_goes_on_counting() -> None:
    with cluster_of(1, deadlock_recovery_timeout=5.0) as cluster:
        cast(cluster[0], "level", 10)
        kill(cluster[0], cluster[0].runtime.names[QUEUE].pid)
        cluster.advance(1.0)
        assert cluster[0].run(ProcessHub.is_locked, HUB)
        cluster.advance(5.0)
        assert not cluster[0].run(ProcessHub.is_locked, HUB)
        cluster.add()
        settle(cluster)
