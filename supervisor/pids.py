"""Process identifiers and references: small values that can be sent anywhere."""

from __future__ import annotations


class NodeId:
    """One life of one node, as one runtime sees it.

    A pid points to its `NodeId` instead of holding a name, so that a lone node can take its name and incarnation
    when it joins a network and every pid made before that stays valid.

    Invariant: a runtime holds one `NodeId` for each (name, incarnation) it has met; see `Runtime.node_id`.
    """

    __slots__ = ("__weakref__", "incarnation", "name")

    def __init__(self, name: str, incarnation: int) -> None:
        self.name = name
        self.incarnation = incarnation

    def same_as(self, other: NodeId) -> bool:
        """Whether both mean the same life of the same node, whoever made them."""
        return self.name == other.name and self.incarnation == other.incarnation

    def __repr__(self) -> str:
        return f"NodeId({self.name!r}, {self.incarnation})"


class _Id:
    """What pids and references share: a serial number within one life of one node."""

    __slots__ = ("home", "serial")

    def __init__(self, home: NodeId, serial: int) -> None:
        self.home = home
        self.serial = serial

    @property
    def node(self) -> str:
        """The name of the node it was made on."""
        return self.home.name

    @property
    def incarnation(self) -> int:
        """The incarnation of the node it was made on."""
        return self.home.incarnation

    @property
    def sort_key(self) -> tuple[str, int, int]:
        """A key that orders identifiers the same way on every node."""
        return (self.home.name, self.home.incarnation, self.serial)

    # The hash leaves the node out: its name may change once, when the node joins a network.
    def __hash__(self) -> int:
        return self.serial


class Pid(_Id):
    """The address of a process, on this node or on another one."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Pid):
            return NotImplemented
        return self.serial == other.serial and (self.home is other.home or self.home.same_as(other.home))

    __hash__ = _Id.__hash__

    def __repr__(self) -> str:
        return f"<Pid {self.home.name}.{self.serial}>"


class Ref(_Id):
    """A reference that is unique in the cluster: it names a monitor, a call or a timer."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Ref):
            return NotImplemented
        return self.serial == other.serial and (self.home is other.home or self.home.same_as(other.home))

    __hash__ = _Id.__hash__

    def __repr__(self) -> str:
        return f"<Ref {self.home.name}.{self.serial}>"
