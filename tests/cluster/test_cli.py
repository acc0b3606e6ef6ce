"""`processhub node` and `processhub status` as they are: operating-system processes on loopback."""

from __future__ import annotations

import json
import re
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.commands import Commands, commands_in
from tests.cluster.harness import free_ports

COOKIE = secrets.token_hex(16)


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    """Commands in a folder with the module `shop`."""
    with commands_in(tmp_path, COOKIE) as commands:
        yield commands


def name_of(number: int) -> str:
    """A name for a node at a free port."""
    return f"node{number}@127.0.0.1:{free_ports(1)[0]}"


def add_module(commands: Commands, name: str, text: str) -> str:
    """Write a module that stands on `shop`; returns its name."""
    (commands.folder / f"{name}.py").write_text("from processhub import *\nfrom shop import *\n" + text)
    return name


def one_line(text: str) -> bool:
    return text.count("\n") == 1 and text.endswith("\n")


def status(commands: Commands, node: str, *arguments: str) -> tuple[int, Any]:
    """The exit status of `processhub status --json`, and what it printed."""
    code, command = commands.run("status", "--connect", node, "--json", *arguments)
    assert command.errors == ""
    return code, json.loads(command.output)


# -- processhub node -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_runs_an_application_until_a_signal_and_drains(commands: Commands, number: int) -> None:
    node = commands.node(name := name_of(1), "--app", "shop:app")
    assert status(commands, name)[0] == 0
    node.signal(number)
    assert node.finish() == 0
    assert node.output == f"{name} runs; Ctrl-C or SIGTERM stops it\n"
    assert f"{signal.Signals(number).name}: the node drains and stops" in node.errors
    assert "Traceback" not in node.errors


def test_nodes_find_each_other_and_one_that_drains_hands_over_its_children(commands: Commands) -> None:
    commands.node(first := name_of(1), "--app", "shop:app")
    leaver = commands.node(name_of(2), "--app", "shop:app", "--seed", first)
    code, seen = status(commands, first, "--wait", "15")
    assert code == 0
    assert sum(one["states"].get("running", 0) for one in seen["hubs"]["shop"].values()) == 3
    assert len(seen["nodes"]) == 2
    leaver.signal(signal.SIGTERM)
    assert leaver.finish() == 0
    code, seen = status(commands, first, "--wait", "15")
    assert code == 0
    assert list(seen["hubs"]["shop"]) == [first]
    assert seen["hubs"]["shop"][first]["states"] == {"running": 3}


def test_static_children_are_not_started_again_while_a_node_stops(commands: Commands) -> None:
    text = "class Told(Basket):\n    def init(self):\n        print('start', flush=True)\n"
    text += "def told():\n    return [ProcessHub.child_spec(ProcessHub('h', child_specs=[Told.child_spec(id='c')]))]\n"
    node = commands.node(name_of(1), "--app", f"{add_module(commands, 'told', text)}:told")
    node.signal(signal.SIGTERM)
    assert node.finish() == 0
    assert node.output.count("start") == 1


def test_the_standard_library_is_patched_before_the_application_unless_told_not_to(commands: Commands) -> None:
    text = "import threading\nfrom time import sleep\nfrom gevent import monkey\n"
    text += "def app():\n    patched = [monkey.is_module_patched('socket'), 'gevent' in sleep.__module__]\n"
    text += "    thread = threading.Thread(target=print, args=(patched,))\n    thread.start()\n    thread.join()\n"
    text += "    return []\n"
    app = f"{add_module(commands, 'patched', text)}:app"
    assert "[True, True]" in commands.node(name_of(1), "--app", app).output
    assert "[False, False]" in commands.node(name_of(2), "--app", app, "--no-monkey-patch").output


def test_the_line_that_says_that_a_node_runs_may_be_json(commands: Commands) -> None:
    node = commands.start("node", name := name_of(1), "--json")
    said = json.loads(node.await_output("\n"))
    assert said == {"event": "running", "node": name, "pid": node.process.pid, "nodes": []}


