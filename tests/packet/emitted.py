"""Reads the emitted bytes of a packet the way a stranger would: line by line, knowing only the published layout."""

from __future__ import annotations

import json
import re

ARRAYS = {
    "key_quotes": "key_quotes",
    "conversation_window": "conversation_window",
    "open_loops": "open_loops",
    "last_tool_evidence": "last_tool_evidence",
    "facts": "facts",
    "preferences": "preferences",
    "procedures": "procedures",
    "episodes": "episodes",
    "hypotheses": "insights",
    "strategy_sketches": "insights",
    "patterns": "insights",
    "citations": "citations",
}
STATE = {
    "goal": '""',
    "plan": "[]",
    "slots": "{}",
    "constraints": "{}",
    "tool_evidence": "[]",
    "decisions": "[]",
    "risks": "[]",
    "open_loops": "[]",
    "state_version": "0",
}
HEADINGS = {
    "Preferences": "preferences",
    "Facts": "facts",
    "Procedures": "procedures",
    "State": "working_state",
    "Open loops": "open_loops",
    "Summary": "rolling_summary",
    "Quotes": "key_quotes",
    "Episodes": "episodes",
    "Conversation": "conversation_window",
    "Tool evidence": "last_tool_evidence",
    "Insights": "insights",
}


def lines_of(text: str) -> list[str]:
    """Return the lines with their ends; only a newline ends one."""
    return [line + "\n" for line in text.split("\n")[:-1]] + ([] if text.endswith("\n") or not text else ["broken"])


def json_sections(text: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the lines of each section of a packet in JSON, and those that stand in their place when it is empty."""
    found: dict[str, list[str]] = {}
    empty: dict[str, list[str]] = {}
    array, state = "", False
    for line in lines_of(text):
        opened = re.match(r'"([a-z_]+)":\[\n', line)
        if array:
            if line in ("]\n", "],\n"):
                array = ""
            else:
                found.setdefault(ARRAYS[array], []).append(line)
        elif opened and not state:
            array = opened[1]
        elif line == '"working_state":{\n':
            state = True
        elif state and line == "},\n":
            state = False
        elif state:
            name = line[1:].partition('"')[0]
            default = f'"{name}":{STATE[name]}' + ("\n" if name == "state_version" else ",\n")
            if line != default:
                found.setdefault("working_state", []).append(line)
                empty.setdefault("working_state", []).append(default)
        elif line.startswith('"rolling_summary":') and line != '"rolling_summary":"",\n':
            found["rolling_summary"], empty["rolling_summary"] = [line], ['"rolling_summary":"",\n']
    return found, empty


def text_sections(text: str, form: str) -> dict[str, list[str]]:
    """Return the lines of each section of a text format, its heading among them."""
    found: dict[str, list[str]] = {}
    mark = "## " if form == "markdown" else "# "
    section = ""
    for line in lines_of(text)[2:-1]:
        if line.startswith(mark):
            section = HEADINGS[line[len(mark) : -1]]
            assert section not in found, "a section is opened twice"
        found.setdefault(section, []).append(line)
    return found


def ids_in(packet: dict[str, object]) -> set[tuple[str, str]]:
    """Return (section, id) of every memory a packet in JSON holds."""
    short, long = packet["short_term"], packet["long_term"]
    insight = packet["insight"]
    assert isinstance(short, dict) and isinstance(long, dict) and isinstance(insight, dict)
    found = {("key_quotes", one["evidence_id"]) for one in short["key_quotes"]}
    found |= {("conversation_window", one["evidence_id"]) for one in short["conversation_window"]}
    found |= {("last_tool_evidence", one["evidence_id"]) for one in short["last_tool_evidence"]}
    for section, key in (
        ("facts", "fact_id"),
        ("preferences", "fact_id"),
        ("procedures", "procedure_id"),
        ("episodes", "episode_id"),
    ):
        found |= {(section, one[key]) for one in long[section]}
    for name in ("hypotheses", "strategy_sketches", "patterns"):
        found |= {("insights", one["id"]) for one in insight[name]}
    return found


def check_lines(text: str, form: str) -> None:
    """Hold the layout: how lines start, that JSON is JSON, that nothing stands after the block's end."""
    lines = lines_of(text)
    if form == "json":
        assert all(line[0] in '{}[]"' for line in lines)
        json.loads(text)
        return
    if not text:
        return
    assert all(line[0] in "-#<" for line in lines)
    assert lines[0] == "<memory>\n" and lines[-1] == "</memory>\n"
    assert not any(line.startswith("<") for line in lines[1:-1])
    inside = "".join(lines[1:-1])
    assert not re.search(r"<[\s/\u200b-\u200f\ufeff]*memory", inside, re.IGNORECASE)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", inside)
