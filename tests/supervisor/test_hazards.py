"""One test, or a few, for each hazard that the design names for a runtime on greenlets."""

from __future__ import annotations

import contextvars
import gc
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import gevent.local
import pytest
from gevent.threadpool import ThreadPool
from greenlet import getcurrent

import supervisor.processes as process
from supervisor.errors import CallTimeout, Exit, NoProcess, ProcessExit
from supervisor.gen_server import GenServer, NoReply
from supervisor.pids import Pid
from supervisor.reasons import Crash
from supervisor.runtime import current_process
from supervisor.scheduler import check_loop
from tests.supervisor.kit import Echo, ManualClock

ROOT = Path(__file__).resolve().parent.parent.parent


def blocked(clock: ManualClock, pid: Pid, fn: Callable[[], Any], timeout: float | None = None) -> list[Any]:
    """Have another process call `pid` with `fn`, which blocks; the list gets the outcome once there is one."""
    outcome: list[Any] = []

    def caller() -> None:
        try:
            outcome.append(GenServer.call(pid, fn, timeout))
        except (ProcessExit, CallTimeout) as error:
            outcome.append(error)

    process.spawn(caller)
    clock.settle()
    return outcome


# -- waits -----------------------------------------------------------------------------------------------------------


def test_a_late_reply_reaches_nobody(clock: ManualClock) -> None:
    """Not the caller's next call, not its mailbox, and it switches into no other place where the caller waits."""
    log: list[Any] = []

    def caller() -> None:
        with pytest.raises(CallTimeout):
            GenServer.call(slow, lambda: late(2.0, "late"), 1.0)
        log.append(GenServer.call(quick, lambda: late(5.0, "right"), 10.0))
        log.append(process.now())
        log.append(current_process().queue_length)

    def late(seconds: float, value: str) -> str:
        process.sleep(seconds)
        return value

    slow, quick = Echo.start(), Echo.start()
    process.spawn(caller)
    clock.advance(20.0)
    assert log == ["right", 1006.0, 0]


def test_a_late_reply_to_a_stored_from_reaches_nobody(clock: ManualClock) -> None:
    class Keeper(GenServer):
        def handle_call(self, request: Any, from_: Any) -> Any:
            self.state = from_
            return NoReply()

        def handle_cast(self, request: Any) -> None:
            GenServer.reply(self.state, "late")

    pid = Keeper.start()
    process.spawn(clock.advance, 1.0)
    with pytest.raises(CallTimeout):
        GenServer.call(pid, 1, 1.0)
    GenServer.cast(pid, "now")
    process.spawn(clock.advance, 3.0)
    process.sleep(3.0)
    assert clock.now() == 1004.0


def test_every_deadline_of_nested_calls_runs_when_the_last_one_blocks(clock: ManualClock) -> None:
    """A waits for B, B for C and C for D, which sleeps: all three time out, each in its own time."""
    ended: list[tuple[str, float]] = []
    a, b, c, d = (Echo.start() for _ in range(4))

    def step(name: str, server: Pid, request: Any, timeout: float) -> None:
        try:
            GenServer.call(server, request, timeout)
        except CallTimeout:
            ended.append((name, process.now()))
            process.sleep(10.0)

    def last() -> None:
        process.sleep(100.0)

    process.spawn(
        step, "a", a, lambda: step("b", b, lambda: step("c", c, lambda: GenServer.call(d, last, None), 1.0), 2.0), 3.0
    )
    clock.advance(0.5)
    assert ended == []
    clock.advance(5.0)
    assert ended == [("c", 1001.0), ("b", 1002.0), ("a", 1003.0)]


def test_a_caller_that_is_killed_while_it_waits_is_not_switched_to(clock: ManualClock) -> None:
    log: list[str] = []
    gate = gevent.event.Event()
    server = Echo.start()

    def caller() -> None:
        try:
            log.append(GenServer.call(server, lambda: gate.wait() and "reply", None))
        finally:
            log.append("unwound")

    pid = process.spawn(caller)
    clock.settle()
    process.exit(pid, "kill")
    gate.set()
    clock.settle()
    assert log == ["unwound"]
    assert GenServer.call(server, "next") == "next"


