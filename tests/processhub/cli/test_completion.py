"""Tab completion of ids inside strings."""

from __future__ import annotations

from typing import Any

import pytest

from processhub.cli.completion import MOST, Completer, Ids, open_string


@pytest.mark.parametrize(
    ("line", "typed"),
    [
        ("get('ab", "ab"),
        ('get("ab', "ab"),
        ("get('", ""),
        ("get('ab'", None),
        ("get('ab', \"c'd", "c'd"),
        (r"get('a\'b", r"a\'b"),
        ("", None),
    ],
)
def test_the_string_that_is_open_is_found(line: str, typed: str | None) -> None:
    assert open_string(line) == typed


class Known(Ids):
    """Ids that are given."""

    def __init__(self, ids: list[str]) -> None:
        super().__init__([])
        self._ids = ids

    def _all(self) -> Any:
        return iter(self._ids)


def test_outside_of_a_string_no_ids_are_offered() -> None:
    assert Known(["shop"]).candidates("sh") == []


def test_many_candidates_are_bounded_and_nothing_wrong_is_filled_in() -> None:
    ids = [f"child-{number:05}" for number in range(20_000)]
    found = Known(ids).candidates("get('ch")
    assert len(found) == MOST
    assert {one[:7] for one in found} == {"child-0", "child-1"}  # so their common prefix is that of all
    assert Known(ids).candidates("get('child-1234") == [f"child-1234{digit}" for digit in range(10)]


class Line:
    """readline, with a line typed and the cursor at its end."""

    def __init__(self, text: str) -> None:
        self.text = text

    def get_line_buffer(self) -> str:
        return self.text

    def get_endidx(self) -> int:
        return len(self.text)


@pytest.mark.parametrize(
    ("line", "word", "found"),
    [
        ("get('sh", "sh", ["shop"]),
        ("get('two w", "w", ["words"]),
        ("get('nobody", "nobody", []),
        ("x-flavo", "x-flavo", ["x-flavour"]),
        ("flavo", "flavo", ["flavour"]),
    ],
)
def test_only_the_last_word_is_replaced(line: str, word: str, found: list[str]) -> None:
    completer = Completer({"flavour": 1}, Known(["shop", "two words"]), Line(line))
    assert [completer.complete(word, state) for state in range(len(found) + 1)] == [*found, None]
