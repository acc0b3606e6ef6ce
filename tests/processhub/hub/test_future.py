"""A future is completed once, and reaches everybody who waits for it, wherever they are."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.threadpool import ThreadPool
from greenlet import getcurrent

from processhub.hub.future import Future
from supervisor.clock import HeapClock
from supervisor.errors import CallTimeout
from supervisor.runtime import Runtime


class HandClock(HeapClock):
    """A clock that a test turns by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += seconds
        self._fire_due()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def runtime(clock: HandClock) -> Iterator[Runtime]:
    runtime = Runtime("n1@h:1", clock)
    yield runtime
    until(lambda: not runtime.table)
    runtime.close()
    gevent.sleep(0)


@pytest.fixture
def future(runtime: Runtime) -> Future[Any]:
    return Future(runtime, "the work")


def until(condition: Callable[[], object]) -> None:
    """Let the others run until `condition` is true. They may be native threads, so the loop has to poll."""
    for _ in range(10_000):
        if condition():
            return
        gevent.sleep(0.001)  # real time: with a sleep of 0 gevent comes back without looking at other threads (seen)
    raise AssertionError("it never came true")


# --- waiting ----------------------------------------------------------------------------------------------------


def test_a_result_that_is_there_is_returned_at_once(future: Future[int]) -> None:
    assert not future.done()
    assert future.set_result(7)
    assert future.done()
    assert (future.result(), future.result(0)) == (7, 7)


def test_a_future_is_completed_once(future: Future[int]) -> None:
    assert future.set_result(1)
    assert not future.set_result(2)
    assert not future.set_error(ValueError())
    assert future.result() == 1


def test_a_future_can_be_made_done(runtime: Runtime) -> None:
    future = Future.of(runtime, None)
    assert future.done()
    assert future.result() is None


def test_all_greenlets_that_wait_get_the_result(future: Future[int]) -> None:
    waiting = [gevent.spawn(future.result) for _ in range(3)]
    gevent.sleep(0)
    future.set_result(7)
    gevent.joinall(waiting)
    assert [greenlet.value for greenlet in waiting] == [7, 7, 7]


def test_the_timeout_runs_on_the_nodes_clock_and_cancels_nothing(future: Future[int], clock: HandClock) -> None:
    waiting = gevent.spawn(future.result, 10.0)
    until(clock.pending)
    clock.advance(9.0)
    gevent.sleep(0)
    assert not waiting.ready()
    clock.advance(1.0)
    waiting.join()
    assert isinstance(waiting.exception, CallTimeout)
    assert "the work" in str(waiting.exception)
    future.set_result(7)
    assert future.result() == 7


def test_a_timeout_of_zero_only_looks(future: Future[int]) -> None:
    with pytest.raises(CallTimeout):
        future.result(0)


def test_who_leaves_a_wait_is_not_woken_by_the_result(future: Future[int]) -> None:
    waiting = gevent.spawn(future.result)
    gevent.sleep(0)
    waiting.kill()
    assert future._waits == []
    assert future.set_result(7)


def test_waiting_on_the_loops_own_greenlet_raises(future: Future[int]) -> None:
    caught: list[BaseException] = []

    def on_the_loop() -> None:
        try:
            future.result()
        except RuntimeError as error:
            caught.append(error)

    gevent.get_hub().loop.run_callback(on_the_loop)
    until(lambda: caught)
    assert "add_done_callback" in str(caught[0])


def test_an_error_of_the_work_itself_is_raised(future: Future[int]) -> None:
    future.set_error(KeyError("x"))
    assert future.done()
    with pytest.raises(KeyError):
        future.result()
    with pytest.raises(KeyError):
        future.result(0)


# --- native threads ---------------------------------------------------------------------------------------------


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    pool = ThreadPool(1)
    yield pool
    pool.kill()


def test_a_native_thread_waits_for_the_result(future: Future[int], runtime: Runtime, pool: ThreadPool) -> None:
    waiting = pool.spawn(future.result, None)
    until(lambda: future._waits)
    assert future.set_result(7)
    assert waiting.get() == 7


