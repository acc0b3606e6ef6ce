"""The random faults of `test_random_faults` on hubs that combine strategies, with every kind of child and with hooks.

Beside what the single strategies promise: handlers of the registry's hooks are told one consistent story, nothing of a
move, wait or timer is left, and where quorum rules out two parts no child runs on two nodes that take themselves for
whole. A failure names its seed. To look for new ones: `python -m tests.chaos.test_mixed_faults hot_majority 0 100`.
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar

import pytest

from processhub import (
    CentralizedLoadBalancer,
    DynamicQuorum,
    GenServer,
    Gossip,
    Hook,
    HookHandler,
    HotSwap,
    MajorityQuorum,
    Pid,
    ProcessHub,
    Replication,
    StaticQuorum,
    process,
)
from processhub.hub.config import HubConfig
from processhub.hub.coordinator import TICK_SECONDS
from processhub.hub.hook_calls import HookCalls
from processhub.testing import ClusterNode
from supervisor.runtime import current_process
from tests.chaos.test_random_faults import KINDS, Run, host, replay
from tests.processhub.hub.children import HUB, hub_of, local_pids, pid_of, runs
from tests.processhub.hub.movers import check_nothing_left

WAKING = TICK_SECONDS + MajorityQuorum.stop_within + 0.2
MORE_KINDS = (*KINDS, "kill_at_a_blow", "kill_task_supervisor", "kill_coordinator", "leave", "restart", "add")
mood = {"calm": False}


class Fickle(GenServer):
    """Crashes `seconds` after each start, until all is calm. Its init takes a moment."""

    def init(self, seconds: float) -> None:
        process.sleep(0.1)
        self.state = 0
        process.send_after(process.self(), "end", seconds)

    def handle_info(self, message: Any) -> None:
        if message == "end" and not mood["calm"]:
            raise RuntimeError("its time is over")


class Story:
    """What handlers of the registry's hooks of one hub on one node were told."""

    def __init__(self) -> None:
        self.pids: dict[tuple[str, str], Pid] = {}
        self.wrong: list[Any] = []
        self.open: list[Any] = []  # redistributions that began

    def inserted(self, child_id: str, pids: dict[str, Pid]) -> None:
        for node, pid in pids.items():
            if (child_id, node) in self.pids:
                self.wrong.append(("inserted twice", child_id, node))
            self.pids[child_id, node] = pid

    def removed(self, child_id: str, nodes: list[str]) -> None:
        for node in nodes:
            if self.pids.pop((child_id, node), None) is None:
                self.wrong.append(("removed, and was never there", child_id, node))

    def updated(self, child_id: str, node: str, pid: Pid) -> None:
        if self.pids.get((child_id, node)) in (None, pid):
            self.wrong.append(("updated, and was never there or the same", child_id, node))
        self.pids[child_id, node] = pid


class Stories:
    """The stories of all hubs of a run, by their calls of hooks."""

    def __init__(self) -> None:
        self.found: dict[Any, Story] = {}

    def of(self, hub: Any) -> Story:
        return self.found.setdefault(hub.hook_calls, Story())

    def tell(self, hook: Hook, data: Any) -> None:
        calls = _caller()
        if calls is None:
            return
        story = self.found.setdefault(calls, Story())
        if hook is Hook.REGISTRY_PID_INSERTED:
            story.inserted(*data)
        elif hook is Hook.REGISTRY_PID_REMOVED:
            story.removed(*data)
        elif hook is Hook.CHILD_PROCESS_PID_UPDATE:
            story.updated(*data)
        elif hook is Hook.PRE_NODES_REDISTRIBUTION:
            story.open.append(data)
        elif data in story.open:
            story.open.remove(data)
        else:
            story.wrong.append(("ended, and had not begun", data))

    def hooks(self) -> dict[Hook, list[HookHandler]]:
        told = (
            *(Hook.REGISTRY_PID_INSERTED, Hook.REGISTRY_PID_REMOVED, Hook.CHILD_PROCESS_PID_UPDATE),
            *(Hook.PRE_NODES_REDISTRIBUTION, Hook.POST_NODES_REDISTRIBUTION),
        )
        return {hook: [HookHandler("story", _Teller(self, hook))] for hook in told}


class _Teller:
    def __init__(self, stories: Stories, hook: Hook) -> None:
        self.stories = stories
        self.hook = hook

    def __call__(self, data: Any) -> None:
        self.stories.tell(self.hook, data)


def _caller() -> HookCalls | None:
    """Whose events the current process works off; None for those of a hub that has ended."""
    me = current_process()
    hub = me.runtime.services.get(HUB)
    return hub.hook_calls if hub is not None and hub.hook_calls._runner == me.pid else None


