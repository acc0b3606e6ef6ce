"""What the prompt offers beside the public names: values that are shown as tables.

Each is an ordinary dict, list or tuple to the code that uses it; only its `repr` is a table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from processhub import ChildInfo, Node, Pid, ProcessHub
from processhub.cli.tables import aligned, first_of

ROWS: Final = 50  # of a table at the prompt; the value has all of them


class ProcessTable(dict[str, Any]):
    """What `ProcessHub.process_list` returns."""

    def __repr__(self) -> str:
        some, more = first_of(sorted(self), ROWS)
        rows = [row for child_id in some for row in _rows_of(child_id, self[child_id])]
        return _with(aligned(("child", "node", "pid"), rows), more)


def _rows_of(child_id: str, running: Any) -> list[tuple[Any, ...]]:
    if isinstance(running, Pid):  # of the scope "local"
        return [(child_id, running.node, running)]
    copies = [(node, pid) for node, pid in sorted(running.items())] or [("-", "-")]
    return [(child_id if number == 0 else "", *copy) for number, copy in enumerate(copies)]


class HubTable(list[str]):
    """Ids of hubs."""

    def __repr__(self) -> str:
        rows = [(hub_id, *_summary(hub_id)) for hub_id in self]
        return aligned(("hub", "nodes", "children", "state"), rows) if rows else "no hubs"


def _summary(hub_id: str) -> tuple[Any, ...]:
    if not ProcessHub.is_alive(hub_id):
        return "-", "-", "not observed"
    state = "locked" if ProcessHub.is_locked(hub_id) else "settled"
    return len(ProcessHub.nodes(hub_id, True)), len(ProcessHub.process_list(hub_id)), state


class NodeTable(list[str]):
    """Names of nodes, with how many children of each hub run there."""

    def __init__(self, nodes: Sequence[str], hub_ids: Sequence[str]) -> None:
        super().__init__(nodes)
        self._running = {hub_id: _running_by_node(hub_id) for hub_id in hub_ids if ProcessHub.is_alive(hub_id)}

    def __repr__(self) -> str:
        rows = [(node, *(counts[node] for counts in self._running.values())) for node in self]
        return aligned(("node", *self._running), rows) if rows else "no nodes"


def _running_by_node(hub_id: str) -> Counter[str]:
    return Counter(node for copies in ProcessHub.process_list(hub_id).values() for node in copies)


class ChildView(ChildInfo):
    """What `ProcessHub.child_lookup` returns."""

    def __repr__(self) -> str:
        spec = self.spec
        facts = [
            ("child", spec.id),
            ("start", _call(spec.start)),
            ("restart", spec.restart),
            ("shutdown", spec.shutdown),
        ]
        facts += [("metadata", self.metadata)] if self.metadata else []
        copies = [(node, state, self.nodes.get(node, "-")) for node, state in self.states.items()]
        about = "\n".join(f"{name:<10}{value}" for name, value in facts)
        return f"{about}\n\n{aligned(('node', 'state', 'pid'), copies)}"


def _call(start: tuple[Any, ...]) -> str:
    """The start tuple as the call that it stands for."""
    function, *rest = start
    name = getattr(function, "__qualname__", str(function))
    if rest and isinstance(rest[0], str):
        name = f"{name}.{rest.pop(0)}"
    positional, keywords = (rest[0] if rest else ()), (rest[1] if len(rest) > 1 else {})
    shown = [*map(repr, positional), *(f"{key}={value!r}" for key, value in keywords.items())]
    return f"{name}({', '.join(shown)})"


def _with(table: str, more: str) -> str:
    return f"{table}\n{more}" if more else table


class Views:
    """The functions of the prompt. Where only one hub is observed its id may be left out."""

    def __init__(self, hub_ids: Sequence[str]) -> None:
        self._hub_ids = list(hub_ids)

    def public(self) -> dict[str, Callable[..., Any]]:
        """The functions by their names at the prompt."""
        views = (self.hubs, self.nodes, self.process_list, self.child_lookup)
        return {view.__name__: view for view in views}

    def hubs(self) -> HubTable:
        """The hubs that this prompt observes."""
        return HubTable(self._hub_ids)

    def nodes(self, hub_id: str | None = None) -> NodeTable:
        """The nodes of a hub; without one, all that are connected."""
        if hub_id is None:
            return NodeTable(Node.list(), self._hub_ids)
        return NodeTable(ProcessHub.nodes(hub_id, True), [hub_id])

    def process_list(self, hub_id: str | None = None, scope: Any = "global") -> ProcessTable:
        """`ProcessHub.process_list`, shown as a table."""
        return ProcessTable(ProcessHub.process_list(self._one(hub_id), scope))

    def child_lookup(self, *where: str) -> ChildView | None:
        """`ProcessHub.child_lookup`, shown as a table: child_lookup(child_id) or child_lookup(hub_id, child_id)."""
        if len(where) not in (1, 2):
            raise TypeError("expected child_lookup(child_id) or child_lookup(hub_id, child_id)")
        *hub_id, child_id = where
        info = ProcessHub.child_lookup(self._one(hub_id[0] if hub_id else None), child_id)
        return ChildView(*info) if info is not None else None

    def _one(self, hub_id: str | None) -> str:
        if hub_id is not None:
            return hub_id
        if len(self._hub_ids) != 1:
            raise ValueError(f"name one of the hubs: {', '.join(map(repr, self._hub_ids)) or 'there is none'}")
        return self._hub_ids[0]
