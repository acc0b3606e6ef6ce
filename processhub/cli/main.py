"""The commands and their arguments."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from processhub.cli.errors import CommandError
from processhub.cli.serving import serve
from processhub.cli.shell import run_shell
from processhub.cli.status import show_status


def run(arguments: Sequence[str]) -> int:
    """Run a command. Returns its exit status: 0, 1 where something is not well, 2 where it could not be done."""
    options = _parser().parse_args(arguments)
    _find_modules_here()
    try:
        return int(options.command(options))
    except CommandError as error:
        print(f"processhub {options.command_name}: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return 130


def _find_modules_here() -> None:
    """The current directory is importable, as with `python -m`; a console script's path starts with its own folder."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="processhub", description="Run nodes, and look at a cluster.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_node(commands)
    _add_shell(commands)
    _add_status(commands)
    return parser


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    # No abbreviations: an option added later must not change what a script means, and `--no-monkey-patch` is looked
    # for before there is a parser.
    parser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.set_defaults(command_name=name)
    parser.add_argument(
        "--cookie-file", metavar="FILE", help="holds the secret that the nodes share (default: see docs)"
    )
    return parser


def _add_node(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(commands, "node", "Run a node with an application until SIGTERM or Ctrl-C, then drain it.")
    parser.set_defaults(command=serve)
    parser.add_argument("node", metavar="NAME", help="name@host:port, the address that peers connect to")
    parser.add_argument(
        "--seed", action="append", default=[], metavar="NODE", help="a node to connect to; may be repeated"
    )
    parser.add_argument(
        "--app", metavar="MODULE:CALLABLE", help="returns child specs, or the pid of a supervisor it started"
    )
    parser.add_argument("--bind", metavar="HOST:PORT", help="where to listen, if that is not the address in NAME")
    parser.add_argument("--no-monkey-patch", action="store_true", help="leave the standard library as it is")
    parser.add_argument(
        "--stop-timeout", type=_seconds, metavar="SECONDS", help="for draining (default: as long as it takes)"
    )
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info")
    parser.add_argument("--json", action="store_true", help="print the line that says that it runs as JSON")


def _add_visit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--connect", required=True, metavar="NODE", help="a node of the cluster")
    parser.add_argument("--hub", action="append", default=[], metavar="ID", help="only this hub; may be repeated")
    parser.add_argument("--name", metavar="NAME", help="name@host:port of our own node (default: a free port)")


def _add_shell(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(commands, "shell", "A Python prompt in a cluster, as an observer: it owns no children.")
    parser.set_defaults(command=run_shell)
    _add_visit(parser)
    parser.add_argument("--plain", action="store_true", help="the standard prompt, even where IPython is installed")


def _add_status(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "Print nodes, hubs and children. Exit status: 0, 1 if something is wrong, 2 if nobody can be asked."
    parser = _add(commands, "status", text)
    parser.set_defaults(command=show_status)
    _add_visit(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    wait = "how long something that may pass (a move, a restart) may go on before it is called wrong (default: 5)"
    parser.add_argument("--wait", type=_seconds, default=5.0, metavar="SECONDS", help=wait)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.0 <= seconds < float("inf"):
        raise ValueError
    return seconds