def process_of(node: ClusterNode, part: str) -> Pid | None:
    """The pid of a part of the hub."""
    found = node.runtime.names.get(hub_of(node).name_of(part))
    return found.pid if found is not None else None


def kill_each(pids: list[Pid | None]) -> None:
    for pid in pids:
        if pid is not None:
            process.exit(pid, "kill")


class MixedRun(Run):
    """`options` are the hub's. `is_exclusive`: quorum rules out two parts that are whole."""

    options: ClassVar[dict[str, Any]] = {}
    is_exclusive = False

    def __init__(self, seed: int) -> None:
        mood["calm"] = False
        self.stories = Stories()
        self.config = HubConfig(HUB, migr_base_timeout=5.0, hooks=self.stories.hooks(), **self.options)
        self.counts_from: dict[str, float] = {}  # nodes that stand still or have just woken
        super().__init__(seed)

    def _spec(self, child_id: str) -> Any:
        number = int(child_id[1:])
        if number % 13 == 0:
            restart = ("permanent", "transient", "temporary")[number % 3]
            return Fickle.child_spec(1.0 + number % 4, id=child_id, restart=restart)
        return super()._spec(child_id)

    def step(self) -> None:
        if self.options.get("distribution_strategy") is not None and self.random.random() < 0.2:
            load = self.random.choice(self.cluster.nodes).load
            load.cpu, load.loop_lag = self.random.random(), self.random.random() / 10
        getattr(self, f"_{self.random.choice(MORE_KINDS)}")()

    def go(self) -> None:
        if not self.is_exclusive:
            super().go()
            return
        advance = self.cluster.advance
        self.cluster.advance = self._watch  # type: ignore[method-assign]
        try:
            super().go()
        finally:
            self.cluster.advance = advance  # type: ignore[method-assign]

    def _kill_at_a_blow(self) -> None:
        """Of the hub on a node nobody is left who could say so."""
        node = self.node()
        if node is not None:
            node.run(kill_each, [hub_of(node).initializer, process_of(node, "system_registry")])
            node.begin(host, self.config)
            self.cluster.advance(0.0)

    def _kill_task_supervisor(self) -> None:
        self._kill_one("task_supervisor")

    def _kill_coordinator(self) -> None:
        self._kill_one("coordinator")

    def _kill_one(self, part: str) -> None:
        node = self.node()
        pid = process_of(node, part) if node is not None else None
        if node is not None and pid is not None:
            node.run(kill_each, [pid])

    # -- meanwhile ---------------------------------------------------------------------------------------------------

    def _pause(self) -> None:
        before = {node.name for node in self.cluster if node.clock.is_paused}
        super()._pause()
        for node in self.cluster:
            if node.is_alive and node.clock.is_paused and node.name not in before:
                self.counts_from[node.name] = self.cluster.now() + 40.0 + WAKING

    def _watch(self, seconds: float) -> None:
        """Let time pass, and look at every instant."""
        end = self.cluster.now() + seconds

        def look() -> bool:
            self._check_exclusive()
            return self.cluster.now() >= end - 1e-9

        self.cluster.run_until(look, seconds + 5.0)

    def _check_exclusive(self) -> None:
        now = self.cluster.now()
        for child_id, holders in runs(self.cluster).items():
            if len(holders) > self._copies():
                nodes = [name for name in holders if now >= self.counts_from.get(name, 0.0) and self._is_whole(name)]
                assert len(nodes) <= self._copies(), f"{child_id} runs on {nodes} at {now:.3f}"

    def _copies(self) -> int:
        return 2 if "redundancy_strategy" in self.options else 1

    def _is_whole(self, name: str) -> bool:
        node = next(node for node in self.cluster if node.name == name)
        return HUB in node.runtime.services and not hub_of(node).partitioned

    # -- and afterwards ----------------------------------------------------------------------------------------------

    def end_faults(self) -> None:
        mood["calm"] = True
        super().end_faults()

    def check(self) -> None:
        super().check()
        check_nothing_left(self.cluster)
        for node in self.cluster:
            self._check_node(node)

    def _check_node(self, node: ClusterNode) -> None:
        assert not node.run(ProcessHub.is_locked, HUB), f"{node.name} is locked"
        assert not node.run(ProcessHub.is_partitioned, HUB), f"{node.name} is partitioned"
        hub = hub_of(node)
        left = {"unmet": hub.unmet, "failures": hub.failures, "stale": hub.standing.stale, "lost": hub.standing.lost}
        assert not any(len(one) for one in left.values()), f"left on {node.name}: {left}"
        waits = {peer: len(one.waits) for peer, one in node.runtime.peers.items() if one.waits}
        assert not waits, f"{node.name} still waits: {waits}"
        self._check_story(node)

    def _check_story(self, node: ClusterNode) -> None:
        hub = hub_of(node)
        story = self.stories.of(hub)
        assert not story.wrong, f"on {node.name}: {story.wrong[:5]}"
        rows = {
            (child_id, other): row.pid
            for child_id in hub.registry.children
            for other, row in hub.registry.rows(child_id).items()
        }
        different = set(rows.items()) ^ set(story.pids.items())
        assert not different, f"on {node.name} hooks tell something else than the registry: {different}"
        assert not story.open, f"on {node.name} redistributions never ended: {story.open}"

    def _check_truth(self) -> None:
        if "redundancy_strategy" in self.options:
            self._check_copies()
        else:
            super()._check_truth()

    def _check_copies(self) -> None:
        truth = runs(self.cluster)
        desired = self.cluster[0].run(ProcessHub.registry_dump, HUB)
        assert sorted(truth) == sorted(desired)
        owners = {child_id: self.cluster[0].run(ProcessHub.owners, HUB, child_id) for child_id in truth}
        for child_id, holders in truth.items():
            assert holders == sorted(owners[child_id]), f"{child_id} runs on {holders}, not on {owners[child_id]}"
        strategy = self.config.redundancy_strategy
        active = {child_id: strategy.active(child_id, nodes) for child_id, nodes in owners.items()}
        for node in self.cluster:
            roles = {one: (pid, strategy.mode(one, node.name, owners[one])) for one, pid in local_pids(node).items()}
            if strategy.signals("active"):
                assert hub_of(node).roles._known == roles
            for child_id in truth:
                pid = pid_of(node, child_id)
                assert pid is not None
                assert active[child_id] in (None, pid.node)


