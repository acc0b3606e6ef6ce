"""Aligned tables of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def aligned(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A line of headings and a line for each row; columns of numbers are aligned at the right."""
    rows = [list(row) for row in rows]
    columns = list(zip(headings, *rows, strict=True))
    padded = [_padded(column) for column in columns]
    return "\n".join("  ".join(cells).rstrip() for cells in zip(*padded, strict=True))


def _padded(column: Sequence[Any]) -> list[str]:
    texts = [str(cell) for cell in column]
    width = max(map(len, texts))
    is_number = len(column) > 1 and all(isinstance(cell, int) for cell in column[1:])
    return [text.rjust(width) if is_number else text.ljust(width) for text in texts]


def first_of(items: Sequence[Any], most: int) -> tuple[Sequence[Any], str]:
    """The first items, and a line that says how many more there are, "" if there are none."""
    left = len(items) - most
    return items[:most], f"... and {left} more" if left > 0 else ""


def counted(children: int) -> str:
    """ "1 child", "2 children"."""
    return f"{children} {'child' if children == 1 else 'children'}"
