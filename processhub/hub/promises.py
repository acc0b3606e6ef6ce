"""What we told others: that our copy stays, so that they may stop theirs. Until they have answered, it does stay.

Why: let A and B hold the same child, and each think that it is the owner. Each tells the other that it stays. While
both messages are under way, both learn that it is the other one who owns: then each would follow the other's word, and
both copies would stop. A promise is kept until its receiver has no such copy any more, has refused, or can no longer
follow. (Nodes that place by the same ring never differ in this way, since its order is one for all views. Those whose
placements are chosen by hand or by load can.)
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

from processhub.registry import Row


@dataclass(frozen=True)
class _Promise:
    serial: int
    pid: Any
    at: float


class Promises:
    """The words that one node gave, by child and receiver.

    Args:
        seconds: after this time a message certainly is not under way any more. Must exceed the time after which a
            silent member is declared down.
    """

    def __init__(self, seconds: float = 60.0) -> None:
        self.seconds = seconds
        self._given: dict[str, dict[str, _Promise]] = {}
        self._serial = 0

    def told(self, child_id: str, node: str, pid: Any, now: float) -> int:
        """Note that we told `node`, the holder of the surplus copy `pid`, that we stay. Returns the serial to send."""
        self._serial += 1
        self._given.setdefault(child_id, {})[node] = _Promise(self._serial, pid, now)
        return self._serial

    def refused(self, child_id: str, node: str, serial: int) -> None:
        """`node` answered that it does not follow the word of that serial. An older serial changes nothing."""
        given = self._given.get(child_id, {})
        promise = given.get(node)
        if promise is not None and promise.serial == serial:
            self._drop(child_id, node)

    def outstanding(self, child_id: str, rows: Mapping[str, Row], members: Container[str], now: float) -> bool:
        """Whether somebody may still stop its copy because of our word.

        Not so for a node whose row of that pid is gone, that is no member any more, or was told too long ago.
        """
        given = self._given.get(child_id)
        if given is None:
            return False
        for node, promise in list(given.items()):
            row = rows.get(node)
            if row is None or row.pid != promise.pid or node not in members or now - promise.at >= self.seconds:
                self._drop(child_id, node)
        return child_id in self._given

    def forget(self, child_id: str) -> None:
        """Drop what concerns this child: it is no longer desired."""
        self._given.pop(child_id, None)

    def _drop(self, child_id: str, node: str) -> None:
        given = self._given[child_id]
        del given[node]
        if not given:
            del self._given[child_id]

    def __len__(self) -> int:
        return len(self._given)
