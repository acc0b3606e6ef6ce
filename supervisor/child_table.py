"""What a Supervisor knows of its children: who they are, in start order, and which of them run."""

from __future__ import annotations

from typing import Any

from supervisor.child_spec import ChildSpec
from supervisor.pids import Pid


class Child:
    """A child of a Supervisor. `pid` is None while it does not run; `restarting` while its restart is to be retried."""

    __slots__ = ("pid", "restarting", "spec")

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.pid: Pid | None = None
        self.restarting = False

    def __repr__(self) -> str:
        return f"<Child {self.spec.id!r} {'restarting' if self.restarting else self.pid}>"


class Children:
    """The children of one Supervisor, in start order.

    Invariants: `by_pid` holds exactly the children that have a pid, `significant` the ids of those among them, or
    among the restarting ones, that are significant. Each change costs the same however many children there are.
    """

    __slots__ = ("by_id", "by_pid", "significant", "supervisors")

    def __init__(self) -> None:
        self.by_id: dict[Any, Child] = {}
        self.by_pid: dict[Pid, Child] = {}
        self.significant: set[Any] = set()
        self.supervisors = 0

    def add(self, spec: ChildSpec) -> Child:
        """A child that does not run yet, after all others."""
        child = self.by_id[spec.id] = Child(spec)
        self.supervisors += spec.type == "supervisor"
        return child

    def remove(self, child: Child) -> None:
        """Forget a child and its spec."""
        self.set_pid(child, None)
        del self.by_id[child.spec.id]
        self.supervisors -= child.spec.type == "supervisor"

    def set_pid(self, child: Child, pid: Pid | None, restarting: bool = False) -> None:
        """The child runs as `pid` now; or it does not run, for good or until its restart is retried."""
        if child.pid is not None:
            self.by_pid.pop(child.pid, None)
        child.pid, child.restarting = pid, restarting
        if pid is not None:
            self.by_pid[pid] = child
        if child.spec.significant:
            (self.significant.add if pid is not None or restarting else self.significant.discard)(child.spec.id)

    def __repr__(self) -> str:
        return f"<Children {list(self.by_id.values())}>"
