from __future__ import annotations

import dataclasses
import enum
import functools
import math
import sys
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgpack
import pytest
from gevent.monkey import get_original
from hypothesis import given
from hypothesis import strategies as st

from processhub.cluster import wire_types
from processhub.cluster.wire import (
    Codec,
    DecodeError,
    Packed,
    Reference,
    ResolveError,
    reference_to,
    register,
    resolved,
)
from supervisor.errors import EncodeError, NotImportable
from supervisor.pids import NodeId, Pid, Ref
from supervisor.reasons import Crash, Shutdown


class Nodes:
    """What the codec needs of a runtime."""

    def __init__(self, name: str = "a@127.0.0.1:1", incarnation: int = 7) -> None:
        self.home = NodeId(name, incarnation)
        self._all = {(name, incarnation): self.home}

    def node_id(self, name: str, incarnation: int) -> NodeId:
        return self._all.setdefault((name, incarnation), NodeId(name, incarnation))


class Color(enum.Enum):
    RED = 1
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1


class Perm(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass(frozen=True)
class Order:
    item: Any
    amount: Any = 1


@dataclasses.dataclass
class Plain:
    item: Any


class Checked:
    def __init__(self, size: int) -> None:
        if type(size) is not int or size < 0:
            raise ValueError("a size is a natural number")
        self.size = size


class Base:
    @classmethod
    def make(cls) -> str:
        return cls.__name__

    def method(self) -> None: ...


class Derived(Base):
    class Inner:
        pass


class Conn:
    def __init__(self) -> None:
        self.sock = get_original("_thread", "allocate_lock")()


Point = namedtuple("Point", "x y")


def top_level(a: int, b: int = 0) -> int:
    return a + b


FIRST, SECOND = wire_types.LAST_CODE - 1, wire_types.LAST_CODE


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    register(FIRST, Order)
    register(SECOND, Checked, lambda obj: (obj.size,), Checked, names=["size"])
    yield
    for code, cls in ((FIRST, Order), (SECOND, Checked)):
        del wire_types.TAGS[code], wire_types.ENCODERS[cls], wire_types.FIELD_NAMES[cls]


NODES = Nodes()
CODEC = Codec(NODES)
PID = Pid(NODES.home, 5)


def trip(value: Any) -> Any:
    """`value` as another node gets it."""
    return Codec(Nodes("b@127.0.0.1:2")).unpack(CODEC.pack(value))


def same(left: Any, right: Any) -> bool:
    """Equal in value and in type, everywhere inside; NaN equals NaN."""
    if type(left) is not type(right):
        return False
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return same(list(left.items()), list(right.items()))
    if isinstance(left, Decimal):
        return str(left) == str(right)
    if isinstance(left, float) and math.isnan(left):
        return math.isnan(right)
    if isinstance(left, datetime):
        return bool(left == right and left.fold == right.fold and left.utcoffset() == right.utcoffset())
    if isinstance(left, Shutdown):
        return same(left.detail, right.detail)
    if isinstance(left, Order):
        return same(left.item, right.item) and same(left.amount, right.amount)
    return bool(left == right)


node_ids = st.builds(NodeId, st.text(min_size=1, max_size=20), st.integers(0, 2**64 - 1))
offsets = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)
hashables = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(2**70), 2**70), st.floats(), st.text(), st.binary(),
    st.datetimes(timezones=st.none() | offsets), st.dates(), st.times(), st.timedeltas(),
    st.decimals(allow_nan=False), st.uuids(), st.sampled_from([Color.RED, Color.GREEN, Level.LOW, Perm.WRITE]),
    st.builds(Pid, node_ids, st.integers(0, 2**64 - 1)), st.builds(Ref, node_ids, st.integers(0, 2**64 - 1)),
    st.builds(Crash, st.text(), st.text(), st.text()), st.builds(Packed, st.binary()),
    st.builds(Reference, st.text("abc.", min_size=1), st.text("abc.", min_size=1), st.none() | st.just("x")),
)  # fmt: skip
deep_hashables = st.recursive(
    hashables,
    lambda inner: (
        st.tuples(inner, inner)
        | st.frozensets(inner, max_size=3)
        | st.builds(Shutdown, inner)
        | st.builds(Order, inner)
    ),
    max_leaves=6,
)
values = st.recursive(
    deep_hashables | st.sets(deep_hashables, max_size=3) | st.just(Decimal("sNaN")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner)
        | st.dictionaries(deep_hashables, inner, max_size=3)
        | st.builds(Shutdown, inner)
    ),
    max_leaves=12,
)


