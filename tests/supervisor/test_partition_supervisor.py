from __future__ import annotations

import enum
import os
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import supervisor.processes as process
from supervisor.child_spec import ChildSpec
from supervisor.children import ChildEntry
from supervisor.errors import CallTimeout, Exit, NoProcess, StartError
from supervisor.gen_server import GenServer, Ignore, Stop
from supervisor.partition_supervisor import PartitionSupervisor, partition_of
from supervisor.pids import NodeId, Pid
from supervisor.registries import Registry
from supervisor.signals import Down
from supervisor.supervisors import Supervisor
from tests.supervisor.kit import Echo, ManualClock, info

ROOT = Path(__file__).resolve().parent.parent.parent


class Keeper(GenServer):
    """Answers with what it was started with."""

    def handle_call(self, request: Any, from_: Any) -> Any:
        return self.state


class Scripted(Echo):
    """Each start uses up one result of init from the script."""

    def init(self, script: list[Any]) -> Any:
        return script.pop(0) if script else None


def pids_of(sup: Any) -> list[Pid | None]:
    return [entry.pid for entry in PartitionSupervisor.which_children(sup)]


def pid_of(sup: Any, partition: int) -> Pid:
    pid = pids_of(sup)[partition]
    assert pid is not None
    return pid


# -- starting --------------------------------------------------------------------------------------------------------


def test_the_partitions_are_children_with_the_numbers_as_ids(clock: ManualClock) -> None:
    sup = PartitionSupervisor.start_link(Echo, 3, name="pool")
    entries = PartitionSupervisor.which_children("pool")
    assert entries == [ChildEntry(n, pid, "worker", ["tests.supervisor.kit"]) for n, pid in enumerate(pids_of(sup))]
    assert len(set(pids_of(sup))) == 3
    assert info(pid_of(sup, 0))["parent"] == sup
    assert PartitionSupervisor.count_children("pool") == {"specs": 3, "active": 3, "supervisors": 0, "workers": 3}
    assert PartitionSupervisor.partitions("pool") == PartitionSupervisor.partitions(sup) == 3


def test_there_is_a_partition_for_each_cpu_where_no_number_is_given(clock: ManualClock) -> None:
    sup = PartitionSupervisor.start_link(Echo)
    assert PartitionSupervisor.partitions(sup) == os.cpu_count()


@pytest.mark.parametrize(
    "start", [(Keeper, "start_link", ("kept",)), (Keeper.start_link, ("kept",)), (Keeper.start_link, ["kept"], {})]
)
def test_with_arguments_makes_the_arguments_of_each_partition(clock: ManualClock, start: Any) -> None:
    sup = PartitionSupervisor.start_link(
        ChildSpec("any", start), 2, with_arguments=lambda args, partition: [(*args, partition)]
    )
    assert [GenServer.call(pid, "state") for pid in pids_of(sup)] == [("kept", 0), ("kept", 1)]


def test_with_arguments_leaves_keyword_arguments_alone(clock: ManualClock) -> None:
    spec = ChildSpec("any", (Keeper.start_link, ("kept",), {"color": "red"}))
    sup = PartitionSupervisor.start_link(spec, 1, with_arguments=lambda args, partition: [partition])
    assert GenServer.call(pid_of(sup, 0), "state") == ((0,), {"color": "red"})


def test_without_with_arguments_all_get_those_of_the_spec(clock: ManualClock) -> None:
    sup = PartitionSupervisor.start_link((Keeper, "kept"), 2)
    assert [GenServer.call(pid, "state") for pid in pids_of(sup)] == ["kept", "kept"]


@pytest.mark.parametrize("partitions", [0, -1, 1.5, True, "2"])
def test_a_number_of_partitions_that_is_none_fails_the_start(clock: ManualClock, partitions: Any) -> None:
    with pytest.raises(StartError, match="partitions must be None or a whole number >= 1"):
        PartitionSupervisor.start_link(Echo, partitions)


