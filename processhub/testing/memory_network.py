"""A network in memory, on virtual time, with faults to order.

Frames are delivered by virtual time alone, after a small latency and in order. Everything random comes from the seed.
What is due at the same instant happens in an order that is made of addresses and counters per pair of nodes, so a seed
replays a run exactly.
"""

from __future__ import annotations

import errno
import heapq
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from processhub.cluster.transport import ListenError
from processhub.testing.faults import Path
from processhub.testing.memory_transport import Connection, MemoryChannel, MemoryTransport
from processhub.testing.virtual_clock import VirtualTime

log = logging.getLogger(__name__)

RETRY: Final = 0.1
"""Seconds after which a lost connection is tried again once it can succeed."""

_REFUSED_PAUSE: Final = 1.0
_PROBE_TIMEOUT: Final = 0.5
_ANY_HOST: Final = ("*", "0.0.0.0", "[::]", "")

_Event = tuple[float, str, str, int, Callable[..., object], tuple[Any, ...]]


def address_of(node: str) -> str:
    """The "host:port" of a node name, or of an address itself."""
    return node.rpartition("@")[2]


class _Host:
    """What stands at one address."""

    __slots__ = ("held", "is_paused", "transport")

    def __init__(self) -> None:
        self.transport: MemoryTransport | None = None
        self.is_paused = False
        self.held: list[tuple[Callable[..., object], tuple[Any, ...]]] = []  # what waits for the end of a pause


