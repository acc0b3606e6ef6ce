"""Random supervision trees under random faults: exactly those run who should, and nothing is left afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import supervisor.processes as process
from supervisor.child_spec import ChildSpec
from supervisor.gen_server import GenServer
from supervisor.pids import Pid
from supervisor.runtime import Runtime
from supervisor.supervisors import Supervisor
from tests.supervisor.kit import Echo, ManualClock, run_as_process

LONG = 60.0  # seconds within which every tree here has come to rest


class Slow(Echo):
    """Traps exits and takes half a second to end, so that its supervisor has to wait for it."""

    def init(self) -> None:
        process.trap_exit(True)

    def terminate(self, reason: Any) -> None:
        process.sleep(0.5)


# -- trees -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """A child: a worker, or with `strategy` a supervisor of `children`."""

    restart: str
    slow: bool = False
    strategy: str = ""
    children: tuple[Plan, ...] = ()

    def spec(self, name: int, limit: int, registered: bool) -> ChildSpec:
        if self.strategy:
            specs = self.specs(limit, False)
            options: dict[str, Any] = {"strategy": self.strategy, "max_restarts": limit}
            return Supervisor.child_spec(specs, id=name, restart=self.restart, **options)
        cls = Slow if self.slow else Echo
        start = (cls.start_link, (), {"name": f"worker {name}"} if registered else {})
        return ChildSpec(name, start, restart=self.restart)

    def specs(self, limit: int, registered: bool) -> list[ChildSpec]:
        return [plan.spec(name, limit, registered) for name, plan in enumerate(self.children)]


RESTARTS = st.sampled_from(["permanent", "permanent", "transient", "temporary"])
STRATEGIES = st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"])
workers = st.builds(Plan, RESTARTS, st.booleans())


def supervisors(depth: int) -> st.SearchStrategy[Plan]:
    children = workers if depth == 1 else st.one_of(workers, supervisors(depth - 1))
    return st.builds(Plan, RESTARTS, st.just(False), STRATEGIES, st.lists(children, min_size=2, max_size=4).map(tuple))


# What is there: the pid of each child that has a spec (None where it does not run) and what is below it.
Tree = dict[int, tuple["Pid | None", "Tree"]]


def look(sup: Pid, plan: Plan) -> Tree:
    """The children of `sup` as it lists them, all the way down."""
    tree: Tree = {}
    for entry in Supervisor.which_children(sup):
        below = plan.children[entry.id]
        tree[entry.id] = (entry.pid, look(entry.pid, below) if entry.pid is not None and below.strategy else {})
    return tree


def running(tree: Tree, plan: Plan) -> Iterator[tuple[tuple[int, ...], Plan, Pid]]:
    """Every child that runs, with its path."""
    for name, (pid, below) in tree.items():
        if pid is not None:
            yield (name,), plan.children[name], pid
            for path, deeper, inner in running(below, plan.children[name]):
                yield (name, *path), deeper, inner


# -- faults ----------------------------------------------------------------------------------------------------------


def crash() -> None:
    raise RuntimeError("crash")


def harm(fault: str, plan: Plan, pid: Pid) -> str:
    """End a process; the reason that its supervisor will see, as far as restarts go."""
    if fault in ("normal", "shutdown"):
        process.spawn(GenServer.stop, pid, fault)  # another process waits, for the slow ones
        return fault
    if fault == "crash" and not plan.strategy:
        GenServer.cast(pid, crash)
    else:
        process.exit(pid, "kill")
    return "killed"


FAULTS = st.lists(st.tuples(st.integers(0, 99), st.sampled_from(["kill", "crash", "normal", "shutdown"])), max_size=8)


# -- the model: what one fault does ----------------------------------------------------------------------------------

Expected = dict[int, tuple["Pid | str | None", "Expected"]]
FRESH = "fresh"


def fresh(plan: Plan) -> Expected:
    return {name: (FRESH, fresh(child)) for name, child in enumerate(plan.children)}


def after(tree: Tree, plan: Plan, path: tuple[int, ...], reason: str) -> Expected:
    """What is to be below a supervisor once the child at `path` has ended with `reason`."""
    expected: Expected = dict(tree)  # type: ignore[arg-type]
    failed, rest = path[0], path[1:]
    child = plan.children[failed]
    if rest:
        pid, below = tree[failed]
        expected[failed] = (pid, after(below, child, rest, reason))
        return expected
    if child.restart == "permanent" or (child.restart == "transient" and reason == "killed"):
        groups = {"one_for_one": [failed], "rest_for_one": [n for n in tree if n >= failed], "one_for_all": [*tree]}
        ended = {name: (FRESH, fresh(plan.children[name])) for name in groups[plan.strategy]}
    else:
        ended = {failed: (None, {})}  # type: ignore[dict-item]
    for name, now in ended.items():
        expected[name] = now
        if plan.children[name].restart == "temporary":
            del expected[name]
    return expected


def assert_as_expected(tree: Tree, expected: Expected, before: set[Pid]) -> None:
    assert list(tree) == list(expected)
    for name, (pid, below) in tree.items():
        wanted, wanted_below = expected[name]
        if wanted == FRESH:
            assert pid is not None
            assert pid not in before
        else:
            assert pid == wanted
        assert_as_expected(below, wanted_below, before)


# -- invariants of a tree at rest --------------------------------------------------------------------------------------


def assert_sound(tree: Tree, plan: Plan) -> None:
    for name, (pid, below) in tree.items():
        child = plan.children[name]
        assert pid is not None or child.restart == "transient"
        assert pid is None or process.alive(pid)
        if pid is not None and child.strategy:
            assert_sound(below, child)
    assert {n for n, child in enumerate(plan.children) if child.restart != "temporary"} <= set(tree)
    assert list(tree) == sorted(tree)
    serials = [pid.serial for pid, _ in tree.values() if pid is not None]
    if plan.strategy != "one_for_one":  # who is restarted is so together with all who were started after it
        assert serials == sorted(serials)


def in_a_fresh_runtime(test: Callable[[ManualClock], None]) -> None:
    clock = ManualClock()
    clock.runtime = Runtime(clock=clock)
    run_as_process(clock.runtime, lambda: test(clock))
    clock.runtime.close()
    clock.settle()
    assert not clock.runtime.table


def with_tree(clock: ManualClock, plan: Plan, limit: int, use: Callable[[Pid], None]) -> None:
    """Start the tree, use it, stop it, and see that all is as it was before."""
    process.trap_exit(True)
    base = measure(clock)
    root = Supervisor.start_link(plan.specs(limit, True), strategy=plan.strategy, max_restarts=limit, name="root")
    use(root)
    if process.alive(root):
        process.spawn(Supervisor.stop, root)
    clock.advance(LONG)
    assert measure(clock) == base


def measure(clock: ManualClock) -> Any:
    clock.settle()
    runtime = clock.runtime
    return set(runtime.table), dict(runtime.names), clock.pending(), dict(runtime.scheduler.waits)


# -- the tests -------------------------------------------------------------------------------------------------------


@given(supervisors(3), FAULTS)
def test_after_each_fault_exactly_those_children_run_that_should(plan: Plan, faults: list[tuple[int, str]]) -> None:
    def use(clock: ManualClock, root: Pid) -> None:
        for which, fault in faults:
            tree = look(root, plan)
            candidates = list(running(tree, plan))
            if not candidates:
                return
            path, victim, pid = candidates[which % len(candidates)]
            expected = after(tree, plan, path, harm(fault, victim, pid))
            clock.advance(LONG)
            tree, before = look(root, plan), {pid for _, _, pid in candidates}
            assert_as_expected(tree, expected, before)
            assert_sound(tree, plan)
            assert_no_strangers(clock, root, tree, plan)

    in_a_fresh_runtime(lambda clock: with_tree(clock, plan, 1000, lambda root: use(clock, root)))


def assert_no_strangers(clock: ManualClock, root: Pid, tree: Tree, plan: Plan) -> None:
    listed = {pid for _, _, pid in running(tree, plan)}
    assert {one.pid for one in clock.runtime.table.values()} == {process.self(), root} | listed


bursts = st.lists(st.tuples(FAULTS, st.sampled_from([0.0, 0.2, 1.0, LONG])), max_size=3)


@given(supervisors(3), bursts, st.sampled_from([0, 2, 1000, 1000]))
def test_a_tree_survives_bursts_of_faults_or_ends_as_a_whole(plan: Plan, bursts: list[Any], limit: int) -> None:
    """With few restarts allowed supervisors give up, and those above them restart them or give up too."""

    def use(clock: ManualClock, root: Pid) -> None:
        for faults, pause in bursts:
            if not process.alive(root):
                break
            candidates = list(running(look_patiently(clock, root, plan), plan))
            for which, fault in faults if candidates else ():
                _, victim, pid = candidates[which % len(candidates)]
                harm(fault, victim, pid)
            clock.advance(pause)
        clock.advance(LONG)
        assert limit < 1000 or process.alive(root)
        if process.alive(root):
            tree = look(root, plan)
            assert_sound(tree, plan)
            assert_no_strangers(clock, root, tree, plan)

    in_a_fresh_runtime(lambda clock: with_tree(clock, plan, limit, lambda root: use(clock, root)))


def look_patiently(clock: ManualClock, root: Pid, plan: Plan) -> Tree:
    """The tree as it is when the supervisors have time to answer; empty if the root has ended meanwhile."""
    seen: list[Tree] = []

    def ask() -> None:
        seen.append(look(root, plan))

    process.spawn(ask)
    clock.advance(5.0)
    return seen[0] if seen else {}
