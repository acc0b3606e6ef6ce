from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import supervisor.processes as process
from supervisor.child_spec import ChildSpec
from supervisor.errors import AlreadyRegistered, Exit, NoProcess, NotRegistered, ProcessExit, StartError
from supervisor.gen_server import GenServer, Ignore
from supervisor.pids import NodeId, Pid
from supervisor.registries import Registry, table
from supervisor.runtime import Runtime, current_runtime
from supervisor.signals import Down, ExitSignal
from supervisor.supervisors import Supervisor
from tests.supervisor.kit import Echo, ManualClock, Trapper, run_as_process

KINDS = pytest.mark.parametrize("keys", ["unique", "duplicate"])


def inside(pid: Any, fn: Callable[..., Any], *args: Any) -> Any:
    """Run `fn(*args)` in a server; return what it returns, raise what it raises."""

    def attempt() -> tuple[Any, Exception | None]:
        try:
            return fn(*args), None
        except Exception as error:
            return None, error

    value, error = GenServer.call(pid, attempt)
    if error is not None:
        raise error
    return value


def owner_of(registry: Any, *keys: Any, value: Any = None, cls: Any = Echo, args: tuple[Any, ...] = ()) -> Pid:
    """A new server that has registered the keys."""
    pid: Pid = cls.start(*args)
    for key in keys:
        inside(pid, Registry.register, registry, key, value)
    return pid


def ties_of(pid: Pid) -> Any:
    found = current_runtime().local(pid)
    assert found is not None
    return found.ties


def messages() -> list[Any]:
    """What is in the mailbox of the test."""
    found = []
    while process.info(process.self())["queue_length"]:  # type: ignore[index]
        found.append(process.receive(timeout=0))
    return found


# -- registering and finding -----------------------------------------------------------------------------------------


@KINDS
def test_a_process_is_found_with_its_value_under_the_key_it_registered(clock: ManualClock, keys: str) -> None:
    Registry.start_link("reg", keys=keys)
    pid = owner_of("reg", "key", value=7)
    assert Registry.lookup("reg", "key") == [(pid, 7)]
    assert Registry.lookup("reg", "other") == []


def test_a_registry_can_be_given_by_pid_name_or_via_name(clock: ManualClock) -> None:
    Registry.start_link("names")
    pid = Registry.start_link(Registry.via("names", "reg"))
    Registry.register(pid, "key")
    assert Registry.lookup(Registry.via("names", "reg"), "key") == [(process.self(), None)]


def test_a_unique_key_has_one_owner_and_the_error_says_who(clock: ManualClock) -> None:
    Registry.start_link("reg")
    pid = owner_of("reg", "key", value=1)
    with pytest.raises(AlreadyRegistered) as taken:
        Registry.register("reg", "key", 2)
    assert (taken.value.name, taken.value.pid) == ("key", pid)
    assert Registry.lookup("reg", "key") == [(pid, 1)]


def test_an_owner_cannot_register_its_unique_key_again(clock: ManualClock) -> None:
    Registry.start_link("reg")
    Registry.register("reg", "key", 1)
    with pytest.raises(AlreadyRegistered) as taken:
        Registry.register("reg", "key", 2)
    assert taken.value.pid == process.self()
    assert Registry.lookup("reg", "key") == [(process.self(), 1)]
    assert Registry.keys("reg", process.self()) == ["key"]


def test_a_refused_registration_leaves_no_trace_in_the_process(clock: ManualClock) -> None:
    Registry.start_link("reg")
    owner_of("reg", "key")
    with pytest.raises(AlreadyRegistered):
        Registry.register("reg", "key")
    assert ties_of(process.self()) is None


def test_a_duplicate_key_keeps_its_entries_in_the_order_of_registering(clock: ManualClock) -> None:
    Registry.start_link("reg", keys="duplicate")
    a = owner_of("reg", "topic", value=1)
    b = owner_of("reg", "topic", value=2)
    inside(a, Registry.register, "reg", "topic", 3)
    assert Registry.lookup("reg", "topic") == [(a, 1), (b, 2), (a, 3)]
    assert Registry.keys("reg", a) == ["topic", "topic"]
    assert Registry.values("reg", "topic", a) == [1, 3]
    assert Registry.count("reg") == 3


@KINDS
def test_keys_come_in_the_order_of_registering(clock: ManualClock, keys: str) -> None:
    Registry.start_link("reg", keys=keys)
    pid = owner_of("reg", "b", "a", 3)
    assert Registry.keys("reg", pid) == ["b", "a", 3]
    assert Registry.keys("reg", process.self()) == []


