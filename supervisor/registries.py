"""Registry: names and topics of one node, after Elixir's. Processes register under keys and are found by local reads.

The tables live in the object of a server process that does nothing else: registering, looking up and dispatching are
dict operations in whoever asks, without a call. An owner's entries go in the instant in which it leaves the process
table (see `supervisor.records.Tie`), so a lookup never returns a dead process, and a former owner, however late its
greenlet ends, has nothing left to take away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from supervisor.calls import local_server
from supervisor.child_spec import ChildSpec
from supervisor.children import split_options
from supervisor.errors import NoProcess, NotRegistered
from supervisor.gen_server import From, GenServer
from supervisor.pids import Pid
from supervisor.records import Process
from supervisor.runtime import current_process, current_runtime
from supervisor.starts import start_server
from supervisor.tables import TABLES, UNIQUE, Entry, Table, UniqueTable


class Registry(GenServer):
    """Where processes of this node register under keys and are found.

    With keys="unique" a key has one owner: a registry of names, see `via`. With keys="duplicate" it has any number: a
    registry of topics, see `dispatch`.

    Who registers is tied to the registry as if linked to it: when the registry ends, each owner gets its exit signal.
    So start it before its users, under a supervisor whose strategy restarts them together.

    `registry`, everywhere: a pid, a name or a via name. Each function raises NoProcess where there is none, ValueError
    for one of another node, TypeError for another server and for a key that cannot be hashed.
    """

    state: Table | None
    _moves_hot = False

    # -- starting ----------------------------------------------------------------------------------------------------

    @classmethod
    def start_link(  # type: ignore[override]
        cls, name: Any, keys: str = UNIQUE, listeners: Iterable[Any] = (), timeout: float | None = None
    ) -> Pid:
        """Start an empty registry, linked to the caller.

        name: what it is called; None for one that is only known by its pid.
        keys: "unique" or "duplicate".
        listeners: processes of this node, by pid or name. They get ("register", name, key, pid, value) for each entry
            and ("unregister", name, key, pid) when a process gives a key back, by its end or that of the registry too.
            A message to a name that nobody has at that moment is dropped.
        Raises AlreadyRegistered where another process has the name, StartError for wrong arguments.
        """
        return start_server(cls, (keys, tuple(listeners)), {}, name, timeout, link=True)

    @classmethod
    def start(  # type: ignore[override]
        cls, name: Any, keys: str = UNIQUE, listeners: Iterable[Any] = (), timeout: float | None = None
    ) -> Pid:
        """Like `start_link`, without the link."""
        return start_server(cls, (keys, tuple(listeners)), {}, name, timeout, link=False)

    @classmethod
    def child_spec(cls, name: Any, *, id: Any = None, **options: Any) -> ChildSpec:  # type: ignore[override]
        """A spec of this registry for a supervisor; its id is the name. `options`: keys, listeners, and ChildSpec's."""
        for_spec, for_start = split_options(options)
        for_spec = {"restart": cls.restart, "shutdown": cls.shutdown, **for_spec}
        return ChildSpec(
            (name or cls.__name__) if id is None else id, (cls, "start_link", (name,), for_start), **for_spec
        )

    # -- registering -------------------------------------------------------------------------------------------------

    @staticmethod
    def register(registry: Any, key: Any, value: Any = None) -> None:
        """Register the calling process under `key`, until it unregisters or ends.

        In a unique registry AlreadyRegistered(key, pid) is raised where the key is taken, by the caller too. In a
        duplicate one each call adds an entry.
        """
        table(registry).register(current_process(), key, value)

    @staticmethod
    def unregister(registry: Any, key: Any) -> None:
        """Take the caller's entries under `key` back, all of them. Those of others stay; none is no error."""
        table(registry).unregister(current_process(), key)

    @staticmethod
    def update_value(registry: Any, key: Any, fn: Callable[[Any], Any]) -> tuple[Any, Any]:
        """Replace the value of the caller's `key` by `fn(value)`; returns (new, old). Listeners are not told.

        Raises NotRegistered where the caller does not have the key (also when it has it no more after `fn`), ValueError
        for a duplicate registry, and what `fn` raises: the value stays then.
        """
        entries = unique_table(registry, "update_value")
        me = current_process()
        if key not in entries.held(me):
            raise NotRegistered(key, me.pid)
        old = entries.entries[key][1]
        new = fn(old)
        entries.update(current_process(), key, new)  # fn may have given way, and the caller may be dead by now
        return new, old

    # -- finding -----------------------------------------------------------------------------------------------------

    @staticmethod
    def lookup(registry: Any, key: Any) -> list[Entry]:
        """[(pid, value)] of all entries under `key`, the oldest first; empty where there is none."""
        return table(registry).lookup(key)

    @staticmethod
    def dispatch(registry: Any, key: Any, fn: Callable[[list[Entry]], object]) -> None:
        """Call `fn(entries)` with what `lookup` returns; not called where there is none.

        It runs in the caller on a list of its own, so it may block, register and unregister. What it raises is raised.
        """
        entries = table(registry).lookup(key)
        if entries:
            fn(entries)

    @staticmethod
    def select(registry: Any, predicate: Callable[[Any, Pid, Any], object] | None = None) -> list[tuple[Any, Pid, Any]]:
        """[(key, pid, value)] of the entries for which `predicate(key, pid, value)` is true; of all without one.

        Looks at every entry, as they are at this moment: what the predicate does to the registry changes nothing.
        """
        rows = list(table(registry).rows())
        return rows if predicate is None else [row for row in rows if predicate(*row)]

    @staticmethod
    def keys(registry: Any, pid: Pid) -> list[Any]:
        """The keys of a process in the order of registering, one for each entry; empty for a dead process."""
        entries = table(registry)
        held = entries.held(current_runtime().local(pid))
        return [key for key, mark in held.items() for _ in mark or (None,)]

    @staticmethod
    def values(registry: Any, key: Any, pid: Pid) -> list[Any]:
        """The values that a process has under `key`, the oldest first."""
        return table(registry).values(current_runtime().local(pid), key)

    @staticmethod
    def count(registry: Any) -> int:
        """How many entries there are."""
        return len(table(registry))

    @staticmethod
    def via(registry: Any, key: Any, value: Any = None) -> RegistryVia:
        """A name for the owner of `key` in a unique registry.

        Good wherever a process is named: in GenServer.call, cast and stop, in process.send and monitor, and as `name=`
        of a start, which registers the new process with `value` before its init runs.
        """
        return RegistryVia(registry, key, value)

    # -- the process -------------------------------------------------------------------------------------------------

    def init(self, keys: str = UNIQUE, listeners: tuple[Any, ...] = ()) -> None:
        """Begin with no entries."""
        me = current_process()
        if keys not in TABLES:
            raise ValueError(f'keys must be "unique" or "duplicate"; got {keys!r:.200}')
        for listener in listeners:
            if hasattr(listener, "resolve") or me.runtime.is_remote(listener):
                raise ValueError(f"a listener must be a pid or a name of this node; got {listener!r:.200}")
        title = me.names[0] if me.names else me.pid
        self.state = TABLES[keys](me.runtime, title, listeners)
        me.ties = {**(me.ties or {}), self: None}

    def let_go(self, process: Process, kept: Any, reason: Any) -> None:
        """The registry has ended, however it did: see `supervisor.records.Tie`."""
        if self.state is not None:
            self.state.close(process.pid, reason)

    def handle_call(self, request: Any, from_: From) -> Any:
        # Nonsense must not end it: all owners would end with it.
        return ("error", f"a registry answers no calls; got {request!r:.80}")

    def handle_cast(self, request: Any) -> Any:
        return self.handle_info(request)


