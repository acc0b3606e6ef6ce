"""What the reconciler's decisions set in motion: starts, stops, offers, and words that a copy stays.

Nothing here is remembered for correctness. A message that is lost, or a node that dies half way, leaves rows as they
are, and the next look at the child decides anew.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from typing import Any, Final

import processhub.hub.reconciler as reconciler
from processhub.hub.choosing import Choosing
from processhub.hub.hooks import Hook
from processhub.hub.hub import Hub
from processhub.hub.messages import Accept, Offer, Stay, StayRefused
from processhub.hub.promises import Promises
from processhub.registry import LEAVING, RUNNING
from processhub.strategy.migration.base import Order
from supervisor.gen_server import GenServer
from supervisor.records import FAILOVER, HANDOVER, START

log = logging.getLogger(__name__)

REPEAT_SECONDS: Final = 2.0  # an offer or a word that nothing followed is repeated


class Moves:
    """Decides on children and carries the decisions out, those of one slice together."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.waiting: dict[str, float] = {}  # child -> since when this owner waits for somebody else
        self._expected: set[str] = set()  # those that it waits to be handed
        self._patience = hub.config.migration_strategy.time_limit(hub.config.migr_base_timeout)
        self._pending: dict[str, float] = {}  # child -> when we told another node something about it
        self.choosing = Choosing(hub) if hub.balances else None
        self._promises = Promises()
        self._starts: dict[str, list[str]] = {}  # by their reason
        self._stops: list[str] = []
        self._offers: dict[str, list[str]] = {}
        self._forwarded: dict[str, list[str]] = {}  # those of the offers that are no repetitions
        self._accepts: dict[str, list[str]] = {}
        self._stays: dict[str, list[Any]] = {}

    # -- deciding ----------------------------------------------------------------------------------------------------

    def look_at(self, child_ids: Iterable[str]) -> None:
        """Decide what this node does about each of these children."""
        hub = self.hub
        own, registry, children = hub.node, hub.registry, hub.registry.children
        owners_of, copies = hub.placement.owners, hub.copies
        unknown = hub.is_in_the_dark
        choosing = self.choosing
        now = hub.runtime.clock.now()
        for child_id in child_ids:
            if child_id in hub.moving:
                self._forget_waits(child_id)
                continue
            rows = registry.rows(child_id)
            if choosing is not None and choosing.holds_back(child_id, now):
                continue
            child = children.get(child_id)
            desired = child is not None
            owners = owners_of(child_id, child[2], copies) if child is not None else ()
            if own not in rows:
                if own not in owners:
                    self._settled(child_id)
                    continue
            elif owners == (own,) and len(rows) == 1 and rows[own].state == RUNNING:
                self._settled(child_id)
                continue
            self._decide(child_id, rows, owners, desired, unknown, now)

    def _forget_waits(self, child_id: str) -> None:
        if self.waiting:
            self.waiting.pop(child_id, None)
            self._expected.discard(child_id)
        if self._pending:
            self._pending.pop(child_id, None)

    def _settled(self, child_id: str) -> None:
        self._forget_waits(child_id)
        if self._promises:
            self._promises.forget(child_id)  # no other copy is left that could follow our word, or ours is gone

    def _decide(
        self, child_id: str, rows: Any, owners: tuple[str, ...], desired: bool, unknown: bool, now: float
    ) -> None:
        hub = self.hub
        standing = hub.standing
        decision = reconciler.decide(
            hub.node,
            owners,
            rows,
            desired,
            hub.not_given_up(),
            now=now,
            # Under a quorum strategy no second copy is ever started in the dark, however long the first one takes.
            deadline=math.inf if standing.is_careful else self._patience,
            tables_unknown=unknown or standing.may_run_elsewhere(child_id),
            waiting_since=self.waiting.get(child_id),
            promised=self._promises.outstanding(child_id, rows, hub.members, now),
            never_surplus=standing.is_careful,
        )
        if isinstance(decision, reconciler.AwaitHandover | reconciler.AwaitTables):
            self.waiting.setdefault(child_id, now)
            if isinstance(decision, reconciler.AwaitHandover) and child_id not in self._expected and not hub.unmet:
                # (Not before all members can reach this node: they would lose sight of the child.)
                self._expected.add(child_id)
                self._ask_for(child_id, owners, rows, decision.from_node)
            return
        since = self.waiting.pop(child_id, None)
        expected = child_id in self._expected
        self._expected.discard(child_id)
        if isinstance(decision, reconciler.StartHere):
            if since is not None and now - since >= self._patience:
                log.warning("hub %s: child %r is started here: %s", hub.hub_id, child_id, decision.why)
            reason = START if rows else HANDOVER if expected else FAILOVER
            self._starts.setdefault(reason, []).append(child_id)
        elif isinstance(decision, reconciler.StopHere):
            self._stops.append(child_id)
        elif isinstance(decision, reconciler.Offer):
            self._offers.setdefault(decision.to, []).append(child_id)
            if child_id not in self._pending:
                self._forwarded.setdefault(decision.to, []).append(child_id)
            self._pending[child_id] = now
        elif isinstance(decision, reconciler.TellStay):
            # A copy that leaves goes by itself; it is told only if it is still there the next time.
            told = [node for node in decision.nodes if rows[node].state != LEAVING or child_id in self._pending]
            self._tell_stay(child_id, rows, told, now)
        else:
            self._pending.pop(child_id, None)

    def _ask_for(self, child_id: str, owners: tuple[str, ...], rows: Any, holder: str) -> None:
        """Accept before the offer: it may have come before we knew the child, and is not repeated soon."""
        if reconciler.accepts(self.hub.node, owners, rows, True, holder, self.hub.members):
            self._accepts.setdefault(holder, []).append(child_id)

    def _tell_stay(self, child_id: str, rows: Any, nodes: Iterable[str], now: float) -> None:
        own_pid = rows[self.hub.node].pid
        for node in nodes:
            serial = self._promises.told(child_id, node, rows[node].pid, now)
            self._stays.setdefault(node, []).append((child_id, own_pid, rows[node].pid, serial))
        self._pending[child_id] = now

    def is_waiting(self) -> bool:
        """Whether there are children about which this node waits for somebody else."""
        return bool(self.waiting or (self.choosing is not None and self.choosing.waiting))

    def stood_still(self) -> None:
        """This node did nothing for a while: what it waited for may lie before it, and gets its time."""
        now = self.hub.runtime.clock.now()
        self.waiting = dict.fromkeys(self.waiting, now)

    def due(self) -> list[str]:
        """Children to look at again: their waiting may be over, or what we said may be lost."""
        now = self.hub.runtime.clock.now()
        knows = not self.hub.is_in_the_dark
        due = [
            child_id
            for child_id, since in self.waiting.items()
            if now - since >= self._patience or (knows and child_id not in self._expected)
        ]
        due += self.choosing.due(now) if self.choosing is not None else ()
        return due + [child_id for child_id, said in self._pending.items() if now - said >= REPEAT_SECONDS]

    # -- carrying out ------------------------------------------------------------------------------------------------

    def carry_out(self) -> None:
        """Send what was decided, in one message for each receiver."""
        hub = self.hub
        if self.choosing is not None:
            self.choosing.carry_out()
        starts, self._starts = self._starts, {}
        for reason in sorted(starts):
            hub.tell("distributed_supervisor", ("start", (reason, starts[reason])))
        if self._stops:
            hub.tell("distributed_supervisor", ("stop", self._stops))
            self._stops = []
        if self._forwarded:
            hub.fire(Hook.FORWARDED_MIGRATION, self._forwarded)
            self._forwarded = {}
        offers, self._offers = self._offers, {}
        for node in sorted(offers):
            self._tell(node, Offer(hub.node, offers[node]))
        accepts, self._accepts = self._accepts, {}
        for node in sorted(accepts):
            self._tell(node, Accept(hub.node, accepts[node]))
        stays, self._stays = self._stays, {}
        for node in sorted(stays):
            self._tell(node, Stay(hub.node, stays[node]))

    def _tell(self, node: str, message: Any) -> None:
        GenServer.cast((self.hub.hub_id, node), message)

    # -- what others say ---------------------------------------------------------------------------------------------

    def on_offer(self, offer: Offer) -> None:
        """A holder offers children: accept those that are ours to run."""
        hub = self.hub
        registry = hub.registry
        accepted = [
            child_id
            for child_id in offer.child_ids
            if child_id in registry.children
            and reconciler.accepts(
                hub.node, hub.owners(child_id), registry.rows(child_id), True, offer.node, hub.members
            )
        ]
        if accepted and hub.takes_part and not hub.unmet:
            self._tell(offer.node, Accept(hub.node, accepted))

    def on_accept(self, accept: Accept) -> None:
        """The owner takes these: they move as the migration strategy says.

        Stop first: our copies stop, and it starts its own when it sees that they are gone.
        """
        hub = self.hub
        registry = hub.registry
        now = hub.runtime.clock.now()
        ready = []
        for child_id in accept.child_ids:
            rows = registry.rows(child_id)
            desired = child_id in registry.children
            promised = self._promises.outstanding(child_id, rows, hub.members, now)
            owners = hub.owners(child_id)
            if reconciler.may_hand_over(hub.node, owners, rows, desired, accept.node, hub.members, promised=promised):
                ready.append(child_id)
        if ready and hub.config.migration_strategy.order is Order.START_FIRST:
            hub.tell("distributed_supervisor", ("move", (accept.node, ready)))
        elif ready:
            hub.tell("distributed_supervisor", ("hand_over", (accept.node, ready)))

    def on_stay(self, stay: Stay) -> None:
        """A running owner stays: our surplus copies stop, except where we know better."""
        hub = self.hub
        registry = hub.registry
        now = hub.runtime.clock.now()
        stops, refused = [], []
        for child_id, teller_pid, pid, serial in stay.rows:
            rows = registry.rows(child_id)
            row = rows.get(hub.node)
            promised = self._promises.outstanding(child_id, rows, hub.members, now)
            if (
                row is not None
                and row.pid == pid
                and reconciler.may_stop(
                    hub.node, row.pid, hub.owners(child_id), rows, stay.node, teller_pid, hub.members, promised=promised
                )
            ):
                stops.append(child_id)
            else:
                refused.append((child_id, serial))
        if stops:
            hub.tell("distributed_supervisor", ("stop", stops))
        if refused:
            self._tell(stay.node, StayRefused(hub.node, refused))

    def on_stay_refused(self, refused: StayRefused) -> None:
        """Our word was not followed: we are free again."""
        for child_id, serial in refused.rows:
            self._promises.refused(child_id, refused.node, serial)
