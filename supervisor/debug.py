"""The `debug` namespace: look into running servers, after Erlang's sys; and `dump`, which shows every process.

`server` is a Pid, a registered name or a via name of a server of this node. A system message to it goes ahead of all
users' messages that wait, and is handled between two of them, so none of it is of use while a handler runs or blocks.
Every function but `dump` raises

    NoProcess       there is no such process
    ProcessExit     it ended before it answered; "calling_self" where a server would wait for itself
    CallTimeout     it did not answer in time; what was asked for may still happen
    ValueError      the server belongs to another node: run the function there (`Node.spawn`)
    TypeError       the process is no server
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from supervisor.calls import ask_behind, run_inside
from supervisor.debugged import Counts, Debugged, Sink, TraceEvent, log
from supervisor.dumps import dump, dump_on_signal
from supervisor.infos import info
from supervisor.pids import Pid
from supervisor.records import Process
from supervisor.reports import formatted_state
from supervisor.runtime import current_runtime

__all__ = [
    "TraceEvent",
    "dump",
    "dump_on_signal",
    "get_state",
    "get_status",
    "replace_state",
    "resume",
    "statistics",
    "suspend",
    "trace",
]


def get_state(server: Any, timeout: float | None = 5.0) -> Any:
    """The state of a server: `self.state`; (state, data) of a GenStatem. It is the object itself, not a copy.

    Messages that wait have not been handled yet. To see what they make of it, call the server first.
    """
    return _inside(server, _state_of, timeout)


def get_status(server: Any, timeout: float | None = 5.0) -> dict[str, Any]:
    """What a server is and how it stands, for people: a dict with

        pid, names, label, parent, server, links, trap_exit, queue_length    as in `process.info`
        suspended, traced, counted    whether `suspend`, `trace` and `statistics` are on
        state                         what its `format_status(None, state)` makes of the state
        postponed, timeouts           of a GenStatem: how many events are postponed; the types of timeouts that run

    Where format_status fails, the state is a text that says so.
    """
    status: dict[str, Any] = _inside(server, _status_of, timeout)
    return status


def replace_state(server: Any, fn: Callable[[Any], Any], timeout: float | None = 5.0) -> Any:
    """Give a server the state `fn(state)`, which is returned. `fn` runs in the server.

    What `fn` raises is raised here, and the server keeps its state and goes on.
    """
    return _inside(server, partial(_replace_state, fn), timeout)


def suspend(server: Any, timeout: float | None = 5.0) -> None:
    """Let a server handle system messages only: those of this module, `GenServer.stop`, the exit of its parent.

    Users' messages wait, in order; calls run into their timeouts. A timeout that a callback returned stands still.
    Exit signals end it as ever. Suspending twice is the same as once.
    """
    _inside(server, _suspend, timeout)


def resume(server: Any, timeout: float | None = 5.0) -> None:
    """End `suspend`: first come the messages that waited. Does nothing to a server that is not suspended."""
    _inside(server, _resume, timeout)


def statistics(server: Any, flag: str = "get", timeout: float | None = 5.0) -> dict[str, Any] | None:
    """Count what a server does: "on" begins anew, "off" ends it, "get" returns the counts, None while off.

        start_time, current_time     seconds since the epoch
        messages_in, messages_out    users' messages that it handled; what `trace` shows as "out"
        reductions                   everything that it handled: system messages and handle_continue, too
        queue_length                 messages that wait now

    ValueError for another flag.
    """
    if flag not in ("on", "off", "get"):
        raise ValueError(f"statistics takes 'on', 'off' or 'get'; got {flag!r:.80}")
    counts: dict[str, Any] | None = _inside(server, _STATISTICS[flag], timeout)
    return counts


def trace(server: Any, on_or_sink: bool | Sink | None = True, timeout: float | None = 5.0) -> None:
    """Show the messages of a server as they pass: in when they are handled, out when they are sent.

    Out go the replies to its calls, be they returned by handle_call or given by `GenServer.reply` in whatever process
    later on, and what the server itself sends, casts and calls. Exit signals, and what greenlets or processes that it
    started send, are not seen.

    on_or_sink: True logs them (logger `supervisor.debug`, level INFO); a callable gets each `TraceEvent`; False or None
    ends it. The callable runs in the server, or in the process that replies in its stead, and must not call it. What it
    sends itself is not shown. When it raises, the trace ends and the server goes on. A later trace takes the place of
    an earlier one. Calls that were handled before the trace began are answered unseen.
    """
    if not (callable(on_or_sink) or on_or_sink in (True, False, None)):
        raise TypeError(f"trace takes True, False or a callable; got {on_or_sink!r:.80}")
    sink = on_or_sink if callable(on_or_sink) else _log if on_or_sink else None
    _inside(server, partial(_trace, sink), timeout)


# -- inside the server -----------------------------------------------------------------------------------------------


def _inside(server: Any, fn: Callable[[Process], Any], timeout: float | None) -> Any:
    if not isinstance(server, Pid) and hasattr(server, "resolve"):
        return ask_behind(server, lambda pid, left: _inside(pid, fn, left), timeout)
    runtime = current_runtime()
    if runtime.is_remote(server):
        raise ValueError(f"{server!r:.200} belongs to another node; debug works on its own node: use Node.spawn")
    process = runtime.find(server)
    if process is not None and not process.is_server:
        raise TypeError(f"{process!r} is a plain process; debug works on servers")
    return run_inside(server, fn, timeout)


def _state_of(process: Process) -> Any:
    return process.server.state


_OF_INFO = ("pid", "names", "label", "parent", "server", "links", "trap_exit", "queue_length")


def _status_of(process: Process) -> dict[str, Any]:
    behaviour = process.behaviour if isinstance(process.behaviour, Debugged) else None
    return {
        **{item: info(process.pid, item) for item in _OF_INFO},
        "suspended": behaviour is not None and behaviour.suspended,
        "traced": behaviour is not None and behaviour.sink is not None,
        "counted": behaviour is not None and behaviour.counts is not None,
        "state": formatted_state(process, None),
        **process.server._more_status(),
    }


def _replace_state(fn: Callable[[Any], Any], process: Process) -> Any:
    process.server.state = fn(process.server.state)
    return process.server.state


def _suspend(process: Process) -> None:
    Debugged.attach(process).suspend(process)


def _resume(process: Process) -> None:
    behaviour = process.behaviour
    if isinstance(behaviour, Debugged):
        behaviour.resume(process)
        behaviour.detach_if_unused(process)


def _statistics_on(process: Process) -> None:
    Debugged.attach(process).counts = Counts(process.runtime.clock.wall())


def _statistics_off(process: Process) -> None:
    behaviour = process.behaviour
    if isinstance(behaviour, Debugged):
        behaviour.counts = None
        behaviour.detach_if_unused(process)


def _statistics_get(process: Process) -> dict[str, Any] | None:
    behaviour = process.behaviour
    if not isinstance(behaviour, Debugged) or behaviour.counts is None:
        return None
    counts = behaviour.counts
    return {
        "start_time": counts.started,
        "current_time": process.runtime.clock.wall(),
        "messages_in": counts.messages_in,
        "messages_out": counts.messages_out,
        "reductions": counts.reductions,
        "queue_length": process.queue_length,
    }


_STATISTICS = {"on": _statistics_on, "off": _statistics_off, "get": _statistics_get}


def _trace(sink: Sink | None, process: Process) -> None:
    if sink is not None:
        Debugged.attach(process).sink = sink
    elif isinstance(process.behaviour, Debugged):
        process.behaviour.sink = None
        process.behaviour.detach_if_unused(process)


def _log(event: TraceEvent) -> None:
    log.info("%s", event)