def test_log_lines_name_the_node_and_the_process(commands: Commands) -> None:
    text = "import logging\nclass Loud(Basket):\n    def init(self):\n        logging.getLogger('my').warning('hi')\n"
    text += "def app():\n    return [Loud.child_spec(name='loud')]\n"
    node = commands.node(name := name_of(1), "--app", f"{add_module(commands, 'loud', text)}:app")
    line = node.await_errors("my: hi")
    assert re.search(rf"WARNING {re.escape(name)} <\d+ (loud|Loud)> my: hi", line)


def test_a_second_signal_ends_a_node_at_once(commands: Commands) -> None:
    text = "class Slow(Basket):\n    def init(self):\n        process.trap_exit(True)\n"
    text += "    def terminate(self, reason):\n        print('terminate', flush=True)\n        process.sleep(1000)\n"
    text += "def app():\n    return [ChildSpec('slow', (Slow.start_link, ()), shutdown='infinity')]\n"
    node = commands.node(name_of(1), "--app", f"{add_module(commands, 'slow', text)}:app")
    node.signal(signal.SIGTERM)
    node.await_output("terminate")
    node.signal(signal.SIGTERM)
    assert node.finish() == 128 + signal.SIGTERM
    assert "second signal" in node.errors


def test_a_stop_timeout_bounds_the_drain(commands: Commands) -> None:
    text = "class Slow(Basket):\n    def init(self):\n        process.trap_exit(True)\n"
    text += "    def terminate(self, reason):\n        process.sleep(1000)\n"
    text += "def app():\n    return [ChildSpec('slow', (Slow.start_link, ()), shutdown='infinity')]\n"
    app = f"{add_module(commands, 'slow', text)}:app"
    node = commands.node(name_of(1), "--app", app, "--stop-timeout", "0.2")
    node.signal(signal.SIGTERM)
    assert node.finish() == 0


def test_a_node_whose_application_dies_stops_with_status_1(commands: Commands) -> None:
    text = "def app():\n    sup = Supervisor.start_link([Basket.child_spec(name='b')], max_restarts=0)\n"
    text += "    process.send_after('b', None, 0.05)\n    return sup\n"
    text += "Basket.handle_info = Basket.handle_cast\n"
    node = commands.start("node", name_of(1), "--app", f"{add_module(commands, 'dying', text)}:app")
    assert node.finish() == 1
    assert node.errors.endswith("processhub node: the application has ended: shutdown; the node has stopped\n")


def test_a_node_whose_application_ends_normally_stops_with_status_0(commands: Commands) -> None:
    text = "def app():\n    sup = Supervisor.start_link([])\n    process.spawn(Supervisor.stop, sup)\n    return sup\n"
    node = commands.start("node", name_of(1), "--app", f"{add_module(commands, 'ending', text)}:app")
    assert node.finish() == 0


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("def app(): return 42", "it returned 42; expected an iterable of child specs"),
        ("def app(): return [ChildSpec('b', (len, ()))]", "child 'b' failed to start: TypeError"),
        ("def app(): return 1 / 0", r"ZeroDivisionError: division by zero (.*broken.py, line 3)"),
        ("def app(): raise SystemExit(3)", "3"),
    ],
)
def test_an_application_that_does_not_start_ends_the_node_with_status_1(
    commands: Commands, text: str, line: str
) -> None:
    app = f"{add_module(commands, 'broken', text)}:app"
    code, node = commands.run("node", name_of(1), "--app", app, "--log-level", "error")
    assert code == 1
    last = node.errors.splitlines()[-1]
    assert last.startswith("processhub node: the application did not start: ")
    assert re.search(line.replace("(", r"\(").replace(")", r"\)"), last), last


