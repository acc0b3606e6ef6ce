"""CentralizedLoadBalancer on operating-system processes, which measure their real load."""

from __future__ import annotations

import time
from collections import Counter

from tests.cluster import deeds
from tests.cluster.harness import Fleet


def test_a_thousand_children_spread_by_real_load_over_six_nodes_and_survive_the_leader() -> None:
    ids = [f"child{number}" for number in range(1000)]
    with Fleet(6) as fleet:
        names = [node.name for node in fleet]
        for node in fleet:
            node.do(deeds.start_balanced_hub, "shop", 0.5)
        fleet[5].do(deeds.await_settled, "shop", names)
        busy = fleet[3]
        busy.do(deeds.keep_busy)
        await_scores(fleet, busy.name)
        assert fleet[5].do(deeds.start_children, "shop", ids) == "ok"
        placed = Counter(fleet[5].do(deeds.locate, "shop", ids).values())
        others = [placed[name] for name in names if name != busy.name]
        assert 0 < placed[busy.name] < 0.9 * sum(others) / len(others), placed
        fleet[0].kill()  # it leads: its hub was started first
        fleet[5].do(deeds.await_settled, "shop", names[1:])
        located = fleet[5].do(deeds.locate, "shop", ids)
        assert set(located.values()) == set(names[1:])
        assert fleet[1].do(deeds.scores, "shop").keys() <= set(names[1:])


def await_scores(fleet: Fleet, busy: str) -> None:
    """Wait until the leader has heard of all nodes, and sees which one is busy."""
    deadline = time.monotonic() + 15.0
    while True:
        scores = fleet[1].do(deeds.scores, "shop")
        if len(scores) == len(fleet.nodes) and scores[busy] > 0.3 + min(scores.values()):
            return
        assert time.monotonic() < deadline, scores
        time.sleep(0.2)  # real time: the nodes measure real loads
