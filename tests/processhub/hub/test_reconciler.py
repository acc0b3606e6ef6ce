"""What one node decides about one child, rule by rule."""

from __future__ import annotations

from typing import Any

import pytest

from processhub.hub.reconciler import (
    AwaitHandover,
    AwaitTables,
    Decision,
    Nothing,
    Offer,
    StartHere,
    StopHere,
    TellStay,
    accepts,
    decide,
    may_hand_over,
    may_stop,
    next_epoch,
)
from processhub.registry import FAILED, LEAVING, RESTARTING, RUNNING, STARTING, Row
from tests.processhub.hub.simulation import FakePid

MEMBERS = frozenset("abcde")
DEADLINE = 15.0


def row(node: str, state: str = RUNNING, to: str | None = None) -> Row:
    return Row(FakePid(node, 1), state, 1, FakePid(to, 2) if to else None)


def rows(*nodes: str, state: str = RUNNING) -> dict[str, Row]:
    return {node: row(node, state) for node in nodes}


def decided(own: str, owners: str, held: dict[str, Row], desired: bool = True, **more: Any) -> Decision:
    members = more.pop("members", MEMBERS)
    return decide(own, tuple(owners), held, desired, members, **{"now": 100.0, "deadline": DEADLINE, **more})


# --- what runs where it should ----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [STARTING, RUNNING, RESTARTING, FAILED])
def test_an_owner_that_holds_in_any_state_does_nothing(state: str) -> None:
    assert decided("a", "a", rows("a", state=state)) == Nothing()


def test_a_node_that_neither_owns_nor_holds_does_nothing() -> None:
    assert decided("c", "ab", {}) == Nothing()
    assert decided("c", "ab", rows("d")) == Nothing()


def test_a_child_that_is_no_longer_desired_is_stopped_by_owners_and_others() -> None:
    assert isinstance(decided("a", "a", rows("a"), desired=False), StopHere)
    assert isinstance(decided("b", "a", rows("b", state=FAILED), desired=False), StopHere)
    assert decided("c", "c", rows("a"), desired=False) == Nothing()


# --- who starts, who waits --------------------------------------------------------------------------------------


def test_an_owner_starts_a_child_that_nobody_holds_at_once() -> None:
    assert isinstance(decided("a", "a", {}), StartHere)


def test_every_owner_that_does_not_hold_starts_its_copy() -> None:
    assert isinstance(decided("b", "ab", rows("a")), StartHere)
    assert isinstance(decided("c", "abc", rows("a")), StartHere)


@pytest.mark.parametrize("state", [STARTING, RUNNING, RESTARTING, FAILED])
def test_an_owner_waits_for_a_holder_in_any_state_to_hand_the_child_over(state: str) -> None:
    assert decided("a", "a", rows("b", state=state)) == AwaitHandover("b", 115.0)


def test_the_deadline_counts_from_when_the_waiting_began() -> None:
    assert decided("a", "a", rows("b"), waiting_since=90.0) == AwaitHandover("b", 105.0)
    assert decided("a", "a", rows("b"), waiting_since=85.1) == AwaitHandover("b", 100.1)


def test_an_owner_starts_the_child_when_it_was_not_handed_over_by_the_deadline() -> None:
    decision = decided("a", "a", rows("b"), waiting_since=85.0)
    assert isinstance(decision, StartHere)
    assert "b" in decision.why


def test_rows_of_nodes_that_are_no_members_do_not_count() -> None:
    assert isinstance(decided("a", "a", rows("z")), StartHere)
    assert decided("a", "a", rows("a", "z")) == Nothing()


def test_surplus_holders_and_missing_owners_are_paired_by_sorted_position() -> None:
    held = rows("d", "c")
    assert decided("b", "ba", held) == AwaitHandover("d", 115.0)
    assert decided("a", "ba", held) == AwaitHandover("c", 115.0)
    assert decided("c", "ba", held) == Offer("a")
    assert decided("d", "ba", held) == Offer("b")


def test_an_owner_without_a_partner_starts_at_once_while_the_other_waits() -> None:
    held = rows("c")
    assert decided("a", "ab", held) == AwaitHandover("c", 115.0)
    assert isinstance(decided("b", "ab", held), StartHere)


