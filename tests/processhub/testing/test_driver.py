"""The driver: everything runs that can, then time moves; and a test that cannot get on says why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest

import supervisor.processes as process
from processhub.testing.driver import Driver, Errand, Stuck
from processhub.testing.virtual_clock import VirtualClock, VirtualTime
from supervisor.errors import CallTimeout, Exit, ProcessExit, ReceiveTimeout
from supervisor.gen_server import GenServer
from supervisor.pids import Pid
from supervisor.runtime import Runtime


class World:
    """Two nodes that do not know of each other, on one time."""

    def __init__(self) -> None:
        self.time = VirtualTime()
        self.driver = Driver(self.time)
        self.runtimes = [self.runtime("a"), self.runtime("b")]

    def runtime(self, name: str) -> Runtime:
        runtime = Runtime(f"{name}@host:1", self.time.clock(name))
        self.driver.watch(runtime)
        return runtime

    def close(self) -> None:
        for runtime in self.runtimes:
            assert isinstance(runtime.clock, VirtualClock)
            runtime.clock.stop()
            runtime.close()
        self.driver.settle()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


class Echo(GenServer):
    def handle_call(self, request: Any, from_: Any) -> Any:
        if isinstance(request, float):
            process.sleep(request)
        return request


def test_settle_runs_what_can_run_and_moves_no_time(world: World) -> None:
    seen: list[Any] = []

    def first() -> None:
        gevent.sleep(0)
        seen.append("first")
        process.spawn(second)

    def second() -> None:
        seen.append("second")
        process.sleep(1.0)
        seen.append("too early")

    world.runtimes[0].spawn(first, (), {})
    world.driver.settle()
    assert seen == ["first", "second"]
    assert world.time.now() == 0.0


def test_settle_waits_for_long_chains_of_messages(world: World) -> None:
    done: list[int] = []

    def relay(to: Pid | None) -> None:
        hops = process.receive()
        if to is None:
            done.append(hops)
        else:
            process.send(to, hops + 1)

    def chain() -> None:
        last = None
        for _ in range(3000):
            last = process.spawn(relay, last)
        process.send(last, 1)

    world.runtimes[0].spawn(chain, (), {})
    world.driver.settle()
    assert done == [3000]


def test_advance_fires_one_instant_after_the_other_and_runs_everything_in_between(world: World) -> None:
    seen: list[tuple[str, float]] = []

    def ticker(label: str, seconds: float) -> None:
        for _ in range(3):
            process.sleep(seconds)
            seen.append((label, process.now()))

    world.runtimes[0].spawn(ticker, ("slow", 2.0), {})
    world.runtimes[1].spawn(ticker, ("fast", 1.0), {})
    world.driver.advance(4.0)
    assert seen == [("fast", 1.0), ("slow", 2.0), ("fast", 2.0), ("fast", 3.0), ("slow", 4.0)]
    assert world.time.now() == 4.0


def test_advance_ends_at_its_time_where_nothing_is_due(world: World) -> None:
    world.driver.advance(1234.5)
    assert world.time.now() == 1234.5


def test_run_returns_what_the_function_returned_in_a_process_of_that_node(world: World) -> None:
    def where(a: int, b: int) -> tuple[str, int]:
        return process.self().node, a + b

    assert world.driver.run(world.runtimes[0], where, 1, b=2) == ("a@host:1", 3)
    assert world.driver.run(world.runtimes[1], where, 3, 4) == ("b@host:1", 7)


def test_run_passes_every_keyword_on(world: World) -> None:
    def with_timeout(timeout: float, patience: int) -> tuple[float, int]:
        return timeout, patience

    assert world.driver.run(world.runtimes[0], with_timeout, timeout=3.0, patience=4) == (3.0, 4)


def test_run_raises_what_the_function_raised(world: World) -> None:
    def fail() -> None:
        raise ReceiveTimeout("nothing came")

    with pytest.raises(ReceiveTimeout, match="nothing came"):
        world.driver.run(world.runtimes[0], fail)


def test_run_raises_process_exit_for_a_function_that_was_told_to_exit(world: World) -> None:
    def leave() -> None:
        raise Exit("enough")

    with pytest.raises(ProcessExit, match="enough"):
        world.driver.run(world.runtimes[0], leave)


def test_an_errand_that_was_killed_from_outside_says_so(world: World) -> None:
    errand = Errand(world.runtimes[0], process.sleep, (100.0,), {})
    world.driver.settle()
    with pytest.raises(RuntimeError, match="has not ended"):
        errand.outcome()
    world.driver.run(world.runtimes[0], process.exit, errand.pid, "kill")
    world.driver.settle()
    with pytest.raises(ProcessExit):
        errand.outcome()


def test_timeouts_of_calls_are_virtual(world: World) -> None:
    def call() -> float:
        server = Echo.start()
        assert server is not None
        assert GenServer.call(server, 2.0, timeout=5.0) == 2.0
        with pytest.raises(CallTimeout):
            GenServer.call(server, 3600.0, timeout=600.0)
        return process.now()

    world.driver.patience = 1000.0
    assert world.driver.run(world.runtimes[0], call) == 602.0


def test_run_until_stops_at_the_instant_in_which_the_predicate_becomes_true(world: World) -> None:
    seen: list[int] = []

    def work() -> None:
        for number in range(10):
            process.sleep(1.0)
            seen.append(number)

    world.runtimes[0].spawn(work, (), {})
    world.driver.run_until(lambda: len(seen) == 3)
    assert (seen, world.time.now()) == ([0, 1, 2], 3.0)


# -- tests that do not get on ----------------------------------------------------------------------------------------


def test_run_until_names_what_waits_when_nothing_is_due(world: World) -> None:
    def waits_for_nobody() -> None:
        process.receive(lambda message: message == "never")

    process_here = world.runtimes[1].spawn(waits_for_nobody, (), {})
    process_here.enqueue((0, "something else"))
    with pytest.raises(Stuck) as caught:
        world.driver.run_until(lambda: False)
    message = str(caught.value)
    assert "nothing is due any more" in message
    assert "waits_for_nobody> waits for a message (1 are there and do not match) for ever" in message
    assert "test_driver.py" in message


def test_run_until_names_what_waits_when_its_time_is_over(world: World) -> None:
    world.runtimes[0].spawn(process.sleep, (100.0,), {})
    with pytest.raises(Stuck) as caught:
        world.driver.run_until(lambda: False, timeout=7.0)
    assert "7 virtual seconds were not enough" in str(caught.value)
    assert "sleeps until 100.000000" in str(caught.value)
    assert world.time.now() < 7.0


def test_a_process_that_blocks_on_real_time_is_named_with_its_place(world: World) -> None:
    woken = gevent.event.Event()

    def blocks_outside() -> None:
        woken.wait()

    with pytest.raises(Stuck) as caught:
        world.driver.run(world.runtimes[0], blocks_outside)
    woken.set()
    line = next(line for line in str(caught.value).splitlines() if "blocks_outside>" in line)
    assert "not blocked in anything of ours: on real time, real I/O, a thread" in line
    assert "test_driver.py" in line


def test_a_process_that_spins_is_named_and_does_not_hang_the_test(world: World) -> None:
    stop: list[bool] = []

    def spins() -> None:
        while not stop:
            gevent.sleep(0)

    world.driver.real_seconds = 0.0
    world.runtimes[0].spawn(spins, (), {})
    with pytest.raises(Stuck, match=r"never comes to rest(.|\n)*spins"):
        world.driver.settle()
    stop.append(True)
    world.driver.real_seconds = 30.0


def test_timers_of_zero_seconds_that_start_each_other_do_not_hang_the_test(world: World) -> None:
    clock = world.runtimes[0].clock
    running = [True]

    def again() -> None:
        if running:
            clock.call_later(0.0, again)

    clock.call_later(1.0, again)
    with pytest.raises(Stuck, match="start each other"):
        world.driver.advance(2.0)
    running.clear()


def test_a_process_of_a_node_cannot_move_its_own_time(world: World) -> None:
    with pytest.raises(RuntimeError, match="cannot move the time"):
        world.driver.run(world.runtimes[0], world.driver.advance, 1.0)


def test_the_switch_interval_is_put_back(world: World) -> None:
    before = gevent.getswitchinterval()
    world.driver.settle()
    assert gevent.getswitchinterval() == before


# -- determinism -----------------------------------------------------------------------------------------------------


def history(slow: bool) -> list[tuple[float, str, str]]:
    """What processes on two nodes did, in order; with `slow` some of it takes real time."""
    world = World()
    seen: list[tuple[float, str, str]] = []

    def note(what: str) -> None:
        seen.append((process.now(), process.self().node, what))

    def calls(number: int) -> None:
        """More calls than one pass of the loop has a budget for."""
        server = Echo.start()
        assert server is not None
        for step in range(3):
            process.sleep(0.1 * (1 + (number + step) % 2))
            for _ in range(700):
                GenServer.call(server, "ping")
            note(f"calls {number}")

    def yields(number: int) -> None:
        for step in range(3):
            process.sleep(0.1 * (1 + (number + step) % 2))
            for _ in range(100):
                gevent.sleep(0)
                if slow:
                    sum(range(10_000))
            note(f"yields {number}")

    for number in range(4):
        for work in (calls, yields):
            world.runtimes[number % 2].spawn(work, (number,), {})
    world.driver.advance(10.0)
    world.close()
    return seen


def test_the_same_test_runs_in_the_same_order_however_slow_the_machine_is() -> None:
    first = history(slow=False)
    assert len(first) == 24
    assert first == history(slow=False) == history(slow=True)
