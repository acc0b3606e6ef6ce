"""What should run: operations, their order, removes, retirement and the way back from before it."""

from __future__ import annotations

import pytest

from processhub.registry import Batch, Limits, Registry
from processhub.registry.snapshots import cut
from tests.processhub.registry.members import NOW, exchange, members, pull, retire, sent, specs, start, taken

EAGER = Limits(incarnations=0)


def test_a_start_is_one_operation_and_reaches_the_others() -> None:
    a, b = members("ab")
    start(a, "x", "s", {"tag": 1}, ["n1"])
    changes = b.apply(taken(a), NOW)
    ((child_id, old, new),) = changes.children
    assert (child_id, old) == ("x", None)
    assert new is not None
    assert (new.spec, new.metadata, new.placement) == ("s", {"tag": 1}, ["n1"])
    assert b.child("x") is new
    assert len(new.ops) == 1


def test_a_repeated_batch_changes_nothing() -> None:
    a, b = members("ab")
    start(a, "x")
    batch = taken(a)
    assert b.apply(batch, NOW)
    assert not b.apply(batch, NOW)
    assert not a.apply(batch, NOW)


def test_a_register_that_is_not_written_stays() -> None:
    a, b = members("ab")
    start(a, "x", "s", {"k": 1}, 7)
    change = a.put("x", NOW, metadata={"k": 2})
    assert (change.old.metadata, change.new.metadata) == ({"k": 1}, {"k": 2})  # type: ignore[union-attr]
    b.apply(taken(a), NOW)
    child = b.child("x")
    assert child is not None
    assert (child.spec, child.metadata, child.placement) == ("s", {"k": 2}, 7)


def test_metadata_alone_makes_no_child() -> None:
    (a,) = members("a")
    with pytest.raises(KeyError):
        a.put("x", NOW, metadata={})
    assert a.take_batch() is None


def test_removing_what_is_not_there_writes_nothing() -> None:
    (a,) = members("a")
    assert a.remove("x", NOW) is None
    assert a.take_batch() is None


def test_a_remove_that_overtakes_its_start_waits_for_it() -> None:
    a, b = members("ab")
    start(a, "x")
    first = taken(a)
    a.remove("x", NOW)
    second = taken(a)
    assert not b.apply(second, NOW)
    assert not b.apply(first, NOW)
    assert not b.children
    assert b.vector().desired == a.vector().desired


def test_a_remove_by_a_third_member_waits_for_the_start_that_it_names() -> None:
    a, b, c = members("abc")
    start(a, "x")
    started = taken(a)
    b.apply(started, NOW)
    b.remove("x", NOW)
    c.apply(taken(b), NOW)
    c.apply(started, NOW)
    assert not c.children


def test_a_concurrent_write_survives_a_remove() -> None:
    a, b = members("ab")
    start(a, "x", "old")
    b.apply(taken(a), NOW)
    a.remove("x", NOW)
    b.put("x", NOW, spec="new")
    one, other = taken(a), taken(b)
    a.apply(other, NOW)
    b.apply(one, NOW)
    assert specs(a) == specs(b) == {"x": "new"}


def test_of_concurrent_writes_all_members_read_the_same_one() -> None:
    a, b, c = members("abc")
    start(a, "x", "of a")
    b.put("x", NOW + 5, spec="of b", metadata={}, placement=None)
    one, other = taken(a), taken(b)
    a.apply(other, NOW)
    b.apply(one, NOW)
    c.apply(other, NOW)
    c.apply(one, NOW)
    assert specs(a) == specs(b) == specs(c) == {"x": "of b"}


def test_a_write_replaces_all_that_its_writer_saw_even_one_from_the_future() -> None:
    a, b = members("ab")
    a.put("x", NOW + 3_600_000, spec="future", metadata={}, placement=None)
    changes = b.apply(taken(a), NOW)
    assert changes.clock_ahead_ms == 3_600_000
    b.put("x", NOW, spec="now")
    a.apply(taken(b), NOW)
    assert specs(a) == specs(b) == {"x": "now"}


