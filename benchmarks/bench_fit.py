"""Time the fit of ranked items into a token budget, and how the time grows with their number.

Run it with ``python benchmarks/bench_fit.py``; it prints one JSON object. The items are drawn from a fixed
seed: eleven sections with shares, one to four forms each, and a budget that holds about a third of them, so
that every phase works. The figures are medians of interleaved runs in this process; ``build`` takes the
arrays, ``run`` chooses the forms.

Goals: ten times the items take at most 13 times the time, from 1,000 to 10,000 and from 10,000 to 100,000.
"""

from __future__ import annotations

import json
import random
import sys
from array import array
from itertools import pairwise
from statistics import median
from time import perf_counter
from typing import Any

from engram_core.kernel.fit import Fit

SIZES = (1_000, 10_000, 100_000)
ROUNDS = 15
SECTIONS = 11
GOAL = 13.0


def material(n: int, *, seed: int = 7) -> tuple[tuple[Any, ...], int]:
    """Return the arguments of a Fit over n items, and a budget for it."""
    chance = random.Random(seed)
    sections = [(1 / SECTIONS, -1, n // 8 if at % 2 else -1, 4, -1) for at in range(SECTIONS)]
    start, forms, last = array("i", [0]), array("i"), array("i")
    for _ in range(n):
        cost = chance.randint(12, 200)
        for _ in range(chance.randint(1, 4)):
            forms.append(cost)
            cost = max(1, cost * 2 // 3)
        last.append(len(forms) - start[-1] - 1)
        start.append(len(forms))
    home = array("i", (chance.randrange(SECTIONS) for _ in range(n)))
    return (sections, home, start, forms, last), n * 35


def measure() -> dict[str, Any]:
    """Return the seconds per size, the growth from each size to the next, and whether the goal is met."""
    cases = {n: material(n) for n in SIZES}
    build: dict[int, list[float]] = {n: [] for n in SIZES}
    run: dict[int, list[float]] = {n: [] for n in SIZES}
    for _ in range(ROUNDS):
        for n, (given, budget) in cases.items():
            begin = perf_counter()
            fit = Fit(*given, wrapper=9)
            built = perf_counter()
            fit.run(budget)
            build[n].append(built - begin)
            run[n].append(perf_counter() - built)
            del fit  # else its memory is given back inside the next measurement
    total = {n: median(map(sum, zip(build[n], run[n], strict=True))) for n in SIZES}
    growth = {f"{a}->{b}": round(total[b] / total[a], 2) for a, b in pairwise(SIZES)}
    return {
        "benchmark": "fit",
        "build_ms": {str(n): round(median(build[n]) * 1e3, 4) for n in SIZES},
        "run_ms": {str(n): round(median(run[n]) * 1e3, 4) for n in SIZES},
        "growth": growth,
        "goal": GOAL,
        "met": max(growth.values()) <= GOAL,
    }


if __name__ == "__main__":
    report = measure()
    print(json.dumps(report, indent=2))
    sys.exit(0 if report["met"] else 1)
