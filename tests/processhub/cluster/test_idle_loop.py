"""A channel on which nothing is sent leaves the event loop asleep, whatever ZeroMQ does behind it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from processhub.cluster.zerorpc_transport import ZerorpcTransport

SECONDS = 0.5
TURNS = 100  # of the loop in that time; a loop that spins does tens of thousands


class Listener:
    """Notes the events of a channel."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def connected(self) -> None:
        self.events.append("connected")

    def disconnected(self) -> None:
        self.events.append("disconnected")

    def writable(self) -> None:
        self.events.append("writable")

    def refused(self, why: str) -> None:
        self.events.append("refused")


@pytest.fixture
def transports() -> Iterator[tuple[ZerorpcTransport, ZerorpcTransport]]:
    both = ZerorpcTransport("cookie"), ZerorpcTransport("cookie")
    yield both
    for transport in both:
        transport.close()


def turns_of_the_loop(seconds: float) -> int:
    """How often the loop looks for events while nothing happens."""
    turns = 0

    def count() -> None:
        nonlocal turns
        turns += 1

    watcher: Any = gevent.get_hub().loop.prepare()
    watcher.start(count)
    gevent.sleep(seconds)  # real time: what is measured is how the loop spends it
    watcher.stop()
    watcher.close()
    return turns


def await_event(listener: Listener, event: str) -> None:
    with gevent.Timeout(10.0):
        while event not in listener.events:
            gevent.sleep(0.01)  # real time: ZeroMQ connects in a thread of its own


def unused_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return f"127.0.0.1:{one.getsockname()[1]}"


def test_attempts_to_reach_nobody_do_not_make_the_loop_spin(
    transports: tuple[ZerorpcTransport, ZerorpcTransport],
) -> None:
    transports[0].open(unused_address(), Listener())
    assert turns_of_the_loop(SECONDS) < TURNS


def test_a_peer_that_is_gone_does_not_make_the_loop_spin(
    transports: tuple[ZerorpcTransport, ZerorpcTransport],
) -> None:
    here, there = transports
    there.listen("127.0.0.1:0", lambda frame: None)
    assert there.address is not None
    listener = Listener()
    channel = here.open(there.address, listener)
    await_event(listener, "connected")
    assert channel.send(b"last words")
    there.close()
    await_event(listener, "disconnected")
    assert turns_of_the_loop(SECONDS) < TURNS
