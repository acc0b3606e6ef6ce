"""The runtime's messages that may travel between nodes, and those of the node itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from processhub.cluster.wire import register
from supervisor.directives import StopRequest
from supervisor.reasons import Moved
from supervisor.signals import Down, ExitSignal


@dataclass(frozen=True)
class NodeUp:
    """Delivered to who asked for it with `Node.monitor_nodes(True)`: `node` has joined."""

    node: str


@dataclass(frozen=True)
class NodeDown:
    """Delivered to who asked for it with `Node.monitor_nodes(True)`: `node` has left, or was lost."""

    node: str


@dataclass(frozen=True)
class SpawnRequest:
    """A call to another node's server: run `fn(*args)` there as a process. The reply is its pid."""

    fn: Any
    args: tuple[Any, ...]


register(40, Down)
register(41, ExitSignal)
register(42, StopRequest)
register(43, NodeUp)
register(44, NodeDown)
register(45, SpawnRequest)
register(46, Moved)
