"""Each step of a hand-over, with the old node, the new node, the link or a part of either lost right there."""

from __future__ import annotations

from typing import Any

import pytest

from processhub import GenServer, ProcessHub
from processhub.hub.handover_messages import Begin, Commit, Done, NotMoved, Ready, Started, States
from processhub.hub.outbox import Outbox
from processhub.hub.state_sender import StateSender
from processhub.testing import Cluster, ClusterNode
from tests.processhub.hub.children import HUB, kill, part_of, pid_of, runs, settle, start
from tests.processhub.hub.movers import Ledger, check_nothing_left, hot_cluster, ledgers, move_of, wrong

STEPS = [Begin, Started, States, Ready, Commit, Done]
DECIDED = [Ready, Commit, Done]  # the new node has the state. (Else it begins anew where it takes itself for the rest.)
COUNT = 12


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[type]:
    """The kinds of messages about moves, as they are sent."""
    found: list[type] = []
    send, states = Outbox.send, StateSender._send

    def send_and_note(self: Outbox, node: str, message: Any) -> None:
        found.append(type(message))
        send(self, node, message)

    def states_and_note(self: StateSender, rows: Any) -> None:
        if rows:
            found.append(States)
        states(self, rows)

    monkeypatch.setattr(Outbox, "send", send_and_note)
    monkeypatch.setattr(StateSender, "_send", states_and_note)
    return found


class Scene:
    """Two nodes with children that each have one entry; a third that joins, and takes some of the first one's."""

    def __init__(self, cluster: Cluster, sent: list[type]) -> None:
        self.cluster = cluster
        self.sent = sent
        self.ids = [f"l{number}" for number in range(COUNT)]
        start(cluster[0], ledgers(COUNT))
        settle(cluster)
        for child_id in self.ids:
            assert cluster[0].run(GenServer.call, ProcessHub.via(HUB, child_id), ("test", 1)) == 1
        self.before: dict[str, Any] = {child_id: pid_of(cluster[0], child_id) for child_id in self.ids}

    def until(self, step: type) -> None:
        """Let the third node join, and stop when a message of this kind has just been sent."""
        self.new = self.cluster.add()
        for a in range(3):
            for b in range(3):
                if a != b:
                    self.cluster.delay(a, b, 0.02)
        self.cluster.run_until(lambda: step in self.sent)
        owners = {child_id: self.new.run(ProcessHub.owners, HUB, child_id)[0] for child_id in self.ids}
        self.moving = [child_id for child_id in self.ids if owners[child_id] == self.new.name]
        self.old = self.cluster[0]
        self.leaving = [child_id for child_id in self.moving if self.before[child_id].node == self.old.name]
        assert self.leaving

    def staying(self) -> list[str]:
        """Those that do not move."""
        return [child_id for child_id in self.ids if child_id not in self.moving]

    def check(self, kept: list[str]) -> None:
        """After all: every child runs once, where it belongs; these have what they had."""
        self.cluster.heal()
        self.cluster.advance(60.0)
        settle(self.cluster)
        living = next(node for node in self.cluster if node.is_alive)
        truth = runs(self.cluster)
        for child_id in self.ids:
            assert truth[child_id] == living.run(ProcessHub.owners, HUB, child_id)
        for child_id in kept:
            assert self.book(living, child_id) == {"test": 1}, child_id
        assert not wrong
        check_nothing_left(self.cluster, 130.0)

    def book(self, node: ClusterNode, child_id: str) -> Any:
        return node.run(GenServer.call, ProcessHub.via(HUB, child_id), "get")


@pytest.mark.parametrize("step", STEPS)
def test_the_new_node_dies(sent: list[type], step: type) -> None:
    with hot_cluster(2) as cluster:
        scene = Scene(cluster, sent)
        scene.until(step)
        cluster.crash(scene.new)
        # (Once it has confirmed, the state is its own, and is lost with it.)
        scene.check(scene.staying() if step is Done else scene.ids)


@pytest.mark.parametrize("step", STEPS)
def test_the_old_node_dies(sent: list[type], step: type) -> None:
    with hot_cluster(2) as cluster:
        scene = Scene(cluster, sent)
        scene.until(step)
        cluster.crash(scene.old)
        others = [child_id for child_id in scene.ids if scene.before[child_id].node != scene.old.name]
        scene.check(others + (scene.leaving if step in (Ready, Commit, Done) else []))


@pytest.mark.parametrize("seconds", [0.5, 40.0])
@pytest.mark.parametrize("step", STEPS)
def test_the_link_is_cut_for_a_while(sent: list[type], step: type, seconds: float) -> None:
    with hot_cluster(2) as cluster:
        scene = Scene(cluster, sent)
        scene.until(step)
        cluster.cut(scene.old, scene.new)
        cluster.cut(scene.new, scene.old)
        cluster.advance(seconds)
        scene.check(scene.ids if seconds < 10 or step in DECIDED else scene.staying())


@pytest.mark.parametrize("step", STEPS)
def test_the_new_node_is_alone_for_a_while(sent: list[type], step: type) -> None:
    with hot_cluster(2) as cluster:
        scene = Scene(cluster, sent)
        scene.until(step)
        cluster.partition([[0, 1], [2]])
        cluster.advance(40.0)
        scene.check(scene.ids if step in DECIDED else scene.staying())