@given(values)
def test_what_arrives_is_what_was_sent(value: Any) -> None:
    assert same(trip(value), value)


@given(values, st.integers(1, 300))
def test_slices_give_the_same_bytes_and_the_same_value(value: Any, size: int) -> None:
    whole = CODEC.pack(value)
    assert b"".join(CODEC.pack_slices(value, size)) == whole
    assert CODEC.pack(drain(CODEC.unpack_slices(whole, size))) == whole


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_raise_decode_error(data: bytes) -> None:
    decodes_or_refuses(data)


@given(values, st.data())
def test_damaged_bytes_decode_or_raise_decode_error(value: Any, data: st.DataObject) -> None:
    whole = bytearray(CODEC.pack(value))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    decodes_or_refuses(bytes(whole))


extensions = st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=24))
shapes = st.recursive(
    extensions | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
)


@given(shapes)
def test_tags_and_extensions_in_wrong_places_decode_or_raise_decode_error(shape: Any) -> None:
    decodes_or_refuses(msgpack.packb(shape))


def decodes_or_refuses(data: bytes) -> None:
    try:
        value = CODEC.unpack(data)
    except DecodeError:
        with pytest.raises(DecodeError):
            drain(CODEC.unpack_slices(data, 7))
        return
    CODEC.pack(value)  # what decodes holds nothing of the decoder's insides
    drain(CODEC.unpack_slices(data, 7))


def drain(steps: Any) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


@pytest.mark.parametrize(
    "value",
    [
        datetime(1, 1, 1, tzinfo=timezone(timedelta(microseconds=1))), time(1, tzinfo=timezone(timedelta(hours=-3))),
        (1, (2, [3, ()])), {(1, "a"): {None: b"x"}}, 2**64 - 1, 2**64, -(2**63) - 1, -(2**200), float("inf"), "\0", "",
        datetime(2024, 10, 27, 2, 30, fold=1), datetime.now(timezone.utc), time(1, 2, fold=1), date.max, timedelta.min,
        Decimal("-0.10"), UUID(int=3), {frozenset({1}), 2}, Shutdown((1, 2)), Crash("E", "m", "t"), Perm.READ, [[], {}],
    ],
)  # fmt: skip
def test_examples_arrive_as_they_were_sent(value: Any) -> None:
    assert same(trip(value), value)


def test_nan_arrives_as_nan() -> None:
    assert math.isnan(trip(float("nan")))


def test_bytes_and_text_stay_apart_and_other_buffers_arrive_as_bytes() -> None:
    assert trip([b"x", "x", bytearray(b"x"), memoryview(b"x")]) == [b"x", "x", b"x", b"x"]
    assert type(trip(bytearray(b"x"))) is bytes


def test_equal_sets_give_equal_bytes_whatever_their_history() -> None:
    items = [f"child-{number}" for number in range(50)] + [3, (1, 2), None]
    assert CODEC.pack(set(items)) == CODEC.pack({*items[25:], *items[:25]})


def test_pids_of_one_node_share_the_receivers_node_object() -> None:
    nodes = Nodes("b@127.0.0.1:2")
    codec = Codec(nodes)
    first, second = codec.unpack(CODEC.pack([PID, Ref(NODES.home, 9)]))
    assert first == PID
    assert first.home is second.home is nodes.node_id("a@127.0.0.1:1", 7)


def test_a_pid_comes_home_as_a_pid_of_the_own_node_object() -> None:
    assert CODEC.unpack(trip_bytes(PID)).home is NODES.home


def trip_bytes(value: Any) -> bytes:
    return Codec(Nodes("b@127.0.0.1:2")).pack(trip(value))


def test_a_new_name_of_the_node_shows_in_pids_sent_after_it() -> None:
    nodes = Nodes("nonode@nohost", 0)
    codec = Codec(nodes)
    pid = Pid(nodes.home, 1)
    codec.pack(pid)
    nodes.home.name, nodes.home.incarnation = "c@127.0.0.1:3", 4
    assert trip_of(codec, pid).node == "c@127.0.0.1:3"
    assert trip_of(codec, pid).incarnation == 4


