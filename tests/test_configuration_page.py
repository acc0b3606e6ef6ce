"""docs/configuration.md names every option of a hub, of each strategy and of a node, with its real default."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import pytest

import processhub
from processhub import Node, ProcessHub
from processhub.strategy.base import Strategy

PAGE = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text(encoding="utf-8")
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
