"""Time the text index: taking in turns of a dialogue, answering questions, and the memory it holds.

Run it with ``python benchmarks/bench_index.py`` (``--large`` adds a million turns); it prints one JSON object. The
turns are drawn from a fixed seed: words of a made-up vocabulary whose frequencies fall as in a language, about 100
characters a turn, two speakers, sessions of 25 turns. A question is eight words of one turn, one of them misspelt.
A token of text is counted as four characters. Taking in is counted in CPU time; a question's time is the best of a few
askings, the figure the median over all questions.

Goals: 20 MB of text per second taken in; at most 60 bytes of index per token of text; a question over 3,000 turns in
0.3 ms, over 1,000,000 in 10 ms.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from itertools import accumulate, product
from statistics import median
from time import perf_counter, process_time
from typing import Any

from engram_core.kernel.index import TextIndex

SIZES = (3_000, 100_000)
LARGE = 1_000_000
QUESTIONS = 60
GOAL_MB_S, GOAL_BYTES, GOAL_MS = 20.0, 60.0, {3_000: 0.3, LARGE: 10.0}
COMMON = "the a of and to in is was that it you for on with this my we have are be at not but they"
ONSETS = "b c d f g l m n p r s t v st tr"


def vocabulary(chance: random.Random) -> list[str]:
    """Return 24 stop words and 30,000 others, the frequent ones first."""
    syllables = ["".join(pair) for pair in product(ONSETS.split(), "aeiou")]
    made = {"".join(chance.choices(syllables, k=chance.choice((2, 2, 3, 3, 4)))) for _ in range(34_000)}
    return [*COMMON.split(), *sorted(made, key=lambda word: (len(word) + chance.random() * 6, word))[:30_000]]


def turns(n: int, chance: random.Random) -> Iterator[str]:
    """Yield n texts of about 100 characters."""
    words = vocabulary(chance)
    weights = list(accumulate(1 / (rank + 6) for rank in range(len(words))))
    for _ in range(n):
        yield " ".join(chance.choices(words, cum_weights=weights, k=chance.randint(8, 30))).capitalize() + "."


def question(text: str, chance: random.Random) -> str:
    """Return words of a text, the longest without one of its letters."""
    words = chance.choices(text.lower().strip(".").split(), k=8)
    longest = max(words, key=len)
    return "What about " + " ".join(words).replace(longest, longest[:2] + longest[3:]) + "?"


def measure(n: int) -> dict[str, float]:
    """Return the figures of one index of n turns."""
    chance = random.Random(11)
    texts = list(turns(n, chance))
    size = sum(map(len, texts))
    index = TextIndex()
    begin = process_time()
    for number, text in enumerate(texts):
        index.add(text, session=str(number // 25), speaker="ab"[number % 2], cost=30)
    took = process_time() - begin
    best = []
    for text in chance.choices(texts, k=QUESTIONS):
        asked, tries = question(text, chance), []
        for _ in range(5):
            begin = perf_counter()
            index.query(asked)
            tries.append(perf_counter() - begin)
        best.append(min(tries))
    return {
        "mb_per_s": round(size / took / 1e6, 1),
        "us_per_turn": round(took / n * 1e6, 2),
        "bytes_per_token": round(index.nbytes / (size / 4), 1),
        "question_ms": round(median(best) * 1e3, 3),
    }


def report(sizes: tuple[int, ...]) -> dict[str, Any]:
    """Return all figures, and whether the goals are met."""
    found = {n: measure(n) for n in sizes}
    largest = found[max(sizes)]
    return {
        "benchmark": "index",
        "turns": {str(n): figures for n, figures in found.items()},
        "goals": {"mb_per_s": GOAL_MB_S, "bytes_per_token": GOAL_BYTES, "question_ms": GOAL_MS},
        "met": largest["mb_per_s"] >= GOAL_MB_S
        and all(figures["bytes_per_token"] <= GOAL_BYTES for figures in found.values())
        and all(found[n]["question_ms"] <= most for n, most in GOAL_MS.items() if n in found),
    }


if __name__ == "__main__":
    figures = report((*SIZES, LARGE) if "--large" in sys.argv[1:] else SIZES)
    print(json.dumps(figures, indent=2))
    sys.exit(0 if figures["met"] else 1)