def test_a_caller_that_is_killed_by_the_very_call_it_makes_does_not_go_on(clock: ManualClock) -> None:
    log: list[str] = []
    server = Echo.start()

    def caller() -> None:
        me = process.self()
        try:
            log.append(GenServer.call(server, lambda: process.exit(me, "kill")))
            log.append("went on")
        finally:
            log.append("unwound")

    process.spawn(caller)
    clock.settle()
    assert log == ["unwound"]
    assert GenServer.call(server, "next") == "next"


def test_a_server_that_is_killed_while_it_calls_another_frees_both(clock: ManualClock) -> None:
    inner, outer = Echo.start(), Echo.start()
    outcome = blocked(clock, outer, lambda: GenServer.call(inner, lambda: process.sleep(5.0), None))
    process.exit(outer, "kill")
    clock.settle()
    assert [error.reason for error in outcome] == ["killed"]
    clock.advance(5.0)
    assert GenServer.call(inner, "free") == "free"


def test_a_gevent_timeout_of_the_caller_ends_its_call(clock: ManualClock) -> None:
    log: list[Any] = []
    server = Echo.start()

    def caller() -> None:
        # real time: gevent's own timeout runs on the real loop
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
            GenServer.call(server, lambda: process.sleep(50.0), None)
        log.append("timed out")
        done.set()

    done = gevent.event.Event()
    process.spawn(caller)
    assert done.wait(5.0)
    clock.advance(50.0)
    assert log == ["timed out"]
    assert GenServer.call(server, 1) == 1


# -- mailbox order ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [None, "by name"])
def test_a_call_comes_after_the_casts_that_its_caller_made_before(clock: ManualClock, name: str | None) -> None:
    class Log(GenServer):
        def init(self) -> None:
            self.state = []

        def handle_cast(self, request: Any) -> None:
            self.state.append(request)

        def handle_info(self, message: Any) -> None:
            self.state.append(message)

        def handle_call(self, request: Any, from_: Any) -> Any:
            return list(self.state)

    pid: Any = Log.start(name=name)
    expected: list[int] = []
    for n in range(600):
        (GenServer.cast if n % 2 else process.send)(name or pid, n)
        expected.append(n)
        if n % 3 == 0:
            assert GenServer.call(name or pid, "all") == expected


BLOCK_AFTER_A_MESSAGE = """
from __future__ import annotations
import supervisor.processes as process
me = process.self()
process.spawn(lambda: process.send(me, "go on"))
process.receive()
process.sleep(0.01)
print("woken")
"""


def test_a_wait_that_begins_in_a_callback_of_the_loop_is_armed_before_the_loop_polls() -> None:
    """Else nothing wakes the loop: gevent raises LoopExit, or the timeout comes whenever something else happens."""
    # real time: it is about gevent's own order of watchers
    code, output = run_script(BLOCK_AFTER_A_MESSAGE)
    assert "woken" in output, output
    assert code == 0


def test_a_call_to_oneself_fails_at_once_instead_of_waiting_for_ever(clock: ManualClock) -> None:
    pid = Echo.start(name="myself")
    for target in (pid, "myself"):
        with pytest.raises(ProcessExit, match="calling_self"):
            GenServer.call(pid, lambda target=target: GenServer.call(target, "hello", None))
        pid = process.whereis("myself") or Echo.start(name="myself")


# -- nothing of one server shows in the next -------------------------------------------------------------------------


class Beginner(GenServer):
    """Notes what a function returns in its init."""

    def init(self, fn: Callable[[], Any], results: list[Any]) -> None:
        results.append(fn())


