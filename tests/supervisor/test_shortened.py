"""Values as short text: as `repr` does, but bounded in length and in what is looked at, whatever the value is."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.shortened import shortened

Point = namedtuple("Point", "x y")


class BadRepr:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class Unlimited:
    """Whoever looks at all of it never comes to an end."""

    def __init__(self) -> None:
        self.looked_at = 0

    def __repr__(self) -> str:
        self.looked_at += 1
        assert self.looked_at < 100, "looked at far too many"
        return "x"


@dataclass
class Record:
    items: list[Any]
    hidden: str = field(default="secret", repr=False)


@dataclass
class OwnRepr:
    password: str

    def __repr__(self) -> str:
        return "OwnRepr(***)"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([1, "two", None, True, 2.5], "[1, 'two', None, True, 2.5]"),
        ((1,), "(1,)"),
        ((), "()"),
        ({"a": (1, 2)}, "{'a': (1, 2)}"),
        (set(), "set()"),
        (frozenset({1}), "frozenset({1})"),
        (deque([1]), "deque([1])"),
        (Point(1, 2), "Point(x=1, y=2)"),
        (Record([1]), "Record(items=[1])"),
        (OwnRepr("secret"), "OwnRepr(***)"),
        (Record, repr(Record)),
        (list(range(100)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... (100 in all)]"),
        ([[[[[[1]]]]]], "[[[[[...]]]]]"),
        (b"ab", "b'ab'"),
        ("x" * 1000, repr("x" * 200) + "... (1000 long)"),
        ([BadRepr(), 1], "[<BadRepr whose repr failed: RuntimeError>, 1]"),
    ],
)
def test_a_value_is_shown_as_repr_does_but_bounded(value: Any, text: str) -> None:
    assert shortened(value) == text


def test_a_giant_number_is_not_written_out() -> None:
    assert shortened([10**10000, 10**100]) == f"[<int of 33220 bits>, {10**100}]"


def test_a_value_that_holds_itself_is_shown() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert shortened(loop) == "[[[[[...]]]]]"


def test_the_text_is_never_longer_than_the_limit() -> None:
    class Long:
        def __repr__(self) -> str:
            return "x" * 10_000

    assert len(shortened(Long())) == 500
    assert shortened(Long(), 10) == "xxxxxxx..."
    assert len(shortened([Long()] * 5)) == 500


@pytest.mark.parametrize("kind", [list, tuple, deque])
def test_only_the_beginning_of_a_giant_container_is_looked_at(kind: Any) -> None:
    assert "x, x, ... (1000000 in all)" in shortened(kind([Unlimited()] * 1_000_000))
    giant = {n: Unlimited() for n in range(100_000)}
    assert shortened(giant).endswith("... (100000 in all)}")
    assert "(1000000 in all)" in shortened(Record([Unlimited()] * 1_000_000))


def test_a_subclass_with_a_repr_of_its_own_is_asked() -> None:
    class Mine(dict[Any, Any]):
        def __repr__(self) -> str:
            return "Mine()"

    assert shortened(Mine(a=1)) == "Mine()"
    assert shortened(OrderedDict(a=1)) == repr(OrderedDict(a=1))


class Colour(IntEnum):
    RED = 1


class Text(str):
    pass


@pytest.mark.parametrize("value", [Colour.RED, defaultdict(list, {1: [2]}), Text("a"), True, None, 1.5, print, int])
def test_other_values_are_shown_as_they_show_themselves(value: Any) -> None:
    assert shortened(value) == repr(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({BadRepr(): 1}, "{<BadRepr whose repr failed: RuntimeError>: 1}"),
        ({1, 2}, "set({1, 2})"),
        (deque([BadRepr()]), "deque([<BadRepr whose repr failed: RuntimeError>])"),
        (bytearray(b"x" * 300), f"{bytearray(b'x' * 200)!r}... (300 long)"),
        ({n: n for n in range(12)}, "{" + ", ".join(f"{n}: {n}" for n in range(10)) + ", ... (12 in all)}"),
        (-(10**400), "<int of 1329 bits>"),
        ({}, "{}"),
        ([[]], "[[]]"),
    ],
)
def test_containers_are_shown_item_by_item(value: Any, text: str) -> None:
    assert shortened(value) == text


def test_a_repr_that_returns_no_text_is_a_failed_one() -> None:
    class Odd:
        def __repr__(self) -> Any:
            return 7

    assert shortened([Odd()]) == "[<Odd whose repr failed: TypeError>]"


def test_an_exit_that_a_repr_raises_is_not_held_up() -> None:
    class Exits:
        def __repr__(self) -> str:
            raise SystemExit

    with pytest.raises(SystemExit):
        shortened([Exits()])


def test_a_deep_value_is_cut_before_python_gives_up() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert shortened(deep) == "[[[[[...]]]]]"
    while deep:  # from the outside in: otherwise freeing it takes as many frames
        deep = deep.pop()


scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=5)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(scalars, inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=8,
)


@given(values, st.integers(4, 100))
def test_small_values_are_shown_as_repr_does_up_to_the_limit(value: Any, limit: int) -> None:
    text = shortened(value, limit)
    assert len(text) <= limit
    whole = shortened(value, 10_000)
    assert whole == repr(value) or "..." in whole
    assert text == whole or text == whole[: limit - 3] + "..."
