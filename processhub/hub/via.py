"""Via names of a hub's children."""

from __future__ import annotations

from processhub.hub.errors import HubNotAlive
from processhub.hub.hub import Hub
from supervisor.errors import CallTimeout, NoProcess
from supervisor.pids import Pid
from supervisor.runtime import current_runtime


class HubVia:
    """The child `child_id` of hub `hub_id`, wherever it runs at the moment of use."""

    __slots__ = ("child_id", "hub_id")

    def __init__(self, hub_id: str, child_id: str) -> None:
        self.hub_id = hub_id
        self.child_id = child_id

    def __repr__(self) -> str:
        return f"ProcessHub.via({self.hub_id!r}, {self.child_id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HubVia) and (self.hub_id, self.child_id) == (other.hub_id, other.child_id)

    def __hash__(self) -> int:
        return hash((self.hub_id, self.child_id))

    def resolve(self, timeout: float | None = 0.0, gone: Pid | None = None) -> Pid:
        """The pid of a copy. Waits up to `timeout` seconds where the child is desired but none runs.

        `gone`: a pid that is known to be dead, though the registry may not know it yet: another one is waited for.

        Raises HubNotAlive, NoProcess for a child that is not desired, CallTimeout when none ran in time.
        """
        hub: Hub | None = current_runtime().services.get(self.hub_id)
        if hub is None:
            raise HubNotAlive(self.hub_id)
        pid = hub.pid_of(self.child_id)
        if pid is None or pid == gone:
            pid = self._await_pid(hub, timeout, gone)
        return pid

    def _await_pid(self, hub: Hub, timeout: float | None, gone: Pid | None) -> Pid:
        deadline = None if timeout is None else hub.runtime.clock.now() + timeout
        pid = hub.lookup.pid_of(self.child_id, gone)
        if pid is not None:
            return pid
        while self.child_id in hub.registry.children:
            remaining = None if deadline is None else deadline - hub.runtime.clock.now()
            if remaining is not None and remaining <= 0:
                raise CallTimeout(f"no copy of {self!r} runs, and none came within {timeout} s")
            hub.changing.wait(self.child_id, remaining)
            pid = hub.lookup.pid_of(self.child_id, gone)
            if pid is not None:
                return pid
        raise NoProcess(self)
