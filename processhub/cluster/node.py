"""Node: one runtime joined to a network of others.

It wires the parts: the transport carries frames, `Links` makes them sessions and ops, `Membership` decides who is
there, `Discovery` says whom to ask first. The node itself only passes on what one tells to the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from random import Random, SystemRandom
from typing import Any

import supervisor.watchdog as watchdog
from processhub.cluster import membership as m
from processhub.cluster import prompt
from processhub.cluster.discovery import Discovery, StaticSeeds
from processhub.cluster.links import Links
from processhub.cluster.messages import NodeDown, NodeUp
from processhub.cluster.names import address_of
from processhub.cluster.node_server import NodeInfo, NodeServer, info_of, services_of, spawn_on
from processhub.cluster.security import load_cookie
from processhub.cluster.transport import Transport
from processhub.cluster.wire import Codec
from processhub.cluster.zerorpc_transport import ZerorpcTransport
from supervisor.errors import CallTimeout, NoConnection, SupervisorError
from supervisor.pids import Pid
from supervisor.processes import await_exit
from supervisor.reasons import KILLED
from supervisor.records import INFO, Process
from supervisor.runtime import (
    NO_NODE,
    Runtime,
    claim_thread,
    current_process,
    current_runtime,
    is_forked,
    new_incarnation,
    reset_after_fork,
)
from supervisor.signals import exit_process
from supervisor.waiters import Waiters

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
DISCOVER_SECONDS = 10.0
ARRIVAL_SECONDS = 1.0  # what those that a new node was told of get to answer in, before it counts as alone


class NodeError(SupervisorError):
    """The node cannot do this now: not started, or started already."""


class Node:
    """A running node. `Node.start` makes one for the runtime of the caller; the other functions speak of that one."""

    def __init__(
        self,
        runtime: Runtime,
        name: str,
        transport: Transport,
        *,
        bind: str | None = None,
        discovery: Discovery | None = None,
        rng: Random | None = None,
    ) -> None:
        address_of(name)
        self.runtime = runtime
        self.name = name
        self.transport = transport
        self.codec = Codec(runtime)
        self.discovery = discovery if discovery is not None else StaticSeeds(())
        self.on_stop: list[Callable[[], None]] = []  # run before the node leaves: hubs drain here
        self.on_stopped: list[Callable[[], None]] = []  # run once it has left
        self._bind = bind
        self.rng = rng if rng is not None else SystemRandom()
        self._refusals: dict[str, str] = {}  # who does not accept us, and why
        self._watchers: dict[Pid, Process] = {}
        self._connecting: Waiters[str] = Waiters(runtime)  # for a link to a node
        self._timer: Any = None
        self._discover_timer: Any = None
        self._began_at = 0.0
        self._has_discovered = False
        self._ending = False
        self._stopped = False
        self.membership = m.Membership(name, rng=self.rng)
        self.links = Links(runtime, transport, self.codec, self, self.rng)

    def __repr__(self) -> str:
        return f"<Node {self.name}: connected to {', '.join(self.peers()) or 'nobody'}>"

    # -- beginning and end -------------------------------------------------------------------------------------------

    def begin(self, incarnation: int) -> None:
        """Listen, take the name, and start to look for peers. Raises ListenError where the address is taken."""
        self.transport.listen(self._bind or address_of(self.name), self.links.receive)
        self.runtime.rename(self.name, incarnation)
        self.codec.forget()
        self.runtime.router = self.links
        self.runtime.node = self
        self._began_at = self.runtime.clock.now()
        self._carry_out(self.membership.start(self.runtime.clock.now()))
        NodeServer.start(name=NodeServer.NAME)
        self._discover()

    def end(self, timeout: float | None = None) -> None:
        """Drain, say goodbye, close everything, and become `nonode@nohost` again. Does nothing the second time.

        timeout: seconds for the functions of `on_stop` together; who is not done then is killed.
        """
        if self._ending:
            return
        self._ending = True
        self._drain(timeout)
        for peer in self.peers():
            self._tell_watchers(NodeDown(peer))
        self._stopped = True
        for timer in (self._timer, self._discover_timer):
            if timer is not None:
                timer.cancel()
        self.links.say_bye()
        self.links.close()
        self.transport.close()
        for peer in list(self._connecting):
            self._connecting.wake(peer, False)
        server = self.runtime.names.get(NodeServer.NAME)
        if server is not None:
            NodeServer.stop(server.pid)
        self.runtime.router = None
        self.runtime.node = None
        self.runtime.rename(NO_NODE, 0)
        for begin_anew in list(self.on_stopped):
            begin_anew()

    def _drain(self, timeout: float | None) -> None:
        """Run what wants to run before the node leaves, each in a process of its own: one that fails harms no other."""
        clock = self.runtime.clock
        deadline = None if timeout is None else clock.now() + timeout
        for drain in list(self.on_stop):
            pid = self.runtime.spawn(drain, (), {}).pid
            try:
                await_exit(pid, None if deadline is None else max(0.0, deadline - clock.now()))
            except CallTimeout:
                log.warning("node %s leaves before %r was done", self.name, drain)
                process = self.runtime.local(pid)
                if process is not None:
                    exit_process(process, KILLED)

    # -- LinkListener ------------------------------------------------------------------------------------------------

    def link_up(self, node: str, incarnation: int) -> None:
        """The link to `node` is up."""
        self._refusals.pop(node, None)
        self._carry_out(self.membership.session_up(node, incarnation, self.runtime.clock.now()))
        self._connecting.wake(node, True)

    def link_down(self, node: str) -> None:
        """The link to `node` is down: it is suspect."""
        if not self._stopped:
            self._carry_out(self.membership.session_lost(node, self.runtime.clock.now()))

    def heard(self, node: str, incarnation: int) -> None:
        """A frame of `node` has arrived."""
        actions = self.membership.heard_from(node, incarnation, self.runtime.clock.now())
        if actions:
            self._carry_out(actions)

    def refused(self, node: str, why: str) -> None:
        """`node` does not accept us."""
        log.error("node %s refused the connection of %s: %s", node, self.name, why)
        self._refusals[node] = why
        self._connecting.wake(node, False)

    def said_bye(self, node: str) -> None:
        """`node` leaves."""
        self._carry_out(self.membership.left(node, self.runtime.clock.now()))

    def learned(self, names: Sequence[str]) -> None:
        """A peer is connected to these nodes."""
        self._carry_out(self.membership.learn(names, self.runtime.clock.now()))

    def must_rise(self, incarnation: int) -> None:
        """A peer knows an earlier life of this name with our incarnation or a higher one: take a higher one."""
        log.warning("node %s takes incarnation %d: a peer knew a higher one than ours", self.name, incarnation)
        self.runtime.rename(self.name, incarnation)
        self.codec.forget()
        for node in sorted(self.links.by_node):
            link = self.links.by_node.get(node)
            if link is not None:
                link.restart_session("this node took a higher incarnation")

    def members(self) -> tuple[str, ...]:
        """Whom we are connected to, for hellos."""
        return tuple(self.peers())

    # -- membership --------------------------------------------------------------------------------------------------

    def peers(self) -> list[str]:
        """The other members, sorted."""
        return self.membership.members()

    def quiet_for(self, node: str) -> float:
        """Seconds since anything was heard of a member, not counting those in which this node did not listen."""
        return self.membership.quiet(node, self.runtime.clock.now())

    @property
    def is_arriving(self) -> bool:
        """Whether it has just begun, and some that it was told of may be about to answer. False after a second at most.

        Who begins work of his own before is likely to do what others do already.
        """
        if self._stopped or self.runtime.clock.now() - self._began_at >= ARRIVAL_SECONDS:
            return False
        return not self._has_discovered or bool(self.membership.expected())

    def _carry_out(self, actions: Sequence[m.Action]) -> None:
        for action in actions:
            if isinstance(action, m.Connect):
                self._open(action.node)
            elif isinstance(action, m.SendPing):
                self.links.ping(action.node)
            elif isinstance(action, m.Probe):
                self._probe(action.node)
            elif isinstance(action, m.MemberUp):
                log.info("node %s: %s is up", self.name, action.node)
                self._tell_watchers(NodeUp(action.node))
            elif isinstance(action, m.MemberDown):
                log.info("node %s: %s is down (%s)", self.name, action.node, action.reason)
                if action.reason != m.RESTARTED:  # then the link belongs to the new life already
                    self._end_session(action.node, action.reason)
                self._tell_watchers(NodeDown(action.node))
            elif isinstance(action, m.Forget):
                self.links.drop(action.node)
        self._arm_tick()

    def _end_session(self, node: str, reason: str) -> None:
        link = self.links.by_node.get(node)
        if link is not None:
            link.end_session(f"the node is down: {reason}")

    def _open(self, node: str) -> None:
        try:
            self.links.open(node)
        except ValueError as error:
            log.warning("not connecting: %s", error)

    def _probe(self, node: str) -> None:
        def verdict(answered: bool) -> None:
            if not answered and not self._stopped:
                self._carry_out(self.membership.probe_refused(node, self.runtime.clock.now()))

        self.transport.probe(address_of(node), verdict)

    def _arm_tick(self) -> None:
        now = self.runtime.clock.now()
        due = self.membership.next_tick(now)
        if self._timer is not None:
            if self._timer.active and due is not None and self._timer.deadline <= due:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None and not self._stopped:
            self._timer = self.runtime.clock.call_later(max(0.0, due - now), self._tick)

    def _tick(self) -> None:
        if not self._stopped:
            self._carry_out(self.membership.tick(self.runtime.clock.now()))

    def _discover(self) -> None:
        """Ask the discovery for names, now and then, in a process: it may block."""
        if self._stopped:
            return
        self.runtime.spawn(self._discover_once, (), {})
        self._discover_timer = self.runtime.clock.call_later(DISCOVER_SECONDS, self._discover)

    def _discover_once(self) -> None:
        try:
            names = self.discovery.addresses()
        except Exception:
            log.exception("node %s: discovery failed, it is asked again in %s s", self.name, DISCOVER_SECONDS)
            return
        finally:
            self._has_discovered = True
        if not self._stopped:
            self.learned([name for name in names if name != self.name])

    # -- what users ask ----------------------------------------------------------------------------------------------

    def connect_to(self, node: str) -> bool:
        """Connect and wait until it is known whether that worked."""
        address_of(node)
        if node == self.name or self.links.connected(node):
            return True
        self.membership.wanted(node)
        self.links.open(node)
        self._arm_tick()
        return self._connecting.wait(node, CONNECT_SECONDS)

    def drop_peer(self, node: str) -> None:
        """End the connection to `node` and do not connect again by ourselves."""
        link = self.links.by_node.get(node)
        if link is not None:
            link.say_bye()
        self.said_bye(node)

    def watch(self, process: Process, on: bool) -> None:
        """Tell `process` of nodes that come and go, or stop doing so."""
        if on:
            self._watchers[process.pid] = process
        else:
            self._watchers.pop(process.pid, None)

    def _tell_watchers(self, message: Any) -> None:
        for pid, process in list(self._watchers.items()):
            if process.alive:
                process.enqueue((INFO, message))
            else:
                del self._watchers[pid]

    # -- the public functions ----------------------------------------------------------------------------------------

    @staticmethod
    def start(
        name: str,
        *,
        cookie: str | None = None,
        seeds: Sequence[str] = (),
        bind: str | None = None,
        discovery: Discovery | None = None,
    ) -> Node:
        """Join the network under `name`, "name@host:port", the address that peers connect to.

        cookie: the shared secret; else PROCESSHUB_COOKIE, else the file `~/.processhub/cookie`, made at first use.
        seeds: names of nodes to connect to; unreachable ones are tried again.
        bind: "host:port" to listen on where it differs from the name's, as in "0.0.0.0:4370" ("tcp://" is accepted).
        discovery: finds seeds by other means, see `processhub.cluster.discovery`.

        Raises ValueError for a bad name, ListenError where the address is in use, NodeError where a node runs already.
        In a forked child it gives the child a node of its own. At an interactive prompt it also makes greenlets run
        while the prompt waits for input.
        """
        if is_forked():
            reset_after_fork()
        else:
            claim_thread()
        runtime = current_runtime()
        runtime.check_thread()
        if runtime.node is not None:
            raise NodeError(f"node {runtime.node.name} runs here already; call Node.stop() first")
        address_of(name)
        for seed in seeds:
            address_of(seed)
        transport = ZerorpcTransport(load_cookie(cookie))
        bind = bind.removeprefix("tcp://") if bind is not None else None
        node = Node(runtime, name, transport, bind=bind, discovery=discovery or StaticSeeds(seeds))
        try:
            node.begin(new_incarnation())
        except BaseException:
            transport.close()
            raise
        named = sorted(services_of(runtime))
        if named:
            log.warning("%s: started before the node, so no other node sees it until it is promoted", ", ".join(named))
        prompt.hook()
        watchdog.start(runtime)
        return node

    @staticmethod
    def stop(timeout: float | None = None) -> None:
        """Leave the network: hubs stop, peers are told, everything is closed. Does nothing without a node.

        timeout: seconds for the hubs to stop in; None waits as long as their children take.
        """
        node = current_runtime().node
        if node is not None:
            node.end(timeout)
            prompt.unhook()
            watchdog.stop(node.runtime)

    @staticmethod
    def self() -> str:
        """The name of this node, "nonode@nohost" without `Node.start`."""
        return current_runtime().home.name

    @staticmethod
    def list() -> list[str]:
        """The names of the other nodes that are connected, sorted."""
        node = current_runtime().node
        return node.peers() if node is not None else []

    @staticmethod
    def connect(name: str) -> bool:
        """Connect to a node, and through it to all that it knows. True once connected, or if it was.

        False when nobody answers within 5 seconds or the node refuses us (another cookie; the log says so).
        Raises NodeError without `Node.start`, ValueError for a bad name.
        """
        return _this_node("connect").connect_to(name)

    @staticmethod
    def refusals() -> dict[str, str]:
        """The nodes that did not accept this one when it last tried, and why: {name: reason}. Empty without a node."""
        node = current_runtime().node
        return dict(node._refusals) if node is not None else {}

    @staticmethod
    def info(name: str | None = None) -> NodeInfo:
        """What a connected node (by default this one) says of itself: its connections and services.

        Raises NoConnection, CallTimeout after 5 s.
        """
        return info_of(name)

    @staticmethod
    def disconnect(name: str) -> None:
        """End the connection to a node. It may connect again from its side."""
        _this_node("disconnect").drop_peer(name)

    @staticmethod
    def monitor_nodes(on: bool) -> None:
        """Send the caller NodeUp(node) and NodeDown(node) messages from now on, or stop doing so."""
        process = current_process()
        node = process.runtime.node
        if node is not None:
            node.watch(process, on)

    @staticmethod
    def spawn(node: str, fn: Callable[..., Any], *args: Any) -> Pid:
        """Run `fn(*args)` as a process of another node (or of this one), and return its pid.

        Raises NotImportable for a lambda or a local function, NoConnection, CallTimeout after 5 s.
        """
        return spawn_on(node, fn, args)


def _this_node(what: str) -> Node:
    node = current_runtime().node
    if node is None:
        raise NodeError(f"Node.{what} needs a node: call Node.start(name) first")
    return node  # type: ignore[no-any-return]


__all__ = ["CallTimeout", "NoConnection", "Node", "NodeError"]
