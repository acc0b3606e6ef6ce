"""What a look at a cluster says is wrong, and what may pass."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processhub import Report
from processhub.cli.survey import Survey, Watch

A, B = "a@h:1", "b@h:2"
WELL = Report(
    node=A,
    members=[A, B],
    observers=[],
    is_locked=False,
    is_partitioned=False,
    is_busy=False,
    digest=7,
    children=3,
    states={"running": 2},
    failed=[],
    down=0,
    down_ids=[],
)


def survey(**changes: Report | str) -> Survey:
    """Two nodes that are well, but for the reports given by the node's letter."""
    reports = {A: changes.get("a", WELL), B: changes.get("b", replace(WELL, node=B, states={"running": 1}))}
    return Survey({A: ["shop"], B: ["shop"]}, {"shop": reports})


def problems(*looks: Survey) -> list[tuple[str, bool]]:
    """Those of the last look."""
    watch = Watch()
    found = [[(problem.text, problem.may_pass) for problem in watch.problems(look)] for look in looks]
    return found[-1]


def test_a_cluster_that_is_well_has_no_problems() -> None:
    assert problems(survey()) == []


def test_locks_and_restarts_are_no_problems() -> None:
    assert problems(survey(a=replace(WELL, is_locked=True, is_busy=True, states={"restarting": 1}))) == []


def test_a_partition_will_not_pass_and_its_members_are_not_counted() -> None:
    look = survey(a=replace(WELL, is_partitioned=True, members=[A]))
    assert problems(look) == [(f"hub shop: {A} is partitioned", False)]


def test_failed_children_are_named() -> None:
    look = survey(a=replace(WELL, states={"running": 1, "failed": 1}, failed=["x"]))
    assert problems(look) == [(f"hub shop: {A} has 1 child ('x') failed", False)]
    look = survey(a=replace(WELL, states={"failed": 12}, failed=["x", "y"]))
    assert problems(look) == [(f"hub shop: {A} has 12 children ('x', 'y', ...) failed", False)]


def test_children_that_run_nowhere_may_start_in_a_moment() -> None:
    down = {"down": 1, "down_ids": ["x"]}
    look = survey(a=replace(WELL, down=1, down_ids=["x"]), b=replace(WELL, node=B, down=1, down_ids=["x"]))
    assert problems(look) == [("hub shop: 1 child ('x') not running on any node", True)], down


def test_members_that_do_not_see_each_other_are_told() -> None:
    text = f"hub shop: {A} sees as members: {A}; it runs on: {A}, {B}"
    assert problems(survey(a=replace(WELL, members=[A]))) == [(text, True)]


def test_a_node_that_does_not_answer_is_told() -> None:
    look = survey(b="no reply within 5.0 s")
    assert problems(look) == [(f"hub shop: {B} does not answer: no reply within 5.0 s", True)]
    assert problems(Survey({A: [], B: None}, {})) == [(f"node {B} cannot be reached", True)]


def test_a_hub_that_runs_nowhere_is_told() -> None:
    assert problems(Survey({A: []}, {"ghost": {}})) == [("hub ghost: runs on no node", True)]


@pytest.mark.parametrize(("later", "wrong"), [(7, True), (8, False)])
def test_registries_that_differ_are_wrong_if_one_of_them_stays_as_it_is(later: int, wrong: bool) -> None:
    first = survey(b=replace(WELL, node=B, digest=1))
    second = survey(a=replace(WELL, digest=later), b=replace(WELL, node=B, digest=2))
    found = problems(first, second)
    assert found == ([(f"hub shop: the registries of {A}, {B} differ", True)] if wrong else [])
