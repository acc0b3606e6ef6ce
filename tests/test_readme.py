"""The README shows what is really printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


def test_the_program_on_the_first_screen_is_the_quickstart_example() -> None:
    program = blocks("python")[0]
    assert (ROOT / "examples" / "quickstart.py").read_text().endswith(program)


def test_the_quickstart_prints_what_the_readme_shows() -> None:
    run = subprocess.run(
        [sys.executable, "examples/quickstart.py"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert without_serials(run.stdout) == without_serials(blocks("")[0])


def without_serials(text: str) -> str:
    """Pids differ in their last number from version to version."""
    return re.sub(r"\.\d+>", ".N>", text)
