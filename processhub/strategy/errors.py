"""The base of a hub's errors, and those that a strategy raises. Users find them all in `processhub.hub.errors`."""

from __future__ import annotations


class ProcessHubError(Exception):
    """The base of every error of a hub."""


class HubNotAlive(ProcessHubError):
    """No hub of this id runs on this node."""

    def __init__(self, hub_id: str) -> None:
        super().__init__(hub_id)
        self.hub_id = hub_id

    def __str__(self) -> str:
        return (
            f"hub {self.hub_id!r} does not run on this node; "
            f"start it first: ProcessHub.start_link(ProcessHub({self.hub_id!r}))"
        )


class InvalidConfig(ProcessHubError, ValueError):
    """A field of a hub's config, or an option of a strategy, is not what it must be."""


class MissingChildMapping(ProcessHubError, ValueError):
    """The strategy needs `child_mapping={child_id: [nodes]}` at the start, and there is none."""


class InvalidChildMapping(ProcessHubError, ValueError):
    """`child_mapping` is no mapping of child ids to lists of nodes, or the strategy cannot use one."""


class ChildMappingMismatch(ProcessHubError, ValueError):
    """`child_mapping` does not name exactly the children that are to be started."""


class ChildReplicationMismatch(ProcessHubError, ValueError):
    """`child_mapping` gives a child another number of nodes than the replication factor."""
