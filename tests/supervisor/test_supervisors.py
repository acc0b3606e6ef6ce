from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import supervisor.processes as process
from supervisor.child_spec import ChildSpec, InvalidChildSpec
from supervisor.children import ChildEntry, ChildError
from supervisor.errors import Exit, ProcessExit, StartError
from supervisor.gen_server import GenServer, Ignore, Stop
from supervisor.pids import Pid
from supervisor.reasons import Crash, Shutdown
from supervisor.runtime import Runtime
from supervisor.signals import Down, ExitSignal
from supervisor.supervisors import Supervisor, SupervisorSpec
from tests.supervisor.kit import Echo, ManualClock, info, run_as_process


class Noted(Echo):
    """Notes its starts and orderly ends in a list. `init` may say otherwise, by name: a list of results to use up."""

    def init(self, name: str, events: list[Any], script: list[Any] | None = None) -> Any:
        process.trap_exit(True)
        self.name, self.state = name, events
        result = script.pop(0) if script else None
        if isinstance(result, BaseException):
            raise result
        events.append(f"+{name}")
        return result

    def terminate(self, reason: Any) -> None:
        self.state.append(f"-{self.name}")


def noted(name: str, events: list[Any], script: list[Any] | None = None, **options: Any) -> ChildSpec:
    return Noted.child_spec(name, events, script, id=name, **options)


def pids_of(sup: Any) -> dict[Any, Pid | None]:
    return {entry.id: entry.pid for entry in Supervisor.which_children(sup)}


def pid_of(sup: Any, child_id: Any) -> Pid:
    pid = pids_of(sup)[child_id]
    assert pid is not None, f"{child_id} does not run"
    return pid


def kill(clock: ManualClock, sup: Any, child_id: Any) -> None:
    process.exit(pid_of(sup, child_id), "kill")
    clock.settle()


# -- beginning and end -----------------------------------------------------------------------------------------------


def test_children_start_in_order_and_stop_in_reverse_order(clock: ManualClock) -> None:
    events: list[Any] = []
    sup = Supervisor.start_link([noted(name, events) for name in "abc"])
    assert events == ["+a", "+b", "+c"]
    pids = pids_of(sup)
    events.clear()
    Supervisor.stop(sup)
    assert events == ["-c", "-b", "-a"]
    assert not any(process.alive(pid) for pid in pids.values() if pid)


def test_children_are_linked_to_the_supervisor_and_to_nobody_else(clock: ManualClock) -> None:
    sup = Supervisor.start_link([Echo])
    child = pid_of(sup, "Echo")
    assert info(child)["links"] == [sup]
    assert info(child)["parent"] == sup
    assert set(info(sup)["links"]) == {process.self(), child}


def test_init_of_a_child_runs_on_a_greenlet_of_its_own(clock: ManualClock) -> None:
    seen: list[Any] = []

    class Server(GenServer):
        def init(self) -> None:
            seen.append(process.self())

    sup = Supervisor.start_link([Server])
    assert seen == [pid_of(sup, "Server")]


def test_a_start_that_fails_stops_what_was_started_and_names_the_child(clock: ManualClock) -> None:
    events: list[Any] = []
    process.trap_exit(True)
    with pytest.raises(StartError) as failed:
        Supervisor.start_link(
            [noted("a", events), noted("b", events), noted("c", events, [ValueError("no")]), noted("d", events)]
        )
    assert failed.value.child_id == "c"
    assert failed.value.reason.type == "ValueError"
    assert events == ["+a", "+b", "-b", "-a"]
    clock.settle()
    assert info(process.self())["queue_length"] == 0


def test_the_error_of_a_nested_start_tells_the_way_down(clock: ManualClock) -> None:
    inner = Supervisor.child_spec([noted("leaf", [], [Stop("broken")])], id="inner")
    with pytest.raises(StartError) as failed:
        Supervisor.start_link([inner])
    assert failed.value.child_id == "inner"
    assert failed.value.reason == Shutdown(("failed_to_start_child", "leaf", "broken"))


