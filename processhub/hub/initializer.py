"""The initializer: the supervisor of one hub on one node, and the tree under it."""

from __future__ import annotations

import logging
from random import Random
from typing import Any, Final

from processhub.hub.balancer import Balancer
from processhub.hub.config import HubConfig
from processhub.hub.coordinator import Coordinator
from processhub.hub.distributed_supervisor import DistributedSupervisor
from processhub.hub.errors import ProcessHubError
from processhub.hub.event_queue import EventQueue
from processhub.hub.hub import Hub, next_incarnation
from processhub.hub.janitor import Janitor
from processhub.hub.system_registry import SystemRegistry
from processhub.hub.task_supervisor import TaskSupervisor
from processhub.hub.worker_queue import WorkerQueue
from processhub.strategy.distribution.centralized_load_balancer import BALANCER
from supervisor.child_spec import ChildSpec
from supervisor.gen_server import GenServer
from supervisor.pids import Pid
from supervisor.processes import self as self_pid
from supervisor.runtime import Runtime, current_runtime
from supervisor.supervisors import Supervisor, SupervisorSpec

log = logging.getLogger(__name__)

# Names of the parts, in the order in which they start; they stop in reverse order.
_PARTS: Final[tuple[tuple[str, type[GenServer]], ...]] = (
    ("system_registry", SystemRegistry),
    ("event_queue", EventQueue),
    ("distributed_supervisor", DistributedSupervisor),
    ("task_supervisor", TaskSupervisor),
    ("coordinator", Coordinator),
    (BALANCER, Balancer),
    ("worker_queue", WorkerQueue),
    ("janitor", Janitor),
)
_MAX_RESTARTS: Final = 10
_MAX_SECONDS: Final = 10.0


class Initializer(Supervisor):
    """Supervises the parts of a hub, `one_for_one`: a part that crashes leaves the others and the children running."""

    def init(self, config: HubConfig, observer: bool = False) -> Any:
        runtime = current_runtime()
        if _is_there(runtime, config.hub_id):
            raise ProcessHubError(f"hub {config.hub_id!r} runs on {runtime.home.name} already")
        hub = make_hub(runtime, config, observer)
        hub.initializer = self_pid()
        return SupervisorSpec(
            [
                _part_spec(hub, name, part)
                for name, part in _PARTS
                if name != BALANCER or (hub.balances and not observer)
            ],
            strategy="one_for_one",
            max_restarts=_MAX_RESTARTS,
            max_seconds=_MAX_SECONDS,
        )


def _is_there(runtime: Runtime, hub_id: str) -> bool:
    """Whether a hub of this id runs here or is about to end. One that was killed at a blow may still be on record."""
    former: Hub | None = runtime.services.get(hub_id)
    if former is None:
        return False
    return former.is_supervised or former.name_of("system_registry") in runtime.names


def make_hub(runtime: Runtime, config: HubConfig, observer: bool) -> Hub:
    """The shared state of a hub."""
    node = runtime.node
    return Hub(runtime, config, next_incarnation(runtime), node.rng if node is not None else Random(), observer)


def _part_spec(hub: Hub, name: str, part: type[GenServer]) -> ChildSpec:
    patience = hub.config.dsup_shutdown_timeout + 5.0 if name == "distributed_supervisor" else 5.0
    return part.child_spec(hub, id=name, name=hub.name_of(name), shutdown=patience)


def start_initializer(config: HubConfig) -> Pid | None:
    """Start a hub linked to the caller: the start function of `ProcessHub.child_spec`."""
    return Initializer.start_link(config)


def start_observer(config: HubConfig) -> Pid | None:
    """Start an observing hub, linked to nobody."""
    return Initializer.start(config, True)
