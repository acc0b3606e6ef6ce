"""`debug.dump`: what it says of every process, and that nothing can make it fail."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import pytest

import supervisor.debug as debug
import supervisor.dumps as dumps
import supervisor.processes as process
from supervisor.gen_server import GenServer
from supervisor.pids import NodeId, Pid
from supervisor.runtime import Runtime, current_process
from tests.supervisor.kit import HANGS, Echo, Ether, ManualClock, Trapper, stubborn

ROOT = Path(__file__).resolve().parents[2]


def dumped() -> str:
    out = io.StringIO()
    debug.dump(out)
    return out.getvalue()


def block_of(text: str, name: str) -> str:
    """What the dump says of the process with that name."""
    (found,) = [
        block for block in re.split(r"^(?=<Process )", text, flags=re.MULTILINE) if f"'{name}'" in block.splitlines()[0]
    ]
    return found


def asks(name: str) -> Any:
    """What a process runs that waits for the answer of another one."""
    return lambda: GenServer.call(name, lambda: process.sleep(50.0), 20.0)


def waits_for_a_message() -> None:
    process.receive(timeout=9.0)


def test_a_dump_shows_every_process_with_what_it_handles_and_waits_for(clock: ManualClock) -> None:
    Echo.start(name="idle")
    Echo.start(name="sleeper")
    asker = process.spawn(asks("sleeper"))
    process.register("asker", asker)
    process.register("receiver", process.spawn(waits_for_a_message))
    clock.advance(1.0)
    process.send("sleeper", "waits")
    process.register("unborn", process.spawn(waits_for_a_message))
    text = dumped()
    assert "6 processes" in text.splitlines()[0]
    assert "Echo> idle" in block_of(text, "idle")
    sleeper = block_of(text, "sleeper")
    assert "running, 1 messages wait" in sleeper
    assert "handles call <function" in sleeper
    assert "in Echo.handle_call (" in sleeper
    assert "waits for time to pass (49 s of 50 s left)" in sleeper
    assert "return lambda: GenServer.call(name, lambda: process.sleep(50.0), 20.0)" in sleeper
    assert "'sleeper' Echo> (19 s of 20 s left)" in block_of(text, "asker")
    assert "waits for a message (8 s of 9 s left)" in block_of(text, "receiver")
    assert "waits for its turn" in block_of(text, "unborn")
    assert "waits for nothing: it runs" in text  # this test
    for pid in (asker, process.whereis("receiver"), process.whereis("unborn")):
        process.exit(pid, "kill")  # type: ignore[arg-type]


def test_a_dump_shows_suspended_servers_and_orphans(clock: ManualClock) -> None:
    gate = gevent.event.Event()
    debug.suspend(Echo.start(name="held"))
    pid = process.spawn(stubborn, gate)
    clock.settle()
    process.exit(pid, "kill")
    clock.settle()
    text = dumped()
    assert "idle, suspended" in block_of(text, "held")
    assert "1 orphans" in text.splitlines()[0]
    assert "orphan\n" in text
    assert "gate.wait()" in text
    gate.set()
    clock.settle()
    assert "0 orphans" in dumped().splitlines()[0]


def test_a_dump_survives_values_that_cannot_be_shown(clock: ManualClock) -> None:
    class Nasty:
        def __repr__(self) -> str:
            raise ValueError("no")

        def __call__(self) -> None:
            process.sleep(10.0)

    pid = Echo.start()
    GenServer.cast(pid, Nasty())
    clock.settle()
    assert "handles cast <Nasty whose repr failed: ValueError> in Echo.handle_cast" in dumped()


def test_a_dump_in_a_native_thread_shows_the_same(clock: ManualClock) -> None:
    Echo.start(name="idle")
    runtime = current_process().runtime
    out = io.StringIO()
    gevent.get_hub().threadpool.apply(debug.dump, (out, runtime))
    assert "Echo> idle" in block_of(out.getvalue(), "idle")


def test_a_dump_goes_to_standard_error_if_nothing_else_is_said(
    clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    Echo.start(name="idle")
    debug.dump()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Echo> idle" in block_of(captured.err, "idle")


def test_a_dump_of_another_node_shows_that_one(clock: ManualClock) -> None:
    other = Runtime("other@127.0.0.1:1", clock)
    other.register("theirs", other.spawn(waits_for_a_message, (), {}))
    clock.settle()
    out = io.StringIO()
    debug.dump(out, other)
    assert out.getvalue().startswith("=== node other@127.0.0.1:1 at ")
    assert "waits for a message" in block_of(out.getvalue(), "theirs")
    assert "it runs" not in out.getvalue()
    other.close()
    clock.settle()


def test_a_dump_says_which_process_of_which_node_is_waited_for(clock: ManualClock) -> None:
    Ether(current_process().runtime)
    far = Pid(NodeId("far@127.0.0.1:1", 1), 7)
    asker = process.spawn(GenServer.call, far, "hello", 20.0)
    process.register("asker", asker)
    clock.advance(5.0)
    assert f"waits for {far!r} on node far@127.0.0.1:1 (15 s of 20 s left)" in block_of(dumped(), "asker")
    process.exit(asker, "kill")


def test_a_dump_shows_a_process_that_waits_by_means_that_are_not_ours(clock: ManualClock) -> None:
    gate = gevent.event.Event()
    process.register("gated", process.spawn(gate.wait))
    clock.settle()
    block = block_of(dumped(), "gated")
    assert "waits for its turn, or for something of gevent's own: see the stack" in block
    gate.set()


def test_a_wait_without_a_timeout_has_no_time_left(clock: ManualClock) -> None:
    Echo.start(name="sleeper")
    process.register("asker", process.spawn(lambda: GenServer.call("sleeper", lambda: process.sleep(9.0), None)))
    clock.settle()
    (line,) = [line for line in block_of(dumped(), "asker").splitlines() if "waits for" in line]
    assert line.endswith("'sleeper' Echo>")


def test_a_server_in_terminate_shows_what_ended_it(clock: ManualClock) -> None:
    class Slow(Trapper):
        def terminate(self, reason: Any) -> None:
            process.sleep(5.0)

    Slow.start([], name="ending")
    process.spawn(GenServer.stop, "ending", "shutdown")
    clock.settle()
    assert "StopRequest(reason='shutdown')" in block_of(dumped(), "ending")
    assert "Slow.terminate (" in block_of(dumped(), "ending")
    clock.advance(5.0)


# -- stacks ----------------------------------------------------------------------------------------------------------


def test_the_frames_of_the_caller_do_not_show_who_looks(clock: ManualClock) -> None:
    record = current_process()
    assert record.greenlet is not None
    frames = dumps.frames_of(record.greenlet)
    assert frames[-1][0].f_code.co_name == "test_the_frames_of_the_caller_do_not_show_who_looks"
    (last,) = [line for line in dumps.format_frames(frames) if "frames = dumps.frames_of" in line]
    assert last.strip() == "frames = dumps.frames_of(record.greenlet)"


def test_a_process_that_has_not_begun_has_no_frames(clock: ManualClock) -> None:
    record = current_process().runtime.local(process.spawn(waits_for_a_message))
    assert record is not None
    assert record.greenlet is not None
    assert dumps.frames_of(record.greenlet) == []
    assert dumps.format_frames([]) == []
    process.exit(record.pid, "kill")


def test_only_the_dead_whose_greenlet_still_works_for_them_are_orphans(clock: ManualClock) -> None:
    runtime = current_process().runtime
    gate = gevent.event.Event()

    pids = [process.spawn(stubborn, gate) for _ in range(2)]
    obedient, idle = process.spawn(waits_for_a_message), Echo.start()
    clock.settle()
    for pid in (*reversed(pids), obedient, idle):
        process.exit(pid, "kill")
    clock.settle()
    assert [record.pid for record in dumps.orphans(runtime)] == pids
    gate.set()
    clock.settle()
    assert dumps.orphans(runtime) == []


# -- signals ---------------------------------------------------------------------------------------------------------


SIGNALLED = """
import os, signal, sys, time
import gevent
import gevent.event
import supervisor.debug as debug, supervisor.processes as process
from supervisor.gen_server import GenServer

