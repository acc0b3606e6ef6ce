"""Deeds on hubs whose every child is to be accounted for: who runs where, what nodes know, what hooks were told."""

from __future__ import annotations

import os
from typing import Any

import supervisor.processes as process
from processhub import (
    HOOK_DATA,
    ColdSwap,
    ConsistentHashing,
    Divergence,
    GenServer,
    Gossip,
    Hook,
    HookHandler,
    ProcessHub,
    PubSub,
    Singularity,
)

PLAIN, GOSSIP = "plain", "gossip"
CONFIGS = {
    PLAIN: ProcessHub(
        PLAIN,
        distribution_strategy=ConsistentHashing(),
        redundancy_strategy=Singularity(),
        migration_strategy=ColdSwap(),
        synchronization_strategy=PubSub(),
        partition_tolerance_strategy=Divergence(),
    ),
    GOSSIP: ProcessHub(GOSSIP, synchronization_strategy=Gossip(recipients=2)),
}
_heard: dict[str, list[Any]] = {}


class Resident(GenServer):
    """Answers with the operating-system process that it lives in."""

    def handle_call(self, request: Any, from_: Any) -> int:
        return os.getpid()


def start_plain_hub() -> None:
    _start_hub(PLAIN)


def start_two_hubs() -> None:
    _start_hub(PLAIN)
    _start_hub(GOSSIP)


def _start_hub(hub_id: str) -> None:
    process.spawn(_host, CONFIGS[hub_id])
    while not ProcessHub.is_alive(hub_id):
        process.sleep(0.01)  # real time: another process of this node is about to start it


def _host(config: ProcessHub) -> None:
    ProcessHub.start_link(config)
    process.receive(lambda _: False)


def start_residents(hub_id: str, ids: list[str]) -> list[int]:
    """How many were started, and how many failed."""
    specs = [Resident.child_spec(id=child_id) for child_id in ids]
    result = ProcessHub.start_children(hub_id, specs, timeout=30.0).result()
    return [len(result.started), len(result.errors)]


def stop_residents(hub_id: str, ids: list[str]) -> list[int]:
    """How many were stopped, and how many failed."""
    result = ProcessHub.stop_children(hub_id, ids, timeout=30.0).result()
    return [len(result.stopped), len(result.errors)]


def residents(hub_id: str) -> dict[str, str]:
    """What lives on this node: child id -> pid."""
    local = ProcessHub.process_list(hub_id, "local")
    return {child_id: repr(pid) for child_id, pid in local.items() if process.alive(pid)}


def directory(hub_id: str) -> dict[str, dict[str, str]]:
    """What this node knows of all: child id -> {node: pid}."""
    known = ProcessHub.process_list(hub_id, "global")
    return {child_id: {node: repr(pid) for node, pid in copies.items()} for child_id, copies in known.items()}


def addresses(hub_id: str, ids: list[str]) -> dict[str, int]:
    """child id -> the operating-system process that answers for it."""
    return {child_id: GenServer.call(ProcessHub.via(hub_id, child_id), "where") for child_id in ids}


def listen(hub_id: str) -> None:
    """Keep what the handlers of every hook are told here from now on. (Those that alter children have to return.)"""
    for hook in Hook:
        if hook is not Hook.CHILD_DATA_ALTER:
            handler = HookHandler("listener", _note, (hook.value, HOOK_DATA))
            ProcessHub.register_hook_handlers(hub_id, hook, [handler])


def _note(hook: str, data: Any) -> None:
    _heard.setdefault(hook, []).append(data)


def heard(hook: str) -> list[Any]:
    """What was told, in order, so that all that happened before the question is in it."""
    return list(_heard.get(hook, []))


def await_heard(hook: str, count: int) -> list[Any]:
    """`heard`, once so many events were told."""
    while len(_heard.get(hook, [])) < count:
        process.sleep(0.01)  # real time: the hub's own process calls the handlers
    return heard(hook)


def await_migrated(count: int) -> list[Any]:
    """All of CHILDREN_MIGRATED that was told, once it is about so many children."""
    while sum(len(children) for _, children in _heard.get(Hook.CHILDREN_MIGRATED, [])) < count:
        process.sleep(0.01)  # real time: the hub's own process calls the handlers
    return heard(Hook.CHILDREN_MIGRATED)


def stop_hub(hub_id: str) -> None:
    """Stop the hub on this node alone."""
    ProcessHub.stop(hub_id)
