"""What every test gets: hypothesis profiles, and the checks that tests leave nothing behind."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# "ci" replays the same examples on every machine; "explore" (--hypothesis-profile=explore) looks for new ones.
settings.register_profile("ci", deadline=None, max_examples=60, derandomize=True, print_blob=True)
settings.register_profile("explore", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile("ci")

# A shell starts what runs in its background with Ctrl-C ignored, and children inherit that: tests that send one
# would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# --- nothing is left at the end of the session ------------------------------------------------------------------

PROC = Path("/proc")
ON_LINUX = (PROC / "self" / "net" / "tcp").exists()
TCP_LISTEN = "0A"

# Operating-system processes inherit this from the session: that finds grandchildren and orphans too.
SESSION_MARK = f"PROCESSHUB_TEST_SESSION={os.getpid()}-{time.time_ns()}"


def processes_left() -> set[str]:
    """The operating-system processes that were started by this session, zombies included."""
    found = set()
    for folder in PROC.glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            is_ours = int(parent) == os.getpid() or SESSION_MARK.encode() in (folder / "environ").read_bytes()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:  # it ended while we looked, or it is another user's
            continue
        if is_ours and int(folder.name) != os.getpid():
            found.add(f"process {folder.name} ({state}) {command}")
    return found


def threads_left() -> set[str]:
    """The threads that keep an interpreter from ending. Daemons, gevent's pool among them, do not."""
    others = (thread for thread in threading.enumerate() if thread is not threading.main_thread())
    return {f"thread {thread.name}" for thread in others if not thread.daemon}


def sockets_left() -> set[str]:
    """The TCP sockets on which this process listens."""
    own = {name for name in map(link_target, (PROC / "self" / "fd").iterdir()) if name.startswith("socket:")}
    found = set()
    for table in ("tcp", "tcp6"):
        path = PROC / "self" / "net" / table
        for row in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = row.split()
            address, state, inode = fields[1], fields[3], fields[9]
            if state == TCP_LISTEN and f"socket:[{inode}]" in own:
                found.add(f"listening socket on port {int(address.rpartition(':')[2], 16)}")
    return found


def link_target(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:  # closed while we looked
        return ""


def files_left() -> set[str]:
    """What was made with the prefix `processhub-` in the session's own temporary folder."""
    return {f"temporary {path}" for path in Path(tempfile.gettempdir()).glob("processhub-*")}


def everything_left() -> set[str]:
    linux_only = processes_left() | sockets_left() if ON_LINUX else set()
    return linux_only | threads_left() | files_left()


def wait_until_gone(
    what_is_left: Callable[[], set[str]], seconds: float, sleep: Callable[[float], object] = time.sleep
) -> set[str]:
    """What is still left after at most `seconds`: sockets and processes end a moment after they are told to."""
    deadline = time.monotonic() + seconds
    while (left := what_is_left()) and time.monotonic() < deadline:
        sleep(0.02)  # real time: the kernel and ZeroMQ's own threads finish here, and tell nobody
    return left


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail the session (at the teardown of its last test) if it leaves processes, threads, sockets or files."""
    with pytest.MonkeyPatch.context() as patch:
        # A temporary folder of our own, so that another session on this machine is not taken for ours.
        scratch = str(tmp_path_factory.mktemp("scratch"))
        patch.setenv("TMPDIR", scratch)
        patch.setattr(tempfile, "tempdir", scratch)
        patch.setenv(*SESSION_MARK.split("=", 1))
        before = everything_left()
        yield
        left = wait_until_gone(lambda: everything_left() - before, seconds=5.0)
    if left:
        pytest.fail("the tests left behind:\n  " + "\n  ".join(sorted(left)), pytrace=False)


# --- each test leaves the default runtime as it found it --------------------------------------------------------


def runtime_left() -> set[str]:
    """What lives on the default runtime: processes, their names, armed waits; empty while no test has made one.

    Looks the runtime up in sys.modules, so that tests of `ring` never import it.
    """
    runtime = getattr(sys.modules.get("supervisor.runtime"), "_default", None)
    if runtime is None:
        return set()
    # Greenlets that were there before (pytest's own among them) may be processes and stay.
    alive = [process for process in runtime.table.values() if not process.adopted]
    waits = [wait for wait in runtime.scheduler.waits.values() if wait.timeout is not None or wait.target is not None]
    names = [f"name {name!r} of {process!r}" for name, process in runtime.names.items() if process.adopted]
    return {*map(repr, alive), *names, *(f"armed wait {wait!r} for {wait.target!r}" for wait in waits)}


@pytest.fixture(autouse=True)
def the_default_runtime_is_at_rest() -> Iterator[None]:
    """Fail a test that leaves processes alive on the default runtime."""
    before = runtime_left()
    yield
    if runtime_left() - before:
        from gevent import sleep  # so that processes that were told to end can do so

        left = wait_until_gone(lambda: runtime_left() - before, 1.0, sleep)
        if left:
            pytest.fail("the test left on the default runtime: " + ", ".join(sorted(left)), pytrace=False)
