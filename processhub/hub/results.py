"""What a start or a stop of children came to, child by child and node by node. Partial success is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from supervisor.pids import Pid

Status = Literal["ok", "error"]

# Why a copy did not start or stop. (Besides exit reasons, and texts that say more.)
ALREADY_STARTED: Final = "already_started"
TIMEOUT: Final = "timeout"
STOPPED: Final = "stopped"  # it was told to stop while it started
PARTITIONED: Final = "partitioned"  # its node has no quorum
IS_LEAVING: Final = "leaving"  # its node is about to leave, and starts nothing any more
NOT_MEMBER: Final = "not_member"  # it is bound to a node that does not take part
NOT_FOUND: Final = "not_found"  # no such child is desired

_SHOWN = 3


@dataclass(frozen=True)
class StartFailure:
    """One copy that did not start.

    Attributes:
        child_id: which child.
        node: where; None when no node was asked.
        reason: "already_started", ("already_started", pid), "timeout", or what its start ended with.
            "noconnection": the node was lost before it answered, and whether the child runs is not known.
            "not_owner: ...": the nodes did not agree on the members within the time; it lists both views.
            ("rollback_failed", reason): it had been started, and was not stopped within the time. It is no longer
            desired, so it stops as soon as it can.
    """

    child_id: str
    node: str | None
    reason: Any


@dataclass(frozen=True)
class StopFailure:
    """One child that was not stopped. Attributes as for `StartFailure`; the reason may be "not_found"."""

    child_id: str
    node: str | None
    reason: Any


@dataclass(frozen=True, repr=False)
class StartResult:
    """The outcome of a start.

    Attributes:
        started: child id -> {node: pid} of the copies that run, in the order of the request.
        errors: what did not start.
        rollback: whether what had started was stopped again, because something failed and `on_failure` is "rollback".
    """

    started: dict[str, dict[str, Pid]] = field(default_factory=dict)
    errors: list[StartFailure] = field(default_factory=list)
    rollback: bool = False

    @property
    def status(self) -> Status:
        """ "ok" if every child was started, else "error"."""
        return "error" if self.errors or self.rollback else "ok"

    @property
    def child_ids(self) -> list[str]:
        """The children that were started."""
        return list(self.started)

    @property
    def nodes(self) -> list[str]:
        """The nodes on which something was started, sorted."""
        return sorted({node for copies in self.started.values() for node in copies})

    @property
    def pids(self) -> list[Pid]:
        """The pids of all copies."""
        return [pid for copies in self.started.values() for pid in copies.values()]

    @property
    def first(self) -> tuple[str, dict[str, Pid]] | None:
        """The first child that was started, with its copies: (child id, {node: pid})."""
        return next(iter(self.started.items()), None)

    @property
    def pid(self) -> Pid | None:
        """The pid of the first copy: *the* pid, when one child was started."""
        return next((pid for copies in self.started.values() for pid in copies.values()), None)

    @property
    def node(self) -> str | None:
        """The node of the first copy."""
        return next((node for copies in self.started.values() for node in copies), None)

    def __repr__(self) -> str:
        rollback = ", rollback=True" if self.rollback else ""
        return f"StartResult({self.status!r}, started={_short(self.started)}, errors={_short(self.errors)}{rollback})"


@dataclass(frozen=True, repr=False)
class StopResult:
    """The outcome of a stop.

    Attributes:
        stopped: child id -> the nodes on which copies were stopped, in the order of the request.
        errors: what was not stopped.
    """

    stopped: dict[str, list[str]] = field(default_factory=dict)
    errors: list[StopFailure] = field(default_factory=list)

    @property
    def status(self) -> Status:
        """ "ok" if every child was stopped, else "error"."""
        return "error" if self.errors else "ok"

    @property
    def child_ids(self) -> list[str]:
        """The children that were stopped."""
        return list(self.stopped)

    @property
    def nodes(self) -> list[str]:
        """The nodes on which something was stopped, sorted."""
        return sorted({node for nodes in self.stopped.values() for node in nodes})

    @property
    def first(self) -> tuple[str, list[str]] | None:
        """The first child that was stopped, with its nodes."""
        return next(iter(self.stopped.items()), None)

    def __repr__(self) -> str:
        return f"StopResult({self.status!r}, stopped={_short(self.stopped)}, errors={_short(self.errors)})"


def _short(items: dict[str, Any] | list[Any]) -> str:
    """The repr of the first few items, and how many there are."""
    if len(items) <= _SHOWN:
        return repr(items)
    if isinstance(items, dict):
        shown = ", ".join(f"{key!r}: {items[key]!r}" for key in list(items)[:_SHOWN])
        return f"{{{shown}, ... {len(items)} in all}}"
    return f"[{', '.join(map(repr, items[:_SHOWN]))}, ... {len(items)} in all]"
