"""Measure what share of the marked evidence ``search`` finds within a budget, through a daemon.

Run it with ``ENGRAM_BENCH_DATA=FOLDER python benchmarks/bench_recall.py``, where FOLDER holds locomo-dev.json,
longmemeval-dev.json, beam-dev.json and memdaily-dev.json, or some of them; without it, it says so and measures nothing.
It prints one JSON object: for every data set and budget the share and its 95 % interval.

Each memory of a file goes to ``recall_adapter.py`` as a child process with an empty home of its own. A turn that comes
back costs the tokens of ``[day] speaker: text``, one for every four characters (or one Chinese character) and at most
200; what no longer fits into the budget is not counted. A question's share is that of its evidence turns among what
fits; LoCoMo's questions without an answer are asked by no one here. ``recall_lab.py`` has the same measure in one
process, for trying things out.

The goals are the figures of the reference, with the digits they were given with (its .859 of LongMemEval at 1,000
tokens is the .86); what is found is compared with them by as many.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any

from recall_lab import NOT_ASKED, SETS, cost, interval, share, shown

GOALS = {"locomo-dev": {500: 0.78, 1000: 0.85}, "longmemeval-dev": {500: 0.78, 1000: 0.86},
         "beam-dev": {500: 0.59, 1000: 0.65}, "memdaily-dev": {60: 0.515, 120: 0.655}}
ADAPTER = Path(__file__).with_name("recall_adapter.py")


class Child:
    """The adapter as a child process, which ends with its input."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, str(ADAPTER)], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True)

    def ask(self, **message: Any) -> Any:
        """Send one message and return its answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """Let the child stop its daemon and remove its home."""
        self._process.communicate(timeout=30)


def measure(memories: list[dict[str, Any]], budgets: tuple[int, ...]) -> dict[str, Any]:
    """Return for every budget the mean share over all questions with its interval, and how long a question took."""
    rows: list[list[float]] = []
    seconds: list[float] = []
    for memory in memories:
        costs = {turn["id"]: cost(turn) for turn in memory["turns"]}
        child = Child()
        child.ask(op="index", turns=[{"id": turn["id"], "session": turn["session"], "speaker": turn["speaker"],
                                      "ts": turn.get("ts"), "text": shown(turn)} for turn in memory["turns"]])
        for question in memory["questions"]:
            if question["category"] in NOT_ASKED:
                continue
            row = []
            for budget in budgets:
                start = perf_counter()
                ids = child.ask(op="recall", question=question["text"], budget=budget, now=question["now"])["ids"]
                seconds.append(perf_counter() - start)
                row.append(share(ids, costs, set(question["evidence"]), budget))
            rows.append(row)
        child.close()
    found: dict[str, Any] = {"questions": len(rows), "ms": round(median(seconds) * 1e3, 2)}
    for budget, column in zip(budgets, zip(*rows, strict=True), strict=True):
        found[str(budget)] = [round(fmean(column), 4), *(round(end, 4) for end in interval(list(column)))]
    return found


def digits(goal: float) -> int:
    """Return with how many digits a goal was given."""
    return len(str(goal)) - len("0.")


def main() -> int:
    """Measure every data set and print the figures."""
    folder = os.environ.get("ENGRAM_BENCH_DATA", "")
    report: dict[str, Any] = {"benchmark": "recall", "goals": GOALS}
    if not folder:
        report["skipped"] = "ENGRAM_BENCH_DATA names no folder with " + ", ".join(f"{name}.json" for name in GOALS)
        print(json.dumps(report, indent=2))
        return 0
    files = {name: Path(folder, f"{name}.json") for name in SETS}
    found = {name: measure(json.loads(path.read_text())["memories"], SETS[name])
             for name, path in files.items() if path.exists()}
    report |= {"data": found, "met": all(round(one[str(budget)][0], digits(goal)) >= goal for name, one in found.items()
                                         for budget, goal in GOALS[name].items())}
    print(json.dumps(report, indent=2))
    return 0 if report["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
