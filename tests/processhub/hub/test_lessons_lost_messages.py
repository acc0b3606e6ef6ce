"""A stuck protocol behind green health checks: each message between hubs may get lost, and every state has a deadline.

A link loses nothing while it lasts, but the part that takes a message may crash with it in its hands. Here the first
two of a kind get lost on every node while nodes join, are cut off, come back, crash and leave.
"""

from __future__ import annotations

from collections import Counter as Counts
from typing import Any

import pytest

from processhub import Gossip, ProcessHub, PubSub
from processhub.hub.coordinator import Coordinator
from processhub.hub.messages import Accept, BatchMessage, HubHello, HubLeave, Offer, Stay, VectorMessage
from tests.processhub.hub.children import HUB, cluster_of, counters, runs, settle, start, stop

IDS = [f"c{n}" for n in range(30)]
EACH = 2
SETTLED = 60.0


def lose_first(monkeypatch: pytest.MonkeyPatch, kind: type) -> Counts[str]:
    """Let each node lose the first `EACH` messages of this kind. Returns how many each has lost."""
    handle, lost = Coordinator.handle_cast, Counts[str]()

    def handle_the_rest(me: Coordinator, message: Any) -> None:
        if isinstance(message, kind) and lost[me.hub.node] < EACH:
            lost[me.hub.node] += 1
        else:
            handle(me, message)

    monkeypatch.setattr(Coordinator, "handle_cast", handle_the_rest)
    return lost


@pytest.mark.parametrize("synchronization", [PubSub(), Gossip(recipients=1)], ids=repr)
@pytest.mark.parametrize("kind", [HubHello, VectorMessage, BatchMessage, Offer, Accept, Stay, HubLeave])
def test_a_message_of_any_kind_that_is_lost_leaves_nothing_stuck(
    kind: type, synchronization: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster_of(3, synchronization_strategy=synchronization) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        lost = lose_first(monkeypatch, kind)
        cluster.add()
        settle(cluster, SETTLED)
        cluster.partition([[0, 1], [2, 3]])
        cluster.advance(15.0)
        cluster.heal()
        settle(cluster, SETTLED)
        cluster.leave(1)
        settle(cluster, SETTLED)
        cluster.crash(2)
        settle(cluster, SETTLED)
        assert sorted(runs(cluster)) == sorted(IDS)
        assert all(len(nodes) == 1 for nodes in runs(cluster).values())
        assert sum(lost.values()) > 0
        stop(cluster[0], IDS)
        settle(cluster, SETTLED)
        assert runs(cluster) == {}
        assert not any(node.run(ProcessHub.is_locked, HUB) for node in cluster if node.is_alive)
