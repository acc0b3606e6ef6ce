"""The distributed supervisor: the children of one hub on one node, and nobody else's.

Only it starts, restarts and stops copies. It never waits: starts run in its start workers, stops are exit signals
whose ends come back as messages. Every change goes into the registry at once and out to the other members.

Here is which message is whose; what is done stands in the parts: `StartRequests` and `Upkeep` start copies, `Ends` and
`Stops` see to their ends, `Handover` moves them, and `Copies` is what they all work on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from processhub.hub.copies import Copies
from processhub.hub.ends import Ends
from processhub.hub.further_copies import answer
from processhub.hub.handover import Handover
from processhub.hub.handover_messages import StateChunk
from processhub.hub.hub import Hub
from processhub.hub.messages import LEAVE, WHICH_CHILDREN, AwaitCopies, StartChildren, StopChildren
from processhub.hub.revival import Revival
from processhub.hub.start_news import StartNews
from processhub.hub.start_queue import StartQueue
from processhub.hub.start_requests import StartRequests
from processhub.hub.stops import Stops
from processhub.hub.upkeep import Upkeep
from supervisor.gen_server import From, GenServer, NoReply
from supervisor.processes import give_way, trap_exit
from supervisor.runtime import current_process
from supervisor.signals import Down, ExitSignal


class DistributedSupervisor(GenServer):
    """Supervises this node's copies of the hub's children."""

    def init(self, hub: Hub) -> None:
        trap_exit(True)
        me = current_process()
        self.hub = hub
        self.copies = copies = Copies(hub)
        self.queue = queue = StartQueue(me, hub.specs)
        self.news = StartNews(hub, me.pid, queue)
        self.stops = Stops(hub, me, copies)
        self.requests = StartRequests(hub, me.pid, copies, queue, self.news, self.stops)
        self.upkeep = Upkeep(hub, me.pid, copies, queue, self.news, self.stops)
        self.ends = Ends(hub, copies, self.upkeep, self.stops)
        revival = Revival(hub, copies, queue, self.upkeep)
        self.handover = Handover(hub, me, copies, queue, self.stops, revival.revive)
        copies.forget_former()
        hub.tell("coordinator", ("supervisor", None))

    def handle_call(self, request: Any, from_: From) -> Any:
        if isinstance(request, StateChunk):
            return self.handover.arrivals.on_chunk(request)
        if request == WHICH_CHILDREN:
            return [child.entry() for child in self.copies.children.values()]
        if isinstance(request, StartChildren):
            self.requests.start(request, from_)
            give_way(current_process(), long_step=True)
        elif isinstance(request, StopChildren):
            self.stops.stop(request.child_ids, from_)
            give_way(current_process(), long_step=True)
        elif isinstance(request, AwaitCopies):
            self.hub.runtime.spawn(answer, (self.hub, request, from_), {})
        elif request == LEAVE:
            self.handover.arrivals.drop_all("the node leaves")
            self.stops.stop_all(from_)
        else:
            raise ValueError(f"the distributed supervisor got {request!r:.200}")
        return NoReply()

    def handle_cast(self, request: Any) -> None:
        if type(request) is tuple:
            kind, argument = request
            _CASTS[kind](self, argument)
        else:
            self.handover.on_message(request)

    def _halt(self, seconds: float) -> None:
        """Quorum is lost: nothing comes in, and nothing here lives longer than `seconds`."""
        self.handover.arrivals.drop_all("it has no quorum")
        self.stops.halt(seconds)

    def handle_info(self, message: Any) -> None:
        if isinstance(message, ExitSignal):
            self._process_ended(message)
        elif isinstance(message, Down):
            self.handover.on_down(message)
        elif isinstance(message, tuple) and len(message) == 2:
            kind, argument = message
            timer = _TIMERS.get(kind)
            if timer is not None:
                timer(self, argument)

    def _process_ended(self, signal: ExitSignal) -> None:
        child = self.copies.ended(signal.pid)
        if child is not None:
            self.handover.departures.ended(child.child_id)
            self.ends.ended(child, signal.reason)
        else:
            self.handover.arrivals.ended(signal.pid)

    def terminate(self, reason: Any) -> None:
        """Stop every child, all at once, within the hub's time; then kill what is left."""
        self.stops.end_all()


_CASTS: Final[dict[str, Callable[[DistributedSupervisor, Any], None]]] = {
    "start": lambda self, argument: self.upkeep.start(*argument),  # (reason, child ids)
    "stop": lambda self, child_ids: self.stops.stop(child_ids),
    "move": lambda self, argument: self.handover.begin(*argument),  # (to, child ids): hot
    "hand_over": lambda self, argument: self.stops.stop(argument[1], to=argument[0]),  # (to, child ids): cold
    "handover": lambda self, what: self.handover.on_timer(what),
    "halt": DistributedSupervisor._halt,
}
_TIMERS: Final[dict[str, Callable[[DistributedSupervisor, Any], None]]] = {
    "retry": lambda self, child: self.upkeep.retry(child),
    "write": lambda self, _: self.news.write(),
    "deadline": lambda self, starting: self.requests.overdue(starting),
    "kill": lambda self, late: self.stops.overdue(late),
    "handover": lambda self, what: self.handover.on_timer(what),
}
