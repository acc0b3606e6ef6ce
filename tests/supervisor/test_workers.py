"""The pool of greenlets: workers are used again only when nobody refers to them, and end when they are not wanted."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

import gevent
import gevent.event
import pytest
from greenlet import GreenletExit, getcurrent

import supervisor.processes as process
import supervisor.workers as workers
from supervisor.gen_server import GenServer
from supervisor.runtime import Runtime, current_process
from supervisor.scheduler import Scheduler
from supervisor.workers import Worker, WorkerPool
from tests.supervisor.kit import Echo, ManualClock


def scheduler() -> Scheduler:
    return current_process().runtime.scheduler


def pool() -> WorkerPool:
    return scheduler().pool


# -- used again ------------------------------------------------------------------------------------------------------


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


def test_a_worker_that_is_taken_is_parked_no_more_and_belongs_to_the_pool(clock: ManualClock) -> None:
    first, second = pool().take(), pool().take()
    assert first is not second
    assert first not in pool().parked
    assert (first.otp_process, first.message) == (None, None)
    assert len(pool()) == scheduler().workers
    pool().discard(first)
    pool().discard(second)


@pytest.mark.parametrize("how", ["strong reference", "weak reference", "attribute"])
def test_a_parked_worker_to_which_somebody_refers_is_set_aside_until_it_is_let_go(clock: ManualClock, how: str) -> None:
    held: list[Any] = []
    pid = Echo.start()
    clock.settle()

    def hold() -> None:
        if how == "strong reference":
            held.append(getcurrent())
        elif how == "weak reference":
            held.append(weakref.ref(getcurrent()))
        else:
            getcurrent().mark = 1  # type: ignore[attr-defined]

    GenServer.call(pid, hold)
    identity = GenServer.call(Echo.start(), lambda: id(getcurrent()))
    for _ in range(5):
        clock.settle()
        assert GenServer.call(pid, lambda: id(getcurrent())) == identity  # always the other one
    held.clear()


def test_set_aside_workers_are_looked_at_again_when_the_loop_polls(clock: ManualClock) -> None:
    clock.settle()
    worker = pool().take()
    keeps = [worker]
    pool().parked.append(worker)
    del worker
    other = pool().take()
    assert keeps[0] in pool()._aside
    keeps.clear()
    pool().look_again()
    assert len(pool()._aside) == 0
    assert len(pool().parked) == 1
    pool().discard(other)


def test_workers_that_stay_held_are_looked_at_again_when_they_have_become_twice_as_many(clock: ManualClock) -> None:
    held: list[Any] = []
    for _ in range(3 * workers._HELD_AT_FIRST):
        GenServer.call(Echo.start(), lambda: held.append(getcurrent()))
        clock.settle()
    assert len(pool()._held) > workers._HELD_AT_FIRST
    most = scheduler().workers
    held.clear()
    for _ in range(2 * most):
        GenServer.call(Echo.start(), lambda: held.append(getcurrent()))
        held.clear()
        clock.settle()
    assert scheduler().workers < most + workers._HELD_AT_FIRST


# -- not wanted ------------------------------------------------------------------------------------------------------


def test_no_more_workers_are_parked_than_are_worth_it(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_PARKED_AT_MOST", 5)
    servers = [Echo.start() for _ in range(20)]
    for pid in servers:
        process.spawn(GenServer.call, pid, lambda: process.sleep(1.0))
    clock.settle()
    assert scheduler().workers >= 20
    clock.advance(1.0)
    assert len(pool().parked) <= 5
    assert scheduler().workers <= 5
    assert [GenServer.call(pid, n) for n, pid in enumerate(servers)] == list(range(20))


def test_a_worker_that_is_discarded_ends(clock: ManualClock) -> None:
    worker = pool().take()
    pool().discard(worker)
    clock.settle()
    assert worker.dead
    assert worker not in pool()._all


def test_a_worker_that_is_thrown_at_where_it_parks_ends_and_hits_nobody(clock: ManualClock) -> None:
    held: list[Any] = []
    GenServer.call(Echo.start(), lambda: held.append(getcurrent()))
    clock.settle()
    scheduler().hub.loop.run_callback(held[0].throw, GreenletExit)
    clock.settle()
    assert held[0].dead
    assert GenServer.call(Echo.start(), "unharmed") == "unharmed"
    held.clear()
    clock.settle()
    assert not any(worker.dead for worker in pool()._aside)


def test_a_set_aside_worker_that_has_ended_is_not_parked(clock: ManualClock) -> None:
    worker = pool().take()
    scheduler().hub.loop.run_callback(worker.throw, GreenletExit)
    clock.settle()
    pool()._aside.append(worker)
    pool().look_again()
    assert worker.dead
    assert worker not in [*pool()._all, *pool()._aside, *pool()._held, *pool().parked]


def test_a_turn_that_fails_by_our_own_fault_is_logged_and_its_worker_goes_on(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        held = ()

        def take_turn(self, process: Any, entry: Any) -> None:
            raise RuntimeError("planted")

    pid = Echo.start()
    record = current_process().runtime.local(pid)
    assert record is not None
    record.behaviour = Broken()  # type: ignore[assignment]  # it has no more than it needs
    process.send(pid, 1)
    clock.settle()
    assert "planted" in caplog.text
    assert f"turn of {record!r} failed" in caplog.text
    assert GenServer.call(Echo.start(), "unharmed") == "unharmed"


# -- what a worker keeps ---------------------------------------------------------------------------------------------


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


def test_a_pool_whose_nursery_was_killed_raises_workers_all_the_same(clock: ManualClock) -> None:
    clock.settle()
    scheduler().hub.loop.run_callback(pool()._nursery.throw)
    clock.settle()
    assert pool()._nursery.dead
    pool().parked.clear()
    assert GenServer.call(Echo.start(), "unharmed") == "unharmed"


# -- the end ---------------------------------------------------------------------------------------------------------


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


def test_a_closed_pool_has_ended_its_workers_and_is_empty(clock: ManualClock) -> None:
    other = Runtime(clock=clock)
    clock.settle()
    found: list[Worker] = [other.scheduler.pool._new_worker() for _ in range(3)]
    other.close()
    clock.settle()
    assert all(worker.dead for worker in found)
    assert (len(other.scheduler.pool), other.scheduler.pool.parked) == (0, [])
