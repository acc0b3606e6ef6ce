"""Logging to standard error, each line with the node and the process that it comes from."""

from __future__ import annotations

import logging
import sys
from typing import Final

from greenlet import getcurrent

_FORMAT: Final = "%(asctime)s %(levelname)s {node} %(actor)s %(name)s: %(message)s"


def log_to_stderr(node: str, level: str) -> None:
    """Send records of `level` and above to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT.format(node=node.replace("%", "%%"))))
    handler.addFilter(_add_actor)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _add_actor(record: logging.LogRecord) -> bool:
    record.actor = _actor()
    return True


def _actor() -> str:
    """The process that runs, as <serial name>; "-" where none does. Asking for its pid would make a process of it."""
    process = getattr(getcurrent(), "otp_process", None)
    if process is None:
        return "-"
    name = process.names[0] if process.names else process.label
    return f"<{process.pid.serial} {name}>" if name else f"<{process.pid.serial}>"


def be_quiet() -> None:
    """Print no log records: the command itself says what goes wrong, in its own words."""
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)
