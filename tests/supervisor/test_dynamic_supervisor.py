from __future__ import annotations

from typing import Any

import gevent
import pytest

import supervisor.processes as process
from supervisor.child_spec import ChildSpec, InvalidChildSpec
from supervisor.children import ChildEntry, ChildError
from supervisor.dynamic_supervisor import DynamicSupervisor, DynamicSupervisorSpec
from supervisor.errors import Exit, StartError
from supervisor.gen_server import GenServer, Ignore, Stop
from supervisor.pids import Pid
from supervisor.signals import ExitSignal
from supervisor.supervisors import Supervisor
from tests.supervisor.kit import Echo, ManualClock, Trapper, info


class Scripted(Echo):
    """Each start uses up one result of init from the script."""

    def init(self, script: list[Any]) -> Any:
        result = script.pop(0) if script else None
        if isinstance(result, BaseException):
            raise result
        return result


class Stubborn(Echo):
    def init(self, seconds: float) -> None:
        self.state = seconds
        process.trap_exit(True)

    def terminate(self, reason: Any) -> None:
        process.sleep(self.state)


def pids_of(sup: Any) -> list[Pid | None]:
    return [entry.pid for entry in DynamicSupervisor.which_children(sup)]


def kill(clock: ManualClock, pid: Pid) -> None:
    process.exit(pid, "kill")
    clock.settle()


def test_children_are_started_on_request_and_may_share_an_id(clock: ManualClock) -> None:
    sup = DynamicSupervisor.start_link(name="sup")
    pids = [DynamicSupervisor.start_child("sup", (GenServer, n)) for n in range(3)]
    assert DynamicSupervisor.which_children(sup) == [
        ChildEntry("GenServer", pid, "worker", ["supervisor.gen_server"]) for pid in pids
    ]
    assert info(pids[0])["parent"] == sup
    assert info(pids[0])["links"] == [sup]


def test_a_killed_child_is_restarted_alone_and_with_the_same_arguments(clock: ManualClock) -> None:
    sup = DynamicSupervisor.start_link()
    first = DynamicSupervisor.start_child(sup, (Keeper, "kept"))
    other = DynamicSupervisor.start_child(sup, (Keeper, "other"))
    kill(clock, first)
    kept, restarted = pids_of(sup)
    assert kept == other
    assert restarted not in (first, None)
    assert GenServer.call(restarted, "state") == "kept"


@pytest.mark.parametrize("cls", [GenServer, Supervisor, DynamicSupervisor])
def test_zero_is_an_id_like_any_other(cls: type[GenServer]) -> None:
    assert cls.child_spec(id=0).id == 0


class Pair(GenServer):
    def init(self, *args: Any, **kwargs: Any) -> None:
        self.state = args, kwargs

    def handle_call(self, request: Any, from_: Any) -> Any:
        return self.state


@pytest.mark.parametrize(
    "start",
    [(Pair, "start_link", ("own",), {"key": 1}), (Pair.start_link, ("own",), {"key": 1})],
    ids=["method", "function"],
)
def test_extra_arguments_come_before_the_childs_own_at_each_start(clock: ManualClock, start: tuple[Any, ...]) -> None:
    sup = DynamicSupervisor.start_link(extra_arguments=("extra", 2))
    first = DynamicSupervisor.start_child(sup, ChildSpec("pair", start))
    assert GenServer.call(first, "state") == (("extra", 2, "own"), {"key": 1})
    kill(clock, first)
    [restarted] = pids_of(sup)
    assert restarted != first
    assert GenServer.call(restarted, "state") == (("extra", 2, "own"), {"key": 1})


def test_extra_arguments_that_are_no_sequence_are_refused(clock: ManualClock) -> None:
    with pytest.raises(StartError, match="extra_arguments must be a tuple or list; got 'extra'"):
        DynamicSupervisor.start_link(extra_arguments="extra")


class Keeper(GenServer):
    def handle_call(self, request: Any, from_: Any) -> Any:
        return self.state


@pytest.mark.parametrize(
    ("restart", "reason", "restarted"),
    [
        ("permanent", "normal", True),
        ("permanent", "boom", True),
        ("transient", "shutdown", False),
        ("transient", "boom", True),
        ("temporary", "boom", False),
    ],
)
def test_a_child_that_is_not_restarted_is_forgotten(
    clock: ManualClock, restart: str, reason: str, restarted: bool
) -> None:
    def end() -> None:
        raise Exit(reason)

    sup = DynamicSupervisor.start_link()
    pid = DynamicSupervisor.start_child(sup, Echo.child_spec(restart=restart))
    GenServer.cast(pid, end)
    clock.settle()
    assert len(pids_of(sup)) == restarted
    assert pid not in pids_of(sup)


