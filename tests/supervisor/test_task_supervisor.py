from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

import supervisor.processes as process
from supervisor.errors import CallTimeout, Exit, NoProcess, ProcessExit, StartError
from supervisor.gen_server import GenServer
from supervisor.pids import Pid
from supervisor.runtime import Runtime, current_runtime
from supervisor.signals import ExitSignal, exit_process
from supervisor.supervisors import Supervisor
from supervisor.task_supervisor import TaskSupervisor
from supervisor.tasks import Outcome, Task
from tests.supervisor.kit import Echo, ManualClock, info, run_as_process


def add(a: int, b: int = 0) -> int:
    return a + b


def fail(*_: Any) -> int:
    raise KeyError("oops")


def leave(reason: Any) -> None:
    raise Exit(reason)


def forever(*_: Any) -> None:
    process.sleep(1e9)


def tenfold_after(seconds: float) -> float:
    process.sleep(seconds)
    return seconds * 10


def active(sup: Pid) -> int:
    return TaskSupervisor.count_children(sup)["active"]


def nothing_is_left(clock: ManualClock, sup: Pid) -> None:
    """No task, no wait and no timer, and nothing in the caller's mailbox or among those who wait for its end."""
    clock.settle()
    assert TaskSupervisor.count_children(sup) == {"specs": 0, "active": 0, "supervisors": 0, "workers": 0}
    assert not [wait for wait in current_runtime().scheduler.waits.values() if wait.timeout is not None]
    assert clock.pending() == 0
    me = current_runtime().local(process.self())
    assert me is not None
    assert me.queue_length == 0
    assert me.waiters is None


class Pulled:
    """An iterable that notes what was taken from it."""

    def __init__(self, items: Any) -> None:
        self.items = iter(items)
        self.count = 0

    def __iter__(self) -> Iterator[Any]:
        for item in self.items:
            self.count += 1
            yield item


