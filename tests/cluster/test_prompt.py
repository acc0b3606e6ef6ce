"""A node at a plain Python prompt, in a pseudo terminal: greenlets run while nobody types."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.cluster import deeds
from tests.cluster.harness import ROOT, Fleet, free_ports, two_shops
from tests.cluster.terminal import Prompt

CHILDREN = ["a", "b", "c", "d"]


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """Two nodes with a hub and children."""
    with two_shops(CHILDREN) as fleet:
        yield fleet


@pytest.fixture
def prompt(fleet: Fleet) -> Iterator[Prompt]:
    """A prompt whose node is connected to both."""
    name = f"prompt@127.0.0.1:{free_ports(1)[0]}"
    with Prompt(fleet.cookie) as prompt:
        prompt.enter("from processhub import *")
        prompt.enter(f"Node.start({name!r})")
        assert "True" in prompt.enter(f"Node.connect({fleet[0].name!r})")
        prompt.enter("Echo = type('Echo', (GenServer,), {'handle_call': lambda self, request, from_: request})")
        prompt.enter("Echo.start(name='echo')")
        for node in fleet:
            node.do(deeds.await_peer, name)
        prompt.name = name
        yield prompt


def test_a_hub_is_observed_and_its_children_are_called_from_a_prompt(fleet: Fleet, prompt: Prompt) -> None:
    prompt.enter("ProcessHub.observe('shop')")
    prompt.enter(f"ProcessHub.await_settled('shop', 10.0, {sorted(node.name for node in fleet)!r})")
    assert repr(CHILDREN) in prompt.enter("sorted(ProcessHub.process_list('shop', 'global'))")
    assert "Pid node" in prompt.enter("pid = ProcessHub.get_pid('shop', 'a'); pid")
    assert "'hello'" in prompt.enter("GenServer.call(pid, 'hel' + 'lo')")


def test_a_prompt_at_which_nobody_types_answers_and_stays_a_member(fleet: Fleet, prompt: Prompt) -> None:
    for node in fleet:
        node.do(deeds.watch_nodes)
    for _ in range(50):
        assert fleet[1].do(deeds.call, "echo", prompt.name, "still there?") == "still there?"
    for node in fleet:
        assert prompt.name in node.do(deeds.peers)
        assert prompt.name not in node.do(deeds.downs)


def test_an_exit_that_reaches_the_process_of_a_prompt_is_shown_and_the_prompt_goes_on(prompt: Prompt) -> None:
    prompt.enter("me = process.self()")
    prompt.type("_ = process.spawn(lambda: (process.sleep(0.1), process.exit(me, 'bye bye')))\r")
    prompt.await_text("has ended: bye bye")
    assert "42" in prompt.enter("6 * 7")
    assert "True" in prompt.enter("process.self() != me")


def test_ctrl_c_drops_the_line_and_keeps_the_node(fleet: Fleet, prompt: Prompt) -> None:
    prompt.type("1 + garbage")
    prompt.await_text("garbage")
    assert fleet[1].do(deeds.call, "echo", prompt.name, 1) == 1  # the loop runs while the line is half typed
    prompt.type("\x03")
    prompt.await_text("KeyboardInterrupt")
    assert "42" in prompt.enter("6 * 7")
    assert fleet[1].do(deeds.call, "echo", prompt.name, 2) == 2
    assert "Exception ignored" not in prompt.output


def test_what_is_pasted_is_read_to_its_end(prompt: Prompt) -> None:
    prompt.type("".join(f"x{i} = {i}\r" for i in range(50)))
    assert "(0, 49)" in prompt.enter("x0, x49")


def test_a_prompt_is_left_as_it_was_when_the_node_stops(prompt: Prompt) -> None:
    prompt.enter("import ctypes, signal")
    hook = "ctypes.c_void_p.in_dll(ctypes.pythonapi, 'PyOS_InputHook').value"
    assert "True" in prompt.enter(f"{hook} is not None")
    prompt.enter("Node.stop()")
    prompt.enter("import sys; readline = sys.modules.get('readline')")
    assert "(True, True)" in prompt.enter(f"({hook} is None, signal.getsignal(2) is signal.default_int_handler)")


def test_a_prompt_that_reads_a_pipe_is_not_held_up_by_what_is_buffered(fleet: Fleet) -> None:
    name = f"piped@127.0.0.1:{free_ports(1)[0]}"
    lines = [
        "from processhub import *",
        f"_ = Node.start({name!r})",
        f"print(Node.connect({fleet[0].name!r}))",
        f"print(GenServer.call(('echo', {fleet[0].name!r}), 'over there'))",
    ]
    environment = {**os.environ, "PROCESSHUB_COOKIE": fleet.cookie, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-i", "-q"]
    text = "\n".join(lines) + "\n"
    run = subprocess.run(command, input=text, env=environment, text=True, capture_output=True, timeout=30)
    assert run.stdout.split("\n")[:2] == ["True", "over there"], run.stderr