def test_a_node_that_took_a_name_knows_pids_of_that_name_as_its_own() -> None:
    nodes = Nodes("nonode@nohost", 0)
    codec = Codec(nodes)
    data = CODEC.pack(PID)
    assert codec.unpack(data).home is not nodes.home  # of a namesake, as far as it can know
    nodes.home.name, nodes.home.incarnation = PID.node, PID.incarnation
    nodes._all[PID.node, PID.incarnation] = nodes.home
    codec.forget()
    assert codec.unpack(data).home is nodes.home


def trip_of(codec: Codec, value: Any) -> Any:
    return CODEC.unpack(codec.pack(value))


def test_more_nodes_than_the_cache_holds_still_arrive() -> None:
    pids = [Pid(NodeId(f"n{number}@h:1", number), number) for number in range(10_000)]
    assert trip(pids) == pids


# -- references


@pytest.mark.parametrize(
    ("obj", "reference"),
    [
        (top_level, Reference(__name__, "top_level")),
        (Derived, Reference(__name__, "Derived")),
        (Derived.Inner, Reference(__name__, "Derived.Inner")),
        (Derived.make, Reference(__name__, "Derived", "make")),
        (Base.make, Reference(__name__, "Base", "make")),
        (Derived.method, Reference(__name__, "Base.method")),
        (len, Reference("builtins", "len")),
        (math.sqrt, Reference("math", "sqrt")),
        (str.upper, Reference("builtins", "str.upper")),
        (dict.fromkeys, Reference("builtins", "dict", "fromkeys")),
        (functools.partial, Reference("functools", "partial")),
        (Color, Reference(__name__, "Color")),
    ],
)
def test_an_importable_object_travels_by_name_and_resolves_to_itself(obj: Any, reference: Reference) -> None:
    received = trip(obj)
    assert received == reference == reference_to(obj)
    assert received.resolve() == obj
    assert trip(received) == received


def test_an_inherited_classmethod_keeps_the_class_that_it_was_bound_to() -> None:
    assert trip(Derived.make)() == "Derived"


def test_a_received_function_can_be_called_as_it_stands() -> None:
    assert trip(top_level)(1, b=2) == 3


def test_references_deep_in_a_value_can_be_resolved_at_once() -> None:
    value = {"f": [top_level, (Derived.make, {len})], top_level: frozenset([str])}
    assert resolved(trip(value)) == value


NAMELESS: list[Any] = [(lambda: 1), Derived().method, functools.partial(top_level, 1), Conn().sock.acquire]


@pytest.mark.parametrize("obj", NAMELESS)
def test_what_has_no_importable_name_is_refused(obj: Any) -> None:
    with pytest.raises(EncodeError, match=r"cannot send args\[1\]"):
        CODEC.pack((1, obj), "args")


def test_lambdas_local_functions_and_methods_of_instances_are_not_importable() -> None:
    def local() -> None: ...

    class Local: ...

    nameless: list[Any] = [local, Local, lambda: 1, Derived().method, [].append]
    for obj in nameless:
        with pytest.raises(NotImportable):
            CODEC.pack(obj)


def test_a_function_that_was_replaced_since_is_not_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    original = top_level
    monkeypatch.setattr(sys.modules[__name__], "top_level", lambda: 0)
    with pytest.raises(NotImportable, match="another object"):
        CODEC.pack(original)


def test_decoding_a_reference_imports_nothing() -> None:
    name = "antigravity"
    assert name not in sys.modules
    references = [Reference(name, "fly"), Reference(name, "Fly", "HIGH")]
    member = msgpack.ExtType(wire_types.ENUM, f"{name}\0Fly\0HIGH".encode())
    assert CODEC.unpack(CODEC.pack(references)) == references
    assert CODEC.unpack(msgpack.packb(member)) == references[1]
    assert name not in sys.modules


def test_a_name_that_is_not_there_is_named_in_the_error() -> None:
    for reference, text in (
        (Reference("no.such.module", "f"), "importing 'no.such.module' failed"),
        (Reference("math", "no_such"), "math:no_such"),
        (Reference(__name__, "Color", "BLUE"), "Color.BLUE"),
        (Reference("__main__", "only_in_the_senders_script"), "the script of this node"),
    ):
        with pytest.raises(ResolveError, match=text):
            reference.resolve()


