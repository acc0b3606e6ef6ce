"""The distributed supervisor: the children of one hub on one node, and nobody else's.

Only it starts, restarts and stops copies. It never waits: starts run in its start workers, stops are exit signals
whose ends come back as messages. Every change goes into the registry at once and out to the other members.
"""

from __future__ import annotations

import logging
from collections import deque
from functools import partial
from typing import Any, Final

from processhub.hub.altering import altering, keep_altered
from processhub.hub.backoff import Backoff
from processhub.hub.collector import Paused
from processhub.hub.copies import BROKEN, RUNNING_, STARTING_, STOPPING, Child, Starting, Stopping
from processhub.hub.departures import Departure
from processhub.hub.further_copies import answer
from processhub.hub.handover import Handover
from processhub.hub.handover_messages import StateChunk
from processhub.hub.hub import Hub
from processhub.hub.messages import (
    IS_LEAVING,
    LEAVE,
    WHICH_CHILDREN,
    AwaitCopies,
    StartChildren,
    StartReply,
    StopChildren,
)
from processhub.hub.reconciler import next_epoch
from processhub.hub.revival import revived
from processhub.hub.start_hooks import Outcome, note, tell_after, tell_before
from processhub.hub.start_queue import TIMEOUT, Done, Job, StartQueue
from processhub.registry import FAILED, RESTARTING, RUNNING, STARTING, SpecRecord
from supervisor.errors import CallTimeout
from supervisor.gen_server import From, GenServer, NoReply
from supervisor.pids import Pid
from supervisor.processes import await_exit, give_way, send_after, trap_exit
from supervisor.reasons import KILL, SHUTDOWN, is_orderly
from supervisor.records import FAILOVER, RESTART
from supervisor.runtime import current_process
from supervisor.signals import Down, ExitSignal, send_exit

log = logging.getLogger(__name__)

WRITE_EVERY: Final = 500  # started children that are made known in one go, while a long queue of starts is worked off
WRITE_SECONDS: Final = 0.1  # how long it may stay unknown that a child runs, if others are still to be started
RETRY: Final = Backoff()


