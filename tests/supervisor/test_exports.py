"""The names that `supervisor` itself offers: all are there, none is loaded before it is used, none is supervisord's."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import supervisor.exports as exports

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = import_module("supervisor")  # the package itself is what is tested: everybody else names submodules


@pytest.mark.parametrize("name", exports.__all__)
def test_every_name_that_is_exported_is_there(name: str) -> None:
    assert getattr(PACKAGE, name) is getattr(exports, name)


def test_the_list_of_names_is_complete_and_in_order() -> None:
    assert exports.__all__ == sorted(exports.__all__)
    public = {name for name in vars(exports) if not name.startswith("_") and name != "annotations"}
    assert public == set(exports.__all__)


@pytest.mark.parametrize("name", ["events", "loggers", "options", "Nobody", "nobody"])
def test_a_name_that_is_not_exported_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=name):
        getattr(PACKAGE, name)


LAZY = """
import sys
import supervisor
assert "gevent" not in sys.modules, "the package alone must not load gevent"
from supervisor import GenServer, process
assert "gevent" in sys.modules
from supervisor import *
assert Supervisor.__module__ == "supervisor.supervisors"
print("lazy")
"""


def test_gevent_is_loaded_when_a_name_is_used_and_not_before() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LAZY], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "lazy", done.stderr
