"""An OTP-like runtime for one node: processes, links, monitors, GenServer and supervisors on gevent.

Our own code and documentation import from the submodules (`supervisor.gen_server`, ...), since the PyPI project
supervisord installs a package of this name too. Where this `__init__` is the one that is found, the names in
`supervisor.exports` are a convenience. They are looked up when they are used: supervisord, which may run on this very
file, shall not load gevent.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supervisor.exports import *  # noqa: F403

# Where supervisord is installed into another folder than ours, both packages are one.
__path__ = extend_path(__path__, __name__)  # noqa: F405

if not TYPE_CHECKING:  # a type checker is to find misspelt names

    def __getattr__(name: str) -> Any:
        # No submodule of supervisord begins with a capital letter; its own code does `from supervisor import events`.
        if name[0].isupper() or name in ("__all__", "debug", "process"):
            return getattr(import_module("supervisor.exports"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
