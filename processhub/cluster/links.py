"""Links: one to each peer, with sessions, sequence numbers, and one frame for all that is due in a loop turn.

A link is *up* at one side when the peer has answered that side's session. It goes down, and everything that crossed it
ends with `noconnection`, when the connection is lost, when a frame is missing, or when the peer opens a new session: a
session that ended at one side ends at the other. Who is a member of the cluster is another question, which
`membership` answers.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from random import Random
from typing import Any, Final, Protocol

from greenlet import getcurrent

from processhub.cluster import frames
from processhub.cluster.frames import Data, Hello
from processhub.cluster.names import address_of
from processhub.cluster.transport import Channel, Transport
from processhub.cluster.wire import Codec, DecodeError
from processhub.cluster.wire_slices import Assembler
import supervisor.distribution as distribution
import supervisor.inbound as inbound
from supervisor.errors import EncodeError
from supervisor.processes import new_wait
from supervisor.runtime import Runtime
from supervisor.scheduler import Wait

log = logging.getLogger(__name__)

FRAME_BYTES: Final = 64 * 1024  # what a frame holds at the most; unpacking it takes about 2 ms
FRAMES_PER_TURN: Final = 8
QUEUE_BYTES: Final = 16 * 1024 * 1024  # above this a sender waits
FULL_SECONDS: Final = 30.0  # a peer that stays full this long is given up
HELLO_SECONDS: Final = 1.0  # an unanswered hello is repeated

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


class Link:
    """The link to one peer.

    Invariant: `up` only while `theirs` is set and the peer has answered `ours`. Everything queued belongs to the
    present session; when that ends, the queue is emptied.
    """

    def __init__(self, links: Links, node: str) -> None:
        self.links = links
        self.node = node
        self.up = False
        self.connected = False
        self.incarnation = 0  # of the peer's present life, 0 when not known
        self.life = 0
        self.ours = links.draw()
        self.theirs: int | None = None
        self.queued_bytes = 0
        self._sequence = 0
        self._heard_sequence = 0
        self._queue: deque[bytes] = deque()
        self._urgent: deque[bytes] = deque()
        self._frame: bytes | None = None  # the one that the channel did not take yet
        self._flushing = False
        self._blocked: list[Wait] = []
        self._assembler: Assembler | None = None
        self._hello_timer: Any = None
        self.channel: Channel = links.transport.open(address_of(node), _Listener(self))

    def __repr__(self) -> str:
        return f"<Link to {self.node} {'up' if self.up else 'down'}, {self.queued_bytes} bytes queued>"

    # -- the channel tells -------------------------------------------------------------------------------------------

    def connected_now(self) -> None:
        """The channel is open: introduce ourselves."""
        self.connected = True
        self.say_hello()

    def disconnected(self) -> None:
        """The connection is gone, and the session with it."""
        self.connected = False
        self.end_session("connection lost")

    def writable(self) -> None:
        """The channel takes frames again."""
        self.resume()

    def refused(self, why: str) -> None:
        """The peer does not accept us."""
        self.links.listener.refused(self.node, why)

    # -- sessions ----------------------------------------------------------------------------------------------------

    def say_hello(self) -> None:
        """Open our direction, and again until the peer has answered."""
        if self._hello_timer is not None:
            self._hello_timer.cancel()
            self._hello_timer = None
        if self.connected:
            self.channel.send(frames.pack_hello(self.links.codec, self.links.hello(self)))
            if not self.up:
                self._hello_timer = self.links.runtime.clock.call_later(HELLO_SECONDS, self._repeat_hello)

    def _repeat_hello(self) -> None:
        if not self.up:
            self.say_hello()

    def on_hello(self, hello: Hello) -> None:
        """The peer opens a session or answers ours."""
        if not self._is_present_life(hello):
            self.say_hello()  # it reads there what we know of its name, and takes a higher incarnation
            return
        if hello.session != self.theirs:
            if self.up:
                self.end_session("the peer opened a new session")
            elif self.theirs is not None:
                # Ours carried nothing yet and stays: if both sides drew anew at each hello they would never agree.
                self.links.by_session.pop(self.theirs, None)
            self.incarnation, self.life = hello.incarnation, hello.life
            self.theirs = hello.session
            self.links.by_session[hello.session] = self
            self._heard_sequence = 0
        if hello.answers != self.ours:
            self.say_hello()  # it does not know our session yet
        elif not self.up:
            self.up = True
            self.say_hello()
            self.links.listener.link_up(self.node, self.incarnation)

    def _is_present_life(self, hello: Hello) -> bool:
        """Whether it comes from the life that we know, or from a later one."""
        return hello.incarnation > self.incarnation or (
            hello.incarnation == self.incarnation and hello.life == self.life
        )

    def end_session(self, why: str) -> None:
        """Whatever crosses this link is over; a new session may begin."""
        was_up, self.up = self.up, False
        self.ours = self.links.draw()
        if self.theirs is not None:
            self.links.by_session.pop(self.theirs, None)
            self.theirs = None
        self._sequence = 0
        self._queue.clear()
        self._urgent.clear()
        self._frame = None
        self._assembler = None
        self.queued_bytes = 0
        self._unblock()
        if was_up:
            log.info("link to %s is down: %s", self.node, why)
            inbound.peer_lost(self.links.runtime, self.node)
            self.links.listener.link_down(self.node)

    def close(self) -> None:
        """End the session for good."""
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        self.connected = False
        self.end_session("closed")
        self.channel.close()

    # -- sending -----------------------------------------------------------------------------------------------------

    def queue(self, op: bytes) -> None:
        """Send a packed op with the next frame; a large one in pieces, so that no frame is large."""
        if len(op) > FRAME_BYTES:
            for piece in self._pieces(op):
                self._queue.append(piece)
                self.queued_bytes += len(piece)
        else:
            self._queue.append(op)
            self.queued_bytes += len(op)
        self._flush_soon()

    def _pieces(self, op: bytes) -> list[bytes]:
        pack = self.links.codec.pack
        last = (len(op) - 1) // FRAME_BYTES
        return [
            pack((frames.PART, op[i * FRAME_BYTES : (i + 1) * FRAME_BYTES], i == last)) for i in range(last + 1)
        ]

    def urgent(self, op: tuple[Any, ...]) -> None:
        """Send an op of the link itself ahead of what is queued: a ping must not wait behind bulk data."""
        self._urgent.append(self.links.codec.pack(op))
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self.links.runtime.scheduler.ready_up(self)

    def resume(self) -> None:
        """Send what is due, from the ready queue; the rest of a long queue in later turns."""
        self._flushing = False
        for _ in range(FRAMES_PER_TURN):
            if not self.up or not self._send_frame():
                return
        if self._queue or self._urgent:
            self._flush_soon()

    def flush(self) -> None:
        """Send all that the channel takes, now: the node is about to close."""
        while self.up and self._send_frame():
            pass

    def say_bye(self) -> None:
        """Tell the peer that this node leaves, after all that is queued."""
        if self.up:
            self.queue(self.links.codec.pack((frames.BYE,)))
            self.flush()

    def _send_frame(self) -> bool:
        """Hand one frame over. False when there is none, or the channel is full (it will tell)."""
        if self._frame is None:
            ops = self._next_ops()
            if not ops:
                return False
            self._sequence += 1
            assert self.theirs is not None
            head = Data(self.ours, self.theirs, self.links.runtime.home.incarnation, self._sequence)
            self._frame = frames.pack_data(self.links.codec, head, ops)
        if not self.channel.send(self._frame):
            return False
        self._frame = None
        if self._blocked and self.queued_bytes < QUEUE_BYTES // 2:
            self._unblock()
        return True

    def _next_ops(self) -> list[bytes]:
        ops = list(self._urgent)
        self._urgent.clear()
        size = 0
        queue = self._queue
        while queue and (size + len(queue[0]) <= FRAME_BYTES or not size):
            op = queue.popleft()
            size += len(op)
            ops.append(op)
        self.queued_bytes -= size
        return ops

    def wait_for_room(self) -> None:
        """Suspend the calling greenlet while the queue is full. A peer that stays full is given up."""
        while self.up and self.queued_bytes > QUEUE_BYTES:
            wait = new_wait(self.links.runtime, FULL_SECONDS)
            self._blocked.append(wait)
            self.links.runtime.scheduler.suspend(wait)
            if not wait.value and self.queued_bytes > QUEUE_BYTES:
                self.end_session(f"its queue was full for {FULL_SECONDS} s")
                self.say_hello()

    def _unblock(self) -> None:
        blocked, self._blocked = self._blocked, []
        for wait in blocked:
            wait.reply(True)

    # -- receiving ---------------------------------------------------------------------------------------------------

    def on_data(self, head: Data, ops: list[Any]) -> None:
        """A data frame arrives. Of another session: dropped. A duplicate: dropped. A gap: the session is over."""
        if head.session != self.theirs or head.answers != self.ours or not self.up:
            return
        if head.sequence <= self._heard_sequence:
            return
        if head.sequence != self._heard_sequence + 1:
            self.end_session(f"frames {self._heard_sequence + 1} to {head.sequence - 1} are missing")
            self.say_hello()
            return
        self._heard_sequence = head.sequence
        self.links.listener.heard(self.node, self.incarnation)
        for op in ops:
            self._on_op(op)
            if not self.up:
                return

    def _on_op(self, op: Any) -> None:
        try:
            if op[0] >= frames.FIRST_LINK_OP:
                self._on_link_op(op)
            else:
                inbound.receive_op(self.links.runtime, self.node, op)
        except (TypeError, ValueError, LookupError, AttributeError, DecodeError) as error:
            self.links.malformed += 1
            log.warning("a malformed op from %s was dropped: %s", self.node, error)

    def _on_link_op(self, op: Any) -> None:
        code = op[0]
        if code == frames.PING:
            self.urgent((frames.PONG,))
        elif code == frames.PART:
            self._on_part(op[1], op[2])
        elif code == frames.BYE:
            self.links.listener.said_bye(self.node)

    def _on_part(self, piece: bytes, last: bool) -> None:
        if self._assembler is None:
            self._assembler = self.links.codec.assembler()
        self._assembler.feed(piece)
        if last:
            op, self._assembler = self._assembler.value, None
            inbound.receive_op(self.links.runtime, self.node, op)


class _Listener:
    """Names the channel's events for a link (whose `connected` is a state, not an event)."""

    def __init__(self, link: Link) -> None:
        self.connected = link.connected_now
        self.disconnected = link.disconnected
        self.writable = link.writable
        self.refused = link.refused


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
        self._rng = rng
        self.life = self.draw()

    def draw(self) -> int:
        """A number that nobody else draws."""
        return self._rng.getrandbits(63)

    def hello(self, link: Link) -> Hello:
        """What we say to the peer of `link`."""
        home = self.runtime.home
        known = (link.incarnation, link.life) if link.incarnation else None
        members = self.listener.members()
        return Hello(
            frames.VERSION, home.name, home.incarnation, self.life, link.ours, link.theirs, known, members
        )

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
            link.wait_for_room()
            if not link.up:
                return False
        link.queue(data)
        return True

    def _pack(self, op: tuple[Any, ...]) -> bytes:
        try:
            return self.codec.pack(op)
        except EncodeError:
            reason_at = _REASON_AT.get(op[0])
            if reason_at is None:
                self.codec.pack(op[-1], _WHAT.get(op[0], "value"))  # names the path inside what the user sent
                raise
            # A death must reach the other node whatever its reason is: then as text.
            return self.codec.pack((*op[:reason_at], repr(op[reason_at])[:1000], *op[reason_at + 1 :]))

    # -- coming and going --------------------------------------------------------------------------------------------

    def open(self, node: str) -> Link:
        """The link to `node`, made if there is none; it connects in the background. Raises ValueError for a bad name."""
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
            link.urgent((frames.PING,))

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
            head, ops = frames.unpack(self.codec, frame)
        except DecodeError as error:
            self.malformed += 1
            if self.malformed == 1:
                log.warning("a malformed frame was dropped: %s (further ones are only counted)", error)
            return
        if isinstance(head, Hello):
            self._on_hello(head)
        else:
            link = self.by_session.get(head.session)
            if link is not None:
                link.on_data(head, ops)

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


