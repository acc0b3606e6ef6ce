from __future__ import annotations

import itertools
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import supervisor.processes as process
import supervisor.signals as signals
from supervisor.errors import Exit, ProcessExit
from supervisor.gen_server import GenServer
from supervisor.pids import Pid
from supervisor.reasons import Crash, Shutdown
from supervisor.runtime import Runtime, current_process
from supervisor.signals import Down, ExitSignal
from tests.supervisor.kit import Echo, ManualClock, Trapper, info, run_as_process

# -- exit signals ----------------------------------------------------------------------------------------------------


def test_a_process_that_is_sent_an_exit_signal_is_gone_when_exit_returns(clock: ManualClock) -> None:
    pid = Echo.start(name="echo")
    process.exit(pid, "boom")
    assert not process.alive(pid)
    assert process.whereis("echo") is None


def test_a_normal_exit_signal_is_ignored_by_others_and_trapped_by_those_who_trap(clock: ManualClock) -> None:
    events: list[Any] = []
    plain, trapper = Echo.start(), Trapper.start(events)
    process.exit(plain, "normal")
    process.exit(trapper, "normal")
    clock.settle()
    assert process.alive(plain)
    assert process.alive(trapper)
    assert events == [ExitSignal(process.self(), "normal")]


def test_kill_cannot_be_trapped_and_reaches_links_as_killed(clock: ManualClock) -> None:
    process.trap_exit(True)
    pid = Trapper.start_link([])
    assert pid is not None
    process.exit(pid, "kill")
    assert not process.alive(pid)
    assert process.receive(timeout=0) == ExitSignal(pid, "killed")


def test_a_process_that_ends_with_the_reason_kill_does_not_kill_trapping_links(clock: ManualClock) -> None:
    """Only a `kill` that was sent cannot be trapped; passed on by a link it is a reason like any other (OTP)."""
    process.trap_exit(True)

    def end() -> None:
        raise Exit("kill")

    pid = process.spawn_link(end)
    assert process.receive(timeout=1) == ExitSignal(pid, "kill")


def test_a_process_that_exits_itself_unwinds_with_the_reason(clock: ManualClock) -> None:
    cleaned: list[Any] = []

    def body() -> None:
        try:
            process.exit(process.self(), "enough")
        except Exit as error:
            cleaned.append(error.reason)
            raise
        cleaned.append("went on")

    process.spawn_monitor(body)
    assert process.receive(timeout=1).reason == "enough"
    clock.settle()
    assert cleaned == ["enough"]


def test_a_process_that_dies_of_the_death_it_caused_unwinds_too(clock: ManualClock) -> None:
    went_on: list[str] = []

    def body() -> None:
        process.exit(process.spawn_link(process.receive), "boom")
        went_on.append("oh no")

    pid, _ = process.spawn_monitor(body)
    assert process.receive(timeout=1).reason == "boom"
    assert not process.alive(pid)
    clock.settle()
    assert not went_on


def test_an_exit_signal_to_a_dead_process_does_nothing(clock: ManualClock) -> None:
    pid = Echo.start()
    process.exit(pid, "boom")
    process.exit(pid, "again")


# -- links -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["boom", "shutdown", Shutdown("why"), Crash("E", "m")])
def test_an_end_that_is_not_normal_takes_linked_processes_along(clock: ManualClock, reason: Any) -> None:
    process.trap_exit(True)
    first = process.spawn_link(process.receive)
    others = [Echo.start() for _ in range(7)]
    for other in (*others[1:], first):
        GenServer.call(others[0], lambda other=other: process.link(other))
    process.exit(others[3], reason)
    assert not any(process.alive(pid) for pid in (*others, first))
    assert process.receive(timeout=0) == ExitSignal(first, reason)


def test_a_normal_end_takes_nobody_along(clock: ManualClock) -> None:
    pid = Echo.start()
    ended = process.spawn(lambda: process.link(pid))
    clock.settle()
    assert not process.alive(ended)
    assert process.alive(pid)
    assert info(pid)["links"] == []


