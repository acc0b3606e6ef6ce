"""The worker queue: serial work of a hub. Its first piece is to start the static children of the configuration."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from processhub.hub.hub import Hub
from processhub.hub.starting import StartOptions, start_children
from supervisor.gen_server import GenServer

log = logging.getLogger(__name__)

_HARMLESS = frozenset({"already_started"})


class WorkerQueue(GenServer):
    """Runs functions one after the other. Cast a function without arguments to it.

    When it starts it also starts the static children, and waits for them: a hub whose static children do not start does
    not start. A static child that is desired already, here or elsewhere, is left as it is.
    """

    def init(self, hub: Hub) -> Any:
        self.hub = hub
        if hub.config.child_specs and not hub.observer and not hub.has_static_children:
            self._start_static()
        hub.has_static_children = True  # a successor of this queue does not start again what was stopped since
        return None

    def _start_static(self) -> None:
        hub = self.hub
        hub.await_joined(hub.config.migr_base_timeout + 1.0)
        missing = [spec for spec in hub.config.child_specs if spec.id not in hub.registry.children]
        if not missing:
            return
        result = start_children(hub, missing, StartOptions(check_existing=False)).result()
        failed = [
            error for error in result.errors if error.child_id not in result.started and error.reason not in _HARMLESS
        ]
        if failed:
            raise RuntimeError(f"hub {hub.hub_id!r}: static children did not start: {failed!r:.500}")

    def handle_cast(self, request: Callable[[], Any]) -> None:
        try:
            request()
        except Exception:
            log.exception("hub %s: a piece of work failed", self.hub.hub_id)
