"""The load of a node, as it is measured and sent."""

from __future__ import annotations

from typing import NamedTuple


class Load(NamedTuple):
    """What one node measured since its last measurement.

    Attributes:
        cpu: CPU time of its operating-system process per second; 1.0 is one core, all of the time.
        loop_lag: seconds by which its event loop was late, on average.
        processes: how many processes its runtime has.
        memory: resident memory of its operating-system process, in bytes.
    """

    cpu: float
    loop_lag: float
    processes: int
    memory: int