def runs_of_two_servers(clock: ManualClock, first: Callable[[], Any], second: Callable[[], Any]) -> Any:
    """Run `first` in one server and `second` in others right afterwards, where the same greenlet could be used:
    in a call that is handed over, in a start, and after the loop has polled."""
    servers = [Echo.start() for _ in range(5)]
    GenServer.call(servers[0], first)
    results = [GenServer.call(pid, second) for pid in servers[1:3]]
    GenServer.call(servers[0], first)
    Beginner.start(second, results)
    results += [GenServer.call(Echo.start(), second) for _ in range(3)]
    clock.settle()
    results += [GenServer.call(pid, second) for pid in servers[3:]]
    return [*results, *(GenServer.call(Echo.start(), second) for _ in range(2))]


def test_a_gevent_local_of_one_server_does_not_show_in_another(clock: ManualClock) -> None:
    local = gevent.local.local()

    def write() -> None:
        local.value = "secret"

    assert runs_of_two_servers(clock, write, lambda: getattr(local, "value", None)) == [None] * 10


def test_a_context_variable_of_one_server_does_not_show_in_another(clock: ManualClock) -> None:
    variable = contextvars.ContextVar("variable", default="default")

    def write() -> None:
        variable.set("secret")

    assert runs_of_two_servers(clock, write, variable.get) == ["default"] * 10


def test_an_attribute_on_the_current_greenlet_does_not_show_in_another_server(clock: ManualClock) -> None:
    def write() -> None:
        getcurrent().secret = 1  # type: ignore[attr-defined]

    assert runs_of_two_servers(clock, write, lambda: getattr(getcurrent(), "secret", None)) == [None] * 10


def test_a_greenlet_that_somebody_holds_is_not_used_for_another_server(clock: ManualClock) -> None:
    held: list[Any] = []
    seen: list[int] = []
    runs_of_two_servers(clock, lambda: held.append(getcurrent()), lambda: seen.append(id(getcurrent())))
    assert id(held[0]) not in seen


def test_a_greenlet_that_is_held_weakly_is_not_used_for_another_server(clock: ManualClock) -> None:
    held: list[Any] = []
    seen: list[Any] = []
    runs_of_two_servers(
        clock, lambda: held.append(weakref.ref(getcurrent())), lambda: seen.append(getcurrent() is held[0]())
    )
    assert not any(seen)


def test_a_greenlet_that_was_held_is_used_again_once_it_is_let_go(clock: ManualClock) -> None:
    scheduler = current_process().runtime.scheduler
    for _ in range(500):
        held = [GenServer.call(Echo.start(), lambda: [getcurrent()])]
        clock.settle()
        held.clear()
    gc.collect()
    clock.settle()
    assert scheduler.workers < 200


def test_a_gevent_timeout_that_a_handler_left_behind_hits_no_other_server(clock: ManualClock) -> None:
    def forget() -> None:
        # real time: gevent's own timeout runs on the real loop
        gevent.Timeout(0.01).start()

    def nap() -> str:
        gevent.sleep(0.03)  # real time: as above
        return "unharmed"

    GenServer.call(Echo.start(), forget)
    others = [Echo.start() for _ in range(20)]
    outcomes = [blocked(clock, pid, nap) for pid in others]
    gevent.sleep(0.06)  # real time: as above
    clock.settle()
    assert outcomes == [["unharmed"]] * 20


def test_a_gevent_timeout_that_escapes_from_a_handler_is_its_crash(clock: ManualClock) -> None:
    def stray() -> None:
        # real time: gevent's own timeout runs on the real loop
        gevent.Timeout(0.01).start()
        gevent.sleep(5.0)  # real time: the timeout above ends it

    with pytest.raises(ProcessExit) as failed:
        GenServer.call(Echo.start(), stray, None)
    assert failed.value.reason.type == "Timeout"


# -- kill ------------------------------------------------------------------------------------------------------------


