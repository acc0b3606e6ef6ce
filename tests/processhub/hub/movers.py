"""Children that move, clients that never stop asking them, and what both have to say afterwards."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from processhub import CallTimeout, GenServer, HotSwap, Pid, ProcessExit, ProcessHub, process
from processhub.strategy.distribution.consistent_hashing import ConsistentHashing
from processhub.testing import Cluster, ClusterNode
from tests.processhub.hub.children import HUB, cluster_of, hub_of, part_of, pid_of, runs, start

wrong: list[Any] = []  # what a ledger saw that must not be
seen: list[Any] = []  # what happened, where a test wants to know


class Ledger(GenServer):
    """Keeps the last number of each writer. Each writer numbers what it sends from 1 on, calls and casts alike."""

    def init(self, name: str = "") -> None:
        self.state: dict[Any, int] = {}
        self.name = name

    def handle_call(self, request: Any, from_: Any) -> Any:
        if request == "get":
            return dict(self.state)
        if request == "reason":
            return self.start_reason
        if request == "crash":
            raise RuntimeError("as asked")
        if request[0] == "sleep":
            process.sleep(request[1])
            return "slept"
        if request[0] == "ask":  # a nested call
            return GenServer.call(ProcessHub.via(HUB, request[1]), request[2], 30.0)
        return self._note(*request)

    def handle_cast(self, request: Any) -> None:
        self._note(*request)

    def handle_info(self, message: Any) -> None:
        self._note(*message)

    def _note(self, writer: Any, number: int) -> int:
        if self.state.get(writer, 0) != number - 1:
            wrong.append((self.name, writer, self.state.get(writer, 0), number))
        self.state[writer] = number
        return number


def ledgers(which: int | list[str]) -> list[Any]:
    """Specs of so many ledgers, l0, l1, ..., or of those with these ids."""
    child_ids = [f"l{number}" for number in range(which)] if isinstance(which, int) else which
    return [Ledger.child_spec(child_id, id=child_id) for child_id in child_ids]


def ids_that_move(nodes: int, count: int) -> list[str]:
    """Ids of children that a node takes over when it joins so many others in a test cluster."""
    names = [f"node{number + 1}@127.0.0.1:{4370 + number}" for number in range(nodes + 1)]
    place = ConsistentHashing().place
    before, after = place(dict.fromkeys(names[:-1], 1)), place(dict.fromkeys(names, 1))
    every = (f"l{number}" for number in itertools.count())
    moving = (one for one in every if before.owners(one, None, 1) != after.owners(one, None, 1))
    return list(itertools.islice(moving, count))


class Client:
    """Writes to ledgers as fast as it is let, by name and by the pid that it knew first; counts what was confirmed."""

    def __init__(self, name: str, seed: int, child_ids: list[str]) -> None:
        self.name = name
        self.random = Random(f"{name} {seed}")
        self.child_ids = child_ids
        self.sent: dict[str, int] = {}
        self.confirmed: dict[str, int] = {}
        self.errors: list[Any] = []
        self.pids: dict[str, Pid] = {}
        self.is_on = True

    def run(self) -> None:
        while self.is_on:
            child_id = self.random.choice(self.child_ids)
            for _ in range(self.random.randint(1, 12)):  # in a row: some by the way round, some directly
                self._write(child_id)
                process.sleep(self.random.choice((0.0, 0.0001, 0.001, 0.004)))

    def _write(self, child_id: str) -> None:
        via = ProcessHub.via(HUB, child_id)
        pid = self.pids.get(child_id) or self.pids.setdefault(child_id, via.resolve(5.0))
        to: Any = self.random.choice((via, pid))
        number = self.sent[child_id] = self.sent.get(child_id, 0) + 1
        message = (self.name, number)
        kind = self.random.randrange(4)
        if kind == 0:
            GenServer.cast(to, message)
        elif kind == 1:
            process.send(to, message)
        else:
            try:
                assert GenServer.call(to, message, 30.0) == number
                self.confirmed[child_id] = number
            except (ProcessExit, CallTimeout) as error:
                self.errors.append((process.now(), child_id, number, type(error).__name__, str(error)))


@contextmanager
def hot_cluster(n: int, seed: int = 1, **options: Any) -> Iterator[Cluster]:
    """A settled cluster whose children move with their states. Options of HotSwap, and of the hub."""
    wrong.clear()
    seen.clear()
    names = ("retention", "handover", "confirm_handover", "handover_data_wait", "child_migration_timeout")
    swap = {name: options.pop(name) for name in names if name in options}
    swap.setdefault("handover", True)
    with cluster_of(n, seed, migration_strategy=HotSwap(**swap), **options) as cluster:
        yield cluster


@contextmanager
def clients(cluster: Cluster, count: int, child_ids: list[str], seed: int = 1) -> Iterator[list[Client]]:
    """So many clients on the nodes in turn, at work until the block ends; then each has got its last answer."""
    found = [Client(f"client{number}", seed, child_ids) for number in range(count)]
    errands = [cluster[n % len(cluster)].begin(client.run) for n, client in enumerate(found)]
    yield found
    for client in found:
        client.is_on = False
    cluster.run_until(lambda: all(errand.is_over() for errand in errands), 60.0)
    for errand in errands:
        errand.outcome()


def totals(node: ClusterNode, child_ids: list[str]) -> dict[str, dict[str, int]]:
    """What every ledger has."""
    return {one: node.run(GenServer.call, ProcessHub.via(HUB, one), "get", 10.0) for one in child_ids}


def check_books(cluster: Cluster, found: list[Client], child_ids: list[str]) -> None:
    """Nothing was lost, refused, handled twice or out of order."""
    errors = [(client.name, *error) for client in found for error in client.errors]
    assert not errors, f"{len(errors)} failed, at first {errors[:5]}"
    cluster.advance(1.0)
    books = totals(cluster[0], child_ids)
    assert not wrong, f"{len(wrong)} out of order, at first {wrong[:5]}"
    for client in found:
        for child_id, number in client.sent.items():
            assert books[child_id].get(client.name) == number, (client.name, child_id)


def move_of(node: ClusterNode) -> Any:
    """The moves of the node's distributed supervisor."""
    return part_of(node, "distributed_supervisor").handover


def check_nothing_left(cluster: Cluster, seconds: float = 700.0) -> None:
    """No move, gate, wait or process is left of any move. Lets the time pass for which things are remembered.

    seconds: 700 for where processes went, too; 130 for all else.
    """
    cluster.advance(seconds)
    for node in cluster:
        if not node.is_alive:
            continue
        moves = move_of(node)
        left = {
            "departures": moves.departures._all,
            "failures": moves.departures._failures,
            "arrivals": moves.arrivals._all,
            "by pid": moves.arrivals._by_pid,
            "done": moves.arrivals._done,
            "watched": moves._watched,
            "out": moves._out._rows,
            "moving": hub_of(node).moving,
            "draining": hub_of(node).draining,
            "gates": node.runtime.gates,
            "moved": node.runtime.moved if seconds > 600 else (),
        }
        assert not any(len(one) for one in left.values()), f"left on {node.name}: {left}"
        served = {peer: len(one.served) for peer, one in node.runtime.peers.items() if one.served}
        assert not served, f"calls that {node.name} still owes: {served}"


__all__ = [
    "Client",
    "Ledger",
    "check_books",
    "check_nothing_left",
    "clients",
    "hot_cluster",
    "hub_of",
    "ids_that_move",
    "ledgers",
    "move_of",
    "pid_of",
    "runs",
    "seen",
    "start",
    "totals",
    "wrong",
]
