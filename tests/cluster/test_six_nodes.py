"""A thousand children on six operating-system processes: a node joins, one leaves, one is killed, and none is lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from processhub import Hook
from tests.cluster import deeds, six_deeds
from tests.cluster.harness import Fleet, NodeProcess
from tests.cluster.six_deeds import GOSSIP, MOVING, PLAIN

IDS = [f"child{number}" for number in range(1000)]
Places = dict[str, dict[str, str]]  # child id -> {node: pid}


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet(5) as fleet:
        yield fleet


def settle(fleet: Fleet, hub_id: str) -> None:
    names = sorted(node.name for node in fleet)
    for node in fleet:
        node.do(deeds.await_settled, hub_id, names)


def account_for(fleet: Fleet, hub_id: str, ids: list[str]) -> Places:
    """Every child lives once, every node knows where, and it answers from there."""
    settle(fleet, hub_id)
    lives: Places = {}
    for node in fleet:
        for child_id, pid in node.do(six_deeds.residents, hub_id).items():
            assert child_id not in lives, f"{child_id} lives on {node.name} and on {lives[child_id]}"
            lives[child_id] = {node.name: pid}
    assert sorted(lives) == sorted(ids)
    for node in fleet:
        assert node.do(six_deeds.directory, hub_id) == lives
    process_of = {node.name: node.pid for node in fleet}
    answers = fleet[-1].do(six_deeds.addresses, hub_id, ids)
    assert answers == {child_id: process_of[name] for child_id in ids for name in lives[child_id]}
    return lives


def moved(before: Places, after: Places) -> set[str]:
    return {child_id for child_id in before if before[child_id] != after[child_id]}


def on(node: NodeProcess, places: Places) -> set[str]:
    return {child_id for child_id, copies in places.items() if node.name in copies}


def test_a_thousand_children_outlive_a_join_a_leave_and_a_kill_and_only_those_concerned_move(fleet: Fleet) -> None:
    """ConsistentHashing, Singularity, ColdSwap, PubSub and Divergence; hooks of a real node are told of all of it."""
    for node in fleet:
        node.do(six_deeds.start_plain_hub)
    settle(fleet, PLAIN)
    witness = fleet[0]
    witness.do(six_deeds.listen, PLAIN)
    assert fleet[1].do(six_deeds.start_residents, PLAIN, IDS, timeout=40.0) == [1000, 0]
    first = account_for(fleet, PLAIN, IDS)
    assert all(on(node, first) for node in fleet)
    inserted = witness.do(six_deeds.await_heard, Hook.REGISTRY_PID_INSERTED, 1000)
    assert sorted(child_id for child_id, _ in inserted) == sorted(IDS)

    joined = fleet.add().ready()
    joined.do(six_deeds.start_plain_hub)
    second = account_for(fleet, PLAIN, IDS)
    assert moved(first, second) == on(joined, second) != set()
    assert witness.do(six_deeds.await_heard, Hook.POST_CLUSTER_JOIN, 1) == [joined.name]
    left = on(witness, first) & on(joined, second)
    told = witness.do(six_deeds.await_migrated, len(left))  # once for each batch of them
    assert {target for target, _ in told} == {joined.name}
    assert sorted(child_id for _, children in told for child_id in children) == sorted(left)

    leaver = fleet.remove(1)
    assert leaver.terminate() == 0
    third = account_for(fleet, PLAIN, IDS)
    assert moved(second, third) == on(leaver, second) != set()

    victim = fleet.remove(2)
    victim.kill()
    fourth = account_for(fleet, PLAIN, IDS)
    assert moved(third, fourth) == on(victim, third) != set()
    assert witness.do(six_deeds.await_heard, Hook.POST_CLUSTER_LEAVE, 2) == [leaver.name, victim.name]
    assert witness.do(six_deeds.heard, Hook.POST_CLUSTER_JOIN) == [joined.name]
    removed = [child_id for child_id, _ in witness.do(six_deeds.heard, Hook.REGISTRY_PID_REMOVED)]
    assert sorted(removed) == sorted([*on(joined, second), *on(leaver, second), *on(victim, third)])

    assert fleet[2].do(six_deeds.stop_residents, PLAIN, IDS, timeout=40.0) == [1000, 0]
    assert account_for(fleet, PLAIN, []) == {}


def test_two_hubs_on_the_same_six_nodes_live_side_by_side_one_of_them_by_gossip(fleet: Fleet) -> None:
    """The same ids in both; a node is killed and gossip reaches all that are left; one hub ends, the other stays."""
    fleet.add().ready()
    for node in fleet:
        node.do(six_deeds.start_two_hubs)
    for hub_id in (PLAIN, GOSSIP):
        settle(fleet, hub_id)
    starting = [(fleet[0], fleet[0].begin(six_deeds.start_residents, GOSSIP, IDS))]
    starting.append((fleet[5], fleet[5].begin(six_deeds.start_residents, PLAIN, IDS[:300])))
    assert [node.finish(number, 40.0) for node, number in starting] == [[1000, 0], [300, 0]]
    before = account_for(fleet, GOSSIP, IDS)
    account_for(fleet, PLAIN, IDS[:300])

    victim = fleet.remove(3)
    victim.kill()
    after = account_for(fleet, GOSSIP, IDS)
    assert moved(before, after) == on(victim, before) != set()
    beside = account_for(fleet, PLAIN, IDS[:300])

    fleet[4].do(six_deeds.stop_hub, PLAIN)
    assert account_for(fleet, GOSSIP, IDS) == after
    fleet[1].do(six_deeds.stop_residents, GOSSIP, IDS[500:], timeout=40.0)
    assert account_for(fleet, GOSSIP, IDS[:500]) == {child_id: after[child_id] for child_id in IDS[:500]}
    stopped = fleet.remove(4)
    left = account_for(fleet, PLAIN, IDS[:300])
    assert moved(beside, left) == on(stopped, beside) != set()


def test_a_thousand_tallies_keep_every_count_while_a_node_joins_and_another_leaves(fleet: Fleet) -> None:
    """HotSwap with states, under the calls of clients all the while: none is lost, refused or handled twice."""
    for node in fleet:
        node.do(six_deeds.start_moving_hub)
    settle(fleet, MOVING)
    client = fleet[0]
    assert client.do(six_deeds.start_tallies, IDS, timeout=40.0) == [1000, 0]
    client.do(six_deeds.begin_to_add, IDS)

    joined = fleet.add().ready()
    joined.do(six_deeds.start_moving_hub)
    settle(fleet, MOVING)
    assert joined.do(six_deeds.residents, MOVING)
    assert fleet.remove(1).terminate() == 0
    settle(fleet, MOVING)

    added, failures = client.do(six_deeds.stop_adding, timeout=40.0)
    assert failures == []
    assert fleet[1].do(six_deeds.totals, IDS, timeout=40.0) == added
