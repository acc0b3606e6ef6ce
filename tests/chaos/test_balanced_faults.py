"""The random faults of `test_random_faults`, on hubs that place children by load, while the loads change."""

from __future__ import annotations

import pytest

from processhub import CentralizedLoadBalancer
from processhub.hub.config import HubConfig
from tests.chaos.test_random_faults import Run, replay
from tests.processhub.hub.children import HUB

SEEDS = range(8)


class BalancedRun(Run):
    config = HubConfig(HUB, migr_base_timeout=5.0, distribution_strategy=CentralizedLoadBalancer(push_interval=3.0))

    def step(self) -> None:
        if self.random.random() < 0.2:
            load = self.random.choice(self.cluster.nodes).load
            load.cpu, load.loop_lag = self.random.random(), self.random.random() / 10
        super().step()


@pytest.mark.parametrize("seed", SEEDS)
def test_after_random_faults_every_desired_child_runs_once_where_it_was_placed(seed: int) -> None:
    replay(seed, BalancedRun)


def test_a_balanced_run_replays_exactly() -> None:
    assert replay(3, BalancedRun) == replay(3, BalancedRun)
