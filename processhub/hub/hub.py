"""The hub of one node as its processes share it: configuration, registry, members, placement.

It outlives the processes of the hub's control plane, as an ETS table outlives its readers: when a coordinator crashes,
its successor goes on with the same registry. All of it is read and written on the node's own thread, and no method
here gives way while it changes something.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Set
from random import Random
from typing import Any, Final

from processhub.cluster.wire import Codec
from processhub.hub.config import HubConfig
from processhub.hub.hook_calls import HookCalls
from processhub.hub.hooks import Hook, HookTable
from processhub.hub.lookup import CopyLookup
from processhub.hub.messages import BatchMessage
from processhub.hub.results import IS_LEAVING, PARTITIONED
from processhub.hub.roles import Roles
from processhub.hub.routes import Routes
from processhub.hub.specs import SpecCodec
from processhub.hub.standing import standing_of
from processhub.registry import LEAVING, Changes, Registry
from processhub.registry.changes import RowChange
from processhub.strategy.distribution.base import Placement
from processhub.strategy.distribution.centralized_load_balancer import BALANCER, CentralizedLoadBalancer
from processhub.strategy.distribution.ring_index import RingIndex
from processhub.strategy.redundancy.singularity import Singularity
from supervisor.errors import NoProcess
from supervisor.forwarding import note_moves
from supervisor.gen_server import GenServer
from supervisor.pids import Pid
from supervisor.runtime import Runtime
from supervisor.waiters import Waiters

log = logging.getLogger(__name__)

LOCKED = 10
_LAST: Final = "processhub.last_incarnation"


def next_incarnation(runtime: Runtime) -> int:
    """A hub incarnation that is higher than that of any earlier registry of this node."""
    wall = int(runtime.clock.wall() * 1000)
    incarnation: int = max(wall, runtime.services.get(_LAST, 0) + 1)
    runtime.services[_LAST] = incarnation
    return incarnation


def _moves(rows: Iterable[RowChange]) -> list[tuple[Pid, Pid]]:
    """(old pid, new pid) of the copies that were handed over, whichever row tells it first."""
    moved = [new for _, _, _, new in rows if new is not None and new[3] is not None and new[0] is not None]
    return [(new.pid, new.to) if new.state == LEAVING else (new.to, new.pid) for new in moved]


class Hub:
    """One hub on one node.

    members: the nodes whose hubs take part, this one included unless it observes.
    lives: member -> a number that its hub took when it started there, and keeps: the wall clock in ms. The lowest has
        the longest uptime. (An incarnation, in `members`, may rise later.)
    joined: whether it has heard all members; before that it owns and starts nothing.
    hooks: the handlers registered on this node; `hook_calls` calls them.
    has_single_copies: by Singularity; a custom strategy may do the same, but is not known to.
    pid_of: child id -> the pid that answers for it, or None.
    changing: who waits for any change of a child, by its id; `joining`: who waits until the hub has joined.
    failures: child id -> why its copy here did not start, or was given up.
    """

    keeps_name = True  # its rows carry the name under which it was started, see `is_private`

    def __init__(self, runtime: Runtime, config: HubConfig, incarnation: int, rng: Random, observer: bool) -> None:
        self.runtime = runtime
        self.config = config
        self.hub_id = config.hub_id
        self.observer = observer
        self.rng = rng
        self.codec = Codec(runtime)
        self.specs = SpecCodec(self.codec)
        self.node = runtime.home.name
        self.registry = Registry(self.node, incarnation)
        self.index = RingIndex()
        self.members: dict[str, int] = {} if observer else {self.node: incarnation}
        self.lives: dict[str, int] = dict(self.members)
        self.observers: set[str] = {self.node} if observer else set()
        self.joined = False
        self.standing = standing_of(runtime, config, observer)
        self.has_static_children = False  # whether those of the configuration were started
        self.moving: set[str] = set()  # children whose hand-over is under way here: the reconciler leaves them alone
        self.unmet: dict[str, float] = {}  # members of members, which we have not met yet -> since when
        self.draining: set[str] = set()  # members that are about to leave: they own nothing any more
        self.redistributing: list[tuple[str, str]] = []  # ("nodeup" or "nodedown", node), until all is looked at
        self.leaving = False  # the node is about to leave: nothing is started or taken any more
        self.hooks = HookTable(config.hooks)
        self.hook_calls = HookCalls(runtime, config.hub_id, self.hooks, self._run_task)
        self._level = 0
        self.initializer: Pid | None = None
        self.failures: dict[str, Any] = {}
        self.lookup = CopyLookup(self)
        # With single copies the registry's own index answers: a lookup is one dict access.
        self.has_single_copies = type(config.redundancy_strategy) is Singularity
        self.pid_of = self._lookup_of_pids()
        self.roles = Roles(self)
        self.routes = Routes(config.synchronization_strategy, rng)
        self.placement: Placement = config.distribution_strategy.place(self.lives)
        self.changing: Waiters[str] = Waiters(runtime)
        self.joining: Waiters[str] = Waiters(runtime)
        self._publishing = False
        self._directly: set[str] = set()  # who gets what is being published without a detour

    def __repr__(self) -> str:
        return f"<{self.kind} {self.hub_id!r} on {self.node}: {len(self.registry.own_table)} children here>"

    # -- names of its processes --------------------------------------------------------------------------------------

    def name_of(self, part: str) -> str:
        """The registered name of a part; the coordinator's is the hub id itself."""
        return self.hub_id if part == "coordinator" else f"{self.hub_id}.{part}"

    @property
    def kind(self) -> str:
        """What its node calls it, in `Node.info`."""
        if self.is_private:
            return "private"
        return "observer" if self.observer else "hub"

    @property
    def supervisor_name(self) -> str:
        """The registered name of the distributed supervisor."""
        return self.name_of("distributed_supervisor")

    @property
    def is_private(self) -> bool:
        """Whether the node has taken a name since the hub was started: no other node sees it until it is promoted."""
        return self.node != self.runtime.home.name

    @property
    def is_arriving(self) -> bool:
        """Whether the node has just begun, and may be about to meet other nodes."""
        node = self.runtime.node
        return node is not None and not self.is_private and bool(node.is_arriving)

    def _lookup_of_pids(self) -> Callable[[str], Pid | None]:
        return self.registry.pids.get if self.has_single_copies else self.lookup.pid_of

    def take_name(self, name: str, registry: Registry) -> None:
        """Go on under another name with another registry, and join the others as if just started."""
        life = self.lives[self.node]
        self.node, self.registry = name, registry
        self.pid_of = self._lookup_of_pids()
        self.members, self.lives = {name: registry.incarnation}, {name: life}
        self.place()
        if self.balances:
            self.tell(BALANCER, ("members", None))
        self.joined = False
        for part in ("system_registry", "event_queue", "coordinator"):
            self.tell(part, ("promoted", name))

    # -- members and owners ------------------------------------------------------------------------------------------

    def told_of(self, nodes: Iterable[str]) -> None:
        """A member counts these as members."""
        now = self.runtime.clock.now()
        for node in nodes:
            if node not in self.members and node != self.node:
                self.unmet[node] = now

    @property
    def is_in_the_dark(self) -> bool:
        """Whether there are members of which we do not know what they hold; those whom we cannot meet soon but for."""
        if self.unmet:
            long_ago = self.runtime.clock.now() - self.config.migr_base_timeout
            self.unmet = {node: since for node, since in self.unmet.items() if since > long_ago}
        return bool(self.unmet or self.registry.unknown(self.others()))

    def not_given_up(self) -> Set[str]:
        """The members, and those lost that are still waited for: under a quorum strategy they may run what they had."""
        lost = self.standing.lost
        return self.members.keys() | lost.held() if len(lost) else self.members.keys()

    def others(self) -> list[str]:
        """The other members, sorted."""
        return sorted(node for node in self.members if node != self.node)

    def listeners(self) -> list[str]:
        """Who gets what is written here: the other members, and observers."""
        return sorted((self.members.keys() | self.observers) - {self.node})

    def leader(self) -> str | None:
        """The member whose hub has the longest uptime, the first by name of several; None without members."""
        lives = self.lives
        return min(lives, key=lambda node: (lives[node], node), default=None)

    @property
    def balances(self) -> bool:
        """Whether children are placed by load, by the leader."""
        return isinstance(self.config.distribution_strategy, CentralizedLoadBalancer)

    def owners(self, child_id: str) -> tuple[str, ...]:
        """The nodes that should run this child, in order."""
        child = self.registry.children.get(child_id)
        return self.placement.owners(child_id, child.placement if child is not None else None, self.copies)

    @property
    def copies(self) -> int:
        """How many copies of each child there should be."""
        return self.config.redundancy_strategy.copies(self.placement.members)

    @property
    def takers(self) -> dict[str, int]:
        """member -> life of those that may be given children: not those that are about to leave, unless all are."""
        staying = {node: life for node, life in self.lives.items() if node not in self.draining}
        return staying or dict(self.lives)

    def place(self) -> tuple[Placement, Placement]:
        """Compute the placement for the takers and those lost that are still waited for. Returns the old one and the
        new one."""
        lives = {**self.standing.lost.held(), **self.takers}
        old, self.placement = self.placement, self.config.distribution_strategy.place(lives)
        return old, self.placement

    def now_ms(self) -> int:
        """The wall clock, for the registry's stamps."""
        return int(self.runtime.clock.wall() * 1000)

    @property
    def partitioned(self) -> bool:
        """Whether this part of the cluster has lost its quorum."""
        return self.standing.partitioned

    @property
    def takes_part(self) -> bool:
        """Whether this node starts and moves children: it has heard all members, has quorum, is no observer and does
        not leave."""
        return self.joined and not self.observer and not self.partitioned and not self.leaving

    @property
    def refusal(self) -> str | None:
        """Why this node starts no children just now, for those who ask; None where it does."""
        return PARTITIONED if self.partitioned else IS_LEAVING if self.leaving else None

    @property
    def is_supervised(self) -> bool:
        """Whether its initializer lives."""
        return self.initializer is not None and self.runtime.local(self.initializer) is not None

    @property
    def is_locked(self) -> bool:
        """Whether members come or go, or children move, just now; or it is partitioned."""
        return self._level >= LOCKED

    @property
    def level(self) -> int:
        """The event queue's level; `LOCKED` while members come and go, or the hub is partitioned: no less can be set.

        Whoever sets it, the event queue and the handlers of PRIORITY_STATE_UPDATED learn of the change.
        """
        return self._level

    @level.setter
    def level(self, level: int) -> None:
        if self.partitioned:
            level = LOCKED
        if level != self._level:
            self._level = level
            self.fire(Hook.PRIORITY_STATE_UPDATED, (level, {"partitioned": self.partitioned}))
            self.tell("event_queue", ("changed", level))

    # -- own rows, and hooks -----------------------------------------------------------------------------------------

    def set_row(self, child_id: str, pid: Pid | None, state: str, epoch: int, to: Any = None) -> None:
        """`Registry.set_row`, which the hooks learn of."""
        self._row_changed(self.registry.set_row(child_id, pid, state, epoch, to))

    def drop_row(self, child_id: str) -> None:
        """`Registry.drop_row`, which the hooks learn of."""
        self._row_changed(self.registry.drop_row(child_id))

    def _row_changed(self, change: RowChange | None) -> None:
        if change is not None and self.hooks:
            self.hook_calls.rows_changed((change,))

    def moved_away(self, to_node: str, child_ids: list[str]) -> None:
        """These children have moved from here to `to_node`, and their copies here are gone."""
        if child_ids:
            log.info("hub %s: %d children have moved to %s", self.hub_id, len(child_ids), to_node)
            self.fire(Hook.CHILDREN_MIGRATED, (to_node, child_ids))

    def fire(self, hook: Hook, data: Any) -> None:
        """Let the handlers of a hook be called soon, by another process. See `hooks.Hook` for the data."""
        if self.hooks:
            self.hook_calls.fire(hook, data)

    def _run_task(self, task: Any) -> None:
        self.tell("task_supervisor", (task,))

    # -- telling -----------------------------------------------------------------------------------------------------

    def publish(self, first: Iterable[str] = ()) -> None:
        """Send what was written here since the last time to the other members; to those in `first` without a detour.

        A send may wait for a full link. What is written meanwhile goes out afterwards, by the same publisher: batches
        leave in order.
        """
        self._directly.update(node for node in first if node != self.node)
        if self._publishing:
            return
        self._publishing = True
        try:
            while (batch := self.registry.take_batch()) is not None:
                to = self.routes.to(self.listeners(), self._directly)
                if to:
                    packed = self.codec.packed(batch.to_wire(), "registry operations")
                    for node, rest in to:
                        GenServer.cast((self.hub_id, node), BatchMessage(self.node, packed, rest))
        finally:
            self._publishing = False
            self._directly.clear()

    def tell(self, part: str, request: Any) -> None:
        """Cast to another part of this hub. Dropped while that part is being restarted: its successor looks at all."""
        try:
            GenServer.cast(self.name_of(part), request)
        except NoProcess:
            log.debug("hub %s: no %s just now for %.200r", self.hub_id, part, request)

    def touched(self, child_ids: list[str]) -> None:
        """Something about these children changed here: the coordinator looks at them again."""
        self.tell("coordinator", ("touched", child_ids))

    def copy_of(self, value: Any, what: str) -> Any:
        """`value` as another node would get it. Raises EncodeError, NotImportable."""
        return self.codec.unpack(self.codec.pack(value, what))

    def written(self, child_ids: Iterable[str]) -> None:
        """Rows of these children were changed here: wake who waits for them."""
        if self.changing:
            for child_id in child_ids:
                self.changing.wake(child_id)

    def applied(self, changes: Changes) -> None:
        """Changes came from another node: keep the index, send to new pids, wake who waits, tell the hooks."""
        moves = _moves(changes.rows)
        if moves:
            note_moves(self.runtime, moves)
        add, discard = self.index.add, self.index.discard
        for child_id, old, new in changes.children:
            if old is None:
                add(child_id)
            elif new is None:
                discard(child_id)
        if self.hooks:
            self.hook_calls.rows_changed(changes.rows)
        if self.changing:
            for row in changes.rows:
                self.changing.wake(row.child_id)
            for change in changes.children:
                if change.new is None:
                    self.changing.wake(change.child_id)

    # -- joining -----------------------------------------------------------------------------------------------------

    def await_joined(self, timeout: float | None) -> bool:
        """Suspend until the hub has heard all members. False when that takes longer than `timeout` seconds."""
        return self.joined or self.joining.wait(self.hub_id, timeout)

    def has_joined(self) -> None:
        """All members were heard."""
        self.joined = True
        self.joining.wake(self.hub_id)
