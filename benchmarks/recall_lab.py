"""Measure recall in one process, many times a minute: what share of the marked evidence ``search`` finds.

Run it with ``ENGRAM_BENCH_DATA=FOLDER python benchmarks/recall_lab.py [NAME=WEIGHT ...]``; each argument is a weight of
the recipe to try. Every data set goes into an engine with a database of its own, in memory's folder, and every question
is asked with the budgets of ``BUDGETS``. With weights it prints how the shares differ from those of the defaults, with
95 % intervals of the pooled differences, by resampling questions in pairs. ``bench_recall.py`` prints the figures that
count, through a daemon.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from statistics import fmean
from typing import Any

SETS = {"locomo-dev": (500, 1000, 2000), "longmemeval-dev": (500, 1000, 2000), "beam-dev": (500, 1000, 2000),
        "memdaily-dev": (60, 120)}
MOST_OF_A_TURN = 200
NOT_ASKED = ("adversarial",)
SCOPE = {"tenant_id": "bench", "user_id": "someone", "agent_id": "bench", "session_id": "asking", "run_id": "bench"}
RESAMPLED = 1000

Rows = list[list[float]]


def shown(turn: dict[str, Any]) -> str:
    """Return a turn's text with the caption of its picture."""
    return f"{turn['text']} [image: {turn['caption']}]" if turn.get("caption") else str(turn["text"])


def coarse(text: str) -> int:
    """Return tokens as the data sets' own measure counts them: a character of an unspaced script, or four others."""
    wide = sum("\u3040" <= c <= "\u30ff" or "\u3400" <= c <= "\u9fff" or "\uac00" <= c <= "\ud7af" for c in text)
    return max(1, wide + ceil((len(text) - wide) / 4))


def cost(turn: dict[str, Any]) -> int:
    """Return what a turn takes of the budget."""
    line = f"[{turn['ts'][:10]}] " * ("ts" in turn) + f"{turn['speaker']}: {shown(turn)}"
    return min(MOST_OF_A_TURN, coarse(line))


def event(turn: dict[str, Any]) -> dict[str, Any]:
    """Return a turn as an event; a time without a zone is taken as UTC."""
    return {"event_id": turn["id"], "scope": {**SCOPE, "session_id": turn["session"]},
            "payload": {"name": turn["speaker"], "content": shown(turn)}, "ts": turn["ts"] and turn["ts"] + "Z"}


def share(ids: list[str], costs: dict[str, int], evidence: set[str], budget: int) -> float:
    """Return the share of the evidence among the turns that fit, in the order they came."""
    found = 0
    for id_ in dict.fromkeys(ids):
        if costs[id_] <= budget:
            budget -= costs[id_]
            found += id_ in evidence
    return found / len(evidence)


@contextmanager
def engine_with(events: list[dict[str, Any]]) -> Iterator[Any]:
    """Give an engine whose new database holds the events."""
    from engram_core.daemon.handlers import Engine
    from engram_core.settings import load

    with tempfile.TemporaryDirectory(prefix="eg") as home:
        engine = Engine(load(env={"HOME": home, "PATH": os.environ["PATH"]}), f"{home}/engram.db")
        try:
            engine.warm()
            for start in range(0, len(events), 500):
                for result in engine.write([("append_event", {"event": one, "at_ms": 0})
                                            for one in events[start:start + 500]]):
                    if isinstance(result, Exception):
                        raise result
            yield engine
        finally:
            engine.close()


def measure(memories: list[dict[str, Any]], budgets: tuple[int, ...], tries: list[dict[str, float]]) -> list[Rows]:
    """Return, for each set of weights, a row of shares by budget for every question."""
    found: list[Rows] = [[] for _ in tries]
    for memory in memories:
        costs = {turn["id"]: cost(turn) for turn in memory["turns"]}
        with engine_with([event(turn) for turn in memory["turns"]]) as engine:
            for question in memory["questions"]:
                if question["category"] in NOT_ASKED:
                    continue
                for rows, weights in zip(found, tries, strict=True):
                    rows.append([share(_ids(engine, question, budget, weights), costs, set(question["evidence"]),
                                       budget) for budget in budgets])
    return found


def _ids(engine: Any, question: dict[str, Any], budget: int, weights: dict[str, float]) -> list[str]:
    params = {"scope": SCOPE, "query": question["text"], "now": question["now"] + "Z", "max_tokens": budget}
    use(engine, weights)
    return [hit["id"] for hit in json.loads(engine.read("search", params))["hits"]]


def use(engine: Any, weights: dict[str, float]) -> None:
    """Let the engine rank with some weights, in the policy it has loaded."""
    recipe = engine.policies.load(engine.settings.get("packet.policy"), {}).recipe
    recipe.clear()
    recipe.update(weights)


def interval(values: list[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean, by resampling."""
    chance = random.Random(7)
    means = sorted(fmean(chance.choices(values, k=len(values))) for _ in range(RESAMPLED))
    return means[RESAMPLED // 40], means[-RESAMPLED // 40 - 1]


def main() -> None:
    """Measure every data set with the defaults and with the weights that are given."""
    weights = {name: float(value) for name, _, value in (one.partition("=") for one in sys.argv[1:])}
    tries = [{}, weights] if weights else [{}]
    pooled: list[Rows] = [[] for _ in tries]
    for name, budgets in SETS.items():
        path = Path(os.environ["ENGRAM_BENCH_DATA"], f"{name}.json")
        if not path.exists():
            continue
        found = measure(json.loads(path.read_text())["memories"], budgets, tries)
        for rows, every in zip(found, pooled, strict=True):
            print(f"{name:16}", *(f"{budget}: {fmean(column):.4f}" for budget, column in
                                  zip(budgets, zip(*rows, strict=True), strict=True)), flush=True)
            every.extend(rows if len(budgets) == 3 else [])
    if weights:
        gains = [[new - old for old, new in zip(*pair, strict=True)] for pair in zip(*pooled, strict=True)]
        for budget, column in zip((500, 1000, 2000), zip(*gains, strict=True), strict=True):
            low, high = interval(list(column))
            print(f"pooled at {budget}: {fmean(column):+.4f} [{low:+.4f}, {high:+.4f}]")


if __name__ == "__main__":
    main()
