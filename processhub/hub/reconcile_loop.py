"""The reconciler's loop: which children are to be looked at, and a slice of them at a time.

Children are touched one by one when something about them changes, and scanned when owners may have changed or now and
then. Between two slices other messages get their turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from processhub.hub.hooks import Hook
from processhub.hub.hub import LOCKED, Hub
from processhub.hub.moves import Moves
from processhub.hub.redistribution import announced
from processhub.hub.touched import Touched
from processhub.strategy.distribution.centralized_load_balancer import BALANCER
from supervisor.gen_server import GenServer
from supervisor.pids import Pid

SLICE: Final = 250  # children that are looked at before other messages get their turn
RECONCILE: Final = "reconcile"


class ReconcileLoop:
    """The loop of one hub, inside the process of its coordinator `me`, which calls `reconcile` at each RECONCILE.

    moves: decides on the children of a slice, and carries that out.
    """

    def __init__(self, hub: Hub, me: Pid) -> None:
        self._hub = hub
        self._me = me
        self.moves = Moves(hub)
        self._touched = Touched()
        self._scans: deque[Iterator[str]] = deque()
        self._scheduled = False  # Invariant: set exactly while a RECONCILE is on its way

    def begin_anew(self) -> None:
        """What was decided, or waited for, under a former name of the node is void."""
        self.moves = Moves(self._hub)

    def is_busy(self) -> bool:
        """Whether there are children to look at, or about which this node waits for somebody else."""
        return bool(self._touched or self._scans or self.moves.is_waiting())

    # -- what is to be looked at -------------------------------------------------------------------------------------

    def touch(self, child_ids: Iterable[str]) -> None:
        """Look at these, soon."""
        self._touched.update(child_ids)
        self._reconcile_soon()

    def touch_waiting(self) -> None:
        """Look at those that wait: what they wait for may be there."""
        self.touch(list(self.moves.waiting))

    def look_at_all(self) -> None:
        """Look at all that is desired, and at all that runs here."""
        self._scans.append(iter(list(self._hub.registry.children)))
        self._scans.append(iter(list(self._hub.registry.own_table)))
        self._reconcile_soon()

    def look_at_all_again(self) -> None:
        """The same, now and then: not while a look at many is under way."""
        if not self._scans and self._hub.joined:
            self.look_at_all()

    def redistribute(self, change: str, node: str) -> None:
        """Owners change: look at the children that this concerns. `change`: "up" or "down", for `node`."""
        hub = self._hub
        hub.redistributing.append((f"node{change}", node))
        hub.fire(Hook.PRE_NODES_REDISTRIBUTION, hub.redistributing[-1])
        self._scans.append(self._affected(change, node))
        self._touched.update(self.moves.waiting)
        if hub.moving:
            hub.tell("distributed_supervisor", ("handover", "members"))
        hub.level = LOCKED
        self._reconcile_soon()

    def _affected(self, change: str, node: str) -> Iterator[str]:
        """Compute the new placement: the children that may have other owners by it."""
        hub = self._hub
        copies = hub.copies
        old, new = hub.place()
        if hub.balances:
            hub.tell(BALANCER, ("members", None))
        affected = None
        if copies == hub.copies:
            affected = hub.config.distribution_strategy.affected(old, new, copies, hub.index)
        if affected is None:
            affected = iter(list(hub.registry.children))
        if Hook.PRE_CHILDREN_REDISTRIBUTION in hub.hooks:
            affected = announced(hub, affected, old, copies, (change, node))
        elif not hub.joined:
            affected = iter(())  # all are looked at as soon as it has joined
        return affected

    # -- looking -----------------------------------------------------------------------------------------------------

    def _reconcile_soon(self) -> None:
        if not self._scheduled and self._hub.joined and (self._touched or self._scans):
            self._scheduled = True
            GenServer.cast(self._me, RECONCILE)

    def reconcile(self) -> None:
        """Look at a slice of what was touched; the rest after the messages that came meanwhile."""
        self._scheduled = False
        if self._hub.takes_part:
            taken = self._take(SLICE)
            self.moves.look_at(taken)
            self.moves.carry_out()
            self._hub.roles.look_at(taken)
        else:
            self._touched.clear()
            self._scans.clear()
        if self._touched or self._scans:
            self._reconcile_soon()
        else:
            self._all_looked_at()

    def _all_looked_at(self) -> None:
        hub = self._hub
        hub.level = 0
        redistributed, hub.redistributing = hub.redistributing, []
        for change in redistributed:
            hub.fire(Hook.POST_NODES_REDISTRIBUTION, change)

    def _take(self, count: int) -> list[str]:
        taken = self._touched.take(count)
        while self._scans and len(taken) < count:
            child_id = next(self._scans[0], "")
            if child_id:
                taken.append(child_id)
            else:
                self._scans.popleft()
        return taken
