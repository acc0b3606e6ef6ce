"""HotSwap in the distributed supervisor: the children that leave, those that come, and what is said about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from processhub.hub.arrivals import Arrivals
from processhub.hub.copies import Copies
from processhub.hub.departures import Departures, Revive
from processhub.hub.handover_messages import Begin, Commit, Done, NotMoved, Ready, Started, States
from processhub.hub.hub import Hub
from processhub.hub.outbox import Outbox
from processhub.hub.start_queue import StartQueue
from processhub.hub.stops import Stops
from processhub.strategy.migration.hot_swap import HotSwap
from supervisor.pids import Ref
from supervisor.processes import send_after
from supervisor.records import Process
from supervisor.signals import Down, demonitor, monitor

TICK_SECONDS: Final = 1.0


class Handover:
    """All moves of one node's distributed supervisor, in whose process `me` it is.

    copies, queue, stops: what moves, where it starts, and where it is stopped if it cannot move hot.
    """

    def __init__(self, hub: Hub, me: Process, copies: Copies, queue: StartQueue, stops: Stops, revive: Revive) -> None:
        strategy = hub.config.migration_strategy
        if not isinstance(strategy, HotSwap):
            strategy = HotSwap()  # none will begin
        self._hub = hub
        self._me = me
        self._out = Outbox(hub, me)
        self.departures = Departures(hub, me, copies, stops, revive, self._out, strategy)
        self.arrivals = Arrivals(hub, me, copies, queue, self._out, strategy)
        self._watched: dict[str, Ref] = {}
        self._ticking = False
        hub.moving.clear()

    def begin(self, to: str, child_ids: list[str]) -> None:
        """`to` takes these children of ours."""
        self.departures.begin(to, child_ids)
        self._keep_watch()

    def on_message(self, message: Any) -> bool:
        """Something of another node about a move. False if it is something else."""
        handler = _HANDLERS.get(type(message))
        if handler is None:
            return False
        handler(self, message)
        self._keep_watch()
        return True

    def _on_not_moved(self, message: NotMoved) -> None:
        self.departures.on_not_moved(message)
        self.arrivals.on_not_moved(message)

    def on_timer(self, what: Any) -> None:
        """A message to ourselves: ("handover", what)."""
        if what == "flush":
            self._out.flush()
        elif what == "members":
            self._look_again(repeat=False)
            self._keep_watch()
        elif what == "tick":
            self._ticking = False
            self._look_again(repeat=True)
            self._keep_watch()
        else:
            self.departures.overdue(what)
            self.arrivals.overdue(what)

    def _look_again(self, repeat: bool) -> None:
        self.departures.look_again(repeat)
        self.arrivals.look_again(repeat)

    def on_down(self, down: Down) -> None:
        """The distributed supervisor of another node, or the link to it, is gone."""
        node = next((node for node, ref in self._watched.items() if ref == down.ref), None)
        if node is not None:
            del self._watched[node]
            self.departures.node_unreachable(node)
            self.arrivals.node_unreachable(node)

    def _keep_watch(self) -> None:
        """Watch those with whom something is under way, and nobody else."""
        busy = self.departures.nodes() | self.arrivals.nodes()
        for node in sorted(self._watched.keys() - busy):
            demonitor(self._me, self._watched.pop(node))
        for node in sorted(busy - self._watched.keys()):
            if self._hub.runtime.connected(node):
                self._watched[node] = monitor(self._me, (self._hub.supervisor_name, node))
        if not self._ticking and (len(self.departures) or len(self.arrivals)):
            self._ticking = True
            send_after(self._me.pid, ("handover", "tick"), TICK_SECONDS)


_HANDLERS: Final[dict[type, Callable[[Handover, Any], None]]] = {
    Begin: lambda self, message: self.arrivals.on_begin(message),
    Started: lambda self, message: self.departures.on_started(message),
    States: lambda self, message: self.arrivals.on_states(message),
    Ready: lambda self, message: self.departures.on_ready(message),
    Commit: lambda self, message: self.arrivals.on_commit(message),
    Done: lambda self, message: self.departures.on_done(message),
    NotMoved: Handover._on_not_moved,
}
