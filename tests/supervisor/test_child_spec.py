from __future__ import annotations

from typing import Any

import pytest

from supervisor.child_spec import ChildSpec, InvalidChildSpec, child_spec
from supervisor.gen_server import GenServer


def start(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


class Server(GenServer):
    """Its start_link shows what it was called with."""

    @classmethod
    def start_link(cls, *args: Any, **kwargs: Any) -> Any:
        return args, kwargs


@pytest.mark.parametrize(
    ("given", "called_with"),
    [
        ((start, ()), ((), {})),
        ((start, (1, 2)), ((1, 2), {})),
        ((start, [1], {"b": 2}), ((1,), {"b": 2})),
        ((Server, "start_link", (1,)), ((1,), {})),
        ((Server, "start_link", (1,), {"b": 2}), ((1,), {"b": 2})),
    ],
)
def test_every_form_of_start_calls_the_function_with_its_arguments(given: Any, called_with: Any) -> None:
    assert ChildSpec("a", given).run_start() == called_with


def test_every_start_gets_keyword_arguments_of_its_own() -> None:
    def change(**kwargs: Any) -> Any:
        kwargs["n"] += 1
        kwargs["more"] = True
        return kwargs

    spec = ChildSpec("a", (change, (), {"n": 1}))
    assert spec.run_start() == spec.run_start() == {"n": 2, "more": True}


@pytest.mark.parametrize(
    "given",
    [
        ChildSpec("Server", (Server, "start_link", (), {})),
        {"id": "Server", "start": (Server, "start_link", (), {})},
        Server,
        (Server, 5),
    ],
)
def test_every_accepted_form_gives_a_spec(given: Any) -> None:
    spec = child_spec(given)
    assert (spec.id, spec.restart, spec.shutdown, spec.type, spec.significant) == (
        "Server",
        "permanent",
        5.0,
        "worker",
        False,
    )
    assert spec.run_start()[0] == ((5,) if isinstance(given, tuple) else ())
    assert child_spec(spec) is spec


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"id": None}, "id must be"),
        ({"id": [1]}, "id must be"),
        ({"start": start}, "start must be"),
        ({"start": (start,)}, "start must be"),
        ({"start": ("start", ())}, "start must be"),
        ({"start": (Server, "no_such_method", ())}, "start must be"),
        ({"start": (start, 5)}, "start must be"),
        ({"start": (start, (), {}, 1)}, "start must be"),
        ({"restart": "always"}, "restart must be one of permanent, transient, temporary; got 'always'"),
        ({"shutdown": -1}, "shutdown must be"),
        ({"shutdown": True}, "shutdown must be"),
        ({"shutdown": "soon"}, "shutdown must be"),
        ({"shutdown": None}, "shutdown must be"),
        ({"type": "boss"}, "type must be"),
        ({"significant": 1}, "significant must be"),
        ({"modules": []}, "unknown keys modules"),
    ],
)
def test_a_wrong_part_is_named_with_what_was_expected(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidChildSpec, match=complaint):
        child_spec({"id": "a", "start": (start, ()), **change})


def test_missing_keys_are_named() -> None:
    with pytest.raises(InvalidChildSpec, match="lacks id and start"):
        child_spec({})


@pytest.mark.parametrize("given", [None, 5, "Server", (Server,), (1, 2), object])
def test_what_is_no_spec_is_refused_with_the_accepted_forms(given: Any) -> None:
    with pytest.raises(InvalidChildSpec, match="expected a ChildSpec, a dict"):
        child_spec(given)


def test_an_invalid_spec_is_a_value_error() -> None:
    assert issubclass(InvalidChildSpec, ValueError)


def test_modules_name_where_the_start_function_comes_from() -> None:
    assert ChildSpec("a", (start, ())).modules == [start.__module__]
