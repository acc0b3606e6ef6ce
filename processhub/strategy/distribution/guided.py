"""Guided: whoever starts a child says on which nodes it runs, for good."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from processhub.strategy.distribution.base import Distribution, Placement
from processhub.strategy.errors import (
    ChildMappingMismatch,
    ChildReplicationMismatch,
    InvalidChildMapping,
    MissingChildMapping,
)

_FORM = "child_mapping={child id: [node, ...]}"
_SHOWN = 5


@dataclass(frozen=True)
class GuidedPlacement(Placement):
    """Owners are the nodes of a child's mapping that are members, in the order of the mapping."""

    members: tuple[str, ...]

    def owners(self, child_id: str, chosen: Any, n: int) -> tuple[str, ...]:
        """The bound nodes that are here. None of them: the child is down, and nobody takes over."""
        return tuple(node for node in chosen or () if node in self.members)

    def absent(self, chosen: Any) -> tuple[str, ...]:
        """The bound nodes that are not here."""
        return tuple(node for node in chosen or () if node not in self.members)


@dataclass(frozen=True)
class Guided(Distribution):
    """Children are bound to the nodes of `child_mapping={child id: [node, ...]}`, an option of their start.

    Every start needs it, with as many nodes for each child as there are copies. A bound child never moves. While its
    node is no member of the hub the child is *down*: it stays desired, `child_lookup` shows the state "down" for that
    node, and it starts when the node is back. So static children, which have no mapping, cannot be used.
    """

    binds: ClassVar[bool] = True

    def place(self, members: Iterable[str]) -> GuidedPlacement:
        """These nodes are here."""
        return GuidedPlacement(tuple(sorted(members)))

    def assign(
        self, child_ids: Collection[str], child_mapping: Mapping[str, Any] | None, placement: Placement, n: int
    ) -> Mapping[str, Any]:
        """The nodes of each child, as given.

        A node that is no member is no mistake of the caller, who cannot know: it becomes a StartFailure "not_member".

        Raises:
            MissingChildMapping: there is none.
            InvalidChildMapping: it is no mapping of ids to lists of distinct node names.
            ChildMappingMismatch: it leaves out a child of this start, or names another one.
            ChildReplicationMismatch: a child has not exactly `n` nodes.
        """
        if child_mapping is None:
            raise MissingChildMapping(f"the Guided distribution needs {_FORM} at every start")
        if not isinstance(child_mapping, Mapping):
            raise InvalidChildMapping(f"expected {_FORM}; got {child_mapping!r:.200}")
        _check_ids(child_ids, child_mapping)
        chosen = {child_id: _nodes(child_id, child_mapping[child_id]) for child_id in child_ids}
        for child_id, nodes in chosen.items():
            if len(nodes) != n:
                raise ChildReplicationMismatch(
                    f"child_mapping gives child {child_id!r} {len(nodes)} nodes: {nodes!r:.200}; each needs {n}, "
                    "as many as the redundancy strategy wants copies"
                )
        return chosen


def _check_ids(child_ids: Collection[str], child_mapping: Mapping[str, Any]) -> None:
    wanted = set(child_ids)
    for what, ids in (("leaves out", wanted - child_mapping.keys()), ("has unknown", child_mapping.keys() - wanted)):
        if ids:
            shown = ", ".join(sorted(map(repr, ids))[:_SHOWN])
            raise ChildMappingMismatch(
                f"child_mapping {what} children: {shown}{', ...' if len(ids) > _SHOWN else ''}; "
                "it must name exactly those that are to be started"
            )


def _nodes(child_id: str, nodes: Any) -> list[str]:
    good = isinstance(nodes, Sequence) and not isinstance(nodes, str) and all(isinstance(node, str) for node in nodes)
    if not good or len(set(nodes)) != len(nodes):
        raise InvalidChildMapping(
            f"child_mapping: expected a list of distinct nodes for {child_id!r}; got {nodes!r:.200}"
        )
    return list(nodes)
