"""Replication: how many copies, which one is active, who is told."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from typing import Any

import pytest

from processhub.strategy.errors import InvalidConfig
from processhub.strategy.redundancy.replication import Replication

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


def test_one_copy_is_active_whatever_the_order_of_the_owners() -> None:
    for child_id in IDS[:50]:
        assert len({PASSIVE.active(child_id, owners) for owners in permutations(OWNERS)}) == 1
    assert PASSIVE.active("x", ()) is None


def test_the_active_copies_are_spread_evenly() -> None:
    counts = Counter(PASSIVE.active(child_id, OWNERS) for child_id in IDS)
    assert all(150 < counts[node] < 250 for node in OWNERS)


def test_a_role_changes_only_when_the_active_owner_goes_or_a_newcomer_becomes_active() -> None:
    for child_id in IDS:
        before, after = PASSIVE.active(child_id, OWNERS), PASSIVE.active(child_id, ("a", "b", "d"))
        assert after in (before, "d") or before == "c"


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
