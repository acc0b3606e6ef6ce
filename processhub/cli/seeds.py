"""Reaching a seed before the application starts: a hub that finds its members at once need not move children later."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from processhub import Node, Pid, process

SEED_SECONDS: Final = 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SeedAnswer:
    """The message for each seed: whether we are connected to it."""

    seed: str
    connected: bool


def ask(seeds: Sequence[str]) -> int:
    """Connect to all seeds but ourselves, at the same time.

    Returns how many there are. The caller gets a `SeedAnswer` for each.
    """
    others = sorted(set(seeds) - {Node.self()})
    for seed in others:
        process.spawn(_connect, seed, process.self())
    return len(others)


def _connect(seed: str, listener: Pid) -> None:
    process.send(listener, SeedAnswer(seed, Node.connect(seed)))


def refusal() -> str | None:
    """Who refuses us, and why, if nobody takes us. A seed that is not there yet is no refusal: it is tried again."""
    told: Iterator[str] = (f"{seed} refuses us: {why}" for seed, why in sorted(Node.refusals().items()))
    return None if Node.list() else next(told, None)