@pytest.mark.parametrize("step", STEPS)
def test_the_new_node_stands_still_for_a_while(sent: list[type], step: type) -> None:
    with hot_cluster(2) as cluster:
        scene = Scene(cluster, sent)
        scene.until(step)
        cluster.pause(scene.new, 15.0)
        cluster.advance(20.0)
        scene.check(scene.ids)


@pytest.mark.parametrize("side", ["old", "new"])
@pytest.mark.parametrize("step", STEPS)
def test_a_distributed_supervisor_dies(sent: list[type], step: type, side: str) -> None:
    """Its children die with it, those that wait included; the other side's go on."""
    with hot_cluster(2) as cluster:
        scene = Scene(cluster, sent)
        scene.until(step)
        node = getattr(scene, side)
        kill(node, node.runtime.names[f"{HUB}.distributed_supervisor"].pid)
        others = [child_id for child_id in scene.ids if scene.before[child_id].node == cluster[1].name]
        safe = {"old": [], "new": scene.leaving if step is not Done else []}[side]
        scene.check([child_id for child_id in others if child_id not in scene.moving] + list(safe))


@pytest.mark.parametrize("part", [HUB, f"{HUB}.event_queue"])
@pytest.mark.parametrize("step", STEPS)
def test_another_part_of_the_hub_dies_on_both_sides(sent: list[type], step: type, part: str) -> None:
    with hot_cluster(2) as cluster:
        scene = Scene(cluster, sent)
        scene.until(step)
        for node in (scene.old, scene.new):
            kill(node, node.runtime.names[part].pid)
        scene.check(scene.ids)


@pytest.mark.parametrize("step", STEPS)
def test_the_old_copies_are_killed(sent: list[type], step: type) -> None:
    with hot_cluster(2) as cluster:
        scene = Scene(cluster, sent)
        scene.until(step)
        for child_id in scene.leaving:
            pid = scene.before[child_id]
            if scene.old.runtime.local(pid) is not None:
                kill(scene.old, pid)
        scene.check([child_id for child_id in scene.ids if child_id not in scene.leaving])


@pytest.mark.parametrize("step", [Started, States, Ready, Commit])
def test_the_new_copies_are_killed_before_they_begin(sent: list[type], step: type) -> None:
    with hot_cluster(2) as cluster:
        scene = Scene(cluster, sent)
        scene.until(step)
        for pid in list(move_of(scene.new).arrivals._by_pid):
            kill(scene.new, pid)
        scene.check(scene.ids)


@pytest.mark.parametrize("step", STEPS)
def test_the_children_are_stopped_meanwhile(sent: list[type], step: type) -> None:
    with hot_cluster(2) as cluster:
        scene = Scene(cluster, sent)
        scene.until(step)
        errand = scene.old.begin(lambda: ProcessHub.stop_children(HUB, scene.leaving).result())
        cluster.advance(30.0)
        assert errand.outcome().status == "ok"
        settle(cluster)
        assert not set(runs(cluster)) & set(scene.leaving)
        scene.ids = [child_id for child_id in scene.ids if child_id not in scene.leaving]
        scene.check(scene.ids)


@pytest.mark.parametrize("step", STEPS)
def test_the_new_node_leaves_again(sent: list[type], step: type) -> None:
    with hot_cluster(2) as cluster:
        scene = Scene(cluster, sent)
        scene.until(step)
        cluster.leave(scene.new)
        scene.check(scene.ids)


@pytest.mark.parametrize("step", STEPS)
def test_the_old_node_leaves_meanwhile(sent: list[type], step: type) -> None:
    with hot_cluster(2) as cluster:
        scene = Scene(cluster, sent)
        scene.until(step)
        cluster.leave(scene.old)
        scene.check(scene.ids)


def test_kept_calls_that_may_have_been_handled_fail_when_the_new_node_is_lost(sent: list[type]) -> None:
    with hot_cluster(2) as cluster:
        scene = Scene(cluster, sent)
        scene.until(Ready)
        errands = [scene.old.begin(GenServer.call, scene.before[one], ("late", 1), 30.0) for one in scene.leaving]
        cluster.run_until(lambda: Commit in sent)
        cluster.crash(scene.new)
        cluster.advance(20.0)
        for errand in errands:
            with pytest.raises(Exception, match="connection"):
                errand.outcome()
        scene.check(scene.ids)


def test_a_failed_move_is_tried_again_and_again(sent: list[type], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Ledger, state: Any) -> None:
        raise ValueError("not yet")

    alter = Ledger.alter_handover_state
    with hot_cluster(2) as cluster:
        scene = Scene(cluster, sent)
        monkeypatch.setattr(Ledger, "alter_handover_state", refuse)
        scene.until(States)
        cluster.advance(60.0)
        assert {scene.book(scene.new, one).get("test") for one in scene.leaving} == {1}
        assert runs(cluster)[scene.leaving[0]] == [scene.old.name]
        assert 4 < sent.count(Begin) < 40, "retried with growing pauses"
        assert NotMoved in sent
        monkeypatch.setattr(Ledger, "alter_handover_state", alter)
        cluster.advance(10.0)
        scene.check(scene.ids)
        assert part_of(scene.new, "distributed_supervisor").copies.children.keys() >= set(scene.leaving)
