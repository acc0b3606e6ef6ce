"""Partitioned or whole: one transition, decided here and nowhere else, and when lost members are taken over.

A hub is *partitioned* from the moment at which the members present are too few until enough of them are back and their
tables are up to date here. Then its distributed supervisor stops all copies (what is desired stays desired), the hub is
locked, and starts are refused. Nothing else changes the field: not the end of a part of the hub, nor of all of them.

A member is present while something is heard of its node. When one is lost, `hub.placement` keeps it until it is
released (see `processhub.hub.lost`): so nobody takes over its children, nor those of a member that flickers.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any, Final, Protocol

from processhub.hub.hub import Hub
from processhub.hub.messages import HubHello, QuorumNews
from processhub.strategy.partition_tolerance.majority_quorum import MajorityQuorum
from supervisor.gen_server import GenServer
from supervisor.pids import Pid
from supervisor.processes import send_after

log = logging.getLogger(__name__)

ASK_AGAIN_SECONDS: Final = 1.0
SOONEST_SECONDS: Final = 0.001  # a timer may come a rounding error before its time: then not again at once


class QuorumEvents(Protocol):
    """What the coordinator wants to be told, and is asked."""

    def quorum_lost(self) -> None:
        """The hub is partitioned from now on."""

    def quorum_regained(self) -> None:
        """The hub is whole again."""

    def members_released(self, nodes: Collection[str]) -> None:
        """These lost members are no longer held: others own their children."""

    def tables_caught_up(self) -> None:
        """All members have answered."""

    def is_behind(self) -> bool:
        """Whether members have written what has not arrived here."""

    def ask_members(self, nodes: Collection[str]) -> None:
        """Greet these members anew; they answer with what they have."""


class Quorum:
    """The standing of one hub, inside the process of its coordinator `me`."""

    def __init__(self, hub: Hub, me: Pid, events: QuorumEvents) -> None:
        self._hub = hub
        self._me = me
        self._events = events
        self._strategy = hub.config.partition_tolerance_strategy
        self._standing = hub.standing
        self._asked_at = float("-inf")
        self._ticked_at = self._now()
        self._timer: Any = None

    # -- members -----------------------------------------------------------------------------------------------------

    def member_joined(self, node: str) -> None:
        """A new member, or a new life of one. (Before `members_changed`.)"""
        self._standing.lost.joined(node)
        if self._standing.is_careful:
            self._standing.stale.add(node)

    def member_gone(self, node: str, life: int, has_left: bool) -> None:
        """It is not among `hub.members` any more; its table is still there. (Before `members_changed`.)"""
        hub, standing = self._hub, self._standing
        if has_left:
            standing.lost.left(node, life)
        elif standing.is_careful:
            is_known = hub.joined and not standing.partitioned and node not in standing.stale
            held = frozenset(hub.registry.table(node)) if is_known and not hub.registry.unknown([node]) else None
            standing.lost.lost(node, life, held, hub.members, self._now())
        standing.stale.discard(node)

    def members_changed(self) -> None:
        """`hub.members` is another set of nodes."""
        has_lost = any(node not in self._hub.members for node in self._standing.present)
        self.check(may_lose=has_lost)
        self._spread()

    # -- what others say ---------------------------------------------------------------------------------------------

    def news(self) -> Any:
        """What goes with a hello: (the members that we see, the strategy's memory)."""
        hub = self._hub
        memory = self._standing.memory
        return dict(hub.lives), None if memory is None else self._strategy.outgoing(memory, self._now())

    def on_hello(self, hello: HubHello) -> None:
        """A member or an observer presents itself. (After `member_joined`.)"""
        self._heard(hello.node, hello.news)
        if hello.answer and hello.node in self._standing.stale:
            self._standing.stale.discard(hello.node)
            if not self._standing.stale:
                self._events.tables_caught_up()

    def on_news(self, news: QuorumNews) -> None:
        """A member sees others, or its memory has changed."""
        self._heard(news.node, news.news)

    def _heard(self, node: str, news: Any) -> None:
        hub, standing = self._hub, self._standing
        view, memory = news
        now = self._now()
        if node in hub.members and standing.is_careful:
            known = standing.lost.held()
            standing.lost.told(node, view, hub.members, now)
            released = sorted(known.keys() - standing.lost.held().keys())
            if released:
                self._events.members_released(released)
        if memory is not None:
            merged = self._strategy.merge(standing.memory, memory, now)
            if merged != standing.memory:
                standing.memory = merged
                self._spread()
        self.check(may_lose=False)

    def _spread(self) -> None:
        if self._standing.is_careful or self._standing.memory is not None:
            hub = self._hub
            for node in hub.listeners():
                GenServer.cast((hub.hub_id, node), QuorumNews(hub.node, self.news()))

    def is_complete(self) -> bool:
        """Whether all that a member sees have been met: a hub that joins waits for it."""
        return not self._standing.lost.is_seen_elsewhere()

    def reset(self, size: int) -> bool:
        """Set the size of the cluster, here and everywhere. False: the strategy has none."""
        if not isinstance(self._strategy, MajorityQuorum):
            return False
        self._standing.memory = self._strategy.reset(self._standing.memory, size)
        log.info("hub %s: its cluster has %d nodes from now on", self._hub.hub_id, size)
        self._spread()
        self.check()
        return True

    # -- the question, and the transition ----------------------------------------------------------------------------

    def tick(self) -> None:
        """Time has passed: members may have become silent, lost ones may be released."""
        now = self._now()
        asleep, self._ticked_at = now - self._ticked_at, now
        hub, standing = self._hub, self._standing
        if asleep >= self._strategy.stable_after and standing.is_careful and hub.takes_part:
            # The others may have taken over meanwhile. What has come in shows only later that nobody hears us.
            self._lose(f"this node stood still for {asleep:.0f} s")
        self.check()
        if standing.stale:
            self._ask_stale(now)
        if len(standing.lost) and not standing.partitioned:
            released = standing.lost.release(now, self._strategy.stable_after)
            if released:
                log.info("hub %s: %s did not come back and own nothing any more", hub.hub_id, ", ".join(released))
                self._events.members_released(released)

    def check(self, may_lose: bool = True) -> None:
        """Ask the strategy, and go from whole to partitioned or back.

        may_lose: False where nobody was lost. A hub that joins a cluster hears of its size before it has met all the
            others; whether it is really cut off shows at the next tick.
        """
        hub, standing = self._hub, self._standing
        now = self._now()
        self._count(now)
        if not hub.joined or hub.observer or hub.leaving:
            return
        enough = self._strategy.has_quorum(standing.memory, standing.present, now)
        if not standing.partitioned:
            if not enough and may_lose:
                self._lose(f"only {', '.join(standing.present)} can be reached")
        elif enough and not self._is_outdated():
            self._regain(now)
        self._arm(now)

    def _count(self, now: float) -> None:
        """Let the strategy remember who is present."""
        standing = self._standing
        present = self._present()
        if present != standing.present:
            standing.memory = self._strategy.remember(standing.memory, standing.present, present, now)
            standing.present = present

    def _present(self) -> tuple[str, ...]:
        hub = self._hub
        node = hub.runtime.node
        within = self._strategy.heard_within
        heard = (peer for peer in hub.others() if node is not None and node.quiet_for(peer) <= within)
        return tuple(sorted([hub.node, *heard])) if not hub.observer else ()

    def _is_outdated(self) -> bool:
        """Whether a member present may run something that we do not know of."""
        others = [node for node in self._standing.present if node != self._hub.node]
        is_stale = any(node in self._standing.stale for node in others)
        return is_stale or bool(self._hub.registry.unknown(others)) or self._events.is_behind()

    def _lose(self, why: str) -> None:
        hub, standing = self._hub, self._standing
        log.error("hub %s has no quorum, so no child runs on this node: %s", hub.hub_id, why)
        standing.partitioned = True
        standing.lost.doubt()
        if standing.is_careful:
            standing.stale.update(hub.others())
        hub.tell("distributed_supervisor", ("halt", self._strategy.stop_within))
        self._events.quorum_lost()

    def _regain(self, now: float) -> None:
        hub, standing = self._hub, self._standing
        log.warning("hub %s has a quorum: %s", hub.hub_id, ", ".join(standing.present))
        standing.partitioned = False
        standing.lost.regain(hub.members, now)
        self._events.quorum_regained()

    def _ask_stale(self, now: float) -> None:
        if now - self._asked_at >= ASK_AGAIN_SECONDS:
            self._asked_at = now
            self._events.ask_members(sorted(self._standing.stale))

    def _arm(self, now: float) -> None:
        """Ask again when the strategy's answer may change by itself."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        seconds = self._strategy.recheck(self._standing.memory, self._standing.present, now)
        if seconds is not None:
            self._timer = send_after(self._me, "quorum", max(SOONEST_SECONDS, seconds))

    def _now(self) -> float:
        return self._hub.runtime.clock.now()
