"""Measure what share of the marked evidence a packet of 1,000 tokens quotes, in the text format a prompt gets.

Run it with ``ENGRAM_BENCH_DATA=FOLDER python benchmarks/bench_recall_packet.py``; without the folder it says so and
measures nothing. It prints one JSON object, and writes ten packets of every data set to a file for reading.

Every question is put to an engine in this process: ``build_memory_packet`` for the responder, and ``search`` with the
same budget. An evidence turn is found in a packet when a quote holds, in one piece, at least 60 tokens of the turn or
all of it; a reference counts nothing. ``kept`` is the share of the evidence's words that the packet emits: those of the
question, numbers, and names (capitals inside a sentence).

Goal: within .03 of what ``search`` finds, on every data set; no packet over 1,000 tokens.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from recall_lab import NOT_ASKED, SCOPE, cost, engine_with, event, interval, share, shown

from engram_core import tokens

DATA = ("locomo-dev", "longmemeval-dev", "beam-dev")
BUDGET = 1000
ENOUGH = 60
WITHIN = 0.03
SHOWN = 10
READ = Path(__file__).parents[1] / "build" / "recall_packets.txt"


def folded(text: str) -> str:
    """Return a text without differences of white space."""
    return " ".join(text.split())


def items(packet: str) -> list[str]:
    """Return the memories of a text packet, each as one piece of text."""
    return [folded(one) for one in re.sub(r"\n-\| ?", "\n", packet).split("\n- ")]


def holds(quotes: list[str], text: str) -> bool:
    """Tell whether a piece of a quote is the whole text or at least ENOUGH tokens of it."""
    count = tokens.get("o200k_base").count
    whole = folded(text)
    if any(whole in quote for quote in quotes):
        return True
    for quote in quotes:
        for part in quote.split("…"):
            said = part.partition(": ")[2] if part == quote.split("…")[0] and part.strip() not in whole else part
            if len(said) > ENOUGH and said.strip() in whole and count(said.strip()) >= ENOUGH:
                return True
    return False


def kept(packet: str, question: str, text: str) -> list[float]:
    """Return for words of the question, numbers and names of an evidence turn the share that the packet has."""
    have = set(re.findall(r"\w+", packet.lower()))
    asked = set(re.findall(r"\w{4,}", question.lower()))
    words = re.findall(r"\w+", text)
    wanted = ([word for word in words if word.lower() in asked], [word for word in words if word.isdecimal()],
              re.findall(r"(?<=[a-z,] )[A-Z]\w+", text))
    return [fmean(word.lower() in have for word in group) if group else -1.0 for group in wanted]


def ask(engine: Any, question: dict[str, Any], texts: dict[str, str], costs: dict[str, int]) -> dict[str, Any]:
    """Ask one question both ways and return what was found."""
    now = question["now"] + "Z"
    evidence = question["evidence"]
    request = {"scope": SCOPE, "purpose": "responder", "query": question["text"], "now": now, "persist": False,
               "budget": {"max_tokens": BUDGET}}
    packet = json.loads(engine.read("build_memory_packet", {"request": request, "format": "text"}))["text"]
    hits = json.loads(engine.read("search", {"scope": SCOPE, "query": question["text"], "now": now,
                                             "max_tokens": BUDGET}))["hits"]
    quotes = items(packet)
    return {"packet": fmean(holds(quotes, texts[id_]) for id_ in evidence),
            "search": share([hit["id"] for hit in hits], costs, set(evidence), BUDGET),
            "kept": [kept(packet, question["text"], texts[id_]) for id_ in evidence],
            "tokens": tokens.get("o200k_base").count(packet), "quotes": len(quotes) - 1, "text": packet}


def measure(name: str, folder: str) -> dict[str, Any]:
    """Return the figures of one data set."""
    rows: list[tuple[str, dict[str, Any]]] = []
    for memory in json.loads(Path(folder, f"{name}.json").read_text())["memories"]:
        texts = {turn["id"]: shown(turn) for turn in memory["turns"]}
        costs = {turn["id"]: cost(turn) for turn in memory["turns"]}
        with engine_with([event(turn) for turn in memory["turns"]]) as engine:
            rows += [(question["text"], ask(engine, question, texts, costs)) for question in memory["questions"]
                     if question["category"] not in NOT_ASKED]
    with READ.open("a", encoding="utf-8") as file:
        for text, row in random.Random(5).sample(rows, SHOWN):
            file.write(f"## {name}: {text}  (found {row['packet']:.2f})\n{row['text']}\n")
    found = [row for _, row in rows]
    shares = [[one[at] for row in found for one in row["kept"] if one[at] >= 0] for at in range(3)]
    return {"questions": len(found), "packet": round(fmean(row["packet"] for row in found), 4),
            "interval": [round(end, 4) for end in interval([row["packet"] for row in found])],
            "search": round(fmean(row["search"] for row in found), 4),
            "kept": {name: round(fmean(column), 3) for name, column in
                     zip(("question", "numbers", "names"), shares, strict=True)},
            "most_tokens": max(row["tokens"] for row in found),
            "mean_quotes": round(fmean(row["quotes"] for row in found), 1)}


def main() -> int:
    """Measure every data set and print the figures."""
    folder = os.environ.get("ENGRAM_BENCH_DATA", "")
    report: dict[str, Any] = {"benchmark": "recall_packet", "budget": BUDGET, "within": WITHIN}
    if not folder:
        report["skipped"] = "ENGRAM_BENCH_DATA names no folder with " + ", ".join(f"{name}.json" for name in DATA)
        print(json.dumps(report, indent=2))
        return 0
    READ.parent.mkdir(exist_ok=True)
    READ.write_text("")
    found = {name: measure(name, folder) for name in DATA}
    report |= {"data": found, "packets": f"{READ.parent.name}/{READ.name}",
               "met": all(one["packet"] >= one["search"] - WITHIN and one["most_tokens"] <= BUDGET
                          for one in found.values())}
    print(json.dumps(report, indent=2))
    return 0 if report["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
