"""A consistent hash ring.

Import from the submodule, ``from ring.hash_ring import HashRing``: the PyPI project ``ring`` may occupy this package name.
"""

from __future__ import annotations

from ring.hash_ring import HashRing, changes, position

__all__ = ["HashRing", "changes", "position"]
