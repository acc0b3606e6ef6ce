"""CentralizedLoadBalancer, the pure parts: scores, dealing, and owners that stay."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processhub import CentralizedLoadBalancer, InvalidChildMapping
from processhub.strategy.distribution.dealing import Dealer
from processhub.strategy.distribution.load import Load
from processhub.strategy.distribution.load_placement import LoadPlacement
from processhub.strategy.errors import InvalidConfig

LIVES = {"a": 1, "b": 1, "c": 1, "d": 1}
SHARES = st.dictionaries(st.sampled_from("abcdef"), st.floats(0.1, 1.0), min_size=1)


# --- options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_history_size", 0),
        ("max_history_size", 2.5),
        ("weight_decay_factor", 0),
        ("weight_decay_factor", 1.1),
        ("weight_decay_factor", True),
        ("push_interval", 0),
        ("push_interval", "10"),
    ],
)
def test_a_wrong_option_is_named(option: str, value: Any) -> None:
    with pytest.raises(InvalidConfig, match=option):
        CentralizedLoadBalancer(**{option: value})


def test_a_child_mapping_is_refused() -> None:
    strategy = CentralizedLoadBalancer()
    assert strategy.assign(["x"], None, strategy.place(LIVES), 1) == {}
    with pytest.raises(InvalidChildMapping):
        strategy.assign(["x"], {"x": ["a"]}, strategy.place(LIVES), 1)


# --- scores -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "score"),
    [
        (Load(0.0, 0.0, 0, 0), 0.0),
        (Load(0.5, 0.0, 0, 0), 0.2),
        (Load(0.0, 0.05, 0, 0), 0.15),
        (Load(0.0, 0.0, 5_000, 0), 0.1),
        (Load(0.0, 0.0, 0, 500_000_000), 0.05),
        (Load(1.0, 0.1, 10_000, 1_000_000_000), 1.0),
        (Load(8.0, 30.0, 10**9, 10**12), 1.0),  # each is capped by itself
        (Load(8.0, 0.0, 0, 0), 0.4),
        (Load(-1.0, -1.0, -1, -1), 0.0),
        (Load(float("nan"), 0.0, 0, 0), 0.0),
    ],
)
def test_a_score_weighs_cpu_lag_processes_and_memory_each_capped(load: Load, score: float) -> None:
    assert CentralizedLoadBalancer().score(load) == pytest.approx(score)


def test_newer_scores_weigh_more() -> None:
    strategy = CentralizedLoadBalancer(weight_decay_factor=0.5)
    assert strategy.mean([1.0, 0.0, 0.0]) == pytest.approx(1 / 1.75)
    assert strategy.mean([0.0, 0.0, 1.0]) == pytest.approx(0.25 / 1.75)
    assert CentralizedLoadBalancer(weight_decay_factor=1).mean([1.0, 0.0]) == 0.5
    assert strategy.mean([]) == 0.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_a_mean_lies_between_the_extremes(scores: list[float]) -> None:
    assert min(scores) - 1e-9 <= CentralizedLoadBalancer().mean(scores) <= max(scores) + 1e-9


def test_even_a_full_node_has_a_share() -> None:
    strategy = CentralizedLoadBalancer()
    assert strategy.share(1.0) == 0.1
    assert strategy.share(0.25) == 0.75


# --- dealing ----------------------------------------------------------------------------------------------------


def test_children_are_dealt_in_proportion_to_the_shares() -> None:
    groups = Dealer({"a": 0.9, "b": 0.6, "c": 0.3}).deal(180, 1)
    assert dict(groups) == {("a",): 90, ("b",): 60, ("c",): 30}


def test_a_small_batch_is_dealt_fairly_too() -> None:
    assert dict(Dealer({"a": 1.0, "b": 1.0, "c": 1.0}).deal(3, 1)) == {("a",): 1, ("b",): 1, ("c",): 1}
    assert dict(Dealer({"a": 0.1, "b": 1.0}).deal(3, 1)) == {("b",): 3}


@given(SHARES, st.integers(1, 60))
def test_many_single_deals_are_as_fair_as_one_batch(shares: dict[str, float], count: int) -> None:
    batch = Dealer(shares)
    dealt: dict[str, float] = {}
    batch.deal(count, 1)
    for _ in range(count):
        Dealer(shares, dealt).deal(1, 1)
    assert batch.dealt == dealt


@given(SHARES, st.integers(0, 200))
def test_nobody_gets_far_from_its_share(shares: dict[str, float], count: int) -> None:
    dealer = Dealer(shares)
    dealer.deal(count, 1)
    assert sum(dealer.dealt.values()) == count
    # The rule keeps the children per share equal within one child, so a node is off by less than half of the nodes.
    for node, share in shares.items():
        assert abs(dealer.dealt[node] - count * share / sum(shares.values())) <= 1 + len(shares) / 2


@given(SHARES, st.integers(1, 20), st.integers(1, 7))
def test_copies_of_one_child_go_to_different_nodes(shares: dict[str, float], count: int, n: int) -> None:
    for nodes, _ in Dealer(shares).deal(count, n):
        assert len(set(nodes)) == len(nodes) == min(n, len(shares))


def test_the_best_node_comes_first() -> None:
    assert Dealer({"a": 0.1, "b": 0.9, "c": 0.5}).pick(3) == ("b", "c", "a")


def test_a_dealer_passes_over_those_that_are_taken() -> None:
    dealer = Dealer({"a": 0.1, "b": 0.9, "c": 0.5})
    assert dealer.pick(2, taken=["b"]) == ("c", "a")
    assert dealer.pick(1) == ("b",)


def test_a_node_that_is_new_begins_level_with_the_others() -> None:
    dealt = {"a": 100.0, "b": 100.0}
    assert dict(Dealer({"a": 1.0, "b": 1.0, "c": 1.0}, dealt).deal(30, 1)) == {("a",): 10, ("b",): 10, ("c",): 10}


# --- owners -----------------------------------------------------------------------------------------------------


def chosen(*nodes: str, life: int = 1) -> tuple[tuple[str, int], ...]:
    return tuple((node, life) for node in nodes)


def without(*nodes: str) -> LoadPlacement:
    return LoadPlacement({node: life for node, life in LIVES.items() if node not in nodes})


def test_the_chosen_nodes_own_in_the_order_of_choice() -> None:
    placement = LoadPlacement(LIVES)
    assert placement.owners("x", chosen("c", "a"), 2) == ("c", "a")
    assert placement.owners("x", chosen("c", "a"), 1) == ("c",)
    assert placement.members == ("a", "b", "c", "d")


def test_a_join_moves_nothing() -> None:
    for node in "abc":
        value = chosen(node)
        assert without("d").owners("x", value, 1) == LoadPlacement(LIVES).owners("x", value, 1) == (node,)


@pytest.mark.parametrize("value", [None, (), chosen("a"), chosen("a", "c"), chosen("c", life=7)])
def test_missing_owners_are_made_up_by_the_same_nodes_everywhere(value: Any) -> None:
    placement = without("a")
    owners = placement.owners("x", value, 2)
    assert len(set(owners)) == 2
    assert set(owners) <= set("bcd")
    assert not placement.is_chosen(value, 2)
    assert owners == LoadPlacement(dict(reversed(placement.lives.items()))).owners("x", value, 2)


def test_there_are_never_more_owners_than_members() -> None:
    assert set(LoadPlacement(LIVES).owners("x", chosen("b"), 9)) == set(LIVES)
    assert LoadPlacement({}).owners("x", chosen("b"), 1) == ()
    assert LoadPlacement({"b": 1}).is_chosen(chosen("b"), 3)


def test_a_node_that_comes_back_with_another_life_owns_nothing_of_its_former_one() -> None:
    again = LoadPlacement({**LIVES, "a": 2})
    assert not again.is_chosen(chosen("a"), 1)
    value = without("a").choose(chosen("a"), (), 1, Dealer({"c": 1.0}))
    assert without("a").owners("x", value, 1) == again.owners("x", value, 1) == ("c",)


def test_a_node_that_was_only_out_of_reach_owns_again() -> None:
    value = without("a").choose(chosen("a"), (), 1, Dealer({"c": 1.0}))
    placement = LoadPlacement(LIVES)
    assert placement.owners("x", value, 1) == ("a",)
    assert placement.has_spare(value, 1)
    assert placement.choose(value, ["a"], 1, Dealer({})) == chosen("a")


def test_copies_that_run_are_chosen_before_others() -> None:
    value = without("a").choose(chosen("a", "b"), ["d", "b"], 2, Dealer({"c": 1.0}))
    assert without("a").owners("x", value, 2) == ("b", "d")


def test_former_lives_are_dropped_and_lost_nodes_remembered_within_bounds() -> None:
    again = LoadPlacement({**LIVES, "a": 2})
    assert again.choose(chosen("a"), (), 1, Dealer({"a": 1.0})) == (("a", 2),)
    value: Any = chosen("z0")
    for turn in range(10):
        node = f"z{turn + 1}"
        value = LoadPlacement({node: 1}).choose(value, (), 1, Dealer({node: 1.0}))
    assert value == chosen("z6", "z7", "z8", "z9", "z10")


def test_what_is_chosen_well_stays_as_it_is() -> None:
    value = chosen("c", "a")
    assert LoadPlacement(LIVES).choose(value, ["b"], 2, Dealer({"b": 1.0})) == value


def test_placements_are_equal_when_the_lives_are() -> None:
    assert CentralizedLoadBalancer().place(LIVES) == LoadPlacement(dict(reversed(LIVES.items())))
    assert LoadPlacement(LIVES) != LoadPlacement({**LIVES, "a": 2})
    assert Counter([LoadPlacement(LIVES), LoadPlacement(LIVES)])[LoadPlacement(LIVES)] == 2
