"""Children move under load: nothing is lost, refused, handled twice or out of order."""

from __future__ import annotations

import pytest

from processhub.testing import Cluster
from tests.processhub.hub.children import copies_alive, pid_of, settle, start
from tests.processhub.hub.movers import check_books, check_nothing_left, clients, hot_cluster, ids_that_move, ledgers

IDS = [*ids_that_move(3, 20), *(f"stay{number}" for number in range(10))]
FEW = ids_that_move(3, 5)


def slow_links(cluster: Cluster, seed: int, unit: float = 0.002) -> None:
    """Every pair of nodes is at another distance, so that the ways round and the direct ways differ."""
    for a in range(len(cluster)):
        for b in range(len(cluster)):
            if a != b:
                cluster.delay(a, b, unit * ((seed + 3 * a + 5 * b) % 7), jitter=2 * unit)


@pytest.mark.parametrize("seed", range(6))
def test_under_load_a_node_joins_and_leaves_and_nothing_is_lost(seed: int) -> None:
    with hot_cluster(3, seed) as cluster:
        start(cluster[0], ledgers(IDS))
        settle(cluster)
        slow_links(cluster, seed)
        with clients(cluster, 9, IDS, seed) as found:
            cluster.advance(0.5)
            before = [pid_of(cluster[0], one) for one in IDS]
            new = cluster.add()
            slow_links(cluster, seed)
            settle(cluster)
            after = [pid_of(cluster[0], one) for one in IDS]
            assert sum(old != now for old, now in zip(before, after, strict=True)) >= 20
            cluster.advance(1.0)
            cluster.leave(new)
            settle(cluster)
            cluster.advance(0.5)
        check_books(cluster, found, IDS)
        assert copies_alive(cluster, IDS)
        check_nothing_left(cluster)


@pytest.mark.parametrize("seed", range(4))
def test_over_long_ways_of_different_lengths_the_order_of_each_writer_is_kept(seed: int) -> None:
    with hot_cluster(3, seed) as cluster:
        start(cluster[0], ledgers(FEW))
        settle(cluster)
        slow_links(cluster, seed, 0.02)
        with clients(cluster, 6, FEW, seed) as found:
            cluster.advance(0.5)
            new = cluster.add()
            slow_links(cluster, seed, 0.02)
            settle(cluster)
            cluster.advance(6.0)
            cluster.leave(new)
            settle(cluster)
            cluster.advance(1.0)
        check_books(cluster, found, FEW)
