"""HotSwap where nothing goes wrong but what a child does itself: states, reasons, options, drains."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from processhub import (
    ChildSpec,
    Down,
    GenServer,
    HotSwap,
    NoReply,
    Pid,
    ProcessHub,
    Supervisor,
    process,
)
from processhub.hub.hub import Hub
from processhub.hub.state_sender import CHUNK
from processhub.strategy.migration.base import Order
from processhub.testing import Cluster, ClusterNode
from tests.processhub.hub.children import HUB, hub_of, kill, owner_of, pid_of, runs, settle, start, stop
from tests.processhub.hub.movers import (
    Ledger,
    check_books,
    check_nothing_left,
    clients,
    hot_cluster,
    ids_that_move,
    ledgers,
    seen,
    wrong,
)


class Packer(GenServer):
    """Hands over something else than its state, and notes what happens to it."""

    def init(self, what: Any = None) -> None:
        self.state = {"what": what, "began": self.start_reason}

    def handle_call(self, request: Any, from_: Any) -> Any:
        if isinstance(request, tuple) and request[0] == "keep":
            self.state["what"] = request[1]
        return dict(self.state)

    def handle_info(self, message: Any) -> None:
        self.state["info"] = message

    def prepare_handover_state(self) -> Any:
        seen.append(("prepared", process.self()))
        return {"packed": self.state["what"]}

    def alter_handover_state(self, handover_state: Any) -> None:
        seen.append(("altered", process.self(), self.start_reason))
        self.state["what"] = handover_state["packed"]
        process.send_after(process.self(), "woken", 0.5)


class Locked(GenServer):
    """Its state cannot be sent."""

    def init(self) -> None:
        self.state = {"conn": {"lock": threading.Lock()}}

    def handle_call(self, request: Any, from_: Any) -> Any:
        if request == "mend":
            self.state = "mended"
        return str(type(self.state))


class Big(GenServer):
    """Has a state of many megabytes."""

    def init(self) -> None:
        self.state = {}

    def handle_call(self, request: Any, from_: Any) -> Any:
        if request == "grow":
            self.state = {f"key {n}": [n, str(n) * 20] for n in range(20_000)}
        return len(self.state)


def plain() -> Pid:
    return process.spawn_link(process.sleep, 1e9)


def moving(cluster: Cluster, specs: list[Any]) -> tuple[list[str], ClusterNode]:
    """Start children on the cluster, add a node, and say which of them it gets. They need not have moved yet."""
    start(cluster[0], specs)
    settle(cluster)
    ids = [spec.id for spec in specs]
    return ids, cluster.add()


def moved(cluster: Cluster, ids: list[str], new: ClusterNode) -> list[str]:
    settle(cluster)
    found = [child_id for child_id in ids if owner_of(cluster, child_id) is new]
    assert found
    return found


def ask(node: ClusterNode, child_id: str, request: Any, timeout: float = 5.0) -> Any:
    return node.run(GenServer.call, ProcessHub.via(HUB, child_id), request, timeout)


def test_the_state_goes_the_way_that_the_server_says() -> None:
    with hot_cluster(1) as cluster:
        ids, new = moving(cluster, [Packer.child_spec(n, id=f"p{n}") for n in range(9)])
        for child_id in moved(cluster, ids, new):
            number = int(child_id[1:])
            assert ask(cluster[0], child_id, "get") == {"what": number, "began": "handover"}
        prepared = [entry[1].node for entry in seen if entry[0] == "prepared"]
        assert set(prepared) == {cluster[0].name}
        assert {entry[1].node for entry in seen if entry[0] == "altered"} == {new.name}
        assert {entry[2] for entry in seen if entry[0] == "altered"} == {"handover"}
        cluster.advance(1.0)
        assert ask(cluster[0], moved(cluster, ids, new)[0], "get")["info"] == "woken"


def test_without_handover_the_new_copy_begins_anew_and_what_was_sent_goes_along() -> None:
    with hot_cluster(3, handover=False) as cluster:
        ids = [*ids_that_move(3, 15), *(f"stay{n}" for n in range(15))]
        start(cluster[0], ledgers(ids))
        settle(cluster)
        with clients(cluster, 6, ids) as found:
            cluster.advance(0.3)
            new = cluster.add()
            settle(cluster)
            cluster.advance(0.3)
        assert not [client.errors for client in found if client.errors]
        jumps = {name for name, *_ in wrong}
        for child_id in moved(cluster, ids, new):
            assert ask(new, child_id, "reason") == "handover"
            jumps.discard(child_id)
        assert not jumps, "only who moved begins anew"
        for name, writer, last, _number in wrong:
            assert last == 0, f"{name} missed something of {writer}"
        wrong.clear()
        check_nothing_left(cluster)


def test_reasons_of_starts() -> None:
    with hot_cluster(3) as cluster:
        start(cluster[0], ledgers(12))
        settle(cluster)
        assert {ask(cluster[0], f"l{n}", "reason") for n in range(12)} == {"start"}
        victim = owner_of(cluster, "l0")
        kill(victim, pid_of(victim, "l0"))
        settle(cluster)
        assert ask(cluster[0], "l0", "reason") == "restart"
        cluster.crash(2)
        settle(cluster)
        assert {ask(cluster[0], f"l{n}", "reason") for n in range(1, 12)} == {"start", "failover"}


def test_a_cold_move_is_a_handover_too() -> None:
    with hot_cluster(1) as cluster:
        specs = [ChildSpec(f"s{n}", (Supervisor.start_link, ([],)), type="supervisor") for n in range(8)]
        specs += [ChildSpec(f"q{n}", (plain, ())) for n in range(8)]
        ids, new = moving(cluster, [*specs, *ledgers(8)])
        found = moved(cluster, ids, new)
        assert {child_id[0] for child_id in found} == {"s", "q", "l"}
        truth = runs(cluster)
        assert all(truth[child_id] == [new.name] for child_id in found)
        check_nothing_left(cluster)


def test_a_state_that_cannot_be_sent_is_logged_with_its_path_and_the_child_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with hot_cluster(1, migr_base_timeout=5.0) as cluster, caplog.at_level(logging.ERROR):
        start(cluster[0], [Locked.child_spec(id=f"k{n}") for n in range(6)])
        settle(cluster)
        before = {f"k{n}": pid_of(cluster[0], f"k{n}") for n in range(6)}
        new = cluster.add()
        cluster.advance(60.0)
        assert {child_id: pid_of(cluster[0], child_id) for child_id in before} == before
        assert "state of child 'k" in caplog.text
        assert '["conn"]["lock"]' in caplog.text
        for child_id in before:
            ask(new, child_id, "mend")
        cluster.advance(10.0)
        assert moved(cluster, list(before), new)
        check_nothing_left(cluster)


def test_a_big_state_travels_in_chunks_and_small_ones_do_not_wait_for_it() -> None:
    with hot_cluster(1) as cluster:
        start(cluster[0], [Big.child_spec(id=f"b{n}") for n in range(4)] + ledgers(20))
        settle(cluster)
        for number in range(4):
            assert ask(cluster[0], f"b{number}", "grow") == 20_000
        data = hub_of(cluster[0]).codec.pack({f"key {n}": [n, str(n) * 20] for n in range(20_000)})
        assert len(data) > 10 * CHUNK
        cluster.delay(0, 0, 0.0)
        new = cluster.add()
        cluster.delay(0, 1, 0.01)
        cluster.delay(1, 0, 0.01)
        small = [f"l{n}" for n in range(20)]
        cluster.run_until(lambda: any(pid and pid.node == new.name for pid in (pid_of(new, one) for one in small)))
        big = [f"b{n}" for n in range(4)]
        assert not [child_id for child_id in big if runs(cluster)[child_id] == [new.name]]
        for child_id in moved(cluster, big, new):
            assert ask(cluster[0], child_id, "size") == 20_000
        check_nothing_left(cluster)


def test_one_child_whose_handler_blocks_costs_the_others_nothing() -> None:
    with hot_cluster(1, child_migration_timeout=3.0) as cluster:
        start(cluster[0], ledgers(20))
        settle(cluster)
        errands = [
            cluster[0].begin(GenServer.call, ProcessHub.via(HUB, f"l{n}"), ("sleep", 7.0), 20.0) for n in range(10)
        ]
        cluster.advance(0.01)
        new = cluster.add()
        cluster.advance(1.0)
        owned = [child_id for child_id in (f"l{n}" for n in range(20)) if owner_of(cluster, child_id) is new]
        quick = [child_id for child_id in owned if int(child_id[1:]) >= 10]
        slow = [child_id for child_id in owned if int(child_id[1:]) < 10]
        assert quick
        assert slow
        truth = runs(cluster)
        assert all(truth[child_id] == [new.name] for child_id in quick)
        assert all(truth[child_id] == [cluster[0].name] for child_id in slow)
        cluster.advance(15.0)
        assert [errand.outcome() for errand in errands] == ["slept"] * 10
        truth = runs(cluster)
        assert all(truth[child_id] == [new.name] for child_id in slow)
        check_nothing_left(cluster)


def test_servers_that_call_each_other_move_at_the_same_time() -> None:
    """l0 asks l1, which asks l2, and so on; the last one writes."""

    def chain(length: int, number: int) -> Any:
        request: Any = ("chain", number)
        for position in reversed(range(1, length)):
            request = ("ask", f"l{position}", request)
        return GenServer.call(ProcessHub.via(HUB, "l0"), request, 30.0)

    with hot_cluster(2) as cluster:
        start(cluster[0], ledgers(8))
        settle(cluster)
        done: list[int] = []

        def run() -> None:
            for number in range(1, 301):
                done.append(chain(8, number))

        errand = cluster[1].begin(run)
        cluster.advance(0.01)
        new = cluster.add()
        settle(cluster)
        cluster.leave(new)
        settle(cluster)
        cluster.run_until(errand.is_over)
        errand.outcome()
        assert done == list(range(1, 301))
        assert not wrong
        check_nothing_left(cluster)


def test_monitors_survive_the_move() -> None:
    found: list[Any] = []

    def watch(pid: Pid) -> None:
        ref = process.monitor(pid)
        down = process.receive()
        assert isinstance(down, Down)
        assert down.ref == ref
        found.append(down.reason)

    with hot_cluster(2) as cluster:
        start(cluster[0], ledgers(10))
        settle(cluster)
        pids = [pid_of(cluster[0], f"l{n}") for n in range(10)]
        for node in cluster:
            for pid in pids:
                assert pid is not None
                node.begin(watch, pid)
        cluster.advance(0.1)
        new = cluster.add()
        ids = moved(cluster, [f"l{n}" for n in range(10)], new)
        cluster.advance(10.0)
        assert not found
        for child_id in ids:
            kill(new, pid_of(new, child_id))
        cluster.advance(0.1)
        assert found == ["killed"] * 2 * len(ids)


def test_calls_and_casts_by_the_old_pid_go_on_for_ten_minutes() -> None:
    with hot_cluster(2) as cluster:
        start(cluster[0], ledgers(10))
        settle(cluster)
        pids = {f"l{n}": pid_of(cluster[0], f"l{n}") for n in range(10)}
        new = cluster.add()
        ids = moved(cluster, list(pids), new)
        for number in range(1, 19, 2):
            cluster.advance(60.0)
            for node in cluster:
                node.run(GenServer.cast, pids[ids[0]], (node.name, number))
                assert node.run(GenServer.call, pids[ids[0]], (node.name, number + 1)) == number + 1
        assert not wrong


def test_a_call_that_is_not_answered_yet_is_answered_by_the_new_copy() -> None:
    with hot_cluster(1) as cluster:
        start(cluster[0], [Waiter.child_spec(id=f"w{n}") for n in range(8)])
        settle(cluster)
        errands = [cluster[0].begin(GenServer.call, ProcessHub.via(HUB, f"w{n}"), "wait", 60.0) for n in range(8)]
        cluster.advance(0.1)
        new = cluster.add()
        assert moved(cluster, [f"w{n}" for n in range(8)], new)
        for number in range(8):
            assert ask(new, f"w{number}", "answer") == 1
        cluster.advance(0.1)
        assert [errand.outcome() for errand in errands] == ["answered"] * 8
        check_nothing_left(cluster)


class Waiter(GenServer):
    """Answers "wait" when it is asked to "answer". Who waits is part of its state."""

    def init(self) -> None:
        self.state: list[Any] = []

    def handle_call(self, request: Any, from_: Any) -> Any:
        if request == "wait":
            self.state.append(from_)
            return NoReply()
        for waiting in self.state:
            GenServer.reply(waiting, "answered")
        return len(self.state)


# --- leaving ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["leave", "stop"])
def test_a_node_that_leaves_takes_no_state_along(how: str) -> None:
    with hot_cluster(3) as cluster:
        ids = ids_that_move(2, 12)  # those of the third node
        start(cluster[0], ledgers(ids))
        settle(cluster)
        with clients(cluster, 2, ids) as found:  # on the two first nodes
            cluster.advance(0.5)
            before = cluster.now()
            if how == "leave":
                cluster.leave(2)
            else:
                cluster[2].run(ProcessHub.stop, HUB)
            assert cluster.now() - before < 1.0
            settle(cluster, among=(0, 1))
            cluster.advance(0.5)
        check_books(cluster, found, ids)


def test_children_that_cannot_move_in_time_are_stopped() -> None:
    with hot_cluster(2, handover_data_wait=1.0) as cluster:
        start(cluster[0], [Locked.child_spec(id=f"k{n}") for n in range(6)] + ledgers(10))
        settle(cluster)
        for number in range(10):
            assert ask(cluster[0], f"l{number}", ("test", 1)) == 1
        before = cluster.now()
        cluster.leave(1)
        assert cluster.now() - before == pytest.approx(1.0, abs=0.3)
        settle(cluster)
        assert {tuple(ask(cluster[0], f"l{n}", "get").items()) for n in range(10)} == {(("test", 1),)}
        assert {ask(cluster[0], f"k{n}", "get") for n in range(6)} == {str(dict)}


def test_the_last_node_does_not_wait_for_anybody() -> None:
    with hot_cluster(1) as cluster:
        start(cluster[0], ledgers(5))
        before = cluster.now()
        cluster.leave(0)
        assert cluster.now() - before < 0.1


def test_a_child_that_moves_can_be_stopped_afterwards() -> None:
    with hot_cluster(1) as cluster:
        ids, new = moving(cluster, ledgers(10))
        found = moved(cluster, ids, new)
        assert stop(cluster[0], ids).status == "ok"
        assert not runs(cluster)
        assert found


# --- options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("confirm", [False, True])
def test_the_hub_is_told_of_moves_when_they_are_made_or_confirmed(
    confirm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []

    def note(self: Hub, node: str, child_ids: list[str]) -> None:
        running = [child_id for child_id in child_ids if self.registry.rows(child_id).get(node) is not None]
        told.append((self.node, node, sorted(child_ids), bool(running)))

    monkeypatch.setattr(Hub, "moved_away", note)
    with hot_cluster(1, confirm_handover=confirm) as cluster:
        ids, new = moving(cluster, ledgers(10))
        cluster.delay(0, 1, 0.05)
        cluster.delay(1, 0, 0.05)
        found = moved(cluster, ids, new)
        assert sorted(child_id for *_, names, _running in told for child_id in names) == sorted(found)
        assert {(old, to) for old, to, *_ in told} == {(cluster[0].name, new.name)}
        assert {runs_there for *_, runs_there in told} == {confirm}


def test_options_are_checked_and_shown() -> None:
    assert HotSwap().describe() == (
        "HotSwap",
        {
            "retention": 5.0,
            "handover": False,
            "confirm_handover": False,
            "handover_data_wait": 3.0,
            "child_migration_timeout": 10.0,
        },
    )
    assert HotSwap().order is Order.START_FIRST
    assert HotSwap(handover=True).carries_state
    assert HotSwap(child_migration_timeout=20.0).time_limit(15.0) == 20.0
    for wrong_option in (
        {"retention": -1},
        {"handover": 1},
        {"child_migration_timeout": 0},
        {"confirm_handover": None},
    ):
        with pytest.raises(ValueError, match="HotSwap"):
            HotSwap(**wrong_option)


def test_the_default_state_is_all_of_it() -> None:
    server = Ledger.__new__(Ledger)
    GenServer.alter_handover_state(server, {"a": 1})
    assert GenServer.prepare_handover_state(server) == {"a": 1}
