"""The demo, `examples/wordcount.py`, run as users run it: its result, its exit status, and what it leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from examples.wordcount import compare, conclude, library_files, words_of

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "wordcount.py"
MARK = "PROCESSHUB_TEST_WORDCOUNT"
SECONDS = 60.0  # for a run that should take 4: so much only when the machine is busy

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Starts the demo with the given arguments; ends it, if the test has not."""
    runs: list[subprocess.Popen[str]] = []

    def run(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, str(SCRIPT), *map(str, arguments)]
        env = {**os.environ, "PYTHONPATH": str(ROOT), MARK: request.node.name}
        pipe = subprocess.PIPE
        runs.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, env=env))
        return runs[-1]

    yield run
    for one in runs:
        one.kill()
        one.communicate()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three files with words of their own, shared words, and one that is not ASCII."""
    texts = ["one two two\n", "two three three_3 drei über\n", "".join(f"word{n} two " for n in range(50))]
    paths = [tmp_path / f"{number}.txt" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, "utf-8")
    return paths


def processes_of(test: str) -> set[str]:
    """The processes, nodes included, of the runs that this test has started. None where there is no /proc."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={test}\0".encode() in (folder / "environ").read_bytes():
                found.add(folder.name)
        except OSError:  # it ended while we looked, or it is another user's
            continue
    return found


def await_line(run: subprocess.Popen[str], text: str) -> None:
    """Read what the run reports until a line has `text`."""
    assert run.stderr is not None
    seen = []
    for line in run.stderr:
        seen.append(line)
        if text in line:
            return
    pytest.fail(f"it ended before {text!r}:\n{''.join(seen)}")


def test_the_totals_of_some_files_match_and_no_process_is_left(
    start: Start, files: list[Path], request: pytest.FixtureRequest
) -> None:
    run = start(*files)
    run.wait(SECONDS)
    assert not processes_of(request.node.name)
    output, progress = run.communicate()
    assert run.returncode == 0, progress
    assert output.endswith("\ntotals match: 56 words, 108 occurrences\n")


def test_the_tables_show_each_node_with_its_children_and_each_step(start: Start, files: list[Path]) -> None:
    output, _progress = start(*files).communicate(timeout=SECONDS)
    rows = re.findall(r"^(node\d)@127\.0\.0\.1:\d+ +(\d+) +(\d+|killed)$", output, re.MULTILINE)
    assert [row[0] for row in rows] == ["node1", "node2", "node3"]
    assert sum(int(before) for _node, before, _after in rows) == 56
    assert [after == "killed" for _node, _before, after in rows] == [False, False, True]
    assert sum(int(after) for _node, _before, after in rows if after != "killed") == 56
    for step in ("start a child per word", "read every total", "kill a node", "count anew", "stop the nodes"):
        assert re.search(rf"^{step}.* \d+\.\d\d$", output, re.MULTILINE), step


def test_progress_without_a_terminal_is_plain_lines(start: Start, files: list[Path]) -> None:
    _output, progress = start(*files).communicate(timeout=SECONDS)
    assert "\r" not in progress
    assert "\033" not in progress
    assert "read every total ..." in progress.splitlines()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["start the nodes", "start a child per word"])
def test_an_interrupted_run_stops_its_nodes(
    start: Start, request: pytest.FixtureRequest, signum: signal.Signals, moment: str
) -> None:
    run = start()
    await_line(run, f"{moment} ...")
    run.send_signal(signum)
    run.wait(SECONDS)
    assert not processes_of(request.node.name)
    _output, progress = run.communicate()
    assert run.returncode == 130, progress
    assert progress.endswith("interrupted\n")
    assert "Traceback" not in progress


def test_even_a_killed_run_leaves_no_node(start: Start, request: pytest.FixtureRequest) -> None:
    run = start()
    await_line(run, "start a child per word ...")
    assert len(processes_of(request.node.name)) in (4, 0)  # 0 without /proc
    run.kill()
    run.wait()
    deadline = time.monotonic() + SECONDS
    while processes_of(request.node.name) and time.monotonic() < deadline:
        time.sleep(0.05)  # real time: they are no children of ours, so nobody tells us of their end
    assert not processes_of(request.node.name)


def test_a_file_that_is_not_there_is_an_error_of_the_caller(start: Start, tmp_path: Path) -> None:
    run = start(tmp_path / "missing.txt")
    _output, complaint = run.communicate(timeout=SECONDS)
    assert run.returncode == 2
    assert "missing.txt is not a file" in complaint


def test_a_wrong_total_gives_exit_status_1_and_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    expected = Counter(right=2, wrong=3, missing=1)
    differences = compare(expected, {"right": 2, "wrong": 4, "strange": 1})
    assert conclude(expected, differences) == 1
    assert capsys.readouterr().out == (
        "3 totals differ:\n"
        "  'missing': counted None, expected 1\n"
        "  'strange': counted 1, expected None\n"
        "  'wrong': counted 4, expected 3\n"
    )


def test_equal_totals_give_exit_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    expected = Counter(one=1, two=2)
    assert conclude(expected, compare(expected, dict(expected))) == 0
    assert capsys.readouterr().out == "totals match: 2 words, 3 occurrences\n"


def test_words_are_counted_as_they_are_written(files: list[Path]) -> None:
    assert words_of(files[1]) == {"two": 1, "three": 1, "three_3": 1, "drei": 1, "über": 1}


def test_the_library_is_counted_without_its_tests_and_site_packages() -> None:
    found = library_files()
    assert len(found) > 300
    assert not [file for file in found if {"test", "tests", "site-packages"} & set(file.parts[-3:-1])]
