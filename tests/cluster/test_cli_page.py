"""docs/command-line.md shows what the commands really print: its `console` blocks are run, in order."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.cluster.commands import Commands, commands_in
from tests.cluster.harness import ROOT, free_ports
from tests.pages import DOCS

PAGE: Final = (DOCS / "command-line.md").read_text(encoding="utf-8")
PORTS: Final = ("4370", "4371", "4379")


def test_the_page_shows_what_the_commands_print(tmp_path: Path) -> None:
    text = PAGE
    for port, free in zip(PORTS, free_ports(len(PORTS)), strict=True):
        text = text.replace(f":{port}", f":{free}")
    blocks = re.findall(r"^```(python|console)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    with commands_in(tmp_path, secrets.token_hex(16)) as commands:
        assert blocks[0][0] == "python"
        (tmp_path / "shop.py").write_text(blocks[0][1])
        for _, block in blocks[1:]:
            command, _, shown = block.removeprefix("$ ").partition("\n")
            assert same_for_all(printed_by(commands, command, shown)) == same_for_all(shown)


def printed_by(commands: Commands, command: str, shown: str) -> str:
    """What a command prints. One that ends with "&" goes on; a shell gets the lines that begin with ">>>"."""
    name, *arguments = shlex.split(command.removesuffix("&"))
    assert name == "processhub"
    if arguments[0] == "shell":
        return session(commands, arguments, re.findall(r"^>>> (.*)$", shown, re.MULTILINE))
    run = commands.start(*arguments)
    if command.endswith("&"):
        return run.await_output("\n")
    run.finish()
    return run.output + run.errors


def session(commands: Commands, arguments: list[str], typed: list[str]) -> str:
    """What a shell prints, with what was typed. A pipe is not echoed: each line says itself that its turn has come."""
    text = "".join(f"print({'>>> ' + line!r})\n{line}\n" for line in typed)
    environment = {**os.environ, "PROCESSHUB_COOKIE": commands.cookie, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "processhub", *arguments]
    run = subprocess.run(
        command, input=text, env=environment, cwd=commands.folder, text=True, capture_output=True, timeout=30
    )
    return run.stderr.strip() + "\n" + run.stdout


def same_for_all(text: str) -> str:
    """Versions, processes and serials of pids differ from run to run; and with the ports the owners, and the widths."""
    text = re.sub(r"Python [\d.]+\w*|shell-\d+@127\.0\.0\.1:\d+|process \d+", "...", text)
    text = re.sub(r"<Pid (\S+)\.\d+>", r"<Pid \1.N>", re.sub(r"node\d@127\.0\.0\.1:\d+", "NODE", text))
    text = re.sub(r"^(NODE +)\d+", r"\1N", text, flags=re.MULTILINE)
    return re.sub(r'"pid": \d+', '"pid": N', re.sub(r"[ \t]+", " ", text))
