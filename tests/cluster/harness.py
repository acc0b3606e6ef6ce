"""Nodes as operating-system processes on loopback, for tests that need real sockets and real signals.

    with Fleet(2) as fleet:
        fleet[0].do(deeds.call, "echo", fleet[1].name, "hello")

A test asks a node through a pipe: `do` runs a function of `tests.cluster.deeds` as a process of that node and returns
what it returned (JSON). Everything is killed and reaped at the end, whatever happens.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
PATIENCE: Final = 20.0  # seconds after which an answer counts as missing


class Failed(AssertionError):
    """What was asked of a node raised there; the text is the exception's."""


# Below those that systems give to outgoing connections, one of which could take a port before its node listens on it.
# Where to begin differs between sessions that run side by side, and no port is given out twice soon.
_PORTS: Final = range(20_000, 32_000)
_tried = itertools.count(os.getpid() * 97 % len(_PORTS))


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on."""
    found: list[int] = []
    while len(found) < number:
        port = _PORTS[next(_tried) % len(_PORTS)]
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
    return found


class NodeProcess:
    """One node in an operating-system process of its own.

    Attributes:
        name: of the node.
        pid: of the operating-system process.
    """

    def __init__(self, name: str, cookie: str, seeds: tuple[str, ...] = ()) -> None:
        self.name = name
        self._numbers = itertools.count(1)
        self._answers: dict[int, dict[str, Any]] = {}
        self._buffer = b""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed in `close`
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster.deeds", name, *seeds],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=ROOT,
            env={**os.environ, "PROCESSHUB_COOKIE": cookie, "PYTHONPATH": str(ROOT)},
        )
        self.pid = self._process.pid

    def ready(self) -> NodeProcess:
        """Wait until the node has started."""
        self._answer_to(0, PATIENCE)
        return self

    def do(self, deed: Callable[..., Any], *args: Any, timeout: float = PATIENCE) -> Any:
        """Run a deed there, and wait for what it returns. Raises Failed with what it raised."""
        return self.finish(self.begin(deed, *args), timeout)

    def begin(self, deed: Callable[..., Any], *args: Any) -> int:
        """Let a deed run there; `finish` waits for it."""
        number = next(self._numbers)
        assert self._process.stdin is not None
        line = json.dumps({"number": number, "deed": deed.__name__, "args": args})
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        return number

    def finish(self, number: int, timeout: float = PATIENCE) -> Any:
        """What the deed that `begin` started returned."""
        answer = self._answer_to(number, timeout)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer["value"]

    def _answer_to(self, number: int, timeout: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        assert self._process.stdout is not None
        while number not in self._answers:
            readable = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]
            data = os.read(self._process.stdout.fileno(), 65536) if readable else b""
            if not data:
                why = "it has ended" if readable else f"no answer within {timeout} s"
                raise AssertionError(f"node {self.name}: {why}. Its log:\n{self.log()}")
            *lines, self._buffer = (self._buffer + data).split(b"\n")
            for line in lines:
                answer = json.loads(line)
                self._answers[answer["number"]] = answer
        return self._answers.pop(number)

    def log(self) -> str:
        """What it wrote to standard error so far."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def signal(self, number: int) -> float:
        """Send a signal; returns the monotonic time, which is the same clock in every process."""
        now = time.monotonic()
        os.kill(self.pid, number)
        return now

    def kill(self) -> float:
        """SIGKILL, and reap it. Returns when."""
        now = self.signal(signal.SIGKILL)
        self._process.wait()
        return now

    def terminate(self) -> int:
        """SIGTERM, at which its node leaves in good order. Returns the exit status."""
        self.signal(signal.SIGTERM)
        return self._process.wait(PATIENCE)

    def close(self) -> None:
        """End it, if it lives, and let go of everything."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


class Fleet:
    """`count` nodes that are connected to each other when `with` begins."""

    def __init__(self, count: int) -> None:
        self.cookie = secrets.token_hex(16)
        self.nodes: list[NodeProcess] = []
        self._removed: list[NodeProcess] = []
        self._names = [f"node{i}@127.0.0.1:{port}" for i, port in enumerate(free_ports(count), 1)]

    def __enter__(self) -> Fleet:
        from tests.cluster import deeds

        try:
            for name in self._names:
                self.add(name)
            for node in self.nodes:
                node.ready()
            for node in self.nodes:
                node.do(deeds.await_peers, [other.name for other in self.nodes if other is not node])
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getitem__(self, index: int) -> NodeProcess:
        return self.nodes[index]

    def __iter__(self) -> Iterator[NodeProcess]:
        return iter(self.nodes)

    def add(self, name: str | None = None, cookie: str | None = None) -> NodeProcess:
        """One node more, which knows the first one. Not ready yet."""
        name = name or f"node{len(self.nodes) + 1}@127.0.0.1:{free_ports(1)[0]}"
        seeds = (self.nodes[0].name,) if self.nodes else ()
        node = NodeProcess(name, cookie or self.cookie, seeds)
        self.nodes.append(node)
        return node

    def remove(self, index: int) -> NodeProcess:
        """Count a node no more among the others. It runs on, and is killed and reaped with them."""
        node = self.nodes.pop(index)
        self._removed.append(node)
        return node

    def close(self) -> None:
        """Kill and reap all."""
        for node in (*self.nodes, *self._removed):
            node.close()


@contextlib.contextmanager
def two_shops(children: list[str]) -> Iterator[Fleet]:
    """Two nodes with a hub "shop" and these children."""
    from tests.cluster import deeds

    with Fleet(2) as fleet:
        for node in fleet:
            node.do(deeds.start_hub, "shop")
        fleet[0].do(deeds.await_settled, "shop", [node.name for node in fleet])
        assert fleet[0].do(deeds.start_children, "shop", children) == "ok"
        yield fleet
