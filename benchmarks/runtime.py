"""The runtime of one node: calls, casts, starts, memory, restarts; beside each, a floor in the same run.

Prints a JSON line for each question, medians of several runs. The collector is on.
"""

from __future__ import annotations

import gc
import json
import logging
import statistics
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
import gevent.socket
from greenlet import getcurrent, greenlet

from processhub import DynamicSupervisor, GenServer, Supervisor, process

RUNS = 9


class Counter(GenServer):
    """The server that is measured."""

    def init(self, number: int = 0) -> None:
        self.state = number

    def handle_call(self, request: Any, from_: Any) -> Any:
        if request == "crash":
            raise ValueError("as asked")
        return self.state

    def handle_cast(self, request: Any) -> None:
        self.state += 1


class Plain:
    """An object with as much state, without a process: the floor of a start."""

    def __init__(self, number: int) -> None:
        self.state = number


def median_us(fn: Callable[[int], object], count: int, runs: int = RUNS) -> float:
    """Microseconds for each of `count` steps of `fn(count)`, the median of some runs."""
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        fn(count)
        times.append((time.perf_counter() - began) / count)
    return statistics.median(times) * 1e6


def report(what: str, **values: float) -> None:
    """One JSON line."""
    rounded = {key: round(value, 3) for key, value in values.items()}
    print(json.dumps({"benchmark": what, **rounded}), flush=True)


def in_process(fn: Callable[[], Any]) -> Any:
    """Run `fn` as a process, as the code that is measured would be."""
    pid, ref = process.spawn_monitor(lambda: answer.append(fn()))
    answer: list[Any] = []
    process.receive(lambda message: getattr(message, "ref", None) == ref)
    del pid
    return answer[0]


def switch_pair_us() -> float:
    """The floor of a call: there and back between two bare greenlets."""
    main = getcurrent()

    def answer() -> None:
        while True:
            main.switch()

    other = greenlet(answer)

    def pairs(count: int) -> None:
        switch = other.switch
        for _ in range(count):
            switch()

    return median_us(pairs, 100_000)


def calls() -> None:
    """A call beside a switch pair, a cast beside an append to a deque."""
    server = Counter.start()

    def call(count: int) -> None:
        for _ in range(count):
            GenServer.call(server, "get")

    def cast(count: int) -> None:
        for _ in range(count):
            GenServer.cast(server, "add")
        GenServer.call(server, "get")

    def append(count: int) -> None:
        queue: deque[Any] = deque()
        for _ in range(count):
            queue.append(("add",))

    floor = in_process(switch_pair_us)
    measured = in_process(lambda: median_us(call, 50_000))
    report("call", us=measured, switch_pair_us=floor, ratio=measured / floor)
    report("cast", us=in_process(lambda: median_us(cast, 100_000)), append_us=median_us(append, 100_000))


def starts(count: int) -> None:
    """Servers under a DynamicSupervisor, and their memory."""
    spec = Counter.child_spec(1, restart="temporary")
    times, sizes = [], []
    for _ in range(5):
        supervisor = DynamicSupervisor.start_link()
        gc.collect()
        before = resident()
        began = time.perf_counter()
        in_process(partial(start_many, supervisor, spec, count))
        times.append((time.perf_counter() - began) / count * 1e6)
        gc.collect()
        sizes.append((resident() - before) / count)
        DynamicSupervisor.stop(supervisor)
    floor = median_us(lambda n: [Plain(1) for _ in range(n)], count, 5)
    report("start", us=statistics.median(times), bytes=max(sizes), object_us=floor)


def start_many(supervisor: Any, spec: Any, count: int) -> None:
    """Start `count` children of one spec."""
    for _ in range(count):
        DynamicSupervisor.start_child(supervisor, spec)


def resident() -> int:
    """Bytes of memory that this operating-system process has in RAM."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def restarts(count: int) -> None:
    """From a kill to the restarted child's pid."""
    supervisor = Supervisor.start_link([Counter.child_spec(1, name="victim")], max_restarts=count * 2, max_seconds=60.0)

    def kill(n: int) -> None:
        for _ in range(n):
            pid = process.whereis("victim")
            assert pid is not None
            process.exit(pid, "kill")
            while process.whereis("victim") in (None, pid):
                Supervisor.count_children(supervisor)

    report("kill to restarted", us=in_process(lambda: median_us(kill, count // RUNS)))
    Supervisor.stop(supervisor)


def million(count: int) -> None:
    """Idle servers in great numbers."""
    before = resident()
    began = time.perf_counter()
    pids = in_process(lambda: [Counter.start(number) for number in range(count)])
    took = time.perf_counter() - began
    report(f"{count} idle servers", seconds=took, megabytes=(resident() - before) / 1e6)
    del pids


def timer_lateness(count: int) -> list[float]:
    """By how much each of some sleeps of 2 ms was late, in microseconds."""
    late = []
    for _ in range(count):
        began = time.perf_counter()
        gevent.sleep(0.002)
        late.append((time.perf_counter() - began - 0.002) * 1e6)
    return late


def echo_times(count: int) -> list[float]:
    """Round trips of a byte through a pair of sockets and another greenlet, in microseconds."""
    here, there = gevent.socket.socketpair()

    def echo() -> None:
        while data := there.recv(1):
            there.send(data)

    gevent.spawn(echo)
    times = []
    for _ in range(count):
        began = time.perf_counter()
        here.send(b"x")
        here.recv(1)
        times.append((time.perf_counter() - began) * 1e6)
    here.close()
    return times


def latency() -> None:
    """What a pair of processes that call each other without end does to timers and I/O of the same loop."""
    server = Counter.start()

    def play() -> None:
        while True:
            GenServer.call(server, "get")

    for what, measure in (("timer", timer_lateness), ("socket echo", echo_times)):
        alone = measure(200)
        player = process.spawn(play)
        beside = measure(200)
        process.exit(player, "kill")
        report(
            f"{what} beside a busy pair",
            alone_us=statistics.median(alone),
            beside_us=statistics.median(beside),
            beside_99th_us=statistics.quantiles(beside, n=100)[98],
        )


def main() -> None:
    """All questions."""
    logging.disable(logging.CRITICAL)
    calls()
    latency()
    starts(50_000)
    restarts(5_000)
    million(1_000_000)


if __name__ == "__main__":
    main()