class Spinner(GenServer):
    def handle_cast(self, request):
        print("spinning", flush=True)
        while not self.state:
            pass

state = []
def on_other_signal(signum, frame):
    state.append(1)
signal.signal(signal.SIGUSR1, on_other_signal)
debug.dump_on_signal()
pid = Spinner.start(state, name="the spinner")
process.spawn(print, "idle", flush=True)  # runs once this process waits
if sys.argv[1] == "idle":
    process.receive(timeout=600.0)
GenServer.cast(pid, "spin")
GenServer.stop(pid)
"""


@pytest.mark.parametrize("how", ["idle", "spinning"])
def test_a_signal_makes_a_node_dump_its_processes_also_while_a_handler_holds_the_loop(how: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", SIGNALLED, how],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stderr is not None
        while child.stdout.readline().strip() != how:
            assert child.poll() is None, child.stderr.read()
        child.send_signal(signal.SIGUSR2)
        wanted = "waits for a message" if how == "idle" else "handles cast 'spin' in Spinner.handle_cast"
        lines = [""]
        while not all(any(text in line for line in lines) for text in (wanted, "'the spinner' Spinner>")):
            lines.append(child.stderr.readline())
            assert lines[-1], "".join(lines)
        assert "=== node nonode@nohost" in lines[1]
        if how == "spinning":
            child.send_signal(signal.SIGUSR1)
            assert child.wait(HANGS) == 0
    finally:
        child.kill()
        child.communicate()


def test_the_former_handler_of_the_signal_can_be_put_back(clock: ManualClock) -> None:
    former = signal.getsignal(signal.SIGUSR2)
    out = io.StringIO()
    undo = debug.dump_on_signal(file=out)
    os.kill(os.getpid(), signal.SIGUSR2)
    clock.settle()
    assert "=== node" in out.getvalue()
    undo()
    assert signal.getsignal(signal.SIGUSR2) == former


def test_a_dump_on_a_signal_that_fails_hits_nobody(clock: ManualClock, capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise ValueError("planted")

    undo = debug.dump_on_signal(signal.SIGUSR1, Broken())
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        clock.settle()
    finally:
        undo()
    assert "planted" in capsys.readouterr().err


def test_a_signal_in_the_midst_of_a_write_to_the_same_file_dumps_after_it(clock: ManualClock) -> None:
    class Busy(io.StringIO):
        busy = True

        def write(self, text: str) -> int:
            if self.busy:
                raise RuntimeError("reentrant call")
            return super().write(text)

    out = Busy()
    undo = debug.dump_on_signal(signal.SIGUSR1, out)
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        out.busy = False
        clock.settle()
    finally:
        undo()
    assert out.getvalue().count("=== node") == 1


def test_a_signal_handler_can_be_set_in_the_main_thread_only(clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="main thread"):
        gevent.get_hub().threadpool.apply(debug.dump_on_signal, (), {"runtime": current_process().runtime})
