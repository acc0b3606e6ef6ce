from __future__ import annotations

import contextvars
import functools
import gc
import logging
import subprocess
import sys
import textwrap
import threading
import traceback
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.monkey import get_original

import supervisor.processes as process
from supervisor.errors import CallTimeout, Exit, ProcessExit
from supervisor.gen_server import GenServer
from supervisor.pids import Pid
from supervisor.reasons import Crash
from supervisor.runtime import current_runtime, default_runtime
from supervisor.signals import Down, ExitSignal, exit_process
from supervisor.tasks import Outcome, Task
from tests.supervisor.kit import HANGS, Echo, ManualClock, info

ROOT = Path(__file__).resolve().parents[2]
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def add(a: int, b: int = 0) -> int:
    return a + b


def fail(text: str = "oops") -> int:
    raise KeyError(text)


def leave(reason: Any) -> None:
    raise Exit(reason)


def after(seconds: float, value: Any) -> Any:
    process.sleep(seconds)
    return raise_or_return(value)


class Gate:
    """What threads wait for: an event that is native however patched the standard library is."""

    def __init__(self) -> None:
        self.lock = get_original("_thread", "allocate_lock")()
        self.lock.acquire()

    def set(self) -> None:
        self.lock.release()

    def wait(self) -> bool:
        passed: bool = self.lock.acquire(timeout=HANGS)
        if passed:
            self.lock.release()
        return passed


def raise_or_return(value: Any) -> Any:
    if isinstance(value, BaseException):
        raise value
    return value


def forever() -> None:
    process.sleep(1e9)


def wait_for_ever(tasks: list[Task[None]]) -> None:
    """Spawn a task that does not end, put it into the list, and wait for it."""
    tasks.append(Task.spawn(forever))
    tasks[-1].result(None)


def is_at_rest(clock: ManualClock) -> None:
    """No wait with a timeout and no timer is left, and nothing came into the caller's mailbox."""
    clock.settle()
    assert not [wait for wait in current_runtime().scheduler.waits.values() if wait.timeout is not None]
    assert clock.pending() == 0
    assert info(process.self())["queue_length"] == 0
    assert info(process.self())["links"] == []


def in_a_process(clock: ManualClock, fn: Callable[[], Any]) -> tuple[Pid, list[Any]]:
    """Start a process that runs `fn`, let it run, and return it with the list in which its result or error will be."""
    ended: list[Any] = []

    def body() -> None:
        try:
            ended.append(fn())
        except BaseException as error:
            ended.append(error)
            raise

    pid = process.spawn(body)
    clock.settle()
    return pid, ended


# -- result ----------------------------------------------------------------------------------------------------------


def test_result_is_what_the_function_returned(clock: ManualClock) -> None:
    assert Task.spawn(add, 1, b=2).result() == 3
    is_at_rest(clock)


def test_a_task_is_a_process_that_is_linked_to_its_owner(clock: ManualClock) -> None:
    task = Task.spawn(forever)
    assert task.owner == process.self()
    assert info(task.pid)["links"] == [process.self()]
    assert info(task.pid)["label"] == "forever"
    assert not task.done()
    assert "forever" in repr(task)
    assert "running" in repr(task)


def test_it_begins_when_the_caller_gives_way(clock: ManualClock) -> None:
    seen: list[int] = []
    Task.spawn(seen.append, 1)
    assert seen == []
    clock.settle()
    assert seen == [1]


def test_result_raises_what_the_task_raised_with_its_traceback(clock: ManualClock) -> None:
    task = Task.spawn(fail)
    with pytest.raises(KeyError) as failed:
        task.result()
    text = "".join(traceback.format_exception(failed.value))
    assert "in fail" in text
    assert "in run" not in text, "our own frames are of no use"
    is_at_rest(clock)


def test_a_linked_owner_survives_a_task_that_raises_and_no_signal_reaches_it(clock: ManualClock) -> None:
    process.trap_exit(True)
    tasks: list[Task[int]] = [Task.spawn(fail), Task.spawn(add, 1)]
    clock.settle()
    assert all(task.done() for task in tasks)
    is_at_rest(clock)
    with pytest.raises(KeyError):
        tasks[0].result()