def test_the_timeout_of_a_native_thread_runs_on_the_nodes_clock(
    future: Future[int], clock: HandClock, pool: ThreadPool
) -> None:
    waiting = pool.spawn(future.result, 10.0)
    until(clock.pending)
    clock.advance(10.0)
    with pytest.raises(CallTimeout):
        waiting.get()


def test_a_native_thread_completes_it(future: Future[int], pool: ThreadPool) -> None:
    told: list[int] = []
    future.add_done_callback(lambda done: told.append(done.result()))
    waiting = gevent.spawn(future.result)
    gevent.sleep(0)
    assert pool.spawn(future.set_result, 7).get()
    assert waiting.get() == 7
    until(lambda: told)
    assert told == [7]


# --- callbacks --------------------------------------------------------------------------------------------------


def test_a_callback_is_called_once_with_the_future_whenever_it_was_added(future: Future[int]) -> None:
    told: list[Future[int]] = []
    future.add_done_callback(told.append)
    future.set_result(7)
    future.add_done_callback(told.append)
    until(lambda: len(told) == 2)
    assert told == [future, future]


def test_a_callback_runs_in_a_greenlet_of_its_own_and_may_block(future: Future[int], runtime: Runtime) -> None:
    other: Future[int] = Future(runtime)
    seen: list[Any] = []

    def callback(_: Future[int]) -> None:
        seen.append(getcurrent())
        seen.append(other.result())

    future.add_done_callback(callback)
    future.set_result(7)
    assert seen == []
    until(lambda: seen)
    assert seen[0] not in (getcurrent(), gevent.get_hub())
    other.set_result(8)
    until(lambda: len(seen) == 2)
    assert seen[1] == 8


def test_an_exception_in_a_callback_is_logged_and_harms_no_other(
    future: Future[int], caplog: pytest.LogCaptureFixture
) -> None:
    told: list[int] = []

    def bad(_: Future[int]) -> None:
        raise ZeroDivisionError

    future.add_done_callback(bad)
    future.add_done_callback(lambda done: told.append(done.result()))
    with caplog.at_level(logging.ERROR):
        future.set_result(7)
        until(lambda: told)
    assert "the work" in caplog.text
    assert "ZeroDivisionError" in caplog.text


# --- other libraries --------------------------------------------------------------------------------------------


def test_gevent_can_wait_for_some_of_many(future: Future[int], runtime: Runtime) -> None:
    other: Future[int] = Future(runtime)
    gevent.spawn(future.set_result, 7)
    assert gevent.wait([future, other], count=1) == [future]
    assert other._links == []
    assert gevent.wait([future]) == [future]


def test_a_concurrent_future_gets_the_result(future: Future[int]) -> None:
    other = future.concurrent()
    assert not other.done()
    future.set_result(7)
    until(other.done)
    assert other.result(0) == 7


def test_a_concurrent_future_gets_the_error(future: Future[int]) -> None:
    other = future.concurrent()
    future.set_error(KeyError("x"))
    until(other.done)
    assert isinstance(other.exception(0), KeyError)


def test_cancelling_a_concurrent_future_cancels_nothing_here(
    future: Future[int], caplog: pytest.LogCaptureFixture
) -> None:
    told: list[int] = []
    assert future.concurrent().cancel()
    future.add_done_callback(lambda done: told.append(done.result()))
    future.set_result(7)
    until(lambda: told)
    assert future.result() == 7
    assert not caplog.records


def test_asyncio_in_another_thread_awaits_it(future: Future[int]) -> None:
    found: list[int] = []

    async def main() -> None:
        found.append(await asyncio.wrap_future(future.concurrent()))

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    until(lambda: future._callbacks)
    future.set_result(7)
    until(lambda: not thread.is_alive())
    assert found == [7]


def test_the_repr_says_how_it_stands(future: Future[int]) -> None:
    assert repr(future) == "<Future the work pending>"
    future.set_result(7)
    assert repr(future) == "<Future the work done>"