def test_a_clock_ahead_is_told_once_for_each_batch_and_does_not_advance_ours() -> None:
    a, b = members("ab")
    a.put("x", NOW + 3_600_000, spec="s", metadata={}, placement=None)
    assert b.apply(taken(a), NOW).clock_ahead_ms
    start(a, "y")
    start(b, "z")
    assert b.child("z").ops[0].stamp >> 16 == NOW  # type: ignore[union-attr]


def test_too_many_waiting_operations_ask_for_a_delta() -> None:
    a, b = members("ab", Limits(waiting=2))
    batches = []
    for n in range(5):
        start(a, f"x{n}")
        batches.append(taken(a))
    needs = [b.apply(batch, NOW).need_delta for batch in batches[1:]]
    assert needs == [False, False, True, True]
    pull(b, a)
    assert specs(b) == specs(a)
    assert b._desired.waiting == 0


def test_a_residue_is_not_desired_and_is_swept_by_the_first_member() -> None:
    a, b = members("ab")
    start(a, "x")
    b.apply(taken(a), NOW)
    a.remove("x", NOW)
    b.put("x", NOW, metadata={"late": True})
    exchange(a, b)
    assert not a.children
    assert not b.children
    assert b.sweep(NOW, ["a", "b"]) == 0
    assert a.sweep(NOW, ["a", "b"]) == 1
    exchange(a, b)
    assert a.sweep(NOW, ["a", "b"]) == 0
    assert not b._desired._residues


def test_a_start_takes_a_residue_away() -> None:
    a, b = members("ab")
    start(a, "x")
    b.apply(taken(a), NOW)
    a.remove("x", NOW)
    b.put("x", NOW + 9, metadata={"late": True})
    exchange(a, b)
    start(a, "x", "again", {"new": True})
    exchange(a, b)
    assert b.child("x").metadata == {"new": True}  # type: ignore[union-attr]
    assert not a._desired._residues
    assert not b._desired._residues


def test_what_one_call_changes_is_told_net() -> None:
    a, b = members("ab")
    start(a, "x")
    b.apply(taken(a), NOW)
    a.remove("x", NOW)
    start(a, "x", "again")
    start(a, "y")
    a.remove("y", NOW)
    (change,) = b.apply(taken(a), NOW).children
    assert change.old is not None
    assert change.new is not None
    assert (change.child_id, change.old.spec, change.new.spec) == ("x", "spec", "again")


# Incarnations.


def restarted(registry: Registry, *others: Registry, limits: Limits = EAGER) -> Registry:
    """The next life of a member, brought up to date."""
    fresh = Registry(registry.node, registry.incarnation + 10, limits)
    for other in others:
        other.drop_member(registry.node)
    exchange(fresh, *others)
    return fresh


def test_restarts_leave_nothing_in_the_vectors() -> None:
    a, b = members("ab", EAGER)
    sizes = set()
    for n in range(30):
        start(a, f"x{n}")
        exchange(a, b)
        a = restarted(a, b)
        start(a, "y")
        a.remove(f"x{n}", NOW)
        exchange(a, b)
        retire(a, b)
        sizes.add(len(repr(a.vector().to_wire())))
    assert a.vector().desired == b.vector().desired
    assert len(a.vector().desired.last) == 1
    assert max(sizes) - min(sizes) < 20  # the numbers themselves get longer


def test_nothing_retires_while_a_member_has_not_reported() -> None:
    a, b, c = members("abc", EAGER)
    start(a, "x")
    exchange(a, b)
    a = restarted(a, b)
    start(a, "y")
    exchange(a, b)
    for one, other in ((a, b), (b, a)):
        one.heard(other.vector())
        one.retire(["a", "b", "c"])
    assert not a.vector().desired.retired
    exchange(a, b, c)
    retire(a, b, c)
    assert a.vector().desired.retired


def test_a_member_should_report_until_all_have_retired_what_is_old() -> None:
    """One that only asks would never hear that there is agreement, or that the others retired without it."""
    a, b = members("ab", EAGER)
    start(a, "x")
    exchange(a, b)
    assert not b.should_report(a.vector())
    a = restarted(a, b)
    start(a, "y")
    exchange(a, b)
    assert b.should_report(a.vector())
    b.heard(a.vector())
    b.retire(["a", "b"])
    assert b.should_report(a.vector())
    a.heard(b.vector())
    assert a.vector().desired == b.vector().desired
    assert not b.should_report(a.vector())


