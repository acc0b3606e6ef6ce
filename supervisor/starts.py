"""Starting a server process: its init runs on its own greenlet, and has run when the start returns."""

from __future__ import annotations

from typing import Any

from greenlet import getcurrent

import supervisor.gates as gates
import supervisor.signals as signals
from supervisor.directives import TIMEOUT
from supervisor.errors import ProcessExit, StartError
from supervisor.pids import Pid
from supervisor.reasons import KILL, KILLED, NORMAL
from supervisor.records import INIT, RUNNING, START, Process, parent_of
from supervisor.runtime import Runtime, current_process
from supervisor.turns import BEHAVIOUR, Start
from supervisor.waits import FAILED, REPLIED, Wait


def start_server(
    cls: type[Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    name: Any,
    timeout: float | None,
    link: bool,
) -> Pid:
    me = current_process()
    runtime = me.runtime
    scheduler = runtime.scheduler
    acting = me.acting_as
    process = runtime.add(BEHAVIOUR, RUNNING)
    if acting is not None and acting.gated:
        gates.close(process)
    if name is not None:
        _register_first(runtime, name, process)
    if acting is None:
        parent = me
        process.parent = me.pid
    else:
        parent = parent_of(process, me)
    if link:
        signals.link_new(parent, process)
    else:
        process.parent = None  # as in OTP: who starts without a link may later send exit signals like anybody else
    wait = Wait(runtime.home, next(runtime.serials), scheduler, getcurrent(), timeout)
    wait.target = process
    entry = (INIT, Start(cls, args, kwargs, wait, START if acting is None else acting.start_reason))
    try:
        if scheduler.budget > 0 or scheduler.has_budget():
            scheduler.budget -= 1
            worker = scheduler.pool.take()
            process.greenlet = worker
            worker.otp_process = process
            worker.message = entry
            scheduler.suspend(wait, worker)
        else:
            process.status = process.at_rest
            process.enqueue(entry)
            scheduler.suspend(wait)
    except BaseException:
        # The starter is thrown at (a gevent.Timeout, its own exit) while init runs: nobody would know of the process.
        signals.unlink(parent, process.pid)
        signals.exit_process(process, KILLED)
        raise
    if wait.state == REPLIED:
        return wait.value  # type: ignore[no-any-return]
    raise _failed_start(process, parent, wait)


def _register_first(runtime: Runtime, name: Any, process: Process) -> None:
    try:
        runtime.register(name, process)
    except BaseException:
        signals.exit_process(process, NORMAL)
        raise


def _failed_start(process: Process, parent: Process, wait: Wait) -> Exception:
    if wait.state == FAILED and isinstance(wait.value, ProcessExit):
        return StartError(wait.value.reason)
    signals.unlink(parent, process.pid)
    signals.send_exit(parent, process.pid, KILL)
    return wait.value if wait.state == FAILED else StartError(TIMEOUT)
