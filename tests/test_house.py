"""The rules of the house that a machine can check: who imports whom, names we must not take, sleeps without a reason.

Every rule is a function from source to a list of complaints; every function has a test that it finds a planted one.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("ring", "supervisor", "processhub")

# The modules of supervisord's package `supervisor`: its files and ours can end up in one folder.
SUPERVISORD = frozenset(
    "childutils compat confecho datatypes dispatchers events http http_client loggers options pidproxy poller process"
    " rpcinterface socks states supervisorctl supervisord templating web xmlrpc".split()
)


@dataclass(frozen=True)
class Module:
    """One source file. `name` is dotted; for a package it is that of the package, not of its `__init__`."""

    name: str
    source: str
    is_package: bool = False
    path: str = "<planted>"

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)


@dataclass(frozen=True)
class Import:
    """One imported name: `target` is dotted and absolute; `from a import b` gives "a.b" and the base "a"."""

    target: str
    base: str
    line: int
    is_from: bool
    only_for_types: bool

    def is_of(self, package: str) -> bool:
        return is_inside(self.target, package)


@dataclass(frozen=True)
class Layer:
    """What one package may import: of ours only `ours` minus `above`; besides the standard library `others`."""

    ours: tuple[str, ...]
    above: tuple[str, ...] = ()
    others: tuple[str, ...] | None = None  # None: anything that is installed


# From the bottom up. The bare name `processhub` stands for the public surface, which imports everything.
ABOVE_HUB = ("processhub.api", "processhub.cli", "processhub.shell", "processhub.testing", "processhub.__main__")
ABOVE_STRATEGY = ("processhub.hub", *ABOVE_HUB)
ABOVE_CLUSTER = ("processhub.registry", "processhub.strategy", *ABOVE_STRATEGY)
LAYERS: Mapping[str, Layer] = {
    "ring": Layer(ours=("ring",), others=()),
    "supervisor": Layer(ours=("supervisor",), others=("gevent", "greenlet")),
    "processhub.registry": Layer(ours=("processhub.registry",), others=()),
    "processhub.cluster": Layer(ours=("supervisor", "processhub"), above=ABOVE_CLUSTER),
    "processhub.strategy": Layer(ours=PACKAGES, above=ABOVE_STRATEGY),
    "processhub.hub": Layer(ours=PACKAGES, above=ABOVE_HUB),
}


# --- reading source ---------------------------------------------------------------------------------------------


def is_inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def read_module(path: Path) -> Module:
    parts = path.relative_to(ROOT).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    name = ".".join(parts[:-1] if is_package else parts)
    return Module(name, path.read_text(encoding="utf-8"), is_package, str(path.relative_to(ROOT)))


@lru_cache
def modules_under(*folders: str) -> tuple[Module, ...]:
    """Every module below these folders of the repository, sorted by path."""
    return tuple(read_module(path) for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))


def imports_of(module: Module) -> Iterator[Import]:
    """Every import of `module`, wherever it stands: hidden in a function it is an import all the same."""
    tree = module.tree
    typing_only = nodes_for_types_only(tree)
    for node in ast.walk(tree):
        for_types = node in typing_only
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, alias.name, node.lineno, False, for_types)
        elif isinstance(node, ast.ImportFrom):
            base = absolute_base(module, node)
            for alias in node.names:
                yield Import(f"{base}.{alias.name}", base, node.lineno, True, for_types)


def nodes_for_types_only(tree: ast.Module) -> set[ast.AST]:
    """The nodes below `if TYPE_CHECKING:`, which never run."""
    guards = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test).endswith("TYPE_CHECKING")]
    return {below for guard in guards for statement in guard.body for below in ast.walk(statement)}


def absolute_base(module: Module, node: ast.ImportFrom) -> str:
    """The module that a `from ... import` names, with leading dots resolved."""
    if not node.level:
        return node.module or ""
    package = module.name.split(".")
    package = package[: len(package) - node.level + module.is_package]
    return ".".join([*package, *([node.module] if node.module else [])])


# --- the rules --------------------------------------------------------------------------------------------------


def upward_imports(module: Module) -> list[str]:
    """Imports that the layer of `module` does not allow."""
    layer = next((LAYERS[name] for name in LAYERS if is_inside(module.name, name)), None)
    if layer is None:
        return []
    bad = [found for found in imports_of(module) if not is_allowed(found, layer)]
    return [f"{module.path}:{found.line}: {module.name} must not import {found.target}" for found in bad]


def is_allowed(found: Import, layer: Layer) -> bool:
    top = found.target.partition(".")[0]
    if top in PACKAGES:
        names_surface = found.target == "processhub" or (found.base == "processhub" and not is_module(found.target))
        inside = any(found.is_of(package) for package in layer.ours)
        return inside and not names_surface and not any(found.is_of(package) for package in layer.above)
    return layer.others is None or top in sys.stdlib_module_names or top in layer.others


@lru_cache
def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def import_graph(modules: Iterable[Module]) -> dict[str, set[str]]:
    """Who needs whom when it runs: "x.a" -> {"x.b"}. Imports for types only do not count, those in functions do.

    A package stands for its `__init__`: importing a name from it needs all that the `__init__` imports.
    """
    known = {module.name: module for module in modules}
    graph: dict[str, set[str]] = {name: set() for name in known}
    for name, module in known.items():
        for found in imports_of(module):
            target = found.target if found.target in known else found.base
            if target in known and target != name and not found.only_for_types:
                graph[name].add(target)
    return graph


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """One path for each circle that a depth-first walk meets, e.g. [["a", "b", "a"]]."""
    found: list[list[str]] = []
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> None:
        if name in path:
            found.append([*path[path.index(name) :], name])
        elif name not in done:
            for target in sorted(graph[name]):
                walk(target, [*path, name])
            done.add(name)

    for name in sorted(graph):
        walk(name, [])
    return found


def names_taken_from_supervisord(names: Iterable[str]) -> list[str]:
    """Modules directly in `supervisor` that supervisord's package has too: one of the two would be overwritten."""
    clashes = [name for name in names if name.startswith("supervisor.") and name.split(".")[1] in SUPERVISORD]
    return [f"{name}: supervisord has a module of this name" for name in sorted(clashes)]


