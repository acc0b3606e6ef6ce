"""A cluster of nodes in one operating-system process.

    with Cluster(3, seed=7, hubs=[ProcessHub("shop")]) as cluster:
        pid = cluster[0].run(ProcessHub.get_pid, "shop", "basket")
        cluster.partition([[0, 1], [2]])
        cluster.advance(30.0)

Nothing takes real time but the code under test, and a seed replays a run exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

import supervisor.processes as processes
from processhub.hub.sampler import LOAD_SAMPLER
from processhub.testing.driver import Driver, Errand
from processhub.testing.fake_load import FakeLoad
from processhub.testing.memory_network import MemoryNetwork
from processhub.testing.memory_transport import MemoryTransport
from processhub.testing.virtual_clock import VirtualClock, VirtualTime
from supervisor.runtime import Runtime

if TYPE_CHECKING:
    from processhub.cluster.node import Node

T = TypeVar("T")


def build_node(runtime: Runtime, name: str, transport: MemoryTransport, seeds: Sequence[str], seed: str) -> Node:
    """The node on `runtime`, not yet begun."""
    from processhub.cluster.discovery import StaticSeeds
    from processhub.cluster.node import Node

    return Node(runtime, name, transport, discovery=StaticSeeds(seeds), rng=Random(seed))


class ClusterNode:
    """One node of a `Cluster`, through all its lives.

    Attributes:
        name: as in "node1@127.0.0.1:4370".
        runtime, clock, transport, node: those of the present life, or of the last one.
        lives: how many times it was started; also its incarnation.
        load: what a load balancer's node measures of itself; set it as you like.
        is_alive: False after a crash or a stop, until it is restarted.
    """

    runtime: Runtime
    clock: VirtualClock
    transport: MemoryTransport
    node: Node

    def __init__(self, cluster: Cluster, index: int) -> None:
        self.cluster = cluster
        self.index = index
        self.name = f"node{index + 1}@127.0.0.1:{4370 + index}"
        self.lives = 0
        self.load = FakeLoad()
        self.is_alive = False

    def __repr__(self) -> str:
        state = "dead" if not self.is_alive else "paused" if self.clock.is_paused else "up"
        return f"<ClusterNode {self.name} {state}>"

    def run(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run `fn(*args, **kwargs)` as a process of this node, and let virtual time pass until it has ended.

        Returns its value or raises its exception; ProcessExit if it was told to exit. See `Driver.run`.
        """
        self._check_running()
        return self.cluster.driver.run(self.runtime, fn, *args, **kwargs)

    def begin(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Errand:
        """Like `run`, but time passes only when the test says so: for things that happen at once on many nodes."""
        self._check_running()
        return Errand(self.runtime, fn, args, kwargs)

    def peers(self) -> list[str]:
        """The names of the nodes that this one counts as members."""
        return self.node.peers() if self.is_alive else []

    def _check_running(self) -> None:
        if not self.is_alive or self.clock.is_paused:
            raise RuntimeError(f"{self!r} cannot run anything now")


class Cluster:
    """`n` nodes on one virtual time and one network in memory.

    Args:
        n: how many nodes to begin with. They are connected to each other when the constructor returns.
        seed: decides all that is random: faults of the network, and what the nodes draw.
        hubs: configurations of hubs (or functions that make one) which every node starts. They run when the
            constructor returns, but need not have settled.
        skews: seconds by which the wall clock of each node is ahead, by index.

    Use it in a `with` statement, or call `stop`. Everything here is for the test's own greenlet.
    """

    def __init__(
        self,
        n: int,
        seed: int | str = 0,
        hubs: Iterable[Any] = (),
        *,
        skews: Sequence[float] = (),
        cookie: str = "cookie",
    ) -> None:
        self.seed = seed
        self.time = VirtualTime()
        self.network = MemoryNetwork(self.time, seed)
        self.driver = Driver(self.time)
        self.nodes: list[ClusterNode] = []
        self._hubs = list(hubs)
        self._skews = list(skews)
        self._cookie = cookie
        self._own_clock = self.time.clock("cluster")
        try:
            for _ in range(n):
                self.add()
            self.run_until(self.is_connected)
        except BaseException:
            self.stop()
            raise

    def __repr__(self) -> str:
        return f"<Cluster of {len(self.nodes)} nodes, seed {self.seed!r}, at {self.time.now():.6f}>"

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __getitem__(self, index: int) -> ClusterNode:
        return self.nodes[index]

    def __iter__(self) -> Iterator[ClusterNode]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    # -- time --------------------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Virtual seconds since the cluster was made."""
        return self.time.now()

    def settle(self) -> None:
        """See `Driver.settle`."""
        self.driver.settle()

    def advance(self, seconds: float) -> None:
        """See `Driver.advance`."""
        self.driver.advance(seconds)

    def run_until(self, predicate: Callable[[], object], timeout: float = 60.0) -> None:
        """See `Driver.run_until`. `timeout` is in virtual seconds."""
        self.driver.run_until(predicate, timeout)

    def is_connected(self) -> bool:
        """Whether the living nodes are members to each other, and nobody else is to them."""
        alive = sorted(node.name for node in self.nodes if node.is_alive)
        return all(
            node.peers() == [name for name in alive if name != node.name] for node in self.nodes if node.is_alive
        )

    # -- nodes -------------------------------------------------------------------------------------------------------

    def add(self) -> ClusterNode:
        """Start one node more. It knows the names of all others, and need not have joined them when this returns."""
        node = ClusterNode(self, len(self.nodes))
        self.nodes.append(node)
        self._start(node)
        return node

    def crash(self, node: int | str | ClusterNode) -> None:
        """The node dies as by SIGKILL: nothing runs there any more, and nothing is sent."""
        found = self._node(node)
        if not found.is_alive:
            raise RuntimeError(f"{found!r} is dead already")
        self.settle()
        self._end(found)

    def leave(self, node: int | str | ClusterNode) -> None:
        """The node leaves in good order: hubs drain, peers are told, then it stops."""
        found = self._node(node)
        found.run(found.node.end)
        self._end(found)

    def restart(self, node: int | str | ClusterNode) -> ClusterNode:
        """Start a node anew, under its name, that has crashed or left. One that lives is crashed first."""
        found = self._node(node)
        if found.is_alive:
            self.crash(found)
        self._start(found)
        return found

    def pause(self, node: int | str | ClusterNode, seconds: float | None = None) -> None:
        """The node's event loop stands still, for `seconds` or until `resume`. Its connections stay.

        When it goes on, timers that came due meanwhile fire first, late; then what was sent to it arrives.
        """
        found = self._node(node)
        self.settle()
        found.clock.pause()
        self.network.pause(found.name)
        if seconds is not None:
            self._own_clock.call_later(seconds, self._resume_life, found, found.lives)

    def resume(self, node: int | str | ClusterNode) -> None:
        """A paused node goes on."""
        found = self._node(node)
        if found.is_alive:
            found.clock.resume()
            self.network.resume(found.name)

    def stop(self) -> None:
        """End all nodes. Does nothing the second time."""
        for node in reversed(self.nodes):
            if node.is_alive:
                self._end(node)

    # -- faults ------------------------------------------------------------------------------------------------------

    def partition(self, groups: Iterable[Iterable[int | str | ClusterNode]]) -> None:
        """See `MemoryNetwork.partition`."""
        self.network.partition([[self._name(node) for node in group] for group in groups])

    def cut(self, a: int | str | ClusterNode, b: int | str | ClusterNode) -> None:
        """Let frames from `a` to `b` vanish, and not those from `b` to `a`. See `MemoryNetwork.cut`."""
        self.network.cut(self._name(a), self._name(b))

    def heal(self) -> None:
        """End all cuts and partitions."""
        self.network.heal()

    def drop(self, a: int | str | ClusterNode, b: int | str | ClusterNode, probability: float) -> None:
        """Lose frames from `a` to `b` at random."""
        self.network.drop(self._name(a), self._name(b), probability)

    def delay(
        self, a: int | str | ClusterNode, b: int | str | ClusterNode, seconds: float, jitter: float = 0.0
    ) -> None:
        """Let frames from `a` to `b` take longer. See `MemoryNetwork.delay`."""
        self.network.delay(self._name(a), self._name(b), seconds, jitter)

    def reorder(self, a: int | str | ClusterNode, b: int | str | ClusterNode, probability: float) -> None:
        """Let frames from `a` to `b` overtake each other at random."""
        self.network.reorder(self._name(a), self._name(b), probability)

    def duplicate(self, a: int | str | ClusterNode, b: int | str | ClusterNode, probability: float) -> None:
        """Deliver frames from `a` to `b` twice at random."""
        self.network.duplicate(self._name(a), self._name(b), probability)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _node(self, node: int | str | ClusterNode) -> ClusterNode:
        if isinstance(node, ClusterNode):
            return node
        if isinstance(node, int):
            return self.nodes[node]
        return next(found for found in self.nodes if found.name == node)

    def _name(self, node: int | str | ClusterNode) -> str:
        return self._node(node).name

    def _start(self, node: ClusterNode) -> None:
        node.lives += 1
        skew = self._skews[node.index] if node.index < len(self._skews) else 0.0
        node.clock = self.time.clock(node.name, skew)
        node.runtime = Runtime(clock=node.clock)
        node.runtime.services[LOAD_SAMPLER] = node.load
        node.transport = self.network.transport(node.name, self._cookie)
        seeds = [other.name for other in self.nodes if other is not node]
        seed = f"{self.seed}:{node.name}:{node.lives}"
        node.node = build_node(node.runtime, node.name, node.transport, seeds, seed)
        node.is_alive = True
        self.driver.watch(node.runtime)
        node.run(node.node.begin, node.lives)
        if self._hubs:
            self._start_hubs(node)

    def _start_hubs(self, node: ClusterNode) -> None:
        started: list[bool] = []
        errand = node.begin(_host_hubs, self._hubs, started)
        self.run_until(lambda: started or errand.is_over())
        if errand.is_over():
            errand.outcome()

    def _end(self, node: ClusterNode) -> None:
        node.is_alive = False
        self.network.crash(node.name)
        node.clock.stop()
        node.runtime.router = None  # what runs in `finally` blocks reaches nobody
        node.runtime.close()
        self.settle()
        self.driver.forget(node.runtime)

    def _resume_life(self, node: ClusterNode, life: int) -> None:
        if node.lives == life:
            self.resume(node)


def _host_hubs(configs: list[Any], started: list[bool]) -> None:
    """The process to which a node's hubs are linked."""
    hub_class = import_module("processhub.api").ProcessHub
    for config in configs:
        hub_class.start_link(config() if callable(config) else config)
    started.append(True)
    processes.receive(lambda _: False)
