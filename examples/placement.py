"""Whoever starts a child says where it runs: one printer for each floor, on the node that stands there.

A child that is bound to a node does not move. While its node is away it is down, and it starts when the node is back.
It prints:

    printer1: running on node1
    printer2: running on node2
    without a mapping: the Guided distribution needs child_mapping={child id: [node, ...]} at every start
    -- node2 is lost
    printer1: running on node1
    printer2: down on node2
    -- node2 is back
    printer1: running on node1
    printer2: running on node2
"""

from __future__ import annotations

from processhub import GenServer, Guided, MissingChildMapping, ProcessHub
from processhub.testing import Cluster

HUB = ProcessHub("printers", distribution_strategy=Guided())


class Printer(GenServer):
    """Would know the device that is plugged into its node."""


def start() -> None:
    """Two printers, each on the node that it belongs to."""
    floors = {"printer1": "node1@127.0.0.1:4370", "printer2": "node2@127.0.0.1:4371"}
    specs = [Printer.child_spec(id=name) for name in floors]
    mapping = {name: [node] for name, node in floors.items()}
    result = ProcessHub.start_children("printers", specs, child_mapping=mapping).result()
    assert result.status == "ok", result.errors


def start_anywhere() -> None:
    """What a start without a mapping comes to."""
    try:
        ProcessHub.start_child("printers", Printer.child_spec(id="printer3"))
    except MissingChildMapping as error:
        print("without a mapping:", error)


def show() -> None:
    """The state of each printer, as this node's registry has it."""
    for name, child in sorted(ProcessHub.registry_dump("printers").items()):
        for node, state in child.states.items():
            print(f"{name}: {state} on {node.partition('@')[0]}")


def main() -> None:
    with Cluster(2, hubs=[HUB]) as cluster:
        first, second = cluster
        first.run(start)
        first.run(show)
        first.run(start_anywhere)

        print("-- node2 is lost")
        cluster.crash(second)
        first.run(ProcessHub.await_settled, "printers", 30.0, [first.name])
        first.run(show)

        print("-- node2 is back")
        cluster.restart(second)
        first.run(ProcessHub.await_settled, "printers", 30.0, [first.name, second.name])
        first.run(show)


if __name__ == "__main__":
    main()
