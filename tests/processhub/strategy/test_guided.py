"""Guided: owners are the mapped nodes that are there; the four errors of a mapping."""

from __future__ import annotations

from typing import Any

import pytest

from processhub.strategy.distribution.guided import Guided
from processhub.strategy.errors import (
    ChildMappingMismatch,
    ChildReplicationMismatch,
    InvalidChildMapping,
    MissingChildMapping,
)

HERE = Guided().place(["b", "a"])


def assign(mapping: Any, ids: list[str] | None = None, n: int = 1) -> Any:
    return Guided().assign(ids or ["x"], mapping, HERE, n)


def test_owners_are_the_mapped_nodes_that_are_members_in_the_order_of_the_mapping() -> None:
    assert HERE.owners("x", ["b", "z", "a"], 3) == ("b", "a")
    assert HERE.absent(["b", "z", "a"]) == ("z",)


def test_nobody_takes_over_for_a_node_that_is_not_there() -> None:
    assert HERE.owners("x", ["z"], 1) == ()
    assert HERE.owners("x", None, 1) == ()


def test_the_placement_does_not_depend_on_the_order_of_the_members() -> None:
    assert Guided().place(["a", "b"]) == HERE
    assert hash(HERE) == hash(Guided().place(["a", "b"]))


def test_a_mapping_is_kept_as_given_members_or_not() -> None:
    assert assign({"x": ("z", "a"), "y": ["b", "a"]}, ["x", "y"], 2) == {"x": ["z", "a"], "y": ["b", "a"]}


def test_a_start_without_a_mapping_is_refused() -> None:
    with pytest.raises(MissingChildMapping, match="child_mapping="):
        assign(None)


@pytest.mark.parametrize("mapping", ["a", [("x", ["a"])], {"x": "a"}, {"x": None}, {"x": [1]}, {"x": ["a", "a"]}])
def test_what_is_no_mapping_of_ids_to_lists_of_nodes_is_refused(mapping: Any) -> None:
    with pytest.raises(InvalidChildMapping, match="child_mapping"):
        assign(mapping, n=2)


@pytest.mark.parametrize("mapping", [{}, {"x": ["a"]}, {"x": ["a"], "y": ["a"], "z": ["a"]}])
def test_a_mapping_must_name_exactly_the_children_of_the_start(mapping: Any) -> None:
    with pytest.raises(ChildMappingMismatch, match="exactly"):
        assign(mapping, ["x", "y"])


@pytest.mark.parametrize("nodes", [[], ["a"], ["a", "b", "c"]])
def test_a_child_needs_as_many_nodes_as_copies(nodes: list[str]) -> None:
    with pytest.raises(ChildReplicationMismatch, match=f"{len(nodes)} nodes.*needs 2"):
        assign({"x": nodes}, n=2)
