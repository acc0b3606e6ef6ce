"""What the distributed supervisors of a hub's members say that they run."""

from __future__ import annotations

from typing import Final

from processhub.hub.hub import Hub
from processhub.hub.messages import WHICH_CHILDREN
from supervisor.children import ChildEntry
from supervisor.gen_server import GenServer

ANSWER_SECONDS: Final = 5.0


def which_children(hub: Hub, scope: str) -> dict[str, list[ChildEntry]]:
    """See `ProcessHub.which_children`."""
    if scope not in ("local", "global"):
        raise ValueError(f'scope must be "local" or "global"; got {scope!r}')
    nodes = [hub.node] if scope == "local" else sorted(hub.members)
    answers, _ = GenServer.multi_call(nodes, hub.supervisor_name, WHICH_CHILDREN, ANSWER_SECONDS)
    return {node: [ChildEntry(*row) for row in rows] for node, rows in answers.items()}