def test_result_can_be_asked_for_again(clock: ManualClock) -> None:
    good, bad = Task.spawn(add, 1), Task.spawn(fail)
    assert [good.result(), good.result(0)] == [1, 1]
    for _ in range(2):
        with pytest.raises(KeyError):
            bad.result()


def test_who_watches_a_task_hears_how_it_ended(clock: ManualClock) -> None:
    for value, expected in ((1, "normal"), (KeyError("oops"), "KeyError: 'oops'")):
        task: Task[Any] = Task.spawn(raise_or_return, value)
        ref = process.monitor(task.pid)
        Task.yield_many([task])
        down = process.receive(timeout=0)
        assert (down.ref, str(down.reason)) == (ref, expected)


def test_a_stray_gevent_timeout_is_what_the_task_raised(clock: ManualClock) -> None:
    def stray() -> None:
        raise timeout

    timeout = gevent.Timeout()
    with pytest.raises(gevent.Timeout) as failed:
        Task.spawn(stray).result()
    assert failed.value is timeout


def test_tasks_may_spawn_tasks(clock: ManualClock) -> None:
    def total(n: int) -> int:
        return n + sum(Task.gather([Task.spawn(total, n - 1) for _ in range(2)])) if n else 0

    assert Task.spawn(total, 3).result() == 3 + 2 * (2 + 2 * 1)
    is_at_rest(clock)


def test_a_server_waits_for_a_task_in_its_handler(clock: ManualClock) -> None:
    assert GenServer.call(Echo.start(), lambda: Task.spawn(add, 1, 1).result()) == 2


def test_a_task_runs_in_a_copy_of_its_spawners_context(clock: ManualClock) -> None:
    def change() -> str:
        before = variable.get()
        variable.set("changed")
        return before

    variable.set("mine")
    assert Task.spawn(change).result() == "mine"
    assert Task.in_thread(change).result(None) == "mine"
    assert variable.get() == "mine"


def test_what_cannot_be_called_is_refused_at_once(clock: ManualClock) -> None:
    with pytest.raises(TypeError, match="needs a function"):
        Task.spawn(5)  # type: ignore[arg-type]
    assert "add" in repr(Task.spawn(functools.partial(add, 1)))


# -- time ------------------------------------------------------------------------------------------------------------


def test_result_gives_up_at_its_timeout_and_may_be_asked_again(clock: ManualClock) -> None:
    task = Task.spawn(after, 3.0, "late")
    process.spawn(clock.advance, 2.0)
    with pytest.raises(CallTimeout, match="after"):
        task.result(2.0)
    assert process.now() == 1002.0
    assert task._report.awaiter is None
    process.spawn(clock.advance, 2.0)
    assert task.result(None) == "late"


def test_the_timeout_is_five_seconds_unless_it_is_given(clock: ManualClock) -> None:
    task = Task.spawn(forever)
    process.spawn(clock.advance, 5.0)
    with pytest.raises(CallTimeout):
        task.result()
    assert process.now() == 1005.0
    task.shutdown()


def test_a_late_result_reaches_no_mailbox(clock: ManualClock) -> None:
    process.trap_exit(True)
    task = Task.spawn(after, 3.0, "late")
    process.spawn(clock.advance, 1.0)
    with pytest.raises(CallTimeout):
        task.result(1.0)
    clock.advance(5.0)
    assert task.done()
    is_at_rest(clock)


def test_a_timeout_of_zero_only_looks(clock: ManualClock) -> None:
    task = Task.spawn(add, 1)
    with pytest.raises(CallTimeout):
        task.result(0)
    assert not task.done()
    clock.settle()
    assert task.result(0) == 1
    assert task.result(-1) == 1


def test_a_result_that_arrives_just_before_the_timeout_counts(clock: ManualClock) -> None:
    task = Task.spawn(after, 1.0, "just in time")
    clock.settle()  # so that its timer is the first of the two that are due at the same time
    process.spawn(clock.advance, 1.0)
    assert task.result(1.0) == "just in time"
    is_at_rest(clock)


