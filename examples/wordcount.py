"""Count the words of real files with one supervised process per distinct word, on three nodes; then kill a node.

    python examples/wordcount.py [FILE ...]

Without arguments it takes every `.py` file of this interpreter's standard library. The command observes the hub of
three nodes, each an operating-system process of its own. The nodes read the files and cast to the words, wherever those
run; then each total is read on a node where its word does not run, and compared with what a `Counter` says here. What
the killed node had counted is lost with it, and counted anew. On two cores:

    node                                         children  after the kill
    node1@127.0.0.1:43589                          16,080          26,163
    node2@127.0.0.1:50661                          17,075          26,247
    node3@127.0.0.1:44821                          19,255          killed

    step                                          seconds
    count the words here, to compare                 0.57
    start the nodes                                  0.81
    start a child per word                           3.29
    send a cast per file and word                    1.94
    read every total                                 2.78
    kill a node, wait until all children run         1.94
    count anew what was lost                         1.18
    read every total again                           2.12
    stop the nodes                                   0.84
    all of it, with 404,799 casts                   15.48

    totals match: 52410 words, 1349441 occurrences

Progress goes to standard error, the rest to standard output. The exit status is 0 when all totals match, 1 when some
do not (they are listed), 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

from gevent import get_hub, getcurrent
from gevent.pool import Pool
from gevent.socket import wait_read

from processhub import GenServer, Node, NoReply, ProcessHub, Supervisor, process

T = TypeVar("T")

HUB = "words"
DESK = "desk"
FILES_AT_ONCE = 16  # in one request to a node
WORDS_AT_ONCE = 500
REQUESTS_AT_ONCE = 24  # on their way, to all nodes together
TIMEOUT = 60.0  # seconds for one step that is not divided further
NOT_COUNTED = {"test", "tests", "idle_test", "site-packages", "dist-packages"}


# -- what runs on each node --------------------------------------------------------------------------------------------


class Word(GenServer):
    """Counts one word. A cast adds occurrences, a call asks for the total; one that is restarted begins anew."""

    def init(self) -> None:
        self.state = 0

    def handle_cast(self, occurrences: int) -> None:
        self.state += occurrences

    def handle_call(self, request: str, from_: Any) -> int:
        return int(self.state)


class Desk(GenServer):
    """Runs functions for the driver, each in a process of its own, which then answers with the result.

    So a long request keeps no other one waiting. The process is linked: if it crashes, the caller hears of it.
    """

    def handle_call(self, request: tuple[Any, ...], from_: Any) -> NoReply:
        process.spawn_link(self.work, from_, *request)
        return NoReply()

    @staticmethod
    def work(from_: Any, function: Callable[..., Any], *args: Any) -> None:
        GenServer.reply(from_, function(*args))


def ask(node: str, function: Callable[..., T], *args: Any) -> T:
    """Have the desk of `node` run a function, which travels as its name, and return what it returned."""
    result: T = GenServer.call((DESK, node), (function, *args), TIMEOUT)
    return result


def count_files(files: Sequence[str], only: Collection[str] | None) -> int:
    """Send each word of each file its number of occurrences. Returns the number of casts, when all have arrived."""
    casts = 0
    for file in files:
        for word, occurrences in words_of(Path(file)).items():
            if only is None or word in only:
                GenServer.cast(ProcessHub.via(HUB, word), occurrences)
                casts += 1
        process.sleep(0)  # let the node's other processes run
    for node in ProcessHub.nodes(HUB):
        ask(node, Node.self)  # what goes to a node stays in order: an answer means that it has all casts before
    return casts


def read_totals(words: Sequence[str]) -> dict[str, int]:
    """Ask words for their totals."""
    return {word: GenServer.call(ProcessHub.via(HUB, word), "total") for word in words}


def words_of(file: Path) -> Counter[str]:
    """How often each word is in a file."""
    return Counter(re.findall(r"\w+", file.read_text("utf-8", errors="replace")))


def run_node(name: str, seeds: Sequence[str]) -> None:
    """Be a node until our input ends, as it does when the driver closes it or dies, of whatever."""
    Node.start(name, seeds=seeds)
    Supervisor.start_link([ProcessHub.child_spec(ProcessHub(HUB)), Desk.child_spec(name=DESK)])
    print("ready", flush=True)
    wait_read(sys.stdin.fileno())
    Node.stop()


# -- the driver: a fourth node, which only observes the hub ------------------------------------------------------------


def start_nodes(names: Sequence[str]) -> dict[str, subprocess.Popen[str]]:
    """Start one operating-system process per name."""
    return {
        name: subprocess.Popen(
            [sys.executable, __file__, "--node", name, *names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the driver alone, which then stops the nodes
        )
        for name in names
    }


def join(nodes: Mapping[str, subprocess.Popen[str]]) -> None:
    """Wait until the nodes are there and join them as an observer."""
    for name, node in nodes.items():
        assert node.stdout is not None
        if not node.stdout.readline():
            raise RuntimeError(f"node {name} did not start: exit status {node.wait()}")
    Node.start(f"driver@127.0.0.1:{free_ports(1)[0]}")
    if not all(map(Node.connect, nodes)):
        raise RuntimeError(f"only {Node.list()} can be reached")
    ProcessHub.observe(HUB)
    ProcessHub.await_settled(HUB, TIMEOUT, members=nodes)


def stop_nodes(nodes: Mapping[str, subprocess.Popen[str]]) -> None:
    """Tell the nodes to end, and wait until they have."""
    for node in nodes.values():
        assert node.stdin is not None
        node.stdin.close()
    deadline = time.monotonic() + 10.0
    for node in nodes.values():
        try:
            node.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            node.kill()
            node.wait()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 on which nobody listens just now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start_words(words: Collection[str], advance: Callable[[int], None]) -> None:
    """Start a child per word, some thousands at a time, and wait until every node knows them."""
    for part in parts_of(sorted(words), 10 * WORDS_AT_ONCE):
        result = ProcessHub.start_children(HUB, [Word.child_spec(id=word) for word in part], timeout=TIMEOUT).result()
        if result.errors:
            raise RuntimeError(f"{len(result.errors)} children did not start, the first: {result.errors[0]}")
        advance(len(part))
    ProcessHub.await_settled(HUB, TIMEOUT)  # this node knows them by now; the others are to know them too


def count(files: Sequence[Path], only: Collection[str] | None, advance: Callable[[int], None]) -> int:
    """Share the files among the nodes and have them counted. Returns the number of casts."""
    nodes = cycle(ProcessHub.nodes(HUB))
    requests = [(next(nodes), count_files, list(map(str, part)), only) for part in parts_of(files, FILES_AT_ONCE)]
    casts = 0
    for sent in ask_all(requests):
        casts += sent
        advance(FILES_AT_ONCE)
    return casts


def read(words: Collection[str], advance: Callable[[int], None]) -> dict[str, int]:
    """Have all totals read, each by a node on which the word does not run."""
    nodes = ProcessHub.nodes(HUB)
    reader = dict(zip(nodes, nodes[1:] + nodes[:1], strict=True))
    requests = [
        (number, reader[node], read_totals, part)
        for node, own in words_by_node(words).items()
        for number, part in enumerate(parts_of(own, WORDS_AT_ONCE))
    ]
    requests.sort(key=lambda request: request[:2])  # so that all nodes are asked at the same time
    totals: dict[str, int] = {}
    for some in ask_all(request[1:] for request in requests):
        totals.update(some)
        advance(len(some))
    return totals


def ask_all(requests: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    """Ask the desks, with some requests on their way at any time; yields the answers as they come."""
    pool = Pool(REQUESTS_AT_ONCE)
    try:
        yield from pool.imap_unordered(lambda request: ask(*request), requests)
    finally:
        pool.kill()


def words_by_node(words: Iterable[str]) -> dict[str, list[str]]:
    """Where the words run, as the registry of this node says."""
    found: dict[str, list[str]] = {node: [] for node in ProcessHub.nodes(HUB)}
    for word in words:
        pid = ProcessHub.get_pid(HUB, word)
        assert pid is not None, word
        found[pid.node].append(word)
    return found


def parts_of(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Consecutive parts of at most `size` items."""
    return (items[start : start + size] for start in range(0, len(items), size))


