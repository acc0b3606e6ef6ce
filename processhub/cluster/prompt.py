"""The interactive prompt: greenlets run while it waits for input.

A prompt sits in C code that reads the terminal, so the event loop would stand still between two commands, and this node
would soon be taken for dead. Python calls `PyOS_InputHook` while it waits; ours runs the loop until there is input. The
readline prompt, the plain one and the new one of Python 3.13 (which calls the hook, too) each keep input in a buffer of
their own, where the file descriptor does not show it: the hook must not wait when something is in there.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, Final

import gevent
from gevent import monkey
from gevent.hub import Waiter
from greenlet import GreenletExit, getcurrent

from supervisor.errors import Exit

log = logging.getLogger(__name__)

_BLIND_SECONDS: Final = 0.005  # how long to run the loop when nobody can tell whether there is input
_INTERRUPT_SECONDS: Final = 0.02

_Hook: Final = ctypes.CFUNCTYPE(ctypes.c_int)
_get_ident: Any = monkey.get_original("_thread", "get_ident")
_start_thread: Any = monkey.get_original("_thread", "start_new_thread")
_sleep: Any = monkey.get_original("time", "sleep")
_select: Any = monkey.get_original("select", "select")


class _State:
    """What is hooked. A callback that Python may still call must be kept alive, hence one for good."""

    callback: Any = None
    before: int | None = None
    signal_before: Any = None
    is_hooked = False
    thread = 0
    waiting: Any = None  # the Waiter of a prompt that waits
    interrupted = False


def is_interactive() -> bool:
    """Whether a prompt reads this process's standard input, or will once the script has ended (`python -i`)."""
    return hasattr(sys, "ps1") or bool(sys.flags.interactive)


def hook() -> None:
    """Run the event loop of this thread while a prompt waits. Does nothing without one, and nothing the second time."""
    if _State.is_hooked or not is_interactive() or not _can_watch():
        return
    if _State.callback is None:
        _State.callback = _Hook(_on_wait)
    pointer = _pointer()
    _State.before, _State.thread = pointer.value, _get_ident()
    pointer.value = _address(_State.callback)
    _State.is_hooked = True
    _State.signal_before = signal.getsignal(signal.SIGINT)
    _catch_interrupts()


def unhook() -> None:
    """Leave the prompt as it was before `hook`. Does nothing if somebody else has hooked it since."""
    if not _State.is_hooked:
        return
    _State.is_hooked = False
    pointer = _pointer()
    if pointer.value == _address(_State.callback):
        pointer.value = _State.before
    _let_interrupts_pass()


def _pointer() -> ctypes.c_void_p:
    return ctypes.c_void_p.in_dll(ctypes.pythonapi, "PyOS_InputHook")


def _address(function: Any) -> int | None:
    return ctypes.cast(function, ctypes.c_void_p).value


def _can_watch() -> bool:
    try:
        return os.isatty(0) or _stdio_buffer() is not None
    except (OSError, ValueError, AttributeError):
        return False


# -- the hook --------------------------------------------------------------------------------------------------------


def _on_wait() -> int:
    """Python calls this when the prompt waits, perhaps every 100 ms. Nothing may escape: nobody would catch it."""
    if _get_ident() != _State.thread or getcurrent() is gevent.get_hub():
        return 0  # another thread reads, which has no loop of ours
    while True:
        try:
            _catch_interrupts()
            if not _State.interrupted:
                _run_loop_until_input()
            if _State.interrupted:
                _interrupt_the_prompt()
            return 0
        except KeyboardInterrupt:
            _State.interrupted = True
        except BaseException as error:
            # The prompt's own process was told to exit. The prompt goes on, as another process.
            _say(error)