@KINDS
def test_values_are_those_of_one_process(clock: ManualClock, keys: str) -> None:
    Registry.start_link("reg", keys=keys)
    pid = owner_of("reg", "key", value="v")
    assert Registry.values("reg", "key", pid) == ["v"]
    assert Registry.values("reg", "other", pid) == []
    assert Registry.values("reg", "key", process.self()) == []


@KINDS
def test_unregister_takes_back_all_of_the_callers_entries_and_nobody_elses(clock: ManualClock, keys: str) -> None:
    Registry.start_link("reg", keys=keys)
    other = owner_of("reg", "theirs")
    Registry.register("reg", "mine")
    if keys == "duplicate":
        Registry.register("reg", "mine")
        Registry.register("reg", "theirs")
        Registry.unregister("reg", "theirs")
    Registry.unregister("reg", "mine")
    Registry.unregister("reg", "theirs")
    Registry.unregister("reg", "never there")
    assert Registry.lookup("reg", "mine") == []
    assert Registry.lookup("reg", "theirs") == [(other, None)]
    assert Registry.count("reg") == 1


@KINDS
def test_a_process_that_has_unregistered_everything_costs_as_little_as_before(clock: ManualClock, keys: str) -> None:
    Registry.start_link("reg", keys=keys)
    Registry.start_link("other", keys=keys)
    pid = owner_of("reg", "a", "b")
    inside(pid, Registry.register, "other", "a")
    for registry, key in [("reg", "a"), ("other", "a"), ("reg", "b")]:
        assert ties_of(pid) is not None
        inside(pid, Registry.unregister, registry, key)
    assert ties_of(pid) is None


@KINDS
def test_select_gives_the_entries_that_the_predicate_wants(clock: ManualClock, keys: str) -> None:
    Registry.start_link("reg", keys=keys)
    a, b = owner_of("reg", "x", "y", value=1), owner_of("reg", "z", value=2)
    assert Registry.select("reg") == [("x", a, 1), ("y", a, 1), ("z", b, 2)]
    assert Registry.select("reg", lambda key, pid, value: value == 1 and key != "x") == [("y", a, 1)]
    assert Registry.select("reg", lambda key, pid, value: pid == b) == [("z", b, 2)]


@KINDS
def test_what_a_predicate_does_to_the_registry_does_not_disturb_the_selection(clock: ManualClock, keys: str) -> None:
    Registry.start_link("reg", keys=keys)
    pid = owner_of("reg", "a", "b")

    def kill_the_owner(key: Any, pid: Pid, value: Any) -> bool:
        process.exit(pid, "kill")
        return True

    assert Registry.select("reg", kill_the_owner) == [("a", pid, None), ("b", pid, None)]
    assert Registry.select("reg") == []


# -- dispatch --------------------------------------------------------------------------------------------------------


@KINDS
def test_dispatch_calls_the_function_in_the_caller_with_all_entries(clock: ManualClock, keys: str) -> None:
    Registry.start_link("reg", keys=keys)
    pid = owner_of("reg", "topic", value=1)
    seen: list[Any] = []
    Registry.dispatch("reg", "topic", lambda entries: seen.append((process.self(), entries)))
    assert seen == [(process.self(), [(pid, 1)])]


def test_dispatch_does_not_call_the_function_where_there_is_no_entry(clock: ManualClock) -> None:
    Registry.start_link("reg", keys="duplicate")
    Registry.dispatch("reg", "topic", lambda entries: pytest.fail("called"))


def test_what_the_function_of_dispatch_raises_reaches_the_caller(clock: ManualClock) -> None:
    reg = Registry.start_link("reg", keys="duplicate")
    pid = owner_of("reg", "topic")

    def fail(entries: Any) -> None:
        raise KeyError("of the caller")

    with pytest.raises(KeyError, match="of the caller"):
        Registry.dispatch("reg", "topic", fail)
    assert process.alive(reg)
    assert process.alive(pid)


def test_the_function_of_dispatch_may_block_and_change_the_registry(clock: ManualClock) -> None:
    Registry.start_link("reg", keys="duplicate")
    a, b = owner_of("reg", "topic"), owner_of("reg", "topic")

    def meddle(entries: Any) -> None:
        for pid, _ in entries:
            Registry.register("reg", "topic", GenServer.call(pid, "echo"))
            process.exit(pid, "kill")

    Registry.dispatch("reg", "topic", meddle)
    assert not process.alive(a)
    assert not process.alive(b)
    assert Registry.lookup("reg", "topic") == [(process.self(), "echo")] * 2


def test_a_message_to_a_topic_reaches_all_who_registered(clock: ManualClock) -> None:
    Registry.start_link("reg", keys="duplicate")
    heard: list[Any] = []
    for _ in range(3):
        owner_of("reg", "topic", cls=Trapper, args=(heard,))

    def publish(entries: list[tuple[Pid, Any]]) -> None:
        for pid, _ in entries:
            process.send(pid, "news")

    Registry.dispatch("reg", "topic", publish)
    clock.settle()
    assert heard == ["news"] * 3


