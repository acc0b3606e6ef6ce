"""Tests of the runtime run inside a process of a fresh runtime whose clock stands still until they turn it.

Who asks for the `clock` fixture runs there; `clock.advance(seconds)` fires what is due, `clock.settle()` lets all
run that is ready. Afterwards all processes of that runtime are killed, and it must be empty then.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from supervisor.runtime import Runtime
from tests.supervisor.kit import ManualClock, run_as_process


@pytest.fixture
def clock() -> Iterator[ManualClock]:
    clock = ManualClock()
    clock.runtime = runtime = Runtime(clock=clock)
    yield clock
    runtime.close()
    clock.settle()
    assert not runtime.table, "processes survived the end of their runtime"
    assert not runtime.names
    assert not runtime.scheduler.waits, "armed waits outlived those who waited"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: Any) -> bool | None:
    """Run a test that has a `clock` in a process of the clock's runtime."""
    if "clock" not in pyfuncitem.fixturenames:
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    run_as_process(pyfuncitem.funcargs["clock"].runtime, lambda: pyfuncitem.obj(**arguments))
    return True
