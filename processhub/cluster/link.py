"""One link: the sessions with one peer, what is queued for it, and what arrives from it.

A link is *up* at one side when the peer has answered that side's session. It goes down, and everything that crossed it
ends with `noconnection`, when the connection is lost, when a frame is missing, or when the peer opens a new session: a
session that ended at one side ends at the other. Who is a member of the cluster is another question, which
`membership` answers.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import supervisor.inbound as inbound
from processhub.cluster import frames
from processhub.cluster.frames import Data, Garbled, Hello
from processhub.cluster.names import address_of
from processhub.cluster.transport import Channel
from processhub.cluster.wire import DecodeError
from processhub.cluster.wire_slices import Assembler
from supervisor.distribution import CALL_OP, REFUSED, REPLY
from supervisor.pids import Ref
from supervisor.processes import new_wait
from supervisor.waits import Wait

if TYPE_CHECKING:
    from processhub.cluster.links import Links

log = logging.getLogger(__name__)

FRAME_BYTES: Final = 64 * 1024  # what a frame holds at the most; unpacking it takes about 2 ms
FRAMES_PER_TURN: Final = 8
QUEUE_BYTES: Final = 16 * 1024 * 1024  # above this a sender waits
FULL_SECONDS: Final = 30.0  # a peer that stays full this long is given up
HELLO_SECONDS: Final = 1.0  # an unanswered hello is repeated
HEARD_SECONDS: Final = 0.1  # how exactly the membership needs to know when the peer was heard


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
        self.closed = False
        self.ours = links.draw()
        self.theirs: int | None = None
        self.incarnation = 0  # of the life that the session is with
        self.queued_bytes = 0
        self._sequence = 0
        self._heard_sequence = 0
        self._heard_at = 0.0
        self._queue: deque[bytes] = deque()
        self._urgent: deque[bytes] = deque()
        self._frame: bytes | None = None  # the one that the channel did not take yet
        self._flushing = False
        self._blocked: list[Wait] = []
        self._assembler: Assembler | None = None
        self._skips_parts = False  # the rest of an op whose beginning was malformed
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
            taken = self.channel.send(frames.pack_hello(self.links.codec, self.links.hello(self)))
            if not self.up or not taken:
                self._hello_timer = self.links.runtime.clock.call_later(HELLO_SECONDS, self.say_hello)

    def on_hello(self, hello: Hello) -> None:
        """The peer opens a session or answers ours."""
        if not self.links.is_present_life(hello):
            self.say_hello()  # it reads there what we know of its name, and takes a higher incarnation
            return
        if hello.session != self.theirs:
            self._begin_session(hello)
            if self.closed:
                return
        if hello.answers != self.ours:
            self.say_hello()  # it does not know our session yet
        elif not self.up:
            self.up = True
            self.say_hello()
            self.links.listener.link_up(self.node, self.incarnation)
        elif not hello.is_up:
            self.say_hello()  # our answer was lost

    def _begin_session(self, hello: Hello) -> None:
        if self.up:
            self.end_session("the peer opened a new session")
            if self.closed:
                return
        elif self.theirs is not None:
            # Ours carried nothing yet and stays: if both sides drew anew at each hello they would never agree.
            self.links.by_session.pop(self.theirs, None)
        self.links.lives[self.node] = (hello.incarnation, hello.life)
        self.incarnation = hello.incarnation
        self.theirs = hello.session
        self.links.by_session[hello.session] = self
        self._heard_sequence = 0

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
        self._skips_parts = False
        self.queued_bytes = 0
        self._unblock()
        if was_up:
            log.info("link to %s is down: %s", self.node, why)
            inbound.peer_lost(self.links.runtime, self.node)
            self.links.listener.link_down(self.node)

    def restart_session(self, why: str) -> None:
        """End the session, and ask the peer for a new one."""
        self.end_session(why)
        if not self.closed:
            self.say_hello()

    def close(self) -> None:
        """End the session for good."""
        self.closed = True
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
        if not self._flushing:
            self._flush_soon()

    def _pieces(self, op: bytes) -> list[bytes]:
        pack = self.links.codec.pack
        last = (len(op) - 1) // FRAME_BYTES
        return [pack([frames.PART, op[i * FRAME_BYTES : (i + 1) * FRAME_BYTES], i == last]) for i in range(last + 1)]

    def urgent(self, op: list[Any]) -> None:
        """Send an op of the link itself ahead of what is queued: a ping must not wait behind bulk data."""
        self._urgent.append(self.links.codec.pack(op))
        if not self._flushing:
            self._flush_soon()

    def _flush_soon(self) -> None:
        self._flushing = True
        self.links.runtime.scheduler.ready_up(self)

    def resume(self) -> None:
        """Send what is due, from the ready queue; the rest of a long queue in later turns."""
        self._flushing = False
        for _ in range(FRAMES_PER_TURN):
            if not self.up or not self._send_frame() or not (self._queue or self._urgent):
                return
        if not self._flushing:
            self._flush_soon()

    def flush(self) -> None:
        """Send all that the channel takes, now: the node is about to close."""
        while self.up and self._send_frame():
            pass

    def say_bye(self) -> None:
        """Tell the peer that this node leaves, after all that is queued."""
        if self.up:
            self.queue(self.links.codec.pack([frames.BYE]))
            self.flush()

    def _send_frame(self) -> bool:
        """Hand one frame over. False when there is none, or the channel is full (it will tell)."""
        if self._frame is None:
            if not self._queue and not self._urgent:
                return False
            self._sequence += 1
            assert self.theirs is not None
            head = Data(self.ours, self.theirs, self.links.runtime.home.incarnation, self._sequence)
            self._frame = frames.pack_data(self.links.codec, head, self._next_ops())
        if not self.channel.send(self._frame):
            return False
        self._frame = None
        if self._blocked and self.queued_bytes < QUEUE_BYTES // 2:
            self._unblock()
        return True

    def _next_ops(self) -> list[bytes]:
        queue = self._queue
        if len(queue) == 1 and not self._urgent:  # most frames on the way of a call
            self.queued_bytes = 0
            return [queue.popleft()]
        ops = list(self._urgent)
        self._urgent.clear()
        size = 0
        while queue and (size + len(queue[0]) <= FRAME_BYTES or not size):
            op = queue.popleft()
            size += len(op)
            ops.append(op)
        self.queued_bytes -= size
        return ops

    def wait_for_room(self, timeout: float | None) -> bool:
        """Suspend the calling greenlet while the queue is full. A peer that stays full is given up.

        timeout: seconds that the caller has; False when they have passed, True when there is room or no link any more.
        """
        runtime = self.links.runtime
        began = runtime.clock.now()
        while self.up and self.queued_bytes > QUEUE_BYTES:
            waited = runtime.clock.now() - began
            if timeout is not None and waited >= timeout:
                return False
            if waited >= FULL_SECONDS:
                self.restart_session(f"its queue was full for {FULL_SECONDS} s")
                return True
            wait = new_wait(runtime, min(FULL_SECONDS, FULL_SECONDS if timeout is None else timeout) - waited)
            self._blocked.append(wait)
            try:
                runtime.scheduler.suspend(wait)
            finally:
                if wait in self._blocked:
                    self._blocked.remove(wait)
        return True

    def _unblock(self) -> None:
        blocked, self._blocked = self._blocked, []
        for wait in blocked:
            wait.reply(True)

    # -- receiving ---------------------------------------------------------------------------------------------------

    def on_data(self, head: Data, frame: bytes) -> None:
        """A data frame arrives. Of another session: dropped. A duplicate: dropped. A gap: the session is over."""
        if head.answers != self.ours or not self.up or head.sequence <= self._heard_sequence:
            return
        if head.sequence != self._heard_sequence + 1:
            self.restart_session(f"frames {self._heard_sequence + 1} to {head.sequence - 1} are missing")
            return
        try:
            ops = frames.unpack_ops(self.links.codec, frame)
        except DecodeError as error:
            self.links.note_malformed(f"a frame of {self.node}", error)
            self.restart_session("a frame was malformed")  # what was in it is lost: nothing may build on it
            return
        self._heard_sequence = head.sequence
        self._heard()
        for op in ops:
            if not self.up:
                return
            self._on_op(op)

    def _heard(self) -> None:
        now = self.links.runtime.clock.now()
        if now - self._heard_at >= HEARD_SECONDS or self._heard_sequence == 1:
            self._heard_at = now
            self.links.listener.heard(self.node, self.incarnation)

    def _on_op(self, op: Any) -> None:
        try:
            if type(op) is Garbled:
                self._on_garbled(op)
            elif op[0] >= frames.FIRST_LINK_OP:
                self._on_link_op(op)
            else:
                inbound.receive_op(self.links.runtime, self.node, op)
        except (TypeError, ValueError, LookupError, AttributeError, DecodeError) as error:
            self.links.note_malformed(f"an op of {self.node}", error)

    def _on_garbled(self, op: Garbled) -> None:
        """Who waits for an answer is told: it would wait in vain."""
        self.links.note_malformed(f"an op of {self.node}", op.error)
        code = op.parts[0] if op.parts else None
        if code == CALL_OP and type(op.parts[3]) is Ref:
            text = f"node {self.links.runtime.home.name} cannot decode the request: {op.error}"
            self.links.send(self.node, (REFUSED, op.parts[3], text))
        elif code == REPLY:
            text = f"the reply of node {self.node} cannot be decoded: {op.error}"
            inbound.receive_op(self.links.runtime, self.node, [REFUSED, op.parts[1], text])

    def _on_link_op(self, op: Any) -> None:
        code = op[0]
        if code == frames.PING:
            self.urgent([frames.PONG])
        elif code == frames.PART:
            self._on_part(op[1], op[2])
        elif code == frames.BYE:
            self.links.listener.said_bye(self.node)
        elif code != frames.PONG:
            raise ValueError(f"unknown op {op!r:.80}")

    def _on_part(self, piece: bytes, last: bool) -> None:
        if self._skips_parts:
            self._skips_parts = not last
            return
        assembler = self._assembler or self.links.codec.assembler()
        self._assembler = None
        try:
            assembler.feed(piece)
            op: Any = assembler.value if last else None
        except BaseException:
            self._skips_parts = not last
            raise
        if last:
            inbound.receive_op(self.links.runtime, self.node, op)
        else:
            self._assembler = assembler


class _Listener:
    """Names the channel's events for a link (whose `connected` is a state, not an event)."""

    def __init__(self, link: Link) -> None:
        self.connected = link.connected_now
        self.disconnected = link.disconnected
        self.writable = link.writable
        self.refused = link.refused
