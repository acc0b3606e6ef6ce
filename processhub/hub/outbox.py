"""What a distributed supervisor has to say to others about single children, collected so that few messages carry it."""

from __future__ import annotations

from typing import Any, Final

from processhub.hub.hub import Hub
from supervisor.gen_server import GenServer
from supervisor.pids import Ref
from supervisor.records import Process

ROWS: Final = 250  # in one message
FLUSH: Final = ("handover", "flush")


class Outbox:
    """Rows by receiver, kind of message and batch. They go out in a later turn of the distributed supervisor, `me`.

    The kinds are the classes of `processhub.hub.handover_messages` whose fields are node, batch and a list.
    """

    def __init__(self, hub: Hub, me: Process) -> None:
        self._hub = hub
        self._me = me
        self._rows: dict[tuple[str, type, Ref], list[Any]] = {}

    def put(self, node: str, kind: type, batch: Ref, row: Any) -> None:
        """Say this to `node`, soon. From any greenlet."""
        if not self._rows:
            GenServer.cast(self._me.pid, FLUSH)
        self._rows.setdefault((node, kind, batch), []).append(row)

    def flush(self) -> None:
        """Send all that was collected, in the order in which each message began."""
        rows, self._rows = self._rows, {}
        for (node, kind, batch), found in rows.items():
            for start in range(0, len(found), ROWS):
                self.send(node, kind(self._hub.node, batch, found[start : start + ROWS]))

    def send(self, node: str, message: Any) -> None:
        """Send a message to the distributed supervisor of `node`."""
        GenServer.cast((self._hub.supervisor_name, node), message)
