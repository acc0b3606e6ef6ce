"""What callbacks return: plain values that compare, that say what they mean by default, and that cannot be changed."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

import supervisor.directives as directives
from supervisor.directives import Continue, Ignore, NoReply, Reply, Stop, StopRequest
from supervisor.gen_server import GenServer
from tests.supervisor.kit import ManualClock, scripted

ALL = [Reply(1), NoReply(), Stop(), Continue("token"), Ignore(), StopRequest("why")]


@pytest.mark.parametrize("directive", ALL, ids=lambda value: type(value).__name__)
def test_a_directive_is_a_value_that_cannot_be_changed(directive: Any) -> None:
    again = type(directive)(*(getattr(directive, field.name) for field in fields(directive)))
    assert again == directive
    assert again is not directive
    with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
        directive.anything = 1


def test_what_is_not_said_means_nothing_is_to_follow() -> None:
    assert (Reply(1).timeout, Reply(1).continue_) == (None, None)
    assert (NoReply().timeout, NoReply().continue_) == (None, None)
    assert Stop().reason == "normal"
    assert Stop("why").reply == NoReply()  # an answer of None is an answer


def test_every_directive_is_known_to_the_turns_but_not_what_only_the_runtime_sends() -> None:
    assert {type(directive) for directive in ALL} - {StopRequest} == directives.DIRECTIVES
    assert {Ignore, Stop} == directives.REFUSALS


@pytest.mark.parametrize("value", [Reply, NoReply, (Stop, "why"), [Ignore()], StopRequest("why"), "timeout"], ids=repr)
def test_what_only_looks_like_a_directive_is_a_reply(clock: ManualClock, value: Any) -> None:
    pid, events = scripted()
    assert GenServer.call(pid, lambda _: value) == value
    clock.advance(100.0)
    assert events == []


def test_a_subclass_of_a_directive_is_a_reply_too(clock: ManualClock) -> None:
    class Mine(Stop):
        pass

    pid, _ = scripted()
    mine = Mine("why")
    assert GenServer.call(pid, lambda _: mine) is mine