def test_a_wrong_spec_or_wrong_arguments_fail_the_start(clock: ManualClock) -> None:
    with pytest.raises(StartError, match="not a child spec"):
        PartitionSupervisor.start_link("nonsense", 2)
    with pytest.raises(StartError, match="with_arguments must return a tuple or a list"):
        PartitionSupervisor.start_link((Keeper, 1), 2, with_arguments=lambda args, partition: partition)


def test_a_partition_that_does_not_start_is_named_and_those_before_it_are_stopped(clock: ManualClock) -> None:
    before = len(clock.runtime.table)
    with pytest.raises(StartError) as failed:
        PartitionSupervisor.start_link((Scripted, [None, Stop("refused")]), 3)
    assert (failed.value.reason, failed.value.child_id) == ("refused", 1)
    assert len(clock.runtime.table) == before


def test_a_supervisor_that_is_still_making_its_arguments_is_no_process_yet(clock: ManualClock) -> None:
    def slowly(args: Any, partition: int) -> Any:
        process.sleep(1)
        return args

    process.spawn(lambda: PartitionSupervisor.start(Echo, 1, slowly, name="pool"))
    clock.settle()
    with pytest.raises(NoProcess):
        PartitionSupervisor.partitions("pool")
    clock.advance(1)
    assert PartitionSupervisor.partitions("pool") == 1


def test_one_name_for_all_partitions_cannot_be(clock: ManualClock) -> None:
    with pytest.raises(StartError) as failed:
        PartitionSupervisor.start_link(Echo.child_spec(name="echo"), 2)
    assert failed.value.child_id == 1
    assert failed.value.reason[0] == "already_started"


def test_it_is_a_child_of_type_supervisor_with_its_name_as_id(clock: ManualClock) -> None:
    spec = PartitionSupervisor.child_spec(Echo, 2, name="pool")
    assert (spec.id, spec.type, spec.shutdown) == ("pool", "supervisor", "infinity")
    assert PartitionSupervisor.child_spec(Echo).id == "PartitionSupervisor"
    assert PartitionSupervisor.child_spec(Echo, id="mine", name="pool").id == "mine"
    Supervisor.start_link([spec])
    assert PartitionSupervisor.partitions("pool") == 2


# -- restarts --------------------------------------------------------------------------------------------------------


def test_a_partition_that_ends_is_restarted_alone_with_its_own_arguments(clock: ManualClock) -> None:
    sup = PartitionSupervisor.start_link((Keeper, "kept"), 3, with_arguments=lambda args, partition: [partition])
    before = pids_of(sup)
    process.exit(pid_of(sup, 1), "kill")
    clock.settle()
    after = pids_of(sup)
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True]
    assert [GenServer.call(pid, "state") for pid in after] == [0, 1, 2]


def test_the_intensity_counts_all_partitions_together(clock: ManualClock) -> None:
    process.trap_exit(True)
    sup = PartitionSupervisor.start_link(Echo, 3, max_restarts=2)
    for n in range(3):
        process.exit(pid_of(sup, n), "kill")
        clock.settle()
    assert not process.alive(sup)


def test_all_partitions_end_with_the_supervisor(clock: ManualClock) -> None:
    sup = PartitionSupervisor.start_link(Echo, 3)
    pids = pids_of(sup)
    PartitionSupervisor.stop(sup)
    assert not any(process.alive(pid) for pid in pids if pid is not None)


# -- routing ---------------------------------------------------------------------------------------------------------


def test_a_key_always_leads_to_its_partition(clock: ManualClock) -> None:
    PartitionSupervisor.start_link((Keeper, None), 4, name="pool", with_arguments=lambda args, partition: [partition])
    for key in ["user", b"user", 17, ("user", 17), None, 2.5]:
        partition = GenServer.call(PartitionSupervisor.via("pool", key), "state")
        assert partition == partition_of(key, 4)
        assert process.whereis(PartitionSupervisor.via("pool", key)) == pid_of("pool", partition)


def test_a_via_name_leads_to_the_partition_in_every_operation(clock: ManualClock) -> None:
    PartitionSupervisor.start_link(Echo, 2, name="pool")
    via = PartitionSupervisor.via("pool", 1)
    assert repr(via) == "PartitionSupervisor.via('pool', 1)"
    done: list[str] = []
    GenServer.cast(via, lambda: done.append("cast"))
    process.send(via, "only logged")
    ref = process.monitor(via)
    assert GenServer.call(via, "echo") == "echo"
    assert done == ["cast"]
    pid = pid_of("pool", 1)
    GenServer.stop(via)
    assert process.receive(timeout=0) == Down(ref, pid, "normal")


