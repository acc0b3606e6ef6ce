"""Hooks: where users' functions are called when something happens in a hub.

This is the table of who wants to be called, and what they get; `hook_calls` calls them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NamedTuple

from processhub.hub.errors import DuplicateHookHandler, InvalidConfig
from processhub.strategy.options import check
from supervisor.child_spec import ChildSpec


class ChildData(NamedTuple):
    """A child that is about to start.

    Attributes:
        spec: its `ChildSpec`, decoded for this event: changing it changes nothing elsewhere.
        metadata: a dict, a copy as well.
        nodes: the nodes that own it, most important first.
    """

    spec: ChildSpec
    metadata: dict[str, Any]
    nodes: list[str]


class Hook(str, Enum):
    """What can happen in a hub, with the data that handlers get.

    Every node calls its own handlers, for what happens to it or reaches it; handlers registered on one node are not
    known to the others. The events of one hub on one node are handled one after the other, in the order in which they
    happened, in a process of the hub; so "before" is an order, not a veto: by the time a slow handler runs, the hub is
    further on already. CHILD_DATA_ALTER is the exception: a start waits for its handlers.
    """

    PRE_CLUSTER_JOIN = "pre_cluster_join"
    """Another node becomes a member of the hub: its name (str). Before it counts as one."""
    POST_CLUSTER_JOIN = "post_cluster_join"
    """The same node, once it is a member: its name (str). Children that it should own are about to move."""
    PRE_CLUSTER_LEAVE = "pre_cluster_leave"
    """A member leaves or is lost: its name (str). Before its children are placed anew."""
    POST_CLUSTER_LEAVE = "post_cluster_leave"
    """The same node, once it is no member any more: its name (str). Its rows are gone from this node's registry."""
    REGISTRY_PID_INSERTED = "registry_pid_inserted"
    """Copies of a child came into this node's registry: (child id, {node: pid}), only those that are new.

    On every node, once for each copy, wherever it was started; never again for what is known already. A copy that had
    failed for good (see `dsup_max_restarts`) and runs again counts as new.
    """
    REGISTRY_PID_REMOVED = "registry_pid_removed"
    """Copies of a child left this node's registry: (child id, [node]). They stopped, ended for good, failed over and
    over again, or their node was lost. On every node, but not on one whose own hub stops.
    """
    CHILDREN_MIGRATED = "children_migrated"
    """Children moved away from this node: (target node, [child id]). Their copies here are gone.

    On the node that they left, once for all that it handed over together. Not for the children of a node that leaves,
    nor for a surplus copy that stops after a partition.
    """
    FORWARDED_MIGRATION = "forwarded_migration"
    """A start goes to another node than it was at: {node: [child id]}, the nodes that are to start the children.

    Where a start was called: the node that was asked did not own the children, so another one is asked. Where a copy
    runs: its node does not own it any more, so it is offered to the owner (once, though an offer may be repeated).
    """
    PRIORITY_STATE_UPDATED = "priority_state_updated"
    """The level of the event queue changed: (level, {"partitioned": bool}). 10 is locked, 0 is free."""
    PRE_NODES_REDISTRIBUTION = "pre_nodes_redistribution"
    """Children are placed anew since the members changed: ("nodeup" or "nodedown", node)."""
    POST_NODES_REDISTRIBUTION = "post_nodes_redistribution"
    """The same pair, once this node has looked at all children concerned and has set their moves in motion.

    The moves themselves may still be under way: `ProcessHub.await_settled` waits for them.
    """
    PRE_CHILDREN_START = "pre_children_start"
    """This node is about to start copies: {child id: ChildData}. Asked for by a start, moved here, or of a lost node.

    Not for restarts of a child that crashed.
    """
    POST_CHILDREN_START = "post_children_start"
    """What came of it: [(child id, result, pid, [node])]. The result is "ok" or the reason why it did not start, then
    the pid is None; the nodes are its owners. A large start may be told in several portions.
    """
    PRE_CHILDREN_REDISTRIBUTION = "pre_children_redistribution"
    """Children have other owners since the members changed: ({child id: [node]}, ("up" or "down", node)).

    The nodes are the new owners. On every node, in portions of up to 250 children, and none where nothing moves.
    """
    COORDINATOR_SHUTDOWN = "coordinator_shutdown"
    """The hub stops: the reason, "shutdown" as a rule. Its children still run. What was queued is handled before.

    The hub waits up to 2 s for the earlier events and up to 2 s for these handlers, then it stops regardless.
    """
    PROCESS_STARTUPS = "process_startups"
    """Copies were started on this node and are registered: [(child id, pid)], those of POST_CHILDREN_START that run."""
    CHILD_PROCESS_PID_UPDATE = "child_process_pid_update"
    """A copy was restarted on its node and has a new pid: (child id, node, pid). On every node."""
    CHILD_DATA_ALTER = "child_data_alter"
    """A copy is about to start, or to be restarted, on this node: a `ChildData`. Handlers return another one.

    Each gets what the one before it returned; the last spec and metadata are used for this start and registered, so
    that every node sees them, and the next start, here or elsewhere, begins with them: altering twice must be as good
    as once. The child id stays; `nodes` is for the next handler only, since the distribution strategy decides on them.
    A plain tuple of three will do. A handler that raises, or returns anything else or what cannot be sent, is
    logged and passed over: the data go on as it got them. The start waits, within its timeout; no other one does.
    """

    def __str__(self) -> str:
        return self.value


