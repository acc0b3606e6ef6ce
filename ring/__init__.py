"""A consistent hash ring.

Import from the submodule, ``from ring.hash_ring import HashRing``: the PyPI project ``ring`` may have put its own
``__init__`` in this place.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

# Where the other project is installed into another folder than ours, both packages are one.
__path__ = extend_path(__path__, __name__)

from ring.hash_ring import HashRing, changes, position

__all__ = ["HashRing", "changes", "position"]

if not TYPE_CHECKING:  # a type checker is to find misspelt names

    def __getattr__(name: str) -> Any:
        """Where this file has replaced the other project's, its users find their names all the same."""
        if name == "__version__" or not name.startswith("_"):
            for module in ("ring.coder", "ring.func", "ring.func.asyncio", "ring.__version__"):
                try:
                    found = import_module(module)
                except ImportError:  # it is not installed, or not this part of it
                    continue
                if hasattr(found, name) and module != "ring.coder":  # that one registers what the others need
                    return getattr(found, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
