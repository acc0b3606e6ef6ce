"""Starts for callers: what StartChildren asks for is taken in, started, registered, and answered."""

from __future__ import annotations

from functools import partial
from typing import Any

from processhub.hub.altering import altering
from processhub.hub.collector import Paused
from processhub.hub.copies import Child, Copies
from processhub.hub.hub import Hub
from processhub.hub.messages import StartChildren, StartReply
from processhub.hub.results import ALREADY_STARTED, PARTITIONED, STOPPED, TIMEOUT
from processhub.hub.start_hooks import Outcome, note, tell_after, tell_before
from processhub.hub.start_news import StartNews
from processhub.hub.start_queue import Job, StartQueue
from processhub.hub.stops import Stops
from processhub.registry import SpecRecord
from processhub.strategy.distribution.base import Placement
from supervisor.calls import is_awaited
from supervisor.gen_server import From, GenServer
from supervisor.pids import Pid
from supervisor.processes import send_after


class Starting:
    """One StartChildren that is being worked off.

    placement: by which this node is the owner.
    jobs: those under way. Invariant: each has its metadata and placement, for the registry, in `written`.
    started, failed, foreign: what came of the others; `foreign` are those that another node owns.
    """

    def __init__(self, from_: From, placement: Placement) -> None:
        self.from_ = from_
        self.placement = placement
        self.jobs: dict[str, Job] = {}
        self.written: dict[str, tuple[Any, Any]] = {}
        self.started: dict[str, Pid] = {}
        self.failed: dict[str, Any] = {}
        self.foreign: list[str] = []
        self.outcomes: list[Outcome] = []  # for hooks
        self.timer: Any = None


class StartRequests:
    """All StartChildren that this node works off. `me` is the distributed supervisor."""

    def __init__(self, hub: Hub, me: Pid, copies: Copies, queue: StartQueue, news: StartNews, stops: Stops) -> None:
        self._hub = hub
        self._me = me
        self._copies = copies
        self._queue = queue
        self._news = news
        self._stops = stops

    # -- taking in ---------------------------------------------------------------------------------------------------

    def start(self, request: StartChildren, from_: From) -> None:
        """Start these; `from_` gets a StartReply within the request's time."""
        hub = self._hub
        if not is_awaited(from_):
            return  # this node stood still, and the caller has told its own that the time was over
        if not hub.joined:
            hub.runtime.spawn(self._start_when_joined, (request, from_), {})
            return
        starting = Starting(from_, hub.placement)
        with Paused():
            jobs = self._take_in(request, starting)
        if jobs:
            tell_before(hub, ((job.child_id, job.record, *starting.written[job.child_id]) for job in jobs))
            starting.timer = send_after(self._me, ("deadline", starting), request.timeout)
        for job in jobs:
            self._queue.put(job)
        self._finish_if_done(starting)

    def _start_when_joined(self, request: StartChildren, from_: From) -> None:
        """A hub that joins starts nothing yet: the request waits, and comes again."""
        if self._hub.await_joined(request.timeout) and is_awaited(from_):
            GenServer.reply(from_, GenServer.call(self._me, request, None))
        else:
            failed = {row[0]: TIMEOUT for row in request.rows}
            GenServer.reply(from_, StartReply({}, failed, [], []))

    def _take_in(self, request: StartChildren, starting: Starting) -> list[Job]:
        """The jobs of a request; what may not start here goes into its answer."""
        hub, children = self._hub, self._copies.children
        refused = hub.refusal
        owners_of, copies = hub.placement.owners, hub.copies
        done = partial(self._ended, starting)
        jobs = []
        for child_id, template, args, metadata, placement in request.rows:
            # This node arbitrates the starts of the children that it owns first.
            if refused is not None:
                starting.failed[child_id] = refused
            elif child_id in children or child_id in hub.registry.children:
                starting.failed[child_id] = ALREADY_STARTED
            elif hub.node not in owners_of(child_id, placement, copies):
                starting.foreign.append(child_id)
            else:
                child = self._copies.add(child_id, SpecRecord(request.templates[template], args))
                starting.written[child_id] = (metadata, placement)
                job = Job(child_id, child.record, done)
                starting.jobs[child_id] = child.job = altering(hub, job, metadata, placement)
                jobs.append(job)
        return jobs

    def overdue(self, starting: Starting) -> None:
        """The time of a request is over."""
        for job in list(starting.jobs.values()):
            job.cancel(TIMEOUT)

    # -- what comes of it --------------------------------------------------------------------------------------------

    def _ended(self, starting: Starting, child_id: str, pid: Pid | None, reason: Any) -> None:
        """A start of a request has ended, well or not."""
        job = starting.jobs.pop(child_id)
        child = self._copies.children[child_id]
        child.job = None
        child.record = job.record
        metadata, placement = starting.written.pop(child_id)
        if job.metadata is not None:
            metadata = job.metadata
        if child.stopping is not None:
            starting.failed[child_id] = PARTITIONED if self._hub.partitioned else STOPPED
            self._stops.start_ended(child, pid)
        elif pid is None:
            starting.failed[child_id] = reason
            self._copies.forget(child)
        else:
            starting.started[child_id] = pid
            self._register(child, pid, metadata, placement, starting)
        if self._hub.hooks:
            outcome = (starting.started.get(child_id), starting.failed.get(child_id))
            note(self._hub, starting.outcomes, child_id, *outcome, placement)
        self._finish_if_done(starting)

    def _register(self, child: Child, pid: Pid, metadata: Any, placement: Any, starting: Starting) -> None:
        hub, child_id = self._hub, child.child_id
        hub.registry.put(child_id, hub.now_ms(), spec=child.record, metadata=metadata, placement=placement)
        hub.index.add(child_id)
        self._copies.runs(child, pid)
        if starting.jobs:
            self._news.write_soon()
        if starting.placement is not hub.placement:
            hub.touched([child_id])  # the owners may have changed meanwhile

    def _finish_if_done(self, starting: Starting) -> None:
        if starting.jobs:
            return
        if starting.timer is not None:
            starting.timer.cancel()
        self._hub.publish()  # before the reply, on the same links: who gets the reply has the batch already
        tell_after(self._hub, starting.outcomes)
        vector = self._hub.registry.vector().to_wire() if self._hub.copies > 1 else None
        members = sorted(self._hub.members)
        reply = StartReply(starting.started, starting.failed, starting.foreign, members, vector)
        GenServer.reply(starting.from_, reply)
