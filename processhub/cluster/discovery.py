"""How a node finds the first names to connect to. Whom it meets tells it of the others.

A discovery only ever adds: what it does not name stays a member, for an answer may be a subset (a DNS server returns
some of its records, a file is just being written). What it names again and again is tried again and again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from gevent import socket

from processhub.cluster.names import address_of

log = logging.getLogger(__name__)

Resolve = Callable[[str, int], Sequence[str]]


class Discovery:
    """Derive from this to find nodes by other means (or write any class with this method)."""

    def addresses(self) -> list[str]:
        """Names of nodes, "name@host:port"; may hold this node's own, and need not be all.

        Called every few seconds, in a process of its own: it may block its greenlet, as gevent's sockets do. When it
        raises, that is logged, and it is asked again in the next round.
        """
        raise NotImplementedError


def ask(discovery: Any) -> list[str]:
    """One round: the well-formed names that `discovery` gives, sorted, each once. An error is logged and gives []."""
    try:
        found = list(discovery.addresses())
    except Exception:
        log.exception("%r failed; it is asked again in the next round", discovery)
        return []
    names = set()
    for name in found:
        try:
            address_of(name)
            names.add(name)
        except (ValueError, TypeError, AttributeError):
            log.warning("%r named %r, which is no node name (name@host:port)", discovery, name)
    return sorted(names)


class StaticSeeds(Discovery):
    """The same names each time. Raises ValueError for a malformed one."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = list(names)
        for name in self.names:
            address_of(name)

    def __repr__(self) -> str:
        return f"StaticSeeds({self.names!r})"

    def addresses(self) -> list[str]:
        return list(self.names)


class FileSeeds(Discovery):
    """One name per line, read anew in each round. `#` begins a comment; empty lines are skipped.

    A file that cannot be read is an error of the round (it is logged, and read again in the next one).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"FileSeeds({str(self.path)!r})"

    def addresses(self) -> list[str]:
        lines = self.path.read_text(encoding="utf-8").splitlines()
        return [name for line in lines if (name := line.partition("#")[0].strip())]


class DnsSeeds(Discovery):
    """The addresses behind a DNS name, such as that of a headless service, looked up in each round.

    An address record has neither a node's name nor its port. So by this convention all nodes have the same port and the
    same name before the `@`, and their host is the number in the record: with `DnsSeeds("hubs.internal", 4370)` the
    record 10.0.0.7 means `node@10.0.0.7:4370`, and the node there is started as `Node.start("node@10.0.0.7:4370")`.

    Args:
        host: the DNS name.
        port: the port of every node.
        name: what stands before the `@` of every node.
        resolve: (host, port) -> addresses; by default gevent's resolver, which blocks the calling greenlet only.
    """

    def __init__(self, host: str, port: int, name: str = "node", *, resolve: Resolve | None = None) -> None:
        self.host = host
        self.port = port
        self.name = name
        self._resolve = resolve if resolve is not None else look_up
        address_of(f"{name}@{host}:{port}")

    def __repr__(self) -> str:
        return f"DnsSeeds({self.host!r}, {self.port}, {self.name!r})"

    def addresses(self) -> list[str]:
        return [f"{self.name}@{address}:{self.port}" for address in sorted(set(self._resolve(self.host, self.port)))]


def look_up(host: str, port: int) -> list[str]:
    """The IPv4 addresses (A records) of a host. Raises OSError where the lookup fails."""
    found = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]
