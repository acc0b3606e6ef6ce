"""What the distributed supervisors of two nodes say to each other while children move with HotSwap.

The old node leads. Children that were offered and accepted together are a *batch*, named by a Ref of the old node, and
travel together as far as they are ready together; each has its own fate.

    old -> new   Begin        start these, gated
    new -> old   Started      they wait, under these pids
    old -> new   States       what their old copies prepared (StateChunk for a large one); not without `handover`
    new -> old   Ready        they have taken it
    old -> new   Commit       the old copies are no more: begin, with what was kept
    new -> old   Done         they run
    both         NotMoved     before Commit: it does not happen; in answer to Commit or Ready: nothing is known of it

Commit is repeated until it is answered, Ready until Commit or NotMoved comes. All else may be lost: deadlines end it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from processhub.cluster.wire import register
from supervisor.pids import Ref


@dataclass(frozen=True)
class Begin:
    """Start these children gated, to take over from `node`. with_state: States will follow."""

    node: str
    batch: Ref
    child_ids: list[str]
    with_state: bool


@dataclass(frozen=True)
class Started:
    """These wait for their states: (child id, pid)."""

    node: str
    batch: Ref
    rows: list[Any]


@dataclass(frozen=True)
class States:
    """What old copies prepared: (child id, Packed state)."""

    node: str
    batch: Ref
    rows: list[Any]


@dataclass(frozen=True)
class StateChunk:
    """A piece of a large encoded state; a call, so that the next one waits until this one is worked in."""

    node: str
    batch: Ref
    child_id: str
    data: bytes
    is_last: bool


@dataclass(frozen=True)
class Ready:
    """These have taken their states."""

    node: str
    batch: Ref
    child_ids: list[str]


@dataclass(frozen=True)
class Commit:
    """These are yours: (child id, epoch, old pid, Packed kept entries or None, refs of waiting callers)."""

    node: str
    batch: Ref
    rows: list[Any]


@dataclass(frozen=True)
class Done:
    """These run at `node`."""

    node: str
    batch: Ref
    child_ids: list[str]


@dataclass(frozen=True)
class NotMoved:
    """These do not move: (child id, why)."""

    node: str
    batch: Ref
    rows: list[Any]


@dataclass(frozen=True)
class Draining:
    """`node` is about to leave, and owns nothing any more: it offers what it holds. Sent to coordinators."""

    node: str


for _code, _cls in enumerate((Begin, Started, States, StateChunk, Ready, Commit, Done, NotMoved, Draining), start=90):
    register(_code, _cls)
