"""Replication: several copies of each child, all of them at work or one of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from processhub.strategy.options import check, check_choice
from processhub.strategy.redundancy.base import Mode, Redundancy


@dataclass(frozen=True)
class Replication(Redundancy):
    """Several copies of each child, on as many nodes.

    Args:
        replication_factor: how many; "cluster_size" for one on every member, however many there are. Fewer members than
            copies: each has one, and further ones start when more members come. More copies outlive more losses and
            answer more calls locally; each costs a process, and a message for each change of its row.
        replication_model: "active_active": all copies are active. "active_passive": one is, the others wait.
        redundancy_signal: which copies are told their role with a `RedundancySignal`, when they start and whenever the
            role changes: "none", those that are "active", those that are "passive", or "all".
    """

    replication_factor: int | Literal["cluster_size"] = 2
    replication_model: Literal["active_active", "active_passive"] = "active_active"
    redundancy_signal: Literal["none", "active", "passive", "all"] = "none"

    def __post_init__(self) -> None:
        factor = self.replication_factor
        good = factor == "cluster_size" or (isinstance(factor, int) and not isinstance(factor, bool) and factor >= 1)
        check(good, "Replication", "replication_factor", 'an int >= 1 or "cluster_size"', factor)
        check_choice("Replication", "replication_model", self.replication_model, ("active_active", "active_passive"))
        check_choice("Replication", "redundancy_signal", self.redundancy_signal, ("none", "active", "passive", "all"))

    def copies(self, members: Collection[str]) -> int:
        """`replication_factor`, or the number of members."""
        factor = self.replication_factor
        return max(1, len(members)) if factor == "cluster_size" else factor

    def active(self, child_id: str, owners: Sequence[str]) -> str | None:
        """Of active and passive copies that of the first owner.

        When owners are lost, those that are left keep their order and new ones come after them: so the role goes to a
        copy that has been there, never to one that was started for the loss. Only an owner that joins can take it from
        one that stays. (The original counts along the sorted owners, which gives most children another active node at
        each change.)
        """
        if self.replication_model == "active_active" or not owners:
            return None
        return owners[0]

    def signals(self, mode: Mode) -> bool:
        """As `redundancy_signal` says."""
        return self.redundancy_signal in (mode, "all")
