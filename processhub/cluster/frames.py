"""What goes over a link: the two kinds of frame, and the ops that links keep to themselves.

A *hello* frame opens a session; a *data* frame carries the ops of one loop turn. A session is a random number that
each side draws for its own direction; a data frame names both, so nothing of an earlier connection is ever taken for
part of this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from processhub.cluster.wire import Codec, DecodeError

VERSION: Final = 1

_HELLO: Final = 0
_DATA: Final = 1

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
    known: tuple[int, int] | None
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Data:
    """The head of a data frame. `answers` is the receiver's session; `sequence` counts the sender's frames from 1."""

    session: int
    answers: int
    incarnation: int
    sequence: int


def pack_hello(codec: Codec, hello: Hello) -> bytes:
    """A hello frame."""
    fields = (hello.version, hello.name, hello.incarnation, hello.life, hello.session, hello.answers)
    return codec.pack([_HELLO, *fields, hello.known, list(hello.members)])


def pack_data(codec: Codec, head: Data, ops: Sequence[bytes]) -> bytes:
    """A data frame of ops that are packed already."""
    return codec.join([codec.pack([_DATA, head.session, head.answers, head.incarnation, head.sequence]), *ops])


def unpack(codec: Codec, frame: bytes) -> tuple[Hello | Data, list[Any]]:
    """A frame's head and its ops. Raises DecodeError for anything else."""
    value = codec.unpack(frame)
    if isinstance(value, list) and value:
        if value[0] == _HELLO:
            return _hello(value[1:]), []
        head = value[0]
        if isinstance(head, list) and len(head) == 5 and all(type(part) is int for part in head) and head[0] == _DATA:
            return Data(*head[1:]), value[1:]
    raise DecodeError("neither a hello nor a data frame")


def _hello(fields: list[Any]) -> Hello:
    if len(fields) != 8:
        raise DecodeError("a hello of another shape")
    version, name, incarnation, life, session, answers, known, members = fields
    good = (
        all(type(number) is int for number in (version, incarnation, life, session))
        and (answers is None or type(answers) is int)
        and isinstance(name, str)
        and (known is None or (isinstance(known, tuple) and len(known) == 2 and all(type(n) is int for n in known)))
        and isinstance(members, list)
        and all(isinstance(member, str) for member in members)
    )
    if not good:
        raise DecodeError("a hello with fields of another type")
    return Hello(version, name, incarnation, life, session, answers, known, tuple(members))
