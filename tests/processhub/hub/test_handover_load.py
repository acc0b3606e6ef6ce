"""Children move under load: nothing is lost, refused, handled twice or out of order."""

from __future__ import annotations

import pytest

from processhub.testing import Cluster
from tests.processhub.hub.children import copies_alive, pid_of, settle, start
from tests.processhub.hub.movers import check_books, check_nothing_left, clients, hot_cluster, ledgers

CHILDREN = 30


def slow_links(cluster: Cluster, seed: int) -> None:
    """Every pair of nodes is at another distance, so that the ways round and the direct ways differ."""
    for a in range(len(cluster)):
        for b in range(len(cluster)):
            if a != b:
                cluster.delay(a, b, 0.002 * ((seed + 3 * a + 5 * b) % 7), jitter=0.004)


@pytest.mark.parametrize("seed", range(6))
def test_under_load_a_node_joins_and_leaves_and_nothing_is_lost(seed: int) -> None:
    with hot_cluster(3, seed) as cluster:
        start(cluster[0], ledgers(CHILDREN))
        settle(cluster)
        slow_links(cluster, seed)
        with clients(cluster, 9, CHILDREN, seed) as found:
            cluster.advance(0.5)
            before = [pid_of(cluster[0], f"l{n}") for n in range(CHILDREN)]
            new = cluster.add()
            slow_links(cluster, seed)
            settle(cluster)
            assert [pid_of(cluster[0], f"l{n}") for n in range(CHILDREN)] != before
            cluster.advance(1.0)
            cluster.leave(new)
            settle(cluster)
            cluster.advance(0.5)
        check_books(cluster, found, CHILDREN)
        assert copies_alive(cluster, [f"l{n}" for n in range(CHILDREN)])
        check_nothing_left(cluster)
