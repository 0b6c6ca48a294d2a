"""Measure recall language by language over a labelled corpus: the answer should be among the first five hits.

Run it with ``python benchmarks/bench_languages.py``; it prints one JSON object. ``labelled/languages`` has one file a
language: lines of ``>`` are memories, lines of ``?`` are questions that the memory above them answers, ``?m`` those
that need morphology or segmentation. All files go into one owner's memory, whose stemmer is that of English: the texts
of a person who uses several languages. ``fts5`` is SQLite's FTS5 with its default tokenizer over the same texts.

Goal: recall@5 of .80 in every language.
"""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from recall_lab import SCOPE, engine_with

GOAL = 0.80
FOLDER = Path(__file__).with_name("labelled") / "languages"
NOW = "2026-04-20T12:00:00Z"


def corpus(path: Path) -> tuple[list[tuple[str, str]], list[tuple[str, bool, str]]]:
    """Return the memories of a file by id, and its questions: the id that answers, whether a form differs, the text."""
    memories: list[tuple[str, str]] = []
    questions = []
    for line in path.read_text(encoding="utf-8").splitlines():
        mark, _, text = line.partition(" ")
        if mark == ">":
            memories.append((f"{path.stem}{len(memories)}", text))
        else:
            questions.append((memories[-1][0], mark == "?m", text))
    return memories, questions


def measure() -> dict[str, Any]:
    """Return the figures by language."""
    files = {path.stem: corpus(path) for path in sorted(FOLDER.glob("*.txt"))}
    stored = [one for memories, _ in files.values() for one in memories]
    database = sqlite3.connect(":memory:")
    database.execute("CREATE VIRTUAL TABLE texts USING fts5(id UNINDEXED, text)")
    database.executemany("INSERT INTO texts VALUES (?, ?)", stored)
    events = [{"event_id": id_, "scope": {**SCOPE, "session_id": name}, "payload": text, "ts": "2026-03-01T10:00:00Z"}
              for name, (memories, _) in files.items() for id_, text in memories]
    found: dict[str, Any] = {}
    with engine_with(events) as engine:
        for name, (_, questions) in files.items():
            rows = []
            for id_, differs, text in questions:
                params = {"scope": SCOPE, "query": text, "now": NOW, "limit": 5}
                ids = [hit["id"] for hit in json.loads(engine.read("search", params))["hits"]]
                words = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", text))
                theirs = database.execute("SELECT id FROM texts WHERE texts MATCH ? ORDER BY rank LIMIT 5", (words,))
                rows.append((id_ in ids, ids[:1] == [id_], differs, (id_,) in theirs.fetchall()))
            found[name] = {"questions": len(rows), "recall_at_5": round(fmean(row[0] for row in rows), 3),
                           "recall_at_1": round(fmean(row[1] for row in rows), 3),
                           "forms_at_5": round(fmean(row[0] for row in rows if row[2]), 3),
                           "fts5": round(fmean(row[3] for row in rows), 3)}
    return found


if __name__ == "__main__":
    figures = measure()
    met = all(one["recall_at_5"] >= GOAL for one in figures.values())
    print(json.dumps({"benchmark": "languages", "goal": GOAL, "languages": figures, "met": met}, indent=2))
    sys.exit(0 if met else 1)
