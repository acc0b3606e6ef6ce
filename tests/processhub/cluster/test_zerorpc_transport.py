from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import msgpack
import pytest
import zerorpc
import zmq
from gevent import socket
from gevent.threadpool import ThreadPool

from processhub.cluster import frame_sockets, zerorpc_transport
from processhub.cluster.addresses import bindable
from processhub.cluster.security import Keys, derive_keys, secure_client
from processhub.cluster.transport import FrameTooLarge, ListenError
from processhub.cluster.zerorpc_transport import ZerorpcTransport

COOKIE = "secret"
ROOT = Path(__file__).parents[3]


class Events:
    """A channel listener that keeps what it hears, and lets a test wait for it."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.on_event: Callable[[str], None] = lambda _event: None

    def _note(self, event: str) -> None:
        self.log.append(event)
        self.on_event(event)

    def connected(self) -> None:
        self._note("connected")

    def disconnected(self) -> None:
        self._note("disconnected")

    def writable(self) -> None:
        self._note("writable")

    def refused(self, why: str) -> None:
        self._note(f"refused: {why}")

    def wait(self, event: str, count: int = 1, seconds: float = 5.0) -> None:
        until(lambda: sum(each.startswith(event) for each in self.log) >= count, seconds, f"{count} x {event}")


def until(condition: Callable[[], Any], seconds: float = 5.0, what: str = "it") -> None:
    """Let the loop run until the condition holds."""
    with gevent.Timeout(seconds, AssertionError(f"{what} did not come within {seconds} s")):
        while not condition():
            gevent.sleep(0.001)  # real time: sockets signal through the loop; there is no event to wait for


def address_of(plain: Any) -> str:
    host, port = plain.getsockname()
    return f"{host}:{port}"


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def zeromq_threads() -> list[str]:
    """The names of ZeroMQ's own threads: others come and go with what else this process does."""
    names = []
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it ended while we looked
            names.append((thread / "comm").read_text().strip())
    return sorted(name for name in names if name.startswith("ZMQ"))


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    gevent.sleep(0)  # the loop itself has descriptors
    gevent.get_hub().threadpool.apply(lambda: None)  # and gevent's resolver a thread


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    before = descriptors(), zeromq_threads()
    yield
    until(lambda: descriptors() <= before[0], 5, "the end of all descriptors")
    until(lambda: len(zeromq_threads()) <= len(before[1]), 5, "the end of all of ZeroMQ's threads")


@pytest.fixture
def make() -> Iterator[Callable[..., ZerorpcTransport]]:
    with contextlib.ExitStack() as stack:

        def make(cookie: str = COOKIE, **options: Any) -> ZerorpcTransport:
            transport = ZerorpcTransport(cookie, **options)
            stack.callback(transport.close)
            return transport

        yield make


Make = Callable[..., ZerorpcTransport]


def listening(transport: ZerorpcTransport, address: str = "127.0.0.1:0") -> tuple[str, list[bytes]]:
    got: list[bytes] = []
    transport.listen(address, got.append)
    assert transport.address is not None
    return transport.address, got


def test_frames_arrive_whole_and_in_order(make: Make) -> None:
    address, got = listening(make())
    events = Events()
    channel = make().open(address, events)
    events.wait("connected")
    frames = [b"", b"\0", bytes(range(256)) * 4000, *(b"%d" % number for number in range(100))]
    assert all(channel.send(frame) for frame in frames)
    until(lambda: len(got) == len(frames))
    assert got == frames


def test_two_transports_of_one_operating_system_process_talk_both_ways(make: Make) -> None:
    left, right = make(), make()
    (left_address, left_got), (right_address, right_got) = listening(left), listening(right)
    events = Events(), Events()
    to_right, to_left = left.open(right_address, events[0]), right.open(left_address, events[1])
    for each in events:
        each.wait("connected")
    assert to_right.send(b"to right")
    assert to_left.send(b"to left")
    until(lambda: left_got and right_got)
    assert (left_got, right_got) == ([b"to left"], [b"to right"])


