"""What a distributed supervisor remembers: the copies on its node, and the requests that it works off."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from processhub.hub.start_hooks import Outcome
from processhub.hub.start_queue import Job
from processhub.registry import SpecRecord
from processhub.strategy.distribution.base import Placement
from supervisor.gen_server import From
from supervisor.pids import Pid

# How a copy stands.
STARTING_: Final = 0
RUNNING_: Final = 1
STOPPING: Final = 2
BROKEN: Final = 3  # over its restart limit, or it could not be started: tried again later


class Child:
    """A copy on this node. `restarts` are the times of its recent restarts."""

    __slots__ = ("child_id", "epoch", "failures", "job", "pid", "record", "restarts", "since", "state", "stopping")

    def __init__(self, child_id: str, record: SpecRecord, epoch: int) -> None:
        self.child_id = child_id
        self.record = record
        self.epoch = epoch
        self.pid: Pid | None = None
        self.state = STARTING_
        self.job: Job | None = None  # set while STARTING_
        self.restarts: deque[float] | None = None
        self.failures = 0  # in a row; `since` says when it last came up after one
        self.since = 0.0
        self.stopping: list[Stopping] | None = None

    def entry(self) -> tuple[str, Pid | None, str, list[str]]:
        """The fields of its `ChildEntry`."""
        template = self.record.template
        return (self.child_id, self.pid, template.type, [template.module])


OnEnd = Callable[["Starting", str, Pid | None, Any], None]


class Starting:
    """One StartChildren that is being worked off."""

    def __init__(self, from_: From, placement: Placement, on_end: OnEnd) -> None:
        self.from_ = from_
        self.foreign: list[str] = []
        self.placement = placement  # by which this node is the owner
        self.started: dict[str, Pid] = {}
        self.failed: dict[str, Any] = {}
        self.jobs: dict[str, Job] = {}
        self.written: dict[str, tuple[Any, Any]] = {}  # metadata and placement, for the registry
        self.outcomes: list[Outcome] = []  # for hooks
        self.timer: Any = None
        self._on_end = on_end

    def ended(self, child_id: str, pid: Pid | None, reason: Any) -> None:
        """One of its starts has ended."""
        self._on_end(self, child_id, pid, reason)


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
