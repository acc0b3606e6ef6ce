"""Which lost members are held, and when they are released."""

from __future__ import annotations

from processhub.hub.lost import LostMembers

PATIENCE = 10.0


def view(names: str) -> dict[str, int]:
    return dict.fromkeys(names, 1)


def test_a_member_that_nobody_sees_is_released_after_its_time() -> None:
    lost = LostMembers()
    lost.told("b", view("abc"), view("abc"), 0.0)
    lost.lost("c", 1, {"x"}, view("ab"), 10.0)
    assert lost.release(100.0, PATIENCE) == []  # b has not said yet that it misses c
    lost.told("b", view("ab"), view("ab"), 101.0)
    assert lost.release(110.9, PATIENCE) == []
    assert lost.release(111.0, PATIENCE) == ["c"]
    assert lost.held() == {}


def test_a_member_that_another_one_sees_is_held_however_long() -> None:
    lost = LostMembers()
    lost.told("b", view("abc"), view("abc"), 0.0)
    lost.lost("c", 1, {"x"}, view("ab"), 10.0)
    assert lost.is_seen_elsewhere()
    assert lost.release(1e6, PATIENCE) == []


def test_a_node_that_only_others_see_is_held_and_may_hold_anything() -> None:
    lost = LostMembers()
    lost.told("b", view("abz"), view("ab"), 0.0)
    assert lost.held() == {"z": 1}
    assert lost.may_hold("whatever")
    lost.joined("z")
    assert lost.held() == {}


def test_a_lost_member_may_hold_what_it_held_and_after_a_loss_of_quorum_anything() -> None:
    lost = LostMembers()
    lost.lost("c", 1, {"x"}, view("ab"), 0.0)
    assert (lost.may_hold("x"), lost.may_hold("y")) == (True, False)
    lost.doubt()
    assert lost.may_hold("y")


def test_the_time_begins_anew_when_a_member_joins_that_does_not_say_since_when_it_misses_them() -> None:
    lost = LostMembers()
    lost.lost("c", 1, set(), view("a"), 0.0)
    lost.told("b", view("b"), view("ab"), 9.0)
    assert lost.release(18.9, PATIENCE) == []
    assert lost.release(19.0, PATIENCE) == ["c"]


def test_the_time_begins_anew_with_a_new_quorum() -> None:
    lost = LostMembers()
    lost.lost("c", 1, set(), view("ab"), 0.0)
    lost.regain(view("ab"), 50.0)
    assert lost.release(59.0, PATIENCE) == []
    assert lost.release(60.0, PATIENCE) == ["c"]


def test_who_left_by_itself_is_not_held_though_others_have_not_heard_yet() -> None:
    lost = LostMembers()
    lost.told("b", view("abc"), view("abc"), 0.0)
    lost.left("c", 1)
    lost.told("b", view("abc"), view("ab"), 0.1)
    assert lost.held() == {}
    lost.told("b", {**view("ab"), "c": 2}, view("ab"), 0.2)  # a new life
    assert lost.held() == {"c": 2}


def test_the_word_of_a_member_that_is_lost_itself_does_not_count() -> None:
    lost = LostMembers()
    lost.told("b", view("abc"), view("abc"), 0.0)
    lost.lost("c", 1, set(), view("ab"), 1.0)
    lost.lost("b", 1, set(), view("a"), 2.0)
    assert lost.release(12.0, PATIENCE) == ["b", "c"]