def test_a_link_to_a_dead_process_is_answered_with_noproc(clock: ManualClock) -> None:
    dead = Echo.start()
    process.exit(dead, "boom")
    process.spawn_monitor(process.link, dead)
    assert process.receive(timeout=1).reason == "noproc"
    process.trap_exit(True)
    process.link(dead)
    assert process.receive(timeout=0) == ExitSignal(dead, "noproc")


def test_an_unlinked_process_is_not_taken_along(clock: ManualClock) -> None:
    pid = Echo.start_link()
    assert pid is not None
    process.unlink(pid)
    process.exit(pid, "boom")
    assert info(process.self())["links"] == []


def test_a_link_to_oneself_is_nothing(clock: ManualClock) -> None:
    process.link(process.self())
    assert info(process.self())["links"] == []


def test_a_long_chain_of_links_dies_without_recursion(clock: ManualClock) -> None:
    chain = [Echo.start() for _ in range(3000)]
    for left, right in itertools.pairwise(chain):
        signals.link(current_process().runtime.local(left), right)  # type: ignore[arg-type]
    process.exit(chain[0], "boom")
    assert not process.alive(chain[-1])


# A set of processes, some of which trap exits; links; and who is told to end with which reason, one after the other.
@st.composite
def families(draw: st.DrawFn) -> tuple[list[bool], list[tuple[int, int]], list[tuple[int, str]]]:
    size = draw(st.integers(1, 12))
    member = st.integers(0, size - 1)
    traps = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    links = draw(st.lists(st.tuples(member, member), max_size=3 * size))
    exits = draw(st.lists(st.tuples(member, st.sampled_from(["boom", "kill", "normal", "shutdown"])), max_size=5))
    return traps, links, exits


def model(
    traps: list[bool], links: list[tuple[int, int]], exits: list[tuple[int, str]]
) -> tuple[dict[int, str], dict[int, list[tuple[int, str]]]]:
    """Who is dead for which reason, and which exit signals each trapping process got from the others."""
    dead: dict[int, str] = {}
    trapped: dict[int, list[tuple[int, str]]] = {n: [] for n in range(len(traps))}
    near: dict[int, set[int]] = {n: set() for n in range(len(traps))}
    for a, b in links:
        if a != b:
            near[a].add(b)
            near[b].add(a)
    for target, reason in exits:
        if target in dead or (reason != "kill" and (traps[target] or reason == "normal")):
            continue
        queue = [(target, "killed" if reason == "kill" else reason)]
        for victim, why in queue:
            if victim in dead:
                continue
            dead[victim] = why
            for other in sorted(near[victim]):
                near[other].discard(victim)
                if other in dead:
                    continue
                if traps[other]:
                    trapped[other].append((victim, why))
                elif why != "normal":
                    queue.append((other, why))
    return dead, trapped


@given(families())
def test_exit_signals_spread_as_the_model_says(
    family: tuple[list[bool], list[tuple[int, int]], list[tuple[int, str]]],
) -> None:
    clock = ManualClock()
    clock.runtime = Runtime(clock=clock)
    run_as_process(clock.runtime, lambda: check_family(clock, *family))
    clock.runtime.close()
    clock.settle()
    assert not clock.runtime.table


def check_family(
    clock: ManualClock, traps: list[bool], links: list[tuple[int, int]], exits: list[tuple[int, str]]
) -> None:
    events: list[list[Any]] = [[] for _ in traps]
    pids: list[Pid] = [Trapper.start(events[n]) if trap else Echo.start() for n, trap in enumerate(traps)]
    refs = [process.monitor(pid) for pid in pids]
    for a, b in links:
        GenServer.call(pids[a], lambda b=b: process.link(pids[b]))
    for target, reason in exits:
        process.exit(pids[target], reason)
    clock.settle()
    dead, trapped = model(traps, links, exits)
    reasons = {}
    while info(process.self())["queue_length"]:
        down = process.receive(timeout=0)
        reasons[refs.index(down.ref)] = down.reason
    assert reasons == dead
    for n, trap in enumerate(traps):
        if trap and n not in dead:
            got = [(pids.index(e.pid), e.reason) for e in events[n] if isinstance(e, ExitSignal) and e.pid in pids]
            assert got == trapped[n]