# --- unknown tables ---------------------------------------------------------------------------------------------


def test_while_a_table_is_unknown_a_child_without_a_known_holder_is_not_started() -> None:
    assert decided("a", "a", {}, tables_unknown=True) == AwaitTables(115.0)
    assert decided("a", "a", rows("z"), tables_unknown=True) == AwaitTables(115.0)


def test_it_is_started_when_the_tables_did_not_come_by_the_deadline() -> None:
    assert isinstance(decided("a", "a", {}, tables_unknown=True, waiting_since=85.0), StartHere)


def test_an_unknown_table_does_not_hold_back_a_further_copy_of_a_known_child() -> None:
    assert isinstance(decided("b", "ab", rows("a"), tables_unknown=True), StartHere)


def test_it_does_where_there_must_never_be_more_copies_than_owners() -> None:
    assert decided("b", "ab", rows("c"), tables_unknown=True, never_surplus=True) == AwaitTables(115.0)
    assert isinstance(decided("b", "ab", rows("c"), never_surplus=True), StartHere)


# --- who gives up its copy --------------------------------------------------------------------------------------


def test_a_surplus_holder_without_a_partner_keeps_its_copy() -> None:
    assert decided("c", "a", rows("a", "c")) == Nothing()
    assert decided("c", "", rows("c")) == Nothing()


def test_a_holder_that_is_no_member_itself_still_offers_what_it_holds() -> None:
    assert decided("a", "b", rows("a"), members=frozenset("b")) == Offer("b")


def test_a_running_owner_tells_surplus_holders_that_it_stays() -> None:
    assert decided("a", "a", rows("a", "c", "b")) == TellStay(("b", "c"))


@pytest.mark.parametrize("state", [STARTING, RESTARTING, FAILED])
def test_an_owner_that_does_not_run_tells_nobody(state: str) -> None:
    assert decided("a", "a", {**rows("b"), "a": row("a", state)}) == Nothing()


def test_only_the_first_running_owner_tells() -> None:
    held = rows("a", "b", "c")
    assert decided("a", "ba", held) == Nothing()
    assert decided("b", "ba", held) == TellStay(("c",))
    assert decided("a", "ba", {**held, "b": row("b", STARTING)}) == TellStay(("c",))


def test_a_surplus_holder_that_another_owner_waits_for_is_not_told() -> None:
    held = rows("a", "c", "d")
    assert decided("a", "ab", held) == TellStay(("d",))
    assert decided("b", "ab", held) == AwaitHandover("c", 115.0)


def test_who_promised_to_stay_offers_nothing() -> None:
    assert decided("c", "a", rows("c"), promised=True) == Nothing()


# --- copies that are leaving ------------------------------------------------------------------------------------


def test_a_copy_that_leaves_for_an_owner_is_awaited_there_and_left_alone_by_others() -> None:
    held = {"c": row("c", LEAVING, to="a")}
    assert decided("a", "a", held) == AwaitHandover("c", 115.0)
    assert decided("c", "a", held) == Nothing()
    assert decided("b", "ab", held) != AwaitHandover("c", 115.0)


def test_the_target_of_a_leaving_copy_starts_the_child_itself_after_the_deadline() -> None:
    assert isinstance(decided("a", "a", {"c": row("c", LEAVING, to="a")}, waiting_since=0.0), StartHere)


def test_a_copy_that_leaves_counts_where_it_goes() -> None:
    held = {"c": row("c", LEAVING, to="d")}
    assert decided("a", "a", held) == AwaitHandover("d", 115.0)
    assert isinstance(decided("b", "db", held), StartHere)


def test_a_leaving_copy_whose_target_is_lost_is_offered_to_an_owner() -> None:
    held = {"c": row("c", LEAVING, to="z")}
    assert decided("c", "a", held) == Offer("a")
    assert decided("a", "a", held) == AwaitHandover("c", 115.0)


def test_an_owner_whose_copy_was_leaving_to_a_lost_node_starts_it_again() -> None:
    assert isinstance(decided("a", "a", {"a": row("a", LEAVING, to="z")}), StartHere)


