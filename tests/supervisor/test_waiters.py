"""Those who wait for a key are woken together, and whoever stops waiting leaves nothing behind."""

from __future__ import annotations

import supervisor.processes as process
from supervisor.reasons import KILL
from supervisor.runtime import current_runtime
from supervisor.waiters import Waiters
from tests.supervisor.kit import ManualClock


def test_all_who_wait_for_a_key_get_its_answer_and_nobody_else(clock: ManualClock) -> None:
    waiters: Waiters[str] = Waiters(current_runtime())
    answers: list[tuple[str, bool]] = []
    for key in ("a", "a", "b", "c"):
        process.spawn(lambda key=key: answers.append((key, waiters.wait(key, None))))
    clock.settle()
    waiters.wake("a")
    waiters.wake("b", False)
    clock.settle()
    assert sorted(answers) == [("a", True), ("a", True), ("b", False)]
    assert list(waiters) == ["c"]


def test_who_waits_in_vain_or_ends_meanwhile_leaves_nothing_behind(clock: ManualClock) -> None:
    waiters: Waiters[str] = Waiters(current_runtime())
    answers: list[bool] = []
    process.spawn(lambda: answers.append(waiters.wait("late", 2.0)))
    killed = process.spawn(lambda: waiters.wait("killed", None))
    clock.settle()
    assert len(waiters) == 2
    process.exit(killed, KILL)
    clock.advance(2.0)
    clock.settle()
    assert answers == [False]
    assert not waiters
