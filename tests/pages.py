"""Pages in Markdown: their examples, which must print what stands there, and their links, which must lead somewhere.

A `python` block is run. What it prints is the plain block that follows it; nothing, if none follows. A block that
begins with `>>>` is a session, checked by doctest. Indented blocks, and those of other languages, are not run.
"""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
DOCS: Final = ROOT / "docs"
PAGES: Final = sorted(DOCS.rglob("*.md"))
OTHERS: Final = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "examples/README.md")]
MARK: Final = "-- end of example --"

_FENCE: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


# -- examples --------------------------------------------------------------------------------------------------------


def untrue_examples(page: Path) -> list[str]:
    """What the examples of the page print, where it is not what stands there.

    They run one after the other in a fresh interpreter, as one program.
    """
    text = page.read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```$(?:\n\n```\n(.*?)^```$)?", text, re.MULTILINE | re.DOTALL)
    program = "".join(f"{_as_program(code)}\nprint({MARK!r})\n" for code, _ in examples)
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


def _as_program(code: str) -> str:
    if not code.startswith(">>>"):
        return code
    return f"import tests.pages\ntests.pages.run_session({code!r}, globals())"


def run_session(text: str, names: dict[str, Any]) -> None:
    """Run a session at the prompt; prints where it does not print what stands there."""
    session = doctest.DocTestParser().get_doctest(text, names, "session", None, None)
    session.globs = names  # a copy, else: later examples go on with what this one defines
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(session, clear_globs=False)


def same_for_all(text: str) -> str:
    """Pids differ in their last number."""
    return re.sub(r"<Pid (\S+)\.\d+>", r"<Pid \1.N>", text)


# -- links -----------------------------------------------------------------------------------------------------------


def broken_links(page: Path) -> list[str]:
    """The links of a page to files, or places in them, that are not there. Links to other sites are not followed."""
    return [target for target in links_of(page.read_text(encoding="utf-8")) if not _leads_somewhere(page, target)]


def links_of(text: str) -> Iterator[str]:
    """The targets of all links within the repository."""
    for target in _LINK.findall(_FENCE.sub("", text)):
        if not target.startswith(("http:", "https:", "mailto:")):
            yield target


def _leads_somewhere(page: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    path = page.parent / name if name else page
    return path.exists() and (not anchor or anchor in anchors_of(path))


@lru_cache
def anchors_of(page: Path) -> frozenset[str]:
    """The names of the headings of a page, as GitHub and our builder make them."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings)