def test_a_copy_that_is_left_over_from_leaving_to_a_running_owner_is_told() -> None:
    assert decided("a", "a", {"a": row("a"), "c": row("c", LEAVING, to="a")}) == TellStay(("c",))


def test_a_copy_that_is_leaving_to_another_node_is_not_told() -> None:
    assert decided("a", "a", {"a": row("a"), "c": row("c", LEAVING, to="b")}) == Nothing()


# --- offers -----------------------------------------------------------------------------------------------------


def test_an_owner_that_does_not_hold_accepts_an_offer_of_a_holder() -> None:
    assert accepts("a", "a", rows("c"), True, "c", MEMBERS)
    assert accepts("a", "ab", rows("b", "c"), True, "c", MEMBERS)


@pytest.mark.parametrize(
    ("owners", "held", "desired", "from_node"),
    [
        ("b", rows("c"), True, "c"),  # not an owner
        ("a", rows("a", "c"), True, "c"),  # holds it already
        ("a", rows("d"), True, "c"),  # the offerer does not hold
        ("a", rows("c"), False, "c"),  # not desired
        ("a", rows("z"), True, "z"),  # no member
        ("ac", rows("c"), True, "c"),  # the offerer should keep it
    ],
)
def test_an_offer_is_refused(owners: str, held: dict[str, Row], desired: bool, from_node: str) -> None:
    assert not accepts("a", owners, held, desired, from_node, MEMBERS)


def test_an_accepted_child_is_handed_over_only_while_the_offer_still_holds() -> None:
    assert may_hand_over("c", "a", rows("c"), True, "a", MEMBERS)
    assert not may_hand_over("c", "ac", rows("c"), True, "a", MEMBERS)
    assert not may_hand_over("c", "b", rows("c"), True, "a", MEMBERS)
    assert not may_hand_over("c", "a", rows("b"), True, "a", MEMBERS)
    assert not may_hand_over("c", "a", rows("c"), False, "a", MEMBERS)
    assert not may_hand_over("c", "z", rows("c"), True, "z", MEMBERS)
    assert not may_hand_over("c", "a", rows("c"), True, "a", MEMBERS, promised=True)
    assert not may_hand_over("c", "a", {"c": row("c", LEAVING, to="a")}, True, "a", MEMBERS)
    assert may_hand_over("c", "a", {"c": row("c", LEAVING, to="z")}, True, "a", MEMBERS)


# --- the word of an owner ---------------------------------------------------------------------------------------


def stops(owners: str = "a", held: dict[str, Row] | None = None, **more: Any) -> bool:
    found = rows("a", "c") if held is None else held
    args = {"own_pid": FakePid("c", 1), "teller": "a", "teller_pid": FakePid("a", 1), "members": MEMBERS, **more}
    return may_stop("c", owners=owners, rows=found, **args)


def test_a_surplus_holder_stops_when_a_running_owner_told_it_by_pid_that_it_stays() -> None:
    assert stops()


@pytest.mark.parametrize("state", [STARTING, RESTARTING, FAILED, LEAVING])
def test_it_does_not_stop_for_an_owner_that_does_not_run(state: str) -> None:
    assert not stops(held={**rows("c"), "a": row("a", state)})


def test_it_does_not_stop_for_another_copy_than_the_one_it_knows() -> None:
    assert not stops(teller_pid=FakePid("a", 2))
    assert not stops(held=rows("c"))


def test_it_does_not_stop_for_a_word_about_an_earlier_copy_of_its_own() -> None:
    assert not stops(own_pid=FakePid("c", 0))


def test_it_does_not_stop_for_a_node_that_does_not_own_or_is_no_member() -> None:
    assert not stops(owners="b")
    assert not stops(members=frozenset("bcde"))


def test_an_owner_does_not_stop_whoever_tells_it() -> None:
    assert not stops(owners="ac")


def test_who_promised_to_stay_does_not_stop() -> None:
    assert not stops(promised=True)


def test_the_next_epoch_is_higher_than_all_that_are_known() -> None:
    assert next_epoch({}) == 1
    assert next_epoch({"a": Row(None, RUNNING, 3), "b": Row(None, FAILED, 7)}) == 8
    assert next_epoch({"a": Row(None, RUNNING, 3)}, known=9) == 10
