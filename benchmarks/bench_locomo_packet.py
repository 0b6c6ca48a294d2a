"""Measure what share of the marked evidence ``engram packet`` quotes within 1,000 tokens, command line and all.

Run it with ``ENGRAM_BENCH_DATA=FOLDER python benchmarks/bench_locomo_packet.py``, where FOLDER holds locomo-dev.json;
without it, it says so and measures nothing. It prints one JSON object.

The first conversation goes in through ``engram append --stdin-ndjson``, in a temporary home. Each of its first 60
questions is asked with ``engram packet --purpose responder --max-tokens 1000 --bare --query …``, then ``engram
explain``. An evidence turn is found when its quote holds, in one piece, at least 60 tokens of the turn or all of it.

Goals: .60 of the evidence found; no packet over 1,000 tokens; the explanation has a row for every evidence turn.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

from engram_core import tokens

GOAL = 0.60
BUDGET = 1000
QUESTIONS = 60
ENOUGH = 60
SCOPE = {"tenant_id": "bench", "user_id": "someone", "agent_id": "bench", "session_id": "asking", "run_id": "bench"}
FLAGS = [part for key, value in SCOPE.items() for part in (f"--{key.removesuffix('_id')}", value)]
COMMAND = [sys.executable, "-c", "import sys; from engram_cli._entry import main; sys.exit(main())"]


def shown(turn: dict[str, Any]) -> str:
    """Return a turn's text with the caption of its picture."""
    return f"{turn['text']} [image: {turn['caption']}]" if turn.get("caption") else str(turn["text"])


def event(turn: dict[str, Any]) -> dict[str, Any]:
    """Return a turn as an event; a time without a zone is taken as UTC."""
    return {"event_id": turn["id"], "scope": {**SCOPE, "session_id": turn["session"]}, "ts": turn["ts"] + "Z",
            "payload": {"name": turn["speaker"], "content": shown(turn)}}


def engram(home: str, *args: str, given: str = "", may_fail: bool = False) -> str:
    """Run a command in the home and return what it wrote."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ENGRAM_", "XDG_"))}
    done = subprocess.run([*COMMAND, *args], input=given, capture_output=True, text=True, check=False, cwd=home,
                          env={**kept, "HOME": home, "XDG_RUNTIME_DIR": home})
    if done.returncode and not may_fail:
        raise SystemExit(f"engram {args[0]} ended with {done.returncode}: {done.stderr}")
    return done.stdout if not done.returncode else ""


def holds(quote: str, text: str) -> bool:
    """Tell whether a piece of the quote is the whole text or at least ENOUGH tokens of it."""
    count = tokens.get("o200k_base").count
    return any(piece and piece in text and count(piece) >= min(count(text), ENOUGH)
               for piece in (part.strip() for part in (quote, *quote.split("…"))))


def ask(home: str, question: dict[str, Any], texts: dict[str, str]) -> dict[str, Any]:
    """Ask one question and return what became of its evidence."""
    packet = engram(home, "packet", *FLAGS, "--purpose", "responder", "--max-tokens", str(BUDGET), "--bare",
                    "--query", question["text"], "--now", question["now"] + "Z")
    quotes = {one["evidence_id"]: one["quote"] for one in json.loads(packet)["short_term"]["key_quotes"]}
    evidence = question["evidence"]
    found = [id_ for id_ in evidence if id_ in quotes and holds(quotes[id_], texts[id_])]
    rows = {row["id"] for row in json.loads(engram(home, "explain", *FLAGS, "--json"))["candidates"]}
    for id_ in set(evidence) - rows:
        one = engram(home, "explain", *FLAGS, "--json", "--memory", id_, may_fail=True)
        rows |= {row["id"] for row in json.loads(one)["candidates"]} if one else set()
    return {"share": len(found) / len(evidence), "tokens": tokens.get("o200k_base").count(packet),
            "quotes": len(quotes), "unexplained": len(set(evidence) - rows)}


def main() -> int:
    """Append the conversation, ask its questions and print the figures."""
    folder = os.environ.get("ENGRAM_BENCH_DATA", "")
    report: dict[str, Any] = {"benchmark": "locomo_packet", "budget": BUDGET, "goal": GOAL}
    if not folder:
        report["skipped"] = "ENGRAM_BENCH_DATA names no folder with locomo-dev.json"
        print(json.dumps(report, indent=2))
        return 0
    memory = json.loads(Path(folder, "locomo-dev.json").read_text())["memories"][0]
    texts = {turn["id"]: shown(turn) for turn in memory["turns"]}
    with tempfile.TemporaryDirectory(prefix="eg") as home:
        lines = "".join(json.dumps(event(turn)) + "\n" for turn in memory["turns"])
        engram(home, "append", "--stdin-ndjson", given=lines)
        rows = [ask(home, question, texts) for question in memory["questions"][:QUESTIONS]]
        engram(home, "daemon", "stop")
    report |= {"questions": len(rows), "share": round(fmean(row["share"] for row in rows), 4),
               "most_tokens": max(row["tokens"] for row in rows),
               "mean_quotes": round(fmean(row["quotes"] for row in rows), 1),
               "unexplained": sum(row["unexplained"] for row in rows)}
    report["met"] = report["share"] >= GOAL and report["most_tokens"] <= BUDGET and not report["unexplained"]
    print(json.dumps(report, indent=2))
    return 0 if report["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
