"""What the balancers of one hub, and the starts that ask the leader, say to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from processhub.cluster.wire import register


@dataclass(frozen=True)
class LoadReport:
    """A member tells the leader its `Load`. life: that of its hub, see `Hub.lives`."""

    node: str
    life: int
    cpu: float
    loop_lag: float
    processes: int
    memory: int


@dataclass(frozen=True)
class DealRequest:
    """Nodes are wanted for `count` children with `copies` copies each. The reply is a Dealt."""

    count: int
    copies: int


@dataclass(frozen=True)
class Dealt:
    """groups: rows (value for the placement register, number of children that get it). None: I am not the leader."""

    groups: Any


register(86, LoadReport)
register(87, DealRequest)
register(88, Dealt)
