"""An OTP-like runtime for one node: processes, links, monitors, GenServer and supervisors on gevent.

Our own code and documentation import from the submodules (`supervisor.gen_server`, ...), since the PyPI project
supervisord installs a package of this name too. Where only ours is installed, these names are a convenience.
"""

from __future__ import annotations

import supervisor.processes as process
from supervisor.child_spec import ChildSpec, InvalidChildSpec
from supervisor.children import ChildEntry
from supervisor.dynamic_supervisor import DynamicSupervisor
from supervisor.errors import (
    AlreadyRegistered,
    CallTimeout,
    Exit,
    NoConnection,
    NoProcess,
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
    "CallTimeout",
    "ChildEntry",
    "ChildSpec",
    "Continue",
    "Crash",
    "Down",
    "DynamicSupervisor",
    "Exit",
    "ExitSignal",
    "GenServer",
    "Ignore",
    "InvalidChildSpec",
    "NoConnection",
    "NoProcess",
    "NoReply",
    "Pid",
    "ProcessExit",
    "ReceiveTimeout",
    "Ref",
    "Reply",
    "Shutdown",
    "StartError",
    "Stop",
    "Supervisor",
    "SupervisorSpec",
    "process",
]