class Running:
    """A function for streams that notes how many of it run at a time."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def __call__(self, seconds: float) -> float:
        self.now += 1
        self.most = max(self.most, self.now)
        process.sleep(seconds)
        self.now -= 1
        return seconds


# -- tasks as children -----------------------------------------------------------------------------------------------


def test_a_task_is_a_child_and_is_forgotten_when_it_is_done(clock: ManualClock) -> None:
    sup = TaskSupervisor.start_link("tasks")
    task = TaskSupervisor.spawn("tasks", tenfold_after, 1.0)
    entry = TaskSupervisor.which_children(sup)[0]
    assert (entry.id, entry.pid, entry.type) == ("tenfold_after", task.pid, "worker")
    assert info(task.pid)["parent"] == sup
    assert info(task.pid)["links"] == [process.self(), sup]
    process.spawn(clock.advance, 1.0)
    assert task.result() == 10.0
    nothing_is_left(clock, sup)


def test_result_raises_what_the_task_raised_and_the_supervisor_goes_on(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    sup = TaskSupervisor.start_link()
    for spawn in (TaskSupervisor.spawn, TaskSupervisor.spawn_nolink):
        for _ in range(10):  # more than any restart intensity
            with pytest.raises(KeyError):
                spawn(sup, fail).result()
    gc.collect()
    assert caplog.records == []
    nothing_is_left(clock, sup)


def test_a_linked_task_that_is_ended_ends_its_owner(clock: ManualClock) -> None:
    sup, tasks = TaskSupervisor.start_link(), list[Task[None]]()

    def owns() -> None:
        tasks.append(TaskSupervisor.spawn(sup, forever))
        forever()

    owner = process.spawn(owns)
    clock.settle()
    process.exit(tasks[0].pid, "boom")
    assert not process.alive(owner)
    nothing_is_left(clock, sup)


def test_a_linked_task_dies_with_its_owner_and_an_unlinked_one_does_not(clock: ManualClock) -> None:
    sup, tasks = TaskSupervisor.start_link(), list[Task[None]]()

    def owns() -> None:
        tasks.append(TaskSupervisor.spawn(sup, forever))
        tasks.append(TaskSupervisor.spawn_nolink(sup, forever))
        forever()

    owner = process.spawn(owns)
    clock.settle()
    process.exit(owner, "boom")
    assert [process.alive(task.pid) for task in tasks] == [False, True]
    TaskSupervisor.terminate_child(sup, tasks[1].pid)
    nothing_is_left(clock, sup)


@pytest.mark.parametrize("reason", ["boom", "kill", "shutdown"])
def test_an_unlinked_task_that_is_ended_gives_a_process_exit(clock: ManualClock, reason: str) -> None:
    sup = TaskSupervisor.start_link()
    task = TaskSupervisor.spawn_nolink(sup, forever)
    assert info(task.pid)["links"] == [sup]
    process.spawn(process.exit, task.pid, reason)
    with pytest.raises(ProcessExit, match="in task forever") as failed:
        task.result()
    assert failed.value.reason == ("killed" if reason == "kill" else reason)
    nothing_is_left(clock, sup)


def test_an_unlinked_task_that_exits_gives_a_process_exit(clock: ManualClock) -> None:
    sup = TaskSupervisor.start_link()
    with pytest.raises(ProcessExit, match="enough"):
        TaskSupervisor.spawn_nolink(sup, leave, "enough").result()
    nothing_is_left(clock, sup)


def test_the_end_of_the_supervisor_is_the_end_of_its_tasks(clock: ManualClock) -> None:
    sup = TaskSupervisor.start()
    task = TaskSupervisor.spawn_nolink(sup, forever)
    TaskSupervisor.stop(sup)
    with pytest.raises(ProcessExit, match="shutdown"):
        task.result()
    with pytest.raises(NoProcess):
        TaskSupervisor.spawn(sup, add, 1)


def test_max_children_is_kept(clock: ManualClock) -> None:
    sup = TaskSupervisor.start_link(max_children=2)
    first = [TaskSupervisor.spawn_nolink(sup, forever) for _ in range(2)]
    with pytest.raises(StartError, match="max_children"):
        TaskSupervisor.spawn(sup, add, 1)
    assert first[0].shutdown() is None
    assert TaskSupervisor.spawn(sup, add, 1).result() == 1


def test_only_the_owner_may_wait(clock: ManualClock) -> None:
    sup = TaskSupervisor.start_link()
    task = TaskSupervisor.spawn_nolink(sup, add, 1)
    stranger = gevent.spawn(task.result)
    clock.settle()
    assert isinstance(stranger.exception, ValueError)
    assert task.result() == 1


def test_a_greenlet_that_is_no_process_becomes_one_and_owns_its_task(clock: ManualClock) -> None:
    sup = TaskSupervisor.start_link()
    running = gevent.spawn(lambda: TaskSupervisor.spawn_nolink(sup, add, 1).result())
    clock.settle()
    assert running.get(timeout=0) == 1


def test_a_supervisor_of_another_node_is_refused(clock: ManualClock) -> None:
    for other in (Pid(current_runtime().node_id("b@h:1", 1), 7), ("tasks", "b@h:1")):
        with pytest.raises(ValueError, match="another node"):
            TaskSupervisor.spawn(other, add, 1)


def test_what_cannot_be_called_is_refused_at_once(clock: ManualClock) -> None:
    sup = TaskSupervisor.start_link()
    with pytest.raises(TypeError, match="needs a function"):
        TaskSupervisor.spawn(sup, 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="needs a function"):
        TaskSupervisor.stream(sup, 5, [], 1)  # type: ignore[call-overload]


def busy_supervisor(clock: ManualClock) -> Pid:
    """One that handles nothing for 5 seconds: a task that traps exits keeps a termination waiting."""

    def stubborn() -> None:
        process.trap_exit(True)
        forever()

    sup = TaskSupervisor.start_link()
    slow = TaskSupervisor.spawn_nolink(sup, stubborn)
    clock.settle()
    process.spawn(TaskSupervisor.terminate_child, sup, slow.pid)
    clock.settle()
    return sup


def test_a_task_whose_spawner_gave_up_is_never_started(clock: ManualClock) -> None:
    sup, seen = busy_supervisor(clock), list[int]()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
        TaskSupervisor.spawn(sup, seen.append, 1)
    clock.advance(5.0)
    assert seen == []
    nothing_is_left(clock, sup)


def test_a_task_whose_spawner_died_meanwhile_is_never_started(clock: ManualClock) -> None:
    sup, seen = busy_supervisor(clock), list[int]()
    owner = process.spawn(TaskSupervisor.spawn_nolink, sup, seen.append, 1)
    clock.settle()
    process.exit(owner, "boom")
    clock.advance(5.0)
    assert seen == []
    nothing_is_left(clock, sup)


def test_a_task_whose_spawner_is_dead_and_does_not_know_yet_is_never_started(clock: ManualClock) -> None:
    sup, seen = busy_supervisor(clock), list[int]()
    owner = current_runtime().local(process.spawn(TaskSupervisor.spawn, sup, seen.append, 1))
    assert owner is not None
    clock.settle()
    clock.call_later(5.0, exit_process, owner, "boom")  # its greenlet gets its Exit after the supervisor is free again
    clock.advance(5.0)
    assert seen == []
    nothing_is_left(clock, sup)


def test_a_supervisor_starts_a_task_supervisor(clock: ManualClock) -> None:
    Supervisor.start_link([TaskSupervisor.child_spec(name="tasks", max_children=3)])
    assert TaskSupervisor.spawn("tasks", add, 1, b=1).result() == 2


# -- streams ---------------------------------------------------------------------------------------------------------


def test_a_stream_yields_the_results_in_order(clock: ManualClock) -> None:
    sup = TaskSupervisor.start_link()
    process.spawn(clock.advance, 60.0)
    assert list(TaskSupervisor.stream(sup, tenfold_after, [3.0, 1.0, 2.0], 3)) == [30.0, 10.0, 20.0]
    nothing_is_left(clock, sup)


def test_a_stream_without_order_yields_them_as_they_come(clock: ManualClock) -> None:
    sup = TaskSupervisor.start_link()
    process.spawn(clock.advance, 60.0)
    assert list(TaskSupervisor.stream(sup, tenfold_after, [3.0, 1.0, 2.0], 3, ordered=False)) == [10.0, 20.0, 30.0]
    nothing_is_left(clock, sup)


@pytest.mark.parametrize("ordered", [True, False])
def test_no_more_tasks_run_at_a_time_than_there_are_places(clock: ManualClock, ordered: bool) -> None:
    sup, running = TaskSupervisor.start_link(), Running()
    process.spawn(clock.advance, 60.0)
    items = [float(n % 4 + 1) for n in range(20)]
    assert sorted(TaskSupervisor.stream(sup, running, items, 3, ordered)) == sorted(items)
    assert running.most == 3
    nothing_is_left(clock, sup)


@pytest.mark.parametrize("ordered", [True, False])
def test_items_are_pulled_only_as_places_get_free(clock: ManualClock, ordered: bool) -> None:
    sup, items = TaskSupervisor.start_link(), Pulled(range(100))
    stream = TaskSupervisor.stream(sup, add, items, 3, ordered)
    clock.settle()
    assert items.count == 0
    for taken in range(1, 10):
        next(stream)
        clock.settle()
        assert items.count == taken + 2, "the taken one has left a place that is filled when the next is asked for"
    stream.close()
    nothing_is_left(clock, sup)


def test_an_endless_iterable_is_no_problem(clock: ManualClock) -> None:
    def naturals() -> Iterator[int]:
        n = 0
        while True:
            yield n
            n += 1

    sup = TaskSupervisor.start_link()
    taken = []
    for value in TaskSupervisor.stream(sup, add, naturals(), 2, ordered=False):
        taken.append(value)
        if len(taken) == 50:
            break
    assert sorted(taken)[:45] == list(range(45))
    nothing_is_left(clock, sup)


def test_a_consumer_that_stops_early_leaves_no_task(clock: ManualClock) -> None:
    sup = TaskSupervisor.start_link()
    process.spawn(clock.advance, 1.0)
    for _ in TaskSupervisor.stream(sup, tenfold_after, [1.0, 1e6, 1e6, 1e6], 3):
        break
    nothing_is_left(clock, sup)


def test_tasks_that_trap_exits_are_not_left_either(clock: ManualClock) -> None:
    def stubborn(n: int) -> None:
        if n:
            process.trap_exit(True)
            forever()

    sup = TaskSupervisor.start_link()
    stream = TaskSupervisor.stream(sup, stubborn, range(3), 3)
    next(stream)
    assert active(sup) == 2
    stream.close()
    nothing_is_left(clock, sup)


@pytest.mark.parametrize("end", ["normal", "boom", "kill"])
def test_a_consumer_that_dies_leaves_no_task_even_if_somebody_keeps_the_stream(clock: ManualClock, end: str) -> None:
    sup = TaskSupervisor.start_link()
    stream = TaskSupervisor.stream(sup, tenfold_after, [0.0, 1e6, 1e6], 3, ordered=False)

    def consumer() -> None:
        next(stream)
        if end == "normal":
            return
        process.receive()

    pid = process.spawn(consumer)
    clock.advance(0.0)
    process.exit(pid, end)
    nothing_is_left(clock, sup)
    with pytest.raises(ValueError, match="the stream belongs to"):
        next(stream)


def test_a_consumer_that_is_killed_while_it_waits_leaves_no_task(clock: ManualClock) -> None:
    sup = TaskSupervisor.start_link()
    pid = process.spawn(lambda: list(TaskSupervisor.stream(sup, forever, range(9), 3)))
    clock.settle()
    assert active(sup) == 3
    process.exit(pid, "kill")
    nothing_is_left(clock, sup)


def test_nobody_else_may_go_on_with_a_stream(clock: ManualClock) -> None:
    sup = TaskSupervisor.start_link()
    stream = TaskSupervisor.stream(sup, add, range(9), 3)
    assert next(stream) == 0
    stranger = gevent.spawn(next, stream)
    clock.settle()
    assert isinstance(stranger.exception, ValueError)
    nothing_is_left(clock, sup)


def test_an_error_is_raised_in_its_place_and_ends_the_stream(clock: ManualClock) -> None:
    def work(n: int) -> int:
        if n == 2:
            raise KeyError("oops")
        return n if n < 2 else tenfold(n)

    def tenfold(n: int) -> int:
        forever()
        return n

    sup, taken = TaskSupervisor.start_link(), list[int]()
    stream = TaskSupervisor.stream(sup, work, range(9), 4)
    with pytest.raises(KeyError):
        taken.extend(iter(stream))
    assert taken == [0, 1]
    assert next(stream, "nothing") == "nothing"
    nothing_is_left(clock, sup)


def test_a_task_that_is_ended_is_a_process_exit_and_not_the_end_of_the_consumer(clock: ManualClock) -> None:
    sup = TaskSupervisor.start_link()
    with pytest.raises(ProcessExit, match="boom"):
        list(TaskSupervisor.stream(sup, leave, ["boom"], 1))
    nothing_is_left(clock, sup)


@pytest.mark.parametrize("ordered", [True, False])
def test_with_outcomes_failures_are_yielded_and_the_stream_goes_on(clock: ManualClock, ordered: bool) -> None:
    def work(n: int) -> int:
        if n == 1:
            raise KeyError("oops")
        if n == 2:
            raise Exit("boom")
        return n

    sup = TaskSupervisor.start_link()
    outcomes = list(TaskSupervisor.stream(sup, work, range(5), 1, ordered, outcomes=True))
    assert [outcome.ok for outcome in outcomes] == [True, False, False, True, True]
    assert outcomes[0] == Outcome(0)
    assert isinstance(outcomes[1].error, KeyError)
    assert isinstance(outcomes[2].error, ProcessExit)
    assert outcomes[2].error.reason == "boom"
    nothing_is_left(clock, sup)


def test_an_iterable_that_raises_ends_the_stream(clock: ManualClock) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("no more")

    sup = TaskSupervisor.start_link()
    with pytest.raises(OSError, match="no more"):
        list(TaskSupervisor.stream(sup, forever, items(), 2))
    nothing_is_left(clock, sup)


@pytest.mark.parametrize("ordered", [True, False])
def test_a_result_that_takes_too_long_ends_the_stream(clock: ManualClock, ordered: bool) -> None:
    sup, taken = TaskSupervisor.start_link(), list[float]()
    stream = TaskSupervisor.stream(sup, tenfold_after, [1.0, 2.0, 9.0, 9.0], 2, ordered, timeout=3.0)
    process.spawn(clock.advance, 60.0)
    with pytest.raises(CallTimeout):
        taken.extend(iter(stream))
    assert taken == [10.0, 20.0]
    clock.settle()
    nothing_is_left(clock, sup)


def test_a_gevent_timeout_of_the_consumer_ends_the_stream(clock: ManualClock) -> None:
    sup = TaskSupervisor.start_link()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
        list(TaskSupervisor.stream(sup, forever, range(9), 2))
    nothing_is_left(clock, sup)


@pytest.mark.parametrize("places", [0, -1])
def test_a_stream_needs_a_place(clock: ManualClock, places: int) -> None:
    with pytest.raises(ValueError, match="max_concurrency"):
        TaskSupervisor.stream(TaskSupervisor.start_link(), add, [1], places)


def test_a_stream_of_nothing_is_empty(clock: ManualClock) -> None:
    sup = TaskSupervisor.start_link()
    assert list(TaskSupervisor.stream(sup, add, [], 3)) == []
    nothing_is_left(clock, sup)


def test_a_stream_that_exceeds_max_children_ends_with_a_start_error(clock: ManualClock) -> None:
    sup = TaskSupervisor.start_link(max_children=2)
    with pytest.raises(StartError, match="max_children"):
        list(TaskSupervisor.stream(sup, forever, range(9), 3))
    nothing_is_left(clock, sup)


def test_the_end_of_the_supervisor_ends_the_stream(clock: ManualClock) -> None:
    sup = TaskSupervisor.start()
    process.spawn(TaskSupervisor.stop, sup)
    with pytest.raises(ProcessExit, match="shutdown"):
        list(TaskSupervisor.stream(sup, forever, range(9), 3))


def test_a_consumer_that_traps_exits_hears_nothing_of_the_tasks(clock: ManualClock) -> None:
    sup = TaskSupervisor.start()
    process.trap_exit(True)
    assert list(TaskSupervisor.stream(sup, add, range(5), 2)) == list(range(5))
    nothing_is_left(clock, sup)
    process.exit(process.self(), "checked")
    assert isinstance(process.receive(timeout=0), ExitSignal)
    TaskSupervisor.stop(sup)


def test_a_server_may_consume_a_stream_in_its_handler(clock: ManualClock) -> None:
    sup = TaskSupervisor.start_link()
    assert GenServer.call(Echo.start(), lambda: sum(TaskSupervisor.stream(sup, add, range(10), 3))) == 45
    nothing_is_left(clock, sup)


@pytest.mark.parametrize("ordered", [True, False])
def test_results_that_were_taken_are_not_kept(clock: ManualClock, ordered: bool) -> None:
    class Big:
        pass

    kept: list[weakref.ref[Big]] = []
    sup = TaskSupervisor.start_link()
    stream: Any = TaskSupervisor.stream(sup, lambda _: Big(), range(50), 2, ordered)
    for big in stream:
        kept.append(weakref.ref(big))
        del big
        assert [ref for ref in kept[:-1] if ref() is not None] == []


@given(
    st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0, "raise", "exit"]), max_size=12),
    st.integers(1, 5),
    st.booleans(),
    st.integers(0, 12),
)
def test_every_item_has_one_outcome_and_nothing_is_left(
    plan: list[Any], places: int, ordered: bool, taken_at_most: int
) -> None:
    def work(item: tuple[int, Any]) -> int:
        running.append(item[0])
        assert len(running) <= places
        try:
            if isinstance(item[1], str):
                raise KeyError(item[0]) if item[1] == "raise" else Exit(item[0])
            process.sleep(item[1])
            return item[0]
        finally:
            running.remove(item[0])

    def check() -> None:
        sup = TaskSupervisor.start_link()
        process.spawn(clock.advance, 100.0)
        numbers = []
        stream = TaskSupervisor.stream(sup, work, enumerate(plan), places, ordered, outcomes=True)
        for outcome in stream:
            numbers.append(number_of(outcome))
            if len(numbers) >= taken_at_most > 0:
                break
        stream.close()
        if not 0 < taken_at_most < len(plan):
            assert sorted(numbers) == list(range(len(plan)))
        if ordered:
            assert numbers == list(range(len(numbers)))
        assert len(set(numbers)) == len(numbers)
        clock.settle()
        assert active(sup) == 0

    running: list[int] = []
    clock = ManualClock()
    clock.runtime = Runtime(clock=clock)
    run_as_process(clock.runtime, check)
    clock.runtime.close()
    clock.settle()
    assert not clock.runtime.table
    assert not clock.runtime.scheduler.waits


def number_of(outcome: Outcome[int]) -> Any:
    if isinstance(outcome.error, ProcessExit):
        return outcome.error.reason
    return outcome.error.args[0] if outcome.error is not None else outcome.value
