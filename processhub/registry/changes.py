"""What was different before: the events of the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from processhub.registry.operations import Child
from processhub.registry.placements import Row


class ChildChange(NamedTuple):
    """What should run under one id changed. `old` None: added; `new` None: removed."""

    child_id: str
    old: Child | None
    new: Child | None


class RowChange(NamedTuple):
    """The copy of a child on one node changed. `old` None: there was none; `new` None: there is none any more."""

    child_id: str
    node: str
    old: Row | None
    new: Row | None


# The generated constructors are Python functions; these take a tuple of the fields and cost a third.
make_child_change: Callable[[tuple[Any, ...]], ChildChange] = partial(tuple.__new__, ChildChange)
make_row_change: Callable[[tuple[Any, ...]], RowChange] = partial(tuple.__new__, RowChange)


@dataclass(slots=True)
class Changes:
    """What one call changed, net: at most one entry per child, and one per child and node.

    Attributes:
        children, rows: the differences.
        tables: nodes whose table became known.
        need_delta: operations had to be dropped: send our vector to the sender.
        need_tables: nodes whose changes do not follow what is known: send our vector to them.
        clock_ahead_ms: 0, or by how much stamps were ahead of our clock, if that is too much to follow (to be logged).
        renewed: we go on under a new incarnation; the next batch holds all our presence.
        settling: a snapshot is not wholly applied: call `Registry.settle` until it is.
    """

    children: list[ChildChange] = field(default_factory=list)
    rows: list[RowChange] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    need_delta: bool = False
    need_tables: list[str] = field(default_factory=list)
    clock_ahead_ms: int = 0
    renewed: bool = False
    settling: bool = False

    def __bool__(self) -> bool:
        """Whether anything that lookups show is different."""
        return bool(self.children or self.rows)
