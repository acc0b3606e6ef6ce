"""Two copies of a child on two of three nodes: one works, the other stands by and takes over when a node is lost.

The hub runs both copies and tells each its role. It does not copy their state, which is theirs: here the active copy
sends each new number to the others, and a copy that starts asks those that run. It prints:

    node1: queue is active
    node2: queue is passive
    tickets [1, 2, 3], known to the copies on node1 and node2
    node1 is lost
    node2: queue is active
    node3: queue is passive
    tickets [4, 5], known to the copies on node2 and node3
"""

from __future__ import annotations

from typing import Any

from processhub import GenServer, Node, ProcessHub, RedundancySignal, Replication, process
from processhub.testing import Cluster

HUB = ProcessHub(
    "office",
    redundancy_strategy=Replication(2, replication_model="active_passive", redundancy_signal="all"),
)


class Tickets(GenServer):
    """Gives out the numbers 1, 2, 3, ..."""

    def init(self, name: str) -> None:
        self.name = name
        # A copy that has just started may be the next active one, so it asks the others. They never wait for us.
        others = ProcessHub.get_pids("office", name)
        self.last = max((GenServer.call(copy, "last") for copy in others), default=0)

    def handle_info(self, message: Any) -> None:
        if isinstance(message, RedundancySignal):
            print(f"{short(Node.self())}: {self.name} is {message.mode}")

    def handle_call(self, request: str, from_: Any) -> int:
        if request == "next":
            self.last += 1
            for copy in ProcessHub.get_pids("office", self.name):
                if copy != process.self():
                    GenServer.cast(copy, self.last)
        return self.last

    def handle_cast(self, last: int) -> None:
        self.last = last


def short(node: str) -> str:
    return node.partition("@")[0]


def draw(count: int) -> None:
    """Draw numbers, from whichever copy is active, and show which copies know of them."""
    numbers = [GenServer.call(ProcessHub.via("office", "queue"), "next") for _ in range(count)]
    copies = ProcessHub.get_pids("office", "queue")
    assert all(GenServer.call(copy, "last") == numbers[-1] for copy in copies)
    print(f"tickets {numbers}, known to the copies on {' and '.join(short(copy.node) for copy in copies)}")


def main() -> None:
    with Cluster(3, hubs=[HUB]) as cluster:
        cluster[0].run(lambda: ProcessHub.start_child("office", Tickets.child_spec("queue", id="queue")).result())
        cluster[0].run(draw, 3)

        lost = cluster[0].run(ProcessHub.get_pids, "office", "queue")[0].node  # the active one comes first
        print(short(lost), "is lost")
        cluster.crash(lost)
        left = [node for node in cluster if node.name != lost]
        left[0].run(ProcessHub.await_settled, "office", 30.0, [node.name for node in left])
        left[0].run(draw, 2)


if __name__ == "__main__":
    main()
