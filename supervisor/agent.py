"""Agent: a process that keeps one value, and runs the functions that read and change it, after Elixir's Agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from supervisor.errors import BadReturn, SupervisorError
from supervisor.gen_server import From, GenServer
from supervisor.reasons import NORMAL, Crash
from supervisor.waits import Wait

R = TypeVar("R")

# Requests: (what, function, its arguments after the value).
GET: Final = "get"
UPDATE: Final = "update"
GET_AND_UPDATE: Final = "get_and_update"


class AgentError(SupervisorError):
    """A function failed in an agent of another node. `reason` is a Crash: the exception as text, with its traceback."""

    def __init__(self, reason: Crash) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the function failed in the agent: {self.reason}"


class Agent(GenServer):
    """Keeps a value. The functions given to it run in its process, one at a time, on the value itself.

    A function whose caller waits (`get`, `update`, `get_and_update`) and that raises raises in the caller; the agent
    lives on with the value that it had. (In Elixir the agent crashes: there the caller would not get to know why.)
    Nobody waits for a `cast`: a function that raises there ends the agent with a `Crash`.

    `agent` is whatever `GenServer.call` takes. To an agent of another node go functions that it can import there.
    """

    # -- starting ----------------------------------------------------------------------------------------------------

    def init(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """The value is what `fn` returns, called in the new process."""
        self.state = fn(*args, **kwargs)

    # -- using -------------------------------------------------------------------------------------------------------

    @staticmethod
    def get(agent: Any, fn: Callable[..., R], *args: Any, timeout: float | None = 5.0) -> R:
        """What `fn(value, *args)` returns. On the same node that may be the value itself: change it in `update` only.

        Raises what `fn` raises (from another node: AgentError), or as `GenServer.call` does: NoProcess, ProcessExit,
        CallTimeout after `timeout` seconds. After a CallTimeout `fn` may still run; what becomes of it is dropped.
        """
        return _ask(agent, GET, fn, args, timeout)  # type: ignore[no-any-return]

    @staticmethod
    def update(agent: Any, fn: Callable[..., Any], *args: Any, timeout: float | None = 5.0) -> None:
        """Make what `fn(value, *args)` returns the value; done when this returns. Raises as `get` does.

        What `fn` changed in the value in place before it raised stays changed.
        """
        _ask(agent, UPDATE, fn, args, timeout)

    @staticmethod
    def get_and_update(agent: Any, fn: Callable[..., tuple[R, Any]], *args: Any, timeout: float | None = 5.0) -> R:
        """`fn(value, *args)` returns (result, new value): take the one and return the other, in one step.

        Raises as `get` does, and BadReturn where `fn` returns something else; the value stays then.
        """
        return _ask(agent, GET_AND_UPDATE, fn, args, timeout)  # type: ignore[no-any-return]

    @staticmethod
    def cast(agent: Any, fn: Callable[..., Any], *args: Any) -> None:  # type: ignore[override]
        """Like `update`, without waiting. `fn` runs after what was asked before; dropped when the agent is dead.

        When `fn` raises the agent ends. Raises NoProcess for an unknown local name.
        """
        GenServer.cast(agent, (UPDATE, _checked(fn), args))

    @staticmethod
    def stop(agent: Any, reason: Any = NORMAL, timeout: float | None = None) -> None:
        """End the agent after what was asked before; it has ended when this returns. NoProcess, CallTimeout."""
        GenServer.stop(agent, reason, timeout)

    # -- the process -------------------------------------------------------------------------------------------------

    def handle_call(self, request: Any, from_: From) -> Any:
        """Answer with (True, result) or (False, error): a result may be anything, a `Stop` or a `Reply` too."""
        try:
            return True, self._run(*request)
        except Exception as error:
            return False, error if isinstance(from_[1], Wait) else Crash.from_exception(error)

    def handle_cast(self, request: Any) -> None:
        self._run(*request)

    def _run(self, what: str, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        returned = fn(self.state, *args)
        if what == GET:
            return returned
        if what == UPDATE:
            self.state = returned
            return None
        if type(returned) is not tuple or len(returned) != 2:
            raise BadReturn(f"{fn!r} returned {returned!r:.200} to get_and_update; expected (result, new value)")
        result, self.state = returned
        return result


def _ask(agent: Any, what: str, fn: Callable[..., Any], args: tuple[Any, ...], timeout: float | None) -> Any:
    done, value = GenServer.call(agent, (what, _checked(fn), args), timeout)
    if done:
        return value
    try:
        raise value if isinstance(value, BaseException) else AgentError(value)
    finally:
        del value  # the traceback refers to this frame


def _checked(fn: Callable[..., Any]) -> Callable[..., Any]:
    if not callable(fn):
        raise TypeError(f"an agent needs a function of its value; got {fn!r:.200}")
    return fn
