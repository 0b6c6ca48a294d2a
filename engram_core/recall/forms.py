"""The shorter forms of memories: pure functions from a memory (a plain dict or a text) to less of it.

Driven by recall/budget.py, which counts the forms and lets the kernel choose. A form never ends inside a
sentence, a step or a value; one that turns out no shorter than the memory does no harm, the fit ignores it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from engram_core.recall.sentences import CJK, UNSPACED, pieces, sentences

__all__ = [
    "episode_forms",
    "fact_short",
    "fold",
    "procedure_outline",
    "quote_sentences",
    "sentences",
    "summary_cut",
    "working_state_forms",
]

MARK = "…"
QUOTE_TOKENS = 60  # a quote below this says too little to stand for its turn
OUTLINE_ENTRIES = 3
OUTLINE_CHARS = 160

Json = dict[str, Any]
Count = Callable[[str], int]
Run = tuple[int, int]

_WORD = re.compile(r"[^\W_]+")
_NO_SPACES = re.compile(f"[{CJK}{UNSPACED}]")


def fold(text: str) -> str:
    """Return the text without differences of case and white space, for telling duplicates."""
    return " ".join(text.casefold().split())


def quote_sentences(text: str, terms: Sequence[str], room: int, count: Count, *, least: int = QUOTE_TOKENS) -> str:
    """Return the run of sentences that says most about the terms, marked where something was left out.

    The run is about ``least`` tokens long, more when a neighbour holds a further term, less in less room. What has no
    sentences (logs, lists, encoded data) is taken by lines or by words.
    When no sentence with a term fits, the best one is returned although it is longer than the room.
    """
    if not text.strip():
        return ""
    parts = pieces(text)
    if len(parts) == 1 or count(text) <= room:
        return text
    sizes = [count(part) for part in parts]
    hits = [_terms_in(part, terms) for part in parts]
    start, end = _best_run(sizes, hits, room - 2 * count(f" {MARK}"), least)
    before = f"{MARK} " if start else ""
    after = f" {MARK}" if end < len(parts) else ""
    return f"{before}{''.join(parts[start:end]).strip()}{after}"


def summary_cut(text: str, room: int, count: Count) -> str:
    """Return the first sentences of a text as far as they fit, "" when not even the first one does."""
    if count(text) <= room:
        return text
    parts = sentences(text)
    left, end = room - count(f" {MARK}"), 0
    while end < len(parts) - 1 and (left := left - count(parts[end])) >= 0:
        end += 1
    for kept in range(end, 0, -1):  # a whole may count more than its parts do, by a token at a seam
        short = f"{''.join(parts[:kept]).strip()} {MARK}"
        if count(short) <= room:
            return short
    return ""


def fact_short(fact: Mapping[str, Any]) -> Json:
    """Return a fact's key and value, with what tells whether to believe it."""
    return {
        "fact_id": fact["fact_id"],
        "fact_key": fact["fact_key"],
        "value": fact["value"],
        "status": fact.get("status", "active"),
        "confidence": fact.get("confidence", 0.5),
    }


def episode_forms(episode: Mapping[str, Any]) -> dict[str, Json]:
    """Return the shorter forms of an episode by name, longest first, without those that would be empty."""
    reference = {key: episode[key] for key in ("episode_id", "time_range") if key in episode}
    forms = {}
    if episode.get("summary"):
        forms["summary"] = {**reference, "summary": episode["summary"]}
    if episode.get("highlights"):
        forms["highlights"] = {**reference, "highlights": episode["highlights"]}
    return {**forms, "reference": reference}


def procedure_outline(procedure: Mapping[str, Any]) -> Json:
    """Return a procedure with the first lines, steps or keys of its content."""
    return {
        "procedure_id": procedure["procedure_id"],
        "task_type": procedure["task_type"],
        "content": _outline(procedure["content"]),
    }


def working_state_forms(state: Mapping[str, Any]) -> dict[str, Json]:
    """Return the shorter forms of a working state by name, longest first; what is not shown is emptied."""
    history = ("tool_evidence", "decisions")
    core = ("goal", "constraints", "slots", "state_version")
    return {
        "without_history": {key: _empty(value) if key in history else value for key, value in state.items()},
        "core": {key: value if key in core else _empty(value) for key, value in state.items()},
    }


