"""Addresses, "host:port", and the probe that asks whether anything listens at one."""

from __future__ import annotations

import contextlib
import errno
from typing import Any, Final

import gevent
from gevent import socket

from processhub.cluster.transport import ListenError

_PROBE_TIMEOUT: Final = 0.5


def is_listened_on(address: str) -> bool:
    """False if a TCP connection is refused; True if it is accepted or that cannot be told in half a second."""
    try:
        with gevent.Timeout(_PROBE_TIMEOUT, OSError):
            _connect(*split(address)).close()
    except ValueError:
        return True
    except OSError as error:
        return error.errno != errno.ECONNREFUSED
    return True


def _connect(host: str, port: int) -> Any:
    family = _family(host)
    if family is None:
        return socket.create_connection((host, port))  # looks the name up in gevent's thread pool
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.connect((host, port))
    except BaseException:
        connection.close()
        raise
    return connection


def _family(host: str) -> int | None:
    """The address family of a numeric host, None for a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, host)
            return int(family)
    return None


def split(address: str) -> tuple[str, int]:
    """The host, without brackets, and the port; ValueError if `address` is no "host:port"."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address!r} is no host:port")
    return host.strip("[]"), int(port)


def bindable(address: str) -> str:
    """The address with its host as a number: ZeroMQ binds to no other."""
    try:
        host, port = split(address)
    except ValueError as error:
        raise ListenError(errno.EINVAL, str(error)) from error
    if host in ("*", "") or _family(host) is not None:
        return address
    try:
        return f"{socket.gethostbyname(host)}:{port}"
    except OSError as error:
        raise ListenError(error.errno, f"cannot listen on {address}: {error}") from error
