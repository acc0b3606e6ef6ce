"""The small examples run as they stand, and print what they should. The word count has a test of its own."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PRINTED = {
    "quickstart.py": r"\['pears'\]\n\{'alice': \{'nonode@nohost': <Pid nonode@nohost\.\d+>\}\}\n",
    "asyncio_client.py": r"(?s:(?=.*alice \['pears'\])(?=.*bob \['pears'\])(?=.*carol \['pears'\]).*)"
    r"\['alice', 'bob', 'carol'\]\n",
}

# These say in their docstring what they print; here is what they log.
LOGGED = {
    "handover.py": "",
    "hooks.py": "",
    "placement.py": (
        "hub printers: 1 children are bound to node2@127.0.0.1:4371 and down until it is back: 'printer2'\n"
    ),
    "replicated.py": "",
    "strategy.py": "",
}


def run_example(name: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, f"examples/{name}"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    return run


@pytest.mark.parametrize("example", PRINTED)
def test_an_example_runs_and_prints_what_it_should(example: str) -> None:
    run = run_example(example)
    assert re.fullmatch(PRINTED[example], run.stdout), run.stdout
    assert run.stderr == ""


@pytest.mark.parametrize("example", LOGGED)
def test_an_example_prints_what_its_docstring_says(example: str) -> None:
    docstring = ast.get_docstring(ast.parse((ROOT / "examples" / example).read_text(encoding="utf-8")))
    assert docstring is not None
    _, _, shown = docstring.partition("It prints:\n\n")
    run = run_example(example)
    assert run.stdout == textwrap.dedent(shown) + "\n"
    assert run.stderr == LOGGED[example]
