"""Stopping copies: an exit signal `shutdown`, and `kill` for those that are still there when their time is over.

Nothing here waits, except the end of the whole: ends come back as messages.
"""

from __future__ import annotations

from typing import Any

from processhub.hub.copies import STOPPING, Child, Copies
from processhub.hub.hub import Hub
from processhub.hub.results import PARTITIONED
from processhub.hub.start_queue import Job
from supervisor.errors import CallTimeout
from supervisor.gen_server import From, GenServer
from supervisor.pids import Pid
from supervisor.processes import await_exit, send_after
from supervisor.reasons import KILL, SHUTDOWN
from supervisor.records import Process
from supervisor.signals import send_exit

Late = dict[float, list[Any]]
"""Seconds -> what is killed after them: (child id, pid) of copies, and jobs."""


class Stopping:
    """One request to stop children that is being worked off.

    from_: who wants an answer; None for nobody.
    to: the node that takes the children over; None if no node does.
    """

    def __init__(self, from_: From | None, to: str | None) -> None:
        self.from_ = from_
        self.to = to
        self.left = 0
        self.stopped: list[str] = []


class Stops:
    """All that is being stopped on this node, in the name of the distributed supervisor, whose process is `me`."""

    def __init__(self, hub: Hub, me: Process, copies: Copies) -> None:
        self._hub = hub
        self._me = me
        self._copies = copies

    # -- requests ----------------------------------------------------------------------------------------------------

    def stop(self, child_ids: list[str], from_: From | None = None, to: str | None = None) -> None:
        """Stop copies. `from_` gets the list of those that are gone, else the coordinator looks at them.

        to: the node to which they move. It starts its own when it sees that ours are gone.
        """
        stopping = Stopping(from_, to)
        stopping.left = 1  # this loop: some end at once, and must not answer for those behind them
        late: Late = {}
        for child_id in child_ids:
            child = self._copies.children.get(child_id)
            if child is not None:
                stopping.left += 1
                self._stop_child(child, stopping, late)
            else:
                stopping.stopped.append(child_id)  # the reconciler was faster, or there never was a copy here
                if child_id not in self._hub.moving:
                    self._hub.drop_row(child_id)
        self._kill_after(late)
        stopping.left -= 1
        self._finish_if_done(stopping)

    def stop_all(self, from_: From | None = None) -> None:
        """Stop every copy."""
        self.stop(list(self._copies.children), from_)

    def halt(self, seconds: float) -> None:
        """Quorum is lost: no copy may live longer than `seconds`, and no start goes on."""
        children = self._copies.children
        for child in list(children.values()):
            if child.job is not None:
                child.stopping = child.stopping or []
                child.job.cancel(PARTITIONED)
        self.stop_all()
        left = [(child.child_id, child.pid) for child in children.values() if child.pid is not None]
        if left:
            self._kill_after({seconds: left})

    # -- one copy ----------------------------------------------------------------------------------------------------

    def _stop_child(self, child: Child, stopping: Stopping, late: Late) -> None:
        waiting = child.stopping
        child.stopping = [*(waiting or ()), stopping]
        if waiting is not None:
            return
        shutdown = self._shutdown(child)
        if child.job is not None:
            self._stop_start(child.job, shutdown, late)
            return
        if child.pid is None:
            self.stopped(child)
            return
        child.state = STOPPING
        self._send_exit(child.pid, shutdown)
        if isinstance(shutdown, int | float) and self._me.runtime.local(child.pid) is not None:
            late.setdefault(float(shutdown), []).append((child.child_id, child.pid))

    def _stop_start(self, job: Job, shutdown: Any, late: Late) -> None:
        """A start is to be stopped: at once if it has not begun, else it may end, within its child's shutdown time."""
        if job.worker is None or shutdown == "brutal_kill":
            job.cancel(SHUTDOWN)
        elif isinstance(shutdown, int | float):
            late.setdefault(float(shutdown), []).append(job)

    def _shutdown(self, child: Child) -> Any:
        return self._hub.specs.options(child.record).shutdown

    def _send_exit(self, pid: Pid, shutdown: Any) -> None:
        send_exit(self._me, pid, KILL if shutdown == "brutal_kill" else SHUTDOWN)

    def _kill_after(self, late: Late) -> None:
        for seconds, ones in late.items():
            send_after(self._me.pid, ("kill", ones), seconds)

    def overdue(self, late: list[Any]) -> None:
        """The time of these is over."""
        for one in late:
            if isinstance(one, Job):
                one.cancel(KILL)
                continue
            child = self._copies.children.get(one[0])
            if child is not None and child.pid == one[1]:
                send_exit(self._me, one[1], KILL)

    def start_ended(self, child: Child, pid: Pid | None) -> None:
        """A start has ended whose child is to be stopped: so it is now, if it came up as `pid`."""
        if pid is None:
            self.stopped(child)
            return
        stopping, child.stopping = child.stopping or [], None
        self._copies.came_up(child, pid)
        late: Late = {}
        for one in stopping:
            self._stop_child(child, one, late)
        self._kill_after(late)

    def stopped(self, child: Child) -> None:
        """A copy that was to stop is gone."""
        self._copies.forget(child)
        self._hub.drop_row(child.child_id)
        self._hub.written((child.child_id,))
        for stopping in child.stopping or ():
            stopping.left -= 1
            stopping.stopped.append(child.child_id)
            self._finish_if_done(stopping)

    def _finish_if_done(self, stopping: Stopping) -> None:
        if stopping.left:
            return
        self._hub.publish()
        if stopping.to is not None:
            self._hub.moved_away(stopping.to, stopping.stopped)
        if stopping.from_ is not None:
            GenServer.reply(stopping.from_, stopping.stopped)
            stopping.from_ = None
        else:
            self._hub.touched(stopping.stopped)

    # -- the end of all ----------------------------------------------------------------------------------------------

    def end_all(self) -> None:
        """Stop every child, all at once, and wait, within the hub's time; then kill what is left."""
        limit = self._hub.config.dsup_shutdown_timeout
        now = self._me.runtime.clock.now()
        deadlines = []
        for pid, child in list(self._copies.by_pid.items()):
            shutdown = self._shutdown(child)
            self._send_exit(pid, shutdown)
            own = float(shutdown) if isinstance(shutdown, int | float) else limit
            deadlines.append((now + min(own, limit), pid.serial, pid))
        for deadline, _, pid in sorted(deadlines):
            self._await_end(pid, deadline)
        self._copies.drop_rows()

    def _await_end(self, pid: Pid, deadline: float) -> None:
        try:
            await_exit(pid, max(0.0, deadline - self._me.runtime.clock.now()))
        except CallTimeout:
            send_exit(self._me, pid, KILL)
