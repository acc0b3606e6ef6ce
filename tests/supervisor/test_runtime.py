"""A node as an object: its table, its names, its identity, greenlets that were there before, and its end."""

from __future__ import annotations

from typing import Any

import gevent
import gevent.event
import pytest
from greenlet import getcurrent, greenlet

import supervisor.processes as process
import supervisor.runtime as runtimes
from supervisor.clock import LoopClock
from supervisor.errors import AlreadyRegistered, Exit, NoProcess
from supervisor.gen_server import GenServer
from supervisor.pids import NodeId, Pid, Ref
from supervisor.runtime import NO_NODE, Runtime, current_process, current_runtime, default_runtime, new_incarnation
from supervisor.signals import Down
from tests.supervisor.kit import Echo, Ether, ManualClock, raising

FAR = "far@127.0.0.1:1"


def here() -> Runtime:
    return current_process().runtime


# -- identity --------------------------------------------------------------------------------------------------------


def test_pids_and_references_are_never_used_twice(clock: ManualClock) -> None:
    ids = [here().new_pid().serial, here().new_ref().serial, Echo.start().serial, here().new_pid().serial]
    assert ids == sorted(set(ids))


def test_there_is_one_node_id_for_each_life_of_each_node(clock: ManualClock) -> None:
    far = here().node_id(FAR, 3)
    assert here().node_id(FAR, 3) is far
    assert here().node_id(FAR, 4) is not far
    assert here().node_id(here().home.name, here().home.incarnation) is here().home


def test_a_node_that_takes_a_name_keeps_its_pids_and_is_found_by_its_first_name_as_well(clock: ManualClock) -> None:
    pid = Echo.start(name="echo")
    here().rename(FAR, 9)
    assert (pid.node, pid.incarnation, here().home.name) == (FAR, 9, FAR)
    assert GenServer.call(pid, 1) == GenServer.call(("echo", FAR), 1) == 1
    assert here().node_id(FAR, 9) is here().home
    assert here().node_id(NO_NODE, 0) is not here().home
    assert not here().is_remote(("echo", NO_NODE))
    assert GenServer.call(("echo", NO_NODE), 1) == 1


def test_a_new_life_has_a_higher_incarnation() -> None:
    assert 0 < new_incarnation() <= new_incarnation()


# -- finding ---------------------------------------------------------------------------------------------------------


def test_a_process_is_found_by_pid_by_name_and_by_the_name_of_this_node(clock: ManualClock) -> None:
    pid = Echo.start(name="echo")
    record = here().table[pid.serial]
    same = Pid(NodeId(pid.node, pid.incarnation), pid.serial)
    for target in (pid, same, "echo", ("echo", pid.node)):
        assert here().find(target) is record
        assert not here().is_remote(target)
    assert here().local(same) is record


@pytest.mark.parametrize("target", [Pid(NodeId(FAR, 1), 1), ("echo", FAR), Pid(NodeId(NO_NODE, 7), 1)], ids=repr)
def test_what_belongs_to_another_node_or_life_is_not_found_here(clock: ManualClock, target: Any) -> None:
    Echo.start(name="echo")
    assert here().find(target) is None
    assert here().is_remote(target)
    expected: Any = (target.node, target) if isinstance(target, Pid) else (FAR, "echo")
    assert here().address(target) == expected


def test_a_pair_that_is_a_name_itself_is_told_apart_by_its_node(clock: ManualClock) -> None:
    pid = Echo.start(name=("a", "b", "c"))
    assert here().find(("a", "b", "c")) is here().local(pid)
    assert not here().is_remote(("a", "b", "c"))


# -- names -----------------------------------------------------------------------------------------------------------


def test_a_process_may_have_several_names_and_the_same_one_twice(clock: ManualClock) -> None:
    pid = Echo.start(name="first")
    for name in ("second", "first", "second"):
        process.register(name, pid)
    assert process.info(pid, "names") == ["first", "second"]
    process.unregister("first")
    assert process.info(pid, "names") == ["second"]
    with pytest.raises(NoProcess):
        process.unregister("first")


