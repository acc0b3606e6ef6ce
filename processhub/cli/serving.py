"""`processhub node`: a node with an application, from its start to its drain."""

from __future__ import annotations

import json
import logging
import os
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from processhub import Down, Node, Pid, ReceiveTimeout, process
from processhub.cli import applications, seeds
from processhub.cli.applications import NotStarted, Start, Started
from processhub.cli.errors import FAILED, OK, CommandError
from processhub.cli.joining import start_node
from processhub.cli.logs import log_to_stderr
from processhub.cli.seeds import SeedAnswer
from processhub.cli.stop_signals import StopSignal, tell_of_signals

log = logging.getLogger(__name__)


class _Stopped(Exception):
    """A signal asks to stop; the text is its name."""


def serve(options: Namespace) -> int:
    """Run the node until a signal (status 0) or the end of its application. Raises CommandError for all else."""
    log_to_stderr(options.node, options.log_level)
    app = applications.load(options.app) if options.app is not None else None
    tell_of_signals(process.self())
    node = start_node(options.node, options.cookie_file, options.seed, options.bind)
    try:
        _reach_a_seed(options.seed)
        host = _start(node, app) if app is not None else None
        _announce(options)
        return _await_end(host)
    except _Stopped as signal:
        log.info("%s: the node drains and stops", signal)
        return OK
    finally:
        Node.stop(options.stop_timeout)
        log.info("the node has stopped")


def _receive(matches: Callable[[Any], bool], timeout: float | None = None) -> Any:
    """The next message that matches; a signal ends every waiting. Raises _Stopped, ReceiveTimeout."""
    message = process.receive(lambda one: isinstance(one, StopSignal) or matches(one), timeout)
    if isinstance(message, StopSignal):
        raise _Stopped(message.name)
    return message


def _reach_a_seed(names: Sequence[str]) -> None:
    """Wait until one seed is connected, all have answered, or the time is over. CommandError if we are refused."""
    due = process.now() + seeds.SEED_SECONDS
    try:
        for _ in range(seeds.ask(names)):
            answer = _receive(lambda one: isinstance(one, SeedAnswer), max(0.0, due - process.now()))
            if answer.connected:
                return
    except ReceiveTimeout:
        log.warning("no seed answers yet; they are asked again and again: %s", ", ".join(names))
    refusal = seeds.refusal()
    if refusal is not None:
        raise CommandError(refusal)


def _start(node: Node, app: Start) -> Pid:
    """Start the application. Returns the process that ends with it."""
    host, _ = process.spawn_monitor(applications.host, app, process.self())
    message = _receive(lambda one: isinstance(one, Started | NotStarted | Down))
    if not isinstance(message, Started):
        why = message.why if isinstance(message, NotStarted) else message.reason
        raise CommandError(f"the application did not start: {why}", FAILED)
    # Last of all that drains: first the hubs hand over their children.
    node.on_stop.append(partial(applications.stop, message.supervisor))
    return host


def _announce(options: Namespace) -> None:
    """Say on standard output that everything runs: scripts, and who starts nodes, wait for this line."""
    if options.json:
        line = json.dumps({"event": "running", "node": Node.self(), "pid": os.getpid(), "nodes": Node.list()})
    else:
        line = f"{Node.self()} runs; Ctrl-C or SIGTERM stops it"
    print(line, flush=True)


def _await_end(host: Pid | None) -> int:
    """Wait for a signal or for the end of the application."""
    down = _receive(lambda one: isinstance(one, Down) and one.pid == host)
    if down.reason == "normal":
        log.info("the application has ended; the node stops")
        return OK
    raise CommandError(f"the application has ended: {down.reason}; the node has stopped", FAILED)
