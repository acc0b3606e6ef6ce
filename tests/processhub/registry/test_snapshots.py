"""Snapshots in pieces: whole or nothing, in slices, in any order."""

from __future__ import annotations

import random

import pytest

from processhub.registry import RUNNING, Chunk, Limits, MalformedBatch, Registry
from tests.processhub.registry.members import NOW, members, pieces, pull, specs, start, taken

FORGETFUL = Limits(log=0, piece=2)


def pair() -> tuple[Registry, Registry]:
    """`a` and `b` have the same 6 children; then a removed x0, wrote x1 and added x6, and has no log of it."""
    a, b = members("ab", FORGETFUL)
    for n in range(6):
        start(a, f"x{n}")
        a.set_row(f"x{n}", n, RUNNING, 1)
    b.apply(taken(a), NOW)
    a.remove("x0", NOW)
    a.drop_row("x0")
    a.put("x1", NOW, spec="new")
    start(a, "x6")
    a.take_batch()
    return a, b


def test_a_snapshot_brings_removes_writes_and_additions() -> None:
    a, b = pair()
    messages = pieces(a, b)
    assert {type(piece) for piece in messages} == {Chunk}
    changes = [change for found in pull(b, a) for change in found.children]
    assert sorted(change.child_id for change in changes) == ["x0", "x1", "x6"]
    assert specs(b) == specs(a)
    assert b.pids == a.pids
    pull(a, b)
    assert b.digest() == a.digest()


def test_absence_counts_only_when_every_piece_has_come() -> None:
    a, b = pair()
    first, *others = pieces(a, b)
    for piece in others:
        b.apply(piece, NOW)
    assert "x0" in b.children
    assert b.vector().desired != a.vector().desired
    b.apply(first, NOW)
    while b.settling:
        b.settle()
    assert "x0" not in b.children


@pytest.mark.parametrize("seed", range(5))
def test_pieces_may_come_in_any_order_and_twice(seed: int) -> None:
    a, b = pair()
    messages = pieces(a, b) * 2
    random.Random(seed).shuffle(messages)
    for piece in messages:
        b.apply(piece, NOW)
    while b.settling:
        b.settle()
    assert specs(b) == specs(a)
    assert len(b._inbox) == 0


def test_a_new_snapshot_takes_the_place_of_a_half_received_one() -> None:
    a, b = pair()
    old, new = pieces(a, b), pieces(a, b)
    b.apply(old[0], NOW)
    for piece in new[:-1]:
        b.apply(piece, NOW)
    for piece in old[1:]:
        b.apply(piece, NOW)
    half = len(b._inbox)
    b.apply(new[-1], NOW)
    while b.settling:
        b.settle()
    assert half <= len(a.children) + len(a.own_table)
    assert specs(b) == specs(a)
    assert len(b._inbox) == 0


def test_half_received_snapshots_are_bounded_and_go_with_their_sender() -> None:
    a, b = pair()
    b.apply(pieces(a, b)[0], NOW)
    assert len(b._inbox) == 2
    b.drop_member("a")
    assert len(b._inbox) == 0
    small = Registry("s", 1, Limits(half_received=3))
    for node in "pqr":
        other = Registry(node, 1, FORGETFUL)
        for n in range(4):
            start(other, f"{node}{n}")
        small.apply(pieces(other, small)[0], NOW)
        assert len(small._inbox) <= 3


def test_pieces_that_disagree_about_their_number_are_malformed() -> None:
    a, b = pair()
    first, second, *_ = pieces(a, b)
    b.apply(first, NOW)
    second.total += 1
    with pytest.raises(MalformedBatch):
        b.apply(second, NOW)


def test_writes_and_operations_may_come_between_the_slices_of_a_merge() -> None:
    a, b = members("ab", FORGETFUL)
    for n in range(20):
        start(a, f"x{n:02}")
    a.take_batch()
    for piece in pieces(a, b):
        b.apply(piece, NOW)
    assert b.settling
    assert 0 < len(b.children) < 20
    for n in range(0, 20, 3):
        assert b.remove(f"x{n:02}", NOW) is not None
    for n in range(1, 20, 3):
        assert b.put(f"x{n:02}", NOW, spec="by b").new is not None
    a.put("x02", NOW, metadata={"by": "a"})
    b.apply(taken(a), NOW)
    while b.settling:
        b.settle()
    assert specs(b) == {f"x{n:02}": "by b" if n % 3 == 1 else "spec" for n in range(20) if n % 3}
    assert b.child("x02").metadata == {"by": "a"}
    a.apply(taken(b), NOW)
    assert specs(a) == specs(b)


def test_a_snapshot_given_out_in_the_middle_of_a_merge_is_complete() -> None:
    a, b = members("ab", FORGETFUL)
    (c,) = members("c", FORGETFUL)
    for n in range(20):
        start(a, f"x{n}")
    a.take_batch()
    for piece in pieces(a, b):
        b.apply(piece, NOW)
    assert b.settling
    pull(c, b)
    assert specs(c) == specs(a)
    assert b.settling, "the rest is still to be reported"
    assert len(b.settle().children) > 0
    assert not b.settling


def test_a_slice_visits_no_more_than_its_limit() -> None:
    a, b = members("ab", Limits(log=0, piece=5))
    for n in range(50):
        start(a, f"x{n}")
        a.set_row(f"x{n}", n, RUNNING, 1)
    a.take_batch()
    sizes = []
    for piece in pieces(a, b):
        changes = b.apply(piece, NOW)
        sizes.append(len(changes.children) + len(changes.rows))
    while b.settling:
        changes = b.settle(3)
        sizes.append(len(changes.children) + len(changes.rows))
    assert max(sizes) == 5
    assert sum(sizes) == 100


def test_a_snapshot_is_that_of_the_instant_at_which_it_was_asked_for() -> None:
    a, b = pair()
    vector = a.vector()
    promised = a.delta_since(b.vector())
    start(a, "later")
    for piece in promised:
        b.apply(piece, NOW)
    while b.settling:
        b.settle()
    assert "later" not in b.children
    assert b.vector().desired == vector.desired
