"""Supervised processes, spread over a cluster of nodes: ProcessHub for Python.

Everything that users need is imported from here; `supervisor` and `ring` also stand alone.
"""

from __future__ import annotations

import supervisor.processes as process
from processhub.api import ChildInfo, ProcessHub
from processhub.cluster.discovery import Discovery, DnsSeeds, FileSeeds, StaticSeeds
from processhub.cluster.messages import NodeDown, NodeUp
from processhub.cluster.node import Node, NodeError
from processhub.cluster.transport import ListenError
from processhub.hub.errors import (
    AlreadyStarted,
    ChildMappingMismatch,
    ChildReplicationMismatch,
    ConfigMismatch,
    HubNotAlive,
    InvalidChildMapping,
    InvalidChildSpec,
    MissingChildMapping,
    NoChildren,
    Partitioned,
    ProcessHubError,
)
from processhub.hub.future import Future
from processhub.hub.results import StartFailure, StartResult, StopFailure, StopResult
from processhub.strategy.distribution.consistent_hashing import ConsistentHashing
from processhub.strategy.migration.cold_swap import ColdSwap
from processhub.strategy.partition_tolerance.divergence import Divergence
from processhub.strategy.redundancy.singularity import Singularity
from processhub.strategy.synchronization.pub_sub import PubSub
from ring.hash_ring import HashRing
from supervisor.child_spec import ChildSpec
from supervisor.children import ChildEntry
from supervisor.dynamic_supervisor import DynamicSupervisor
from supervisor.errors import (
    AlreadyRegistered,
    CallTimeout,
    EncodeError,
    Exit,
    NoConnection,
    NoProcess,
    NotImportable,
    ProcessExit,
    ReceiveTimeout,
    StartError,
)
from supervisor.gen_server import Continue, GenServer, Ignore, NoReply, Reply, Stop
from supervisor.pids import Pid, Ref
from supervisor.reasons import Crash, Shutdown
from supervisor.signals import Down, ExitSignal
from supervisor.supervisors import Supervisor, SupervisorSpec

__all__ = [
    "AlreadyRegistered",
    "AlreadyStarted",
    "CallTimeout",
    "ChildEntry",
    "ChildInfo",
    "ChildMappingMismatch",
    "ChildReplicationMismatch",
    "ChildSpec",
    "ColdSwap",
    "ConfigMismatch",
    "ConsistentHashing",
    "Continue",
    "Crash",
    "Discovery",
    "Divergence",
    "DnsSeeds",
    "Down",
    "DynamicSupervisor",
    "EncodeError",
    "Exit",
    "ExitSignal",
    "FileSeeds",
    "Future",
    "GenServer",
    "HashRing",
    "HubNotAlive",
    "Ignore",
    "InvalidChildMapping",
    "InvalidChildSpec",
    "ListenError",
    "MissingChildMapping",
    "NoChildren",
    "NoConnection",
    "NoProcess",
    "NoReply",
    "Node",
    "NodeDown",
    "NodeError",
    "NodeUp",
    "NotImportable",
    "Partitioned",
    "Pid",
    "ProcessExit",
    "ProcessHub",
    "ProcessHubError",
    "PubSub",
    "ReceiveTimeout",
    "Ref",
    "Reply",
    "Shutdown",
    "Singularity",
    "StartError",
    "StartFailure",
    "StartResult",
    "StaticSeeds",
    "Stop",
    "StopFailure",
    "StopResult",
    "Supervisor",
    "SupervisorSpec",
    "process",
]
