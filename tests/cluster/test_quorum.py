"""Each quorum strategy on six real nodes: what is left of a cluster stops, and goes on when there are enough again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster import deeds
from tests.cluster.harness import Fleet

HUB = "hub"
IDS = [f"c{n}" for n in range(1000)]


@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        ("static", {"quorum_size": 4}),
        ("dynamic", {"quorum_size": 60, "threshold_time": 60.0}),
        ("majority", {"initial_cluster_size": 6}),
    ],
)
def test_what_is_left_of_a_cluster_stops_and_goes_on_when_there_are_enough_again(
    strategy: str, options: dict[str, Any]
) -> None:
    with Fleet(6) as fleet:
        names = [node.name for node in fleet]
        for node in fleet:
            node.do(deeds.start_quorum_hub, HUB, strategy, options)
        fleet[0].do(deeds.await_settled, HUB, names)
        assert fleet[0].do(deeds.start_children, HUB, IDS) == "ok"
        for _ in range(3):
            fleet.remove(3).kill()
        for node in fleet:
            node.do(deeds.await_partitioned, HUB, True)
            node.do(deeds.await_none_here, HUB)
        for back in [fleet.add(name) for name in names[3:]]:
            back.ready().do(deeds.start_quorum_hub, HUB, strategy, options)
        fleet[0].do(deeds.await_partitioned, HUB, False)
        fleet[0].do(deeds.await_settled, HUB, names)
        assert set(fleet[0].do(deeds.locate, HUB, IDS).values()) == set(names)
        assert fleet[0].do(deeds.call_children, HUB, IDS) == [f"hello {child}" for child in IDS]
