"""A config is checked when it is made, and knows what members must share."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import pytest

from processhub.hub.config import HubConfig, difference, values_of
from processhub.hub.errors import DuplicateHookHandler, InvalidChildSpec, InvalidConfig
from processhub.hub.hooks import Hook, HookHandler
from processhub.strategy.migration.cold_swap import ColdSwap
from processhub.strategy.redundancy.singularity import Singularity
from processhub.strategy.synchronization.pub_sub import PubSub
from supervisor.child_spec import ChildSpec


def test_the_defaults_are_those_of_the_design() -> None:
    config = HubConfig("hub1")
    names = [type(getattr(config, field.name)).__name__ for field in fields(config) if field.name.endswith("_strategy")]
    assert names == ["Singularity", "ColdSwap", "PubSub", "Divergence", "ConsistentHashing"]
    numbers = {field.name: getattr(config, field.name) for field in fields(config)[8:]}
    assert numbers == {
        "hubs_discover_interval": 10.0,
        "deadlock_recovery_timeout": 60.0,
        "storage_purge_interval": 15.0,
        "migr_base_timeout": 15.0,
        "dsup_max_restarts": 100,
        "dsup_max_seconds": 4.0,
        "dsup_shutdown_timeout": 60.0,
    }


@pytest.mark.parametrize(
    ("field", "value", "form"),
    [
        ("hub_id", "", "non-empty str"),
        ("hub_id", 7, "non-empty str"),
        ("redundancy_strategy", Singularity, "Singularity()"),
        ("redundancy_strategy", ColdSwap(), "Singularity()"),
        ("migration_strategy", None, "ColdSwap()"),
        ("synchronization_strategy", "pubsub", "PubSub()"),
        ("partition_tolerance_strategy", 1, "Divergence()"),
        ("distribution_strategy", {}, "ConsistentHashing()"),
        ("hubs_discover_interval", 0, "> 0"),
        ("deadlock_recovery_timeout", -1, "> 0"),
        ("storage_purge_interval", "15", "> 0"),
        ("migr_base_timeout", None, "> 0"),
        ("dsup_max_restarts", -1, "int >= 0"),
        ("dsup_max_restarts", 1.5, "int >= 0"),
        ("dsup_max_seconds", 0.0, "> 0"),
        ("dsup_shutdown_timeout", -0.1, ">= 0"),
        ("hooks", [], "mapping"),
    ],
)
def test_a_wrong_field_is_named_with_its_form_and_value(field: str, value: Any, form: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        HubConfig(**{"hub_id": "hub1", field: value})
    for part in (field, form, repr(value)):
        assert part in str(caught.value)


def test_static_children_are_checked_and_kept_in_one_form() -> None:
    config = HubConfig("hub1", [{"id": "a", "start": (print, ())}, ChildSpec("b", (print, ()))])
    assert config.child_specs == (ChildSpec("a", (print, ())), ChildSpec("b", (print, ())))
    with pytest.raises(InvalidChildSpec, match="'a'"):
        HubConfig("hub1", [{"id": "a", "start": (print, ())}] * 2)


def test_hooks_are_checked_and_kept_by_hook() -> None:
    handler = HookHandler("h", print)
    assert HubConfig("hub1", hooks={"pre_cluster_join": [handler]}).hooks == {Hook.PRE_CLUSTER_JOIN: (handler,)}  # type: ignore[dict-item]
    assert HubConfig("hub1").hooks == {}
    with pytest.raises(DuplicateHookHandler):
        HubConfig("hub1", hooks={Hook.PRE_CLUSTER_JOIN: [handler, handler]})


def test_a_subclass_with_static_methods_is_a_config() -> None:
    class Hub(HubConfig):
        @staticmethod
        def start_link(config: Hub) -> str:
            return config.hub_id

    config = Hub("hub1", migr_base_timeout=3.0)
    assert Hub.start_link(config) == "hub1"
    assert config == Hub("hub1", migr_base_timeout=3.0)


# --- what members share -----------------------------------------------------------------------------------------


def test_equal_strategies_make_no_difference_whatever_else_differs() -> None:
    mine = HubConfig("hub1", migr_base_timeout=3.0, child_specs=[{"id": "a", "start": (print, ())}])
    assert difference(mine.digest(), HubConfig("hub1").digest()) is None


def test_a_differing_option_is_named() -> None:
    mine, theirs = HubConfig("h").digest(), HubConfig("h", synchronization_strategy=PubSub(3.0)).digest()
    where = difference(mine, theirs)
    assert where == difference(theirs, mine) == "synchronization_strategy.sync_interval"
    assert (values_of(mine, where), values_of(theirs, where)) == (15.0, 3.0)


def test_a_differing_strategy_is_named() -> None:
    @dataclass(frozen=True)
    class Other(Singularity):
        pass

    mine, theirs = HubConfig("h").digest(), HubConfig("h", redundancy_strategy=Other()).digest()
    where = difference(mine, theirs)
    assert where == "redundancy_strategy"
    assert values_of(mine, where) == ["Singularity", {}]


@pytest.mark.parametrize("theirs", [None, [], "x"])
def test_no_digest_at_all_is_a_difference(theirs: Any) -> None:
    assert difference(HubConfig("h").digest(), theirs) == "digest"


def test_a_malformed_or_longer_digest_is_a_difference() -> None:
    mine = HubConfig("h").digest()
    assert difference(mine, {**mine, "migration_strategy": 7}) == "migration_strategy"
    assert difference(mine, {**mine, "new_field": ["X", {}]}) == "new_field"
    assert difference(mine, {}) == "redundancy_strategy"