def test_the_supervisor_can_be_given_by_pid_and_by_via_name(clock: ManualClock) -> None:
    Registry.start_link("reg")
    name = Registry.via("reg", "pool")
    sup = PartitionSupervisor.start_link(Echo, 2, name=name)
    assert process.whereis(PartitionSupervisor.via(sup, 0)) == pid_of(sup, 0)
    assert process.whereis(PartitionSupervisor.via(name, 0)) == pid_of(sup, 0)


def test_via_names_of_the_same_key_are_equal(clock: ManualClock) -> None:
    assert PartitionSupervisor.via("pool", 1) == PartitionSupervisor.via("pool", 1)
    assert len({PartitionSupervisor.via("pool", 1), PartitionSupervisor.via("pool", 1)}) == 1
    assert PartitionSupervisor.via("pool", 1) != PartitionSupervisor.via("pool", 2)


def test_a_via_name_cannot_be_given_to_a_process(clock: ManualClock) -> None:
    PartitionSupervisor.start_link(Echo, 2, name="pool")
    with pytest.raises(TypeError, match=r"no register\(process\)"):
        Echo.start_link(name=PartitionSupervisor.via("pool", 1))


def test_a_call_waits_for_the_restart_of_its_partition(clock: ManualClock) -> None:
    sup = PartitionSupervisor.start_link(Echo, 2, name="pool")
    old = pid_of(sup, 1)
    process.exit(old, "kill")  # and the supervisor has not run since
    assert GenServer.call(PartitionSupervisor.via("pool", 1), process.self) == pid_of(sup, 1) != old


def test_a_call_waits_through_restarts_that_fail(clock: ManualClock) -> None:
    sup = PartitionSupervisor.start_link((Scripted, [None, Stop("once"), Stop("twice")]), 1, name="pool")
    process.exit(pid_of(sup, 0), "kill")
    assert GenServer.call(PartitionSupervisor.via("pool", 0), "echo", timeout=None) == "echo"


@pytest.mark.parametrize(("timeout", "outcome"), [(8.0, (5.0, "echo")), (3.5, (3.5, CallTimeout))])
def test_a_call_waits_through_slow_restarts_that_fail_no_longer_than_its_timeout(
    clock: ManualClock, timeout: float, outcome: Any
) -> None:
    class Slow(Scripted):
        def init(self, script: list[Any]) -> Any:
            if script:
                process.sleep(1)
            return super().init(script)

    outcomes: list[Any] = []

    def call() -> None:
        began = process.now()
        try:
            answer = GenServer.call(PartitionSupervisor.via("pool", 0), "echo", timeout)
        except CallTimeout as error:
            answer = type(error)
        outcomes.append((process.now() - began, answer))

    script: list[Any] = []
    sup = PartitionSupervisor.start_link((Slow, script), 1, name="pool", max_restarts=9)
    script.extend([Stop("no")] * 5)
    process.exit(pid_of(sup, 0), "kill")
    process.spawn(call)
    clock.advance(10)
    assert outcomes == [outcome]


def test_a_via_name_never_leads_back_to_a_partition_that_was_found_dead(clock: ManualClock) -> None:
    sup = PartitionSupervisor.start_link(Echo, 1)
    with pytest.raises(NoProcess):
        PartitionSupervisor.via(sup, 0).resolve(None, gone=pid_of(sup, 0))


def test_what_cannot_wait_for_the_restart_finds_no_process(clock: ManualClock) -> None:
    sup = PartitionSupervisor.start_link(Echo, 2, name="pool")
    process.exit(pid_of(sup, 1), "kill")
    for use in (GenServer.cast, process.send):
        with pytest.raises(NoProcess, match="via"):
            use(PartitionSupervisor.via("pool", 1), 1)
    assert process.whereis(PartitionSupervisor.via("pool", 1)) is None
    assert GenServer.call(PartitionSupervisor.via("pool", 0), 1) == 1


