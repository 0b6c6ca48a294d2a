"""The shorter forms of each kind as ready lines, in one fixed order, and what allows each. Driven by index and budget."""

from __future__ import annotations

from typing import Any

from engram_core.recall.forms import episode_forms, fact_short, procedure_outline
from engram_core.values import dump_json


def short_forms(kind: str, value: Any) -> list[tuple[str, str]]:
    """Return (name, line) of a memory's shorter forms, longest first; a reference is always the last one."""
    if kind == "fact":
        return [("short", dump_json(fact_short(value)))]
    if kind == "episode":
        return [(name, dump_json(form)) for name, form in episode_forms(value).items()]
    if kind == "procedure":
        return [("outline", dump_json(procedure_outline(value)))]
    return []


