"""A server moves to another node by the runtime's own means: who calls, watches and writes to it goes on with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import supervisor.processes as process
from processhub.testing import Cluster, ClusterNode
from supervisor.errors import CallTimeout, NoConnection, NoProcess, ProcessExit
from supervisor.forwarding import REMEMBERED_SECONDS, note_moves
from supervisor.gen_server import From, GenServer, NoReply
from supervisor.handover import Hold, depart, take_over
from supervisor.pids import Pid
from supervisor.reasons import Crash, Moved
from supervisor.records import HANDOVER, ActingAs, Process
from supervisor.runtime import current_process
from supervisor.signals import Down, ExitSignal


class Diary(GenServer):
    """Keeps what it is sent."""

    def init(self) -> None:
        self.state: list[Any] = []

    def handle_call(self, request: Any, from_: From) -> Any:
        if request == "crash":
            raise ZeroDivisionError("as asked")
        if request == "sleep":
            process.sleep(1.0)
        if request == "later":
            self.state.append(from_)
            return NoReply()
        if request == "now":
            for waiting in self.state:
                GenServer.reply(waiting, "at last")
        self.state.append(request)
        return list(self.state)

    def handle_cast(self, request: Any) -> None:
        self.state.append(request)

    def handle_info(self, message: Any) -> None:
        self.state.append(message)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(3) as cluster:
        yield cluster
        for node in cluster:
            for peer in node.runtime.peers.values() if node.is_alive else ():
                assert not peer.served
                assert not peer.waits


OLD, NEW, THIRD = 0, 1, 2


class Move:
    """One move of a diary, step by step."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.old, self.new = cluster[OLD], cluster[NEW]
        self.pid: Pid = self.old.run(Diary.start)
        self.new_pid: Pid = self.new.run(_start_gated)
        self.entries: list[Any] = []
        self.callers: list[Any] = []

    @property
    def process(self) -> Process:
        return self.old.runtime.table[self.pid.serial]

    def hold(self) -> None:
        Hold(self.process, True, lambda hold, state, error: None)
        self.cluster.settle()

    def depart(self) -> None:
        def leave() -> None:
            note_moves(self.old.runtime, [])
            self.entries, self.callers = depart(self.process, self.new_pid)

        self.old.run(leave)

    def arrive(self, awaited: tuple[int, ...] = ()) -> None:
        """What the old one had kept, as it comes over the wire."""
        codec = self.new.node.codec
        data = self.old.node.codec.pack([self.entries, self.callers])
        entries, callers = codec.unpack(data)
        names = [self.cluster[number].name for number in awaited]
        found = self.new.runtime.table[self.new_pid.serial]
        self.new.run(take_over, found, entries, callers, self.old.name, names)

    def all(self) -> None:
        self.hold()
        self.depart()
        self.arrive()


def _start_gated() -> Pid:
    me = current_process()
    me.acting_as = ActingAs(me, HANDOVER)
    me.acting_as.gated = True
    return Diary.start()


def call(pid: Pid, request: Any, timeout: float = 5.0) -> Any:
    return GenServer.call(pid, request, timeout)


@pytest.mark.parametrize("where", [OLD, NEW, THIRD])
def test_a_call_that_was_kept_is_answered_by_the_new_copy(cluster: Cluster, where: int) -> None:
    move = Move(cluster)
    move.hold()
    errand = cluster[where].begin(call, move.pid, "kept")
    cluster.advance(0.1)
    move.depart()
    cluster.advance(0.1)
    assert not errand.is_over()
    move.arrive()
    cluster.advance(0.1)
    assert errand.outcome() == ["kept"]


@pytest.mark.parametrize("where", [OLD, NEW, THIRD])
def test_a_call_that_was_handled_is_answered_later_by_the_new_copy(cluster: Cluster, where: int) -> None:
    move = Move(cluster)
    errand = cluster[where].begin(call, move.pid, "later")
    cluster.advance(0.1)
    state = list(move.process.server.state)
    move.hold()
    move.depart()
    move.new.runtime.table[move.new_pid.serial].server.state = move.new.node.codec.unpack(
        move.old.node.codec.pack(state)
    )
    move.arrive()
    cluster.advance(0.1)
    cluster[THIRD].run(call, move.pid, "now")
    cluster.advance(0.1)
    assert errand.outcome() == "at last"


