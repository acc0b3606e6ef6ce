"""Children that end: restarted or not, registered or not, and never to the harm of another child."""

from __future__ import annotations

from itertools import pairwise

import pytest

from processhub import ChildSpec, GenServer, Pid, ProcessHub, Stop, process
from processhub.testing import Cluster
from tests.processhub.hub import children
from tests.processhub.hub.children import (
    HUB,
    Counter,
    Failing,
    ShortLived,
    Slow,
    Stubborn,
    cluster_of,
    copies_alive,
    counters,
    hub_of,
    journal,
    kill,
    owner_of,
    part_of,
    pid_of,
    runs,
    settle,
    start,
    stop,
)


class Ending(GenServer):
    """Ends as it is told by a cast."""

    def init(self) -> None:
        self.state = None

    def handle_cast(self, request: object) -> Stop:
        return Stop(request)


def end(cluster: Cluster, child_id: str, reason: object) -> None:
    """Let the child end with this reason, and everything that follows at once happen."""
    cluster[0].run(GenServer.cast, ProcessHub.via(HUB, child_id), reason)
    cluster.advance(0.1)


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize("reason", ["normal", "shutdown", "sudden"])
def test_a_child_that_ends_is_restarted_or_unregistered_everywhere(restart: str, reason: str) -> None:
    is_restarted = restart == "permanent" or (restart == "transient" and reason == "sudden")
    with cluster_of(3) as cluster:
        first = start(cluster[0], Ending.child_spec(id="kid", restart=restart)).pid
        settle(cluster)
        end(cluster, "kid", reason)
        settle(cluster)
        for node in cluster:
            now = pid_of(node, "kid")
            assert (now is not None) == is_restarted
            assert now != first
            assert (node.run(ProcessHub.child_lookup, HUB, "kid") is not None) == is_restarted
        assert list(runs(cluster)) == (["kid"] if is_restarted else [])


def test_a_restarted_child_has_a_new_pid_everywhere_within_a_moment() -> None:
    with cluster_of(3) as cluster:
        pids: list[Pid] = start(cluster[0], counters(9)).pids
        settle(cluster)
        for node in cluster:
            for pid in pids:
                if node.runtime.local(pid) is not None:
                    kill(node, pid)
        cluster.advance(0.01)
        for node in cluster:
            seen = [pid_of(node, f"c{n}") for n in range(9)]
            assert None not in seen
            assert not set(seen) & set(pids)


def test_a_call_to_a_child_that_is_being_restarted_waits_for_it() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], ChildSpec("slow", (Slow.start_link, (2.0,))))
        settle(cluster)
        owner = owner_of(cluster, "slow")
        kill(owner, pid_of(owner, "slow"))
        cluster.advance(0.1)
        for node in cluster:
            assert pid_of(node, "slow") is None
            info = node.run(ProcessHub.child_lookup, HUB, "slow")
            assert info is not None
            assert list(info.states.values()) == ["restarting"]
        assert cluster[0].run(GenServer.call, ProcessHub.via(HUB, "slow"), "hello", 5.0) == "here"


def test_a_child_over_its_restart_limit_has_failed_and_takes_no_other_down() -> None:
    with cluster_of(1, dsup_max_restarts=5, dsup_max_seconds=4.0) as cluster:
        node = cluster[0]
        others = start(node, counters(5)).started
        start(node, ChildSpec("fly", (ShortLived.start_link, (0.01,))))
        cluster.advance(0.07)
        assert len(journal) == 6
        info = node.run(ProcessHub.child_lookup, HUB, "fly")
        assert info is not None
        assert info.states == {node.name: "failed"}
        assert pid_of(node, "fly") is None
        for child_id, copies in others.items():
            assert pid_of(node, child_id) == copies[node.name]


def test_a_failed_child_is_tried_again_with_growing_pauses() -> None:
    with cluster_of(1, dsup_max_restarts=2, dsup_max_seconds=1.0) as cluster:
        journal.append(("mended",))
        start(cluster[0], ChildSpec("weak", (Failing.start_link, ())))
        journal.clear()
        kill(cluster[0], pid_of(cluster[0], "weak"))
        cluster.advance(130.0)
        times = [entry[1] for entry in journal]
        pauses = [after - before for before, after in pairwise(times)]
        assert len(times) >= 6
        assert all(later > earlier for earlier, later in pairwise(pauses) if later < 40.0)
        assert max(pauses) <= 60.0
        journal.append(("mended",))
        cluster.advance(70.0)
        assert pid_of(cluster[0], "weak") is not None
        settle(cluster)


def test_a_child_that_starts_well_and_crashes_at_once_gets_growing_pauses_too() -> None:
    """Else it would take all of the processor: its start succeeds each time."""
    with cluster_of(1, dsup_max_restarts=3, dsup_max_seconds=1.0) as cluster:
        start(cluster[0], ChildSpec("fly", (ShortLived.start_link, (0.01,))))
        cluster.advance(100.0)
        first = len(journal)
        cluster.advance(100.0)
        assert len(journal) - first <= 20
        assert first < 60


