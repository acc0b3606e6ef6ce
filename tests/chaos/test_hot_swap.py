"""Random faults while children move with HotSwap: afterwards every child runs once, and nothing of any move is left.

A failure names its seed. To look for new ones: `python -m tests.chaos.test_hot_swap 0 500`.
"""

from __future__ import annotations

import sys

import pytest

from processhub import HotSwap
from processhub.hub.config import HubConfig
from tests.chaos.test_random_faults import Run, replay
from tests.processhub.hub.children import HUB
from tests.processhub.hub.movers import check_nothing_left

CONFIG = HubConfig(HUB, migr_base_timeout=5.0, migration_strategy=HotSwap(handover=True, child_migration_timeout=4.0))


class HotRun(Run):
    """A schedule on a cluster whose children move hot."""

    config = CONFIG

    def check(self) -> None:
        super().check()
        check_nothing_left(self.cluster)


@pytest.mark.parametrize("seed", range(12))
def test_after_random_faults_every_child_runs_once_and_no_move_is_left(seed: int) -> None:
    replay(seed, HotRun)


def test_the_same_seed_replays_exactly() -> None:
    assert replay(3, HotRun) == replay(3, HotRun)


if __name__ == "__main__":
    for number in range(int(sys.argv[1]), int(sys.argv[2])):
        try:
            replay(number, HotRun)
        except AssertionError as error:
            print(str(error)[:600], flush=True)
