"""Deeds on hubs with several copies of each child, and with children bound to nodes."""

from __future__ import annotations

from typing import Any

import supervisor.processes as process
from processhub import GenServer, Gossip, Guided, ProcessHub, Replication

COPIES, BOUND = "copies", "bound"


class Roled(GenServer):
    """Answers with the roles that it was told, in order."""

    def init(self) -> None:
        self.state: list[str] = []

    def handle_call(self, request: Any, from_: Any) -> list[str]:
        return self.state

    def handle_info(self, message: Any) -> None:
        self.state.append(message.mode)


def start_copies_hubs() -> None:
    for config in (
        ProcessHub(
            COPIES,
            redundancy_strategy=Replication(2, "active_passive", "all"),
            synchronization_strategy=Gossip(),
        ),
        ProcessHub(BOUND, distribution_strategy=Guided()),
    ):
        process.spawn(_host, config)
        while not ProcessHub.is_alive(config.hub_id):
            process.sleep(0.01)  # real time: another process of this node is about to start it


def _host(config: ProcessHub) -> None:
    ProcessHub.start_link(config)
    process.receive(lambda _: False)


def start_roled(hub_id: str, ids: list[str], mapping: dict[str, list[str]] | None) -> list[int]:
    """How many copies were started, and how many failed."""
    specs = [Roled.child_spec(id=child_id) for child_id in ids]
    options = {"child_mapping": mapping} if mapping is not None else {}
    result = ProcessHub.start_children(hub_id, specs, timeout=30.0, **options).result()
    return [len(result.pids), len(result.errors)]


def roles(hub_id: str, ids: list[str]) -> dict[str, dict[str, str | None]]:
    """child id -> {node: the role that its copy there was told last}, the active copy first."""
    found: dict[str, dict[str, str | None]] = {}
    for child_id in ids:
        pids = ProcessHub.get_pids(hub_id, child_id)
        active = ProcessHub.active(hub_id, child_id)
        assert pids[0] == active, f"{child_id}: {active} is active, {pids} run"
        found[child_id] = {pid.node: (GenServer.call(pid, "roles") or [None])[-1] for pid in pids}
    return found


def states(hub_id: str, ids: list[str]) -> dict[str, dict[str, str]]:
    """child id -> {node: state}."""
    infos = {child_id: ProcessHub.child_lookup(hub_id, child_id) for child_id in ids}
    return {child_id: info.states if info is not None else {} for child_id, info in infos.items()}
