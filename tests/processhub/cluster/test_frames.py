"""Frames: what is packed comes back, whatever else arrives is a DecodeError or harms one op only."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processhub.cluster import frames
from processhub.cluster.frames import Data, Garbled, Hello
from processhub.cluster.wire import Codec, DecodeError
from supervisor.pids import Pid
from supervisor.runtime import Runtime

RUNTIME = Runtime("a@127.0.0.1:4000")
CODEC = Codec(RUNTIME)
HEAD = Data(session=2**63 - 1, answers=1, incarnation=1_700_000_000_000, sequence=3)
HELLO = Hello(1, "a@127.0.0.1:4000", 7, 11, 13, None, False, (5, 3), ("b@127.0.0.1:4001",))
UNKNOWN = b"\xc7\x01\x77\x00"  # a msgpack extension value of a type that nobody has registered

numbers = st.integers(0, 2**63 - 1)


@given(
    st.builds(
        Hello,
        numbers,
        st.text(max_size=5),
        numbers,
        numbers,
        numbers,
        st.none() | numbers,
        st.booleans(),
        st.none() | st.tuples(numbers, numbers),
        st.lists(st.text(max_size=5), max_size=3).map(tuple),
    )
)
def test_a_hello_comes_back(hello: Hello) -> None:
    assert frames.unpack(CODEC, frames.pack_hello(CODEC, hello)) == hello


@given(st.builds(Data, numbers, numbers, numbers, numbers), st.lists(st.lists(st.integers() | st.text(max_size=3))))
def test_a_data_frame_comes_back(head: Data, ops: list[Any]) -> None:
    frame = frames.pack_data(CODEC, head, [CODEC.pack(op) for op in ops])
    assert frames.unpack(CODEC, frame) == head
    assert frames.unpack_ops(CODEC, frame) == ops


@given(st.binary(max_size=80))
def test_other_bytes_are_a_decode_error_or_a_head_without_sense(data: bytes) -> None:
    try:
        head = frames.unpack(CODEC, data)
        if isinstance(head, Data):
            frames.unpack_ops(CODEC, data)
    except DecodeError:
        pass


@given(st.integers(0, 200), st.integers(0, 255))
def test_a_changed_byte_raises_nothing_but_decode_error(position: int, byte: int) -> None:
    ops = [CODEC.pack([1, Pid(RUNTIME.home, 5), "text"]), CODEC.pack([4, {"a": (1, 2)}, {3, 4}])]
    for frame in (frames.pack_data(CODEC, HEAD, ops), frames.pack_hello(CODEC, HELLO)):
        changed = bytearray(frame)
        changed[position % len(frame)] = byte
        test_other_bytes_are_a_decode_error_or_a_head_without_sense.hypothesis.inner_test(bytes(changed))  # type: ignore[attr-defined]


def test_an_op_that_cannot_be_decoded_harms_no_other() -> None:
    bad = b"\x93\x03\xa3foo" + UNKNOWN
    frame = frames.pack_data(CODEC, HEAD, [CODEC.pack([1, "x", 1]), bad, CODEC.pack([1, "x", 2])])
    first, garbled, last = frames.unpack_ops(CODEC, frame)
    assert (first, last) == ([1, "x", 1], [1, "x", 2])
    assert isinstance(garbled, Garbled)
    assert garbled.parts == [3, "foo", None]
    assert "unknown extension type" in garbled.error


@pytest.mark.parametrize(
    "fields",
    [
        [],
        None,
        [1, "a@b:1", 7, 11, 13, None, False, None],
        [1, "a@b:1", 7, 11, -13, None, False, None, []],
        [1, "a@b:1", 2**63, 11, 13, None, False, None, []],
        [1, "a@b:1", 7, 11, True, None, False, None, []],
        [1, "a@b:1", 7, 11, 13, None, 0, None, []],
        [1, 5, 7, 11, 13, None, False, None, []],
        [1, "a@b:1", 7, 11, 13, None, False, (1,), []],
        [1, "a@b:1", 7, 11, 13, None, False, None, [5]],
        [1, "a@b:1", 7, 11, 13, None, False, None, "names"],
    ],
)
def test_a_hello_with_other_fields_is_refused(fields: Any) -> None:
    with pytest.raises(DecodeError):
        frames.unpack(CODEC, b"\0" + CODEC.pack(fields))
