"""Starting the node of a command; a visitor's also connects to all that the cluster has."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from typing import Final

from processhub import CookieError, ListenError, Node, NodeInfo, ProcessExit, Task
from processhub.cli.errors import CommandError
from processhub.cluster.addresses import split
from processhub.cluster.names import address_of
from processhub.cluster.security import load_cookie

_PROBE_SECONDS: Final = 5.0
_TRIES: Final = 3


def start_node(name: str, cookie_file: str | None, seeds: Sequence[str] = (), bind: str | None = None) -> Node:
    """`Node.start`; what goes wrong is a CommandError."""
    try:
        return Node.start(name, cookie=_cookie(cookie_file), seeds=seeds, bind=bind)
    except ListenError as error:
        raise CommandError(error.strerror or str(error)) from error
    except (ValueError, CookieError) as error:
        raise CommandError(str(error)) from error


def _cookie(path: str | None) -> str | None:
    """The cookie in the file `--cookie-file`; None without one: then `Node.start` finds it."""
    if path is None:
        return None
    if not os.path.exists(path):  # load_cookie would make one, a secret that nobody shares
        raise CommandError(f"--cookie-file {path}: there is no such file")
    return load_cookie(path=path, environ={})


# -- visitors --------------------------------------------------------------------------------------------------------


def visit(target: str, role: str, name: str | None, cookie_file: str | None) -> list[str]:
    """Start a node of our own, `role-<pid>` at a free port unless `name` is given, and connect it to `target` and to
    all that `target` knows. Returns the nodes of the cluster, sorted; those that we do not reach are among them."""
    host = _own_host(target)
    if name is not None:
        start_node(name, cookie_file)
    else:
        _start_at_free_port(role, host, cookie_file)
    if not Node.connect(target):
        why = Node.refusals().get(target)
        raise CommandError(f"{target} refuses us: {why}" if why else f"cannot connect to {target}: no answer")
    return meet([target, *_info(target).nodes])


def _info(node: str) -> NodeInfo:
    try:
        return Node.info(node)
    except (ProcessExit, TimeoutError) as error:
        raise CommandError(f"{node} does not answer: {error}") from error


def meet(names: Iterable[str]) -> list[str]:
    """Connect to these nodes, all at the same time. Returns them without our own, sorted, reached or not."""
    others = sorted(set(names) - {Node.self()})
    for task in [Task.spawn(Node.connect, name) for name in others]:
        task.result(None)
    return others


def _own_host(target: str) -> str:
    """The address of this machine that `target` sees. Raises CommandError where nobody listens at `target`."""
    try:
        host, port = split(address_of(target))
        with socket.create_connection((host, port), _PROBE_SECONDS) as connection:
            own = str(connection.getsockname()[0])
    except ValueError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"cannot connect to {target}: {error.strerror or error}") from error
    return f"[{own}]" if ":" in own else own


def _start_at_free_port(role: str, host: str, cookie_file: str | None) -> None:
    """Peers connect to us too, so the port must be known before the node starts; another may take it meanwhile."""
    for tries_left in reversed(range(_TRIES)):
        try:
            start_node(f"{role}-{os.getpid()}@{host}:{_free_port(host)}", cookie_file)
            return
        except CommandError as error:
            if not tries_left or not isinstance(error.__cause__, ListenError):
                raise


def _free_port(host: str) -> int:
    with socket.create_server((host.strip("[]"), 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as one:
        return int(one.getsockname()[1])
