"""Growth: what one child costs, in a hub of 10 000, 20 000, 40 000 and 80 000 children, on one node and on six.

Prints a JSON line for each size, and one for each number of nodes that compares the largest with the smallest: a cost
that stays level gives a ratio of about 1, a quadratic one 8. Sizes may be given as arguments.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence

from benchmarks._nodes import cluster
from benchmarks.hub import start, stop

SIZES = (10_000, 20_000, 40_000, 80_000)
RUNS = 3


def per_child_us(names: list[str], count: int) -> tuple[float, float]:
    """Microseconds for the start and for the stop of each of `count` children, medians of some runs."""
    pairs = [(start(names, count), stop(names, count)) for _ in range(RUNS)]
    started, stopped = (statistics.median(pair[which] for pair in pairs) / count * 1e6 for which in (0, 1))
    return started, stopped


def grow(nodes: int, sizes: Sequence[int]) -> None:
    """All sizes on so many nodes."""
    costs = []
    with cluster(nodes) as (names, _others):
        per_child_us(names, sizes[0])  # the first start imports, compiles and connects
        for count in sizes:
            costs.append(per_child_us(names, count))
            line(nodes, children=count, start_us=costs[-1][0], stop_us=costs[-1][1])
    (start_few, stop_few), (start_many, stop_many) = costs[0], costs[-1]
    line(nodes, children=sizes[-1], start_ratio=start_many / start_few, stop_ratio=stop_many / stop_few)


def line(nodes: int, **values: float) -> None:
    """One JSON line."""
    rounded = {name: round(value, 2) for name, value in values.items()}
    print(json.dumps({"benchmark": f"growth on {nodes} nodes", **rounded}), flush=True)


def main() -> None:
    """Both numbers of nodes."""
    sizes = [int(size) for size in sys.argv[1:]] or SIZES
    for nodes in (1, 6):
        grow(nodes, sizes)


if __name__ == "__main__":
    main()
