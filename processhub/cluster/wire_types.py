"""How each type looks on the wire: msgpack extension types for leaves, tagged arrays for what contains other values.

A *leaf* (Pid, datetime, big int, ...) is one extension value. A *composite* (tuple, set, Crash, a registered class)
is an array whose first element is a tag, an extension value that nothing else encodes to. Rejected: an extension value
with the packed contents inside. It nests one decoder call in another (40 KB of C stack each), and a large tuple could
not be decoded in slices.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import partial
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

from msgpack import ExtType

from processhub.cluster.callables import Reference, loaded_member, reference_to
from supervisor.errors import SupervisorError
from supervisor.reasons import Crash, Shutdown

Encoder = Callable[[Any], Any]
Leaf = Callable[[bytes], Any]

# Codes 0 to 31 are ours, 32 to 119 are for `register`. Invariant: a code never changes its meaning.
TUPLE, SET, FROZENSET, SHUTDOWN, CRASH = range(5)
PID, REF, BIG_INT, DATETIME, DATE, TIME, TIMEDELTA, DECIMAL, UUID_, ENUM, REFERENCE, PACKED = range(16, 28)
FIRST_CODE: Final = 32
LAST_CODE: Final = 119

# Sets of more elements are sent as they iterate: sorting a million would hold the loop.
_SORT_AT_MOST: Final = 10_000
_MICROSECOND: Final = timedelta(microseconds=1)
_DELTA: Final = struct.Struct(">iii")


class DecodeError(SupervisorError):
    """Bytes that are no encoded value: malformed, truncated, too large, or of a version that we do not know."""


@dataclasses.dataclass(frozen=True)
class Packed:
    """A value encoded once, to be put into any number of messages, where its bytes are copied verbatim.

    It decodes to itself, so that passing it on costs nothing; the receiver takes the value out with `Codec.open`.
    """

    data: bytes

    def __repr__(self) -> str:
        return f"<Packed {len(self.data)} bytes>"


class Tag:
    """The decoded first element of a composite: knows how to build it from the elements that follow."""

    __slots__ = ("build", "code")

    def __init__(self, code: int, build: Callable[[list[Any]], Any]) -> None:
        self.code = code
        self.build = build


TAGS: dict[int, Tag] = {}
ENCODERS: dict[type, Encoder] = {}
FIELD_NAMES: dict[type, tuple[str, ...]] = {}
_new = tuple.__new__  # ExtType's own __new__ checks its arguments, which costs as much as the rest
_TUPLE_TAG = ExtType(TUPLE, b"\0")


def leaf(code: int, data: bytes) -> ExtType:
    """An extension value, without ExtType's checks."""
    return _new(ExtType, (code, data))


def register(
    code: int,
    cls: type,
    to_fields: Callable[[Any], Sequence[Any]] | None = None,
    from_fields: Callable[..., Any] | None = None,
    names: Sequence[str] = (),
) -> None:
    """Make instances of exactly `cls` sendable. Call it at import time, on every node alike.

    Args:
        code: 32 to 119; the same number in every version.
        cls: the class. A dataclass needs no more arguments: its fields travel in order.
        to_fields: gives the values to send.
        from_fields: builds the instance from them. They come from outside: check them. Whatever it raises becomes a
            `DecodeError`; it must not import or block.
        names: what error messages call the fields.

    Raises:
        ValueError: the code is outside the range, or the code or class is taken.
    """
    if not FIRST_CODE <= code <= LAST_CODE:
        raise ValueError(f"code {code} is not in {FIRST_CODE}..{LAST_CODE}")
    if code in TAGS or cls in ENCODERS:
        raise ValueError(f"code {code} or class {cls.__qualname__} is registered already")
    _register(code, cls, to_fields, from_fields, names)


def _register(
    code: int,
    cls: type,
    to_fields: Callable[[Any], Sequence[Any]] | None = None,
    from_fields: Callable[..., Any] | None = None,
    names: Sequence[str] = (),
) -> None:
    if dataclasses.is_dataclass(cls):
        names = names or [field.name for field in dataclasses.fields(cls)]
    if to_fields is None:
        if not names:
            raise ValueError(f"{cls.__qualname__} is no dataclass with fields: give to_fields and from_fields")
        to_fields = _getter(names)
    build = from_fields or cls
    TAGS[code] = Tag(code, lambda items: build(*items))
    ENCODERS[cls] = _composite(code, to_fields)
    FIELD_NAMES[cls] = tuple(names)


def _getter(names: Sequence[str]) -> Callable[[Any], Sequence[Any]]:
    get = attrgetter(*names)
    return get if len(names) > 1 else lambda obj: (get(obj),)


