"""Sessions between two nodes: how they begin and end, order, loss, large ops, full queues. On virtual time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

import supervisor.processes as process
from processhub.cluster import frames, link
from processhub.cluster.frames import Data
from processhub.cluster.link import Link
from processhub.testing import Cluster, ClusterNode
from supervisor.errors import CallTimeout, NoConnection
from supervisor.gen_server import From, GenServer
from supervisor.signals import Down, ExitSignal
from tests.processhub.cluster.servers import Echo, call, start


@pytest.fixture
def pair() -> Iterator[Cluster]:
    with Cluster(2) as cluster:
        yield cluster


def link_of(node: ClusterNode, peer: ClusterNode) -> Link:
    return node.node.links.by_node[peer.name]


def sessions(a: ClusterNode, b: ClusterNode) -> tuple[int | None, ...]:
    here, there = link_of(a, b), link_of(b, a)
    return here.ours, here.theirs, there.ours, there.theirs


def deliver(target: ClusterNode, frame: bytes) -> None:
    """A frame arrives, on the loop's own greenlet as always."""
    target.runtime.scheduler.run_in_loop(target.node.links.receive, frame)
    target.cluster.settle()


def forge(source: ClusterNode, target: ClusterNode, ops: list[Any], ahead: int = 1, **head: int) -> None:
    """Deliver a data frame as if it came over the link."""
    sender = link_of(source, target)
    assert sender.theirs is not None
    fields = {
        "session": sender.ours,
        "answers": sender.theirs,
        "incarnation": 1,
        "sequence": link_of(target, source)._heard_sequence + ahead,
        **head,
    }
    if not head:
        sender._sequence = fields["sequence"]  # what it sends itself comes behind this
    packed = [op if isinstance(op, bytes) else source.node.codec.pack(op) for op in ops]
    deliver(target, frames.pack_data(source.node.codec, Data(**fields), packed))


# -- sessions --------------------------------------------------------------------------------------------------------


def test_both_sides_that_say_hello_at_once_agree_on_one_session(pair: Cluster) -> None:
    ours, theirs, their_ours, their_theirs = sessions(*pair)
    assert (ours, theirs) == (their_theirs, their_ours)
    hellos: list[bytes] = []
    pair.advance(1.0)
    pair.network.tap = lambda _now, _source, _target, frame: hellos.append(frame) if frame[0] == 0 else None
    pair.advance(5.0)
    assert hellos == []  # they do not go on answering each other


@pytest.mark.parametrize("seed", range(8))
def test_a_session_begins_although_hellos_are_lost(seed: int) -> None:
    with Cluster(2, seed) as cluster:
        cluster.drop(0, 1, 0.5)
        cluster.drop(1, 0, 0.5)
        for node, peer in ((0, 1), (1, 0)):
            cluster[node].runtime.scheduler.run_in_loop(link_of(cluster[node], cluster[peer]).restart_session, "test")
        cluster.advance(20.0)
        cluster.network.calm()
        cluster.advance(5.0)  # what the last losses lead to
        cluster.run_until(
            lambda: cluster.is_connected() and link_of(*cluster).up and link_of(cluster[1], cluster[0]).up
        )
        start(cluster[1], Echo, "echo")
        assert call(cluster[0], ("echo", cluster[1].name), "hello") == "hello"


def test_a_side_whose_last_hello_was_lost_is_answered_again(pair: Cluster) -> None:
    here, there = pair
    pair.advance(1.0)  # the last hellos of the beginning have arrived
    before = sessions(here, there)
    waiting = link_of(there, here)
    waiting.up = False  # as if the hello that answers its session had never come
    there.runtime.scheduler.run_in_loop(waiting.say_hello)
    pair.run_until(lambda: waiting.up, 1.5)
    assert sessions(here, there) == before


def test_the_end_of_a_session_ends_all_that_crosses_it_on_both_sides(pair: Cluster) -> None:
    here, there = pair
    heard: dict[str, list[Any]] = {here.name: [], there.name: []}
    waiting = []
    for node, peer in ((here, there), (there, here)):
        target = start(peer, Silent, "silent")
        waiting.append(node.begin(cross, target, heard[node.name]))
    pair.settle()
    here.runtime.scheduler.run_in_loop(link_of(here, there).restart_session, "test")
    pair.run_until(lambda: all(errand.is_over() for errand in waiting))
    for errand in waiting:
        assert errand.outcome() == ["NoConnection", "Down noconnection", "ExitSignal noconnection"]
    assert pair.is_connected()
    assert not here.runtime.scheduler.waits or all(w.target is None for w in here.runtime.scheduler.waits.values())


class Silent(GenServer):
    def handle_call(self, request: Any, from_: From) -> Any:
        from supervisor.gen_server import NoReply

        return NoReply()


