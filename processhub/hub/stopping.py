"""Stopping children, as the caller's node does it: no longer desired first, then every copy stops."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from processhub.hub.collector import Paused
from processhub.hub.errors import NoChildren
from processhub.hub.future import Future
from processhub.hub.hub import Hub
from processhub.hub.messages import StopChildren
from processhub.hub.requests import ask_all, catch_up, check_timeout, pieces
from processhub.hub.results import NOT_FOUND, StopFailure, StopResult
from supervisor.processes import give_way
from supervisor.runtime import current_process

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StopOptions:
    """The options of a stop. timeout: seconds for all of it."""

    timeout: float = 10.0

    def __post_init__(self) -> None:
        check_timeout(self.timeout)


def stop_children(hub: Hub, child_ids: Iterable[str], options: StopOptions) -> Future[StopResult]:
    """Stop children; what the caller did wrong is raised at once, everything else is in the result."""
    if isinstance(child_ids, str):
        raise TypeError(
            f"stop_children takes a list of child ids; got the string {child_ids!r}; use stop_child for one"
        )
    ids = list(dict.fromkeys(child_ids))
    if not ids:
        raise NoChildren()
    wrong = [child_id for child_id in ids if not isinstance(child_id, str)]
    if wrong:
        raise TypeError(f"child ids are strings; got {wrong[0]!r}")
    future: Future[StopResult] = Future(hub.runtime, f"stop of {len(ids)} children of hub {hub.hub_id!r}")
    hub.runtime.spawn(_run, (hub, ids, options.timeout, future), {})
    return future


def _run(hub: Hub, ids: list[str], timeout: float, future: Future[StopResult]) -> None:
    try:
        future.set_result(stop_copies(hub, ids, timeout))
    except Exception as error:
        log.exception("a stop in hub %s failed", hub.hub_id)
        future.set_error(error)


def stop_copies(hub: Hub, ids: list[str], timeout: float) -> StopResult:
    """Stop every copy of these children and take them out of the registry. Runs in a process of its own."""
    me = current_process()
    errors: list[StopFailure] = []
    holders: dict[str, list[str]] = {}
    requests: list[tuple[str, StopChildren]] = []
    for piece in pieces(ids):
        with Paused():
            asked = _no_longer_desired(hub, piece, holders, errors)
        hub.publish(node for node, _ in asked)  # before the request: a copy that is still desired would start again
        requests += asked
        give_way(me, long_step=True)
    stopped: dict[str, list[str]] = {child_id: [] for child_id in holders}
    for node, request, answer in ask_all(hub, requests, timeout):
        if isinstance(answer, list):
            for child_id in answer:
                if node in holders[child_id]:
                    stopped[child_id].append(node)
        else:
            errors += [StopFailure(child_id, node, answer) for child_id in request.child_ids]
    catch_up(hub, {node for node, _ in requests}, timeout)
    return StopResult(stopped, errors)


def _no_longer_desired(
    hub: Hub, ids: Iterable[str], holders: dict[str, list[str]], errors: list[StopFailure]
) -> list[tuple[str, StopChildren]]:
    """Take children out of Desired. Returns what to ask of those that hold copies.

    Owners of further copies are asked too: there a start may be under way that no row shows.
    """
    registry = hub.registry
    groups: dict[str, list[str]] = {}
    now, copies = hub.now_ms(), hub.copies
    for child_id in ids:
        if child_id not in registry.children:
            errors.append(StopFailure(child_id, None, NOT_FOUND))
            continue
        holders[child_id] = registry.holders(child_id)
        asked = dict.fromkeys((*holders[child_id], *hub.owners(child_id))) if copies > 1 else holders[child_id]
        for node in asked:
            groups.setdefault(node, []).append(child_id)
        registry.remove(child_id, now)
        hub.index.discard(child_id)
    return [(node, StopChildren(groups[node])) for node in sorted(groups)]
