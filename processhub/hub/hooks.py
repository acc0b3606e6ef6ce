"""Hooks: where users' functions are called when something happens in a hub.

This is the table of who wants to be called; calling them, each in a process of its own, is for the hub.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from processhub.hub.errors import DuplicateHookHandler, InvalidConfig
from processhub.strategy.options import check


class Hook(str, Enum):
    """What can happen in a hub, with the data that handlers get."""

    PRE_CLUSTER_JOIN = "pre_cluster_join"
    """Before the join of a node is handled: its name."""
    POST_CLUSTER_JOIN = "post_cluster_join"
    """After it."""
    PRE_CLUSTER_LEAVE = "pre_cluster_leave"
    """Before the leave or loss of a node is handled: its name."""
    POST_CLUSTER_LEAVE = "post_cluster_leave"
    """After it."""
    REGISTRY_PID_INSERTED = "registry_pid_inserted"
    """A copy was registered: (child id, {node: pid}) of those that are new."""
    REGISTRY_PID_REMOVED = "registry_pid_removed"
    """A copy was unregistered: (child id, [node])."""
    CHILDREN_MIGRATED = "children_migrated"
    """Children moved away from here: (target node, [child id])."""
    FORWARDED_MIGRATION = "forwarded_migration"
    """A start was passed on to the right node: {node: [child id]}."""
    PRIORITY_STATE_UPDATED = "priority_state_updated"
    """The lock level of the event queue changed: (level, options)."""
    PRE_NODES_REDISTRIBUTION = "pre_nodes_redistribution"
    """Before children are redistributed: ("nodeup" or "nodedown", node)."""
    POST_NODES_REDISTRIBUTION = "post_nodes_redistribution"
    """After it."""
    PRE_CHILDREN_START = "pre_children_start"
    """Before this node starts children: the start request."""
    POST_CHILDREN_START = "post_children_start"
    """After it: [(child id, result, pid, nodes)]."""
    PRE_CHILDREN_REDISTRIBUTION = "pre_children_redistribution"
    """Children are about to be redistributed: (children with their nodes, ("up" or "down", node))."""
    COORDINATOR_SHUTDOWN = "coordinator_shutdown"
    """The hub stops: the reason."""
    PROCESS_STARTUPS = "process_startups"
    """Children were started and registered: [(child id, pid)]."""
    CHILD_PROCESS_PID_UPDATE = "child_process_pid_update"
    """A restarted child has a new pid: (child id, node, pid)."""
    CHILD_DATA_ALTER = "child_data_alter"
    """Just before a child starts: its spec, metadata and nodes. Handlers return them, changed or not."""

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
OWN_PRIORITY = 100
"""The priority of the library's own handlers."""


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
        self._handlers[hook] = tuple(both)

    def cancel(self, hook: Hook | str, handler_ids: Collection[str]) -> list[str]:
        """Take the handlers of these ids away. Returns the ids that were there; unknown ones do no harm.

        Raises:
            InvalidConfig: there is no such hook, or the ids are one str.
        """
        hook = as_hook(hook)
        check(not isinstance(handler_ids, str), "cancel_hook_handlers", "ids", "a list of handler ids", handler_ids)
        before, ids = self.handlers(hook), set(handler_ids)
        self._handlers[hook] = tuple(handler for handler in before if handler.id not in ids)
        return [handler.id for handler in before if handler.id in ids]

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
