"""Supervised processes, spread over a cluster of nodes: ProcessHub for Python.

Everything that users need is imported from here; `supervisor` and `ring` also stand alone.
"""

from __future__ import annotations

# First: it makes the packages importable that the others need.
import processhub.neighbours  # noqa: F401  # isort: skip

import supervisor.debug as debug
import supervisor.processes as process
from processhub.api import ChildInfo, ProcessHub
from processhub.cluster.discovery import Discovery, DnsSeeds, FileSeeds, StaticSeeds
from processhub.cluster.messages import NodeDown, NodeUp
from processhub.cluster.node import Node, NodeError
from processhub.cluster.node_server import NodeInfo
from processhub.cluster.security import CookieError
from processhub.cluster.transport import ListenError
from processhub.hub.errors import (
    AlreadyStarted,
    ChildMappingMismatch,
    ChildReplicationMismatch,
    ConfigMismatch,
    DuplicateHookHandler,
    HubNotAlive,
    InvalidChildMapping,
    InvalidChildSpec,
    MissingChildMapping,
    NoChildren,
    Partitioned,
    ProcessHubError,
)
from processhub.hub.future import Future
from processhub.hub.hooks import HOOK_DATA, ChildData, Hook, HookHandler
from processhub.hub.reporting import Report
from processhub.hub.results import StartFailure, StartResult, StopFailure, StopResult
from processhub.hub.roles import RedundancySignal
from processhub.strategy.distribution.centralized_load_balancer import CentralizedLoadBalancer
from processhub.strategy.distribution.consistent_hashing import ConsistentHashing
from processhub.strategy.distribution.guided import Guided
from processhub.strategy.migration.cold_swap import ColdSwap
from processhub.strategy.migration.hot_swap import HotSwap
from processhub.strategy.partition_tolerance.divergence import Divergence
from processhub.strategy.partition_tolerance.dynamic_quorum import DynamicQuorum
from processhub.strategy.partition_tolerance.majority_quorum import MajorityQuorum
from processhub.strategy.partition_tolerance.static_quorum import StaticQuorum
from processhub.strategy.redundancy.replication import Replication
from processhub.strategy.redundancy.singularity import Singularity
from processhub.strategy.synchronization.gossip import Gossip
from processhub.strategy.synchronization.pub_sub import PubSub
from ring.hash_ring import HashRing
from supervisor.agent import Agent, AgentError
from supervisor.child_spec import ChildSpec
from supervisor.children import ChildEntry, ChildError
from supervisor.dynamic_supervisor import DynamicSupervisor, DynamicSupervisorSpec
from supervisor.errors import (
    AlreadyRegistered,
    CallTimeout,
    EncodeError,
    Exit,
    NoConnection,
    NoProcess,
    NotImportable,
    NotRegistered,
    ProcessExit,
    ReceiveTimeout,
    StartError,
)
from supervisor.gen_server import Cast, Continue, GenServer, Handle, Ignore, NoReply, Reply, Request, Stop
from supervisor.gen_statem import GenStatem
from supervisor.partition_supervisor import PartitionSupervisor
from supervisor.pids import Pid, Ref
from supervisor.reasons import Crash, Moved, Shutdown
from supervisor.registries import Registry
from supervisor.signals import Down, ExitSignal
from supervisor.statem_results import (
    CancelTimeout,
    EventTimeout,
    EventType,
    GenericTimeout,
    Keep,
    Next,
    NextEvent,
    Postpone,
    Repeat,
    ReplyTo,
    StateTimeout,
    StopAndReply,
    UpdateTimeout,
)
from supervisor.supervisors import Supervisor, SupervisorSpec
from supervisor.task_supervisor import TaskSupervisor
from supervisor.tasks import Outcome, Task

__all__ = [
    "HOOK_DATA",
    "Agent",
    "AgentError",
    "AlreadyRegistered",
    "AlreadyStarted",
    "CallTimeout",
    "CancelTimeout",
    "Cast",
    "CentralizedLoadBalancer",
    "ChildData",
    "ChildEntry",
    "ChildError",
    "ChildInfo",
    "ChildMappingMismatch",
    "ChildReplicationMismatch",
    "ChildSpec",
    "ColdSwap",
    "ConfigMismatch",
    "ConsistentHashing",
    "Continue",
    "CookieError",
    "Crash",
    "Discovery",
    "Divergence",
    "DnsSeeds",
    "Down",
    "DuplicateHookHandler",
    "DynamicQuorum",
    "DynamicSupervisor",
    "DynamicSupervisorSpec",
    "EncodeError",
    "EventTimeout",
    "EventType",
    "Exit",
    "ExitSignal",
    "FileSeeds",
    "Future",
    "GenServer",
    "GenStatem",
    "GenericTimeout",
    "Gossip",
    "Guided",
    "Handle",
    "HashRing",
    "Hook",
    "HookHandler",
    "HotSwap",
    "HubNotAlive",
    "Ignore",
    "InvalidChildMapping",
    "InvalidChildSpec",
    "Keep",
    "ListenError",
    "MajorityQuorum",
    "MissingChildMapping",
    "Moved",
    "Next",
    "NextEvent",
    "NoChildren",
    "NoConnection",
    "NoProcess",
    "NoReply",
    "Node",
    "NodeDown",
    "NodeError",
    "NodeInfo",
    "NodeUp",
    "NotImportable",
    "NotRegistered",
    "Outcome",
    "PartitionSupervisor",
    "Partitioned",
    "Pid",
    "Postpone",
    "ProcessExit",
    "ProcessHub",
    "ProcessHubError",
    "PubSub",
    "ReceiveTimeout",
    "RedundancySignal",
    "Ref",
    "Registry",
    "Repeat",
    "Replication",
    "Reply",
    "ReplyTo",
    "Report",
    "Request",
    "Shutdown",
    "Singularity",
    "StartError",
    "StartFailure",
    "StartResult",
    "StateTimeout",
    "StaticQuorum",
    "StaticSeeds",
    "Stop",
    "StopAndReply",
    "StopFailure",
    "StopResult",
    "Supervisor",
    "SupervisorSpec",
    "Task",
    "TaskSupervisor",
    "UpdateTimeout",
    "debug",
    "process",
]
