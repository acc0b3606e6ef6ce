"""Errors say what was wrong and what to do, and are caught where callers look for them."""

from __future__ import annotations

import pickle

import pytest

from processhub.hub import errors
from supervisor.child_spec import InvalidChildSpec as RuntimeInvalidChildSpec

EXAMPLES: list[errors.ProcessHubError] = [
    errors.HubNotAlive("hub1"),
    errors.NoChildren(),
    errors.AlreadyStarted(["b", "a"]),
    errors.InvalidChildSpec("bad"),
    errors.Partitioned("hub1"),
    errors.ConfigMismatch("hub1", "redundancy_strategy", "Singularity", "Replication", "n2"),
    errors.DuplicateHookHandler("pre_cluster_join", ["a"]),
    errors.InvalidConfig("bad"),
    errors.MissingChildMapping("bad"),
    errors.InvalidChildMapping("bad"),
    errors.ChildMappingMismatch("bad"),
    errors.ChildReplicationMismatch("bad"),
]


def test_the_examples_are_all_there_are() -> None:
    assert {type(error).__name__ for error in EXAMPLES} == set(errors.__all__) - {"ProcessHubError"}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_every_error_is_a_hub_error_with_a_message_and_survives_a_copy(error: errors.ProcessHubError) -> None:
    assert isinstance(error, errors.ProcessHubError)
    assert str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))


def test_an_invalid_child_spec_is_also_that_of_the_runtime() -> None:
    assert issubclass(errors.InvalidChildSpec, RuntimeInvalidChildSpec)
    assert issubclass(errors.InvalidChildSpec, ValueError)


def test_already_started_lists_the_ids_sorted_and_prints_only_some() -> None:
    error = errors.AlreadyStarted(f"c{number}" for number in range(9, -1, -1))
    assert error.child_ids == [f"c{number}" for number in range(10)]
    assert "'c0', 'c1'" in str(error)
    assert "5 more" in str(error)
    assert "check_existing" in str(error)


def test_a_config_mismatch_names_the_field_both_values_and_the_node() -> None:
    text = str(errors.ConfigMismatch("hub1", "synchronization_strategy.sync_interval", 15.0, 10.0, "n2@h:1"))
    for part in ("hub1", "synchronization_strategy.sync_interval", "15.0", "10.0", "n2@h:1"):
        assert part in text
