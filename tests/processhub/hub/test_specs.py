"""Specs are checked once, encoded once, and decoded afresh."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from processhub.cluster.callables import Reference, ResolveError
from processhub.cluster.wire import Codec, DecodeError
from processhub.hub.errors import InvalidChildSpec
from processhub.hub.specs import SpecCodec, normalise
from processhub.registry import SpecRecord
from supervisor.child_spec import ChildSpec
from supervisor.child_spec import InvalidChildSpec as RuntimeInvalidChildSpec
from supervisor.errors import EncodeError, NotImportable
from supervisor.pids import NodeId
from tests.processhub.hub import startable
from tests.processhub.hub.startable import Counter, Nested, start


class Nodes:
    home = NodeId("n1@h:1", 1)

    def node_id(self, name: str, incarnation: int) -> NodeId:
        return NodeId(name, incarnation)


@pytest.fixture
def specs() -> SpecCodec:
    return SpecCodec(Codec(Nodes()))


# --- normalise --------------------------------------------------------------------------------------------------


def test_every_accepted_form_becomes_a_child_spec() -> None:
    given = [
        ChildSpec("a", (start, (1,))),
        {"id": "b", "start": (start, (1,))},
        Counter,
        (Counter, 3),
    ]
    with pytest.raises(InvalidChildSpec, match="'counter'"):
        normalise(given)
    assert [spec.id for spec in normalise(given[:3])] == ["a", "b", "counter"]
    assert normalise(iter(())) == []


@pytest.mark.parametrize("bad_id", [7, "", ("a",), "\ud800"])
def test_an_id_that_is_no_text_is_refused(bad_id: Any) -> None:
    with pytest.raises(InvalidChildSpec, match="id must be a non-empty str"):
        normalise([ChildSpec(bad_id, (start, ()))])


def test_repeated_ids_are_all_listed_once() -> None:
    given = [ChildSpec(child_id, (start, ())) for child_id in "abcacaa"]
    with pytest.raises(InvalidChildSpec, match=r"come twice: 'c', 'a'$|come twice: 'a', 'c'$"):
        normalise(given)


@pytest.mark.parametrize("given", [ChildSpec("a", (start, ())), {"id": "a", "start": (start, ())}, "abc", None, 7])
def test_a_single_spec_or_anything_else_is_no_list(given: Any) -> None:
    with pytest.raises(InvalidChildSpec, match="list of child specs"):
        normalise(given)


def test_what_the_runtime_refuses_is_a_hub_error_that_callers_of_both_catch() -> None:
    with pytest.raises(RuntimeInvalidChildSpec, match="lacks start") as caught:
        normalise([{"id": "a"}])
    assert isinstance(caught.value, InvalidChildSpec)


# --- there and back ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        (start, (1, "x")),
        (start, (1,), {"word": "x"}),
        (Counter, "start_here", (1, "x")),
        (Counter.start_here, (1,), {"word": "x"}),
    ],
)
def test_a_spec_comes_back_with_its_options_and_starts_the_same(specs: SpecCodec, form: tuple[Any, ...]) -> None:
    spec = ChildSpec("a", form, "transient", "brutal_kill", "supervisor", True)
    back = specs.ready("a", specs.encode(spec))
    assert (back.restart, back.shutdown, back.type, back.significant) == (
        "transient",
        "brutal_kill",
        "supervisor",
        True,
    )
    assert back.run_start() == spec.run_start()


def test_decoding_gives_a_reference_that_can_be_called_and_imports_nothing(specs: SpecCodec) -> None:
    record = SpecRecord(
        ("no_such_module", "start", None, "permanent", 5.0, "worker", False),
        specs.encode(ChildSpec("a", (start, ()))).args,
    )
    assert specs.decode("a", record).start == (Reference("no_such_module", "start"), (), {})
    with pytest.raises(ResolveError, match="no_such_module"):
        specs.ready("a", record)
    mine = specs.decode("a", specs.encode(ChildSpec("a", (start, (1,)))))
    assert mine.run_start() == start(1)


def test_every_decode_has_arguments_of_its_own(specs: SpecCodec) -> None:
    arg: dict[str, list[int]] = {"seen": []}
    record = specs.encode(ChildSpec("a", (start, (arg,))))
    specs.ready("a", record).start[1][0]["seen"].append(1)
    arg["seen"].append(2)
    assert specs.ready("a", record).start[1] == ({"seen": []},)


def test_functions_among_the_arguments_are_resolved_when_it_starts(specs: SpecCodec) -> None:
    record = specs.encode(ChildSpec("a", (start, (1, [Counter]), {"word": start})))
    assert specs.ready("a", record).start == (start, (1, [Counter]), {"word": start})


def test_a_method_of_a_nested_class_is_found_again(specs: SpecCodec) -> None:
    assert specs.ready("a", specs.encode(ChildSpec("a", (Nested.Inner, "start_here", ())))).run_start() == "inner"


def test_an_inherited_classmethod_is_bound_to_the_class_that_was_named(specs: SpecCodec) -> None:
    for form in ((startable.Special.start_here, (1,)), (startable.Special, "start_here", (1,))):
        assert specs.ready("a", specs.encode(ChildSpec("a", form))).run_start()[0] == "Special"


def test_equal_specs_give_equal_records_and_share_one_template(specs: SpecCodec) -> None:
    one, same, other = (specs.encode(ChildSpec("x", (start, (number,)))) for number in (1, 1, 2))
    assert one == same
    assert one.template is other.template
    assert one.args != other.args
    assert hash(one.template) == hash(same.template)
    assert one.template != specs.encode(ChildSpec("x", (start, (1,)), "temporary")).template
    assert SpecCodec(Codec(Nodes())).encode(ChildSpec("x", (start, (1,)))) == one


def test_many_are_encoded_by_id(specs: SpecCodec) -> None:
    records = specs.encode_all(ChildSpec(child_id, (start, (child_id,))) for child_id in "ab")
    assert [specs.ready(child_id, record).start[1] for child_id, record in records.items()] == [("a",), ("b",)]


# --- refusals ---------------------------------------------------------------------------------------------------


def test_an_argument_that_cannot_be_sent_is_named_with_child_and_path(specs: SpecCodec) -> None:
    with pytest.raises(EncodeError, match=r"child spec 'a': args\[1\]\[\"sock\"\]|child spec 'a': args\[1\]\['sock'\]"):
        specs.encode(ChildSpec("a", (start, (1, {"sock": object()}))))
    with pytest.raises(EncodeError, match=r"child spec 'a': kwargs"):
        specs.encode(ChildSpec("a", (start, (), {"x": object()})))


@pytest.mark.parametrize(
    "fn", [lambda: None, partial(start, 1), startable.INSTANCE.method], ids=["lambda", "partial", "method"]
)
def test_a_start_function_without_an_importable_name_is_refused_with_the_child(specs: SpecCodec, fn: Any) -> None:
    with pytest.raises(NotImportable, match="child spec 'a': start: "):
        specs.encode(ChildSpec("a", (fn, ())))


def test_a_lambda_among_the_arguments_is_refused(specs: SpecCodec) -> None:
    with pytest.raises(NotImportable, match=r"child spec 'a': args\[0\]"):
        specs.encode(ChildSpec("a", (start, (lambda: None,))))


@pytest.mark.parametrize(
    "template",
    [
        None,
        (),
        ("m", "q"),
        ("m", "q", None, "sometimes", 5.0, "worker", False),
        ("m", "q", None, "permanent", [], "worker", False),
    ],
)
def test_a_malformed_template_is_a_decode_error(specs: SpecCodec, template: Any) -> None:
    with pytest.raises(DecodeError, match="'a'"):
        specs.decode("a", SpecRecord(template, specs.encode(ChildSpec("a", (start, ()))).args))


@pytest.mark.parametrize("args", [None, 7, b"", b"\xc1", b"\x90", b"\x92\x01\x02"])
def test_malformed_arguments_are_a_decode_error(specs: SpecCodec, args: Any) -> None:
    template = specs.encode(ChildSpec("a", (start, ()))).template
    with pytest.raises(DecodeError):
        specs.decode("a", SpecRecord(template, args))
