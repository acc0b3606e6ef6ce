"""Calling the handlers of hooks: in order, in a process of the hub, so that what they do delays nothing else of it.

Whoever has something to tell puts it into a queue and goes on. A task of the hub's task supervisor works the queue off,
event by event, each event's handlers by priority. While nobody listens nothing is queued and no process runs.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from greenlet import GreenletExit

from processhub.hub.hooks import Hook, HookHandler, HookTable
from processhub.registry import FAILED, STARTING, Row
from processhub.registry.changes import RowChange
from supervisor.errors import CallTimeout
from supervisor.pids import Pid
from supervisor.processes import await_exit, give_way, new_wait
from supervisor.reasons import KILLED
from supervisor.runtime import Runtime, current_process
from supervisor.signals import exit_process
from supervisor.waits import Wait

log = logging.getLogger(__name__)

QUEUED: Final = 100_000  # events that wait for a slow handler; the registry hooks of 50 000 children are that many
GRACE_SECONDS: Final = 2.0  # what queued events get when the hub stops, and then once more the shutdown's handlers


class HookCalls:
    """The events of one hub on one node that are still to be told.

    Args:
        table: who wants to be called.
        run_task: runs a function as a task of the hub, soon. It may be lost: then `resume` is called.
    """

    def __init__(
        self, runtime: Runtime, hub_id: str, table: HookTable, run_task: Callable[[Callable[[], None]], None]
    ) -> None:
        self._runtime = runtime
        self._hub_id = hub_id
        self._table = table
        self._run_task = run_task
        self._events: deque[tuple[Hook, Any]] = deque()
        # (child id, node) of copies that were being restarted when first seen
        self._untold: set[tuple[str, str]] = set()
        self._runner: Pid | None = None
        self._asked = False  # a runner was asked for, and has not begun
        self._idle: list[Wait] = []
        self._is_full = False
        self._is_open = True

    def fire(self, hook: Hook, data: Any) -> None:
        """Queue an event, if the hook has handlers."""
        if hook not in self._table or not self._is_open:
            return
        if len(self._events) >= QUEUED:
            self._overflow(hook)
            return
        self._events.append((hook, data))
        self._ensure_runner()

    def _overflow(self, hook: Hook) -> None:
        if not self._is_full:
            self._is_full = True
            log.error(
                "hub %s: %d events wait for slow hook handlers; until these catch up, events as of this %s are dropped",
                self._hub_id,
                QUEUED,
                hook,
            )

    def rows_changed(self, rows: Iterable[RowChange]) -> None:
        """Rows of the registry changed: tell of the pids that came, went, or took another's place."""
        inserted: dict[str, dict[str, Pid]] = {}
        removed: dict[str, list[str]] = {}
        for child_id, node, old, new in rows:
            was_told = _is_registered(old) and (child_id, node) not in self._untold
            self._untold.discard((child_id, node))
            if new is None or not _is_registered(new):
                if was_told:
                    removed.setdefault(child_id, []).append(node)
            elif new.pid is None:
                if not was_told:
                    self._untold.add((child_id, node))
            elif not was_told:
                inserted.setdefault(child_id, {})[node] = new.pid
            elif old is None or old.pid != new.pid:
                self.fire(Hook.CHILD_PROCESS_PID_UPDATE, (child_id, node, new.pid))
        for new_ones in inserted.items():
            self.fire(Hook.REGISTRY_PID_INSERTED, new_ones)
        for lost_ones in removed.items():
            self.fire(Hook.REGISTRY_PID_REMOVED, lost_ones)

    # -- the task ----------------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """The task supervisor is a new one: what it was asked for before is lost."""
        self._asked = False
        self._ensure_runner()

    def runner_ended(self) -> None:
        """A task has ended: if it was ours, and left something undone since a handler killed it, begin another."""
        self._ensure_runner()

    def _ensure_runner(self) -> None:
        if self._events and not self._asked and not self._is_running():
            self._asked = True
            self._run_task(self._work)

    def _is_running(self) -> bool:
        return self._runner is not None and self._runtime.local(self._runner) is not None

    def _work(self) -> None:
        me = current_process()
        self._runner, self._asked = me.pid, False
        while self._events:
            hook, data = self._events.popleft()
            self._call_all(hook, data)
            give_way(me)
        self._runner = None
        self._is_full = False
        idle, self._idle = self._idle, []
        for wait in idle:
            wait.reply(True)

    def _call_all(self, hook: Hook, data: Any) -> None:
        for handler in self._table.handlers(hook):
            try:
                handler.func(*handler.arguments(data))
            except (GreenletExit, KeyboardInterrupt):
                raise  # this process is told to end
            except BaseException:
                log_failure(self._hub_id, hook, handler)

    # -- the end -----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """A coordinator has begun: events count."""
        self._is_open = True

    def shut_down(self, reason: Any) -> None:
        """The hub stops: tell what is queued, then that it stops. Waits, but not for ever; later events are dropped.

        Runs in the coordinator's process while it terminates.
        """
        if self._events or self._asked or self._is_running():
            wait = new_wait(self._runtime, GRACE_SECONDS)
            self._idle.append(wait)
            self._runtime.scheduler.suspend(wait)
            if wait.value is not True:
                log.warning("hub %s stops, and %d events were not told to slow hook handlers", self._hub_id, self._left)
        self._is_open = False
        self._events.clear()
        if Hook.COORDINATOR_SHUTDOWN in self._table:
            self._tell_shutdown(reason)

    @property
    def _left(self) -> int:
        return len(self._events) + self._is_running()

    def _tell_shutdown(self, reason: Any) -> None:
        process = self._runtime.spawn(self._call_all, (Hook.COORDINATOR_SHUTDOWN, reason), {})
        try:
            await_exit(process.pid, GRACE_SECONDS)
        except CallTimeout:
            log.warning("hub %s stops before its %s handlers are done", self._hub_id, Hook.COORDINATOR_SHUTDOWN)
            exit_process(process, KILLED)


def _is_registered(row: Row | None) -> bool:
    return row is not None and row.state != FAILED and row.state != STARTING


def log_failure(hub_id: str, hook: Hook, handler: HookHandler) -> None:
    """Log the exception at hand as that of a handler."""
    log.exception("hub %s: the handler %r of hook %s failed", hub_id, handler.id, hook)