def test_a_result_that_arrives_just_after_the_timeout_is_not_lost(clock: ManualClock) -> None:
    task = Task.spawn(after, 1.0, "too late")  # its timer will be the second one
    process.spawn(clock.advance, 1.0)
    with pytest.raises(CallTimeout):
        task.result(1.0)
    assert task.result(1.0) == "too late"
    is_at_rest(clock)


def test_a_result_after_the_timer_fired_and_before_the_waiter_runs_counts(clock: ManualClock) -> None:
    go: list[Pid] = []

    def told() -> str:
        go.append(process.self())
        process.receive()
        return "just in time"

    task = Task.spawn(told)
    clock.settle()
    clock.call_later(1.0, lambda: process.send(go[0], "go"))  # readies the task first, then the waiter's timer fires
    process.spawn(clock.advance, 1.0)
    assert task.result(1.0) == "just in time"
    is_at_rest(clock)


def test_a_gevent_timeout_of_the_owner_ends_the_wait_and_leaves_the_task_alone(clock: ManualClock) -> None:
    task = Task.spawn(after, 1.0, 5)
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
        task.result(None)
    clock.advance(1.0)
    assert task.result(0) == 5
    is_at_rest(clock)


# -- ends that are no outcome of the function ------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["boom", "kill", "shutdown"])
def test_a_task_that_is_told_to_end_ends_its_owner(clock: ManualClock, reason: str) -> None:
    tasks: list[Task[None]] = []
    owner, ended = in_a_process(clock, lambda: wait_for_ever(tasks))
    ref = process.monitor(owner)
    process.exit(tasks[0].pid, reason)
    clock.settle()
    expected = "killed" if reason == "kill" else reason
    assert process.receive(timeout=0) == Down(ref, owner, expected)
    assert [type(error) for error in ended] == [Exit]
    assert ended[0].reason == expected


def test_a_task_that_raises_exit_ends_its_owner(clock: ManualClock) -> None:
    owner, _ = in_a_process(clock, lambda: Task.spawn(leave, "boom").result(None))
    assert not process.alive(owner)


def test_an_owner_that_traps_exits_gets_the_signal_and_a_process_exit(clock: ManualClock) -> None:
    process.trap_exit(True)
    task = Task.spawn(leave, "boom")
    with pytest.raises(ProcessExit, match="leave") as failed:
        task.result()
    assert failed.value.reason == "boom"
    assert process.receive(timeout=0) == ExitSignal(task.pid, "boom")


def test_a_task_that_leaves_normally_has_no_result(clock: ManualClock) -> None:
    for end in (functools.partial(leave, "normal"), sys.exit):
        with pytest.raises(ProcessExit) as failed:
            Task.spawn(end).result()
        assert failed.value.reason == "normal"
    assert process.alive(process.self())


def test_a_system_exit_with_a_code_is_a_crash_of_the_process(clock: ManualClock) -> None:
    process.trap_exit(True)
    with pytest.raises(ProcessExit) as failed:
        Task.spawn(sys.exit, 3).result()
    assert isinstance(failed.value.reason, Crash)


@pytest.mark.parametrize("reason", ["boom", "kill", "shutdown"])
def test_a_task_dies_with_its_owner(clock: ManualClock, reason: str) -> None:
    tasks: list[Task[None]] = []
    owner, _ = in_a_process(clock, lambda: wait_for_ever(tasks))
    assert process.alive(tasks[0].pid)
    process.exit(owner, reason)
    assert not process.alive(tasks[0].pid)
    assert tasks[0].done()


def test_a_task_outlives_an_owner_that_ends_normally(clock: ManualClock) -> None:
    seen: list[int] = []

    def work() -> None:
        process.sleep(1.0)
        seen.append(1)

    owner, _ = in_a_process(clock, lambda: Task.spawn(work) and None)
    assert not process.alive(owner)
    clock.advance(1.0)
    assert seen == [1]


