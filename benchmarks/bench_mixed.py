"""Measure recall over memories of mixed kinds: facts, turns, episodes, procedures and insights of three layers.

Run it with ``python benchmarks/bench_mixed.py`` (``--misses`` lists what was not found); it prints one JSON object.

``labelled/mixed_memories.txt`` has a memory per line: kind, layer, state, id, key (of a fact; the task of a procedure,
the speaker of a turn, the type of an insight) and text. States: ``old`` facts are superseded by the next of their key,
``expired`` and ``rejected`` memories are; the layer ``foreign`` belongs to other people.
``labelled/mixed_questions.txt`` has a question per line with the memories that answer it, marked ``=`` when
question and answer share no content word.

Recall@5 is the share of questions whose answer is among the first five hits of ``search``, against SQLite's FTS5 over
the same live texts, with the porter stemmer (``fts5``) and as it comes (``fts5_plain``). Every question is also put to
a packet, which must show nothing that is superseded, expired, rejected or foreign. Goals: .80, and .15 above the better
of FTS5's; no such memory in any packet.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import sys
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from recall_lab import MODEL, SCOPE, embed, engine_with, interval, use

GOAL, ABOVE = 0.80, 0.15
FOLDER = Path(__file__).with_name("labelled")
NOW = "2026-04-20T12:00:00Z"
FOREIGN = {**SCOPE, "user_id": "someone-else"}
ALSO = ("porter unicode61", "unicode61")
MEANING = (0.2, 0.5, 0.8, 1.2)

Row = tuple[str, bool, list[float]]
"""The kind of a question's answer, whether they share no word, and whether each way to search found it."""


class Memory(NamedTuple):
    """A line of the labelled memories."""

    kind: str
    layer: str
    state: str
    id: str
    key: str
    text: str


def rows(name: str, columns: int) -> list[list[str]]:
    """Return the columns of a labelled file."""
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return [line.split("|", columns - 1) for line in lines if line and not line.startswith("#")]


def memories() -> list[Memory]:
    """Return the labelled memories, in the order they are written."""
    return [Memory(*row) for row in rows("mixed_memories.txt", 6)]


def questions() -> list[tuple[list[str], bool, str]]:
    """Return for each question the ids that answer it, whether they share no word with it, and its text."""
    return [(ids.split(","), mark == "=", text) for ids, mark, text in rows("mixed_questions.txt", 3)]


def write_of(one: Memory, minute: int) -> tuple[str, dict[str, Any]]:
    """Return the operation that stores a memory."""
    scope = FOREIGN if one.layer == "foreign" else SCOPE
    level = {"scope_level": one.layer} if one.layer in ("agent", "tenant") else {}
    past = "2026-01-31T00:00:00Z"
    if one.kind == "event":
        ts = f"2026-04-{1 + minute // 60:02}T{8 + minute % 60 // 6:02}:{minute % 6 * 10:02}:00Z"
        return "append_event", {"event": {"event_id": one.id, "scope": {**scope, "session_id": f"day{minute // 20}"},
                                          "ts": ts, "payload": {"role": one.key, "content": one.text}}, "at_ms": 0}
    if one.kind == "fact":
        validity = {"validity": {"valid_to": past}} if one.state == "expired" else {}
        return "upsert_fact", {"scope": scope, "fact": {"fact_id": one.id, "fact_key": one.key, "value": one.text,
                                                        "confidence": 0.8, **validity, **level}}
    if one.kind == "episode":
        return "append_episode", {"scope": scope, "episode": {
            "episode_id": one.id, "summary": one.text, "time_range": {"start": "2026-04-01T09:00:00Z"}, **level}}
    if one.kind == "procedure":
        return "upsert_procedure", {"scope": scope, "procedure": {
            "procedure_id": one.id, "task_type": one.key, "content": one.text, **level}}
    state = "rejected" if one.state == "rejected" else "validated"
    expires = past if one.state == "expired" else "2027-01-01T00:00:00Z"
    return "append_insight", {"scope": scope, "insight": {
        "id": one.id, "type": one.key, "statement": one.text, "validation_state": state, "expires_at": expires}}


def fts5(stored: list[Memory], tokenizer: str) -> Any:
    """Return a function from a question to its first five hits by FTS5 with a tokenizer."""
    database = sqlite3.connect(":memory:")
    database.execute(f"CREATE VIRTUAL TABLE texts USING fts5(id UNINDEXED, text, tokenize='{tokenizer}')")
    database.executemany("INSERT INTO texts VALUES (?, ?)", [
        (one.id, one.text if one.kind in ("event", "episode", "insight") else f"{one.key}: {one.text}")
        for one in stored if not one.state and one.layer != "foreign"])

    def ask(text: str) -> list[str]:
        words = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", text))
        return [id_ for (id_,) in database.execute(
            "SELECT id FROM texts WHERE texts MATCH ? ORDER BY rank LIMIT 5", (words,))]
    return ask


