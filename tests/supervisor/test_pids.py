from __future__ import annotations

import pytest

from supervisor.pids import NodeId, Pid, Ref


def test_pids_are_equal_when_serial_and_life_of_the_node_are() -> None:
    home, same = NodeId("a@h:1", 3), NodeId("a@h:1", 3)
    assert Pid(home, 7) == Pid(home, 7)
    assert Pid(home, 7) == Pid(same, 7)
    assert hash(Pid(home, 7)) == hash(Pid(same, 7))


@pytest.mark.parametrize(
    "other", [Pid(NodeId("a@h:1", 3), 8), Pid(NodeId("a@h:1", 4), 7), Pid(NodeId("b@h:1", 3), 7), 7, None]
)
def test_pids_differ_by_serial_incarnation_and_node(other: object) -> None:
    assert Pid(NodeId("a@h:1", 3), 7) != other


def test_a_pid_is_never_equal_to_a_reference() -> None:
    home = NodeId("a@h:1", 3)
    assert Pid(home, 7) != Ref(home, 7)
    assert Ref(home, 7) != Pid(home, 7)
    assert Ref(home, 7) == Ref(NodeId("a@h:1", 3), 7)


def test_a_pid_stays_the_same_key_when_its_node_takes_a_name() -> None:
    home = NodeId("nonode@nohost", 0)
    pid = Pid(home, 7)
    found = {pid: "here"}
    home.name, home.incarnation = "a@h:1", 12
    assert found[pid] == "here"
    assert found[Pid(NodeId("a@h:1", 12), 7)] == "here"
    assert (pid.node, pid.incarnation) == ("a@h:1", 12)


def test_sort_keys_order_by_node_then_incarnation_then_serial() -> None:
    pids = [Pid(NodeId(name, life), serial) for name in "ab" for life in (1, 2) for serial in (9, 10)]
    mixed = pids[::-1]
    assert sorted(mixed, key=lambda pid: pid.sort_key) == pids


def test_pids_print_their_node_and_serial() -> None:
    assert repr(Pid(NodeId("a@h:1", 3), 7)) == "<Pid a@h:1.7>"
    assert repr(Ref(NodeId("a@h:1", 3), 7)) == "<Ref a@h:1.7>"