@pytest.mark.parametrize("where", [OLD, NEW, THIRD])
def test_a_call_that_follows_keeps_its_deadline(cluster: Cluster, where: int) -> None:
    move = Move(cluster)
    before = cluster.now()
    errand = cluster[where].begin(call, move.pid, "later", 2.0)
    cluster.advance(1.0)
    move.all()
    cluster.advance(0.9)
    assert not errand.is_over()
    cluster.advance(0.2)
    with pytest.raises(CallTimeout):
        errand.outcome()
    assert cluster.now() - before == pytest.approx(2.1, abs=0.01)


@pytest.mark.parametrize("where", [OLD, NEW, THIRD])
def test_who_waits_is_told_when_the_new_copy_dies(cluster: Cluster, where: int) -> None:
    move = Move(cluster)
    move.hold()
    errand = cluster[where].begin(call, move.pid, "crash")
    cluster.advance(0.1)
    move.depart()
    move.arrive()
    cluster.advance(0.1)
    with pytest.raises(ProcessExit, match="as asked"):
        errand.outcome()


@pytest.mark.parametrize("where", [OLD, THIRD])
def test_who_waits_is_told_when_the_new_node_is_lost(cluster: Cluster, where: int) -> None:
    move = Move(cluster)
    errand = cluster[where].begin(call, move.pid, "later", 1e6)
    cluster.advance(0.1)
    move.all()
    cluster.advance(0.1)
    cluster.crash(NEW)
    cluster.advance(5.0)
    with pytest.raises(NoConnection):
        errand.outcome()


@pytest.mark.parametrize("where", [NEW, THIRD])
def test_who_waits_does_not_mind_when_the_old_node_is_lost_afterwards(cluster: Cluster, where: int) -> None:
    move = Move(cluster)
    move.hold()
    errand = cluster[where].begin(call, move.pid, "sleep", 5.0)
    cluster.advance(0.1)
    move.depart()
    move.arrive()
    cluster.advance(0.1)
    cluster.crash(OLD)
    cluster.advance(2.0)
    assert errand.outcome() == ["sleep"]


@pytest.mark.parametrize("where", [OLD, NEW, THIRD])
def test_late_calls_and_messages_to_the_old_pid_reach_the_new_copy(cluster: Cluster, where: int) -> None:
    move = Move(cluster)
    move.all()
    node = cluster[where]
    node.run(GenServer.cast, move.pid, 1)
    cluster.advance(0.1)
    node.run(process.send, move.pid, 2)
    cluster.advance(0.1)
    assert node.run(call, move.pid, 3) == [1, 2, 3]
    assert node.run(call, move.new_pid, 4) == [1, 2, 3, 4]
    assert node.runtime.moved.latest(move.pid) == move.new_pid


def test_a_chain_of_moves_is_followed(cluster: Cluster) -> None:
    first = Move(cluster)
    first.all()
    second = Move(cluster)
    second.all()
    cluster[NEW].runtime.moved.add(first.new_pid, second.pid)  # as if it had come back to the old node
    cluster[NEW].runtime.table.pop(first.new_pid.serial)
    assert cluster[THIRD].run(call, first.pid, "x") == ["x"]


def test_where_processes_went_is_forgotten_after_ten_minutes(cluster: Cluster) -> None:
    move = Move(cluster)
    move.all()
    assert cluster[THIRD].run(call, move.pid, "x") == ["x"]
    cluster.advance(REMEMBERED_SECONDS + 1.0)
    assert [len(node.runtime.moved) for node in cluster] == [0, 0, 0]
    with pytest.raises(NoProcess):
        cluster[THIRD].run(call, move.pid, "x")


def test_a_stop_of_the_old_pid_stops_the_new_copy(cluster: Cluster) -> None:
    for where in (OLD, NEW, THIRD):
        move = Move(cluster)
        move.all()
        cluster[where].run(GenServer.stop, move.pid)
        assert move.new_pid.serial not in move.new.runtime.table


def watch(pid: Pid, into: list[Any]) -> None:
    ref = process.monitor(pid)
    into.append(ref)
    into.append(process.receive())


@pytest.mark.parametrize("where", [OLD, NEW, THIRD])
@pytest.mark.parametrize("when", ["before", "after"])
def test_monitors_survive_the_move_under_their_ref(cluster: Cluster, where: int, when: str) -> None:
    move = Move(cluster)
    found: list[Any] = []
    if when == "before":
        cluster[where].begin(watch, move.pid, found)
        cluster.advance(0.1)
    move.all()
    if when == "after":
        cluster[where].begin(watch, move.pid, found)
    cluster.advance(1.0)
    assert len(found) == 1
    with pytest.raises(ProcessExit):
        cluster[THIRD].run(call, move.pid, "crash")
    cluster.advance(0.1)
    ref, down = found
    assert isinstance(down, Down)
    assert (down.ref, down.pid) == (ref, move.new_pid)
    assert isinstance(down.reason, Crash)


