"""What the links need of a network: to listen, to open channels, to probe. One way, unacknowledged, in order.

`zerorpc_transport` implements it on ZeroMQ, `processhub.testing` in memory. Everything here is called, and calls back,
on the event loop's thread; nothing blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class ListenError(OSError):
    """The address cannot be listened on: in use, not of this machine, or malformed."""


class FrameTooLarge(ValueError):
    """A frame exceeds the transport's limit. A mistake of the caller, who has to cut what is large."""


class ChannelListener(Protocol):
    """Who hears of a channel. Called on the event loop; must not block, may send and may close the channel.

    Nothing is called once the channel is closed. An exception is logged and changes nothing.
    """

    def connected(self) -> None:
        """The peer accepted the connection and proved that it knows the cookie: frames go through from now on."""

    def disconnected(self) -> None:
        """The connection is gone; the channel tries again by itself. Alternates with `connected`.

        Frames that `send` took may or may not have arrived.
        """

    def writable(self) -> None:
        """A frame may be sent again. Comes once after a `send` that returned False on an open connection."""

    def refused(self, why: str) -> None:
        """The security handshake failed, probably because of another cookie. `why` is for people.

        The channel tries again after a pause, so this may come again.
        """


class Channel(Protocol):
    """The way to one peer. Made by `Transport.open`, not yet connected."""

    def send(self, frame: bytes) -> bool:
        """Hand a frame over to the network.

        Returns:
            True: it will be sent, unless the connection is lost. Frames arrive in order, each at most once. One that is
                sent between the loss of a connection and its report may go out on the next connection.
            False: not now. The caller keeps the frame. On an open connection `writable` follows, without one
                `connected`.

        Raises:
            FrameTooLarge: it exceeds the transport's limit.
            RuntimeError: called on another thread than the loop's.
        """

    def close(self) -> None:
        """Close the connection and stop trying. Frames taken go out if they can within a tenth of a second.

        Safe to call twice and from the listener.
        """


class Transport(Protocol):
    """The network as one node sees it."""

    def listen(self, address: str, receive: Callable[[bytes], None]) -> None:
        """Take frames of all peers from now on.

        Args:
            address: "host:port" to bind; the host may be `*` or an address of this machine.
            receive: gets each frame, on the event loop. It must not block. An exception is logged.

        Raises:
            ListenError: the address cannot be bound.
        """

    def open(self, address: str, listener: ChannelListener) -> Channel:
        """A channel to the node that listens at `address`, "host:port"; connects and reconnects in the background."""

    def probe(self, address: str, verdict: Callable[[bool], None]) -> None:
        """Ask whether anything listens at `address`; returns at once.

        Args:
            address: "host:port".
            verdict: called once on the event loop, unless the transport is closed before: False when the connection was
                refused, strong evidence that the node is dead; True when it was accepted or the answer is unknown
                (no answer in half a second, no route, no such host).
        """

    def close(self) -> None:
        """Stop listening and close every channel. No callback comes afterwards. Safe to call twice and in callbacks."""
