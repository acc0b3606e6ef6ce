"""The watchdog: it tells who holds the loop and which dead processes still run, and leaves nothing behind."""

from __future__ import annotations

import gc
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import pytest

import supervisor.processes as process
import supervisor.watchdog as watchdog
from supervisor.dumps import orphans
from supervisor.gen_server import From, GenServer
from supervisor.native import get_ident, start_thread
from supervisor.runtime import Runtime, current_process
from tests.supervisor.kit import HANGS, ManualClock, stubborn

ROOT = Path(__file__).resolve().parents[2]


class Spinner(GenServer):
    """A call `seconds` holds the loop for that long, or until the callable says that it is enough."""

    def handle_call(self, request: Any, from_: From) -> str:
        hold(request)
        return "done"


def hold(enough: Callable[[], bool], at_most: float = HANGS) -> None:
    """Hold the loop. real time: that is what a watchdog looks at."""
    end = time.monotonic() + at_most
    while not enough() and time.monotonic() < end:
        pass


def await_real(condition: Callable[[], object]) -> None:
    """Let the loop run until `condition()` holds."""
    end = time.monotonic() + HANGS
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        gevent.sleep(0.01)  # real time: the watchdog's thread tells nobody when it is done


Told = list[str]


@pytest.fixture
def told(clock: ManualClock) -> Iterator[Told]:
    """What the watchdog of the test's node has said; it tells from 0.03 s on."""
    told: Told = []
    watchdog.start(clock.runtime, 0.03, orphans_after=0.05, say=told.append)
    yield told
    watchdog.stop(clock.runtime)


def test_a_handler_that_holds_the_loop_is_named_with_process_function_file_and_line(
    clock: ManualClock, told: Told
) -> None:
    pid = Spinner.start(name="the spinner")
    assert GenServer.call(pid, lambda: bool(told), None) == "done"
    text = told[0]
    assert "has been held for 0." in text
    assert repr(current_process().runtime.find(pid)) in text
    assert f"in Spinner.handle_call ({__file__}, line " in text
    assert "hold (" in text


def test_a_plain_process_that_holds_the_loop_is_named(clock: ManualClock, told: Told) -> None:
    pid = process.spawn(hold, lambda: bool(told))
    ref = process.monitor(pid)
    assert process.receive(lambda down: down.ref == ref, timeout=HANGS).reason == "normal"
    assert f"<Process {pid.node}.{pid.serial} hold>" in told[0]
    assert f"in hold ({__file__}" in told[0]


def test_it_is_told_again_at_doubling_intervals(clock: ManualClock, told: Told) -> None:
    assert GenServer.call(Spinner.start(), lambda: len(told) >= 4, None) == "done"
    held = [float(text.partition("held for ")[2].partition(" s")[0]) for text in told[:4]]
    # The thread may be late, and the times are rounded to 0.01 s: but from one doubling to the next it tells once.
    doublings = [(math.floor(math.log2((t - 0.005) / 0.03)), math.floor(math.log2((t + 0.005) / 0.03))) for t in held]
    assert all(later[1] > earlier[0] for earlier, later in pairwise(doublings))
    assert held[3] >= 0.24


def test_who_holds_it_again_and_again_does_not_flood(clock: ManualClock, told: Told) -> None:
    pid = Spinner.start()
    for _ in range(30):
        end = time.monotonic() + 0.05
        GenServer.call(pid, lambda end=end: time.monotonic() > end, None)
        gevent.sleep(0.001)  # real time: the loop polls
    assert 1 <= len(told) <= 8
    assert "times more since this was told last" in "".join(told)


def test_a_loop_that_is_busy_or_idle_but_polls_is_no_cause(clock: ManualClock) -> None:
    told: Told = []
    watchdog.start(clock.runtime, 0.5, say=told.append)
    end = time.monotonic() + 0.7
    while time.monotonic() < end:
        gevent.sleep(0.001)  # real time: the loop polls at every turn
    gevent.sleep(1.2)  # real time: and stays in the poll for longer than the threshold
    watchdog.stop(clock.runtime)
    assert told == []


def test_a_hold_that_nobody_could_look_at_is_told_afterwards(clock: ManualClock) -> None:
    told: Told = []
    dog = watchdog.Watchdog(clock.runtime, 0.03, 5.0, told.append)  # its thread is late: it was never started
    dog._working_since = time.monotonic() - 2.0
    dog._about_to_poll()
    dog._look(time.monotonic())
    (text,) = told
    assert "was held for 2.0" in text
    assert "over before the watchdog could look" in text
    dog.stop()
    gevent.sleep(0)


def test_an_orphan_that_outlives_its_death_is_named_with_its_stack(clock: ManualClock, told: Told) -> None:
    gate = gevent.event.Event()

    pid = process.spawn(stubborn, gate)
    clock.settle()
    process.exit(pid, "kill")
    await_real(lambda: any("an orphan" in text for text in told))
    text = next(text for text in told if "an orphan" in text)
    assert f"<Process {pid.node}.{pid.serial}" in text
    assert "gate.wait()" in text
    await_real(lambda: sum("an orphan" in text for text in told) >= 4)
    ages = [float(text.partition("gone on for ")[2].partition(" s")[0]) for text in told if "an orphan" in text]
    assert ages[3] >= 0.3  # told at 0.05, 0.1, 0.2 and 0.4 s at the earliest
    gate.set()
    gevent.sleep(0)
    assert not orphans(clock.runtime)


