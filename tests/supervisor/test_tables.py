"""The tables of a registry, without a registry: entries, the ties of their owners, listeners, and the end of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import supervisor.processes as process
from supervisor.errors import AlreadyRegistered, NotRegistered
from supervisor.pids import Pid
from supervisor.records import Process
from supervisor.runtime import current_process
from supervisor.signals import ExitSignal
from supervisor.tables import TABLES, DuplicateTable, Table, UniqueTable
from tests.supervisor.kit import Echo, ManualClock, info

KINDS = pytest.mark.parametrize("kind", TABLES)


def table_of(kind: str, *listeners: Any) -> Table:
    table: Table = TABLES[kind](current_process().runtime, "title", listeners)
    return table


def owner(**options: Any) -> Process:
    found = current_process().runtime.local(Echo.start(**options))
    assert found is not None
    return found


def agrees(table: Table, *owners: Process) -> bool:
    """Whether an entry is there exactly while its owner's tie has its key, and every count is right."""
    rows = list(table.rows())
    keys = {(pid, key) for key, pid, _ in rows}
    held = {(one.pid, key) for one in owners for key in table.held(one)}
    return keys == held and len(table) == len(rows) and all(len(table.lookup(key)) > 0 for key, _, _ in rows)


def messages() -> list[Any]:
    found = []
    while process.info(process.self(), "queue_length"):
        found.append(process.receive(timeout=0))
    return found


@KINDS
def test_an_entry_is_there_exactly_while_its_owner_holds_the_key(clock: ManualClock, kind: str) -> None:
    table, one, two = table_of(kind), owner(), owner()
    steps: list[Callable[[], object]] = [
        lambda: table.register(one, "a", 1),
        lambda: table.register(two, "b", 2),
        lambda: table.register(one, "c", 3),
        lambda: table.unregister(one, "a"),
        lambda: table.unregister(one, "b"),  # another's
        lambda: process.exit(two.pid, "boom"),
        lambda: table.unregister(one, "c"),
    ]
    sizes = []
    for step in steps:
        step()
        assert agrees(table, one, two)
        sizes.append(len(table))
    assert sizes == [1, 2, 3, 2, 2, 1, 0]
    assert (one.ties, two.ties) == (None, None)


@KINDS
def test_a_lookup_is_a_list_of_its_own(clock: ManualClock, kind: str) -> None:
    table, one = table_of(kind), owner()
    table.register(one, "a", 1)
    table.lookup("a").clear()
    assert table.lookup("a") == [(one.pid, 1)]
    assert table.lookup("b") == []


@KINDS
def test_nobody_holds_nothing(clock: ManualClock, kind: str) -> None:
    table = table_of(kind)
    assert table.held(None) == table.held(owner()) == {}
    assert table.values(None, "a") == table.values(owner(), "a") == []


@KINDS
def test_a_key_that_cannot_be_hashed_changes_nothing(clock: ManualClock, kind: str) -> None:
    table, one = table_of(kind), owner()
    with pytest.raises(TypeError):
        table.register(one, ["a"], 1)
    assert agrees(table, one)
    assert one.ties is None


def test_a_unique_key_that_is_taken_is_refused_and_leaves_no_tie(clock: ManualClock) -> None:
    table, one, two = table_of("unique"), owner(), owner()
    table.register(one, "a", 1)
    for who in (one, two):
        with pytest.raises(AlreadyRegistered) as taken:
            table.register(who, "a", 2)
        assert (taken.value.name, taken.value.pid) == ("a", one.pid)
    assert (agrees(table, one, two), two.ties) == (True, None)
    assert table.lookup("a") == [(one.pid, 1)]


def test_only_its_owner_changes_the_value_of_a_unique_key(clock: ManualClock) -> None:
    table, one, two = table_of("unique"), owner(), owner()
    assert isinstance(table, UniqueTable)
    table.register(one, "a", 1)
    table.update(one, "a", 2)
    with pytest.raises(NotRegistered):
        table.update(two, "a", 3)
    assert (table.values(one, "a"), table.owner("a"), table.owner("b")) == ([2], one.pid, None)


def test_entries_of_a_duplicate_key_are_removed_by_owner_and_keep_their_order(clock: ManualClock) -> None:
    table, one, two = table_of("duplicate"), owner(), owner()
    assert isinstance(table, DuplicateTable)
    for who, value in ((one, 1), (two, 2), (one, 3), (two, 4)):
        table.register(who, "a", value)
    assert [value for _, value in table.lookup("a")] == [1, 2, 3, 4]
    assert (table.values(one, "a"), table.values(two, "a")) == ([1, 3], [2, 4])
    process.exit(one.pid, "kill")
    assert [value for _, value in table.lookup("a")] == [2, 4]
    assert (agrees(table, two), len(table)) == (True, 2)
    process.exit(two.pid, "kill")
    assert table.entries == {}


@KINDS
def test_listeners_hear_of_every_entry_and_every_key_that_goes_once(clock: ManualClock, kind: str) -> None:
    process.register("listener", process.self())
    table, one = table_of(kind, "listener", "nobody"), owner()
    table.register(one, "a", 1)
    table.unregister(one, "a")
    table.unregister(one, "a")
    table.register(one, "b", 2)
    process.exit(one.pid, "boom")
    assert messages() == [
        ("register", "title", "a", one.pid, 1),
        ("unregister", "title", "a", one.pid),
        ("register", "title", "b", one.pid, 2),
        ("unregister", "title", "b", one.pid),
    ]


@KINDS
def test_the_end_of_the_registry_is_an_exit_signal_to_each_owner_once(clock: ManualClock, kind: str) -> None:
    process.trap_exit(True)
    table, one, me = table_of(kind), owner(), current_process()
    source = Pid(me.pid.home, 10_000)
    for key in ("a", "b"):
        table.register(one, key, 1)
        table.register(me, (key, "mine"), 1)
    table.close(source, "boom")
    assert not process.alive(one.pid)
    assert messages() == [ExitSignal(source, "boom")]
    assert (len(table), list(table.rows()), me.ties) == (0, [], None)


@KINDS
def test_a_process_in_two_tables_is_let_go_by_each_alone(clock: ManualClock, kind: str) -> None:
    first, second, one = table_of(kind), table_of(kind), owner()
    first.register(one, "a", 1)
    second.register(one, "a", 1)
    first.close(process.self(), "normal")
    assert process.alive(one.pid)
    assert (len(first), len(second)) == (0, 1)
    process.exit(one.pid, "boom")
    assert (len(second), info(process.self())["queue_length"]) == (0, 0)


def test_a_table_of_no_kind_does_nothing_by_itself(clock: ManualClock) -> None:
    table = Table(current_process().runtime, "title", ())
    for use in (table.rows, lambda: len(table), lambda: table.lookup("a"), lambda: table.values(None, "a")):
        with pytest.raises(NotImplementedError):
            use()
    with pytest.raises(NotImplementedError):
        table.register(owner(), "a", 1)