def test_objects_of_the_script_resolve_against_the_receivers_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "mine", 42, raising=False)
    assert CODEC.unpack(CODEC.pack(Reference("__main__", "mine"))).resolve() == 42


def test_an_enum_member_of_a_module_that_is_not_loaded_arrives_as_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    data = CODEC.pack([Color.RED])
    module = sys.modules[__name__]
    monkeypatch.delitem(sys.modules, __name__)
    received = CODEC.unpack(data)
    assert received == [Reference(__name__, "Color", "RED")]
    monkeypatch.setitem(sys.modules, __name__, module)
    assert resolved(received) == [Color.RED]


def test_decoding_an_enum_member_runs_no_module_level_getattr(monkeypatch: pytest.MonkeyPatch) -> None:
    def trap(name: str) -> Any:
        raise AssertionError(f"asked for {name}")

    monkeypatch.setattr(sys.modules[__name__], "__getattr__", trap, raising=False)
    member = msgpack.ExtType(wire_types.ENUM, f"{__name__}\0Missing\0RED".encode())
    assert CODEC.unpack(msgpack.packb(member)) == Reference(__name__, "Missing", "RED")


# -- what cannot be sent, and where it is


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"conn": Conn()}, r'state\["conn"\]\.sock: a _thread\.lock'),
        ([1, {"a": (2, object())}], r'state\[1\]\["a"\]\[1\]: a object'),
        (Order(Conn()), r"state\.item\.sock"),
        (Order(1, object()), r"state\.amount: a object"),
        (Shutdown(object()), r"state\.detail"),
        ({Point(1, 2): 1}, r"key Point\(x=1, y=2\) of state: .*namedtuple"),
        ({1: OrderedDict()}, r"state\[1\]: .*send dict\(\.\.\.\)"),
        (defaultdict(list), r"send dict\(\.\.\.\)"),
        ([Plain(1)], r"state\[0\]: .*Plain is a dataclass"),
        ([ValueError("x")], r"state\[0\]: .*exception"),
        (["ok", "\ud800"], r"state\[1\]: text with a lone surrogate"),
        ({frozenset([Ellipsis])}, r"element .*Ellipsis.* of element .* of state"),
        (Perm.READ | Perm.WRITE, r"combination of flags"),
        (Pid(NODES.home, 2**64), "cannot send state"),
    ],
)
def test_an_error_names_the_path_to_what_cannot_be_sent(value: Any, text: str) -> None:
    with pytest.raises(EncodeError, match=text):
        CODEC.pack(value, "state")
    with pytest.raises(EncodeError, match=text):
        list(CODEC.pack_slices(value, 10, "state"))
    assert CODEC.unpack(CODEC.pack([1])) == [1]  # the failure left nothing behind


def test_a_value_that_contains_itself_or_is_too_deep_is_refused() -> None:
    loop: list[Any] = []
    loop.append({"again": (loop,)})
    with pytest.raises(EncodeError, match=r'\[0\]\["again"\]\[0\]: it contains itself'):
        CODEC.pack(loop)
    deep: Any = 1
    for _ in range(2000):
        deep = (deep,)
    with pytest.raises(EncodeError, match="nested too deeply"):
        CODEC.pack(deep)


def test_deep_nesting_in_bytes_is_a_decode_error() -> None:
    for data in (b"\x91" * 100_000 + b"\x01", b"\x92\xd4\x00\x00" * 100_000 + b"\x01"):
        with pytest.raises(DecodeError):
            CODEC.unpack(data)


def test_a_value_over_the_limit_is_refused_on_both_sides() -> None:
    small = Codec(NODES, limit=100)
    with pytest.raises(EncodeError, match="100 allowed"):
        small.pack(b"x" * 100)
    with pytest.raises(EncodeError, match="100 allowed"):
        list(small.pack_slices([b"x" * 50, b"x" * 50], 10))
    data = CODEC.pack(b"x" * 100)
    with pytest.raises(DecodeError, match="100 bytes"):
        small.unpack(data)
    with pytest.raises(DecodeError, match="100 bytes"):
        drain(small.unpack_slices(data, 10))


# -- registered classes