def test_an_orphaned_handler_is_named_too(clock: ManualClock, told: Told) -> None:
    gate = gevent.event.Event()

    class Stubborn(GenServer):
        def handle_cast(self, request: Any) -> None:
            try:
                process.sleep(100.0)
            finally:
                gate.wait()

    pid = Stubborn.start(name="stubborn")
    GenServer.cast(pid, 1)
    clock.settle()
    process.exit(pid, "kill")
    await_real(lambda: any("an orphan" in text and "Stubborn" in text for text in told))
    gate.set()
    gevent.sleep(0)


def test_the_dead_leave_nothing_behind_for_the_watchdog(clock: ManualClock) -> None:
    for _ in range(20):
        pid = process.spawn(process.sleep, 100.0)
        clock.settle()
        process.exit(pid, "kill")
    clock.settle()
    gc.collect()
    assert len(clock.runtime.leaving) == 0


def test_it_stops_without_leaving_a_thread_and_starts_again(clock: ManualClock) -> None:
    before = set(threading.enumerate())
    for _ in range(3):
        first = watchdog.start(clock.runtime)
        second = watchdog.start(clock.runtime)  # takes the place of the first
        assert (first.alive, second.alive) == (False, True)
        watchdog.stop(clock.runtime)
        watchdog.stop(clock.runtime)  # harmless
        assert not second.alive
    await_real(lambda: set(threading.enumerate()) <= before)


def test_bad_use_is_refused(clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="threshold"):
        watchdog.start(clock.runtime, 0.0)
    with pytest.raises(RuntimeError):
        gevent.get_hub().threadpool.apply(watchdog.start, (clock.runtime,))


def test_a_say_that_fails_does_not_end_the_watchdog(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    calls: Told = []

    def say(text: str) -> None:
        calls.append(text)
        raise ValueError("planted")

    started = watchdog.start(clock.runtime, 0.03, say=say)
    GenServer.call(Spinner.start(), lambda: len(calls) >= 2, None)
    assert started.alive
    watchdog.stop(clock.runtime)
    assert "planted" in caplog.text


def test_reports_are_logged_as_warnings(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    watchdog.start(clock.runtime, 0.03)
    GenServer.call(Spinner.start(), lambda: bool(caplog.records), None)
    watchdog.stop(clock.runtime)
    assert caplog.records[0].levelname == "WARNING"
    assert caplog.records[0].name == "supervisor.watchdog"


def test_the_stack_of_a_thread_is_read_innermost_first() -> None:
    stack = watchdog.stack_of_thread(get_ident())
    assert stack[0].function == "stack_of_thread"
    assert stack[1].function == "test_the_stack_of_a_thread_is_read_innermost_first"
    assert stack[1].file == __file__
    assert watchdog.stack_of_thread(1) == []


def test_the_running_process_is_found_from_a_thread(clock: ManualClock) -> None:
    runtime: Runtime = clock.runtime
    found: list[Any] = []

    def look() -> None:
        found.append(watchdog.running_process(runtime))

    def spin() -> None:
        start_thread(look, ())
        hold(lambda: bool(found))

    process.spawn(process.receive)
    pid = process.spawn(spin)
    clock.settle()
    assert [running.pid for running in found] == [pid]


SCRIPT = """
import sys
if "patched" in sys.argv:
    from gevent import monkey
    monkey.patch_all()
import os, time
import gevent
import supervisor.watchdog as watchdog
import supervisor.processes as process
from supervisor.gen_server import GenServer
from supervisor.runtime import default_runtime, reset_after_fork

class Spinner(GenServer):
    def handle_call(self, request, from_):
        end = time.monotonic() + 30
        while not said and time.monotonic() < end:
            pass

def tasks():
    return len(os.listdir("/proc/self/task"))

def check(runtime):
    del said[:]
    before = tasks()
    dog = watchdog.start(runtime, 0.05, say=said.append)
    GenServer.call(Spinner.start(), 1, None)
    assert "Spinner.handle_call" in said[0], said
    watchdog.stop(runtime)
    end = time.monotonic() + 30
    while tasks() > before:
        assert time.monotonic() < end, "a thread is left"

said = []
check(default_runtime())
dog = watchdog.start(default_runtime(), 0.05, say=said.append)
child = os.fork()
if child == 0:
    status = 1
    try:
        assert not dog.alive
        dog.stop()
        assert tasks() == 1
        check(reset_after_fork())
        status = 0
    finally:
        os._exit(status)
assert os.waitpid(child, 0)[1] == 0
assert dog.alive
watchdog.stop()
print("well")
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
@pytest.mark.parametrize("how", ["plain", "patched"])
def test_it_works_in_a_patched_program_and_in_a_forked_child_and_leaves_no_thread(how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=2 * HANGS,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("well\n", 0), done.stderr