def test_a_call_waits_for_a_slow_restart_no_longer_than_its_timeout(clock: ManualClock) -> None:
    class Slow(Echo):
        def init(self, seconds: list[float]) -> None:
            if seconds:
                process.sleep(seconds.pop())

    seconds: list[float] = []
    sup = PartitionSupervisor.start_link((Slow, seconds), 1, name="pool")
    seconds.append(60.0)
    process.exit(pid_of(sup, 0), "kill")
    failed: list[Any] = []

    def call() -> None:
        began = process.now()
        with pytest.raises(CallTimeout):
            GenServer.call(PartitionSupervisor.via("pool", 0), 1, timeout=5.0)
        failed.append(process.now() - began)

    process.spawn(call)
    clock.advance(70)
    assert failed == [5.0]


def test_the_init_of_a_partition_does_not_wait_for_another_one(clock: ManualClock) -> None:
    found: list[Any] = []

    class Curious(Echo):
        def init(self, partition: int) -> None:
            try:
                found.append(GenServer.call(PartitionSupervisor.via("pool", 1 - partition), "echo", timeout=None))
            except NoProcess:
                found.append(None)

    PartitionSupervisor.start_link((Curious, 0), 2, name="pool", with_arguments=lambda args, partition: [partition])
    assert found == [None, "echo"]
    pids = pids_of("pool")
    for pid in pids:
        process.exit(pid, "kill")  # type: ignore[arg-type]
    clock.settle()
    assert found == [None, "echo", None, "echo"]
    assert not set(pids) & set(pids_of("pool"))


def test_a_running_partition_waits_for_the_restart_of_another_one(clock: ManualClock) -> None:
    sup = PartitionSupervisor.start_link(Echo, 2, name="pool")
    caller, other = pid_of(sup, 0), pid_of(sup, 1)
    via = PartitionSupervisor.via("pool", 1)
    process.exit(other, "kill")
    assert GenServer.call(caller, lambda: GenServer.call(via, "echo")) == "echo"


def test_a_partition_that_was_stopped_or_did_not_want_to_run_is_no_process(clock: ManualClock) -> None:
    PartitionSupervisor.start_link((Scripted, [None, Ignore()]), 2, name="pool")
    with pytest.raises(NoProcess):
        GenServer.call(PartitionSupervisor.via("pool", 1), 1)
    Supervisor.terminate_child("pool", 0)
    with pytest.raises(NoProcess):
        GenServer.call(PartitionSupervisor.via("pool", 0), 1)
    Supervisor.delete_child("pool", 0)
    with pytest.raises(NoProcess):
        GenServer.call(PartitionSupervisor.via("pool", 0), 1)


def test_a_partition_that_is_not_restarted_is_no_process(clock: ManualClock) -> None:
    sup = PartitionSupervisor.start_link(Echo.child_spec(restart="temporary"), 1, name="pool")
    process.exit(pid_of(sup, 0), "kill")
    with pytest.raises(NoProcess):
        GenServer.call(PartitionSupervisor.via("pool", 0), 1)


def test_a_partition_that_unlinked_itself_from_its_supervisor_does_not_hold_callers_for_ever(
    clock: ManualClock,
) -> None:
    sup = PartitionSupervisor.start_link(Echo, 1, name="pool")
    pid = pid_of(sup, 0)
    GenServer.call(pid, lambda: process.unlink(sup))
    process.exit(pid, "kill")
    with pytest.raises(NoProcess):
        GenServer.call(PartitionSupervisor.via("pool", 0), 1, timeout=None)


def test_a_call_during_the_end_of_the_supervisor_finds_no_process(clock: ManualClock) -> None:
    process.trap_exit(True)
    sup = PartitionSupervisor.start_link(Echo, 1, name="pool", max_restarts=0)
    process.exit(pid_of(sup, 0), "kill")
    with pytest.raises(NoProcess):
        GenServer.call(PartitionSupervisor.via("pool", 0), 1)
    for use in (GenServer.call, GenServer.cast, process.send):
        with pytest.raises(NoProcess):
            use(PartitionSupervisor.via("pool", 0), 1)


