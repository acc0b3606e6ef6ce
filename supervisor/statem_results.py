"""What the callbacks of a GenStatem return, and what they are given."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal

from supervisor.directives import From
from supervisor.reasons import NORMAL

TimeoutType = Literal["timeout", "state_timeout"] | tuple[Literal["timeout"], Hashable]
"""Which timeout: "timeout" (the event timeout), "state_timeout" or ("timeout", name)."""

EventType = Literal["cast", "info", "internal", "enter"] | tuple[Literal["call"], From] | TimeoutType
"""What a state function is called with: a string, ("call", from_) for a call, ("timeout", name) for a named timeout."""


class _Unchanged(Enum):
    UNCHANGED = "unchanged"

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = _Unchanged.UNCHANGED
"""The `data` of a result that leaves the data as they are."""


# -- actions ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReplyTo:
    """Answer the call `from_`, at once: before an enter call that follows, and before the machine stops."""

    from_: From
    value: Any = None


@dataclass(frozen=True)
class Postpone:
    """Keep the event at hand and retry it after the next change of state. `Postpone(False)` takes it back."""

    flag: bool = True


@dataclass(frozen=True)
class NextEvent:
    """Handle this event next, before all that waits. Several come in the order in which they stand.

    type: any EventType but "enter"; "internal" cannot come from outside.
    """

    type: EventType
    content: Any = None


@dataclass(frozen=True)
class StateTimeout:
    """Deliver "state_timeout" unless the state changes within `seconds`.

    seconds: on the node's clock. 0: after the events that wait in the machine, before any that it has not received;
        None: cancel it. With `absolute` it is a time of `process.now()`. A timeout that runs starts anew.
    """

    seconds: float | None
    content: Any = None
    absolute: bool = False


@dataclass(frozen=True)
class EventTimeout:
    """Deliver "timeout" unless any event comes within `seconds`; those as in StateTimeout."""

    seconds: float | None
    content: Any = None
    absolute: bool = False


@dataclass(frozen=True)
class GenericTimeout:
    """Deliver ("timeout", name) after `seconds`, whatever happens meanwhile; those as in StateTimeout.

    name: hashable; a machine may run any number of named timeouts.
    """

    name: Hashable
    seconds: float | None
    content: Any = None
    absolute: bool = False


@dataclass(frozen=True)
class CancelTimeout:
    """Stop a timeout; nothing happens if it does not run. One that is due but was not delivered is cancelled too."""

    type: TimeoutType


@dataclass(frozen=True)
class UpdateTimeout:
    """Change the content of a timeout that runs. One that does not is started with zero seconds."""

    type: TimeoutType
    content: Any = None


StartTimeout = StateTimeout | EventTimeout | GenericTimeout
TimeoutAction = StartTimeout | CancelTimeout | UpdateTimeout
EnterAction = ReplyTo | TimeoutAction
Action = EnterAction | Postpone | NextEvent
Actions = Action | Sequence[Action]


# -- results ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Next:
    """Go to `state` with `data`.

    Where the state differs from the present one (`!=`), postponed events are retried, the state timeout is cancelled,
    and the enter call is made if the class wants them. The same state is like `Keep(actions, data=data)`.
    """

    state: Any
    data: Any
    actions: Actions = ()


@dataclass(frozen=True)
class Keep:
    """Stay in the state; keep the data too, unless new `data` are given."""

    actions: Actions = ()
    data: Any = field(default=UNCHANGED, kw_only=True)


@dataclass(frozen=True)
class Repeat:
    """Like `Keep`, and make the enter call of the state again. Without enter calls they are the same."""

    actions: Actions = ()
    data: Any = field(default=UNCHANGED, kw_only=True)


@dataclass(frozen=True)
class StopAndReply:
    """Answer calls, then end with `reason`; `terminate` finds `data` in the state if they are given.

    replies: a ReplyTo, or a sequence of them.
    """

    reason: Any = NORMAL
    replies: ReplyTo | Sequence[ReplyTo] = ()
    data: Any = field(default=UNCHANGED, kw_only=True)