class DistributedSupervisor(GenServer):
    """Supervises this node's copies of the hub's children."""

    def init(self, hub: Hub) -> None:
        trap_exit(True)
        self.hub = hub
        self.me = current_process()
        self.children: dict[str, Child] = {}
        self.by_pid: dict[Pid, Child] = {}
        self.starts = StartQueue(self.me, hub.specs)
        self.handover = Handover(hub, self.me, self)
        self._came_up: list[str] = []  # started for the reconciler, and not made known yet
        self._outcomes: list[Outcome] = []  # of the same starts, for hooks
        self._write_timer: Any = None
        hub.failures.clear()
        hub.roles.forget_all()
        # A former distributed supervisor took its children with it.
        gone = list(hub.registry.own_table)
        for child_id in gone:
            hub.drop_row(child_id)
        if gone:
            hub.publish()
        hub.tell("coordinator", ("supervisor", None))

    # -- requests ----------------------------------------------------------------------------------------------------

    def handle_call(self, request: Any, from_: From) -> Any:
        if isinstance(request, StartChildren):
            return self._start_request(request, from_)
        if isinstance(request, StopChildren):
            self._stop(request.child_ids, from_)
            give_way(self.me, long_step=True)
            return NoReply()
        if isinstance(request, StateChunk):
            return self.handover.arrivals.on_chunk(request)
        if isinstance(request, AwaitCopies):
            self.hub.runtime.spawn(answer, (self.hub, request, from_), {})
            return NoReply()
        if request == LEAVE:
            self.handover.arrivals.drop_all("the node leaves")
            self._stop(list(self.children), from_)
            return NoReply()
        if request == WHICH_CHILDREN:
            return [child.entry() for child in self.children.values()]
        raise ValueError(f"the distributed supervisor got {request!r:.200}")

    def handle_cast(self, request: Any) -> None:
        if type(request) is not tuple:
            self.handover.on_message(request)
            return
        kind, argument = request
        if kind == "start":
            self._start_desired(*argument)
        elif kind == "move":
            self.handover.begin(*argument)
        elif kind == "handover":
            self.handover.on_timer(argument)
        elif kind == "stop":
            self._stop(argument, None)
        elif kind == "halt":
            self._halt(argument)
        elif kind == "hand_over":
            self._stop(argument[1], None, argument[0])

    def handle_info(self, message: Any) -> None:
        if isinstance(message, ExitSignal):
            child = self.by_pid.pop(message.pid, None)
            if child is not None:
                self._child_ended(child, message.reason)
            else:
                self.handover.arrivals.ended(message.pid)
        elif isinstance(message, Down):
            self.handover.on_down(message)
        elif isinstance(message, tuple) and len(message) == 2:
            self._on_timer(*message)

    def _on_timer(self, kind: str, argument: Any) -> None:
        if kind == "retry":
            self._retry(argument)
        elif kind == "handover":
            self.handover.on_timer(argument)
        elif kind == "kill":
            self._kill(argument)
        elif kind == "write":
            self._write()
        elif kind == "deadline":
            for job in list(argument.jobs.values()):
                job.cancel(TIMEOUT)

    def _kill(self, late: list[Any]) -> None:
        """The time of these is over: (child id, pid) of copies that should have ended, and jobs that should have."""
        for one in late:
            if isinstance(one, Job):
                one.cancel(KILL)
                continue
            child = self.children.get(one[0])
            if child is not None and child.pid == one[1]:
                send_exit(self.me, one[1], KILL)

    # -- starting for a caller ---------------------------------------------------------------------------------------

    def _start_request(self, request: StartChildren, from_: From) -> Any:
        hub = self.hub
        if not hub.joined:
            hub.runtime.spawn(self._start_when_joined, (request, from_), {})
            return NoReply()
        starting = Starting(from_, hub.placement, self._started)
        with Paused():
            jobs = self._take_in(request, starting)
        if jobs:
            tell_before(hub, ((job.child_id, job.record, *starting.written[job.child_id]) for job in jobs))
            starting.timer = send_after(self.me.pid, ("deadline", starting), request.timeout)
        for job in jobs:
            self.starts.put(job)
        self._finish_if_done(starting)
        give_way(self.me, long_step=True)
        return NoReply()

    def _take_in(self, request: StartChildren, starting: Starting) -> list[Job]:
        """The jobs of a request; what may not start here goes into its answer."""
        hub = self.hub
        refused = "partitioned" if hub.partitioned else IS_LEAVING if hub.leaving else None
        owners_of, copies = hub.placement.owners, hub.copies
        jobs = []
        for child_id, template, args, metadata, placement in request.rows:
            # This node arbitrates the starts of the children that it owns first.
            if refused is not None:
                starting.failed[child_id] = refused
                continue
            if child_id in self.children or child_id in hub.registry.children:
                starting.failed[child_id] = "already_started"
                continue
            if hub.node not in owners_of(child_id, placement, copies):
                starting.foreign.append(child_id)
                continue
            record = SpecRecord(request.templates[template], args)
            child = Child(child_id, record, next_epoch(hub.registry.rows(child_id)))
            self.children[child_id] = child
            starting.written[child_id] = (metadata, placement)
            job = Job(child_id, record, starting.ended)
            starting.jobs[child_id] = child.job = altering(hub, job, metadata, placement)
            jobs.append(job)
        return jobs

    def _start_when_joined(self, request: StartChildren, from_: From) -> None:
        """A hub that joins starts nothing yet: the request waits, and comes again."""
        if self.hub.await_joined(request.timeout):
            GenServer.reply(from_, GenServer.call(self.me.pid, request, None))
        else:
            failed = {row[0]: TIMEOUT for row in request.rows}
            GenServer.reply(from_, StartReply({}, failed, [], []))

    def _started(self, starting: Starting, child_id: str, pid: Pid | None, reason: Any) -> None:
        """A start of a request has ended, well or not."""
        del starting.jobs[child_id]
        child = self.children[child_id]
        job, child.job = child.job, None
        metadata, placement = starting.written.pop(child_id)
        if job is not None:
            child.record = job.record
            metadata = metadata if job.metadata is None else job.metadata
        if child.stopping is not None:
            starting.failed[child_id] = "partitioned" if self.hub.partitioned else "stopped"
            self._stopped_while_starting(child, pid)
        elif pid is None:
            starting.failed[child_id] = reason
            self._forget(child)
        else:
            starting.started[child_id] = pid
            registry = self.hub.registry
            registry.put(child_id, self.hub.now_ms(), spec=child.record, metadata=metadata, placement=placement)
            self.hub.index.add(child_id)
            self._runs(child, pid)
            if starting.jobs:
                self._write_soon()
            if starting.placement is not self.hub.placement:
                self._tell_coordinator(child_id)  # the owners may have changed meanwhile
        if self.hub.hooks:
            failed = starting.failed.get(child_id)
            note(self.hub, starting.outcomes, child_id, starting.started.get(child_id), failed, placement)
        self._finish_if_done(starting)

    def _finish_if_done(self, starting: Starting) -> None:
        if starting.jobs:
            return
        if starting.timer is not None:
            starting.timer.cancel()
        self.hub.publish()  # before the reply, on the same links: who gets the reply has the batch already
        tell_after(self.hub, starting.outcomes)
        vector = self.hub.registry.vector().to_wire() if self.hub.copies > 1 else None
        members = sorted(self.hub.members)
        reply = StartReply(starting.started, starting.failed, starting.foreign, members, vector)
        GenServer.reply(starting.from_, reply)

    # -- starting what is desired ------------------------------------------------------------------------------------

    def _start_desired(self, reason: str, child_ids: list[str]) -> None:
        """The reconciler wants these to run here. reason: what their `start_reason` says."""
        hub, registry = self.hub, self.hub.registry
        starting = []
        for child_id in child_ids:
            desired = registry.children.get(child_id)
            if desired is None or not hub.takes_part or child_id in hub.moving:
                continue
            child = self.children.get(child_id)
            if child is None:
                if hub.standing.is_careful and hub.node not in hub.owners(child_id):
                    continue  # its owner has come back since this was decided, and may have seen no copy here
                epoch = next_epoch(registry.rows(child_id))
                child = self.children[child_id] = Child(child_id, desired.spec, epoch)
                if hub.standing.is_careful:
                    hub.set_row(child_id, None, STARTING, epoch)  # who comes back must not start it too
                self._queue_start(child, self._started_desired, reason)
            elif child.state == BROKEN and child.record != desired.spec:
                child.failures = 0
                self._queue_start(child, self._started_desired)
            else:
                continue
            starting.append((child_id, *desired[:3]))
        tell_before(hub, starting)
        if hub.standing.is_careful:
            hub.publish()

    def _queue_start(self, child: Child, done: Done, reason: str = RESTART) -> None:
        child.state = STARTING_
        job = Job(child.child_id, child.record, done, reason)
        desired = self.hub.registry.children.get(child.child_id)
        child.job = altering(self.hub, job, desired.metadata, desired.placement) if desired is not None else job
        self.starts.put(job)

    def _started_desired(self, child_id: str, pid: Pid | None, reason: Any) -> None:
        desired = self.hub.registry.children.get(child_id)
        stops = self.children[child_id].stopping is not None
        if desired is not None:
            outcome = (None, "stopped") if stops else (pid, reason)
            note(self.hub, self._outcomes, child_id, outcome[0], outcome[1], desired.placement)
        self._restarted(child_id, pid, reason)

    def _restarted(self, child_id: str, pid: Pid | None, reason: Any) -> None:
        """A start that nobody asked for by name has ended."""
        child = self.children[child_id]
        job, child.job = child.job, None
        if job is not None and pid is not None:
            child.record = keep_altered(self.hub, job, child.record)
        if child.stopping is not None:
            self._stopped_while_starting(child, pid)
        elif pid is not None:
            child.since = self.hub.runtime.clock.now() if child.failures else 0.0
            self._runs(child, pid)
        else:
            log.warning("hub %s: child %r did not start: %s", self.hub.hub_id, child_id, reason)
            self._broken(child, reason)
        self._came_up.append(child_id)
        if not len(self.starts) or len(self._came_up) >= WRITE_EVERY:
            self._write()
        else:
            self._write_soon()

    def _write_soon(self) -> None:
        """Make starts known though those behind them in the queue may take long."""
        if self._write_timer is None:
            self._write_timer = send_after(self.me.pid, ("write", None), WRITE_SECONDS)

    def _write(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        came_up, self._came_up = self._came_up, []
        outcomes, self._outcomes = self._outcomes, []
        self.hub.publish()
        tell_after(self.hub, outcomes)
        if came_up:
            # Meanwhile they may have got other owners, or be desired no more: nobody saw a copy here to stop or move.
            self.hub.tell("coordinator", ("touched", came_up))

    def _runs(self, child: Child, pid: Pid, former: Pid | None = None) -> None:
        child.pid = pid
        child.state = RUNNING_
        self.by_pid[pid] = child
        hub = self.hub
        if hub.failures:
            hub.failures.pop(child.child_id, None)
        hub.set_row(child.child_id, pid, RUNNING, child.epoch, former)
        hub.written((child.child_id,))
        hub.roles.look_at((child.child_id,))

    def _broken(self, child: Child, reason: Any) -> None:
        """It fails again and again: hold it, show it, try again later. It takes no other child down."""
        child.pid = None
        child.state = BROKEN
        child.failures += 1
        self.hub.failures[child.child_id] = reason
        self.hub.set_row(child.child_id, None, FAILED, child.epoch)
        self.hub.written((child.child_id,))
        send_after(self.me.pid, ("retry", child), RETRY.pause(child.failures, self.hub.rng))

    def _retry(self, child: Child) -> None:
        if self.children.get(child.child_id) is child and child.state == BROKEN:
            desired = self.hub.registry.children.get(child.child_id)
            if desired is not None:
                child.record = desired.spec
            self._queue_start(child, self._restarted)

    # -- ends --------------------------------------------------------------------------------------------------------

    def _child_ended(self, child: Child, reason: Any) -> None:
        hub = self.hub
        child.pid = None
        self.handover.departures.ended(child.child_id)
        if child.state == STOPPING:
            self._stopped(child)
            return
        if child.failures and hub.runtime.clock.now() - child.since >= hub.config.dsup_max_seconds:
            child.failures = 0  # it ran well in between
        restart = hub.specs.options(child.record).restart
        if restart == "temporary" or (restart == "transient" and is_orderly(reason)):
            self._forget(child)
            hub.drop_row(child.child_id)
            hub.registry.remove(child.child_id, hub.now_ms())
            hub.index.discard(child.child_id)
            hub.written((child.child_id,))
            self._tell_coordinator(child.child_id)
        elif self._within_limit(child):
            log.info("hub %s: child %r ended (%s) and is restarted", hub.hub_id, child.child_id, reason)
            hub.set_row(child.child_id, None, RESTARTING, child.epoch)
            self._queue_start(child, self._restarted)
        else:
            log.error(
                "hub %s: child %r ended (%s): more than %d restarts in %s s, it is tried again later",
                hub.hub_id,
                child.child_id,
                reason,
                hub.config.dsup_max_restarts,
                hub.config.dsup_max_seconds,
            )
            self._broken(child, reason)
        hub.publish()

    def _within_limit(self, child: Child) -> bool:
        """Count a restart of this child. The limit is the child's own: one that crashes takes no other down."""
        config = self.hub.config
        now = self.hub.runtime.clock.now()
        if child.restarts is None:
            child.restarts = deque()
        child.restarts.append(now)
        while child.restarts[0] < now - config.dsup_max_seconds:
            child.restarts.popleft()
        return len(child.restarts) <= config.dsup_max_restarts

    def _forget(self, child: Child) -> None:
        self.children.pop(child.child_id, None)
        self.hub.failures.pop(child.child_id, None)
        self.hub.roles.forget(child.child_id)
        if child.pid is not None:
            self.by_pid.pop(child.pid, None)

    def _tell_coordinator(self, child_id: str) -> None:
        self.hub.tell("coordinator", ("touched", [child_id]))

    # -- moving (see `processhub.hub.handover`) ----------------------------------------------------------------------

    def stop_here(self, child_ids: list[str], to: str) -> None:
        """Stop copies; `to`, the new owner, starts its own when it sees that they are gone."""
        self._stop(child_ids, None, to)

    def give_up(self, child: Child) -> None:
        """It is no copy of this node any more."""
        self._forget(child)

    def take_in(self, child: Child, pid: Pid, former: Pid | None) -> None:
        """A copy that came from another node, where it was `former`, runs here."""
        self.children[child.child_id] = child
        self._runs(child, pid, former)

    def revive(self, child: Child, departure: Departure) -> None:
        """The node to which it had moved is lost: start it here, from what it was."""
        hub = self.hub
        if child.child_id not in hub.registry.children or not hub.takes_part or child.child_id in self.children:
            hub.drop_row(child.child_id)
            hub.publish()
            return
        child.pid = None
        child.state = STARTING_
        child.epoch = next_epoch(hub.registry.rows(child.child_id))
        self.children[child.child_id] = child
        hub.set_row(child.child_id, None, RESTARTING, child.epoch)
        done = partial(revived, hub, departure, self._restarted)
        child.job = Job(child.child_id, child.record, done, FAILOVER, gated=True)
        self.starts.put(child.job)
        hub.publish()

    # -- stopping ----------------------------------------------------------------------------------------------------

    def _stop(self, child_ids: list[str], from_: From | None, to: str | None = None) -> None:
        """Stop copies: an exit signal `shutdown`, and `kill` for those that are still there when their time is over.

        to: the node to which they move.
        """
        stopping = Stopping(from_, to)
        stopping.left = 1  # this loop: some end at once, and must not answer for those behind them
        late: dict[float, list[Any]] = {}
        for child_id in child_ids:
            child = self.children.get(child_id)
            if child is not None:
                stopping.left += 1
                self._stop_child(child, stopping, late)
            else:
                stopping.stopped.append(child_id)  # the reconciler was faster, or there never was a copy here
                if child_id not in self.hub.moving:
                    self.hub.drop_row(child_id)
        self._kill_late(late)
        stopping.left -= 1
        self._stop_done(stopping)

    def _halt(self, seconds: float) -> None:
        """Quorum is lost: no copy may live longer than `seconds`, no start goes on, nothing comes in."""
        self.handover.arrivals.drop_all("it has no quorum")
        for child in list(self.children.values()):
            if child.job is not None:
                child.stopping = child.stopping or []
                child.job.cancel("partitioned")
        self._stop(list(self.children), None)
        left = [(child.child_id, child.pid) for child in self.children.values() if child.pid is not None]
        if left:
            send_after(self.me.pid, ("kill", left), seconds)

    def _kill_late(self, late: dict[float, list[Any]]) -> None:
        for seconds, ones in late.items():
            send_after(self.me.pid, ("kill", ones), seconds)

    def _stop_child(self, child: Child, stopping: Stopping, late: dict[float, list[Any]]) -> None:
        waiting = child.stopping
        child.stopping = [*(waiting or ()), stopping]
        if waiting is not None:
            return
        shutdown = self.hub.specs.options(child.record).shutdown
        if child.job is not None:
            self._stop_start(child.job, shutdown, late)
            return
        if child.pid is None:
            self._stopped(child)
            return
        child.state = STOPPING
        send_exit(self.me, child.pid, KILL if shutdown == "brutal_kill" else SHUTDOWN)
        if isinstance(shutdown, int | float) and self.me.runtime.local(child.pid) is not None:
            late.setdefault(float(shutdown), []).append((child.child_id, child.pid))

    def _stop_start(self, job: Job, shutdown: Any, late: dict[float, list[Any]]) -> None:
        """A start is to be stopped: at once if it has not begun, else it may end, within its child's shutdown time."""
        if job.worker is None or shutdown == "brutal_kill":
            job.cancel(SHUTDOWN)
        elif isinstance(shutdown, int | float):
            late.setdefault(float(shutdown), []).append(job)

    def _stopped_while_starting(self, child: Child, pid: Pid | None) -> None:
        stopping, child.stopping = child.stopping or [], None
        if pid is None:
            child.stopping = stopping
            self._stopped(child)
            return
        child.pid = pid
        child.state = RUNNING_
        self.by_pid[pid] = child
        late: dict[float, list[Any]] = {}
        for one in stopping:
            self._stop_child(child, one, late)
        self._kill_late(late)

    def _stopped(self, child: Child) -> None:
        """A copy that was to stop is gone."""
        self._forget(child)
        self.hub.drop_row(child.child_id)
        self.hub.written((child.child_id,))
        for stopping in child.stopping or ():
            stopping.left -= 1
            stopping.stopped.append(child.child_id)
            self._stop_done(stopping)

    def _stop_done(self, stopping: Stopping) -> None:
        if stopping.left:
            return
        self.hub.publish()
        if stopping.to is not None:
            self.hub.moved_away(stopping.to, stopping.stopped)
        if stopping.from_ is not None:
            GenServer.reply(stopping.from_, stopping.stopped)
            stopping.from_ = None
        else:
            self.hub.tell("coordinator", ("touched", stopping.stopped))

    def terminate(self, reason: Any) -> None:
        """Stop every child, all at once, within the hub's time; then kill what is left."""
        now = self.me.runtime.clock.now()
        deadlines = []
        for pid, child in list(self.by_pid.items()):
            shutdown = self.hub.specs.options(child.record).shutdown
            send_exit(self.me, pid, KILL if shutdown == "brutal_kill" else SHUTDOWN)
            own = float(shutdown) if isinstance(shutdown, int | float) else self.hub.config.dsup_shutdown_timeout
            deadlines.append((now + min(own, self.hub.config.dsup_shutdown_timeout), pid.serial, pid))
        for deadline, _, pid in sorted(deadlines):
            self._await_end(pid, deadline)
        for child_id in list(self.hub.registry.own_table):
            self.hub.drop_row(child_id)
        self.hub.publish()

    def _await_end(self, pid: Pid, deadline: float) -> None:
        try:
            await_exit(pid, max(0.0, deadline - self.me.runtime.clock.now()))
        except CallTimeout:
            send_exit(self.me, pid, KILL)
