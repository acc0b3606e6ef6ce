"""What supervisors do with one child: start it, stop it within its shutdown time, report what became of it.

All of it runs in the supervisor's own process, which waits: as in OTP a supervisor does one thing at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any, Final, NamedTuple

from greenlet import GreenletExit

import supervisor.processes as processes
import supervisor.reports as reports
import supervisor.signals as signals
from supervisor.child_spec import ChildSpec
from supervisor.errors import AlreadyRegistered, CallTimeout, StartError, SupervisorError
from supervisor.pids import Pid
from supervisor.processes import await_exit, give_way
from supervisor.reasons import KILL, KILLED, NOPROC, SHUTDOWN, Crash, Shutdown, is_orderly
from supervisor.records import START, ActingAs, Process

log = logging.getLogger(__name__)

BRUTAL_KILL: Final = "brutal_kill"
INFINITY: Final = "infinity"
FAILED_TO_START: Final = "failed_to_start_child"
_SPEC_OPTIONS: Final = frozenset(field.name for field in fields(ChildSpec)) - {"id", "start"}


class ChildEntry(NamedTuple):
    """One child in a listing. `pid` is None while it does not run."""

    id: Any
    pid: Pid | None
    type: str
    modules: list[str]


class ChildError(SupervisorError, LookupError):
    """The child is not as the operation needs it: `reason` is "not_found", "running" or "restarting"."""

    def __init__(self, reason: str, child_id: Any) -> None:
        super().__init__(reason, child_id)
        self.reason = reason
        self.child_id = child_id

    def __str__(self) -> str:
        return f"child {self.child_id!r}: {self.reason}"


# -- answers: a supervisor's replies cross nodes, so they are plain values ---------------------------------------------

ERROR: Final = "$error"  # (ERROR, "start" or "child", reason, child id); every other reply is the result itself


def start_failed(reason: Any, child_id: Any) -> tuple[Any, ...]:
    """The reply that raises StartError in who asked."""
    return (ERROR, "start", reason, child_id)


def refused(reason: str, child_id: Any) -> tuple[Any, ...]:
    """The reply that raises ChildError in who asked."""
    return (ERROR, "child", reason, child_id)


def result_of(answer: Any) -> Any:
    """What a supervisor replied; raises what the reply says."""
    if type(answer) is tuple and answer and answer[0] == ERROR:
        error = StartError if answer[1] == "start" else ChildError
        raise error(answer[2], answer[3])
    return answer


# What a supervisor understands: name -> (method, type of its argument or None where it takes none).
Requests = dict[str, tuple[Callable[..., Any], type | None]]


def request_handler(requests: Requests, request: Any) -> Callable[..., Any] | None:
    """The method that answers `request`, a tuple (name, argument?); None for anything else.

    A supervisor does not end because somebody sends it nonsense: all its children would end with it.
    """
    if type(request) is not tuple or not request or type(request[0]) is not str:
        return None
    handler, kind = requests.get(request[0], (None, None))
    good = len(request) == 1 if kind is None else len(request) == 2 and isinstance(request[1], kind)
    return handler if good else None


def split_options(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(those of ChildSpec, those of start_link) of the keyword arguments of a supervisor's `child_spec`."""
    for_spec = {name: value for name, value in options.items() if name in _SPEC_OPTIONS}
    return for_spec, {name: value for name, value in options.items() if name not in _SPEC_OPTIONS}


# -- starting --------------------------------------------------------------------------------------------------------


def start_one(me: Process, spec: ChildSpec, reason: str = START) -> Pid | None:
    """Start a child in the name of supervisor `me`. None where it does not want to run; raises StartError.

    reason: what the child's `start_reason` says.
    """
    if reason != START:
        me.acting_as = ActingAs(me, reason)
    try:
        pid = spec.run_start()
    except StartError as error:
        raise StartError(_reason(error), spec.id) from None
    except AlreadyRegistered as error:
        raise StartError(("already_started", error.pid), spec.id) from None
    except (GreenletExit, KeyboardInterrupt):
        raise  # the supervisor itself is told to end
    except BaseException as error:
        raise StartError(Crash.from_exception(error), spec.id) from None
    finally:
        me.acting_as = None
    if pid is None:
        return None
    if type(pid) is not Pid:
        what = f"the start function of child {spec.id!r} returned {pid!r:.200}; expected a Pid or None"
        raise StartError(Crash("BadReturn", what), spec.id)
    if pid not in me.links:
        signals.link(me, pid)  # an unlinked start function: its end would never be noticed
    return pid


