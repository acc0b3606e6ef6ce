"""Who is there: the members that this node knows, and the detector of their failures. Pure: no clock, no network.

Every node has a link to every other (SWIM's sampling can come behind the same interface). Inputs say what was seen and
when, and return what to do, in the order in which to do it.

- A session that is lost makes its node *suspect*: it is probed at once, and now and then. A refused probe is proof that
  nobody is there: down. Without one it is down when `suspicion` seconds are over. A session with the same life before
  that ends the suspicion, and nobody hears of it.
- A loop that answers no ping for `silence` seconds is down though its sockets are open. Until then it is just busy.
- Lives are told apart by incarnations. A higher one ends the old life (down, then up); a lower one is ignored.
- A node that is down or unknown is tried with growing pauses, and forgotten when nobody has named it for long.

Times run in *attentive* seconds. When a tick (or anything else) comes much later than it was due, then this node was
the one that did not listen, and the time of its absence counts against nobody (after Lifeguard's local health).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from random import Random
from typing import Final

from processhub.cluster.member_actions import (
    ALIVE,
    DOWN,
    GOODBYE,
    LEFT,
    REFUSED,
    RESTARTED,
    SILENT,
    SUSPECT,
    UNKNOWN,
    UNREACHABLE,
    Action,
    Connect,
    Forget,
    Limits,
    MemberDown,
    MemberSuspect,
    MemberUp,
    Probe,
    SendPing,
)
from processhub.cluster.names import address_of

__all__ = [
    "ALIVE",
    "DOWN",
    "GOODBYE",
    "LEFT",
    "REFUSED",
    "RESTARTED",
    "SILENT",
    "SUSPECT",
    "UNKNOWN",
    "UNREACHABLE",
    "Action",
    "Connect",
    "Forget",
    "Limits",
    "MemberDown",
    "MemberSuspect",
    "MemberUp",
    "Membership",
    "Probe",
    "SendPing",
]

_ROUNDING: Final = 1e-6  # seconds


class _Member:
    """What is known of one name. Times are attentive seconds.

    Invariants: `has_session` only while ALIVE. `probe_at` and `down_at` count while SUSPECT; `named_at`, `pause`,
    `is_trying`, `rests_since` and `turn_at` while not a member.
    """

    __slots__ = (
        "down_at",
        "has_session",
        "heard_at",
        "incarnation",
        "is_trying",
        "named_at",
        "pause",
        "ping_at",
        "probe_at",
        "rests_since",
        "status",
        "turn_at",
    )

    def __init__(self, now: float, pause: float) -> None:
        self.status = UNKNOWN
        self.incarnation = 0
        self.has_session = False
        self.heard_at = self.ping_at = now
        self.probe_at = self.down_at = now
        self.named_at = now
        self.pause = pause
        self.is_trying = False  # a link is open for it
        self.rests_since = now
        self.turn_at = now  # when to stop trying, or to begin again


class Membership:
    """The members as one node sees them.

    Args:
        name: the node's own name, which is never a member.
        limits: the numbers.
        rng: spreads the pauses between attempts, so that two nodes do not keep missing each other.

    `now` is the node's monotonic clock, in seconds, and never goes back. Every input returns the actions that follow
    from it; an input about an unknown name, or an old life, has none. Call `tick` when `next_tick` says so.
    """

    def __init__(self, name: str, limits: Limits | None = None, rng: Random | None = None) -> None:
        self.name = name
        self.limits = limits if limits is not None else Limits()
        self._rng = rng if rng is not None else Random(name)
        self._known: dict[str, _Member] = {}
        self._absence = 0.0  # seconds that this node did not listen
        self._lenient_until = float("-inf")  # nobody is declared down for want of news before
        self._at = 0.0  # attentive seconds at the latest input
        self._expected: float | None = None  # when the next tick was due, in attentive seconds

    def __repr__(self) -> str:
        return f"<Membership of {self.name}: {', '.join(f'{n} {m.status}' for n, m in sorted(self._known.items()))}>"

    # -- questions ---------------------------------------------------------------------------------------------------

    def members(self) -> list[str]:
        """The names of the other members, suspects included, sorted."""
        return sorted(node for node, member in self._known.items() if member.status in (ALIVE, SUSPECT))

    def known(self) -> list[str]:
        """Every name that is not forgotten, sorted."""
        return sorted(self._known)

    def expected(self) -> list[str]:
        """The names that were never met and are being tried just now, sorted."""
        return sorted(n for n, member in self._known.items() if member.status == UNKNOWN and member.is_trying)

    def status(self, node: str) -> str:
        """How a node stands; `unknown` for a name that was never heard."""
        member = self._known.get(node)
        return member.status if member is not None else UNKNOWN

    def incarnation(self, node: str) -> int | None:
        """The latest life of a node that was a member at any time, or None."""
        member = self._known.get(node)
        return member.incarnation if member is not None and member.incarnation else None

    def quiet(self, node: str, now: float) -> float:
        """Seconds since anything was heard of a member; infinite for one that is none.

        Attentive seconds: while this node did not listen, nobody was quiet.
        """
        member = self._known.get(node)
        if member is None or member.status not in (ALIVE, SUSPECT):
            return math.inf
        at = now - self._absence
        if self._expected is not None and at > self._expected + self.limits.lateness:
            at = max(self._at, self._expected)
        return max(0.0, at - member.heard_at)

    def next_tick(self, now: float) -> float | None:
        """When `tick` wants to be called, not before `now`; None while there is nothing to wait for."""
        due = self._next_due()
        return max(now, due + self._absence) if due is not None else None

    # -- inputs ------------------------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Action]:
        """The node begins; learns nothing and has nothing to do yet."""
        self._listen(now)
        return []

    def learn(self, names: Iterable[str], now: float) -> list[Action]:
        """Somebody (a peer, a discovery) names nodes. New ones are connected to, members stay as they are.

        An attempt at one that is down comes sooner: somebody knows it. Malformed names are ignored.
        """
        at = self._listen(now)
        actions: list[Action] = []
        for node in sorted(set(names)):
            if node == self.name or not _is_name(node):
                continue
            member = self._entry(node, at)
            member.named_at = at
            if member.status in (UNKNOWN, DOWN) and not member.is_trying:
                # Invariant: a pause lasts at least `pause_first`, however often somebody names the node.
                member.turn_at = min(member.turn_at, max(at, member.rests_since + self.limits.pause_first))
                actions += self._attempt(node, member, at)
        return self._done(actions)

    def wanted(self, node: str) -> None:
        """The user wants this node: it is tried at the next tick, also after it has left."""
        if node == self.name or not _is_name(node):
            return
        member = self._entry(node, self._at)
        member.named_at = self._at
        if member.status in (UNKNOWN, DOWN, LEFT) and not member.is_trying:
            member.status = DOWN if member.incarnation else UNKNOWN
            member.turn_at = self._at

    def session_up(self, node: str, incarnation: int, now: float) -> list[Action]:
        """Frames go both ways between us and this life of the node."""
        at = self._listen(now)
        if node == self.name or incarnation < (self.incarnation(node) or 0):
            return self._done([])
        member = self._entry(node, at)
        actions: list[Action] = []
        is_new_life = incarnation > member.incarnation
        if is_new_life and member.status in (ALIVE, SUSPECT):
            actions.append(MemberDown(node, member.incarnation, RESTARTED))
        if is_new_life or member.status not in (ALIVE, SUSPECT):
            actions.append(MemberUp(node, incarnation))
        member.status, member.incarnation, member.has_session = ALIVE, incarnation, True
        member.heard_at = member.named_at = at
        member.ping_at = at + self.limits.ping
        member.is_trying, member.pause = False, self.limits.pause_first
        return self._done(actions)

    def session_lost(self, node: str, now: float) -> list[Action]:
        """The session with the node has ended. Nothing happens where there was none."""
        at = self._listen(now)
        member = self._known.get(node)
        if member is None or not member.has_session:
            return self._done([])
        member.status, member.has_session = SUSPECT, False
        member.probe_at = at + self.limits.probe
        member.down_at = at + self.limits.suspicion
        return self._done([MemberSuspect(node, member.incarnation), Probe(node), Connect(node)])

    def heard_from(self, node: str, incarnation: int, now: float) -> Sequence[Action]:
        """Anything has arrived on the session. Cheap: it is called for every frame."""
        member = self._known.get(node)
        if member is None or incarnation < member.incarnation or not member.has_session:
            return ()
        if incarnation > member.incarnation:
            return self.session_up(node, incarnation, now)
        member.heard_at = self._listen(now)
        member.ping_at = member.heard_at + self.limits.ping
        return ()

    def probe_refused(self, node: str, now: float) -> list[Action]:
        """Nothing listens where the node should be. Only counts while it is suspect: otherwise it came late."""
        at = self._listen(now)
        member = self._known.get(node)
        if member is None or member.status != SUSPECT:
            return self._done([])
        return self._done(self._down(node, member, REFUSED, at))

    def left(self, node: str, now: float) -> list[Action]:
        """The node said goodbye, or we did to it. It is left alone for a while."""
        at = self._listen(now)
        member = self._known.get(node)
        if member is None:
            return self._done([])
        if member.status in (ALIVE, SUSPECT):
            actions = self._down(node, member, GOODBYE, at)
        else:
            actions = [Forget(node)] if member.is_trying else []
            self._rest(member, at)
        member.status = LEFT
        member.named_at, member.turn_at = at, at + self.limits.goodbye
        return self._done(actions)

    def tick(self, now: float) -> list[Action]:
        """Time has passed."""
        at = self._listen(now)
        actions: list[Action] = []
        for node in sorted(self._known):
            member = self._known[node]
            if member.status == ALIVE:
                actions += self._watch(node, member, at)
            elif member.status == SUSPECT:
                actions += self._doubt(node, member, at)
            else:
                actions += self._attempt(node, member, at)
        return self._done(actions)

    # -- what is due for one node ------------------------------------------------------------------------------------

    def _watch(self, node: str, member: _Member, at: float) -> list[Action]:
        if at >= max(member.heard_at + self.limits.silence, self._lenient_until):
            return self._down(node, member, SILENT, at)
        if at < member.ping_at:
            return []
        member.ping_at = at + self.limits.ping
        return [SendPing(node)]

    def _doubt(self, node: str, member: _Member, at: float) -> list[Action]:
        if at >= max(member.down_at, self._lenient_until):
            return self._down(node, member, UNREACHABLE, at)
        if at < member.probe_at:
            return []
        member.probe_at = at + self.limits.probe
        return [Probe(node)]

    def _attempt(self, node: str, member: _Member, at: float) -> list[Action]:
        """Begin or end an attempt to reach a node that is no member, or forget it."""
        left_for_good = member.status == LEFT and at >= member.turn_at and member.named_at <= member.rests_since
        if left_for_good or at >= member.named_at + self.limits.memory:
            del self._known[node]
            return [Forget(node)]
        if at < member.turn_at:
            return []
        if member.is_trying:
            self._rest(member, at)
            member.pause = min(member.pause * 2, self.limits.pause_most)
            return [Forget(node)]
        member.status = DOWN if member.incarnation else UNKNOWN
        member.is_trying = True
        member.turn_at = at + self.limits.attempt
        return [Connect(node)]

    def _rest(self, member: _Member, at: float) -> None:
        member.is_trying, member.rests_since = False, at
        member.turn_at = at + member.pause * (1.0 + self._rng.random() / 2)

    def _down(self, node: str, member: _Member, reason: str, at: float) -> list[Action]:
        """It is no member any more. Its link is closed, so that the next attempt begins from nothing."""
        member.status, member.has_session = DOWN, False
        member.named_at, member.pause = at, self.limits.pause_first
        self._rest(member, at)
        return [MemberDown(node, member.incarnation, reason), Forget(node)]

    def _entry(self, node: str, at: float) -> _Member:
        member = self._known.get(node)
        if member is None:
            member = self._known[node] = _Member(at, self.limits.pause_first)
        return member

    # -- attentive time ----------------------------------------------------------------------------------------------

    def _listen(self, now: float) -> float:
        """`now` in attentive seconds. Finds out whether this node was away since the last tick was due."""
        at = now - self._absence
        expected = self._expected
        if expected is not None and at > expected + self.limits.lateness:
            # What was heard since then may have put the tick off.
            expected = self._expected = max(expected, self._next_due() or expected)
        if expected is None or at <= expected + self.limits.lateness:
            # A tick at the very time that `next_tick` gave must find something due, whatever the rounding did.
            is_close = expected is not None and at < expected < at + _ROUNDING
            self._at = max(self._at, expected if is_close and expected is not None else at)
        else:
            self._at = max(self._at, expected)
            self._absence = now - self._at
            self._be_lenient()
        return self._at

    def _be_lenient(self) -> None:
        """What the others sent in our absence waits in our queues: read it before judging anybody."""
        # Invariant: at least half of the time is outside of these periods, so a node that is always late still judges.
        if self._at >= self._lenient_until + self.limits.grace:
            self._lenient_until = self._at + self.limits.grace

    def _done(self, actions: list[Action]) -> list[Action]:
        due = self._next_due()
        self._expected = max(due, self._at) if due is not None else None
        return actions

    def _next_due(self) -> float | None:
        return min((self._due(member) for member in self._known.values()), default=None)

    def _due(self, member: _Member) -> float:
        if member.status == ALIVE:
            return min(member.ping_at, max(member.heard_at + self.limits.silence, self._lenient_until))
        if member.status == SUSPECT:
            return min(member.probe_at, max(member.down_at, self._lenient_until))
        return min(member.turn_at, member.named_at + self.limits.memory)


def _is_name(node: object) -> bool:
    try:
        return isinstance(node, str) and bool(address_of(node))
    except ValueError:
        return False