@pytest.mark.parametrize(
    ("app", "line"),
    [
        ("shop", "--app 'shop': expected module:callable, as in shop:app"),
        ("ghost:app", "--app ghost:app: cannot import ghost: ModuleNotFoundError: No module named 'ghost'"),
        ("shop:ghost", "--app shop:ghost: shop has no 'ghost'"),
        ("shop:__name__", "--app shop:__name__: __name__ is 'shop', which is not callable"),
        ("faulty:app", r"cannot import faulty: NameError: name 'oops' is not defined \(.*faulty.py, line 3\)"),
        ("wrong:app", "cannot import wrong: SyntaxError: "),
    ],
)
def test_an_application_that_cannot_be_imported_is_one_clear_line(commands: Commands, app: str, line: str) -> None:
    add_module(commands, "faulty", "oops")
    add_module(commands, "wrong", "def")
    code, node = commands.run("node", name_of(1), "--app", app)
    assert code == 2
    assert one_line(node.errors)
    assert re.search(line, node.errors), node.errors


def test_a_port_in_use_is_one_clear_line(commands: Commands) -> None:
    commands.node(name := name_of(1))
    code, second = commands.run("node", name)
    assert code == 2
    assert one_line(second.errors)
    assert "Address already in use" in second.errors


@pytest.mark.parametrize("name", ["node1", "node1@127.0.0.1", "@127.0.0.1:4370", "node1@127.0.0.1:x"])
def test_a_bad_name_is_one_clear_line(commands: Commands, name: str) -> None:
    code, node = commands.run("node", name)
    assert code == 2
    assert node.errors == f"processhub node: not a node name: {name!r}; expected {FORM}\n"


FORM = "name@host:port, as in node1@127.0.0.1:4370"


def test_a_cookie_file_is_read_and_must_be_there(commands: Commands) -> None:
    code, node = commands.run("node", name_of(1), "--cookie-file", "ghost")
    assert code == 2
    assert node.errors == "processhub node: --cookie-file ghost: there is no such file\n"
    path = commands.folder / "cookie"
    path.write_text("another")
    code, node = commands.run("node", name_of(1), "--cookie-file", "cookie")
    assert code == 2
    assert "can be read or written by others" in node.errors
    path.chmod(0o600)
    commands.node(name := name_of(1), "--cookie-file", "cookie")
    assert commands.run("status", "--connect", name, "--cookie-file", "cookie")[0] == 0
    assert commands.run("status", "--connect", name)[0] == 2


def test_a_node_with_another_cookie_is_one_clear_line(commands: Commands) -> None:
    commands.node(first := name_of(1))
    code, node = commands.run("node", name_of(2), "--seed", first, "--log-level", "error", cookie="another")
    assert code == 2
    last = node.errors.splitlines()[-1]
    assert last.startswith(f"processhub node: {first} refuses us: ")
    assert "another cookie" in last
    assert "runs" not in node.output


def test_a_seed_that_is_not_there_yet_is_waited_for_only_a_moment(commands: Commands) -> None:
    seed = name_of(1)
    node = commands.node(name_of(2), "--seed", seed)
    assert f"no seed answers yet; they are asked again and again: {seed}" in node.errors
    commands.node(seed)
    node.await_errors(f"{seed} is up")


def test_a_wrong_argument_is_explained(commands: Commands) -> None:
    for arguments in (["nodes"], ["node"], ["node", "n@h:1", "--stop-timeout", "-1"], ["status"], []):
        code, command = commands.run(*arguments)
        assert code == 2
        assert "usage: processhub" in command.errors
        assert "Traceback" not in command.errors


# -- processhub status -----------------------------------------------------------------------------------------------


def test_status_prints_nodes_hubs_and_children(commands: Commands) -> None:
    commands.node(name := name_of(1), "--app", "shop:app")
    code, command = commands.run("status", "--connect", name)
    assert code == 0
    assert re.search(rf"^node +hubs\n{re.escape(name)} +shop$", command.output, re.MULTILINE)
    assert "hub shop: 3 children\n" in command.output
    assert re.search(rf"^{re.escape(name)} +3 +0 +0 +0  settled$", command.output, re.MULTILINE)
    assert command.output.endswith("\nall is well\n")
    assert command.errors == ""


