"""What the registry and the ring cost: prints one JSON line per question, medians of several runs.

Processor time, since nothing here waits. The collector is on; it runs once before each measurement, so that none pays
for the garbage of another.

python -m benchmarks.registry
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from processhub.registry import RUNNING, Batch, Registry, RegistryVector, SpecRecord, decode
from ring.hash_ring import HashRing, changes

RUNS = 7
NOW = 1_700_000_000_000
TEMPLATE = ("app:Worker", "start_link", "permanent", 5.0, "worker")
NODES = [f"node{n}@127.0.0.1:{4370 + n}" for n in range(6)]


class FakePid:
    __slots__ = ("serial",)

    def __init__(self, serial: int) -> None:
        self.serial = serial


def report(what: str, unit: str, values: list[float], **more: Any) -> None:
    print(json.dumps({"what": what, "median": round(statistics.median(values), 4), "unit": unit, **more}))


def seconds(fn: Callable[[], Any]) -> float:
    gc.collect()
    start = time.process_time()
    fn()
    return time.process_time() - start


def start_all(registry: Registry, count: int) -> None:
    metadata: dict[str, Any] = {}
    for n in range(count):
        child_id = f"child-{n}"
        registry.put(child_id, NOW, spec=SpecRecord(TEMPLATE, b"args-%d" % n), metadata=metadata, placement=None)
        registry.set_row(child_id, FakePid(n), RUNNING, 1)


def stop_all(registry: Registry, count: int) -> None:
    for n in range(count):
        registry.remove(f"child-{n}", NOW)
        registry.drop_row(f"child-{n}")


def bench_batches(count: int) -> None:
    made: dict[str, list[float]] = {}

    def measure(what: str, fn: Callable[[], Any]) -> Any:
        results: list[Any] = []
        made.setdefault(what, []).append(seconds(lambda: results.append(fn())) / count * 1e6)
        return results[0]

    for _ in range(RUNS):
        writer, reader = Registry(NODES[0], 1), Registry(NODES[1], 1)
        measure("start: put and set_row", lambda: start_all(writer, count))  # noqa: B023
        batch = measure("start: take_batch", writer.take_batch)
        wire = measure("start: to_wire", batch.to_wire)
        message = measure("start: decode", lambda: decode(wire))  # noqa: B023
        measure("start: apply", lambda: reader.apply(message, NOW))  # noqa: B023
        joiner = RegistryVector.from_wire(Registry(NODES[2], 1).vector().to_wire())
        pieces = measure("snapshot: make", lambda: pieces_for(joiner, reader))  # noqa: B023
        third = Registry(NODES[2], 1)
        measure("snapshot: take over", lambda: take_over(third, pieces))  # noqa: B023
        assert len(third.pids) == len(third.children) == count
        measure("stop: remove and drop_row", lambda: stop_all(writer, count))  # noqa: B023
        stops = measure("stop: to_wire", lambda: taken(writer).to_wire())  # noqa: B023
        measure("stop: decode and apply", lambda: reader.apply(decode(stops), NOW))  # noqa: B023
        assert not reader.children
        assert not reader.pids
    for what, values in made.items():
        report(what, "us per child", values, children=count)


def pieces_for(joiner: RegistryVector, registry: Registry) -> list[Any]:
    return [piece.to_wire() for piece in registry.delta_since(joiner, [NODES[0]])]


def taken(registry: Registry) -> Batch:
    batch = registry.take_batch()
    assert batch is not None
    return batch


def take_over(registry: Registry, pieces: list[Any]) -> None:
    for wire in pieces:
        registry.apply(decode(wire), NOW)
    while registry.settling:
        registry.settle()


def bench_lookup(count: int = 10_000) -> None:
    registry = Registry(NODES[0], 1)
    start_all(registry, count)
    ids = [f"child-{n}" for n in range(count)]

    def get_all() -> None:
        get = registry.pids.get
        for child_id in ids:
            get(child_id)

    report("get pid", "us", [seconds(get_all) / count * 1e6 for _ in range(RUNS)], children=count)


def bench_ring(count: int = 50_000) -> None:
    ring = HashRing(NODES)
    ids = [f"child-{n}" for n in range(count)]
    for copies in (1, 2):

        def own_all(copies: int = copies) -> None:
            for child_id in ids:
                ring.owners(child_id, copies)

        report(f"owners(key, {copies})", "us", [seconds(own_all) / count * 1e6 for _ in range(RUNS)], nodes=len(ring))
    added = [seconds(lambda: ring.add("new@127.0.0.1:9999")) * 1e6 for _ in range(RUNS)]
    report("ring.add", "us", added, nodes=len(ring))
    bigger = ring.add("new@127.0.0.1:9999")
    report("changes", "us", [seconds(lambda: changes(ring, bigger)) * 1e6 for _ in range(RUNS)], nodes=len(ring))


if __name__ == "__main__":
    print(json.dumps({"python": sys.version.split()[0], "runs": RUNS}))
    bench_ring()
    bench_lookup()
    for children in (10_000, 20_000):
        bench_batches(children)
