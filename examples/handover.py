"""Children move to a node that joins, with their state, and back when it leaves; and are called all the time.

Its count goes along with a counter; what belongs to its node (here: the name) it makes anew. It prints:

    node2 has joined; calls go on: True
      ann: 5 calls, handover on node2
      gus: 5 calls, start on node1
    node2 has left; all calls were answered
      ann: 1000 calls, handover on node1
      gus: 1000 calls, start on node1
"""

from __future__ import annotations

from typing import Any

from processhub import GenServer, HotSwap, Node, ProcessHub, process
from processhub.testing import Cluster

HUB = ProcessHub("counters", migration_strategy=HotSwap(handover=True))
NAMES = ["ann", "gus"]


class Counter(GenServer):
    """Counts the calls that it got."""

    def init(self) -> None:
        self.count = 0
        self.home = Node.self().partition("@")[0]

    def handle_call(self, request: str, from_: Any) -> Any:
        if request == "where":
            return f"{self.count} calls, {self.start_reason} on {self.home}"
        self.count += 1
        return self.count

    def prepare_handover_state(self) -> int:
        return self.count  # anything that can be sent

    def alter_handover_state(self, handover_state: int) -> None:
        self.count = handover_state  # on the new node, after init and before any call


def start() -> None:
    specs = [Counter.child_spec(id=name) for name in NAMES]
    assert ProcessHub.start_children("counters", specs).result().status == "ok"


def keep_calling(calls: int) -> None:
    """Call each counter so many times, one after the other. A call that is lost or refused would raise."""
    for _ in range(calls):
        for name in NAMES:
            GenServer.call(ProcessHub.via("counters", name), "count")
        process.sleep(0.01)


def show() -> None:
    for name in NAMES:
        print(f"  {name}: {GenServer.call(ProcessHub.via('counters', name), 'where')}")


def main() -> None:
    with Cluster(1, hubs=[HUB]) as cluster:
        first = cluster[0]
        first.run(start)
        client = first.begin(keep_calling, 1000)
        second = cluster.add()
        first.run(ProcessHub.await_settled, "counters", 30.0, [first.name, second.name])
        print(f"node2 has joined; calls go on: {not client.is_over()}")
        first.run(show)
        cluster.leave(second)
        cluster.run_until(client.is_over)
        client.outcome()
        print("node2 has left; all calls were answered")
        first.run(show)


if __name__ == "__main__":
    main()
