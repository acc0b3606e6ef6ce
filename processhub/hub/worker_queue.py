"""The worker queue: serial work of a hub. Its first piece is to start the static children of the configuration."""

from __future__ import annotations

import logging
from typing import Any, Final

from processhub.hub.hub import Hub
from processhub.hub.results import ALREADY_STARTED
from processhub.hub.starting import StartOptions, start_children
from supervisor.gen_server import GenServer

log = logging.getLogger(__name__)

STATIC_CHILDREN: Final = "static_children"


class WorkerQueue(GenServer):
    """Runs functions one after the other. Cast a function without arguments to it.

    When it starts it also starts the static children, and waits for them: a hub whose static children do not start does
    not start. A static child that is desired already, here or elsewhere, is left as it is. In a part of the cluster
    without quorum the hub starts without them; they are started when the cast `STATIC_CHILDREN` tells of a quorum.
    """

    def init(self, hub: Hub) -> Any:
        self.hub = hub
        self._start_static_once()
        return None

    def _start_static_once(self) -> None:
        hub = self.hub
        if hub.has_static_children:
            return
        if hub.config.child_specs and not hub.observer:
            hub.await_joined(hub.config.migr_base_timeout + 1.0)
            if hub.partitioned:
                log.warning("hub %s: without a quorum its static children wait", hub.hub_id)
                return
            self._start_static()
        hub.has_static_children = True  # a successor of this queue does not start again what was stopped since

    def _start_static(self) -> None:
        hub = self.hub
        missing = [spec for spec in hub.config.child_specs if spec.id not in hub.registry.children]
        if not missing:
            return
        result = start_children(hub, missing, StartOptions(check_existing=False)).result()
        failed = [
            error for error in result.errors if error.child_id not in result.started and error.reason != ALREADY_STARTED
        ]
        if failed:
            raise RuntimeError(f"hub {hub.hub_id!r}: static children did not start: {failed!r:.500}")

    def handle_cast(self, request: Any) -> None:
        try:
            if request == STATIC_CHILDREN:
                self._start_static_once()
            else:
                request()
        except Exception:
            log.exception("hub %s: a piece of work failed", self.hub.hub_id)
