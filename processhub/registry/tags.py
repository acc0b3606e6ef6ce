"""Children by tag, that is by ``metadata["tag"]``."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from typing import Any

from processhub.registry.changes import ChildChange

_NOBODY: dict[str, None] = {}


class Tags:
    """Invariant: a child is under exactly the tag that it had in the last change that `apply` was told."""

    __slots__ = ("_children", "_tags")

    def __init__(self) -> None:
        self._children: dict[Hashable, dict[str, None]] = {}
        self._tags: dict[str, Hashable] = {}

    def apply(self, changes: Iterable[ChildChange]) -> None:
        """Take note of what the children are now."""
        tags = self._tags
        for child_id, _, child in changes:
            # Most children have no metadata and had no tag.
            if (child is not None and child.metadata) or child_id in tags:
                self._change(child_id, None if child is None else _tag_of(child.metadata))

    def _change(self, child_id: str, tag: Hashable | None) -> None:
        old = self._tags.get(child_id)
        if old is not None and tag != old:
            self._forget(child_id, old)
        if tag is not None:
            self._tags[child_id] = tag
            self._children.setdefault(tag, {})[child_id] = None

    def _forget(self, child_id: str, tag: Hashable) -> None:
        del self._tags[child_id]
        children = self._children[tag]
        del children[child_id]
        if not children:
            del self._children[tag]

    def tagged(self, tag: Hashable) -> Collection[str]:
        return self._children.get(tag, _NOBODY).keys()


def _tag_of(metadata: Any) -> Hashable | None:
    """None for no tag. What a peer sends may be anything, so a tag that cannot be a key is none."""
    if type(metadata) is not dict or not metadata:
        return None
    tag = metadata.get("tag")
    return tag if isinstance(tag, (str, bytes, int, float)) else None