@pytest.mark.parametrize("where", [OLD, THIRD])
def test_a_monitor_hears_of_the_loss_of_the_new_node(cluster: Cluster, where: int) -> None:
    move = Move(cluster)
    found: list[Any] = []
    cluster[where].begin(watch, move.pid, found)
    cluster.advance(0.1)
    move.all()
    cluster.advance(0.1)
    cluster.crash(NEW)
    cluster.advance(5.0)
    assert found[1].reason == "noconnection"


def test_a_monitor_that_was_taken_back_does_not_follow(cluster: Cluster) -> None:
    def watch_for_a_moment(pid: Pid) -> Any:
        process.demonitor(process.monitor(pid))
        return process.receive(timeout=5.0)

    move = Move(cluster)
    errand = cluster[THIRD].begin(watch_for_a_moment, move.pid)
    cluster.advance(0.1)
    move.all()
    cluster[THIRD].run(GenServer.stop, move.pid)
    cluster.advance(10.0)
    with pytest.raises(TimeoutError):
        errand.outcome()


def test_links_do_not_move(cluster: Cluster) -> None:
    found: list[Any] = []

    def linked(pid: Pid) -> None:
        process.trap_exit(True)
        process.link(pid)
        found.append(process.receive())

    move = Move(cluster)
    for node in cluster:
        node.begin(linked, move.pid)
    cluster.advance(0.1)
    move.all()
    cluster.advance(0.1)
    assert found == [ExitSignal(move.pid, Moved(move.new_pid))] * 3
    assert move.new_pid.serial in move.new.runtime.table


def test_a_caller_is_not_ahead_of_itself_on_the_shorter_way(cluster: Cluster) -> None:
    """Third to old is slow, and old to new; third to new is quick."""

    def write(pid: Pid) -> Any:
        for number in range(5):
            GenServer.cast(pid, number)
        process.sleep(0.05)  # meanwhile it hears of the move
        GenServer.cast(pid, 5)
        return call(pid, 6)

    cluster.delay(THIRD, OLD, 0.2)
    cluster.delay(OLD, NEW, 0.2)
    move = Move(cluster)
    move.hold()
    move.depart()
    move.arrive(awaited=(NEW, THIRD))
    errand = cluster[THIRD].begin(write, move.pid)
    cluster.advance(0.01)
    note_moves(cluster[THIRD].runtime, [(move.pid, move.new_pid)])
    cluster.advance(0.2)
    assert not errand.is_over()
    cluster.advance(0.5)
    assert errand.outcome() == [0, 1, 2, 3, 4, 5, 6]


def test_nothing_is_waited_for_once_the_old_node_is_lost(cluster: Cluster) -> None:
    move = Move(cluster)
    move.hold()
    move.depart()
    move.arrive(awaited=(NEW, THIRD))
    errand = cluster[THIRD].begin(call, move.new_pid, "x", 60.0)
    cluster.advance(1.0)
    assert not errand.is_over()
    cluster.crash(OLD)
    cluster.advance(5.0)
    assert errand.outcome() == ["x"]


def test_a_system_message_that_waits_when_the_server_leaves_fails(cluster: Cluster) -> None:
    move = Move(cluster)
    move.hold()
    found: list[Any] = []

    def await_end() -> None:
        found.append(process.await_exit(move.pid, None))

    move.old.begin(await_end)
    cluster.advance(0.1)
    move.depart()
    move.arrive()
    cluster.advance(1.0)
    assert not found  # it lives on, elsewhere
    cluster[THIRD].run(GenServer.stop, move.pid, "normal")
    cluster.advance(0.1)
    assert found == ["normal"]


def test_many_moves_are_marked_in_few_messages(cluster: Cluster) -> None:
    sent: list[Any] = []
    third: ClusterNode = cluster[THIRD]
    transmit = third.runtime.transmit

    def count(node: str, op: tuple[Any, ...]) -> bool:
        sent.append(op)
        return transmit(node, op)

    third.runtime.transmit = count  # type: ignore[method-assign]
    old, new = cluster[OLD].runtime, cluster[NEW].runtime
    note_moves(third.runtime, [(old.new_pid(), new.new_pid()) for _ in range(2500)])
    assert [len(op[1]) for op in sent] == [1000, 1000, 500]