def _run_loop_until_input() -> None:
    loop = gevent.get_hub().loop
    buffered = _is_buffered()
    if buffered or _select([0], [], [], 0)[0]:
        _wait(loop.timer(0))  # one turn, so that a long paste does not stop the loop
    elif buffered is None:
        _wait(loop.timer(_BLIND_SECONDS))
    else:
        _wait(loop.io(0, 1))


def _wait(watcher: Any) -> None:
    waiter: Waiter[None] = Waiter()
    _State.waiting = waiter
    try:
        watcher.start(waiter.switch, None)
        waiter.get()
    finally:
        _State.waiting = None
        watcher.stop()
        watcher.close()


# -- Ctrl-C ----------------------------------------------------------------------------------------------------------


def _catch_interrupts() -> None:
    is_ours_to_set = threading.current_thread() is threading.main_thread()
    if is_ours_to_set and signal.getsignal(signal.SIGINT) is _State.signal_before:
        signal.signal(signal.SIGINT, _on_interrupt)


def _let_interrupts_pass() -> None:
    if signal.getsignal(signal.SIGINT) is _on_interrupt:
        signal.signal(signal.SIGINT, _State.signal_before)


def _on_interrupt(number: int, frame: FrameType | None) -> None:
    """Ctrl-C. While the prompt waits it is meant for the prompt, and must raise nothing in the middle of the loop."""
    at_the_door = frame is not None and frame.f_code is _on_wait.__code__
    if at_the_door or (_State.waiting is not None and getcurrent() is gevent.get_hub()):
        _State.interrupted = True
        if _State.waiting is not None:
            gevent.get_hub().loop.run_callback(_State.waiting.switch, None)
    elif callable(_State.signal_before):
        _State.signal_before(number, frame)


def _interrupt_the_prompt() -> None:
    """Make the prompt drop its line. It looks for a signal only when one interrupts its own waiting, so send it again.

    The hook must not run then: Python would take the signal there. A function of C stands in for it meanwhile.
    """
    _State.interrupted = False
    pointer = _pointer()
    if pointer.value == _address(_State.callback):
        pointer.value = _address(ctypes.CDLL(None).getpid)
        _let_interrupts_pass()
        _start_thread(_signal_soon, (_State.thread,))


def _signal_soon(thread: int) -> None:
    _sleep(_INTERRUPT_SECONDS)
    signal.pthread_kill(thread, signal.SIGINT)
    _sleep(_INTERRUPT_SECONDS)
    if _State.is_hooked:
        _pointer().value = _address(_State.callback)


def _say(error: BaseException) -> None:
    if isinstance(error, GreenletExit):
        reason = error.reason if isinstance(error, Exit) else "killed"
        text = f"the process of this prompt has ended: {reason}"
    else:
        text = f"{type(error).__name__}: {error}"
    sys.stderr.write(f"\n*** {text}\n")
    sys.stderr.flush()


# -- buffers ---------------------------------------------------------------------------------------------------------


def _is_buffered() -> bool | None:
    """Whether the prompt holds input that the file descriptor does not show. None where that cannot be told."""
    console = _new_prompt()
    if console is not None:
        try:
            return bool(not console.event_queue.empty() or console.more_in_buffer())
        except AttributeError:
            return None
    return False if os.isatty(0) else _stdio_buffer()


def _new_prompt() -> Any:
    """The console of the prompt of Python 3.13 and later, if that is the one in use."""
    module = sys.modules.get("_pyrepl.readline")
    reader = getattr(getattr(module, "_wrapper", None), "reader", None)
    return getattr(reader, "console", None)


def _stdio_buffer() -> bool | None:
    """Whether C's `stdin` holds bytes that were read ahead; a terminal gives one line at a time, but a pipe does not.

    The two pointers stand behind an int of flags, both in glibc and in musl. None on other systems.
    """
    if sys.platform != "linux":
        return None
    stream = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "stdin").value
    if stream is None:
        return None
    _flags, position, end = (ctypes.c_void_p * 3).from_address(stream)
    return (end or 0) > (position or 0)
