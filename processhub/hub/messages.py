"""What the processes of one hub say to each other across nodes. One definition and one wire code each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from processhub.cluster.wire import register
from processhub.hub.specs import Template


@dataclass(frozen=True)
class HubHello:
    """A coordinator presents its hub. `answer`: it is the reply to a hello, and wants none.

    vector: what it has of the registry, as `RegistryVector.to_wire()`; digest: its options, which all members share;
    life: see `Hub.lives`; news: as in `QuorumNews`.
    """

    node: str
    incarnation: int
    observer: bool
    answer: bool
    digest: Any
    vector: Any
    life: int
    news: Any


@dataclass(frozen=True)
class HubAbsent:
    """The answer to a hello where the hub is private: nobody need wait for `node`."""

    node: str


@dataclass(frozen=True)
class HubRefused:
    """The answer to a hello whose options differ: `field` names the first one."""

    node: str
    field: str
    theirs: Any


@dataclass(frozen=True)
class HubLeave:
    """A hub on `node` has stopped its children and ends."""

    node: str


@dataclass(frozen=True)
class BatchMessage:
    """Registry operations of `node`; `batch` is a Packed `Batch.to_wire()`, encoded once for all members.

    rest: the nodes to which the receiver passes it on.
    """

    node: str
    batch: Any
    rest: list[str]


@dataclass(frozen=True)
class VectorMessage:
    """What `node` has.

    answers: how many more vectors may go back and forth, each if its sender lacks something or knows what the other
    one lacks. 0: what comes back is only what `node` lacks.
    rest: the nodes to which the receiver sends its own vector, so that the round gets to all.
    """

    node: str
    vector: Any
    answers: int
    rest: list[str]


@dataclass(frozen=True)
class Offer:
    """A holder that should not hold asks an owner that does not hold to take these children."""

    node: str
    child_ids: list[str]


@dataclass(frozen=True)
class Accept:
    """The owner's answer: these it will start once the offerer's copies are gone."""

    node: str
    child_ids: list[str]


@dataclass(frozen=True)
class Stay:
    """A running owner tells a surplus holder that its own copies stay: rows (child id, own pid, your pid, serial)."""

    node: str
    rows: list[Any]


@dataclass(frozen=True)
class StayRefused:
    """The receiver of a `Stay` did not stop these: (child id, serial)."""

    node: str
    rows: list[Any]


@dataclass(frozen=True)
class StartChildren:
    """Start these children: rows [child id, index into templates, arguments, metadata, placement].

    timeout: seconds that the starts may take. The reply is a StartReply.
    """

    templates: list[Any]
    rows: list[Any]
    timeout: float


@dataclass(frozen=True)
class StartReply:
    """started: {child id: pid}; failed: {child id: reason}; foreign: ids that the node does not think it owns, by the
    members that it sees.

    vector: what the node had when all was done, if there are further copies to wait for.
    """

    started: dict[str, Any]
    failed: dict[str, Any]
    foreign: list[str]
    members: list[str]
    vector: Any = None


@dataclass(frozen=True)
class AwaitCopies:
    """How do the copies of these children start that the receiver owns, and not first? The reply is a StartReply.

    It comes when all have been tried, after `timeout` seconds at the latest; those that it does not mention are desired
    no more. vector: what the first owners had when they had started these: a receiver that has as much, and does not
    know a child, knows that it is over.
    """

    child_ids: list[str]
    timeout: float
    vector: Any


@dataclass(frozen=True)
class CatchUp:
    """A call to a coordinator: send `node` what it lacks, going by `vector`. The reply, True, comes after that."""

    node: str
    vector: Any


@dataclass(frozen=True)
class StopChildren:
    """Stop this node's copies of these children. The reply lists the ids that were stopped."""

    child_ids: list[str]


@dataclass(frozen=True)
class QuorumNews:
    """`node` sees other members, or remembers something new. news: ({node: life} that it sees, memory or None)."""

    node: str
    news: Any


# Calls to a coordinator that carry nothing.
STATUS: Final = "status"  # the reply: (digest of its registry, "at work", "partitioned" or "", the members it sees)
REPORT: Final = "report"  # the reply: `reporting.Report` as a dict
CONFIG: Final = "config"  # an observer asks; the reply is the hub's configuration in sendable form
LEAVE: Final = "leave"  # to a distributed supervisor: stop every child; the reply comes when they are gone
DRAIN: Final = "drain"  # this node is about to leave: its children go to their next owners
WHICH_CHILDREN: Final = "which_children"  # to a distributed supervisor: the fields of a ChildEntry of each child
SYNC: Final = "sync"  # the reply comes once all that was sent before has been applied


register(63, Template, to_fields=tuple, from_fields=Template)
for _code, _cls in enumerate(
    (
        HubHello,
        HubRefused,
        HubLeave,
        BatchMessage,
        VectorMessage,
        Offer,
        Accept,
        Stay,
        StayRefused,
        StartChildren,
        StartReply,
        StopChildren,
    ),
    start=64,
):
    register(_code, _cls)
register(80, QuorumNews)
register(84, AwaitCopies)
register(85, CatchUp)
register(104, HubAbsent)