def test_a_supervisor_of_its_own_class_says_in_init_what_it_supervises(clock: ManualClock) -> None:
    class Tree(Supervisor):
        def init(self, events: list[Any]) -> Any:
            return SupervisorSpec([noted("a", events), noted("b", events)], strategy="one_for_all")

    events: list[Any] = []
    sup = Tree.start_link(events, name="tree")
    kill(clock, "tree", "a")
    assert events == ["+a", "+b", "-b", "+a", "+b"]
    assert process.whereis("tree") == sup


@pytest.mark.parametrize(("result", "reason"), [(Stop("no"), "no"), ("nonsense", "BadReturn"), (None, "BadReturn")])
def test_the_init_of_a_supervisor_may_refuse(clock: ManualClock, result: Any, reason: str) -> None:
    class Tree(Supervisor):
        def init(self) -> Any:
            return result

    with pytest.raises(StartError, match=reason):
        Tree.start_link()


def test_the_init_of_a_supervisor_may_ignore(clock: ManualClock) -> None:
    class Tree(Supervisor):
        def init(self) -> Any:
            return Ignore()

    assert Tree.start_link() is None


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"strategy": "simple"}, "strategy must be"),
        ({"auto_shutdown": "always"}, "auto_shutdown must be"),
        ({"max_restarts": -1}, "max_restarts must be"),
        ({"max_seconds": 0}, "max_seconds must be"),
    ],
)
def test_wrong_options_fail_the_start(clock: ManualClock, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(StartError, match=complaint):
        Supervisor.start_link([], **options)


def test_ids_are_unique(clock: ManualClock) -> None:
    events: list[Any] = []
    with pytest.raises(StartError, match="two children have the id 'a'"):
        Supervisor.start_link([noted("a", events), noted("a", events)])
    assert events == []


def test_a_supervisor_stops_its_children_when_its_parent_ends_it(clock: ManualClock) -> None:
    events: list[Any] = []
    sup = Supervisor.start_link([noted("a", events)])
    process.unlink(sup)
    ref = process.monitor(sup)
    process.exit(sup, "shutdown")
    assert process.receive(timeout=1) == Down(ref, sup, "shutdown")
    assert events == ["+a", "-a"]


def test_a_supervisor_that_is_killed_takes_its_children_along(clock: ManualClock) -> None:
    sup = Supervisor.start_link([Echo.child_spec(id=n) for n in "abc"])
    pids = pids_of(sup)
    process.unlink(sup)
    process.exit(sup, "kill")
    assert not any(process.alive(pid) for pid in pids.values() if pid)


def test_supervisors_nest(clock: ManualClock) -> None:
    events: list[Any] = []
    inner = Supervisor.child_spec([noted("leaf", events)], id="inner", strategy="one_for_all", name="inner")
    assert (inner.type, inner.shutdown) == ("supervisor", "infinity")
    sup = Supervisor.start_link([inner, noted("b", events)])
    kill(clock, "inner", "leaf")
    assert events == ["+leaf", "+b", "+leaf"]
    kill(clock, sup, "inner")
    # As in OTP the children of a supervisor that was killed end on their own, while its successor starts.
    assert sorted(events[3:]) == ["+leaf", "-leaf"]
    assert process.whereis("inner") == pid_of(sup, "inner")
    Supervisor.stop(sup)
    assert events[5:] == ["-b", "-leaf"]


# -- restarts --------------------------------------------------------------------------------------------------------


def test_a_killed_child_is_restarted_with_a_new_pid(clock: ManualClock) -> None:
    sup = Supervisor.start_link([Echo])
    first = pid_of(sup, "Echo")
    kill(clock, sup, "Echo")
    second = pid_of(sup, "Echo")
    assert first != second
    assert GenServer.call(second, 1) == 1


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("one_for_one", ["+b"]),
        ("one_for_all", ["-d", "-c", "-a", "+a", "+b", "+c", "+d"]),
        ("rest_for_one", ["-d", "-c", "+b", "+c", "+d"]),
    ],
)
def test_a_strategy_stops_and_starts_its_children_in_order(
    clock: ManualClock, strategy: str, expected: list[str]
) -> None:
    events: list[Any] = []
    sup = Supervisor.start_link([noted(name, events) for name in "abcd"], strategy=strategy)
    before = pids_of(sup)
    events.clear()
    kill(clock, sup, "b")
    assert events == expected
    after = pids_of(sup)
    assert list(after) == list("abcd")
    started = {event[1:] for event in expected if event[0] == "+"}
    assert {name for name in before if before[name] != after[name]} == started


