"""The first part of a hub to start and the last to stop: it makes the hub known on its node, and says goodbye."""

from __future__ import annotations

from typing import Any

from processhub.hub.drain import drain
from processhub.hub.hub import Hub
from processhub.hub.messages import LEAVE, HubLeave
from processhub.hub.standing import forget_standing
from supervisor.errors import ProcessExit
from supervisor.gen_server import GenServer
from supervisor.processes import trap_exit
from supervisor.reasons import NORMAL


class SystemRegistry(GenServer):
    """While it lives, `runtime.services` has the hub under its id, and the node drains it before it leaves."""

    def init(self, hub: Hub) -> None:
        trap_exit(True)  # so that terminate runs
        self.hub = hub
        hub.runtime.services[hub.hub_id] = hub
        self.node: Any = None
        self._join_node()

    def handle_cast(self, request: tuple[str, str]) -> None:
        self._join_node()  # the hub was promoted

    def _join_node(self) -> None:
        """Let the node drain the hub before it leaves; not a private one, which stays."""
        hub = self.hub
        self.node = None if hub.is_private else hub.runtime.node
        if self.node is not None:
            for functions, own in ((self.node.on_stop, self._leave), (self.node.on_stopped, self._begin_anew)):
                # One that was killed could not take its functions back, whether its hub went on or not.
                functions[:] = [function for function in functions if not _is_of(function, hub.hub_id)]
                functions.append(own)

    def terminate(self, reason: Any) -> None:
        """By now the children of this node have stopped: the others may take over what we owned."""
        hub = self.hub
        if hub.runtime.services.get(hub.hub_id) is hub:
            del hub.runtime.services[hub.hub_id]
        if self.node is not None:
            self.node.on_stop.remove(self._leave)
            self.node.on_stopped.remove(self._begin_anew)
        # Where the whole hub was killed its children may still be stopping. Under a quorum strategy nobody may take
        # them over yet: the others find out by themselves.
        is_stopping = self.hub.supervisor_name in hub.runtime.names
        if not (hub.standing.is_careful and is_stopping):
            self._say_goodbye()

    def _say_goodbye(self) -> None:
        hub = self.hub
        for node in hub.listeners():
            GenServer.cast((hub.hub_id, node), HubLeave(hub.node))

    def _leave(self) -> None:
        """The node is about to leave: hand over what can be, take nothing more, stop the other children, tell the
        others. In this order, or copies of one child would run here and there."""
        hub = self.hub
        drain(hub)
        hub.leaving = True
        forget_standing(hub.runtime, hub.hub_id)
        try:
            GenServer.call(hub.supervisor_name, LEAVE, None)
        except ProcessExit:
            pass  # it died, and its children with it
        self._say_goodbye()

    def _begin_anew(self) -> None:
        """The node has left and lost its name. A hub under a supervisor starts again, alone."""
        if self.hub.initializer is not None:
            GenServer.stop(self.hub.initializer, NORMAL)


def _is_of(function: Any, hub_id: str) -> bool:
    """Whether it is a method of a `SystemRegistry` of a hub of this id."""
    owner = getattr(function, "__self__", None)
    return isinstance(owner, SystemRegistry) and owner.hub.hub_id == hub_id
