"""Tables of text, and the values of the prompt that look like them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from processhub import Agent, ProcessHub
from processhub.cli.tables import aligned, first_of
from processhub.cli.views import ROWS, Views
from processhub.testing import Cluster


def test_columns_are_aligned_and_numbers_stand_at_the_right() -> None:
    text = aligned(("name", "count", "state"), [("a", 1, "well"), ("longer", 100, "-")])
    assert text == "name    count  state\na           1  well\nlonger    100  -"


def test_only_headings_are_a_table_too() -> None:
    assert aligned(("name", "count"), []) == "name  count"


@pytest.mark.parametrize(("most", "expected"), [(2, ([1, 2], "... and 1 more")), (3, ([1, 2, 3], ""))])
def test_what_is_left_out_is_counted(most: int, expected: object) -> None:
    assert first_of([1, 2, 3], most) == expected


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Two nodes with two hubs; "shop" has more children than a table shows."""
    with Cluster(2, hubs=[ProcessHub("shop"), ProcessHub("bar")]) as cluster:
        cluster[0].run(start)
        yield cluster


def start() -> None:
    specs = [{"id": f"c{number:03}", "start": (Agent.start_link, (list,))} for number in range(ROWS + 10)]
    assert ProcessHub.start_children("shop", specs).result().status == "ok"


def test_a_long_process_list_is_cut_when_it_is_shown_and_whole_as_a_value(cluster: Cluster) -> None:
    value = cluster[0].run(Views(["shop"]).process_list)
    lines = repr(value).splitlines()
    assert len(lines) == 1 + ROWS + 1
    assert (lines[0].split(), lines[-1]) == (["child", "node", "pid"], "... and 10 more")
    assert value == cluster[0].run(ProcessHub.process_list, "shop")
    assert len(value) == ROWS + 10


def test_the_local_processes_are_a_table_too(cluster: Cluster) -> None:
    value = cluster[0].run(Views(["shop"]).process_list, None, "local")
    assert repr(value).splitlines()[1].split()[1] == cluster[0].name
    assert value == cluster[0].run(ProcessHub.process_list, "shop", "local")


def test_with_several_hubs_one_has_to_be_named(cluster: Cluster) -> None:
    views = Views(["bar", "shop"])
    with pytest.raises(ValueError, match="name one of the hubs: 'bar', 'shop'"):
        cluster[0].run(views.child_lookup, "c000")
    info = cluster[0].run(views.child_lookup, "shop", "c000")
    assert info == cluster[0].run(ProcessHub.child_lookup, "shop", "c000")
    assert "Agent.start_link(" in repr(info)
    assert cluster[0].run(views.child_lookup, "shop", "ghost") is None
    assert cluster[0].run(lambda: repr(views.hubs())).splitlines()[1].split() == ["bar", "2", "0", "settled"]


def test_a_hub_that_is_observed_no_more_is_shown_as_that(cluster: Cluster) -> None:
    assert cluster[0].run(lambda: repr(Views(["ghost"]).hubs())).split()[-2:] == ["not", "observed"]
