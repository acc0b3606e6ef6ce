"""Living with other projects whose packages are called `supervisor` and `ring`.

Where their packages are found first and ours lie in another folder (an editable install, a checkout on the path), our
submodules would not be found. So `processhub` adds our folders to those packages before it imports anything from them.
Installed into one folder the packages are one anyway, whichever `__init__` is there.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Final

PACKAGES: Final = ("ring", "supervisor")


def join_packages() -> None:
    """Make our submodules importable, whoever's packages were found."""
    root = Path(__file__).resolve().parent.parent
    for name in PACKAGES:
        folder = str(root / name)
        path = import_module(name).__path__
        if folder not in path:
            path.append(folder)


join_packages()
