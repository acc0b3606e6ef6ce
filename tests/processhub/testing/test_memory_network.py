"""The network in memory: what arrives, what does not, and that a seed replays it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable

import pytest

from processhub.cluster.transport import FrameTooLarge, ListenError
from processhub.testing.memory_network import MemoryNetwork
from processhub.testing.memory_transport import MemoryChannel, MemoryTransport
from processhub.testing.virtual_clock import VirtualTime

A, B, C = "a@host:1", "b@host:2", "c@host:3"


class Listener:
    """Keeps what a channel reports, each with its time."""

    def __init__(self, time: VirtualTime) -> None:
        self.time = time
        self.events: list[tuple[str, float]] = []

    def connected(self) -> None:
        self.events.append(("connected", self.time.now()))

    def disconnected(self) -> None:
        self.events.append(("disconnected", self.time.now()))

    def writable(self) -> None:
        self.events.append(("writable", self.time.now()))

    def refused(self, why: str) -> None:
        self.events.append(("refused", self.time.now()))

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]


class Net:
    """A network of some nodes that all listen, without an event loop."""

    def __init__(self, *names: str, seed: int = 0, queue_frames: int = 256) -> None:
        self.time = VirtualTime()
        self.network = MemoryNetwork(self.time, seed, queue_frames=queue_frames)
        self.got: dict[str, list[bytes]] = {}
        self.at: list[float] = []
        self.transports: dict[str, MemoryTransport] = {}
        for name in names:
            self.start(name)

    def start(self, name: str, cookie: str = "cookie") -> MemoryTransport:
        transport = self.transports[name] = self.network.transport(name, cookie)
        transport.listen(transport.address, self.receiver(name))
        return transport

    def receiver(self, name: str) -> Callable[[bytes], None]:
        frames = self.got[name] = []

        def receive(frame: bytes) -> None:
            frames.append(frame)
            self.at.append(self.time.now())

        return receive

    def open(self, source: str, target: str) -> tuple[MemoryChannel, Listener]:
        listener = Listener(self.time)
        return self.transports[source].open(target.rpartition("@")[2], listener), listener

    def connect(self, source: str, target: str) -> tuple[MemoryChannel, Listener]:
        channel, listener = self.open(source, target)
        self.turn(0.01)
        assert listener.kinds == ["connected"]
        return channel, listener

    def turn(self, seconds: float) -> None:
        end = self.time.now() + seconds
        while (instant := self.time.next_deadline()) is not None and instant <= end:
            self.time.move_to(instant)
            self.time.fire_due()
        self.time.move_to(end)


def frames(count: int, size: int = 4) -> list[bytes]:
    return [number.to_bytes(size, "big") for number in range(count)]


def send(channel: MemoryChannel, many: list[bytes]) -> None:
    for frame in many:
        assert channel.send(frame)


# -- without faults --------------------------------------------------------------------------------------------------


def test_frames_arrive_in_order_after_the_latency() -> None:
    net = Net(A, B)
    channel, _ = net.connect(A, B)
    sent_at = net.time.now()
    send(channel, frames(100))
    assert net.got[B] == []
    net.turn(1.0)
    assert net.got[B] == frames(100)
    assert {round(at - sent_at, 9) for at in net.at} == {net.network.latency}


def test_what_arrives_is_a_copy_in_bytes() -> None:
    net = Net(A, B)
    channel, _ = net.connect(A, B)
    buffer = bytearray(b"before")
    channel.send(buffer)  # type: ignore[arg-type]  # what we test
    buffer[:] = b"after!"
    net.turn(1.0)
    assert net.got[B] == [b"before"]
    assert type(net.got[B][0]) is bytes


def test_a_send_before_connected_returns_false() -> None:
    net = Net(A, B)
    channel, listener = net.open(A, B)
    assert not channel.send(b"early")
    net.turn(1.0)
    assert listener.kinds == ["connected"]
    assert net.got[B] == []


def test_a_channel_connects_when_its_peer_begins_to_listen() -> None:
    net = Net(A)
    channel, listener = net.open(A, B)
    net.turn(10.0)
    assert listener.events == []
    net.start(B)
    net.turn(1.0)
    assert listener.kinds == ["connected"]
    assert channel.send(b"x")


def test_a_frame_over_the_limit_is_a_mistake_of_the_caller() -> None:
    net = Net(A, B)
    channel, _ = net.connect(A, B)
    with pytest.raises(FrameTooLarge):
        channel.send(bytes(net.network.max_frame + 1))


def test_nothing_is_called_after_a_close() -> None:
    net = Net(A, B)
    channel, listener = net.connect(A, B)
    channel.close()
    channel.close()
    net.network.crash(B)
    net.turn(10.0)
    assert listener.kinds == ["connected"]
    assert not channel.send(b"x")


def test_frames_taken_before_a_close_arrive() -> None:
    net = Net(A, B)
    channel, _ = net.connect(A, B)
    channel.send(b"bye")
    net.transports[A].close()
    net.turn(1.0)
    assert net.got[B] == [b"bye"]


def test_a_listener_that_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    net = Net(A, B)
    _, listener = net.open(A, B)
    listener.connected = lambda: 1 / 0  # type: ignore[method-assign, assignment]
    with caplog.at_level(logging.ERROR):
        net.turn(1.0)
    assert "connected of a channel's listener failed" in caplog.text


def test_an_address_is_listened_on_once_and_only_by_its_owner() -> None:
    net = Net(A)
    with pytest.raises(ListenError):
        net.transports[A].listen("host:1", print)
    other = net.network.transport(B)
    with pytest.raises(ListenError):
        other.listen("host:1", print)
    other.listen("*:2", print)
    with pytest.raises(ValueError, match="has a transport"):
        net.network.transport(A)


def test_another_cookie_is_refused_again_and_again_until_the_channel_is_closed() -> None:
    net = Net(A)
    net.start(B, cookie="another")
    channel, listener = net.open(A, B)
    net.turn(3.5)
    assert listener.kinds == ["refused"] * 4
    channel.close()
    net.turn(10.0)
    assert len(listener.events) == 4


def test_names_and_addresses_mean_the_same_node() -> None:
    net = Net(A, B)
    assert net.network.path(A, B) is net.network.path("host:1", "host:2")


# -- probes ----------------------------------------------------------------------------------------------------------


def probe(net: Net, source: str, target: str) -> list[tuple[bool, float]]:
    began = net.time.now()
    answers: list[tuple[bool, float]] = []
    address = target.rpartition("@")[2]
    net.transports[source].probe(address, lambda answer: answers.append((answer, net.time.now() - began)))
    net.turn(5.0)
    return answers


def test_a_probe_tells_who_listens_and_who_does_not() -> None:
    net = Net(A, B)
    assert [answer for answer, _ in probe(net, A, B)] == [True]
    ((answer, after),) = probe(net, A, C)
    assert not answer
    assert after < 0.01
    net.network.crash(B)
    assert [answer for answer, _ in probe(net, A, B)] == [False]


@pytest.mark.parametrize("cut", [(A, B), (B, A)])
def test_a_probe_over_a_cut_path_tells_nothing(cut: tuple[str, str]) -> None:
    net = Net(A, B)
    net.network.crash(B)
    net.network.cut(*cut)
    assert [(answer, round(after, 3)) for answer, after in probe(net, A, B)] == [(True, 0.5)]


def test_a_probe_of_a_paused_node_tells_nothing() -> None:
    net = Net(A, B)
    net.network.pause(B)
    assert [answer for answer, _ in probe(net, A, B)] == [True]


def test_no_verdict_comes_after_the_transport_is_closed() -> None:
    net = Net(A, B)
    answers: list[bool] = []
    net.transports[A].probe("host:2", answers.append)
    net.transports[A].close()
    net.turn(5.0)
    assert answers == []


# -- cuts ------------------------------------------------------------------------------------------------------------


def test_a_cut_is_one_way_and_noticed_by_the_sender_after_the_heartbeat() -> None:
    net = Net(A, B)
    forth, forth_listener = net.connect(A, B)
    back, back_listener = net.connect(B, A)
    cut_at = net.time.now()
    net.network.cut(A, B)
    assert forth.send(b"vanishes")
    assert back.send(b"arrives")
    net.turn(4.9)
    assert forth_listener.kinds == ["connected"]
    net.turn(20.0)
    assert (net.got[B], net.got[A]) == ([], [b"arrives"])
    assert forth_listener.events[1:] == [("disconnected", cut_at + 5.0)]
    assert back_listener.kinds == ["connected"]
    assert not forth.send(b"x")


def test_a_channel_connects_again_after_the_heal() -> None:
    net = Net(A, B)
    channel, listener = net.connect(A, B)
    net.network.cut(A, B)
    net.turn(20.0)
    net.network.heal()
    net.turn(1.0)
    assert listener.kinds == ["connected", "disconnected", "connected"]
    send(channel, frames(3))
    net.turn(1.0)
    assert net.got[B] == frames(3)


def test_a_short_cut_goes_unnoticed_but_for_the_frames() -> None:
    net = Net(A, B)
    channel, listener = net.connect(A, B)
    for _ in range(3):  # each shorter than the heartbeat: they must not add up
        net.network.cut(A, B)
        channel.send(b"vanishes")
        net.turn(3.0)
        net.network.heal(A, B)
        net.turn(0.1)
    channel.send(b"arrives")
    net.turn(20.0)
    assert listener.kinds == ["connected"]
    assert net.got[B] == [b"arrives"]


def test_frames_on_their_way_are_lost_when_the_connection_is() -> None:
    net = Net(A, B)
    channel, _ = net.connect(A, B)
    net.network.delay(A, B, 8.0)
    channel.send(b"slow")
    net.network.cut(A, B)
    net.turn(5.5)
    net.network.heal()
    net.network.delay(A, B, 0.0)
    net.turn(20.0)
    assert net.got[B] == []


def test_a_partition_separates_groups_and_a_heal_joins_them() -> None:
    net = Net(A, B, C)
    channels = {(x, y): net.connect(x, y)[0] for x in (A, B, C) for y in (A, B, C) if x != y}

    def who_reaches_whom() -> set[tuple[str, str]]:
        before = {name: len(got) for name, got in net.got.items()}
        reached = set()
        for (source, target), channel in channels.items():
            channel.send(b"x")
            net.turn(0.01)
            if len(net.got[target]) > before[target]:
                reached.add((source, target))
                before[target] += 1
        return reached

    net.network.partition([[A, B], [C]])
    assert who_reaches_whom() == {(A, B), (B, A)}
    net.network.partition([[B]])  # replaces the former; A and C are in no group: one more
    assert who_reaches_whom() == {(A, C), (C, A)}
    net.network.heal()
    assert who_reaches_whom() == set(channels)


# -- random faults ---------------------------------------------------------------------------------------------------


def test_dropped_frames_are_lost_and_the_others_keep_their_order() -> None:
    net = Net(A, B)
    channel, _ = net.connect(A, B)
    net.network.drop(A, B, 0.5)
    send(channel, frames(200))
    net.turn(1.0)
    assert 60 < len(net.got[B]) < 140
    assert net.got[B] == sorted(net.got[B])


def test_a_delay_with_jitter_keeps_the_order() -> None:
    net = Net(A, B)
    channel, _ = net.connect(A, B)
    net.network.delay(A, B, 2.0, jitter=1.0)
    sent_at = net.time.now()
    send(channel, frames(50))
    net.turn(1.9)
    assert net.got[B] == []
    net.turn(5.0)
    assert net.got[B] == frames(50)
    assert all(2.0 <= at - sent_at <= 3.1 for at in net.at)


def test_reordered_frames_are_overtaken_and_none_is_lost() -> None:
    net = Net(A, B)
    channel, _ = net.connect(A, B)
    net.network.reorder(A, B, 0.3)
    send(channel, frames(100))
    net.turn(1.0)
    assert net.got[B] != frames(100)
    assert sorted(net.got[B]) == frames(100)


def test_duplicated_frames_arrive_twice() -> None:
    net = Net(A, B)
    channel, _ = net.connect(A, B)
    net.network.duplicate(A, B, 1.0)
    send(channel, frames(10))
    net.turn(1.0)
    assert sorted(net.got[B]) == sorted(frames(10) * 2)


def test_calm_takes_the_random_faults_back() -> None:
    net = Net(A, B)
    channel, _ = net.connect(A, B)
    net.network.drop(A, B, 1.0)
    net.network.duplicate(A, B, 1.0)
    net.network.calm()
    send(channel, frames(10))
    net.turn(1.0)
    assert net.got[B] == frames(10)


def run_with_faults(seed: int, other_traffic: bool = False) -> str:
    """A digest of everything that arrives at B, and when."""
    net = Net(A, B, C, seed=seed)
    arrived = hashlib.sha256()
    net.network.tap = lambda now, _, target, frame: (
        arrived.update(repr((now, frame)).encode()) if target == "host:2" else None
    )
    channel, _ = net.connect(A, B)
    other, _ = net.connect(A, C)
    for target in (B, C):
        net.network.drop(A, target, 0.1)
        net.network.delay(A, target, 0.01, jitter=0.02)
        net.network.reorder(A, target, 0.2)
        net.network.duplicate(A, target, 0.2)
    for frame in frames(100):
        channel.send(frame)
        if other_traffic:
            other.send(frame)
        net.turn(0.003)
    net.turn(1.0)
    return arrived.hexdigest()


def test_a_seed_replays_exactly_whatever_the_hash_seed_is() -> None:
    assert run_with_faults(7) == run_with_faults(7)
    assert run_with_faults(7) != run_with_faults(8)
    # A constant, for it must be the same under every PYTHONHASHSEED and version of Python (3.10 to 3.13 gave this one).
    assert run_with_faults(7)[:16] == "dcaaa7b7565d17d9"


def test_what_happens_on_one_path_does_not_depend_on_the_others() -> None:
    assert run_with_faults(7) == run_with_faults(7, other_traffic=True)


# -- full queues -----------------------------------------------------------------------------------------------------


def test_a_slow_path_fills_the_queue_and_writable_comes_once() -> None:
    net = Net(A, B, queue_frames=10)
    channel, listener = net.connect(A, B)
    net.network.throttle(A, B, 1000.0)
    taken = [channel.send(bytes(100)) for _ in range(15)]
    assert taken == [True] * 10 + [False] * 5
    net.turn(0.05)
    assert listener.kinds == ["connected"]
    net.turn(10.0)
    assert listener.kinds == ["connected", "writable"]
    assert len(net.got[B]) == 10
    assert net.at[-1] == pytest.approx(1.01, abs=0.01)


def test_the_queue_to_a_paused_node_fills_and_is_taken_up_again() -> None:
    net = Net(A, B, queue_frames=10)
    channel, listener = net.connect(A, B)
    net.network.pause(B)
    taken = [channel.send(frame) for frame in frames(12)]
    net.turn(5.0)
    assert taken == [True] * 10 + [False] * 2
    assert net.got[B] == []
    net.network.resume(B)
    net.turn(1.0)
    assert net.got[B] == frames(10)
    assert listener.kinds == ["connected", "writable"]
    send(channel, frames(3))


def test_a_slow_path_to_a_paused_node_stays_full_until_it_goes_on() -> None:
    net = Net(A, B, queue_frames=2)
    channel, listener = net.connect(A, B)
    net.network.throttle(A, B, 1000.0)
    send(channel, frames(2, size=100))
    net.network.pause(B)
    net.turn(5.0)
    assert not channel.send(b"x")
    net.turn(5.0)
    assert listener.kinds == ["connected"]
    net.network.resume(B)
    net.turn(1.0)
    assert listener.kinds == ["connected", "writable"]


def test_a_lost_connection_forgets_that_it_was_full() -> None:
    net = Net(A, B, queue_frames=1)
    channel, listener = net.connect(A, B)
    net.network.throttle(A, B, 1.0)
    send(channel, [b"0123456789"])
    assert not channel.send(b"x")
    net.network.crash(B)
    net.turn(60.0)
    assert listener.kinds == ["connected", "disconnected"]


# -- crashes and pauses ----------------------------------------------------------------------------------------------


def test_a_crash_is_noticed_by_all_at_once_and_the_dead_hear_nothing() -> None:
    net = Net(A, B, C)
    _, from_a = net.connect(A, B)
    _, from_c = net.connect(C, B)
    _, of_the_dead = net.connect(B, A)
    crashed_at = net.time.now()
    net.network.crash(B)
    net.turn(10.0)
    for listener in (from_a, from_c):
        assert listener.kinds == ["connected", "disconnected"]
        assert listener.events[1][1] - crashed_at < 0.001
    assert of_the_dead.kinds == ["connected"]


def test_frames_for_an_earlier_life_do_not_reach_the_next_one() -> None:
    net = Net(A, B)
    channel, listener = net.connect(A, B)
    channel.send(b"for the first life")
    net.network.crash(B)
    net.start(B)
    net.turn(1.0)
    assert net.got[B] == []
    assert listener.kinds == ["connected", "disconnected", "connected"]
    channel.send(b"for the second life")
    net.turn(1.0)
    assert net.got[B] == [b"for the second life"]


def test_a_crash_behind_a_cut_is_noticed_by_the_heartbeat() -> None:
    net = Net(A, B)
    _, listener = net.connect(A, B)
    net.network.cut(B, A)  # the news cannot come back
    crashed_at = net.time.now()
    net.network.crash(B)
    net.turn(20.0)
    assert listener.events[1:] == [("disconnected", crashed_at + 5.0)]


def test_a_crash_behind_a_cut_is_noticed_when_the_cut_is_healed() -> None:
    net = Net(A, B)
    _, listener = net.connect(A, B)
    net.network.cut(A, B)
    net.network.crash(B)
    net.turn(2.0)
    net.network.heal()
    net.turn(0.1)
    assert listener.kinds == ["connected", "disconnected"]


def test_a_pause_holds_frames_and_reports_back_and_keeps_channels_connected() -> None:
    net = Net(A, B, C)
    to_paused, to_listener = net.connect(A, B)
    _, from_listener = net.connect(B, C)
    net.network.pause(B)
    send(to_paused, frames(5))
    net.network.crash(C)
    net.turn(20.0)
    assert (net.got[B], to_listener.kinds, from_listener.kinds) == ([], ["connected"], ["connected"])
    net.network.resume(B)
    net.turn(0.1)
    assert net.got[B] == frames(5)
    assert from_listener.kinds == ["connected", "disconnected"]


def test_a_channel_to_a_paused_node_connects_when_it_goes_on() -> None:
    net = Net(A, B)
    net.network.pause(B)
    _, listener = net.open(A, B)
    net.turn(5.0)
    assert listener.kinds == []
    net.network.resume(B)
    net.turn(1.0)
    assert listener.kinds == ["connected"]


def test_a_node_can_crash_while_it_is_paused() -> None:
    net = Net(A, B)
    channel, listener = net.connect(A, B)
    net.network.pause(B)
    send(channel, frames(3))
    net.turn(1.0)
    net.network.crash(B)
    assert [answer for answer, _ in probe(net, A, B)] == [False]
    net.start(B)
    net.turn(1.0)
    assert net.got[B] == []
    assert listener.kinds == ["connected", "disconnected", "connected"]
