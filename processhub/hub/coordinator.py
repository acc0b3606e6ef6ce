"""The coordinator: hears of members, registry changes and moves, and lets the reconciler decide what follows.

Registered under the hub id on every node, so that coordinators reach each other by (hub id, node). It never waits and
starts nothing itself. What it knows beyond the `Hub` (who was greeted, which keys were touched) it can find out anew:
its successor after a crash greets everybody and looks at every child once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any, Final

from processhub.cluster.messages import NodeDown, NodeUp
from processhub.hub.exchange import Exchange
from processhub.hub.handover_messages import Draining
from processhub.hub.hub import LOCKED, Hub
from processhub.hub.members import Members
from processhub.hub.messages import (
    CONFIG,
    DRAIN,
    REPORT,
    STATUS,
    SYNC,
    Accept,
    BatchMessage,
    CatchUp,
    HubAbsent,
    HubHello,
    HubLeave,
    HubRefused,
    Offer,
    QuorumNews,
    Stay,
    StayRefused,
    VectorMessage,
)
from processhub.hub.observing import config_to_wire
from processhub.hub.quorum import Quorum
from processhub.hub.reconcile_loop import RECONCILE, ReconcileLoop
from processhub.hub.reporting import begin_report
from processhub.hub.worker_queue import STATIC_CHILDREN
from processhub.registry import Changes
from processhub.strategy.partition_tolerance.majority_quorum import RESET_CLUSTER_SIZE
from supervisor.gen_server import Continue, From, GenServer, NoReply, Stop
from supervisor.processes import give_way, send_after, trap_exit
from supervisor.reasons import NORMAL, is_orderly
from supervisor.runtime import current_process
from supervisor.signals import Down, ExitSignal

log = logging.getLogger(__name__)

TICK_SECONDS: Final = 0.5
STILL_SECONDS: Final = 2.0  # a tick that comes so late shows that the whole node stood still
ARRIVAL_SECONDS: Final = 0.02  # between two looks whether the node has met those that it was told of


class Coordinator(GenServer):
    """Membership of the hub, exchange of the registry, and when the reconciler looks at what."""

    def init(self, hub: Hub) -> Any:
        trap_exit(True)  # so that terminate runs
        self.hub = hub
        hub.hook_calls.open()
        self.me = current_process()
        self.exchange = Exchange(hub)
        self.loop = ReconcileLoop(hub, self.me.pid)
        self.quorum = Quorum(hub, self.me.pid, self)
        self.members = Members(hub, self.me, self.exchange, self)
        self._last_tick = hub.runtime.clock.now()
        self._arriving = False
        return Continue("announce")

    def handle_continue(self, token: str) -> None:
        hub = self.hub
        self._after(hub.config.hubs_discover_interval, "discover")
        self._after(TICK_SECONDS, "tick")
        self._after(hub.config.synchronization_strategy.pause(hub.rng), "round")
        self._announce()

    def _announce(self) -> None:
        hub = self.hub
        self.members.greet_all()
        self._after(hub.config.migr_base_timeout, "join_deadline")
        hub.publish()
        self.members.remove_lost()
        if hub.joined:
            self.loop.look_at_all()
        self.quorum.check()
        self.check_joined()

    def _after(self, seconds: float, message: str) -> None:
        send_after(self.me.pid, message, seconds)

    # -- messages ----------------------------------------------------------------------------------------------------

    def handle_cast(self, request: Any) -> None:
        kind = type(request)
        if kind is BatchMessage:
            self.changed(self.exchange.on_batch(request))
            give_way(self.me, long_step=True)
        elif kind is tuple:
            self._on_local(*request)
        elif request == RECONCILE:
            self.loop.reconcile()
            give_way(self.me, long_step=True)
        else:
            handler = _CASTS.get(kind)
            if handler is None:
                log.warning("hub %s: an unexpected cast %.200r", self.hub.hub_id, request)
            else:
                handler(self, request)

    def _on_local(self, kind: str, argument: Any) -> None:
        if kind == "touched":
            self.loop.touch(argument)
        elif kind == "event":
            self._on_event(argument)
        elif kind == "supervisor":  # it is a new one: what was under way in the former is lost
            self.loop.look_at_all()
        elif kind == "promoted":  # what was under way was so under the former name
            self.loop.begin_anew()
            self._announce()

    def handle_call(self, request: Any, from_: From) -> Any:
        if isinstance(request, CatchUp):
            self.exchange.on_catch_up(request, from_)
            return NoReply()
        if request == STATUS:
            work = "partitioned" if self.hub.partitioned else "at work" if self._is_busy() else ""
            return (self.hub.registry.digest(), work, sorted(self.hub.members))
        if request == REPORT:
            return begin_report(self.hub, self._is_busy(), from_)
        if request == CONFIG:
            return None if self.hub.is_private else config_to_wire(self.hub.config)
        if request == DRAIN:
            self._drain()
            return True
        if request == SYNC:
            return True  # everything that came before this call has been applied
        if isinstance(request, tuple) and request[0] == RESET_CLUSTER_SIZE:
            return self.quorum.reset(request[1])
        raise ValueError(f"the coordinator got {request!r:.200}")

    def _is_busy(self) -> bool:
        return not self.hub.joined or self.loop.is_busy()

    def handle_info(self, message: Any) -> Any:
        if isinstance(message, Down):
            self.members.on_down(message)
        elif isinstance(message, ExitSignal):
            return Stop(message.reason) if message.reason != NORMAL else None
        elif isinstance(message, tuple):
            kind, node = message
            if kind == "greet":
                self.members.greet_again(node)
            elif kind == "gone":
                self.members.gone_for_good(node)
        else:
            _TIMERS[message](self)
        return None

    def terminate(self, reason: Any) -> None:
        """Let handlers of hooks know, if this is the end of the hub and not a crash of this part."""
        if is_orderly(reason):
            self.hub.hook_calls.shut_down(reason)

    # -- members -----------------------------------------------------------------------------------------------------

    def _on_event(self, event: Any) -> None:
        if isinstance(event, NodeUp):
            self.members.greet(event.node)
        elif isinstance(event, NodeDown):
            self.members.remove(event.node, "its node is down")

    def _on_hello(self, hello: HubHello) -> None:
        self.members.on_hello(hello)
        if self.loop.moves.waiting and not self.hub.is_in_the_dark:
            self.loop.touch_waiting()

    def _drain(self) -> None:
        """This node is about to leave: from now on the others own what it has."""
        hub = self.hub
        for node in hub.listeners():
            GenServer.cast((hub.hub_id, node), Draining(hub.node))
        self._on_draining(Draining(hub.node))

    def _on_draining(self, message: Draining) -> None:
        hub = self.hub
        if message.node in hub.members and message.node not in hub.draining:
            hub.draining.add(message.node)
            self.loop.redistribute("down", message.node)

    def members_changed(self, change: str, node: str) -> None:
        """Other nodes are there. `change`: "up" or "down", for `node`."""
        self.quorum.members_changed()
        self.loop.redistribute(change, node)

    def members_released(self, nodes: Collection[str]) -> None:
        """Lost members own nothing any more."""
        for node in nodes:
            self.loop.redistribute("down", node)

    # -- quorum ------------------------------------------------------------------------------------------------------

    def quorum_lost(self) -> None:
        """Locked until it is back."""
        self.hub.level = LOCKED

    def quorum_regained(self) -> None:
        """The lock is an ordinary one again, and all children are looked at."""
        self.hub.tell("event_queue", ("changed", LOCKED))
        self.hub.tell("worker_queue", STATIC_CHILDREN)
        self.loop.look_at_all()

    def tables_caught_up(self) -> None:
        """Children that nobody seemed to hold may be started now."""
        self.loop.touch_waiting()

    def is_behind(self) -> bool:
        """Whether members have written what has not arrived here."""
        return self.exchange.is_behind()

    def ask_members(self, nodes: Collection[str]) -> None:
        """Greet these members anew."""
        self.members.ask(nodes)

    # -- joining -----------------------------------------------------------------------------------------------------

    def check_joined(self) -> None:
        """A hub that joins does nothing before it has Desired and the tables of all members."""
        hub = self.hub
        if hub.joined or self.members.awaited or hub.registry.unknown(hub.others()) or self.exchange.is_behind():
            return
        if hub.is_arriving:
            if not self._arriving:
                self._arriving = True
                self._after(ARRIVAL_SECONDS, "arrival")
        elif self.quorum.is_complete():
            self._join()

    def _on_arrival(self) -> None:
        """Its node may have met others meanwhile: greet them before it is decided that there are none."""
        self._arriving = False
        self.members.greet_all()
        self.check_joined()

    def _join(self) -> None:
        self.hub.joined = True
        self.quorum.check()  # before anybody who waits for it may start something
        self.hub.has_joined()
        self.loop.look_at_all()

    def _join_deadline(self) -> None:
        hub = self.hub
        if not hub.joined:
            missing = sorted(self.members.awaited | set(hub.registry.unknown(hub.others())))
            log.warning("hub %s goes on without having heard from %s", hub.hub_id, ", ".join(missing) or "all")
            self._join()

    # -- registry ----------------------------------------------------------------------------------------------------

    def changed(self, changes: Changes | None) -> None:
        """The registry changed: tell whom it concerns, and look at the children."""
        if changes is None:
            return
        if changes.children or changes.rows:
            self.hub.applied(changes)
            if self.hub.joined:  # else all are looked at as soon as it has
                self.loop.touch([row[0] for row in changes.rows])
                self.loop.touch([change[0] for change in changes.children])
        if changes.settling:
            self._after(0.0, "settle")
        if not self.hub.joined:
            self.check_joined()
        elif changes.tables:
            self.loop.touch_waiting()
        if self.hub.partitioned:
            self.quorum.check()

    def _on_vector(self, message: VectorMessage) -> None:
        self.changed(self.exchange.on_vector(message))
        again = self.exchange.compare_again_in()
        if again is not None:
            self._after(again, "compare")

    def _settle(self) -> None:
        self.changed(self.hub.registry.settle())

    # -- now and then ------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Look again at what waits for something that may never come."""
        self._after(TICK_SECONDS, "tick")
        now = self.hub.runtime.clock.now()
        last, self._last_tick = self._last_tick, now
        if now - last > STILL_SECONDS:
            self.loop.moves.stood_still()
        self.quorum.tick()
        self.loop.touch(self.loop.moves.due())
        self.exchange.ask_again()

    def _discover(self) -> None:
        self._after(self.hub.config.hubs_discover_interval, "discover")
        self.members.remove_lost()
        self.members.greet_silent()
        self.members.greet_all()

    def _round(self) -> None:
        hub = self.hub
        self._after(hub.config.synchronization_strategy.pause(hub.rng), "round")
        self.exchange.round()
        self.loop.look_at_all_again()


_CASTS: Final[dict[type, Callable[[Coordinator, Any], None]]] = {
    HubHello: Coordinator._on_hello,
    HubAbsent: lambda self, absent: self.members.on_absent(absent),
    HubRefused: lambda self, refused: self.members.on_refused(refused),
    HubLeave: lambda self, leave: self.members.on_leave(leave),
    VectorMessage: Coordinator._on_vector,
    Offer: lambda self, offer: self.loop.moves.on_offer(offer),
    Accept: lambda self, accept: self.loop.moves.on_accept(accept),
    Stay: lambda self, stay: self.loop.moves.on_stay(stay),
    StayRefused: lambda self, refused: self.loop.moves.on_stay_refused(refused),
    Draining: Coordinator._on_draining,
    QuorumNews: lambda self, news: self.quorum.on_news(news),
}
_TIMERS: Final[dict[str, Callable[[Coordinator], None]]] = {
    "join_deadline": Coordinator._join_deadline,
    "discover": Coordinator._discover,
    "tick": Coordinator._tick,
    "arrival": Coordinator._on_arrival,
    "round": Coordinator._round,
    "settle": Coordinator._settle,
    "quorum": lambda self: self.quorum.check(),
    "compare": lambda self: self.exchange.compare_again(),
}
