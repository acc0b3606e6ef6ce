"""Run the tests in an interpreter that gevent has patched before anything else: `python -m tests.patched [ARGS]`.

The library patches nothing itself, but programs that use it may have called `gevent.monkey.patch_all()`; the command
line does. ARGS are pytest's.
"""

from __future__ import annotations

from gevent import monkey

if __name__ == "__main__":
    monkey.patch_all()

import sys

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main(sys.argv[1:]))
