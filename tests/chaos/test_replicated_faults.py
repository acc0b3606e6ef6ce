"""The same random faults on hubs with two copies of each child, told their roles, whose changes travel by gossip.

To look for new seeds: `python -m tests.chaos.test_replicated_faults 0 500`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from processhub import Gossip, ProcessHub, Replication
from processhub.hub.config import HubConfig
from tests.chaos.test_random_faults import Run, replay
from tests.processhub.hub.children import HUB, hub_of, local_pids, pid_of, runs

SEEDS = (*range(6), 135, 136, 148)  # the last three lost starts whose gossip died with the node that wrote them


class CopiesRun(Run):
    """Afterwards each child runs on exactly its owners, every copy knows its role, and lookups agree on the active."""

    config = HubConfig(
        HUB,
        migr_base_timeout=5.0,
        redundancy_strategy=Replication(2, "active_passive", "all"),
        synchronization_strategy=Gossip(recipients=1),
    )

    def _check_truth(self) -> None:
        truth = runs(self.cluster)
        desired = self.cluster[0].run(ProcessHub.registry_dump, HUB)
        assert sorted(truth) == sorted(desired)
        strategy = self.config.redundancy_strategy
        owners = {child_id: self.cluster[0].run(ProcessHub.owners, HUB, child_id) for child_id in truth}
        active = {child_id: strategy.active(child_id, nodes) for child_id, nodes in owners.items()}
        for child_id, holders in truth.items():
            assert holders == sorted(owners[child_id]), f"{child_id} runs on {holders}, not on {owners[child_id]}"
        for node in self.cluster:
            for child_id in truth:
                pid = pid_of(node, child_id)
                assert pid is not None
                assert pid.node == active[child_id]
            roles = {
                child_id: (pid, "active" if active[child_id] == node.name else "passive")
                for child_id, pid in local_pids(node).items()
            }
            assert hub_of(node).roles._known == roles
            assert hub_of(node).failures == {}


@pytest.mark.parametrize("seed", SEEDS)
def test_after_random_faults_every_copy_runs_at_its_owner_and_knows_its_role(seed: int) -> None:
    replay(seed, CopiesRun)


def failures(first: int, last: int) -> Iterator[str]:
    for seed in range(first, last):
        try:
            replay(seed, CopiesRun)
        except AssertionError as error:
            yield str(error)


if __name__ == "__main__":
    for failure in failures(int(sys.argv[1]), int(sys.argv[2])):
        print(failure[:600], flush=True)
