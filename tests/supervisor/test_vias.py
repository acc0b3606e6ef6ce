"""Via names in general: what finds, what can be given, what can be taken away. Registries and hubs have their own."""

from __future__ import annotations

from typing import Any

import pytest

import supervisor.processes as process
from supervisor.errors import AlreadyRegistered, NoProcess
from supervisor.gen_server import GenServer
from supervisor.pids import Pid
from supervisor.records import Process
from supervisor.vias import Via
from tests.supervisor.kit import Echo, ManualClock


class Finder:
    """Finds a pid, and no more."""

    def __init__(self, pid: Pid | None) -> None:
        self.pid = pid

    def resolve(self, timeout: float | None = 0.0, gone: Pid | None = None) -> Pid:
        if self.pid is None:
            raise NoProcess(self)
        return self.pid


class Giver(Finder):
    """Can also be given to a process, and taken away."""

    def register(self, record: Process) -> None:
        if self.pid is not None:
            raise AlreadyRegistered(self, self.pid)
        self.pid = record.pid

    def unregister(self) -> None:
        if self.pid is None:
            raise NoProcess(self)
        self.pid = None


def test_what_has_a_resolve_method_is_a_via_name() -> None:
    assert isinstance(Finder(None), Via)
    for other in ("name", 7, ("name", "node"), None):
        assert not isinstance(other, Via)


def test_a_via_name_is_an_address_like_any_other(clock: ManualClock) -> None:
    via = Finder(Echo.start())
    seen: list[Any] = []
    assert GenServer.call(via, 1) == 1
    GenServer.cast(via, lambda: seen.append("cast"))
    clock.settle()
    assert (seen, process.whereis(via)) == (["cast"], via.pid)


def test_a_via_name_of_nobody_raises_in_who_needs_one(clock: ManualClock) -> None:
    via = Finder(None)
    assert process.whereis(via) is None
    for use in (GenServer.call, GenServer.cast, process.send):
        with pytest.raises(NoProcess):
            use(via, 1)


def test_a_via_name_can_be_given_once_and_taken_away_once(clock: ManualClock) -> None:
    via = Giver(None)
    pid = Echo.start(name=via)
    assert process.whereis(via) == pid
    with pytest.raises(AlreadyRegistered):
        process.register(via, process.self())
    process.unregister(via)
    with pytest.raises(NoProcess):
        process.unregister(via)
    assert process.whereis(via) is None


def test_a_via_name_that_only_finds_can_neither_be_given_nor_taken_away(clock: ManualClock) -> None:
    pid = Echo.start()
    with pytest.raises(TypeError, match=r"it has no register\(process\)"):
        process.register(Finder(None), pid)
    with pytest.raises(TypeError, match=r"it has no unregister\(\)"):
        process.unregister(Finder(pid))
    with pytest.raises(TypeError, match="none can be given this name"):
        Echo.start(name=Finder(None))