def test_max_children_counts_those_that_run_or_are_being_restarted(clock: ManualClock) -> None:
    sup = DynamicSupervisor.start_link(max_children=2)
    first = DynamicSupervisor.start_child(sup, Echo)
    DynamicSupervisor.start_child(sup, Echo)
    with pytest.raises(StartError, match="max_children"):
        DynamicSupervisor.start_child(sup, Echo)
    kill(clock, first)
    with pytest.raises(StartError, match="max_children"):
        DynamicSupervisor.start_child(sup, Echo)
    DynamicSupervisor.terminate_child(sup, pids_of(sup)[0])  # type: ignore[arg-type]
    assert DynamicSupervisor.start_child(sup, Echo)


def test_an_init_that_returns_no_spec_fails_the_start(clock: ManualClock) -> None:
    class Forgetful(DynamicSupervisor):
        def init(self) -> None:
            pass

    with pytest.raises(StartError, match="returned None; expected a DynamicSupervisorSpec"):
        Forgetful.start_link()


def test_a_start_that_fails_is_raised_in_who_asked_and_leaves_nothing(clock: ManualClock) -> None:
    sup = DynamicSupervisor.start_link()
    with pytest.raises(StartError) as failed:
        DynamicSupervisor.start_child(sup, (Scripted, [Stop("refused")]))
    assert (failed.value.reason, failed.value.child_id) == ("refused", "Scripted")
    with pytest.raises(StartError, match="BadReturn"):
        DynamicSupervisor.start_child(sup, ChildSpec("a", (int, ())))
    with pytest.raises(InvalidChildSpec):
        DynamicSupervisor.start_child(sup, "nonsense")
    assert DynamicSupervisor.start_child(sup, (Scripted, [Ignore()])) is None
    assert pids_of(sup) == []
    assert info(sup)["links"] == [process.self()]


def test_terminate_stops_a_child_and_forgets_it(clock: ManualClock) -> None:
    events: list[Any] = []
    sup = DynamicSupervisor.start_link()
    pid = DynamicSupervisor.start_child(sup, (Trapper, events))
    DynamicSupervisor.terminate_child(sup, pid)
    assert events == [("terminate", "shutdown")]
    assert pids_of(sup) == []
    clock.settle()
    assert pids_of(sup) == []
    with pytest.raises(ChildError, match="not_found"):
        DynamicSupervisor.terminate_child(sup, pid)


def test_too_many_restarts_end_the_supervisor_and_its_children(clock: ManualClock) -> None:
    process.trap_exit(True)
    sup = DynamicSupervisor.start_link(max_restarts=2, max_seconds=5.0)
    pids = [DynamicSupervisor.start_child(sup, Echo) for _ in range(5)]
    for pid in pids[:2]:
        kill(clock, pid)
    clock.advance(5.1)
    for pid in pids[2:4]:
        kill(clock, pid)
    assert process.alive(sup)
    kill(clock, pids[4])
    assert process.receive(timeout=0) == ExitSignal(sup, "shutdown")
    assert not any(process.alive(pid) for pid in pids)


def test_a_restart_that_fails_is_tried_again_and_counts_as_a_child_meanwhile(clock: ManualClock) -> None:
    script = [None, ValueError("not yet"), ValueError("not yet"), None]
    sup = DynamicSupervisor.start_link()
    kill(clock, DynamicSupervisor.start_child(sup, (Scripted, script)))
    assert script == []
    assert len(pids_of(sup)) == 1


def test_a_child_whose_restart_is_being_tried_can_be_terminated_by_its_last_pid(clock: ManualClock) -> None:
    script: list[Any] = [None]
    sup = DynamicSupervisor.start_link(max_restarts=1_000_000, max_children=1)
    pid = DynamicSupervisor.start_child(sup, (Scripted, script))
    script.extend(ValueError("never") for _ in range(100_000))
    process.exit(pid, "kill")
    DynamicSupervisor.count_children(sup)
    assert pids_of(sup) == [None]
    assert DynamicSupervisor.count_children(sup) == {"specs": 1, "active": 0, "supervisors": 0, "workers": 1}
    with pytest.raises(StartError, match="max_children"):
        DynamicSupervisor.start_child(sup, Echo)
    DynamicSupervisor.terminate_child(sup, pid)
    assert pids_of(sup) == []
    tries = len(script)
    clock.settle()
    assert len(script) == tries


