"""What belongs to native threads, in a plain and in a patched program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gevent
import pytest

from supervisor.native import Answer, get_ident, start_thread

ROOT = Path(__file__).resolve().parents[2]


def test_an_answer_is_waited_for_by_a_thread_until_it_is_there() -> None:
    answer, back = Answer(), Answer()
    start_thread(lambda: back.set_result(("got", answer.result())), ())
    answer.set_result("the value")
    assert back.result() == ("got", "the value")


def test_an_answer_may_be_there_before_somebody_asks_and_may_be_none() -> None:
    answer = Answer()
    answer.set_result(None)
    assert answer.result() is None


def test_an_error_is_raised_in_who_waits() -> None:
    answer = Answer()
    error = KeyError("no")
    answer.set_exception(error)
    with pytest.raises(KeyError) as raised:
        answer.result()
    assert raised.value is error


def test_an_exit_that_ended_who_was_asked_is_raised_too() -> None:
    answer = Answer()
    answer.set_exception(gevent.GreenletExit())
    with pytest.raises(gevent.GreenletExit):
        answer.result()


def test_threads_are_told_apart_and_greenlets_are_not() -> None:
    answer = Answer()
    start_thread(lambda: answer.set_result(get_ident()), ())
    assert answer.result() != get_ident()
    assert gevent.spawn(get_ident).get() == get_ident()


PATCHED = """
from gevent import monkey
monkey.patch_all()
import threading
import gevent
from supervisor.native import Answer, get_ident, start_thread

me = get_ident()
assert gevent.spawn(get_ident).get() == me
assert gevent.spawn(threading.get_ident).get() != threading.get_ident()

answer, beat = Answer(), []
ticker = gevent.spawn(beat.append, 1)
start_thread(lambda: answer.set_result(get_ident()), ())
other = answer.result()
assert other != me
assert not beat, "a native wait lets no greenlet run"
gevent.sleep(0)
assert beat
print("all is native")
"""


def test_a_patched_program_still_has_native_threads_and_waits() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PATCHED], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "all is native", done.stderr
    assert done.returncode == 0
