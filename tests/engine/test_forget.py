"""Forgetting and retention: what goes is readable nowhere, what stays is untouched, and the report is right."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import pytest

from engram_core.errors import BadInput
from tests.engine.conftest import SCOPE, Asked

SECRET = "Zanzibar-quicksilver"
DAY = 86_400_000
NOW = 1_800_000_000_000


def fill(memory: Asked) -> None:
    """Put one word into every place that can hold it."""
    memory.event({"role": "user", "content": f"I flew to {SECRET} on Monday"}, event_id="e1", tags=[SECRET])
    memory.event("the toaster is broken", event_id="e2")
    memory.fact("city", SECRET, sources=["e1"])
    memory.fact("city", f"{SECRET} again")
    memory.fact("pet", "a cat")
    memory.write("append_episode", episode={"episode_id": "ep1", "summary": f"a trip to {SECRET}", "sources": ["e1"],
                                            "time_range": {"start": "2026-01-01T00:00:00Z"}})
    memory.write("upsert_procedure", procedure={"procedure_id": "p1", "task_type": "t", "content": [SECRET]})
    memory.write("append_insight", insight={"id": "i1", "type": "pattern", "statement": f"always {SECRET}"})
    memory.write("update_stm", stm_state={"rolling_summary": "s", "key_quotes": [
        {"evidence_id": "e1", "quote": f"to {SECRET}"}, {"evidence_id": "e2", "quote": "the toaster"}]})
    memory.write("patch_working_state", patch={"goal": "g", "tool_evidence": [
        {"evidence_id": "e1", "summary": SECRET}, {"evidence_id": "e2", "summary": "fine"}]})


def forget(memory: Asked, dry_run: bool = False, **selector: Any) -> Any:
    return memory.write("forget", selector=selector, dry_run=dry_run)


IDS = ["e1", "ep1", "p1", "i1"]


@pytest.mark.parametrize("how", ["ids", "all", "kinds"])
def test_what_is_forgotten_is_readable_nowhere(memory: Asked, how: str) -> None:
    fill(memory)
    before = memory.packet(f"{SECRET} trip cat toaster", persist=True)
    assert SECRET in json.dumps(before)
    memory.settle()
    memory.packet(f"{SECRET} flight", persist=True)  # one build written, one waiting
    assert SECRET.encode() in memory.stored()
    fact_id = memory.facts(fact_key="city")[0]["fact_id"]
    kinds = ["event", "fact", "episode", "procedure", "insight", "working_state", "short_term", "build"]
    named: dict[str, Any] = {"ids": [*IDS, fact_id], "all": True, "kinds": kinds}
    report = forget(memory, **{how: named[how]})
    assert report["versions"] >= 2
    memory.settle()
    assert SECRET.encode() not in memory.stored()
    assert SECRET not in json.dumps(memory.packet("trip cat toaster"))
    for listing in ("list_events", "list_facts", "list_episodes", "list_procedures", "list_insights",
                    "get_working_state", "get_stm", "list_context_builds"):
        assert SECRET not in json.dumps(memory.read(listing))
    assert SECRET not in json.dumps(memory.read("search", query="flew trip always Monday"))
    assert SECRET not in json.dumps(memory.read("explain"))
    memory.reopen()
    assert SECRET not in json.dumps(memory.packet("trip cat toaster always"))
    if how == "ids":
        assert "a cat" in json.dumps(memory.facts())
        assert [one["quote"] for one in memory.read("get_stm")["stm"]["key_quotes"]] == ["the toaster"]
        state = memory.read("get_working_state")["working_state"]
        assert [one["evidence_id"] for one in state["tool_evidence"]] == ["e2"]
        assert state["state_version"] == 2


def test_a_dry_run_reports_the_same_and_changes_nothing(memory: Asked) -> None:
    fill(memory)
    memory.packet(SECRET)
    memory.settle()
    listings = ("list_events", "list_facts", "get_working_state", "get_stm", "list_context_builds")
    before = [memory.read(name) for name in listings]
    would = forget(memory, dry_run=True, ids=["e1", "ep1"])
    assert [memory.read(name) for name in listings] == before
    did = forget(memory, ids=["e1", "ep1"])
    assert {**would, "dry_run": False} == did
    assert did["kinds"] == {"event": 1, "episode": 1}
    assert (did["rows"], did["index_entries"], did["builds"], did["quotes"]) == (2, 2, 1, 2)
    assert forget(memory, ids=["e1", "ep1"])["rows"] == 0


def test_the_open_index_forgets_too(memory: Asked) -> None:
    fill(memory)
    assert memory.read("search", query=SECRET)["hits"]
    forget(memory, ids=["e1"])
    assert "e1" not in [one["id"] for one in memory.read("search", query=SECRET)["hits"]]
    memory.event(f"back from {SECRET}", event_id="e1")
    assert "e1" in [one["id"] for one in memory.read("search", query=SECRET)["hits"]]


def test_an_id_means_the_runs_own_event_first(memory: Asked) -> None:
    places = [SCOPE, {**SCOPE, "run_id": "r2"}, {**SCOPE, "session_id": "s2"}, {**SCOPE, "session_id": "s3"}]
    for number, place in enumerate(places):
        memory.event(number, event_id="e", scope=place)

    def left() -> list[Any]:
        return [one["payload"] for one in memory.read("list_events", level="owner")["events"]]

    for expected in ([1, 2, 3], [2, 3], [2], []):
        forget(memory, ids=["e"])
        assert left() == expected


def test_quotes_of_another_event_with_the_same_id_stay(memory: Asked) -> None:
    other = {**SCOPE, "session_id": "s2"}
    memory.event("mine", event_id="e")
    memory.event("theirs", event_id="e", scope=other)
    memory.write("update_stm", scope=other, stm_state={"key_quotes": [{"evidence_id": "e", "quote": "theirs"}]})
    forget(memory, ids=["e"])
    assert memory.read("get_stm", scope=other)["stm"]["key_quotes"]


def test_a_run_or_session_is_forgotten_alone(memory: Asked) -> None:
    fill(memory)
    sibling, stranger = {**SCOPE, "run_id": "r2"}, {**SCOPE, "session_id": "s2"}
    for place in (sibling, stranger):
        memory.event("kept", scope=place)
        memory.write("patch_working_state", scope=place, patch={"goal": "kept"})
        memory.write("append_insight", scope=place, insight={"id": "i1", "type": "pattern", "statement": "kept"})
    memory.packet(SECRET)
    memory.settle()
    report = forget(memory, run=True)
    assert report["kinds"] == {"event": 2, "insight": 1, "working_state": 1}
    assert report["builds"] == 1
    assert memory.read("get_stm")["stm"] is not None
    assert len(memory.facts()) == 3
    assert memory.read("get_working_state", scope=sibling)["working_state"]["goal"] == "kept"
    assert forget(memory, session=True)["kinds"] == {"event": 1, "insight": 1, "working_state": 1, "short_term": 1}
    assert len(memory.read("list_insights", scope=stranger)["insights"]) == 1
    assert len(memory.read("list_events", scope=stranger)["events"]) == 1


def test_only_what_is_named_goes(memory: Asked) -> None:
    fill(memory)
    assert forget(memory, kinds=["fact"])["kinds"] == {"fact": 3}
    assert forget(memory, kinds=["short_term"])["kinds"] == {"short_term": 1}
    assert len(memory.read("list_events")["events"]) == 2
    memory.packet("x")
    memory.settle()
    assert forget(memory, kinds=["build"])["builds"] == 1
    assert memory.read("list_context_builds")["builds"] == []


def test_a_time_spares_what_is_pinned_and_what_is_later(memory: Asked) -> None:
    for day in range(1, 6):
        memory.event(day, event_id=f"e{day}", ts=f"2026-01-0{day}T00:00:00Z")
    memory.write("set_pinned", kind="event", id="e1", pinned=True)
    forget(memory, before="2026-01-04T00:00:00Z", kinds=["event"])
    assert [one["payload"] for one in memory.read("list_events")["events"]] == [1, 4, 5]


def test_a_shared_memory_goes_from_everybodys_packets(memory: Asked) -> None:
    id_ = memory.fact("rule", SECRET, scope_level="tenant")["fact_id"]
    bob = {**SCOPE, "user_id": "bob", "agent_id": "other"}
    assert SECRET in json.dumps(memory.packet(SECRET, scope=bob))
    memory.settle()
    assert memory.read("list_context_builds", scope=bob)["builds"]
    assert forget(memory, ids=[id_])["builds"] == 1
    memory.settle()
    assert memory.read("list_context_builds", scope=bob)["builds"] == []
    assert SECRET.encode() not in memory.stored()


def test_nothing_of_others_goes(memory: Asked) -> None:
    others = [{**SCOPE, name: "other"} for name in ("tenant_id", "user_id", "agent_id")]
    for place in others:
        memory.event("kept", event_id="e1", scope=place)
        memory.write("upsert_fact", scope=place, fact={"fact_key": "city", "value": "kept"})
        memory.packet("kept", scope=place)
    memory.settle()
    fill(memory)
    forget(memory, all=True)
    for place in others:
        assert len(memory.read("list_events", scope=place)["events"]) == 1
        assert len(memory.read("list_facts", scope=place)["facts"]) == 1
        assert len(memory.read("list_context_builds", scope=place)["builds"]) == 1


def test_a_packet_of_before_is_not_stored_after(memory: Asked) -> None:
    fill(memory)
    memory.packet(SECRET)
    waiting = memory.engine._builds._waiting.copy()
    forget(memory, ids=["e1"])
    memory.engine._builds._waiting.update(waiting)  # as if it had been under way in another process
    memory.settle()
    assert memory.read("list_context_builds")["builds"] == []


@pytest.mark.parametrize(("selector", "said"), [
    ({}, "selector names nothing to forget; give ids, kinds"), ({"ids": []}, "selector names nothing"),
    ({"kinds": ["facts"]}, r"selector.kinds\[0\] is 'facts'; allowed are event, fact.*did you mean fact"),
    ({"id": ["x"]}, "selector has the unknown key 'id'.*did you mean ids"), ({"all": 1}, "selector.all is 1"),
    ({"before": "yesterday"}, "selector.before is 'yesterday'; allowed is a time"),
])
def test_a_bad_selector_forgets_nothing(memory: Asked, selector: dict[str, Any], said: str) -> None:
    memory.event("kept")
    with pytest.raises(BadInput, match=said):
        forget(memory, **selector)
    with pytest.raises(BadInput, match="dry_run is 'no'"):
        memory.write("forget", selector={"all": True}, dry_run="no")
    assert len(memory.read("list_events")["events"]) == 1


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_reader_in_the_way_only_delays_the_end_of_the_log(memory: Asked) -> None:
    fill(memory)
    reader = sqlite3.connect(memory.url, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM events").fetchall()
    forget(memory, ids=["e1"])
    start = time.monotonic()
    while time.monotonic() < start + 1:
        assert memory.engine.after_commit()
    assert f"to {SECRET} on".encode() in memory.stored()
    reader.close()
    while memory.engine.after_commit():
        assert time.monotonic() < start + 10
    assert f"to {SECRET} on".encode() not in memory.stored()


# ---- by rule


def test_old_events_go_when_configured(make: Callable[..., Asked]) -> None:
    memory = make(retention__events_days=10)
    memory.at(NOW)
    for days in (30, 11, 9, 0):
        memory.event(f"{SECRET} {days}", event_id=f"e{days}", ts_ms=NOW - days * DAY)
        memory.event(f"{days}", scope={**SCOPE, "user_id": f"u{days}"}, ts_ms=NOW - days * DAY)
    memory.write("set_pinned", kind="event", id="e30", pinned=True)
    memory.settle()
    assert [one["event_id"] for one in memory.read("list_events")["events"]] == ["e30", "e9", "e0"]
    assert memory.read("list_events", scope={**SCOPE, "user_id": "u11"})["events"] == []
    assert f"{SECRET} 11".encode() not in memory.stored()
    status = memory.engine.status()["retention"]
    assert (status["events_days"], status["forgotten"]["events"]) == (10, 3)
    assert status["last_round"] == "2027-01-15T08:00:00Z"


def test_events_stay_by_default(memory: Asked) -> None:
    memory.event("old", ts_ms=0)
    memory.settle()
    assert len(memory.read("list_events")["events"]) == 1
    assert memory.engine.status()["retention"]["events_days"] == 0


def test_many_owners_and_many_events_are_all_looked_at(make: Callable[..., Asked]) -> None:
    memory = make(retention__events_days=1)
    for number in range(45):
        place = {**SCOPE, "user_id": f"u{number:02}"}
        memory.write("append_events", events=[{"scope": place, "payload": n, "ts_ms": n} for n in range(12)])
    memory.write("append_events", events=[{"scope": SCOPE, "payload": n, "ts_ms": n} for n in range(450)])
    memory.settle()
    assert memory.engine.status()["retention"]["forgotten"]["events"] == 45 * 12 + 450


def test_insights_expire_and_go(make: Callable[..., Asked]) -> None:
    memory = make(retention__insights_days=30)
    memory.at(NOW)
    for id_, fields in (("open", {}), ("timed", {"expires_at": NOW + DAY}), ("kept", {}), ("wrong", {}), ("far", {
            "expires_at": NOW + 365 * DAY})):
        memory.write("append_insight", insight={"id": id_, "type": "pattern", "statement": id_, **fields})
    memory.write("update_insight", id="wrong", patch={"validation_state": "rejected"})
    memory.write("set_pinned", kind="insight", id="kept", pinned=True)

    def after(days: float) -> list[tuple[str, bool]]:
        memory.at(NOW + int(days * DAY))
        memory.reopen()  # a round begins
        memory.settle()
        found = memory.read("list_insights")["insights"]
        return [(one["id"], one.get("expired", False)) for one in found]

    kept, far = ("kept", False), ("far", False)
    assert after(2) == [("open", False), ("timed", True), kept, ("wrong", False), far]
    assert after(30.5) == [("open", True), ("timed", True), kept, far]
    assert after(32) == [("open", True), kept, far]
    assert after(61) == [kept, far]


def test_builds_are_kept_per_run(make: Callable[..., Asked]) -> None:
    memory = make(retention__builds_per_run=3)
    memory.event("x")
    for number in range(7):
        memory.packet(f"question {number}", now=NOW - number)  # the moment asked for is not the time of building
        if number % 3 == 0:
            memory.settle()
    memory.packet("elsewhere", scope={**SCOPE, "run_id": "r2"})
    memory.settle()
    assert [one["meta"]["query"] for one in memory.read("list_context_builds")["builds"]] == [
        "question 4", "question 5", "question 6"]
    assert [one["meta"]["query"] for one in memory.read("list_context_builds", limit=2)["builds"]] == [
        "question 5", "question 6"]
    assert memory.read("explain")["query"] == "question 6"
    assert len(memory.read("list_context_builds", scope={**SCOPE, "run_id": "r2"})["builds"]) == 1
