"""Members that this node does not see any more, and whether anybody else does: pure.

Under a quorum strategy a lost member's children are taken over only when it is certain that the member has noticed its
loss, and so has stopped them. Why that is so when a member is *released* here:

- Let L be lost, and N a node that has quorum and releases L. Every member that N sees has told N that it does not see L
  either, and that for `stable_after` seconds.
- A part in which L had quorum would share a member K with those that N sees, since two majorities overlap. K does not
  see L and sends it nothing. So L has not counted K since `heard_within` seconds after K's loss of L, which is over.
- Hence L has no quorum, and `stop_within` is over too: its children are gone.

Members told of by others but not seen here (the link between them and us is cut, or is still to come) are held
likewise: they own children, run them, and take over only what we do not own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

View = Mapping[str, int]
"""node -> the life of its hub (see `Hub.lives`): the members that a node sees."""


class _Held:
    """A node that is not seen here and has not been released.

    since: when the last of us lost it, as far as we know; None while somebody sees it.
    children: what it may hold of the children that we own; None for any.
    """

    __slots__ = ("children", "life", "since")

    def __init__(self, life: int, since: float | None, children: Collection[str] | None) -> None:
        self.life = life
        self.since = since
        self.children = children


class LostMembers:
    """What one node knows of the nodes that it does not see.

    Every method that takes `members` wants our own view as it is by then. Times are those of this node's clock.
    """

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        self._views: dict[str, View] = {}
        self._left: dict[str, int] = {}  # who left by itself: its life is over, whoever still sees it

    def __repr__(self) -> str:
        return f"<LostMembers {sorted(self._held)}>"

    def held(self) -> dict[str, int]:
        """node -> life of those that are neither seen nor released, sorted by name."""
        return {node: self._held[node].life for node in sorted(self._held)}

    def __contains__(self, node: str) -> bool:
        return node in self._held

    def __len__(self) -> int:
        return len(self._held)

    def may_hold(self, child_id: str) -> bool:
        """Whether a node that we do not see may hold this child, which we own."""
        return any(held.children is None or child_id in held.children for held in self._held.values())

    def is_seen_elsewhere(self) -> bool:
        """Whether a member sees a node that we do not see."""
        return any(held.since is None for held in self._held.values())

    # -- what happens ------------------------------------------------------------------------------------------------

    def lost(
        self, node: str, life: int, children: Collection[str] | None, members: Collection[str], now: float
    ) -> None:
        """We do not see this member any more. `children`: what it held then; None if that is not known."""
        self._views.pop(node, None)
        self._held[node] = _Held(life, now, children)
        self._look_at(members, now)

    def left(self, node: str, life: int) -> None:
        """It has stopped its children and said so."""
        self._views.pop(node, None)
        held = self._held.pop(node, None)  # its node was lost before its word came
        self._left[node] = max(life, held.life if held is not None else 0)

    def joined(self, node: str) -> None:
        """We see this node."""
        self._held.pop(node, None)
        self._left.pop(node, None)

    def told(self, node: str, view: View, members: Collection[str], now: float) -> None:
        """A member says whom it sees."""
        is_new = node not in self._views
        self._views[node] = dict(view)
        for other in sorted(view):
            if other not in members and other not in self._held and view[other] > self._left.get(other, 0):
                self._held[other] = _Held(view[other], None, None)
        if is_new:
            self._begin_anew(now)  # when it lost them, it does not say
        self._look_at(members, now)

    def doubt(self) -> None:
        """We have lost quorum: others may take over what we own, so we know of nobody what it holds."""
        for held in self._held.values():
            held.children = None

    def regain(self, members: Collection[str], now: float) -> None:
        """We have quorum again."""
        self._begin_anew(now)
        self._look_at(members, now)

    def release(self, now: float, stable_after: float) -> list[str]:
        """Give up those that nobody has seen for `stable_after` seconds. Returns them, sorted."""
        over = [
            node for node, held in self._held.items() if held.since is not None and now - held.since >= stable_after
        ]
        for node in over:
            del self._held[node]
        return sorted(over)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _begin_anew(self, now: float) -> None:
        for held in self._held.values():
            held.since = now

    def _look_at(self, members: Collection[str], now: float) -> None:
        """Note who is seen by somebody, in whatever life."""
        views = [view for node, view in self._views.items() if node in members]
        for node, held in self._held.items():
            if any(node in view for view in views):
                held.since = None
            elif held.since is None:
                held.since = now
        self._left = {node: life for node, life in self._left.items() if any(node in view for view in views)}
