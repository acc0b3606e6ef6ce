"""The old side of HotSwap: children that leave this node. See `processhub.hub.handover_messages` for the protocol.

Until Commit the copy here is the child: whatever fails, it goes on with what it kept. From Commit on it never runs a
handler again, and what it was (its state, what it had kept) is held here until the other side has confirmed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import supervisor.gates as gates
import supervisor.handover as handover
from processhub.hub.backoff import Backoff
from processhub.hub.copies import RUNNING_, Child, Copies
from processhub.hub.handover_messages import Begin, Commit, Done, NotMoved, Ready, Started
from processhub.hub.hub import Hub
from processhub.hub.outbox import Outbox
from processhub.hub.state_sender import StateSender
from processhub.hub.stops import Stops
from processhub.registry import LEAVING
from processhub.strategy.migration.hot_swap import HotSwap
from supervisor.errors import EncodeError
from supervisor.handover import Hold
from supervisor.pids import Pid, Ref
from supervisor.processes import send_after
from supervisor.records import Process

log = logging.getLogger(__name__)

COMMIT_ROWS: Final = 100
FORGOTTEN_SECONDS: Final = 60.0  # a failure so long ago does not make the next try wait longer

# How far a departure is. Invariant: the child is among the copies of this node exactly until COMMITTED.
STARTING: Final = 0  # the new copy is being started
HOLDING: Final = 1  # the old one is to stand still at its turn
HELD: Final = 2  # it does; its state is under way
COMMITTED: Final = 3


@dataclass
class Departure:
    """One child on its way. `state` is encoded; `sent`: Commit may have reached the other side."""

    child: Child
    to: str
    batch: Ref
    process: Process
    step: int = STARTING
    hold: Hold | None = None
    new_pid: Pid | None = None
    state: bytes | None = None
    entries: list[Any] = field(default_factory=list)
    callers: list[Ref] = field(default_factory=list)
    row: Any = None
    sent: bool = False


Revive = Callable[[Departure], None]
"""Start a child here whose new owner is lost, from what it was."""


@dataclass
class _Failures:
    count: int
    not_before: float


class Departures:
    """All children that leave this node.

    What cannot move hot is stopped by `stops`; `revive` brings back what was lost on its way.
    """

    def __init__(
        self, hub: Hub, me: Process, copies: Copies, stops: Stops, revive: Revive, outbox: Outbox, strategy: HotSwap
    ) -> None:
        self._hub = hub
        self._me = me
        self._copies = copies
        self._stops = stops
        self._start_again = revive
        self._out = outbox
        self._strategy = strategy
        self._all: dict[str, Departure] = {}
        self._failures: dict[str, _Failures] = {}
        base = hub.config.migr_base_timeout
        # The new owner must hear of another try before its own patience ends.
        self._backoff = Backoff(first=min(0.5, base / 8), limit=base / 4)
        self._states = StateSender(hub, self._encoded, self._not_sent, strategy.child_migration_timeout)

    def __len__(self) -> int:
        return len(self._all) + len(self._failures)

    def nodes(self) -> set[str]:
        """Where children are on their way to."""
        return {departure.to for departure in self._all.values()}

    # -- beginning ---------------------------------------------------------------------------------------------------

    def begin(self, to: str, child_ids: Iterable[str]) -> None:
        """`to` takes these children: move those that can be, stop the others."""
        hub = self._hub
        now = hub.runtime.clock.now()
        batch = hub.runtime.new_ref()
        leaving, cold = [], []
        for child_id in child_ids:
            child = self._copies.children.get(child_id)
            failures = self._failures.get(child_id)
            if child_id in self._all or (failures is not None and now < failures.not_before):
                continue
            process = hub.runtime.local(child.pid) if child is not None and child.pid is not None else None
            if child is None or child.state != RUNNING_ or process is None or not handover.moves_hot(process):
                cold.append(child_id)
                continue
            self._all[child_id] = Departure(child, to, batch, process)
            hub.moving.add(child_id)
            leaving.append(child_id)
        if leaving:
            self._out.send(to, Begin(hub.node, batch, leaving, self._strategy.handover))
            send_after(self._me.pid, ("handover", batch), self._strategy.child_migration_timeout)
        if cold:
            self._stops.stop(cold, to=to)

    def _at(self, child_id: str, batch: Ref, step: int) -> Departure | None:
        found = self._all.get(child_id)
        return found if found is not None and found.batch == batch and found.step == step else None

    # -- the steps ---------------------------------------------------------------------------------------------------

    def on_started(self, message: Started) -> None:
        """New copies wait: let the old ones stand still at their turn."""
        for child_id, pid in message.rows:
            departure = self._at(child_id, message.batch, STARTING)
            if departure is None:
                self._out.put(message.node, NotMoved, message.batch, (child_id, "not moving"))
                continue
            departure.new_pid = pid
            departure.step = HOLDING
            done = _OnHeld(self, child_id, message.batch)
            departure.hold = Hold(departure.process, self._strategy.handover, done)

    def held(self, child_id: str, batch: Ref, state: Any, error: BaseException | None) -> None:
        """A copy stands still, or raised in `prepare_handover_state`. Runs inside of it."""
        departure = self._at(child_id, batch, HOLDING)
        if departure is None:
            return
        if error is not None:
            log.error("child %r stays: prepare_handover_state raised", child_id, exc_info=error)
            self._fail(departure, f"prepare_handover_state raised {error!r:.200}")
            return
        departure.step = HELD
        if self._strategy.handover:
            self._states.put(departure.to, batch, child_id, state)
        else:
            self._out.put(self._hub.node, Ready, batch, child_id)  # by way of ourselves: many together

    def _encoded(self, child_id: str, batch: Ref, data: bytes) -> bool:
        departure = self._at(child_id, batch, HELD)
        if departure is not None:
            departure.state = data
        return departure is not None

    def _not_sent(self, child_id: str, batch: Ref, error: BaseException) -> None:
        departure = self._at(child_id, batch, HELD)
        if departure is not None:
            log.error("child %r stays: %s", child_id, error)
            self._fail(departure, f"its state was not sent: {error!r:.200}")

    def on_ready(self, message: Ready) -> None:
        """New copies have taken their states: the old ones are no more."""
        committed, again = [], []
        for child_id in dict.fromkeys(message.child_ids):
            departure = self._all.get(child_id)
            if departure is None or departure.batch != message.batch or departure.step < HELD:
                self._out.put(message.node, NotMoved, message.batch, (child_id, "not moving"))
            elif departure.step == HELD:
                self._commit(departure)
                committed.append(departure)
            else:
                again.append(departure)  # it asks because ours was lost
        self._send_commits(committed + again)
        self._hub.publish()
        if committed and not self._strategy.confirm_handover:
            self._moved_away(committed)

    def _commit(self, departure: Departure) -> None:
        child, process = departure.child, departure.process
        assert departure.new_pid is not None
        self._copies.forget(child)
        self._hub.set_row(child.child_id, process.pid, LEAVING, child.epoch, departure.new_pid)
        departure.step = COMMITTED
        departure.entries, departure.callers = handover.depart(process, departure.new_pid)
        kept = self._packed(departure) if departure.entries else None
        departure.row = (child.child_id, child.epoch, process.pid, kept, departure.callers)
        self._failures.pop(child.child_id, None)

    def _packed(self, departure: Departure) -> Any:
        """What was kept, encoded. A message that cannot be sent is lost here: its caller is told, or the log."""
        codec = self._hub.codec
        try:
            return codec.packed(departure.entries, "messages")
        except EncodeError:
            fit = []
            for entry in departure.entries:
                try:
                    codec.pack(entry[1], "message")
                    fit.append(entry)
                except EncodeError as error:
                    log.error("a message for child %r cannot follow it: %s", departure.child.child_id, error)
                    handover.refuse(self._hub.runtime, entry, error)
            departure.entries = fit
            return codec.packed(fit, "messages")

    def _send_commits(self, departures: Iterable[Departure]) -> None:
        groups: dict[tuple[str, Ref], list[Departure]] = {}
        for departure in departures:
            groups.setdefault((departure.to, departure.batch), []).append(departure)
        for (to, batch), found in groups.items():
            for start in range(0, len(found), COMMIT_ROWS):
                piece = found[start : start + COMMIT_ROWS]
                for departure in piece:
                    departure.sent = departure.sent or self._hub.runtime.connected(to)
                self._out.send(to, Commit(self._hub.node, batch, [departure.row for departure in piece]))

    def _moved_away(self, departures: Iterable[Departure]) -> None:
        by_node: dict[str, list[str]] = {}
        for departure in departures:
            by_node.setdefault(departure.to, []).append(departure.child.child_id)
        for node in sorted(by_node):
            self._hub.moved_away(node, by_node[node])

    def on_done(self, message: Done) -> None:
        """New copies run."""
        found = []
        for child_id in message.child_ids:
            departure = self._at(child_id, message.batch, COMMITTED)
            if departure is not None:
                self._end(departure)
                self._hub.drop_row(child_id)
                found.append(departure)
        if found:
            self._hub.written(departure.child.child_id for departure in found)
            self._hub.publish()
            self._hub.touched([departure.child.child_id for departure in found])
            if self._strategy.confirm_handover:
                self._moved_away(found)

    # -- failing -----------------------------------------------------------------------------------------------------

    def on_not_moved(self, message: NotMoved) -> None:
        """The other side cannot take these, or knows nothing of them."""
        for child_id, why in message.rows:
            departure = self._all.get(child_id)
            if departure is None or departure.batch != message.batch:
                continue
            if departure.step == COMMITTED:
                self._revive(departure, why)
            else:
                log.warning("hub %s: child %r stays: %s: %s", self._hub.hub_id, child_id, departure.to, why)
                self._fail(departure, why)

    def overdue(self, batch: Ref) -> None:
        """The time of a batch is over: what has not been handed over stays."""
        for departure in [found for found in self._all.values() if found.batch == batch]:
            if departure.step != COMMITTED:
                log.warning("hub %s: child %r was not moved in time", self._hub.hub_id, departure.child.child_id)
                self._fail(departure, "not in time")

    def node_unreachable(self, node: str) -> None:
        """The distributed supervisor there, or the link, is gone: only what was committed is still to be told."""
        for departure in [found for found in self._all.values() if found.to == node]:
            if departure.step != COMMITTED:
                self._fail(departure, "no connection")

    def ended(self, child_id: str) -> None:
        """The copy has ended, for whatever reason: its move is over."""
        departure = self._all.get(child_id)
        if departure is not None:
            self._fail(departure, "it has ended")

    def _fail(self, departure: Departure, why: Any) -> None:
        """The copy here goes on. Tried again later, when the new owner accepts it again."""
        child_id = departure.child.child_id
        self._end(departure)
        if departure.hold is not None:
            departure.hold.cancel()
        if departure.step == HELD:
            gates.release(departure.process)
        failures = self._failures.setdefault(child_id, _Failures(0, 0.0))
        failures.count += 1
        pause = self._backoff.pause(failures.count, self._hub.rng)
        failures.not_before = self._hub.runtime.clock.now() + pause
        self._out.put(departure.to, NotMoved, departure.batch, (child_id, why))
        self._hub.touched([child_id])

    def _revive(self, departure: Departure, why: Any) -> None:
        hub, child = self._hub, departure.child
        self._end(departure)
        # Who has a copy went on without our word, which came too late: what was kept here is lost.
        goes_on_there = departure.to in hub.members and departure.to in hub.registry.rows(child.child_id)
        if departure.sent or goes_on_there:
            handover.fail_callers(hub.runtime, departure.to, departure.entries)
            departure.entries, departure.callers = [], []
        if goes_on_there:
            hub.drop_row(child.child_id)
            hub.publish()
            hub.touched([child.child_id])
            return
        log.warning("hub %s: child %r starts here again: %s: %s", hub.hub_id, child.child_id, departure.to, why)
        self._start_again(departure)

    def _end(self, departure: Departure) -> None:
        del self._all[departure.child.child_id]
        self._hub.moving.discard(departure.child.child_id)

    # -- now and then ------------------------------------------------------------------------------------------------

    def look_again(self, repeat: bool) -> None:
        """Give up nodes that are no members any more; `repeat` what was not confirmed."""
        members = self._hub.not_given_up()
        for departure in list(self._all.values()):
            if departure.to not in members:
                if departure.step == COMMITTED:
                    self._revive(departure, "it is lost")
                else:
                    self._fail(departure, "it is lost")
        if repeat:
            self._send_commits([found for found in self._all.values() if found.step == COMMITTED])
        long_ago = self._hub.runtime.clock.now() - FORGOTTEN_SECONDS
        for child_id in [child_id for child_id, one in self._failures.items() if one.not_before < long_ago]:
            del self._failures[child_id]


class _OnHeld:
    """What a `Hold` calls."""

    __slots__ = ("batch", "child_id", "departures")

    def __init__(self, departures: Departures, child_id: str, batch: Ref) -> None:
        self.departures = departures
        self.child_id = child_id
        self.batch = batch

    def __call__(self, hold: Hold, state: Any, error: BaseException | None) -> None:
        self.departures.held(self.child_id, self.batch, state, error)
