"""zerorpc's Pusher and Puller, made to carry frames: the sockets, context and event format are zerorpc's.

A frame is the event `frame` with one bytes argument. zerorpc's greenlets are not used: its receiver ends for good
at the first malformed message, and a loop watcher that reads the socket is two to three times faster as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import msgpack
import zerorpc
import zmq

from processhub.cluster.security import Keys, RefusalLog, secure_client, secure_server
from processhub.cluster.watching import SocketMonitor, SocketWatcher, closing_on_error

LINGER: Final = 100
"""Milliseconds that frames which were taken may still need after a close."""

_EVENT: Final = "frame"
_OVERHEAD: Final = 1024  # for the event around a frame
_FRAMES_PER_TURN: Final = 100
_RECONNECT: Final = (50, 1000)  # milliseconds: the first pause, and the longest
_HANDSHAKE: Final = 30_000  # milliseconds; long, for the peer's loop answers ZAP and may be busy

logger = logging.getLogger(__name__)


def socket_options(max_frame: int, queue_frames: int, heartbeat: float, heartbeat_timeout: float) -> dict[int, int]:
    """The ZeroMQ options of both kinds of socket. Sizes in bytes and frames, times in seconds."""
    return {
        zmq.IMMEDIATE: 1,  # queue for open connections only
        zmq.LINGER: LINGER,
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
    with closing_on_error(held):
        for option, value in options.items():
            held.setsockopt(option, value)
    return held


class FramePuller(zerorpc.Puller):  # type: ignore[misc, unused-ignore]
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
        self._recv = super(zmq.Socket, self._socket).recv  # without the layers that wait
        self._is_burst = False
        self._refusals = RefusalLog()
        with closing_on_error(self._socket):
            secure_server(self._socket, keys)
            self._monitor = SocketMonitor(self._socket, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, self._peer_failed)
            self._watcher = SocketWatcher(self._socket, self._read)

    @property
    def last_endpoint(self) -> str:
        return bytes(self._socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()

    def allow_ipv6(self, allowed: bool) -> None:
        """Whether the address to bind may be of IPv6. Not by default: not every machine has it."""
        self._socket.setsockopt(zmq.IPV6, int(allowed))

    def close(self) -> None:
        """Stop listening. Safe to call twice and from `receive`."""
        self._watcher.close()
        self._monitor.close()
        if not self._socket.closed:
            self._socket.setsockopt(zmq.LINGER, 0)
            self._socket.close()

    def _read(self) -> None:
        # A lone frame is acted upon before the next look: to find that there is none takes ZeroMQ system calls, as long
        # as all the rest. When there are more they come together, so that the answers go out together.
        recv, unpackb = self._recv, msgpack.unpackb
        for _ in range(_FRAMES_PER_TURN if self._is_burst else 1):
            if self._socket.closed:
                return
            try:
                message = recv(zmq.NOBLOCK)
            except zmq.Again:
                self._is_burst = False
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
        self._is_burst = True
        self._watcher.again()  # after what is ready by now: a busy peer must not hold the loop

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


class FramePusher(zerorpc.Pusher):  # type: ignore[misc, unused-ignore]
    """A zerorpc Pusher that sends at once or not at all, to one address."""

    def __init__(self, context: Any, keys: Keys, options: dict[int, int], address: str) -> None:
        super().__init__(context=context)
        self.endpoint = f"tcp://{address}"
        self.socket = _take_over(self._events, options)
        with closing_on_error(self.socket):
            secure_client(self.socket, keys)
            self.socket.setsockopt(zmq.IPV6, int("[" in address))
        self._send = super(zmq.Socket, self.socket).send  # without the layers that wait
        self._pack = pack = msgpack.Packer(use_bin_type=True).pack
        # All of an event but the frame. Message ids tell the channels of a zerorpc server apart; here one will do.
        header = {"message_id": context.new_msgid(), "v": 3}
        self._event = b"".join((b"\x93", pack(header), pack(_EVENT), b"\x91"))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)  # zerorpc takes any name for a remote method

    def push(self, frame: bytes) -> bool:
        """Send without blocking; False if it cannot be done now."""
        event = self._event + self._pack(frame)
        try:
            self._send(event, zmq.NOBLOCK)
        except zmq.Again:
            return self.is_writable() and self._push_again(event)
        return True

    def is_writable(self) -> bool:
        """Whether a frame can be sent. Asking makes ZeroMQ look at its news, which a send does only now and then."""
        return bool(int(self.socket.getsockopt(zmq.EVENTS)) & zmq.POLLOUT)

    def _push_again(self, event: bytes) -> bool:
        try:
            self._send(event, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True
