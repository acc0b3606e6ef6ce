"""What a cluster looks like from outside, and what is wrong with it. Pure: `processhub.cli.status` asks the nodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from processhub import Report
from processhub.cli.tables import counted


@dataclass(frozen=True)
class Survey:
    """One look at a cluster.

    Attributes:
        nodes: node -> the hubs that run on it; None for one that does not answer.
        hubs: hub id -> node -> its report, or why there is none.
    """

    nodes: dict[str, list[str] | None]
    hubs: dict[str, dict[str, Report | str]]

    def reports(self, hub_id: str) -> dict[str, Report]:
        """The reports on a hub, by node."""
        return {node: one for node, one in self.hubs[hub_id].items() if isinstance(one, Report)}

    def digests(self) -> dict[tuple[str, str], int]:
        """What each node's registry is like, by hub and node."""
        return {(hub_id, node): report.digest for hub_id in self.hubs for node, report in self.reports(hub_id).items()}


@dataclass(frozen=True)
class Problem:
    """What is wrong. `may_pass`: it may be over in a moment, as while children move."""

    text: str
    may_pass: bool = True


@dataclass
class Watch:
    """Looks one after the other, to tell a registry that is behind for good from one that is about to change."""

    _first: dict[tuple[str, str], int] = field(default_factory=dict)
    _changing: set[tuple[str, str]] = field(default_factory=set)

    def problems(self, survey: Survey) -> list[Problem]:
        """What is wrong in this look, given the looks before it."""
        for where, digest in survey.digests().items():
            if self._first.setdefault(where, digest) != digest:
                self._changing.add(where)
        return [*_of_nodes(survey), *(problem for hub_id in survey.hubs for problem in self._of_hub(survey, hub_id))]

    def _of_hub(self, survey: Survey, hub_id: str) -> Iterator[Problem]:
        reports = survey.reports(hub_id)
        if not survey.hubs[hub_id]:
            yield Problem(f"hub {hub_id}: runs on no node")
        for node, answer in survey.hubs[hub_id].items():
            if isinstance(answer, str):
                yield Problem(f"hub {hub_id}: {node} does not answer: {answer}")
        for report in reports.values():
            yield from _of_report(hub_id, report, sorted(survey.hubs[hub_id]))
        yield from self._disagreement(hub_id, reports)
        yield from _down(hub_id, reports)

    def _disagreement(self, hub_id: str, reports: dict[str, Report]) -> Iterator[Problem]:
        still = [node for node in reports if (hub_id, node) not in self._changing]
        if len({report.digest for report in reports.values()}) > 1 and still:
            yield Problem(f"hub {hub_id}: the registries of {', '.join(sorted(reports))} differ")


def _of_nodes(survey: Survey) -> Iterator[Problem]:
    for node, hubs in survey.nodes.items():
        if hubs is None:
            yield Problem(f"node {node} cannot be reached")


def _of_report(hub_id: str, report: Report, running: Sequence[str]) -> Iterator[Problem]:
    if report.is_partitioned:
        yield Problem(f"hub {hub_id}: {report.node} is partitioned", may_pass=False)
    elif report.members != list(running):
        sees = ", ".join(report.members) or "nobody"
        yield Problem(f"hub {hub_id}: {report.node} sees as members: {sees}; it runs on: {', '.join(running)}")
    count = report.states.get("failed", 0)
    if count:
        yield Problem(f"hub {hub_id}: {report.node} has {_named(count, report.failed)} failed", may_pass=False)


def _down(hub_id: str, reports: dict[str, Report]) -> Iterator[Problem]:
    """Children that run nowhere. All nodes say the same, or the registries differ."""
    worst = max(reports.values(), key=lambda report: report.down, default=None)
    if worst is not None and worst.down:
        yield Problem(f"hub {hub_id}: {_named(worst.down, worst.down_ids)} not running on any node")


def _named(count: int, ids: Sequence[str]) -> str:
    """ "2 children ('a', 'b')"; the ids may be only the first ones."""
    more = ", ..." if count > len(ids) else ""
    return f"{counted(count)} ({', '.join(map(repr, ids))}{more})"