def bare_imports(module: Module) -> list[str]:
    """`import supervisor` and `from supervisor import x`: another project's `__init__` may lie there."""
    bad = [found for found in imports_of(module) if found.base in ("supervisor", "ring")]
    return [f"{module.path}:{found.line}: name the submodule instead of {found.base!r}" for found in bad]


def sleeps_without_reason(module: Module) -> list[str]:
    """Calls of time.sleep and gevent.sleep with no `# real time: <reason>` on that line or the line before.

    `gevent.sleep(0)` only lets others run and is no sleep.
    """
    lines = ["", *module.source.splitlines()]
    names = names_of_sleep(module)
    bad = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in names and not is_mere_yield(node, names):
            nearby = (lines[node.lineno], lines[node.lineno - 1])
            if not any(line.partition("# real time:")[2].strip() for line in nearby):
                bad.append(f"{module.path}:{node.lineno}: a sleep without a `# real time:` reason")
    return bad


def names_of_sleep(module: Module) -> dict[str, str]:
    """How `module` can spell each sleep, by spelling: {"t.sleep": "time.sleep"} after `import time as t`."""
    names = {"time.sleep": "time.sleep", "gevent.sleep": "gevent.sleep"}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            names.update({f"{a.asname or a.name}.sleep": f"{a.name}.sleep" for a in node.names if a.name in SLEEPERS})
        elif isinstance(node, ast.ImportFrom) and node.module in SLEEPERS:
            names.update({a.asname or a.name: f"{node.module}.sleep" for a in node.names if a.name == "sleep"})
    return names


SLEEPERS = ("time", "gevent")


def is_mere_yield(call: ast.Call, names: Mapping[str, str]) -> bool:
    if names[ast.unparse(call.func)] != "gevent.sleep" or call.keywords:
        return False
    return not call.args or (isinstance(call.args[0], ast.Constant) and call.args[0].value == 0)


def stray_packages(paths: Iterable[Path]) -> list[str]:
    """`__init__.py` files below tests/, which would make `tests/ring` importable as our `ring`."""
    return [f"{path}: tests are folders, not packages" for path in sorted(paths) if path.name == "__init__.py"]


PATCH_CHECK = """
from gevent import monkey
print("\\n".join(sorted(monkey.saved)))
"""


def modules_patched_by(code: str) -> list[str]:
    """The modules of the standard library that gevent has patched after `code` ran in a fresh interpreter."""
    command = [sys.executable, "-c", code + PATCH_CHECK]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


# --- our code keeps them ----------------------------------------------------------------------------------------


def complaints(rule: object, *folders: str) -> str:
    assert callable(rule)
    return "\n".join(line for module in modules_under(*folders) for line in rule(module))


def test_imports_go_downwards_only() -> None:
    assert not complaints(upward_imports, *PACKAGES)


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert not [" -> ".join(circle) for circle in circles(import_graph(modules_under(*PACKAGES)))]


def test_no_module_has_a_name_of_supervisords() -> None:
    assert not names_taken_from_supervisord(module.name for module in modules_under("supervisor"))


def test_imports_name_submodules_of_supervisor_and_ring() -> None:
    assert not complaints(bare_imports, *PACKAGES, "tests", "examples", "benchmarks")


def test_sleeps_in_tests_and_examples_say_why() -> None:
    assert not complaints(sleeps_without_reason, "tests", "examples")


def test_tests_do_not_shadow_the_packages_they_test() -> None:
    assert not stray_packages((ROOT / "tests").rglob("*.py"))


def test_importing_the_library_patches_nothing() -> None:
    assert not modules_patched_by("from processhub import *")


