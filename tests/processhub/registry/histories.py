"""Random causal histories of members: concurrent writes and removes, messages lost, repeated and reordered, restarts,
members that come back late, snapshots in between. The property tests play them; each step is checked.

    python -m tests.processhub.registry.histories 3000        # that many seeds, by hand
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable
from typing import Any

from processhub.registry import RUNNING, Limits, Registry, RegistryVector, decode

KEYS = [f"child{n}" for n in range(5)]
NODES = ["a", "b", "c", "d"]


def through_the_wire(message: Any) -> Any:
    return decode(message.to_wire())


def desired_map(registry: Registry) -> dict[str, Any]:
    """The map in a form that is equal for equal maps: alive writes by dot."""
    _, ops = registry._desired.snapshot()
    found: dict[str, Any] = {}
    for op in ops:
        found.setdefault(op.child_id, {})[op.dot] = (op.stamp, op.registers, op.spec, op.metadata, op.placement)
    return found


def values_of(child: Any) -> Any:
    """What lookups show of a child."""
    return None if child is None else (child.spec, child.metadata, child.placement)


def check_indexes(registry: Registry) -> None:
    """The indexes say what the tables say."""
    rows: dict[str, dict[str, Any]] = {}
    for node, table in registry._presence.tables.items():
        for child_id, row in table.items():
            rows.setdefault(child_id, {})[node] = row
    assert registry._rows == rows
    answering = {}
    for child_id, held in rows.items():
        found = [(-row.epoch, node) for node, row in held.items() if row.state == RUNNING]
        if found:
            answering[child_id] = held[min(found)[1]].pid
    assert registry.pids == answering
    for tag in range(3):
        tagged = {child_id for child_id, child in registry.children.items() if (child.metadata or {}).get("tag") == tag}
        assert set(registry.tagged(tag)) == tagged
    assert all(child.is_desired for child in registry.children.values())


class History:
    """A cluster of registries, and the messages between them; `run` plays a random history, `settle` exchanges all."""

    def __init__(self, seed: int, limits: Limits) -> None:
        self.random = random.Random(seed)
        self.limits = limits
        self.now = 1_000_000
        self.incarnation = 0
        # How often members compare, restart or are parted, and retire incarnations.
        self.unrest = self.random.choice([(8, 1, 3), (8, 4, 8), (20, 4, 10), (30, 2, 10), (40, 3, 25)])
        self.pids = 0
        self.registries: dict[str, Registry] = {}
        self.groups: dict[str, int] = dict.fromkeys(NODES, 0)
        # (receiver, message) in flight.
        self.flying: list[tuple[str, Any]] = []
        # Each member's own idea of what is in a registry, kept from the changes that it reported.
        self.views: dict[str, dict[str, Any]] = {}
        self.shown: dict[str, dict[tuple[str, str], Any]] = {}
        for node in NODES:
            self.restart(node)

    def restart(self, node: str) -> None:
        # With room for the numbers above it that a life takes when it rejoins.
        self.incarnation += 10
        self.registries[node] = Registry(node, self.incarnation, self.limits)
        self.views[node] = {}
        self.shown[node] = {}
        for other in NODES:
            if other != node and other in self.registries and self.connected(node, other):
                self.take(other, self.registries[other].drop_member(node))

    def connected(self, one: str, other: str) -> bool:
        return self.groups[one] == self.groups[other]

    def members(self, node: str) -> list[str]:
        return [other for other in NODES if self.connected(node, other)]

    # What happens.

    def step(self) -> None:
        self.now += self.random.choice([0, 0, 1, 50])
        node = self.random.choice(NODES)
        happening = self.random.choices(
            [self.write, self.remove, self.hold, self.publish, self.deliver, self.meet, self.turn, self.housekeep],
            [12, 6, 6, 12, 25, *self.unrest],
        )[0]
        happening(node)

    def write(self, node: str) -> None:
        registry, key = self.registries[node], self.random.choice(KEYS)
        values = {"spec": ("spec", self.random.random()), "metadata": {"tag": self.random.randrange(3)}, "placement": 1}
        if key in registry.children and self.random.random() < 0.6:
            values = {name: values[name] for name in self.random.sample(sorted(values), self.random.randint(1, 2))}
        if key not in registry.children and "spec" not in values:
            return
        skew = self.random.choice([0, 0, 0, 500_000]) if node == "d" else 0
        was_settling = registry.settling
        try:
            self.show(node, registry.put(key, self.now + skew, **values))
        except KeyError:
            assert was_settling, "only a merge may find, just before the write, that the child is gone"

    def remove(self, node: str) -> None:
        change = self.registries[node].remove(self.random.choice(KEYS), self.now)
        if change is not None:
            self.show(node, change)

    def show(self, node: str, change: Any) -> None:
        assert values_of(self.views[node].get(change.child_id)) == values_of(change.old)
        self.views[node][change.child_id] = change.new

    def hold(self, node: str) -> None:
        key = self.random.choice(KEYS)
        self.pids += 1
        if self.random.random() < 0.4:
            change = self.registries[node].drop_row(key)
        else:
            change = self.registries[node].set_row(key, self.pids, RUNNING, self.random.randrange(4))
        if change is not None:
            self.show_row(node, change)

    def show_row(self, node: str, change: Any) -> None:
        assert self.shown[node].get((change.node, change.child_id)) == change.old
        self.shown[node][change.node, change.child_id] = change.new

    def publish(self, node: str) -> None:
        batch = self.registries[node].take_batch()
        if batch is not None:
            self.send_to_members(node, batch.pieces(2) if self.random.random() < 0.3 else [batch])

    def send_to_members(self, node: str, messages: Iterable[Any]) -> None:
        for message in messages:
            for other in self.members(node):
                if other != node:
                    self.send(other, message)

    def send(self, receiver: str, message: Any) -> None:
        self.flying += [(receiver, message)] * self.random.choice([0, 1, 1, 1, 1, 2])

    def deliver(self, node: str) -> None:
        for _ in range(min(3, len(self.flying))):
            place = self.random.randrange(len(self.flying)) if self.random.random() < 0.4 else 0
            self.receive(*self.flying.pop(place))

    def receive(self, node: str, message: Any) -> None:
        registry = self.registries[node]
        sender = message.node if isinstance(message, RegistryVector) else message.sender
        if not self.connected(node, sender):
            return
        if isinstance(message, RegistryVector):
            self.hear(node, RegistryVector.from_wire(message.to_wire()))
            return
        self.take(node, registry.apply(through_the_wire(message), self.now))
        while registry.settling and self.random.random() < 0.7:
            self.take(node, registry.settle(1))

    def take(self, node: str, changes: Any) -> None:
        for change in changes.children:
            self.show(node, change)
        for change in changes.rows:
            self.show_row(node, change)

    def hear(self, node: str, vector: RegistryVector) -> None:
        registry = self.registries[node]
        self.take(node, registry.heard(vector))
        for message in registry.delta_since(vector, tables=NODES if self.random.random() < 0.2 else ()):
            self.send(vector.node, message)
        if registry.lacks(vector):
            self.send(vector.node, registry.vector())

    def meet(self, node: str) -> None:
        self.send_to_members(node, [self.registries[node].vector()])

    def turn(self, node: str) -> None:
        if self.random.random() < 0.6:
            # It may come back on the other side of a partition, where its last operations were not seen.
            if len(set(self.groups.values())) > 1 and self.random.random() < 0.5:
                self.groups[node] = 1 - self.groups[node]
                self.drop_the_unreachable()
            self.restart(node)
        else:
            self.groups = {name: self.random.choice([0, 0, 1]) for name in NODES}
            self.drop_the_unreachable()

    def drop_the_unreachable(self) -> None:
        for node in NODES:
            for other in NODES:
                if not self.connected(node, other):
                    self.take(node, self.registries[node].drop_member(other))

    def housekeep(self, node: str) -> None:
        registry, members = self.registries[node], self.members(node)
        if self.random.random() < 0.5:
            for _ in range(2):
                self.exchange_all(members)
        registry.retire(members)
        if self.random.random() < 0.3:
            registry.sweep(self.now, members)

    # What must hold.

    def check(self) -> None:
        """Equal vectors mean equal maps. (Of settled registries: before, a part is only promised.)"""
        by_vector: dict[str, Any] = {}
        for node, registry in sorted(self.registries.items()):
            if registry.settling:
                continue
            vector = registry._desired.vector
            key = repr((sorted(vector.last.items()), sorted(vector.retired.items())))
            found = desired_map(registry)
            assert by_vector.setdefault(key, found) == found, f"equal vectors, different maps at {node}"

    def check_views(self) -> None:
        """The reported differences add up to the registry itself."""
        for node, registry in self.registries.items():
            while registry.settling:
                self.take(node, registry.settle())
            check_indexes(registry)
            view = {key: values_of(child) for key, child in self.views[node].items() if child is not None}
            assert view == {key: values_of(child) for key, child in registry.children.items()}
            rows = {at: row for at, row in self.shown[node].items() if row is not None}
            tables = registry._presence.tables.items()
            assert rows == {(owner, child_id): row for owner, table in tables for child_id, row in table.items()}

    def settle(self) -> None:
        """Heal, and exchange everything without losses, until nobody lacks anything."""
        self.flying.clear()
        self.groups = dict.fromkeys(NODES, 0)
        for _ in range(30):
            if not self.exchange_all(NODES):
                return
        raise AssertionError("still something lacking after 30 rounds of full exchange")

    def exchange_all(self, members: list[str]) -> bool:
        """Each tells each other, without losses. Whether anything was lacking."""
        exchanged = [self.exchange(one, other) for one in members for other in members if one != other]
        return any(exchanged)

    def exchange(self, one: str, other: str) -> bool:
        """`one` tells `other` what it has, and gets what it lacks."""
        asking, answering = self.registries[one], self.registries[other]
        for node in (one, other):
            self.registries[node].take_batch()
        vector = RegistryVector.from_wire(asking.vector().to_wire())
        self.take(other, answering.heard(vector))
        messages = list(answering.delta_since(vector))
        self.random.shuffle(messages)
        for message in messages:
            self.take(one, asking.apply(through_the_wire(message), self.now))
            while asking.settling:
                self.take(one, asking.settle())
        return bool(messages)

    def check_converged(self) -> None:
        first, *others = [self.registries[node] for node in NODES]
        for registry in others:
            assert registry._desired.vector == first._desired.vector
            assert desired_map(registry) == desired_map(first)
            assert registry.children.keys() == first.children.keys()
            assert registry.pids == first.pids
            assert registry.digest() == first.digest()
            assert not registry.unknown(NODES)
        for node in NODES:
            for other in NODES:
                assert self.registries[node].table(other) == self.registries[other].own_table


def play(seed: int, steps: int = 200, limits: Limits | None = None) -> History:
    """One history from its seed; raises AssertionError where it must not be so."""
    choose = random.Random(seed)
    limits = limits or Limits(
        log=choose.choice([0, 3, 10, 1000]),
        waiting=choose.choice([0, 2, 1000]),
        piece=choose.choice([1, 2, 3, 1000]),
        incarnations=choose.choice([0, 0, 1, 4]),
    )
    history = History(seed, limits)
    for _ in range(steps):
        history.step()
        history.check()
    history.check_views()
    history.settle()
    history.check()
    history.check_views()
    history.check_converged()
    return history


if __name__ == "__main__":
    for seed in range(int(sys.argv[1])):
        try:
            play(seed)
        except BaseException:
            print("seed", seed)
            raise
    print("all converged")