class MemoryNetwork:
    """The network that the nodes of one test share.

    Wherever a node is asked for, its name ("a@host:1") or its address ("host:1") will do. A fault concerns one
    direction, from the first node to the second.

    Args:
        time: the virtual time.
        seed: decides every random fault.
        latency: seconds that a frame takes.
        heartbeat: seconds after which a channel over a cut path reports `disconnected`.
        queue_frames: how many waiting frames a channel holds before `send` returns False.
        max_frame: bytes of the largest frame.

    Attributes:
        tap: called with (virtual time, source, target, frame) for every frame that arrives, if set.
        counts: how many frames were "sent" and have "arrived".
    """

    def __init__(
        self,
        time: VirtualTime,
        seed: int | str = 0,
        *,
        latency: float = 0.0001,
        heartbeat: float = 5.0,
        queue_frames: int = 256,
        max_frame: int = 4 * 1024 * 1024,
    ) -> None:
        self.time = time
        self.seed = seed
        self.latency = latency
        self.heartbeat = heartbeat
        self.queue_frames = queue_frames
        self.max_frame = max_frame
        self.tap: Callable[[float, str, str, bytes], None] | None = None
        self.counts: Counter[str] = Counter()
        self._hosts: dict[str, _Host] = {}
        self._paths: dict[tuple[str, str], Path] = {}
        self._events: list[_Event] = []
        self._numbers: Counter[tuple[str, str]] = Counter()
        time.add(self)

    def __repr__(self) -> str:
        return f"<MemoryNetwork of {len(self._hosts)} addresses, {len(self._events)} events>"

    def transport(self, node: str, cookie: str = "cookie") -> MemoryTransport:
        """The transport of a node that starts, or starts again after a crash.

        Raises ValueError while an earlier one of this address is open.
        """
        host = self._host(address_of(node))
        if host.transport is not None and not host.transport.is_closed:
            raise ValueError(f"{address_of(node)} has a transport; close it, or crash the node")
        host.transport = MemoryTransport(self, address_of(node), cookie)
        host.is_paused = False
        host.held.clear()
        return host.transport

    # -- faults ------------------------------------------------------------------------------------------------------

    def path(self, source: str, target: str) -> Path:
        """The way from one node to another; its attributes are the faults and may be set."""
        key = (address_of(source), address_of(target))
        found = self._paths.get(key)
        if found is None:
            found = self._paths[key] = Path(*key, self.seed, self.latency)
        return found

    def cut(self, source: str, target: str) -> None:
        """Let frames vanish. The source's channels report `disconnected` after `heartbeat` seconds of it."""
        path = self.path(source, target)
        if path.cut_since is not None:
            return
        path.cut_since = self.time.now()
        for channel in self._channels(path.source, path.target):
            if channel.connection is not None:
                self._push(self.heartbeat, path.source, "", self._starve, channel, channel.connection, path.cut_since)

    def partition(self, groups: Iterable[Iterable[str]]) -> None:
        """Cut every path between nodes of different groups, both ways, and heal all others.

        Nodes that are in no group form one more.
        """
        group_of = {address_of(node): number for number, group in enumerate(groups) for node in group}
        for source in sorted(self._hosts):
            for target in sorted(self._hosts):
                if group_of.get(source) != group_of.get(target):
                    self.cut(source, target)
                else:
                    self._mend(self.path(source, target))

    def heal(self, source: str | None = None, target: str | None = None) -> None:
        """End all cuts, or that of one direction. Channels that were lost connect again within `RETRY`."""
        if source is not None and target is not None:
            self._mend(self.path(source, target))
            return
        for key in sorted(self._paths):
            self._mend(self._paths[key])

    def calm(self) -> None:
        """Take back every fault but cuts, pauses and crashes."""
        for path in self._paths.values():
            path.calm()

    def drop(self, source: str, target: str, probability: float) -> None:
        """Lose frames at random."""
        self.path(source, target).drop = probability

    def delay(self, source: str, target: str, seconds: float, jitter: float = 0.0) -> None:
        """Let frames take `seconds` longer, and up to `jitter` more. Their order is kept."""
        path = self.path(source, target)
        path.delay, path.jitter = seconds, jitter

    def reorder(self, source: str, target: str, probability: float, window: float = 0.005) -> None:
        """Hold frames back at random by up to `window` seconds, so that others overtake them."""
        path = self.path(source, target)
        path.reorder, path.window = probability, window

    def duplicate(self, source: str, target: str, probability: float) -> None:
        """Deliver frames twice at random."""
        self.path(source, target).duplicate = probability

    def throttle(self, source: str, target: str, bytes_per_second: float | None) -> None:
        """Limit the bandwidth. The queue of a channel then fills, and `send` returns False."""
        self.path(source, target).rate = bytes_per_second

    def crash(self, node: str) -> None:
        """The node dies as by SIGKILL: nothing is called there any more, channels to it break, probes are refused.

        What it sent before is on its way and arrives. `transport` makes it anew.
        """
        transport = self._host(address_of(node)).transport
        if transport is not None:
            transport.close()

    def pause(self, node: str) -> None:
        """The node's event loop stands still: frames to it and reports for it wait. Channels stay connected."""
        self._host(address_of(node)).is_paused = True

    def resume(self, node: str) -> None:
        """The node goes on; what waited arrives now, in order."""
        address = address_of(node)
        self._host(address).is_paused = False
        self._push(0.0, address, "", self._release, address)
        self._retry_to(address)

    # -- virtual time ------------------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """See `Source.next_deadline`."""
        return self._events[0][0] if self._events else None

    def fire_due(self) -> None:
        """See `Source.fire_due`."""
        due = []
        while self._events and self._events[0][0] <= self.time.now():
            due.append(heapq.heappop(self._events))
        for _, owner, _, _, fn, args in due:
            host = self._hosts.get(owner)
            if host is not None and host.is_paused and fn != self._release:
                host.held.append((fn, args))
            else:
                fn(*args)

    def _push(self, seconds: float, owner: str, origin: str, fn: Callable[..., object], *args: Any) -> None:
        """Call `fn(*args)` in `seconds`, when the node `owner` is not paused. `origin` caused it."""
        self._push_at(self.time.now() + seconds, owner, origin, fn, *args)

    def _push_at(self, at: float, owner: str, origin: str, fn: Callable[..., object], *args: Any) -> None:
        """Call it at that time. (`now + (at - now)` is not always `at`: frames overtook each other by a rounding.)"""
        self._numbers[owner, origin] += 1
        heapq.heappush(self._events, (at, owner, origin, self._numbers[owner, origin], fn, args))

    def _release(self, address: str) -> None:
        host = self._hosts[address]
        held, host.held = host.held, []
        for position, (fn, args) in enumerate(held):
            if host.is_paused:  # again, by what arrived
                host.held.extend(held[position:])
                return
            fn(*args)

    # -- what transports ask for -------------------------------------------------------------------------------------

    def listen(self, transport: MemoryTransport, address: str, receive: Callable[[bytes], None]) -> None:
        """See `Transport.listen`."""
        own_host, _, own_port = transport.address.rpartition(":")
        host, _, port = address.rpartition(":")
        if host not in (own_host, *_ANY_HOST) or port not in (own_port, "0"):
            raise ListenError(errno.EADDRNOTAVAIL, f"{address} is not an address of {transport.address}")
        if transport.is_listening:
            raise ListenError(errno.EADDRINUSE, f"already listening on {transport.address}")
        transport.receive = receive
        self._retry_to(transport.address)

    def connect(self, channel: MemoryChannel, pause: float = 0.0) -> None:
        """Try to connect after `pause` seconds and a round trip. In vain where nobody listens: see `_retry_to`."""
        if channel.is_connecting or channel.listener is None:
            return
        channel.is_connecting = True
        source = channel.transport.address
        round_trip = 2 * self.path(source, channel.address).transit()
        self._push(pause + round_trip, source, source, self._handshake, channel)

    def probe(self, transport: MemoryTransport, address: str, verdict: Callable[[bool], None]) -> None:
        """See `Transport.probe`."""
        forth = self.path(transport.address, address).transit()
        self._push(forth, "", transport.address, self._probed, transport, address, verdict)

    def send(self, channel: MemoryChannel, connection: Connection, frame: bytes) -> None:
        """Carry a frame, as far as the faults let it."""
        source, target = channel.transport.address, channel.address
        self.counts["sent"] += 1
        now = self.time.now()
        departure, arrivals = self.path(source, target).carry(now, len(frame))
        if departure > now:
            connection.backlog += 1
            self._push_at(departure, "", source, self._take_off, channel, connection)
        elif arrivals and self._host(target).is_paused:
            connection.backlog += 1
            self._push(0.0, target, source, self._take_off, channel, connection)
        for arrival in arrivals:
            self._push_at(arrival, target, source, self._arrive, source, connection, frame)

    def closed(self, transport: MemoryTransport) -> None:
        """The transport is gone: who is connected to it notices, unless the path is cut."""
        host = self._host(transport.address)
        host.is_paused = False
        host.held.clear()
        for channel in self._channels(None, transport.address):
            self._break_off(channel)

    # -- what happens ------------------------------------------------------------------------------------------------

    def _handshake(self, channel: MemoryChannel) -> None:
        channel.is_connecting = False
        source, target = channel.transport.address, channel.address
        host = self._host(target)
        peer = host.transport
        if channel.listener is None or channel.connection is not None or peer is None or not peer.is_listening:
            return
        if self.path(source, target).cut_since is not None or host.is_paused:
            return
        if peer.cookie != channel.transport.cookie:
            self.connect(channel, _REFUSED_PAUSE)
            channel.tell("refused", "the peer does not admit our key: probably another cookie")
        else:
            channel.gain(peer)

    def _probed(self, transport: MemoryTransport, address: str, verdict: Callable[[bool], None]) -> None:
        source, host = transport.address, self._host(address)
        is_silent = host.is_paused or self._is_cut_between(source, address)
        is_listening = host.transport is not None and host.transport.is_listening
        after = _PROBE_TIMEOUT if is_silent else self.path(address, source).transit()
        self._push(after, source, source, self._tell_verdict, transport, verdict, is_silent or is_listening)

    def _tell_verdict(self, transport: MemoryTransport, verdict: Callable[[bool], None], answer: bool) -> None:
        if transport.is_closed:
            return
        try:
            verdict(answer)
        except Exception:
            log.exception("the verdict of a probe failed")

    def _take_off(self, channel: MemoryChannel, connection: Connection) -> None:
        """A waiting frame leaves the queue; not yet if its receiver is paused."""
        host = self._host(channel.address)
        if host.is_paused:
            host.held.append((self._take_off, (channel, connection)))
            return
        connection.backlog -= 1
        if channel.is_full and channel.connection is connection:
            self._push(0.0, channel.transport.address, channel.address, channel.relieve)

    def _arrive(self, source: str, connection: Connection, frame: bytes) -> None:
        receive = connection.peer.receive
        if not connection.is_alive or receive is None:
            return
        self.counts["arrived"] += 1
        if self.tap is not None:
            self.tap(self.time.now(), source, connection.peer.address, frame)
        try:
            receive(frame)
        except Exception:
            log.exception("the receiver at %s failed", connection.peer.address)

    def _starve(self, channel: MemoryChannel, connection: Connection, since: float) -> None:
        if self.path(channel.transport.address, channel.address).cut_since == since:
            self._lose(channel, connection)

    def _lose(self, channel: MemoryChannel, connection: Connection) -> None:
        if channel.lose(connection):
            self.connect(channel, RETRY)

    def _break_off(self, channel: MemoryChannel) -> None:
        """Report the end of a connection whose peer is gone: at once, if the news gets through."""
        source, target = channel.transport.address, channel.address
        if channel.connection is not None:
            after = self.heartbeat if self._is_cut_between(source, target) else self.path(target, source).transit()
            self._push(after, source, target, self._lose, channel, channel.connection)

    def _mend(self, path: Path) -> None:
        if path.cut_since is None:
            return
        path.cut_since = None
        for channel in self._channels(path.source, path.target):
            if channel.connection is None:
                self.connect(channel, RETRY)
            elif channel.connection.peer.is_closed:
                self._break_off(channel)

    def _retry_to(self, address: str) -> None:
        for channel in self._channels(None, address):
            if channel.connection is None:
                self.connect(channel, RETRY)

    # -- looking up --------------------------------------------------------------------------------------------------

    def _host(self, address: str) -> _Host:
        found = self._hosts.get(address)
        if found is None:
            found = self._hosts[address] = _Host()
        return found

    def _is_cut_between(self, one: str, other: str) -> bool:
        return self.path(one, other).cut_since is not None or self.path(other, one).cut_since is not None

    def _channels(self, source: str | None, target: str) -> Iterator[MemoryChannel]:
        """The open channels to `target`, of one node or of all."""
        sources: Sequence[str] = sorted(self._hosts) if source is None else [source]
        for address in sources:
            transport = self._host(address).transport
            if transport is not None:
                yield from [channel for channel in transport.channels if channel.address == target]
