"""A node of a shop: `python shop.py NAME [SEED ...]` runs one until Ctrl-C. The README shows a session with three."""

from __future__ import annotations

import sys
from typing import Any

from processhub import GenServer, Node, ProcessHub, Supervisor, process


class Basket(GenServer):
    """The basket of one customer."""

    def init(self) -> None:
        self.state: list[str] = []

    def handle_call(self, request: Any, from_: Any) -> Any:
        return self.state

    def handle_cast(self, item: str) -> None:
        self.state.append(item)


def main(name: str, *seeds: str) -> None:
    """Run the node `name` with a hub under a supervisor, connected to the seeds."""
    Node.start(name, seeds=seeds)
    Supervisor.start_link([ProcessHub.child_spec(ProcessHub("shop"))])
    print(f"{name} runs; Ctrl-C stops it", flush=True)
    try:
        process.receive()
    except KeyboardInterrupt:
        Node.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
