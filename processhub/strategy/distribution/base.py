"""Distribution: which nodes own a child.

A `Distribution` makes a `Placement` of the members; when members come or go it makes another one, and says which
children have other owners by it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar

from processhub.strategy.base import Strategy
from processhub.strategy.distribution.ring_index import RingIndex
from processhub.strategy.errors import InvalidChildMapping


class Placement(ABC):
    """Who owns what, among certain members. Immutable: the same question has the same answer for ever, everywhere.

    Attributes:
        members: the nodes, sorted.
    """

    members: tuple[str, ...]

    @abstractmethod
    def owners(self, child_id: str, chosen: Any, n: int) -> tuple[str, ...]:
        """The nodes that own a child, most important first: all members, if there are fewer than asked for.

        Args:
            chosen: the value of the child's placement register, which `Distribution.assign` made at its start.
            n: the replication factor.
        """

    def absent(self, chosen: Any) -> tuple[str, ...]:
        """The nodes to which a child is bound, and that are no members: its copies there are *down*. By default none.

        Args:
            chosen: as for `owners`.
        """
        return ()


class Distribution(Strategy, ABC):
    """Which nodes own which children."""

    uses_index: ClassVar[bool] = False
    """Whether `affected` needs the index: the coordinator then keeps one of all desired children."""

    binds: ClassVar[bool] = False
    """Whether children are bound to the nodes of a mapping, which every start needs, and are down without them."""

    @abstractmethod
    def place(self, members: Mapping[str, int]) -> Placement:
        """The placement among these nodes, in whatever order they are given.

        Args:
            members: node -> its life, a number that is another one after a restart of its hub. Most strategies only
                want the nodes: declare it as `Iterable[str]` then.
        """

    def assign(
        self, child_ids: Collection[str], child_mapping: Mapping[str, Any] | None, placement: Placement, n: int
    ) -> Mapping[str, Any]:
        """What goes into the placement register of each child that is to be started; None for those left out.

        By default nothing is chosen for a child, and a mapping, which would be ignored, is refused.

        Args:
            child_ids: the children of one start.
            child_mapping: the option of that name; None when it was not given.
            placement: the placement as it is now.
            n: the replication factor.

        Raises:
            MissingChildMapping, InvalidChildMapping, ChildMappingMismatch, ChildReplicationMismatch: as the names say.
        """
        if child_mapping:
            raise InvalidChildMapping(
                f"child_mapping={child_mapping!r:.200} was given, but {type(self).__name__} chooses the nodes itself: "
                "leave the option out, or use distribution_strategy=Guided()"
            )
        return {}

    def affected(self, old: Placement, new: Placement, n: int, index: RingIndex) -> Iterator[str] | None:
        """The children whose `n` owners differ, one after the other; the index may change in the meantime.

        None (the default): unknown; look at all children, in slices. To be asked only while `n` is the same for both:
        when it changed, every child has other owners.
        """
        return None