def test_a_name_that_is_taken_is_refused_and_changes_nothing(clock: ManualClock) -> None:
    owner, other = Echo.start(name="it"), Echo.start()
    with pytest.raises(AlreadyRegistered) as taken:
        process.register("it", other)
    assert taken.value.pid == owner
    record = here().local(other)
    assert record is not None
    assert record.names == ()


def test_two_runtimes_have_names_and_processes_of_their_own(clock: ManualClock) -> None:
    other = Runtime("other@127.0.0.1:1", clock)
    Echo.start(name="it")
    found: list[Any] = []
    other.register("mine", other.spawn(lambda: found.append((process.whereis("it"), current_runtime())), (), {}))
    clock.settle()
    assert found == [(None, other)]
    assert process.whereis("mine") is None
    other.close()
    clock.settle()


# -- other nodes -----------------------------------------------------------------------------------------------------


def test_ops_go_to_the_router_if_there_is_one(clock: ManualClock) -> None:
    assert not here().connected(FAR)
    assert not here().transmit(FAR, (1, "op"))
    air = Ether(here())
    assert here().connected(FAR)
    assert here().transmit(FAR, (1, "op"))
    assert air.take() == [(FAR, (1, "op"))]
    assert here().peer(FAR) is here().peer(FAR)


def test_a_reference_finds_the_wait_that_it_names_also_in_the_pass_in_which_that_began(clock: ManualClock) -> None:
    waits: list[Any] = []

    def waiter() -> None:
        waits.append(process.new_wait(here(), 5.0))
        here().scheduler.suspend(waits[0])

    process.spawn(waiter)
    process.spawn(lambda: waits.append(here().armed_wait(Ref(waits[0].home, waits[0].serial))))
    clock.settle()
    assert waits[1] is waits[0]
    assert here().armed_wait(Ref(NodeId(FAR, 1), waits[0].serial)) is None
    assert here().armed_wait(here().new_ref()) is None
    clock.advance(5.0)
    assert here().armed_wait(waits[0]) is None


# -- greenlets that were there before ----------------------------------------------------------------------------------


def test_any_greenlet_becomes_a_process_and_its_end_is_an_end(clock: ManualClock) -> None:
    pids: list[Pid] = []

    def stranger() -> None:
        pids.append(process.self())
        process.send(me, "hello")
        raise Exit("enough")

    me = process.self()
    stranger_greenlet = gevent.spawn(stranger)
    clock.settle()
    assert process.receive(timeout=0) == "hello"
    assert stranger_greenlet.dead
    ref = process.monitor(pids[0])
    assert process.receive(timeout=0) == Down(ref, pids[0], "noproc")


def test_a_greenlet_that_is_told_to_exit_gets_an_exit_once_and_may_become_another_process(clock: ManualClock) -> None:
    log: list[Any] = []

    def stranger() -> None:
        log.append(process.self())
        try:
            process.receive()
        except Exit as error:
            log.append(error.reason)
        log.append(process.self())
        process.sleep(1.0)
        log.append("slept")

    gevent.spawn(stranger)
    clock.settle()
    process.exit(log[0], "boom")
    clock.advance(2.0)
    first, reason, second, slept = log
    assert reason == "boom"
    assert first != second
    assert slept == "slept"


def test_the_exit_of_a_greenlet_that_runs_before_it_arrives_is_not_lost(clock: ManualClock) -> None:
    log: list[Any] = []
    go = gevent.event.Event()

    def stranger() -> None:
        log.append(process.self())
        go.wait()
        try:
            process.self()
        except Exit:
            log.append("exit")
        log.append(process.self())

    gevent.spawn(stranger)
    clock.settle()
    go.set()
    process.exit(log[0], "boom")
    clock.settle()
    assert log[1] == "exit"
    assert log[2] != log[0]


