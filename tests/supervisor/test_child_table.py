"""What a Supervisor knows of its children, as a table of its own: every index agrees after any history."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from supervisor.child_spec import ChildSpec
from supervisor.child_table import Children
from supervisor.pids import NodeId, Pid

HOME = NodeId("here@127.0.0.1:1", 1)


def spec(child_id: Any, **options: Any) -> ChildSpec:
    return ChildSpec(child_id, (print, ()), **options)


def agrees(table: Children) -> bool:
    """Whether the indexes say the same as the children themselves."""
    children = list(table.by_id.values())
    return (
        table.by_pid == {child.pid: child for child in children if child.pid is not None}
        and table.significant
        == {child.spec.id for child in children if child.spec.significant and (child.pid or child.restarting)}
        and table.supervisors == sum(child.spec.type == "supervisor" for child in children)
    )


def test_children_are_kept_in_start_order_and_do_not_run_at_first() -> None:
    table = Children()
    for child_id in ("b", "a", 0):
        child = table.add(spec(child_id))
        assert (child.pid, child.restarting) == (None, False)
    assert list(table.by_id) == ["b", "a", 0]
    assert table.by_pid == {}


def test_a_child_that_runs_anew_is_found_by_its_new_pid_only() -> None:
    table = Children()
    child = table.add(spec("a"))
    table.set_pid(child, Pid(HOME, 1))
    table.set_pid(child, Pid(HOME, 2))
    assert table.by_pid == {Pid(HOME, 2): child}
    table.set_pid(child, None, restarting=True)
    assert (table.by_pid, child.restarting) == ({}, True)
    table.set_pid(child, Pid(HOME, 3))
    assert child.restarting is False


def test_a_child_that_is_removed_leaves_nothing() -> None:
    table = Children()
    child = table.add(spec("a", restart="temporary", significant=True, type="supervisor"))
    table.set_pid(child, Pid(HOME, 1))
    assert (table.significant, table.supervisors) == ({"a"}, 1)
    table.remove(child)
    assert (table.by_id, table.by_pid, table.significant, table.supervisors) == ({}, {}, set(), 0)


def test_a_significant_child_counts_while_it_runs_or_is_to_be_restarted() -> None:
    table = Children()
    child = table.add(spec("a", restart="transient", significant=True))
    seen = []
    for pid, restarting in ((Pid(HOME, 1), False), (None, True), (None, False), (Pid(HOME, 2), False)):
        table.set_pid(child, pid, restarting)
        seen.append("a" in table.significant)
    assert seen == [True, True, False, True]


def test_a_child_and_the_table_show_what_runs() -> None:
    table = Children()
    child = table.add(spec("a"))
    table.set_pid(child, Pid(HOME, 1))
    assert repr(table) == "<Children [<Child 'a' <Pid here@127.0.0.1:1.1>>]>"
    table.set_pid(child, None, restarting=True)
    assert repr(child) == "<Child 'a' restarting>"


steps = st.lists(st.tuples(st.sampled_from(["add", "run", "end", "retry", "remove"]), st.integers(0, 4), st.booleans()))


@given(steps)
def test_the_indexes_agree_with_the_children_after_any_history(history: list[tuple[str, int, bool]]) -> None:
    table = Children()
    for serial, (what, child_id, flag) in enumerate(history):
        child = table.by_id.get(child_id)
        if what == "add" and child is None:
            table.add(spec(child_id, significant=flag, type="supervisor" if flag else "worker"))
        elif child is not None and what == "remove":
            table.remove(child)
        elif child is not None and what != "add":
            table.set_pid(child, Pid(HOME, serial) if what == "run" else None, restarting=what == "retry")
        assert agrees(table)
