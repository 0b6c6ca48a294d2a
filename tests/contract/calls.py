"""Calls that reach every operation with every argument, ids and times given, in an order that gives each something."""

from __future__ import annotations

from typing import Any

from tests.contract.transports import NOW

SCOPE = {"tenant_id": "t", "user_id": "ada", "agent_id": "bot", "session_id": "s1", "run_id": "r1"}
OTHER = {**SCOPE, "session_id": "s2", "run_id": "r2"}
Call = tuple[str, tuple[Any, ...], dict[str, Any]]


def call(method: str, *args: Any, **named: Any) -> Call:
    return method, args, named


def event(id_: str, payload: Any, minutes: int, **fields: Any) -> dict[str, Any]:
    return {"scope": SCOPE, "event_id": id_, "payload": payload, "ts_ms": NOW - minutes * 60_000, **fields}


ASK = {"scope": SCOPE, "query": "Where does Ada live?", "purpose": "planner", "now": NOW, "budget": {"max_tokens": 900}}
EPISODE = {"episode_id": "ep1", "summary": "Ada moved to Lyon", "time_range": {"start": "2026-05-01T00:00:00Z"},
           "tags": ["move"], "entities": ["Lyon"], "sources": ["e1"], "highlights": ["the piano stayed"]}
PROCEDURE = {"procedure_id": "p1", "task_type": "travel", "content": {"steps": ["book", "pack"]}, "priority": 3}
INSIGHT = {"id": "in1", "type": "pattern", "statement": "Ada travels on Fridays", "confidence": 0.7}

CALLS: list[Call] = [
    call("append_event", event("e1", "I moved to Lyon in May \N{GRINNING FACE}", 60, tags=["move"])),
    call("append_event", event("e1", "I moved to Lyon in May \N{GRINNING FACE}", 60, tags=["move"])),
    call("append_event", event("e1", "something else", 60)),
    call("append_event", event("e2", {"role": "assistant", "content": "Good to know."}, 59)),
    call("append_event", event("e3", {"role": "user", "content": "my key is sk-abcdefghijklmnopqrstuvwxyz012345"}, 58)),
    call("append_events", [
        event("e4", {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "trains", "arguments": "{}"}}]}, 57),
        event("e5", {"tool_call_id": "c1", "content": "08:50, 10:04"}, 56, kind="tool_result"),
        event("e6", {"n": [1, 2.5, True, None, {"deep": "x"}], "text": "numbers"}, 55, kind="state_patch")]),
    call("append_events", [event("e7", "fine", 1), event("e8", "not", 1, kind="mesage")]),
    call("append_events", ()),
    call("list_events", SCOPE),
    call("list_events", SCOPE, None, 2),
    call("list_events", SCOPE, {"start_ms": NOW - 59 * 60_000, "end_ms": NOW - 57 * 60_000}),
    call("list_events", OTHER, level="owner", limit=3),
    call("list_events", SCOPE, after_seq=2),
    call("get_working_state", SCOPE),
    call("patch_working_state", SCOPE, {"goal": "visit Lyon", "plan": ["book"], "open_loops": ["find a vet"],
                                        "tool_evidence": [{"evidence_id": "e5", "summary": "trains"}]}),
    call("patch_working_state", SCOPE, {}, merge_slots={"city": "Lyon", "n": 1}, remove_slots=["none"]),
    call("patch_working_state", SCOPE, {"goal": "x"}, expected_version=7),
    call("patch_working_state", SCOPE, {"decisions": ["by train"]}, expected_version=2, remove_slots=["n"]),
    call("get_working_state", SCOPE),
    call("get_stm", SCOPE),
    call("update_stm", SCOPE, {"rolling_summary": "Moved.", "key_quotes": [{"evidence_id": "e1", "quote": "Lyon"}]}),
    call("get_stm", SCOPE),
    call("upsert_fact", SCOPE, {"fact_key": "city", "value": "Paris", "confidence": 0.9, "sources": ["e1"]}),
    call("upsert_fact", SCOPE, {"fact_key": "city", "value": "Lyon", "validity": {"valid_from": NOW - 1000}}),
    call("upsert_fact", SCOPE, {"fact_key": "city", "value": "Nice"}, on_conflict="dispute"),
    call("upsert_fact", SCOPE, {"fact_key": "preference.tea", "value": {"kind": "green", "cups": 2}, "notes": "hot"}),
    call("upsert_fact", SCOPE, {"fact_key": "rule", "value": "be brief", "scope_level": "tenant"}),
    call("upsert_fact", SCOPE, {"fact_key": "city", "value": 1}, on_conflict="fight"),
    call("list_facts", SCOPE),
    call("list_facts", SCOPE, {"status": ["active"], "valid_at_ms": NOW, "limit": 2}),
    call("list_facts", SCOPE, {"fact_key": "city", "as_of": NOW}),
    call("append_episode", SCOPE, EPISODE),
    call("append_episode", SCOPE, EPISODE),
    call("append_episode", SCOPE, {**EPISODE, "summary": "no"}),
    call("list_episodes", SCOPE),
    call("list_episodes", SCOPE, {"time_range": {"end": "2020-01-01T00:00:00Z"}}),
    call("list_episodes", SCOPE, {"tags": ["move"], "entities": ["Lyon"], "limit": 1}),
    call("upsert_procedure", SCOPE, PROCEDURE),
    call("upsert_procedure", SCOPE, {**PROCEDURE, "priority": 4}),
    call("upsert_procedure", SCOPE, {**PROCEDURE, "priority": 4}),
    call("list_procedures", SCOPE),
    call("list_procedures", SCOPE, "travel", 1),
    call("append_insight", SCOPE, INSIGHT),
    call("append_insight", SCOPE, {**INSIGHT, "id": "in2", "type": "hypothesis", "statement": "Ada likes tea"}),
    call("update_insight", SCOPE, "in1", {"validation_state": "testing"}),
    call("update_insight", SCOPE, "in1", promote="fact"),
    call("update_insight", SCOPE, "in1", {"validation_state": "validated"}, promote="fact",
         promoted={"fact_key": "travels.on", "value": "Friday"}),
    call("update_insight", SCOPE, "none", {"confidence": 1.0}),
    call("list_insights", SCOPE),
    call("list_insights", SCOPE, {"validation_state": ["validated"], "limit": 5}),
    call("set_pinned", SCOPE, "fact", "f_none"),
    call("set_pinned", SCOPE, "event", "e2"),
    call("set_pinned", SCOPE, "procedure", "p1", False),
    call("build_memory_packet", ASK),
    call("build_memory_packet", {"scope": SCOPE, "now": NOW, "persist": False}),
    call("build_memory_packet", {**ASK, "purpose": "tool", "cues": {"tags": ["move"], "keywords": ["train"]}}),
    call("build_memory_packet", {**ASK, "budget": {"max_tokens": 400, "per_section": {"facts": 20}}, "persist": False}),
    call("build_memory_packet", {**ASK, "policy": {"max_facts": 1}, "policy_id": "mine"}, format="markdown"),
    call("build_memory_packet", ASK, part="stable", tokenizer="cl100k_base"),
    call("build_memory_packet", {**ASK, "budget": {"max_tokens": 3}}),
    call("build_memory_packet", {**ASK, "purpose": "poet"}),
    call("explain", ASK),
    call("explain", ASK, memory_id="ep1"),
    call("explain", OTHER),
    call("explain", SCOPE, "b_none"),
    call("search", SCOPE, "where does Ada live"),
    call("search", SCOPE, "Lyon", kinds=["fact", "episode"], limit=2, now=NOW),
    call("search", SCOPE, "Lyon train", max_tokens=60),
    call("write_context_build", SCOPE, {"meta": {"build_id": "b_mine", "who": "a test"}, "short_term": {}}),
    call("list_context_builds", SCOPE, 1),
    call("policies", "default"),
    call("policies", table={"max_facts": 3}, source="mine"),
    call("policies", "none-such"),
    call("end_run", SCOPE),
    call("list_insights", SCOPE),
    call("forget", SCOPE, {"ids": ["e3"]}, dry_run=True),
    call("forget", SCOPE, {"ids": ["e3", "f_none"]}),
    call("forget", SCOPE, {"run": True}),
    call("list_events", SCOPE),
    call("search", SCOPE, "piano"),
]

