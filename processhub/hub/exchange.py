"""Exchange of the registry with other members: batches as they are written, vectors to find what got lost."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Final

from processhub.hub.collector import Paused
from processhub.hub.hub import Hub
from processhub.hub.messages import BatchMessage, VectorMessage
from processhub.registry import Changes, MalformedBatch, RegistryVector, decode
from supervisor.gen_server import GenServer
from supervisor.processes import give_way
from supervisor.runtime import current_process

log = logging.getLogger(__name__)

ASK_AGAIN_SECONDS: Final = 0.2  # between two requests to one member for what is missing


class Exchange:
    """What the coordinator does to keep the registry equal everywhere."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._met: dict[str, RegistryVector] = {}  # what each member had when we met: joining waits for that much
        self._asked: dict[str, float] = {}

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

    def on_batch(self, message: BatchMessage) -> Changes | None:
        """Operations arrive. Malformed ones are dropped; what they lack is asked for."""
        hub = self.hub
        try:
            with Paused():
                changes = hub.registry.apply(decode(hub.codec.open(message.batch)), hub.now_ms())
        except MalformedBatch as error:
            log.error("hub %s: a malformed batch from %s was dropped: %s", hub.hub_id, message.node, error)
            return None
        if changes.clock_ahead_ms:
            log.warning("hub %s: the clock of %s is %d ms ahead", hub.hub_id, message.node, changes.clock_ahead_ms)
        if changes.need_delta or changes.need_tables:
            self._ask(message.node)
        if changes.renewed:
            hub.publish()
        return changes

    def _ask(self, node: str) -> None:
        now = self.hub.runtime.clock.now()
        if now - self._asked.get(node, -ASK_AGAIN_SECONDS) >= ASK_AGAIN_SECONDS:
            self._asked[node] = now
            self._send_vector(node, answer=False)

    def _send_vector(self, node: str, answer: bool) -> None:
        vector = self.hub.registry.vector().to_wire()
        GenServer.cast((self.hub.hub_id, node), VectorMessage(self.hub.node, vector, answer))

    def on_vector(self, message: VectorMessage) -> Changes | None:
        """A member says what it has: send what it lacks, ask for what we lack."""
        theirs = self._read(message.node, message.vector)
        if theirs is None:
            return None
        registry = self.hub.registry
        changes = registry.heard(theirs)
        self._send_delta(message.node, theirs)
        if message.answer and registry.lacks(theirs):
            self._send_vector(message.node, answer=False)
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
        for node in hub.config.synchronization_strategy.partners(hub.listeners(), hub.rng):
            self._send_vector(node, answer=True)

    def _send_delta(self, node: str, theirs: RegistryVector) -> None:
        """Send what a member lacks, in a process of its own: a large registry takes many pieces."""
        pieces = iter(self.hub.registry.delta_since(theirs))
        first = next(pieces, None)
        if first is not None:
            self.hub.runtime.spawn(self._send_pieces, (node, first, pieces), {})

    def _send_pieces(self, node: str, piece: Any, pieces: Iterator[Any]) -> None:
        me = current_process()
        while piece is not None:
            batch = self.hub.codec.packed(piece.to_wire(), "registry operations")
            GenServer.cast((self.hub.hub_id, node), BatchMessage(self.hub.node, batch))
            give_way(me)
            piece = next(pieces, None)
