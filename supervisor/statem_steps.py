"""One transition of a state machine: what the results of its callbacks come to. Pure; misuse raises BadReturn."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final

from supervisor.directives import Stop
from supervisor.errors import BadReturn
from supervisor.pids import Pid, Ref
from supervisor.statem_results import (
    UNCHANGED,
    CancelTimeout,
    EventTimeout,
    EventType,
    GenericTimeout,
    Keep,
    Next,
    NextEvent,
    Postpone,
    Repeat,
    ReplyTo,
    StateTimeout,
    StopAndReply,
    TimeoutAction,
    TimeoutType,
    UpdateTimeout,
)

Event = tuple[EventType, Any]
"""An event: its type and its content."""


@dataclass(frozen=True)
class Source:
    """Who returned something, and the actions that may be among it. `name` is for messages."""

    name: str
    actions: frozenset[type]


_TIMEOUTS: Final = frozenset({StateTimeout, EventTimeout, GenericTimeout, CancelTimeout, UpdateTimeout})
INIT: Final = Source("init", _TIMEOUTS | {ReplyTo, NextEvent})
EVENT: Final = Source("a state function", _TIMEOUTS | {ReplyTo, NextEvent, Postpone})
ENTER: Final = Source("an enter call", _TIMEOUTS | {ReplyTo})


class Step:
    """A transition in the making: from an event to the state where the machine comes to rest, enter calls included.

    event: None where the machine begins. state, data: where it goes to. enter: an enter call is due, if the class wants
    them. stop: it ends instead. replies: to be sent now. The rest is carried out when the last callback has returned.
    """

    __slots__ = ("data", "enter", "event", "events", "postpone", "replies", "state", "stop", "timeouts")

    def __init__(self, event: Event | None, state: Any, data: Any) -> None:
        self.event = event
        self.state = state
        self.data = data
        self.enter = False
        self.postpone = False
        self.stop: Stop | None = None
        self.replies: list[ReplyTo] = []
        self.events: list[Event] = []  # to be inserted, the first one first
        self.timeouts: dict[TimeoutType, TimeoutAction] = {}  # the last word on each, in the order of these words

    def __repr__(self) -> str:
        return f"<{self.event or 'beginning'!r:.200} leads to {self.state!r:.80}>"

    def take(self, result: Any, source: Source) -> None:
        """Take what a callback returned."""
        reader = _READERS.get(type(result))
        if reader is None:
            raise BadReturn(f"{source.name} in state {self.state!r:.80} returned {result!r:.200}; {_ACCEPTED}")
        reader(self, result, source)

    def _take_next(self, result: Next, source: Source) -> None:
        if result.state != self.state:
            if source is ENTER:
                raise BadReturn(f"an enter call of state {self.state!r:.80} returned {result!r:.200}; {_NO_CHANGE}")
            self.state = result.state
            self.enter = True
        self.data = result.data
        self.collect(result.actions, source)

    def _take_keep(self, result: Keep | Repeat, source: Source) -> None:
        if type(result) is Repeat:
            self.enter = True
        if result.data is not UNCHANGED:
            self.data = result.data
        self.collect(result.actions, source)

    def _take_stop(self, result: Stop, source: Source) -> None:
        if result != Stop(result.reason):
            raise BadReturn(f"{source.name} returned {result!r:.200}; to reply, return StopAndReply(reason, replies)")
        self.stop = result

    def _take_stop_and_reply(self, result: StopAndReply, source: Source) -> None:
        if result.data is not UNCHANGED:
            self.data = result.data
        replies = _as_sequence(result.replies)
        for reply in replies:
            if type(reply) is not ReplyTo:
                raise BadReturn(f"{result!r:.200} of {source.name}: its replies must be ReplyTo(from_, value)")
        self.collect(replies, source)
        self.stop = Stop(result.reason)

    def collect(self, actions: Any, source: Source) -> None:
        """Take the actions of a result: one, or a list or tuple of them."""
        for action in _as_sequence(actions):
            if type(action) not in source.actions:
                raise BadReturn(f"{source.name} returned the action {action!r:.200}; {_accepted_actions(source)}")
            self._add(action)

    def _add(self, action: Any) -> None:
        kind = type(action)
        if kind is ReplyTo:
            _check(_is_from(action.from_), action, "from_ must be that of a call: (Pid, Ref)")
            self.replies.append(action)
        elif kind is NextEvent:
            _check(_is_event_type(action.type), action, _EVENT_TYPES)
            self.events.append((action.type, action.content))
        elif kind is Postpone:
            _check(isinstance(action.flag, bool), action, "the flag must be True or False")
            self.postpone = action.flag
        else:
            self._add_timeout(action)

    def _add_timeout(self, action: TimeoutAction) -> None:
        which = timeout_type(action)
        _check(_is_timeout_type(which), action, _TIMEOUT_TYPES)
        if not isinstance(action, CancelTimeout | UpdateTimeout):
            _check(_is_time(action.seconds, action.absolute), action, "seconds must be a number >= 0 or None")
        self.timeouts.pop(which, None)
        self.timeouts[which] = action


_READERS: Final[dict[type, Callable[[Step, Any, Source], None]]] = {
    Next: Step._take_next,
    Keep: Step._take_keep,
    Repeat: Step._take_keep,
    Stop: Step._take_stop,
    StopAndReply: Step._take_stop_and_reply,
}

_ACCEPTED: Final = (
    "expected Next(state, data, actions), Keep(actions, data=), Repeat(actions, data=), Stop(reason) "
    "or StopAndReply(reason, replies, data=)"
)
_NO_CHANGE: Final = "it cannot change the state (a StateTimeout(0) comes next and can)"
_TIMEOUT_TYPES: Final = 'the type must be "timeout", "state_timeout" or ("timeout", name) with a hashable name'
_EVENT_TYPES: Final = (
    'the type must be "internal", "cast", ("call", from_), "info", "timeout", "state_timeout" or ("timeout", name)'
)
_FORMS: Final = {
    ReplyTo: "ReplyTo(from_, value)",
    Postpone: "Postpone()",
    NextEvent: "NextEvent(type, content)",
    StateTimeout: "StateTimeout(seconds, content)",
    EventTimeout: "EventTimeout(seconds, content)",
    GenericTimeout: "GenericTimeout(name, seconds, content)",
    CancelTimeout: "CancelTimeout(type)",
    UpdateTimeout: "UpdateTimeout(type, content)",
}


def timeout_type(action: TimeoutAction) -> TimeoutType:
    """Which timeout an action is about."""
    if isinstance(action, StateTimeout):
        return "state_timeout"
    if isinstance(action, EventTimeout):
        return "timeout"
    if isinstance(action, GenericTimeout):
        return ("timeout", action.name)
    return action.type


def _accepted_actions(source: Source) -> str:
    forms = ", ".join(form for kind, form in _FORMS.items() if kind in source.actions)
    return f"expected one or a list of {forms}"


def _as_sequence(actions: Any) -> Any:
    return actions if isinstance(actions, list | tuple) else (actions,)


def _check(right: bool, action: Any, expected: str) -> None:
    if not right:
        raise BadReturn(f"bad action {action!r:.200}: {expected}")


def _is_time(seconds: Any, absolute: Any) -> bool:
    if seconds is None:
        return True
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return False
    return bool(absolute) or seconds >= 0


def _is_from(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], Pid) and isinstance(value[1], Ref)


def _is_timeout_type(value: Any) -> bool:
    if isinstance(value, str):
        return value in ("timeout", "state_timeout")
    return isinstance(value, tuple) and len(value) == 2 and value[0] == "timeout" and _is_hashable(value[1])


def _is_event_type(value: Any) -> bool:
    if isinstance(value, str):
        return value in ("internal", "cast", "info", "timeout", "state_timeout")
    if isinstance(value, tuple) and len(value) == 2 and value[0] == "call":
        return _is_from(value[1])
    return _is_timeout_type(value)


def _is_hashable(value: Any) -> bool:
    if not isinstance(value, Hashable):
        return False
    try:
        hash(value)  # a tuple is Hashable, whatever it holds
    except TypeError:
        return False
    return True
