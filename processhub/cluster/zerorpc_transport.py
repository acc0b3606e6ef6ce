"""The transport on zerorpc: a Puller takes the frames of all peers, a Pusher brings frames to each of them.

Connections are encrypted and authenticated with CURVE (see `security`). ZeroMQ reconnects by itself; its monitor tells
what happens. ZeroMQ's heartbeats run in its own thread, so a node whose loop is busy is told apart from a dead one.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any, Final

import gevent
import zerorpc
import zmq
from gevent import monkey

from processhub.cluster.addresses import bindable, is_listened_on, split
from processhub.cluster.frame_sockets import FramePuller, FramePusher, socket_options
from processhub.cluster.security import ZapHandler, derive_keys
from processhub.cluster.transport import ChannelListener, FrameTooLarge, ListenError
from processhub.cluster.watching import SocketMonitor, SocketWatcher, closing_on_error

MAX_FRAME: Final = 4 * 1024 * 1024
"""Bytes of a frame. Larger ones would hold back heartbeats on a slow line: 4 MiB in 5 s need 7 Mbit/s."""

_REFUSED_PAUSE: Final = 1.0

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
        self._options = socket_options(max_frame, queue_frames, heartbeat, heartbeat_timeout)
        self._context = zerorpc.Context()
        self._thread = _thread()
        self._closed = False
        self._zap: ZapHandler | None = None
        self._puller: FramePuller | None = None
        self._channels: dict[PusherChannel, None] = {}
        self._probes: dict[Any, Callable[[bool], None]] = {}

    @property
    def malformed(self) -> int:
        return self._puller.malformed if self._puller is not None else 0

    def listen(self, address: str, receive: Callable[[bytes], None]) -> None:
        """See `Transport.listen`. At most once. A host that is no number is looked up, which may block the greenlet."""
        self._check()
        if self._puller is not None:
            raise ListenError(f"already listening on {self.address}")
        endpoint = f"tcp://{bindable(address)}"
        # Kept when the address turns out wrong: its name is free again only some time after it is closed.
        self._zap = self._zap or ZapHandler(self._context, self._keys)
        puller = FramePuller(self._context, self._keys, self._options, self._max_frame, receive)
        with closing_on_error(puller):
            puller.allow_ipv6("[" in address)
            try:
                puller.bind(endpoint)
            except zmq.ZMQError as error:
                raise ListenError(error.errno, f"cannot listen on {address}: {error}") from error
        self._puller = puller
        self.address = puller.last_endpoint.removeprefix("tcp://")

    def open(self, address: str, listener: ChannelListener) -> PusherChannel:
        """See `Transport.open`. Raises ValueError for an address that is no "host:port"."""
        self._check()
        split(address)
        pusher = FramePusher(self._context, self._keys, self._options, address)
        with closing_on_error(pusher):
            channel = PusherChannel(pusher, listener, self._max_frame, self._thread, self._forget)
        self._channels[channel] = None
        return channel

    def probe(self, address: str, verdict: Callable[[bool], None]) -> None:
        """See `Transport.probe`. Opens a plain TCP connection and closes it."""
        self._check()
        greenlet = gevent.spawn(is_listened_on, address)
        self._probes[greenlet] = verdict
        greenlet.link(self._report)  # runs on the loop

    def close(self) -> None:
        """See `Transport.close`. May hold the loop for a tenth of a second, while frames already taken go out."""
        if self._closed:
            return
        self._check()
        self._closed = True
        probes, self._probes = list(self._probes), {}
        for greenlet in probes:
            greenlet.kill(block=False)
        for channel in list(self._channels):
            channel.close()
        if self._puller is not None:
            self._puller.close()
        if self._zap is not None:
            self._zap.close()
        with _signals_held_back():  # ZeroMQ gives up at a signal, and pyzmq forgets the context: threads, port and all
            self._context.term()

    def _report(self, probe: Any) -> None:
        verdict = self._probes.pop(probe, None)
        if verdict is not None:
            verdict(probe.value is not False)  # None: it failed

    def _forget(self, channel: PusherChannel) -> None:
        self._channels.pop(channel, None)

    def _check(self) -> None:
        _check_thread(self._thread)
        if self._closed:
            raise RuntimeError("the transport is closed")


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
        with closing_on_error(self._monitor):
            self._watcher = SocketWatcher(pusher.socket, self._maybe_writable)
            with closing_on_error(self._watcher):
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
        self._stop_retry()
        self._watcher.close()
        self._monitor.close()
        self._pusher.socket.close()
        self._on_close(self)

    def _maybe_writable(self) -> None:
        # Asked whether anybody waits or not: until ZeroMQ has looked at its news the descriptor stays readable, and the
        # loop spins. There are such news at every attempt to connect to a dead peer, and nobody sends to that one.
        is_writable = self._pusher.is_writable()
        if is_writable and self._is_full and self._is_up:
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
        self._retry = gevent.get_hub().loop.timer(_REFUSED_PAUSE)
        self._retry.start(self._try_again)

    def _try_again(self) -> None:
        self._stop_retry()
        self._pusher.connect(self._pusher.endpoint)

    def _stop_retry(self) -> None:
        if self._retry is not None:
            self._retry.close()
            self._retry = None

    def _tell(self, what: str, *args: str) -> None:
        if self._listener is None:
            return
        try:
            getattr(self._listener, what)(*args)
        except Exception:
            logger.exception("%s of a channel's listener failed", what)


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _check_thread(thread: int) -> None:
    if _thread() != thread:
        raise RuntimeError(f"a transport belongs to the thread that made it (in process {os.getpid()})")
