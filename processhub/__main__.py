"""`python -m processhub`, and the console script of that name.

`processhub node` lets gevent patch the standard library, unless told not to: before the command line itself, the
logging and the application are imported, and before any thread or lock of theirs exists. Our own packages are imported
by then; they work the same either way.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def wants_patch(arguments: Sequence[str]) -> bool:
    """Whether this command runs an application, which then blocks only its own greenlet when it sleeps or reads."""
    return arguments[:1] == ["node"] and "--no-monkey-patch" not in arguments


def main() -> int:
    """Run the command in sys.argv. Returns the exit status."""
    arguments = sys.argv[1:]
    if wants_patch(arguments):
        from gevent import monkey

        monkey.patch_all()
    from processhub.cli.main import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
