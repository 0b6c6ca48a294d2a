"""The shorter forms of each kind as ready lines, in one fixed order, and citations. Driven by index and budget."""

from __future__ import annotations

import json
from typing import Any

from engram_core.recall.forms import episode_forms, fact_short, procedure_outline
from engram_core.values import dump_json, format_time

_SUMMARY_CHARS = 80


def short_forms(kind: str, value: Any) -> list[tuple[str, str]]:
    """Return (name, line) of a memory's shorter forms, longest first; a reference is always the last one."""
    if kind == "fact":
        return [("short", dump_json(fact_short(value)))]
    if kind == "episode":
        return [(name, dump_json(form)) for name, form in episode_forms(value).items()]
    if kind == "procedure":
        return [("outline", dump_json(procedure_outline(value)))]
    return []


def citation_line(id_: str, text: str, ts_ms: int) -> str:
    """Write the citation of an event from its quote or body."""
    event = json.loads(text)
    said = event.get("quote")
    kind = "message" if said is not None else event.get("kind", "event")
    if said is None:
        said = dump_json(event.get("payload"))
    summary = " ".join(said.split())
    if len(summary) > _SUMMARY_CHARS:
        summary = summary[:_SUMMARY_CHARS].rsplit(" ", 1)[0] + " …"
    return dump_json({"id": id_, "type": kind, "ts": format_time(ts_ms), "summary": summary})