@pytest.mark.parametrize(
    ("restart", "reason", "restarted", "kept"),
    [
        ("permanent", "normal", True, True),
        ("permanent", "shutdown", True, True),
        ("permanent", "boom", True, True),
        ("transient", "normal", False, True),
        ("transient", "shutdown", False, True),
        ("transient", Shutdown("why"), False, True),
        ("transient", "boom", True, True),
        ("temporary", "normal", False, False),
        ("temporary", "boom", False, False),
    ],
)
def test_a_restart_type_decides_what_follows_an_end(
    clock: ManualClock, restart: str, reason: Any, restarted: bool, kept: bool
) -> None:
    def end() -> None:
        raise Exit(reason)

    sup = Supervisor.start_link([Echo.child_spec(id="a", restart=restart)])
    first = pid_of(sup, "a")
    GenServer.cast(first, end)
    clock.settle()
    pids = pids_of(sup)
    assert ("a" in pids) is kept
    assert (pids.get("a") is not None) is restarted
    assert pids.get("a") != first


def test_temporary_children_that_a_strategy_stops_are_not_started_again(clock: ManualClock) -> None:
    events: list[Any] = []
    specs = [noted("a", events), noted("b", events, restart="temporary"), noted("c", events, restart="transient")]
    sup = Supervisor.start_link(specs, strategy="one_for_all")
    events.clear()
    kill(clock, sup, "a")
    assert events == ["-c", "-b", "+a", "+c"]
    assert list(pids_of(sup)) == ["a", "c"]


def test_a_temporary_child_that_ends_does_not_disturb_the_others(clock: ManualClock) -> None:
    events: list[Any] = []
    sup = Supervisor.start_link([noted("a", events), noted("b", events, restart="temporary")], strategy="one_for_all")
    events.clear()
    kill(clock, sup, "b")
    assert events == []


def test_several_children_that_die_at_once_are_all_restarted_once(clock: ManualClock) -> None:
    events: list[Any] = []
    sup = Supervisor.start_link([noted(name, events) for name in "abc"], strategy="one_for_all")
    events.clear()
    pids = pids_of(sup)
    for pid in pids.values():
        assert pid is not None
        process.exit(pid, "kill")
    clock.settle()
    assert events == ["+a", "+b", "+c"]


def test_too_many_restarts_end_the_supervisor_and_its_other_children(clock: ManualClock) -> None:
    events: list[Any] = []
    process.trap_exit(True)
    sup = Supervisor.start_link([noted("a", events), noted("b", events)], max_restarts=2, max_seconds=5.0)
    for _ in range(2):
        kill(clock, sup, "a")
    assert process.alive(sup)
    kill(clock, sup, "a")
    assert process.receive(timeout=0) == ExitSignal(sup, "shutdown")
    assert events == ["+a", "+b", "+a", "+a", "-b"]


def test_restarts_that_lie_apart_are_not_too_many(clock: ManualClock) -> None:
    sup = Supervisor.start_link([Echo], max_restarts=2, max_seconds=5.0)
    for _ in range(10):
        kill(clock, sup, "Echo")
        clock.advance(2.6)
    assert process.alive(sup)


def test_a_restart_that_fails_is_tried_again_within_the_intensity(clock: ManualClock) -> None:
    events: list[Any] = []
    script = [None, ValueError("not yet"), ValueError("not yet"), None]
    sup = Supervisor.start_link([noted("a", events, script)], max_restarts=3)
    kill(clock, sup, "a")
    assert events == ["+a", "+a"]
    assert script == []
    assert GenServer.call(pid_of(sup, "a"), 1) == 1


