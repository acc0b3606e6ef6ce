"""Random histories of cuts, crashes and restarts under MajorityQuorum: no child ever runs on two nodes.

It is looked at after every instant. A node that has lost quorum has stopped its children before anybody takes them
over, so nothing needs to be allowed for. The exception is a node that stands still: nobody can stop what is frozen, so
its copies count only once it had time to notice (a tick) and to stop them (`stop_within`).
A failure names its seed. To look for new ones: `python -m tests.processhub.hub.test_quorum_histories 0 200`.
"""

from __future__ import annotations

import logging
import sys
from random import Random

import pytest

from processhub import ChildSpec, MajorityQuorum, ProcessHub, ProcessHubError, process
from processhub.hub.config import HubConfig
from processhub.hub.coordinator import TICK_SECONDS
from processhub.testing import Cluster, ClusterNode
from tests.processhub.hub.children import HUB, Counter, Slow, Stubborn, hub_of, part_of, runs

SEEDS = range(12)
STEPS = 20
KINDS = (
    *("partition", "partition", "partition", "cut", "cut", "isolate", "heal", "heal", "heal"),
    *("crash", "restart", "restart", "leave", "kill_part", "start", "start", "pause", "pause", "lossy"),
)
WAKING = TICK_SECONDS + MajorityQuorum.stop_within + 0.2


