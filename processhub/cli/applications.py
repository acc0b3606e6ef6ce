"""The application of a node: `module:callable` is called in a process, which then watches the application's supervisor.

The callable takes no arguments and is called once the node runs. It returns

- an iterable of child specs, in any form that a supervisor takes: they get a supervisor (`one_for_one`), or
- the pid of a supervisor that it has started.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from processhub import Down, Exit, Pid, ProcessExit, StartError, Supervisor, process
from processhub.cli.errors import CommandError, in_one_line

Start = Callable[[], Any]

FORMS = "an iterable of child specs, or the pid of a supervisor that it started"


@dataclass(frozen=True)
class Started:
    """The application runs; `supervisor` is its top."""

    supervisor: Pid


@dataclass(frozen=True)
class NotStarted:
    """The application did not start, for this reason."""

    why: str


def load(text: str) -> Start:
    """The callable that `module:callable` names. Raises CommandError, in one line."""
    module, colon, name = text.partition(":")
    if not (module and colon and name):
        raise CommandError(f"--app {text!r}: expected module:callable, as in shop:app")
    try:
        found = importlib.import_module(module)
    except Exception as error:
        error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None  # not our own line
        raise CommandError(f"--app {text}: cannot import {module}: {in_one_line(error)}") from error
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise CommandError(f"--app {text}: {module} has no {name!r}") from None
    if not callable(found):
        raise CommandError(f"--app {text}: {name} is {found!r:.100}, which is not callable; it must return {FORMS}")
    return found


def host(app: Start, listener: Pid) -> None:
    """Start the application in the calling process, tell `listener` (`Started` or `NotStarted`), and stay its parent.

    When the supervisor ends, this process exits with the same reason.
    """
    process.trap_exit(True)  # what the application links to us shall not end us before we have told why
    try:
        supervisor = _supervisor_of(app())
    except Exception as error:
        process.send(listener, NotStarted(_why(error)))
        return
    ref = process.monitor(supervisor)
    process.send(listener, Started(supervisor))
    down = process.receive(lambda message: isinstance(message, Down) and message.ref == ref)
    raise Exit(down.reason)


def _supervisor_of(returned: Any) -> Pid:
    if isinstance(returned, Pid):
        return returned
    if isinstance(returned, Iterable) and not isinstance(returned, str | bytes | Mapping):
        return Supervisor.start_link(list(returned))
    raise CommandError(f"it returned {returned!r:.100}; expected {FORMS}")


def _why(error: Exception) -> str:
    # A StartError has been through processes: the place where it was raised last says nothing.
    says_all = isinstance(error, StartError | CommandError)
    return " ".join(str(error).split()) if says_all else in_one_line(error)


def stop(supervisor: Pid) -> None:
    """Stop the application, its children in reverse order of their start. Returns when it has ended."""
    try:
        Supervisor.stop(supervisor)
    except ProcessExit:
        pass  # it ended by itself meanwhile
