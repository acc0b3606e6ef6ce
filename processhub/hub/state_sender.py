"""Sends what old copies prepared, encoded in slices, in processes of their own: a large state holds up nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from processhub.cluster.wire import Packed
from processhub.hub.handover_messages import StateChunk, States
from processhub.hub.hub import Hub
from processhub.hub.outbox import ROWS
from supervisor.errors import CallTimeout, EncodeError, ProcessExit
from supervisor.gen_server import GenServer
from supervisor.pids import Ref
from supervisor.processes import give_way
from supervisor.runtime import current_process

LARGE: Final = 32 * 1024  # bytes: a larger state does not travel together with others
CHUNK: Final = 128 * 1024
_BYTES: Final = 64 * 1024  # of states in one message

Encoded = Callable[[str, Ref, bytes], bool]
Failed = Callable[[str, Ref, BaseException], None]


class StateSender:
    """The states of one node that are under way.

    Args:
        encoded: told of each encoded state (child id, batch); returns whether it is still to be sent.
        failed: told what could not be encoded or sent.
        patience: seconds that the other side may take to work in one chunk.
    """

    def __init__(self, hub: Hub, encoded: Encoded, failed: Failed, patience: float) -> None:
        self._hub = hub
        self._encoded = encoded
        self._failed = failed
        self._patience = patience
        self._waiting: deque[tuple[str, Ref, str, Any]] = deque()
        self._at_work = False

    def put(self, node: str, batch: Ref, child_id: str, state: Any) -> None:
        """Encode this state and send it to `node`, soon. From any greenlet."""
        self._waiting.append((node, batch, child_id, state))
        if not self._at_work:
            self._at_work = True
            self._hub.runtime.spawn(self._work, (), {})

    def _work(self) -> None:
        me = current_process()
        rows: dict[tuple[str, Ref], list[Any]] = {}
        size = 0
        try:
            while self._waiting:
                node, batch, child_id, state = self._waiting.popleft()
                size += self._one(rows, node, batch, child_id, state)
                if size >= _BYTES or not self._waiting:
                    size = 0
                    self._send(rows)
                give_way(me)
        finally:
            self._at_work = False

    def _one(self, rows: dict[tuple[str, Ref], list[Any]], node: str, batch: Ref, child_id: str, state: Any) -> int:
        """Encode one state. Returns how many bytes of it wait in `rows`."""
        try:
            pieces = self._hub.codec.pack_slices(state, what=f"state of child {child_id!r:.100}")
            data = next(pieces)
            rest = next(pieces, None)
        except EncodeError as error:
            self._failed(child_id, batch, error)
            return 0
        if rest is None and len(data) <= LARGE:
            if self._encoded(child_id, batch, data):
                rows.setdefault((node, batch), []).append((child_id, Packed(data)))
            return len(data)
        self._hub.runtime.spawn(self._send_large, (node, batch, child_id, [data, rest or b""], pieces), {})
        return 0

    def _send(self, rows: dict[tuple[str, Ref], list[Any]]) -> None:
        for (node, batch), found in rows.items():
            for start in range(0, len(found), ROWS):
                message = States(self._hub.node, batch, found[start : start + ROWS])
                GenServer.cast((self._hub.supervisor_name, node), message)
        rows.clear()

    def _send_large(self, node: str, batch: Ref, child_id: str, begun: list[bytes], pieces: Any) -> None:
        me = current_process()
        try:
            for piece in pieces:
                begun.append(piece)
                give_way(me)
            data = b"".join(begun)
            if not self._encoded(child_id, batch, data):
                return
            for start in range(0, len(data), CHUNK):
                is_last = start + CHUNK >= len(data)
                chunk = StateChunk(self._hub.node, batch, child_id, data[start : start + CHUNK], is_last)
                GenServer.call((self._hub.supervisor_name, node), chunk, self._patience)
                give_way(me)
        except (EncodeError, ProcessExit, CallTimeout) as error:
            self._failed(child_id, batch, error)
