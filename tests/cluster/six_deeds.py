"""Deeds on hubs whose every child is to be accounted for: who runs where, what nodes know, what hooks were told."""

from __future__ import annotations

import os
from itertools import cycle
from typing import Any

import supervisor.processes as process
from processhub import (
    HOOK_DATA,
    ColdSwap,
    ConsistentHashing,
    Divergence,
    Down,
    GenServer,
    Gossip,
    Hook,
    HookHandler,
    HotSwap,
    ProcessHub,
    PubSub,
    Singularity,
)

PLAIN, GOSSIP, MOVING = "plain", "gossip", "moving"
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
    MOVING: ProcessHub(MOVING, migration_strategy=HotSwap(handover=True)),
}
_heard: dict[str, list[Any]] = {}


class Resident(GenServer):
    """Answers with the operating-system process that it lives in."""

    def handle_call(self, request: Any, from_: Any) -> int:
        return os.getpid()


class Tally(GenServer):
    """Counts what it is asked to add; its state is what must not get lost."""

    def init(self) -> None:
        self.state = 0

    def handle_call(self, request: str, from_: Any) -> int:
        total: int = self.state + (request == "add")
        self.state = total
        return total


class Clients:
    """Processes of one node that add to tallies, one after the other, until they are told to stop.

    added: how often each tally has confirmed; failures: what calls raised.
    """

    def __init__(self, ids: list[str], count: int) -> None:
        self.added = dict.fromkeys(ids, 0)
        self.failures: list[str] = []
        self.is_over = False
        self.pids = [process.spawn(self._work, ids[number::count]) for number in range(count)]

    def _work(self, ids: list[str]) -> None:
        for child_id in cycle(ids):
            if self.is_over:
                return
            try:
                GenServer.call(ProcessHub.via(MOVING, child_id), "add", 20.0)
                self.added[child_id] += 1
            except Exception as error:
                self.failures.append(repr(error))
            process.sleep(0)


_clients: list[Clients] = []


def start_moving_hub() -> None:
    _start_hub(MOVING)


def start_tallies(ids: list[str]) -> list[int]:
    """How many were started, and how many failed."""
    result = ProcessHub.start_children(MOVING, [Tally.child_spec(id=one) for one in ids], timeout=30.0).result()
    return [len(result.started), len(result.errors)]


def begin_to_add(ids: list[str]) -> None:
    _clients.append(Clients(ids, 4))


def stop_adding() -> list[Any]:
    """[how often each tally has confirmed, what failed], once all clients have ended."""
    clients = _clients.pop()
    clients.is_over = True
    for pid in clients.pids:
        process.monitor(pid)
        process.receive(lambda message: isinstance(message, Down))
    return [clients.added, clients.failures]


def totals(ids: list[str]) -> dict[str, int]:
    """What the tallies say themselves."""
    return {child_id: GenServer.call(ProcessHub.via(MOVING, child_id), "total") for child_id in ids}


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
