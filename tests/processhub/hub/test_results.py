"""Results keep partial success, and print short."""

from __future__ import annotations

from processhub.hub.results import StartFailure, StartResult, StopFailure, StopResult
from supervisor.pids import NodeId, Pid

HOME = NodeId("n1", 1)
P1, P2, P3 = (Pid(HOME, serial) for serial in (1, 2, 3))


def test_a_start_of_one_child_has_a_pid_and_a_node() -> None:
    result = StartResult({"x": {"n1": P1}})
    assert (result.status, result.pid, result.node, result.pids, result.nodes) == ("ok", P1, "n1", [P1], ["n1"])
    assert result.first == ("x", {"n1": P1})
    assert result.child_ids == ["x"]


def test_partial_success_is_kept_beside_the_errors() -> None:
    result = StartResult({"x": {"n2": P1, "n1": P2}, "y": {"n3": P3}}, [StartFailure("z", "n1", "already_started")])
    assert result.status == "error"
    assert (result.pid, result.node, result.nodes) == (P1, "n2", ["n1", "n2", "n3"])
    assert result.pids == [P1, P2, P3]


def test_a_rolled_back_start_is_an_error() -> None:
    assert StartResult(rollback=True).status == "error"


def test_a_start_of_nothing_has_no_first_pid_or_node() -> None:
    result = StartResult(errors=[StartFailure("z", None, "timeout")])
    assert (result.first, result.pid, result.node, result.pids, result.nodes) == (None, None, None, [], [])


def test_a_stop_lists_its_nodes() -> None:
    result = StopResult({"x": ["n2", "n1"], "y": ["n3"]})
    assert (result.status, result.nodes, result.child_ids) == ("ok", ["n1", "n2", "n3"], ["x", "y"])
    assert result.first == ("x", ["n2", "n1"])
    assert StopResult({}, [StopFailure("z", None, "not_found")]).status == "error"


def test_results_of_ten_thousand_children_print_short() -> None:
    started = {f"child{number}": {"n1": P1} for number in range(10_000)}
    errors = [StartFailure(f"bad{number}", "n1", "timeout") for number in range(10_000)]
    text = repr(StartResult(started, errors))
    assert len(text) < 600
    assert text.count("10000 in all") == 2
    assert len(repr(StopResult({child_id: ["n1"] for child_id in started}))) < 300


def test_a_small_result_prints_whole() -> None:
    result = StartResult({"x": {"n1": P1}}, [StartFailure("y", "n1", "timeout")], rollback=True)
    assert repr(result) == (
        "StartResult('error', started={'x': {'n1': <Pid n1.1>}}, "
        "errors=[StartFailure(child_id='y', node='n1', reason='timeout')], rollback=True)"
    )
