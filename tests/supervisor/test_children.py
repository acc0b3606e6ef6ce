"""What supervisors do with one child: start it in their name, stop it within its time, speak of it in plain values."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
import pytest

import supervisor.children as children
import supervisor.processes as process
import supervisor.reports as reports
from supervisor.child_spec import ChildSpec
from supervisor.children import ChildEntry, ChildError
from supervisor.distribution import DOWN, EXIT, MONITOR
from supervisor.errors import AlreadyRegistered, Exit, StartError
from supervisor.gen_server import Ignore, Stop
from supervisor.inbound import receive_op
from supervisor.pids import NodeId, Pid
from supervisor.reasons import Crash, Shutdown
from supervisor.runtime import current_process
from supervisor.signals import Down
from tests.supervisor.kit import Echo, Ether, ManualClock, Scripted, info, raising

FAR = "far@127.0.0.1:1"


class Stubborn(Echo):
    """Takes as long to end as it is told."""

    def init(self, seconds: float) -> None:
        self.state = seconds
        process.trap_exit(True)

    def handle_info(self, message: Any) -> Any:
        return Stop(message.reason)

    def terminate(self, reason: Any) -> None:
        process.sleep(self.state)


def spec_of(start: Any, *args: Any, **options: Any) -> ChildSpec:
    return ChildSpec("child", (start, args), **options)


def in_background(fn: Callable[[], Any]) -> tuple[Pid, list[Any]]:
    """Run `fn` in a process of its own; the list gets what it returned, and when."""
    outcome: list[Any] = []
    return process.spawn(lambda: outcome.append((fn(), process.now()))), outcome


# -- starting --------------------------------------------------------------------------------------------------------


def test_a_child_that_starts_is_linked_to_its_supervisor(clock: ManualClock) -> None:
    for start in (Echo.start_link, Echo.start):
        pid = children.start_one(current_process(), spec_of(start))
        assert pid in info(process.self())["links"]


def test_a_child_that_does_not_want_to_run_is_none(clock: ManualClock) -> None:
    assert children.start_one(current_process(), spec_of(Scripted.start_link, Ignore())) is None
    assert children.start_one(current_process(), spec_of(lambda: None)) is None


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (lambda: Scripted.start_link(Stop("no")), "'no'"),
        (lambda: Scripted.start_link(lambda _: raising(ValueError("no"))), "Crash(ValueError: no)"),
        (lambda: raising(ValueError("no")), "Crash(ValueError: no)"),
        (lambda: raising(SystemExit(1)), "Crash(SystemExit: 1)"),
        (lambda: raising(gevent.Timeout(1)), "Crash(Timeout: 1 second)"),
        (lambda: raising(StartError("why", "grandchild")), "('failed_to_start_child', 'grandchild', 'why')"),
        (lambda: raising(AlreadyRegistered("name", "its owner")), "('already_started', 'its owner')"),
        (lambda: "no pid", "BadReturn: the start function of child 'child' returned 'no pid'; expected a Pid or None"),
        (lambda: True, "BadReturn"),
    ],
    ids=["stop", "init raises", "raises", "exits", "timeout", "grandchild", "name taken", "text", "true"],
)
def test_every_failed_start_is_a_start_error_that_names_the_child(clock: ManualClock, start: Any, reason: str) -> None:
    with pytest.raises(StartError) as failed:
        children.start_one(current_process(), spec_of(start))
    assert failed.value.child_id == "child"
    assert reason in repr(failed.value.reason)
    assert failed.value.__cause__ is None
    clock.settle()
    assert info(process.self())["links"] == []
    assert info(process.self())["queue_length"] == 0


@pytest.mark.parametrize(
    "error", [Exit("enough"), gevent.GreenletExit(), KeyboardInterrupt()], ids=["exit", "killed", "ctrl-c"]
)
def test_an_exit_of_the_supervisor_itself_is_no_failed_start(clock: ManualClock, error: BaseException) -> None:
    with pytest.raises(type(error)):
        children.start_one(current_process(), spec_of(lambda: raising(error)))


def test_the_error_of_a_nested_start_and_its_reason_are_each_others_inverse(clock: ManualClock) -> None:
    error = StartError("why", "grandchild")
    with pytest.raises(StartError) as failed:
        children.start_one(current_process(), spec_of(lambda: raising(error)))
    named = children.name_child(StartError(failed.value.reason))
    assert (named.reason, named.child_id) == ("why", "grandchild")
    for other in (StartError("why"), StartError(Shutdown("moved")), StartError(Shutdown(("a", "b", "c")))):
        assert children.name_child(other) is other


# -- stopping --------------------------------------------------------------------------------------------------------


def test_a_child_that_traps_no_exits_is_gone_without_waiting(clock: ManualClock) -> None:
    pid = Echo.start_link()
    ref = process.monitor(pid)
    children.stop_one(current_process(), spec_of(Echo.start_link), pid)
    assert process.receive(timeout=0) == Down(ref, pid, "shutdown")
    assert info(process.self())["queue_length"] == 0  # and no exit signal came of it


def test_to_stop_a_child_that_is_dead_already_is_nothing(clock: ManualClock) -> None:
    pid = Echo.start()
    process.exit(pid, "boom")
    children.stop_one(current_process(), spec_of(Echo.start_link), pid)
    children.stop_all(current_process(), [(pid, spec_of(Echo.start_link))])
    assert clock.now() == 1000.0


@pytest.mark.parametrize(
    ("shutdown", "takes", "reason"),
    [
        (5.0, 3.0, "shutdown"),
        (2, 2.0, "killed"),
        (0, 0.0, "killed"),
        ("brutal_kill", 0.0, "killed"),
        ("infinity", 3.0, "shutdown"),
    ],
)
def test_a_stubborn_child_gets_the_time_that_its_spec_says_and_is_killed_then(
    clock: ManualClock, shutdown: Any, takes: float, reason: str
) -> None:
    pid = Stubborn.start(3.0)
    ref = process.monitor(pid)
    spec = spec_of(Stubborn.start_link, shutdown=shutdown)
    _, outcome = in_background(lambda: children.stop_one(current_process(), spec, pid))
    clock.advance(10.0)
    assert outcome == [(None, 1000.0 + takes)]
    assert process.receive(timeout=0) == Down(ref, pid, reason)
    assert clock.pending() == 0


def test_many_children_have_their_time_side_by_side_each_its_own(clock: ManualClock) -> None:
    def child(seconds: float, shutdown: Any) -> tuple[Pid, ChildSpec]:
        return Stubborn.start(seconds), spec_of(Stubborn.start_link, shutdown=shutdown)

    alive = [child(9.0, 4.0), child(3.0, "infinity"), child(9.0, 2.0), child(9.0, "brutal_kill"), child(0.0, 1.0)]
    downs = {process.monitor(pid): pid for pid, _ in alive}
    ends = [in_background(partial(process.await_exit, pid, None))[1] for pid, _ in alive]
    _, outcome = in_background(lambda: children.stop_all(current_process(), alive))
    clock.advance(10.0)
    assert outcome == [(None, 1004.0)]
    assert [at - 1000.0 for ((_, at),) in ends] == [4.0, 3.0, 2.0, 0.0, 0.0]
    reasons = {downs[down.ref]: down.reason for down in (process.receive(timeout=0) for _ in alive)}
    assert [reasons[pid] for pid, _ in alive] == ["killed", "shutdown", "killed", "killed", "shutdown"]


def test_a_child_that_ends_for_a_reason_of_its_own_while_it_is_stopped_is_reported(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    pid = Stubborn.start(9.0)
    spec = spec_of(Stubborn.start_link, shutdown=5.0)
    _, outcome = in_background(lambda: children.stop_one(current_process(), spec, pid))
    clock.advance(1.0)
    process.exit(pid, "kill")
    with caplog.at_level(logging.ERROR):
        clock.settle()
    assert outcome == [(None, 1001.0)]
    assert "'child'" in caplog.text
    assert "killed" in caplog.text


def test_a_supervisor_that_is_killed_while_it_stops_a_child_leaves_no_wait(clock: ManualClock) -> None:
    pid = Stubborn.start(3.0)
    spec = spec_of(Stubborn.start_link, shutdown="infinity")
    stopper, outcome = in_background(lambda: children.stop_one(current_process(), spec, pid))
    clock.settle()
    process.exit(stopper, "kill")
    clock.advance(5.0)
    assert outcome == []
    assert not process.alive(pid)
    assert not current_process().runtime.scheduler.waits


@pytest.mark.parametrize(("shutdown", "sent"), [(2.0, ["shutdown", "kill"]), ("brutal_kill", ["kill"])])
def test_a_child_on_another_node_is_stopped_by_its_down(clock: ManualClock, shutdown: Any, sent: list[str]) -> None:
    runtime = current_process().runtime
    air = Ether(runtime)
    pid = Pid(runtime.node_id(FAR, 1), 7)
    spec = spec_of(Echo.start_link, shutdown=shutdown)
    _, outcome = in_background(lambda: children.stop_one(current_process(), spec, pid))
    clock.advance(2.0)
    ops = [op for _, op in air.take()]
    assert list(dict.fromkeys(op[3] for op in ops if op[0] == EXIT)) == sent
    assert outcome == []
    (watch,) = [op for op in ops if op[0] == MONITOR]
    receive_op(runtime, FAR, (DOWN, watch[1], watch[2], pid, "killed"))
    clock.settle()
    assert len(outcome) == 1
    assert clock.pending() == 0


# -- answers and requests ----------------------------------------------------------------------------------------------


def test_an_answer_of_a_supervisor_is_a_plain_value_that_raises_in_who_asked() -> None:
    with pytest.raises(StartError) as failed:
        children.result_of(children.start_failed("why", "child"))
    assert (failed.value.reason, failed.value.child_id) == ("why", "child")
    with pytest.raises(ChildError, match="child 'child': not_found") as missing:
        children.result_of(children.refused("not_found", "child"))
    assert (missing.value.reason, missing.value.child_id) == ("not_found", "child")
    assert isinstance(missing.value, LookupError)


@pytest.mark.parametrize("answer", [None, (), ("a",), 7, [children.ERROR], Pid(NodeId("a", 1), 1)], ids=repr)
def test_any_other_answer_is_the_result_itself(answer: Any) -> None:
    assert children.result_of(answer) is answer


REQUESTS: children.Requests = {"list": (list, None), "stop": (str, Pid), "any": (print, object)}


@pytest.mark.parametrize(
    ("request_", "handler"),
    [
        (("list",), list),
        (("any", None), print),
        (("stop", Pid(NodeId("a", 1), 1)), str),
        (("list", 1), None),
        (("stop",), None),
        (("stop", "no pid"), None),
        (("any", 1, 2), None),
        (("unknown",), None),
        ((), None),
        ("list", None),
        (["list"], None),
        ((["list"],), None),
        (None, None),
    ],
    ids=repr,
)
def test_only_a_request_of_the_right_form_finds_its_method(request_: Any, handler: Any) -> None:
    assert children.request_handler(REQUESTS, request_) is handler


def test_options_are_split_between_the_spec_and_the_start() -> None:
    options = {"restart": "transient", "shutdown": 1.0, "name": "it", "id": 7, "strategy": "one_for_all"}
    assert children.split_options(options) == (
        {"restart": "transient", "shutdown": 1.0},
        {"name": "it", "id": 7, "strategy": "one_for_all"},
    )


def test_an_entry_of_a_listing_is_a_tuple_with_names() -> None:
    entry = ChildEntry("a", None, "worker", ["m"])
    assert entry == ("a", None, "worker", ["m"])


def test_a_report_that_fails_does_not_hit_the_supervisor(
    clock: ManualClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "decided", lambda *args: 1 / 0)
    with caplog.at_level(logging.ERROR):
        children.report(current_process(), spec_of(Echo.start), None, Crash("E", "m"), "restarted")
    assert "ZeroDivisionError" in caplog.text
