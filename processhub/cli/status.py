"""`processhub status`: asks every node of a cluster how it does, and says what is wrong."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final, TypeVar

from processhub import Node, ProcessExit, ProcessHub, Report, Task, process
from processhub.cli.errors import FAILED, OK
from processhub.cli.joining import visit
from processhub.cli.logs import be_quiet
from processhub.cli.survey import Problem, Survey, Watch
from processhub.cli.tables import aligned, counted

_LOOK_AGAIN_SECONDS: Final = 0.25

T = TypeVar("T")


def show_status(options: Namespace) -> int:
    """Print how the cluster does. Returns 0 if all is well, else 1. Raises CommandError where it cannot be asked."""
    be_quiet()
    names = visit(options.connect, "status", options.name, options.cookie_file)
    try:
        survey, problems = _look_until_well(names, options.hub, options.wait)
    finally:
        Node.stop()
    print(_as_json(survey, problems) if options.json else _as_text(survey, problems))
    return FAILED if problems else OK


def _look_until_well(names: Sequence[str], only: Sequence[str], seconds: float) -> tuple[Survey, list[Problem]]:
    """The first look at which all is well, or something that will not pass; else the last one within `seconds`."""
    watch = Watch()
    deadline = process.now() + seconds
    while True:
        survey = _look(names, only)
        problems = watch.problems(survey)
        is_last = process.now() + _LOOK_AGAIN_SECONDS > deadline
        if is_last or not all(problem.may_pass for problem in problems) or not problems:
            return survey, problems
        process.sleep(_LOOK_AGAIN_SECONDS)


# -- asking ----------------------------------------------------------------------------------------------------------


def _look(names: Iterable[str], only: Sequence[str]) -> Survey:
    nodes = _asked(ProcessHub.hub_ids, [(name,) for name in names])
    found = {name: hubs if isinstance(hubs, list) else None for (name,), hubs in nodes.items()}
    ids = only or sorted({hub_id for hubs in found.values() for hub_id in hubs or ()})
    running = [(hub_id, name) for hub_id in ids for name, hubs in found.items() if hub_id in (hubs or ())]
    reports = _asked(ProcessHub.report, running)
    return Survey(
        found, {hub_id: {name: reports[hub_id, name] for one, name in running if one == hub_id} for hub_id in ids}
    )


def _asked(question: Callable[..., T], arguments: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], T | str]:
    """The answer, or why there is none, to each question; all are asked at the same time."""
    tasks = {one: Task.spawn(_answer, question, one) for one in arguments}
    return {one: task.result(None) for one, task in tasks.items()}


def _answer(question: Callable[..., T], arguments: tuple[str, ...]) -> T | str:
    try:
        return question(*arguments)
    except (ProcessExit, TimeoutError) as error:
        return str(error)


# -- printing --------------------------------------------------------------------------------------------------------


def _as_text(survey: Survey, problems: Sequence[Problem]) -> str:
    rows = [(name, "no answer" if hubs is None else ", ".join(hubs) or "-") for name, hubs in survey.nodes.items()]
    parts = [aligned(("node", "hubs"), rows), *(_hub_as_text(survey, hub_id) for hub_id in survey.hubs)]
    parts.append(
        "\n".join(["problems:", *(f"  {problem.text}" for problem in problems)]) if problems else "all is well"
    )
    return "\n\n".join(parts)


def _hub_as_text(survey: Survey, hub_id: str) -> str:
    reports = survey.reports(hub_id)
    count = max((report.children for report in reports.values()), default=0)
    rows = [(node, *_counts(one), _state(one)) for node, one in survey.hubs[hub_id].items()]
    headings = ("node", "running", "restarting", "failed", "other", "state")
    title = f"hub {hub_id}: {counted(count)}"
    return "\n".join([title, aligned(headings, rows)]) if rows else title


def _counts(answer: Report | str) -> tuple[int, int, int, int]:
    states = answer.states if isinstance(answer, Report) else {}
    running, restarting, failed = (states.get(state, 0) for state in ("running", "restarting", "failed"))
    return running, restarting, failed, sum(states.values()) - running - restarting - failed


def _state(answer: Report | str) -> str:
    if isinstance(answer, str):
        return "no answer"
    said = {"partitioned": answer.is_partitioned, "locked": answer.is_locked, "at work": answer.is_busy}
    return ", ".join(word for word, holds in said.items() if holds) or "settled"


def _as_json(survey: Survey, problems: Sequence[Problem]) -> str:
    found = {
        "ok": not problems,
        "problems": [problem.text for problem in problems],
        "nodes": {name: {"reachable": hubs is not None, "hubs": hubs or []} for name, hubs in survey.nodes.items()},
        "hubs": {hub_id: {node: _plain(one) for node, one in nodes.items()} for hub_id, nodes in survey.hubs.items()},
    }
    return json.dumps(found, indent=2)


def _plain(answer: Report | str) -> dict[str, Any]:
    # JavaScript's numbers would round a digest of 64 bits.
    return {"error": answer} if isinstance(answer, str) else {**asdict(answer), "digest": f"{answer.digest:016x}"}
