"""What the sample history promises: one coherent month, every reference holds, the models accept it."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from engram_core import models
from engram_core.events import check_event, turn_of

HISTORY = Path(__file__).resolve().parents[2] / "examples" / "history"
UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
TIMES = ("ts", "start", "end", "valid_from", "valid_to", "expires_at")
OTHER_IDS = {"tenant_id": "default", "user_id": "maya", "agent_id": "assistant"}
FILES: dict[str, type[models.Model]] = {"facts": models.Fact, "episodes": models.Episode,
                                        "procedures": models.Procedure, "insights": models.Insight}


def lines(name: str) -> list[dict[str, Any]]:
    text = (HISTORY / name).read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def document(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((HISTORY / name).read_text(encoding="utf-8"))
    return loaded


def when(text: str) -> datetime:
    assert UTC_TIME.fullmatch(text), text
    return datetime.fromisoformat(text)


def words(event: dict[str, Any]) -> str:
    turn = turn_of(event["kind"], event["payload"])
    return turn.text if turn else ""


def times_in(value: Any) -> list[str]:
    """Find the times of a memory; what a payload or a fact's value says is the caller's own."""
    if isinstance(value, list):
        return [time for one in value for time in times_in(one)]
    if not isinstance(value, dict):
        return []
    named = [one for key, one in value.items() if key in TIMES and isinstance(one, str)]
    ours = [one for key, one in value.items() if key not in ("payload", "value")]
    return named + [time for one in ours for time in times_in(one)]


EVENTS = lines("events.ndjson")
BY_ID = {event["event_id"]: event for event in EVENTS}


def test_a_month_of_conversation_over_many_sessions() -> None:
    talk = [event for event in EVENTS if event["kind"] in ("message", "tool_result")]
    assert len(talk) >= 170
    assert len({event["scope"]["session_id"] for event in EVENTS}) >= 14
    assert timedelta(days=30) <= when(EVENTS[-1]["ts"]) - when(EVENTS[0]["ts"]) <= timedelta(days=34)
    assert {event["kind"] for event in EVENTS} == {"message", "tool_result", "state_patch", "system"}


def test_event_ids_are_unique_and_times_go_forward() -> None:
    assert len(BY_ID) == len(EVENTS)
    times = [when(event["ts"]) for event in EVENTS]
    assert all(before < after for before, after in pairwise(times))
    assert all(time.tzinfo == UTC for time in times)


def test_a_run_is_told_in_one_piece() -> None:
    order = [(event["scope"]["session_id"], event["scope"]["run_id"]) for event in EVENTS]
    changes = 1 + sum(before != after for before, after in pairwise(order))
    assert changes == len(set(order))


def test_events_are_accepted_as_they_are() -> None:
    for event in EVENTS:
        assert set(event["scope"]) == {"session_id", "run_id"}
        checked = check_event(event | {"scope": event["scope"] | OTHER_IDS}, at_ms=0)
        assert checked.timed
        assert checked.event_id == event["event_id"]


@pytest.mark.parametrize("name", FILES)
def test_memories_are_accepted_as_they_are(name: str) -> None:
    rows = lines(f"{name}.ndjson")
    assert len(rows) >= 5
    for row in rows:
        models.build(FILES[name], row, name)


@pytest.mark.parametrize("name", ["episode_id", "procedure_id", "id"])
def test_memory_ids_are_unique(name: str) -> None:
    file = {"episode_id": "episodes", "procedure_id": "procedures", "id": "insights"}[name]
    ids = [row[name] for row in lines(f"{file}.ndjson")]
    assert len(set(ids)) == len(ids)


def test_states_are_accepted_and_cite_the_last_session() -> None:
    state, stm = document("state.json"), document("stm.json")
    models.build(models.WorkingState, state, "state")
    models.build(models.ShortTerm, stm, "stm")
    for field in ("goal", "plan", "slots", "constraints", "decisions", "risks", "open_loops"):
        assert state[field], field
    for quote in stm["key_quotes"]:
        event = BY_ID[quote["evidence_id"]]
        assert quote["quote"] in words(event)
        assert quote["ts"] == event["ts"]
        assert event["scope"]["session_id"] == EVENTS[-1]["scope"]["session_id"]
    assert all(evidence["evidence_id"] in BY_ID for evidence in state["tool_evidence"])


@pytest.mark.parametrize("name", FILES)
def test_every_source_is_an_event(name: str) -> None:
    for row in lines(f"{name}.ndjson"):
        assert row["sources"], row
        assert set(row["sources"]) <= set(BY_ID), row
        assert len(set(row["sources"])) == len(row["sources"]), row


def test_every_time_names_utc() -> None:
    rows: list[Any] = [row for name in ("events", *FILES) for row in lines(f"{name}.ndjson")]
    found = times_in([*rows, document("stm.json")])
    assert len(found) > len(EVENTS)
    assert [time for time in found if time != "run_end" and not UTC_TIME.fullmatch(time)] == []


def test_an_episode_lies_within_what_it_cites() -> None:
    for row in lines("episodes.ndjson"):
        start, end = when(row["time_range"]["start"]), when(row["time_range"]["end"])
        assert all(start <= when(BY_ID[source]["ts"]) <= end for source in row["sources"]), row["episode_id"]


def test_facts_change_over_the_month() -> None:
    values: dict[str, list[str]] = {}
    for row in lines("facts.ndjson"):
        values.setdefault(row["fact_key"], []).append(json.dumps(row["value"]))
    changed = {key for key, seen in values.items() if len(set(seen)) > 1}
    assert {"home.city", "work.team_meeting", "phone.plan", "preference.answer_style"} <= changed
    assert len(changed) >= 8


def test_facts_come_in_the_order_in_which_they_were_learnt() -> None:
    learnt = [max(when(BY_ID[source]["ts"]) for source in row["sources"]) for row in lines("facts.ndjson")]
    assert learnt == sorted(learnt)
    begun: dict[str, datetime] = {}
    for row in lines("facts.ndjson"):
        start = when(row["validity"]["valid_from"])
        assert begun.setdefault(row["fact_key"], start) <= start, row["fact_key"]
        begun[row["fact_key"]] = start


def test_each_tool_call_has_its_result_next_in_the_same_run() -> None:
    sessions = set()
    for event, following in pairwise(EVENTS):
        turn = turn_of(event["kind"], event["payload"])
        calls = turn.calls if turn else ()
        answer = turn_of(following["kind"], following["payload"])
        if calls:
            assert calls == ((answer.answers,) if answer else ())
            assert following["scope"] == event["scope"]
            sessions.add(event["scope"]["session_id"])
    assert len(sessions) >= 6
    ids = [call["id"] for event in EVENTS if event["kind"] == "message"
           for call in event["payload"].get("tool_calls", [])]
    assert len(set(ids)) == len(ids) == sum(event["kind"] == "tool_result" for event in EVENTS)


def test_turns_are_as_uneven_as_talk_is() -> None:
    said = [words(event) for event in EVENTS
            if event["kind"] == "message" and "tool_calls" not in event["payload"]]
    assert max(Counter(said).values()) == 1
    openings = Counter(text[:25] for text in said)
    assert max(openings.values()) <= 2, openings.most_common(3)
    lengths = sorted(map(len, said))
    assert lengths[len(lengths) // 10] < 80
    assert lengths[-len(lengths) // 10] > 250


def test_questions_are_answered_weeks_back() -> None:
    rows = [line.split("\t") for line in (HISTORY / "questions.txt").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 12
    assert len({answer for _, answer in rows}) == 12
    for question, answer in rows:
        assert question.endswith("?")
        assert when(EVENTS[-1]["ts"]) - when(BY_ID[answer]["ts"]) >= timedelta(days=14), question


def test_the_readme_counts_what_is_there() -> None:
    readme = (HISTORY / "README.md").read_text(encoding="utf-8")
    scopes = {(event["scope"]["session_id"], event["scope"]["run_id"]) for event in EVENTS}
    sessions = {session for session, _ in scopes}
    assert f"{len(EVENTS)} events of {len(scopes)} runs in {len(sessions)} sessions" in readme
    assert sorted(re.findall(r"^\| `([\w.]+)`", readme, re.M)) == sorted(
        path.name for path in HISTORY.iterdir() if path.name != "README.md")
