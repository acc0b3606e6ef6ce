from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

import gevent.event
import pytest
from greenlet import getcurrent

import supervisor.processes as process
from supervisor.errors import CallTimeout
from supervisor.gen_server import GenServer, NoReply
from supervisor.pids import Pid
from supervisor.processes import new_wait
from supervisor.runtime import Runtime, current_process
from supervisor.scheduler import Scheduler
from supervisor.waits import ABANDONED, EXPIRED
from tests.supervisor.kit import Echo, ManualClock


def scheduler() -> Scheduler:
    return current_process().runtime.scheduler


# -- waits -----------------------------------------------------------------------------------------------------------


def test_a_wait_ends_once(clock: ManualClock) -> None:
    runtime = current_process().runtime
    wait = new_wait(runtime, None)
    assert wait.reply(1)
    assert not wait.reply(2)
    assert not wait.fail(ValueError("late"))
    scheduler().suspend(wait)
    assert wait.outcome() == 1


def test_a_wait_expires_on_the_clock_and_a_late_reply_is_refused(clock: ManualClock) -> None:
    ended = []

    def waiter() -> None:
        wait = new_wait(current_process().runtime, 2.0)
        scheduler().suspend(wait)
        ended.append(wait)

    process.spawn(waiter)
    clock.advance(1.9)
    assert not ended
    clock.advance(0.2)
    (wait,) = ended
    assert wait.state == EXPIRED
    assert not wait.reply("late")
    with pytest.raises(CallTimeout):
        wait.outcome()


def test_a_wait_whose_waiter_is_thrown_at_is_abandoned_and_disarmed(clock: ManualClock) -> None:
    waits = []

    def waiter() -> None:
        waits.append(new_wait(current_process().runtime, 60.0))
        scheduler().suspend(waits[0])

    pid = process.spawn(waiter)
    clock.settle()
    assert clock.pending() == 1
    process.exit(pid, "kill")
    clock.settle()
    assert waits[0].state == ABANDONED
    assert waits[0].greenlet is None
    assert clock.pending() == 0


def test_a_stranger_who_switches_into_a_waiting_greenlet_does_not_end_its_wait(clock: ManualClock) -> None:
    ended = []

    def waiter() -> None:
        wait = new_wait(current_process().runtime, None)
        waits.append((wait, getcurrent()))
        scheduler().suspend(wait)
        ended.append(wait.outcome())

    waits: list[Any] = []
    process.spawn(waiter)
    clock.settle()
    wait, target = waits[0]
    gevent.get_hub().loop.run_callback(target.switch)
    clock.settle()
    assert not ended
    wait.reply("the answer")
    clock.settle()
    assert ended == ["the answer"]


def test_a_call_that_is_answered_at_once_never_touches_the_clock(clock: ManualClock) -> None:
    pid = Echo.start()
    clock.settle()
    before = clock._sequence
    for n in range(20):
        assert GenServer.call(pid, n) == n
    assert clock._sequence == before
    assert not scheduler().waits


# -- the pool --------------------------------------------------------------------------------------------------------


def test_idle_servers_share_one_worker(clock: ManualClock) -> None:
    servers = [Echo.start() for _ in range(50)]
    assert [GenServer.call(pid, n) for n, pid in enumerate(servers)] == list(range(50))
    clock.settle()
    assert scheduler().workers <= 3


def test_servers_that_call_each_other_use_their_workers_again(clock: ManualClock) -> None:
    inner = Echo.start()
    outer = Echo.start()
    for n in range(300):
        assert GenServer.call(outer, lambda n=n: GenServer.call(inner, n)) == n
    clock.settle()
    assert scheduler().workers <= 6


def test_blocked_handlers_take_a_worker_each_and_give_it_back(clock: ManualClock) -> None:
    servers = [Echo.start() for _ in range(10)]
    for pid in servers:
        process.spawn(GenServer.call, pid, lambda: process.sleep(1.0))
    clock.settle()
    assert scheduler().workers >= 10
    clock.advance(1.0)
    assert len(scheduler().pool.parked) >= 10
    assert [GenServer.call(pid, 1) for pid in servers] == [1] * 10


def test_a_server_has_the_same_room_to_recurse_wherever_it_was_called_from(clock: ManualClock) -> None:
    def room() -> int:
        try:
            return 1 + room()
        except RecursionError:
            return 0

    def deep(n: int, fn: Any) -> Any:
        return deep(n - 1, fn) if n else fn()

    limit = sys.getrecursionlimit()
    servers = [Echo.start() for _ in range(4)]
    pool = scheduler().pool
    while pool.parked:
        pool.discard(pool.parked.pop())

    def nested(pids: list[Any]) -> Any:
        return room() if not pids else GenServer.call(pids[0], lambda: nested(pids[1:]))

    assert deep(limit // 2, lambda: nested(servers)) > limit * 0.8
    assert deep(limit // 2, lambda: nested(servers)) > limit * 0.8


def test_a_parked_worker_keeps_nothing_of_the_call_alive(clock: ManualClock) -> None:
    class Big:
        pass

    pid = Echo.start()
    request, reply = Big(), Big()
    refs = [weakref.ref(request), weakref.ref(reply)]

    class Server(GenServer):
        def handle_call(self, request: Any, from_: Any) -> Any:
            return self.state.pop()

    holder = Server.start([reply])
    del reply
    GenServer.call(holder, request)
    del request
    GenServer.call(pid, 1)
    gc.collect()
    assert [ref() for ref in refs] == [None, None]


def test_a_closed_runtime_leaves_no_greenlets(clock: ManualClock) -> None:
    refs = []

    def life() -> None:
        runtime = Runtime()
        done = gevent.event.Event()

        def body() -> None:
            Echo.start()
            Echo.start()
            done.set()

        runtime.spawn(body, (), {})
        done.wait()
        runtime.close()
        refs.append(weakref.ref(runtime.scheduler))

    life()
    clock.settle()
    gc.collect()
    assert refs[0]() is None


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


def test_a_wait_that_was_answered_leaves_nothing_at_who_answered(clock: ManualClock) -> None:
    pid = Echo.start()
    process.spawn(GenServer.call, pid, lambda: process.sleep(1.0))
    clock.settle()
    target = current_process().runtime.local(pid)
    assert target is not None
    assert len(target.waiters or ()) == 1
    clock.advance(1.0)
    assert target.waiters is None


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
