"""Starts of children, one after the other, without one slow `init` holding up the rest.

A start worker is a process that takes jobs from the queue and runs their start functions in the name of the
distributed supervisor. Before each start it makes sure that another worker is ready behind it. If the start returns
without giving way, as most do, the first worker goes on and the second finds an empty queue; if the start blocks, the
second one takes over. So there are as many workers as starts that block, up to a bound.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from processhub.hub.collector import BulkStart
from processhub.hub.specs import SpecCodec
from processhub.registry import SpecRecord
from supervisor.errors import ProcessExit, StartError
from supervisor.gates import open_at_once
from supervisor.pids import Pid
from supervisor.reasons import KILL, Crash
from supervisor.records import DEAD, START, ActingAs, Process
from supervisor.runtime import current_process, reason_of
from supervisor.signals import exit_process, link, send_exit, unlink

log = logging.getLogger(__name__)

WORKERS: Final = 1000
Done = Callable[[str, Pid | None, Any], None]


class Job:
    """One start. `done(child_id, pid, reason)` is called once: with the pid, or None and why it did not start.

    before: called in the worker before the start; it may put another record here, and metadata that go with it.
    reason: what the server's `start_reason` says. gated: it handles nothing until its gate is opened.
    """

    __slots__ = ("acting", "before", "child_id", "done", "gated", "metadata", "reason", "record", "worker")

    def __init__(self, child_id: str, record: SpecRecord, done: Done, reason: str = START, gated: bool = False) -> None:
        self.child_id = child_id
        self.record = record
        self.done: Done | None = done
        self.reason = reason
        self.gated = gated
        self.before: Callable[[], None] | None = None
        self.metadata: dict[str, Any] | None = None
        self.worker: Process | None = None
        self.acting: ActingAs | None = None

    def finish(self, pid: Pid | None, reason: Any) -> None:
        """Tell the outcome; only the first one counts."""
        done, self.done = self.done, None
        if done is not None:
            done(self.child_id, pid, reason)

    def cancel(self, reason: Any) -> None:
        """Give the start up: whatever it has started so far is killed, and so is its worker."""
        if self.done is None:
            return
        self.finish(None, reason)
        if self.worker is not None and self.acting is not None:
            kill_all(self.acting)
            exit_process(self.worker, KILL)


def kill_all(acting: ActingAs) -> None:
    """Kill what an unsuccessful start left behind."""
    supervisor = acting.supervisor
    for pid in acting.started:
        unlink(supervisor, pid)
        send_exit(supervisor, pid, KILL)


class StartQueue:
    """The jobs of one distributed supervisor.

    Args:
        supervisor: in whose name children start; the workers are linked to it.
        specs: makes child specs of records.
    """

    def __init__(self, supervisor: Process, specs: SpecCodec) -> None:
        self._supervisor = supervisor
        self._specs = specs
        self._jobs: deque[Job] = deque()
        self._workers = 0
        self._standby = False
        self._bulk = BulkStart()

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job) -> None:
        """Queue a start."""
        self._jobs.append(job)
        self._ensure_standby()

    def _ensure_standby(self) -> None:
        """Have a worker ready behind the one that is about to start something."""
        if not self._standby and self._jobs and self._workers < WORKERS:
            self._standby = True
            self._workers += 1
            worker = self._supervisor.runtime.spawn(self._work, (), {})
            worker.label = "start worker"
            link(self._supervisor, worker.pid)

    def _work(self) -> None:
        me = current_process()
        me.acting_as = ActingAs(self._supervisor)
        self._standby = False
        try:
            while self._jobs:
                job = self._jobs.popleft()
                if job.done is None:
                    continue
                self._ensure_standby()
                self._run(me, job)
        finally:
            self._workers -= 1
            self._ensure_standby()
            if not self._jobs:
                self._bulk.over()

    def _run(self, me: Process, job: Job) -> None:
        acting = me.acting_as
        assert acting is not None
        acting.started.clear()
        acting.start_reason, acting.gated = job.reason, job.gated
        job.worker, job.acting = me, acting
        try:
            if job.before is not None:
                job.before()
            pid = self._specs.start(job.child_id, job.record)
            reason = None if _is_live(me, pid) else _not_a_process(pid)
        except ProcessExit as error:
            pid, reason = None, error.reason
        except StartError as error:
            pid, reason = None, error.reason
        except Exception as error:
            pid, reason = None, reason_of(error)
        except BaseException as error:  # the worker is to end, or the start function called sys.exit
            job.worker = job.acting = None
            kill_all(acting)
            if self._supervisor.status != DEAD:  # else there is nobody whom it concerns
                job.finish(None, reason_of(error))
            raise
        job.worker = job.acting = None
        if job.done is None or reason is not None:
            kill_all(acting)
            job.finish(None, reason)
        else:
            self._bulk.started()
            if job.gated:
                _open_others(me, acting, pid)
            job.finish(pid, None)


def _open_others(me: Process, acting: ActingAs, pid: Pid) -> None:
    """What else the start function has started does not move."""
    for other in acting.started:
        process = me.runtime.local(other)
        if process is not None and other != pid:
            open_at_once(process)


def _is_live(me: Process, pid: Any) -> bool:
    if not isinstance(pid, Pid):
        return False
    process = me.runtime.local(pid)
    return process is not None and process.status != DEAD


def _not_a_process(value: Any) -> Any:
    if isinstance(value, Pid):
        return Crash("BadStart", f"the process {value!r} that the start function returned is not alive on this node")
    return Crash("BadReturn", f"the start function returned {value!r:.200}; it must return the Pid of a linked process")
