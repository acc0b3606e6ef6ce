"""Living with supervisord and with the PyPI project ring, whose packages are called `supervisor` and `ring` too.

Each test makes an environment with them and with us, installed in one order or the other, as a wheel or editable, and
runs both sides there. gevent and the other heavy ones are taken from the environment of the tests.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("ring", "supervisor", "processhub", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
NEIGHBOURS = ("supervisor", "ring", "wirerope", "attrs", "six")  # the last three are what ring needs
NO_INDEX = ("No matching distribution", "Could not fetch URL", "Connection", "Max retries", "Network is unreachable")

OUR_SIDE = """
from processhub import GenServer, HashRing, ProcessHub, process

class Counter(GenServer):
    def handle_call(self, amount, from_):
        self.state += amount
        return self.state

assert GenServer.call(Counter.start_link(1), 2) == 3
assert HashRing(["a"]).owners("key") == ("a",)
ProcessHub.start_link(ProcessHub("shop"))
ProcessHub.start_child("shop", Counter.child_spec(1, id="one")).result(10.0)
assert GenServer.call(ProcessHub.via("shop", "one"), 1) == 2
print("ours works")
"""
RING_SIDE = """
import ring

@ring.lru()
def double(number):
    calls.append(number)
    return 2 * number

calls = []
assert [double(4), double(4), calls] == [8, 8, [4]]
from ring import dict as kept
assert kept and ring.__version__
print("ring works")
"""
SUPERVISORD_SIDE = """
import sys
from supervisor import events, loggers, states
from supervisor.process import Subprocess
from supervisor.rpcinterface import SupervisorNamespaceRPCInterface
from supervisor.supervisorctl import Controller
assert "gevent" not in sys.modules, "supervisord loads gevent"
print("supervisord works")
"""

SUPERVISORD_CONFIG = """
[supervisord]
nodaemon = true
logfile = /dev/null
logfile_maxbytes = 0
pidfile = {folder}/supervisord.pid

[program:one]
command = /bin/cat
startsecs = 0
"""


@dataclass
class Environment:
    """A virtual environment."""

    folder: Path
    first_on_path: str = ""

    def __post_init__(self) -> None:
        venv.create(self.folder, with_pip=False, symlinks=True)
        (site,) = self.folder.glob("lib/python*/site-packages")
        shared = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
        (site / "zz_shared.pth").write_text("\n".join(shared))

    def install(self, *what: str) -> None:
        pip(["--python", str(self.folder / "bin" / "python")], "install", "--no-deps", *what)

    def run(self, *command: str) -> str:
        done = subprocess.run(
            [str(self.folder / "bin" / command[0]), *command[1:]],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=self.variables(),
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def variables(self) -> dict[str, str]:
        return {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "PYTHONPATH": self.first_on_path}

    def supervise(self) -> str:
        """Run supervisord until it has started its program, then stop it; returns what it logged."""
        config = self.folder / "supervisord.conf"
        config.write_text(SUPERVISORD_CONFIG.format(folder=self.folder))
        command = [str(self.folder / "bin" / "python"), "-m", "supervisor.supervisord", "-c", str(config)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=self.folder, env=self.variables()
        ) as supervisord:
            assert supervisord.stdout is not None
            lines = []
            for line in supervisord.stdout:
                lines.append(line)
                if "entered RUNNING state" in line:
                    supervisord.terminate()
            assert supervisord.wait(timeout=30) == 0
        return "".join(lines)


def pip(before: list[str], *arguments: str) -> None:
    """Run pip. Skips the test where there is no package index."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *before, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    if done.returncode and any(hint in done.stderr for hint in NO_INDEX):
        pytest.skip(f"pip reaches no package index: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


@dataclass
class Wheels:
    """Paths of wheels, made once."""

    ours: list[str]
    neighbours: list[str]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this project's source: building leaves things behind in it."""
    copy = tmp_path_factory.mktemp("source")
    for name in OURS:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheels(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Wheels:
    folder = tmp_path_factory.mktemp("wheels")
    pip([], "wheel", "--no-deps", "--wheel-dir", str(folder), *NEIGHBOURS, str(source))
    ours = [str(path) for path in folder.glob("processhub-*.whl")]
    return Wheels(ours, sorted({str(path) for path in folder.glob("*.whl")}.difference(ours)))


@pytest.fixture(params=["ours last", "ours first"])
def ours_first(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "ours first")


def test_both_sides_work_as_wheels_in_one_folder(tmp_path: Path, wheels: Wheels, ours_first: bool) -> None:
    environment = Environment(tmp_path / "venv")
    for some in sorted([wheels.ours, wheels.neighbours], key=lambda some: some is wheels.ours, reverse=ours_first):
        environment.install(*some)
    check(environment)


def test_both_sides_work_beside_an_editable_install(
    tmp_path: Path, wheels: Wheels, source: Path, ours_first: bool
) -> None:
    environment = Environment(tmp_path / "venv")
    if not ours_first:
        environment.install(*wheels.neighbours)
    environment.install("--editable", str(source))
    if ours_first:
        environment.install(*wheels.neighbours)
    check(environment)


def test_both_sides_work_from_two_folders(tmp_path: Path, wheels: Wheels, ours_first: bool) -> None:
    """As with the site-packages of a user, of an environment and of the system."""
    environment = Environment(tmp_path / "venv")
    apart = tmp_path / "apart"
    environment.install("--target", str(apart), *(wheels.ours if ours_first else wheels.neighbours))
    environment.install(*(wheels.neighbours if ours_first else wheels.ours))
    environment.first_on_path = str(apart)
    check(environment)


def check(environment: Environment) -> None:
    """Run both sides, each alone and then together."""
    assert "ours works" in environment.run("python", "-c", OUR_SIDE)
    assert "Run nodes" in environment.run("python", "-m", "processhub", "--help")
    assert environment.run("python", "-m", "supervisor.supervisord", "--version").strip()[0].isdigit()
    assert "stopped: one" in environment.supervise()
    assert "supervisord works" in environment.run("python", "-c", SUPERVISORD_SIDE)
    assert "ring works" in environment.run("python", "-c", RING_SIDE)
    both = environment.run("python", "-c", OUR_SIDE + RING_SIDE + SUPERVISORD_SIDE.replace("assert", "#"))
    assert both.split("\n")[:3] == ["ours works", "ring works", "supervisord works"]
