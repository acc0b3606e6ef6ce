"""`python -m processhub ...` as an operating-system process, for tests that read what it prints."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from tests.cluster.harness import PATIENCE, ROOT

APPLICATION: Final = """
from processhub import GenServer, ProcessHub, Supervisor


class Basket(GenServer):
    def init(self, *items):
        self.state = list(items)

    def handle_call(self, request, from_):
        return self.state

    def handle_cast(self, request):
        raise ValueError(request)


def hub():
    return ProcessHub.child_spec(ProcessHub("shop", child_specs=[Basket.child_spec(id=name) for name in "abc"]))


def app():
    return [hub()]
"""
"""A module with an application: a hub "shop" with the children a, b and c."""


class Command:
    """One run of the command line.

    Attributes:
        output, errors: what it wrote so far to standard output and standard error.
    """

    def __init__(
        self, *arguments: str, cookie: str, folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.output = ""
        self.errors = ""
        self._arguments = arguments
        # PYTHONPATH for us; the application's module is found because it lies in the current folder.
        extra = {"PROCESSHUB_COOKIE": cookie, "PYTHONPATH": str(ROOT), **(environment or {})}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "processhub", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env={**os.environ, **extra},
        )

    def await_output(self, text: str) -> str:
        """Wait until standard output holds `text`; returns all of it."""
        self._read_until(lambda: text in self.output, f"{text!r} on standard output")
        return self.output

    def await_errors(self, text: str) -> str:
        """Wait until standard error holds `text`; returns all of it."""
        self._read_until(lambda: text in self.errors, f"{text!r} on standard error")
        return self.errors

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def finish(self) -> int:
        """Wait for its end. Returns the exit status."""
        self._read_until(lambda: False, "the end", ends=True)
        return self.process.wait(PATIENCE)

    def _read_until(self, reached: Callable[[], bool], what: str, ends: bool = False) -> None:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        streams = {self.process.stdout: "output", self.process.stderr: "errors"}
        deadline = time.monotonic() + PATIENCE
        while not reached() and streams:
            readable = select.select(list(streams), [], [], max(0.0, deadline - time.monotonic()))[0]
            assert readable, f"{what} did not come.\n{self}"
            for stream in readable:
                data = os.read(stream.fileno(), 65536)
                name = streams[stream] if data else streams.pop(stream)
                setattr(self, name, getattr(self, name) + data.decode(errors="replace"))
        assert ends or reached(), f"it has ended before {what} came.\n{self}"

    def __str__(self) -> str:
        return f"processhub {' '.join(self._arguments)}\n-- output:\n{self.output}\n-- errors:\n{self.errors}"

    def close(self) -> None:
        """Kill and reap it."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


class Commands:
    """Starts commands in one folder with one cookie; ends them all."""

    def __init__(self, folder: Path, cookie: str) -> None:
        self.folder = folder
        self.cookie = cookie
        self._running: list[Command] = []

    def start(
        self, *arguments: str, cookie: str | None = None, environment: Mapping[str, str] | None = None
    ) -> Command:
        """Start `processhub ARGUMENTS`."""
        command = Command(*arguments, cookie=cookie or self.cookie, folder=self.folder, environment=environment)
        self._running.append(command)
        return command

    def node(self, name: str, *arguments: str) -> Command:
        """Start a node, and wait until it runs."""
        command = self.start("node", name, *arguments)
        command.await_output(f"{name} runs")
        return command

    def run(self, *arguments: str, cookie: str | None = None) -> tuple[int, Command]:
        """Start a command, and wait for its end."""
        command = self.start(*arguments, cookie=cookie)
        return command.finish(), command

    def close(self) -> None:
        """Kill and reap all."""
        for command in self._running:
            command.close()


@contextlib.contextmanager
def commands_in(folder: Path, cookie: str) -> Iterator[Commands]:
    """Commands that run in `folder`, where a module `shop` with an application lies."""
    (folder / "shop.py").write_text(APPLICATION)
    commands = Commands(folder, cookie)
    try:
        yield commands
    finally:
        commands.close()