def cross(target: Any, heard: list[Any]) -> list[str]:
    """Call, monitor and link; then say how each ended."""
    process.trap_exit(True)
    process.link(target)
    process.monitor(target)
    try:
        GenServer.call(target, "never", None)
    except NoConnection:
        heard.append("NoConnection")
    down = process.receive(lambda m: isinstance(m, Down))
    exit_signal = process.receive(lambda m: isinstance(m, ExitSignal))
    return [*heard, f"Down {down.reason}", f"ExitSignal {exit_signal.reason}"]


def test_frames_of_an_earlier_session_never_count(pair: Cluster) -> None:
    here, there = pair
    start(there, Echo, "echo")
    old_ours, old_theirs, *_ = sessions(here, there)
    here.runtime.scheduler.run_in_loop(link_of(here, there).restart_session, "test")
    pair.run_until(lambda: link_of(here, there).up and link_of(there, here).up)
    assert old_ours is not None
    assert old_theirs is not None
    new = sessions(here, there)
    forge(here, there, [[2, "echo", "old"]], session=old_ours, answers=old_theirs)
    forge(here, there, [[2, "echo", "half old"]], answers=old_theirs)
    assert call(here, ("echo", there.name), "casts") == []
    assert sessions(here, there) == new


def test_a_duplicate_is_dropped(pair: Cluster) -> None:
    here, there = pair
    start(there, Echo, "echo")
    pair.duplicate(0, 1, 1.0)
    pair.duplicate(1, 0, 1.0)
    for number in range(20):
        here.run(GenServer.cast, ("echo", there.name), number)
    assert call(here, ("echo", there.name), "casts") == list(range(20))
    before = sessions(here, there)
    pair.advance(3.0)
    assert sessions(here, there) == before


def test_a_missing_frame_ends_the_session(pair: Cluster) -> None:
    here, there = pair
    start(there, Echo, "echo")
    before = sessions(here, there)
    forge(here, there, [[2, "echo", "too early"]], ahead=2)
    pair.run_until(lambda: link_of(here, there).up and link_of(there, here).up)
    assert not set(before) & set(sessions(here, there))
    assert call(here, ("echo", there.name), "casts") == []


@pytest.mark.parametrize("seed", range(5))
def test_what_arrives_of_casts_over_a_bad_line_is_in_order_and_never_twice(seed: int) -> None:
    with Cluster(2, seed) as cluster:
        start(cluster[1], Echo, "echo")
        cluster.drop(0, 1, 0.05)
        cluster.reorder(0, 1, 0.05)
        cluster.duplicate(0, 1, 0.1)
        cluster[0].run(cast_slowly, ("echo", cluster[1].name), 300)
        cluster.network.calm()
        cluster.run_until(lambda: link_of(*cluster).up)
        casts = cluster[1].run(GenServer.call, "echo", "casts")
        assert casts == sorted(set(casts))
        assert len(casts) > 50


def cast_slowly(server: Any, count: int) -> None:
    for number in range(count):
        GenServer.cast(server, number)
        process.sleep(0.05)


# -- large and malformed ---------------------------------------------------------------------------------------------


def test_a_large_op_goes_in_pieces_and_keeps_its_place(pair: Cluster) -> None:
    here, there = pair
    start(there, Echo, "echo")
    sizes: list[int] = []
    pair.network.tap = lambda _now, _source, _target, frame: sizes.append(len(frame))
    large = {"numbers": list(range(200_000)), "text": "x" * 300_000}
    here.run(lambda: [GenServer.cast(("echo", there.name), what) for what in ("before", large, "after")])
    assert call(here, ("echo", there.name), "casts") == ["before", large, "after"]
    assert max(sizes) < 2 * link.FRAME_BYTES