class _Placeholder:
    """The one value HOOK_DATA."""

    def __repr__(self) -> str:
        return "HOOK_DATA"

    def __reduce__(self) -> str:
        return "HOOK_DATA"  # a copy is the same object, so that `is` goes on finding it


HOOK_DATA: Final = _Placeholder()
"""Stands among the arguments of a handler for the data of the event."""

DEFAULT_PRIORITY = 0


@dataclass(frozen=True)
class HookHandler:
    """A function to be called at a hook.

    Args:
        id: unique among the handlers of one hook.
        func: called with `args`.
        args: its arguments; HOOK_DATA among them stands for the data of the event.
        priority: a handler of a higher priority is called earlier; equal ones as they were registered.
    """

    id: str
    func: Callable[..., Any]
    args: tuple[Any, ...] = (HOOK_DATA,)
    priority: int = DEFAULT_PRIORITY

    def __post_init__(self) -> None:
        owner = f"hook handler {self.id!r:.100}"
        check(isinstance(self.id, str) and self.id != "", owner, "id", "a non-empty str", self.id)
        check(callable(self.func), owner, "func", "callable", self.func)
        check(isinstance(self.args, tuple | list), owner, "args", "a tuple", self.args)
        object.__setattr__(self, "args", tuple(self.args))
        good = isinstance(self.priority, int) and not isinstance(self.priority, bool)
        check(good, owner, "priority", "an int", self.priority)

    def arguments(self, data: Any) -> tuple[Any, ...]:
        """What to call `func` with, for an event with this data."""
        return tuple(data if arg is HOOK_DATA else arg for arg in self.args)


Hooks = Mapping[Hook, Iterable[HookHandler]]


class HookTable:
    """The handlers of one hub on one node."""

    def __init__(self, hooks: Hooks | None = None) -> None:
        self._handlers: dict[Hook, tuple[HookHandler, ...]] = {}
        for hook, handlers in (hooks or {}).items():
            self.register(hook, handlers)

    def register(self, hook: Hook | str, handlers: Iterable[HookHandler]) -> None:
        """Put handlers to a hook: all of them or, if this raises, none.

        Raises:
            DuplicateHookHandler: the hook has a handler of one of these ids, or two of them have the same.
            InvalidConfig: there is no such hook, or one of them is no HookHandler.
        """
        hook, new = as_hook(hook), as_handlers(handlers)
        ids = Counter(handler.id for handler in (*self.handlers(hook), *new))
        if clashes := [handler_id for handler_id, count in ids.items() if count > 1]:
            raise DuplicateHookHandler(hook.value, clashes)
        # sorted() is stable, so equal priorities keep their order.
        both = sorted((*self.handlers(hook), *new), key=lambda handler: -handler.priority)
        self._put(hook, tuple(both))

    def cancel(self, hook: Hook | str, handler_ids: Collection[str]) -> list[str]:
        """Take the handlers of these ids away. Returns the ids that were there; unknown ones do no harm.

        Raises:
            InvalidConfig: there is no such hook, or the ids are one str.
        """
        hook = as_hook(hook)
        check(not isinstance(handler_ids, str), "cancel_hook_handlers", "ids", "a list of handler ids", handler_ids)
        before, ids = self.handlers(hook), set(handler_ids)
        self._put(hook, tuple(handler for handler in before if handler.id not in ids))
        return [handler.id for handler in before if handler.id in ids]

    def _put(self, hook: Hook, handlers: tuple[HookHandler, ...]) -> None:
        """Invariant: a hook without handlers is not in the table."""
        if handlers:
            self._handlers[hook] = handlers
        else:
            self._handlers.pop(hook, None)

    def __bool__(self) -> bool:
        """Whether any hook has a handler: where nobody wants to know, this is all that an event costs."""
        return bool(self._handlers)

    def __contains__(self, hook: Hook) -> bool:
        return hook in self._handlers

    def handlers(self, hook: Hook) -> tuple[HookHandler, ...]:
        """The handlers of a hook, in the order in which they are to be called. A tuple that never changes."""
        return self._handlers.get(hook, ())


def as_hook(hook: Hook | str) -> Hook:
    """The Hook of that name. Raises InvalidConfig."""
    try:
        return Hook(hook)
    except ValueError:
        raise InvalidConfig(f"no such hook: {hook!r:.100}; there are {', '.join(Hook)}") from None


def as_handlers(handlers: Iterable[HookHandler]) -> tuple[HookHandler, ...]:
    """The handlers as a tuple. Raises InvalidConfig for anything but a list of HookHandlers."""
    if isinstance(handlers, HookHandler) or not isinstance(handlers, Iterable):
        raise InvalidConfig(f"hook handlers must be a list of HookHandler; got {handlers!r:.200}")
    found = tuple(handlers)
    for handler in found:
        check(isinstance(handler, HookHandler), "hook handlers", "each", "a HookHandler", handler)
    return found
