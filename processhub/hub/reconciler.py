"""What should this node do about this child now? One pure function answers, and the coordinator does it.

`decide` looks at what should be (the child is desired, these nodes own it) and at what is (the rows of the registry),
not at what happened. So it may be asked at any time and any number of times: an event that got lost, or a crash half
way, is made good by the next look.

The vocabulary: a *holder* has a row of the child, in whatever state; a *surplus* holder has one and is no owner; a
*missing* owner is an owner that does not hold. Surplus holders and missing owners are paired by their sorted positions,
on every node alike, so that every copy that is in the wrong place has one place to go.

Two rules keep the last copy alive, whatever the nodes think of each other:

- A copy is given up for one thing only: another node has bound itself to the child. Either an owner accepted an offer,
  or a running owner told us, by pid, that it stays.
- Who told another node that it stays neither stops nor hands over its copy until that node has answered (see
  `processhub.hub.promises`). Without it two nodes whose views swap could each follow the other's word.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from processhub.registry import LEAVING, RUNNING, Row


@dataclass(frozen=True)
class Nothing:
    """All is as it should be, or it is for others to act."""


@dataclass(frozen=True)
class StartHere:
    """Start a copy on this node. `why` is for the log."""

    why: str


@dataclass(frozen=True)
class StopHere:
    """Stop the copy of this node."""

    why: str


@dataclass(frozen=True)
class Offer:
    """We hold and should not: ask `to`, an owner that does not hold yet, to take the child."""

    to: str


@dataclass(frozen=True)
class AwaitHandover:
    """We should hold, and `from_node` is to hand the child to us. Decide again at `until` at the latest."""

    from_node: str
    until: float


@dataclass(frozen=True)
class AwaitTables:
    """Nobody seems to hold the child, but we do not know what all members hold. Decide again at `until`."""

    until: float


@dataclass(frozen=True)
class TellStay:
    """We are a running owner: tell these surplus holders so, by pid, that they may stop."""

    nodes: tuple[str, ...]


Decision = Nothing | StartHere | StopHere | Offer | AwaitHandover | AwaitTables | TellStay

NOTHING: Final = Nothing()
NOT_DESIRED: Final = StopHere("no longer desired")


@dataclass(frozen=True)
class _Situation:
    """One child as one node sees it, with the pairs worked out.

    Attributes:
        held: the rows that count: those of members, and our own whatever we are.
        surplus, missing: sorted; `surplus[i]` is to hand the child to `missing[i]`.
    """

    own_node: str
    owners: Sequence[str]
    held: Mapping[str, Row]
    surplus: list[str]
    missing: list[str]


def decide(
    own_node: str,
    owners: Sequence[str],
    rows: Mapping[str, Row],
    desired: bool,
    members: Container[str],
    *,
    now: float,
    deadline: float,
    tables_unknown: bool = False,
    waiting_since: float | None = None,
    promised: bool = False,
    never_surplus: bool = False,
) -> Decision:
    """Decide for one child on one node.

    Args:
        own_node: the node that asks.
        owners: the owners by the distribution strategy, most important first.
        rows: node -> row of this child.
        desired: whether the child should run at all.
        members: the alive members of the hub. Rows of other nodes do not count, except our own.
        now: the node's clock, in seconds.
        deadline: how long an owner waits to be handed the child, or for tables, in seconds (`migr_base_timeout`).
        tables_unknown: whether the presence table of any member is not known yet.
        waiting_since: the `now` at which this node first got an Await decision for the child, and no other since.
        promised: whether we told another node that we stay, and it has not answered yet.
        never_surplus: whether a further copy, too, waits for the tables: there must never be more copies than owners.
    """
    own = rows.get(own_node)
    if not desired:
        return NOTHING if own is None else NOT_DESIRED
    if own is None:
        if own_node not in owners:
            return NOTHING
    elif own.state != LEAVING and own_node in owners and all(node in owners for node in rows):
        return NOTHING  # nearly every child at nearly every look: spare the rest
    held = _held(own_node, rows, members)
    case = _situation(own_node, owners, held, members)
    if own is None:
        since = now if waiting_since is None else waiting_since
        return _without_copy(case, now, since + deadline, tables_unknown and (never_surplus or not held))
    if own.state == LEAVING:
        return _leaving(case, own, members)
    if own_node not in owners:
        return _surplus(case, promised)
    return _owner(case)


def _held(own_node: str, rows: Mapping[str, Row], members: Container[str]) -> dict[str, Row]:
    return {node: row for node, row in rows.items() if node in members or node == own_node}


def _situation(own_node: str, owners: Sequence[str], held: Mapping[str, Row], members: Container[str]) -> _Situation:
    """Pair those that should not hold with those that should.

    A copy that is leaving counts where it goes, since its target is bound to take over. Only the target itself goes by
    its own table: if it does not hold, then the copy that leaves is its partner.
    """
    holders = set()
    for node, row in held.items():
        target = _target(row)
        on_its_way = target is not None and target in members and target != own_node and node != own_node
        holders.add(target if on_its_way else node)
    surplus = sorted(node for node in holders if node is not None and node not in owners)
    missing = sorted(node for node in owners if node not in holders)
    return _Situation(own_node, owners, held, surplus, missing)


def _target(row: Row) -> str | None:
    """The node that is to take over from a copy that leaves."""
    node: str | None = row.to.node if row.state == LEAVING and row.to is not None else None
    return node


def _without_copy(case: _Situation, now: float, until: float, tables_unknown: bool) -> Decision:
    """An owner that does not hold: wait to be handed the child, or start it."""
    partner = _partner(case)
    if partner is not None:
        if now < until:
            return AwaitHandover(partner, until)
        return StartHere(f"{partner} did not hand it over in time")
    if tables_unknown:
        return AwaitTables(until) if now < until else StartHere("some tables did not arrive in time")
    return StartHere("no holder" if not case.held else "a copy is missing")


def _partner(case: _Situation) -> str | None:
    """The surplus holder that is paired with us, a missing owner."""
    handing = next((node for node, row in case.held.items() if _target(row) == case.own_node), None)
    if handing is not None:
        return handing
    position = case.missing.index(case.own_node)
    return case.surplus[position] if position < len(case.surplus) else None


def _leaving(case: _Situation, own: Row, members: Container[str]) -> Decision:
    """The hand-over that is under way goes on by itself; we act only when its target is lost."""
    target = _target(own)
    if target is None or target in members:
        return NOTHING
    if case.own_node in case.owners:
        return StartHere(f"{target}, which was taking over, is lost")
    return _surplus(case, promised=False)


def _surplus(case: _Situation, promised: bool) -> Decision:
    """We hold and should not: offer it to our partner. Without one, wait for the word of a running owner."""
    position = case.surplus.index(case.own_node)
    if promised or position >= len(case.missing):
        return NOTHING
    return Offer(case.missing[position])


def _owner(case: _Situation) -> Decision:
    """We hold and should: the first running owner sends away what nobody waits for."""
    running = (node for node in case.owners if node in case.held and case.held[node].state == RUNNING)
    if next(running, None) != case.own_node:
        return NOTHING
    extra = tuple(node for node in case.surplus[len(case.missing) :] if node in case.held)
    return TellStay(extra) if extra else NOTHING


def accepts(
    own_node: str,
    owners: Sequence[str],
    rows: Mapping[str, Row],
    desired: bool,
    from_node: str,
    members: Container[str],
) -> bool:
    """The answer of an owner to an Offer: it owns the child, does not hold it, and the offerer holds and does not own.

    To accept binds: from here on this node starts the child when it is handed over, whatever it learns meanwhile.
    """
    return (
        desired
        and own_node in owners
        and own_node not in rows
        and from_node in rows
        and from_node in members
        and from_node not in owners
    )


def may_hand_over(
    own_node: str,
    owners: Sequence[str],
    rows: Mapping[str, Row],
    desired: bool,
    to: str,
    members: Container[str],
    *,
    promised: bool = False,
) -> bool:
    """Whether the offerer still gives the child to `to`, now that `to` has accepted. Else the accept is taken back."""
    own = rows.get(own_node)
    return (
        desired
        and own is not None
        and (own.state != LEAVING or (_target(own) is not None and _target(own) not in members))
        and own_node not in owners
        and to in owners
        and to in members
        and not promised
    )


def may_stop(
    own_node: str,
    own_pid: Any,
    owners: Sequence[str],
    rows: Mapping[str, Row],
    teller: str,
    teller_pid: Any,
    members: Container[str],
    *,
    promised: bool = False,
) -> bool:
    """Whether a surplus holder follows the word of `teller` that its copy `teller_pid` stays.

    Args:
        own_pid: the pid of our copy that `teller` means. If ours is another one by now, its word is out of date.
        promised: whether we told another node that we stay, and it has not answered yet.
    """
    own, other = rows.get(own_node), rows.get(teller)
    return (
        own is not None
        and own.pid == own_pid
        and own_node not in owners
        and teller in owners
        and teller in members
        and other is not None
        and other.state == RUNNING
        and other.pid == teller_pid
        and not promised
    )


def next_epoch(rows: Mapping[str, Row], known: int = 0) -> int:
    """The epoch of a copy that starts now: higher than that of every row, and than `known`."""
    return max(known, *(row.epoch for row in rows.values()), 0) + 1 if rows else known + 1
