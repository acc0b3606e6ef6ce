"""Waiting until a hub is settled: what tests, and people after a change, want to know."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from processhub.hub.hub import Hub
from processhub.hub.messages import STATUS
from processhub.registry import RUNNING
from supervisor.errors import CallTimeout, ProcessExit
from supervisor.gen_server import GenServer
from supervisor.processes import sleep, unhurried

POLL_SECONDS: Final = 0.05
ANSWER_SECONDS: Final = 5.0  # what a member gets to answer in, before all is looked at anew
_LISTED: Final = 10


def await_settled(hub: Hub, timeout: float | None, members: Iterable[str] | None) -> None:
    """Return once nothing is left to do anywhere. Raises CallTimeout, listing what is."""
    clock = hub.runtime.clock
    deadline = None if timeout is None else clock.now() + timeout
    expected = None if members is None else sorted(members)
    while True:
        problems = _problems(hub, expected, deadline)
        if not problems:
            return
        if deadline is not None and clock.now() + POLL_SECONDS > deadline:
            raise CallTimeout(f"hub {hub.hub_id!r} is not settled after {timeout} s: {'; '.join(problems)}")
        sleep(POLL_SECONDS)


def _problems(hub: Hub, expected: list[str] | None, deadline: float | None) -> list[str]:
    """What is not settled; the cheap questions first."""
    present = sorted(hub.members)
    if expected is not None and present != expected:
        return [f"members are {present}, not {expected}"]
    return _disagreements(hub, present, deadline) or _misplaced(hub)


def _disagreements(hub: Hub, members: list[str], deadline: float | None) -> list[str]:
    digest = hub.registry.digest()
    problems = []
    for node in sorted({*members, hub.node}):
        patience = ANSWER_SECONDS
        if deadline is not None:
            patience = max(0.0, min(patience, deadline - hub.runtime.clock.now()))
        try:
            theirs, work, seen = GenServer.call((hub.hub_id, node), STATUS, patience)
        except (ProcessExit, CallTimeout) as error:
            return [f"{node} does not answer: {error}"]
        if seen != members:
            problems.append(f"{node} sees the members {seen}")
        elif work:
            problems.append(f"{node} is {work}")
        elif theirs != digest:
            problems.append(f"{node} has another registry than {hub.node}")
    return problems


def _misplaced(hub: Hub) -> list[str]:
    """Children that do not run on exactly their owners."""
    problems: list[str] = []
    children = hub.registry.children
    stopped = sorted(hub.registry.placed() - children.keys())  # and not gone yet
    for child_id in unhurried([*children, *stopped]):
        rows = hub.registry.rows(child_id)
        owners = hub.owners(child_id) if child_id in children else ()
        if len(rows) != len(owners) or any(node not in rows or rows[node].state != RUNNING for node in owners):
            problems.append(f"{child_id!r} runs on {_states(rows)}, its owners are {list(owners)}")
            if len(problems) == _LISTED:
                return [*problems, "..."]
    return problems


def _states(rows: Any) -> str:
    return ", ".join(f"{node} ({row.state})" for node, row in sorted(rows.items())) or "no node"