def test_an_idle_server_is_killed_without_a_greenlet(clock: ManualClock) -> None:
    pid = Echo.start(name="idle")
    workers = current_process().runtime.scheduler.workers
    process.exit(pid, "kill")
    assert process.whereis("idle") is None
    assert current_process().runtime.scheduler.workers == workers
    with pytest.raises(NoProcess):
        GenServer.call(pid, 1)


def test_a_server_that_kills_itself_in_a_handler_goes_no_further(clock: ManualClock) -> None:
    log: list[str] = []

    def handler() -> None:
        try:
            process.exit(process.self(), "kill")
            log.append("went on")
        finally:
            log.append("unwound")

    with pytest.raises(ProcessExit) as failed:
        GenServer.call(Echo.start(), handler)
    assert failed.value.reason == "killed"
    assert log == ["unwound"]


def test_a_blocked_server_is_killed_at_once_and_unwinds_from_the_loop(clock: ManualClock) -> None:
    log: list[Any] = []

    def handler() -> None:
        try:
            process.sleep(100.0)
        except Exit as error:
            log.append(error.reason)
            raise

    pid = Echo.start(name="blocked")
    outcome = blocked(clock, pid, handler)
    process.exit(pid, "kill")
    assert process.whereis("blocked") is None
    assert not log
    clock.settle()
    assert log == ["killed"]
    assert [error.reason for error in outcome] == ["killed"]
    assert clock.pending() == 0


def test_an_exit_on_its_way_to_a_handler_that_has_ended_hits_no_other_server(clock: ManualClock) -> None:
    victim, other = Echo.start(), Echo.start()
    greenlets: list[int] = []

    def handler() -> None:
        greenlets.append(id(getcurrent()))
        process.sleep(5.0)

    GenServer.cast(victim, handler)
    clock.settle()
    clock.time += 5.0
    clock._fire_due()  # the handler of the victim is to end first,
    GenServer.cast(other, handler)  # then another server looks for a greenlet,
    process.exit(victim, "kill")  # and then comes the exit
    clock.advance(5.0)
    assert len(set(greenlets)) == 2
    assert GenServer.call(other, "unharmed") == "unharmed"


def test_except_exception_does_not_stop_an_exit(clock: ManualClock) -> None:
    log: list[str] = []

    def handler() -> None:
        try:
            process.sleep(100.0)
        except Exception:
            log.append("caught")

    pid = Echo.start()
    blocked(clock, pid, handler)
    process.exit(pid, "kill")
    clock.settle()
    assert not log


def test_nobody_waits_for_a_stubborn_server_that_is_killed(clock: ManualClock) -> None:
    log: list[str] = []

    def handler() -> None:
        try:
            process.sleep(100.0)
        finally:
            dawdle()
            log.append("done at last")

    pid = Echo.start(name="stubborn")
    outcome = blocked(clock, pid, handler)
    process.exit(pid, "kill")
    again = Echo.start(name="stubborn")
    clock.settle()
    assert [error.reason for error in outcome] == ["killed"]
    assert GenServer.call(again, 1) == 1
    # real time: an orphan can only wait by gevent's own means
    gevent.sleep(0.05)
    assert log == ["done at last"]


def dawdle() -> None:
    gevent.sleep(0.01)  # real time: an orphan can only wait by gevent's own means


def test_what_an_orphan_sends_replies_and_starts_raises(clock: ManualClock) -> None:
    log: list[Any] = []
    me, other = process.self(), Echo.start()

    def attempts(from_: Any) -> list[Callable[[], object]]:
        return [
            lambda: process.send(me, "from the dead"),
            lambda: GenServer.cast(other, "from the dead"),
            lambda: GenServer.call(other, "from the dead"),
            lambda: GenServer.reply(from_, "from the dead"),
            lambda: process.spawn(print),
            lambda: Echo.start_link(),
            lambda: process.link(other),
            lambda: process.monitor(other),
            lambda: process.exit(other, "kill"),
            lambda: process.register("ghost", other),
            lambda: process.self(),
        ]

    class Ghost(GenServer):
        def handle_call(self, request: Any, from_: Any) -> Any:
            try:
                process.sleep(100.0)
            finally:
                for attempt in attempts(from_):
                    try:
                        attempt()
                    except Exit:
                        log.append("refused")
                    else:
                        log.append("allowed")

    ghost = Ghost.start()
    outcome: list[Any] = []

    def caller() -> None:
        try:
            outcome.append(GenServer.call(ghost, "haunt", None))
        except ProcessExit as error:
            outcome.append(error.reason)

    process.spawn(caller)
    clock.settle()
    process.exit(ghost, "kill")
    clock.settle()
    assert log == ["refused"] * 11
    assert outcome == ["killed"]
    assert current_process().queue_length == 0
    assert process.alive(other)


