"""A hub that was started before its node had a name takes that name, and joins the hub of the others.

Until then it is *private*: it works under "nonode@nohost", greets nobody and is no member of anybody's hub. Its
registry names its node in every row and in the dots of every write, so it is written anew, under the new name and a new
incarnation. No process is touched: pids are valid under both names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from processhub.hub.errors import ProcessHubError
from processhub.hub.hub import Hub, next_incarnation
from processhub.registry import Child, Registry, Row, SpecRecord
from supervisor.processes import give_way
from supervisor.runtime import current_process

SLICE: Final = 1000  # children that are copied without giving way


def promote(hub: Hub, node: str | None) -> None:
    """See `ProcessHub.promote_to_node`."""
    name = hub.runtime.home.name
    if hub.runtime.node is None:
        raise ProcessHubError(f"hub {hub.hub_id!r} cannot be promoted: call Node.start(name) first")
    if node is not None and node != name:
        raise ValueError(f"a hub is promoted to the node that it runs on, {name!r}; got {node!r:.200}")
    if not hub.is_private:
        return
    registry = _rewritten(hub, name)
    if hub.is_private:  # else somebody else has promoted it meanwhile
        hub.take_name(name, registry)
    hub.await_joined(hub.config.migr_base_timeout + 1.0)


def _rewritten(hub: Hub, name: str) -> Registry:
    """A registry with the children and rows of the hub's, under another name, as of the moment when it returns.

    Copies in slices, since it may be long, and then again what has changed meanwhile, until that is little.
    """
    old, new = hub.registry, Registry(name, next_incarnation(hub.runtime))
    children: dict[str, Child | None] = {}
    rows: dict[str, Row | None] = {}
    me = current_process()
    while True:
        known = old.children.keys() | old.own_table.keys() | children.keys() | rows.keys()
        stale = [
            child_id
            for child_id in sorted(known)
            if old.children.get(child_id) is not children.get(child_id)
            or old.own_table.get(child_id) is not rows.get(child_id)
        ]
        for child_id in stale:
            child, row = old.children.get(child_id), old.own_table.get(child_id)
            _copy(hub, new, child_id, child, row)
            children[child_id], rows[child_id] = child, row
            if len(stale) > SLICE:
                give_way(me)
        if len(stale) <= SLICE:
            return new


def _copy(hub: Hub, new: Registry, child_id: str, child: Child | None, row: Row | None) -> None:
    if child is None:
        new.remove(child_id, hub.now_ms())
    else:
        placement = _renamed(child.placement, hub.node, new.node)
        new.put(child_id, hub.now_ms(), _packed_anew(hub, child.spec), child.metadata, placement)
    if row is None:
        new.drop_row(child_id)
    else:
        new.set_row(child_id, row.pid, row.state, row.epoch, row.to)


def _packed_anew(hub: Hub, record: SpecRecord) -> SpecRecord:
    """Pids among the arguments were encoded under the old name, which means nothing to other nodes."""
    if hub.node.encode() not in record.args:
        return record
    return SpecRecord(record.template, hub.codec.pack(hub.codec.unpack(record.args)))


def _renamed(value: Any, old: str, new: str) -> Any:
    """A placement as a strategy chose it, with the new name wherever it names the old one."""
    if isinstance(value, str):
        return new if value == old else value
    if isinstance(value, list | tuple):
        return type(value)(_renamed(item, old, new) for item in value)
    if isinstance(value, Mapping):
        return {_renamed(key, old, new): _renamed(item, old, new) for key, item in value.items()}
    return value
