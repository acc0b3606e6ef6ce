"""Round trip of a small frame between two operating-system processes: our transport and the sockets it stands on.

Prints one JSON line for each contender: median and 90th percentile in microseconds, and the ratio of its median to that
of zmq.green DEALER/ROUTER. All run in one go, in turns, so that they see the same machine.

    python benchmarks/transport.py [--rounds 2000] [--turns 5] [--size 100]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

COOKIE = "benchmark"
BASE = "zmq.green DEALER/ROUTER"
Echo = Callable[[bytes], bytes]
HOST = "tcp://127.0.0.1"


# -- ours: a frame there on one channel, a frame back on another


class _Listener:
    def __init__(self) -> None:
        from gevent.event import Event

        self.is_up = Event()

    def connected(self) -> None:
        self.is_up.set()

    def disconnected(self) -> None: ...
    def writable(self) -> None: ...
    def refused(self, why: str) -> None: ...


def serve_ours() -> None:
    from gevent.event import Event

    from processhub.cluster.zerorpc_transport import ZerorpcTransport

    transport = ZerorpcTransport(COOKIE)
    channels: list[Any] = []

    def receive(frame: bytes) -> None:
        if not channels:
            channels.append(transport.open(frame.decode(), _Listener()))
        else:
            channels[0].send(frame)

    transport.listen("127.0.0.1:0", receive)
    print(transport.address, flush=True)
    Event().wait()


@contextmanager
def client_ours(address: str) -> Iterator[Echo]:
    import gevent

    from processhub.cluster.zerorpc_transport import ZerorpcTransport

    transport, listener = ZerorpcTransport(COOKIE), _Listener()
    waiting: list[Any] = []
    transport.listen("127.0.0.1:0", lambda frame: waiting.pop().switch(frame))
    channel = transport.open(address, listener)
    listener.is_up.wait()
    channel.send(str(transport.address).encode())
    gevent.sleep(0.3)  # until the way back is open
    hub = gevent.get_hub()

    def echo(frame: bytes) -> bytes:
        waiting.append(gevent.getcurrent())
        channel.send(frame)
        reply: bytes = hub.switch()
        return reply

    yield echo
    transport.close()


# -- zmq.green and plain pyzmq: DEALER/ROUTER


def _serve_router(zmq: Any) -> None:
    router = zmq.Context().socket(zmq.ROUTER)
    print(router.bind_to_random_port(HOST), flush=True)
    while True:
        router.send_multipart(router.recv_multipart())


@contextmanager
def _client_dealer(zmq: Any, port: str) -> Iterator[Echo]:
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.connect(f"{HOST}:{port}")

    def echo(frame: bytes) -> bytes:
        dealer.send(frame)
        reply: bytes = dealer.recv()
        return reply

    yield echo
    dealer.close(0)
    context.term()


def serve_green() -> None:
    import zmq.green

    _serve_router(zmq.green)


def client_green(port: str) -> Any:
    import zmq.green

    return _client_dealer(zmq.green, port)


def serve_pyzmq() -> None:
    import zmq

    _serve_router(zmq)


def client_pyzmq(port: str) -> Any:
    import zmq

    return _client_dealer(zmq, port)


# -- zerorpc as it comes


def serve_zerorpc() -> None:
    import zerorpc

    server = zerorpc.Server({"echo": lambda frame: frame})
    server.bind(f"{HOST}:0")
    print(server._events._socket.last_endpoint.decode().rpartition(":")[2], flush=True)
    server.run()


@contextmanager
def client_zerorpc(port: str) -> Iterator[Echo]:
    import zerorpc

    client = zerorpc.Client(f"{HOST}:{port}")
    yield client.echo
    client.close()


CONTENDERS: dict[str, tuple[Callable[[], None], Callable[[str], Any]]] = {
    "ours": (serve_ours, client_ours),
    BASE: (serve_green, client_green),
    "pyzmq DEALER/ROUTER": (serve_pyzmq, client_pyzmq),
    "zerorpc Client/Server": (serve_zerorpc, client_zerorpc),
}


def measure(echo: Echo, rounds: int, frame: bytes) -> list[float]:
    """Microseconds of each round trip, after a tenth more to warm up."""
    times = []
    for _ in range(rounds + rounds // 10):
        start = time.perf_counter()
        echo(frame)
        times.append((time.perf_counter() - start) * 1e6)
    return times[rounds // 10 :]


def turn(name: str, rounds: int, frame: bytes) -> list[float]:
    """One turn of one contender, with a server of its own."""
    server = subprocess.Popen([sys.executable, __file__, "--serve", name], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        with CONTENDERS[name][1](server.stdout.readline().strip()) as echo:
            return measure(echo, rounds, frame)
    finally:
        server.kill()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--size", type=int, default=100, help="bytes of the frame")
    parser.add_argument("--serve", choices=CONTENDERS)
    options = parser.parse_args()
    if options.serve:
        CONTENDERS[options.serve][0]()
        return
    times: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for _ in range(options.turns):
        for name, found in times.items():
            found += turn(name, options.rounds, b"x" * options.size)
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, found in times.items():
        line = {
            "what": "round trip, two processes",
            "contender": name,
            "bytes": options.size,
            "median_us": round(medians[name], 1),
            "p90_us": round(statistics.quantiles(found, n=10)[8], 1),
            "ratio_to_green": round(medians[name] / medians[BASE], 3),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
