"""The registry as a whole: what members compare, and that nothing grows."""

from __future__ import annotations

import gc
import sys
from typing import Any

import pytest

from processhub.registry import RUNNING, Limits, Registry
from tests.processhub.registry.members import NOW, exchange, members, pieces, pull, retire, start, taken


def test_a_batch_holds_what_was_written_since_the_last_one() -> None:
    a, b = members("ab")
    assert a.take_batch() is None
    start(a, "x")
    a.set_row("x", 1, RUNNING, 1)
    changes = b.apply(taken(a), NOW)
    assert ([change.child_id for change in changes.children], [change.child_id for change in changes.rows]) == (
        ["x"],
        ["x"],
    )
    assert a.take_batch() is None


def test_digests_are_equal_exactly_when_nothing_is_lacking() -> None:
    a, b = members("ab")
    exchange(a, b)
    assert a.digest() == b.digest()
    start(a, "x")
    assert a.digest() != b.digest()
    exchange(a, b)
    assert a.digest() == b.digest()
    b.set_row("x", 1, RUNNING, 1)
    assert a.digest() != b.digest()
    exchange(a, b)
    assert a.digest() == b.digest()


def test_a_vector_tells_who_lacks_what() -> None:
    a, b = members("ab")
    exchange(a, b)
    start(a, "x")
    assert b.lacks(a.vector())
    assert not a.lacks(b.vector())
    assert len(pieces(a, b)) == 1
    assert not pieces(b, a)
    pull(b, a)
    assert not b.lacks(a.vector())
    a.set_row("x", 1, RUNNING, 1)
    assert b.lacks(a.vector())


def test_a_delta_is_cut_into_pieces_of_bounded_size() -> None:
    a, b = members("ab", Limits(piece=10))
    for n in range(35):
        start(a, f"x{n}")
        a.set_row(f"x{n}", n, RUNNING, 1)
    assert [len(piece) for piece in pieces(a, b)] == [10, 10, 10, 5] * 2


def test_our_own_batch_and_vector_do_nothing_to_us() -> None:
    (a,) = members("a")
    start(a, "x")
    before = a.vector()
    assert not a.apply(taken(a), NOW)
    assert not a.heard(before)
    assert not list(a.delta_since(before))
    assert not a.lacks(before)


def test_a_hub_incarnation_must_be_positive() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        Registry("a", 0)


def footprint(*roots: Any) -> int:
    """Bytes reachable from these objects, classes and modules left out."""
    seen: set[int] = set()
    total, todo = 0, list(roots)
    while todo:
        found = todo.pop()
        if id(found) in seen or isinstance(found, (type, type(sys))):
            continue
        seen.add(id(found))
        total += sys.getsizeof(found)
        todo += gc.get_referents(found)
    return total


def churn(a: Registry, b: Registry, rounds: int) -> None:
    for n in range(rounds):
        start(a, f"x{n}", metadata={"tag": n})
        a.set_row(f"x{n}", n, RUNNING, 1)
        b.apply(taken(a), NOW)
        (a if n % 2 else b).remove(f"x{n}", NOW)
        a.drop_row(f"x{n}")
        for one, other in ((a, b), (b, a)):
            batch = one.take_batch()
            if batch is not None:
                other.apply(batch, NOW)


def test_starts_and_stops_leave_nothing_behind() -> None:
    a, b = members("ab", Limits(log=50))
    exchange(a, b)
    churn(a, b, 200)
    base = footprint(a._desired, a._presence, a._tags, b._desired, b._presence, b._tags)
    churn(a, b, 2000)
    now = footprint(a._desired, a._presence, a._tags, b._desired, b._presence, b._tags)
    assert now < base * 1.2
    assert not a.children
    assert not b.placed()


def test_restarts_leave_nothing_behind() -> None:
    limits = Limits(log=50)
    (a, b), sizes, wires = members("ab", limits), [], []
    for n in range(60):
        exchange(a, b)
        churn(a, b, 30)
        retire(a, b)
        if n >= 10:
            sizes.append(footprint(b._desired, b._presence, b._inbox, b._tags, b._reports, b._heard))
            wires.append(len(repr(b.vector().to_wire())))
        b.drop_member("a")
        a = Registry("a", a.incarnation + 10, limits)
    assert max(sizes[-10:]) < max(sizes[:10]) * 1.2
    assert max(wires[-10:]) < max(wires[:10]) * 1.2


def test_a_child_costs_few_objects() -> None:
    a, b = members("ab")
    gc.collect()
    before = len(gc.get_objects())
    for n in range(1000):
        start(a, f"x{n}", metadata={})
        a.set_row(f"x{n}", n, RUNNING, 1)
    batch = taken(a)
    before_applied = len(gc.get_objects())
    b.apply(batch, NOW)
    del batch
    gc.collect()
    # Operation, child, tuple of operations, metadata, row, holders.
    assert len(gc.get_objects()) - before_applied < 1000 * 7
    assert before_applied - before < 1000 * 20
