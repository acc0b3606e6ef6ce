"""The leader's ledger, and the measuring of a node's load."""

from __future__ import annotations

import os

import pytest

from processhub import CentralizedLoadBalancer
from processhub.hub.ledger import Ledger
from processhub.hub.sampler import LoopLag, ProcessSampler, resident_memory
from processhub.strategy.distribution.load import Load

IDLE, FULL = Load(0.0, 0.0, 0, 0), Load(1.0, 0.1, 10_000, 1_000_000_000)


def ledger_of(**options: float) -> Ledger:
    ledger = Ledger(CentralizedLoadBalancer(**options))  # type: ignore[arg-type]
    ledger.follow({"a": 1, "b": 1, "c": 1})
    return ledger


def test_each_node_is_scored_by_its_own_history_alone() -> None:
    """The original mixed the leader's history into every score, so that an idle node looked busy."""
    ledger = ledger_of()
    for _ in range(50):
        ledger.record("a", 1, FULL)
        ledger.record("b", 1, IDLE)
    assert ledger.scores() == {"a": pytest.approx(1.0), "b": 0.0}


def test_a_history_is_bounded() -> None:
    ledger = ledger_of(max_history_size=3, weight_decay_factor=1.0)
    for load in (FULL, FULL, FULL, IDLE, IDLE):
        ledger.record("a", 1, load)
    assert ledger.scores()["a"] == pytest.approx(1 / 3)


def test_shares_are_equal_until_reports_come_and_then_the_unknown_count_as_the_mean() -> None:
    ledger = ledger_of()
    assert ledger.shares() == {"a": 1.0, "b": 1.0, "c": 1.0}
    ledger.record("a", 1, FULL)
    ledger.record("b", 1, IDLE)
    assert ledger.shares() == {"a": pytest.approx(0.1), "b": 1.0, "c": pytest.approx(0.55)}


def test_reports_of_a_former_life_or_a_stranger_count_for_nothing() -> None:
    ledger = ledger_of()
    ledger.record("a", 1, FULL)
    ledger.follow({"a": 2, "b": 1})
    assert ledger.scores() == {}
    assert not ledger.record("a", 1, FULL)
    assert not ledger.record("z", 1, FULL)
    assert ledger.record("a", 2, IDLE)
    assert ledger.scores() == {"a": 0.0}


def test_what_was_dealt_counts_in_the_next_deal_and_fades_evenly() -> None:
    ledger = ledger_of(weight_decay_factor=0.5)
    firsts = [ledger.dealer().pick(1)[0] for _ in range(6)]
    assert sorted(firsts) == ["a", "a", "b", "b", "c", "c"]
    ledger.dealer().pick(1)
    ledger.age()
    assert sorted(ledger.dealer().pick(2)) == ["b", "c"]
    for _ in range(12):
        ledger.age()
    assert ledger.dealer().dealt == {"a": 0.0, "b": 0.0, "c": 0.0}


def test_a_ledger_that_is_cleared_knows_nothing() -> None:
    ledger = ledger_of()
    ledger.record("a", 1, FULL)
    ledger.dealer().pick(1)
    ledger.clear()
    assert ledger.scores() == {}
    assert set(ledger.shares().values()) == {1.0}


# --- measuring ----------------------------------------------------------------------------------------------------


def test_a_process_measures_its_cpu_share_between_two_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    used = [10.0]
    monkeypatch.setattr("processhub.hub.sampler._cpu_time", lambda: used[0])
    sampler = ProcessSampler(100.0)
    used[0] = 12.5
    assert sampler.sample(110.0, 0.02, 7)[:3] == (0.25, 0.02, 7)
    assert sampler.sample(110.0, 0.0, 7).cpu == 0.0
    used[0] = 13.5
    assert sampler.sample(112.0, 0.0, 7).cpu == 0.5


def test_a_process_measures_itself() -> None:
    sampler = ProcessSampler(0.0)
    sum(range(200_000))
    load = sampler.sample(1.0, 0.0, 3)
    assert 0.0 <= load.cpu < 60.0
    assert 5_000_000 < load.memory < 10**11


def test_memory_is_told_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    direct = resident_memory()
    monkeypatch.setattr("builtins.open", _no_file)
    assert resident_memory() >= direct // 2


def _no_file(*_: object) -> None:
    raise FileNotFoundError(os.devnull)


def test_the_lag_of_a_loop_is_the_mean_since_it_was_asked_last() -> None:
    lag = LoopLag()
    assert lag.take() == 0.0
    for late in (0.1, 0.3, -1e-9):
        lag.fired(late)
    assert lag.take() == pytest.approx(0.4 / 3)
    assert lag.take() == 0.0
