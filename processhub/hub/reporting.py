"""What one node can say of its hub: for `ProcessHub.report`, and through it for people and for monitoring.

It is gathered in a process of its own, in slices: neither the coordinator nor the loop is held while children are
counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Final

from processhub.hub.hub import Hub
from processhub.hub.messages import REPORT
from processhub.registry import FAILED
from supervisor.gen_server import From, GenServer, NoReply
from supervisor.processes import spawn, unhurried

NAMED: Final = 10


@dataclass(frozen=True)
class Report:
    """A hub as one of its nodes sees it.

    Attributes:
        node: the node that says so.
        members: the nodes that take part, as it sees them; `observers`: those that only look on.
        is_locked: members come or go, or children move, just now.
        is_partitioned: it has lost its quorum and runs no children.
        is_busy: it has not joined yet, or has children left to look at.
        digest: equal on nodes whose registries are equal.
        children: how many children the hub should have.
        states: {state: how many copies} on this node.
        failed: children whose copy here has failed and is retried with growing pauses; the first `NAMED` of them.
        down: how many children run nowhere; `down_ids`: the first `NAMED` of them.
    """

    node: str
    members: list[str]
    observers: list[str]
    is_locked: bool
    is_partitioned: bool
    is_busy: bool
    digest: int
    children: int
    states: dict[str, int]
    failed: list[str]
    down: int
    down_ids: list[str]


def report_of(hub_id: str, node: str, timeout: float) -> Report:
    """Ask `node`. Raises as a call to its coordinator does."""
    return Report(**GenServer.call((hub_id, node), REPORT, timeout))


def begin_report(hub: Hub, is_busy: bool, from_: From) -> Any:
    """Answer a `REPORT` call, later."""
    spawn(_reply, hub, is_busy, from_)
    return NoReply()


def _reply(hub: Hub, is_busy: bool, from_: From) -> None:
    own, pids = hub.registry.own_table, hub.registry.pids
    states = Counter(row.state for _, row in unhurried(own.items()))
    failed = sorted(child_id for child_id, row in unhurried(own.items()) if row.state == FAILED)
    down = sorted(child_id for child_id in unhurried(hub.registry.children) if child_id not in pids)
    report = Report(
        node=hub.node,
        members=sorted(hub.members),
        observers=sorted(hub.observers),
        is_locked=hub.is_locked,
        is_partitioned=hub.partitioned,
        is_busy=is_busy,
        digest=hub.registry.digest(),
        children=len(hub.registry.children),
        states=dict(sorted(states.items())),
        failed=failed[:NAMED],
        down=len(down),
        down_ids=down[:NAMED],
    )
    GenServer.reply(from_, asdict(report))