def test_a_child_that_ran_well_in_between_is_tried_again_soon() -> None:
    with cluster_of(1, dsup_max_restarts=0, dsup_max_seconds=1.0) as cluster:
        start(cluster[0], Counter.child_spec(id="kid"))
        for _ in range(8):
            kill(cluster[0], pid_of(cluster[0], "kid"))
            cluster.advance(1.0)
            assert pid_of(cluster[0], "kid") is not None
            cluster.advance(20.0)


def test_a_failed_child_is_stopped_like_any_other() -> None:
    with cluster_of(2, dsup_max_restarts=1) as cluster:
        start(cluster[0], ChildSpec("fly", (ShortLived.start_link, (0.01,))))
        cluster.advance(0.2)
        assert stop(cluster[1], "fly").status == "ok"
        count = len(journal)
        cluster.advance(120.0)
        assert len(journal) == count
        settle(cluster)
        assert cluster[0].run(ProcessHub.registry_dump, HUB) == {}


def test_a_failed_child_is_mended_by_a_start_with_a_new_spec_after_a_stop() -> None:
    with cluster_of(2, dsup_max_restarts=1) as cluster:
        start(cluster[0], ChildSpec("fly", (ShortLived.start_link, (0.01,))))
        cluster.advance(0.2)
        stop(cluster[0], "fly")
        assert start(cluster[0], Counter.child_spec(id="fly")).status == "ok"
        cluster.advance(200.0)
        settle(cluster)
        assert copies_alive(cluster, ["fly"])


def test_restarts_within_the_limit_go_on_for_ever() -> None:
    with cluster_of(1, dsup_max_restarts=3, dsup_max_seconds=1.0) as cluster:
        start(cluster[0], ChildSpec("fly", (ShortLived.start_link, (0.5,))))
        cluster.advance(20.2)
        assert len(journal) == 41


def test_a_slow_init_at_a_restart_delays_no_other_child() -> None:
    with cluster_of(1) as cluster:
        node = cluster[0]
        start(node, [ChildSpec("slow", (Slow.start_link, (9.0,))), *counters(3)])
        kill(node, pid_of(node, "slow"))
        cluster.advance(0.1)
        kill(node, pid_of(node, "c1"))
        cluster.advance(0.01)
        assert pid_of(node, "c1") is not None
        assert start(node, counters(2, prefix="d")).status == "ok"
        assert pid_of(node, "slow") is None
        settle(cluster)


def test_a_child_that_is_stopped_while_it_is_restarted_does_not_run_afterwards() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], ChildSpec("slow", (Slow.start_link, (3.0,)), shutdown=5.0))
        owner = owner_of(cluster, "slow")
        kill(owner, pid_of(owner, "slow"))
        cluster.advance(0.1)
        result = stop(cluster[0], "slow")
        assert (result.status, result.stopped) == ("ok", {"slow": [owner.name]})
        settle(cluster)
        assert runs(cluster) == {}


def test_a_start_that_hangs_is_given_up_when_its_child_is_stopped() -> None:
    with cluster_of(1) as cluster:
        node = cluster[0]
        start(node, ChildSpec("slow", (Slow.start_link, (1.0,)), shutdown=2.0))
        table = len(node.runtime.table)
        kill(node, pid_of(node, "slow"))
        with_init = part_of(node, "distributed_supervisor").copies.children["slow"]
        cluster.advance(0.1)
        assert with_init.job is not None
        before = cluster.now()
        assert stop(node, "slow").status == "ok"
        assert cluster.now() - before <= 2.0
        assert len(node.runtime.table) < table


def test_an_init_that_takes_for_ever_at_a_restart_can_be_stopped() -> None:
    with cluster_of(1) as cluster:
        node = cluster[0]
        journal.append(("quick",))
        start(node, ChildSpec("endless", (start_endless_unless_quick, ()), shutdown=2.0))
        journal.clear()
        kill(node, pid_of(node, "endless"))
        cluster.advance(1.0)
        before = cluster.now()
        assert stop(node, "endless").status == "ok"
        assert cluster.now() - before == pytest.approx(2.0, abs=0.01)
        settle(cluster)
        assert runs(cluster) == {}
        assert not part_of(node, "distributed_supervisor").copies.children


def start_endless_unless_quick() -> Pid:
    if ("quick",) not in journal:
        process.sleep(1e9)
    return Counter.start_link()


def test_a_child_that_was_stopped_by_another_node_while_it_starts_there_stops() -> None:
    """Nobody knew of its copy when the stop came: it was just about to be started."""
    with cluster_of(2) as cluster:
        start(cluster[0], [ChildSpec(f"s{n}", (Slow.start_link, (3.0,))) for n in range(10)])
        settle(cluster)
        cluster.crash(1)
        cluster.advance(1.5)  # its children are being started on the other node
        copies = part_of(cluster[0], "distributed_supervisor").copies
        moving = [child for child in copies.children.values() if child.job is not None]
        assert moving
        result = stop(cluster[0], [f"s{n}" for n in range(10)])
        assert result.status == "ok"
        cluster.advance(4.0)
        assert runs(cluster) == {}
        settle(cluster)


