"""A cluster in one operating-system process: virtual time, a network in memory, and faults to order."""

from __future__ import annotations

from processhub.testing.cluster import Cluster, ClusterNode
from processhub.testing.driver import Driver, Errand, Stuck
from processhub.testing.fake_load import FakeLoad
from processhub.testing.memory_network import MemoryNetwork
from processhub.testing.memory_transport import MemoryTransport
from processhub.testing.virtual_clock import VirtualClock, VirtualTime

__all__ = [
    "Cluster",
    "ClusterNode",
    "Driver",
    "Errand",
    "FakeLoad",
    "MemoryNetwork",
    "MemoryTransport",
    "Stuck",
    "VirtualClock",
    "VirtualTime",
]
