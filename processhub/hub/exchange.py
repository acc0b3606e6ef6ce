"""Exchange of the registry with other members: batches as they are written, vectors to find what got lost."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final

from processhub.hub.collector import Paused
from processhub.hub.hub import Hub
from processhub.hub.messages import BatchMessage, CatchUp, VectorMessage
from processhub.hub.routes import deal
from processhub.registry import Batch, Changes, Chunk, MalformedBatch, RegistryVector, decode
from supervisor.gen_server import From, GenServer
from supervisor.processes import give_way
from supervisor.runtime import current_process

log = logging.getLogger(__name__)

ASK_AGAIN_SECONDS: Final = 0.2  # between two requests to one member for what is missing
ANSWERS: Final = 2  # in a round: a vector, one back, and one more: then each knows what it has to ask for


class Exchange:
    """What the coordinator does to keep the registry equal everywhere."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._met: dict[str, RegistryVector] = {}  # what each member had when we met: joining waits for that much
        self._asked: dict[str, float] = {}
        self._to_ask: set[str] = set()
        self._strategy = hub.config.synchronization_strategy
        self._relays: deque[BatchMessage] = deque()
        self._is_relaying = False
        self._differs = False
        self._is_comparing = False

    def met(self, node: str, vector: Any) -> Changes | None:
        """A member presents itself with what it has: send what it lacks."""
        theirs = self._read(node, vector)
        if theirs is None:
            return None
        self._met[node] = theirs
        changes = self.hub.registry.heard(theirs)
        self._send_delta(node, theirs)
        return changes

    def is_behind(self) -> bool:
        """Whether something is still missing that a member had when we met."""
        lacks = self.hub.registry.lacks
        self._met = {node: vector for node, vector in self._met.items() if lacks(vector)}
        return bool(self._met)

    def forget(self, node: str) -> None:
        """`node` is no member any more."""
        self._met.pop(node, None)
        self._asked.pop(node, None)
        self._to_ask.discard(node)

    def on_batch(self, message: BatchMessage) -> Changes | None:
        """Operations arrive. Malformed ones are dropped; what they lack is asked for."""
        hub = self.hub
        try:
            with Paused():
                content = decode(hub.codec.open(message.batch))
                if isinstance(content, Batch) and message.node not in hub.members:
                    content.rows = None  # passed on for a node that is lost by now: its copies must not come back
                changes = hub.registry.apply(content, hub.now_ms())
        except MalformedBatch as error:
            log.error("hub %s: a malformed batch from %s was dropped: %s", hub.hub_id, message.node, error)
            return None
        if message.rest:
            self._pass_on(message)
        if changes.clock_ahead_ms:
            log.warning("hub %s: the clock of %s is %d ms ahead", hub.hub_id, message.node, changes.clock_ahead_ms)
        if changes.need_delta or changes.need_tables:
            self._ask(message.node)
        if changes.renewed:
            hub.publish()
        return changes

    def _pass_on(self, message: BatchMessage) -> None:
        """Send it to our share, in a process of its own: a slow link must not hold the coordinator."""
        self._relays.append(message)
        if not self._is_relaying:
            self._is_relaying = True
            self.hub.runtime.spawn(self._relay, (), {})

    def _relay(self) -> None:
        hub = self.hub
        try:
            while self._relays:
                message = self._relays.popleft()
                rest = [node for node in message.rest if node != hub.node]
                for node, share in hub.routes.to(rest):
                    GenServer.cast((hub.hub_id, node), BatchMessage(message.node, message.batch, share))
        finally:
            self._is_relaying = False

    def _ask(self, node: str) -> None:
        now = self.hub.runtime.clock.now()
        if now - self._asked.get(node, -ASK_AGAIN_SECONDS) >= ASK_AGAIN_SECONDS:
            self._asked[node] = now
            self._to_ask.discard(node)
            self._send_vector(node, answers=0)
        else:
            self._to_ask.add(node)  # what is missing now may be newer than the answer that is under way

    def ask_again(self) -> None:
        """Now and then: ask those again who could not be asked so soon."""
        for node in sorted(self._to_ask):
            self._ask(node)

    def _send_vector(self, node: str, answers: int, rest: Iterable[str] = ()) -> None:
        vector = self.hub.registry.vector().to_wire()
        GenServer.cast((self.hub.hub_id, node), VectorMessage(self.hub.node, vector, answers, list(rest)))

    def on_vector(self, message: VectorMessage) -> Changes | None:
        """A member says what it has: send what it lacks, ask for what we lack; take a round to the next ones."""
        if message.rest:
            self._send_round([node for node in message.rest if node != self.hub.node])
        theirs = self._read(message.node, message.vector)
        if theirs is None:
            return None
        registry, others = self.hub.registry, self.hub.others()
        changes = registry.heard(theirs)
        sent = self._send_delta(message.node, theirs)
        ahead = registry.tables_ahead(theirs, others)
        for node in ahead:
            if node != message.node:
                self._ask(node)  # only its writer can say what led from the version that we have to the present one
        lacks = registry.lacks(theirs)
        if message.answers and (lacks or registry.should_report(theirs) or registry.tables_behind(theirs, others)):
            self._send_vector(message.node, message.answers - 1)
        self._differs = self._differs or sent or lacks or bool(ahead)
        return changes

    def _read(self, node: str, vector: Any) -> RegistryVector | None:
        try:
            return RegistryVector.from_wire(vector)
        except MalformedBatch as error:
            log.error("hub %s: a malformed vector from %s was dropped: %s", self.hub.hub_id, node, error)
            return None

    def round(self) -> None:
        """The periodic exchange of vectors."""
        hub = self.hub
        hub.routes.redraw()
        if self._strategy.starts_rounds(hub.node, sorted(hub.members)):
            self._send_round(hub.listeners())

    def _send_round(self, members: Sequence[str]) -> None:
        partners = self._strategy.partners(members, self.hub.rng)
        for node, rest in deal(members, partners):
            self._send_vector(node, ANSWERS, rest if self._strategy.relays_rounds else ())

    def compare_again_in(self) -> float | None:
        """In how many seconds to `compare_again`: once after vectors came that differ from ours."""
        differs, self._differs = self._differs, False
        if not differs or self._is_comparing:
            return None
        pause = self._strategy.again(self.hub.rng)
        self._is_comparing = pause is not None
        return pause

    def compare_again(self) -> None:
        """Something was different a moment ago: see whether it still is."""
        hub = self.hub
        self._is_comparing = False
        for node in self._strategy.partners(hub.listeners(), hub.rng):
            self._send_vector(node, ANSWERS)

    def _send_delta(self, node: str, theirs: RegistryVector) -> bool:
        """Send what a member lacks, in a process of its own: a large registry takes many pieces. False: nothing."""
        pieces = iter(self.hub.registry.delta_since(theirs))
        first = next(pieces, None)
        if first is not None:
            self.hub.runtime.spawn(self._send_pieces, (node, chain((first,), pieces)), {})
        return first is not None

    def on_catch_up(self, request: CatchUp, from_: From) -> None:
        """A node that got an answer from here wants to have what led to it."""
        theirs = self._read(request.node, request.vector)
        if theirs is not None:
            pieces = self.hub.registry.delta_since(theirs)
            self.hub.runtime.spawn(self._send_and_reply, (request.node, pieces, from_), {})

    def _send_and_reply(self, node: str, pieces: Iterable[Batch | Chunk], from_: From) -> None:
        self._send_pieces(node, pieces)
        GenServer.reply(from_, True)

    def _send_pieces(self, node: str, pieces: Iterable[Batch | Chunk]) -> None:
        me = current_process()
        for piece in pieces:
            batch = self.hub.codec.packed(piece.to_wire(), "registry operations")
            GenServer.cast((self.hub.hub_id, node), BatchMessage(self.hub.node, batch, []))
            give_way(me, long_step=True)
