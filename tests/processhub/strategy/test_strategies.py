"""The default strategies, and what all strategies have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processhub.strategy.base import Strategy
from processhub.strategy.distribution.consistent_hashing import ConsistentHashing
from processhub.strategy.distribution.ring_index import RingIndex
from processhub.strategy.errors import InvalidChildMapping, InvalidConfig
from processhub.strategy.migration.base import Order
from processhub.strategy.migration.cold_swap import ColdSwap
from processhub.strategy.options import check_choice, check_count, check_flag, check_seconds
from processhub.strategy.partition_tolerance.divergence import Divergence
from processhub.strategy.redundancy.singularity import Singularity
from processhub.strategy.synchronization.pub_sub import PubSub
from ring.hash_ring import HashRing

DEFAULTS: list[Strategy] = [ConsistentHashing(), Singularity(), ColdSwap(), PubSub(), Divergence()]
NODES = st.sets(st.sampled_from("abcdefgh"), min_size=1)


# --- all of them ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", DEFAULTS, ids=repr)
def test_a_strategy_is_equal_to_another_one_with_the_same_options(strategy: Strategy) -> None:
    assert strategy == type(strategy)()
    assert hash(strategy) == hash(type(strategy)())


@pytest.mark.parametrize("strategy", DEFAULTS, ids=repr)
def test_a_strategy_cannot_be_changed(strategy: Strategy) -> None:
    with pytest.raises((FrozenInstanceError, TypeError)):
        strategy.sync_interval = 1.0  # type: ignore[attr-defined]


def test_a_strategy_describes_itself_by_name_and_options() -> None:
    assert PubSub(sync_interval=3.0).describe() == ("PubSub", {"sync_interval": 3.0})
    assert Singularity().describe() == ("Singularity", {})
    assert PubSub(3.0) != PubSub(4.0)


def test_users_write_strategies_as_we_do() -> None:
    @dataclass(frozen=True)
    class Everywhere(Singularity):
        at_least: int = 2

        def copies(self, members: Any) -> int:
            return max(self.at_least, len(members))

    assert Everywhere().copies("abc") == 3
    assert Everywhere(at_least=5).describe()[1] == {"at_least": 5}


@pytest.mark.parametrize("interval", [0, -1.0, "15", None, True, float("nan"), float("inf")])
def test_a_wrong_option_is_named_with_its_form_and_value(interval: Any) -> None:
    with pytest.raises(InvalidConfig) as caught:
        PubSub(sync_interval=interval)
    for part in ("PubSub", "sync_interval", "seconds > 0", repr(interval)):
        assert part in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_the_checks_of_options_refuse_what_they_should() -> None:
    check_count("X", "n", 1)
    check_flag("X", "flag", False)
    check_choice("X", "mode", "a", ("a", "b"))
    check_seconds("X", "pause", 0, positive=False)
    refused: list[Callable[[], None]] = [
        lambda: check_count("X", "n", 0),
        lambda: check_count("X", "n", True),
        lambda: check_count("X", "n", 1.5),
        lambda: check_flag("X", "flag", 1),
        lambda: check_choice("X", "mode", ["a"], ("a", "b")),
        lambda: check_seconds("X", "pause", -0.1, positive=False),
    ]
    for check in refused:
        with pytest.raises(InvalidConfig, match="X: "):
            check()


# --- ConsistentHashing ------------------------------------------------------------------------------------------


def test_owners_are_those_of_the_ring_whatever_the_order_of_the_members() -> None:
    placement = ConsistentHashing().place(["c", "a", "b"])
    assert placement.members == ("a", "b", "c")
    assert placement == ConsistentHashing().place({"a", "b", "c"})
    assert placement.owners("x", None, 2) == HashRing("abc").owners("x", 2)


def test_there_are_no_more_owners_than_members() -> None:
    assert len(ConsistentHashing().place("ab").owners("x", None, 5)) == 2
    assert ConsistentHashing().place(()).owners("x", None, 1) == ()


@given(old=NODES, new=NODES, n=st.integers(1, 3))
def test_the_affected_children_are_exactly_those_whose_owners_differ(old: set[str], new: set[str], n: int) -> None:
    strategy = ConsistentHashing()
    ids = [f"child{number}" for number in range(200)]
    before, after = strategy.place(old), strategy.place(new)
    found = strategy.affected(before, after, n, RingIndex(ids))
    assert found is not None
    assert sorted(found) == sorted(i for i in ids if before.owners(i, None, n) != after.owners(i, None, n))


def test_a_node_that_joins_moves_about_its_share_and_nothing_else() -> None:
    strategy = ConsistentHashing()
    ids = [f"child{number}" for number in range(3000)]
    before, after = strategy.place("ab"), strategy.place("abc")
    moved = list(strategy.affected(before, after, 1, RingIndex(ids)) or ())
    assert all(after.owners(child_id, None, 1) == ("c",) for child_id in moved)
    assert 800 < len(moved) < 1200


@pytest.mark.parametrize("mapping", [None, {}])
def test_consistent_hashing_needs_no_child_mapping(mapping: Any) -> None:
    strategy = ConsistentHashing()
    assert strategy.assign(["x"], mapping, strategy.place("a"), 1) == {}


def test_consistent_hashing_refuses_a_child_mapping_rather_than_ignoring_it() -> None:
    strategy = ConsistentHashing()
    with pytest.raises(InvalidChildMapping, match="Guided"):
        strategy.assign(["x"], {"x": ["a"]}, strategy.place("a"), 1)


# --- the others -------------------------------------------------------------------------------------------------


def test_singularity_has_one_copy_which_is_active() -> None:
    assert Singularity().copies("abc") == 1
    assert Singularity().active("x", ("b",)) == "b"
    assert Singularity().active("x", ()) is None


def test_cold_swap_stops_first_and_carries_no_state() -> None:
    assert ColdSwap().order is Order.STOP_FIRST
    assert ColdSwap().carries_state is False
    assert ColdSwap().time_limit(15.0) == 15.0


def test_pub_sub_sends_to_all_and_passes_nothing_on() -> None:
    rng, others = Random(0), ("b", "c")
    assert PubSub().targets(others, rng) == others
    assert PubSub().partners(others, rng) == others
    assert PubSub().starts_rounds("b", ["a", "b", "c"])
    assert not PubSub().relays_rounds
    assert PubSub().again(rng) is None


def test_the_rounds_of_pub_sub_do_not_stay_in_step() -> None:
    rng = Random(0)
    pauses = {PubSub(sync_interval=10.0).pause(rng) for _ in range(50)}
    assert len(pauses) > 40
    assert all(9.0 <= pause <= 11.0 for pause in pauses)


def test_divergence_works_with_any_members_and_remembers_nothing() -> None:
    strategy = Divergence()
    memory = strategy.remember(None, (), {"a"}, 0.0)
    assert memory is None
    assert strategy.merge(memory, None, 0.0) is None
    assert strategy.has_quorum(memory, {"a"}, 0.0)
    assert strategy.recheck(memory, {"a"}, 0.0) is None