# -- values ----------------------------------------------------------------------------------------------------------


def test_the_owner_can_change_its_value_and_learns_both(clock: ManualClock) -> None:
    Registry.start_link("reg")
    Registry.register("reg", "key", 1)
    assert Registry.update_value("reg", "key", lambda value: value + 1) == (2, 1)
    assert Registry.lookup("reg", "key") == [(process.self(), 2)]


def test_only_the_owner_can_change_a_value(clock: ManualClock) -> None:
    Registry.start_link("reg")
    pid = owner_of("reg", "key", value=1)
    for key in ("key", "nobodys"):
        with pytest.raises(NotRegistered) as missing:
            Registry.update_value("reg", key, lambda value: 2)
        assert (missing.value.key, missing.value.pid) == (key, process.self())
    assert Registry.lookup("reg", "key") == [(pid, 1)]


def test_a_value_stays_when_the_function_fails(clock: ManualClock) -> None:
    Registry.start_link("reg")
    Registry.register("reg", "key", 1)
    with pytest.raises(ZeroDivisionError):
        Registry.update_value("reg", "key", lambda value: value / 0)
    assert Registry.lookup("reg", "key") == [(process.self(), 1)]


def test_a_key_that_was_given_back_during_the_update_stays_given_back(clock: ManualClock) -> None:
    Registry.start_link("reg")
    Registry.register("reg", "key", 1)
    with pytest.raises(NotRegistered):
        Registry.update_value("reg", "key", lambda value: Registry.unregister("reg", "key"))
    assert Registry.lookup("reg", "key") == []


def test_a_process_that_is_killed_during_its_update_writes_nothing(clock: ManualClock) -> None:
    Registry.start_link("reg")

    def update() -> None:
        try:
            Registry.update_value("reg", "key", lambda value: process.sleep(10))
        except Exit:  # an orphan that does not want to end
            Registry.update_value("reg", "key", lambda value: "late")

    pid = owner_of("reg", "key", value=1)
    GenServer.cast(pid, update)
    clock.settle()
    process.exit(pid, "kill")
    Registry.register("reg", "key", "new")
    clock.advance(20)
    assert Registry.lookup("reg", "key") == [(process.self(), "new")]


def test_a_process_that_outlives_its_end_in_its_update_is_told_to_end_again(clock: ManualClock) -> None:
    ended: list[Any] = []

    def swallow(value: Any) -> None:
        try:
            process.sleep(10)
        except Exit:
            ended.append("swallowed")

    def update() -> None:
        try:
            Registry.update_value("reg", "key", swallow)
        except BaseException as error:
            ended.append(type(error))
            raise

    Registry.start_link("reg")
    pid = owner_of("reg", "key")
    GenServer.cast(pid, update)
    clock.settle()
    process.exit(pid, "kill")
    clock.settle()
    assert ended == ["swallowed", Exit]


def test_a_duplicate_registry_has_no_single_value_to_update_and_no_via_names(clock: ManualClock) -> None:
    Registry.start_link("reg", keys="duplicate")
    Registry.register("reg", "key")
    with pytest.raises(ValueError, match='update_value needs a registry with keys="unique"'):
        Registry.update_value("reg", "key", lambda value: 1)
    with pytest.raises(ValueError, match="via name needs"):
        GenServer.call(Registry.via("reg", "key"), 1)
    with pytest.raises(ValueError, match="via name needs"):
        Echo.start_link(name=Registry.via("reg", "key"))


# -- the end of an owner ---------------------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("reason", ["kill", "shutdown", "boom"])
def test_entries_are_gone_in_the_instant_in_which_their_owner_ends(clock: ManualClock, keys: str, reason: str) -> None:
    Registry.start_link("reg", keys=keys)
    pid = owner_of("reg", "a", "b")
    process.exit(pid, reason)  # and nothing has run since
    assert Registry.lookup("reg", "a") == Registry.lookup("reg", "b") == []
    assert Registry.keys("reg", pid) == []
    assert Registry.values("reg", "a", pid) == []
    assert Registry.count("reg") == 0


def test_nobody_who_learns_of_the_end_of_an_owner_still_finds_it(clock: ManualClock) -> None:
    Registry.start_link("reg")
    found: list[Any] = []

    class Watcher(Trapper):
        def handle_info(self, message: Any) -> None:
            found.append((type(message), Registry.lookup("reg", "key")))

    def watch(pid: Pid) -> None:
        process.monitor(pid)
        process.link(pid)

    pid = owner_of("reg", "key")
    inside(Watcher.start([]), watch, pid)
    GenServer.cast(pid, lambda: 1 / 0)
    clock.settle()
    assert sorted(found, key=str) == [(Down, []), (ExitSignal, [])]