# -- the supervisor itself -------------------------------------------------------------------------------------------


def test_children_restart_when_the_distributed_supervisor_is_killed() -> None:
    with cluster_of(3) as cluster:
        start(cluster[0], counters(30))
        settle(cluster)
        before = {f"c{n}": pid_of(cluster[0], f"c{n}") for n in range(30)}
        node = cluster[1]
        kill(node, node.runtime.names[f"{HUB}.distributed_supervisor"].pid)
        assert settle(cluster) < 1.0
        assert copies_alive(cluster, before)
        for child_id, pid in before.items():
            moved = pid_of(cluster[0], child_id) != pid
            assert moved == (owner_of(cluster, child_id) is node)


def test_a_start_that_is_under_way_when_the_supervisor_is_killed_fails_and_leaves_nothing() -> None:
    with cluster_of(1) as cluster:
        node = cluster[0]
        errand = node.begin(lambda: ProcessHub.start_child(HUB, ChildSpec("slow", (Slow.start_link, (3.0,)))).result())
        cluster.advance(1.0)
        kill(node, node.runtime.names[f"{HUB}.distributed_supervisor"].pid)
        cluster.run_until(errand.is_over)
        assert errand.outcome().status == "error"
        cluster.advance(5.0)
        settle(cluster)
        assert runs(cluster) == {}
        assert node.run(ProcessHub.registry_dump, HUB) == {}
        assert hub_of(node).registry.own_table == {}


def test_starts_under_way_for_a_lost_node_are_done_though_the_supervisor_is_killed_meanwhile() -> None:
    with cluster_of(2) as cluster:
        start(cluster[0], [ChildSpec(f"s{n}", (Slow.start_link, (3.0,))) for n in range(10)])
        settle(cluster)
        cluster.crash(1)
        cluster.advance(1.5)
        kill(cluster[0], cluster[0].runtime.names[f"{HUB}.distributed_supervisor"].pid)
        settle(cluster)
        assert copies_alive(cluster, [f"s{n}" for n in range(10)])


def test_a_child_that_ends_while_the_coordinator_is_restarted_takes_nothing_down() -> None:
    with cluster_of(1) as cluster:
        node = cluster[0]
        others = start(node, counters(5)).pids
        start(node, ChildSpec("brief", (Ending.start_link, ()), restart="temporary"))

        def both() -> None:
            brief = ProcessHub.get_pid(HUB, "brief")
            coordinator = process.whereis(HUB)
            assert brief is not None
            assert coordinator is not None
            process.exit(coordinator, "kill")
            process.exit(brief, "kill")

        node.run(both)
        settle(cluster)
        assert [pid_of(node, f"c{n}") for n in range(5)] == others
        assert pid_of(node, "brief") is None


def test_a_stop_while_the_coordinator_is_restarted_takes_nothing_down() -> None:
    with cluster_of(1) as cluster:
        node = cluster[0]
        others = start(node, counters(5)).pids
        start(node, ChildSpec("mule", (Stubborn.start_link, (1.0,))))

        def both() -> str:
            future = ProcessHub.stop_child(HUB, "mule")
            for _ in range(3):
                process.sleep(0.4)
                coordinator = process.whereis(HUB)
                assert coordinator is not None
                process.exit(coordinator, "kill")
            return future.result().status

        assert node.run(both) == "ok"
        assert [pid_of(node, f"c{n}") for n in range(5)] == others


@pytest.mark.parametrize("restart", ["permanent", "transient"])
def test_a_child_that_crashes_all_the_time_on_one_node_leaves_the_others_alone(restart: str) -> None:
    with cluster_of(2, dsup_max_restarts=3) as cluster:
        start(cluster[0], counters(20))
        start(cluster[0], ChildSpec("fly", (ShortLived.start_link, (0.001,)), restart=restart))
        before = [pid_of(cluster[0], f"c{n}") for n in range(20)]
        cluster.advance(60.0)
        assert [pid_of(cluster[0], f"c{n}") for n in range(20)] == before
        assert all(node.run(ProcessHub.is_alive, HUB) for node in cluster)
        assert children.part_of(cluster[0], "distributed_supervisor") is not None


def test_a_child_that_was_started_is_known_everywhere_while_one_behind_it_takes_long() -> None:
    with cluster_of(2) as cluster:
        specs = [*counters(20), *(Slow.child_spec(5.0, id=f"s{n}") for n in range(5))]
        cluster[0].begin(lambda: ProcessHub.start_children(HUB, specs).result())
        cluster.advance(0.2)
        for node in cluster:
            assert len(node.run(ProcessHub.process_list, HUB)) == 20
        cluster.advance(10.0)
        settle(cluster)
        cluster.crash(1)
        cluster.run_until(lambda: copies_alive(cluster, [f"c{n}" for n in range(20)]))
        cluster.advance(0.2)
        seen = cluster[0].run(ProcessHub.process_list, HUB)
        assert all(seen[f"c{n}"] for n in range(20))
