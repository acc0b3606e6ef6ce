"""A word that was given binds until its receiver has answered or can no longer follow it."""

from __future__ import annotations

from processhub.hub.promises import Promises
from processhub.registry import RUNNING, Row

ROWS = {"b": Row("pid of b", RUNNING, 1), "c": Row("pid of c", RUNNING, 1)}


def test_a_word_is_outstanding_until_its_receiver_refuses() -> None:
    promises = Promises()
    serial = promises.told("x", "b", "pid of b", now=0.0)
    assert promises.outstanding("x", ROWS, "abc", now=1.0)
    promises.refused("x", "b", serial)
    assert not promises.outstanding("x", ROWS, "abc", now=1.0)
    assert len(promises) == 0


def test_the_refusal_of_an_earlier_word_does_not_end_a_later_one() -> None:
    promises = Promises()
    first = promises.told("x", "b", "pid of b", now=0.0)
    promises.told("x", "b", "pid of b", now=1.0)
    promises.refused("x", "b", first)
    assert promises.outstanding("x", ROWS, "abc", now=1.0)


def test_a_word_ends_when_the_copy_is_gone_or_another_one() -> None:
    promises = Promises()
    promises.told("x", "b", "pid of b", now=0.0)
    assert not promises.outstanding("x", {"c": ROWS["c"]}, "abc", now=1.0)
    promises.told("x", "b", "an earlier pid", now=0.0)
    assert not promises.outstanding("x", ROWS, "abc", now=1.0)


def test_a_word_ends_when_the_receiver_is_no_member() -> None:
    promises = Promises()
    promises.told("x", "b", "pid of b", now=0.0)
    assert not promises.outstanding("x", ROWS, "ac", now=1.0)


def test_a_word_ends_when_it_can_no_longer_be_under_way() -> None:
    promises = Promises(seconds=60.0)
    promises.told("x", "b", "pid of b", now=0.0)
    assert promises.outstanding("x", ROWS, "abc", now=59.9)
    assert not promises.outstanding("x", ROWS, "abc", now=60.0)


def test_all_receivers_must_have_answered() -> None:
    promises = Promises()
    first = promises.told("x", "b", "pid of b", now=0.0)
    second = promises.told("x", "c", "pid of c", now=0.0)
    promises.refused("x", "b", first)
    assert promises.outstanding("x", ROWS, "abc", now=1.0)
    promises.refused("x", "c", second)
    assert not promises.outstanding("x", ROWS, "abc", now=1.0)


def test_words_about_one_child_do_not_bind_another() -> None:
    promises = Promises()
    promises.told("x", "b", "pid of b", now=0.0)
    assert not promises.outstanding("y", ROWS, "abc", now=1.0)
    promises.forget("x")
    assert not promises.outstanding("x", ROWS, "abc", now=1.0)