def test_a_listener_learns_what_goes_before_it_learns_why(clock: ManualClock) -> None:
    Registry.start_link("reg", listeners=[process.self()])
    pid = owner_of("reg", "key")
    ref = process.monitor(pid)
    process.exit(pid, "boom")
    assert messages()[1:] == [("unregister", "reg", "key", pid), Down(ref, pid, "boom")]


@KINDS
def test_keys_that_nobody_has_any_more_take_no_memory(clock: ManualClock, keys: str) -> None:
    reg = Registry.start_link("reg", keys=keys)
    process.exit(owner_of("reg", *range(100)), "kill")
    assert table(reg).entries == {}  # type: ignore[attr-defined]


def test_entries_are_there_as_long_as_terminate_runs(clock: ManualClock) -> None:
    Registry.start_link("reg")
    seen: list[Any] = []

    class Last(Echo):
        def terminate(self, reason: Any) -> None:
            seen.extend(Registry.lookup("reg", "key"))

    pid = owner_of("reg", "key", cls=Last)
    GenServer.stop(pid)
    assert seen == [(pid, None)]
    assert Registry.lookup("reg", "key") == []


def test_a_fast_restart_under_the_same_key_outlives_the_late_end_of_the_former_owner(clock: ManualClock) -> None:
    Registry.start_link("reg")
    ended: list[str] = []

    def linger() -> None:
        try:
            process.sleep(100)
        except Exit:
            for attempt in (Registry.unregister, Registry.register):
                with pytest.raises(Exit):
                    attempt("reg", "key")
            ended.append("old")
            raise

    old = Echo.start(name=Registry.via("reg", "key"))
    GenServer.cast(old, linger)
    clock.settle()
    process.exit(old, "kill")
    new = Echo.start(name=Registry.via("reg", "key"))
    assert ended == []
    clock.settle()
    assert ended == ["old"]
    assert Registry.lookup("reg", "key") == [(new, None)]
    assert Registry.keys("reg", new) == ["key"]


def test_a_plain_process_gives_its_keys_back_when_it_returns(clock: ManualClock) -> None:
    Registry.start_link("reg")

    def register_and_wait() -> None:
        Registry.register("reg", "key")
        process.receive()

    pid = process.spawn(register_and_wait)
    clock.settle()
    assert Registry.lookup("reg", "key") == [(pid, None)]
    process.send(pid, "return")
    clock.settle()
    assert Registry.lookup("reg", "key") == []


def test_a_key_whose_own_hash_fails_at_the_end_does_not_keep_others_from_learning_of_it(clock: ManualClock) -> None:
    class Fickle:
        fails = False

        def __hash__(self) -> int:
            if self.fails:
                raise RuntimeError("no hash today")
            return 1

    Registry.start_link("reg")
    key = Fickle()
    pid = owner_of("reg", key)
    ref = process.monitor(pid)
    key.fails = True
    process.exit(pid, "kill")
    assert process.receive(timeout=0) == Down(ref, pid, "killed")


# -- the end of the registry -----------------------------------------------------------------------------------------


@KINDS
def test_owners_end_with_the_registry_as_if_they_were_linked_to_it(clock: ManualClock, keys: str) -> None:
    reg = Registry.start("reg", keys=keys)
    signals: list[Any] = []
    pid, trapper = owner_of("reg", "a", "b"), owner_of("reg", "c", cls=Trapper, args=(signals,))
    bystander = Echo.start()
    ref = process.monitor(pid)
    process.exit(reg, "kill")
    assert process.receive(timeout=0) == Down(ref, pid, "killed")
    assert process.alive(bystander)
    clock.settle()
    assert signals == [ExitSignal(reg, "killed")]
    assert ties_of(trapper) is None


def test_the_reason_kill_of_a_registry_can_be_trapped_as_that_of_any_link(clock: ManualClock) -> None:
    reg = Registry.start("reg")
    signals: list[Any] = []
    owner_of("reg", "key", cls=Trapper, args=(signals,))
    GenServer.stop(reg, "kill")
    clock.settle()
    assert signals == [ExitSignal(reg, "kill")]


@KINDS
def test_owners_survive_the_normal_end_of_the_registry_without_their_keys(clock: ManualClock, keys: str) -> None:
    reg = Registry.start_link("reg", keys=keys)
    pid = owner_of("reg", "a", "b")
    GenServer.stop(reg)
    assert ties_of(pid) is None
    with pytest.raises(NoProcess):
        Registry.lookup("reg", "a")
    Registry.start_link("reg", keys=keys)
    assert Registry.keys("reg", pid) == []
    inside(pid, Registry.register, "reg", "a")
    assert Registry.lookup("reg", "a") == [(pid, None)]


