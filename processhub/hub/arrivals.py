"""The new side of HotSwap: children that come to this node. See `processhub.hub.handover_messages` for the protocol.

Until it has answered Ready this side may drop a child at any time. Afterwards the other side may have committed: then
only its word (Commit, NotMoved) or its loss decides. If it is lost, the state that was received is what the child goes
on with.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import supervisor.gates as gates
import supervisor.handover as handover
from processhub.cluster.wire import Assembler, DecodeError, resolved
from processhub.hub.copies import Child, Copies
from processhub.hub.handover_messages import Begin, Commit, Done, NotMoved, Ready, Started, StateChunk, States
from processhub.hub.hub import Hub
from processhub.hub.messages import SYNC
from processhub.hub.outbox import Outbox
from processhub.hub.reconciler import next_epoch
from processhub.hub.start_queue import Job, StartQueue
from processhub.registry import SpecRecord
from processhub.strategy.migration.hot_swap import HotSwap
from supervisor.forwarding import note_moves
from supervisor.gen_server import GenServer
from supervisor.pids import Pid, Ref
from supervisor.processes import send_after
from supervisor.reasons import KILL
from supervisor.records import HANDOVER, Process
from supervisor.signals import send_exit, unlink

log = logging.getLogger(__name__)

CONFIRM_SECONDS: Final = 1.0  # for which a member that does not answer can put off that the former node is done
REMEMBERED_SECONDS: Final = 120.0  # how long Commit may be repeated: longer than it takes to declare a node down

# How far an arrival is.
STARTING: Final = 0
GATED: Final = 1  # it waits for its state
READY: Final = 2  # it has it, and the other side may have committed


@dataclass
class Arrival:
    """One child on its way here."""

    child_id: str
    node: str
    batch: Ref
    record: SpecRecord
    with_state: bool
    step: int = STARTING
    job: Job | None = None
    pid: Pid | None = None
    process: Process | None = None
    assembler: Assembler | None = None


class Arrivals:
    """All children that come to this node."""

    def __init__(
        self, hub: Hub, me: Process, copies: Copies, queue: StartQueue, outbox: Outbox, strategy: HotSwap
    ) -> None:
        self._hub = hub
        self._me = me
        self._copies = copies
        self._queue = queue
        self._out = outbox
        self._strategy = strategy
        self._all: dict[str, Arrival] = {}
        self._by_pid: dict[Pid, Arrival] = {}
        self._done: dict[tuple[str, Ref], float] = {}  # (child id, batch) -> when; a Commit may come again

    def __len__(self) -> int:
        return len(self._all) + len(self._done)

    def nodes(self) -> set[str]:
        """Where children are on their way from."""
        return {arrival.node for arrival in self._all.values()}

    # -- starting ----------------------------------------------------------------------------------------------------

    def on_begin(self, message: Begin) -> None:
        """Start these, gated."""
        begun: list[str] = []
        for child_id in message.child_ids:
            former = self._all.get(child_id)
            if former is not None:
                self._drop(former)  # the other side has forgotten it, or another one has the child by now
            desired = self._hub.registry.children.get(child_id)
            why = self._why_not(child_id)
            if why is not None or desired is None:
                self._out.put(message.node, NotMoved, message.batch, (child_id, why))
                continue
            arrival = Arrival(child_id, message.node, message.batch, desired.spec, message.with_state)
            arrival.job = Job(child_id, desired.spec, partial(self._started, arrival), HANDOVER, gated=True)
            self._all[child_id] = arrival
            self._hub.moving.add(child_id)
            self._queue.put(arrival.job)
            begun.append(child_id)
        if begun:
            self._hub.touched(begun)  # so that the owner's patience begins anew with each try
            send_after(self._me.pid, ("handover", message.batch), self._strategy.child_migration_timeout)

    def _why_not(self, child_id: str) -> str | None:
        hub = self._hub
        if child_id not in hub.registry.children:
            return "not desired"
        if child_id in self._copies.children or hub.node in hub.registry.rows(child_id):
            return "it has a copy here"
        return None if hub.takes_part and hub.node not in hub.draining else "it takes no children"

    def _started(self, arrival: Arrival, child_id: str, pid: Pid | None, reason: Any) -> None:
        arrival.job = None
        if self._all.get(child_id) is not arrival:
            if pid is not None:
                self._kill(pid)
            return
        arrival.pid = pid
        arrival.process = self._hub.runtime.local(pid) if pid is not None else None
        if pid is None or arrival.process is None:
            self._refuse(arrival, f"it did not start: {reason!s:.200}")
            return
        if not isinstance(arrival.process, gates.Gated):
            self._refuse(arrival, "what its start function returned is no server that can wait")
            return
        self._by_pid[pid] = arrival
        arrival.step = GATED if arrival.with_state else READY
        self._out.put(arrival.node, Started, arrival.batch, (child_id, pid))

    # -- states ------------------------------------------------------------------------------------------------------

    def _at(self, child_id: str, batch: Ref, step: int) -> Arrival | None:
        found = self._all.get(child_id)
        return found if found is not None and found.batch == batch and found.step == step else None

    def on_states(self, message: States) -> None:
        """Let the new copies take what the old ones prepared."""
        for child_id, packed in message.rows:
            arrival = self._at(child_id, message.batch, GATED)
            if arrival is not None:
                self._hand_in(arrival, partial(self._hub.codec.open, packed))

    def on_chunk(self, chunk: StateChunk) -> None:
        """A piece of a large state. Those of a child that does not come any more are dropped."""
        arrival = self._at(chunk.child_id, chunk.batch, GATED)
        if arrival is None:
            return
        if arrival.assembler is None:
            arrival.assembler = self._hub.codec.assembler()
        try:
            arrival.assembler.feed(chunk.data)
            if chunk.is_last:
                value = arrival.assembler.value
                arrival.assembler = None
                self._hand_in(arrival, lambda: value)
        except DecodeError as error:
            self._refuse(arrival, f"its state is malformed: {error!s:.200}")

    def _hand_in(self, arrival: Arrival, state: Any) -> None:
        assert arrival.process is not None
        handover.run_ahead(arrival.process, partial(self._alter, arrival, state))

    def _alter(self, arrival: Arrival, state: Any, process: Process) -> None:
        """Runs inside the new copy."""
        try:
            process.server.alter_handover_state(resolved(state()))
        except Exception as error:
            log.exception("hub %s: child %r cannot take its state", self._hub.hub_id, arrival.child_id)
            self._refuse(arrival, f"alter_handover_state raised {error!r:.200}")
            return
        if self._all.get(arrival.child_id) is arrival and process.alive:
            arrival.step = READY
            self._out.put(arrival.node, Ready, arrival.batch, arrival.child_id)

    # -- the end, good ----------------------------------------------------------------------------------------------

    def on_commit(self, message: Commit) -> None:
        """The old copies are no more: the new ones begin."""
        done: list[str] = []
        arrived: list[Process] = []
        pairs: list[tuple[Pid, Pid]] = []
        for child_id, epoch, old_pid, kept, callers in message.rows:
            arrival = self._at(child_id, message.batch, READY)
            if arrival is not None and arrival.process is not None and arrival.process.alive and not self._hub.leaving:
                entries = self._hub.codec.open(kept) if kept is not None else ()
                self._begin(arrival, old_pid, epoch, entries, callers)
                self._done[(child_id, message.batch)] = self._hub.runtime.clock.now()
                arrived.append(arrival.process)
                pairs.append((old_pid, arrival.process.pid))
                done.append(child_id)
            elif (child_id, message.batch) in self._done:
                done.append(child_id)
            else:
                self._out.put(message.node, NotMoved, message.batch, (child_id, "it does not wait here"))
        note_moves(self._hub.runtime, pairs)
        self._hub.publish()
        if done:
            self._hub.runtime.spawn(self._confirm, (message.node, Done(self._hub.node, message.batch, done)), {})
            self._hub.touched(done)
        self._hub.runtime.clock.call_later(self._strategy.retention, _finish, arrived)

    def _confirm(self, node: str, done: Done) -> None:
        """The former node drops its rows at this word: all must have ours by then, or they would know of no copy."""
        GenServer.multi_call(self._hub.listeners(), self._hub.hub_id, SYNC, CONFIRM_SECONDS)
        self._out.send(node, done)

    def _begin(
        self, arrival: Arrival, former: Pid | None, epoch: int, entries: Iterable[Any], callers: Iterable[Ref]
    ) -> None:
        hub = self._hub
        assert arrival.pid is not None
        assert arrival.process is not None
        self._forget(arrival)
        child = Child(arrival.child_id, arrival.record, next_epoch(hub.registry.rows(arrival.child_id), epoch))
        self._copies.take_in(child, arrival.pid, former)
        node = hub.runtime.node
        awaited = [hub.node, *(node.peers() if node is not None else ())]
        handover.take_over(arrival.process, entries, list(callers), arrival.node, awaited)

    # -- the end, bad ------------------------------------------------------------------------------------------------

    def _refuse(self, arrival: Arrival, why: str) -> None:
        self._out.put(arrival.node, NotMoved, arrival.batch, (arrival.child_id, why))
        self._drop(arrival)

    def _drop(self, arrival: Arrival) -> None:
        """It does not come: away with its gated copy."""
        if self._all.get(arrival.child_id) is not arrival:
            return
        self._forget(arrival)
        job, arrival.job = arrival.job, None
        if job is not None:
            job.cancel(KILL)
        if arrival.pid is not None:
            self._kill(arrival.pid)
        self._hub.touched([arrival.child_id])

    def _kill(self, pid: Pid) -> None:
        unlink(self._me, pid)
        send_exit(self._me, pid, KILL)

    def _forget(self, arrival: Arrival) -> None:
        self._all.pop(arrival.child_id, None)
        if arrival.pid is not None:
            self._by_pid.pop(arrival.pid, None)
        self._hub.moving.discard(arrival.child_id)

    def ended(self, pid: Pid) -> None:
        """A process that is linked to the distributed supervisor has ended: perhaps a gated copy."""
        arrival = self._by_pid.get(pid)
        if arrival is not None:
            self._refuse(arrival, "the new copy has ended")

    def on_not_moved(self, message: NotMoved) -> None:
        """The old copies stay; or nobody knows of the move any more."""
        for child_id, _ in message.rows:
            arrival = self._all.get(child_id)
            if arrival is None or arrival.batch != message.batch:
                continue
            if arrival.step == READY and arrival.with_state and message.node not in self._hub.registry.rows(child_id):
                self._go_on_alone(arrival)  # the old copy went down with its supervisor
            else:
                self._drop(arrival)

    def overdue(self, batch: Ref) -> None:
        """The time of a batch is over. Of those that are ready the other side must know better."""
        for arrival in [found for found in self._all.values() if found.batch == batch]:
            if arrival.step != READY:
                self._refuse(arrival, "the new copy was not ready in time")

    def node_unreachable(self, node: str) -> None:
        """The distributed supervisor there, or the link, is gone."""
        for arrival in [found for found in self._all.values() if found.node == node]:
            if arrival.step != READY:
                self._drop(arrival)

    def drop_all(self, why: str) -> None:
        """This node takes no children any more."""
        for arrival in list(self._all.values()):
            self._refuse(arrival, why)

    def look_again(self, ask: bool) -> None:
        """Go on without nodes that are no members any more; `ask` about those that wait for a decision."""
        members, now = self._hub.not_given_up(), self._hub.runtime.clock.now()
        for arrival in list(self._all.values()):
            if arrival.node not in members:
                if arrival.step == READY:
                    self._go_on_alone(arrival)
                else:
                    self._drop(arrival)
            elif arrival.step == READY and ask:
                kind = Ready if arrival.with_state else Started
                row = arrival.child_id if arrival.with_state else (arrival.child_id, arrival.pid)
                self._out.put(arrival.node, kind, arrival.batch, row)
        for key in [key for key, at in self._done.items() if now - at >= REMEMBERED_SECONDS]:
            del self._done[key]

    def _go_on_alone(self, arrival: Arrival) -> None:
        """The former node is lost: nothing more comes from it, and the child goes on from what has come."""
        if arrival.process is None or not arrival.process.alive or self._hub.leaving:
            self._drop(arrival)
            return
        log.warning("hub %s: child %r goes on without %s", self._hub.hub_id, arrival.child_id, arrival.node)
        self._begin(arrival, None, 0, (), ())
        gates.finish(arrival.process)
        self._hub.publish()
        self._hub.touched([arrival.child_id])


def _finish(processes: list[Process]) -> None:
    """The retention is over."""
    for process in processes:
        gates.finish(process)
