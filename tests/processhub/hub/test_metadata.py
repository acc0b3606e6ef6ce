"""Metadata and tags, and the children that each member says it runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from processhub import ChildEntry, EncodeError, HubNotAlive, ProcessHub, process
from processhub.testing import Cluster
from tests.processhub.hub.children import (
    HUB,
    Counter,
    Failing,
    Slow,
    cluster_of,
    counters,
    hub_of,
    journal,
    kill,
    local_pids,
    owner_of,
    pid_of,
    settle,
    start,
    stop,
)


@pytest.fixture(name="cluster")
def _cluster() -> Iterator[Cluster]:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(6), metadata={"tag": "blue", "n": 1})
        settle(cluster)
        yield cluster


def metadata(cluster: Cluster, child_id: str = "c1") -> list[Any]:
    """The metadata of a child as each node knows them."""
    return [node.run(ProcessHub.child_lookup, HUB, child_id).metadata for node in cluster]  # type: ignore[union-attr]


def update(cluster: Cluster, fn: Any, child_id: str = "c1", node: int = 0) -> Any:
    return cluster[node].run(ProcessHub.update_metadata, HUB, child_id, fn)


def tagged(cluster: Cluster, tag: Any) -> list[list[str]]:
    return [sorted(node.run(ProcessHub.tag_query, HUB, tag)) for node in cluster]


def test_updated_metadata_are_known_everywhere_and_no_child_is_restarted(cluster: Cluster) -> None:
    pid = pid_of(cluster[0], "c1")
    assert update(cluster, lambda old: {**old, "n": old["n"] + 1}) == {"tag": "blue", "n": 2}
    settle(cluster)
    assert metadata(cluster) == [{"tag": "blue", "n": 2}] * 3
    assert metadata(cluster, "c2") == [{"tag": "blue", "n": 1}] * 3
    assert pid_of(cluster[2], "c1") == pid


def test_the_function_runs_once_on_the_node_that_asked(cluster: Cluster) -> None:
    calls: list[str] = []

    def fn(old: dict[str, Any]) -> dict[str, Any]:
        calls.append(process.self().node)
        return {"seen": True}

    update(cluster, fn, node=1)
    settle(cluster)
    assert calls == [cluster[1].name]
    assert metadata(cluster) == [{"seen": True}] * 3


def test_of_two_updates_the_last_one_wins_on_every_node(cluster: Cluster) -> None:
    first = cluster[0].begin(ProcessHub.update_metadata, HUB, "c1", lambda old: {"by": 0})
    second = cluster[1].begin(ProcessHub.update_metadata, HUB, "c1", lambda old: {"by": 1})
    cluster.run_until(lambda: first.is_over() and second.is_over())
    settle(cluster)
    found = metadata(cluster)
    assert found[0] in ({"by": 0}, {"by": 1})
    assert found == [found[0]] * 3
    update(cluster, lambda old: {"by": 2}, node=2)
    settle(cluster)
    assert metadata(cluster) == [{"by": 2}] * 3


def test_an_update_that_changes_nothing_writes_nothing(cluster: Cluster) -> None:
    before = hub_of(cluster[0]).registry.digest()
    assert update(cluster, lambda old: old) == {"tag": "blue", "n": 1}
    assert hub_of(cluster[0]).registry.digest() == before


def test_what_an_update_gets_and_returns_are_copies(cluster: Cluster) -> None:
    kept: list[Any] = []

    def fn(old: dict[str, Any]) -> dict[str, Any]:
        old["list"] = [1]
        kept.append(old)
        return old

    returned = update(cluster, fn)
    kept[0]["list"].append(2)
    returned["list"].append(3)
    assert metadata(cluster)[0] == {"tag": "blue", "n": 1, "list": [1]}


def boom(old: Any) -> Any:
    old["half"] = "done"
    raise LookupError("as asked")


@pytest.mark.parametrize(
    ("fn", "error", "message"),
    [
        (lambda old: None, TypeError, "must return a mapping; it returned None"),
        (lambda old: ["a"], TypeError, r"it returned \['a'\]"),
        (lambda old: {"sock": object()}, EncodeError, r'metadata\["sock"\]'),
        (boom, LookupError, "as asked"),
    ],
)
def test_a_function_that_fails_or_returns_nonsense_changes_nothing(
    cluster: Cluster, fn: Any, error: type[Exception], message: str
) -> None:
    before = hub_of(cluster[0]).registry.digest()
    with pytest.raises(error, match=message):
        update(cluster, fn)
    assert hub_of(cluster[0]).registry.digest() == before
    assert metadata(cluster)[0] == {"tag": "blue", "n": 1}


def test_an_unknown_child_is_named(cluster: Cluster) -> None:
    with pytest.raises(KeyError, match="'hub' has no child 'nobody'"):
        update(cluster, lambda old: old, "nobody")
    with pytest.raises(HubNotAlive):
        cluster[0].run(ProcessHub.update_metadata, "other", "c1", dict)


def test_a_child_that_is_stopped_while_the_function_runs_does_not_come_back(cluster: Cluster) -> None:
    def slow(old: dict[str, Any]) -> dict[str, Any]:
        process.sleep(1.0)
        return {"late": True}

    errand = cluster[0].begin(ProcessHub.update_metadata, HUB, "c1", slow)
    cluster.advance(0.1)
    stop(cluster[1], "c1")
    cluster.run_until(errand.is_over)
    with pytest.raises(KeyError, match="'c1'"):
        errand.outcome()
    settle(cluster)
    assert cluster[0].run(ProcessHub.child_lookup, HUB, "c1") is None


def test_updated_metadata_stay_when_a_child_moves(cluster: Cluster) -> None:
    update(cluster, lambda old: {"tag": "red"})
    settle(cluster)
    owner = owner_of(cluster, "c1")
    cluster.crash(owner)
    settle(cluster)
    living = next(node for node in cluster if node.is_alive)
    info = living.run(ProcessHub.child_lookup, HUB, "c1")
    assert info is not None
    assert info.metadata == {"tag": "red"}
    assert list(living.run(ProcessHub.tag_query, HUB, "red")) == ["c1"]


def test_children_are_found_by_their_tag_with_their_pids_on_every_node(cluster: Cluster) -> None:
    start(cluster[0], Counter.child_spec(id="plain"))
    settle(cluster)
    found = cluster[2].run(ProcessHub.tag_query, HUB, "blue")
    assert found == {f"c{n}": {owner_of(cluster, f"c{n}").name: pid_of(cluster[0], f"c{n}")} for n in range(6)}
    assert tagged(cluster, "red") == [[], [], []]


def test_a_changed_tag_is_found_anew_and_one_taken_away_no_more(cluster: Cluster) -> None:
    update(cluster, lambda old: {"tag": "red"}, "c1")
    update(cluster, lambda old: {}, "c2")
    stop(cluster[0], "c3")
    settle(cluster)
    assert tagged(cluster, "red") == [["c1"]] * 3
    assert tagged(cluster, "blue") == [["c0", "c4", "c5"]] * 3


def test_a_tagged_child_that_has_failed_is_found_without_a_pid(cluster: Cluster) -> None:
    journal.append(("mended",))
    start(cluster[0], Failing.child_spec(id="f"), metadata={"tag": "weak"})
    settle(cluster)
    journal.remove(("mended",))
    kill(owner_of(cluster, "f"), pid_of(cluster[0], "f"))
    cluster.advance(0.1)
    assert cluster[0].run(ProcessHub.tag_query, HUB, "weak") == {"f": {}}


# -- which_children --------------------------------------------------------------------------------------------------


def test_every_member_lists_its_children(cluster: Cluster) -> None:
    listed = cluster[1].run(ProcessHub.which_children, HUB, "global")
    assert list(listed) == [node.name for node in cluster]
    for node in cluster:
        assert {entry.id: entry.pid for entry in listed[node.name]} == local_pids(node)
        assert cluster[node.index].run(ProcessHub.which_children, HUB, "local") == {node.name: listed[node.name]}
    entry = next(entry for entries in listed.values() for entry in entries if entry.id == "c1")
    assert entry == ChildEntry("c1", pid_of(cluster[0], "c1"), "worker", [Counter.__module__])


def test_a_child_that_is_being_started_is_listed_without_a_pid(cluster: Cluster) -> None:
    owner = owner_of(cluster, "slow")
    owner.begin(lambda: ProcessHub.start_child(HUB, Slow.child_spec(5.0, id="slow")))
    cluster.advance(1.0)
    (entries,) = owner.run(ProcessHub.which_children, HUB, "local").values()
    assert [entry.pid for entry in entries if entry.id == "slow"] == [None]


def test_members_that_do_not_answer_are_left_out_after_one_deadline(cluster: Cluster) -> None:
    cluster.pause(1)
    cluster.pause(2)
    before = cluster.now()
    listed = cluster[0].run(ProcessHub.which_children, HUB, "global")
    assert list(listed) == [cluster[0].name]
    assert cluster.now() - before <= 5.1


def test_an_unknown_scope_is_refused(cluster: Cluster) -> None:
    with pytest.raises(ValueError, match="'everywhere'"):
        cluster[0].run(ProcessHub.which_children, HUB, "everywhere")
