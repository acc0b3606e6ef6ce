"""Whatever nodes believe of each other, the last copy survives; once they agree, exactly the owners hold the child."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processhub.registry import RUNNING, Row
from tests.processhub.hub.simulation import FakePid, Simulation, owners_among


@given(
    seed=st.integers(0, 2**32),
    size=st.integers(2, 5),
    copies=st.integers(1, 3),
    steps=st.integers(0, 150),
    stop_first=st.booleans(),
    by_ring=st.booleans(),
)
def test_a_copy_survives_any_views_and_the_owners_hold_it_once_they_agree(
    seed: int, size: int, copies: int, steps: int, stop_first: bool, by_ring: bool
) -> None:
    run = Simulation(seed, size, copies, stop_first, by_ring)
    for _ in range(steps):
        run.step()
        assert run.held()
    run.agree()
    owners = owners_among(frozenset(run.names), copies, by_ring)
    assert sorted(run.running()) == sorted(owners)
    assert run.held() == set(owners)


def test_many_rounds_with_few_nodes_and_one_copy_never_lose_it() -> None:
    for seed in range(400):
        run = Simulation(seed, 3 + seed % 2, 1, stop_first=seed % 4 == 3, by_ring=False)
        for _ in range(Random(seed).randint(30, 150)):
            run.step()
            assert run.held(), f"seed {seed}"


@pytest.fixture
def crossed() -> Simulation:
    """a and b both run the child and each takes itself for the owner; each has told the other that it stays."""
    run = Simulation(0, 5, 1, stop_first=False, by_ring=False)
    views = find_views(run)
    for node in run.nodes.values():
        node.rows.clear()
    for queue in run.queues.values():
        queue.clear()
    a, b = run.nodes["n0"], run.nodes["n1"]
    for node in (a, b):
        for name in ("n0", "n1"):
            node.rows[name] = Row(FakePid(name, 1), RUNNING, 1)
    a.view, b.view = set(views["n0"]), set(views["n1"])
    run.reconcile(a)
    run.reconcile(b)
    assert [m[0] for _, m in run.queues["n0", "n1"]] == [m[0] for _, m in run.queues["n1", "n0"]] == ["stay"]
    a.view, b.view = b.view, a.view
    return run


def find_views(run: Simulation) -> dict[str, frozenset[str]]:
    """Views with both nodes in them, by the one of the two that owns the child there."""
    others = [combination for size in range(4) for combination in combinations(run.names[2:], size)]
    both = [frozenset({"n0", "n1", *more}) for more in others]
    return {owners_among(view, 1, False)[0]: view for view in both}


def test_two_nodes_whose_views_swap_while_both_words_are_under_way_do_not_both_stop(crossed: Simulation) -> None:
    crossed.deliver(("n0", "n1"))
    crossed.deliver(("n1", "n0"))
    assert crossed.held() == {"n0", "n1"}


def test_after_both_have_refused_the_owner_tells_again_and_the_other_one_stops(crossed: Simulation) -> None:
    while any(crossed.queues.values()):
        crossed.deliver_one(None)
    a, b = crossed.nodes["n0"], crossed.nodes["n1"]
    b.view = set(a.view)
    for _ in range(3):
        for node in (a, b):
            crossed.reconcile(node)
        while any(crossed.queues.values()):
            crossed.deliver_one(None)
    assert crossed.held() == set(crossed.owners(a))
