"""Functions of yours that run when something happens in a hub: one that keeps a log, one that changes what starts.

Each node calls its own handlers, in a process of the hub, so a slow one delays nothing but later handlers. (A start
does wait for those of CHILD_DATA_ALTER, which change it.) It prints:

    node1: started ['billing', 'search']
    node2: started ['mail']
    billing greets with 'good evening' from node1
    mail greets with 'good evening' from node2
    search greets with 'good evening' from node1
    node1: lost node2
    node1: started ['mail']
"""

from __future__ import annotations

from typing import Any

from processhub import HOOK_DATA, ChildData, GenServer, Hook, HookHandler, Node, ProcessHub
from processhub.testing import Cluster


class Service(GenServer):
    """Greets with the words that it was started with."""

    def handle_call(self, request: Any, from_: Any) -> str:
        return f"{self.state!r} from {short(Node.self())}"


def short(node: str) -> str:
    return node.partition("@")[0]


def note_started(startups: list[tuple[str, Any]]) -> None:
    """PROCESS_STARTUPS: [(child id, pid)] of what was started on this node."""
    print(f"{short(Node.self())}: started {sorted(child_id for child_id, _ in startups)}")


def note_lost(prefix: str, node: str) -> None:
    """POST_CLUSTER_LEAVE: the name of a member that is gone."""
    print(f"{short(Node.self())}: {prefix} {short(node)}")


def in_the_evening(child: ChildData) -> ChildData:
    """CHILD_DATA_ALTER: the child as it is to be started instead. To do it twice is as good as once."""
    return child._replace(spec=Service.child_spec("good evening", id=child.spec.id))


HUB = ProcessHub(
    "services",
    hooks={
        Hook.PROCESS_STARTUPS: [HookHandler("note_started", note_started)],
        Hook.POST_CLUSTER_LEAVE: [HookHandler("note_lost", note_lost, args=("lost", HOOK_DATA))],
        Hook.CHILD_DATA_ALTER: [HookHandler("in_the_evening", in_the_evening, priority=10)],
    },
)


def start() -> None:
    specs = [Service.child_spec("good morning", id=name) for name in ("billing", "mail", "search")]
    assert ProcessHub.start_children("services", specs).result().status == "ok"


def greet() -> None:
    for name in sorted(ProcessHub.process_list("services")):
        print(name, "greets with", GenServer.call(ProcessHub.via("services", name), "greet"))


def main() -> None:
    with Cluster(2, hubs=[HUB]) as cluster:
        first, second = cluster
        first.run(start)
        first.run(greet)
        cluster.crash(second)
        first.run(ProcessHub.await_settled, "services", 30.0, [first.name])


if __name__ == "__main__":
    main()
