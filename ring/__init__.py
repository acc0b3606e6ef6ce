"""A consistent hash ring.

Import from the submodule, ``from ring.hash_ring import HashRing``: the PyPI project ``ring`` may have put its own
``__init__`` in this place.
"""

from __future__ import annotations

from ring.hash_ring import HashRing, changes, position

__all__ = ["HashRing", "changes", "position"]