def test_a_frame_is_zerorpcs_event_so_that_its_own_puller_understands_it() -> None:
    context = zerorpc.Context()
    pusher = frame_sockets.FramePusher(context, derive_keys(COOKIE), {}, "127.0.0.1:1")
    events: list[bytes] = []
    pusher.socket.close()
    pusher._send = lambda event, _flags: events.append(event)  # type: ignore[assignment]  # zerorpc has no types
    assert pusher.push(b"x")
    event = zerorpc.Event.unpack(events[0])
    assert (event.name, event.args, event.header["v"]) == ("frame", [b"x"], 3)
    assert event.header["message_id"]
    context.term()


def test_before_it_is_connected_a_channel_takes_nothing(make: Make) -> None:
    address, got = listening(make())
    events = Events()
    channel = make().open(address, events)
    assert not channel.send(b"too early")
    events.wait("connected")
    assert channel.send(b"now")
    until(lambda: got)
    assert got == [b"now"]
    assert events.log == ["connected"]


def test_a_channel_to_a_node_that_is_not_there_connects_when_it_is(make: Make) -> None:
    first = make()
    address, _ = listening(first)
    first.close()
    events = Events()
    channel = make().open(address, events)
    gevent.sleep(0.1)  # real time: some attempts that fail
    assert events.log == []
    assert not channel.send(b"x")
    listening(make(), address)
    events.wait("connected")


def test_a_peer_that_restarts_on_its_port_is_found_again_and_gets_no_old_frames(make: Make) -> None:
    first = make()
    address, _ = listening(first)
    events = Events()
    channel = make().open(address, events)
    events.wait("connected")
    first.close()
    events.wait("disconnected")
    assert not channel.send(b"lost")
    _, got = listening(make(), address)
    events.wait("connected", 2)
    assert channel.send(b"new")
    until(lambda: got)
    assert got == [b"new"]
    assert events.log == ["connected", "disconnected", "connected"]


