"""Who is called at a hook, and in which order."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from processhub.hub.errors import DuplicateHookHandler, InvalidConfig
from processhub.hub.hooks import HOOK_DATA, Hook, HookHandler, HookTable


def handler(handler_id: str, priority: int = 0) -> HookHandler:
    return HookHandler(handler_id, print, priority=priority)


def ids(table: HookTable, hook: Hook = Hook.PRE_CLUSTER_JOIN) -> list[str]:
    return [found.id for found in table.handlers(hook)]


def test_higher_priorities_come_first_and_equal_ones_as_registered() -> None:
    table = HookTable({Hook.PRE_CLUSTER_JOIN: [handler("b"), handler("late", -1)]})
    table.register(Hook.PRE_CLUSTER_JOIN, [handler("a"), handler("first", 100)])
    assert ids(table) == ["first", "b", "a", "late"]


def test_a_hook_is_also_known_by_its_name() -> None:
    table = HookTable()
    table.register("pre_cluster_join", [handler("a")])
    assert ids(table) == ["a"]
    assert str(Hook.PRE_CLUSTER_JOIN) == "pre_cluster_join"
    with pytest.raises(InvalidConfig, match=r"'pre_join'.*pre_cluster_join"):
        table.register("pre_join", [handler("a")])


def test_a_taken_id_registers_none_of_the_handlers() -> None:
    table = HookTable({Hook.PRE_CLUSTER_JOIN: [handler("a")]})
    with pytest.raises(DuplicateHookHandler, match="'a'") as caught:
        table.register(Hook.PRE_CLUSTER_JOIN, [handler("b"), handler("a")])
    assert caught.value.handler_ids == ["a"]
    assert ids(table) == ["a"]
    with pytest.raises(DuplicateHookHandler, match="'c'"):
        table.register(Hook.PRE_CLUSTER_JOIN, [handler("c"), handler("c")])


def test_one_id_may_serve_several_hooks() -> None:
    table = HookTable({hook: [handler("a")] for hook in Hook})
    assert all(ids(table, hook) == ["a"] for hook in Hook)


def test_cancelled_handlers_are_gone_and_their_ids_free_again() -> None:
    table = HookTable({Hook.PRE_CLUSTER_JOIN: [handler("a"), handler("b")]})
    before = table.handlers(Hook.PRE_CLUSTER_JOIN)
    assert table.cancel(Hook.PRE_CLUSTER_JOIN, ["a", "unknown"]) == ["a"]
    assert ids(table) == ["b"]
    assert len(before) == 2
    table.register(Hook.PRE_CLUSTER_JOIN, [handler("a")])
    with pytest.raises(InvalidConfig, match="ids"):
        table.cancel(Hook.PRE_CLUSTER_JOIN, "a")


def test_the_data_takes_the_place_of_the_placeholder() -> None:
    assert handler("a").arguments("data") == ("data",)
    assert HookHandler("a", print, (1, HOOK_DATA, HOOK_DATA)).arguments(None) == (1, None, None)
    assert HookHandler("a", print, [1]).arguments("data") == (1,)  # type: ignore[arg-type]


def test_a_copy_of_the_placeholder_is_the_placeholder() -> None:
    assert copy.deepcopy(HOOK_DATA) is HOOK_DATA
    assert pickle.loads(pickle.dumps(HOOK_DATA)) is HOOK_DATA


@pytest.mark.parametrize(
    ("args", "field"),
    [
        (("", print), "id"),
        ((1, print), "id"),
        (("a", 7), "func"),
        (("a", print, "x"), "args"),
        (("a", print, (), "hi"), "priority"),
    ],
)
def test_a_wrong_handler_is_refused(args: Any, field: str) -> None:
    with pytest.raises(InvalidConfig, match=f": {field} must be"):
        HookHandler(*args)


@pytest.mark.parametrize("handlers", [handler("a"), [print], None, 3])
def test_anything_but_a_list_of_handlers_is_refused(handlers: Any) -> None:
    with pytest.raises(InvalidConfig, match="HookHandler"):
        HookTable().register(Hook.PRE_CLUSTER_JOIN, handlers)