def test_a_restart_that_goes_on_failing_ends_the_supervisor(clock: ManualClock) -> None:
    events: list[Any] = []
    process.trap_exit(True)
    script = [None] + [ValueError("never")] * 50
    sup = Supervisor.start_link([noted("b", events), noted("a", events, script)], max_restarts=3)
    kill(clock, sup, "a")
    assert process.receive(timeout=0) == ExitSignal(sup, "shutdown")
    assert len(script) == 50 - 3
    assert events == ["+b", "+a", "-b"]


def test_a_sibling_that_fails_in_a_group_restart_is_tried_again_and_the_rest_follows(clock: ManualClock) -> None:
    events: list[Any] = []
    script = [None, ValueError("not yet"), None]
    specs = [noted("a", events), noted("b", events, script), noted("c", events)]
    sup = Supervisor.start_link(specs, strategy="rest_for_one")
    events.clear()
    kill(clock, sup, "a")
    assert events == ["-c", "-b", "+a", "+b", "+c"]
    assert all(pids_of(sup).values())


def test_requests_come_in_between_the_tries_of_a_restart(clock: ManualClock) -> None:
    events: list[Any] = []
    script: list[Any] = [None]
    sup = Supervisor.start_link([noted("a", events, script)], max_restarts=10_000)
    script.extend(ValueError("never") for _ in range(1_000_000))
    process.exit(pid_of(sup, "a"), "kill")
    # The supervisor tries again and again; a stop gets through all the same.
    Supervisor.terminate_child(sup, "a")
    assert pids_of(sup) == {"a": None}
    tries = len(script)
    clock.settle()
    assert len(script) == tries


def test_an_unlinked_child_is_supervised_too(clock: ManualClock) -> None:
    sup = Supervisor.start_link([ChildSpec("a", (process.spawn, (process.receive,)))])
    first = pid_of(sup, "a")
    kill(clock, sup, "a")
    assert pid_of(sup, "a") != first


def test_a_child_that_died_before_its_start_returned_is_restarted(clock: ManualClock) -> None:
    pids: list[Pid] = []

    def start() -> Pid:
        pid = Echo.start_link()
        pids.append(pid)
        if len(pids) == 1:
            process.exit(pid, "kill")
        return pid

    sup = Supervisor.start_link([ChildSpec("a", (start, ()))])
    clock.settle()
    assert pids_of(sup) == {"a": pids[1]}


