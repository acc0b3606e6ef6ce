"""The standard prompt. `Node.start` has hooked it, so that greenlets run while it waits for a terminal."""

from __future__ import annotations

import code
import sys
from typing import Any

import gevent

from processhub.cli.completion import Ids, use_readline


def run_plain(names: dict[str, Any], banner: str, ids: Ids) -> None:
    """Give a prompt until the end of the input."""
    if sys.stdin.isatty():
        use_readline(names, ids)
        code.interact(banner, local=names, exitmsg="")
    else:
        code.interact(banner, _read_line, local=names, exitmsg="")


def _read_line(prompt: str = "") -> str:
    """A line of a file or a pipe, read in a thread: no hook is called while Python waits for one."""
    line: str = gevent.get_hub().threadpool.apply(sys.stdin.readline)
    if not line:
        raise EOFError
    return line.rstrip("\n")
