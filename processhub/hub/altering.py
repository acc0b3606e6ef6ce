"""CHILD_DATA_ALTER: handlers that change a child just before it starts, in the process that starts it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from greenlet import GreenletExit

from processhub.hub.hook_calls import log_failure
from processhub.hub.hooks import ChildData, Hook, HookHandler
from processhub.hub.hub import Hub
from processhub.hub.specs import normalise
from processhub.hub.start_queue import Job
from processhub.registry import SpecRecord
from processhub.registry.desired import UNCHANGED

log = logging.getLogger(__name__)


def altering(hub: Hub, job: Job, metadata: Any, placement: Any) -> Job:
    """The job, which calls the handlers before it starts its child, if there are any.

    metadata, placement: what the registry has, or will have, of the child.
    """
    if Hook.CHILD_DATA_ALTER in hub.hooks:
        job.before = partial(_alter, hub, job, metadata or {}, placement)
    return job


def _alter(hub: Hub, job: Job, metadata: dict[str, Any], placement: Any) -> None:
    """Put into `job` what the handlers make of it; `job.metadata` only where it differs."""
    record, altered = job.record, metadata
    nodes = list(hub.placement.owners(job.child_id, placement, hub.copies))
    for handler in hub.hooks.handlers(Hook.CHILD_DATA_ALTER):
        try:
            record, altered, nodes = _call(hub, handler, job.child_id, record, altered, nodes)
        except (GreenletExit, KeyboardInterrupt):
            raise  # the start was given up
        except BaseException:
            log_failure(hub.hub_id, Hook.CHILD_DATA_ALTER, handler)
    job.record = record
    if altered != metadata:
        job.metadata = altered


def keep_altered(hub: Hub, job: Job, before: SpecRecord) -> SpecRecord:
    """A child runs: register what was altered for it. Returns the record that it runs by.

    before: the record that its start began with. If the registry has another one by now, that one stays.
    """
    desired = hub.registry.children.get(job.child_id)
    spec = job.record if job.record != before else UNCHANGED
    metadata = job.metadata if job.metadata is not None else UNCHANGED
    if desired is not None and desired.spec == before and (spec, metadata) != (UNCHANGED, UNCHANGED):
        hub.registry.put(job.child_id, hub.now_ms(), spec=spec, metadata=metadata)
    return job.record


def _call(
    hub: Hub, handler: HookHandler, child_id: str, record: SpecRecord, metadata: dict[str, Any], nodes: list[str]
) -> tuple[SpecRecord, dict[str, Any], list[str]]:
    """What one handler makes of the data: of copies, so that one that fails half way has changed nothing."""
    given = ChildData(hub.specs.ready(child_id, record), hub.copy_of(metadata, "metadata"), list(nodes))
    returned = handler.func(*handler.arguments(given))
    if not isinstance(returned, tuple) or len(returned) != 3:
        raise TypeError(f"it must return (spec, metadata, nodes); it returned {returned!r:.200}")
    spec, altered, nodes = returned
    (spec,) = normalise([spec])
    if spec.id != child_id:
        raise ValueError(f"the id of child {child_id!r} cannot be altered; it returned {spec.id!r:.100}")
    if not isinstance(altered, Mapping):
        raise TypeError(f"the metadata must be a mapping; it returned {altered!r:.200}")
    return hub.specs.encode(spec), hub.copy_of(dict(altered), "metadata"), list(nodes)
