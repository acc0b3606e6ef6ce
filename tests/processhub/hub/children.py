"""Children for tests of the hub, each misbehaving in one way, and what tests ask of a cluster.

Nodes of a test cluster live in one operating-system process, so `journal` sees what runs on all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from processhub import ChildSpec, GenServer, Pid, ProcessHub, process
from processhub.hub.config import HubConfig
from processhub.testing import Cluster, ClusterNode

HUB = "hub"
journal: list[tuple[Any, ...]] = []


class Counter(GenServer):
    """Counts the "add" casts; "get" answers with the count."""

    def init(self, first: int = 0) -> None:
        self.state = first

    def handle_call(self, request: Any, from_: Any) -> Any:
        if request == "crash":
            raise RuntimeError("as asked")
        return self.state

    def handle_cast(self, request: Any) -> None:
        self.state += 1


class Named(GenServer):
    """Writes (name, pid) into the journal when its init runs."""

    def init(self, name: str) -> None:
        journal.append((name, process.self()))
        self.state = name

    def handle_call(self, request: Any, from_: Any) -> Any:
        return self.state


class Slow(GenServer):
    """Its init takes `seconds`."""

    def init(self, seconds: float) -> None:
        journal.append(("init begins", process.self()))
        process.sleep(seconds)
        journal.append(("init ends", process.self()))

    def handle_call(self, request: Any, from_: Any) -> Any:
        return "here"


class Stubborn(GenServer):
    """Traps exits, and takes `seconds` to terminate."""

    def init(self, seconds: float) -> None:
        process.trap_exit(True)
        self.seconds = seconds

    def terminate(self, reason: Any) -> None:
        process.sleep(self.seconds)
        journal.append(("terminated", process.self()))


class Failing(GenServer):
    """Its init raises as long as the journal has no ("mended",)."""

    def init(self, *_: Any) -> None:
        journal.append(("tried", process.now()))
        if ("mended",) not in journal:
            raise ValueError("it is broken")


class ShortLived(GenServer):
    """Crashes by itself `seconds` after its start, again and again."""

    def init(self, seconds: float) -> None:
        journal.append(("started", process.now()))
        process.send_after(process.self(), "end", seconds)

    def handle_info(self, message: Any) -> None:
        raise RuntimeError("its time is over")


def start_raises() -> Pid:
    raise LookupError("no such thing")


def start_exits() -> Pid:
    journal.append(("left", process.spawn_link(process.sleep, 1e9)))
    raise SystemExit(3)


def start_returns_nothing() -> None:
    """A start function that forgot to return the pid."""


def start_returns_nothing_but_leaves_a_process() -> None:
    journal.append(("left", process.spawn_link(process.sleep, 1e9)))


def start_never_returns() -> Pid:
    journal.append(("left", process.spawn_link(process.sleep, 1e9)))
    process.sleep(1e9)
    raise AssertionError("not reached")


def start_returns_a_dead_pid() -> Pid:
    pid = process.spawn(lambda: None)
    process.sleep(0.1)
    return pid


def counters(count: int, prefix: str = "c", **options: Any) -> list[ChildSpec]:
    """Specs of so many counters: c0, c1, ..."""
    return [Counter.child_spec(id=f"{prefix}{number}", **options) for number in range(count)]


# -- clusters --------------------------------------------------------------------------------------------------------


@contextmanager
def cluster_of(n: int, seed: int = 1, **options: Any) -> Iterator[Cluster]:
    """A settled cluster of n nodes with the hub `HUB`; `options` are the hub's."""
    journal.clear()
    with Cluster(n, seed=seed, hubs=[HubConfig(HUB, **options)]) as cluster:
        settle(cluster)
        yield cluster
    journal.clear()


def start(node: ClusterNode, specs: Any, **options: Any) -> Any:
    """Start children from a node and wait for the result."""
    specs = specs if isinstance(specs, list) else [specs]
    return node.run(lambda: ProcessHub.start_children(HUB, specs, **options).result())


def stop(node: ClusterNode, child_ids: Any, **options: Any) -> Any:
    """Stop children from a node and wait for the result."""
    child_ids = [child_ids] if isinstance(child_ids, str) else list(child_ids)
    return node.run(lambda: ProcessHub.stop_children(HUB, child_ids, **options).result())


def settle(cluster: Cluster, seconds: float = 60.0, among: Iterable[int] | None = None) -> float:
    """Wait until the hub has settled among these nodes (all living ones). Returns the virtual seconds that it took."""
    nodes = [cluster[i] for i in among] if among is not None else [node for node in cluster if node.is_alive]
    names = [node.name for node in nodes]
    before = cluster.now()
    for node in nodes:
        node.run(ProcessHub.await_settled, HUB, seconds, names)
    return cluster.now() - before


def pid_of(node: ClusterNode, child_id: str) -> Pid | None:
    """get_pid, as this node sees it."""
    return node.run(ProcessHub.get_pid, HUB, child_id)


def local_pids(node: ClusterNode) -> dict[str, Pid]:
    """The children that run on this node."""
    return node.run(lambda: ProcessHub.process_list(HUB, "local"))


def owner_of(cluster: Cluster, child_id: str) -> ClusterNode:
    """The node that owns the child by the views of all."""
    living = [node for node in cluster if node.is_alive]
    owners = {node.run(ProcessHub.owners, HUB, child_id)[0] for node in living}
    assert len(owners) == 1, f"{child_id} has the owners {owners}"
    return next(node for node in living if node.name in owners)


def runs(cluster: Cluster) -> dict[str, list[str]]:
    """The truth: child id -> the nodes on which a live process of it runs, read from the distributed supervisors."""
    found: dict[str, list[str]] = {}
    for node in cluster:
        part = part_of(node, "distributed_supervisor") if node.is_alive else None
        for child in part.copies.children.values() if part is not None else ():
            if child.pid is not None and node.runtime.local(child.pid) is not None:
                found.setdefault(child.child_id, []).append(node.name)
    return found


def part_of(node: ClusterNode, part: str) -> Any:
    """The server object of a part of the hub; None if it does not run."""
    found = node.runtime.names.get(HUB if part == "coordinator" else f"{HUB}.{part}")
    return found.server if found is not None else None


def hub_of(node: ClusterNode) -> Any:
    """The shared state of the hub on this node."""
    return node.runtime.services[HUB]


def kill(node: ClusterNode, pid: Pid | None, reason: Any = "kill") -> None:
    """Send an exit signal on a node."""
    assert pid is not None
    node.run(process.exit, pid, reason)


def copies_alive(cluster: Cluster, child_ids: Iterable[str]) -> bool:
    """Whether each of these children runs exactly once."""
    truth = runs(cluster)
    return all(len(truth.get(child_id, ())) == 1 for child_id in child_ids)
