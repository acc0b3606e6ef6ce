"""Vectors, retirement and the hybrid clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processhub.registry.clocks import MAX_CLOCK_AHEAD_MS, HybridClock, Retired, Vector

nodes = st.sampled_from("ab")
sequences = st.integers(1, 3)


@st.composite
def vectors(draw: st.DrawFn) -> Vector:
    """Vectors as they come about: some operations, and some folds."""
    vector = Vector(draw(st.dictionaries(st.tuples(nodes, st.integers(1, 4)), sequences)))
    for node, upto in draw(st.lists(st.tuples(nodes, st.integers(1, 3)), max_size=2)):
        if vector.incarnations(node) and upto in vector.incarnations(node):
            vector.fold(node, upto)
    return vector


def test_a_vector_covers_what_was_applied_and_what_is_retired() -> None:
    vector = Vector({("a", 5): 3}, {"a": Retired(2, 1)})
    assert vector.covers("a", 5, 3)
    assert not vector.covers("a", 5, 4)
    assert vector.covers("a", 2, 99)
    assert not vector.covers("a", 3, 1)
    assert not vector.covers("b", 1, 1)


def test_an_old_incarnation_retires_once_all_agree_and_the_latest_never_does() -> None:
    vector = Vector({("a", 1): 3, ("a", 2): 5, ("b", 1): 2})
    assert not vector.retire([Vector({("a", 1): 2})], keep=0)
    assert vector.retire([Vector({("a", 1): 3, ("a", 2): 4})], keep=0)
    assert vector.last == {("a", 2): 5, ("b", 1): 2}
    assert vector.retired_of("a").incarnation == 1
    assert not vector.retire([vector.copy()], keep=0)


def test_a_few_old_incarnations_are_kept_so_that_a_short_absence_is_no_conflict() -> None:
    vector = Vector({("a", n): 1 for n in range(1, 8)})
    vector.retire([vector.copy()], keep=3)
    assert vector.incarnations("a") == [4, 5, 6, 7]


def test_a_later_incarnation_waits_for_an_earlier_one_on_which_there_is_no_agreement() -> None:
    vector = Vector({("a", 1): 3, ("a", 2): 5, ("a", 3): 1})
    assert not vector.retire([Vector({("a", 1): 2, ("a", 2): 5, ("a", 3): 1})], keep=0)


def test_who_had_the_same_of_it_follows_a_retirement() -> None:
    ahead, behind = Vector({("a", 1): 3, ("a", 2): 1}), Vector({("a", 1): 3})
    ahead.fold("a", 1)
    assert not ahead.conflicts(behind)
    assert behind.lacks(ahead)
    assert behind.fold_like(ahead)
    assert behind == Vector({}, ahead.retired)


def test_retirements_fold_one_by_one_or_all_at_once_to_the_same() -> None:
    slow, fast = (Vector({("a", 1): 3, ("a", 2): 4, ("a", 3): 1}) for _ in range(2))
    slow.fold("a", 1)
    slow.fold("a", 2)
    assert fast.fold_like(slow)
    assert fast == slow


@pytest.mark.parametrize("had", [2, 4])
def test_who_had_less_or_more_of_it_conflicts(had: int) -> None:
    ahead, behind = Vector({("a", 1): 3, ("a", 2): 1}), Vector({("a", 1): had})
    ahead.fold("a", 1)
    assert ahead.conflicts(behind)
    assert behind.conflicts(ahead)
    assert not behind.fold_like(ahead)
    assert ahead.outranks(behind)
    assert not behind.outranks(ahead)


def test_who_knows_nothing_of_it_takes_it_over() -> None:
    ahead, new = Vector({("a", 1): 3, ("a", 2): 1}), Vector({("b", 1): 1})
    ahead.fold("a", 1)
    assert not ahead.conflicts(new)
    new.join(ahead)
    assert new == Vector({("a", 2): 1, ("b", 1): 1}, ahead.retired)


def test_two_that_retired_the_same_incarnation_at_different_ends_conflict() -> None:
    one, other = Vector({("a", 1): 3, ("a", 2): 1}), Vector({("a", 1): 4, ("a", 2): 1})
    one.fold("a", 1)
    other.fold("a", 1)
    assert one.conflicts(other)
    assert one.outranks(other) != other.outranks(one)


@given(vectors(), vectors())
def test_of_two_that_conflict_exactly_one_outranks_the_other(one: Vector, other: Vector) -> None:
    assert one.conflicts(other) == other.conflicts(one)
    if one.conflicts(other):
        assert one.outranks(other) != other.outranks(one)


@given(vectors(), vectors())
def test_after_joining_nothing_is_lacking(one: Vector, other: Vector) -> None:
    if one.conflicts(other):
        return
    joined = one.copy()
    joined.join(other)
    assert not joined.lacks(one)
    assert not joined.lacks(other)
    back = other.copy()
    back.join(one)
    assert back == joined
    assert all(incarnation > joined.retired_of(node).incarnation for node, incarnation in joined.last)


def test_stamps_rise_though_the_wall_clock_stands_or_goes_back() -> None:
    clock = HybridClock()
    stamps = [clock.next(now) for now in (1000, 1000, 900, 1001)]
    assert stamps == sorted(set(stamps))
    assert stamps[-1] >> 16 == 1001


def test_a_stamp_a_little_ahead_is_followed() -> None:
    clock = HybridClock()
    theirs = (1000 + MAX_CLOCK_AHEAD_MS) << 16
    assert clock.observe(theirs, 1000) == 0
    assert clock.next(1000) > theirs


def test_a_stamp_more_than_a_minute_ahead_is_told_and_not_followed() -> None:
    clock = HybridClock()
    clock.next(1000)
    assert clock.observe((1001 + MAX_CLOCK_AHEAD_MS) << 16, 1000) == MAX_CLOCK_AHEAD_MS + 1
    assert clock.next(1000) >> 16 == 1000