def test_signals_during_the_close_leave_no_context_behind(make: Make) -> None:
    address, _ = listening(make())
    events = Events()
    transport = make()
    channel = transport.open(address, events)
    events.wait("connected")
    while channel.send(bytes(200_000)):  # nobody reads: the close waits for LINGER, and signals come meanwhile
        pass
    heard: list[int] = []
    previous = signal.signal(signal.SIGALRM, lambda number, _frame: heard.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        transport.close()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert heard  # and the fixture finds no thread of ZeroMQ


def test_frames_that_wait_when_the_connection_is_lost_do_not_go_out_on_the_next_one(make: Make) -> None:
    first = make(queue_frames=4)
    address, _ = listening(first)
    events = Events()
    channel = make(queue_frames=4).open(address, events)
    events.wait("connected")
    while channel.send(b"old" + bytes(200_000)):  # nobody reads while this does not yield
        pass
    first.close()
    _, got = listening(make(), address)
    events.wait("connected", 2)
    assert channel.send(b"new")
    until(lambda: b"new" in got)
    assert got == [b"new"]


CHILD = """
import sys, gevent
from processhub.cluster.zerorpc_transport import ZerorpcTransport
transport = ZerorpcTransport({cookie!r})
transport.listen("127.0.0.1:0", lambda frame: None)
print(transport.address, flush=True)
gevent.sleep(60)
"""


def test_the_kill_of_a_peer_is_noticed_and_its_port_refuses(make: Make) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(cookie=COOKIE)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert child.stdout is not None
        address = child.stdout.readline().strip()
        events = Events()
        verdicts: list[bool] = []
        transport = make()
        transport.open(address, events)
        events.wait("connected")
        transport.probe(address, verdicts.append)
        until(lambda: verdicts)
        child.send_signal(signal.SIGKILL)
        child.wait()
        events.wait("disconnected", seconds=0.5)
        transport.probe(address, verdicts.append)
        until(lambda: len(verdicts) == 2, 0.5)
        assert verdicts == [True, False]
    finally:
        child.kill()
        child.wait()
        child.stdout.close()  # type: ignore[union-attr]


def test_a_peer_that_is_stopped_is_noticed_by_heartbeats_but_its_port_does_not_refuse(make: Make) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(cookie=COOKIE)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert child.stdout is not None
        address = child.stdout.readline().strip()
        events = Events()
        verdicts: list[bool] = []
        transport = make(heartbeat=0.1, heartbeat_timeout=0.3)
        transport.open(address, events)
        events.wait("connected")
        child.send_signal(signal.SIGSTOP)
        events.wait("disconnected", seconds=2.0)
        transport.probe(address, verdicts.append)
        until(lambda: verdicts, 2.0)
        assert verdicts == [True]
    finally:
        child.kill()
        child.wait()
        child.stdout.close()  # type: ignore[union-attr]


# -- strangers


def test_a_peer_with_another_cookie_is_refused_on_both_sides(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    address, got = listening(make())
    events = Events()
    channel = make("other").open(address, events)
    events.wait("refused")
    assert "probably another cookie" in events.log[0]
    assert not channel.send(b"x")
    until(lambda: "refused a peer" in caplog.text)
    assert got == []


def test_a_refused_channel_tries_again_after_a_pause_and_not_at_once(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zerorpc_transport, "_REFUSED_PAUSE", 0.2)
    server = make("other")
    address, _ = listening(server)
    events = Events()
    channel = make().open(address, events)
    events.wait("refused", 3)
    gevent.sleep(0.3)  # real time: a channel without a pause would be refused a hundred times
    assert len(events.log) <= 6
    server.close()
    _, got = listening(make(), address)  # the peer was given the right cookie
    events.wait("connected")
    assert channel.send(b"at last")
    until(lambda: got)


def test_a_client_with_the_servers_key_but_not_the_derived_client_key_is_refused(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, got = listening(make())
    public, secret = zmq.curve_keypair()
    intruder = make()
    intruder._keys = Keys(derive_keys(COOKIE).server_public, public, b"", secret)
    events = Events()
    intruder.open(address, events)
    events.wait("refused")
    assert "does not admit our key" in events.log[0]
    assert got == []


def test_a_server_that_accepts_and_closes_is_a_refusal(make: Make) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    accepted = gevent.spawn(lambda: listener.accept()[0].close())
    events = Events()
    try:
        make().open(address_of(listener), events)
        events.wait("refused")
        assert "connected" not in events.log
    finally:
        accepted.kill()
        listener.close()


def test_a_plain_client_without_keys_gets_nothing_through(make: Make) -> None:
    address, got = listening(make())
    pusher = zerorpc.Pusher(context=zerorpc.Context())
    pusher.connect(f"tcp://{address}")
    pusher._events._socket.setsockopt(zmq.LINGER, 0)
    pusher._events._socket.send(b"x", zmq.NOBLOCK)
    gevent.sleep(0.2)  # real time: what a stranger sends would be here by now
    assert got == []
    pusher.close()
    pusher._context.term()


@contextlib.contextmanager
def raw_pusher(address: str) -> Iterator[Any]:
    """A plain ZeroMQ socket of someone who knows the cookie."""
    context = zmq.Context()
    push = context.socket(zmq.PUSH)
    secure_client(push, derive_keys(COOKIE))
    push.connect(f"tcp://{address}")
    try:
        yield push
    finally:
        context.destroy(linger=0)


def event(name: Any, args: Any) -> bytes:
    packed: bytes = msgpack.packb(({"v": 3}, name, args))
    return packed


GARBAGE = [
    b"", b"\xc1", b"\xff" * 100, b"\x91" * 5000, event("frame", []), event("frame", [1]), event("frame", ["text"]),
    event("frame", [b"1", b"2"]), event("other", [b"x"]), event(None, [b"x"]), msgpack.packb("x"), msgpack.packb([1]),
    event("frame", [b"x"]) + b"tail", event("frame", {b"x": 1, b"y": 2}), event("frame", [b"x" * 1001]),
]  # fmt: skip


def test_garbage_of_a_peer_is_counted_logged_once_and_harms_nothing(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    server = make(max_frame=1000)
    address, got = listening(server)
    with raw_pusher(address) as push:
        for message in GARBAGE:
            push.send(message if len(message) < 2000 else message[:1500])
        push.send_multipart([b"many", b"parts"])
        push.send(event("frame", [b"good"]))
        until(lambda: got)
    assert got == [b"good"]
    assert server.malformed == len(GARBAGE) + 2
    assert caplog.text.count("malformed") == 1
    events = Events()
    channel = make().open(address, events)
    events.wait("connected")
    assert channel.send(b"other peers too")
    until(lambda: len(got) == 2)


def test_a_message_far_over_the_limit_costs_its_sender_the_connection_and_nobody_else(make: Make) -> None:
    server = make(max_frame=1000)
    address, got = listening(server)
    events = Events()
    channel = make().open(address, events)
    events.wait("connected")
    with raw_pusher(address) as push:
        push.send(b"x" * 100_000)
        gevent.sleep(0.1)  # real time: the message would be here by now
    assert channel.send(b"fine")
    until(lambda: got)
    assert got == [b"fine"]
    assert server.malformed == 0  # it did not even get through
    assert events.log == ["connected"]


def test_a_frame_over_the_limit_is_the_callers_mistake(make: Make) -> None:
    channel = make(max_frame=1000).open("127.0.0.1:1", Events())
    with pytest.raises(FrameTooLarge, match="1001 bytes"):
        channel.send(b"x" * 1001)


# -- full queues and busy loops


def test_a_full_channel_says_so_and_tells_when_it_is_writable_again(make: Make) -> None:
    address, got = listening(make(queue_frames=4))
    events = Events()
    channel = make(queue_frames=4).open(address, events)
    events.wait("connected")
    sent = 0
    while channel.send(b"%06d" % sent + bytes(200_000)):  # nobody reads while this does not yield
        sent += 1
        assert sent < 1000
    assert "writable" not in events.log
    events.wait("writable")
    assert channel.send(b"%06d" % sent)
    until(lambda: len(got) == sent + 1)
    assert [int(frame[:6]) for frame in got] == list(range(sent + 1))
    assert events.log == ["connected", "writable"]


def test_all_frames_arrive_when_every_writable_is_used_to_fill_the_channel_again(make: Make) -> None:
    address, got = listening(make(queue_frames=2))
    events = Events()
    channel = make(queue_frames=2).open(address, events)
    waiting = [b"%d" % number for number in range(5000)]
    expected = list(waiting)

    def pump(kind: str) -> None:
        if kind in ("connected", "writable"):
            while waiting and channel.send(waiting[0]):
                del waiting[0]

    events.on_event = pump
    until(lambda: len(got) == len(expected), 20)
    assert got == expected


def test_a_flood_of_frames_does_not_hold_the_loop(make: Make) -> None:
    server, turns = make(), [0]
    at_frame: list[int] = []
    count = 2000
    server.listen("127.0.0.1:0", lambda _frame: at_frame.append(turns[0]))
    events = Events()
    channel = make(queue_frames=count).open(str(server.address), events)
    events.wait("connected")
    for _ in range(count):
        while not channel.send(b"x"):
            events.wait("writable", events.log.count("writable") + 1)
    loop = gevent.get_hub().loop

    def turn() -> None:
        turns[0] += 1
        if len(at_frame) < count:
            callbacks[0] = loop.run_callback(turn)

    callbacks = [loop.run_callback(turn)]
    until(lambda: len(at_frame) == count)
    most = max(at_frame.count(number) for number in set(at_frame))
    assert most <= 2 * frame_sockets._FRAMES_PER_TURN


def test_a_receiver_that_raises_loses_its_frame_only(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    got: list[bytes] = []

    def receive(frame: bytes) -> None:
        if frame == b"bad":
            raise ValueError("boom")
        got.append(frame)

    server = make()
    server.listen("127.0.0.1:0", receive)
    events = Events()
    channel = make().open(str(server.address), events)
    events.wait("connected")
    for frame in (b"1", b"bad", b"2"):
        assert channel.send(frame)
    until(lambda: len(got) == 2)
    assert "boom" in caplog.text


def test_a_listener_that_raises_is_logged_and_hears_of_the_rest(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    server = make()
    address, _ = listening(server)
    events = Events()

    def fail(_kind: str) -> None:
        raise ValueError("boom")

    events.on_event = fail
    make().open(address, events)
    events.wait("connected")
    server.close()
    events.wait("disconnected")
    assert "boom" in caplog.text


# -- probes and addresses


def test_a_probe_tells_refused_from_accepted_and_from_unknown(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = make()
    address, _ = listening(transport)
    free = socket.create_server(("127.0.0.1", 0))
    gone = address_of(free)
    free.close()
    verdicts: dict[str, bool] = {}
    for each in (address, gone, "no.such.host.invalid:1", "127.0.0.1:nonsense"):
        transport.probe(each, lambda verdict, each=each: verdicts.update({each: verdict}))  # type: ignore[misc]
    until(lambda: len(verdicts) == 4)
    assert verdicts == {address: True, gone: False, "no.such.host.invalid:1": True, "127.0.0.1:nonsense": True}


def test_a_probe_that_gets_no_answer_is_over_in_half_a_second(make: Make) -> None:
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    fillers = [socket.socket() for _ in range(3)]
    verdicts: list[bool] = []
    try:
        for filler in fillers:  # a full backlog: further connections get no answer
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        make().probe(address_of(full), verdicts.append)
        until(lambda: verdicts, 1.0)
        assert verdicts == [True]
    finally:
        for each in (full, *fillers):
            each.close()


def test_a_probe_is_no_refused_peer(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    transport = make()
    verdicts: list[bool] = []
    address, _ = listening(transport)
    transport.probe(address, verdicts.append)
    until(lambda: verdicts)
    gevent.sleep(0.05)  # real time: until the server has seen the end of it
    assert "refused" not in caplog.text


def test_an_address_in_use_or_malformed_or_elsewhere_is_a_listen_error(make: Make) -> None:
    address, _ = listening(make())
    for wrong in (address, "127.0.0.1:x", "127.0.0.1", "192.0.2.1:0", "no.such.host.invalid:0", "127.0.0.1:70000"):
        transport = make()
        with pytest.raises(ListenError):
            transport.listen(wrong, lambda _frame: None)
        listening(transport)  # and it may be tried again


def test_a_host_name_is_bound_by_its_number() -> None:
    assert bindable("localhost:5") == "127.0.0.1:5"
    assert bindable("*:5") == "*:5"
    assert bindable("[::1]:5") == "[::1]:5"


@pytest.mark.skipif(not Path("/proc/sys/net/ipv6").exists(), reason="no IPv6")
def test_an_ipv6_address_works_in_brackets(make: Make) -> None:
    server = make()
    try:
        address, got = listening(server, "[::1]:0")
    except ListenError:
        pytest.skip("no IPv6 on this machine")
    events = Events()
    channel = make().open(address, events)
    events.wait("connected")
    assert channel.send(b"six")
    until(lambda: got)


# -- closing, threads


def test_nothing_is_called_after_a_close(make: Make) -> None:
    server, client = make(), make()
    address, _ = listening(server)
    events = Events()
    verdicts: list[bool] = []
    channel = client.open(address, events)
    client.probe(address, verdicts.append)
    channel.close()
    channel.close()
    client.close()
    client.close()
    server.close()
    gevent.sleep(0.1)  # real time: what was under way would report
    assert events.log == []
    assert verdicts == []
    assert not channel.send(b"x")


@pytest.mark.parametrize("what", ["channel", "transport"])
def test_a_listener_may_close_the_channel_or_the_transport(make: Make, what: str) -> None:
    address, _ = listening(make())
    client, events = make(), Events()
    channel = client.open(address, events)
    events.on_event = lambda _kind: channel.close() if what == "channel" else client.close()
    events.wait("connected")
    gevent.sleep(0.05)  # real time: what was under way would report
    assert events.log == ["connected"]


def test_a_receiver_may_close_the_transport_and_gets_no_more(make: Make) -> None:
    server = make()
    got: list[bytes] = []

    def receive(frame: bytes) -> None:
        got.append(frame)
        server.close()

    server.listen("127.0.0.1:0", receive)
    events = Events()
    channel = make().open(str(server.address), events)
    events.wait("connected")
    for _ in range(10):
        channel.send(b"x")
    events.wait("disconnected")
    assert got == [b"x"]


def test_frames_taken_before_a_close_still_go_out(make: Make) -> None:
    address, got = listening(make())
    client, events = make(), Events()
    channel = client.open(address, events)
    events.wait("connected")
    frames = [b"%d" % number for number in range(100)]
    assert all(channel.send(frame) for frame in frames)
    client.close()
    until(lambda: len(got) == 100)
    assert got == frames


def test_closing_does_not_wait_for_a_peer_that_does_not_read(make: Make) -> None:
    address, _ = listening(make())
    client, events = make(queue_frames=16), Events()
    channel = client.open(address, events)
    events.wait("connected")
    while channel.send(bytes(500_000)):
        pass
    with gevent.Timeout(5):
        before = gevent.get_hub().loop.now()
        client.close()
        gevent.get_hub().loop.update_now()
        assert gevent.get_hub().loop.now() - before < 1.0


def test_a_closed_transport_refuses_work(make: Make) -> None:
    transport = make()
    transport.close()
    for use in (
        lambda: transport.listen("127.0.0.1:0", lambda _frame: None),
        lambda: transport.open("127.0.0.1:1", Events()),
        lambda: transport.probe("127.0.0.1:1", lambda _verdict: None),
    ):
        with pytest.raises(RuntimeError, match="closed"):
            use()


def test_another_thread_is_refused_with_a_clear_error(make: Make) -> None:
    transport = make()
    channel = transport.open("127.0.0.1:1", Events())
    errors: list[BaseException] = []

    pool = ThreadPool(1)  # its threads are native ones, patched or not
    for call in (lambda: channel.send(b"x"), channel.close, transport.close, lambda: transport.open("h:1", Events())):
        try:
            pool.apply(call)
        except RuntimeError as error:
            errors.append(error)
    pool.kill()
    assert len(errors) == 4
    assert "belongs to the thread" in str(errors[0])


def test_many_channels_opened_and_closed_leave_nothing(make: Make) -> None:
    address, _ = listening(make())
    client = make()

    def open_and_close(times: int) -> int:
        for _ in range(times):
            events = Events()
            channel = client.open(address, events)
            events.wait("connected")
            channel.close()
        gevent.sleep(0.1)  # real time: ZeroMQ's thread closes what we let go
        return len(descriptors())

    few = open_and_close(3)
    assert open_and_close(30) <= few
    assert client._channels == {}


def test_an_error_half_way_leaves_nothing_open(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = make()
    with pytest.raises(ValueError, match="no host:port"):
        transport.open("nowhere", Events())

    def fail(*_arguments: Any) -> None:
        raise OSError("too many open files")

    for module, name in ((zerorpc_transport, "SocketWatcher"), (frame_sockets, "SocketMonitor")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, fail)
            use: Callable[[], Any] = lambda: transport.open("127.0.0.1:1", Events())  # noqa: E731
            if module is frame_sockets:
                use = lambda: transport.listen("127.0.0.1:0", lambda _frame: None)  # noqa: E731
            with pytest.raises(OSError, match="too many"):
                use()
