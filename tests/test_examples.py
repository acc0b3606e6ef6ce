"""The small examples run as they stand, and print what they should. The word count has a test of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PRINTED = {
    "quickstart.py": r"\['pears'\]\n\{'alice': \{'nonode@nohost': <Pid nonode@nohost\.\d+>\}\}\n",
    "asyncio_client.py": r"(?s:(?=.*alice \['pears'\])(?=.*bob \['pears'\])(?=.*carol \['pears'\]).*)"
    r"\['alice', 'bob', 'carol'\]\n",
}


@pytest.mark.parametrize("example", PRINTED)
def test_an_example_runs_and_prints_what_it_should(example: str) -> None:
    command = [sys.executable, f"examples/{example}"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert re.fullmatch(PRINTED[example], run.stdout), run.stdout
    assert run.stderr == ""
