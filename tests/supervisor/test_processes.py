from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import supervisor.processes as process
from supervisor.errors import AlreadyRegistered, CallTimeout, Exit, NoProcess, ReceiveTimeout
from supervisor.gen_server import GenServer
from supervisor.pids import NodeId, Pid
from supervisor.processes import await_exit, give_way, unhurried
from supervisor.runtime import Runtime, current_process
from supervisor.signals import ExitSignal
from tests.supervisor.kit import Echo, ManualClock, Trapper, info, run_as_process

# -- spawn -----------------------------------------------------------------------------------------------------------


def raising(error: BaseException) -> None:
    raise error


# -- messages --------------------------------------------------------------------------------------------------------


def test_messages_arrive_in_the_order_they_were_sent(clock: ManualClock) -> None:
    me = process.self()

    def sender() -> None:
        for n in range(100):
            process.send(me, n)

    process.spawn(sender)
    assert [process.receive(timeout=1) for _ in range(100)] == list(range(100))


def test_a_message_to_the_dead_is_dropped_and_to_an_unknown_name_an_error(clock: ManualClock) -> None:
    pid = Echo.start(name="echo")
    process.exit(pid, "boom")
    process.send(pid, "hello")
    GenServer.cast(pid, "hello")
    for use in (process.send, GenServer.cast):
        with pytest.raises(NoProcess, match="echo"):
            use("echo", "hello")


def test_a_plain_process_receives_casts_and_calls_as_tuples(clock: ManualClock) -> None:
    def serve() -> None:
        kind, request = process.receive()
        assert (kind, request) == ("cast", "c")
        kind, request, from_ = process.receive()
        GenServer.reply(from_, (kind, request))

    pid = process.spawn(serve)
    GenServer.cast(pid, "c")
    assert GenServer.call(pid, "q") == ("call", "q")


def test_receive_takes_the_first_match_and_leaves_the_others_in_order(clock: ManualClock) -> None:
    for n in range(5):
        process.send(process.self(), n)
    assert process.receive(lambda n: n == 3) == 3
    assert [process.receive(timeout=0) for _ in range(4)] == [0, 1, 2, 4]


def test_receive_looks_at_a_message_that_did_not_match_once_per_call(clock: ManualClock) -> None:
    looked: list[int] = []
    me = process.self()

    def match(n: int) -> bool:
        looked.append(n)
        return n == 50

    def sender() -> None:
        for n in range(51):
            process.send(me, n)
            process.sleep(0)

    process.spawn(sender)
    process.spawn(clock.advance, 1.0)
    assert process.receive(match) == 50
    assert looked == list(range(51))


def test_receive_may_find_nothing(clock: ManualClock) -> None:
    process.send(process.self(), "other")
    with pytest.raises(ReceiveTimeout, match="1 others"):
        process.receive(lambda _: False, timeout=0)
    process.spawn(clock.advance, 5.0)
    with pytest.raises(TimeoutError):
        process.receive(lambda _: False, timeout=5.0)
    assert clock.now() == 1005.0


def test_the_deadline_of_a_receive_holds_however_many_others_arrive(clock: ManualClock) -> None:
    me, ended = process.self(), []

    def receiver() -> None:
        try:
            process.receive(lambda _: False, timeout=3.0)
        except ReceiveTimeout:
            ended.append(process.now())
            process.send(me, "done")

    pid = process.spawn(receiver)
    for _ in range(6):
        clock.advance(0.6)
        process.send(pid, "noise")
    clock.settle()
    assert ended == [1003.0]


def test_false_values_are_messages_too(clock: ManualClock) -> None:
    for message in (None, False, 0, ()):
        process.send(process.self(), message)
        got = process.receive(timeout=0)
        assert got == message
        assert type(got) is type(message)


@given(st.lists(st.one_of(st.integers(0, 3), st.tuples(st.just("receive"), st.integers(0, 3))), max_size=30))
def test_selective_receive_is_a_list_from_which_the_first_match_is_taken(plan: list[Any]) -> None:
    def check() -> None:
        expected: list[int] = []
        for step in plan:
            if isinstance(step, int):
                process.send(process.self(), step)
                expected.append(step)
            elif step[1] in expected:
                expected.remove(step[1])
                assert process.receive(is_equal(step[1]), timeout=0) == step[1]
            else:
                with pytest.raises(ReceiveTimeout):
                    process.receive(is_equal(step[1]), timeout=0)
        assert [process.receive(timeout=0) for _ in expected] == expected

    clock = ManualClock()
    clock.runtime = Runtime(clock=clock)
    run_as_process(clock.runtime, check)
    clock.runtime.close()
    clock.settle()


