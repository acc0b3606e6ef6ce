"""The quorum strategies as pure questions: tables, and laws of what they remember."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from random import Random
from typing import Any

import pytest

from processhub import Divergence, DynamicQuorum, MajorityQuorum, StaticQuorum
from processhub.hub.errors import InvalidConfig
from processhub.strategy.partition_tolerance.base import PartitionTolerance

ALL = "abcde"


def after(strategy: PartitionTolerance, *changes: tuple[float, str]) -> Any:
    """The memory after these members were present one after the other: (now, names)."""
    memory, before = None, ""
    for now, members in changes:
        memory = strategy.remember(memory, before, members, now)
        before = members
    return memory


@pytest.mark.parametrize("strategy", [StaticQuorum(2), DynamicQuorum(50), MajorityQuorum(3)])
def test_the_numbers_that_keep_two_parts_apart_belong_together(strategy: PartitionTolerance) -> None:
    assert strategy.stable_after > strategy.heard_within + strategy.stop_within
    assert Divergence().stable_after == 0.0


# --- StaticQuorum -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("members", ["a", "ab", "abc", "abcd"])
def test_static_quorum_wants_its_number_of_nodes_once_one_was_lost(members: str) -> None:
    strategy = StaticQuorum(3)
    memory = after(strategy, (0.0, "abcde"), (1.0, members))
    assert strategy.has_quorum(memory, members, 1.0) is (len(members) >= 3)


def test_static_quorum_lets_a_cluster_start_node_by_node() -> None:
    strategy = StaticQuorum(3)
    memory = after(strategy, (0.0, "a"))
    assert strategy.has_quorum(memory, "a", 0.0)
    memory = after(strategy, (0.0, "a"), (1.0, "ab"))
    assert strategy.has_quorum(memory, "ab", 1.0)
    memory = after(strategy, (0.0, "a"), (1.0, "ab"), (2.0, "a"))  # the first loss, though there never was a quorum
    assert not strategy.has_quorum(memory, "a", 2.0)


def test_static_quorum_with_startup_confirm_wants_it_from_the_start() -> None:
    strategy = StaticQuorum(3, startup_confirm=True)
    assert [strategy.has_quorum(after(strategy, (0.0, m)), m, 0.0) for m in ("a", "ab", "abc")] == [False, False, True]


# --- DynamicQuorum ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quorum_size", "present", "has_it"),
    [(50, "ab", False), (40, "ab", True), (60, "abc", True), (61, "abc", False), (100, "abcd", False), (1, "a", True)],
)
def test_dynamic_quorum_compares_present_with_present_and_lost(quorum_size: float, present: str, has_it: bool) -> None:
    strategy = DynamicQuorum(quorum_size)
    memory = after(strategy, (0.0, ALL), (10.0, present))
    assert strategy.has_quorum(memory, present, 10.0) is has_it


def test_dynamic_quorum_forgets_the_lost_after_its_time() -> None:
    strategy = DynamicQuorum(60, threshold_time=30.0)
    memory = after(strategy, (0.0, ALL), (10.0, "abc"), (20.0, "ab"))
    assert not strategy.has_quorum(memory, "ab", 39.9)
    assert strategy.recheck(memory, "ab", 25.0) == pytest.approx(15.0)
    assert strategy.has_quorum(memory, "ab", 40.0)  # two present, one lost
    assert strategy.recheck(memory, "ab", 40.0) == pytest.approx(10.0)
    assert strategy.recheck(memory, "ab", 50.0) is None


def test_dynamic_quorum_does_not_count_who_is_back_as_lost() -> None:
    strategy = DynamicQuorum(80)
    memory = after(strategy, (0.0, ALL), (1.0, "abc"), (2.0, ALL))
    assert memory == {}
    assert strategy.has_quorum(memory, ALL, 2.0)


def test_a_log_of_lost_nodes_is_merged_by_fact_and_not_by_size() -> None:
    strategy = DynamicQuorum(50)
    mine = {"d": 95.0, "e": 80.0}
    theirs = {"e": 2.0, "f": 3.0, "g": 31.0}  # ages; theirs has more rows, and one too old
    assert strategy.merge(mine, theirs, 100.0) == {"d": 95.0, "e": 98.0, "f": 97.0}
    assert strategy.merge({}, {"d": 5.0}, 50.0) == {"d": 45.0}  # who joins takes over what the others remember


def test_a_log_that_only_travelled_changes_nothing() -> None:
    strategy = DynamicQuorum(50)
    mine = {"d": 95.0}
    assert strategy.merge(mine, strategy.outgoing(mine, 100.0), 100.3) == mine


# --- MajorityQuorum ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("largest", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)])
def test_majority_quorum_wants_more_than_half_of_the_largest_cluster(largest: int, needed: int) -> None:
    strategy = MajorityQuorum()
    everybody = "abcdefg"[:largest]
    memory = after(strategy, (0.0, everybody))
    for count in range(1, largest + 1):
        now_there = everybody[:count]
        memory = strategy.remember(memory, everybody, now_there, 1.0)
        assert strategy.has_quorum(memory, now_there, 1.0) is (count >= needed)


def test_majority_quorum_counts_its_initial_size_from_the_start() -> None:
    strategy = MajorityQuorum(initial_cluster_size=5)
    memory = after(strategy, (0.0, "a"))
    assert [strategy.has_quorum(memory, ALL[:n], 0.0) for n in (1, 2, 3)] == [False, False, True]


def test_majority_quorum_that_does_not_track_keeps_its_size_until_a_reset() -> None:
    strategy = MajorityQuorum(initial_cluster_size=3, track_max_size=False)
    memory = after(strategy, (0.0, "a"), (1.0, ALL), (2.0, "ab"))
    assert memory == (0, 3)
    memory = strategy.reset(memory, 5)
    assert not strategy.has_quorum(memory, "ab", 3.0)


def test_a_reset_may_precede_the_downsizing_and_ends_when_a_node_joins() -> None:
    strategy = MajorityQuorum()
    memory = strategy.reset(after(strategy, (0.0, ALL)), 2)
    memory = strategy.remember(memory, ALL, "abcd", 1.0)
    assert memory == (1, 2)
    assert strategy.has_quorum(memory, "ab", 2.0)
    assert strategy.remember(memory, "ab", "abf", 3.0) == (1, 3)


def test_the_later_reset_wins_over_a_larger_size_and_of_concurrent_ones_the_larger() -> None:
    strategy = MajorityQuorum()
    assert strategy.merge((0, 9), (1, 3), 0.0) == (1, 3)
    assert strategy.merge((1, 3), (1, 4), 0.0) == (1, 4)
    assert strategy.merge(None, (2, 7), 0.0) == (2, 7)


# --- laws of merging --------------------------------------------------------------------------------------------


def majority_memories(rng: Random) -> list[Any]:
    return [(rng.randint(0, 3), rng.randint(1, 9)) for _ in range(3)]


def dynamic_memories(rng: Random) -> list[Any]:
    # Losses of one node are further apart than messages take.
    return [{node: 70.0 + rng.randrange(0, 28, 2) for node in rng.sample(ALL, rng.randint(0, 4))} for _ in range(3)]


@pytest.mark.parametrize(
    ("strategy", "make"), [(MajorityQuorum(), majority_memories), (DynamicQuorum(50), dynamic_memories)]
)
@pytest.mark.parametrize("seed", range(50))
def test_members_end_with_one_memory_in_whatever_order_they_hear_of_each_other(
    strategy: PartitionTolerance, make: Callable[[Random], list[Any]], seed: int
) -> None:
    memories = make(Random(seed))
    now = 100.0

    def merged(order: Sequence[Any]) -> Any:
        mine = order[0]
        for theirs in (*order[1:], *order):  # hearing something twice is harmless
            mine = strategy.merge(mine, strategy.outgoing(theirs, now), now)
        return mine

    results = [merged(order) for order in permutations(memories)]
    assert all(result == results[0] for result in results)


# --- options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: StaticQuorum(0), "quorum_size"),
        (lambda: StaticQuorum(2, startup_confirm=1), "startup_confirm"),  # type: ignore[arg-type]
        (lambda: DynamicQuorum(0), "quorum_size"),
        (lambda: DynamicQuorum(101), "quorum_size"),
        (lambda: DynamicQuorum(50, threshold_time=0), "threshold_time"),
        (lambda: MajorityQuorum(initial_cluster_size=0), "initial_cluster_size"),
        (lambda: MajorityQuorum(track_max_size="yes"), "track_max_size"),  # type: ignore[arg-type]
        (lambda: MajorityQuorum.reset_cluster_size("hub", 0), "n must be"),
    ],
)
def test_wrong_options_are_named(make: Callable[[], Any], field: str) -> None:
    with pytest.raises(InvalidConfig, match=field):
        make()
