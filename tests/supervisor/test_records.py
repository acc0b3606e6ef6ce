"""The record of one process: its mailbox, who waits for it, and its links as a small tuple or a set."""

from __future__ import annotations

from collections import deque
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import supervisor.processes as process
from supervisor.pids import NodeId, Pid, Ref
from supervisor.records import (
    CALL,
    CAST,
    CONTINUE,
    DEAD,
    INFO,
    INIT,
    RUNNING,
    SYSTEM,
    ActingAs,
    Links,
    Process,
    link_added,
    link_removed,
    parent_of,
    sorted_ids,
)
from supervisor.runtime import current_process
from tests.supervisor.kit import Echo, ManualClock

HOME = NodeId("here@127.0.0.1:1", 1)


def record(pid: Pid) -> Process:
    found = current_process().runtime.local(pid)
    assert found is not None
    return found


def idle_record() -> Process:
    """A plain process that is nobody: entries stay in its mailbox."""
    return current_process().runtime.add(None, RUNNING)


# -- the mailbox -----------------------------------------------------------------------------------------------------


def test_an_idle_server_has_no_mailbox_and_the_first_entry_makes_it_ready(clock: ManualClock) -> None:
    server = record(Echo.start())
    assert (server.mailbox, server.queue_length) == (None, 0)
    server.enqueue((INFO, "message"))
    assert (process.info(server.pid, "status"), server.queue_length) == ("queued", 1)
    clock.settle()
    assert (process.info(server.pid, "status"), server.mailbox) == ("idle", None)


def test_a_server_that_is_ready_already_is_not_made_ready_twice(clock: ManualClock) -> None:
    server = record(Echo.start())
    ready = current_process().runtime.scheduler._ready
    server.enqueue((INFO, 1))
    server.enqueue((INFO, 2))
    assert list(ready).count(server) == 1


def test_a_system_entry_goes_behind_what_goes_ahead_already_and_ahead_of_users_messages(clock: ManualClock) -> None:
    someone = idle_record()
    for entry in ((INIT, 0), (CONTINUE, 0), (SYSTEM, "first"), (INFO, 1), (CAST, 2), (CALL, 3, None)):
        someone.enqueue(entry)
    someone.enqueue_system((SYSTEM, "second"))
    assert [entry[0] for entry in someone.mailbox or ()] == [INIT, CONTINUE, SYSTEM, SYSTEM, INFO, CAST, CALL]
    assert [entry[1] for entry in someone.mailbox or () if entry[0] == SYSTEM] == ["first", "second"]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 100))))
def test_system_entries_and_messages_each_keep_their_order(entries: list[tuple[bool, int]]) -> None:
    class Nobody:
        def new_mailbox(self) -> Any:
            return deque()

    someone = Process(Nobody(), Pid(HOME, 1), None, RUNNING)  # type: ignore[arg-type]
    for system, number in entries:
        (someone.enqueue_system if system else someone.enqueue)((SYSTEM if system else INFO, number))
    expected = [number for system, number in entries if system] + [number for system, number in entries if not system]
    assert [number for _, number in someone.waiting] == expected
    assert someone.queue_length == len(entries)


# -- what it says of itself ------------------------------------------------------------------------------------------


def test_a_record_shows_its_first_name_and_a_bounded_label(clock: ManualClock) -> None:
    someone = idle_record()
    where = f"{someone.pid.node}.{someone.pid.serial}"
    assert repr(someone) == f"<Process {where}>"
    someone.names, someone.label = ("first", "second"), "x" * 1000
    assert repr(someone) == f"<Process {where} 'first' {'x' * 200}>"


def test_a_record_knows_whether_it_is_alive_and_a_server(clock: ManualClock) -> None:
    server, plain = record(Echo.start()), current_process()
    assert (server.alive, server.is_server, plain.alive, plain.is_server) == (True, True, True, False)
    process.exit(server.pid, "kill")
    assert (server.alive, server.status) == (False, DEAD)


# -- those who wait --------------------------------------------------------------------------------------------------


class Note(Ref):
    """Notes what it is told."""

    def __init__(self, serial: int) -> None:
        super().__init__(HOME, serial)
        self.told: list[Any] = []

    def target_died(self, reason: Any) -> None:
        self.told.append(reason)


def test_who_waits_is_told_the_end_once(clock: ManualClock) -> None:
    server, first, second = record(Echo.start()), Note(1), Note(2)
    server.add_waiter(first)
    server.add_waiter(second)
    server.drop_waiter(second)
    process.exit(server.pid, "boom")
    server.drop_waiter(first)
    assert (first.told, second.told, server.waiters) == (["boom"], [], None)


def test_who_comes_to_wait_for_the_dead_is_told_at_once(clock: ManualClock) -> None:
    server, late = record(Echo.start()), Note(1)
    process.exit(server.pid, "boom")
    server.add_waiter(late)
    assert (late.told, server.waiters) == (["noproc"], None)


def test_a_record_without_waiters_costs_no_table(clock: ManualClock) -> None:
    server, note = record(Echo.start()), Note(1)
    assert server.waiters is None
    server.drop_waiter(note)
    server.add_waiter(note)
    server.drop_waiter(note)
    assert server.waiters is None


# -- parents ---------------------------------------------------------------------------------------------------------


def test_the_parent_is_the_starter_or_the_supervisor_that_it_acts_as(clock: ManualClock) -> None:
    starter, supervisor, child = idle_record(), idle_record(), idle_record()
    assert parent_of(child, starter) is starter
    assert child.parent == starter.pid
    starter.acting_as = ActingAs(supervisor)
    assert parent_of(child, starter) is supervisor
    assert (child.parent, starter.acting_as.started) == (supervisor.pid, [child.pid])


# -- links -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9))))
def test_links_are_a_set_however_few_or_many_they_are(steps: list[tuple[bool, int]]) -> None:
    links: Links = ()
    model: set[Pid] = set()
    for add, serial in steps:
        pid = Pid(HOME, serial)
        links = (link_added if add else link_removed)(links, pid)
        (model.add if add else model.discard)(pid)
        assert set(links) == model
        assert len(links) == len(model)


def test_few_links_are_a_tuple_and_many_are_a_set() -> None:
    links: Links = ()
    for serial in range(4):
        links = link_added(links, Pid(HOME, serial))
    assert isinstance(links, tuple)
    many = link_added(links, Pid(HOME, 4))
    assert isinstance(many, set)
    assert link_added(many, Pid(HOME, 5)) is many
    assert len(links) == 4  # a tuple is never changed in place: siblings may share it


def test_ids_are_sorted_the_same_way_in_every_run() -> None:
    other = NodeId("another@127.0.0.1:1", 9)
    ids = [Pid(HOME, 2), Pid(HOME, 1), Pid(other, 3), Pid(NodeId(HOME.name, 0), 8)]
    assert [(pid.node, pid.serial) for pid in sorted_ids(ids)] == [
        (other.name, 3),
        (HOME.name, 8),
        (HOME.name, 1),
        (HOME.name, 2),
    ]
