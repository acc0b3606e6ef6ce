"""A hub of a few nodes and one child, in which everything that happens is chosen by a random source.

Every node has its own view of the members and knows the others' rows as late as the network lets it. Messages between
two nodes keep their order; a node that takes another one for dead ends the session, which loses what is under way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Any, NamedTuple

from processhub.hub.promises import Promises
from processhub.hub.reconciler import (
    AwaitHandover,
    AwaitTables,
    Offer,
    StartHere,
    TellStay,
    accepts,
    decide,
    may_hand_over,
    may_stop,
    next_epoch,
)
from processhub.registry import FAILED, RESTARTING, RUNNING, STARTING, Row
from ring.hash_ring import HashRing

CHILD = "child"
DEADLINE = 15.0
SLOWEST_MESSAGE = 30.0
SETTLING_ROUNDS, SETTLING_STEP = 20, 7.0  # more than any deadline, and than a promise whose answer was lost


@lru_cache
def owners_among(view: frozenset[str], copies: int, by_ring: bool) -> tuple[str, ...]:
    """Without a ring any view has owners of its own: then nodes can each take the other one for the owner."""
    if by_ring:
        return HashRing(view).owners(CHILD, copies)
    names = sorted(view)
    return tuple(Random(repr(names)).sample(names, min(copies, len(names))))


class FakePid(NamedTuple):
    node: str
    serial: int


@dataclass
class SimNode:
    name: str
    view: set[str]
    rows: dict[str, Row] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    promises: Promises = field(default_factory=Promises)
    waiting_since: float | None = None


class Simulation:
    """`stop_first`: copies move as by ColdSwap; else the new copy starts before the old one stops."""

    def __init__(self, seed: int, size: int, copies: int, stop_first: bool, by_ring: bool) -> None:
        self.random = Random(seed)
        self.names = [f"n{number}" for number in range(size)]
        self.copies = copies
        self.stop_first = stop_first
        self.by_ring = by_ring
        self.now = 0.0
        self.serial = 0
        self.queues: dict[tuple[str, str], list[tuple[float, tuple[Any, ...]]]] = {
            (a, b): [] for a in self.names for b in self.names if a != b
        }
        self.nodes = {name: SimNode(name, set(self.names)) for name in self.names}
        self.actions = [
            self.reconcile,
            self.deliver_one,
            self.deliver_all,
            self.change_view,
            self.change_state,
            self.tick,
        ]
        self.weights = [self.random.choice([1, 3, 10]) for _ in self.actions[:4]] + [0.3, 0.3]
        for name in self.random.sample(self.names, self.random.randint(1, size)):
            self.set_row(self.nodes[name], Row(self.new_pid(name), RUNNING, 1))

    # -- what there is

    def held(self) -> set[str]:
        """The nodes that hold the child, and those to which it is on its way."""
        on_its_way = {to for (_, to), queue in self.queues.items() if any(m[0] == "handover" for _, m in queue)}
        return {name for name, node in self.nodes.items() if name in node.rows} | on_its_way

    def running(self) -> list[str]:
        return [name for name, node in self.nodes.items() if name in node.rows and node.rows[name].state == RUNNING]

    def owners(self, node: SimNode) -> tuple[str, ...]:
        return owners_among(frozenset(node.view), self.copies, self.by_ring)

    # -- what happens

    def step(self) -> None:
        node = self.nodes[self.random.choice(self.names)]
        self.random.choices(self.actions, self.weights)[0](node)

    def agree(self) -> None:
        """All nodes see all; then everything is delivered and decided until nothing changes any more."""
        for node in self.nodes.values():
            self.set_view(node, set(self.names))
        for _ in range(SETTLING_ROUNDS):
            self.now += SETTLING_STEP
            while any(self.queues.values()):
                self.deliver_one(None)
            for name in self.random.sample(self.names, len(self.names)):
                if self.nodes[name].rows.get(name, Row(None, RUNNING, 0)).state != RUNNING:
                    self.run_on(self.nodes[name])
                self.reconcile(self.nodes[name])
        while any(self.queues.values()):
            self.deliver_one(None)

    def tick(self, _: SimNode | None) -> None:
        self.now += self.random.uniform(0.0, 3.0)
        for pair, queue in self.queues.items():
            while queue and queue[0][0] < self.now - SLOWEST_MESSAGE:
                self.deliver(pair)

    def change_view(self, node: SimNode) -> None:
        others = [name for name in self.names if name != node.name]
        if self.random.random() < 0.5:
            self.set_view(node, node.view ^ {self.random.choice(others)})
        else:
            self.set_view(node, {node.name, *self.random.sample(others, self.random.randint(0, len(others)))})

    def set_view(self, node: SimNode, view: set[str]) -> None:
        for lost in node.view - view:
            node.rows.pop(lost, None)
            node.unknown.discard(lost)
            self.end_session(node.name, lost)
        for met in sorted(view - node.view):
            node.unknown.add(met)
            self.send_table(self.nodes[met], node.name)
        node.view = view

    def end_session(self, a: str, b: str) -> None:
        # A child on its way is counted as a copy, so it arrives: what really happens then is that it is started anew.
        for pair in ((a, b), (b, a)):
            self.queues[pair][:] = [(at, m) for at, m in self.queues[pair] if m[0] == "handover"]
        self.send_table(self.nodes[a], b)
        self.send_table(self.nodes[b], a)

    def change_state(self, node: SimNode) -> None:
        """A copy comes up, crashes and restarts, or fails."""
        row = node.rows.get(node.name)
        if row is None:
            return
        if row.state == RUNNING:
            self.set_row(node, row._replace(pid=None, state=self.random.choice([RESTARTING, FAILED])))
        else:
            self.run_on(node)

    def run_on(self, node: SimNode) -> None:
        self.set_row(node, node.rows[node.name]._replace(pid=self.new_pid(node.name), state=RUNNING))

    def reconcile(self, node: SimNode) -> None:
        decision = decide(
            node.name,
            self.owners(node),
            node.rows,
            True,
            node.view,
            now=self.now,
            deadline=DEADLINE,
            tables_unknown=bool(node.unknown),
            waiting_since=node.waiting_since,
            promised=self.promised(node),
        )
        if not isinstance(decision, AwaitHandover | AwaitTables):
            node.waiting_since = None
        elif node.waiting_since is None:
            node.waiting_since = self.now
        match decision:
            case StartHere():
                self.start(node)
            case Offer(to):
                self.send(node.name, to, ("offer",))
            case TellStay(nodes):
                for to in nodes:
                    pid = node.rows[to].pid
                    serial = node.promises.told(CHILD, to, pid, self.now)
                    self.send(node.name, to, ("stay", node.rows[node.name].pid, pid, serial))

    def promised(self, node: SimNode) -> bool:
        return node.promises.outstanding(CHILD, node.rows, node.view, self.now)

    # -- messages

    def send(self, from_node: str, to: str, message: tuple[Any, ...]) -> None:
        if message == ("offer",) and any(other == message for _, other in self.queues[from_node, to]):
            return
        self.queues[from_node, to].append((self.now, message))

    def send_table(self, node: SimNode, to: str) -> None:
        self.send(node.name, to, ("table", node.rows.get(node.name)))

    def deliver_one(self, _: SimNode | None) -> None:
        waiting = [pair for pair, queue in self.queues.items() if queue]
        if waiting:
            self.deliver(self.random.choice(waiting))

    def deliver_all(self, node: SimNode) -> None:
        """All that one other node has sent to `node` by now."""
        pair = (self.random.choice([name for name in self.names if name != node.name]), node.name)
        for _ in range(len(self.queues[pair])):
            self.deliver(pair)

    def deliver(self, pair: tuple[str, str]) -> None:
        from_node, to = pair
        message = self.queues[pair].pop(0)[1]
        getattr(self, "on_" + message[0])(self.nodes[to], from_node, *message[1:])

    def on_row(self, node: SimNode, from_node: str, row: Row | None) -> None:
        if from_node not in node.view:
            return
        if row is None:
            node.rows.pop(from_node, None)
        else:
            node.rows[from_node] = row

    def on_table(self, node: SimNode, from_node: str, row: Row | None) -> None:
        node.unknown.discard(from_node)
        self.on_row(node, from_node, row)

    def on_offer(self, node: SimNode, from_node: str) -> None:
        if accepts(node.name, self.owners(node), node.rows, True, from_node, node.view):
            if self.stop_first:
                self.send(node.name, from_node, ("accept",))
            else:
                self.start(node)

    def on_accept(self, node: SimNode, from_node: str) -> None:
        owners, promised = self.owners(node), self.promised(node)
        if may_hand_over(node.name, owners, node.rows, True, from_node, node.view, promised=promised):
            self.set_row(node, None)
            self.send(node.name, from_node, ("handover",))

    def on_handover(self, node: SimNode, from_node: str) -> None:
        if node.name not in node.rows:
            self.start(node)

    def on_stay(self, node: SimNode, from_node: str, teller_pid: FakePid, pid: FakePid, serial: int) -> None:
        owners, promised = self.owners(node), self.promised(node)
        if may_stop(node.name, pid, owners, node.rows, from_node, teller_pid, node.view, promised=promised):
            self.set_row(node, None)
        else:
            self.send(node.name, from_node, ("refused", serial))

    def on_refused(self, node: SimNode, from_node: str, serial: int) -> None:
        node.promises.refused(CHILD, from_node, serial)

    # -- copies

    def new_pid(self, node: str) -> FakePid:
        self.serial += 1
        return FakePid(node, self.serial)

    def start(self, node: SimNode) -> None:
        assert node.name not in node.rows
        self.set_row(node, Row(self.new_pid(node.name), STARTING, next_epoch(node.rows)))

    def set_row(self, node: SimNode, row: Row | None) -> None:
        if row is None:
            del node.rows[node.name]
        else:
            node.rows[node.name] = row
        for other in self.names:
            if other != node.name:
                self.send(node.name, other, ("row", row))
