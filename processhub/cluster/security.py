"""The cookie, the CURVE keys derived from it, and the ZAP handler that admits only who knows it."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import gevent
import zmq
from zmq.utils import z85

from processhub.cluster.watching import SocketWatcher, closing_on_error
from supervisor.errors import SupervisorError

COOKIE_VARIABLE: Final = "PROCESSHUB_COOKIE"
ZAP_DOMAIN: Final = b"processhub"
_ZAP_ENDPOINT: Final = "inproc://zeromq.zap.01"
_SALT: Final = b"processhub/curve/1"  # fixed: every node must derive the same keys from the cookie alone
_MOST_COOKIE_BYTES: Final = 4096
_LOG_EVERY: Final = 10.0

logger = logging.getLogger(__name__)


class CookieError(SupervisorError):
    """The cookie is empty, or its file is not private or cannot be read."""


@dataclass(frozen=True)
class Keys:
    """The CURVE key pairs of a cluster, Z85 text: one for all servers, one for all clients."""

    server_public: bytes
    client_public: bytes
    server_secret: bytes = field(repr=False)
    client_secret: bytes = field(repr=False)


@lru_cache(maxsize=16)
def derive_keys(cookie: str) -> Keys:
    """The key pairs that `cookie` stands for. Takes some 50 ms and 16 MB, once for each cookie.

    Memory-hard (scrypt), so that guessing a weak cookie from a public key is expensive.

    Raises:
        CookieError: the cookie is empty.
    """
    if not cookie:
        raise CookieError("the cookie is empty")
    text = cookie.encode("utf-8", "surrogateescape")
    seed = hashlib.scrypt(text, salt=_SALT, n=2**14, r=8, p=1, maxmem=2**26, dklen=64)
    server, client = _secret(seed[:32]), _secret(seed[32:])
    return Keys(zmq.curve_public(server), zmq.curve_public(client), server, client)


def _secret(seed: bytes) -> bytes:
    """A Curve25519 secret: the bits that the curve prescribes are set, the rest is `seed`."""
    scalar = bytearray(seed)
    scalar[0] &= 248
    scalar[31] = (scalar[31] & 127) | 64
    return bytes(z85.encode(bytes(scalar)))


def load_cookie(
    cookie: str | None = None, path: str | os.PathLike[str] | None = None, environ: Mapping[str, str] = os.environ
) -> str:
    """The shared secret of the cluster: the argument, else `PROCESSHUB_COOKIE`, else the cookie file.

    Args:
        cookie: the secret itself.
        path: the file, default `~/.processhub/cookie`. It is made with a random cookie and mode 0600 if it is missing;
            copy it to the other machines of the cluster.
        environ: the environment.

    Raises:
        CookieError: the cookie is empty, or the file belongs to another user, can be read by others, or cannot be read.
    """
    if cookie is None:
        cookie = environ.get(COOKIE_VARIABLE)
    if cookie is None:
        return _cookie_of_file(Path(path) if path is not None else Path.home() / ".processhub" / "cookie")
    if not cookie.strip():
        raise CookieError(f"the cookie is empty (argument or {COOKIE_VARIABLE})")
    return cookie


def _cookie_of_file(path: Path) -> str:
    try:
        if not path.exists():
            _make_cookie_file(path)
        return _read_cookie_file(path)
    except (OSError, UnicodeDecodeError) as error:
        raise CookieError(f"cannot read the cookie file {path}: {error}") from error


def _make_cookie_file(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(prefix=".cookie-", dir=path.parent)  # mkstemp makes it with mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
        # A link and not a rename: of two nodes that start at once, one wins and the other reads the winner's.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.unlink(draft)


def _read_cookie_file(path: Path) -> str:
    with path.open("rb") as file:
        _check_private(path, os.fstat(file.fileno()))
        cookie = file.read(_MOST_COOKIE_BYTES).decode().strip()
    if not cookie:
        raise CookieError(f"the cookie file {path} is empty")
    return cookie


def _check_private(path: Path, status: os.stat_result) -> None:
    if os.name != "posix":
        return
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise CookieError(f"the cookie file {path} can be read or written by others; run: chmod 600 {path}")
    if status.st_uid not in (os.geteuid(), 0):
        raise CookieError(f"the cookie file {path} belongs to user {status.st_uid}, not to this one")


def secure_server(socket: zmq.Socket[Any], keys: Keys) -> None:
    """Set the CURVE options of a socket that will be bound. A `ZapHandler` must run in its context."""
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.server_secret)
    socket.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
    # Without this, a context whose ZAP handler is missing would admit any key.
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


def secure_client(socket: zmq.Socket[Any], keys: Keys) -> None:
    """Set the CURVE options of a socket that will be connected."""
    socket.setsockopt(zmq.CURVE_SERVERKEY, keys.server_public)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.client_public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.client_secret)


class ZapHandler:
    """Answers the authentication requests of one ZeroMQ context: yes to the derived client key, no to all else.

    It runs in a loop watcher; pyzmq's ready-made one needs a thread. There is one for each context, before any
    server socket of it is bound.
    """

    def __init__(self, context: zmq.Context[Any], keys: Keys) -> None:
        self._admitted = z85.decode(keys.client_public)
        self._refusals = RefusalLog()
        self._socket: zmq.Socket[Any] = zmq.Socket(context, zmq.REP)
        with closing_on_error(self._socket):
            self._socket.setsockopt(zmq.LINGER, 0)
            self._socket.bind(_ZAP_ENDPOINT)
            self._watcher = SocketWatcher(self._socket, self._answer_all)

    def close(self) -> None:
        """Stop answering: from now on every handshake of this context fails. Safe to call twice."""
        self._watcher.close()
        self._socket.close()

    def _answer_all(self) -> None:
        while True:
            try:
                request = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._socket.send_multipart(self._answer(request), zmq.NOBLOCK)

    def _answer(self, request: list[bytes]) -> list[bytes]:
        _version, request_id, _domain, address, _identity, mechanism, *credentials = request
        if mechanism == b"CURVE" and secrets.compare_digest(b"".join(credentials), self._admitted):
            status, text = b"200", b"OK"
        else:
            status, text = b"400", b"unknown key"
            self._refusals.note(address.decode(errors="replace"), "its key is not derived from our cookie")
        return [b"1.0", request_id, status, text, b"", b""]


class RefusalLog:
    """Logs refused peers, at most once in ten seconds, with the number of those left out."""

    def __init__(self) -> None:
        self._next = 0.0
        self._left_out = 0

    def note(self, who: str, why: str) -> None:
        """A peer at address `who` was refused."""
        now = gevent.get_hub().loop.now()
        if now < self._next:
            self._left_out += 1
            return
        more = f" ({self._left_out} more refusals since the last message)" if self._left_out else ""
        logger.warning("refused a peer at %s: %s; probably another cookie%s", who, why, more)
        self._next = now + _LOG_EVERY
        self._left_out = 0
