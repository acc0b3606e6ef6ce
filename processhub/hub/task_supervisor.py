"""The task supervisor: short work of a hub, each piece in a process of its own that ends with the hub."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from processhub.hub.hub import Hub
from supervisor.gen_server import GenServer
from supervisor.pids import Pid
from supervisor.processes import spawn_link, trap_exit
from supervisor.reasons import is_orderly
from supervisor.signals import ExitSignal

log = logging.getLogger(__name__)


class TaskSupervisor(GenServer):
    """Cast (fn, *args) to it to run them as a task."""

    def init(self, hub: Hub) -> None:
        trap_exit(True)
        self.hub = hub
        self.tasks: set[Pid] = set()
        hub.hook_calls.resume()

    def handle_cast(self, request: tuple[Callable[..., Any], Any]) -> None:
        fn, *args = request
        self.tasks.add(spawn_link(fn, *args))

    def handle_info(self, message: Any) -> None:
        if isinstance(message, ExitSignal):
            self.tasks.discard(message.pid)
            if not is_orderly(message.reason):
                log.error("hub %s: a task failed: %s", self.hub.hub_id, message.reason)
            self.hub.hook_calls.runner_ended()
