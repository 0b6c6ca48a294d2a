"""Measure what share of the marked evidence ``search`` finds within 1,000 tokens, through a daemon.

Run it with ``ENGRAM_BENCH_DATA=FOLDER python benchmarks/bench_recall.py``, where FOLDER holds locomo-dev.json,
longmemeval-dev.json and beam-dev.json; without it, it says so and measures nothing. It prints one JSON object.

Each memory of a file goes to ``recall_adapter.py`` as a child process with an empty home of its own. A turn that comes
back costs the tokens of ``[day] speaker: text``, one for every four characters and at most 200; what no longer fits
into the 1,000 is not counted. A question's share is that of its evidence turns among what fits; LoCoMo's questions
without an answer are asked by no one here.

Goals: .80 of the evidence on locomo-dev, .82 on longmemeval-dev, .58 on beam-dev.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from math import ceil
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any

GOALS = {"locomo-dev": 0.80, "longmemeval-dev": 0.82, "beam-dev": 0.58}
BUDGET = 1000
MOST_OF_A_TURN = 200
NOT_ASKED = ("adversarial",)
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


def shown(turn: dict[str, Any]) -> str:
    """Return a turn's text with the caption of its picture."""
    return f"{turn['text']} [image: {turn['caption']}]" if turn.get("caption") else str(turn["text"])


def cost(turn: dict[str, Any]) -> int:
    """Return what a turn takes of the budget."""
    line = f"[{turn['ts'][:10]}] " * ("ts" in turn) + f"{turn['speaker']}: {shown(turn)}"
    return min(MOST_OF_A_TURN, ceil(len(line) / 4))


def share(ids: list[str], costs: dict[str, int], evidence: set[str]) -> float:
    """Return the share of the evidence among the turns that fit, in the order they came."""
    left, found = BUDGET, 0
    for id_ in dict.fromkeys(ids):
        if costs[id_] <= left:
            left -= costs[id_]
            found += id_ in evidence
    return found / len(evidence)


def measure(memories: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean share over all questions, and how long one took."""
    shares: list[float] = []
    seconds: list[float] = []
    for memory in memories:
        costs = {turn["id"]: cost(turn) for turn in memory["turns"]}
        child = Child()
        child.ask(op="index", turns=[{"id": turn["id"], "session": turn["session"], "speaker": turn["speaker"],
                                      "ts": turn.get("ts"), "text": shown(turn)} for turn in memory["turns"]])
        for question in memory["questions"]:
            if question["category"] not in NOT_ASKED:
                start = perf_counter()
                ids = child.ask(op="recall", question=question["text"], budget=BUDGET, now=question["now"])["ids"]
                seconds.append(perf_counter() - start)
                shares.append(share(ids, costs, set(question["evidence"])))
        child.close()
    return {"questions": len(shares), "share": round(fmean(shares), 4), "ms": round(median(seconds) * 1e3, 2)}


def main() -> int:
    """Measure every data set and print the figures."""
    folder = os.environ.get("ENGRAM_BENCH_DATA", "")
    report: dict[str, Any] = {"benchmark": "recall", "budget": BUDGET, "goals": GOALS}
    if not folder:
        report["skipped"] = "ENGRAM_BENCH_DATA names no folder with " + ", ".join(f"{name}.json" for name in GOALS)
        print(json.dumps(report, indent=2))
        return 0
    found = {name: measure(json.loads(Path(folder, f"{name}.json").read_text())["memories"]) for name in GOALS}
    report |= {"data": found, "met": all(found[name]["share"] >= goal for name, goal in GOALS.items())}
    print(json.dumps(report, indent=2))
    return 0 if report["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
