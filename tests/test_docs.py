"""The pages in docs/ show what is really printed; their links, and those of the README and its like, lead somewhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import DOCS, OTHERS, PAGES, ROOT, anchors_of, broken_links, links_of, untrue_examples


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_examples_of_a_page_print_what_it_shows(page: Path) -> None:
    assert untrue_examples(page) == []


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=name_of)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_the_start_page_leads_to_every_page_beside_it() -> None:
    targets = set(links_of((DOCS / "index.md").read_text(encoding="utf-8")))
    assert {page.name for page in DOCS.glob("*.md")} - targets == {"index.md"}


# -- and each check finds what it is there for -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "```python\nprint(1)\n```\n\n```\n2\n```\n",
        "```python\nprint(1)\n```\n",
        "```python\n1 / 0\n```\n",
        "```python\n>>> 1 + 1\n3\n```\n",
        "```python\nx = 1\n```\n\n```python\n>>> x\n2\n```\n",
    ],
)
def test_an_untrue_example_is_found(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    assert len(untrue_examples(page)) == 1


def test_a_true_example_is_none(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nx = 1\nprint('<Pid n@h:1.5>')\n```\n\n```\n<Pid n@h:1.7>\n```\n\n"
        "```python\n>>> x\n1\n>>> y = 2\n```\n\n```python\nprint(y)\n```\n\n```\n2\n```\n\n    not run()\n"
    )
    assert untrue_examples(page) == []


def test_a_broken_link_is_found_and_others_are_not(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# One `two`, three\n\n```\n# not a heading\n```\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Here\n[a](other.md) [b](other.md#one-two-three) [c](#here) [d](https://example.org/x#y)\n"
        "[e](ghost.md) [f](other.md#not-a-heading) [g](#there)\n\n```\n[h](ghost.md)\n```\n"
    )
    assert broken_links(page) == ["ghost.md", "other.md#not-a-heading", "#there"]
    assert anchors_of(tmp_path / "other.md") == {"one-two-three"}


def test_the_build_fails_at_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    pytest.importorskip("properdocs")
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(ROOT / "properdocs.yml", tmp_path)
    command = [sys.executable, "-m", "properdocs", "build"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False).returncode == 0
    with (tmp_path / "docs" / "index.md").open("a") as page:
        page.write("[there](hooks.md#ghost)\n")
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1
    assert "ghost" in run.stderr