def test_children_stop_at_the_same_time_each_within_its_own_shutdown(clock: ManualClock) -> None:
    sup = DynamicSupervisor.start_link()
    ends: list[float] = []
    plan = [(9.0, 4.0), (1.0, 5.0), (9.0, 2.0), (3.0, "infinity"), (9.0, "brutal_kill"), (0.5, 5.0)]
    for seconds, shutdown in plan:
        pid = DynamicSupervisor.start_child(sup, Stubborn.child_spec(seconds, shutdown=shutdown))
        process.spawn(watch, pid, ends)
    clock.settle()
    began = clock.now()
    process.spawn(clock.advance, 100.0)
    DynamicSupervisor.stop(sup)
    assert clock.now() == began + 4.0
    clock.settle()
    assert sorted(end - began for end in ends) == [0.0, 0.5, 1.0, 2.0, 3.0, 4.0]


def watch(pid: Pid, ends: list[float]) -> None:
    process.monitor(pid)
    process.receive()
    ends.append(process.now())


def test_supervisors_are_counted_apart(clock: ManualClock) -> None:
    sup = DynamicSupervisor.start_link()
    inner = DynamicSupervisor.start_child(sup, Supervisor.child_spec([Echo], id="inner"))
    DynamicSupervisor.start_child(sup, Echo)
    assert DynamicSupervisor.count_children(sup) == {"specs": 2, "active": 2, "supervisors": 1, "workers": 1}
    kill(clock, inner)
    assert DynamicSupervisor.count_children(sup) == {"specs": 2, "active": 2, "supervisors": 1, "workers": 1}
    DynamicSupervisor.terminate_child(sup, [pid for pid in pids_of(sup) if pid][-1])
    assert DynamicSupervisor.count_children(sup) == {"specs": 1, "active": 1, "supervisors": 0, "workers": 1}


def test_it_runs_under_a_supervisor_and_as_a_class_of_its_own(clock: ManualClock) -> None:
    class Pool(DynamicSupervisor):
        def init(self, limit: int) -> Any:
            return DynamicSupervisorSpec(max_children=limit)

    spec = DynamicSupervisor.child_spec(max_children=0, name="none")
    assert (spec.type, spec.shutdown) == ("supervisor", "infinity")
    Supervisor.start_link([(Pool, 1), spec])
    with pytest.raises(StartError, match="max_children"):
        DynamicSupervisor.start_child("none", Echo)


@pytest.mark.parametrize("options", [{"max_children": -1}, {"max_restarts": -1}, {"max_seconds": 0}])
def test_impossible_limits_fail_the_start(clock: ManualClock, options: dict[str, Any]) -> None:
    with pytest.raises(StartError, match="must be"):
        DynamicSupervisor.start_link(**options)


@pytest.mark.parametrize("use", [GenServer.call, GenServer.cast, process.send])
def test_it_survives_messages_that_it_does_not_know(clock: ManualClock, use: Any) -> None:
    sup = DynamicSupervisor.start_link()
    pid = DynamicSupervisor.start_child(sup, Echo)
    messages: list[Any] = ["hello", ("start_child", 1), ("terminate_child", []), ("try_again", pid), (), None]
    for message in messages:
        use(sup, message)
    clock.settle()
    assert GenServer.call(pid, 1) == 1


def test_a_thousand_children_start_and_stop_in_slices(clock: ManualClock) -> None:
    """While the children are started and stopped the loop goes on: another process gets its turns."""
    sup = DynamicSupervisor.start_link()
    seen: list[int] = []

    def other() -> None:
        while True:
            seen.append(sum(map(process.alive, pids)))
            gevent.get_hub().wait(gevent.get_hub().loop.timer(0))

    pids: list[Pid] = []
    process.spawn(other)
    pids += [DynamicSupervisor.start_child(sup, Echo) for _ in range(1000)]
    seen.clear()
    DynamicSupervisor.stop(sup)
    assert any(0 < alive < 1000 for alive in seen)
    assert not any(process.alive(pid) for pid in pids)
