from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import gevent
import gevent.event
import pytest
import zerorpc
import zmq

from processhub.cluster import security
from processhub.cluster.security import (
    CookieError,
    Keys,
    RefusalLog,
    ZapHandler,
    derive_keys,
    load_cookie,
    secure_client,
    secure_server,
)


def test_the_argument_goes_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cookie"
    assert load_cookie("a", path, {"PROCESSHUB_COOKIE": "b"}) == "a"
    assert load_cookie(None, path, {"PROCESSHUB_COOKIE": "b"}) == "b"
    assert not path.exists()
    assert load_cookie(None, path, {}) == path.read_text().strip()


def test_the_cookie_file_is_made_private_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cookie"
    cookie = load_cookie(None, path, {})
    assert len(cookie) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert load_cookie(None, path, {}) == cookie
    assert os.listdir(path.parent) == ["cookie"]


def test_of_two_nodes_that_make_the_file_at_once_both_use_one_cookie(tmp_path: Path) -> None:
    path = tmp_path / "cookie"
    security._make_cookie_file(path)
    first = path.read_text()
    security._make_cookie_file(path)  # as a node does that did not see the file a moment ago
    assert path.read_text() == first
    assert os.listdir(tmp_path) == ["cookie"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_cookie_file_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "cookie"
    load_cookie(None, path, {})
    path.chmod(mode)
    with pytest.raises(CookieError, match=r"chmod 600"):
        load_cookie(None, path, {})


def test_an_empty_or_unreadable_cookie_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "cookie"
    empty.touch(mode=0o600)
    blank = {"PROCESSHUB_COOKIE": " "}
    uses: list[Callable[[], object]] = [
        lambda: load_cookie(""),
        lambda: load_cookie(None, None, blank),
        lambda: load_cookie(None, empty, {}),
        lambda: load_cookie(None, tmp_path, {}),
    ]
    for use in uses:
        with pytest.raises(CookieError):
            use()
    with pytest.raises(CookieError):
        derive_keys("")


def test_keys_depend_on_the_cookie_alone_and_differ_between_the_sides() -> None:
    keys = derive_keys("secret")
    again = derive_keys.__wrapped__("secret")
    assert keys == again
    assert derive_keys("secret") is keys
    assert len({keys.server_public, keys.client_public, *vars(derive_keys("Secret")).values()}) == 6
    assert zmq.curve_public(keys.server_secret) == keys.server_public
    assert zmq.curve_public(keys.client_secret) == keys.client_public


def test_the_derivation_never_changes() -> None:
    keys = derive_keys("secret")  # nodes of different versions must meet
    assert keys.server_public == b"4-MjOwcQRbyI4p-0yOP2Ix:p6sFmNLe=hudl]s-<"
    assert keys.client_public == b"V]W0jIyL2IbB>*2rU!kab%(#C=R{>Vkm4#g.x!dz"


def test_secrets_do_not_show_in_the_text_of_keys() -> None:
    keys = derive_keys("secret")
    assert keys.server_secret.decode() not in repr(keys)
    assert keys.client_secret.decode() not in repr(keys)


def received_by_a_server(server: Keys, client: Keys, with_handler: bool = True) -> list[bytes]:
    """What a server with a ZAP handler gets of a client that sends one message."""
    context = zerorpc.Context()
    handler = ZapHandler(context, server) if with_handler else None
    pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    got = []
    try:
        secure_server(pull, server)
        secure_client(push, client)
        port = pull.bind_to_random_port("tcp://127.0.0.1")
        push.connect(f"tcp://127.0.0.1:{port}")
        push.send(b"let me in")
        with contextlib.suppress(gevent.Timeout), gevent.Timeout(0.3):  # how long a stranger may try
            got.append(pull.recv())
    finally:
        if handler is not None:
            handler.close()
            handler.close()
        for each in (pull, push):
            each.setsockopt(zmq.LINGER, 0)
            each.close()
        context.term()
    return got


def stranger(server_public: bytes) -> Keys:
    public, secret = zmq.curve_keypair()
    return Keys(server_public, public, b"", secret)


def test_a_client_with_the_derived_key_is_admitted() -> None:
    keys = derive_keys("secret")
    assert received_by_a_server(keys, keys) == [b"let me in"]


def test_a_client_with_another_key_is_refused_even_if_it_knows_the_servers(caplog: pytest.LogCaptureFixture) -> None:
    keys = derive_keys("secret")
    assert received_by_a_server(keys, stranger(keys.server_public)) == []
    assert "refused a peer at 127.0.0.1: its key is not derived from our cookie; probably another cookie" in caplog.text


def test_a_client_with_another_cookie_is_refused() -> None:
    assert received_by_a_server(derive_keys("secret"), derive_keys("other")) == []


def test_without_a_handler_nobody_is_admitted() -> None:
    keys = derive_keys("secret")
    assert received_by_a_server(keys, keys, with_handler=False) == []


def test_refusals_are_logged_now_and_then_and_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = RefusalLog()
    for _ in range(5):
        log.note("10.0.0.1", "no")
    assert len(caplog.records) == 1
    monkeypatch.setattr(security, "_LOG_EVERY", 0.0)
    log._next = 0.0
    log.note("10.0.0.1", "no")
    assert "4 more refusals" in caplog.records[-1].getMessage()