def test_the_end_of_an_owner_does_nothing_to_the_registry(clock: ManualClock) -> None:
    reg = Registry.start_link("reg")
    process.exit(owner_of("reg", "key"), "boom")
    clock.settle()
    assert process.alive(reg)
    assert process.info(reg)["queue_length"] == 0  # type: ignore[index]


def test_a_restarted_registry_is_empty_and_servers_behind_it_register_anew(clock: ManualClock) -> None:
    via = Registry.via("reg", "key")
    sup = Supervisor.start_link(
        [Registry.child_spec("reg"), Echo.child_spec(name=via)], strategy="rest_for_one", name="sup"
    )
    old = process.whereis(via)
    process.exit(process.whereis("reg"), "kill")  # type: ignore[arg-type]
    clock.settle()
    (entry,) = Registry.select("reg")
    assert entry == ("key", process.whereis(via), None)
    assert entry[1] != old
    assert [child.pid for child in Supervisor.which_children(sup)] == [process.whereis("reg"), entry[1]]


# -- via names -------------------------------------------------------------------------------------------------------


def test_a_via_name_leads_to_the_owner_in_every_operation(clock: ManualClock) -> None:
    Registry.start_link("reg")
    heard: list[Any] = []
    pid = owner_of("reg", "key", cls=Trapper, args=(heard,))
    via = Registry.via("reg", "key")
    assert repr(via) == "Registry.via('reg', 'key')"
    assert GenServer.call(via, "hello") == "hello"
    GenServer.cast(via, lambda: heard.append("cast"))
    process.send(via, "info")
    clock.settle()
    assert heard == ["cast", "info"]
    assert process.whereis(via) == pid
    ref = process.monitor(via)
    GenServer.stop(via)
    assert process.receive(timeout=0) == Down(ref, pid, "normal")


def test_a_via_name_without_an_owner_raises_at_once(clock: ManualClock) -> None:
    Registry.start_link("reg")
    for via in (Registry.via("reg", "key"), Registry.via("no registry", "key")):
        assert process.whereis(via) is None
        for use in (GenServer.call, GenServer.cast, process.send):
            with pytest.raises(NoProcess):
                use(via, 1)


def test_via_names_of_the_same_key_are_equal_whatever_value_they_give(clock: ManualClock) -> None:
    assert Registry.via("reg", "key") == Registry.via("reg", "key", [1])
    assert len({Registry.via("reg", "key"), Registry.via("reg", "key", [1])}) == 1
    assert Registry.via("reg", "key") != Registry.via("reg", "other")


class Late(Echo):
    """Notes in init whether its via name leads to it."""

    def init(self, via: Any, result: Any = None) -> Any:
        self.state = process.whereis(via) == process.self()
        if isinstance(result, BaseException):
            raise result
        return result


def test_a_server_is_registered_under_its_via_name_before_its_init_runs(clock: ManualClock) -> None:
    Registry.start_link("reg")
    via = Registry.via("reg", "key", "value")
    pid = Late.start_link(via, name=via)
    assert inside(pid, lambda: current_runtime().local(pid).server.state)  # type: ignore[union-attr]
    assert Registry.lookup("reg", "key") == [(pid, "value")]


@pytest.mark.parametrize("result", [Ignore(), ValueError("no")])
def test_a_start_that_fails_gives_its_via_name_back(clock: ManualClock, result: Any) -> None:
    Registry.start_link("reg")
    via = Registry.via("reg", "key")
    if isinstance(result, Ignore):
        assert Late.start_link(via, result, name=via) is None
    else:
        with pytest.raises(StartError, match="no"):
            Late.start_link(via, result, name=via)
    assert Registry.lookup("reg", "key") == []


def test_a_second_server_under_a_via_name_is_refused_and_leaves_no_process(clock: ManualClock) -> None:
    Registry.start_link("reg")
    via = Registry.via("reg", "key")
    pid = Echo.start_link(name=via)
    before = len(clock.runtime.table)
    with pytest.raises(AlreadyRegistered) as taken:
        Echo.start_link(name=via)
    assert (taken.value.name, taken.value.pid) == ("key", pid)
    assert len(clock.runtime.table) == before


def test_a_supervisor_reports_a_child_whose_via_name_is_taken_as_already_started(clock: ManualClock) -> None:
    Registry.start_link("reg")
    via = Registry.via("reg", "key")
    pid = Echo.start_link(name=via)
    sup = Supervisor.start_link([])
    with pytest.raises(StartError) as failed:
        Supervisor.start_child(sup, Echo.child_spec(name=via))
    assert failed.value.reason == ("already_started", pid)


