"""Replication: how many copies, which one is active, who is told."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from processhub.strategy.errors import InvalidConfig
from processhub.strategy.redundancy.replication import Replication
from ring.hash_ring import HashRing

OWNERS = ("a", "b", "c")
IDS = [f"child{number}" for number in range(600)]
PASSIVE = Replication(3, "active_passive")


def test_there_are_two_active_copies_and_no_signals_unless_said_otherwise() -> None:
    assert Replication().copies("abc") == 2
    assert Replication().active("x", OWNERS) is None
    assert not Replication().signals("active")
    assert not Replication().signals("passive")


def test_the_cluster_size_is_one_copy_on_every_member() -> None:
    strategy = Replication("cluster_size")
    assert [strategy.copies("abc"[:size]) for size in range(4)] == [1, 1, 2, 3]


def test_a_number_may_exceed_the_members() -> None:
    assert Replication(5).copies("ab") == 5


def test_the_copy_of_the_first_owner_is_active() -> None:
    assert PASSIVE.active("x", OWNERS) == "a"
    assert PASSIVE.active("x", ()) is None


def test_the_active_copies_are_spread_evenly_over_a_ring() -> None:
    ring = HashRing("abc")
    counts = Counter(PASSIVE.active(child_id, ring.owners(child_id, 2)) for child_id in IDS)
    assert all(150 < counts[node] < 250 for node in "abc")


@pytest.mark.parametrize("lost", "abcd")
def test_a_loss_never_makes_a_copy_active_that_was_not_there_before(lost: str) -> None:
    before, after = HashRing("abcd"), HashRing("abcd").remove(lost)
    for child_id in IDS:
        owners = before.owners(child_id, 2)
        active = PASSIVE.active(child_id, after.owners(child_id, 2))
        assert active in owners
        assert active == owners[0] or lost == owners[0]  # and a passive copy that is lost changes no role


def test_the_mode_of_each_copy_follows_from_the_active_node() -> None:
    active = PASSIVE.active("x", OWNERS)
    modes = {node: PASSIVE.mode("x", node, OWNERS) for node in OWNERS}
    assert modes == {node: "active" if node == active else "passive" for node in OWNERS}
    assert {Replication().mode("x", node, OWNERS) for node in OWNERS} == {"active"}


@pytest.mark.parametrize(
    ("option", "told"), [("none", []), ("active", ["active"]), ("passive", ["passive"]), ("all", ["active", "passive"])]
)
def test_the_option_names_the_roles_that_are_told(option: Any, told: list[str]) -> None:
    strategy = Replication(redundancy_signal=option)
    assert [mode for mode in ("active", "passive") if strategy.signals(mode)] == told


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"replication_factor": 0}, 'replication_factor must be an int >= 1 or "cluster_size"; got 0'),
        ({"replication_factor": True}, "replication_factor"),
        ({"replication_factor": "all"}, "replication_factor"),
        ({"replication_model": "passive"}, "replication_model must be one of 'active_active', 'active_passive'"),
        ({"redundancy_signal": None}, "redundancy_signal"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidConfig, match=named):
        Replication(**options)