GOOD: dict[str, dict[str, Any]] = {
    "append_event": {"event": event("g1", "x", 1)}, "append_events": {"events": [event("g1", "x", 1)]},
    "patch_working_state": {"scope": SCOPE, "patch": {"goal": "g"}},
    "update_stm": {"scope": SCOPE, "stm_state": {"rolling_summary": "s"}},
    "upsert_fact": {"scope": SCOPE, "fact": {"fact_key": "k", "value": 1}},
    "append_episode": {"scope": SCOPE, "episode": EPISODE},
    "upsert_procedure": {"scope": SCOPE, "procedure": PROCEDURE},
    "append_insight": {"scope": SCOPE, "insight": INSIGHT},
    "update_insight": {"scope": SCOPE, "id": "in1", "patch": {"confidence": 0.5}},
    "set_pinned": {"scope": SCOPE, "kind": "event", "id": "e1"}, "end_run": {"scope": SCOPE},
    "write_context_build": {"scope": SCOPE, "packet": {"meta": {}}},
    "forget": {"scope": SCOPE, "selector": {"run": True}},
    "list_events": {"scope": SCOPE, "time_range": {}}, "get_working_state": {"scope": SCOPE},
    "get_stm": {"scope": SCOPE}, "list_facts": {"scope": SCOPE, "fact_filter": {}},
    "list_episodes": {"scope": SCOPE, "episode_filter": {}}, "list_procedures": {"scope": SCOPE, "task_type": "t"},
    "list_insights": {"scope": SCOPE, "insight_filter": {}}, "list_context_builds": {"scope": SCOPE, "limit": 1},
    "build_memory_packet": {"request": ASK}, "explain": {"scope_or_request": ASK},
    "search": {"scope": SCOPE, "query": "q"}, "policies": {"table": {"max_facts": 1}},
}
"""Every operation once, for what must not depend on which it is."""
