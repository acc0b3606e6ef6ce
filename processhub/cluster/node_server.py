"""The server that each node runs for requests of other nodes."""

from __future__ import annotations

import logging
from typing import Any, Final

from processhub.cluster.callables import Reference, reference_to, resolved
from processhub.cluster.messages import SpawnRequest
from supervisor.gen_server import From, GenServer, NoReply
from supervisor.pids import Pid
from supervisor.processes import spawn
from supervisor.runtime import current_runtime

log = logging.getLogger(__name__)


class NodeServer(GenServer):
    """Runs functions for other nodes. Registered under `NAME` on each node."""

    NAME: Final = "processhub.node"

    def handle_call(self, request: Any, from_: From) -> Any:
        if isinstance(request, SpawnRequest):
            return spawn(_run, request.fn, request.args)
        log.warning("the node server got an unknown call %.200r", request)  # it must survive what others send
        return NoReply()

    def handle_cast(self, request: Any) -> None:
        log.warning("the node server got an unknown cast %.200r", request)


def _run(fn: Any, args: tuple[Any, ...]) -> None:
    # Names are resolved in the process that uses them: an import may take long, and may fail.
    (fn.resolve() if isinstance(fn, Reference) else fn)(*resolved(args))


def spawn_on(node: str, fn: Any, args: tuple[Any, ...]) -> Pid:
    """Run `fn(*args)` on `node`. Raises as `Node.spawn` says."""
    if node == current_runtime().home.name:
        return spawn(fn, *args)
    pid: Pid = GenServer.call((NodeServer.NAME, node), SpawnRequest(reference_to(fn), args))
    return pid
