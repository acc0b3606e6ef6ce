"""Encoding and decoding of large values in slices, so that the loop is never held for long."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgpack

from processhub.cluster.wire_types import FIELD_NAMES, PID, REF, TAGS, TUPLE, DecodeError, Encoder, Tag
from supervisor.errors import EncodeError
from supervisor.pids import NodeId, Pid, Ref

# About as many values as encode in half a millisecond.
_NODES_AT_ONCE: Final = 2_000
_TUPLE: Final = TAGS[TUPLE]
_int_from = int.from_bytes


def pack_in_slices(
    value: Any, pack: Callable[[Any], bytes], encoder_of: Callable[[Any], Encoder | None], slice_bytes: int
) -> Iterator[bytes]:
    """Yield the encoding of `value` piece by piece, with bounded work between two pieces.

    A piece exceeds `slice_bytes` only by the last value that it holds; a single text or bytes value is never cut.

    Args:
        value: what to encode. It should not change meanwhile.
        pack: encodes a value at once.
        encoder_of: the encoder of a value's type, None for those that msgpack knows.
        slice_bytes: the size of a piece.

    Raises:
        EncodeError: the value changed its size between two pieces; and whatever `pack` raises.
    """
    pending: list[bytes] = []
    size = work = 0
    stack: list[Iterator[Any]] = [iter((value,))]
    while stack:
        item = next(stack[-1], pending)  # `pending` is ours alone, so it can mark the end
        if item is pending:
            stack.pop()
            continue
        weight = _weight(item)
        opened = _open(item, encoder_of) if weight > _NODES_AT_ONCE else None
        if opened is None:
            part = pack(item)
        else:
            part, items = opened
            stack.append(items)
        pending.append(part)
        size += len(part)
        work += weight
        if size >= slice_bytes or work >= _NODES_AT_ONCE:
            yield b"".join(pending)
            pending.clear()
            size = work = 0
    if pending:
        yield b"".join(pending)


def _weight(value: Any) -> int:
    """How many values are in `value`, itself included; stops counting just above `_NODES_AT_ONCE`."""
    count = 0
    stack = [value]
    while stack and count <= _NODES_AT_ONCE:
        item = stack.pop()
        count += 1
        kind = type(item)
        if kind is dict:
            count += len(item)  # the keys
            if count <= _NODES_AT_ONCE:
                stack.extend(item.values())
        elif kind in (list, tuple, set, frozenset):
            if count + len(stack) + len(item) > _NODES_AT_ONCE:
                return _NODES_AT_ONCE + 1
            stack.extend(item)
        elif kind in FIELD_NAMES:
            stack.extend(getattr(item, name) for name in FIELD_NAMES[kind])
    return count


def _open(value: Any, encoder_of: Callable[[Any], Encoder | None]) -> tuple[bytes, Iterator[Any]] | None:
    """The header of a container, and what follows it; None if it is no container."""
    kind = type(value)
    packer = msgpack.Packer(buf_size=64)
    if kind is dict:
        flat = (part for pair in value.items() for part in pair)
        return packer.pack_map_header(len(value)), _counted(flat, 2 * len(value))
    if kind is not list:
        encode = encoder_of(value)
        value = encode(value) if encode is not None else None
        if type(value) is not list:
            return None
    return packer.pack_array_header(len(value)), _counted(value, len(value))


def _counted(items: Iterable[Any], count: int) -> Iterator[Any]:
    """The items, which must be exactly `count`: the header that says so has been sent."""
    seen = 0
    try:
        for item in items:
            seen += 1
            if seen > count:
                break
            yield item
    except RuntimeError as error:  # "dictionary changed size during iteration"
        raise EncodeError("the value changed while it was encoded") from error
    if seen != count:
        raise EncodeError("the value changed while it was encoded")


class Hooks:
    """What msgpack calls for each extension value and each array. One for each decoder.

    `open_tags` counts the tags that no array has used yet: a tag anywhere but in front of an array is malformed.

    Args:
        leaves, tags: the decoders by code.
        homes: the nodes seen, by their encoding; `home` adds one, or raises.
    """

    __slots__ = ("_home", "_homes", "_leaves", "_tags", "open_tags")

    def __init__(
        self,
        leaves: dict[int, Callable[[bytes], Any]],
        tags: dict[int, Tag],
        homes: dict[bytes, NodeId],
        home: Callable[[bytes], NodeId],
    ) -> None:
        self._leaves = leaves
        self._tags = tags
        self._homes = homes
        self._home = home
        self.open_tags = 0

    def ext(self, code: int, data: bytes) -> Any:
        """Decode an extension value; a tag decodes to itself."""
        if code == TUPLE:
            self.open_tags += 1
            return _TUPLE
        if code == PID:
            return Pid(self._homes.get(data[:-8]) or self._home(data[:-8]), _int_from(data[-8:], "big"))
        if code == REF:
            return Ref(self._homes.get(data[:-8]) or self._home(data[:-8]), _int_from(data[-8:], "big"))
        decode = self._leaves.get(code)
        return decode(data) if decode is not None else self._tag(code)

    def _tag(self, code: int) -> Tag:
        tag = self._tags.get(code)
        if tag is None:
            raise DecodeError(f"unknown extension type {code}")
        self.open_tags += 1
        return tag

    def array(self, items: list[Any]) -> Any:
        """Build the composite whose tag comes first; other arrays are lists."""
        if items and type(items[0]) is Tag:
            self.open_tags -= 1
            tag = items[0]
            del items[0]
            return tuple(items) if tag is _TUPLE else tag.build(items)
        return items


class Assembler:
    """Decodes a value that arrives in chunks, as it arrives: `feed` does work in proportion to its chunk.

    Attributes:
        done: whether the value is complete.
    """

    def __init__(self, hooks: Hooks, limit: int) -> None:
        self._hooks = hooks
        self._limit = limit
        self._fed = 0
        self._value: Any = None
        self.done = False
        self._unpacker = msgpack.Unpacker(
            None, raw=False, strict_map_key=False, timestamp=3, ext_hook=hooks.ext, list_hook=hooks.array,
            max_buffer_size=limit,
        )  # fmt: skip

    @property
    def value(self) -> Any:
        """The decoded value; raises `DecodeError` while it is incomplete."""
        if not self.done:
            raise DecodeError(f"the value is incomplete after {self._fed} bytes")
        return self._value

    def feed(self, chunk: bytes | memoryview) -> bool:
        """Take the next bytes. Returns `done`.

        Raises:
            DecodeError: they are malformed, go on after the end, or exceed the limit. The assembler is useless then.
        """
        self._fed += len(chunk)
        if self._fed > self._limit:
            raise DecodeError(f"the value is larger than the {self._limit} bytes allowed")
        if self.done:
            raise DecodeError("bytes after the end of the value")
        try:
            self._unpacker.feed(chunk)
            self._value = self._unpacker.unpack()
        except msgpack.OutOfData:
            return False
        except DecodeError:
            raise
        except Exception as error:
            raise DecodeError(f"malformed value: {error!r}") from error
        self._finish()
        return True

    def _finish(self) -> None:
        self.done = True
        if self._unpacker.tell() != self._fed:
            raise DecodeError("bytes after the end of the value")
        if self._hooks.open_tags:
            raise DecodeError("malformed value: a tag outside the head of an array")
