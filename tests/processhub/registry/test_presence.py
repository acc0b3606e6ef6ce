"""What does run and where: tables with one writer each, and the lookups on them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processhub.registry import (
    FAILED,
    LEAVING,
    RESTARTING,
    RUNNING,
    STARTING,
    Batch,
    Limits,
    Registry,
    RegistryVector,
    Row,
)
from processhub.registry.batches import RowOps
from processhub.registry.presence import Version
from tests.processhub.registry.members import NOW, members, pieces, pull, start, taken


def rows(node: str, incarnation: int, base: int, *items: tuple[str, Row | None]) -> Batch:
    return Batch(node, [], RowOps(node, incarnation, base, list(items)))


def test_a_row_reaches_the_others_and_goes_again() -> None:
    a, b = members("ab")
    assert a.set_row("x", "pid", STARTING, 1) == ("x", "a", None, Row("pid", STARTING, 1))
    b.apply(taken(a), NOW)
    a.set_row("x", "pid", RUNNING, 1)
    (change,) = b.apply(taken(a), NOW).rows
    assert change == ("x", "a", Row("pid", STARTING, 1), Row("pid", RUNNING, 1))
    assert b.rows("x") == {"a": Row("pid", RUNNING, 1)}
    assert a.drop_row("x") == ("x", "a", Row("pid", RUNNING, 1), None)
    b.apply(taken(a), NOW)
    assert b.rows("x") == {}
    assert not b.placed()


def test_a_row_that_is_equal_already_is_not_written_again() -> None:
    (a,) = members("a")
    assert a.set_row("x", "pid", RUNNING, 1)
    taken(a)
    assert a.set_row("x", "pid", RUNNING, 1) is None
    assert a.drop_row("y") is None
    assert a.take_batch() is None


def test_an_unknown_state_is_refused() -> None:
    (a,) = members("a")
    with pytest.raises(ValueError, match="state must be one of"):
        a.set_row("x", "pid", "happy", 1)


def test_a_table_is_unknown_until_something_of_it_was_applied_from_the_beginning() -> None:
    a, b = members("ab")
    assert b.unknown(["a", "b"]) == ["a"]
    a.set_row("x", 1, RUNNING, 1)
    assert b.apply(taken(a), NOW).tables == ["a"]
    assert b.unknown(["a", "b"]) == []
    assert b.nodes() == ["a", "b"]


def test_an_empty_table_becomes_known_as_empty() -> None:
    a, b = members("ab")
    (changes,) = pull(b, a)
    assert changes.tables == ["a"]
    assert b.unknown(["a"]) == []
    assert not pieces(a, b)


def test_changes_that_do_not_follow_are_discarded_and_reported() -> None:
    a, b = members("ab")
    a.set_row("x", 1, RUNNING, 1)
    first = taken(a)
    a.set_row("y", 2, RUNNING, 1)
    second = taken(a)
    assert b.apply(second, NOW).need_tables == ["a"]
    assert b.unknown(["a"]) == ["a"]
    b.apply(first, NOW)
    a.set_row("z", 3, RUNNING, 1)
    assert b.apply(taken(a), NOW).need_tables == ["a"]
    assert set(b.table("a")) == {"x"}
    pull(b, a)
    assert b.table("a") == a.own_table


def test_a_member_a_little_behind_gets_the_changes_and_one_far_behind_the_table() -> None:
    a, b = members("ab", Limits(log=3))
    a.set_row("x", 0, RUNNING, 1)
    b.apply(taken(a), NOW)
    for n in range(3):
        a.set_row("x", n, RUNNING, 2)
    taken(a)
    assert [type(piece) for piece in pieces(a, b)] == [Batch]
    a.set_row("x", 4, RUNNING, 2)
    taken(a)
    assert [type(piece).__name__ for piece in pieces(a, b)] == ["Chunk"]
    pull(b, a)
    assert b.table("a") == a.own_table


def test_changes_of_a_former_life_are_discarded() -> None:
    a, b = members("ab")
    a.set_row("x", 1, RUNNING, 1)
    old = taken(a)
    a.set_row("y", 1, RUNNING, 1)
    late = taken(a)
    b.apply(old, NOW)
    again = Registry("a", 20)
    again.set_row("z", 2, RUNNING, 2)
    b.apply(taken(again), NOW)
    assert set(b.table("a")) == {"z"}
    assert not b.apply(late, NOW)
    b.drop_member("a")
    assert not b.apply(old, NOW)
    assert b.unknown(["a"]) == ["a"]


def test_a_new_life_replaces_the_table_and_tells_only_what_differs() -> None:
    a, b = members("ab")
    a.set_row("same", 1, RUNNING, 1)
    a.set_row("gone", 2, RUNNING, 1)
    b.apply(taken(a), NOW)
    changes = b.apply(rows("a", 20, 0, ("same", Row(1, RUNNING, 1)), ("new", Row(3, RUNNING, 1))), NOW)
    assert sorted(change.child_id for change in changes.rows) == ["gone", "new"]


def test_a_later_change_of_a_new_life_makes_the_table_unknown_but_keeps_its_rows() -> None:
    a, b = members("ab")
    a.set_row("x", 1, RUNNING, 1)
    b.apply(taken(a), NOW)
    changes = b.apply(rows("a", 20, 5, ("y", Row(2, RUNNING, 1))), NOW)
    assert changes.need_tables == ["a"]
    assert b.unknown(["a"]) == ["a"]
    assert b.pids == {"x": 1}


def test_a_member_that_is_down_leaves_no_rows() -> None:
    a, b = members("ab")
    a.set_row("x", 1, RUNNING, 1)
    b.set_row("x", 2, RUNNING, 1)
    b.apply(taken(a), NOW)
    (change,) = b.drop_member("a").rows
    assert (change.node, change.new) == ("a", None)
    assert b.rows("x") == {"b": Row(2, RUNNING, 1)}
    assert b.unknown(["a"]) == ["a"]
    assert not b.drop_member("a")
    assert not b.drop_member("b")
    assert b.own_table


def test_a_table_can_be_passed_on_by_a_third_member() -> None:
    a, b, c = members("abc")
    a.set_row("x", 1, RUNNING, 1)
    b.apply(taken(a), NOW)
    pull(c, b, ("a", "b", "c"))
    assert c.table("a") == a.own_table
    assert c.unknown(["a", "b"]) == []
    a.set_row("y", 1, RUNNING, 1)
    assert not c.apply(taken(a), NOW).need_tables


def test_a_table_passed_on_late_does_not_undo_newer_changes() -> None:
    a, b, c = members("abc")
    a.set_row("x", 1, RUNNING, 1)
    first = taken(a)
    b.apply(first, NOW)
    c.apply(first, NOW)
    late = pieces(b, Registry("c", 1), ("a",))
    a.drop_row("x")
    c.apply(taken(a), NOW)
    for piece in late:
        c.apply(piece, NOW)
    assert not c.table("a")


def test_changes_that_come_while_a_table_is_being_applied_win_over_it() -> None:
    a, b = members("ab", Limits(piece=2))
    for n in range(6):
        a.set_row(f"x{n}", n, RUNNING, 1)
    taken(a)
    for piece in a.delta_since(RegistryVector("b", b.vector().desired, {"a": Version(10, 99)})):
        b.apply(piece, NOW)
    assert b.settling
    assert b.unknown(["a"]) == ["a"]
    for n in range(6):
        a.set_row(f"x{n}", n, RUNNING, 2)
    a.drop_row("x0")
    assert not b.apply(taken(a), NOW).need_tables
    while b.settling:
        b.settle()
    assert b.table("a") == a.own_table
    assert b.unknown(["a"]) == []


# Lookups.


def test_the_running_copy_of_the_highest_epoch_answers() -> None:
    a, b, c = members("abc")
    a.set_row("x", "pa", RUNNING, 1)
    b.set_row("x", "pb", RUNNING, 2)
    c.set_row("x", "pc", RUNNING, 2)
    for one in (a, b):
        c.apply(taken(one), NOW)
    assert c.pids["x"] == "pb"
    assert [node for node, _ in c.running("x")] == ["b", "c", "a"]
    assert c.holders("x") == ["a", "b", "c"]
    b.set_row("x", "pb", RESTARTING, 2)
    c.apply(taken(b), NOW)
    assert c.pids["x"] == "pc"
    c.set_row("x", None, FAILED, 3)
    assert c.pids["x"] == "pa"


def test_a_leaving_copy_answers_until_another_one_runs() -> None:
    a, b = members("ab")
    a.set_row("x", "old", RUNNING, 1)
    b.apply(taken(a), NOW)
    a.set_row("x", "old", LEAVING, 1, to="new")
    b.apply(taken(a), NOW)
    assert b.pids["x"] == "old"
    assert b.rows("x")["a"].to == "new"
    b.set_row("x", "new", STARTING, 2)
    assert b.pids["x"] == "old"
    b.set_row("x", "new", RUNNING, 2)
    assert b.pids["x"] == "new"


def test_lookups_of_what_is_not_there() -> None:
    (a,) = members("a")
    assert a.child("x") is None
    assert a.rows("x") == {}
    assert a.running("x") == []
    assert a.holders("x") == []
    assert a.table("nowhere") == {}
    assert list(a.tagged("t")) == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([*"RSL", ""]), st.integers(0, 2)), max_size=12))
def test_who_answers_is_always_what_the_rows_say(writes: list[tuple[str, str, int]]) -> None:
    states = {"R": RUNNING, "S": STARTING, "L": LEAVING}
    registries = dict(zip("abc", members("abc"), strict=True))
    for node, state, epoch in writes:
        registry: Any = registries[node]
        registry.set_row("x", (node, epoch), states[state], epoch) if state else registry.drop_row("x")
        batch = registry.take_batch()
        for other in registries.values():
            if batch is not None:
                other.apply(batch, NOW)
    for registry in registries.values():
        held = registry.rows("x").items()
        ranked = [
            (row.state == LEAVING, -row.epoch, node, row.pid) for node, row in held if row.state in (RUNNING, LEAVING)
        ]
        assert registry.pids.get("x") == (min(ranked)[3] if ranked else None)


# Tags.


def test_children_are_found_by_tag_and_follow_their_metadata() -> None:
    a, b = members("ab")
    start(a, "x", metadata={"tag": "red"})
    start(a, "y", metadata={"tag": "red"})
    b.apply(taken(a), NOW)
    assert set(b.tagged("red")) == {"x", "y"}
    a.put("x", NOW, metadata={"tag": "blue"})
    a.put("y", NOW, metadata={})
    b.apply(taken(a), NOW)
    for registry in (a, b):
        assert (set(registry.tagged("red")), set(registry.tagged("blue"))) == (set(), {"x"})
    a.remove("x", NOW)
    b.apply(taken(a), NOW)
    assert not b.tagged("blue")


def test_a_tag_that_cannot_be_a_key_is_none() -> None:
    (a,) = members("a")
    start(a, "x", metadata={"tag": ["un", "hashable"]})
    start(a, "y", metadata="no dict")
    assert not a._tags._children