def test_an_owner_that_was_killed_does_not_run_on_with_a_result(clock: ManualClock) -> None:
    def gives_and_kills() -> str:
        task_owner = info(process.self())["links"][0]
        process.unlink(task_owner)
        current_runtime().scheduler.ready_up(Killer(task_owner))
        return "result"

    class Killer:
        """Runs after the task is done and before its waiter does."""

        def __init__(self, pid: Pid) -> None:
            self.pid = pid

        def resume(self) -> None:
            exit_process(table[self.pid.serial], "boom")

    table = current_runtime().table
    owner, ended = in_a_process(clock, lambda: Task.spawn(gives_and_kills).result())
    assert not process.alive(owner)
    assert [type(error) for error in ended] == [Exit]


def test_a_task_that_is_killed_before_it_began_never_runs(clock: ManualClock) -> None:
    process.trap_exit(True)
    seen: list[int] = []
    task = Task.spawn(seen.append, 1)
    process.exit(task.pid, "kill")
    with pytest.raises(ProcessExit):
        task.result()
    clock.settle()
    assert seen == []


def test_what_an_orphan_returns_is_dropped(clock: ManualClock) -> None:
    def stubborn() -> str:
        try:
            forever()
        except Exit:
            gevent.sleep(0)
        return "too late"

    process.trap_exit(True)
    task = Task.spawn(stubborn)
    clock.settle()
    process.exit(task.pid, "boom")
    clock.settle()
    with pytest.raises(ProcessExit) as failed:
        task.result()
    assert failed.value.reason == "boom"


# -- who may ask -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ask",
    [Task.result, Task.shutdown, lambda task: Task.gather([task]), lambda task: Task.yield_many([task])],
    ids=["result", "shutdown", "gather", "yield_many"],
)
def test_only_the_owner_may_wait_for_a_task(clock: ManualClock, ask: Callable[[Any], Any]) -> None:
    for seconds in (0.0, 1.0):  # done, and not
        task = Task.spawn(after, seconds, "mine") if seconds else Task.spawn(add, 1)
        clock.settle()
        _, ended = in_a_process(clock, functools.partial(ask, task))
        assert [type(error) for error in ended] == [ValueError]
        assert str(process.self()) in str(ended[0])
        assert "only that may wait" in str(ended[0])
        stranger = gevent.spawn(ask, task)
        clock.settle()
        assert isinstance(stranger.exception, ValueError)
    clock.advance(1.0)
    assert task.result() == "mine"


def test_a_greenlet_that_is_no_process_spawns_and_waits_and_stays_none(clock: ManualClock) -> None:
    def stranger() -> Any:
        task = Task.spawn(add, 1)
        assert task.owner is None
        assert info(task.pid)["links"] == []
        killed: Task[None] = Task.spawn(forever)
        process.send_after(me, "noise", 60.0).cancel()
        helper = current_runtime().spawn(process.exit, (killed.pid, "boom"), {})
        assert helper.alive
        with pytest.raises(ProcessExit) as failed:
            killed.result()
        assert not hasattr(gevent.getcurrent(), "otp_process")
        late: Task[int] = Task.spawn(add, 2)
        process.self()  # becomes a process, and is the owner all the same
        return task.result(), failed.value.reason, late.result()

    me = process.self()
    running = gevent.spawn(stranger)
    clock.settle()
    assert running.get(timeout=HANGS) == (1, "boom", 2)


