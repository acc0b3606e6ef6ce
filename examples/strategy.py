"""A strategy of one's own: large nodes own more children than small ones.

`ConsistentHashing` gives all nodes equal shares. `Weighted` makes a ring on which a node counts for more, and leaves
the rest as it is. It prints:

    node1, weight 1: 192 of 1000 children
    node2, weight 1: 218 of 1000 children
    node3, weight 3: 590 of 1000 children
    a typing error: Weighted: weights must be pairs of a node and an int >= 1; got (('node1', 0),)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from processhub import ConsistentHashing, GenServer, HashRing, ProcessHub
from processhub.strategy.distribution.consistent_hashing import RingPlacement
from processhub.strategy.options import check
from processhub.testing import Cluster


@dataclass(frozen=True)
class Weighted(ConsistentHashing):
    """A node of weight 3 owns about three times as many children as one of weight 1, which is what others have.

    Args:
        weights: (node, weight) pairs. The same on all nodes, as every option: a hub with others is refused.
    """

    weights: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        good = all(isinstance(weight, int) and weight >= 1 for _, weight in self.weights)
        check(good, "Weighted", "weights", "pairs of a node and an int >= 1", self.weights)

    def place(self, members: Iterable[str]) -> RingPlacement:
        """The ring of these nodes. Depends on them and on the options alone, so all nodes make the same."""
        weights = dict(self.weights)
        return RingPlacement(HashRing(members, {node: weights.get(node, 1) for node in members}))


class Player(GenServer):
    """Something of which there are many."""


WEIGHTS = {"node3@127.0.0.1:4372": 3}
HUB = ProcessHub("game", distribution_strategy=Weighted(tuple(WEIGHTS.items())))


def start() -> None:
    specs = [Player.child_spec(id=f"player{number}") for number in range(1000)]
    assert ProcessHub.start_children("game", specs).result().status == "ok"


def main() -> None:
    with Cluster(3, hubs=[HUB]) as cluster:
        cluster[0].run(start)
        children = cluster[0].run(ProcessHub.process_list, "game")
        counts = Counter(node for copies in children.values() for node in copies)
        for node in sorted(counts):
            print(
                f"{node.partition('@')[0]}, weight {WEIGHTS.get(node, 1)}: {counts[node]} of {len(children)} children"
            )
    try:
        Weighted(weights=(("node1", 0),))
    except ValueError as error:
        print("a typing error:", error)


if __name__ == "__main__":
    main()
