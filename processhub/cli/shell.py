"""`processhub shell`: a prompt on a node that observes hubs. Greenlets run while it waits for input."""

from __future__ import annotations

import logging
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from importlib.util import find_spec

import processhub
from processhub import Node, ProcessHub, ProcessHubError
from processhub.cli.completion import Ids
from processhub.cli.errors import OK, CommandError, in_one_line
from processhub.cli.joining import visit
from processhub.cli.logs import be_quiet, log_to_stderr
from processhub.cli.tables import counted
from processhub.cli.views import Views
from supervisor.errors import SupervisorError


def run_shell(options: Namespace) -> int:
    """Join the cluster, give a prompt, and leave when it ends. Raises CommandError where that cannot be."""
    be_quiet()
    use_ipython = not options.plain and _has_ipython()
    if not use_ipython and sys.stdin.isatty():
        sys.ps1, sys.ps2 = ">>> ", "... "  # then `Node.start` knows of the prompt, and runs the loop while it waits
    names = visit(options.connect, "shell", options.name, options.cookie_file)
    try:
        hub_ids = _observe(names, options.hub)
        log_to_stderr(Node.self(), "warning")
        # A statement that computes for a while holds the loop; who typed it knows that.
        logging.getLogger("supervisor.watchdog").setLevel(logging.ERROR)
        _interact(hub_ids, use_ipython)
    finally:
        Node.stop()
    return OK


def _has_ipython() -> bool:
    """Whether IPython is there and will draw its own prompt: without a terminal it reads lines, and calls no hook."""
    is_terminal = all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
    return is_terminal and find_spec("IPython") is not None


def _observe(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Observe these hubs, or all that there are. Returns their ids, sorted."""
    there = sorted({hub_id for name in names if name in Node.list() for hub_id in ProcessHub.hub_ids(name)})
    for hub_id in sorted(set(wanted)) or there:
        if hub_id not in there:
            raise CommandError(f"hub {hub_id!r} runs on no node; there are: {', '.join(there) or 'none'}")
        try:
            ProcessHub.observe(hub_id)
        except (ProcessHubError, SupervisorError) as error:
            raise CommandError(f"cannot observe hub {hub_id!r}: {in_one_line(error)}") from error
    return sorted(set(wanted)) or there


def _interact(hub_ids: Sequence[str], use_ipython: bool) -> None:
    views = Views(hub_ids)
    names = {name: getattr(processhub, name) for name in processhub.__all__}
    names.update(__name__="__console__", __doc__=None, **views.public())
    banner, ids = _banner(hub_ids), Ids(hub_ids)
    if use_ipython:
        from processhub.cli.ipython_prompt import run_ipython

        run_ipython(names, banner, ids)
    else:
        from processhub.cli.plain_prompt import run_plain

        run_plain(names, banner, ids)


def _banner(hub_ids: Sequence[str]) -> str:
    lines = [f"Python {sys.version.split()[0]}, node {Node.self()}, process {os.getpid()}."]
    for hub_id in hub_ids:
        children = counted(len(ProcessHub.process_list(hub_id)))
        lines.append(f"Observing hub {hub_id!r}: {children}, on {', '.join(ProcessHub.nodes(hub_id)) or 'no node'}.")
    if not hub_ids:
        lines.append("No hub runs on any node.")
    lines.append("Tables: hubs(), nodes(), process_list(), child_lookup(child_id). `from processhub import *` is done.")
    return "\n".join(lines)