def test_the_default_runtime_is_the_one_of_greenlets_that_no_process_spawned() -> None:
    pid = process.self()
    assert default_runtime().local(pid) is not None


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda: None, "normal"),
        (lambda: raising(gevent.GreenletExit()), "killed"),
        (lambda: raising(Exit("enough")), "enough"),
    ],
    ids=["returns", "killed", "exits"],
)
def test_the_end_of_a_greenlet_of_gevents_is_the_end_of_its_process(clock: ManualClock, end: Any, reason: Any) -> None:
    go = gevent.event.Event()
    pids: list[Pid] = []

    def stranger() -> None:
        pids.append(process.self())
        go.wait()
        end()

    gevent.spawn(stranger)
    clock.settle()
    ref = process.monitor(pids[0])
    go.set()
    clock.settle()
    assert process.receive(timeout=0) == Down(ref, pids[0], reason)


def test_the_end_of_a_raw_greenlet_is_noticed_within_a_second(clock: ManualClock) -> None:
    pids: list[Pid] = []
    hub = gevent.get_hub()

    def stranger() -> None:
        pids.append(process.self())
        hub.switch()

    raw = greenlet(stranger, hub)
    me = getcurrent()
    raw.spawning_greenlet = lambda: me  # type: ignore[attr-defined]
    hub.loop.run_callback(raw.switch)
    clock.advance(3.0)
    ref = process.monitor(pids[0])
    hub.loop.run_callback(raw.switch)
    clock.settle()
    assert raw.dead
    clock.advance(1.0)
    assert process.receive(timeout=0) == Down(ref, pids[0], "normal")
    clock.advance(1.0)
    assert clock.pending() == 0


def test_the_greenlet_of_the_event_loop_is_no_process(clock: ManualClock) -> None:
    with pytest.raises(RuntimeError, match="event loop's own greenlet"):
        here().adopt(here().scheduler.hub)


def test_an_orphan_finds_no_runtime_to_work_with(clock: ManualClock) -> None:
    raised: list[Any] = []

    def orphan() -> None:
        try:
            process.sleep(100.0)
        finally:
            for look in (current_process, current_runtime):
                try:
                    look()
                except Exit as error:
                    raised.append(error.reason)

    pid = process.spawn(orphan)
    clock.settle()
    process.exit(pid, "boom")
    clock.settle()
    assert raised == ["killed", "killed"]


def test_a_greenlet_that_a_process_spawned_belongs_to_the_same_runtime(clock: ManualClock) -> None:
    found: list[Any] = []
    gevent.spawn(lambda: found.append(current_runtime()))
    gevent.spawn(lambda: found.append(process.self().node and current_process().runtime))
    clock.settle()
    assert found == [here(), here()]


# -- beginning and end -------------------------------------------------------------------------------------------------


def test_a_runtime_has_the_clock_of_the_loop_unless_it_is_given_another(clock: ManualClock) -> None:
    other = Runtime()
    assert isinstance(other.clock, LoopClock)
    assert other is not default_runtime() is runtimes.default_runtime()
    assert repr(other) == f"<Runtime {NO_NODE}: 0 processes>"
    other.close()
    clock.settle()


def test_a_closed_runtime_has_no_processes_and_tells_them_why(clock: ManualClock) -> None:
    other_clock = ManualClock()
    other = other_clock.runtime = Runtime("other@127.0.0.1:1", other_clock)
    ends: list[Any] = []

    def sleeper() -> None:
        try:
            process.sleep(100.0)
        except Exit as error:
            ends.append(error.reason)
            raise

    other.register("sleeper", other.spawn(sleeper, (), {}))
    clock.settle()
    other.close()
    assert (other.table, other.names) == ({}, {})
    clock.settle()
    assert ends == ["killed"]
    assert other_clock.pending() == 0