# -- what the interpreter throws -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "reason"), [(0, "normal"), (None, "normal"), (3, "SystemExit")])
def test_a_system_exit_in_a_handler_ends_its_process_only(clock: ManualClock, code: Any, reason: str) -> None:
    def leave() -> None:
        sys.exit(code)

    with pytest.raises(ProcessExit) as failed:
        GenServer.call(Echo.start(), leave)
    found = failed.value.reason
    assert (found.type if isinstance(found, Crash) else found) == reason


def run_script(code: str, *, interrupt_at: str | None = None) -> tuple[int, str]:
    """Run `code` in an interpreter of its own; send SIGINT once it has printed `interrupt_at`."""
    script = subprocess.Popen(
        [sys.executable, "-u", "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert script.stdout is not None
    output = ""
    try:
        if interrupt_at is not None:
            while interrupt_at not in output:
                line = script.stdout.readline()
                assert line, output
                output += line
            script.send_signal(signal.SIGINT)
        output += script.communicate(timeout=60)[0]
    finally:
        script.kill()
        script.wait()
    return script.returncode, output


CTRL_C = """
from __future__ import annotations
import time
import gevent
import supervisor.processes as process
from supervisor.gen_server import GenServer

class Server(GenServer):
    def handle_call(self, request, from_):
        print("in the handler")
        {body}

pid = Server.start()
ref = process.monitor(pid)
try:
    {use}
except KeyboardInterrupt:
    print("the main greenlet was interrupted")
down = process.receive(timeout=5)
print("the server ended:", type(down.reason).__name__, down.reason)
other = Server.start()
print("life goes on:", process.alive(other))
"""
SPIN = "end = time.monotonic() + 30\n        while time.monotonic() < end: pass"


@pytest.mark.parametrize(
    "use", ["GenServer.call(pid, 1, None)", "process.spawn(GenServer.call, pid, 1, None); process.sleep(30)"]
)
def test_ctrl_c_in_a_handler_reaches_the_main_greenlet_and_ends_the_process_of_the_handler(use: str) -> None:
    # real time: the signal comes from the operating system
    code, output = run_script(CTRL_C.format(body=SPIN, use=use), interrupt_at="in the handler")
    assert "the main greenlet was interrupted" in output, output
    assert "the server ended: Crash KeyboardInterrupt" in output, output
    assert "life goes on: True" in output, output
    assert code == 0


def test_ctrl_c_while_everything_waits_reaches_the_main_greenlet() -> None:
    # real time: the signal comes from the operating system
    script = CTRL_C.format(body="process.sleep(60)", use="GenServer.call(pid, 1, None)")
    script = script.replace("down = process.receive(timeout=5)\n", "").replace(
        'print("the server ended:", type(down.reason).__name__, down.reason)\n', ""
    )
    code, output = run_script(script, interrupt_at="in the handler")
    assert "the main greenlet was interrupted" in output, output
    assert "life goes on: True" in output, output
    assert code == 0


@pytest.mark.parametrize("before", ["gevent.sleep(0.001)", "[Server.start() for _ in range(2000)]"])
def test_a_wait_that_begins_after_the_timers_of_a_pass_keeps_the_loop_alive(before: str) -> None:
    """The first process of a script is all there is: nothing else keeps the loop from ending."""
    code, output = run_script(
        "import gevent\n"
        "import supervisor.processes as process\n"
        "from supervisor.gen_server import GenServer as Server\n"
        f"process.sleep(0.001); {before}; process.sleep(0.001); print('awake')"
    )
    assert (code, output) == (0, "awake\n")


# -- fairness --------------------------------------------------------------------------------------------------------


def test_a_busy_pair_starves_neither_timers_nor_io() -> None:
    """Two processes that call each other without end: a timer comes in time, and a pipe is read."""
    # real time: it is about the real loop
    calls = 0
    log: list[str] = []
    stop = False
    reading, writing = os.pipe()

    def busy() -> None:
        nonlocal calls
        server = Echo.start_link()
        while not stop:
            GenServer.call(server, calls)
            calls += 1
        GenServer.stop(server)

    def reader() -> None:
        gevent.get_hub().wait(gevent.get_hub().loop.io(reading, 1))
        log.append(os.read(reading, 10).decode())

    busy_pid = process.spawn(busy)
    read = gevent.spawn(reader)
    began = time.monotonic()
    process.sleep(0.02)
    timer_took = time.monotonic() - began
    os.write(writing, b"data")
    read.join(timeout=5.0)
    stop = True
    ref = process.monitor(busy_pid)
    process.receive(lambda message: getattr(message, "ref", None) == ref, timeout=5.0)
    os.close(reading)
    os.close(writing)
    assert log == ["data"]
    assert timer_took < 0.5
    assert calls > 100


def test_casts_without_end_starve_no_timer() -> None:
    # real time: it is about the real loop
    class Loop(GenServer):
        def handle_cast(self, request: Any) -> None:
            GenServer.cast(process.self(), request)

    pid = Loop.start()
    GenServer.cast(pid, "again")
    began = time.monotonic()
    process.sleep(0.02)
    assert time.monotonic() - began < 0.5
    process.exit(pid, "kill")


# -- the loop's own greenlet -----------------------------------------------------------------------------------------


def test_what_would_block_raises_on_the_greenlet_of_the_event_loop(clock: ManualClock) -> None:
    pid = Echo.start()
    outcome: list[str] = []

    def callback() -> None:
        for attempt in (
            lambda: GenServer.call(pid, 1),
            lambda: process.receive(timeout=1.0),
            lambda: process.sleep(1.0),
            lambda: process.self(),
            lambda: Echo.start(),
        ):
            try:
                attempt()
            except RuntimeError as error:
                outcome.append(str(error))

    gevent.get_hub().loop.run_callback(callback)
    clock.settle()
    assert len(outcome) == 5
    assert all("event loop" in text for text in outcome)


# -- threads ---------------------------------------------------------------------------------------------------------


def in_a_thread(fn: Callable[[], Any]) -> Any:
    """Run `fn` in a native thread (patched or not) while the loop goes on, and return or raise what it does."""
    pool = ThreadPool(1)
    try:
        return pool.spawn(fn).get(timeout=10.0)
    finally:
        pool.kill()


@pytest.fixture
def server() -> Any:
    class Log(Echo):
        def init(self) -> None:
            self.state = []

        def handle_cast(self, request: Any) -> None:
            self.state.append(request)

        def handle_info(self, message: Any) -> None:
            self.state.append(message)

        def handle_call(self, request: Any, from_: Any) -> Any:
            return list(self.state) if request == "all" else super().handle_call(request, from_)

    pid = Log.start(name="log")
    yield pid
    if process.alive(pid):
        GenServer.stop(pid)


def test_call_cast_and_send_work_from_a_native_thread(server: Pid) -> None:
    # real time: threads are real
    def use() -> Any:
        process.send(server, 1)
        GenServer.cast("log", 2)
        return GenServer.call(server, "all"), GenServer.call("log", lambda: process.self())

    assert in_a_thread(use) == ([1, 2], server)
    assert in_a_thread(lambda: GenServer.multi_call([server.node], "log", "all")) == ({server.node: [1, 2]}, [])


def test_a_call_from_a_native_thread_raises_what_a_call_raises(server: Pid) -> None:
    # real time: threads are real
    with pytest.raises(CallTimeout):
        in_a_thread(lambda: GenServer.call(server, lambda: process.sleep(0.2), 0.01))
    with pytest.raises(NoProcess):
        in_a_thread(lambda: GenServer.call("nobody", 1))
    with pytest.raises(NoProcess):
        in_a_thread(lambda: process.send("nobody", 1))
    with pytest.raises(NoProcess):
        in_a_thread(lambda: GenServer.cast(("nobody", server.node), 1))
    with pytest.raises(ProcessExit, match="ZeroDivisionError"):
        in_a_thread(lambda: GenServer.call(server, lambda: 1 / 0))


@pytest.mark.parametrize(
    "attempt",
    [
        lambda pid: process.receive(timeout=0),
        lambda pid: process.link(pid),
        lambda pid: process.monitor(pid),
        lambda pid: process.trap_exit(True),
        lambda pid: process.spawn_link(print),
        lambda pid: process.self(),
        lambda pid: process.sleep(0.01),
        lambda pid: process.send_after(pid, 1, 0.01),
    ],
)
def test_receive_link_monitor_and_trap_exit_raise_in_a_native_thread(server: Pid, attempt: Any) -> None:
    # real time: threads are real
    with pytest.raises(RuntimeError, match="native thread"):
        in_a_thread(lambda: attempt(server))


def in_the_first_thread(code: str) -> str:
    """What a script prints that runs `code` in a native thread before anybody has used the library."""
    body = "".join(f"    {line}\n" for line in code.strip().splitlines())
    script = (
        "import threading\nimport supervisor.processes as process\nfrom supervisor.gen_server import GenServer\n"
        f"def use():\n{body}"
        "thread = threading.Thread(target=use)\nthread.start()\nthread.join()\n"
        "print('main:', isinstance(process.self().serial, int))\n"
    )
    status, output = run_script(script)
    assert status == 0, output
    return output


USES = ["process.self()", "process.send('x', 1)", "GenServer.call('x', 1)", "GenServer.cast('x', 1)", "process.now()"]


@pytest.mark.parametrize("use", [*USES, "GenServer.start(1)", "process.spawn(print)"])
def test_a_thread_that_comes_first_gets_no_node_but_an_error_and_main_gets_it(use: str) -> None:
    output = in_the_first_thread(f"try:\n    {use}\nexcept RuntimeError as error:\n    print(error)")
    assert "not its main thread" in output, output
    assert "process.claim_thread()" in output, output
    assert "main: True" in output, output


CLAIM = """
import threading
import supervisor.processes as process
from supervisor.gen_server import GenServer

class Echo(GenServer):
    def handle_call(self, request, from_):
        return request

def node():
    process.claim_thread()
    process.claim_thread()
    process.register("node", process.self())
    Echo.start(name="echo")
    ready.set()
    print(process.receive(timeout=30))

ready = threading.Event()
thread = threading.Thread(target=node)
thread.start()
ready.wait()
print(GenServer.call("echo", "called from main"))
process.send("node", "done")
thread.join()
"""


def test_a_thread_that_claims_the_node_gets_it_and_main_calls_from_outside() -> None:
    code, output = run_script(CLAIM)
    assert (code, output) == (0, "called from main\ndone\n")


def test_only_one_thread_can_claim_the_node(server: Pid) -> None:
    process.claim_thread()  # it is the main one's anyway
    with pytest.raises(RuntimeError, match="in another thread already"):
        in_a_thread(process.claim_thread)


# -- fork ------------------------------------------------------------------------------------------------------------

FORK = """
from __future__ import annotations
import os
import supervisor.processes as process
from supervisor.errors import Exit, ForkError
from supervisor.gen_server import GenServer
from supervisor.runtime import reset_after_fork

class Server(GenServer):
    def handle_call(self, request, from_):
        return os.getpid()

def attempt(name, fn):
    try:
        print(name, "allowed:", fn())
    except ForkError:
        print(name, "refused")

pid = Server.start(name="server")
assert GenServer.call(pid, 1) == os.getpid()
child = os.fork()
if child == 0:
    attempt("call", lambda: GenServer.call(pid, 1))
    attempt("name", lambda: GenServer.call("server", 1))
    attempt("cast", lambda: GenServer.cast(pid, 1))
    attempt("send", lambda: process.send("server", 1))
    attempt("start", lambda: Server.start())
    attempt("self", lambda: process.self())
    attempt("receive", lambda: process.receive(timeout=0))
    attempt("spawn", lambda: process.spawn(print))
    attempt("now", lambda: process.now())
    attempt("alive", lambda: process.alive(pid))
    attempt("claim", lambda: process.claim_thread())
    reset_after_fork()
    again = Server.start(name="server")
    assert GenServer.call("server", 1) == os.getpid()
    print("works after the reset")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert GenServer.call(pid, 1) == os.getpid()
print("the parent goes on")
"""


@pytest.mark.parametrize("where", ["main", "process", "server"])
def test_use_after_a_fork_is_refused_in_the_child_and_harmless_in_the_parent(where: str) -> None:
    # real time: a real fork of a real process
    script = FORK
    if where == "process":
        head, _, body = FORK.partition("pid = Server.start(name")
        body = "pid = Server.start(name" + body
        script = head + "def body():\n" + "".join(f"    {line}\n" for line in body.splitlines())
        script += "process.spawn_monitor(body)\nprint(process.receive(timeout=30).reason)\n"
    elif where == "server":
        head, _, body = FORK.partition("pid = Server.start(name")
        body = "pid = Server.start(name" + body
        script = head + "class Forker(GenServer):\n    def handle_call(self, request, from_):\n"
        script += "".join(f"        {line}\n" for line in body.splitlines())
        script += "print(GenServer.call(Forker.start(), 1, 30.0))\n"
    code, output = run_script(script)
    refused = [line for line in output.splitlines() if line.endswith("refused")]
    assert len(refused) == 11, output
    assert "works after the reset" in output, output
    assert "the parent goes on" in output, output
    assert code == 0, output


FORK_IN_A_THREAD = """
import os
import threading
import supervisor.processes as process

def fork():
    child = os.fork()
    if child == 0:
        process.self()
        os._exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

thread = threading.Thread(target=fork)
thread.start()
thread.join()
"""


def test_the_thread_that_forks_is_the_main_thread_of_the_child() -> None:
    # real time: a real fork of a real process
    code, output = run_script(FORK_IN_A_THREAD)
    assert (code, output.splitlines()[-1]) == (0, "7"), output


# -- gevent's other loops --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["gevent.libuv.loop", "gevent.libev.corecffi"])
def test_gevents_other_loops_are_refused_in_so_many_words(module: str) -> None:
    loop = type("loop", (), {"__module__": module})()
    with pytest.raises(RuntimeError, match=f"gevent runs here on {module}; .*GEVENT_LOOP"):
        check_loop(loop)
    check_loop(gevent.get_hub().loop)


@pytest.mark.parametrize(("loop", "module"), [("libuv", "gevent.libuv.loop"), ("libev-cffi", "gevent.libev.corecffi")])
def test_the_first_use_on_another_loop_says_what_it_needs(loop: str, module: str) -> None:
    pytest.importorskip(module, reason="gevent's other loops need cffi", exc_type=ImportError)
    script = f"import os\nos.environ['GEVENT_LOOP'] = {loop!r}\nimport supervisor.processes as process\nprocess.self()"
    code, output = run_script(script)
    assert code != 0
    assert f"RuntimeError: gevent runs here on {module}; the runtime needs" in output
