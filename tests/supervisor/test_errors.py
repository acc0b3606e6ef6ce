"""The exceptions of the runtime: what they are, what they say, what they carry, and that they can be copied."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import gevent
import pytest

import supervisor.errors as errors
from supervisor.errors import (
    AlreadyRegistered,
    CallTimeout,
    Exit,
    NoConnection,
    NoProcess,
    NotRegistered,
    ProcessExit,
    ReceiveTimeout,
    StartError,
    SupervisorError,
)

CALL = "GenServer.call(..., 'hello')"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ProcessExit("boom"), "process exited: boom"),
        (ProcessExit("boom", CALL), f"process exited: boom in {CALL}"),
        (NoProcess(), "no such process"),
        (NoProcess("name"), "no process 'name'"),
        (NoProcess("name", CALL), f"no process 'name' in {CALL}"),
        (NoConnection("a@h:1"), "no connection to node 'a@h:1'"),
        (NoConnection("a@h:1", CALL), f"no connection to node 'a@h:1' in {CALL}"),
        (AlreadyRegistered("name", 7), "name 'name' is already registered by 7"),
        (NotRegistered("key", 7), "7 has not registered 'key'"),
        (StartError("why"), "process failed to start: why"),
        (StartError("why", "child"), "child 'child' failed to start: why"),
        (StartError("why", 0), "child 0 failed to start: why"),
    ],
)
def test_an_error_says_what_happened_and_to_whom(error: Exception, text: str) -> None:
    assert str(error) == text


def test_who_catches_process_exit_catches_every_reason_for_which_a_call_has_no_answer() -> None:
    assert (NoProcess("x").reason, NoConnection("x").reason) == ("noproc", "noconnection")
    assert issubclass(NoProcess, ProcessExit)
    assert issubclass(NoConnection, ProcessExit)
    assert not issubclass(CallTimeout, ProcessExit)


def test_errors_are_also_what_python_calls_them() -> None:
    for kind in (CallTimeout, ReceiveTimeout):
        assert issubclass(kind, TimeoutError)
    assert issubclass(NotRegistered, LookupError)


def test_every_error_has_the_common_base_but_for_exit_which_no_except_exception_catches() -> None:
    found = [kind for kind in vars(errors).values() if isinstance(kind, type) and kind.__module__ == errors.__name__]
    assert len(found) > 10
    for kind in found:
        assert issubclass(kind, SupervisorError) is (kind is not Exit), kind
    assert issubclass(Exit, gevent.GreenletExit)
    assert not issubclass(Exit, Exception)


@pytest.mark.parametrize(
    "error",
    [
        ProcessExit("boom", CALL),
        NoProcess("name", CALL),
        NoConnection("a@h:1", CALL),
        AlreadyRegistered("name", 7),
        NotRegistered("key", 7),
        StartError("why", "child"),
        CallTimeout("text"),
        Exit("enough"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("clone", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"])
def test_a_copy_of_an_error_says_and_carries_the_same(error: BaseException, clone: Any) -> None:
    again = clone(error)
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))


def test_an_exit_is_normal_unless_it_says_otherwise() -> None:
    assert Exit().reason == "normal"
    assert Exit(("any", "value")).reason == ("any", "value")