def test_a_registered_class_arrives_as_itself() -> None:
    assert trip([Order("tea", 2)]) == [Order("tea", 2)]
    assert trip(Checked(3)).size == 3


def test_what_a_registered_constructor_raises_is_a_decode_error() -> None:
    for fields in ([-1], [1, 2], [], ["x"]):
        data = msgpack.packb([msgpack.ExtType(SECOND, b"\0"), *fields])
        with pytest.raises(DecodeError):
            CODEC.unpack(data)


def test_a_class_registered_later_is_known_to_codecs_made_before() -> None:
    codec = Codec(NODES)
    codec.pack(1)
    register(100, Plain)
    try:
        assert codec.unpack(codec.pack(Plain(1))) == Plain(1)
    finally:
        del wire_types.TAGS[100], wire_types.ENCODERS[Plain], wire_types.FIELD_NAMES[Plain]


def test_registering_a_taken_code_a_taken_class_or_nonsense_is_an_error() -> None:
    for code, cls in ((FIRST, Plain), (101, Order), (3, Plain), (500, Plain), (102, Base)):
        with pytest.raises(ValueError, match=r"code|dataclass"):
            register(code, cls)


# -- packed values, joined values, slices


def test_a_packed_value_is_copied_verbatim_and_opened_afresh() -> None:
    packed = CODEC.packed({"k": [1]})
    message = trip(("put", packed))
    assert message == ("put", packed)
    assert packed.data in CODEC.pack(("put", packed))
    first, second = CODEC.open(message[1]), CODEC.open(message[1])
    assert first == second == {"k": [1]}
    assert first is not second
    assert CODEC.open("plain") == "plain"


def test_joined_parts_decode_as_the_list_of_them() -> None:
    ops = [(1, PID), "x", [2]] * 20
    assert CODEC.unpack(CODEC.join([CODEC.pack(op) for op in ops])) == ops
    assert CODEC.unpack(CODEC.join([])) == []


LARGE = {f"k{number}": {"id": number, "t": (number, [number, None]), "s": {number}} for number in range(3000)}
LARGE_TUPLE = (tuple(range(20_000)), Order(LARGE), Shutdown([LARGE] * 2))


@pytest.mark.parametrize("value", [LARGE, LARGE_TUPLE])
def test_a_large_value_is_packed_and_unpacked_in_many_small_slices(value: Any) -> None:
    pieces = list(CODEC.pack_slices(value, 4096))
    data = b"".join(pieces)
    assert data == CODEC.pack(value)
    assert max(map(len, pieces)) < 120_000
    assert len(pieces) > 20
    steps = CODEC.unpack_slices(data, 4096)
    assert sum(1 for _ in CODEC.unpack_slices(data, 4096)) == -(-len(data) // 4096)
    assert drain(steps) == value


def test_an_assembler_takes_chunks_as_they_come() -> None:
    assembler = CODEC.assembler()
    pieces = list(CODEC.pack_slices(LARGE, 1000))
    assert [assembler.feed(piece) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert assembler.done
    assert assembler.value == LARGE
    with pytest.raises(DecodeError, match="after the end"):
        assembler.feed(b"x")


def test_an_incomplete_value_has_no_value() -> None:
    assembler = CODEC.assembler()
    assembler.feed(CODEC.pack([1, 2])[:-1])
    with pytest.raises(DecodeError, match="incomplete"):
        assembler.value  # noqa: B018
    with pytest.raises(DecodeError, match="incomplete"):
        drain(CODEC.unpack_slices(b""))


@pytest.mark.parametrize("change", [lambda d: d.clear(), lambda d: d.update(new=1), lambda d: d.pop("k2999")])
def test_a_dict_that_changes_between_slices_is_an_encode_error(change: Any) -> None:
    value = dict(LARGE)
    pieces = CODEC.pack_slices(value, 1000)
    next(pieces)
    change(value)
    with pytest.raises(EncodeError, match="changed"):
        list(pieces)


@pytest.mark.parametrize("change", [lambda v: v.clear(), lambda v: v.append(1), lambda v: v.pop()])
def test_a_list_that_changes_between_slices_is_an_encode_error(change: Any) -> None:
    value = list(LARGE.items())
    pieces = CODEC.pack_slices(value, 1000)
    next(pieces)
    change(value)
    with pytest.raises(EncodeError, match="changed"):
        list(pieces)