def test_a_start_under_a_via_name_of_no_registry_raises_and_leaves_no_process(clock: ManualClock) -> None:
    before = len(clock.runtime.table)
    with pytest.raises(NoProcess):
        Echo.start_link(name=Registry.via("reg", "key"))
    assert len(clock.runtime.table) == before


def test_a_via_name_can_be_given_to_a_running_process(clock: ManualClock) -> None:
    Registry.start_link("reg")
    pid = Echo.start()
    process.register(Registry.via("reg", "key"), pid)
    assert Registry.lookup("reg", "key") == [(pid, None)]


def test_a_via_name_that_only_finds_cannot_be_given(clock: ManualClock) -> None:
    class Finder:
        def resolve(self, timeout: float | None = 0.0, gone: Pid | None = None) -> Pid:
            return process.self()

    before = len(clock.runtime.table)
    with pytest.raises(TypeError, match=r"no register\(process\)"):
        Echo.start_link(name=Finder())
    assert len(clock.runtime.table) == before


def test_a_via_name_can_be_taken_away_whoever_has_it(clock: ManualClock) -> None:
    Registry.start_link("reg", listeners=[process.self()])
    via = Registry.via("reg", "key")
    pid = Echo.start(name=via)
    other = Echo.start(name=Registry.via("reg", "other"))
    process.unregister(via)
    assert process.whereis(via) is None
    assert process.alive(pid)
    process.register(via, other)
    GenServer.stop(pid)  # it has nothing left to take away
    assert Registry.lookup("reg", "key") == [(other, None)]
    assert Registry.keys("reg", other) == ["other", "key"]
    heard = [process.receive(timeout=0) for _ in range(4)]
    assert heard[2] == ("unregister", "reg", "key", pid)


def test_a_via_name_that_nobody_has_cannot_be_taken_away(clock: ManualClock) -> None:
    Registry.start_link("reg")
    for via in (Registry.via("reg", "key"), Registry.via("no registry", "key")):
        with pytest.raises(NoProcess):
            process.unregister(via)


def test_a_via_name_that_only_finds_cannot_be_taken_away(clock: ManualClock) -> None:
    class Finder:
        def resolve(self, timeout: float | None = 0.0, gone: Pid | None = None) -> Pid:
            return process.self()

    with pytest.raises(TypeError, match=r"no unregister\(\).*end that one"):
        process.unregister(Finder())


def test_a_class_with_a_register_method_is_still_a_plain_name(clock: ManualClock) -> None:
    pid = Registry.start_link(Registry)
    assert process.whereis(Registry) == pid


def test_a_call_reaches_the_successor_of_an_owner_that_is_dead(clock: ManualClock) -> None:
    Registry.start_link("reg")
    via = Registry.via("reg", "key")
    Supervisor.start_link([Echo.child_spec(name=via)])
    first = process.whereis(via)
    process.exit(first, "kill")  # type: ignore[arg-type]
    with pytest.raises(NoProcess):
        GenServer.call(via, 1)  # the registry cannot know that another one is to come
    clock.settle()
    assert GenServer.call(via, 1) == 1


def test_a_via_name_never_leads_back_to_a_process_that_was_found_dead(clock: ManualClock) -> None:
    Registry.start_link("reg")
    pid = owner_of("reg", "key")
    assert Registry.via("reg", "key").resolve(None) == pid
    with pytest.raises(NoProcess):
        Registry.via("reg", "key").resolve(None, gone=pid)


# -- listeners -------------------------------------------------------------------------------------------------------


@KINDS
def test_listeners_learn_of_every_entry_that_comes_and_every_key_that_goes(clock: ManualClock, keys: str) -> None:
    Registry.start_link("reg", keys=keys, listeners=[process.self()])
    pid = owner_of("reg", "a", "b", value=1)
    inside(pid, Registry.unregister, "reg", "a")
    inside(pid, Registry.unregister, "reg", "a")
    process.exit(pid, "kill")
    assert messages() == [
        ("register", "reg", "a", pid, 1),
        ("register", "reg", "b", pid, 1),
        ("unregister", "reg", "a", pid),
        ("unregister", "reg", "b", pid),
    ]


def test_a_refused_registration_tells_listeners_nothing(clock: ManualClock) -> None:
    Registry.start_link("reg", listeners=[process.self()])
    owner_of("reg", "key")
    messages()
    with pytest.raises(AlreadyRegistered):
        Registry.register("reg", "key")
    assert messages() == []


def test_listeners_learn_what_goes_with_the_registry(clock: ManualClock) -> None:
    reg = Registry.start("reg", listeners=[process.self()])
    pid = owner_of("reg", "key")
    process.exit(reg, "kill")
    assert messages() == [("register", "reg", "key", pid, None), ("unregister", "reg", "key", pid)]


