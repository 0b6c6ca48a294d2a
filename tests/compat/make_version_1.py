"""Make the artefacts of format version 1: a database, packets, a configuration and a transcript of the socket.

``python -m tests.compat.make_version_1`` asks a real daemon and writes tests/compat/v1 anew. Once a version is
released its artefacts stay as they are: what they hold must open and be understood for ever.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from tests.daemon_fixture import Home, ask

HERE = Path(__file__).parent / "v1"
SCOPE = {"tenant_id": "default", "user_id": "ada", "agent_id": "cli", "session_id": "trip", "run_id": "r1"}
NEXT = {**SCOPE, "session_id": "home", "run_id": "r2"}
REQUEST = {"scope": NEXT, "purpose": "planner", "query": "Where does Ana live, and what about the toaster?",
           "task_type": "repair", "now": "2026-03-01T12:00:00Z", "budget": {"max_tokens": 1500}}

Call = tuple[str, dict[str, Any]]

SAID = [("user", "My sister Ana moved to Lisbon last week."), ("assistant", "How does she like it?"),
        ("user", "She loves the trams. And the toaster is broken since Monday 🙁"),
        ("assistant", "Let me look into that.")]
TOOL_CALL = {"role": "assistant", "content": "", "tool_calls": [
    {"id": "c1", "name": "search", "arguments": {"q": "toaster"}}]}


def event(number: int, payload: Any, kind: str = "message", **fields: Any) -> Call:
    """Return the append of an event with a fixed id and time."""
    return "append_event", {"event": {"scope": SCOPE, "event_id": f"e{number}", "kind": kind, "payload": payload,
                                      "ts": f"2026-02-{number + 1:02}T09:00:00Z", **fields}}


WRITES: list[Call] = [
    *(event(number, {"role": role, "content": text}) for number, (role, text) in enumerate(SAID)),
    event(4, TOOL_CALL), event(5, {"tool_call_id": "c1", "content": {"hits": ["heating coil"]}}, "tool_result"),
    event(6, "plain text, לשלום 日本語", tags=["misc"], entities=["Ana"]), event(7, {"step": 1}, "state_patch"),
    event(8, ["boot"], "system"),
    event(0, {"role": "user", "content": SAID[0][1]}),
    event(0, "something else"),
    ("append_events", {"events": [{"scope": NEXT, "event_id": f"n{number}", "payload": f"note {number}",
                                   "ts_ms": 1772300000000 + number} for number in range(3)]}),
    ("upsert_fact", {"scope": SCOPE, "fact": {"fact_key": "sister.city", "value": "Porto", "sources": ["e0"]}}),
    ("upsert_fact", {"scope": SCOPE, "fact": {
        "fact_key": "sister.city", "value": "Lisbon", "confidence": 0.9, "sources": ["e0"], "notes": "she moved",
        "validity": {"valid_from": "2026-02-01T00:00:00Z"}}}),
    ("upsert_fact", {"scope": SCOPE, "fact": {"fact_key": "sister.city", "value": "Lisbon", "sources": ["e2"]}}),
    ("upsert_fact", {"scope": SCOPE, "fact": {"fact_key": "coffee", "value": {"milk": True, "sugar": None}}}),
    ("upsert_fact", {"scope": SCOPE, "fact": {"fact_key": "coffee", "value": {"milk": False}},
                     "on_conflict": "dispute"}),
    ("upsert_fact", {"scope": SCOPE, "fact": {"fact_key": "tone", "value": "brief", "scope_level": "tenant"}}),
    ("upsert_fact", {"scope": SCOPE, "fact": {"fact_key": "tone", "value": "warm", "confidence": 7}}),
    ("append_episode", {"scope": SCOPE, "episode": {
        "episode_id": "ep1", "summary": "Ana moved to Lisbon and likes it.", "highlights": ["trams"],
        "tags": ["family"], "time_range": {"start": "2026-02-01T00:00:00Z", "end": "2026-02-03T00:00:00Z"},
        "sources": ["e0", "e2"], "entities": ["Ana"], "compression_level": "phase_summary"}}),
    ("upsert_procedure", {"scope": SCOPE, "procedure": {
        "procedure_id": "p1", "task_type": "repair", "content": ["unplug it", "look at the coil"], "priority": 3,
        "applicability": {"tags": ["kitchen"]}, "sources": ["e5"]}}),
    ("append_insight", {"scope": NEXT, "insight": {
        "id": "i1", "type": "hypothesis", "trigger": "failure", "statement": "The coil is broken.",
        "tests_suggested": ["measure it"]}}),
    ("append_insight", {"scope": NEXT, "insight": {"id": "i2", "type": "strategy", "statement": "Ask before buying."}}),
    ("update_insight", {"scope": NEXT, "id": "i1", "patch": {"validation_state": "testing", "confidence": 0.6}}),
    ("update_insight", {"scope": NEXT, "id": "i2", "patch": {"validation_state": "validated"}, "promote": "procedure",
                        "promoted": {"procedure_id": "p2", "task_type": "shopping"}}),
    ("patch_working_state", {"scope": NEXT, "patch": {
        "goal": "get the toaster going", "plan": ["find the fault", "order a part"], "slots": {"model": "T-800"},
        "decisions": ["no new one"], "open_loops": ["call Ana"], "tool_evidence": [
            {"evidence_id": "e5", "summary": "the heating coil fails most"}]}, "expected_version": 0}),
    ("patch_working_state", {"scope": NEXT, "patch": {}, "merge_slots": {"age": 3}, "remove_slots": ["model"]}),
    ("patch_working_state", {"scope": NEXT, "patch": {"goal": "x"}, "expected_version": 0}),
    ("update_stm", {"scope": NEXT, "stm_state": {"rolling_summary": "Back home. The toaster is still broken.",
                                                 "key_quotes": [{"evidence_id": "n1", "quote": "note 1"}]}}),
    ("set_pinned", {"scope": SCOPE, "kind": "fact", "id": "f_none", "pinned": True}),
    ("set_pinned", {"scope": SCOPE, "kind": "procedure", "id": "p1", "pinned": True}),
    ("forget", {"scope": SCOPE, "selector": {"ids": ["e8"]}, "dry_run": True}),
    ("end_run", {"scope": SCOPE}),
]
LISTINGS: list[Call] = [
    ("list_events", {"scope": SCOPE}), ("list_events", {"scope": NEXT, "level": "session", "limit": 2}),
    ("list_facts", {"scope": SCOPE}), ("list_facts", {"scope": SCOPE, "fact_filter": {"status": ["active"]}}),
    ("list_episodes", {"scope": SCOPE, "episode_filter": {"tags": ["family"]}}),
    ("list_procedures", {"scope": SCOPE, "task_type": "repair"}), ("list_insights", {"scope": NEXT}),
    ("get_working_state", {"scope": NEXT}), ("get_stm", {"scope": NEXT}), ("get_working_state", {"scope": SCOPE}),
]
RECALLS: list[Call] = [
    ("build_memory_packet", {"request": REQUEST}),
    ("build_memory_packet", {"request": {**REQUEST, "purpose": "responder"}, "render": True, "bare": True}),
    ("build_memory_packet", {"request": {**REQUEST, "purpose": "tool"}, "render": True, "format": "text"}),
    ("build_memory_packet", {"request": {**REQUEST, "budget": {"max_tokens": 3}}}),
    ("explain", {"scope": NEXT}), ("search", {"scope": NEXT, "query": "toaster", "limit": 3}),
    ("list_context_builds", {"scope": NEXT, "limit": 1}),
]
ODD: list[bytes] = [b'{"jsonrpc":"2.0","id":"t","method":"no_such_method"}',
                    b'{"jsonrpc":"2.0","id":1,"method":"search"}',
                    b'{"jsonrpc":"2.0","id":2,"method":"append_event","params":{"evnt":1}}', b'{"broken']


def line(number: int, method: str, params: dict[str, Any]) -> bytes:
    """Return a request line."""
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}, ensure_ascii=False).encode()


def main() -> None:
    """Ask a daemon in a home of its own and keep what it makes."""
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    home = Home(Path(tempfile.mkdtemp(prefix="eg", dir="/tmp")))
    try:
        home.start()
        _transcript(home)
        home.engram("daemon", "stop")
        _database(home)
    finally:
        home.stop()
        shutil.rmtree(home.path)
    _configuration()


def _transcript(home: Home) -> None:
    calls = [("hello", {"client": "compat", "version": "0.1.0", "protocol": [1, 1]}), *WRITES, *LISTINGS, *RECALLS]
    requests = [line(number, *call) for number, call in enumerate(calls, 1)] + ODD
    sock = home.connect()
    with open(HERE / "transcript.jsonl", "w", encoding="utf-8") as file:
        for request in requests:
            reply = ask(sock, request)
            if '"method": "hello"' in request.decode():
                del reply["result"]["pid"], reply["result"]["version"]
            file.write(json.dumps({"sent": request.decode(), "got": reply}, ensure_ascii=False) + "\n")
            method = request.decode()
            if '"build_memory_packet"' in method and '"result"' in json.dumps(reply) and '"render"' not in method:
                (HERE / "packet.json").write_text(json.dumps(reply["result"], ensure_ascii=False, indent=1) + "\n")
        with open(HERE / "listings.json", "w", encoding="utf-8") as listings:
            found = [{"method": method, "params": params, "result": ask(sock, line(1, method, params))["result"]}
                     for method, params in LISTINGS]
            json.dump(found, listings, ensure_ascii=False, indent=1)
            listings.write("\n")
    sock.close()


def _database(home: Home) -> None:
    database = sqlite3.connect(home.database)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.execute("PRAGMA journal_mode=DELETE")  # one file; opening it turns the log on again
    database.execute("VACUUM")
    database.close()
    shutil.copy(home.database, HERE / "engram.db")
    os.chmod(HERE / "engram.db", 0o644)


CONFIGURATION = """\
[store]
durability = "normal"
busy_timeout_ms = 1000

[daemon]
max_connections = 8
log_level = "warning"
request_timeout_ms = 5000

[scope]
user = "ada"
session = "work"

[packet]
policy = "brief"
max_tokens = 900
tokenizer = "cl100k_base"

[recall]
language = "german"
index_memory_mb = 64

[redact]
enabled = true

[redact.patterns]
ticket = "TICKET-[0-9]{4,}"

[retention]
events_days = 365
builds_per_run = 10
insights_days = 7
"""
POLICY = """\
max_facts = 5
cost_exponent = 0.5
split_preferences = true

[half_life_days]
event = 7.0

[purposes.planner.sections]
facts = {share = 0.5, order = 1}
"""


def _configuration() -> None:
    (HERE / "engram.toml").write_text(CONFIGURATION)
    (HERE / "brief.toml").write_text(POLICY)


if __name__ == "__main__":
    main()