def test_malformed_frames_and_ops_are_counted_logged_once_and_harm_nothing(
    pair: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = pair
    victim = start(there, Echo, "echo")
    codec = here.node.codec
    with caplog.at_level(logging.WARNING, logger="processhub"):
        for frame in (b"", b"\0", b"\x01short", b"\2" * 100, b"\0" + codec.pack([1])):
            deliver(there, frame)
        before = sessions(here, there)
        ref, pid = codec.pack(here.runtime.new_ref()), codec.pack(victim)
        bad_ops = [
            None,
            5,
            [],
            [999],
            ["x"],
            [66],
            [66, 5, True],
            [66, b"\xc1", False],
            [66, b"rest of it", True],
            [70],
            [1],
            [1, [], "unhashable name"],
            [3, victim, "no pid", "no ref", 1],
            [5, "no ref", 1],
            [7, "no pid", victim],
            [9, "no pid", victim, "boom", False],
            [10, "no ref", here.runtime.new_pid(), victim],
            [10, here.runtime.new_ref(), "no pid", victim],
            b"\x93\x02" + pid + b"\xc7\x01\x77\x00",
            b"\x93\x04" + ref + b"\xc7\x01\x77\x00",
        ]
        for op in bad_ops:
            forge(here, there, [op])
    assert there.node.links.malformed >= len(bad_ops)
    assert len([r for r in caplog.records if "malformed" in r.getMessage()]) == 1
    assert sessions(here, there) == before
    assert call(here, victim, "still there?") == "still there?"
    assert there.run(GenServer.stop, victim) is None
    assert "not passed on" not in caplog.text


def test_the_rest_of_a_malformed_large_op_is_not_taken_for_an_op(pair: Cluster) -> None:
    here, there = pair
    start(there, Echo, "echo")
    pack = here.node.codec.pack
    rest, good = pack([2, "echo", "smuggled"]), pack([2, "echo", "good"])
    forge(here, there, [[66, b"\xc1", False], [66, rest, True], [66, good, True]])
    assert call(here, ("echo", there.name), "casts") == ["good"]


def test_a_frame_whose_ops_cannot_be_told_apart_ends_the_session_only(pair: Cluster) -> None:
    here, there = pair
    start(there, Echo, "echo")
    forge(here, there, [b"\xc1"])
    pair.run_until(lambda: link_of(here, there).up and link_of(there, here).up)
    assert call(here, ("echo", there.name), "still there?") == "still there?"


# -- full queues -----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processhub.cluster.link.QUEUE_BYTES", 20_000)
    monkeypatch.setattr("processhub.cluster.links.QUEUE_BYTES", 20_000)


def test_a_full_queue_blocks_the_sender_and_not_the_loop(pair: Cluster, small_queue: None) -> None:
    here, there = pair
    start(there, Echo, "echo")
    start(here, Echo, "local")
    pair.network.queue_frames = 1
    pair.network.throttle(here.name, there.name, 50_000)
    sender = here.begin(cast_many, ("echo", there.name), 100, "x" * 5_000)
    pair.advance(1.0)
    assert not sender.is_over()
    assert link_of(here, there).queued_bytes < 40_000
    assert here.run(GenServer.call, "local", "hello") == "hello"
    pair.run_until(sender.is_over)
    pair.run_until(lambda: link_of(here, there).queued_bytes == 0)
    assert len(call(here, ("echo", there.name), "casts", 60.0)) == 100


def cast_many(server: Any, count: int, what: Any) -> None:
    for _ in range(count):
        GenServer.cast(server, what)


def test_a_peer_that_stays_full_is_given_up(pair: Cluster, small_queue: None) -> None:
    here, there = pair
    start(there, Echo, "echo")
    fill(here, there)
    sender = here.begin(cast_many, ("echo", there.name), 10, "x" * 5_000)
    old = link_of(here, there).ours
    pair.advance(link.FULL_SECONDS - 1.0)
    assert not sender.is_over()
    pair.advance(2.0)
    assert sender.is_over()
    assert link_of(here, there).ours != old


def fill(here: ClusterNode, there: ClusterNode) -> None:
    """The link's channel takes nothing any more, without any sign of loss."""
    channel: Any = link_of(here, there).channel
    channel.send = lambda frame: False


def test_a_call_over_a_full_link_ends_within_its_own_timeout(pair: Cluster, small_queue: None) -> None:
    here, there = pair
    start(there, Echo, "echo")
    fill(here, there)
    for _ in range(2):  # what the first one sends fills a frame, what the second one sends the queue
        here.begin(cast_many, ("echo", there.name), 10, "x" * 5_000)
        pair.settle()
    began = pair.now()
    with pytest.raises(CallTimeout):
        call(here, ("echo", there.name), "?", 2.0)
    assert pair.now() - began == pytest.approx(2.0, abs=0.01)


def test_each_of_many_calls_to_a_black_hole_ends_within_its_own_timeout(pair: Cluster) -> None:
    here, there = pair
    start(there, Echo, "echo")
    pair.cut(0, 1)
    pair.cut(1, 0)
    ended: list[float] = []
    began = pair.now()
    here.run(lambda: [process.spawn(call_and_note, ("echo", there.name), 1.0 + i / 5000, ended) for i in range(5000)])
    pair.run_until(lambda: len(ended) == 5000)
    assert max(ended) < 0.01
    assert pair.now() - began == pytest.approx(2.0, abs=0.01)


def call_and_note(server: Any, timeout: float, ended: list[float]) -> None:
    deadline = process.now() + timeout
    with pytest.raises((CallTimeout, NoConnection)):
        GenServer.call(server, "?", timeout)
    ended.append(process.now() - deadline)


def test_a_sender_that_is_killed_while_it_waits_for_room_leaves_nothing_behind(
    pair: Cluster, small_queue: None
) -> None:
    here, there = pair
    start(there, Echo, "echo")
    fill(here, there)
    sender = here.begin(cast_many, ("echo", there.name), 10, "x" * 5_000)
    pair.settle()
    here.run(lambda: process.exit(sender.pid, "kill"))
    pair.settle()
    assert sender.is_over()
    assert link_of(here, there)._blocked == []
