"""Runs the examples of a page in docs/: a Python block that is followed by a plain block prints just that."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MARK = "-- end of example --"


def untrue_examples(page: str) -> list[str]:
    """What the examples of the page print, where it is not what stands there.

    They run one after the other in a fresh interpreter, as one program.
    """
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```$(?:\n\n```\n(.*?)^```$)?", text, re.M | re.S)
    program = "".join(f"{code}\nprint({MARK!r})\n" for code, _ in examples)
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    if run.returncode:
        return [run.stderr]
    printed = run.stdout.split(f"{MARK}\n")
    pairs = zip(examples, printed, strict=False)
    return [
        f"{code}\nprints:\n{found}" for (code, stands), found in pairs if same_for_all(found) != same_for_all(stands)
    ]


def same_for_all(text: str) -> str:
    """Pids differ in their last number."""
    return re.sub(r"nonode@nohost\.\d+", "nonode@nohost.N", text)
