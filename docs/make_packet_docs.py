"""Write docs/packet.schema.json and the field tables of docs/packet.md from the models of a packet and its request.

A table stands between ``<!-- fields: MODEL -->`` and ``<!-- end -->``; everything around it is written by hand. Run by
``make docs``; a test compares the committed files with what this returns.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from engram_core import packet  # noqa: E402
from engram_core.recall.candidates import REASONS  # noqa: E402

MADE = re.compile(r"(?ms)^<!-- fields: (\w+) -->\n.*?^<!-- end -->$")
SCHEMA_ID = "urn:engram:packet:v1"
DEFINED = "#/$defs/"

# What the code has no words for; a missing or stale key is an error.
REASON_WORDS = {
    "duplicate": "the same text, but for case and white space, is there already",
    "in_window": "the turn is in the conversation window",
    "applicability": "the procedure is for other tags than the request's",
    "shadowed": "a narrower layer (user before agent before tenant) has a fact of this key",
    "in_stable_part": "it is in the stable part of the prompt",
    "not_for_purpose": "the purpose does not show this section",
    "nothing_to_show": "there are no words in it for a text format",
    "forgotten": "it was forgotten while the packet was built",
    "max_facts": "the policy's `max_facts` were ranked higher",
    "max_procedures": "the policy's `max_procedures` were ranked higher",
    "max_episodes": "the policy's `max_episodes` were ranked higher",
    "max_insights": "the policy's `max_insights` were ranked higher",
    "max_key_quotes": "the session has more quotes of its own than the policy's `max_key_quotes`",
    "last_tool_evidence_limit": "newer evidence reached the policy's `last_tool_evidence_limit`",
    "budget_section": "the section's limit (`budget.per_section`) was reached",
    "budget_total": "`budget.max_tokens` was reached",
    "max_items": "the section's `max_items` were ranked higher",
}


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a packet."""
    made = packet.MemoryPacket.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **_plain(made)}


def _plain(value: Any) -> Any:
    """Drop the titles that only repeat names."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items() if not (key == "title" and isinstance(one, str))}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def table(name: str) -> list[str]:
    """Return the lines of a table: the fields of a model and of the models in it, or the reasons."""
    if name == "Reasons":
        if set(REASON_WORDS) != {reason for reason in REASONS if reason}:
            raise LookupError(f"REASON_WORDS in {Path(__file__).name} are not the reasons of the code")
        return ["| reason | meaning |", "|---|---|", *(f"| `{one}` | {REASON_WORDS[one]} |" for one in REASONS if one)]
    made = getattr(packet, name).model_json_schema(by_alias=True)
    lines = ["| field | type | default | meaning |", "|---|---|---|---|"]
    return lines + _rows(made, made.get("$defs", {}), "")


def _rows(model: dict[str, Any], defs: dict[str, Any], path: str) -> list[str]:
    rows = []
    for name, field in model.get("properties", {}).items():
        inner = _inner(field, defs)
        default = "" if name in model.get("required", ()) or inner else _code(field.get("default"))
        meaning = field.get("description") or (inner or {}).get("description", "").split("\n")[0]
        rows.append(f"| `{path}{name}` | {_words(field, defs)} | {default} | {meaning.replace('|', chr(92) + '|')} |")
        if inner:
            rows += _rows(inner, defs, f"{path}{name}{'[]' if field.get('type') == 'array' else ''}.")
    return rows


def _inner(field: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any] | None:
    options = [field, field.get("items", {}), *field.get("allOf", []), *field.get("anyOf", [])]
    found = [defs[one["$ref"].removeprefix(DEFINED)] for one in options if "$ref" in one]
    return found[0] if found else None


def _words(field: dict[str, Any], defs: dict[str, Any]) -> str:
    """Say in words what a field may hold."""
    if "enum" in field:
        return ", ".join(f"`{one}`" for one in field["enum"])
    if "const" in field:
        return _code(field["const"])
    if "anyOf" in field:
        return " or ".join(_words(one, defs) for one in field["anyOf"])
    kind = "object" if "$ref" in field else field.get("type", "any JSON")
    if kind == "array":
        return f"list of {_words(field.get('items', {}), defs)}"
    words = {
        "string": "text",
        "integer": "whole number",
        "number": "number",
        "boolean": "true or false",
        "null": "none",
    }
    low, high = field.get("minimum"), field.get("maximum")
    bounds = f" {low} to {high}" if low is not None and high is not None else f" from {low}" if low is not None else ""
    return words.get(kind, kind) + bounds


def _code(value: Any) -> str:
    return f"`{json.dumps(value)}`"


def pages() -> dict[str, str]:
    """Return every generated file by its path."""
    text = (ROOT / "docs/packet.md").read_text(encoding="utf-8")
    page = MADE.sub(lambda found: "\n".join([f"<!-- fields: {found[1]} -->", *table(found[1]), "<!-- end -->"]), text)
    return {
        "docs/packet.schema.json": json.dumps(schema(), indent=1, ensure_ascii=False) + "\n",
        "docs/packet.md": page,
    }


if __name__ == "__main__":
    for place, content in pages().items():
        (ROOT / place).write_text(content, encoding="utf-8")
        print(place)
