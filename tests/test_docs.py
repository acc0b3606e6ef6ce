"""The pages in docs/ show what is really printed; their links, and those of the README and its like, lead somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pages import DOCS, OTHERS, PAGES, ROOT, anchors_of, broken_links, untrue_examples


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_examples_of_a_page_print_what_it_shows(page: Path) -> None:
    assert untrue_examples(page) == []


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=name_of)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_the_start_page_leads_to_every_page() -> None:
    assert all(
        (DOCS / "index.md").read_text().count(f"({page.relative_to(DOCS)})") for page in PAGES[1:] if is_ours(page)
    )


def is_ours(page: Path) -> bool:
    """The pages of the runtime have an index of their own."""
    return page.parent == DOCS and page.name != "index.md"


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
