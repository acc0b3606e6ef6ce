"""What all strategies have in common.

A strategy is a frozen dataclass: its fields are its options, it is compared by them, and all its methods are questions
without side effects. The coordinator owns every timer, every message and whatever must be remembered.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

Description = tuple[str, dict[str, Any]]
"""(name of the strategy, its options)."""


class Strategy:
    """The base of the five kinds. Derive from the kind's own base, as a `@dataclass(frozen=True)`.

    Check the options in `__post_init__` (see `processhub.strategy.options`), and keep them to plain values: members of
    a hub compare them.
    """

    def describe(self) -> Description:
        """The name and the options, the same on every node that has the same strategy."""
        options = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return type(self).__qualname__, options
