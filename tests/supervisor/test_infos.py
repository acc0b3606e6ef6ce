"""`process.info`: what the process table knows of one process."""

from __future__ import annotations

from typing import Any

import pytest

import supervisor.processes as process
from supervisor.gen_server import GenServer
from supervisor.infos import as_message
from supervisor.pids import NodeId, Pid
from supervisor.records import CALL, CAST, INFO
from tests.supervisor.kit import Echo, ManualClock, Trapper, info


def test_info_says_what_the_table_knows(clock: ManualClock) -> None:
    pid = Trapper.start_link([], name="trapper")
    ref = process.monitor(pid)
    found = info(pid)
    assert (found["names"], found["status"], found["server"]) == (["trapper"], "idle", "Trapper")
    assert (found["links"], found["watched_by"], found["trap_exit"]) == ([process.self()], [process.self()], True)
    assert found["parent"] == process.self()
    process.demonitor(ref)
    process.unlink(pid)
    process.exit(pid, "kill")
    assert process.info(pid) is None


def test_info_gives_one_item_by_our_name_or_erlangs(clock: ManualClock) -> None:
    pid = process.spawn(process.receive, lambda message: False)
    process.register("watched", pid)
    process.monitor(pid)
    process.send(pid, "waits")
    GenServer.cast(pid, "too")
    everything = info(pid)
    assert all(process.info(pid, name) == value for name, value in everything.items())
    assert everything["messages"] == ["waits", ("cast", "too")]
    assert process.info(pid, "message_queue_len") == 2
    assert process.info(pid, "registered_name") == ["watched"]
    assert process.info(pid, "monitored_by") == [process.self()]
    with pytest.raises(ValueError, match=r"info knows no 'heap_size'.*queue_length"):
        process.info(pid, "heap_size")
    process.exit(pid, "kill")
    assert process.info(pid, "label") is None


def test_info_tells_a_server_from_a_plain_process(clock: ManualClock) -> None:
    server, plain = Echo.start(), process.spawn(process.receive)
    assert (process.info(server, "server"), process.info(plain, "server")) == ("Echo", None)
    assert (process.info(server, "parent"), process.info(plain, "parent")) == (None, None)
    process.exit(plain, "kill")


def test_the_status_follows_what_a_server_does(clock: ManualClock) -> None:
    pid = Echo.start()
    seen = [process.info(pid, "status")]
    GenServer.cast(pid, lambda: process.sleep(1.0))
    seen.append(process.info(pid, "status"))
    clock.settle()
    seen.append(process.info(pid, "status"))
    clock.advance(1.0)
    seen.append(process.info(pid, "status"))
    assert seen == ["idle", "queued", "running", "idle"]


def test_links_are_sorted_and_what_is_given_is_a_copy(clock: ManualClock) -> None:
    pids = [Echo.start() for _ in range(3)]
    for pid in reversed(pids):
        process.link(pid)
    found = info(process.self())
    assert found["links"] == pids
    found["links"].clear()
    assert process.info(process.self(), "links") == pids


def test_of_another_node_nothing_is_known(clock: ManualClock) -> None:
    assert process.info(Pid(NodeId("far@127.0.0.1:1", 1), 1)) is None


@pytest.mark.parametrize(
    ("entry", "message"),
    [((INFO, 1), 1), ((CAST, 1), ("cast", 1)), ((CALL, 1, "from"), ("call", 1, "from"))],
    ids=["info", "cast", "call"],
)
def test_an_entry_is_shown_as_receive_gives_it(entry: Any, message: Any) -> None:
    assert as_message(entry) == message