def _terms_in(part: str, terms: Sequence[str]) -> frozenset[int]:
    """Return which terms a sentence holds, counting inflected words."""
    folded = part.casefold()
    words = set(_WORD.findall(folded))
    heads = {word[:4] for word in words}
    return frozenset(at for at, term in enumerate(terms) if term and _holds(folded, words, heads, term))


def _holds(folded: str, words: set[str], heads: set[str], term: str) -> bool:
    """Say whether a term is among the words, or one that differs from it only in its ending."""
    if term in words:
        return True
    if _NO_SPACES.search(term) or not _WORD.fullmatch(term):
        return term in folded
    if len(term) < 4:
        return False
    if term[:-1] in words or (len(term) > 4 and term[:-2] in words):
        return True
    if term[:4] not in heads:
        return False
    stem = term if len(term) < 6 else term[: max(5, len(term) - 3)]
    return any(word.startswith(stem) and len(word) <= len(term) + 3 for word in words)


def _best_run(sizes: list[int], hits: list[frozenset[int]], room: int, least: int) -> Run:
    """Return the run with most terms, most densely, the first of equals, of the wanted length if one fits."""
    floor = min(sum(sizes), least, room)
    best, best_value = (0, 0), (False, False, -1, 0.0)
    for start, end, size in _runs(sizes, floor, room):
        run = hits[start:end]
        terms = len(frozenset().union(*run))
        value = (terms > 0, size >= floor, terms, sum(map(len, run)) / max(size, 1))
        if value > best_value:
            best, best_value = (start, end), value
    if best == (0, 0) or (any(hits) and not best_value[0]):
        at = max(range(len(sizes)), key=lambda i: (len(hits[i]), -sizes[i], -i))
        return at, at + 1
    return _widened(best, sizes, hits, room, floor)


def _runs(sizes: list[int], floor: int, room: int) -> Iterator[tuple[int, int, int]]:
    """Yield start, end and size: for every end the shortest run that reaches the floor, or what fits."""
    start = size = 0
    for end, last in enumerate(sizes, 1):
        size += last
        while start < end - 1 and (size > room or size - sizes[start] >= floor):
            size -= sizes[start]
            start += 1
        if size <= room:
            yield start, end, size


def _widened(run: Run, sizes: list[int], hits: list[frozenset[int]], room: int, floor: int) -> Run:
    """Take neighbours in until the run is long enough, and then those that bring a further term, while they fit."""
    start, end = run
    size = sum(sizes[start:end])
    held = frozenset().union(*hits[start:end])
    while True:
        short = size < floor
        if end < len(sizes) and (short or hits[end] - held) and size + sizes[end] <= room:
            held, size, end = held | hits[end], size + sizes[end], end + 1
        elif start and (short or hits[start - 1] - held) and size + sizes[start - 1] <= room:
            held, size, start = held | hits[start - 1], size + sizes[start - 1], start - 1
        else:
            return start, end


def _outline(content: Any) -> Any:
    """Return the head of a text, the first steps of a list, an object's keys with their values' heads."""
    if isinstance(content, dict):
        return {key: list(held) if isinstance(held, dict) else _steps(held) for key, held in content.items()}
    return _steps(content)


def _steps(content: Any) -> Any:
    if isinstance(content, list):
        steps = [_step(step) for step in content[:OUTLINE_ENTRIES]]
        return [*steps, MARK] if len(content) > OUTLINE_ENTRIES else steps
    return _head(content) if isinstance(content, str) else content


def _step(step: Any) -> Any:
    """Return the head of one step; of an object its first entry, which names it."""
    if isinstance(step, dict):
        return {key: _step(value) for key, value in list(step.items())[:1]}
    return _head(step) if isinstance(step, str) else step


def _head(text: str) -> str:
    """Return the first lines of a text, of a long line the first sentences."""
    lines = [line for line in text.splitlines() if line.strip()]
    heads = [_line_head(line) for line in lines[:OUTLINE_ENTRIES]]
    return "\n".join([*heads, MARK] if len(lines) > OUTLINE_ENTRIES else heads)


def _line_head(line: str) -> str:
    parts = sentences(line)
    if len(parts) == 1:
        return line
    return summary_cut(line, OUTLINE_CHARS, len) or f"{parts[0].strip()} {MARK}"


def _empty(value: Any) -> Any:
    return type(value)() if isinstance(value, str | list | dict) else value
