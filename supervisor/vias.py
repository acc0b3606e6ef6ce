"""Via names: names that somebody else resolves, a registry or a hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from supervisor.pids import Pid

if TYPE_CHECKING:
    from supervisor.records import Process


@runtime_checkable
class Via(Protocol):
    """A name that somebody else resolves: a registry, a hub."""

    def resolve(self, timeout: float | None = 0.0, gone: Pid | None = None) -> Pid:
        """The pid behind the name. May wait up to `timeout` seconds for one that is expected to come.

        `gone`: a pid that it resolved to and that turned out to be dead; it must not be returned again.
        Raises NoProcess when there is none, CallTimeout when the expected one did not come in time.
        """
        ...

    # One that can also be given to a process (as `name=` of a start, in `process.register`) has besides it
    #     register(process: Process) -> None
    # which raises AlreadyRegistered, and lets go of the name when the process ends, see `supervisor.records.Tie`; and
    #     unregister() -> None
    # which takes the name away from whoever has it (NoProcess where nobody does), if that is possible.


def register_via(via: Any, process: Process) -> None:
    """Whoever resolves the name also gives it, and takes it back when the process ends."""
    register = getattr(via, "register", None)
    if register is None:
        raise TypeError(f"{via!r} finds processes, but none can be given this name: it has no register(process)")
    register(process)


def unregister_via(via: Any) -> None:
    """Take the name away from whoever has it. Raises NoProcess where nobody does."""
    unregister = getattr(via, "unregister", None)
    if unregister is None:
        raise TypeError(
            f"{via!r} finds processes, but this name cannot be taken away: it has no unregister(). It goes with its "
            "process: end that one where it was started"
        )
    unregister()