def hot(**options: Any) -> HotSwap:
    return HotSwap(child_migration_timeout=4.0, **options)


class HotMajority(MixedRun):
    options: ClassVar[dict[str, Any]] = {
        "migration_strategy": hot(handover=True),
        "partition_tolerance_strategy": MajorityQuorum(initial_cluster_size=3),
    }
    is_exclusive = True


class HotCopies(MixedRun):
    options: ClassVar[dict[str, Any]] = {
        "migration_strategy": hot(handover=True),
        "redundancy_strategy": Replication(2),
        "synchronization_strategy": Gossip(recipients=1),
    }


class HotBalanced(MixedRun):
    options: ClassVar[dict[str, Any]] = {
        "migration_strategy": hot(handover=True),
        "distribution_strategy": CentralizedLoadBalancer(push_interval=3.0),
    }


class HotDynamic(MixedRun):
    options: ClassVar[dict[str, Any]] = {
        "migration_strategy": hot(handover=True, confirm_handover=True),
        "partition_tolerance_strategy": DynamicQuorum(50, threshold_time=10.0),
        "synchronization_strategy": Gossip(recipients=2),
    }


class CopiesStatic(MixedRun):
    """Three of at most five are the majority: there is one part at most."""

    options: ClassVar[dict[str, Any]] = {
        "redundancy_strategy": Replication(2, "active_passive", "all"),
        "partition_tolerance_strategy": StaticQuorum(3, startup_confirm=True),
    }
    is_exclusive = True


class HotCopiesMajority(MixedRun):
    options: ClassVar[dict[str, Any]] = {
        "migration_strategy": hot(),
        "redundancy_strategy": Replication(2, "active_passive", "all"),
        "partition_tolerance_strategy": MajorityQuorum(initial_cluster_size=3),
        "synchronization_strategy": Gossip(recipients=1),
    }
    is_exclusive = True


class BalancedMajority(MixedRun):
    """Not exclusive: two starts of one id at the same time may be dealt to two nodes, and each arbitrates its own."""

    options: ClassVar[dict[str, Any]] = {
        "migration_strategy": hot(handover=True),
        "distribution_strategy": CentralizedLoadBalancer(push_interval=3.0),
        "partition_tolerance_strategy": MajorityQuorum(initial_cluster_size=3),
    }


MIXES: dict[str, type[MixedRun]] = {
    "hot_majority": HotMajority,
    "hot_copies": HotCopies,
    "hot_balanced": HotBalanced,
    "hot_dynamic": HotDynamic,
    "copies_static": CopiesStatic,
    "hot_copies_majority": HotCopiesMajority,
    "balanced_majority": BalancedMajority,
}


SEEDS = [*((0, mix) for mix in MIXES), *((seed, mix) for seed in (1, 2) for mix in ("hot_copies", "copies_static"))]


@pytest.mark.parametrize(("seed", "mix"), SEEDS)
def test_after_random_faults_strategies_agree_on_what_runs_where(seed: int, mix: str) -> None:
    replay(seed, MIXES[mix])


if __name__ == "__main__":
    for number in range(int(sys.argv[2]), int(sys.argv[3])):
        try:
            replay(number, MIXES[sys.argv[1]])
        except AssertionError as error:
            print(sys.argv[1], str(error)[:700], flush=True)
