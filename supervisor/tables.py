"""The tables of a registry: who registered under which key. Dicts and ties, without a process of their own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Final

import supervisor.signals as signals
from supervisor.errors import AlreadyRegistered, NotRegistered
from supervisor.pids import Pid
from supervisor.records import INFO, Process
from supervisor.runtime import Runtime

UNIQUE: Final = "unique"
DUPLICATE: Final = "duplicate"
REGISTER: Final = "register"
UNREGISTER: Final = "unregister"

Entry = tuple[Pid, Any]
"""One registration of a key: the owner and its value."""


class Table:
    """What a registry holds. As a `Tie` it keeps with each owner the keys that this one has, in order.

    Invariant: an entry is here exactly while `owner.ties[self]` has its key; so each owner is in the process table.
    """

    __slots__ = ("listeners", "runtime", "title")

    def __init__(self, runtime: Runtime, title: Any, listeners: tuple[Any, ...]) -> None:
        self.runtime = runtime
        self.title = title
        self.listeners = listeners

    def register(self, process: Process, key: Any, value: Any) -> None:
        """Add an entry. Raises AlreadyRegistered."""
        held = self.held(process)
        self._add(process.pid, held, key, value)
        if process.ties is None:
            process.ties = {}
        process.ties[self] = held
        if self.listeners:
            self._tell(REGISTER, key, process.pid, value)

    def unregister(self, process: Process, key: Any) -> None:
        """Remove what `process` has under `key`, if anything."""
        held = self.held(process)
        if key not in held:
            return
        self._drop(process.pid, key, held.pop(key))
        if not held:
            self._untie(process)

    def held(self, process: Process | None) -> dict[Any, Any]:
        """The keys that a process has here, each with what `_remove` needs to find its entries."""
        return process.ties.get(self, {}) if process is not None and process.ties is not None else {}

    def let_go(self, process: Process, kept: dict[Any, Any], reason: Any) -> None:
        """An owner has ended."""
        for key, mark in kept.items():
            self._drop(process.pid, key, mark)

    def close(self, source: Pid, reason: Any) -> None:
        """The registry, process `source`, has ended: its owners get an exit signal, as if they were linked to it."""
        owners = dict.fromkeys(pid for _, pid, _ in list(self.rows()))
        for pid in owners:
            owner = self.runtime.local(pid)
            if owner is not None:
                self.let_go(owner, self._untie(owner), reason)
                signals.deliver_exit(owner, source, reason, linked=True)

    def _untie(self, process: Process) -> dict[Any, Any]:
        ties = process.ties or {}
        held: dict[Any, Any] = ties.pop(self, {})
        if not ties:
            process.ties = None
        return held

    def _drop(self, pid: Pid, key: Any, mark: Any) -> None:
        self._remove(key, mark)
        if self.listeners:
            self._tell(UNREGISTER, key, pid)

    def _tell(self, event: str, key: Any, *rest: Any) -> None:
        for listener in self.listeners:
            target = self.runtime.find(listener)
            if target is not None:
                target.enqueue((INFO, (event, self.title, key, *rest)))

    # -- what the two kinds do in their own way --

    def _add(self, pid: Pid, held: dict[Any, Any], key: Any, value: Any) -> None:
        raise NotImplementedError

    def _remove(self, key: Any, mark: Any) -> None:
        raise NotImplementedError

    def lookup(self, key: Any) -> list[Entry]:
        """The entries of a key, as a list of its own."""
        raise NotImplementedError

    def values(self, process: Process | None, key: Any) -> list[Any]:
        """What a process has under a key."""
        raise NotImplementedError

    def rows(self) -> Iterator[tuple[Any, Pid, Any]]:
        """(key, pid, value) of every entry."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError


class UniqueTable(Table):
    """At most one owner for each key."""

    __slots__ = ("entries",)

    def __init__(self, runtime: Runtime, title: Any, listeners: tuple[Any, ...]) -> None:
        super().__init__(runtime, title, listeners)
        self.entries: dict[Any, Entry] = {}

    def _add(self, pid: Pid, held: dict[Any, Any], key: Any, value: Any) -> None:
        entry = (pid, value)
        owner = self.entries.setdefault(key, entry)
        if owner is not entry:
            raise AlreadyRegistered(key, owner[0])
        held[key] = None

    def _remove(self, key: Any, mark: Any) -> None:
        del self.entries[key]

    def lookup(self, key: Any) -> list[Entry]:
        entry = self.entries.get(key)
        return [entry] if entry is not None else []

    def owner(self, key: Any) -> Pid | None:
        """The process that has the key."""
        entry = self.entries.get(key)
        return entry[0] if entry is not None else None

    def values(self, process: Process | None, key: Any) -> list[Any]:
        return [self.entries[key][1]] if key in self.held(process) else []

    def update(self, process: Process, key: Any, value: Any) -> None:
        """Change the value of a key of `process`. Raises NotRegistered."""
        if key not in self.held(process):
            raise NotRegistered(key, process.pid)
        self.entries[key] = (process.pid, value)

    def rows(self) -> Iterator[tuple[Any, Pid, Any]]:
        return ((key, pid, value) for key, (pid, value) in self.entries.items())

    def __len__(self) -> int:
        return len(self.entries)


class DuplicateTable(Table):
    """Any number of entries for each key, also several of one process. Each has a number, by which it is removed."""

    __slots__ = ("count", "entries", "numbers")

    def __init__(self, runtime: Runtime, title: Any, listeners: tuple[Any, ...]) -> None:
        super().__init__(runtime, title, listeners)
        self.entries: dict[Any, dict[int, Entry]] = {}
        self.numbers = itertools.count()
        self.count = 0

    def _add(self, pid: Pid, held: dict[Any, Any], key: Any, value: Any) -> None:
        number = next(self.numbers)
        self.entries.setdefault(key, {})[number] = (pid, value)
        self.count += 1
        held.setdefault(key, []).append(number)

    def _remove(self, key: Any, mark: Any) -> None:
        entries = self.entries[key]
        for number in mark:
            del entries[number]
        self.count -= len(mark)
        if not entries:
            del self.entries[key]

    def lookup(self, key: Any) -> list[Entry]:
        entries = self.entries.get(key)
        return list(entries.values()) if entries is not None else []

    def values(self, process: Process | None, key: Any) -> list[Any]:
        return [self.entries[key][number][1] for number in self.held(process).get(key, ())]

    def rows(self) -> Iterator[tuple[Any, Pid, Any]]:
        return ((key, pid, value) for key, entries in self.entries.items() for pid, value in entries.values())

    def __len__(self) -> int:
        return self.count


TABLES: Final = {UNIQUE: UniqueTable, DUPLICATE: DuplicateTable}
