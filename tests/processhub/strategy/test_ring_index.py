"""The index gives exactly the children in some ranges, whatever was put in and taken out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from processhub.strategy.distribution.ring_index import RingIndex
from ring.hash_ring import MAX_POSITION, position

IDS = st.integers(0, 300).map("child{}".format)
EVERYWHERE = [(-1, MAX_POSITION)]


def test_all_children_come_in_the_order_of_their_positions() -> None:
    ids = [f"child{number}" for number in range(5000)]
    index = RingIndex(ids)
    assert list(index.within(EVERYWHERE)) == sorted(ids, key=position)
    assert len(index) == 5000


def test_taking_out_some_leaves_their_neighbours() -> None:
    ids = [f"child{number}" for number in range(20_000)]
    index = RingIndex(ids)
    for child_id in ids[::2]:
        index.discard(child_id)
    assert list(index.within(EVERYWHERE)) == sorted(ids[1::2], key=position)
    assert len(index) == 10_000


@given(
    changes=st.lists(st.tuples(st.booleans(), IDS)),
    ends=st.lists(st.one_of(IDS.map(position), st.integers(-1, MAX_POSITION)), max_size=8),
)
def test_a_range_excludes_its_low_end_and_includes_its_high_end(
    changes: list[tuple[bool, str]], ends: list[int]
) -> None:
    index = RingIndex()
    expected: set[str] = set()
    for put_in, child_id in changes:
        (index.add if put_in else index.discard)(child_id)
        (expected.add if put_in else expected.discard)(child_id)
    ends.sort()
    ranges = list(zip(ends[::2], ends[1::2], strict=False))
    found = list(index.within(ranges))
    inside = [i for i in expected if any(low < position(i) <= high for low, high in ranges)]
    assert sorted(found) == sorted(inside)
    assert len(index) == len(expected)
    assert all(child_id in index for child_id in expected)


def test_putting_in_twice_and_taking_out_what_is_not_there_change_nothing() -> None:
    index = RingIndex(["a", "a"])
    index.discard("b")
    assert (len(index), "a" in index, "b" in index, 7 in index) == (1, True, False, False)
    index.clear()
    assert (len(index), list(index.within(EVERYWHERE))) == (0, [])


def test_the_index_may_change_while_somebody_goes_through_it() -> None:
    ids = [f"child{number}" for number in range(1000)]
    index = RingIndex(ids)
    seen = []
    for number, child_id in enumerate(index.within(EVERYWHERE)):
        seen.append(child_id)
        index.discard(child_id)
        index.add(f"new{number}")
    assert sorted(i for i in seen if i.startswith("child")) == sorted(ids)