def test_ends_are_reported_with_supervisor_child_reason_and_decision(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    sup = Supervisor.start_link([Echo.child_spec(id="the child")], name="the supervisor")
    with caplog.at_level(logging.INFO):
        kill(clock, sup, "the child")
    (line,) = [record.getMessage() for record in caplog.records if "SUPERVISOR REPORT" in record.getMessage()]
    for part in ("the supervisor", "the child", "killed", "restarting"):
        assert part in line


# -- significant children --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("auto_shutdown", "ends_with"), [("any_significant", "a"), ("all_significant", "b")])
def test_the_end_of_significant_children_ends_the_supervisor(
    clock: ManualClock, auto_shutdown: str, ends_with: str
) -> None:
    events: list[Any] = []
    process.trap_exit(True)
    specs = [noted(name, events, restart="transient", significant=name != "c") for name in "abc"]
    sup = Supervisor.start_link(specs, auto_shutdown=auto_shutdown)
    for name in "ab":
        GenServer.stop(pid_of(sup, name))
        clock.settle()
        assert process.alive(sup) is (name != ends_with)
        if name == ends_with:
            break
    assert process.receive(timeout=0) == ExitSignal(sup, "shutdown")
    assert "-c" in events


def test_a_significant_child_that_is_restarted_or_terminated_ends_nothing(clock: ManualClock) -> None:
    sup = Supervisor.start_link(
        [Echo.child_spec(id="a", restart="transient", significant=True)], auto_shutdown="any_significant"
    )
    kill(clock, sup, "a")
    assert pid_of(sup, "a")
    Supervisor.terminate_child(sup, "a")
    assert process.alive(sup)


@pytest.mark.parametrize("options", [{"restart": "permanent"}, {"auto_shutdown": "never"}])
def test_a_significant_child_that_could_never_matter_is_refused(clock: ManualClock, options: dict[str, str]) -> None:
    spec = Echo.child_spec(restart=options.get("restart", "transient"), significant=True)
    auto_shutdown = options.get("auto_shutdown", "any_significant")
    with pytest.raises(StartError, match="significant"):
        Supervisor.start_link([spec], auto_shutdown=auto_shutdown)
    sup = Supervisor.start_link([], auto_shutdown=auto_shutdown)
    with pytest.raises(StartError, match="significant"):
        Supervisor.start_child(sup, spec)
    assert Supervisor.which_children(sup) == []


# -- stopping one child ----------------------------------------------------------------------------------------------


class Stubborn(Echo):
    def init(self, seconds: float) -> None:
        self.state = seconds
        process.trap_exit(True)

    def terminate(self, reason: Any) -> None:
        process.sleep(self.state)


@pytest.mark.parametrize(
    ("shutdown", "takes", "reason"),
    [(5.0, 3.0, "shutdown"), (2.0, 2.0, "killed"), ("brutal_kill", 0.0, "killed"), ("infinity", 3.0, "shutdown")],
)
def test_a_stop_waits_as_long_as_shutdown_says_and_kills_then(
    clock: ManualClock, shutdown: Any, takes: float, reason: str
) -> None:
    sup = Supervisor.start_link([Stubborn.child_spec(3.0, shutdown=shutdown)])
    pid = pid_of(sup, "Stubborn")
    ref = process.monitor(pid)
    began = clock.now()
    process.spawn(clock.advance, 100.0)
    Supervisor.terminate_child(sup, "Stubborn")
    down = process.receive(timeout=0)
    assert down == Down(ref, pid, reason)
    assert clock.now() == began + takes
    assert pids_of(sup) == {"Stubborn": None}


def test_a_stop_of_the_supervisor_gives_each_child_its_time(clock: ManualClock) -> None:
    specs = [Stubborn.child_spec(3.0, id=n, shutdown=2.0) for n in "ab"]
    sup = Supervisor.start_link([*specs, Stubborn.child_spec(1.0, id="c")])
    began = clock.now()
    process.spawn(clock.advance, 100.0)
    Supervisor.stop(sup)
    assert clock.now() == began + 5.0


def test_a_child_that_ends_by_itself_while_it_is_stopped_is_not_restarted(clock: ManualClock) -> None:
    class Late(Echo):
        def init(self) -> None:
            process.trap_exit(True)

        def terminate(self, reason: Any) -> None:
            raise Exit("on my own")

    sup = Supervisor.start_link([Late])
    Supervisor.terminate_child(sup, "Late")
    clock.settle()
    assert pids_of(sup) == {"Late": None}


# -- children on request ---------------------------------------------------------------------------------------------


def test_a_child_can_be_added_stopped_restarted_and_deleted(clock: ManualClock) -> None:
    events: list[Any] = []
    sup = Supervisor.start_link([noted("a", events)])
    pid = Supervisor.start_child(sup, noted("b", events))
    assert pids_of(sup)["b"] == pid
    Supervisor.terminate_child(sup, "b")
    assert pids_of(sup)["b"] is None
    again = Supervisor.restart_child(sup, "b")
    assert pids_of(sup)["b"] == again
    Supervisor.terminate_child(sup, "b")
    Supervisor.delete_child(sup, "b")
    assert list(pids_of(sup)) == ["a"]
    assert events == ["+a", "+b", "-b", "+b", "-b"]


def test_every_form_of_spec_is_taken(clock: ManualClock) -> None:
    sup = Supervisor.start_link([Echo, {"id": "dict", "start": (Echo, "start_link", ())}])
    Supervisor.start_child(sup, {"id": "more", "start": (Echo.start_link, ())})
    assert list(pids_of(sup)) == ["Echo", "dict", "more"]
    with pytest.raises(InvalidChildSpec):
        Supervisor.start_child(sup, "nonsense")


def test_an_id_that_is_there_is_refused(clock: ManualClock) -> None:
    sup = Supervisor.start_link([Echo])
    pid = pid_of(sup, "Echo")
    with pytest.raises(StartError) as failed:
        Supervisor.start_child(sup, Echo)
    assert (failed.value.reason, failed.value.child_id) == (("already_started", pid), "Echo")
    Supervisor.terminate_child(sup, "Echo")
    with pytest.raises(StartError) as failed:
        Supervisor.start_child(sup, Echo)
    assert failed.value.reason == "already_present"


def test_a_name_that_is_taken_is_reported_with_its_owner(clock: ManualClock) -> None:
    owner = Echo.start(name="name")
    sup = Supervisor.start_link([])
    with pytest.raises(StartError) as failed:
        Supervisor.start_child(sup, Echo.child_spec(name="name"))
    assert failed.value.reason == ("already_started", owner)


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (lambda: 1 / 0, "ZeroDivisionError"),
        (lambda: "no pid", "BadReturn"),
        (lambda: Noted.start_link("a", [], [Stop("refused")]), "refused"),
        (lambda: raising(SystemExit(1)), "SystemExit"),
    ],
)
def test_a_start_that_fails_is_raised_in_who_asked_and_leaves_nothing(
    clock: ManualClock, start: Any, reason: str
) -> None:
    sup = Supervisor.start_link([])
    with pytest.raises(StartError) as failed:
        Supervisor.start_child(sup, ChildSpec("a", (start, ())))
    assert reason in repr(failed.value.reason)
    assert failed.value.child_id == "a"
    assert isinstance(failed.value.reason, Crash | str)
    assert Supervisor.which_children(sup) == []
    assert process.alive(sup)


