"""What ends a command: one line on standard error, and an exit status."""

from __future__ import annotations

import importlib
import traceback
from typing import Final

OK: Final = 0
FAILED: Final = 1  # what was looked at, or what was run, is not well
UNUSABLE: Final = 2  # the command could not do what it was asked: a mistake in its arguments, nobody there


class CommandError(Exception):
    """The command ends with this line, and with this status."""

    def __init__(self, line: str, status: int = UNUSABLE) -> None:
        super().__init__(line)
        self.status = status


def in_one_line(error: BaseException) -> str:
    """Type and text of an exception, and where it was raised."""
    text = " ".join(str(error).split())
    told = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, SyntaxError):
        return told  # says itself where
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_import(frame)]
    return f"{told} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else told


def _is_import(frame: traceback.FrameSummary) -> bool:
    return frame.filename.startswith("<frozen ") or frame.filename == importlib.__file__
