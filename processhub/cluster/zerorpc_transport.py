"""The transport on zerorpc: a Puller takes the frames of all peers, a Pusher brings frames to each of them.

The sockets, the context and the event format are zerorpc's: a frame is the event `frame` with one bytes argument. Its
greenlets are not used. Its receiver ends for good at the first malformed message, and a loop watcher that reads
the socket is also two to three times faster.

Connections are encrypted and authenticated with CURVE (see `security`). ZeroMQ reconnects by itself; its monitor tells
what happens. ZeroMQ's heartbeats run in its own thread, so a node whose loop is busy is told apart from a dead one.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Callable
from typing import Any, Final

import gevent
import msgpack
import zerorpc
import zmq
from gevent import monkey, socket

from processhub.cluster.security import Keys, RefusalLog, ZapHandler, derive_keys, secure_client, secure_server
from processhub.cluster.transport import ChannelListener, FrameTooLarge, ListenError
from processhub.cluster.watching import SocketMonitor, SocketWatcher

MAX_FRAME: Final = 4 * 1024 * 1024
"""Bytes of a frame. Larger ones would hold back heartbeats on a slow line: 4 MiB in 5 s need 7 Mbit/s."""

_EVENT: Final = "frame"
_OVERHEAD: Final = 1024  # for the event around a frame
_FRAMES_PER_TURN: Final = 100
_LINGER: Final = 100  # milliseconds that frames taken may still need after a close
_RECONNECT: Final = (50, 1000)  # milliseconds: the first pause, and the longest
_REFUSED_PAUSE: Final = 1.0
_HANDSHAKE: Final = 30_000  # milliseconds; long, for the peer's loop answers ZAP and may be busy
_PROBE_TIMEOUT: Final = 0.5

_FAILED: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
_CLIENT_EVENTS: Final = zmq.EVENT_CONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | _FAILED

logger = logging.getLogger(__name__)
_thread = monkey.get_original("_thread", "get_ident")  # the real one: a patched one tells greenlets apart


class ZerorpcTransport:
    """A `Transport` with a ZeroMQ context of its own, so that several fit into one operating-system process.

    Args:
        cookie: the shared secret; a peer with another one is refused.
        max_frame: the largest frame, in bytes. A peer that sends a larger one is disconnected.
        queue_frames: how many frames a channel takes before `send` returns False, and again as many at the receiver.
        heartbeat: seconds between two heartbeats on an idle connection.
        heartbeat_timeout: seconds without a sign of life after which a connection is closed.

    Attributes:
        address: "host:port" that `listen` has bound, with the real port if 0 was asked for; None before.
        malformed: how many messages were dropped because they were no frames.
    """

    def __init__(
        self,
        cookie: str,
        *,
        max_frame: int = MAX_FRAME,
        queue_frames: int = 256,
        heartbeat: float = 1.0,
        heartbeat_timeout: float = 5.0,
    ) -> None:
        self.address: str | None = None
        self._keys = derive_keys(cookie)
        self._max_frame = max_frame
        self._options = _options(max_frame, queue_frames, heartbeat, heartbeat_timeout)
        self._context = zerorpc.Context()
        self._thread = _thread()
        self._closed = False
        self._zap: ZapHandler | None = None
        self._puller: FramePuller | None = None
        self._channels: dict[PusherChannel, None] = {}
        self._probes: dict[gevent.Greenlet[..., Any], None] = {}

    @property
    def malformed(self) -> int:
        return self._puller.malformed if self._puller is not None else 0

    def listen(self, address: str, receive: Callable[[bytes], None]) -> None:
        """See `Transport.listen`. At most once. A host that is no number is looked up, which may block the greenlet."""
        self._check()
        if self._puller is not None:
            raise ListenError(f"already listening on {self.address}")
        endpoint = f"tcp://{_bindable(address)}"
        zap = ZapHandler(self._context, self._keys)
        puller = FramePuller(self._context, self._keys, self._options, self._max_frame, receive)
        try:
            puller.bind(endpoint)
        except (zmq.ZMQError, OSError) as error:
            puller.close()
            zap.close()
            raise ListenError(error.errno, f"cannot listen on {address}: {error}") from error
        self._zap, self._puller = zap, puller
        self.address = puller.last_endpoint.removeprefix("tcp://")

    def open(self, address: str, listener: ChannelListener) -> PusherChannel:
        """See `Transport.open`."""
        self._check()
        pusher = FramePusher(self._context, self._keys, self._options, address)
        channel = PusherChannel(pusher, listener, self._max_frame, self._thread, self._forget)
        self._channels[channel] = None
        return channel

    def probe(self, address: str, verdict: Callable[[bool], None]) -> None:
        """See `Transport.probe`. Opens a plain TCP connection and closes it."""
        self._check()
        greenlet = gevent.spawn(_probe, address)
        self._probes[greenlet] = None

        def report(done: gevent.Greenlet[..., Any]) -> None:
            if self._probes.pop(greenlet, done) is None:
                verdict(bool(done.value))

        greenlet.link(report)

    def close(self) -> None:
        """See `Transport.close`. May hold the loop for a tenth of a second, while frames already taken go out."""
        if self._closed:
            return
        self._check()
        self._closed = True
        for greenlet in list(self._probes):
            del self._probes[greenlet]
            greenlet.kill(block=False)
        for channel in list(self._channels):
            channel.close()
        if self._puller is not None:
            self._puller.close()
        if self._zap is not None:
            self._zap.close()
        self._context.term()

    def _forget(self, channel: PusherChannel) -> None:
        self._channels.pop(channel, None)

    def _check(self) -> None:
        _check_thread(self._thread)
        if self._closed:
            raise RuntimeError("the transport is closed")


class FramePuller(zerorpc.Puller):  # type: ignore[misc]
    """A zerorpc Puller whose receiver is a loop watcher: it survives anything that a peer sends."""

    def __init__(
        self,
        context: Any,
        keys: Keys,
        options: dict[int, int],
        max_frame: int,
        receive: Callable[[bytes], None],
    ) -> None:
        super().__init__({}, context=context)
        self.malformed = 0
        self._receive = receive
        self._max_frame = max_frame
        self._socket = _take_over(self._events, options)
        secure_server(self._socket, keys)
        self._refusals = RefusalLog()
        self._monitor = SocketMonitor(self._socket, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, self._peer_failed)
        self._watcher = SocketWatcher(self._socket, self._read)

    @property
    def last_endpoint(self) -> str:
        endpoint: bytes = self._socket.getsockopt(zmq.LAST_ENDPOINT)
        return endpoint.rstrip(b"\0").decode()

    def close(self) -> None:
        """Stop listening. Safe to call twice and from `receive`."""
        self._watcher.close()
        self._monitor.close()
        self._socket.close(0)

    def _read(self) -> None:
        recv, unpackb = self._socket.recv, msgpack.unpackb
        for _ in range(_FRAMES_PER_TURN):
            if self._socket.closed:
                return
            try:
                message = recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                _header, name, (frame,) = unpackb(message, raw=False, strict_map_key=False)
            except Exception as error:
                self._drop(f"no event: {error!r}")
                continue
            if name != _EVENT or type(frame) is not bytes or len(frame) > self._max_frame:
                self._drop("no frame, or one that is too large")
                continue
            self._deliver(frame)
        self._watcher.again()  # a busy peer must not hold the loop

    def _deliver(self, frame: bytes) -> None:
        try:
            self._receive(frame)
        except Exception:
            logger.exception("the receiver of frames failed; the frame is lost")

    def _drop(self, why: str) -> None:
        self.malformed += 1
        if self.malformed == 1:
            logger.warning("dropped a malformed message of a peer (%s); further ones are only counted", why)

    def _peer_failed(self, _kind: int, code: int, address: str) -> None:
        self._refusals.note(address, f"its handshake is not ours (code {code:#x})")


class FramePusher(zerorpc.Pusher):  # type: ignore[misc]
    """A zerorpc Pusher that sends at once or not at all, to one address."""

    def __init__(self, context: Any, keys: Keys, options: dict[int, int], address: str) -> None:
        super().__init__(context=context)
        self.endpoint = f"tcp://{address}"
        self.socket = _take_over(self._events, options)
        secure_client(self.socket, keys)
        if "[" in address:
            self.socket.setsockopt(zmq.IPV6, 1)
        self._pack = msgpack.Packer(use_bin_type=True).pack
        self._new_id = context.new_msgid

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)  # zerorpc takes any name for a remote method

    def push(self, frame: bytes) -> bool:
        """Send without blocking; False if it cannot be done now."""
        event = self._pack(({"message_id": self._new_id(), "v": 3}, _EVENT, (frame,)))
        try:
            self.socket.send(event, zmq.NOBLOCK)
        except zmq.Again:
            return self.is_writable() and self._push_again(event)
        return True

    def is_writable(self) -> bool:
        """Whether a frame can be sent. Asking makes ZeroMQ look at its news, which a send does only now and then."""
        return bool(self.socket.getsockopt(zmq.EVENTS) & zmq.POLLOUT)

    def _push_again(self, event: bytes) -> bool:
        try:
            self.socket.send(event, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True


class PusherChannel:
    """A `Channel`: a Pusher, and what its monitor tells."""

    def __init__(
        self,
        pusher: FramePusher,
        listener: ChannelListener,
        max_frame: int,
        thread: int,
        closed: Callable[[PusherChannel], None],
    ) -> None:
        self._pusher = pusher
        self._listener: ChannelListener | None = listener
        self._max_frame = max_frame
        self._thread = thread
        self._on_close = closed
        self._is_up = False
        self._is_full = False
        self._in_handshake = False
        self._retry: Any = None
        self._monitor = SocketMonitor(pusher.socket, _CLIENT_EVENTS, self._event)
        self._watcher = SocketWatcher(pusher.socket, self._maybe_writable)
        pusher.connect(pusher.endpoint)

    def send(self, frame: bytes) -> bool:
        """See `Channel.send`. False on a closed channel."""
        if _thread() != self._thread:
            _check_thread(self._thread)
        if len(frame) > self._max_frame:
            raise FrameTooLarge(f"a frame of {len(frame)} bytes, but at most {self._max_frame} are allowed")
        # Before `connected` was reported nothing goes out, so that a listener sees one order of events.
        if not self._is_up or self._listener is None:
            return False
        if self._pusher.push(frame):
            return True
        self._is_full = True
        return False

    def close(self) -> None:
        """See `Channel.close`."""
        if self._listener is None:
            return
        _check_thread(self._thread)
        self._listener = None
        self._is_up = False
        if self._retry is not None:
            self._retry.close()
        self._watcher.close()
        self._monitor.close()
        self._pusher.socket.close(_LINGER)
        self._on_close(self)

    def _maybe_writable(self) -> None:
        if self._is_full and self._is_up and self._pusher.is_writable():
            self._is_full = False
            self._tell("writable")

    def _event(self, kind: int, value: int, _address: str) -> None:
        if kind == zmq.EVENT_CONNECTED:
            self._in_handshake = True
        elif kind == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._in_handshake = False
            self._is_up = True
            self._tell("connected")
        elif kind & _FAILED:
            self._handshake_failed(kind, value)
        elif kind == zmq.EVENT_DISCONNECTED:
            self._lost()

    def _lost(self) -> None:
        if self._in_handshake:
            self._refuse("the peer closed the connection in the handshake")
        elif self._is_up:
            self._is_up = self._is_full = False
            self._tell("disconnected")

    def _handshake_failed(self, kind: int, value: int) -> None:
        if kind == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL and value == errno.ETIMEDOUT:
            self._in_handshake = False  # its loop may just be busy: no refusal
        elif kind == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self._refuse(f"the peer does not admit our key (status {value})")
        elif kind == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            self._refuse(f"the peer's handshake is not ours (code {value:#x})")
        else:
            self._refuse("the peer broke off the handshake")

    def _refuse(self, why: str) -> None:
        if not self._in_handshake:
            return
        self._in_handshake = False
        self._pause()
        self._tell("refused", f"{why}: probably another cookie")

    def _pause(self) -> None:
        """ZeroMQ would try again every 50 ms, for the TCP connection did succeed."""
        with contextlib.suppress(zmq.ZMQError):
            self._pusher.disconnect(self._pusher.endpoint)
        if self._retry is None:
            self._retry = gevent.get_hub().loop.timer(_REFUSED_PAUSE)
        self._retry.start(self._try_again)

    def _try_again(self) -> None:
        self._retry.stop()
        self._pusher.connect(self._pusher.endpoint)

    def _tell(self, what: str, *args: str) -> None:
        if self._listener is None:
            return
        try:
            getattr(self._listener, what)(*args)
        except Exception:
            logger.exception("%s of a channel's listener failed", what)


def _options(max_frame: int, queue_frames: int, heartbeat: float, heartbeat_timeout: float) -> dict[int, int]:
    return {
        zmq.IMMEDIATE: 1,  # queue for open connections only
        zmq.LINGER: _LINGER,
        zmq.SNDHWM: queue_frames,
        zmq.RCVHWM: queue_frames,
        zmq.MAXMSGSIZE: max_frame + _OVERHEAD,
        zmq.RECONNECT_IVL: _RECONNECT[0],
        zmq.RECONNECT_IVL_MAX: _RECONNECT[1],
        zmq.HANDSHAKE_IVL: _HANDSHAKE,
        # Both sides ask for signs of life, so the time-to-live that one side can impose on the other is not needed.
        zmq.HEARTBEAT_IVL: int(heartbeat * 1000),
        zmq.HEARTBEAT_TIMEOUT: int(heartbeat_timeout * 1000),
    }


def _take_over(events: Any, options: dict[int, int]) -> zmq.Socket[Any]:
    """The socket of a zerorpc object, free of zerorpc's own greenlet and watcher, with our options set."""
    for worker in (events._send, events._recv):
        task = getattr(worker, "_send_task", None) or getattr(worker, "_recv_task", None)
        if task is not None:
            task.kill(block=False)  # it has not begun to run: nothing is left of it
    events._send = events._recv = None
    held: zmq.Socket[Any] = events._socket
    watcher = held.__dict__["_state_event"]
    watcher.stop()
    watcher.close()
    held.__dict__["_state_event"] = None
    for option, value in options.items():
        held.setsockopt(option, value)
    return held


def _probe(address: str) -> bool:
    try:
        with gevent.Timeout(_PROBE_TIMEOUT, OSError):
            socket.create_connection(_split(address)).close()
    except OSError as error:
        return error.errno != errno.ECONNREFUSED
    return True


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    try:
        return host.strip("[]"), int(port)
    except ValueError:
        raise ListenError(errno.EINVAL, f"{address!r} is no host:port") from None


def _bindable(address: str) -> str:
    """The address with its host as a number: ZeroMQ binds to no other."""
    host, port = _split(address)
    if host in ("*", "") or ":" in host:
        return address
    try:
        return f"{socket.gethostbyname(host)}:{port}"
    except OSError as error:
        raise ListenError(error.errno, f"cannot listen on {address}: {error}") from error


def _check_thread(thread: int) -> None:
    if _thread() != thread:
        raise RuntimeError(f"a transport belongs to the thread that made it (in process {os.getpid()})")