# --- and each rule finds what it is there for -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("ring.hash_ring", "import gevent"),
        ("ring.hash_ring", "from supervisor.pids import Pid"),
        ("supervisor.runtime", "import zmq.green"),
        ("supervisor.runtime", "def f():\n    import processhub.cluster.node"),
        ("supervisor.runtime", "from ring.hash_ring import HashRing"),
        ("processhub.registry.clocks", "from gevent import sleep"),
        ("processhub.registry.clocks", "import msgpack"),
        ("processhub.registry.clocks", "import zerorpc"),
        ("processhub.registry.clocks", "from supervisor.pids import Pid"),
        ("processhub.registry.clocks", "from ..cluster import wire"),
        ("processhub.cluster.node", "from processhub.registry.clocks import Clock"),
        ("processhub.cluster.node", "from processhub import strategy"),
        ("processhub.cluster.node", "from processhub import ProcessHub"),
        ("processhub.cluster.node", "import processhub"),
        ("processhub.strategy.migration.base", "from ...hub import config"),
        ("processhub.strategy.migration.base", "import processhub.api"),
        ("processhub.hub.coordinator", "from ..api import ProcessHub"),
        ("processhub.hub.coordinator", "if TYPE_CHECKING:\n    from processhub.testing import Cluster"),
    ],
)
def test_an_upward_import_is_found(name: str, source: str) -> None:
    assert len(upward_imports(Module(name, source))) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("ring.hash_ring", "from bisect import bisect"),
        ("supervisor.runtime", "import gevent.event\nimport greenlet\nfrom supervisor.pids import Pid"),
        ("processhub.registry.desired", "from .clocks import Hlc"),
        ("processhub.cluster.wire", "import msgpack\nfrom supervisor.pids import Pid"),
        (
            "processhub.strategy.distribution.base",
            "from ring.hash_ring import HashRing\nfrom ...registry import desired",
        ),
        ("processhub.hub.coordinator", "from processhub.registry.registry import Registry"),
        ("processhub.cli", "from processhub import ProcessHub"),
    ],
)
def test_a_downward_import_is_allowed(name: str, source: str) -> None:
    assert upward_imports(Module(name, source)) == []


def test_relative_imports_are_resolved() -> None:
    in_module = Module("a.b.c", "from . import d\nfrom ..e import f")
    in_package = Module("a.b", "from . import d\nfrom .c import g", is_package=True)
    assert [found.target for found in imports_of(in_module)] == ["a.b.d", "a.e.f"]
    assert [found.target for found in imports_of(in_package)] == ["a.b.d", "a.b.c.g"]


def test_a_circle_is_found_even_when_an_import_hides_in_a_function() -> None:
    planted = [
        Module("x.a", "from x.b import B"),
        Module("x.b", "import x.c"),
        Module("x.c", "def f():\n    from x import a"),
    ]
    assert circles(import_graph(planted)) == [["x.a", "x.b", "x.c", "x.a"]]


def test_an_import_for_types_only_makes_no_circle() -> None:
    planted = [Module("x.a", "from x.b import B"), Module("x.b", "if TYPE_CHECKING:\n    from x.a import A")]
    assert circles(import_graph(planted)) == []


def test_a_name_of_supervisords_is_found() -> None:
    names = ["supervisor", "supervisor.process", "supervisor.processes", "supervisor.gen.events", "ring.events"]
    assert len(names_taken_from_supervisord(names)) == 1


@pytest.mark.parametrize(
    "source",
    ["import supervisor", "from supervisor import gen_server", "import ring as r", "from ring import HashRing"],
)
def test_a_bare_import_is_found(source: str) -> None:
    assert len(bare_imports(Module("processhub.hub.janitor", source))) == 1


def test_a_bare_import_is_found_behind_a_dot_and_a_submodule_is_allowed() -> None:
    assert len(bare_imports(Module("supervisor.tasks", "from . import pids"))) == 1
    assert bare_imports(Module("supervisor.tasks", "from .pids import Pid\nimport supervisor.pids")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.sleep(1)",
        "import time as t\nt.sleep(1)",
        "from gevent import sleep\nsleep(0.1)",
        "import gevent\ngevent.sleep(0.1)  # real time:",
        "import gevent\n# real time: too far away\n\ngevent.sleep(0.1)",
        "import time\ntime.sleep(0)",
    ],
)
def test_a_sleep_without_a_reason_is_found(source: str) -> None:
    assert len(sleeps_without_reason(Module("tests.test_x", source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.sleep(1)  # real time: the kernel's own timer is what we test",
        "import time\n# real time: the kernel's own timer is what we test\ntime.sleep(1)",
        "import gevent\ngevent.sleep(0)",
        "process.sleep(1)",
    ],
)
def test_a_sleep_with_a_reason_is_allowed(source: str) -> None:
    assert sleeps_without_reason(Module("tests.test_x", source)) == []


def test_a_package_among_the_tests_is_found() -> None:
    assert len(stray_packages([Path("tests/ring/__init__.py"), Path("tests/ring/test_hash_ring.py")])) == 1


def test_a_patch_is_found() -> None:
    assert "time" in modules_patched_by("from gevent import monkey; monkey.patch_time()")
