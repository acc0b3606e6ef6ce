from __future__ import annotations

from typing import Any

import gevent.event
import pytest

import supervisor.processes as process
from supervisor.gen_server import GenServer, NoReply
from supervisor.pids import Pid
from supervisor.runtime import Runtime, current_process
from supervisor.scheduler import Scheduler
from tests.supervisor.kit import Echo, ManualClock


def scheduler() -> Scheduler:
    return current_process().runtime.scheduler


# -- hand-over and end ------------------------------------------------------------------------------------------------


def test_a_call_that_is_answered_at_once_never_touches_the_clock(clock: ManualClock) -> None:
    pid = Echo.start()
    clock.settle()
    before = clock._sequence
    for n in range(20):
        assert GenServer.call(pid, n) == n
    assert clock._sequence == before
    assert not scheduler().waits


def test_who_is_told_to_exit_by_the_end_of_the_runtime_unwinds(clock: ManualClock) -> None:
    other = ManualClock()
    other.runtime = runtime = Runtime(clock=other)
    log: list[int] = []

    def sleeper(n: int) -> None:
        try:
            process.sleep(100.0)
        finally:
            log.append(n)

    for n in range(300):
        runtime.spawn(sleeper, (n,), {})
    other.settle()
    runtime.scheduler.budget = 0  # so that the loop polls before anything else runs
    runtime.close()
    other.settle()
    assert len(log) == 300


# -- fairness --------------------------------------------------------------------------------------------------------


def test_the_ready_queue_goes_on_after_an_item_that_fails(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def resume(self) -> None:
            raise ValueError("planted")

    ran: list[Any] = []
    hub = gevent.get_hub()
    monkeypatch.setattr(hub, "print_exception", lambda *args: ran.append(args[1]))
    scheduler().ready_up(Broken())
    process.spawn(ran.append, "next")
    clock.settle()
    assert ran == [ValueError, "next"]


def test_a_server_with_a_full_mailbox_lets_others_run_in_between(clock: ManualClock) -> None:
    seen: list[Any] = []

    class Counter(GenServer):
        def handle_cast(self, request: Any) -> None:
            seen.append(request)

    busy = Counter.start()
    for n in range(2000):
        GenServer.cast(busy, n)
    process.spawn(seen.append, "other")
    clock.settle()
    assert len(seen) == 2001
    assert seen.index("other") < 1000
    seen.remove("other")
    assert seen == list(range(2000))


def test_a_server_that_is_never_idle_lets_the_loop_poll_though_the_clock_stands_still(clock: ManualClock) -> None:
    handled = 0

    class Loop(GenServer):
        def handle_cast(self, request: Any) -> None:
            nonlocal handled
            handled += 1
            GenServer.cast(process.self(), request)

    pid = Loop.start()
    GenServer.cast(pid, "again")
    polls = []
    for _ in range(3):
        gevent.get_hub().wait(gevent.get_hub().loop.timer(0))
        polls.append(handled)
    process.exit(pid, "kill")
    assert 0 < polls[-1] < 50_000


def test_no_reply_is_a_wait_that_ends_by_whoever_answers(clock: ManualClock) -> None:
    class Later(GenServer):
        def handle_call(self, request: Any, from_: Any) -> Any:
            self.state = from_
            return NoReply()

        def handle_cast(self, request: Any) -> None:
            GenServer.reply(self.state, request)

    def late(pid: Pid) -> None:
        process.sleep(1.0)
        GenServer.cast(pid, "from another")

    pid = Later.start()
    process.spawn(late, pid)
    process.spawn(clock.advance, 1.0)
    assert GenServer.call(pid, "ask") == "from another"
