"""What the membership says and goes by: states, reasons, actions and limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# How a node stands. `alive` and `suspect` are members.
UNKNOWN: Final = "unknown"  # a name that was learned; no session yet
ALIVE: Final = "alive"
SUSPECT: Final = "suspect"
DOWN: Final = "down"
LEFT: Final = "left"

# Why a member is down.
REFUSED: Final = "refused"
UNREACHABLE: Final = "unreachable"
SILENT: Final = "silent"
RESTARTED: Final = "restarted"
GOODBYE: Final = "left"


@dataclass(frozen=True)
class MemberUp:
    """A life of a node has become a member. For one life, up and down alternate."""

    node: str
    incarnation: int


@dataclass(frozen=True)
class MemberSuspect:
    """The session with a member is lost. It stays a member for now."""

    node: str
    incarnation: int


@dataclass(frozen=True)
class MemberDown:
    """A life of a node is no member any more; `reason` is one of the constants above.

    With `restarted` the link belongs to the new life already.
    """

    node: str
    incarnation: int
    reason: str


@dataclass(frozen=True)
class SendPing:
    """Ask for a sign of life over the session. The answer arrives as `heard_from`."""

    node: str


@dataclass(frozen=True)
class Probe:
    """Ask the transport whether anything listens there; report a refusal with `probe_refused`, nothing else."""

    node: str


@dataclass(frozen=True)
class Connect:
    """Open a link to this node, if there is none, and let it try."""

    node: str


@dataclass(frozen=True)
class Forget:
    """Close the link to this node: stop trying, for now or for good."""

    node: str


Action = MemberUp | MemberSuspect | MemberDown | SendPing | Probe | Connect | Forget


@dataclass(frozen=True)
class Limits:
    """The numbers of the detector, in seconds.

    suspicion: from the loss of a session to `down` without a proof. Lower: lost machines are replaced sooner; higher:
        longer outages of the network pass unnoticed.
    silence: without a sign of life on an open session until `down`. Lower: dead loops are found sooner; higher: longer
        blocked loops are forgiven.
    ping: a session on which nothing came for so long is pinged, and again after as much.
    probe: between two probes of a suspect. A process that is killed closes its sockets one after the other, so that the
        first probe may still be answered: the second one finds out. Lower: sooner; higher: fewer connections meanwhile.
    lateness: a tick that comes later than this was held up by our own loop.
    grace: after such a tick, everybody has at least so long to be heard.
    attempt: how long a link to a node that is no member may try before it is closed.
    pause_first, pause_most: between two attempts; doubles from the one to the other.
    goodbye: no attempts for so long after a node has left; then it is forgotten, unless somebody has named it since.
    memory: a name that is no member, and that nobody has named for so long, is forgotten.
    """

    suspicion: float = 5.0
    silence: float = 30.0
    ping: float = 1.0
    probe: float = 0.2
    lateness: float = 0.2
    grace: float = 1.0
    attempt: float = 3.0
    pause_first: float = 0.5
    pause_most: float = 4.0
    goodbye: float = 60.0
    memory: float = 24 * 3600.0