def test_a_registry_without_a_name_calls_itself_by_its_pid(clock: ManualClock) -> None:
    reg = Registry.start_link(None, listeners=[process.self()])
    Registry.register(reg, "key")
    assert messages() == [("register", reg, "key", process.self(), None)]


def test_a_listener_may_come_and_go(clock: ManualClock) -> None:
    Registry.start_link("reg", listeners=["listener"])
    Registry.register("reg", "unheard")
    heard: list[Any] = []
    listener = Trapper.start(heard, name="listener")
    Registry.register("reg", "heard")
    clock.settle()
    process.exit(listener, "kill")
    Registry.unregister("reg", "heard")
    assert heard == [("register", "reg", "heard", process.self(), None)]


# -- misuse, and the process itself ----------------------------------------------------------------------------------


def test_a_registry_is_a_child_with_its_name_as_id(clock: ManualClock) -> None:
    spec = Registry.child_spec("reg", keys="duplicate", restart="transient")
    assert spec == ChildSpec("reg", (Registry, "start_link", ("reg",), {"keys": "duplicate"}), restart="transient")
    assert Registry.child_spec("reg", id="other").id == "other"
    Supervisor.start_link([spec, Registry.child_spec(None), (Registry, "pair")])
    Registry.register("reg", "key")
    Registry.register("reg", "key")
    assert Registry.count("reg") == 2
    assert Registry.count("pair") == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": "many"}, 'keys must be "unique" or "duplicate"; got \'many\''),
        ({"listeners": [("name", "other@host:1")]}, "a listener must be a pid or a name of this node"),
    ],
)
def test_wrong_options_fail_the_start(clock: ManualClock, options: Any, message: str) -> None:
    with pytest.raises(StartError) as failed:
        Registry.start_link("reg", **options)
    assert message in failed.value.reason.message


def test_every_operation_names_what_it_was_given_instead_of_a_registry(clock: ManualClock) -> None:
    Echo.start(name="echo")
    operations: list[Callable[[Any], Any]] = [
        lambda reg: Registry.register(reg, "key"),
        lambda reg: Registry.unregister(reg, "key"),
        lambda reg: Registry.lookup(reg, "key"),
        lambda reg: Registry.dispatch(reg, "key", print),
        lambda reg: Registry.select(reg),
        lambda reg: Registry.keys(reg, process.self()),
        lambda reg: Registry.values(reg, "key", process.self()),
        lambda reg: Registry.count(reg),
        lambda reg: Registry.update_value(reg, "key", str),
    ]
    for operation in operations:
        with pytest.raises(NoProcess, match="nobody"):
            operation("nobody")
        with pytest.raises(TypeError, match="'echo' is a Echo; expected a Registry"):
            operation("echo")
        for elsewhere in (("reg", "other@host:1"), Pid(NodeId("other@host:1", 1), 1)):
            with pytest.raises(ValueError, match="a Registry is used on its own node"):
                operation(elsewhere)


def test_a_plain_process_is_no_registry(clock: ManualClock) -> None:
    with pytest.raises(NoProcess):
        Registry.lookup(process.self(), "key")


@KINDS
def test_a_key_that_cannot_be_hashed_is_refused_and_changes_nothing(clock: ManualClock, keys: str) -> None:
    Registry.start_link("reg", keys=keys)
    for operation in (Registry.register, Registry.unregister, Registry.lookup):
        with pytest.raises(TypeError, match="unhashable"):
            operation("reg", [])
    assert Registry.count("reg") == 0
    assert ties_of(process.self()) is None


def test_nonsense_does_not_end_the_registry(clock: ManualClock) -> None:
    reg = Registry.start_link("reg")
    Registry.register("reg", "key")
    assert GenServer.call(reg, "nonsense") == ("error", "a registry answers no calls; got 'nonsense'")
    GenServer.cast(reg, "nonsense")
    process.send(reg, "nonsense")
    clock.settle()
    assert Registry.lookup("reg", "key") == [(process.self(), None)]


def test_a_call_that_is_waiting_when_the_owner_dies_fails_and_the_key_is_free(clock: ManualClock) -> None:
    Registry.start_link("reg")
    via = Registry.via("reg", "key")
    pid = Echo.start(name=via)
    failures: list[Any] = []

    def end_later() -> None:
        process.sleep(1)
        process.exit(pid, "boom")

    def call() -> None:
        with pytest.raises(ProcessExit) as failed:
            GenServer.call(via, lambda: process.sleep(10))
        failures.append((failed.value.reason, Registry.lookup("reg", "key")))

    process.spawn(end_later)
    process.spawn(call)
    clock.advance(2)
    assert failures == [("boom", [])]


# -- a model ---------------------------------------------------------------------------------------------------------

