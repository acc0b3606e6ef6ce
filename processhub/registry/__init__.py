"""The replicated registry of a hub: what should run (Desired) and what does run where (Presence). Pure data."""

from __future__ import annotations

from processhub.registry.batches import Batch, Chunk, RegistryVector, decode
from processhub.registry.changes import Changes, ChildChange, RowChange
from processhub.registry.clocks import Dot, Vector
from processhub.registry.columns import MalformedBatch
from processhub.registry.desired import UNCHANGED
from processhub.registry.operations import Child, SpecRecord
from processhub.registry.placements import FAILED, LEAVING, RESTARTING, RUNNING, STARTING, Row
from processhub.registry.registry import Limits, Registry

__all__ = [
    "FAILED",
    "LEAVING",
    "RESTARTING",
    "RUNNING",
    "STARTING",
    "UNCHANGED",
    "Batch",
    "Changes",
    "Child",
    "ChildChange",
    "Chunk",
    "Dot",
    "Limits",
    "MalformedBatch",
    "Registry",
    "RegistryVector",
    "Row",
    "RowChange",
    "SpecRecord",
    "Vector",
    "decode",
]
