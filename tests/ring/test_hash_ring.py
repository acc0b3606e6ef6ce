"""The consistent hash ring: who owns what, and what moves when nodes come and go."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ring.hash_ring
from ring.hash_ring import MAX_POSITION, HashRing, changes, position

KEYS = [f"key-{n}" for n in range(400)]

names = st.text(min_size=1, max_size=8)
node_sets = st.lists(names, min_size=1, max_size=6, unique=True)
copies = st.integers(1, 4)


def is_in(ranges: list[tuple[int, int]], at: int) -> bool:
    return any(low < at <= high for low, high in ranges)


def test_the_examples_in_the_documentation_run() -> None:
    found = doctest.testmod(ring.hash_ring)
    assert found.attempted
    assert not found.failed


@given(node_sets, names, copies)
def test_an_added_node_only_takes_keys(nodes: list[str], new: str, n: int) -> None:
    before = HashRing(node for node in nodes if node != new)
    after = before.add(new)
    for key in KEYS[:100]:
        old, now = before.owners(key, n), after.owners(key, n)
        if new not in now:
            assert now == old
        else:
            assert [node for node in now if node != new] == list(old[: len(now) - 1])


@given(node_sets, copies)
def test_only_the_keys_of_a_removed_node_move(nodes: list[str], n: int) -> None:
    before = HashRing(nodes)
    after = before.remove(nodes[0])
    for key in KEYS[:100]:
        old = before.owners(key, n)
        if nodes[0] not in old:
            assert after.owners(key, n) == old
        else:
            kept = [node for node in old if node != nodes[0]]
            assert list(after.owners(key, n)[: len(kept)]) == kept


@given(node_sets, st.randoms(use_true_random=False), st.dictionaries(names, st.integers(1, 3), max_size=3))
def test_the_order_of_insertion_does_not_matter(nodes: list[str], chance: object, weights: dict[str, int]) -> None:
    weights = {node: weight for node, weight in weights.items() if node in nodes}
    shuffled = sorted(nodes, key=lambda _: chance.random())  # type: ignore[attr-defined]
    grown = HashRing()
    for node in shuffled:
        grown = grown.add(node, weights.get(node, 1))
    at_once = HashRing(nodes, weights)
    assert grown == at_once
    assert hash(grown) == hash(at_once)
    assert [grown.owners(key, 3) for key in KEYS[:50]] == [at_once.owners(key, 3) for key in KEYS[:50]]


@given(node_sets, node_sets, copies)
def test_changes_are_exactly_the_positions_whose_owners_differ(one: list[str], other: list[str], n: int) -> None:
    old, new = HashRing(one), HashRing(other)
    ranges = changes(old, new, n)
    for key in KEYS:
        assert is_in(ranges, position(key)) == (old.owners(key, n) != new.owners(key, n))
    # The borders themselves, and what lies just beside them.
    for at in {border + step for bounds in ranges for border in bounds for step in (0, 1)}:
        if 0 <= at <= MAX_POSITION:
            assert is_in(ranges, at) == (old.owners_at(at, n) != new.owners_at(at, n))


@given(node_sets, node_sets, copies)
def test_the_ranges_of_changes_are_sorted_disjoint_and_not_adjacent(one: list[str], other: list[str], n: int) -> None:
    ranges = changes(HashRing(one), HashRing(other), n)
    assert all(-1 <= low < high <= MAX_POSITION for low, high in ranges)
    assert all(before[1] < after[0] for before, after in pairwise(ranges))


def test_the_whole_circle_changes_between_an_empty_ring_and_one_with_a_node() -> None:
    assert changes(HashRing(), HashRing(["a"])) == [(-1, MAX_POSITION)]
    assert changes(HashRing(["a"]), HashRing(["a"])) == []
    assert changes(HashRing(), HashRing()) == []


@pytest.mark.parametrize("count", [2, 6, 20])
def test_the_load_is_balanced_within_a_third(count: int) -> None:
    ring = HashRing(f"node{n}@10.0.0.{n}:4370" for n in range(count))
    keys = 2000 * count
    load = Counter(ring.owners(f"key-{n}")[0] for n in range(keys))
    assert set(load) == set(ring.nodes)
    assert max(load.values()) < keys / count * 1.34
    assert min(load.values()) > keys / count * 0.66


def test_a_node_of_twice_the_weight_owns_about_twice_as_much() -> None:
    ring = HashRing(["a", "b", "c"], weights={"c": 2})
    load = Counter(ring.owners(f"key-{n}")[0] for n in range(20_000))
    assert 0.4 < load["c"] / 20_000 < 0.6
    assert ring.weights == {"a": 1, "b": 1, "c": 2}


def test_more_weight_only_takes_keys() -> None:
    light, heavy = HashRing(["a", "b"]), HashRing(["a", "b"]).add("b", 3)
    assert all(heavy.owners(key) == ("b",) for key in KEYS if light.owners(key) == ("b",))


def test_owners_are_distinct_and_as_many_as_there_are() -> None:
    ring = HashRing(["a", "b", "c"])
    for key in KEYS:
        for n in (1, 2, 3):
            owners = ring.owners(key, n)
            assert len(set(owners)) == len(owners) == n
            assert owners == ring.owners(key, 9)[:n]
    assert ring.owners("key", 0) == ()
    assert ring.owners("key", 9) == ring.owners("key", 3)
    assert HashRing().owners("key", 2) == ()


def test_rings_are_values() -> None:
    ring = HashRing(["b", "a", "b"])
    assert ring.nodes == ("a", "b")
    assert ring.add("a") is ring
    assert ring.remove("c") is ring
    assert ring.add("c").nodes == ("a", "b", "c")
    assert ring.nodes == ("a", "b")
    assert ring == HashRing(["a", "b"]) != ring.add("a", 2)
    assert ("a" in ring, "c" in ring, len(ring), list(ring)) == (True, False, 2, ["a", "b"])
    assert repr(ring.add("c", 2)) == "HashRing(['a', 'b', 'c'], weights={'c': 2})"


def test_a_useless_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        HashRing(["a"], weights={"a": 0})
    with pytest.raises(ValueError, match="not in the ring"):
        HashRing(["a"], weights={"b": 1})
    with pytest.raises(ValueError, match="greater than 0"):
        HashRing(["a"]).add("b", -1)


def test_positions_never_change() -> None:
    """Nodes of different versions must agree, so these numbers are fixed for good."""
    assert position("child") == 0x3DE3B8E72FAC8E94
    assert HashRing(["a", "b", "c", "d"]).owners("child", 4) == ("d", "c", "a", "b")


def test_positions_are_the_same_in_every_process() -> None:
    program = "from ring.hash_ring import HashRing as R; print(R('abcdef').owners('child', 6), R.position('x'))"
    answers = set()
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        answers.add(subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, check=True).stdout)
    assert len(answers) == 1
