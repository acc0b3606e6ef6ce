"""Gossip: whom it tells, who starts rounds; and the shares in which the rest is dealt out."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processhub.hub.routes import Routes, deal
from processhub.strategy.errors import InvalidConfig
from processhub.strategy.synchronization.gossip import Gossip
from processhub.strategy.synchronization.pub_sub import PubSub

NODES = [f"n{number}" for number in range(20)]


def test_a_batch_goes_to_as_many_members_as_the_option_says() -> None:
    rng = Random(1)
    drawn = [tuple(Gossip(recipients=3).targets(NODES, rng)) for _ in range(20)]
    assert all(len(set(nodes)) == 3 and set(nodes) <= set(NODES) for nodes in drawn)
    assert len(set(drawn)) > 10
    assert sorted(Gossip(recipients=3).targets(NODES[:2], rng)) == NODES[:2]


def test_only_the_first_member_by_name_starts_rounds_if_so_restricted() -> None:
    assert [node for node in NODES[:3] if Gossip().starts_rounds(node, NODES[:3])] == ["n0"]
    assert Gossip().relays_rounds
    assert not Gossip().starts_rounds("observer", NODES[:3])
    free = Gossip(restricted_init=False)
    assert all(free.starts_rounds(node, NODES) for node in NODES)
    assert not free.relays_rounds


def test_a_difference_is_followed_sooner_than_the_next_round() -> None:
    rng = Random(1)
    assert 0.9 <= Gossip().again(rng) <= 1.1
    assert Gossip(sync_interval=0.1).again(rng) <= 0.11
    assert 13.5 <= Gossip().pause(rng) <= 16.5


@pytest.mark.parametrize("options", [{"sync_interval": 0}, {"recipients": 0}, {"restricted_init": 1}])
def test_a_wrong_option_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig, match=next(iter(options))):
        Gossip(**options)


@given(size=st.integers(0, 40), recipients=st.integers(1, 5), seed=st.integers(0, 1000))
def test_every_member_gets_a_batch_once_and_nobody_sends_it_more_often_than_recipients(
    size: int, recipients: int, seed: int
) -> None:
    rng = Random(seed)
    everybody = [f"m{number}" for number in range(size)]
    got: list[str] = []
    waiting = [everybody]
    while waiting:
        shares = Routes(Gossip(recipients=recipients), rng).to(waiting.pop())
        assert len(shares) <= recipients
        for node, rest in shares:
            got.append(node)
            waiting.append(rest)
    assert sorted(got) == sorted(everybody)


def test_some_get_a_batch_without_a_detour() -> None:
    routes = Routes(Gossip(recipients=2), Random(1))
    ways = routes.to(NODES)
    chosen = [node for node, _ in ways]
    other = next(node for node in NODES if node not in chosen)
    assert routes.to(NODES, {other, chosen[0]}) == [*ways, (other, [])]
    assert Routes(PubSub(), Random(1)).to(NODES, NODES) == [(node, []) for node in NODES]


def test_with_pub_sub_nothing_is_left_to_pass_on() -> None:
    assert Routes(PubSub(), Random(1)).to(NODES) == [(node, []) for node in NODES]
    assert deal([], []) == []


def test_batches_of_one_writer_take_the_same_way_until_it_is_drawn_anew() -> None:
    routes = Routes(Gossip(), Random(1))
    first = routes.to(NODES)
    assert all(routes.to(NODES) == first for _ in range(5))
    routes.redraw()
    assert any(routes.to(NODES[:-1]) and routes.to(NODES) != first for _ in range(3))
