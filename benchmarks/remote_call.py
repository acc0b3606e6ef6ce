"""GenServer.call to another node on this machine, beside what the sockets alone take for a round trip.

Prints one JSON line for each contender: the median of the turns' medians and the spread of these in microseconds, and
the ratio to zmq.green DEALER/ROUTER. "transport" is a frame there and one back on our links' transport, encrypted as
the nodes' is; the others are not encrypted. All run in turns, so that they see the same machine.

    python -m benchmarks.remote_call [--rounds 2000] [--turns 7] [--size 10]
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import transport

ROOT = Path(__file__).resolve().parent.parent
OURS = "GenServer.call"
LOCAL = "GenServer.call, same node"
# What `benchmarks.transport` calls its contenders, and what they are called here.
OTHERS = {"ours": "transport", **{name: name for name in transport.CONTENDERS if name != "ours"}}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def serve(name: str) -> None:
    """The node that is called."""
    import supervisor.processes as process
    from processhub.cluster.node import Node

    Node.start(name, cookie=transport.COOKIE)
    _echo_class().start(name="echo")
    print("ready", flush=True)
    process.receive()


def _echo_class() -> Any:
    from supervisor.gen_server import GenServer

    class Echo(GenServer):
        def handle_call(self, request: object, from_: object) -> object:
            return request

    return Echo


def turn_of_calls(rounds: int, request: str) -> dict[str, list[float]]:
    """Microseconds of each call to a node of its own, and to a server of this node."""
    from supervisor.gen_server import GenServer

    port = free_port()
    name = f"server@127.0.0.1:{port}"
    command = [sys.executable, "-m", "benchmarks.remote_call", "--serve", name]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        from processhub.cluster.node import Node

        assert server.stdout is not None
        server.stdout.readline()
        Node.start(f"client@127.0.0.1:{free_port()}", cookie=transport.COOKIE)
        assert Node.connect(name)
        pid = _echo_class().start()
        remote = measure(lambda: GenServer.call(("echo", name), request), rounds)
        local = measure(lambda: GenServer.call(pid, request), rounds)
        Node.stop()
        return {OURS: remote, LOCAL: local}
    finally:
        server.kill()
        server.wait()


def measure(call: Callable[[], object], rounds: int) -> list[float]:
    for _ in range(rounds // 10):
        call()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1e6)
    return times


def in_a_process_of_its_own(rounds: int, size: int) -> dict[str, list[float]]:
    """Each turn has fresh processes at both ends, as the other contenders have."""
    command = [sys.executable, "-m", "benchmarks.remote_call", "--once", f"--rounds={rounds}", f"--size={size}"]
    found: dict[str, list[float]] = json.loads(
        subprocess.run(command, stdout=subprocess.PIPE, cwd=ROOT, check=True).stdout
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--size", type=int, default=10, help="characters of the request")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    elif options.once:
        print(json.dumps(turn_of_calls(options.rounds, "x" * options.size)))
    else:
        compare(options.rounds, options.turns, options.size)


def compare(rounds: int, turns: int, size: int) -> None:
    os.environ["PYTHONPATH"] = str(ROOT)
    medians: dict[str, list[float]] = {name: [] for name in (OURS, *OTHERS.values(), LOCAL)}
    for _ in range(turns):
        for name, times in in_a_process_of_its_own(rounds, size).items():
            medians[name].append(statistics.median(times))
        for name, shown in OTHERS.items():
            medians[shown].append(statistics.median(transport.turn(name, rounds, b"x" * size)))
    base = statistics.median(medians[transport.BASE])
    for name, found in medians.items():
        line = {
            "what": "call, two operating-system processes" if name != LOCAL else "call",
            "contender": name,
            "median_us": round(statistics.median(found), 1),
            "least_us": round(min(found), 1),
            "most_us": round(max(found), 1),
            "ratio_to_green": round(statistics.median(found) / base, 3),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