def test_the_main_greenlet_needs_nothing_set_up() -> None:
    code = """
    from supervisor.tasks import Task
    task = Task.spawn(lambda: 1 / 0)
    try:
        task.result()
    except ZeroDivisionError as error:
        print(error)
    print(Task.gather([Task.spawn(pow, 2, n) for n in range(4)]), Task.in_thread(sum, [1, 2]).result())
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.stdout, run.stderr) == ("division by zero\n[1, 2, 4, 8] 3\n", "")


def test_a_native_thread_cannot_spawn_tasks(clock: ManualClock) -> None:
    default_runtime()  # made here, so that it belongs to this thread
    with pytest.raises(RuntimeError, match="native thread"):
        Task.in_thread(Task.spawn, add, 1).result(None)


def test_the_loops_own_greenlet_may_not_wait(clock: ManualClock) -> None:
    seen: list[Any] = []

    def callback() -> None:
        task = Task.spawn(add, 1)
        try:
            task.result()
        except RuntimeError as error:
            seen.append(str(error))
        task.shutdown(0)

    gevent.get_hub().loop.run_callback(callback)
    clock.settle()
    assert "must not block" in seen[0]


# -- many tasks ------------------------------------------------------------------------------------------------------


def test_gather_returns_the_results_in_the_order_of_the_tasks(clock: ManualClock) -> None:
    tasks = [Task.spawn(after, seconds, seconds) for seconds in (3.0, 1.0, 2.0)]
    process.spawn(clock.advance, 3.0)
    assert Task.gather(task for task in [*tasks, tasks[0]]) == [3.0, 1.0, 2.0, 3.0]
    assert Task.gather([]) == []
    is_at_rest(clock)


def test_gather_raises_the_first_error_at_once_and_lets_the_others_run(clock: ManualClock) -> None:
    slow, bad = Task.spawn(after, 3.0, "slow"), Task.spawn(after, 1.0, KeyError("oops"))
    process.spawn(clock.advance, 3.0)
    with pytest.raises(KeyError):
        Task.gather([slow, bad])
    assert process.now() < 1003.0
    clock.advance(3.0)
    assert slow.result(0) == "slow"
    with pytest.raises(KeyError):
        Task.gather([slow, bad], timeout=0)
    is_at_rest(clock)


def test_gather_has_one_timeout_for_all(clock: ManualClock) -> None:
    tasks = [Task.spawn(after, seconds, seconds) for seconds in (1.0, 2.0, 3.0, 4.0)]
    process.spawn(clock.advance, 2.5)
    with pytest.raises(CallTimeout, match="2 of 4"):
        Task.gather(tasks, 2.5)
    assert process.now() == 1002.5
    process.spawn(clock.advance, 2.0)
    assert Task.gather(tasks) == [1.0, 2.0, 3.0, 4.0]
    is_at_rest(clock)


def test_yield_many_says_how_each_stands(clock: ManualClock) -> None:
    tasks: list[Task[Any]] = [
        Task.spawn(after, 1.0, 1),
        Task.spawn(fail),
        Task.spawn(after, 9.0, 9),
        Task.spawn(leave, "normal"),
    ]
    process.spawn(clock.advance, 2.0)
    good, bad, slow, left = Task.yield_many(tasks, 2.0)
    assert good == (tasks[0], Outcome(1))
    assert good[1] is not None
    assert (good[1].ok, good[1].result()) == (True, 1)
    assert bad[1] is not None
    assert (bad[1].ok, type(bad[1].error)) == (False, KeyError)
    with pytest.raises(KeyError):
        bad[1].result()
    assert slow == (tasks[2], None)
    assert left[1] is not None
    assert isinstance(left[1].error, ProcessExit)
    assert tasks[2].shutdown() is None
    is_at_rest(clock)


def test_yield_many_returns_as_soon_as_all_are_done(clock: ManualClock) -> None:
    assert Task.yield_many([Task.spawn(add, 1)], None)[0][1] == Outcome(1)
    assert process.now() == 1000.0
    assert Task.yield_many([], None) == []


# -- shutdown --------------------------------------------------------------------------------------------------------


def test_shutdown_ends_a_task_and_its_owner_hears_nothing(clock: ManualClock) -> None:
    process.trap_exit(True)
    task = Task.spawn(forever)
    ref = process.monitor(task.pid)
    assert task.shutdown() is None
    assert process.receive(timeout=0) == Down(ref, task.pid, "shutdown")
    assert task.shutdown() is None
    with pytest.raises(ProcessExit, match="shutdown"):
        task.result()
    is_at_rest(clock)


def test_shutdown_of_a_task_that_is_done_returns_its_outcome(clock: ManualClock) -> None:
    good, bad = Task.spawn(add, 1), Task.spawn(fail)
    clock.settle()
    assert good.shutdown() == Outcome(1)
    outcome = bad.shutdown()
    assert outcome is not None
    assert isinstance(outcome.error, KeyError)


def test_a_task_that_traps_exits_may_finish_in_time(clock: ManualClock) -> None:
    def careful() -> Any:
        process.trap_exit(True)
        signal = process.receive()
        process.sleep(1.0)
        return signal

    task = Task.spawn(careful)
    clock.settle()
    process.spawn(clock.advance, 1.0)
    assert task.shutdown(2.0) == Outcome(ExitSignal(process.self(), "shutdown"))
    is_at_rest(clock)


def test_a_task_that_traps_exits_and_does_not_end_is_killed(clock: ManualClock) -> None:
    def stubborn() -> None:
        process.trap_exit(True)
        forever()

    process.trap_exit(True)
    for timeout in (2.0, 0):
        task = Task.spawn(stubborn)
        clock.settle()
        process.spawn(clock.advance, timeout)
        assert task.shutdown(timeout) is None
        assert not process.alive(task.pid)
    clock.advance(1e9)
    is_at_rest(clock)


def test_a_shutdown_that_is_interrupted_kills(clock: ManualClock) -> None:
    def stubborn() -> None:
        process.trap_exit(True)
        forever()

    task = Task.spawn(stubborn)
    clock.settle()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
        task.shutdown(None)
    assert not process.alive(task.pid)


# -- threads ---------------------------------------------------------------------------------------------------------


def test_in_thread_runs_in_another_thread_while_the_loop_goes_on(clock: ManualClock) -> None:
    go = Gate()

    def work(a: int, b: int) -> tuple[int, int]:
        assert go.wait()
        return a + b, threading.get_native_id()

    task = Task.in_thread(work, 1, b=2)
    clock.settle()
    assert Task.spawn(add, 1).result() == 1
    assert not task.done()
    go.set()
    total, thread = task.result(None)
    assert total == 3
    assert thread != threading.get_native_id()
    is_at_rest(clock)


def test_an_error_in_a_thread_comes_back_with_its_traceback(clock: ManualClock) -> None:
    with pytest.raises(KeyError) as failed:
        Task.in_thread(fail).result(None)
    assert "in fail" in "".join(traceback.format_tb(failed.value.__traceback__))


def test_an_exit_in_a_thread_ends_the_task(clock: ManualClock) -> None:
    process.trap_exit(True)
    with pytest.raises(ProcessExit) as failed:
        Task.in_thread(leave, "boom").result(None)
    assert failed.value.reason == "boom"


def test_a_thread_runs_on_when_its_task_is_ended_and_its_result_reaches_nobody(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    go, began, ended = Gate(), Gate(), Gate()

    def work() -> int:
        began.set()
        try:
            assert go.wait()
            return fail("from the thread")
        finally:
            ended.set()

    task = Task.in_thread(work)
    pool = gevent.get_hub().threadpool
    clock.settle()
    assert pool.apply(began.wait)
    assert task.shutdown() is None
    assert not process.alive(task.pid)
    clock.settle()
    go.set()
    assert pool.apply(ended.wait)
    pool.join()
    assert "failed in a thread after its task had ended" in caplog.text
    is_at_rest(clock)


def test_a_task_that_waits_for_a_free_thread_can_still_be_ended(clock: ManualClock) -> None:
    go, seen = Gate(), list[int]()
    pool = gevent.get_hub().threadpool
    busy = [Task.in_thread(go.wait) for _ in range(pool.maxsize)]
    waiting = Task.in_thread(seen.append, 1)
    clock.settle()
    assert waiting.shutdown() is None
    clock.settle()
    go.set()
    assert all(Task.gather(busy, None))
    pool.join()
    assert seen == []


def test_a_thread_may_call_servers_of_the_default_runtime() -> None:
    server = Echo.start()
    assert Task.in_thread(GenServer.call, server, "hello").result() == "hello"
    GenServer.stop(server)


# -- errors that nobody asks for -------------------------------------------------------------------------------------


def test_an_error_that_nobody_asked_for_is_logged_once(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    Task.spawn(fail, "unheard")
    clock.settle()
    gc.collect()
    records = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(records) == 1
    assert "fail failed" in records[0].getMessage()
    assert "unheard" in caplog.text


def test_an_error_that_was_asked_for_is_not_logged(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    def ask(fn: Callable[[Task[int]], Any]) -> None:
        task = Task.spawn(fail)
        clock.settle()
        try:
            fn(task)
        except KeyError:
            pass

    for fn in (Task.result, Task.shutdown, lambda t: Task.gather([t]), lambda t: Task.yield_many([t])):
        ask(fn)
    gc.collect()
    assert caplog.records == []


def test_an_error_is_logged_without_waiting_for_the_collector(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    gc.disable()
    try:
        Task.spawn(fail, "at once")
        clock.settle()
        assert "at once" in caplog.text
    finally:
        gc.enable()


def test_an_error_that_was_raised_is_freed_without_the_collector(clock: ManualClock) -> None:
    class Oops(Exception):
        pass

    def oops() -> None:
        error = Oops()
        freed.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    freed: list[weakref.ref[Oops]] = []
    gc.disable()
    try:
        try:
            Task.spawn(oops).result()
        except Oops:
            pass
        clock.settle()
        assert freed[0]() is None
    finally:
        gc.enable()


def test_tasks_leave_nothing_behind(clock: ManualClock) -> None:
    def round_of_all_kinds() -> None:
        Task.gather([Task.spawn(add, n) for n in range(20)])
        for fn in (fail, functools.partial(leave, "normal")):
            Task.yield_many([Task.spawn(fn)])
        Task.spawn(forever).shutdown()
        Task.in_thread(add, 1).result(None)
        clock.settle()

    def reports() -> int:
        gc.collect()
        return sum(type(found).__name__ in ("Report", "Job") for found in gc.get_objects())

    runtime = current_runtime()
    round_of_all_kinds()
    held = reports()
    before = len(runtime.table), clock.pending(), len(runtime.scheduler.waits)
    for _ in range(5):
        round_of_all_kinds()
    assert (len(runtime.table), clock.pending(), len(runtime.scheduler.waits)) == before
    assert reports() == held
    is_at_rest(clock)


# -- types and the page ----------------------------------------------------------------------------------------------


WELL_TYPED = """
from __future__ import annotations
from supervisor.tasks import Outcome, Task
from supervisor.agent import Agent
from supervisor.task_supervisor import TaskSupervisor