# -- monitors --------------------------------------------------------------------------------------------------------


def test_a_monitor_tells_the_reason_once(clock: ManualClock) -> None:
    pid = Echo.start()
    ref, other = process.monitor(pid), process.monitor(pid)
    process.exit(pid, "boom")
    assert process.receive(timeout=0) == Down(ref, pid, "boom")
    assert process.receive(timeout=0) == Down(other, pid, "boom")
    assert info(process.self())["queue_length"] == 0


def test_a_monitor_of_the_dead_or_unknown_tells_noproc(clock: ManualClock) -> None:
    pid = Echo.start()
    process.exit(pid, "boom")
    ref = process.monitor(pid)
    assert process.receive(timeout=0) == Down(ref, pid, "noproc")
    ref = process.monitor("nobody")
    assert process.receive(timeout=0) == Down(ref, "nobody", "noproc")


def test_a_monitor_that_was_taken_back_tells_nothing(clock: ManualClock) -> None:
    pid = Echo.start()
    ref = process.monitor(pid)
    process.demonitor(ref)
    assert info(pid)["watched_by"] == []
    process.exit(pid, "boom")
    assert info(process.self())["queue_length"] == 0


def test_demonitor_with_flush_takes_only_its_own_down_out_of_the_mailbox(clock: ManualClock) -> None:
    pid = Echo.start()
    first, second = process.monitor(pid), process.monitor(pid)
    process.send(process.self(), "before")
    process.exit(pid, "boom")
    process.demonitor(first, flush=True)
    assert process.receive(timeout=0) == "before"
    assert process.receive(timeout=0) == Down(second, pid, "boom")
    assert info(process.self())["queue_length"] == 0


def test_a_watcher_that_dies_leaves_no_monitor_behind(clock: ManualClock) -> None:
    pid = Echo.start()
    watcher = process.spawn(lambda: (process.monitor(pid), process.receive()))
    clock.settle()
    assert info(pid)["watched_by"] == [watcher]
    process.exit(watcher, "kill")
    assert info(pid)["watched_by"] == []


def test_the_monitor_of_a_name_follows_the_process_not_the_name(clock: ManualClock) -> None:
    first = Echo.start(name="service")
    ref = process.monitor("service")
    process.unregister("service")
    second = Echo.start(name="service")
    process.exit(second, "boom")
    assert info(process.self())["queue_length"] == 0
    process.exit(first, "end")
    assert process.receive(timeout=0) == Down(ref, first, "end")


# -- death and those who wait ----------------------------------------------------------------------------------------


def test_everybody_who_waits_for_a_process_hears_of_its_end(clock: ManualClock) -> None:
    reasons: list[Any] = []

    def caller(pid: Pid) -> None:
        try:
            GenServer.call(pid, process.receive, 60.0)
        except ProcessExit as error:
            reasons.append(error.reason)

    pid = Echo.start()
    GenServer.cast(pid, lambda: process.sleep(1000.0))
    for _ in range(5):
        process.spawn(caller, pid)
    clock.settle()
    process.exit(pid, "boom")
    clock.settle()
    assert reasons == ["boom"] * 5


def test_a_death_that_cannot_be_passed_on_stops_no_other(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bury = signals._bury
    first, second = Echo.start(), Echo.start()
    GenServer.call(first, lambda: process.link(second))

    def broken(process: Any, reason: Any) -> None:
        bury(process, reason)
        if process.pid == first:
            raise RuntimeError("planted")

    monkeypatch.setattr(signals, "_bury", broken)
    with caplog.at_level(logging.ERROR):
        process.exit(first, "boom")
    assert not process.alive(second)
    assert "planted" in caplog.text
