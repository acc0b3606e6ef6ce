"""`processhub shell` in a pseudo terminal: what the prompt shows, completes, and lets go on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import deeds
from tests.cluster.harness import ROOT, Fleet, two_shops
from tests.cluster.terminal import Prompt

CHILDREN = ["basket-1", "basket-2", "crate@x:7"]


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """Two nodes with a hub "shop" and children."""
    with two_shops(CHILDREN) as fleet:
        yield fleet


def shell_arguments(fleet: Fleet, *more: str) -> list[str]:
    return ["-m", "processhub", "shell", "--connect", fleet[0].name, *more]


@pytest.fixture(params=["standard", "IPython"])
def prompt(request: pytest.FixtureRequest, fleet: Fleet, tmp_path: Path) -> Iterator[Prompt]:
    """The shell, connected to the first node."""
    environment = {"IPYTHONDIR": str(tmp_path), "PROMPT_TOOLKIT_NO_CPR": "1"}
    arguments, first = shell_arguments(fleet, "--plain"), ">>> "
    if request.param == "IPython":
        pytest.importorskip("IPython")
        arguments, first = shell_arguments(fleet), "In [1]: "
    with Prompt(fleet.cookie, arguments, environment, first) as prompt:
        (name,) = set(re.findall(r"shell-\d+@127\.0\.0\.1:\d+", prompt.output))
        prompt.name = name
        yield prompt


def is_ipython(prompt: Prompt) -> bool:
    return prompt.prompt.startswith("In")


def test_the_banner_says_what_is_there(fleet: Fleet, prompt: Prompt) -> None:
    assert f"Observing hub 'shop': 3 children, on {fleet[0].name}, {fleet[1].name}." in prompt.output
    assert "process_list()" in prompt.output


def test_public_names_are_imported_and_the_prompt_calls_children(prompt: Prompt) -> None:
    assert "'hello'" in prompt.enter("GenServer.call(ProcessHub.via('shop', 'basket-1'), 'hel' + 'lo')")


def test_greenlets_run_while_nobody_types(fleet: Fleet, prompt: Prompt) -> None:
    prompt.enter("Echo = type('Echo', (GenServer,), {'handle_call': lambda self, request, from_: request})")
    prompt.enter("_ = Echo.start(name='echo')")
    for node in fleet:
        node.do(deeds.watch_nodes)
    for _ in range(50):
        assert fleet[1].do(deeds.call, "echo", prompt.name, "still there?") == "still there?"
    assert prompt.name not in fleet[0].do(deeds.downs)


def test_tables_are_shown_and_are_values(fleet: Fleet, prompt: Prompt) -> None:
    where = fleet[0].do(deeds.locate, "shop", CHILDREN)
    shown = prompt.enter("process_list()")
    for child_id, node in where.items():
        assert re.search(rf"^{re.escape(child_id)} +{re.escape(node)} +<Pid {re.escape(node)}\.\d+>\s*$", shown, re.M)
    assert "True" in prompt.enter("process_list() == ProcessHub.process_list('shop')")
    assert re.search(r"start +__main__:Echo\.start_link\(\)", prompt.enter("child_lookup('basket-2')"))
    assert "(True, 'running')" in prompt.enter(
        "i = child_lookup('shop', 'basket-2'); (i == ProcessHub.child_lookup('shop', 'basket-2'), *i.states.values())"
    )
    shown = prompt.enter("nodes()")
    for node in fleet:
        count = list(where.values()).count(node.name)
        assert re.search(rf"^{re.escape(node.name)} +{count}\s*$", shown, re.M), shown
    assert "True" in prompt.enter(f"nodes() == {sorted(node.name for node in fleet)!r}")
    assert re.search(r"^shop +2 +3 +settled\s*$", prompt.enter("hubs()"), re.M)


def test_tab_completes_python_and_the_ids_of_hubs_and_children(prompt: Prompt) -> None:
    quote = "'" if is_ipython(prompt) else ""  # readline closes the string itself
    prompt.type("process.__na\t")
    prompt.await_text("me__")
    prompt.type("\r")
    prompt.await_text("'supervisor.processes'")
    prompt.type("ProcessHub.get_pid('sh\t")
    prompt.await_text("op")
    prompt.type(f"{quote}, 'crate@x\t")
    prompt.await_text(":7")
    prompt.type(f"{quote})\r")
    prompt.await_text("<Pid node")
    prompt.type("child_lookup('bas\t\t\t")
    assert "basket-1" in prompt.await_text("basket-2")


def test_the_end_of_input_ends_the_shell_and_its_node_leaves(fleet: Fleet, prompt: Prompt) -> None:
    fleet[1].do(deeds.watch_nodes)
    prompt.type("exit()\r")
    assert prompt.finish() == 0
    assert fleet[1].do(deeds.await_down, prompt.name)


def test_ctrl_c_drops_the_line_and_keeps_the_shell(prompt: Prompt) -> None:
    prompt.type("1 + garbage")
    prompt.await_text("garbage")
    prompt.type("\x03")
    if not is_ipython(prompt):
        prompt.await_text("KeyboardInterrupt")
    assert "42" in prompt.enter("6 * 7")
    assert "'hello'" in prompt.enter("GenServer.call(ProcessHub.via('shop', 'basket-1'), 'hel' + 'lo')")


def test_an_exception_is_shown_and_the_shell_goes_on(prompt: Prompt) -> None:
    assert "TypeError: expected child_lookup(child_id)" in prompt.enter("child_lookup()")
    assert "42" in prompt.enter("6 * 7")


def piped(fleet: Fleet, text: str, *more: str) -> subprocess.CompletedProcess[str]:
    """A run of the shell that reads a pipe."""

    environment = {**os.environ, "PROCESSHUB_COOKIE": fleet.cookie}
    command = [sys.executable, *shell_arguments(fleet, *more)]
    return subprocess.run(command, input=text, env=environment, cwd=ROOT, text=True, capture_output=True, timeout=30)


def test_a_script_may_be_piped_into_it(fleet: Fleet) -> None:
    run = piped(fleet, "print(sorted(process_list()))\nprint(GenServer.call(ProcessHub.via('shop', 'basket-1'), 5))\n")
    assert run.stdout == f"{CHILDREN!r}\n5\n"
    assert run.returncode == 0


def test_a_hub_that_nobody_runs_is_one_clear_line(fleet: Fleet) -> None:
    run = piped(fleet, "", "--hub", "ghost")
    assert run.returncode == 2
    assert run.stderr == "processhub shell: hub 'ghost' runs on no node; there are: shop\n"
