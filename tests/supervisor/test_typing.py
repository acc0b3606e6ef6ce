"""What a type checker says about typed calls. The sources under typing/ are no modules: some must fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import supervisor.processes as process
from supervisor.gen_server import GenServer
from tests.supervisor.kit import ManualClock

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = Path(__file__).resolve().parent / "typing"
COUNTER = (SOURCES / "counter.txt").read_text()
IMPORTS = """
from typing import Any
import supervisor.processes as process
from supervisor.processes import Via
"""


def mypy(tmp_path: Path, source: str) -> tuple[list[int], list[int], str]:
    """Check `source`, beside the counter: the lines that are wrong, the lines that should be, and what mypy says."""
    pytest.importorskip("mypy", reason="mypy is in the extra `dev`")
    text = COUNTER + IMPORTS + (SOURCES / source).read_text()
    path = tmp_path / "checked.py"
    path.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    complaints = [line for line in done.stdout.splitlines() if ": error:" in line]
    found = sorted({int(line.split(":")[1]) for line in complaints})
    expected = [number for number, line in enumerate(text.splitlines(), 1) if "# error:" in line]
    return found, expected, done.stdout + done.stderr


@pytest.mark.parametrize("source", ["passes.txt", "fails.txt"])
def test_mypy_finds_exactly_the_calls_that_are_wrong(tmp_path: Path, source: str) -> None:
    found, expected, output = mypy(tmp_path, source)
    assert found == expected, output
    assert bool(expected) == (source == "fails.txt")


def test_the_typed_counter_works_when_it_runs(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    counter: Any = ModuleType("counter")
    monkeypatch.setitem(sys.modules, "counter", counter)
    exec(compile(COUNTER, "counter.txt", "exec"), counter.__dict__)
    handle = counter.Counter.at(counter.Counter.start_link(0))
    assert GenServer.call(handle, counter.Add(2)) == 2
    GenServer.cast(handle, counter.Reset(40))
    assert GenServer.call(handle, counter.Get()) == 40
    assert process.alive(handle)
