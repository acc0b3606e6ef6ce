"""SIGTERM and SIGINT: the first asks the main process to stop, the second ends everything at once."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from types import FrameType

import gevent

from processhub import Pid, process


@dataclass(frozen=True)
class StopSignal:
    """The message that the listener gets; `name` as in "SIGTERM"."""

    name: str


class _Handler:
    def __init__(self, listener: Pid) -> None:
        self._listener = listener
        self._loop = gevent.get_hub().loop
        self._is_first = True

    def __call__(self, number: int, frame: FrameType | None) -> None:
        # A handler of Python's and not of the event loop: the second signal must work while something holds the loop.
        if not self._is_first:
            os.write(2, b"processhub node: the second signal: ending at once\n")
            os._exit(128 + number)
        self._is_first = False
        self._loop.run_callback_threadsafe(process.send, self._listener, StopSignal(signal.Signals(number).name))


def tell_of_signals(listener: Pid) -> None:
    """From now on the first SIGTERM or SIGINT is a `StopSignal` message to `listener`. For the main thread."""
    handler = _Handler(listener)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)