class History:
    """One random history of one cluster."""

    def __init__(self, seed: int) -> None:
        self.random = Random(f"quorum {seed}")
        size = self.random.randint(3, 6)
        strategy = MajorityQuorum(initial_cluster_size=size)
        self.cluster = Cluster(size, seed=seed, hubs=[HubConfig(HUB, partition_tolerance_strategy=strategy)])
        self.began: list[str] = []
        self.log: list[str] = []
        self.counts_from: dict[str, float] = {}  # nodes that stand still or have just woken

    def go(self) -> None:
        self.start()
        self.watch(2.0)
        for _ in range(STEPS):
            kind = self.random.choice(KINDS)
            self.log.append(f"{self.cluster.now():.2f} {kind}")
            getattr(self, kind)()
            self.watch(self.random.choice((0.01, 0.5, 1.5, 4.0, 9.0, 11.0, 16.0, 25.0)))
        self.end()

    def watch(self, seconds: float) -> None:
        """Let time pass, and look at every instant."""
        end = self.cluster.now() + seconds

        def look() -> bool:
            self.check()
            return self.cluster.now() >= end - 1e-9

        self.cluster.run_until(look, seconds + 5.0)

    def check(self) -> None:
        now = self.cluster.now()
        for child_id, holders in runs(self.cluster).items():
            nodes = [name for name in holders if now >= self.counts_from.get(name, 0.0)]
            if len(nodes) > 1:
                raise AssertionError(
                    f"{child_id} runs on {nodes} at {self.cluster.now():.3f}: {self.standings()}; {self.log}"
                )

    def standings(self) -> str:
        return ", ".join(
            f"{node.name} {'partitioned' if hub_of(node).partitioned else 'whole'}" for node in self.living()
        )

    def end(self) -> None:
        """Everything works again: every child runs, once."""
        self.cluster.heal()
        self.cluster.network.calm()
        for node in self.cluster:
            if not node.is_alive:
                self.cluster.restart(node)
            self.cluster.resume(node)
        self.watch(60.0)
        names = [node.name for node in self.cluster]
        self.cluster[0].run(ProcessHub.await_settled, HUB, 60.0, names)
        assert not any(hub_of(node).partitioned for node in self.cluster), self.standings()
        desired = self.cluster[0].run(ProcessHub.registry_dump, HUB)
        assert sorted(runs(self.cluster)) == sorted(desired)

    def living(self) -> list[ClusterNode]:
        able = [node for node in self.cluster if node.is_alive and not node.clock.is_paused]
        return [node for node in able if HUB in node.runtime.services]

    # -- what may happen ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        nodes = self.living()
        if nodes:
            ids = [f"c{len(self.began) + n}" for n in range(8)]
            self.began += ids
            self.random.choice(nodes).begin(begin_start, ids)

    def partition(self) -> None:
        numbers = list(range(len(self.cluster)))
        self.random.shuffle(numbers)
        middle = self.random.randint(1, len(numbers) - 1)
        parts = (numbers[:middle], numbers[middle:])
        for a in parts[0]:
            for b in parts[1]:
                self.cluster.cut(a, b)
                self.cluster.cut(b, a)
            if self.random.random() < 0.3:
                self.watch(self.random.choice((0.1, 1.0, 3.0)))

    def cut(self) -> None:
        a, b = self.random.sample(range(len(self.cluster)), 2)
        self.cluster.cut(a, b)

    def isolate(self) -> None:
        """One node is cut off in one direction only."""
        lonely = self.random.randrange(len(self.cluster))
        is_deaf = self.random.random() < 0.5
        for other in range(len(self.cluster)):
            if other != lonely:
                self.cluster.cut(*((other, lonely) if is_deaf else (lonely, other)))

    def heal(self) -> None:
        self.cluster.heal()

    def crash(self) -> None:
        nodes = self.living()
        if len(nodes) > 1:
            self.cluster.crash(self.random.choice(nodes))

    def leave(self) -> None:
        nodes = self.living()
        if len(nodes) > 2:
            self.cluster.leave(self.random.choice(nodes))

    def restart(self) -> None:
        dead = [node for node in self.cluster if not node.is_alive]
        if dead:
            self.cluster.restart(self.random.choice(dead))

    def pause(self) -> None:
        nodes = self.living()
        if len(nodes) > 1:
            node, seconds = self.random.choice(nodes), self.random.choice((0.5, 3.0, 8.0, 12.0, 20.0, 45.0))
            self.cluster.pause(node, seconds)
            self.counts_from[node.name] = self.cluster.now() + seconds + WAKING

    def lossy(self) -> None:
        a, b = self.random.sample(range(len(self.cluster)), 2)
        self.random.choice((self.cluster.duplicate, self.cluster.reorder, self.cluster.drop))(a, b, 0.2)

    def kill_part(self) -> None:
        nodes = self.living()
        if nodes:
            node = self.random.choice(nodes)
            part = self.random.choice(("coordinator", "distributed_supervisor", "event_queue", "worker_queue"))
            if part_of(node, part) is not None:
                node.begin(exit_part, HUB if part == "coordinator" else f"{HUB}.{part}")


def exit_part(name: str) -> None:
    pid = process.whereis(name)
    if pid is not None:
        process.exit(pid, "kill")


def spec_of(child_id: str) -> ChildSpec:
    kind = int(child_id[1:]) % 3
    if kind == 1:
        return Slow.child_spec(0.8, id=child_id)
    return Stubborn.child_spec(2.0, id=child_id) if kind == 2 else Counter.child_spec(id=child_id)


def begin_start(child_ids: list[str]) -> None:
    specs = [spec_of(child_id) for child_id in child_ids]
    try:
        ProcessHub.start_children(HUB, specs, timeout=6.0).result(20.0)
    except ProcessHubError:
        pass  # partitioned


def replay(seed: int) -> None:
    """Run one seed to its end. Errors name the seed."""
    logging.disable(logging.CRITICAL)
    history = None
    try:
        history = History(seed)
        history.go()
    except BaseException as error:
        raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
    finally:
        if history is not None:
            history.cluster.stop()
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_child_ever_runs_on_two_nodes_whatever_is_cut(seed: int) -> None:
    replay(seed)


if __name__ == "__main__":
    for number in range(int(sys.argv[1]), int(sys.argv[2])):
        try:
            replay(number)
        except AssertionError as failure:
            print(str(failure)[:1500], flush=True)