def compare(expected: Mapping[str, int], totals: Mapping[str, int]) -> list[str]:
    """The differences, one line each."""
    return [
        f"{word!r}: counted {totals.get(word)}, expected {expected.get(word)}"
        for word in sorted({*expected, *totals})
        if totals.get(word) != expected.get(word)
    ]


# -- the run -----------------------------------------------------------------------------------------------------------


class Report:
    """Times the steps and shows how far the present one is: on one line of a terminal, else in a line now and then."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, float]] = []
        self.is_terminal = sys.stderr.isatty()

    @contextmanager
    def step(self, title: str, total: int = 0) -> Iterator[Callable[[int], None]]:
        """One step. Gives a function to call with the number of things, of `total`, that were done since."""
        began = shown = time.monotonic()
        done = 0

        def advance(count: int) -> None:
            nonlocal done, shown
            done = min(done + count, total)
            if time.monotonic() - shown > (0.1 if self.is_terminal else 5.0):
                shown = time.monotonic()
                self.show(f"{title}: {done:,} of {total:,}", done=False)

        self.show(f"{title} ...", done=False)
        yield advance
        self.steps.append((title, time.monotonic() - began))
        self.show(f"{title}: {self.steps[-1][1]:.1f} s", done=True)

    def show(self, line: str, done: bool) -> None:
        """Show where we are; `done` when nothing more is to come on this line."""
        if self.is_terminal:
            print(f"\r\033[K{line}", end="\n" if done else "", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def print_tables(self, before: Mapping[str, Sequence[str]], after: Mapping[str, Sequence[str]], casts: int) -> None:
        """Print which node had how many children, and what took how long."""
        print(f"\n{'node':<44}{'children':>9}{'after the kill':>16}")
        for node, words in before.items():
            left = f"{len(after[node]):,}" if node in after else "killed"
            print(f"{node:<44}{len(words):>9,}{left:>16}")
        print(f"\n{'step':<44}{'seconds':>9}")
        for title, seconds in self.steps:
            print(f"{title:<44}{seconds:>9.2f}")
        print(f"{'all of it, with ' + format(casts, ',') + ' casts':<44}{sum(s for _, s in self.steps):>9.2f}\n")


@contextmanager
def cluster(names: Sequence[str], report: Report) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Nodes as long as the block runs; whatever ends it, none of them is left."""
    os.environ["PROCESSHUB_COOKIE"] = secrets.token_hex()  # the secret of this run, which the nodes inherit
    nodes = start_nodes(names)
    try:
        with report.step("start the nodes"):
            join(nodes)
        yield nodes
    finally:
        with report.step("stop the nodes"):
            Node.stop()
            stop_nodes(nodes)


