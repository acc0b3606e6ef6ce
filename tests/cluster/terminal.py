"""A Python prompt in a pseudo terminal, for tests of what happens while nobody types."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PATIENCE: Final = 20.0

# Ctrl-C is for the processes whose terminal it is. (pty.fork would do all this, but forks a process with threads.)
_TAKE_TERMINAL: Final = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)

_CODES: Final = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z@]|[=>])")  # how the prompt moves the cursor


class Prompt:
    """`python -q`, or another program with a prompt, as a person sees it. Use it in a `with` statement.

    arguments: of python. prompt: what the program shows when it waits for the first time.
    """

    def __init__(
        self,
        cookie: str,
        arguments: Sequence[str] = ("-q",),
        environment: Mapping[str, str] | None = None,
        prompt: str = ">>> ",
    ) -> None:
        self.output = ""
        self.prompt = prompt
        self.name = ""  # of its node, for who starts one
        extra = {
            "PROCESSHUB_COOKIE": cookie,
            "PYTHONPATH": str(ROOT),
            "PYTHON_COLORS": "0",
            "PYTHON_HISTORY": os.devnull,
            "PYTHONSTARTUP": "",
            "TERM": "xterm",
        }
        self._terminal, end = pty.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 250, 0, 0))  # wide: nothing is wrapped
        self._process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, sys.executable, *arguments],
            stdin=end,
            stdout=end,
            stderr=end,
            start_new_session=True,
            cwd=ROOT,
            env={**os.environ, **extra, **(environment or {})},
        )
        os.close(end)

    def __enter__(self) -> Prompt:
        self.await_text(self.prompt)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)

    def finish(self) -> int:
        """Wait until the program has ended. Returns its exit status."""
        while True:  # what it prints must be read, or it waits for us
            try:
                self.output += os.read(self._terminal, 65536).decode(errors="replace")
            except OSError:
                return self._process.wait(PATIENCE)

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self._terminal, text.encode())

    def enter(self, line: str) -> str:
        """Enter a line, and return what the terminal shows then: the echo of the line, and what it printed."""
        mark = f"<{len(self.output)}>"
        # The mark is computed, so that the echo of what is typed does not show it.
        self.type(f"{line}\r")
        self.type(f"print('<' + str({len(self.output)}) + '>')\r")
        return self.await_text(mark)

    def await_text(self, text: str, timeout: float = PATIENCE) -> str:
        """Wait until the terminal shows `text`; returns what it showed since the last wait, up to that."""
        deadline = time.monotonic() + timeout
        seen = ""
        while text not in (shown := _CODES.sub("", seen)):
            if not select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"{text!r} did not appear; the terminal shows:\n{self.output}")
            try:
                data = os.read(self._terminal, 65536).decode(errors="replace")
            except OSError as error:
                raise AssertionError(f"the prompt has ended; the terminal showed:\n{self.output}") from error
            seen += data
            self.output += data
        return shown
