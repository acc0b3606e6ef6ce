"""What tests of children with several copies share."""

from __future__ import annotations

from typing import Any

from processhub import ChildSpec, GenServer, Pid, ProcessHub, RedundancySignal, process
from processhub.testing import Cluster, ClusterNode
from tests.processhub.hub.children import HUB, hub_of, journal


class Member(GenServer):
    """Writes every signal it gets into the journal: ("signal", name, node, mode, pid). "who" answers with its node."""

    def init(self, name: str) -> None:
        self.state = name

    def handle_call(self, request: Any, from_: Any) -> Any:
        return process.self().node

    def handle_info(self, message: Any) -> None:
        assert isinstance(message, RedundancySignal)
        me = process.self()
        journal.append(("signal", self.state, me.node, message.mode, me))


def members(count: int, **options: Any) -> list[ChildSpec]:
    """Specs of so many: m0, m1, ..."""
    return [Member.child_spec(f"m{number}", id=f"m{number}", **options) for number in range(count)]


def signals() -> list[tuple[str, str, str, Pid]]:
    """(child, node, mode, pid) of all signals so far."""
    return [entry[1:] for entry in journal if entry[0] == "signal"]


def told() -> dict[tuple[str, str], list[str]]:
    """(child, node) -> the modes that its processes were told, in order."""
    found: dict[tuple[str, str], list[str]] = {}
    for child_id, node, mode, _ in signals():
        found.setdefault((child_id, node), []).append(mode)
    return found


def active_node(node: ClusterNode, child_id: str) -> str | None:
    """The node of the active copy, as the strategy says on this node."""
    hub = hub_of(node)
    found: str | None = hub.config.redundancy_strategy.active(child_id, hub.owners(child_id))
    return found


def owners(node: ClusterNode, child_id: str) -> list[str]:
    return node.run(ProcessHub.owners, HUB, child_id)


def by_name(cluster: Cluster, name: str | None) -> ClusterNode:
    return next(node for node in cluster if node.name == name)
