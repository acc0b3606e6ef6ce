"""The errors of a hub. All are `ProcessHubError`; those that are mistakes of the caller are `ValueError` as well."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from processhub.strategy.errors import (
    ChildMappingMismatch,
    ChildReplicationMismatch,
    HubNotAlive,
    InvalidChildMapping,
    InvalidConfig,
    MissingChildMapping,
    ProcessHubError,
)
from supervisor.child_spec import InvalidChildSpec as RuntimeInvalidChildSpec

__all__ = [
    "AlreadyStarted",
    "ChildMappingMismatch",
    "ChildReplicationMismatch",
    "ConfigMismatch",
    "DuplicateHookHandler",
    "HubNotAlive",
    "InvalidChildMapping",
    "InvalidChildSpec",
    "InvalidConfig",
    "MissingChildMapping",
    "NoChildren",
    "Partitioned",
    "ProcessHubError",
]

_SHOWN = 5


class NoChildren(ProcessHubError, ValueError):
    """A start or stop of no children at all."""

    def __init__(self, what: str = "children") -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"the list of {self.what} is empty; give at least one"


class AlreadyStarted(ProcessHubError):
    """Children of these ids are in the hub already, and nothing was started.

    Attributes:
        child_ids: all of them, sorted.
    """

    def __init__(self, child_ids: Iterable[str]) -> None:
        self.child_ids = sorted(child_ids)
        super().__init__(self.child_ids)

    def __str__(self) -> str:
        return (
            f"already started: {shortened(self.child_ids)}; stop them first, leave them out, or pass "
            "check_existing=False to have them reported as errors of the result"
        )


class InvalidChildSpec(ProcessHubError, RuntimeInvalidChildSpec):
    """A child spec is not one that a hub can take; the message says which, what was expected and what was given.

    It is the runtime's `InvalidChildSpec` too, so that who catches that one gets both.
    """


class Partitioned(ProcessHubError):
    """This part of the cluster has lost its quorum: the hub runs and starts no children."""

    def __init__(self, hub_id: str) -> None:
        super().__init__(hub_id)
        self.hub_id = hub_id

    def __str__(self) -> str:
        return (
            f"hub {self.hub_id!r} is partitioned: too few of its nodes are connected for its partition tolerance "
            "strategy; its children start again when enough of them are back"
        )


class ConfigMismatch(ProcessHubError):
    """Two nodes run a hub of one id with different strategies or options, so they cannot be members of one hub.

    Attributes:
        field: what differs, as `difference` of `processhub.hub.config` names it.
        mine, theirs: the two values.
        node: the other node.
    """

    def __init__(self, hub_id: str, field: str, mine: Any, theirs: Any, node: str) -> None:
        super().__init__(hub_id, field, mine, theirs, node)
        self.hub_id = hub_id
        self.field = field
        self.mine = mine
        self.theirs = theirs
        self.node = node

    def __str__(self) -> str:
        return (
            f"hub {self.hub_id!r}: {self.field} is {self.mine!r} here and {self.theirs!r} on {self.node}; "
            "all nodes of a hub must have the same strategies with the same options"
        )


class DuplicateHookHandler(ProcessHubError, ValueError):
    """A hook has a handler of this id already; none of the handlers was registered."""

    def __init__(self, hook: str, handler_ids: Iterable[str]) -> None:
        self.hook = hook
        self.handler_ids = sorted(handler_ids)
        super().__init__(hook, self.handler_ids)

    def __str__(self) -> str:
        return (
            f"hook {self.hook}: handler ids must be unique, and these are taken: {shortened(self.handler_ids)}; "
            "cancel the old handlers first, or choose other ids"
        )


def shortened(items: list[str]) -> str:
    """The first few, and how many more there are: 10 000 ids make no message."""
    shown = ", ".join(repr(item) for item in items[:_SHOWN])
    return shown if len(items) <= _SHOWN else f"{shown} and {len(items) - _SHOWN} more"
