"""The links of a node: one to each peer, with everything due for it in one loop turn in one frame."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from random import Random
from typing import Any, Final, Protocol

from greenlet import getcurrent

import supervisor.distribution as distribution
from processhub.cluster import frames
from processhub.cluster.frames import Hello
from processhub.cluster.link import QUEUE_BYTES, Link
from processhub.cluster.transport import Transport
from processhub.cluster.wire import Codec, DecodeError
from supervisor.errors import CallTimeout, EncodeError
from supervisor.runtime import Runtime

log = logging.getLogger(__name__)

_MAY_WAIT: Final = frozenset({distribution.SEND, distribution.CAST_OP, distribution.CALL_OP, distribution.REPLY})
_WHAT: Final = {
    distribution.SEND: "message",
    distribution.CAST_OP: "request",
    distribution.CALL_OP: "request",
    distribution.REPLY: "reply",
}
_REASON_AT: Final = {distribution.FAIL: 2, distribution.EXIT: 3, distribution.DOWN: 4}


class LinkListener(Protocol):
    """Who hears of links: the node."""

    def link_up(self, node: str, incarnation: int) -> None: ...
    def link_down(self, node: str) -> None: ...
    def heard(self, node: str, incarnation: int) -> None: ...
    def refused(self, node: str, why: str) -> None: ...
    def said_bye(self, node: str) -> None: ...
    def learned(self, names: Sequence[str]) -> None: ...
    def must_rise(self, incarnation: int) -> None: ...
    def members(self) -> tuple[str, ...]: ...


class Links:
    """All links of a node: the `Router` of its runtime.

    Args:
        runtime: whose ops it carries.
        transport: how frames travel.
        codec: how values become bytes.
        listener: who hears of links that come and go.
        rng: draws sessions and this node's life; a secure one in production.
    """

    def __init__(
        self, runtime: Runtime, transport: Transport, codec: Codec, listener: LinkListener, rng: Random
    ) -> None:
        self.runtime = runtime
        self.transport = transport
        self.codec = codec
        self.listener = listener
        self.malformed = 0
        self.by_node: dict[str, Link] = {}
        self.by_session: dict[int, Link] = {}  # by the peer's session
        # The latest (incarnation, life) of each name, kept when the link goes: pids of that life are still about.
        self.lives: dict[str, tuple[int, int]] = {}
        self._rng = rng
        self.life = self.draw()

    def draw(self) -> int:
        """A number that nobody else draws."""
        return self._rng.getrandbits(63)

    def hello(self, link: Link) -> Hello:
        """What we say to the peer of `link`."""
        home = self.runtime.home
        known = self.lives.get(link.node)
        members = self.listener.members()
        return Hello(
            frames.VERSION, home.name, home.incarnation, self.life, link.ours, link.theirs, link.up, known, members
        )

    def is_present_life(self, hello: Hello) -> bool:
        """Whether it comes from the life of that name that we know, or from a later one."""
        incarnation, life = self.lives.get(hello.name, (0, 0))
        return hello.incarnation > incarnation or (hello.incarnation == incarnation and hello.life == life)

    def note_malformed(self, what: str, error: object) -> None:
        """Something that makes no sense was dropped."""
        self.malformed += 1
        if self.malformed == 1:
            log.warning("%s is malformed and was dropped: %s (further ones are only counted)", what, error)

    # -- Router ------------------------------------------------------------------------------------------------------

    def connected(self, node: str) -> bool:
        """Whether the link to `node` is up."""
        link = self.by_node.get(node)
        return link is not None and link.up

    def send(self, node: str, op: tuple[Any, ...]) -> bool:
        """Queue an op; see `supervisor.distribution.Router`."""
        link = self.by_node.get(node)
        if link is None or not link.up:
            return False
        data = self._pack(op)
        if link.queued_bytes > QUEUE_BYTES and op[0] in _MAY_WAIT and getcurrent() is not self.runtime.scheduler.hub:
            self._wait_for_room(link, op)
            if not link.up:
                return False
        link.queue(data)
        return True

    def _wait_for_room(self, link: Link, op: tuple[Any, ...]) -> None:
        """Wait while the queue is full: a call within its own timeout, of which the rest is for the answer."""
        if op[0] != distribution.CALL_OP:
            link.wait_for_room(None)
            return
        wait = op[3]
        began = self.runtime.clock.now()
        if not link.wait_for_room(wait.timeout):
            raise CallTimeout(f"the queue to {link.node} was full for {wait.timeout} s: the call was not sent")
        if wait.timeout is not None:
            wait.timeout = max(0.0, wait.timeout - (self.runtime.clock.now() - began))

    def _pack(self, op: tuple[Any, ...]) -> bytes:
        try:
            return self.codec.pack([*op])  # a list is cheaper than a tuple on the wire
        except EncodeError:
            reason_at = _REASON_AT.get(op[0])
            if reason_at is None:
                self.codec.pack(op[-1], _WHAT.get(op[0], "value"))  # names the path inside what the user sent
                raise
            # A death must reach the other node whatever its reason is: then as text.
            return self.codec.pack([*op[:reason_at], _as_text(op[reason_at]), *op[reason_at + 1 :]])

    # -- coming and going --------------------------------------------------------------------------------------------

    def open(self, node: str) -> Link:
        """The link to `node`, made if there is none; it connects in the background. ValueError for a bad name."""
        link = self.by_node.get(node)
        if link is None:
            link = self.by_node[node] = Link(self, node)
        return link

    def drop(self, node: str) -> None:
        """Close the link to `node`, if there is one."""
        link = self.by_node.pop(node, None)
        if link is not None:
            link.close()

    def ping(self, node: str) -> None:
        """Ask `node` for a sign of life."""
        link = self.by_node.get(node)
        if link is not None and link.up:
            link.urgent([frames.PING])

    def say_bye(self) -> None:
        """Tell every peer that this node leaves, and send what is queued."""
        for node in sorted(self.by_node):
            self.by_node[node].say_bye()

    def close(self) -> None:
        """Close every link."""
        for node in sorted(self.by_node):
            self.drop(node)

    def receive(self, frame: bytes) -> None:
        """A frame arrives, from whomever."""
        try:
            head = frames.unpack(self.codec, frame)
        except DecodeError as error:
            self.note_malformed("a frame", error)
            return
        if isinstance(head, Hello):
            self._on_hello(head)
        else:
            link = self.by_session.get(head.session)
            if link is not None:
                link.on_data(head, frame)

    def _on_hello(self, hello: Hello) -> None:
        home = self.runtime.home
        if hello.version != frames.VERSION or hello.name == home.name:
            log.warning("a hello from %r, protocol version %s, was refused", hello.name, hello.version)
            return
        known = hello.known
        if known is not None and known[1] != self.life and known[0] >= home.incarnation:
            self.listener.must_rise(known[0] + 1)
        try:
            link = self.open(hello.name)
        except ValueError as error:
            log.warning("a hello was refused: %s", error)
            return
        link.on_hello(hello)
        self.listener.learned(hello.members)


def _as_text(reason: Any) -> str:
    try:
        text = repr(reason)[:1000]
    except Exception as error:  # a user's own repr
        text = f"<{type(reason).__qualname__}, whose repr failed: {error!r:.200}>"
    return text.encode(errors="replace").decode()  # a lone surrogate cannot be sent either
