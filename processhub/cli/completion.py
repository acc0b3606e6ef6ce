"""Tab completion: Python names as always, and inside a string the ids of hubs, children and nodes."""

from __future__ import annotations

import re
import rlcompleter
from collections.abc import Iterable, Iterator, Sequence
from heapq import nsmallest
from typing import Any, Final

from processhub import Node, ProcessHub

IN_IDS: Final = "@:/-"
MOST: Final = 100  # candidates that are offered; a hub may have a million children


class Ids:
    """The ids that may stand in a string."""

    def __init__(self, hub_ids: Sequence[str]) -> None:
        self._hub_ids = list(hub_ids)

    def candidates(self, line: str) -> list[str]:
        """What may stand in the string that `line` (the text before the cursor) leaves open; [] outside of one.

        At most `MOST`. Their longest common prefix is that of all that match, so that nothing wrong is filled in.
        """
        typed = open_string(line)
        if typed is None:
            return []
        found = {one for one in self._all() if one.startswith(typed)}
        if len(found) <= MOST:
            return sorted(found)
        return [*nsmallest(MOST - 1, found), max(found)]

    def _all(self) -> Iterator[str]:
        yield from self._hub_ids
        yield from Node.list()
        for hub_id in self._hub_ids:
            if ProcessHub.is_alive(hub_id):
                yield from ProcessHub.process_list(hub_id)


def open_string(line: str) -> str | None:
    """What has been typed of the string at the end of `line`; None where none is open."""
    quote, begin, at = "", 0, 0
    while at < len(line):
        if quote and line[at] == "\\":
            at += 1
        elif line[at] == quote:
            quote = ""
        elif not quote and line[at] in "'\"":
            quote, begin = line[at], at + 1
        at += 1
    return line[begin:] if quote else None


class Completer:
    """For readline: `complete(text, 0)`, `complete(text, 1)`, ... until None.

    readline replaces, and lists, only the last word. `IN_IDS` end no word for it, so that ids are listed whole;
    names of Python end there all the same.
    """

    def __init__(self, names: dict[str, Any], ids: Ids, readline: Any) -> None:
        self._python = rlcompleter.Completer(names)
        self._ids = ids
        self._readline = readline
        self._found: list[str] = []

    def complete(self, text: str, state: int) -> str | None:
        """The candidate number `state` for the word `text`."""
        line = self._readline.get_line_buffer()[: self._readline.get_endidx()]
        if open_string(line) is None:
            name = re.split(f"[{IN_IDS}]", text)[-1]
            found = self._python.complete(name, state)
            return text[: len(text) - len(name)] + found if found is not None else None
        if state == 0:
            self._found = last_words(self._ids.candidates(line), line, text)
        return self._found[state] if state < len(self._found) else None


def last_words(candidates: Iterable[str], line: str, text: str) -> list[str]:
    """What the candidates put in the place of `text`, the last word of `line`."""
    before = len(open_string(line) or "") - len(text)
    return [candidate[before:] for candidate in candidates]


def use_readline(names: dict[str, Any], ids: Ids) -> None:
    """Complete at the standard prompt. Does nothing where Python was built without readline."""
    try:
        import readline
    except ImportError:
        return
    readline.set_completer(Completer(names, ids, readline).complete)
    delimiters = readline.get_completer_delims()
    readline.set_completer_delims("".join(one for one in delimiters if one not in IN_IDS))
    is_libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")
