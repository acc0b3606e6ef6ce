"""Nodes for children that are to be started: the leader of the load balancer is asked, within the start's time.

A start never fails because the leader does. Where it does not answer, the children are dealt evenly to the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final

from processhub.hub.balancer_messages import DealRequest, Dealt
from processhub.hub.hub import Hub
from processhub.hub.requests import pieces
from processhub.strategy.distribution.centralized_load_balancer import BALANCER
from processhub.strategy.distribution.dealing import Dealer
from processhub.strategy.distribution.load_placement import Chosen
from supervisor.errors import CallTimeout, ProcessExit, SupervisorError
from supervisor.gen_server import GenServer

log = logging.getLogger(__name__)

LEADER_SECONDS: Final = 2.0  # what the leader gets to answer in, and at most a quarter of what the start has left

Groups = Sequence[tuple[Chosen, int]]


def deal(hub: Hub, child_ids: Sequence[str], remaining: Callable[[], float]) -> dict[str, Chosen]:
    """The value for the placement register of each of these children.

    Args:
        remaining: how many seconds the start has left.
    """
    chosen: dict[str, Chosen] = {}
    even: Dealer | None = None
    for piece in pieces(child_ids):
        groups = _ask_leader(hub, len(piece), min(LEADER_SECONDS, remaining() / 4)) if even is None else None
        if groups is None:
            even = even or _even_dealer(hub)
            lives = hub.lives
            dealt = even.deal(len(piece), hub.copies)
            groups = [(tuple((node, lives.get(node, 0)) for node in nodes), number) for nodes, number in dealt]
        left = iter(piece)
        for value, number in groups:
            chosen.update(dict.fromkeys(islice(left, number), value))
    return chosen


def _ask_leader(hub: Hub, count: int, seconds: float) -> Groups | None:
    """None: there is no leader, it does not answer, or it thinks that another one leads."""
    leader = hub.leader()
    if leader is None:
        return None
    answer: Any
    try:
        answer = GenServer.call((hub.name_of(BALANCER), leader), DealRequest(count, hub.copies), seconds)
    except (ProcessExit, CallTimeout, SupervisorError) as error:
        answer = error
    if isinstance(answer, Dealt) and answer.groups is not None:
        groups: Groups = answer.groups
        return groups
    log.warning(
        "hub %s: %s did not deal out %d children (%s); they are spread evenly", hub.hub_id, leader, count, answer
    )
    return None


def _even_dealer(hub: Hub) -> Dealer:
    """Equal shares, in an order of chance: many single starts must not all go to the first node by name.

    The leader, which has not answered, gets nothing if there is another member: it may be dead.
    """
    leader = hub.leader()
    nodes = [node for node in sorted(hub.takers) if node != leader] or sorted(hub.takers)
    return Dealer(dict.fromkeys(nodes, 1.0), {node: hub.rng.random() / 2 for node in nodes})
