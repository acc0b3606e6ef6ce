"""GenServer.multi_call and abcast over nodes, on virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import supervisor.processes as process
from processhub.testing import Cluster
from supervisor.errors import EncodeError
from supervisor.gen_server import From, GenServer
from tests.processhub.cluster.servers import Echo, call, start
from tests.processhub.cluster.test_remote import NOWHERE, quietly_empty


class Slow(GenServer):
    """Takes as many seconds as it is asked to."""

    def handle_call(self, request: float, from_: From) -> Any:
        process.sleep(request)
        return process.self().node


@pytest.fixture
def three() -> Iterator[Cluster]:
    with Cluster(3) as cluster:
        for node in cluster:
            start(node, Echo, "echo")
        yield cluster


def names(cluster: Cluster) -> list[str]:
    return [node.name for node in cluster]


def multi_call(
    cluster: Cluster, nodes: list[str], request: Any, timeout: float | None = 5.0, name: Any = "echo"
) -> Any:
    return cluster[0].run(GenServer.multi_call, nodes, name, request, timeout)


def test_every_node_replies_in_the_order_asked_for(three: Cluster) -> None:
    asked = names(three)[::-1]
    replies, bad = multi_call(three, [*asked, *asked], ("ping", 1))
    assert list(replies.items()) == [(node, ("ping", 1)) for node in asked]
    assert bad == []
    quietly_empty(three)


def test_who_cannot_be_reached_crashes_or_has_no_such_process_is_bad(three: Cluster) -> None:
    first, second, third = three
    second.run(lambda: process.unregister("echo"))
    assert multi_call(three, [NOWHERE, *names(three)], 7) == ({first.name: 7, third.name: 7}, [NOWHERE, second.name])
    assert multi_call(three, [third.name], "crash") == ({}, [third.name])
    quietly_empty(three)


def test_all_nodes_are_asked_side_by_side_within_one_deadline(three: Cluster) -> None:
    for node in three:
        start(node, Slow, "slow")
    began = three.now()
    assert multi_call(three, names(three), 2.0, 2.5, "slow") == ({name: name for name in names(three)}, [])
    assert three.now() - began < 2.5
    began = three.now()
    assert multi_call(three, names(three), 4.0, 2.5, "slow") == ({}, names(three))
    assert three.now() - began == pytest.approx(2.5, abs=0.01)
    quietly_empty(three)


def test_a_late_reply_reaches_nobody(three: Cluster) -> None:
    def body() -> Any:
        outcome = GenServer.multi_call(names(three), "echo", "later", 1.0)
        process.sleep(5.0)
        return outcome, (process.info(process.self()) or {})["messages"]

    asking = three[0].begin(body)
    three.advance(2.0)
    for node in three:
        node.run(lambda: [GenServer.reply(from_, "late") for from_ in GenServer.call("echo", "casts")])
    three.run_until(asking.is_over)
    assert asking.outcome() == (({}, names(three)), [])
    quietly_empty(three)


def test_a_node_that_is_lost_meanwhile_is_bad_at_once(three: Cluster) -> None:
    first, second, third = three
    asking = first.begin(GenServer.multi_call, [second.name, third.name], "echo", "later", None)
    three.advance(0.5)
    three.crash(third)
    three.advance(60.0)
    assert not asking.is_over()
    second.run(lambda: [GenServer.reply(from_, "late") for from_ in GenServer.call("echo", "casts")])
    three.run_until(asking.is_over)
    assert asking.outcome() == ({second.name: "late"}, [third.name])


def test_what_cannot_be_sent_raises(three: Cluster) -> None:
    for request in (lambda: None, "lambda"):
        with pytest.raises(EncodeError):
            multi_call(three, names(three)[1:], request)
    quietly_empty(three)


def test_abcast_reaches_who_is_there_and_raises_nothing(three: Cluster) -> None:
    first, second, third = three
    first.run(lambda: process.unregister("echo"))
    second.run(GenServer.abcast, [NOWHERE, *names(three)], "echo", "hello")
    three.advance(0.1)
    for node in (second, third):
        assert call(node, "echo", "casts") == ["hello"]
