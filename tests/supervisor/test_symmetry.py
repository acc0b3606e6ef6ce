"""Links and monitors are kept on both sides: whatever happens, the two sides tell the same story."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import supervisor.processes as process
from supervisor.gen_server import GenServer
from supervisor.pids import Pid, Ref
from supervisor.runtime import Runtime
from supervisor.signals import Down
from tests.supervisor.kit import ManualClock, info, run_as_process


@dataclass
class Record:
    """What one process did and was told; it outlives the process."""

    pid: Pid | None = None
    refs: dict[Ref, Pid] = field(default_factory=dict)  # the monitors that it did not take back, with their targets
    taken_back: dict[Ref, bool] = field(default_factory=dict)  # those that it did; whether with flush
    downs: list[Down] = field(default_factory=list)
    late: list[Down] = field(default_factory=list)  # that came although flushed


class Subject(GenServer):
    def init(self, record: Record, trap: bool) -> None:
        self.state = record
        record.pid = process.self()
        process.trap_exit(trap)

    def handle_cast(self, request: Callable[[Record], object]) -> None:
        request(self.state)

    def handle_info(self, message: Any) -> None:
        record: Record = self.state
        if isinstance(message, Down):
            (record.late if record.taken_back.get(message.ref) else record.downs).append(message)


OPERATIONS = ["link", "link", "unlink", "monitor", "monitor", "demonitor", "flush", "glance", "exit", "kill"]
OPERATIONS += ["crash", "spawn", "spawn_link"]
REASONS = ["normal", "shutdown", "boom", "kill"]
deeds = st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 9), st.integers(0, 9), st.sampled_from(REASONS))
steps = st.lists(st.tuples(deeds, st.booleans()), min_size=15, max_size=40)


@given(st.lists(st.booleans(), min_size=3, max_size=6), steps)
def test_links_and_monitors_stay_symmetric_under_random_kills(traps: list[bool], steps: list[Any]) -> None:
    clock = ManualClock()
    clock.runtime = Runtime(clock=clock)
    run_as_process(clock.runtime, lambda: check_symmetry(clock, traps, steps))
    clock.runtime.close()
    clock.settle()
    assert not clock.runtime.table
    assert not clock.runtime.scheduler.waits


def check_symmetry(clock: ManualClock, traps: list[bool], steps: list[Any]) -> None:
    records: list[Record] = []
    for trap in traps:
        start(records, trap)
    for step, settles in steps:
        take(records, *step)
        assert_symmetric(clock.runtime)
        if settles:
            clock.settle()
            assert_symmetric(clock.runtime)
    clock.settle()
    assert_symmetric(clock.runtime)
    assert_told(records)
    watched = {process.monitor(pid): pid for pid in living(records)}
    for pid in living(records):
        process.exit(pid, "kill")
        assert_symmetric(clock.runtime)
    assert_told(records)
    downs = [process.receive(timeout=0) for _ in range(info(process.self())["queue_length"])]
    assert {down.ref: down.pid for down in downs} == watched
    assert len(downs) == len(watched)
    assert info(process.self())["links"] == info(process.self())["monitors"] == []


def start(records: list[Record], trap: bool) -> None:
    records.append(Record())
    Subject.start(records[-1], trap)


def take(records: list[Record], operation: str, *args: Any) -> None:
    if operation == "spawn":
        start(records, args[0] % 2 == 0)
    elif operation == "spawn_link":
        parent, trap = args[0], args[1] % 2 == 0
        child = Record()
        records.append(child)
        do(records[parent % (len(records) - 1)], lambda record: Subject.start_link(child, trap))
    else:
        one, two = (records[n % len(records)] for n in args[:2])
        if operation == "kill":
            if one.pid is not None:
                process.exit(one.pid, "kill")
        elif two.pid is not None:
            do(one, lambda record: act(record, operation, two.pid, args[1], args[2]))


def do(record: Record, what: Callable[[Record], object]) -> None:
    if record.pid is not None:
        GenServer.cast(record.pid, what)


def act(me: Record, operation: str, other: Any, number: int, reason: str) -> None:
    """In the process of `me`."""
    if operation == "link":
        process.link(other)
        assert other == me.pid or other in info(process.self())["links"] or not process.alive(other)
    elif operation == "unlink":
        process.unlink(other)
        assert other not in info(process.self())["links"]
    elif operation == "monitor":
        me.refs[process.monitor(other)] = other
    elif operation in ("demonitor", "flush"):
        if me.refs:
            ref = list(me.refs)[number % len(me.refs)]
            del me.refs[ref]
            me.taken_back[ref] = operation == "flush"
            process.demonitor(ref, flush=operation == "flush")
    elif operation == "glance":  # of a dead process there is a Down in the mailbox already, and it is taken out
        ref = process.monitor(other)
        me.taken_back[ref] = True
        process.demonitor(ref, flush=True)
    elif operation == "exit":
        process.exit(other, reason)
    else:
        raise RuntimeError("crash")


def living(records: list[Record]) -> list[Pid]:
    return [record.pid for record in records if record.pid is not None and process.alive(record.pid)]


def assert_symmetric(runtime: Runtime) -> None:
    for one in runtime.table.values():
        for pid in one.links:
            other = runtime.local(pid)
            assert other is not None, f"{one!r} is linked to {pid!r}, which is dead"
            assert other is not one
            assert one.pid in other.links, f"{one!r} is linked to {other!r} but not the reverse"
        for ref, pid in (one.watchers or {}).items():
            watcher = runtime.local(pid)
            assert watcher is not None, f"{one!r} is watched by {pid!r}, which is dead"
            assert (watcher.monitors or {}).get(ref) == one.pid
        for ref, pid in (one.monitors or {}).items():
            target = runtime.local(pid)
            assert target is not None, f"{one!r} monitors {pid!r}, which is dead"
            assert (target.watchers or {}).get(ref) == one.pid


def assert_told(records: list[Record]) -> None:
    """Whoever is alive got exactly one Down for each monitor of a dead process, and no other."""
    for record in records:
        if record.pid is None or not process.alive(record.pid):
            continue
        got = [down.ref for down in record.downs]
        assert len(got) == len(set(got)), "two Downs of one monitor"
        assert not record.late, "a Down came after demonitor with flush"
        assert {ref for ref in got if ref not in record.taken_back} == {
            ref for ref, target in record.refs.items() if not process.alive(target)
        }
        assert all(down.pid == record.refs[down.ref] for down in record.downs if down.ref in record.refs)
