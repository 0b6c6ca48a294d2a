"""Measure recall in one process, many times a minute: what share of the marked evidence ``search`` finds.

Run it with ``ENGRAM_BENCH_DATA=FOLDER python benchmarks/recall_lab.py [NAME=WEIGHT ...]``; each argument is a weight of
the recipe to try. Every data set goes into an engine with a database of its own, in memory's folder, and every question
is asked with the budgets of ``SETS``. With weights it prints how the shares differ from those of the defaults, with
95 % intervals of the pooled differences, by resampling questions in pairs. ``--parts`` prints what every part of the
recipe is worth, as the table in docs/recall.md: how much more is found with it than without, all else as it is, at each
budget and on average over the budgets. With ``ENGRAM_EMBED_MODEL`` naming a model of your own, ``meaning=0.5`` tells
what that model adds. ``bench_recall.py`` prints the figures that count, through a daemon.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
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
MODEL = "ENGRAM_EMBED_MODEL"
POOLED = (500, 1000, 2000)
WITHOUT: dict[str, dict[str, float]] = {
    "body": {"body": 1}, "related": {"related": 0}, "grams": {"grams": 0},
    "pairs": {"pairs": 0}, "feedback": {"feedback": 0}, "assistant": {"assistant": 1, "assistant_asked": 1},
    "speaker": {"speaker": 0},
    "neighbours": {"previous": 0, "next": 0, "second_previous": 0, "second_next": 0},
    "session": {"session": 0}, "session_least": {"session_least": 0},
    "time": {"time": 0}, "asked": {"asked": 0}, "question": {"question": 0}, "instruction": {"instruction": 0},
}
"""The weights by which a part of the recipe does nothing."""

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
    """Give an engine whose new database holds the events, with the embedding model that the environment names."""
    from engram_core.daemon.handlers import Engine
    from engram_core.settings import load

    with tempfile.TemporaryDirectory(prefix="eg") as home:
        model = {MODEL: os.environ[MODEL], "ENGRAM_EMBED_TIMEOUT_MS": "60000"} if os.environ.get(MODEL) else {}
        engine = Engine(load(env={"HOME": home, "PATH": os.environ["PATH"], **model}), f"{home}/engram.db")
        try:
            engine.warm()
            for start in range(0, len(events), 500):
                for result in engine.write([("append_event", {"event": one, "at_ms": 0})
                                            for one in events[start:start + 500]]):
                    if isinstance(result, Exception):
                        raise result
            embed(engine)
            yield engine
        finally:
            engine.close()


def embed(engine: Any) -> None:
    """Have everything embedded that is stored, if there is a model, and wait for it."""
    if engine.embedding is None:
        return
    while not engine.embedding.model_id:
        if engine.embedding.problem:
            sys.exit(engine.embedding.problem)
        time.sleep(0.05)
    engine.read("search", {"scope": SCOPE, "query": "anything"})  # opens the index, of which the texts are taken
    while engine.after_commit():
        pass


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


def gained(before: Rows, after: Rows) -> list[tuple[float, float, float]]:
    """Return for each budget the mean difference of questions, and the ends of its interval."""
    columns = zip(*([new - old for old, new in zip(*pair, strict=True)] for pair in zip(before, after, strict=True)),
                  strict=True)
    return [(fmean(column), *interval(list(column))) for column in columns]


def average(rows: Rows) -> Rows:
    """Return for each question its mean share over the budgets, as the only one of a row."""
    return [[fmean(row)] for row in rows]


def everywhere(tries: list[dict[str, float]]) -> tuple[dict[str, list[Rows]], list[Rows]]:
    """Measure every data set with each set of weights; return the rows by set, and those of the three pooled."""
    found: dict[str, list[Rows]] = {}
    pooled: list[Rows] = [[] for _ in tries]
    for name, budgets in SETS.items():
        path = Path(os.environ["ENGRAM_BENCH_DATA"], f"{name}.json")
        if path.exists():
            found[name] = measure(json.loads(path.read_text())["memories"], budgets, tries)
            for rows, every in zip(found[name], pooled, strict=True):
                every.extend(rows if budgets == POOLED else [])
    return found, pooled


def table() -> None:
    """Print what every part is worth."""
    names = list(WITHOUT)
    found, pooled = everywhere([{}, *WITHOUT.values()])
    print("| part | " + " | ".join(f"{budget:,}" for budget in POOLED) + " | on average | " + " | ".join(found) + " |")
    print("|---" * (len(POOLED) + len(found) + 2) + "|")
    for at, name in enumerate(names, 1):
        gains = [*gained(pooled[at], pooled[0]), *gained(average(pooled[at]), average(pooled[0]))]
        worth = [f"{gain:+.4f} [{low:+.4f}, {high:+.4f}]" for gain, low, high in gains]
        single = [f"{gained(rows[at], rows[0])[1][0]:+.3f}" for rows in found.values()]
        print(f"| `{name}` | " + " | ".join([*worth, *single]) + " |", flush=True)


def main() -> None:
    """Measure every data set with the defaults and with the weights that are given, or the parts."""
    if "--parts" in sys.argv[1:]:
        table()
        return
    weights = {name: float(value) for name, _, value in (one.partition("=") for one in sys.argv[1:])}
    found, pooled = everywhere([{}, weights] if weights else [{}])
    for name, tries in found.items():
        for rows in tries:
            print(f"{name:16}", *(f"{budget}: {fmean(column):.4f}" for budget, column in
                                  zip(SETS[name], zip(*rows, strict=True), strict=True)))
    if weights:
        for budget, (gain, low, high) in zip(POOLED, gained(*pooled), strict=True):
            print(f"pooled at {budget}: {gain:+.4f} [{low:+.4f}, {high:+.4f}]")


if __name__ == "__main__":
    main()
