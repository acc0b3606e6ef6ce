"""The pages of docs/supervisor show what is really printed, and their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.supervisor.pages import ROOT, untrue_examples

PAGES = sorted((ROOT / "docs" / "supervisor").glob("*.md"))
OURS = ("index", "processes", "gen_server", "child_spec", "supervisor", "dynamic_supervisor", "debug")


@pytest.mark.parametrize("page", OURS)
def test_the_examples_print_what_the_page_shows(page: str) -> None:
    assert untrue_examples(f"supervisor/{page}.md") == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_other_pages(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
