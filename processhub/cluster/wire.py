"""The codec: values to bytes and back, with msgpack.

Kept exactly: None, bool, int of any size, float, str, bytes, list, tuple, dict with any hashable keys, set, frozenset,
datetime, date, time, timedelta, Decimal, UUID, enum members, Pid, Ref, Shutdown, Crash, and the classes given to
`register`. bytearray and memoryview arrive as bytes. An aware datetime keeps its instant and offset, not the name of
its zone, for reading zone data is I/O.

Functions, classes, bound classmethods and builtins travel by name and arrive as `Reference`; nothing is imported or
executed while decoding. An enum member arrives as the member if its class is loaded at the receiver, else as
a `Reference` to it.

Anything else is refused with `EncodeError`: subclasses of the builtin types too, since what arrives would be something
else than what was sent.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from enum import Enum
from functools import partial
from typing import Any, Final, Protocol

import msgpack
from msgpack import ExtType

from processhub.cluster import wire_types
from processhub.cluster.callables import Reference, ResolveError, is_nameable, reference_to, resolved
from processhub.cluster.wire_paths import explain, refusal
from processhub.cluster.wire_slices import Assembler, Hooks, pack_in_slices
from processhub.cluster.wire_types import DecodeError, Encoder, Packed, leaf, register
from supervisor.errors import EncodeError, NotImportable
from supervisor.pids import NodeId, Pid, Ref

__all__ = [
    "MAX_VALUE",
    "SLICE",
    "Assembler",
    "Codec",
    "DecodeError",
    "EncodeError",
    "Nodes",
    "NotImportable",
    "Packed",
    "Reference",
    "ResolveError",
    "reference_to",
    "register",
    "resolved",
]

MAX_VALUE: Final = 256 * 1024 * 1024
"""Bytes of one encoded value, unless the codec is told otherwise."""
SLICE: Final = 64 * 1024
"""Bytes between two pauses: about 2 ms of work on small values."""

_CACHED_NODES: Final = 4096
_new = tuple.__new__


class Nodes(Protocol):
    """What the codec needs of a runtime: to make one `NodeId` of each (name, incarnation)."""

    home: NodeId

    def node_id(self, name: str, incarnation: int) -> NodeId:
        """The `NodeId` of that life of that node, the same object at every call."""
        ...


class Codec:
    """Encodes and decodes for one node. To be used on the thread of its event loop only.

    Args:
        nodes: the runtime, which interns the nodes of pids and refs.
        limit: the largest encoded value, in bytes.
    """

    def __init__(self, nodes: Nodes, limit: int = MAX_VALUE) -> None:
        self._nodes = nodes
        self._limit = limit
        self._prefixes: dict[tuple[str, int], bytes] = {}
        self._homes: dict[bytes, NodeId] = {}
        self._encoders: dict[type, Encoder] = self._own_encoders()
        self._pack: Callable[[Any], bytes] = self._new_packer(64 * 1024).pack
        self._hooks = self._hook_up()
        self._unpackb = partial(
            msgpack.unpackb, raw=False, strict_map_key=False, timestamp=3,
            ext_hook=self._hooks.ext, list_hook=self._hooks.array,
        )  # fmt: skip
        self._header = msgpack.Packer(buf_size=64)

    def pack(self, value: Any, what: str = "value") -> bytes:
        """The encoding of `value`; equal values of the same build give equal bytes.

        Args:
            value: what to send.
            what: how errors call it: `state["conn"].sock` for "state".

        Raises:
            EncodeError: part of it cannot be sent, it contains itself, or it is larger than the limit.
            NotImportable: it holds a lambda, a local function or a method of an instance.
        """
        try:
            data = self._pack(value)
        except MemoryError:
            raise
        except Exception as error:
            raise explain(value, what, self._pack, error) from error
        if len(data) > self._limit:
            raise EncodeError(f"cannot send {what}: {len(data)} bytes are more than the {self._limit} allowed")
        return data

    def unpack(self, data: bytes | memoryview) -> Any:
        """The value that `data` encodes. Imports and executes nothing.

        Raises:
            DecodeError: `data` is anything but one whole encoded value.
        """
        if len(data) > self._limit:
            raise DecodeError(f"the value is larger than the {self._limit} bytes allowed")
        hooks = self._hooks
        hooks.open_tags = 0
        try:
            value = self._unpackb(data)
        except DecodeError:
            raise
        except Exception as error:
            raise DecodeError(f"malformed value: {error!r}") from error
        if hooks.open_tags:
            raise DecodeError("malformed value: a tag outside the head of an array")
        return value

    def join(self, parts: Sequence[bytes]) -> bytes:
        """The encoding of the list of the values that `parts` encode."""
        return bytes(self._header.pack_array_header(len(parts))) + b"".join(parts)

    def packed(self, value: Any, what: str = "value") -> Packed:
        """`value` encoded once, to be part of any number of messages. Raises as `pack` does."""
        return Packed(self.pack(value, what))

    def open(self, value: Any) -> Any:
        """The value in a `Packed`, decoded afresh at every call; anything else is returned as it is.

        Raises:
            DecodeError: the content is malformed.
        """
        return self.unpack(value.data) if type(value) is Packed else value

    def pack_slices(self, value: Any, slice_bytes: int = SLICE, what: str = "value") -> Iterator[bytes]:
        """Yield the encoding of a large `value` in pieces of about `slice_bytes`, with bounded work between two.

        Pause between the pieces. A single text or bytes value is not cut. Raises as `pack` does, at any piece, and
        `EncodeError` if a container is seen to have changed its size; the pieces so far are useless then.
        """
        size = 0
        try:
            for piece in pack_in_slices(value, self._pack, self._encoder_of, slice_bytes):
                size += len(piece)
                if size > self._limit:
                    break
                yield piece
        except (MemoryError, GeneratorExit):
            raise
        except Exception as error:
            raise explain(value, what, self._pack, error) from error
        if size > self._limit:
            raise EncodeError(f"cannot send {what}: more bytes than the {self._limit} allowed")

    def unpack_slices(self, data: bytes, slice_bytes: int = SLICE) -> Generator[None, None, Any]:
        """Decode a large value with a pause, a `yield`, after every `slice_bytes`; the generator returns the value.

        `value = yield from ...`, or step it with `next` and take the value of `StopIteration`.

        Raises:
            DecodeError: as for `unpack`.
        """
        assembler = self.assembler()
        view = memoryview(data)
        for start in range(0, len(data), slice_bytes):
            assembler.feed(view[start : start + slice_bytes])
            yield
        return assembler.value

    def assembler(self, limit: int | None = None) -> Assembler:
        """A decoder for a value that arrives in chunks of at most `limit` bytes in all."""
        return Assembler(self._hook_up(), min(limit or self._limit, self._limit))

    def forget(self) -> None:
        """Drop what is cached about nodes. To be called when this node's own name or incarnation has changed."""
        self._prefixes.clear()
        self._homes.clear()

    # -- encoding

    def _new_packer(self, buffer: int) -> msgpack.Packer:
        return msgpack.Packer(default=self._default, use_bin_type=True, strict_types=True, buf_size=buffer)

    def _own_encoders(self) -> dict[type, Encoder]:
        return {
            **wire_types.ENCODERS,
            Pid: partial(self._encode_id, wire_types.PID),
            Ref: partial(self._encode_id, wire_types.REF),
            set: partial(self._encode_set, leaf(wire_types.SET, b"\0")),
            frozenset: partial(self._encode_set, leaf(wire_types.FROZENSET, b"\0")),
        }

    def _default(self, obj: Any) -> Any:
        encode = self._encoders.get(type(obj))
        return encode(obj) if encode is not None else self._encode_other(obj)

    def _encode_other(self, obj: Any) -> Any:
        encode = self._encoder_of(obj)
        if encode is None:
            raise refusal(obj)
        return encode(obj)

    def _encoder_of(self, obj: Any) -> Encoder | None:
        kind = type(obj)
        encode = self._encoders.get(kind) or wire_types.ENCODERS.get(kind)  # registered since this codec was made
        if encode is not None:
            return encode
        if issubclass(kind, Enum):
            return wire_types.enum_member
        if issubclass(kind, Ref):  # what waits for an answer is a Ref with more to it; the other node needs the Ref
            return self._encoders.setdefault(kind, self._encoders[Ref])
        return wire_types.named if is_nameable(obj) else None

    def _encode_set(self, tag: ExtType, items: set[Any] | frozenset[Any]) -> list[Any]:
        # A packer of its own: this runs inside a call of the other one.
        return [tag, *wire_types.sorted_items(items, lambda item: bytes(self._new_packer(256).pack(item)))]

    def _encode_id(self, code: int, value: Pid | Ref) -> ExtType:
        home = value.home
        prefix = self._prefixes.get((home.name, home.incarnation)) or self._prefix(home)
        return _new(ExtType, (code, prefix + value.serial.to_bytes(8, "big")))

    def _prefix(self, home: NodeId) -> bytes:
        if len(self._prefixes) >= _CACHED_NODES:
            self._prefixes.clear()
        prefix = home.name.encode() + home.incarnation.to_bytes(8, "big")
        self._prefixes[home.name, home.incarnation] = prefix
        return prefix

    # -- decoding

    def _hook_up(self) -> Hooks:
        return Hooks(wire_types.LEAVES, wire_types.TAGS, self._homes, self._home)

    def _home(self, prefix: bytes) -> NodeId:
        if len(prefix) <= 8:
            raise DecodeError("a pid or ref without a node")
        home = self._nodes.node_id(prefix[:-8].decode(), int.from_bytes(prefix[-8:], "big"))
        if len(self._homes) >= _CACHED_NODES:
            self._homes.clear()
        self._homes[prefix] = home
        return home
