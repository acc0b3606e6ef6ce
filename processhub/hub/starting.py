"""Starting children, as the caller's node does it: check, ask the first owners, collect what they say."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from processhub.hub.collector import Paused
from processhub.hub.dealing import deal
from processhub.hub.errors import AlreadyStarted, NoChildren, Partitioned
from processhub.hub.future import Future
from processhub.hub.hooks import Hook
from processhub.hub.hub import Hub
from processhub.hub.messages import AwaitCopies, StartChildren, StartReply
from processhub.hub.requests import ask_all, catch_up, check_timeout, pieces
from processhub.hub.results import (
    ALREADY_STARTED,
    IS_LEAVING,
    NOT_FOUND,
    NOT_MEMBER,
    TIMEOUT,
    StartFailure,
    StartResult,
)
from processhub.hub.specs import normalise
from processhub.hub.stopping import stop_copies
from processhub.registry import RegistryVector, SpecRecord, Vector
from processhub.strategy.distribution.load_placement import LoadPlacement
from supervisor.processes import sleep, unhurried
from supervisor.reasons import NOCONNECTION, NOPROC, SHUTDOWN

log = logging.getLogger(__name__)

ASK_AGAIN_SECONDS: Final = 0.1  # after a node said that it does not own what we think it owns, or was lost
_LOST: Final = (NOCONNECTION, NOPROC, SHUTDOWN)  # the node or its hub is gone, and others own its children soon


@dataclass(frozen=True)
class StartOptions:
    """The options of a start. timeout: seconds for all of it."""

    timeout: float = 10.0
    check_existing: bool = True
    on_failure: str = "continue"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    child_mapping: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.on_failure not in ("continue", "rollback"):
            raise ValueError(f'on_failure must be "continue" or "rollback"; got {self.on_failure!r}')
        check_timeout(self.timeout)
        if not isinstance(self.metadata, Mapping):
            raise ValueError(f"metadata must be a mapping; got {self.metadata!r:.200}")


def start_children(hub: Hub, given: Iterable[Any], options: StartOptions) -> Future[StartResult]:
    """Start children; what the caller did wrong is raised at once, everything else is in the result."""
    specs = normalise(given)
    if not specs:
        raise NoChildren()
    if hub.partitioned:
        raise Partitioned(hub.hub_id)
    with Paused():
        records = hub.specs.encode_all(specs)
    existing = [child_id for child_id in records if child_id in hub.registry.children]
    if existing and options.check_existing:
        raise AlreadyStarted(existing)
    placements = hub.config.distribution_strategy.assign(
        list(records), options.child_mapping, hub.placement, hub.copies
    )
    # A copy of its own: the caller may change what it handed in, and the registry keeps this one.
    metadata = hub.copy_of(dict(options.metadata), "metadata")
    options = replace(options, metadata=metadata)
    future: Future[StartResult] = Future(hub.runtime, f"start of {len(records)} children of hub {hub.hub_id!r}")
    start = Start(hub, records, placements, options, future)
    hub.runtime.spawn(start.run, (), {})
    return future


class Start:
    """One start of some children, running as a process of the caller's node."""

    def __init__(
        self,
        hub: Hub,
        records: Mapping[str, SpecRecord],
        placements: Mapping[str, Any],
        options: StartOptions,
        future: Future[StartResult],
    ) -> None:
        self.hub = hub
        self.records = records
        self.placements = placements
        self.options = options
        self.future = future
        self.deadline = hub.runtime.clock.now() + options.timeout
        self.started: dict[str, dict[str, Any]] = {}
        self.errors: list[StartFailure] = []
        self.written = Vector()  # includes what the owners wrote
        self._not_owned_by: dict[str, str] = {}  # child -> the node that answered so
        self._lost_with: dict[str, tuple[str, Any]] = {}  # child -> the node that was lost before it answered, and how
        self._unknown: dict[str, tuple[str, Any]] = {}  # may have been started by that node, but nobody told us
        self._views: dict[str, list[str]] = {}  # node -> the members that it sees

    def run(self) -> None:
        """Work it off and set the future's result; a bug of ours becomes its error."""
        try:
            self.future.set_result(self._work())
        except Exception as error:
            log.exception("a start in hub %s failed", self.hub.hub_id)
            self.future.set_error(error)

    def _work(self) -> StartResult:
        left = list(self.records)
        if not self.hub.await_joined(self._remaining()):
            self._fail(left, self.hub.node, TIMEOUT)
            left = []
        self._report_absent(left)
        while left:
            self._choose(left)
            left = self._ask_owners(left)
            if left:
                if self._remaining() <= ASK_AGAIN_SECONDS:
                    self._give_up(left)
                    break
                sleep(ASK_AGAIN_SECONDS)
        self._catch_up({node for copies in self.started.values() for node in copies})
        if self.hub.copies > 1:
            self._await_further_copies()
        if self.errors and self.options.on_failure == "rollback":
            doubtful = [child_id for child_id in self.records if child_id in self.started or self._is_ours(child_id)]
            if doubtful:
                return self._roll_back(doubtful)
        in_order = {child_id: self.started[child_id] for child_id in self.records if child_id in self.started}
        return StartResult(in_order, self.errors, False)

    def _roll_back(self, child_ids: list[str]) -> StartResult:
        """Stop what runs of this start. It gets as much time again, for the first time may be over."""
        stopped = stop_copies(self.hub, child_ids, self.options.timeout)
        for error in stopped.errors:
            if error.reason != NOT_FOUND:  # else it has ended by itself
                self._fail([error.child_id], error.node, ("rollback_failed", error.reason))
        return StartResult({}, self.errors, True)

    def _is_ours(self, child_id: str) -> bool:
        """Whether a child of which nobody told us was started by us, as far as one can see."""
        child = self.hub.registry.child(child_id) if child_id in self._unknown else None
        return child is not None and child[:2] == (self.records[child_id], dict(self.options.metadata))

    def _give_up(self, child_ids: Iterable[str]) -> None:
        ours = sorted(self.hub.members)
        for child_id in child_ids:
            if child_id in self._lost_with:
                self._fail([child_id], *self._lost_with[child_id])
                continue
            node = self._not_owned_by[child_id]
            theirs = self._views[node]
            reason = f"not_owner: {node} does not own it, for it sees the members {theirs}, and this node sees {ours}"
            self._fail([child_id], node, reason)

    def _remaining(self) -> float:
        return max(0.01, self.deadline - self.hub.runtime.clock.now())

    def _choose(self, child_ids: list[str]) -> None:
        """Where children are placed by load: nodes for those that have none, or whose nodes were lost since."""
        hub = self.hub
        placement = hub.placement
        if isinstance(placement, LoadPlacement):
            known, copies = self.placements, hub.copies
            unchosen = child_ids
            if known:
                unchosen = [one for one in child_ids if not placement.is_chosen(known.get(one), copies)]
            self.placements = {**known, **deal(hub, unchosen, self._remaining)}

    def _ask_owners(self, child_ids: list[str]) -> list[str]:
        """Ask the first owner of each child. Returns those to ask for again: their owner says that it is none, for its
        view differs, or it was lost and another one will own them.
        """
        hub = self.hub
        groups: dict[str, list[str]] = {}
        again: list[str] = []
        for child_id in unhurried(child_ids):
            owners = self._owners(child_id)
            if not owners:
                if not hub.config.distribution_strategy.binds:  # else it was told which of its nodes are no members
                    self.errors.append(StartFailure(child_id, None, "no_owner: the hub has no members"))
            elif owners[0] in hub.standing.lost:
                self._lost_with.setdefault(child_id, (owners[0], NOCONNECTION))  # and not yet replaced
                again.append(child_id)
            else:
                groups.setdefault(owners[0], []).append(child_id)
        self._tell_forwarded(groups)
        requests = [(node, self._request(piece)) for node in sorted(groups) for piece in pieces(groups[node])]
        for node, request, answer in ask_all(hub, requests, self._remaining() + 1.0):
            if isinstance(answer, StartReply):
                again += self._take(node, answer)
            else:
                again += self._no_reply(node, [row[0] for row in request.rows], answer)
        return again

    def _no_reply(self, node: str, child_ids: list[str], reason: Any) -> list[str]:
        """No word from the owner of these. Returns those of them to ask for again."""
        if reason != NOPROC:  # then it has certainly not got the request
            self._unknown.update(dict.fromkeys(child_ids, (node, reason)))
        if reason not in _LOST:
            self._fail(child_ids, node, reason)
            return []
        for child_id in child_ids:
            self._lost_with[child_id] = (node, reason)
        return child_ids

    def _tell_forwarded(self, groups: Mapping[str, list[str]]) -> None:
        """Let the hooks know which starts are passed on to another node than the one that refused them."""
        refused = self._not_owned_by
        if refused and Hook.FORWARDED_MIGRATION in self.hub.hooks:
            moved = {node: [c for c in ids if refused.get(c, node) != node] for node, ids in groups.items()}
            if any(moved.values()):
                self.hub.fire(Hook.FORWARDED_MIGRATION, {node: ids for node, ids in moved.items() if ids})

    def _await_further_copies(self) -> None:
        """Wait for the copies that the other owners start as soon as they see that the child is there."""
        hub = self.hub
        groups: dict[str, list[str]] = {}
        for child_id, copies in unhurried(self.started.items()):
            for node in self._owners(child_id):
                if node not in copies:
                    groups.setdefault(node, []).append(child_id)
        vector = RegistryVector(hub.node, self.written, {}).to_wire()
        requests = [
            (node, AwaitCopies(list(piece), self._remaining(), vector))
            for node in sorted(groups)
            for piece in pieces(groups[node])
        ]
        for node, request, reply in ask_all(hub, requests, self._remaining() + 1.0):
            if isinstance(reply, StartReply):
                self._give_up(self._take(node, reply))
            else:
                self._fail(request.child_ids, node, reply)
        self._catch_up(groups)

    def _catch_up(self, nodes: Iterable[str]) -> None:
        """See here what these nodes have started: what nobody but they know of is lost with them, and not a success."""
        children = self.hub.registry.children
        for node in catch_up(self.hub, nodes, self._remaining()):
            for child_id, copies in list(self.started.items()):
                if node in copies and child_id not in children:
                    del self.started[child_id]
                    self._fail([child_id], node, NOCONNECTION)

    def _report_absent(self, child_ids: Iterable[str]) -> None:
        """Copies that are bound to nodes which are no members."""
        if self.hub.config.distribution_strategy.binds:
            for child_id in child_ids:
                for node in self.hub.placement.absent(self.placements.get(child_id)):
                    self._fail([child_id], node, NOT_MEMBER)

    def _owners(self, child_id: str) -> tuple[str, ...]:
        hub = self.hub
        return hub.placement.owners(child_id, self.placements.get(child_id), hub.copies)

    def _request(self, child_ids: Sequence[str]) -> StartChildren:
        templates: dict[Any, int] = {}
        rows = []
        metadata = dict(self.options.metadata)
        for child_id in child_ids:
            template, args = self.records[child_id]
            number = templates.setdefault(template, len(templates))
            rows.append([child_id, number, args, metadata, self.placements.get(child_id)])
        return StartChildren(list(templates), rows, self._remaining())

    def _take(self, node: str, reply: StartReply) -> list[str]:
        for child_id, pid in reply.started.items():
            self.started.setdefault(child_id, {})[node] = pid
        again = []
        for child_id, reason in reply.failed.items():
            if reason == IS_LEAVING:
                self._lost_with[child_id] = (node, reason)
                again.append(child_id)
            elif child_id in self._unknown and reason == ALREADY_STARTED:
                # By whom? Perhaps by us, on the node that was lost: nobody can tell.
                self._fail([child_id], *self._unknown[child_id])
            else:
                self.errors.append(StartFailure(child_id, node, reason))
        if reply.vector is not None:
            self.written.join(RegistryVector.from_wire(reply.vector).desired)
        self._views[node] = reply.members
        for child_id in reply.foreign:
            self._not_owned_by[child_id] = node
            self._lost_with.pop(child_id, None)
        return again + reply.foreign

    def _fail(self, child_ids: Iterable[str], node: str | None, reason: Any) -> None:
        self.errors += [StartFailure(child_id, node, reason) for child_id in child_ids]
