"""Hubs: starts and stops of many children on six nodes and on one, lookups, failover after SIGKILL.

Prints a JSON line for each question. Nodes are operating-system processes; the collector is on; init has run when a
start returns; "awaited" means that every node's get_pid answers.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks import _nodes
from benchmarks._nodes import HUB, SERVER, Counter, cluster, free_ports, start_node
from processhub import GenServer, ProcessHub, process
from supervisor.runtime import current_runtime

RUNS = 3


def report(what: str, seconds: list[float], **more: Any) -> None:
    """One JSON line: the median and the range of some runs, in milliseconds."""
    times = {"median_ms": statistics.median(seconds), "min_ms": min(seconds), "max_ms": max(seconds)}
    line = {"benchmark": what, **{key: round(value * 1e3, 3) for key, value in times.items()}, **more}
    print(json.dumps(line), flush=True)


def timed(fn: Callable[[], Any]) -> float:
    """Seconds that `fn` takes."""
    began = time.perf_counter()
    fn()
    return time.perf_counter() - began


def start(names: list[str], count: int) -> float:
    """Start `count` children and wait until every node knows all of them."""
    specs = [Counter.child_spec(number, id=f"child-{number}") for number in range(count)]

    def run() -> None:
        result = ProcessHub.start_children(HUB, specs, timeout=120.0).result()
        assert len(result.started) == count, result
        for name in names:
            GenServer.call((SERVER, name), ("known", count), 60.0)

    return timed(run)


def stop(names: list[str], count: int) -> float:
    """Stop them again, until no node knows any."""

    def run() -> None:
        result = ProcessHub.stop_children(HUB, [f"child-{number}" for number in range(count)], timeout=120.0).result()
        assert result.status == "ok", result
        for name in names:
            GenServer.call((SERVER, name), ("known", 0), 60.0)

    return timed(run)


def start_and_stop(names: list[str], count: int) -> None:
    """The rows "start N on M nodes" and "stop N on M nodes"."""
    pairs = [(start(names, count), stop(names, count)) for _ in range(RUNS)]
    report(f"start {count} on {len(names)} nodes", [pair[0] for pair in pairs], per_child_us=_each(pairs, 0, count))
    report(f"stop {count} on {len(names)} nodes", [pair[1] for pair in pairs], per_child_us=_each(pairs, 1, count))


def _each(pairs: list[tuple[float, float]], which: int, count: int) -> float:
    return round(statistics.median(pair[which] for pair in pairs) / count * 1e6, 2)


def lookups(names: list[str]) -> None:
    """get_pid and a lookup of a plain dict beside it."""
    start(names, 1000)
    ids = [f"child-{number}" for number in range(1000)] * 100
    plain = dict.fromkeys(ids, 1)
    get_pid, get = ProcessHub.get_pid, plain.get
    ours = [timed(lambda: [get_pid(HUB, child_id) for child_id in ids]) / len(ids) for _ in range(5)]
    floor = [timed(lambda: [get(child_id) for child_id in ids]) / len(ids) for _ in range(5)]
    line = {"us": statistics.median(ours) * 1e6, "dict_get_us": statistics.median(floor) * 1e6}
    print(json.dumps({"benchmark": "get_pid", **{key: round(value, 3) for key, value in line.items()}}), flush=True)
    stop(names, 1000)


def failover(count: int) -> None:
    """SIGKILL of one node of three: until a call to the last child is answered, and until all run again."""
    with cluster(3) as (names, others):
        start(names, count)
        lost = [c for c, nodes in ProcessHub.process_list(HUB).items() if names[-1] in nodes]
        others[-1].kill()
        began = time.perf_counter()
        vias = [ProcessHub.via(HUB, child_id) for child_id in (lost[0], lost[-1])]
        while not _all_elsewhere(names[-1], count):
            process.sleep(0.002)
        for via in vias:
            GenServer.call(via, "get")
        report(f"failover of {len(lost)} of {count} children", [time.perf_counter() - began])


def _all_elsewhere(lost: str, count: int) -> bool:
    return lost not in ProcessHub.nodes(HUB) and _nodes.known() == count


def joining(count: int) -> None:
    """A node joins two: from the moment in which they count it as a member until its share has moved, with state.

    Every state differs from what a start would make of the spec. `moved` counts those that run on the new node.
    """
    with cluster(2, hot=True) as (names, others):
        start(names, count)
        for number in range(count):
            GenServer.cast(ProcessHub.via(HUB, f"child-{number}"), "raise")
        port = free_ports(1)[0]
        new = f"n3@127.0.0.1:{port}"
        others.append(start_node(new, names[0], hot=True))
        while new not in ProcessHub.nodes(HUB):
            process.sleep(0.0005)
        began = time.perf_counter()
        hub = current_runtime().services[HUB]
        share = sum(hub.owners(f"child-{number}")[0] == new for number in range(count))
        while len(hub.registry.table(new)) != share or sum(_held(name) for name in names) != count - share:
            process.sleep(0.002)
        seconds = time.perf_counter() - began
        moved = GenServer.call((SERVER, new), ("local", None), 60.0)
        wrong = [n for n in range(0, count, 97) if GenServer.call(ProcessHub.via(HUB, f"child-{n}"), "get") != n + 1]
        assert not wrong, wrong
        report(f"node joins 2 nodes with {count} children, moved with state", [seconds], moved=moved)


def _held(name: str) -> int:
    """How many copies a node has, as this one sees it."""
    return len(current_runtime().services[HUB].registry.table(name))


def main() -> None:
    """All questions."""
    with cluster(1) as (names, _others):
        lookups(names)
        for count in (10_000, 20_000, 50_000):
            start_and_stop(names, count)
    with cluster(6) as (names, _others):
        for count in (1_000, 10_000, 20_000):
            start_and_stop(names, count)
    failover(10_000)
    joining(10_000)


if __name__ == "__main__":
    main()