def test_the_supervisor_of_another_kind_or_node_is_refused(clock: ManualClock) -> None:
    Supervisor.start_link([], name="sup")
    with pytest.raises(TypeError, match="expected a PartitionSupervisor"):
        PartitionSupervisor.partitions("sup")
    with pytest.raises(ValueError, match="on its own node"):
        PartitionSupervisor.via(("pool", "other@host:1"), 1).resolve()
    with pytest.raises(NoProcess):
        PartitionSupervisor.partitions("nobody")


def test_a_partition_keeps_what_one_key_sends_in_order(clock: ManualClock) -> None:
    class Log(GenServer):
        def init(self) -> None:
            self.state = []

        def handle_cast(self, request: Any) -> None:
            self.state.append(request)

        def handle_call(self, request: Any, from_: Any) -> Any:
            return self.state

    PartitionSupervisor.start_link(Log, 3, name="pool")
    for n in range(30):
        GenServer.cast(PartitionSupervisor.via("pool", n % 6), (n % 6, n))
    for key in range(6):
        got = [n for k, n in GenServer.call(PartitionSupervisor.via("pool", key), "log") if k == key]
        assert got == list(range(key, 30, 6))


def test_a_partition_may_end_its_caller_and_not_the_others(clock: ManualClock) -> None:
    def end() -> None:
        raise Exit("boom")

    sup = PartitionSupervisor.start_link(Echo, 2, name="pool")
    GenServer.cast(PartitionSupervisor.via("pool", 0), end)
    other = pid_of(sup, 1)
    clock.settle()
    assert pid_of(sup, 1) == other


# -- keys ------------------------------------------------------------------------------------------------------------


class Color(enum.Enum):
    RED = 1
    BLUE = 2


def test_small_numbers_go_round() -> None:
    assert [partition_of(n, 3) for n in range(6)] == [0, 1, 2, 0, 1, 2]


def test_keys_of_common_types_are_spread_over_all_partitions() -> None:
    kinds: list[list[Any]] = [
        [f"user-{n}" for n in range(8000)],
        [f"user-{n}".encode() for n in range(8000)],
        [("user", n) for n in range(8000)],
        [n / 7 for n in range(8000)],
        [Pid(NodeId("n", 1), n) for n in range(8000)],
    ]
    for keys in kinds:
        counts = Counter(partition_of(key, 8) for key in keys)
        assert len(counts) == 8, keys[0]
        assert max(counts.values()) < 1.25 * min(counts.values()), keys[0]


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary())


@given(st.recursive(scalars, lambda inner: st.tuples(inner, inner) | st.tuples(inner)), st.integers(1, 50))
def test_every_key_has_a_partition(key: Any, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions
    assert partition_of(key, partitions) == partition_of(key, partitions)


@given(st.integers(-(10**20), 10**20), st.integers(1, 50))
def test_equal_numbers_go_to_the_same_partition_whatever_their_type(number: int, partitions: int) -> None:
    expected = partition_of(number, partitions)
    assert partition_of(Decimal(number), partitions) == expected
    assert partition_of((number, "x"), partitions) == partition_of((Decimal(number), "x"), partitions)
    if float(number) == number:
        assert partition_of(float(number), partitions) == expected


def test_true_is_one_and_a_key_that_cannot_be_hashed_is_refused() -> None:
    assert partition_of(True, 7) == partition_of(1, 7)
    with pytest.raises(TypeError, match="unhashable"):
        partition_of(["list"], 7)


KEYS = '["user", b"user", ("user", 17), None, Color.RED, Color.BLUE, 2.5, 10**30, -3]'
PROGRAM = f"""
import enum
from supervisor.partition_supervisor import partition_of
Color = enum.Enum("Color", "RED BLUE")
print([partition_of(key, 1000) for key in {KEYS}])
"""


def test_a_key_goes_to_the_same_partition_in_every_run_of_the_interpreter() -> None:
    answers = set()
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": "."}
        run = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, env=env, capture_output=True, check=True)
        answers.add(run.stdout)
    assert len(answers) == 1
