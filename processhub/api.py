"""`ProcessHub`: every public function of a hub. Each is thin; the work is in `processhub.hub`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, overload

from greenlet import getcurrent

from processhub.cluster.node_server import info_of
from processhub.hub.config import HubConfig
from processhub.hub.drain import drain
from processhub.hub.errors import HubNotAlive
from processhub.hub.future import Future
from processhub.hub.hooks import Hook, HookHandler
from processhub.hub.hub import Hub
from processhub.hub.initializer import start_initializer, start_observer
from processhub.hub.listing import which_children
from processhub.hub.messages import CONFIG
from processhub.hub.metadata import tagged, update_metadata
from processhub.hub.observing import config_from_wire
from processhub.hub.promotion import promote
from processhub.hub.reporting import Report, report_of
from processhub.hub.results import StartResult, StopResult
from processhub.hub.settling import await_settled
from processhub.hub.standing import forget_standing
from processhub.hub.starting import StartOptions, start_children
from processhub.hub.stopping import StopOptions, stop_children
from processhub.hub.via import HubVia
from supervisor.child_spec import ChildSpec
from supervisor.children import ChildEntry
from supervisor.errors import ProcessExit
from supervisor.gen_server import GenServer
from supervisor.pids import Pid
from supervisor.runtime import current_runtime
from supervisor.supervisors import Supervisor


class ChildInfo(NamedTuple):
    """What the registry knows of one child: its spec, its copies by node, its metadata, the state of each copy."""

    spec: ChildSpec
    nodes: dict[str, Pid]
    metadata: dict[str, Any]
    states: dict[str, str]


def _hub(hub_id: str) -> Hub:
    """The hub on this node. Raises HubNotAlive."""
    hub: Hub | None = current_runtime().services.get(hub_id)
    if hub is None or not hub.is_supervised:
        raise HubNotAlive(hub_id)
    return hub


@dataclass(frozen=True)
class ProcessHub(HubConfig):
    """A hub's configuration, and the functions that work on hubs by their id.

    `ProcessHub("counters")` is a configuration with the default strategies; `ProcessHub.child_spec(...)` of it goes
    into a supervisor. See `HubConfig` for the options.
    """

    # -- the hub itself ----------------------------------------------------------------------------------------------

    @staticmethod
    def child_spec(config: HubConfig) -> ChildSpec:
        """A child spec that runs the hub under a supervisor; its id is the hub id."""
        return ChildSpec(config.hub_id, (start_initializer, (config,)), type="supervisor", shutdown="infinity")

    @staticmethod
    def start_link(config: HubConfig) -> Pid:
        """Start the hub on this node, linked to the caller. Static children run when it returns.

        Raises StartError; its reason says which part did not start and why.
        """
        pid = start_initializer(config)
        assert pid is not None
        return pid

    @staticmethod
    def stop(hub_id: str) -> None:
        """Stop the hub on this node: its children move away (HotSwap) or stop, and the other members take over.

        Raises HubNotAlive.
        """
        hub = _hub(hub_id)
        drain(hub)
        forget_standing(hub.runtime, hub_id)
        Supervisor.stop(hub.initializer)  # "normal": who started the hub, and is linked to it, lives on

    @staticmethod
    def promote_to_node(hub_id: str, node: str | None = None) -> None:
        """Let a hub that was started before `Node.start` take the node's name and join the others' hub of its id.

        Until then it is private: it works, but no other node sees it. No child is restarted by this, and pids stay
        valid; afterwards the ordinary rules hold: children go to their owners, and of those that run elsewhere too one
        copy is left. Where specs or metadata differ, those of the promoted hub win, since they are written anew.
        Nothing happens to a hub that has the node's name already.

        node: the name to take; only this node's own will do. Returns once the other members were heard.

        Raises HubNotAlive, ProcessHubError without `Node.start`, ValueError for another node's name.
        """
        promote(_hub(hub_id), node)

    @staticmethod
    def is_alive(hub_id: str) -> bool:
        """Whether the hub runs on this node."""
        hub = current_runtime().services.get(hub_id)
        return isinstance(hub, Hub) and hub.is_supervised

    @staticmethod
    def observe(hub_id: str) -> Pid:
        """Join a hub as an observer: this node reads its registry and starts and stops children, but owns none.

        The configuration comes from the connected nodes. Raises HubNotAlive when none of them runs the hub.
        """
        runtime = current_runtime()
        node = runtime.node
        for peer in node.peers() if node is not None else ():
            try:
                wire = GenServer.call((hub_id, peer), CONFIG)
            except ProcessExit:
                continue
            if wire is None:
                continue  # it runs there, and was not promoted
            pid = start_observer(config_from_wire(wire))
            assert pid is not None
            _hub(hub_id).await_joined(10.0)
            return pid
        raise HubNotAlive(hub_id)

    # -- children ----------------------------------------------------------------------------------------------------

    @staticmethod
    def start_child(hub_id: str, spec: Any, **opts: Any) -> Future[StartResult]:
        """Start one child; see `start_children`."""
        return start_children(_hub(hub_id), [spec], StartOptions(**opts))

    @staticmethod
    def start_children(hub_id: str, specs: Iterable[Any], **opts: Any) -> Future[StartResult]:
        """Start children on the nodes that own them. The work starts at once; the future may be ignored.

        timeout: seconds for all of it, 10 by default. Starts that take longer are given up and their processes killed.
        check_existing: raise AlreadyStarted for ids that are known here; else they are failures in the result.
        on_failure: "continue" keeps what was started, "rollback" stops it when any child fails. A rollback may take
            `timeout` seconds once more; then nothing of the start is desired any more, and what could not be stopped
            in time is among the errors.
        metadata: a mapping that is kept with each child; `tag` is what `tag_query` looks at.
        child_mapping: {child id: [node, ...]}, for the Guided distribution, which needs it.

        The future waits for all copies of each child. One that does not start is a failure of its own, with its node;
        the reconciler goes on trying.

        Raises HubNotAlive, NoChildren, InvalidChildSpec (duplicate ids too), EncodeError, NotImportable, Partitioned,
        AlreadyStarted, MissingChildMapping, InvalidChildMapping, ChildMappingMismatch, ChildReplicationMismatch,
        ValueError for a wrong option. Then nothing was started. All else is in the StartResult.
        """
        return start_children(_hub(hub_id), specs, StartOptions(**opts))

    @staticmethod
    def stop_child(hub_id: str, child_id: str, **opts: Any) -> Future[StopResult]:
        """Stop one child; see `stop_children`."""
        return stop_children(_hub(hub_id), [child_id], StopOptions(**opts))

    @staticmethod
    def stop_children(hub_id: str, child_ids: Iterable[str], **opts: Any) -> Future[StopResult]:
        """Stop every copy of these children, wherever it runs, and forget the children.

        timeout: seconds, 10 by default. Raises HubNotAlive, NoChildren, TypeError. An unknown id is a failure
        `not_found` in the StopResult.
        """
        return stop_children(_hub(hub_id), child_ids, StopOptions(**opts))

    # -- hooks -------------------------------------------------------------------------------------------------------

    @staticmethod
    def register_hook_handlers(hub_id: str, hook: Hook | str, handlers: Iterable[HookHandler]) -> None:
        """Let these handlers be called at a hook, on this node: all of them or, if this raises, none. See `Hook`.

        Raises HubNotAlive, DuplicateHookHandler for an id that the hook has already, InvalidConfig for an unknown hook
        or what is no HookHandler.
        """
        _hub(hub_id).hooks.register(hook, handlers)

    @staticmethod
    def cancel_hook_handlers(hub_id: str, hook: Hook | str, ids: Collection[str]) -> list[str]:
        """Take handlers of this node away. Returns the ids that were there; events on their way reach them no more.

        Raises HubNotAlive, InvalidConfig for an unknown hook.
        """
        return _hub(hub_id).hooks.cancel(hook, ids)

    # -- looking -----------------------------------------------------------------------------------------------------

    @staticmethod
    def get_pid(hub_id: str, child_id: str) -> Pid | None:
        """The pid of a running copy, read from this node's registry: no message is sent. None when none runs.

        With several copies: the active one, else the one on this node, else that of the first owner that runs one.
        """
        try:
            runtime = getcurrent().otp_process.runtime  # type: ignore[attr-defined]
            return runtime.services[hub_id].pid_of(child_id)  # type: ignore[no-any-return]
        except (AttributeError, KeyError):
            pass  # no process yet, or no such hub
        return _hub(hub_id).pid_of(child_id)

    @staticmethod
    def get_pids(hub_id: str, child_id: str) -> list[Pid]:
        """The pids of all running copies, the active one first, then in the order of the owners."""
        return _hub(hub_id).lookup.all_pids(child_id)

    @staticmethod
    def active(hub_id: str, child_id: str) -> Pid | None:
        """The pid of the active copy; None when it does not run just now.

        With `Singularity` that is the only copy; of active and passive copies the one on the node that is active by the
        id and the owners; where all copies are active, the one that `get_pid` gives.
        """
        return _hub(hub_id).lookup.active(child_id)

    @staticmethod
    def child_lookup(hub_id: str, child_id: str) -> ChildInfo | None:
        """All that this node's registry knows of a child; None when it is not desired.

        A node to which the child is bound (Guided) and which is no member just now has the state "down".
        """
        hub = _hub(hub_id)
        child = hub.registry.child(child_id)
        return _info(hub, child_id, child) if child is not None else None

    @staticmethod
    def registry_dump(hub_id: str) -> dict[str, ChildInfo]:
        """`child_lookup` of every child."""
        hub = _hub(hub_id)
        return {child_id: _info(hub, child_id, child) for child_id, child in hub.registry.children.items()}

    @overload
    @staticmethod
    def process_list(hub_id: str, scope: Literal["global"] = "global") -> dict[str, dict[str, Pid]]: ...

    @overload
    @staticmethod
    def process_list(hub_id: str, scope: Literal["local"]) -> dict[str, Pid]: ...

    @staticmethod
    def process_list(hub_id: str, scope: str = "global") -> Mapping[str, Any]:
        """The running copies: {child id: {node: pid}} of the whole hub, or {child id: pid} of this node ("local")."""
        hub = _hub(hub_id)
        if scope == "local":
            return {child_id: row.pid for child_id, row in hub.registry.own_table.items() if row.state == "running"}
        if scope != "global":
            raise ValueError(f'scope must be "global" or "local"; got {scope!r}')
        running = hub.registry.running
        return {child_id: {node: row.pid for node, row in running(child_id)} for child_id in hub.registry.children}

    @staticmethod
    def tag_query(hub_id: str, tag: Hashable) -> dict[str, dict[str, Pid]]:
        """The children with this tag, `metadata["tag"]`, and their running copies: {child id: {node: pid}}.

        Read from an index of this node's registry: it costs what it finds. A child that runs nowhere just now is there
        with no copies.
        """
        return tagged(_hub(hub_id), tag)

    @staticmethod
    def update_metadata(
        hub_id: str, child_id: str, fn: Callable[[dict[str, Any]], Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Replace the metadata of a child by `fn(metadata)`, on every node, and return the new ones.

        fn: gets a copy; runs once, here and now. It reads what this node knows: of two nodes that write at the same
        time the last one wins, as a whole. Children are not restarted and learn nothing of it.

        Raises HubNotAlive, KeyError for a child that the hub does not have (any more), TypeError where fn returns
        anything but a mapping, EncodeError or NotImportable for what cannot be sent, and what fn raises. Then nothing
        was written.
        """
        return update_metadata(_hub(hub_id), child_id, fn)

    @staticmethod
    def which_children(hub_id: str, scope: Literal["local", "global"] = "global") -> dict[str, list[ChildEntry]]:
        """What the members say that they run, in start order: {node: [ChildEntry(id, pid, type, modules)]}.

        The truth of each member ("global") or of this node alone ("local"), where `process_list` gives what this node's
        registry knows. The pid is None while a child is being started or has failed. All are asked at once; those that
        do not answer within 5 seconds are left out. Raises HubNotAlive.
        """
        return which_children(_hub(hub_id), scope)

    @staticmethod
    def nodes(hub_id: str, include_local: bool = False) -> list[str]:
        """The nodes that are members of the hub, sorted; this one only with `include_local`."""
        hub = _hub(hub_id)
        return sorted(hub.members) if include_local else hub.others()

    @staticmethod
    def hub_ids(node: str | None = None) -> list[str]:
        """The hubs that run on a connected node (by default this one), sorted. Observers do not count, nor hubs
        that wait for `promote_to_node`: no other node sees them.

        Raises NoConnection, CallTimeout after 5 s.
        """
        return [hub_id for hub_id, kind in sorted(info_of(node).services.items()) if kind == "hub"]

    @staticmethod
    def report(hub_id: str, node: str | None = None, timeout: float = 5.0) -> Report:
        """How the hub does on a connected node (by default this one), as that node sees it: its members, the states of
        its children, whether it is partitioned. This node need not run the hub itself.

        timeout: seconds. Raises NoProcess where the hub does not run there, NoConnection, CallTimeout.
        """
        return report_of(hub_id, node if node is not None else current_runtime().home.name, timeout)

    @staticmethod
    def owners(hub_id: str, child_id: str) -> list[str]:
        """The nodes that should run this child, in order, whether it is desired or not."""
        return list(_hub(hub_id).owners(child_id))

    @staticmethod
    def is_locked(hub_id: str) -> bool:
        """Whether members come or go or children move just now, or the hub is partitioned."""
        return _hub(hub_id).is_locked

    @staticmethod
    def is_partitioned(hub_id: str) -> bool:
        """Whether this node's part of the cluster has lost its quorum: true from the loss until the hub is whole again.

        Meanwhile no child runs here, starts raise Partitioned, and the hub is locked. Never true under Divergence.
        """
        return _hub(hub_id).partitioned

    @staticmethod
    def via(hub_id: str, child_id: str) -> HubVia:
        """A name for a child: usable wherever a process is named, as in `GenServer.call(ProcessHub.via(...), ...)`.

        A call to a child that is desired but has no pid just now waits for it within its timeout; one that is not
        desired raises NoProcess. Of several copies the one is taken that `get_pid` gives.
        """
        return HubVia(hub_id, child_id)

    @staticmethod
    def await_settled(hub_id: str, timeout: float | None = None, members: Iterable[str] | None = None) -> None:
        """Wait until the hub is settled: the members are those given (if given), all of them have the same registry,
        none is partitioned, and every child runs on its owners and nowhere else. A child that is bound to a lost node
        (Guided) is down: it has no owner there, so nothing is left to do about it.

        timeout: seconds; None waits for ever. Raises CallTimeout, which lists what is not settled.
        """
        await_settled(_hub(hub_id), timeout, members)


def _info(hub: Hub, child_id: str, child: Any) -> ChildInfo:
    rows = hub.registry.rows(child_id)
    states = dict.fromkeys(hub.placement.absent(child.placement), "down")
    states.update((node, row.state) for node, row in rows.items())
    return ChildInfo(
        hub.specs.decode(child_id, child.spec),
        {node: row.pid for node, row in sorted(rows.items()) if row.pid is not None},
        dict(child.metadata or {}),
        dict(sorted(states.items())),
    )
