"""Copies, roles, gossip and bound children on six nodes that are operating-system processes, one of which is killed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import copies_deeds, deeds
from tests.cluster.copies_deeds import BOUND, COPIES
from tests.cluster.harness import Fleet

IDS = [f"child{number}" for number in range(1000)]


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(6) as fleet:
        for node in fleet:
            node.do(copies_deeds.start_copies_hubs)
        yield fleet


def settle(fleet: Fleet, hub_id: str) -> None:
    names = sorted(node.name for node in fleet)
    for node in fleet:
        node.do(deeds.await_settled, hub_id, names)


def test_a_thousand_children_have_two_copies_with_their_roles_and_outlive_a_node(fleet: Fleet) -> None:
    settle(fleet, COPIES)
    settle(fleet, BOUND)
    assert fleet[0].do(copies_deeds.start_roled, COPIES, IDS, None, timeout=40.0) == [2000, 0]
    mapping = {child_id: [fleet[number % 6].name] for number, child_id in enumerate(IDS)}
    assert fleet[1].do(copies_deeds.start_roled, BOUND, IDS, mapping, timeout=40.0) == [1000, 0]
    settle(fleet, COPIES)
    settle(fleet, BOUND)
    check_roles(fleet)

    victim = fleet.remove(-1)
    victim.kill()
    for node in fleet:
        node.do(deeds.await_peers, [other.name for other in fleet if other is not node])
    settle(fleet, COPIES)
    settle(fleet, BOUND)
    check_roles(fleet)
    states = fleet[2].do(copies_deeds.states, BOUND, IDS)
    assert states == {
        child_id: {name: "down" if name == victim.name else "running"} for child_id, [name] in mapping.items()
    }

    again = fleet.add(victim.name).ready()
    again.do(copies_deeds.start_copies_hubs)
    settle(fleet, BOUND)
    assert fleet[3].do(copies_deeds.states, BOUND, IDS) == {
        child_id: {name: "running"} for child_id, [name] in mapping.items()
    }


def check_roles(fleet: Fleet) -> None:
    roles = fleet[0].do(copies_deeds.roles, COPIES, IDS)
    assert roles == fleet[1].do(copies_deeds.roles, COPIES, IDS)
    assert {tuple(of.values()) for of in roles.values()} == {("active", "passive")}