def measure() -> dict[str, Any]:
    """Return what was found, and what must not have been shown."""
    stored = memories()
    kinds = {one.id: one.kind for one in stored}
    hidden = {one.id for one in stored if one.state or one.layer == "foreign"}
    others = [fts5(stored, tokenizer) for tokenizer in ALSO]
    found: list[Row] = []
    shown: set[str] = set()
    misses = []
    with engine_with([]) as engine:
        for minute, one in enumerate(stored):
            for result in engine.write([write_of(one, minute)]):
                if isinstance(result, Exception):
                    raise result
        for ids, apart, text in questions():
            hits = json.loads(engine.read("search", {"scope": SCOPE, "query": text, "now": NOW, "limit": 5}))["hits"]
            ours = float(any(hit["id"] in ids for hit in hits))
            theirs = [float(any(id_ in ids for id_ in ask(text))) for ask in others]
            found.append((kinds[ids[0]], apart, [ours, *theirs]))
            if not ours:
                misses.append(f"{ids[0]} {text} -> {', '.join(hit['id'] for hit in hits)}")
            for purpose in ("planner", "tool", "responder"):
                packet = str(engine.read("build_memory_packet", {"request": {
                    "scope": SCOPE, "purpose": purpose, "query": text, "now": NOW, "persist": False,
                    "budget": {"max_tokens": 4000}}}), "utf-8")
                shown |= set(re.findall(r'"(?:id|fact_id|evidence_id|episode_id|procedure_id)":"([^"]+)"', packet))
        meaning = {weight: by_meaning(engine, weight) for weight in MEANING if os.environ.get(MODEL)}
    return {"found": found, "wrong": sorted(shown & hidden), "shown": len(shown), "misses": misses, "meaning": meaning}


def by_meaning(engine: Any, weight: float) -> list[float]:
    """Return whether each question's answer is found when the embedding model's likeness has a weight."""
    embed(engine)
    use(engine, {"meaning": weight})
    found = []
    for ids, _, text in questions():
        hits = json.loads(engine.read("search", {"scope": SCOPE, "query": text, "now": NOW, "limit": 5}))["hits"]
        found.append(float(any(hit["id"] in ids for hit in hits)))
    use(engine, {})
    return found


def gained_by(found: list[Row], hits: list[float]) -> dict[str, Any]:
    """Return the recall with a model, and how much that is above the recall without."""
    more = [with_model - one[2][0] for with_model, one in zip(hits, found, strict=True)]
    return {"recall_at_5": round(fmean(hits), 3),
            "gained": [round(fmean(more), 3), *(round(end, 3) for end in interval(more))]}


def report() -> dict[str, Any]:
    """Return all figures, and whether the goals are met."""
    figures = measure()
    found = figures["found"]

    def mean(of: list[Row]) -> dict[str, Any]:
        return {"questions": len(of), **{name: round(fmean(one[2][at] for one in of), 3)
                                         for at, name in enumerate(("recall_at_5", "fts5", "fts5_plain"))}}
    whole = mean(found)
    low, high = interval([one[2][0] for one in found])
    stronger = 1 if whole["fts5"] >= whole["fts5_plain"] else 2
    above = [one[2][0] - one[2][stronger] for one in found]
    return {
        "benchmark": "mixed", "memories": len(memories()), **whole, "interval": [round(low, 3), round(high, 3)],
        "above_fts5": [round(fmean(above), 3), *(round(end, 3) for end in interval(above))],
        "no_common_word": mean([one for one in found if one[1]]),
        "kinds": {kind: mean([one for one in found if one[0] == kind])
                  for kind in ("event", "fact", "episode", "procedure", "insight")},
        **({"meaning": {str(weight): gained_by(found, hits) for weight, hits in figures["meaning"].items()}}
           if figures["meaning"] else {}),
        "memories_in_packets": figures["shown"], "wrong_in_packets": figures["wrong"],
        "met": whole["recall_at_5"] >= GOAL and fmean(above) >= ABOVE and not figures["wrong"],
        **({"misses": figures["misses"]} if "--misses" in sys.argv[1:] else {}),
    }


if __name__ == "__main__":
    figures = report()
    print(json.dumps(figures, indent=2, ensure_ascii=False))
    sys.exit(0 if figures["met"] else 1)
