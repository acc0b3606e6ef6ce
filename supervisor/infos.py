"""`process.info`: what the process table knows of one process."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final, overload

from supervisor.pids import Pid
from supervisor.records import CALL, CAST, INFO, Process, sorted_ids
from supervisor.runtime import current_runtime


@overload
def info(pid: Pid) -> dict[str, Any] | None: ...
@overload
def info(pid: Pid, item: str) -> Any: ...
def info(pid: Pid, item: str | None = None) -> Any:
    """What the process table knows of a local process: a dict for people and tests. None for a dead one.

    With `item` only that value, which is cheaper; by our name for it or by Erlang's: "queue_length" or
    "message_queue_len", "names" or "registered_name", "watched_by" or "monitored_by". ValueError for an unknown one.

        pid, names, label, parent    label: see `set_label`. parent: who started it with a link, or None.
        status                       "idle" (a server without a message), "queued" or "running" (at work or blocked)
        queue_length, messages       what waits in the mailbox; casts and calls as `receive` shows them
        links                        the pids it is linked to, sorted
        monitors, watched_by         what it watches (pids and names); who watches it
        trap_exit, server            server: the class of a server process, None for a plain one
    """
    process = current_runtime().local(pid)
    if item is not None:
        look = _ITEMS.get(_ALIASES.get(item, item))
        if look is None:
            raise ValueError(f"info knows no {item!r:.80}; expected one of {', '.join(sorted({*_ITEMS, *_ALIASES}))}")
        return look(process) if process is not None else None
    return {name: look(process) for name, look in _ITEMS.items()} if process is not None else None


_ITEMS: Final[dict[str, Callable[[Process], Any]]] = {
    "pid": attrgetter("pid"),
    "names": lambda process: list(process.names),
    "label": attrgetter("label"),
    "status": lambda process: ("idle", "queued", "running", "dead", "running", "closed")[process.status],
    "queue_length": attrgetter("queue_length"),
    "messages": lambda process: [as_message(entry) for entry in process.waiting if entry[0] in (INFO, CAST, CALL)],
    "links": lambda process: sorted_ids(process.links),
    "monitors": lambda process: list((process.monitors or {}).values()),
    "watched_by": lambda process: list((process.watchers or {}).values()),
    "trap_exit": attrgetter("trap_exit"),
    "parent": attrgetter("parent"),
    "server": lambda process: type(process.server).__qualname__ if process.server is not None else None,
}
_ALIASES: Final = {
    "message_queue_len": "queue_length",
    "registered_name": "names",
    "monitored_by": "watched_by",
}


def as_message(entry: Any) -> Any:
    """A plain process gets a cast or a call as a tuple ("cast", request) or ("call", request, from_)."""
    if entry[0] == INFO:
        return entry[1]
    return ("cast" if len(entry) == 2 else "call", *entry[1:])