def _reason(error: StartError) -> Any:
    """A supervisor that did not start because of one of its children says which."""
    if error.child_id is None:
        return error.reason
    return Shutdown((FAILED_TO_START, error.child_id, error.reason))


def name_child(error: StartError) -> StartError:
    """The other way round: the error of a supervisor's start, with the child that is to blame."""
    reason = error.reason
    detail = reason.detail if isinstance(reason, Shutdown) else None
    if isinstance(detail, tuple) and len(detail) == 3 and detail[0] == FAILED_TO_START:
        return StartError(detail[2], detail[1])
    return error


# -- stopping --------------------------------------------------------------------------------------------------------


def stop_one(me: Process, spec: ChildSpec, pid: Pid) -> None:
    """Stop a child: it has ended when this returns, and no exit signal of it comes any more."""
    if not _told_to_end(me, spec, pid):
        _await_end(me, spec, pid, None if spec.shutdown == INFINITY else _seconds(spec))


def stop_all(me: Process, children: Iterable[tuple[Pid, ChildSpec]]) -> None:
    """Stop many children at the same time; each has its own shutdown time from now on."""
    began = me.runtime.clock.now()
    slow: list[tuple[float, Pid, ChildSpec]] = []
    for pid, spec in children:
        if not _told_to_end(me, spec, pid):
            slow.append((float("inf") if spec.shutdown == INFINITY else began + _seconds(spec), pid, spec))
        give_way(me)
    # In the order of their deadlines: so nobody's deadline passes while another is waited for.
    for deadline, pid, spec in sorted(slow, key=lambda child: child[0]):
        left = None if deadline == float("inf") else max(0.0, deadline - me.runtime.clock.now())
        _await_end(me, spec, pid, left)


def _seconds(spec: ChildSpec) -> float:
    return spec.shutdown if isinstance(spec.shutdown, int | float) else 0.0


def _told_to_end(me: Process, spec: ChildSpec, pid: Pid) -> bool:
    """Send the exit signal. True when the child is gone already: most trap no exits."""
    signals.unlink(me, pid)
    signals.send_exit(me, pid, KILL if spec.shutdown == BRUTAL_KILL else SHUTDOWN)
    return me.runtime.local(pid) is None and not me.runtime.is_remote(pid)


def _await_end(me: Process, spec: ChildSpec, pid: Pid, seconds: float | None) -> None:
    if me.runtime.is_remote(pid):
        helper = me.runtime.spawn(_stop_remote, (pid, KILL if spec.shutdown == BRUTAL_KILL else SHUTDOWN, seconds), {})
        await_exit(helper.pid, None)
        return
    try:
        reason = await_exit(pid, seconds)
    except CallTimeout:
        signals.send_exit(me, pid, KILL)
        reason = KILLED
    if reason not in (SHUTDOWN, NOPROC) and not is_orderly(reason):
        report(me, spec, pid, reason, "stopped")


def _stop_remote(pid: Pid, reason: Any, seconds: float | None) -> None:
    """A process of its own waits for the Down of a child on another node: a server cannot receive."""
    ref = processes.monitor(pid)
    processes.exit(pid, reason)
    try:
        processes.receive(lambda message: isinstance(message, signals.Down) and message.ref == ref, seconds)
    except TimeoutError:
        processes.exit(pid, KILL)
        processes.receive(lambda message: isinstance(message, signals.Down) and message.ref == ref)


# -- reporting -------------------------------------------------------------------------------------------------------


def report(me: Process, spec: ChildSpec, pid: Pid | None, reason: Any, decision: str) -> None:
    """One line for people: which supervisor, which child, why it ended, what follows."""
    try:
        reports.decided(me, spec.id, pid, reason, decision)
    except Exception:  # a supervisor must not end because something of its child cannot be shown
        log.exception("no report on a child of %r", me)
