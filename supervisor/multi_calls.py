"""One request to the servers of one name on many nodes, after OTP's gen_server:multi_call and abcast."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from greenlet import getcurrent

import supervisor.signals as signals
from supervisor.calls import ask_from_thread, call_any
from supervisor.errors import CallTimeout, NoProcess, ProcessExit
from supervisor.native import get_ident
from supervisor.processes import deliver, new_wait
from supervisor.reasons import KILLED
from supervisor.records import CAST, Process
from supervisor.runtime import current_process, current_runtime
from supervisor.waits import Wait

Outcome = tuple[dict[str, Any], list[str]]


class _Round:
    """One multi_call. Each node is asked by a process of its own: a link that is full holds up no other node."""

    def __init__(self, caller: Process, name: Any, request: Any, timeout: float | None) -> None:
        self.caller = caller
        self.name = name
        self.request = request
        self.timeout = timeout
        self.replies: dict[str, Any] = {}
        self.missing = 0
        self.error: BaseException | None = None
        # No timeout of its own: it would run out together with those of the calls, perhaps before the last reply.
        self.done: Wait = new_wait(caller.runtime, None)

    def ask(self, node: str) -> None:
        """Runs in the process for `node`."""
        try:
            self.replies[node] = call_any((self.name, node), self.request, self.timeout, self.caller)
        except CallTimeout:
            pass
        except ProcessExit as error:
            if error.reason == "calling_self":
                self.error = error
        except Exception as error:
            self.error = error
        self.missing -= 1
        if not self.missing:
            self.done.reply(None)


def multi_call(nodes: Iterable[str], name: Any, request: Any, timeout: float | None) -> Outcome:
    """See `GenServer.multi_call`."""
    runtime = current_runtime()
    if getattr(getcurrent(), "otp_process", None) is None and get_ident() != runtime.scheduler.thread:
        return ask_from_thread(runtime, partial(multi_call, nodes, name, request, timeout))  # type: ignore[no-any-return]
    asked = list(dict.fromkeys(nodes))
    if not asked:
        return {}, []
    part = _Round(current_process(), name, request, timeout)
    part.missing = len(asked)
    askers = [runtime.spawn(part.ask, (node,), {}) for node in asked]
    try:
        runtime.scheduler.suspend(part.done)
    finally:
        for asker in askers:  # those that are left when the caller was thrown at
            signals.exit_process(asker, KILLED)
    if part.error is not None:
        raise part.error
    return {node: part.replies[node] for node in asked if node in part.replies}, [
        node for node in asked if node not in part.replies
    ]


def abcast(nodes: Iterable[str], name: Any, request: Any) -> None:
    """See `GenServer.abcast`."""
    for node in dict.fromkeys(nodes):
        try:
            deliver((name, node), CAST, request)
        except NoProcess:
            pass  # this node is one of many: nobody is told where a cast did not arrive