OWNERS, KEYS = 4, 3
owners, some_keys = st.integers(0, OWNERS - 1), st.sampled_from([f"key {n}" for n in range(KEYS)])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("register"), owners, some_keys, st.integers(0, 9)),
        st.tuples(st.just("unregister"), owners, some_keys),
        st.tuples(st.just("update"), owners, some_keys),
        st.tuples(st.just("kill"), owners),
        st.tuples(st.just("restart"), st.sampled_from(["normal", "kill"])),
    ),
    max_size=40,
)


@given(st.sampled_from(["unique", "duplicate"]), steps)
def test_a_registry_is_what_a_list_of_registrations_says(keys: str, steps: list[tuple[Any, ...]]) -> None:
    clock = ManualClock()
    clock.runtime = Runtime(clock=clock)
    run_as_process(clock.runtime, lambda: Model(clock, keys).run(steps))
    clock.runtime.close()
    clock.settle()
    assert not clock.runtime.table


class Model:
    """The registrations as a plain list, beside a real registry whose listener keeps a mirror of it."""

    def __init__(self, clock: ManualClock, keys: str) -> None:
        self.clock = clock
        self.kind = keys
        self.entries: list[tuple[Any, Pid, Any]] = []
        self.mirror: list[tuple[Any, Pid]] = []
        self.pids: list[Pid] = [Echo.start() for _ in range(OWNERS)]
        self.registry = self.start_registry()

    def start_registry(self) -> Pid:
        return Registry.start("reg", keys=self.kind, listeners=[process.self()])

    def run(self, steps: list[tuple[Any, ...]]) -> None:
        for name, *args in steps:
            getattr(self, name)(*args)
            self.check()

    def register(self, n: int, key: Any, value: Any) -> None:
        pid = self.pids[n]
        taken = [owner for k, owner, _ in self.entries if k == key and self.kind == "unique"]
        if taken:
            with pytest.raises(AlreadyRegistered) as refused:
                inside(pid, Registry.register, "reg", key, value)
            assert refused.value.pid == taken[0]
        else:
            inside(pid, Registry.register, "reg", key, value)
            self.entries.append((key, pid, value))

    def unregister(self, n: int, key: Any) -> None:
        inside(self.pids[n], Registry.unregister, "reg", key)
        self.entries = [entry for entry in self.entries if entry[:2] != (key, self.pids[n])]

    def update(self, n: int, key: Any) -> None:
        mine = [entry for entry in self.entries if entry[:2] == (key, self.pids[n])]
        try:
            new, old = inside(self.pids[n], Registry.update_value, "reg", key, lambda value: value + 10)
        except NotRegistered:
            assert not mine
        except ValueError:
            assert self.kind == "duplicate"
        else:
            assert [(key, self.pids[n], old)] == mine
            self.entries[self.entries.index(mine[0])] = (key, self.pids[n], new)

    def kill(self, n: int) -> None:
        process.exit(self.pids[n], "kill")
        self.entries = [entry for entry in self.entries if entry[1] != self.pids[n]]
        self.check()
        self.pids[n] = Echo.start()

    def restart(self, reason: str) -> None:
        owners = {pid for _, pid, _ in self.entries}
        if reason == "normal":
            GenServer.stop(self.registry)
        else:
            process.exit(self.registry, reason)
        ended = owners if reason == "kill" else set()
        assert {pid for pid in self.pids if not process.alive(pid)} == ended
        self.pids = [Echo.start() if pid in ended else pid for pid in self.pids]
        self.entries = []
        self.registry = self.start_registry()

    def check(self) -> None:
        assert by_key(Registry.select("reg")) == by_key(self.entries)
        assert Registry.count("reg") == len(self.entries)
        for key in [f"key {n}" for n in range(KEYS)]:
            assert Registry.lookup("reg", key) == [(pid, value) for k, pid, value in self.entries if k == key]
        for pid in self.pids:
            mine = [(key, value) for key, owner, value in self.entries if owner == pid]
            assert sorted(Registry.keys("reg", pid)) == sorted(key for key, _ in mine)
            assert not process.alive(pid) or (ties_of(pid) is None) == (not mine)
            for key in {key for key, _ in mine}:
                assert Registry.values("reg", key, pid) == [value for k, value in mine if k == key]
        self.check_mirror()

    def check_mirror(self) -> None:
        for event, _, key, pid, *_ in messages():
            if event == "register":
                self.mirror.append((key, pid))
            else:
                assert (key, pid) in self.mirror
                self.mirror = [entry for entry in self.mirror if entry != (key, pid)]
        assert sorted(self.mirror, key=str) == sorted((entry[:2] for entry in self.entries), key=str)


def by_key(entries: list[tuple[Any, Pid, Any]]) -> list[tuple[Any, Pid, Any]]:
    """Entries of one key stay in their order."""
    return sorted(entries, key=lambda entry: entry[0])
