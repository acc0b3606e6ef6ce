"""An asyncio program that uses a hub: the node runs in a thread of its own, and asyncio awaits its futures.

    python examples/asyncio_client.py

gevent's event loop and asyncio's cannot share a thread. So one thread runs the node; what is asked of it from asyncio
is a `concurrent.futures.Future` there, which `asyncio.wrap_future` turns into something to await.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import gevent
import gevent.event

from processhub import Future as HubFuture
from processhub import GenServer, ProcessHub, process


class Basket(GenServer):
    """The basket of one customer."""

    def handle_call(self, request: Any, from_: Any) -> Any:
        return self.state

    def handle_cast(self, item: str) -> None:
        self.state.append(item)


class NodeThread:
    """A thread in which a node lives."""

    def __init__(self) -> None:
        self._ready: Future[Any] = Future()
        self._thread = threading.Thread(target=self._run, name="node")

    async def __aenter__(self) -> NodeThread:
        self._thread.start()
        self._loop = await asyncio.wrap_future(self._ready)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._loop.run_callback_threadsafe(self._over.set)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        process.claim_thread()  # else the node would belong to the main thread, which is asyncio's
        self._over = gevent.event.Event()
        ProcessHub.start_link(ProcessHub("shop"))
        self._ready.set_result(gevent.get_hub().loop)
        self._over.wait()

    async def run(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Run `fn` as a process of the node and await what it returns; a hub's future is awaited too."""
        answer: Future[Any] = Future()
        self._loop.run_callback_threadsafe(process.spawn, self._answer, answer, fn, args)
        found = await asyncio.wrap_future(answer)
        return await asyncio.wrap_future(found.concurrent()) if isinstance(found, HubFuture) else found

    @staticmethod
    def _answer(answer: Future[Any], fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            answer.set_result(fn(*args))
        except Exception as error:
            answer.set_exception(error)


async def serve(node: NodeThread, customer: str) -> None:
    """What a web request would do."""
    await node.run(ProcessHub.start_child, "shop", Basket.child_spec([], id=customer))
    basket = ProcessHub.via("shop", customer)
    GenServer.cast(basket, "pears")  # send, cast and call work from any thread; a call blocks it, so:
    print(customer, await node.run(GenServer.call, basket, "items"))


async def main() -> None:
    """Serve three customers at once, while asyncio goes on with other things."""
    async with NodeThread() as node:
        await asyncio.gather(*[serve(node, customer) for customer in ("alice", "bob", "carol")])
        print(sorted(await node.run(ProcessHub.process_list, "shop")))


if __name__ == "__main__":
    asyncio.run(main())
