"""One process in a hub on a lone node: the program on the README's first screen."""

from __future__ import annotations

from typing import Any

from processhub import GenServer, ProcessHub


class Basket(GenServer):
    def handle_call(self, request: Any, from_: Any) -> Any:
        return self.state

    def handle_cast(self, item: str) -> None:
        self.state.append(item)


if __name__ == "__main__":
    ProcessHub.start_link(ProcessHub("shop"))
    ProcessHub.start_child("shop", Basket.child_spec([], id="alice")).result()
    GenServer.cast(ProcessHub.via("shop", "alice"), "pears")
    print(GenServer.call(ProcessHub.via("shop", "alice"), "items"))
    print(ProcessHub.process_list("shop"))
