"""Who takes part in the hub: greets the coordinators of other nodes, takes in members and lets them go.

A coordinator presents itself to every node that it is connected to. Where no such hub runs, its monitor tells so at
once. Members whose options differ are refused, on both sides.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final, Protocol

from processhub.hub.config import difference
from processhub.hub.down import warn_of_down
from processhub.hub.exchange import Exchange
from processhub.hub.handover_messages import Draining
from processhub.hub.hooks import Hook
from processhub.hub.hub import Hub
from processhub.hub.messages import HubAbsent, HubHello, HubLeave, HubRefused
from processhub.hub.quorum import Quorum
from processhub.registry import Changes
from supervisor.gen_server import GenServer
from supervisor.pids import Ref
from supervisor.processes import send_after
from supervisor.reasons import NOCONNECTION
from supervisor.records import Process
from supervisor.signals import Down, monitor

log = logging.getLogger(__name__)

GREET_AGAIN_SECONDS: Final = 1.0


class MemberEvents(Protocol):
    """What the coordinator wants to be told."""

    def members_changed(self, change: str, node: str) -> None:
        """`hub.members` is another set of nodes, or of lives of them. `change`: "up" or "down", for `node`."""

    def changed(self, changes: Changes | None) -> None:
        """The registry changed."""

    def check_joined(self) -> None:
        """Somebody was heard, or need not be heard any more."""

    @property
    def quorum(self) -> Quorum:
        """Wants to hear of members before `members_changed`."""


class Members:
    """The greeting of one hub, inside the process of its coordinator.

    Attributes:
        awaited: nodes that may run the hub and have not answered yet.
    """

    def __init__(self, hub: Hub, me: Process, exchange: Exchange, events: MemberEvents) -> None:
        self.awaited: set[str] = set()
        self._hub = hub
        self._me = me
        self._exchange = exchange
        self._events = events
        self._watched: dict[str, Ref] = {}  # nodes whose coordinator is monitored
        self._nodes: dict[Ref, str] = {}
        self._gone: dict[str, Any] = {}  # members whose coordinator ended: a timer each

    def greet_all(self) -> None:
        """Present ourselves to every connected node that has not been greeted."""
        node = self._hub.runtime.node
        for peer in node.peers() if node is not None else ():
            self.greet(peer)

    def greet_again(self, node: str) -> None:
        """The link to `node` was lost: greet when it is back, let the node go when it is no member any more."""
        if not self._still_there(node):
            self.remove(node, "its node is gone")
        elif self._is_connected(node):
            self.greet(node)
        else:
            send_after(self._me.pid, ("greet", node), GREET_AGAIN_SECONDS)

    def greet_silent(self) -> None:
        """Once more where nobody has answered: a greeting or its answer may be gone with the crash of a part."""
        self.ask(sorted(self.awaited & self._watched.keys()))

    def remove_lost(self) -> None:
        """Let go of members whose NodeDown never reached us: we, or the event queue, were being restarted."""
        for node in sorted({*self._hub.others(), *self._hub.observers} - {self._hub.node}):
            if not self._still_there(node):
                self.remove(node, "its node is gone")

    def greet(self, node: str) -> None:
        """Present ourselves. The monitor tells at once when no such hub runs there."""
        if node in self._watched or not self._is_connected(node) or self._hub.is_private:
            return
        self.awaited.add(node)
        ref = monitor(self._me, (self._hub.hub_id, node))
        self._watched[node] = ref
        self._nodes[ref] = node
        GenServer.cast((self._hub.hub_id, node), self._hello(answer=False))

    def _is_connected(self, node: str) -> bool:
        return self._hub.runtime.connected(node)

    def _hello(self, answer: bool) -> HubHello:
        hub = self._hub
        vector = hub.registry.vector().to_wire()
        life, digest, news = hub.lives.get(hub.node, 0), hub.config.digest(), self._events.quorum.news()
        return HubHello(hub.node, hub.registry.incarnation, hub.observer, answer, digest, vector, life, news)

    def ask(self, nodes: Iterable[str]) -> None:
        """Greet nodes anew: they answer with what they have by now."""
        for node in nodes:
            GenServer.cast((self._hub.hub_id, node), self._hello(answer=False))

    def on_hello(self, hello: HubHello) -> None:
        """A hub presents itself: it becomes a member or an observer, or is refused."""
        hub = self._hub
        if hub.leaving:
            return  # an answer would bring us back among the members
        if hub.is_private:
            GenServer.cast((hub.hub_id, hello.node), HubAbsent(hub.runtime.home.name))
            return
        if not hello.observer and not hub.observer:
            field = difference(hub.config.digest(), hello.digest)
            if field is not None:
                self._refuse(hello, field)
                return
        timer = self._gone.pop(hello.node, None)
        if timer is not None:
            timer.cancel()
        if not hello.answer:
            GenServer.cast((hub.hub_id, hello.node), self._hello(answer=True))
        if hub.node in hub.draining:
            GenServer.cast((hub.hub_id, hello.node), Draining(hub.node))
        if hello.node not in self._watched:
            self.greet(hello.node)
        self.awaited.discard(hello.node)
        self._welcome(hello)
        changes = self._exchange.met(hello.node, hello.vector)
        self._events.quorum.on_hello(hello)
        self._events.changed(changes)

    def _welcome(self, hello: HubHello) -> None:
        hub = self._hub
        hub.told_of(hello.news[0])
        hub.unmet.pop(hello.node, None)
        if hello.observer:
            hub.observers.add(hello.node)
        elif hub.members.get(hello.node) != hello.incarnation or hub.lives.get(hello.node) != hello.life:
            log.info("hub %s: %s joins", hub.hub_id, hello.node)
            is_new, is_new_life = hello.node not in hub.members, hub.lives.get(hello.node) != hello.life
            hub.draining.discard(hello.node)
            if is_new:
                hub.fire(Hook.PRE_CLUSTER_JOIN, hello.node)
            hub.members[hello.node] = hello.incarnation
            hub.lives[hello.node] = hello.life
            self._events.quorum.member_joined(hello.node)
            if is_new_life:
                self._events.members_changed("up", hello.node)
            if is_new:
                hub.fire(Hook.POST_CLUSTER_JOIN, hello.node)

    def _refuse(self, hello: HubHello, field: str) -> None:
        log.error(
            "hub %s: the hub on %s is refused: its %s differs from ours. All members of a hub need the same options",
            self._hub.hub_id,
            hello.node,
            field,
        )
        self.awaited.discard(hello.node)
        GenServer.cast((self._hub.hub_id, hello.node), HubRefused(self._hub.node, field, None))
        self._events.check_joined()

    def on_absent(self, absent: HubAbsent) -> None:
        """The hub on that node is private as yet. It greets us when it is promoted."""
        self.awaited.discard(absent.node)
        self._events.check_joined()

    def on_refused(self, refused: HubRefused) -> None:
        """Another hub refuses ours."""
        log.error("hub %s: %s refuses this hub: our %s differs from its", self._hub.hub_id, refused.node, refused.field)
        self.awaited.discard(refused.node)
        self._events.check_joined()

    def on_leave(self, leave: HubLeave) -> None:
        """A member has stopped its children and leaves."""
        self.remove(leave.node, "it leaves", has_left=True)

    def on_down(self, down: Down) -> None:
        """A coordinator is gone: no such hub, a crash (it comes back and greets), or the link was lost."""
        node = self._nodes.pop(down.ref, None)
        if node is None:
            return
        self._watched.pop(node, None)
        self.awaited.discard(node)
        if down.reason == NOCONNECTION:
            send_after(self._me.pid, ("greet", node), GREET_AGAIN_SECONDS)
        elif node in self._hub.members or node in self._hub.observers:
            patience = self._hub.config.dsup_shutdown_timeout
            self._gone[node] = send_after(self._me.pid, ("gone", node), patience)
        self._events.check_joined()

    def _still_there(self, node: str) -> bool:
        own = self._hub.runtime.node
        return own is not None and node in own.peers()

    def gone_for_good(self, node: str) -> None:
        """A coordinator that ended has had time enough to come back."""
        if self._gone.pop(node, None) is not None:
            self.remove(node, "its coordinator is gone")

    def remove(self, node: str, why: str, has_left: bool = False) -> None:
        """A node is no member and no observer any more; `why` is for the log, `has_left` if it said so itself."""
        hub = self._hub
        self.awaited.discard(node)
        ref = self._watched.pop(node, None)
        if ref is not None:
            self._nodes.pop(ref, None)
        hub.observers.discard(node)
        hub.draining.discard(node)
        hub.unmet.pop(node, None)
        self._exchange.forget(node)
        life = hub.lives.get(node, 0)
        is_member = node in hub.members
        if is_member:
            log.info("hub %s: %s is no member any more: %s", hub.hub_id, node, why)
            hub.fire(Hook.PRE_CLUSTER_LEAVE, node)
            del hub.members[node], hub.lives[node]
        if is_member or has_left:
            self._events.quorum.member_gone(node, life, has_left)
        if is_member:
            changes = hub.registry.drop_member(node)
            self._events.members_changed("down", node)
            self._events.changed(changes)
            warn_of_down(hub, node)
            hub.fire(Hook.POST_CLUSTER_LEAVE, node)
        self._events.check_joined()
