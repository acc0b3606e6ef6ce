"""Gossip and PubSub: two ways of carrying the same operations, to all, whatever gets lost; and what a round costs."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

import pytest

from processhub import GenServer, Gossip, ProcessHub, PubSub, Replication
from processhub.hub.exchange import Exchange
from processhub.hub.messages import BatchMessage, VectorMessage
from processhub.strategy.synchronization.base import Synchronization
from processhub.testing import Cluster, ClusterNode
from tests.processhub.hub.children import (
    HUB,
    cluster_of,
    copies_alive,
    counters,
    hub_of,
    kill,
    local_pids,
    part_of,
    runs,
    settle,
    start,
    stop,
)

IDS = [f"c{number}" for number in range(30)]
BOTH = [Gossip(), Gossip(recipients=1), Gossip(restricted_init=False), PubSub()]


def exchanges(cluster: Cluster) -> list[Exchange]:
    return [part_of(node, "coordinator").exchange for node in cluster if node.is_alive]


def count_casts(monkeypatch: pytest.MonkeyPatch, kind: type) -> list[tuple[Any, Any]]:
    """(target, message) of every message of this kind that is sent from now on."""
    sent: list[tuple[Any, Any]] = []
    cast = GenServer.cast

    def counting(target: Any, message: Any) -> None:
        if isinstance(message, kind):
            sent.append((target[1], message))
        cast(target, message)

    monkeypatch.setattr(GenServer, "cast", staticmethod(counting))
    return sent


@pytest.mark.parametrize("size", range(2, 10))
def test_all_members_know_of_a_change_at_once_without_waiting_for_a_round(size: int) -> None:
    with cluster_of(size, synchronization_strategy=Gossip(recipients=2)) as cluster:
        start(cluster[0], counters(30))
        assert settle(cluster) < 0.5
        stop(cluster[size - 1], IDS[:10])
        assert settle(cluster) < 0.5
        assert len(runs(cluster)) == 20
        for node in cluster:
            for pid in local_pids(node).values():
                kill(node, pid)
        assert settle(cluster) < 1.0


def test_a_change_is_sent_once_to_each_member_and_by_no_node_to_more_than_recipients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with cluster_of(9, synchronization_strategy=Gossip(recipients=2)) as cluster:
        sent = count_casts(monkeypatch, BatchMessage)
        hub = hub_of(cluster[0])
        cluster[0].run(lambda: (hub.registry.set_row("x", None, "failed", 1), hub.publish()))
        cluster.advance(1.0)
        assert sorted(target for target, _ in sent) == sorted(node.name for node in cluster if node is not cluster[0])
        assert sorted(len(message.rest) for _, message in sent) == [0, 0, 0, 0, 1, 1, 3, 3]
        assert all("failed" in str(hub_of(node).registry.rows("x")) for node in cluster)


@pytest.mark.parametrize("strategy", BOTH, ids=repr)
def test_the_result_of_a_start_is_seen_by_lookups_of_the_caller(strategy: Synchronization) -> None:
    with cluster_of(6, synchronization_strategy=strategy, redundancy_strategy=Replication(2)) as cluster:
        for number in range(6):
            result = start(cluster[number], counters(10, f"n{number}-"))
            for child_id in result.child_ids:
                assert len(cluster[number].run(ProcessHub.get_pids, HUB, child_id)) == 2
            stop(cluster[number], result.child_ids[:5])
            for child_id in result.child_ids[:5]:
                assert cluster[number].run(ProcessHub.get_pids, HUB, child_id) == []


@pytest.mark.parametrize("strategy", BOTH, ids=repr)
@pytest.mark.parametrize("seed", range(3))
def test_all_agree_though_many_frames_are_lost(strategy: Synchronization, seed: int) -> None:
    rng = Random(seed)
    with cluster_of(2 + 2 * seed, seed, synchronization_strategy=strategy) as cluster:
        pairs = [(a.index, b.index) for a in cluster for b in cluster if a is not b]
        for a, b in pairs:
            cluster.drop(a, b, 0.2)
        for number in range(10):
            node = cluster[rng.randrange(len(cluster))]
            node.begin(ProcessHub.start_children, HUB, counters(5, f"r{number}-"))
            cluster.advance(0.5)
        for a, b in pairs:
            cluster.drop(a, b, 0.0)
        settle(cluster, 120.0)
        dumps = [node.run(ProcessHub.process_list, HUB) for node in cluster]
        assert all(dump == dumps[0] for dump in dumps)
        assert copies_alive(cluster, dumps[0])


@pytest.mark.parametrize("strategy", BOTH, ids=repr)
def test_both_parts_of_a_partition_agree_after_it_healed(strategy: Synchronization) -> None:
    with cluster_of(5, synchronization_strategy=strategy) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        cluster.partition([[0, 1], [2, 3, 4]])
        cluster.advance(15.0)
        start(cluster[0], counters(10, "left"))
        start(cluster[4], counters(10, "right"))
        stop(cluster[2], IDS[:5])
        cluster.heal()
        settle(cluster)
        assert len(runs(cluster)) == 45
        assert copies_alive(cluster, runs(cluster))


def restart_unheard(cluster: Cluster, deaf: int, by: Iterable[ClusterNode]) -> None:
    """Restart a child on each of these nodes while no batch reaches one member; everything else does."""
    exchange = part_of(cluster[deaf], "coordinator").exchange
    on_batch = exchange.on_batch
    exchange.on_batch = lambda message: None
    for node in by:
        kill(node, next(iter(local_pids(node).values())))
    cluster.advance(0.5)
    exchange.on_batch = on_batch


@pytest.mark.parametrize("strategy", BOTH, ids=repr)
@pytest.mark.parametrize("deaf", [0, 4])
def test_what_a_member_missed_comes_with_the_next_round(strategy: Synchronization, deaf: int) -> None:
    with cluster_of(6, synchronization_strategy=strategy) as cluster:
        start(cluster[1], counters(30))
        settle(cluster)
        restart_unheard(cluster, deaf, [cluster[1]])
        digests = {hub_of(node).registry.digest() for node in cluster}
        assert len(digests) == 2
        assert settle(cluster, 20.0) < 20.0


@pytest.mark.parametrize("seed", range(5))
def test_a_difference_that_a_restricted_round_finds_is_gone_soon_after_it(seed: int) -> None:
    """Three members missed different things; each edge of the round finds some, and its ends go on comparing."""
    with cluster_of(9, seed, synchronization_strategy=Gossip(recipients=2)) as cluster:
        start(cluster[1], counters(60))
        settle(cluster)
        for deaf in (2, 5, 8):
            restart_unheard(cluster, deaf, cluster)
        assert settle(cluster, 25.0) < 16.5 + 4.0


def test_only_the_first_member_starts_rounds_and_a_round_reaches_all(monkeypatch: pytest.MonkeyPatch) -> None:
    with cluster_of(9, synchronization_strategy=Gossip(recipients=2)) as cluster:
        cluster.advance(20.0)
        sent = count_casts(monkeypatch, VectorMessage)
        cluster.advance(15.0 * 10)
        starts = [message for _, message in sent if len(message.rest) == 3]
        assert 16 <= len(starts) <= 24
        assert {message.node for message in starts} == {cluster[0].name}
        assert len(sent) == len(starts) // 2 * 8  # one message for each member, and no answer: all are equal


def test_without_the_restriction_every_member_compares_with_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    with cluster_of(6, synchronization_strategy=Gossip(recipients=2, restricted_init=False)) as cluster:
        cluster.advance(20.0)
        sent = count_casts(monkeypatch, VectorMessage)
        cluster.advance(15.0 * 10)
        by_node = {node.name: sum(message.node == node.name for _, message in sent) for node in cluster}
        assert all(18 <= count <= 24 for count in by_node.values())


def test_another_member_starts_the_rounds_when_the_first_one_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    with cluster_of(4, synchronization_strategy=Gossip()) as cluster:
        cluster.crash(0)
        settle(cluster)
        cluster.advance(5.0)
        sent = count_casts(monkeypatch, VectorMessage)
        cluster.advance(40.0)
        assert {message.node for _, message in sent} == {cluster[1].name}


def bytes_per_round(strategy: Synchronization, size: int, children: int) -> float:
    """Bytes of a round between two members, on average over 20 rounds of all of them."""
    with cluster_of(size, synchronization_strategy=strategy) as cluster:
        if children:
            start(cluster[0], counters(children), timeout=60.0)
        settle(cluster)
        cluster.advance(20.0)
        codec = hub_of(cluster[0]).codec
        sent: list[int] = []
        for exchange in exchanges(cluster):
            original = exchange._send_vector

            def measured(*args: Any, to: Any = original, hub: Any = exchange.hub, **kwargs: Any) -> None:
                vector = VectorMessage(hub.node, hub.registry.vector().to_wire(), 2, [])
                sent.append(len(codec.pack(vector)))
                to(*args, **kwargs)

            exchange._send_vector = measured  # type: ignore[method-assign]
        total = _frame_bytes(cluster, 300.0)
        silent = _frame_bytes_without_rounds(cluster, 300.0)
        assert sent
        return (total - silent) / len(sent)


def _frame_bytes(cluster: Cluster, seconds: float) -> int:
    sizes: list[int] = []
    cluster.network.tap = lambda _now, _source, _target, frame: sizes.append(len(frame))
    cluster.advance(seconds)
    cluster.network.tap = None
    return sum(sizes)


def _frame_bytes_without_rounds(cluster: Cluster, seconds: float) -> int:
    """What the nodes say to each other anyway, to see who is alive."""
    for exchange in exchanges(cluster):
        exchange.round = lambda: None  # type: ignore[method-assign]
    return _frame_bytes(cluster, seconds)


@pytest.mark.parametrize("strategy", [PubSub(), Gossip()], ids=repr)
def test_a_round_with_nothing_to_say_costs_a_few_hundred_bytes_whatever_the_size(strategy: Synchronization) -> None:
    costs = [bytes_per_round(strategy, 3, children) for children in (10, 2000)]
    assert all(50 < cost < 500 for cost in costs), costs
    assert costs[1] == pytest.approx(costs[0], rel=0.25)


@pytest.mark.parametrize("strategy", BOTH, ids=repr)
def test_an_observer_gets_everything_and_its_own_changes_get_to_all(strategy: Synchronization) -> None:
    with cluster_of(4, synchronization_strategy=strategy) as cluster:
        cluster._hubs = []
        observer = cluster.add()
        cluster.run_until(cluster.is_connected)
        observer.run(lambda: bool(ProcessHub.observe(HUB)))
        start(cluster[1], counters(30))
        cluster.advance(0.2)
        assert sorted(observer.run(ProcessHub.process_list, HUB)) == sorted(IDS)
        start(observer, counters(10, "o"))
        stop(observer, IDS[:10])
        observer.run(ProcessHub.await_settled, HUB, 20.0)
        for node in cluster:
            assert len(node.run(ProcessHub.process_list, HUB)) == 30


def test_a_batch_that_is_passed_on_for_a_lost_node_brings_no_copy_of_it_back() -> None:
    with cluster_of(4, synchronization_strategy=Gossip(recipients=1)) as cluster:
        hub, lost = hub_of(cluster[0]), cluster[3].name
        exchange = part_of(cluster[0], "coordinator").exchange
        on_batch = exchange.on_batch
        taken: list[BatchMessage] = []
        exchange.on_batch = taken.append
        cluster[1].begin(ProcessHub.start_children, HUB, counters(30))
        cluster.run_until(lambda: any(message.node == lost for message in taken))
        cluster.crash(3)
        cluster.run_until(lambda: lost not in hub.members)
        for message in taken:
            on_batch(message)
        assert lost not in hub.registry.nodes()
        exchange.on_batch = on_batch
        settle(cluster)
        assert copies_alive(cluster, hub.registry.children)


@pytest.mark.parametrize("strategy", [PubSub(), Gossip()], ids=repr)
def test_what_got_lost_right_after_a_delta_is_asked_for_soon(strategy: Synchronization) -> None:
    """The second gap comes too early to ask again at once, and what fills it is not in the delta under way."""
    with cluster_of(2, synchronization_strategy=strategy) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        exchange = part_of(cluster[0], "coordinator").exchange
        on_batch = exchange.on_batch
        for _ in range(2):
            for heard in (False, True):
                exchange.on_batch = on_batch if heard else lambda message: None
                kill(cluster[1], next(iter(local_pids(cluster[1]).values())))
                cluster.advance(0.01)
        assert len({hub_of(node).registry.digest() for node in cluster}) == 2
        cluster.advance(0.6)
        assert len({hub_of(node).registry.digest() for node in cluster}) == 1


def test_batches_do_not_take_the_same_way_for_ever() -> None:
    with cluster_of(6, synchronization_strategy=Gossip(recipients=1)) as cluster:
        hub = hub_of(cluster[2])
        first = set()
        for _ in range(12):
            first.add(hub.routes.to(hub.listeners())[0][0])
            cluster.advance(17.0)
        assert len(first) > 1


def test_a_relay_that_dies_costs_a_round_at_most() -> None:
    with cluster_of(6, synchronization_strategy=Gossip(recipients=1)) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        errand = cluster[0].begin(lambda: ProcessHub.start_children(HUB, counters(20, "late")).result())
        cluster.advance(0.0002)
        cluster.crash(3)
        cluster.run_until(errand.is_over)
        settle(cluster)
        assert len(runs(cluster)) >= 40
        assert copies_alive(cluster, runs(cluster))
