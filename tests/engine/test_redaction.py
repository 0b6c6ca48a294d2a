"""Secrets: replaced before anything is stored, in every kind of memory, and counted in the reply."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from engram_core import settings
from engram_core.errors import BadInput
from tests.engine.conftest import SCOPE, Asked

KEY = "ghp_" + "a1B2" * 9
SPAN = {"start": "2026-01-01T00:00:00Z"}
WRITES: list[tuple[str, dict[str, Any], int]] = [
    ("append_event", {"event": {"scope": SCOPE, "payload": {"content": f"it is {KEY}", KEY: [KEY]}, "tags": [KEY],
                                "entities": [KEY]}}, 5),
    ("upsert_fact", {"fact": {"fact_key": "token", "value": {"a": [KEY]}, "notes": f"{KEY} {KEY}"}}, 3),
    ("append_episode", {"episode": {"episode_id": "e", "summary": KEY, "highlights": [KEY], "time_range": SPAN}}, 2),
    ("upsert_procedure", {"procedure": {"procedure_id": "p", "task_type": "t", "content": {"run": KEY}}}, 1),
    ("append_insight", {"insight": {"id": "i", "type": "pattern", "statement": KEY, "tests_suggested": [KEY]}}, 2),
    ("update_insight", {"id": "i", "patch": {"statement": f"again {KEY}", "validation_state": "validated"},
                        "promote": "fact", "promoted": {"value": KEY}}, 2),
    ("update_stm", {"stm_state": {"rolling_summary": KEY, "key_quotes": [{"evidence_id": "e1", "quote": KEY}]}}, 2),
    ("patch_working_state", {"patch": {"goal": KEY, "slots": {"key": KEY}, "tool_evidence": [
        {"evidence_id": "e1", "summary": KEY}]}, "merge_slots": {"more": KEY}}, 4),
    ("write_context_build", {"packet": {"meta": {"build_id": "b"}, "text": KEY}}, 1),
]


def test_no_secret_reaches_the_disk(memory: Asked) -> None:
    for method, params, count in WRITES:
        assert memory.write(method, **params)["redacted"] == count, method
    stored = memory.stored()
    assert KEY.encode() not in stored
    assert b"[redacted:github-token]" in stored


def test_no_secret_of_a_question_reaches_the_disk(memory: Asked) -> None:
    memory.event("hello")
    memory.packet(f"is {KEY} my token?", cues={"keywords": [KEY], "tags": [KEY]})
    memory.settle()
    stored = memory.stored()
    assert b"my token" in stored
    assert KEY.encode() not in stored


def test_a_batch_reports_for_each(memory: Asked) -> None:
    batch = [{"scope": SCOPE, "payload": text} for text in (KEY, "fine", f"{KEY} {KEY}")]
    assert [one["redacted"] for one in memory.write("append_events", events=batch)["results"]] == [1, 0, 2]


def test_the_same_secret_sent_again_is_a_duplicate(memory: Asked) -> None:
    assert [memory.event(KEY, event_id="e")["duplicate"] for _ in range(2)] == [False, True]


def test_ids_stay_what_they_are(make: Callable[..., Asked]) -> None:
    memory = make(redact__patterns={"digits": r"\d{6,}"})
    memory.event("call 5551234", event_id="e_123456")
    memory.fact("account", "no 99887766", sources=["e_123456"])
    assert memory.facts()[0]["sources"] == ["e_123456"]
    assert memory.facts()[0]["value"] == "no [redacted:digits]"
    assert memory.read("list_events")["events"][0]["payload"] == "call [redacted:digits]"


IDS: list[tuple[str, dict[str, Any], str]] = [
    ("append_event", {"event": {"scope": SCOPE, "event_id": KEY, "payload": "x"}}, "event.event_id"),
    ("append_event", {"event": {"scope": {**SCOPE, "user_id": f"ada:{KEY}"}, "payload": "x"}}, "event.scope.user_id"),
    ("append_events", {"events": [{"scope": SCOPE, "event_id": KEY, "payload": "x"}]}, r"events\[0\]: event.event_id"),
    ("upsert_fact", {"fact": {"fact_key": f"token {KEY}", "value": 1}}, "fact.fact_key"),
    ("upsert_fact", {"fact": {"fact_key": "k", "value": 1, "sources": ["a", KEY]}}, r"fact.sources\[1\]"),
    ("upsert_procedure", {"procedure": {"procedure_id": "p", "task_type": KEY, "content": 1}}, "procedure.task_type"),
    ("update_stm", {"stm_state": {"rolling_summary": "", "key_quotes": [{"evidence_id": KEY, "quote": "q"}]}},
     r"stm_state.key_quotes\[0\].evidence_id"),
    ("patch_working_state", {"patch": {"goal": "x"}, "scope": {**SCOPE, "run_id": KEY}}, "scope.run_id"),
    ("write_context_build", {"packet": {"meta": {"build_id": KEY}}}, "packet.meta.build_id"),
]


@pytest.mark.parametrize(("method", "params", "field"), IDS, ids=[field for _, _, field in IDS])
def test_a_secret_in_an_id_is_refused_and_not_repeated(memory: Asked, method: str, params: dict[str, Any],
                                                       field: str) -> None:
    with pytest.raises(BadInput, match=rf"^{field} holds what looks like a secret \(github-token\)") as caught:
        memory.write(method, **params)
    assert KEY not in str(caught.value)
    stored = memory.stored()
    assert KEY.encode() not in stored


def test_what_was_stored_under_such_an_id_before_can_be_forgotten(make: Callable[..., Asked]) -> None:
    memory = make(redact__enabled=False)
    memory.fact(KEY, "x")
    memory.engine.reload(settings.load(env={"HOME": "/nonexistent"}))
    with pytest.raises(BadInput, match=r"fact\.fact_key"):
        memory.fact(KEY, "y")
    assert memory.write("forget", selector={"ids": [memory.facts()[0]["fact_id"]]})["rows"] == 1


def test_it_can_be_turned_off(make: Callable[..., Asked]) -> None:
    memory = make(redact__enabled=False)
    assert memory.event(KEY)["redacted"] == 0
    assert KEY in json.dumps(memory.read("list_events"))


@pytest.mark.parametrize("name", ["a", "b"])
def test_patterns_do_not_disturb_each_other(make: Callable[..., Asked], name: str) -> None:
    memory = make(redact__patterns={"a": r"(?i)(x)y\1", "b": r"\b(?P<p0>z+)\b"})
    text = {"a": "XyX", "b": "zzz"}[name]
    assert memory.event(f"see {text} {KEY}")["redacted"] == 2
    assert memory.read("list_events")["events"][0]["payload"] == f"see [redacted:{name}] [redacted:github-token]"
