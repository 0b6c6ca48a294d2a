"""The shorter forms of memories: pure functions from a memory (a plain dict or a text) to less of it.

Driven by recall/budget.py, which counts the forms and lets the kernel choose. A form never ends inside a
sentence, a step or a value; one that turns out no shorter than the memory does no harm, the fit ignores it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engram_core.recall.excerpts import MARK
from engram_core.recall.sentences import sentences

__all__ = [
    "episode_forms",
    "fact_short",
    "fold",
    "procedure_outline",
    "summary_cut",
    "working_state_forms",
]

OUTLINE_ENTRIES = 3
OUTLINE_CHARS = 160

Json = dict[str, Any]
Count = Callable[[str], int]


def fold(text: str) -> str:
    """Return the text without differences of case and white space, for telling duplicates."""
    return " ".join(text.casefold().split())


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