def f(n: int, *, text: str = "") -> str:
    return text * n

one: str = Task.spawn(f, 1, text="a").result()
many: list[str] = Task.gather([Task.spawn(f, 1), Task.in_thread(f, 2)])
each: list[tuple[Task[str], Outcome[str] | None]] = Task.yield_many([Task.spawn(f, 1)], 1.0)
sup = TaskSupervisor.start_link("sup", 5)
child: Task[str] = TaskSupervisor.spawn(sup, f, 1)
values: list[str] = list(TaskSupervisor.stream(sup, f, [1, 2], 2))
outcomes: list[Outcome[str]] = list(TaskSupervisor.stream(sup, f, [1, 2], 2, outcomes=True))
"""
BADLY_TYPED = {
    "wrong: int = Task.spawn(f, 1).result()": "assignment",
    'Task.spawn(f, "1")': "arg-type",
    "Task.in_thread(f, 1, txt=1)": "call-arg",
    "TaskSupervisor.spawn_nolink(sup, f)": "call-arg",
    'TaskSupervisor.stream(sup, f, ["a"], 2)': "arg-type",
}


def test_mypy_knows_the_type_of_a_result(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    source = WELL_TYPED + "\n".join(BADLY_TYPED) + "\n"
    file = tmp_path / "typed.py"
    file.write_text(source)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(file)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    first = WELL_TYPED.count("\n") + 1
    expected = {(first + n, code) for n, code in enumerate(BADLY_TYPED.values())}
    errors = [line for line in run.stdout.splitlines() if ": error:" in line]
    found = {(int(line.split(":")[1]), line.rpartition("[")[2].rstrip("]")) for line in errors}
    assert found == expected, run.stdout + run.stderr