def test_status_as_json_says_the_same(commands: Commands) -> None:
    commands.node(name := name_of(1), "--app", "shop:app")
    code, found = status(commands, name)
    assert code == 0
    assert (found["ok"], found["problems"]) == (True, [])
    assert found["nodes"] == {name: {"reachable": True, "hubs": ["shop"]}}
    report = found["hubs"]["shop"][name]
    assert (report["members"], report["states"], report["children"]) == ([name], {"running": 3}, 3)
    assert not report["is_partitioned"]
    assert not report["is_locked"]


def test_status_of_a_node_that_is_not_there_is_2(commands: Commands) -> None:
    code, command = commands.run("status", "--connect", name := name_of(1))
    assert code == 2
    assert command.errors == f"processhub status: cannot connect to {name}: Connection refused\n"
    assert command.output == ""


def test_status_with_another_cookie_is_2(commands: Commands) -> None:
    commands.node(name := name_of(1))
    code, command = commands.run("status", "--connect", name, cookie="another")
    assert code == 2
    assert one_line(command.errors)
    assert "another cookie" in command.errors


def test_status_with_a_bad_name_is_2(commands: Commands) -> None:
    code, command = commands.run("status", "--connect", "node1")
    assert code == 2
    assert command.errors == f"processhub status: not a node name: 'node1'; expected {FORM}\n"


def test_status_of_a_hub_with_a_failed_child_is_1(commands: Commands) -> None:
    # It comes up three times; when it is tried again it does not, so that status never finds it running for a moment.
    text = "lives = []\nclass Bad(Basket):\n    def init(self):\n        lives.append(self)\n"
    text += "        if len(lives) > 3:\n            raise ValueError('no more')\n        return Continue('go')\n"
    text += "    def handle_continue(self, token):\n        process.sleep(0.01)\n        raise ValueError('no')\n"
    text += "def app():\n    config = ProcessHub('shop', child_specs=[Bad.child_spec(id='bad')], dsup_max_restarts=2)\n"
    text += "    return [ProcessHub.child_spec(config)]\n"
    node = commands.node(name := name_of(1), "--app", f"{add_module(commands, 'bad', text)}:app")
    node.await_errors("it is tried again later")
    code, found = status(commands, name)
    assert code == 1
    assert not found["ok"]
    assert any("'bad'" in problem for problem in found["problems"])


def test_status_of_a_cluster_with_a_node_that_does_not_answer_is_1(commands: Commands) -> None:
    commands.node(first := name_of(1), "--app", "shop:app")
    second = commands.node(name := name_of(2), "--app", "shop:app", "--seed", first)
    second.signal(signal.SIGSTOP)
    code, command = commands.run("status", "--connect", first, "--wait", "0")
    second.signal(signal.SIGCONT)
    assert code == 1
    assert f"node {name} cannot be reached" in command.output


def test_status_of_one_hub_leaves_out_the_others_and_misses_it_where_it_is_not(commands: Commands) -> None:
    text = "def app():\n    return [hub(), ProcessHub.child_spec(ProcessHub('bar'))]\n"
    commands.node(name := name_of(1), "--app", f"{add_module(commands, 'two', text)}:app")
    code, found = status(commands, name, "--hub", "bar")
    assert (code, list(found["hubs"])) == (0, ["bar"])
    assert list(status(commands, name)[1]["hubs"]) == ["bar", "shop"]
    code, found = status(commands, name, "--hub", "ghost", "--wait", "0")
    assert (code, found["problems"]) == (1, ["hub ghost: runs on no node"])


def test_a_status_leaves_no_trace_in_the_cluster(commands: Commands) -> None:
    node = commands.node(name := name_of(1), "--app", "shop:app")
    assert status(commands, name)[0] == 0
    node.await_errors("is down (left)")
    assert list(status(commands, name)[1]["nodes"]) == [name]