def is_equal(wanted: Any) -> Any:
    return lambda message: message == wanted


def test_receive_in_a_server_is_refused(clock: ManualClock) -> None:
    error = GenServer.call(Echo.start(), lambda: caught(RuntimeError, process.receive))
    assert "handle_call" in error


def caught(kind: type[BaseException], fn: Any) -> str:
    with pytest.raises(kind) as info:
        fn()
    return str(info.value)


# -- time ------------------------------------------------------------------------------------------------------------


def test_send_after_sends_when_its_time_has_come_unless_it_is_cancelled(clock: ManualClock) -> None:
    me = process.self()
    process.send_after(me, "late", 2.0)
    process.send_after(me, "never", 1.0).cancel()
    clock.advance(1.9)
    assert info(me)["queue_length"] == 0
    clock.advance(0.1)
    assert process.receive(timeout=0) == "late"


def test_send_after_to_a_name_that_nobody_has_then_does_nothing(clock: ManualClock) -> None:
    process.send_after("nobody", "hello", 1.0)
    clock.advance(1.0)


def test_sleep_lasts_as_long_as_the_clock_says(clock: ManualClock) -> None:
    woken: list[float] = []

    def sleeper(seconds: float) -> None:
        process.sleep(seconds)
        woken.append(process.now())

    for seconds in (3.0, 1.0, 2.0):
        process.spawn(sleeper, seconds)
    clock.advance(10.0)
    assert woken == [1001.0, 1002.0, 1003.0]


# -- names -----------------------------------------------------------------------------------------------------------


def test_a_name_finds_its_process_until_that_ends(clock: ManualClock) -> None:
    pid = Echo.start(name="echo")
    assert process.whereis("echo") == pid
    assert GenServer.call("echo", 1) == 1
    process.exit(pid, "boom")
    assert process.whereis("echo") is None
    again = Echo.start(name="echo")
    assert process.whereis("echo") == again


def test_a_name_belongs_to_one_process(clock: ManualClock) -> None:
    pid = Echo.start(name="echo")
    process.register("echo", pid)
    with pytest.raises(AlreadyRegistered) as failed:
        process.register("echo", process.self())
    assert failed.value.pid == pid
    count = len(current_process().runtime.table)
    with pytest.raises(AlreadyRegistered):
        Echo.start_link(name="echo")
    assert len(current_process().runtime.table) == count
    process.unregister("echo")
    process.register("echo", process.self())


def test_names_of_the_dead_and_unknown_names_are_refused(clock: ManualClock) -> None:
    pid = Echo.start()
    process.exit(pid, "boom")
    with pytest.raises(NoProcess):
        process.register("late", pid)
    with pytest.raises(NoProcess):
        process.unregister("late")


def test_a_process_that_dies_gives_back_all_its_names_but_none_that_passed_to_another(clock: ManualClock) -> None:
    first, second = Echo.start(name="a"), Echo.start()
    process.register("b", first)
    process.unregister("a")
    process.register("a", second)
    process.exit(first, "boom")
    assert process.whereis("a") == second
    assert process.whereis("b") is None


def test_a_via_name_is_resolved_by_its_object(clock: ManualClock) -> None:
    class Via:
        def resolve(self, timeout: float | None = 0.0, *_: Any) -> Pid:
            return pid

    pid = Trapper.start(events := list[Any]())
    process.send(Via(), "hello")
    assert GenServer.call(Via(), 1) == 1
    assert events == ["hello"]


# -- helpers of supervisors ------------------------------------------------------------------------------------------


def test_await_exit_returns_the_reason_even_of_the_dead(clock: ManualClock) -> None:
    pid = Echo.start()
    process.spawn(process.exit, pid, "boom")
    assert await_exit(pid, 5.0) == "boom"
    assert await_exit(pid, 5.0) == "noproc"