def table(registry: Any) -> Table:
    """The table of a registry of this node."""
    found = local_server(registry, Registry).state
    if found is None:  # its init has not got that far
        raise NoProcess(registry)
    return found


def unique_table(registry: Any, what: str) -> UniqueTable:
    """The table of a unique registry; ValueError for another one, where `what` makes no sense."""
    found = table(registry)
    if not isinstance(found, UniqueTable):
        raise ValueError(f'{what} needs a registry with keys="unique"; {registry!r} has duplicate keys')
    return found


class RegistryVia:
    """The owner of `key` in a registry, whoever it is at the moment of use. See `Registry.via`."""

    __slots__ = ("key", "registry", "value")

    def __init__(self, registry: Any, key: Any, value: Any = None) -> None:
        self.registry = registry
        self.key = key
        self.value = value

    def __repr__(self) -> str:
        return f"Registry.via({self.registry!r}, {self.key!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RegistryVia) and (self.registry, self.key) == (other.registry, other.key)

    def __hash__(self) -> int:
        return hash((self.registry, self.key))

    def resolve(self, timeout: float | None = 0.0, gone: Pid | None = None) -> Pid:
        """The owner. Never waits: whether another one is to come, the registry cannot know.

        Raises NoProcess where the key has no owner or the registry does not run, ValueError for a duplicate one.
        """
        pid = unique_table(self.registry, "a via name").owner(self.key)
        if pid is None or pid == gone:
            raise NoProcess(self)
        return pid

    def register(self, process: Process) -> None:
        """Make `process` the owner. Raises AlreadyRegistered, and what `resolve` raises where there is no registry."""
        unique_table(self.registry, "a via name").register(process, self.key, self.value)

    def unregister(self) -> None:
        """Take the key away from its owner, whoever asks; `Registry.unregister` does so for the caller's own keys only.

        Raises what `resolve` raises.
        """
        found = unique_table(self.registry, "a via name")
        pid = found.owner(self.key)
        owner = found.runtime.local(pid) if pid is not None else None
        if owner is None:
            raise NoProcess(self)
        found.unregister(owner, self.key)
