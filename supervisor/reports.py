"""What the log says about processes that end: crash reports, and what supervisors make of them.

A report is one log record of the logger `supervisor.reports`: text for people, and the same as an object in
`record.report` (a `Report`) for handlers that want the parts. Its values are shown shortened, whatever their `repr`
does; of a flood of the same report only the first ones of each second are written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from supervisor.clock import Clock
from supervisor.reasons import Crash, is_orderly
from supervisor.records import CALL, CAST, CONTINUE, INFO, INIT, SYSTEM
from supervisor.shortened import shortened

if TYPE_CHECKING:
    from supervisor.pids import Pid
    from supervisor.records import Process

log = logging.getLogger(__name__)

AT_MOST: Final = 5  # equal reports per window
WINDOW: Final = 1.0  # seconds
_TRACEBACK_CHARACTERS: Final = 8000

KINDS: Final = {INFO: "info", CAST: "cast", CALL: "call", CONTINUE: "continue", SYSTEM: "system", INIT: "init"}


@dataclass(frozen=True)
class Report:
    """The parts of a report. Texts are shortened; None where a part does not apply.

    kind: "crashed", "stopped", "failed in terminate" or "supervisor". process: the repr of the process, or of the
    supervisor. label: what equal reports are counted by, besides the type of the crash.
    """

    kind: str
    pid: Pid | None
    process: str
    label: str
    reason: str
    crash: str | None = None
    last_message: str | None = None
    state: str | None = None
    child_id: Any = None
    decision: str | None = None


class Flood:
    """Counts equal reports of one node: `AT_MOST` within `WINDOW` seconds are written, then how many were not."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: dict[Any, int] = {}
        self._ends = 0.0

    def lets(self, key: Any, summary: Callable[[int], object]) -> bool:
        """Whether one more report of this key is to be written. Else `summary(how many were not)` runs later."""
        now = self._clock.now()
        if now >= self._ends:
            self._counts.clear()
            self._ends = now + WINDOW
        count = self._counts[key] = self._counts.get(key, 0) + 1
        if count == AT_MOST + 1:
            self._clock.call_later(self._ends - now, self._sum_up, self._counts, key, summary)
        return count <= AT_MOST

    def _sum_up(self, counts: dict[Any, int], key: Any, summary: Callable[[int], object]) -> None:
        suppressed = counts.pop(key, AT_MOST) - AT_MOST
        if suppressed > 0:
            summary(suppressed)


# -- the reports -----------------------------------------------------------------------------------------------------


def ended(process: Process, reason: Any, what: str, entry: Any) -> None:
    """A process "crashed", or "stopped" with a reason that is not orderly, or "failed in terminate".

    entry: the mailbox entry that it handled, if it matters.
    """
    label, crash = label_of(process), _crash_type(reason)
    if not process.runtime.flood.lets((what, label, crash), lambda n: _suppressed(f"{label} {what}: {crash}", n)):
        return
    report = Report(
        kind=what,
        pid=process.pid,
        process=_shown(process),
        label=label,
        reason=shown_reason(reason),
        crash=crash,
        last_message=shown_entry(entry) if entry is not None else None,
        state=shortened(formatted_state(process, reason)) if process.server is not None else None,
    )
    log.error("%s", _text(report, getattr(reason, "traceback", "")), extra={"report": report})


def decided(me: Process, child_id: Any, pid: Pid | None, reason: Any, decision: str) -> None:
    """Supervisor `me` saw a child end, or fail to start, for `reason`, and does what `decision` says."""
    label, crash = label_of(me), _crash_type(reason)

    def summary(count: int) -> None:
        _suppressed(f"SUPERVISOR REPORT {label}: a child ended: {crash} -> {decision}", count)

    if not me.runtime.flood.lets(("supervisor", label, crash, decision), summary):
        return
    shown_id = shortened(child_id, 80)
    report = Report(
        "supervisor", pid, _shown(me), label, shown_reason(reason), crash, child_id=child_id, decision=decision
    )
    text = f"SUPERVISOR REPORT {report.process}: child {shown_id} {pid!r} ended: {report.reason} -> {decision}"
    log.log(logging.INFO if is_orderly(reason) else logging.ERROR, "%s", text, extra={"report": report})


def _text(report: Report, traceback: str) -> str:
    lines = [f"CRASH REPORT {report.process} {report.kind}: {report.reason}"]
    if report.last_message is not None:
        lines.append(f"last message: {report.last_message}")
    if report.state is not None:
        lines.append(f"state: {report.state}")
    if traceback:
        lines.append(_middle_out(traceback.rstrip()))
    return "\n".join(lines)


def _suppressed(what: str, count: int) -> None:
    log.error("%s: %d more like this within %g s, not written", what, count, WINDOW)


# -- the parts -------------------------------------------------------------------------------------------------------


def label_of(process: Process) -> str:
    """What a process is, for counting: its label (the class or function that it runs), else its name or pid."""
    what = process.label if process.label is not None else process.names[0] if process.names else process.pid
    return what[:80] if type(what) is str else shortened(what, 80)


def _shown(process: Process) -> str:
    try:
        return repr(process)[:300]
    except Exception:  # a name or a label whose repr fails
        return f"<Process {process.pid.node}.{process.pid.serial}>"


def _crash_type(reason: Any) -> str:
    if type(reason) is str:
        return reason[:80]
    return reason.type if isinstance(reason, Crash) else shortened(reason, 80)


def shown_reason(reason: Any) -> str:
    """An exit reason, as text for people."""
    if isinstance(reason, Crash):
        message = f": {reason.message:.500}" if reason.message else ""
        return f"{reason.type}{message}"
    return reason[:500] if type(reason) is str else shortened(reason)


def shown_entry(entry: Any) -> str:
    """A mailbox entry, as text for people: what kind of message, and the message."""
    kind = KINDS[entry[0]]
    if entry[0] == INIT:
        return f"{kind} {shortened(entry[1].args)} {shortened(entry[1].kwargs) if entry[1].kwargs else ''}".rstrip()
    caller = f" from {entry[2][0]!r}" if entry[0] == CALL else ""
    return f"{kind} {shortened(entry[1])}{caller}"


class _Failed:
    """Shown instead of a state."""

    def __init__(self, error: Exception) -> None:
        self.error = type(error).__qualname__

    def __repr__(self) -> str:
        return f"<format_status failed: {self.error}>"


def formatted_state(process: Process, reason: Any) -> Any:
    """The state of a server, through its `format_status(reason, state)`; `reason` None: it goes on.

    When that fails nothing of the state is shown: it may have been there to hide something.
    """
    try:
        return process.server.format_status(reason, getattr(process.server, "state", None))
    except Exception as error:
        return _Failed(error)


def _middle_out(text: str) -> str:
    """A long traceback without its middle: where it began and what it ended with say most."""
    if len(text) <= _TRACEBACK_CHARACTERS:
        return text
    half = _TRACEBACK_CHARACTERS // 2
    return f"{text[:half]}\n  ... {len(text) - 2 * half} characters ...\n{text[-half:]}"
