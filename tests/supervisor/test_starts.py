"""Starting a server: each way in which it can fail leaves no process, no name, no link and no message."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

import supervisor.processes as process
from supervisor.errors import AlreadyRegistered, Exit, NoProcess, StartError
from supervisor.gen_server import Continue, GenServer, Ignore, NoReply, Stop
from supervisor.runtime import current_process
from supervisor.signals import ExitSignal
from supervisor.supervisors import Supervisor
from tests.supervisor.kit import Echo, ManualClock, Scripted, info, raising, scripted

LINKS = pytest.mark.parametrize("link", [True, False], ids=["linked", "not linked"])


def start_of(link: bool) -> Any:
    return Scripted.start_link if link else Scripted.start


def sleeps(_: Any) -> None:
    process.sleep(100.0)


# -- what init says --------------------------------------------------------------------------------------------------


def test_init_has_run_when_start_returns(clock: ManualClock) -> None:
    pid, events = scripted(lambda self: self.state.append("init"))
    assert events == ["init"]
    assert process.alive(pid)


@pytest.mark.parametrize("link", [True, False])
def test_ignore_starts_nothing_and_is_no_error(clock: ManualClock, link: bool) -> None:
    start = Scripted.start_link if link else Scripted.start
    before = len(current_process().runtime.table)
    assert start(Ignore(), name="ignored") is None
    assert process.whereis("ignored") is None
    assert len(current_process().runtime.table) == before
    assert info(process.self())["queue_length"] == 0


@pytest.mark.parametrize(
    ("init", "reason"),
    [
        (Stop("not today"), "not today"),
        (lambda _: raising(Exit("enough")), "enough"),
        (lambda _: raising(ValueError("no")), "Crash(ValueError: no)"),
        (lambda _: raising(SystemExit(1)), "Crash(SystemExit: 1)"),
        (lambda _: raising(gevent.Timeout()), "Crash(Timeout)"),
        ("nonsense", "BadReturn"),
        (NoReply(), "BadReturn"),
    ],
)
def test_a_failed_init_raises_and_sends_no_exit_signal(clock: ManualClock, init: Any, reason: str) -> None:
    process.trap_exit(True)
    with pytest.raises(StartError) as failed:
        Scripted.start_link(init, name="failed")
    assert reason in repr(failed.value.reason)
    assert process.whereis("failed") is None
    clock.settle()
    assert info(process.self())["queue_length"] == 0
    assert info(process.self())["links"] == []


@LINKS
def test_a_failed_start_leaves_nothing_and_its_name_is_free_at_once(clock: ManualClock, link: bool) -> None:
    runtime = current_process().runtime
    before = len(runtime.table)
    for _ in range(3):
        with pytest.raises(StartError):
            start_of(link)(lambda _: raising(ValueError("no")), name="it")
    assert len(runtime.table) == before
    clock.settle()
    assert not runtime.scheduler.waits
    assert start_of(link)(name="it") == process.whereis("it")


def test_a_start_with_the_wrong_arguments_fails_and_names_them(clock: ManualClock) -> None:
    class Two(GenServer):
        def init(self, a: int, b: int) -> None: ...

    with pytest.raises(StartError, match="missing 1 required positional argument: 'b'"):
        Two.start(1)
    with pytest.raises(StartError, match="unexpected keyword argument 'c'"):
        Two.start_link(1, 2, c=3)


def test_the_reason_of_a_failed_start_is_what_init_said_and_not_an_exception(clock: ManualClock) -> None:
    for init, reason in ((Stop(("any", "value")), ("any", "value")), (Stop(), "normal"), (sys_exit, "normal")):
        with pytest.raises(StartError) as failed:
            Scripted.start(init)
        assert failed.value.reason == reason
        assert failed.value.child_id is None


def sys_exit(_: Any) -> None:
    raise SystemExit


@pytest.mark.parametrize("result", [NoReply(), 0, False, "pid", (1, 2), Stop], ids=repr)
def test_anything_else_from_init_says_what_was_expected_and_what_came(clock: ManualClock, result: Any) -> None:
    with pytest.raises(StartError, match="BadReturn") as failed:
        Scripted.start(lambda _: result)
    assert f"returned {result!r}; expected None, Continue, Ignore or Stop" in failed.value.reason.message


def test_a_start_whose_init_returns_continue_does_not_wait_for_what_follows(clock: ManualClock) -> None:
    pid, _ = scripted(lambda _: Continue(lambda self: process.sleep(5.0)))
    assert clock.now() == 1000.0
    assert info(pid)["status"] == "running"


def test_terminate_does_not_run_in_a_server_that_did_not_start(clock: ManualClock) -> None:
    for init in (Stop("no"), Ignore(), lambda _: raising(ValueError("no")), lambda _: raising(Exit("no"))):
        events: list[Any] = []
        try:
            Scripted.start(init, events)
        except StartError:
            pass
        assert events == []


# -- time is over ----------------------------------------------------------------------------------------------------


def test_an_init_that_takes_too_long_is_killed(clock: ManualClock) -> None:
    process.spawn(clock.advance, 5.0)
    cleaned: list[Any] = []

    def slow(_: Any) -> None:
        try:
            process.sleep(100.0)
        finally:
            cleaned.append("finally")

    with pytest.raises(StartError, match="timeout"):
        Scripted.start_link(slow, name="slow", timeout=3.0)
    assert process.whereis("slow") is None
    clock.settle()
    assert cleaned == ["finally"]
    assert process.alive(process.self())


def test_a_linked_start_that_times_out_harms_neither_its_caller_nor_the_next_start(clock: ManualClock) -> None:
    process.trap_exit(True)
    process.spawn(clock.advance, 3.0)
    with pytest.raises(StartError) as failed:
        Scripted.start_link(sleeps, name="slow", timeout=3.0)
    assert failed.value.reason == "timeout"
    clock.settle()
    assert info(process.self())["queue_length"] == 0
    assert info(process.self())["links"] == []
    assert clock.pending() == 0
    assert Scripted.start_link(name="slow", timeout=3.0) == process.whereis("slow")


def test_an_init_that_does_not_want_to_end_is_not_waited_for(clock: ManualClock) -> None:
    gate = gevent.event.Event()

    def stubborn(self: Any) -> None:
        try:
            process.sleep(100.0)
        finally:
            gate.wait()
            self.state.append("done at last")

    events: list[Any] = []
    process.spawn(clock.advance, 3.0)
    with pytest.raises(StartError, match="timeout"):
        Scripted.start_link(stubborn, events, name="slow", timeout=3.0)
    assert process.whereis("slow") is None
    gate.set()
    clock.settle()
    assert events == ["done at last"]
    assert process.whereis("slow") is None


def test_a_timeout_that_is_no_number_leaves_no_process_and_no_name(clock: ManualClock) -> None:
    before = len(current_process().runtime.table)
    outcome: list[Any] = []

    def starter() -> None:
        try:
            Scripted.start_link(sleeps, name="it", timeout="soon")  # type: ignore[arg-type]
        except Exception as error:
            outcome.append(type(error))

    process.spawn(starter)
    clock.settle()
    assert outcome == [TypeError]
    assert process.whereis("it") is None
    assert len(current_process().runtime.table) == before


# -- the name is taken -----------------------------------------------------------------------------------------------


@LINKS
def test_a_name_that_is_taken_is_refused_before_init_runs_and_says_by_whom(clock: ManualClock, link: bool) -> None:
    process.trap_exit(True)
    owner = Echo.start(name="it")
    before = len(current_process().runtime.table)
    with pytest.raises(AlreadyRegistered) as taken:
        start_of(link)(lambda _: pytest.fail("init ran"), name="it")
    assert (taken.value.name, taken.value.pid) == ("it", owner)
    assert process.whereis("it") == owner
    assert len(current_process().runtime.table) == before
    clock.settle()
    assert info(process.self())["links"] == []
    assert info(process.self())["queue_length"] == 0


def test_a_name_is_taken_from_the_start_of_init_on(clock: ManualClock) -> None:
    def init(self: Any) -> None:
        self.state.append(process.whereis("it") == process.self())
        with pytest.raises(AlreadyRegistered):
            Scripted.start(name="it")

    _, events = scripted(init, name="it")
    assert events == [True]


def test_a_name_that_cannot_be_one_fails_the_start_and_leaves_no_process(clock: ManualClock) -> None:
    before = len(current_process().runtime.table)
    with pytest.raises(TypeError):
        Scripted.start(name=["no", "name"])
    assert len(current_process().runtime.table) == before


# -- somebody ends meanwhile -----------------------------------------------------------------------------------------


def test_a_process_that_is_killed_in_its_init_fails_its_start(clock: ManualClock) -> None:
    def killer() -> None:
        victim = process.whereis("victim")
        assert victim is not None
        process.exit(victim, "kill")

    process.spawn(killer)
    with pytest.raises(StartError) as failed:
        Scripted.start(lambda _: process.sleep(100.0), name="victim")
    assert failed.value.reason == "killed"


def test_a_starter_that_is_thrown_at_leaves_no_process_behind(clock: ManualClock) -> None:
    def starter() -> None:
        # real time: gevent's own timeout is what is thrown
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
            Scripted.start(lambda _: process.sleep(100.0), name="half")
        assert process.whereis("half") is None
        process.send(me, "checked")

    me = process.self()
    process.spawn(starter)
    assert process.receive() == "checked"


def test_a_starter_that_dies_takes_a_linked_process_in_its_init_along(clock: ManualClock) -> None:
    starter = process.spawn(lambda: Scripted.start_link(lambda _: process.sleep(100.0), name="orphan") and None)
    clock.settle()
    assert process.whereis("orphan") is not None
    process.exit(starter, "boom")
    assert process.whereis("orphan") is None


@LINKS
@pytest.mark.parametrize("reason", ["kill", "boom"])
def test_a_caller_that_ends_while_init_runs_leaves_no_process_that_nobody_knows(
    clock: ManualClock, link: bool, reason: str
) -> None:
    unwound: list[Any] = []

    def init(_: Any) -> None:
        try:
            process.sleep(100.0)
        except Exit as error:
            unwound.append(error.reason)
            raise

    starter = process.spawn(lambda: start_of(link)(init, name="half") and None)
    clock.settle()
    assert process.whereis("half") is not None
    process.exit(starter, reason)
    clock.settle()
    assert process.whereis("half") is None
    assert len(unwound) == 1
    assert clock.pending() == 0


def test_a_server_that_kills_its_starter_in_init_ends_with_it(clock: ManualClock) -> None:
    went_on: list[Any] = []

    def starter() -> None:
        me = process.self()
        Scripted.start_link(lambda _: process.exit(me, "boom"), name="patricide")
        went_on.append("the starter")

    process.spawn(starter)
    clock.settle()
    assert went_on == []
    assert process.whereis("patricide") is None


def test_a_supervisor_that_ends_while_a_child_starts_takes_the_half_started_child_along(clock: ManualClock) -> None:
    sup = Supervisor.start_link([])
    process.unlink(sup)
    outcome: list[Any] = []

    def asker() -> None:
        try:
            Supervisor.start_child(sup, Scripted.child_spec(sleeps, id="slow", name="half"))
        except Exception as error:
            outcome.append(error)

    process.spawn(asker)
    clock.settle()
    assert process.whereis("half") is not None
    process.exit(sup, "kill")
    assert process.whereis("half") is None
    clock.settle()
    assert [getattr(error, "reason", error) for error in outcome] == ["killed"]
    assert clock.pending() == 0


def test_a_supervisor_whose_parent_ends_while_its_first_children_start_leaves_none(clock: ManualClock) -> None:
    events: list[Any] = []

    def parent() -> None:
        Supervisor.start_link(
            [
                Scripted.child_spec(None, events, id="first", name="first"),
                Scripted.child_spec(sleeps, events, id="slow", name="half"),
            ],
            name="sup",
        )

    pid = process.spawn(parent)
    clock.settle()
    assert process.whereis("half") is not None
    process.exit(pid, "boom")
    clock.settle()
    for name in ("sup", "first", "half"):
        assert process.whereis(name) is None, name


def test_a_child_whose_start_hangs_is_killed_by_its_own_timeout_and_the_supervisor_answers_again(
    clock: ManualClock,
) -> None:
    class Slow(Scripted):
        @classmethod
        def start_link(cls, *args: Any, **options: Any) -> Any:
            return super().start_link(*args, timeout=2.0, **options)

    sup = Supervisor.start_link([])
    process.spawn(clock.advance, 2.0)
    with pytest.raises(StartError) as failed:
        Supervisor.start_child(sup, Slow.child_spec(sleeps, id="slow"))
    assert (failed.value.reason, failed.value.child_id) == ("timeout", "slow")
    assert Supervisor.which_children(sup) == []


# -- links and parents -----------------------------------------------------------------------------------------------


@LINKS
def test_only_a_linked_start_links_and_makes_the_caller_a_parent(clock: ManualClock, link: bool) -> None:
    pid = start_of(link)()
    assert info(pid)["links"] == ([process.self()] if link else [])
    assert info(pid)["parent"] == (process.self() if link else None)


def test_a_linked_server_that_ends_after_its_start_is_an_exit_signal(clock: ManualClock) -> None:
    process.trap_exit(True)
    pid = Scripted.start_link()
    GenServer.cast(pid, lambda _: Stop("boom"))
    assert process.receive(timeout=1.0) == ExitSignal(pid, "boom")


def test_a_start_when_the_budget_of_hand_overs_is_used_up_goes_through_the_loop(clock: ManualClock) -> None:
    scheduler = current_process().runtime.scheduler
    order: list[Any] = []
    scheduler.budget = 0
    scheduler._chunks = 0
    process.spawn(order.append, "another")
    Scripted.start(lambda self: order.append("init"))
    assert order == ["another", "init"]


@pytest.mark.parametrize(
    "init", [lambda _: raising(ValueError("no")), Stop("no"), Ignore()], ids=["raise", "stop", "ignore"]
)
def test_a_start_that_went_through_the_loop_fails_in_the_same_way(clock: ManualClock, init: Any) -> None:
    scheduler = current_process().runtime.scheduler
    scheduler.budget = 0
    scheduler._chunks = 0
    before = len(current_process().runtime.table)
    if isinstance(init, Ignore):
        assert Scripted.start_link(init, name="it") is None
    else:
        with pytest.raises(StartError, match="no"):
            Scripted.start_link(init, name="it")
    assert len(current_process().runtime.table) == before
    with pytest.raises(NoProcess):
        GenServer.call("it", 1)
