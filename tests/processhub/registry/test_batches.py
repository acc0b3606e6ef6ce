"""The encoding of batches, chunks and vectors, and that nothing malformed gets in."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processhub.registry import (
    RUNNING,
    Batch,
    Limits,
    MalformedBatch,
    Registry,
    RegistryVector,
    SpecRecord,
    decode,
)
from tests.processhub.registry.members import NOW, exchange, members, pull, retire, specs, start

PLAIN = (type(None), bool, int, float, str, bytes)
TEMPLATE = ("app:Worker", "start_link", "permanent", 5.0)


def example() -> Registry:
    a, b = members("ab")
    for n in range(4):
        start(a, f"x{n}", SpecRecord(TEMPLATE, b"%d" % n), {"tag": n}, "a")
        a.set_row(f"x{n}", f"pid{n}", RUNNING, n)
    start(a, "raw", 17)
    exchange(a, b)
    b.remove("x0", NOW)
    b.put("x1", NOW, metadata={"k": 1})
    exchange(a, b)
    a.put("x2", NOW, spec=SpecRecord(("other",), b""))
    a.remove("x1", NOW)
    a.drop_row("x0")
    return a


def messages() -> list[Any]:
    """One wire message of every kind, with every kind of content."""
    a = example()
    batch = a.take_batch()
    assert batch is not None
    nobody = RegistryVector.from_wire(["z", [[], []], []])
    ranked = Registry("r", 1, Limits(log=0))
    pull(ranked, a)
    return [batch.to_wire(), *(piece.to_wire() for asked in (a, ranked) for piece in asked.delta_since(nobody, ["a"]))]


def assert_plain(wire: Any) -> None:
    if isinstance(wire, (list, tuple)):
        for part in wire:
            assert_plain(part)
    elif isinstance(wire, dict):
        assert_plain(list(wire.items()))
    else:
        assert type(wire) in PLAIN


def test_everything_is_plain_and_comes_back_as_it_was() -> None:
    kinds = set()
    for wire in messages():
        assert_plain(wire)
        message = decode(wire)
        kinds.add(wire[0])
        assert decode(message.to_wire()) == message
        assert decode(_tuples(wire)) == message
    assert kinds == {0, 1, 2}


def _tuples(wire: Any) -> Any:
    """As a decoder gives it that makes tuples of lists."""
    return tuple(map(_tuples, wire)) if isinstance(wire, list) else wire


def test_a_template_is_sent_once_and_shared() -> None:
    (a,) = members("a")
    for n in range(100):
        start(a, f"x{n}", SpecRecord((*TEMPLATE[:2], *TEMPLATE[2:]), b"%d" % n))
    batch = a.take_batch()
    assert batch is not None
    wire = batch.to_wire()
    assert repr(wire).count("app:Worker") == 1
    received = {id(op.spec.template) for op in decode(wire).ops}  # type: ignore[union-attr]
    assert len(received) == 1


def test_templates_that_are_equal_but_of_other_types_stay_apart() -> None:
    a, b = members("ab")
    for name, value in (("int", 1), ("float", 1.0), ("bool", True)):
        start(a, name, SpecRecord(("t", value), None))
    b.apply(decode(a.take_batch().to_wire()), NOW)  # type: ignore[union-attr]
    assert [type(spec.template[1]) for spec in specs(b).values()] == [int, float, bool]


def test_records_and_other_specs_go_in_one_batch() -> None:
    a, b = members("ab")
    start(a, "x", SpecRecord(TEMPLATE, b"1"))
    start(a, "y", {"a": "dict"})
    start(a, "z", SpecRecord(TEMPLATE, b"2"))
    b.apply(decode(a.take_batch().to_wire()), NOW)  # type: ignore[union-attr]
    assert specs(a) == specs(b)


def test_a_start_in_bulk_is_small() -> None:
    (a,) = members("a")
    for n in range(1000):
        start(a, f"child-{n}", SpecRecord(TEMPLATE, b""), placement=None)
        a.set_row(f"child-{n}", n, RUNNING, 1)
    wire = a.take_batch().to_wire()  # type: ignore[union-attr]
    assert len(repr(wire)) < 1000 * 60


def test_pieces_keep_operation_and_row_of_a_child_together() -> None:
    a, b = members("ab")
    for n in range(7):
        start(a, f"x{n}")
        a.set_row(f"x{n}", n, RUNNING, 1)
    batch = a.take_batch()
    assert batch is not None
    assert len(batch) == 14
    for piece in batch.pieces(3):
        assert len(piece) <= 6
        changes = b.apply(piece, NOW)
        assert {change.child_id for change in changes.children} == {change.child_id for change in changes.rows}
    assert (b.children.keys(), b.table("a")) == (a.children.keys(), a.own_table)


def test_vectors_come_back_as_they_were() -> None:
    a, b = members("ab", Limits(incarnations=0))
    start(a, "x")
    exchange(a, b)
    a = Registry("a", 20, Limits(incarnations=0))
    exchange(a, b)
    start(a, "y")
    exchange(a, b)
    retire(a, b)
    vector = a.vector()
    assert vector.desired.retired
    assert_plain(vector.to_wire())
    assert RegistryVector.from_wire(vector.to_wire()) == vector


NO_BATCHES: list[Any] = [None, 7, [], [0], "batch", [9, "a", [], None], [True, "a", [], None], [0, "", [], None]]


@pytest.mark.parametrize("wire", NO_BATCHES)
def test_what_is_no_batch_is_malformed(wire: Any) -> None:
    with pytest.raises(MalformedBatch):
        decode(wire)


def places(wire: Any, here: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    """The place of every value within nested lists."""
    found = [here] if here else []
    for at, part in enumerate(wire if isinstance(wire, list) else ()):
        found += places(part, (*here, at))
    return found


def replaced(wire: Any, place: tuple[int, ...], value: Any) -> Any:
    changed = copy.deepcopy(wire)
    part = changed
    for at in place[:-1]:
        part = part[at]
    part[place[-1]] = value
    return changed


JUNK: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    3,
    2**63,
    2**80,
    1.5,
    float("nan"),
    "",
    "x",
    b"x",
    [],
    [[]],
    [1],
    {},
    {"a": 1},
    [1, 2],
]


@given(st.data())
def test_a_damaged_message_is_refused_or_applied_and_breaks_nothing(data: st.DataObject) -> None:
    wire = data.draw(st.sampled_from(MESSAGES))
    for _ in range(data.draw(st.integers(1, 2))):
        wire = replaced(wire, data.draw(st.sampled_from(places(wire))), data.draw(st.sampled_from(JUNK)))
    victim = example()
    before = (dict(victim.children), dict(victim.pids), victim.vector())
    try:
        message = decode(wire)
    except MalformedBatch:
        return
    try:
        victim.apply(message, NOW)
    except MalformedBatch:
        assert (dict(victim.children), dict(victim.pids), victim.vector()) == before
    while victim.settling:
        victim.settle()
    victim.take_batch()
    start(victim, "still works")
    assert isinstance(victim.take_batch(), Batch)


def test_every_single_damage_is_refused_or_harmless() -> None:
    """All places of one message of each kind, with all junk: nothing but MalformedBatch may come out of reading."""
    for wire in {wire[0]: wire for wire in MESSAGES}.values():
        for place in places(wire):
            for junk in JUNK:
                try:
                    decode(replaced(wire, place, junk))
                except MalformedBatch:
                    continue


@pytest.mark.parametrize("junk", JUNK)
def test_a_damaged_vector_is_refused_or_reads_as_a_vector(junk: Any) -> None:
    a = example()
    wire = a.vector().to_wire()
    for place in places(wire):
        try:
            vector = RegistryVector.from_wire(replaced(wire, place, junk))
        except MalformedBatch:
            continue
        assert isinstance(vector.to_wire(), list)


MESSAGES = messages()