def absent_during_a_retirement() -> tuple[Registry, Registry, Registry]:
    """`a` and `b` retired a's first life; `c` was away and has one operation of it that only c saw."""
    a, b, c = members("abc", EAGER)
    start(a, "kept")
    start(a, "stopped")
    exchange(a, b, c)
    start(a, "only c saw this")
    c.apply(taken(a), NOW)
    a = restarted(a, b)
    assert a.remove("stopped", NOW)
    exchange(a, b)
    retire(a, b)
    assert a.vector().desired.retired
    return a, b, c


def test_a_member_back_from_before_a_retirement_writes_anew_what_it_alone_had() -> None:
    a, b, c = absent_during_a_retirement()
    start(c, "own")
    before = c.incarnation
    (changes,) = [changes for changes in pull(c, a) if changes.renewed]
    assert c.incarnation > before
    assert [change.child_id for change in changes.children] == ["stopped"]
    exchange(a, b, c)
    assert specs(a) == specs(b) == specs(c)
    assert {"kept", "only c saw this", "own"} <= set(a.children)
    assert a.vector().desired == b.vector().desired == c.vector().desired


def test_what_only_the_returning_member_knew_to_be_removed_is_removed_everywhere() -> None:
    a, b, c = absent_during_a_retirement()
    start(b, "by b")
    exchange(a, b)
    # c knew b's child, and removed it while it was away.
    (by_b,) = [op for child in b.children.values() for op in child.ops if child is b.child("by b")]
    c.apply(Batch("b", [[by_b]]), NOW)
    assert c.remove("by b", NOW)
    exchange(a, b, c)
    assert "by b" not in a.children
    assert specs(a) == specs(b) == specs(c)


def test_a_member_that_had_all_of_it_just_follows() -> None:
    a, b, c = members("abc", EAGER)
    start(a, "x")
    exchange(a, b, c)
    a = restarted(a, b)
    start(a, "y")
    exchange(a, b)
    retire(a, b)
    assert not any(changes.renewed for changes in pull(c, a))
    c.heard(a.vector())
    exchange(a, b, c)
    assert c.incarnation == 10
    assert c.vector().desired == a.vector().desired


def test_the_higher_in_rank_refuses_the_map_of_the_other() -> None:
    a, _, c = absent_during_a_retirement()
    before, children = a.vector().desired, dict(a.children)
    pull(a, c)
    assert a.vector().desired == before
    snapshot = cut("c", (10, 99), None, *c._desired.snapshot(), 1000)
    assert not [a.apply(sent(piece), NOW) for piece in snapshot][-1]
    assert a.vector().desired == before
    assert a.children == children
    assert not a.lacks(c.vector())
    assert c.lacks(a.vector())


def test_a_new_member_takes_retirements_over_without_a_new_incarnation() -> None:
    a, b, _ = absent_during_a_retirement()
    (d,) = members("d", EAGER)
    start(d, "own")
    exchange(a, b, d)
    assert d.incarnation == 10
    assert specs(d) == specs(a)
    assert "own" in a.children


def test_a_former_life_known_by_a_higher_number_makes_us_go_above_it() -> None:
    a, b = members("ab")
    start(b, "x")
    b.set_row("x", "pid", "running", 1)
    exchange(a, b)
    again = Registry("b", 5)
    again.set_row("y", "pid2", "running", 1)
    changes = pull(again, a)
    assert any(change.renewed for change in changes)
    assert again.incarnation > 10
    a.apply(taken(again), NOW)
    assert set(a.table("b")) == {"y"}


def test_old_operations_of_a_retired_incarnation_are_ignored() -> None:
    a, b, c = absent_during_a_retirement()
    start(c, "z")
    run = c._desired.operations_since(Registry("z", 1).vector().desired)
    assert run
    before = dict(a.children)
    a.apply(sent(Batch.of("c", [op for op in run if op.node == "a"])), NOW)
    assert a.children == before
    assert b.children == before
