"""Loop watchers on ZeroMQ sockets: for data, and for the events of a socket's monitor."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import zmq
from zmq.utils.monitor import parse_monitor_message

logger = logging.getLogger(__name__)
_monitor_numbers = itertools.count()


@contextlib.contextmanager
def closing_on_error(resource: Any) -> Iterator[None]:
    """Close `resource` if the block raises: a context whose last socket is never closed cannot be closed either."""
    try:
        yield
    except BaseException:
        resource.close()
        raise


class SocketWatcher:
    """Calls `ready` on the event loop when the state of a ZeroMQ socket may have changed.

    ZeroMQ's file descriptor is edge-triggered: it tells that something happened, not that something is there, and it
    tells it once. So `ready` must go on until the socket says EAGAIN (or ask for EVENTS, and see that the wanted bit is
    off); if it stops earlier it must call `again`, or it is never called for what is left.

    `ready` must not block. An exception of it is logged.
    """

    def __init__(self, socket: zmq.Socket[Any], ready: Callable[[], None]) -> None:
        self._ready: Callable[[], None] | None = ready
        self._loop = gevent.get_hub().loop
        self._callback: Any = None
        self._watcher = self._loop.io(int(socket.getsockopt(zmq.FD)), 1)
        self._watcher.start(self._run)
        self.again()  # what came before we watched has made its edge already

    def again(self) -> None:
        """Call `ready` in the next turn of the loop."""
        if self._ready is not None and self._callback is None:
            self._callback = self._loop.run_callback(self._run_again)

    def close(self) -> None:
        """Never call `ready` again. Must come before the socket is closed. Safe to call twice and from `ready`."""
        if self._ready is None:
            return
        self._ready = None
        self._watcher.stop()
        self._watcher.close()
        if self._callback is not None:
            self._callback.stop()
            self._callback = None

    def _run_again(self) -> None:
        self._callback = None
        self._run()

    def _run(self) -> None:
        if self._ready is None:
            return
        try:
            self._ready()
        except Exception:
            logger.exception("a watcher of a ZeroMQ socket failed")


class SocketMonitor:
    """Calls `event(kind, value, address)` on the event loop for what happens to the connections of a socket.

    Args:
        socket: the socket, before it is bound or connected.
        events: the `zmq.EVENT_...` bits wanted.
        event: gets the event's bit, its value (an errno, status or code) and the endpoint as text. Must not block.
    """

    def __init__(self, socket: zmq.Socket[Any], events: int, event: Callable[[int, int, str], None]) -> None:
        self._source = socket
        self._event = event
        endpoint = f"inproc://processhub-monitor-{next(_monitor_numbers)}"
        self._socket: zmq.Socket[Any] = zmq.Socket(socket.context, zmq.PAIR)
        with closing_on_error(self._socket):
            socket.monitor(endpoint, events)
            self._socket.setsockopt(zmq.LINGER, 0)
            self._socket.connect(endpoint)
            self._watcher = SocketWatcher(self._socket, self._read)

    def close(self) -> None:
        """No more events. Must come before the socket is closed. Safe to call twice and from `event`."""
        if self._socket.closed:
            return
        self._watcher.close()
        if not self._source.closed:
            self._source.disable_monitor()
        self._socket.close()

    def _read(self) -> None:
        while not self._socket.closed:
            try:
                message = parse_monitor_message(self._socket.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            address = message["endpoint"].decode(errors="replace")
            self._event(int(message["event"]), int(message["value"]), address)