def test_a_pid_of_an_earlier_life_of_this_node_is_not_alive() -> None:
    me = process.self()
    assert not process.alive(Pid(NodeId(me.node, me.incarnation + 1), me.serial))
    with pytest.raises(ValueError, match="belongs to node 'other'"):
        process.alive(Pid(NodeId("other", 1), 1))


def test_await_exit_gives_up_at_its_deadline(clock: ManualClock) -> None:
    pid = Echo.start()
    process.spawn(clock.advance, 5.0)
    with pytest.raises(CallTimeout):
        await_exit(pid, 5.0)
    assert process.alive(pid)


def test_give_way_lets_others_run_once_the_share_is_used_up(clock: ManualClock) -> None:
    ran: list[int] = []
    process.spawn(ran.append, 1)
    steps = 0
    while not ran and steps < 10_000:
        give_way(current_process())
        steps += 1
    assert 1 < steps < 2000


def test_an_unhurried_walk_lets_others_run_and_sees_what_was_there_when_it_began(clock: ManualClock) -> None:
    ran: list[int] = []
    items = dict.fromkeys(range(2000))

    def other() -> None:
        ran.append(1)
        items.clear()

    process.spawn(other)
    steps_before = [number for number in unhurried(items) if not ran]
    assert ran == [1]
    assert items == {}
    assert 1 < len(steps_before) < 2000


def test_spawn_link_hears_of_the_end(clock: ManualClock) -> None:
    process.trap_exit(True)
    pid = process.spawn_link(raising, Exit("boom"))
    assert process.receive(timeout=1) == ExitSignal(pid, "boom")
    assert process.trap_exit(False) is True


def test_a_label_is_what_a_process_says_it_is(clock: ManualClock) -> None:
    def reader() -> None:
        process.set_label("reader 7")
        process.receive()

    pid = process.spawn(reader)
    assert info(pid)["label"].endswith("reader")
    clock.settle()
    assert process.info(pid, "label") == "reader 7"
    assert repr(current_process().runtime.local(pid)).endswith(" reader 7>")


def test_a_name_of_this_node_that_nobody_has_is_unknown_in_every_form(clock: ManualClock) -> None:
    here = process.self().node
    for dest in ("nobody", ("nobody", here), 17):
        for use in (process.send, GenServer.cast, GenServer.call):
            with pytest.raises(NoProcess):
                use(dest, 1)
    process.send(("nobody", "elsewhere@127.0.0.1:1"), 1)  # dropped: who could know


def test_a_timer_that_has_fired_or_whose_receiver_is_dead_is_harmless(clock: ManualClock) -> None:
    pid = process.spawn(process.receive)
    timer = process.send_after(pid, "late", 2.0)
    process.exit(pid, "kill")
    clock.advance(3.0)
    assert not timer.active
    timer.cancel()
    at_once = process.send_after(process.self(), "now", -1.0)
    clock.advance(0.0)
    assert process.receive(timeout=0) == "now"
    assert not at_once.active


def test_timers_fire_in_the_order_of_their_deadlines(clock: ManualClock) -> None:
    for seconds in (3.0, 1.0, 2.0, 1.0):
        process.send_after(process.self(), seconds, seconds)
    clock.advance(3.0)
    assert [process.receive(timeout=0) for _ in range(4)] == [1.0, 1.0, 2.0, 3.0]


def test_selective_receive_waits_past_messages_that_do_not_match(clock: ManualClock) -> None:
    process.send(process.self(), "other")
    process.send_after(process.self(), "wanted", 1.0)
    process.spawn(clock.advance, 2.0)
    assert process.receive(lambda message: message == "wanted", timeout=5.0) == "wanted"
    assert process.receive(timeout=0) == "other"


def test_a_demonitor_flush_leaves_the_other_messages_in_order(clock: ManualClock) -> None:
    pid, ref = process.spawn_monitor(lambda: None)
    other = process.monitor(pid)
    process.send(process.self(), "before")
    clock.settle()
    process.send(process.self(), "after")
    process.demonitor(ref, flush=True)
    process.demonitor(ref, flush=True)
    assert process.receive(timeout=0) == "before"
    assert process.receive(timeout=0).ref == other
    assert process.receive(timeout=0) == "after"