def _composite(code: int, to_fields: Callable[[Any], Sequence[Any]]) -> Encoder:
    tag = leaf(code, b"\0")
    return lambda obj: [tag, *to_fields(obj)]


def sorted_items(items: set[Any] | frozenset[Any], pack: Callable[[Any], bytes]) -> list[Any]:
    """The elements in an order that does not depend on their hashes, so that equal sets give equal bytes."""
    if len(items) > _SORT_AT_MOST:
        return list(items)
    kinds = set(map(type, items))
    if len(kinds) == 1 and kinds <= {str, bytes, int}:
        return sorted(items)
    return sorted(items, key=pack)


def big_int(value: int) -> ExtType:
    """An int that does not fit into 64 bits."""
    return leaf(BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def named(obj: Any) -> ExtType:
    """A function, class or enum member, as its importable name; raises `NotImportable`."""
    return _encode_reference(reference_to(obj))


def _encode_reference(reference: Reference) -> ExtType:
    parts = (reference.module, reference.qualname, reference.attribute or "")
    return leaf(REFERENCE, "\0".join(parts).encode())


def enum_member(member: Any) -> ExtType:
    """An enum member, as the importable name of its class and its own."""
    return leaf(ENUM, _encode_reference(reference_to(member)).data)


def _decode_reference(data: bytes) -> Reference:
    module, qualname, attribute = data.decode().split("\0")
    if not module or not qualname:
        raise ValueError("a reference without a name")
    return Reference(module, qualname, attribute or None)


def _decode_member(data: bytes) -> Any:
    reference = _decode_reference(data)
    if reference.attribute is None:
        raise ValueError("an enum member without a name")
    member = loaded_member(reference.module, reference.qualname, reference.attribute)
    return reference if member is None else member


def _encode_iso(code: int, value: datetime | time) -> ExtType:
    # isoformat leaves out `fold`, which tells the two hours of a clock change apart, and fromisoformat takes an offset
    # of microseconds for UTC: both go in fields of their own.
    offset = value.utcoffset()
    text = f"{value.replace(tzinfo=None).isoformat()}|{value.fold}"
    return leaf(code, (text if offset is None else f"{text}|{offset // _MICROSECOND}").encode())


def _decode_iso(kind: Any, data: bytes) -> Any:
    text, fold, *offset = data.decode("ascii").split("|")
    zone = timezone(timedelta(microseconds=int(*offset))) if offset else None
    return kind.fromisoformat(text).replace(fold=int(fold), tzinfo=zone)


def _decode_delta(data: bytes) -> timedelta:
    days, seconds, microseconds = _DELTA.unpack(data)
    return timedelta(days, seconds, microseconds)


def _decode_decimal(data: bytes) -> Decimal:
    return Decimal(data.decode("ascii"))


def _build_crash(kind: str, message: str, traceback: str) -> Crash:
    if not (type(kind) is type(message) is type(traceback) is str):
        raise TypeError("the fields of a Crash are text")
    return Crash(kind, message, traceback)


LEAVES: Final[dict[int, Leaf]] = {
    BIG_INT: lambda data: int.from_bytes(data, "big", signed=True),
    DATETIME: partial(_decode_iso, datetime),
    DATE: lambda data: date.fromisoformat(data.decode("ascii")),
    TIME: partial(_decode_iso, time),
    TIMEDELTA: _decode_delta,
    DECIMAL: _decode_decimal,
    UUID_: lambda data: UUID(bytes=data),
    ENUM: _decode_member,
    REFERENCE: _decode_reference,
    PACKED: Packed,
}
ENCODERS.update(
    {
        int: big_int,
        datetime: partial(_encode_iso, DATETIME),
        date: lambda value: leaf(DATE, value.isoformat().encode()),
        time: partial(_encode_iso, TIME),
        timedelta: lambda value: leaf(TIMEDELTA, _DELTA.pack(value.days, value.seconds, value.microseconds)),
        Decimal: lambda value: leaf(DECIMAL, str(value).encode()),
        UUID: lambda value: leaf(UUID_, value.bytes),
        Reference: _encode_reference,
        Packed: lambda value: leaf(PACKED, value.data),
        tuple: lambda value: [_TUPLE_TAG, *value],
    }
)
TAGS[TUPLE] = Tag(TUPLE, tuple)
TAGS[SET] = Tag(SET, set)
TAGS[FROZENSET] = Tag(FROZENSET, frozenset)
_register(SHUTDOWN, Shutdown)
_register(CRASH, Crash, from_fields=_build_crash)
