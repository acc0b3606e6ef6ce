"""The transport of one node on a `MemoryNetwork`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from processhub.cluster.transport import ChannelListener, FrameTooLarge

if TYPE_CHECKING:
    from processhub.testing.memory_network import MemoryNetwork

log = logging.getLogger(__name__)


class Connection:
    """One connection of a channel, from `connected` to `disconnected`."""

    __slots__ = ("backlog", "is_alive", "peer")

    def __init__(self, peer: MemoryTransport) -> None:
        self.peer = peer
        self.is_alive = True
        self.backlog = 0  # frames that were taken and still wait: for the bandwidth, or for a paused receiver


class MemoryTransport:
    """A `processhub.cluster.transport.Transport`. Made by `MemoryNetwork.transport`.

    Attributes:
        network: where it belongs to.
        address: "host:port" of its node, by which the faults know it.
        cookie: a peer with another one is refused.
        is_closed: whether it was closed, or its node crashed.
        receive: who gets the frames, once it listens.
    """

    def __init__(self, network: MemoryNetwork, address: str, cookie: str) -> None:
        self.network = network
        self.address = address
        self.cookie = cookie
        self.is_closed = False
        self.receive: Callable[[bytes], None] | None = None
        self.channels: dict[MemoryChannel, None] = {}

    def __repr__(self) -> str:
        return f"<MemoryTransport {self.address}{' closed' if self.is_closed else ''}>"

    @property
    def is_listening(self) -> bool:
        """Whether peers can connect."""
        return self.receive is not None and not self.is_closed

    def listen(self, address: str, receive: Callable[[bytes], None]) -> None:
        """See `Transport.listen`. Binding to any host, or to port 0, means the transport's own address."""
        self._check()
        self.network.listen(self, address, receive)

    def open(self, address: str, listener: ChannelListener) -> MemoryChannel:
        """See `Transport.open`."""
        self._check()
        channel = MemoryChannel(self, address, listener)
        self.channels[channel] = None
        self.network.connect(channel)
        return channel

    def probe(self, address: str, verdict: Callable[[bool], None]) -> None:
        """See `Transport.probe`. True after half a second if the way is cut or the node there is paused."""
        self._check()
        self.network.probe(self, address, verdict)

    def close(self) -> None:
        """See `Transport.close`."""
        if not self.is_closed:
            self.abandon()
            self.network.closed(self)

    def abandon(self) -> None:
        """No callback comes from now on."""
        self.is_closed = True
        self.receive = None
        for channel in list(self.channels):
            channel.close()

    def _check(self) -> None:
        if self.is_closed:
            raise RuntimeError("the transport is closed")


class MemoryChannel:
    """A `processhub.cluster.transport.Channel`.

    Invariant: `connection` is set exactly between `connected` and `disconnected` (or the close).
    """

    def __init__(self, transport: MemoryTransport, address: str, listener: ChannelListener) -> None:
        self.transport = transport
        self.address = address
        self.listener: ChannelListener | None = listener
        self.connection: Connection | None = None
        self.is_connecting = False  # an attempt is under way
        self.is_full = False

    def __repr__(self) -> str:
        state = "closed" if self.listener is None else "up" if self.connection is not None else "down"
        return f"<MemoryChannel {self.transport.address} -> {self.address} {state}>"

    def send(self, frame: bytes) -> bool:
        """See `Channel.send`. False on a closed channel."""
        network, connection = self.transport.network, self.connection
        if len(frame) > network.max_frame:
            raise FrameTooLarge(f"a frame of {len(frame)} bytes, but at most {network.max_frame} are allowed")
        if connection is None:
            return False
        if connection.backlog >= network.queue_frames:
            self.is_full = True
            return False
        network.send(self, connection, bytes(frame))
        return True

    def close(self) -> None:
        """See `Channel.close`. What was taken arrives."""
        self.listener = None
        self.connection = None
        self.transport.channels.pop(self, None)

    # -- what the network reports ------------------------------------------------------------------------------------

    def gain(self, peer: MemoryTransport) -> None:
        """The connection stands."""
        self.connection = Connection(peer)
        self.tell("connected")

    def lose(self, connection: Connection) -> bool:
        """`connection` is gone. False when it is not the current one."""
        if self.connection is not connection:
            return False
        connection.is_alive = False
        self.connection = None
        self.is_full = False
        self.tell("disconnected")
        return True

    def relieve(self) -> None:
        """The queue has room again."""
        connection, limit = self.connection, self.transport.network.queue_frames
        if self.is_full and connection is not None and connection.backlog < limit:
            self.is_full = False
            self.tell("writable")

    def tell(self, what: str, *args: Any) -> None:
        """Call the listener."""
        if self.listener is None:
            return
        try:
            getattr(self.listener, what)(*args)
        except Exception:
            log.exception("%s of a channel's listener failed", what)
