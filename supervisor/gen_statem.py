"""GenStatem: a process that is a state machine, after OTP's gen_statem."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal, final

from supervisor.directives import DIRECTIVES, REFUSALS, Continue, From, Ignore, NoReply, Reply, Stop
from supervisor.errors import BadReturn
from supervisor.gen_server import GenServer
from supervisor.runtime import current_process
from supervisor.statem_agenda import Agenda, Timeout
from supervisor.statem_results import (
    UNCHANGED,
    Action,
    Actions,
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
    TimeoutType,
    UpdateTimeout,
)
from supervisor.statem_steps import ENTER, EVENT, INIT, Event, Source, Step
from supervisor.turns import answer_elsewhere

__all__ = [
    "UNCHANGED",
    "Action",
    "Actions",
    "CallbackMode",
    "CancelTimeout",
    "EventTimeout",
    "EventType",
    "GenStatem",
    "GenericTimeout",
    "Ignore",
    "Keep",
    "Next",
    "NextEvent",
    "Postpone",
    "Repeat",
    "ReplyTo",
    "StateTimeout",
    "Stop",
    "StopAndReply",
    "TimeoutType",
    "UpdateTimeout",
]

CallbackMode = Literal["state_functions", "handle_event"]
_MODES: Final = ("state_functions", "handle_event")


class GenStatem(GenServer):
    """The base of state machines. Subclass it, choose a `callback_mode`, and write `init` and the callbacks.

    callback_mode: "state_functions": a state is a str, and the method of that name handles the events in it, called
        with (event_type, content, data). "handle_event": a state is any value, and `handle_event` handles all events.
    state_enter: whether the callback of a state is also called when it is entered, with the event type "enter" and the
        former state (in the beginning: the same state) as the content.

    It is started, called, stopped and supervised like any GenServer. `self.state` is the pair (state, data), as
    `terminate` finds it; while a callback runs it is that of before the event. A callback returns Next, Keep, Repeat,
    Stop or StopAndReply; anything else, None too, is Crash(BadReturn). An exception that escapes is a Crash.
    """

    callback_mode: ClassVar[CallbackMode] = "state_functions"
    state_enter: ClassVar[bool] = False
    state: tuple[Any, Any]
    _init_results = REFUSALS
    _moves_hot = False  # its timeouts and postponed events would stay behind
    _agenda: Agenda | None = None  # None while there is nothing but the mailbox

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.callback_mode not in _MODES:
            raise TypeError(f"callback_mode of {cls.__name__} is {cls.callback_mode!r}; expected one of {_MODES}")

    # -- callbacks ---------------------------------------------------------------------------------------------------

    def init(self, *args: Any, **kwargs: Any) -> Any:
        """Begin: return Next(state, data, actions), the pair (state, data), Ignore() or Stop(reason).

        Has run when start returns; the actions and the first enter call come right after. There is no event yet that
        could be postponed.
        """
        raise NotImplementedError(f"{type(self).__name__} has no init, which returns its first state and data")

    def handle_event(self, event_type: Any, content: Any, state: Any, data: Any) -> Any:
        """Handle an event in `state`, where `callback_mode` is "handle_event"."""
        raise NotImplementedError(f"{type(self).__name__} got {event_type!r:.80} but has no handle_event")

    def format_status(self, reason: Any, state: tuple[Any, Any]) -> Any:
        """As for a GenServer; `state` is the pair (state, data). The default shows both."""
        return state

    def _more_status(self) -> dict[str, Any]:
        agenda = self._agenda
        return {
            "postponed": len(agenda.postponed) if agenda is not None else 0,
            "timeouts": list(agenda.running) + list(agenda.due) if agenda is not None else [],
        }

    # -- the server --------------------------------------------------------------------------------------------------

    @final
    def handle_call(self, request: Any, from_: From) -> Any:
        return self._handle(("call", from_), request, from_)

    @final
    def handle_cast(self, request: Any) -> Any:
        return self._handle("cast", request)

    @final
    def handle_info(self, message: Any) -> Any:
        if type(message) is not Timeout:
            return self._handle("info", message)
        if self._agenda is None or not self._agenda.expire(message):
            return None  # cancelled when it was in the mailbox already
        return self._handle(message.type, message.content)

    @final
    def handle_continue(self, token: Any) -> Any:
        """The beginning, or an event from the agenda: through the mailbox, so that a long chain gives others a turn."""
        return self._complete(token, self.state[0]) if type(token) is Step else self._handle(*token)

    def _take_init(self, value: Any) -> Any:
        if type(value) is tuple and len(value) == 2:
            value = Next(*value)
        if type(value) is not Next:
            raise BadReturn(f"init of {type(self).__name__} returned {value!r:.200}; {_ACCEPTED_OF_INIT}")
        self._check_state(value.state)
        self.state = (value.state, value.data)
        if not self.state_enter and value.actions == ():
            return None
        step = Step(None, value.state, value.data)
        step.enter = True
        step.collect(value.actions, INIT)
        return Continue(step)

    # -- one event ---------------------------------------------------------------------------------------------------

    def _handle(self, event_type: EventType, content: Any, from_: From | None = None) -> Any:
        """Handle one event. Returns what the server's callback is to return; `from_` is given where that may reply."""
        before, data = self.state
        step = Step((event_type, content), before, data)
        self._call_back(step, event_type, content, EVENT)
        return self._complete(step, before, from_)

    def _complete(self, step: Step, before: Any, from_: From | None = None) -> Any:
        """Make the enter calls that are due, and let the step become true."""
        while step.enter and self.state_enter:
            step.enter = False
            self._send_replies(step, None)
            self._call_back(step, "enter", before, ENTER)
        if step.stop is not None:
            self._send_replies(step, None)
            self.state = (step.state, step.data)
            return step.stop
        answer = self._send_replies(step, from_)
        self.state = (step.state, step.data)
        return _directive(answer, self._advance(step, before))

    def _call_back(self, step: Step, event_type: EventType, content: Any, source: Source) -> None:
        if self.callback_mode == "state_functions":
            result = getattr(self, step.state)(event_type, content, step.data)
        else:
            result = self.handle_event(event_type, content, step.state, step.data)
        before = step.state
        step.take(result, source)
        if step.state is not before:
            self._check_state(step.state)

    def _advance(self, step: Step, before: Any) -> Event | None:
        """Let the agenda follow the step. Returns the event that comes next, ahead of the mailbox."""
        agenda = self._agenda
        if agenda is None:
            if not (step.postpone or step.events or step.timeouts):
                return None
            agenda = self._agenda = Agenda(current_process())
        event = agenda.advance(step, step.state != before)
        if agenda.is_empty():
            self._agenda = None
        return event

    def _send_replies(self, step: Step, from_: From | None) -> ReplyTo | None:
        """Send the replies of the step so far; but return that to `from_`: the server can hand it over directly."""
        direct = None
        for answer in step.replies:
            if from_ is None or answer.from_[1] is not from_[1]:
                answer_elsewhere(current_process(), answer.from_, answer.value)
            elif direct is None:  # else it is a second one, which is dropped like any other
                direct = answer
        step.replies.clear()
        return direct

    def _check_state(self, state: Any) -> None:
        """Whether there is a method for it, where one is needed."""
        if self.callback_mode != "state_functions":
            return
        name = type(self).__name__
        if not isinstance(state, str):
            raise BadReturn(f"{name} goes to state {state!r:.200}; {_NAMES} must be a str")
        if hasattr(GenStatem, state):
            raise BadReturn(f"{name} goes to state {state!r}; {_NAMES} must not be a name of GenStatem itself")
        if not callable(getattr(self, state, None)):
            raise BadReturn(f"{name} goes to state {state!r}; {_NAMES} must be the name of one of its methods")


_ACCEPTED_OF_INIT: Final = "expected Next(state, data, actions), (state, data), Ignore() or Stop(reason)"
_NAMES: Final = 'with callback_mode "state_functions" a state'
_DONE: Final = NoReply()


def _directive(answer: ReplyTo | None, event: Event | None) -> Any:
    """What a GenServer returns to send `answer`, if any, and to go on with `event`, if any."""
    if answer is not None:
        bare = event is None and type(answer.value) not in DIRECTIVES  # the shortest way, see `turns.take_turn`
        return answer.value if bare else Reply(answer.value, continue_=event)
    return _DONE if event is None else NoReply(continue_=event)