def wordcount(files: Sequence[Path], report: Report) -> int:
    """The whole run. Returns the exit status."""
    with report.step("count the words here, to compare", len(files)) as advance:
        expected = count_here(files, advance)
    names = [f"node{number}@127.0.0.1:{port}" for number, port in enumerate(free_ports(3), 1)]
    with cluster(names, report) as nodes:
        with report.step("start a child per word", len(expected)) as advance:
            start_words(expected, advance)
        with report.step("send a cast per file and word", len(files)) as advance:
            casts = count(files, None, advance)
        with report.step("read every total", len(expected)) as advance:
            differences = compare(expected, read(expected, advance))
        before = words_by_node(expected)
        victim = names[-1]
        with report.step("kill a node, wait until all children run"):
            nodes[victim].kill()
            ProcessHub.await_settled(HUB, TIMEOUT, members=names[:-1])
        with report.step("count anew what was lost", len(files)) as advance:
            casts += count(files, frozenset(before[victim]), advance)
        with report.step("read every total again", len(expected)) as advance:
            differences += compare(expected, read(expected, advance))
        after = words_by_node(expected)
    report.print_tables(before, after, casts)
    return conclude(expected, differences)


def count_here(files: Sequence[Path], advance: Callable[[int], None]) -> Counter[str]:
    """What the totals should be."""
    total: Counter[str] = Counter()
    for file in files:
        total.update(words_of(file))
        advance(1)
    return total


def conclude(expected: Counter[str], differences: Sequence[str]) -> int:
    """Print the verdict. Returns the exit status."""
    if differences:
        print(f"{len(differences)} totals differ:", *differences, sep="\n  ")
        return 1
    print(f"totals match: {len(expected)} words, {sum(expected.values())} occurrences")
    return 0


def library_files() -> list[Path]:
    """The Python files of this interpreter's standard library, without its tests."""
    root = Path(sysconfig.get_path("stdlib"))
    return [file for file in sorted(root.rglob("*.py")) if NOT_COUNTED.isdisjoint(file.relative_to(root).parts)]


def handle_signals() -> None:
    """Have Ctrl-C and SIGTERM raise KeyboardInterrupt here, in the main greenlet, whichever runs at that moment."""
    me = getcurrent()

    def interrupt(signum: int, frame: object) -> None:
        if getcurrent() is me:
            raise KeyboardInterrupt
        get_hub().loop.run_callback(me.throw, KeyboardInterrupt)

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)


def main() -> int:
    """Run as the driver, or as one of the nodes that it starts. Returns the exit status."""
    parser = argparse.ArgumentParser(description="Count words with one supervised process per distinct word.")
    parser.add_argument("files", nargs="*", type=Path, help="files to count; default: Python's standard library")
    parser.add_argument("--node", metavar="NAME", help=argparse.SUPPRESS)  # how the driver starts its nodes
    options = parser.parse_args()
    if options.node:
        run_node(options.node, list(map(str, options.files)))
        return 0
    for file in options.files:
        if not file.is_file():
            parser.error(f"{file} is not a file")
    handle_signals()
    report = Report()
    try:
        return wordcount([file.resolve() for file in options.files] or library_files(), report)
    except KeyboardInterrupt:
        report.show("interrupted", done=True)
        return 130


if __name__ == "__main__":
    sys.exit(main())
