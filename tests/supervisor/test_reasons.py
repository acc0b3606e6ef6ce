"""Exit reasons: plain values, text instead of frames, and which of them are a planned end."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

import supervisor.reasons as reasons
from supervisor.reasons import Crash, Shutdown, is_orderly


def crash_of(error: BaseException) -> Crash:
    try:
        raise error
    except BaseException as caught:
        return Crash.from_exception(caught)


@pytest.mark.parametrize(
    ("reason", "orderly"),
    [
        ("normal", True),
        ("shutdown", True),
        (Shutdown("moved"), True),
        (Shutdown(), True),
        ("kill", False),
        ("killed", False),
        ("noproc", False),
        ("noconnection", False),
        (Crash("E", "m"), False),
        (None, False),
        (("shutdown", "moved"), False),
        (["normal"], False),
        ("Normal", False),
    ],
    ids=repr,
)
def test_an_end_is_orderly_when_it_was_planned(reason: Any, orderly: bool) -> None:
    assert is_orderly(reason) is orderly


def test_the_words_are_those_of_otp() -> None:
    words = (reasons.NORMAL, reasons.SHUTDOWN, reasons.KILL, reasons.KILLED, reasons.NOPROC, reasons.NOCONNECTION)
    assert words == ("normal", "shutdown", "kill", "killed", "noproc", "noconnection")


def test_a_crash_has_type_message_and_traceback_as_text() -> None:
    crash = crash_of(ValueError("no"))
    assert (crash.type, crash.message) == ("ValueError", "no")
    assert crash.traceback.startswith("Traceback (most recent call last):")
    assert "in crash_of" in crash.traceback
    assert crash.traceback.endswith("ValueError: no\n")


def test_a_crash_tells_its_cause_too() -> None:
    def fails() -> None:
        try:
            raise KeyError("the cause")
        except KeyError as error:
            raise ValueError("the effect") from error

    with pytest.raises(ValueError, match="the effect") as failed:
        fails()
    text = Crash.from_exception(failed.value).traceback
    assert "KeyError: 'the cause'" in text
    assert "direct cause" in text


def test_a_crash_shows_itself_briefly() -> None:
    assert (str(Crash("E", "m", "long")), repr(Crash("E", "m", "long"))) == ("E: m", "Crash(E: m)")
    assert (str(Crash("E", "")), repr(Crash("E", ""))) == ("E", "Crash(E)")


def test_an_exception_of_an_inner_class_is_named_in_full() -> None:
    class Inner(Exception):
        pass

    assert crash_of(Inner("m")).type.endswith("<locals>.Inner")


def test_an_exception_that_cannot_be_shown_is_a_crash_all_the_same() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no str")

    crash = crash_of(Odd())
    assert crash.message == "<str() of the exception failed: RuntimeError>"
    assert "Odd" in crash.traceback


def test_a_crash_keeps_nothing_of_the_exception_alive() -> None:
    class Big:
        pass

    def fails() -> Crash:
        big = Big()
        refs.append(weakref.ref(big))
        return crash_of(ValueError(big))

    refs: list[weakref.ref[Big]] = []
    crash = fails()
    gc.collect()
    assert refs[0]() is None
    assert crash.type == "ValueError"


def test_reasons_are_values_that_can_be_compared_and_are_keys() -> None:
    assert Shutdown("a") == Shutdown("a") != Shutdown("b")
    assert Crash("E", "m") == Crash("E", "m") != Crash("E", "n")
    assert len({Shutdown("a"), Shutdown("a"), Crash("E", "m"), Crash("E", "m")}) == 2
