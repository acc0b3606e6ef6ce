"""What goes over a link: the two kinds of frame, and the ops that links keep to themselves.

A *hello* frame opens a session; a *data* frame carries the ops of one loop turn. A session is a random number that
each side draws for its own direction; a data frame names both, so nothing of an earlier connection is ever taken for
part of this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final, NamedTuple

import msgpack

from processhub.cluster.wire import Codec, DecodeError

VERSION: Final = 1

_HELLO: Final = 0  # the first byte of a frame says which kind it is
_DATA: Final = 1
_HEAD: Final = Struct(">BQQQQ")

# Ops of the link itself; the runtime's opcodes are below 64.
PING: Final = 64  # (PING,): answer with PONG, ahead of what is queued
PONG: Final = 65  # (PONG,)
PART: Final = 66  # (PART, bytes, last): a piece of an op that is too large for one frame
BYE: Final = 67  # (BYE,): the node leaves
FIRST_LINK_OP: Final = 64


@dataclass(frozen=True)
class Hello:
    """Who opens a session, and what it knows of the receiver.

    session: drawn by the sender for what it sends.
    answers: the receiver's session, if the sender has heard of it: then the sender's direction is open.
    is_up: whether the sender counts the link as up; while it does not, it wants an answer.
    life: drawn by the sender once; tells two lives with one incarnation apart.
    known: (incarnation, life) that the sender has seen of the receiver's name.
    members: names that the sender is connected to, so that every node learns of every other.
    """

    version: int
    name: str
    incarnation: int
    life: int
    session: int
    answers: int | None
    is_up: bool
    known: tuple[int, int] | None
    members: tuple[str, ...]


class Data(NamedTuple):
    """The head of a data frame. `answers` is the receiver's session; `sequence` counts the sender's frames from 1."""

    session: int
    answers: int
    incarnation: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Garbled:
    """An op that cannot be decoded, and what could be decoded of it: None stands for the rest."""

    parts: list[Any]
    error: str


def pack_hello(codec: Codec, hello: Hello) -> bytes:
    """A hello frame."""
    fields = (hello.version, hello.name, hello.incarnation, hello.life, hello.session, hello.answers, hello.is_up)
    return bytes([_HELLO]) + codec.pack([*fields, hello.known, list(hello.members)])


def pack_data(codec: Codec, head: Data, ops: Sequence[bytes]) -> bytes:
    """A data frame of ops that are packed already."""
    return _HEAD.pack(_DATA, *head) + codec.join(ops)


def unpack(codec: Codec, frame: bytes) -> Hello | Data:
    """A hello, or the head of a data frame: its ops are not looked at. Raises DecodeError for anything else."""
    if len(frame) >= _HEAD.size and frame[0] == _DATA:
        return Data(*_HEAD.unpack_from(frame)[1:])
    if frame and frame[0] == _HELLO:
        return _hello(codec.unpack(memoryview(frame)[1:]))
    raise DecodeError("neither a hello nor a data frame")


def unpack_ops(codec: Codec, frame: bytes) -> list[Any]:
    """The ops of a data frame; one that cannot be decoded is `Garbled`, and harms no other.

    Raises DecodeError where it cannot even be told where an op ends.
    """
    body = memoryview(frame)[_HEAD.size :]
    try:
        ops = codec.unpack(body)
    except DecodeError:
        return [_unpack_alone(codec, op) for op in _items(body)]
    if type(ops) is not list:
        raise DecodeError("a data frame without a list of ops")
    return ops


def _unpack_alone(codec: Codec, op: memoryview) -> Any:
    try:
        return codec.unpack(op)
    except DecodeError as error:
        return Garbled([_or_none(codec, part) for part in _items(op)], str(error))


def _or_none(codec: Codec, part: memoryview) -> Any:
    try:
        return codec.unpack(part)
    except DecodeError:
        return None


def _items(data: memoryview) -> list[memoryview]:
    """The encodings of the elements of an encoded list."""
    unpacker = msgpack.Unpacker(None, max_buffer_size=len(data))
    unpacker.feed(data)
    found = []
    try:
        for _ in range(unpacker.read_array_header()):
            start = unpacker.tell()
            unpacker.skip()
            found.append(data[start : unpacker.tell()])
    except Exception as error:
        raise DecodeError(f"malformed list: {error!r}") from error
    return found


def _hello(fields: Any) -> Hello:
    if type(fields) is not list or len(fields) != 9:
        raise DecodeError("a hello of another shape")
    version, name, incarnation, life, session, answers, is_up, known, members = fields
    good = (
        type(version) is int
        and all(map(_fits, (incarnation, life, session)))
        and (answers is None or _fits(answers))
        and isinstance(name, str)
        and type(is_up) is bool
        and (known is None or (isinstance(known, tuple) and len(known) == 2 and all(map(_fits, known))))
        and isinstance(members, list)
        and all(isinstance(member, str) for member in members)
    )
    if not good:
        raise DecodeError("a hello with fields of another type")
    return Hello(version, name, incarnation, life, session, answers, is_up, known, tuple(members))


def _fits(number: Any) -> bool:
    return type(number) is int and 0 <= number < 1 << 63
