"""A node that is about to leave hands its children to those who own them next, before it stops what is left."""

from __future__ import annotations

from typing import Final

from processhub.hub.hub import Hub
from processhub.hub.messages import DRAIN, SYNC
from processhub.strategy.migration.hot_swap import HotSwap
from supervisor.errors import CallTimeout, ProcessExit
from supervisor.gen_server import GenServer
from supervisor.processes import sleep

_LOOK_SECONDS: Final = 0.02


def drain(hub: Hub) -> None:
    """Move the children of this node away with HotSwap, for `handover_data_wait` seconds at most.

    To be called in a process of its own. Does nothing with another migration strategy, or for the last member.
    """
    strategy = hub.config.migration_strategy
    if not isinstance(strategy, HotSwap) or not hub.takes_part or not hub.others():
        return
    clock = hub.runtime.clock
    deadline = clock.now() + strategy.handover_data_wait
    try:
        GenServer.call(hub.hub_id, DRAIN, strategy.handover_data_wait)
    except (ProcessExit, CallTimeout):
        return  # then they stop cold
    while (hub.registry.own_table or hub.moving) and clock.now() < deadline:
        sleep(_LOOK_SECONDS)
    # Once they have answered, all know where the children went, and what they had sent here before was passed on.
    GenServer.multi_call(hub.others(), hub.hub_id, SYNC, max(0.0, deadline - clock.now()))
