"""The config of a hub: every field checked when it is made, and the part that all members must share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from processhub.hub.hooks import Hooks, HookTable, as_handlers, as_hook
from processhub.hub.specs import normalise
from processhub.strategy.base import Strategy
from processhub.strategy.distribution.base import Distribution
from processhub.strategy.distribution.consistent_hashing import ConsistentHashing
from processhub.strategy.migration.base import Migration
from processhub.strategy.migration.cold_swap import ColdSwap
from processhub.strategy.options import check, check_count, check_seconds
from processhub.strategy.partition_tolerance.base import PartitionTolerance
from processhub.strategy.partition_tolerance.divergence import Divergence
from processhub.strategy.redundancy.base import Redundancy
from processhub.strategy.redundancy.singularity import Singularity
from processhub.strategy.synchronization.base import Synchronization
from processhub.strategy.synchronization.pub_sub import PubSub

Digest = dict[str, list[Any]]
"""field -> [name of the strategy, {option: value}]."""

STRATEGIES: Final[Mapping[str, type[Strategy]]] = {
    "redundancy_strategy": Redundancy,
    "migration_strategy": Migration,
    "synchronization_strategy": Synchronization,
    "partition_tolerance_strategy": PartitionTolerance,
    "distribution_strategy": Distribution,
}


@dataclass(frozen=True)
class HubConfig:
    """How a hub works. Nodes that run a hub of one id are its members; their strategies must be the same.

    Args:
        hub_id: the name of the hub; its coordinator is registered under it.
        child_specs: children that the hub starts when it starts, in any accepted form. Kept as a tuple of `ChildSpec`.
        hooks: hook -> handlers to register before anything happens.
        redundancy_strategy: how many copies each child has.
        migration_strategy: how a child moves to another node.
        synchronization_strategy: how changes get to the other members.
        partition_tolerance_strategy: what happens in a part of a divided cluster.
        distribution_strategy: which nodes own which children.
        hubs_discover_interval: seconds between two looks for members not met yet. Shorter finds them sooner after a
            lost announcement, longer sends less.
        deadlock_recovery_timeout: seconds after which the lock of a join, leave or move is lifted whatever happens.
        storage_purge_interval: seconds between two rounds of the janitor.
        migr_base_timeout: seconds for which an owner waits to be handed a child before it starts the child itself, and
            for which a node waits for the tables of others. Shorter mends sooner what got stuck, longer lets slow moves
            end well instead of starting a second copy.
        dsup_max_restarts, dsup_max_seconds: a child that restarts more often than `dsup_max_restarts` times in
            `dsup_max_seconds` seconds has failed, and is retried with growing pauses.
        dsup_shutdown_timeout: seconds that the children of a node get to stop, all together.

    Raises:
        InvalidConfig: names the field, what it must be, and the value.
        InvalidChildSpec: one of `child_specs` is not one.
    """

    hub_id: str
    child_specs: Iterable[Any] = field(default=(), repr=False)
    hooks: Hooks | None = field(default=None, repr=False)
    redundancy_strategy: Redundancy = field(default_factory=Singularity)
    migration_strategy: Migration = field(default_factory=ColdSwap)
    synchronization_strategy: Synchronization = field(default_factory=PubSub)
    partition_tolerance_strategy: PartitionTolerance = field(default_factory=Divergence)
    distribution_strategy: Distribution = field(default_factory=ConsistentHashing)
    hubs_discover_interval: float = 10.0
    deadlock_recovery_timeout: float = 60.0
    storage_purge_interval: float = 15.0
    migr_base_timeout: float = 15.0
    dsup_max_restarts: int = 100
    dsup_max_seconds: float = 4.0
    dsup_shutdown_timeout: float = 60.0

    def __post_init__(self) -> None:
        check(
            isinstance(self.hub_id, str) and self.hub_id != "", "ProcessHub", "hub_id", "a non-empty str", self.hub_id
        )
        owner = f"hub {self.hub_id!r:.100}"
        for name, base in STRATEGIES.items():
            check(isinstance(getattr(self, name), base), owner, name, _strategy_form(name, base), getattr(self, name))
        for name in _POSITIVE_SECONDS:
            check_seconds(owner, name, getattr(self, name))
        check_count(owner, "dsup_max_restarts", self.dsup_max_restarts, at_least=0)
        check_seconds(owner, "dsup_shutdown_timeout", self.dsup_shutdown_timeout, positive=False)
        object.__setattr__(self, "child_specs", tuple(normalise(self.child_specs)))
        unmapped = self.child_specs if self.distribution_strategy.binds else ()
        check(not unmapped, owner, "child_specs", "empty where every start needs a child_mapping", unmapped)
        object.__setattr__(self, "hooks", _hooks(owner, self.hooks))

    def digest(self) -> Digest:
        """The strategies and their options: what must be the same on all members. Sendable."""
        described = {name: getattr(self, name).describe() for name in STRATEGIES}
        return {name: [kind, dict(options)] for name, (kind, options) in described.items()}


_EXAMPLES: Final = {
    "redundancy_strategy": "Singularity",
    "migration_strategy": "ColdSwap",
    "synchronization_strategy": "PubSub",
    "partition_tolerance_strategy": "Divergence",
    "distribution_strategy": "ConsistentHashing",
}
_POSITIVE_SECONDS: Final = (
    "hubs_discover_interval",
    "deadlock_recovery_timeout",
    "storage_purge_interval",
    "migr_base_timeout",
    "dsup_max_seconds",
)


def _strategy_form(name: str, base: type[Strategy]) -> str:
    return f"an instance of a {base.__name__} strategy, such as {_EXAMPLES[name]}()"


def _hooks(owner: str, hooks: Any) -> Hooks:
    if hooks is None:
        return {}
    check(isinstance(hooks, Mapping), owner, "hooks", "a mapping of Hook to a list of HookHandler", hooks)
    found = {as_hook(hook): as_handlers(handlers) for hook, handlers in hooks.items()}
    HookTable(found)  # raises where ids are not unique
    return found


def difference(mine: Digest, theirs: Any) -> str | None:
    """The first field in which two digests differ; None when they are equal.

    "migration_strategy" for different strategies, "migration_strategy.retention" for one option that differs, "digest"
    if the other one is none.
    """
    if not isinstance(theirs, Mapping):
        return "digest"
    for name in mine:
        found = _difference_of(name, mine[name], theirs.get(name))
        if found is not None:
            return found
    strange = sorted(str(name) for name in theirs if name not in mine)
    return strange[0] if strange else None


def _difference_of(field_name: str, mine: list[Any], theirs: Any) -> str | None:
    if mine == theirs:
        return None
    well_formed = isinstance(theirs, list | tuple) and len(theirs) == 2 and isinstance(theirs[1], Mapping)
    if not well_formed or mine[0] != theirs[0]:
        return field_name
    options, others = mine[1], theirs[1]
    missing = object()
    names = sorted({*options, *map(str, others)})
    differing = [name for name in names if options.get(name, missing) != others.get(name, missing)]
    return f"{field_name}.{differing[0]}" if differing else None


def values_of(digest: Any, where: str) -> Any:
    """What a digest says at a place that `difference` named, for an error message."""
    field_name, _, option = where.partition(".")
    found = digest.get(field_name) if isinstance(digest, Mapping) else digest
    if option and isinstance(found, list | tuple) and len(found) == 2:
        return found[1].get(option)
    return found
