"""Why processes end: OTP's exit reasons as plain values that can cross the wire."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Any, Final

from supervisor.pids import Pid

NORMAL: Final = "normal"
SHUTDOWN: Final = "shutdown"
KILL: Final = "kill"
KILLED: Final = "killed"
NOPROC: Final = "noproc"
NOCONNECTION: Final = "noconnection"


@dataclass(frozen=True)
class Shutdown:
    """An orderly end with a detail for whoever watches, OTP's `{shutdown, Detail}`."""

    detail: Any = None


@dataclass(frozen=True)
class Moved:
    """The process lives on under another pid, on another node: what was sent to it is handled there.

    Who is linked gets it as an exit reason, for links do not move. Who monitors does not: the monitor follows, and so
    does a call that waits for its reply.
    """

    pid: Pid


@dataclass(frozen=True)
class Crash:
    """The exception that ended a process, as text: it holds no frames and can be sent anywhere."""

    type: str
    message: str
    traceback: str = ""

    @classmethod
    def from_exception(cls, error: BaseException) -> Crash:
        """Describe `error` with its traceback."""
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        return cls(type(error).__qualname__, _message(error), text)

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type

    def __repr__(self) -> str:
        return f"Crash({self})"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as failed:  # as the traceback says, too; the crash must become known all the same
        return f"<str() of the exception failed: {type(failed).__qualname__}>"


def is_orderly(reason: Any) -> bool:
    """Whether `reason` is a planned end: such an end is neither logged nor a transient's failure."""
    return reason in (NORMAL, SHUTDOWN) or isinstance(reason, Shutdown | Moved)