def raising(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(("restart", "kept"), [("permanent", True), ("temporary", False)])
def test_a_child_that_ignores_its_start_is_kept_without_a_pid_unless_temporary(
    clock: ManualClock, restart: str, kept: bool
) -> None:
    sup = Supervisor.start_link([noted("a", [], [Ignore()])])
    assert pids_of(sup) == {"a": None}
    assert Supervisor.start_child(sup, noted("b", [], [Ignore()], restart=restart)) is None
    assert ("b" in pids_of(sup)) is kept


def test_operations_on_children_that_are_not_as_needed_say_how_they_are(clock: ManualClock) -> None:
    sup = Supervisor.start_link([Echo])
    for operation, child_id, reason in (
        (Supervisor.terminate_child, "nobody", "not_found"),
        (Supervisor.restart_child, "nobody", "not_found"),
        (Supervisor.delete_child, "nobody", "not_found"),
        (Supervisor.get_childspec, "nobody", "not_found"),
        (Supervisor.restart_child, "Echo", "running"),
        (Supervisor.delete_child, "Echo", "running"),
    ):
        with pytest.raises(ChildError) as failed:
            operation(sup, child_id)
        assert (failed.value.reason, failed.value.child_id) == (reason, child_id)


def test_a_restart_child_that_fails_leaves_the_child_as_it_was(clock: ManualClock) -> None:
    sup = Supervisor.start_link([noted("a", [], [None, Stop("refused"), None])])
    Supervisor.terminate_child(sup, "a")
    with pytest.raises(StartError, match="refused"):
        Supervisor.restart_child(sup, "a")
    assert pids_of(sup) == {"a": None}
    assert Supervisor.restart_child(sup, "a")


def test_listings_show_children_in_start_order(clock: ManualClock) -> None:
    inner = Supervisor.child_spec([], id="inner")
    sup = Supervisor.start_link([Echo.child_spec(id="a", restart="transient"), inner])
    spec = Supervisor.get_childspec(sup, "a")
    assert spec.id == "a"
    assert Supervisor.get_childspec(sup, pid_of(sup, "a")) == spec
    Supervisor.terminate_child(sup, "a")
    assert Supervisor.which_children(sup) == [
        ChildEntry("a", None, "worker", [Echo.__module__]),
        ChildEntry("inner", pid_of(sup, "inner"), "supervisor", ["supervisor.supervisors"]),
    ]
    assert Supervisor.count_children(sup) == {"specs": 2, "active": 1, "supervisors": 1, "workers": 1}
    Supervisor.delete_child(sup, "a")
    assert Supervisor.count_children(sup) == {"specs": 1, "active": 1, "supervisors": 1, "workers": 0}


@pytest.mark.parametrize("use", [GenServer.call, GenServer.cast, process.send])
def test_a_supervisor_survives_messages_that_it_does_not_know(clock: ManualClock, use: Any) -> None:
    sup = Supervisor.start_link([Echo])
    for message in ("hello", ("nonsense", 1), (), ("try_again", "nobody"), None):
        use(sup, message)
    clock.settle()
    assert GenServer.call(pid_of(sup, "Echo"), 1) == 1


def test_a_request_with_wrong_arguments_does_not_end_the_supervisor(clock: ManualClock) -> None:
    sup = Supervisor.start_link([Echo])
    messages: list[Any] = [
        ("start_child", "no spec"),
        ("start_child",),
        ("terminate_child", []),
        ("delete_child", 1, 2),
    ]
    for message in messages:
        try:
            GenServer.call(sup, message)
        except ProcessExit:
            pytest.fail(f"{message} ended the supervisor")
    assert pid_of(sup, "Echo")


def test_a_slow_child_delays_its_supervisor_and_nobody_else(clock: ManualClock) -> None:
    class Slow(Echo):
        def init(self) -> None:
            process.sleep(10.0)

    sup, other = Supervisor.start_link([Echo]), Supervisor.start_link([])
    done: list[Any] = []
    process.spawn(lambda: done.append(Supervisor.start_child(sup, Slow)))
    clock.settle()
    assert GenServer.call(other, "x")
    assert Supervisor.start_child(other, Echo)
    clock.advance(10.0)
    assert process.alive(done[0])


# -- many histories --------------------------------------------------------------------------------------------------

NAMES = "abcd"
operations = st.lists(
    st.tuples(
        st.sampled_from(["kill", "end", "add", "terminate", "restart", "delete", "wait"]), st.sampled_from(NAMES)
    ),
    max_size=25,
)


@given(
    st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"]),
    st.lists(st.sampled_from(["permanent", "transient", "temporary"]), min_size=4, max_size=4),
    operations,
)
def test_the_bookkeeping_agrees_with_the_processes_after_any_history(
    strategy: str, restarts: list[str], operations: list[tuple[str, str]]
) -> None:
    clock = ManualClock()
    clock.runtime = Runtime(clock=clock)
    run_as_process(clock.runtime, lambda: check_history(clock, strategy, restarts, operations))
    clock.runtime.close()
    clock.settle()
    assert not clock.runtime.table


def check_history(clock: ManualClock, strategy: str, restarts: list[str], operations: list[tuple[str, str]]) -> None:
    specs = {name: Echo.child_spec(id=name, restart=kind) for name, kind in zip(NAMES, restarts, strict=True)}
    sup = Supervisor.start_link(specs.values(), strategy=strategy, max_restarts=1000)
    for operation, name in operations:
        apply(clock, sup, operation, name, specs[name])
        clock.settle()
        pids = pids_of(sup)
        alive = {pid for pid in pids.values() if pid is not None}
        assert all(process.alive(pid) for pid in alive)
        assert set(info(sup)["links"]) == {*alive, process.self()}
        count = Supervisor.count_children(sup)
        assert (count["specs"], count["active"]) == (len(pids), len(alive))
        assert all(pids[n] for n, spec in specs.items() if n in pids and spec.restart == "temporary")


def apply(clock: ManualClock, sup: Pid, operation: str, name: str, spec: ChildSpec) -> None:
    pid = pids_of(sup).get(name)
    try:
        if operation in ("kill", "end") and pid is not None:
            process.exit(pid, "kill" if operation == "kill" else "shutdown")
        elif operation == "add":
            Supervisor.start_child(sup, spec)
        elif operation == "wait":
            clock.advance(1.0)
        elif operation in ("terminate", "restart", "delete"):
            getattr(Supervisor, f"{operation}_child")(sup, name)
    except (ChildError, StartError):
        pass
