"""The copies of a hub's children on this node, and what the members are told of each: its row."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from processhub.hub.hub import Hub
from processhub.hub.reconciler import next_epoch
from processhub.hub.start_queue import Job
from processhub.registry import FAILED, RUNNING, SpecRecord
from supervisor.pids import Pid

if TYPE_CHECKING:
    from processhub.hub.stops import Stopping

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
        self.stopping: list[Stopping] | None = None  # who waits for its end; a start that ends is stopped then

    def entry(self) -> tuple[str, Pid | None, str, list[str]]:
        """The fields of its `ChildEntry`."""
        template = self.record.template
        return (self.child_id, self.pid, template.type, [template.module])


class Copies:
    """All copies on this node. Whoever changes one publishes it afterwards.

    children: child id -> its copy, running or not. One that has moved away is none, though its row is still there.
    by_pid: Invariant: exactly the children whose `pid` is set, by it.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.children: dict[str, Child] = {}
        self.by_pid: dict[Pid, Child] = {}

    def forget_former(self) -> None:
        """A former distributed supervisor took its children with it."""
        self._hub.failures.clear()
        self._hub.roles.forget_all()
        if self._hub.registry.own_table:
            self.drop_rows()

    def drop_rows(self) -> None:
        """Nothing runs here any more."""
        for child_id in list(self._hub.registry.own_table):
            self._hub.drop_row(child_id)
        self._hub.publish()

    def add(self, child_id: str, record: SpecRecord) -> Child:
        """A child that is to be started. It has no row yet."""
        child = Child(child_id, record, next_epoch(self._hub.registry.rows(child_id)))
        self.children[child_id] = child
        return child

    def add_again(self, child: Child) -> None:
        """One that had moved away is to be started anew."""
        child.pid = None
        child.state = STARTING_
        child.epoch = next_epoch(self._hub.registry.rows(child.child_id))
        self.children[child.child_id] = child

    def came_up(self, child: Child, pid: Pid) -> None:
        """It runs, and nobody is told: it is to be stopped."""
        child.pid = pid
        child.state = RUNNING_
        self.by_pid[pid] = child

    def runs(self, child: Child, pid: Pid, former: Pid | None = None) -> None:
        """It runs here as `pid`, and on another node before as `former`."""
        self.came_up(child, pid)
        hub = self._hub
        if hub.failures:
            hub.failures.pop(child.child_id, None)
        hub.set_row(child.child_id, pid, RUNNING, child.epoch, former)
        hub.written((child.child_id,))
        hub.roles.look_at((child.child_id,))

    def ended(self, pid: Pid) -> Child | None:
        """A process has ended: the copy that it was, if it was one."""
        child = self.by_pid.pop(pid, None)
        if child is not None:
            child.pid = None
        return child

    def take_in(self, child: Child, pid: Pid, former: Pid | None) -> None:
        """A copy that came from another node, where it was `former`, runs here."""
        self.children[child.child_id] = child
        self.runs(child, pid, former)

    def fails(self, child: Child, reason: Any) -> None:
        """It fails again and again: hold it and show it. It takes no other child down."""
        child.pid = None
        child.state = BROKEN
        child.failures += 1
        self._hub.failures[child.child_id] = reason
        self._hub.set_row(child.child_id, None, FAILED, child.epoch)
        self._hub.written((child.child_id,))

    def forget(self, child: Child) -> None:
        """It is no copy of this node any more. Its row is the caller's."""
        self.children.pop(child.child_id, None)
        self._hub.failures.pop(child.child_id, None)
        self._hub.roles.forget(child.child_id)
        if child.pid is not None:
            self.by_pid.pop(child.pid, None)
