"""The names that `supervisor` itself offers; see there."""

from __future__ import annotations

import supervisor.debug as debug
import supervisor.processes as process
from supervisor.agent import Agent, AgentError
from supervisor.child_spec import ChildSpec, InvalidChildSpec
from supervisor.children import ChildEntry, ChildError
from supervisor.dynamic_supervisor import DynamicSupervisor, DynamicSupervisorSpec
from supervisor.errors import (
    AlreadyRegistered,
    CallTimeout,
    Exit,
    NoConnection,
    NoProcess,
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
    "Agent",
    "AgentError",
    "AlreadyRegistered",
    "CallTimeout",
    "CancelTimeout",
    "Cast",
    "ChildEntry",
    "ChildError",
    "ChildSpec",
    "Continue",
    "Crash",
    "Down",
    "DynamicSupervisor",
    "DynamicSupervisorSpec",
    "EventTimeout",
    "EventType",
    "Exit",
    "ExitSignal",
    "GenServer",
    "GenStatem",
    "GenericTimeout",
    "Handle",
    "Ignore",
    "InvalidChildSpec",
    "Keep",
    "Moved",
    "Next",
    "NextEvent",
    "NoConnection",
    "NoProcess",
    "NoReply",
    "NotRegistered",
    "Outcome",
    "PartitionSupervisor",
    "Pid",
    "Postpone",
    "ProcessExit",
    "ReceiveTimeout",
    "Ref",
    "Registry",
    "Repeat",
    "Reply",
    "ReplyTo",
    "Request",
    "Shutdown",
    "StartError",
    "StateTimeout",
    "Stop",
    "StopAndReply",
    "Supervisor",
    "SupervisorSpec",
    "Task",
    "TaskSupervisor",
    "UpdateTimeout",
    "debug",
    "process",
]
