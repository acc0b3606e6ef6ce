"""The pages that list something list all of it: options with their real defaults, hooks, what strategies answer."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import pytest

import processhub
from processhub import Hook, Node, ProcessHub
from processhub.strategy.base import Strategy
from processhub.strategy.distribution.base import Distribution, Placement
from processhub.strategy.migration.base import Migration
from processhub.strategy.partition_tolerance.base import PartitionTolerance
from processhub.strategy.redundancy.base import Redundancy
from processhub.strategy.synchronization.base import Synchronization

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "configuration.md").read_text(encoding="utf-8")
STRATEGIES = sorted(
    (found for found in vars(processhub).values() if isinstance(found, type) and issubclass(found, Strategy)),
    key=lambda strategy: strategy.__name__,
)


def options_below(heading: str) -> dict[str, str]:
    """The options in the list below a heading: {name: default as it stands there, or "required"}."""
    _, found, section = PAGE.partition(f"\n{heading}\n")
    assert found, f"no heading {heading!r}"
    section = re.split(r"^#", section, maxsplit=1, flags=re.MULTILINE)[0]
    listed = re.findall(r"^- \*\*`(\w+)`\*\* \((?:.*; )?(?:default `(.*?)`|(required))\):", section, re.MULTILINE)
    assert len(listed) == section.count("\n- **"), f"malformed option below {heading!r}"
    return {name: default or required for name, default, required in listed}


def options_of(config: type[Any]) -> dict[str, str]:
    return {option.name: default_of(option) for option in fields(config)}


def default_of(option: Field[Any]) -> str:
    if option.default is not MISSING:
        return repr(option.default)
    if option.default_factory is MISSING:
        return "required"
    return f"{type(option.default_factory()).__name__}()"


def test_the_page_names_every_option_of_a_hub_with_its_default() -> None:
    assert options_below("## The hub") == options_of(ProcessHub)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_page_names_every_option_of_a_strategy_with_its_default(strategy: type[Any]) -> None:
    assert options_below(f"### {strategy.__name__}") == options_of(strategy)


def test_the_page_names_every_option_of_a_node_with_its_default() -> None:
    start: Callable[..., Node] = Node.start
    options = inspect.signature(start).parameters.values()
    expected = {
        option.name: "required" if option.default is inspect.Parameter.empty else repr(option.default)
        for option in options
    }
    assert options_below("## The node") == expected


def test_the_page_on_hooks_has_a_row_for_each_of_them() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \|", (DOCS / "hooks.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(hook.name for hook in Hook)


@pytest.mark.parametrize(
    "base",
    [Distribution, Placement, Redundancy, Migration, Synchronization, PartitionTolerance],
    ids=lambda b: b.__name__,
)
def test_the_page_on_custom_strategies_names_all_that_a_base_asks(base: type[Any]) -> None:
    text = (DOCS / "custom-strategies.md").read_text(encoding="utf-8")
    _, _, reference = text.partition("## What each base asks for")
    questions = [name for name in vars(base) if not name.startswith("_")]
    assert questions
    assert [name for name in questions if not re.search(rf"`{name}[(`]", reference)] == []
