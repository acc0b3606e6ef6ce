"""The functions of a hub: bad input is refused with a clear error and changes nothing; lookups answer locally."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from processhub import (
    AlreadyStarted,
    CallTimeout,
    ChildSpec,
    EncodeError,
    GenServer,
    HubNotAlive,
    InvalidChildSpec,
    NoChildren,
    NoProcess,
    NotImportable,
    Pid,
    ProcessHub,
    process,
)
from processhub.testing import Cluster
from tests.processhub.hub import children
from tests.processhub.hub.children import (
    HUB,
    Counter,
    Stubborn,
    cluster_of,
    counters,
    hub_of,
    journal,
    pid_of,
    runs,
    settle,
    start,
    stop,
)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with cluster_of(2) as found:
        yield found


def assert_untouched(cluster: Cluster) -> None:
    """Nothing runs, nothing is desired, nothing is left of a start."""
    settle(cluster)
    assert runs(cluster) == {}
    for node in cluster:
        assert node.run(ProcessHub.registry_dump, HUB) == {}
        assert hub_of(node).registry.own_table == {}
        assert children.part_of(node, "distributed_supervisor").copies.children == {}


# -- what the call itself raises -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda: ProcessHub.start_child("nowhere", Counter),
        lambda: ProcessHub.start_children("nowhere", [Counter]),
        lambda: ProcessHub.stop_child("nowhere", "c"),
        lambda: ProcessHub.get_pid("nowhere", "c"),
        lambda: ProcessHub.get_pids("nowhere", "c"),
        lambda: ProcessHub.child_lookup("nowhere", "c"),
        lambda: ProcessHub.process_list("nowhere"),
        lambda: ProcessHub.registry_dump("nowhere"),
        lambda: ProcessHub.nodes("nowhere"),
        lambda: ProcessHub.owners("nowhere", "c"),
        lambda: ProcessHub.is_locked("nowhere"),
        lambda: ProcessHub.await_settled("nowhere", 1.0),
        lambda: ProcessHub.stop("nowhere"),
        lambda: ProcessHub.observe("nowhere"),
        lambda: GenServer.call(ProcessHub.via("nowhere", "c"), "get"),
    ],
)
def test_an_unknown_hub_is_named_by_every_function(cluster: Cluster, call: Any) -> None:
    with pytest.raises(HubNotAlive, match="nowhere"):
        cluster[0].run(call)


def test_an_unknown_hub_is_not_alive(cluster: Cluster) -> None:
    assert not cluster[0].run(ProcessHub.is_alive, "nowhere")
    assert cluster[0].run(ProcessHub.is_alive, HUB)


@pytest.mark.parametrize(
    ("specs", "error", "message"),
    [
        ([], NoChildren, "empty"),
        ([Counter.child_spec(id="a"), Counter.child_spec(id="b"), Counter.child_spec(id="a")], InvalidChildSpec, "'a'"),
        ([{"start": (Counter.start_link, ())}], InvalidChildSpec, "id"),
        ([{"id": "a"}], InvalidChildSpec, "start"),
        ([{"id": "a", "start": (Counter.start_link, ()), "color": "red"}], InvalidChildSpec, "color"),
        ([{"id": "a", "start": (Counter.start_link, ()), "restart": "always"}], InvalidChildSpec, "always"),
        ([{"id": "a", "start": (Counter.start_link, ()), "shutdown": -1}], InvalidChildSpec, "-1"),
        ([{"id": "a", "start": Counter.start_link}], InvalidChildSpec, "start"),
        ([{"id": "a", "start": (lambda: None, ())}], NotImportable, "'a'"),
        ([{"id": 7, "start": (Counter.start_link, ())}], InvalidChildSpec, "7"),
        ([ChildSpec("", (Counter.start_link, ()))], InvalidChildSpec, "id"),
        ([{"id": None, "start": (Counter.start_link, ())}], InvalidChildSpec, "None"),
        ([{"id": ("a", 1), "start": (Counter.start_link, ())}], InvalidChildSpec, "id"),
        ([None], InvalidChildSpec, "None"),
        ([5], InvalidChildSpec, "5"),
        ("abc", InvalidChildSpec, "list"),
        (Counter.child_spec(id="a"), InvalidChildSpec, "list"),
        (None, InvalidChildSpec, "None"),
    ],
)
def test_a_bad_spec_is_refused_and_nothing_starts(cluster: Cluster, specs: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        cluster[0].run(ProcessHub.start_children, HUB, specs)
    assert_untouched(cluster)


def test_one_bad_spec_among_good_ones_starts_none(cluster: Cluster) -> None:
    with pytest.raises(InvalidChildSpec):
        cluster[0].run(ProcessHub.start_children, HUB, [*counters(3), {"id": "bad"}])
    assert_untouched(cluster)


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        (Counter.child_spec(object(), id="kid"), r"args\[0\]"),
        (Counter.child_spec({"conn": {"sock": object()}}, id="kid"), r"\['?\"?conn\"?'?\]\[.sock.\]"),
        (ChildSpec("kid", (Counter.start_link, (), {"first": [1, object()]})), r"first.*\[1\]"),
    ],
)
def test_arguments_that_cannot_be_sent_name_the_child_and_the_path(cluster: Cluster, spec: Any, path: str) -> None:
    with pytest.raises(EncodeError, match="kid") as caught:
        cluster[0].run(ProcessHub.start_children, HUB, [spec])
    with pytest.raises(EncodeError, match=path):
        raise caught.value
    assert_untouched(cluster)


def test_arguments_that_cannot_be_sent_are_refused_on_a_lone_node_too() -> None:
    with cluster_of(1) as cluster, pytest.raises(EncodeError, match="kid"):
        cluster[0].run(ProcessHub.start_child, HUB, Counter.child_spec(object(), id="kid"))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"timeout": 0}, ValueError, "timeout"),
        ({"timeout": -1.0}, ValueError, "timeout"),
        ({"timeout": "10"}, ValueError, "timeout"),
        ({"timeout": True}, ValueError, "timeout"),
        ({"timeout": float("nan")}, ValueError, "timeout"),
        ({"on_failure": "explode"}, ValueError, "on_failure.*explode"),
        ({"metadata": 5}, ValueError, "metadata"),
        ({"metadata": {"x": object()}}, EncodeError, "metadata"),
        ({"timout": 5}, TypeError, "timout"),
    ],
)
def test_a_wrong_option_is_named_and_nothing_starts(
    cluster: Cluster, options: dict[str, Any], error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        cluster[0].run(lambda: ProcessHub.start_children(HUB, counters(2), **options))
    assert_untouched(cluster)


@pytest.mark.parametrize(
    ("child_ids", "options", "error", "message"),
    [
        ([], {}, NoChildren, "empty"),
        ("abc", {}, TypeError, "stop_child"),
        ([7], {}, TypeError, "7"),
        (None, {}, TypeError, "None"),
        (["a"], {"timeout": 0}, ValueError, "timeout"),
        (["a"], {"timout": 1}, TypeError, "timout"),
    ],
)
def test_a_wrong_stop_is_refused(
    cluster: Cluster, child_ids: Any, options: dict[str, Any], error: type, message: str
) -> None:
    start(cluster[0], Counter.child_spec(id="a"))
    with pytest.raises(error, match=message):
        cluster[0].run(lambda: ProcessHub.stop_children(HUB, child_ids, **options))
    assert list(runs(cluster)) == ["a"]


def test_known_ids_are_refused_with_all_of_them_listed_and_none_starts(cluster: Cluster) -> None:
    start(cluster[0], counters(2))
    with pytest.raises(AlreadyStarted) as caught:
        cluster[1].run(ProcessHub.start_children, HUB, counters(4))
    assert caught.value.child_ids == ["c0", "c1"]
    assert sorted(runs(cluster)) == ["c0", "c1"]


def test_without_the_check_known_ids_are_failures_and_the_others_start(cluster: Cluster) -> None:
    first = start(cluster[0], counters(2))
    result = start(cluster[1], counters(4), check_existing=False)
    assert result.status == "error"
    assert sorted(result.started) == ["c2", "c3"]
    assert sorted((error.child_id, error.reason) for error in result.errors) == [
        ("c0", "already_started"),
        ("c1", "already_started"),
    ]
    assert [pid_of(cluster[1], "c0")] == list(first.started["c0"].values())
    assert children.copies_alive(cluster, ["c0", "c1", "c2", "c3"])


# -- start functions that misbehave ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fn", "reason"),
    [
        (children.start_raises, "no such thing"),
        (children.start_exits, "SystemExit"),
        (children.start_returns_nothing, "Pid"),
        (children.start_returns_nothing_but_leaves_a_process, "Pid"),
        (children.start_returns_a_dead_pid, "not alive"),
    ],
)
def test_a_start_function_that_misbehaves_fails_and_leaves_nothing(cluster: Cluster, fn: Any, reason: str) -> None:
    before = [len(node.runtime.table) for node in cluster]
    result = start(cluster[0], [ChildSpec("bad", (fn, ())), *counters(2)])
    assert result.status == "error"
    assert [error.child_id for error in result.errors] == ["bad"]
    assert reason in str(result.errors[0].reason)
    assert sorted(result.started) == ["c0", "c1"]
    assert pid_of(cluster[1], "bad") is None
    stop(cluster[0], ["c0", "c1"])
    assert_untouched(cluster)
    assert [len(node.runtime.table) for node in cluster] == before


def test_a_start_that_never_returns_times_out_and_its_processes_are_killed(cluster: Cluster) -> None:
    before = [len(node.runtime.table) for node in cluster]
    began = cluster.now()
    result = start(cluster[0], [ChildSpec("endless", (children.start_never_returns, ())), *counters(2)], timeout=3.0)
    assert cluster.now() - began == pytest.approx(3.0, abs=0.1)
    assert [(error.child_id, error.reason) for error in result.errors] == [("endless", "timeout")]
    assert sorted(result.started) == ["c0", "c1"]
    assert journal[0][0] == "left"
    assert not any(node.runtime.local(journal[0][1]) for node in cluster)
    stop(cluster[0], ["c0", "c1"])
    assert_untouched(cluster)
    assert [len(node.runtime.table) for node in cluster] == before


def test_a_failed_id_can_be_started_again(cluster: Cluster) -> None:
    start(cluster[0], ChildSpec("kid", (children.start_raises, ())))
    assert start(cluster[1], Counter.child_spec(id="kid")).status == "ok"


def test_an_init_that_is_ignored_is_a_failure(cluster: Cluster) -> None:
    assert start(cluster[0], ChildSpec("none", (children.start_returns_nothing, ()))).status == "error"
    assert_untouched(cluster)


# -- lookups ---------------------------------------------------------------------------------------------------------


def test_get_pid_answers_on_the_callers_node_when_the_future_resolves(cluster: Cluster) -> None:
    for number, node in enumerate([cluster[0], cluster[1], cluster[0], cluster[1]]):

        def start_and_look(number: int = number) -> tuple[Any, Pid | None]:
            result = ProcessHub.start_child(HUB, Counter.child_spec(id=f"k{number}")).result()
            return result.pid, ProcessHub.get_pid(HUB, f"k{number}")

        from_result, from_lookup = node.run(start_and_look)
        assert from_result == from_lookup is not None


def test_lookups_know_what_was_started(cluster: Cluster) -> None:
    spec = Counter.child_spec(5, id="kid", restart="transient")
    result = start(cluster[0], spec, metadata={"tag": "animals", "size": 3})
    settle(cluster)
    for node in cluster:
        info = node.run(ProcessHub.child_lookup, HUB, "kid")
        assert info is not None
        assert info.nodes == {result.node: result.pid}
        assert info.states == {result.node: "running"}
        assert info.metadata == {"tag": "animals", "size": 3}
        assert (info.spec.id, info.spec.restart) == ("kid", "transient")
        assert node.run(ProcessHub.get_pids, HUB, "kid") == [result.pid]
        assert node.run(ProcessHub.process_list, HUB) == {"kid": {result.node: result.pid}}
        assert node.run(ProcessHub.registry_dump, HUB) == {"kid": info}
        assert node.run(ProcessHub.owners, HUB, "kid") == [result.node]
        local = {"kid": result.pid} if node.name == result.node else {}
        assert node.run(ProcessHub.process_list, HUB, "local") == local


def test_lookups_of_an_unknown_child_find_nothing(cluster: Cluster) -> None:
    node = cluster[0]
    assert node.run(ProcessHub.get_pid, HUB, "x") is None
    assert node.run(ProcessHub.get_pids, HUB, "x") == []
    assert node.run(ProcessHub.child_lookup, HUB, "x") is None
    with pytest.raises(NoProcess):
        node.run(GenServer.call, ProcessHub.via(HUB, "x"), "get")


def test_process_list_refuses_an_unknown_scope(cluster: Cluster) -> None:
    with pytest.raises(ValueError, match="universe"):
        cluster[0].run(ProcessHub.process_list, HUB, "universe")


def test_changing_what_a_lookup_returned_changes_nothing(cluster: Cluster) -> None:
    start(cluster[0], Counter.child_spec(id="kid"), metadata={"list": [1]})

    def spoil() -> None:
        info = ProcessHub.child_lookup(HUB, "kid")
        assert info is not None
        info.nodes.clear()
        info.metadata["more"] = 1
        ProcessHub.process_list(HUB)["kid"].clear()
        ProcessHub.registry_dump(HUB).clear()

    cluster[0].run(spoil)
    info = cluster[0].run(ProcessHub.child_lookup, HUB, "kid")
    assert info is not None
    assert info.metadata == {"list": [1]}
    assert len(info.nodes) == 1


def test_the_metadata_of_a_start_is_a_copy(cluster: Cluster) -> None:
    metadata: dict[str, Any] = {"n": 1, "list": [1]}

    def start_and_change() -> None:
        future = ProcessHub.start_child(HUB, Counter.child_spec(id="kid"), metadata=metadata)
        metadata["n"] = 2
        metadata["list"].append(2)
        future.result()

    cluster[0].run(start_and_change)
    settle(cluster)
    for node in cluster:
        info = node.run(ProcessHub.child_lookup, HUB, "kid")
        assert info is not None
        assert info.metadata == {"n": 1, "list": [1]}


def test_nodes_are_sorted_with_or_without_the_local_one(cluster: Cluster) -> None:
    names = [node.name for node in cluster]
    assert cluster[1].run(ProcessHub.nodes, HUB) == [names[0]]
    assert cluster[1].run(ProcessHub.nodes, HUB, True) == sorted(names)


def test_the_result_of_a_start_is_in_the_order_of_the_request(cluster: Cluster) -> None:
    result = start(cluster[0], counters(20))
    assert result.child_ids == [f"c{number}" for number in range(20)]


def test_a_timeout_of_result_cancels_nothing(cluster: Cluster) -> None:
    def impatient() -> Any:
        future = ProcessHub.start_child(HUB, ChildSpec("slow", (children.Slow.start_link, (2.0,))))
        with pytest.raises(CallTimeout):
            future.result(0.5)
        return future.result()

    assert cluster[0].run(impatient).status == "ok"


def test_a_future_may_be_ignored(cluster: Cluster) -> None:
    cluster[0].run(lambda: ProcessHub.start_child(HUB, Counter.child_spec(id="kid")) and None)
    cluster.run_until(lambda: runs(cluster).get("kid"))


def test_a_stop_that_takes_too_long_says_timeout(cluster: Cluster) -> None:
    start(cluster[0], ChildSpec("mule", (Stubborn.start_link, (30.0,)), shutdown="infinity"))
    result = stop(cluster[0], "mule", timeout=1.0)
    assert [(error.child_id, error.reason) for error in result.errors] == [("mule", "timeout")]
    cluster.advance(40.0)
    assert runs(cluster) == {}


def test_children_start_from_a_greenlet_that_is_no_server(cluster: Cluster) -> None:
    """Every function works in any process of the node."""
    done: list[Any] = []
    cluster[0].run(
        lambda: process.spawn(lambda: done.append(ProcessHub.start_child(HUB, Counter.child_spec(id="a")).result()))
    )
    cluster.run_until(lambda: done)
    assert done[0].status == "ok"


@pytest.mark.parametrize("number", range(4))
def test_get_pid_answers_when_the_future_resolves_though_the_coordinator_is_busy(cluster: Cluster, number: int) -> None:
    """What the owner wrote reaches a busy coordinator after the reply has reached the caller."""

    def start_and_look() -> tuple[Any, Pid | None]:
        result = ProcessHub.start_child(HUB, Counter.child_spec(id=f"k{number}")).result()
        return result.pid, ProcessHub.get_pid(HUB, f"k{number}")

    coordinator = children.part_of(cluster[0], "coordinator")
    handle_cast = coordinator.handle_cast

    def handle_cast_slowly(request: Any) -> None:
        process.sleep(0.5)
        handle_cast(request)

    coordinator.handle_cast = handle_cast_slowly
    from_result, from_lookup = cluster[0].run(start_and_look)
    assert from_result == from_lookup is not None
