"""What the callbacks of a GenServer return, and what they are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from supervisor.pids import Pid, Ref
from supervisor.reasons import NORMAL

From = tuple[Pid, Ref]
"""Who called: what `GenServer.reply` needs. Plain data: it stays valid on another node and inside state."""
TIMEOUT: Final = "timeout"
"""What handle_info gets when a `timeout=` that a callback returned has passed without a message."""


@dataclass(frozen=True)
class Reply:
    """From handle_call: reply with `value`; then a `timeout` in seconds or a `continue_` token for handle_continue."""

    value: Any
    timeout: float | None = None
    continue_: Any = None


@dataclass(frozen=True)
class NoReply:
    """From any handler: do not reply (now); `GenServer.reply(from_, value)` may do it later, from anywhere."""

    timeout: float | None = None
    continue_: Any = None


@dataclass(frozen=True)
class Stop:
    """From any handler or init: end with `reason`. From handle_call `reply` goes to the caller, if given."""

    reason: Any = NORMAL
    reply: Any = NoReply()


@dataclass(frozen=True)
class Continue:
    """From init: `handle_continue(token)` runs before any message, while the starter goes on already."""

    token: Any


@dataclass(frozen=True)
class Ignore:
    """From init: do not start, without an error; `start_link` returns None."""


DIRECTIVES: Final = frozenset({Reply, NoReply, Stop, Continue, Ignore})
REFUSALS: Final = frozenset({Ignore, Stop})  # what the init of every kind of server may return instead of beginning


@dataclass(frozen=True)
class StopRequest:
    """A call that every server understands: end with `reason`. It is answered by the end itself."""

    reason: Any
