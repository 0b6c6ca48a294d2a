"""What each purpose shows, as the shipped policy says it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engram_core.policy import Policies
from engram_core.sections import PURPOSES, SECTIONS
from engram_core.shipped import path as shipped
from tests.packet.emitted import lines_of
from tests.packet.world import JSON, NOW_MS, SCOPE, World

POLICY = Policies([shipped("policies")]).load("default", {})


@pytest.fixture(scope="module")
def world() -> World:
    world = World()
    for number in range(12):
        world.say(f"Ana rides tram {number}", event_id=f"e{number}")
    for number in range(6):
        world.write(
            "append_episode",
            episode={
                "episode_id": f"ep{number}",
                "summary": f"trip {number} with Ana",
                "time_range": {"start": NOW_MS - 1000 * number},
            },
        )
        world.write(
            "upsert_procedure",
            procedure={"procedure_id": f"p{number}", "task_type": "generic", "content": f"do {number}"},
        )
    world.write("upsert_fact", fact={"fact_key": "city", "value": "Lisbon", "sources": ["e3"]})
    world.write("upsert_fact", fact={"fact_key": "preference.tea", "value": "green"})
    for state in ("unvalidated", "testing", "validated", "rejected"):
        world.write(
            "append_insight",
            insight={"id": state, "type": "pattern", "statement": f"Ana {state}", "validation_state": state},
        )
    world.write(
        "patch_working_state",
        patch={
            "goal": "find Ana",
            "slots": {"a": 1},
            "constraints": {"b": 2},
            "plan": ["s1", "s2", "s3", "s4"],
            "decisions": ["d1", "d2", "d3", "d4"],
            "risks": ["r1", "r2", "r3", "r4"],
            "open_loops": ["o1", "o2", "o3", "o4"],
            "tool_evidence": [{"evidence_id": f"t{at}", "summary": f"found {at}"} for at in range(5)],
        },
    )
    world.write(
        "update_stm",
        stm_state={
            "rolling_summary": "Ana and trams.",
            "key_quotes": [{"evidence_id": "e9", "quote": "first"}, {"evidence_id": "e1", "quote": "second"}],
        },
    )
    return world


def asked(world: World, purpose: str, **more: Any) -> JSON:
    return world.packet({"purpose": purpose, "query": "Ana", "budget": {"max_tokens": 0}, **more})


def state(packet: JSON) -> JSON:
    found: JSON = packet["short_term"]["working_state"]
    return {name: value for name, value in found.items() if value and name != "state_version"}


@pytest.mark.parametrize("purpose", PURPOSES)
def test_every_purpose_has_every_section_and_shares_that_make_one(purpose: str) -> None:
    rules = POLICY.purposes[purpose].sections
    assert set(rules) == set(SECTIONS)
    assert sum(rule.share for rule in rules.values()) == pytest.approx(1)
    assert sorted(rule.order for rule in rules.values()) == list(range(1, len(SECTIONS) + 1))
    assert all(rule.max_form == "short" for rule in rules.values())
    assert set(POLICY.purposes[purpose].weights) == {"event", "fact", "episode", "procedure", "insight"}


def test_the_planner_sees_all_of_the_state(world: World) -> None:
    packet = asked(world, "planner")
    assert state(packet) == {
        "goal": "find Ana",
        "slots": {"a": 1},
        "constraints": {"b": 2},
        "plan": ["s1", "s2", "s3", "s4"],
        "decisions": ["d1", "d2", "d3", "d4"],
        "risks": ["r1", "r2", "r3", "r4"],
    }
    assert packet["short_term"]["open_loops"] == ["o1", "o2", "o3", "o4"]
    assert packet["short_term"]["rolling_summary"] == "Ana and trams."
    assert [one["evidence_id"] for one in packet["short_term"]["last_tool_evidence"]] == ["t4", "t3", "t2"]
    assert len(packet["long_term"]["procedures"]) == 5 and len(packet["long_term"]["episodes"]) == 6
    assert {one["id"] for one in packet["insight"]["patterns"]} == {"unvalidated", "testing", "validated"}


def test_the_tool_sees_the_next_steps_and_what_tools_found(world: World) -> None:
    packet = asked(world, "tool")
    assert state(packet) == {
        "goal": "find Ana",
        "slots": {"a": 1},
        "constraints": {"b": 2},
        "plan": ["s1", "s2", "s3"],
        "decisions": ["d2", "d3", "d4"],
        "risks": ["r2", "r3", "r4"],
    }
    assert packet["short_term"]["open_loops"] == ["o1", "o2", "o3"]
    assert len(packet["short_term"]["key_quotes"]) == 5
    assert len(packet["short_term"]["last_tool_evidence"]) == 3
    assert len(packet["long_term"]["procedures"]) == 5 and len(packet["long_term"]["episodes"]) == 3
    assert not packet["insight"]["patterns"]
    with_insights = asked(world, "tool", policy={"include_insights_in_tool": True})
    assert {one["id"] for one in with_insights["insight"]["patterns"]} == {"unvalidated", "testing", "validated"}


def test_the_responder_sees_what_was_said_and_no_work_in_progress(world: World) -> None:
    packet = asked(world, "responder")
    assert state(packet) == {
        "goal": "find Ana",
        "slots": {"a": 1},
        "constraints": {"b": 2},
        "decisions": ["d1", "d2", "d3", "d4"],
    }
    assert packet["short_term"]["open_loops"] == packet["short_term"]["last_tool_evidence"] == []
    assert packet["long_term"]["procedures"] == [] and len(packet["long_term"]["episodes"]) == 5
    assert len(packet["short_term"]["key_quotes"]) == 14 and not packet["insight"]["patterns"]
    assert packet["insight"]["usage_policy"] == {"allow_in_responder": False}
    allowed = asked(world, "responder", policy={"allow_insights_in_responder": True})
    assert [one["id"] for one in allowed["insight"]["patterns"]] == ["validated"]
    assert allowed["insight"]["usage_policy"] == {"allow_in_responder": True}
    shown = asked(world, "responder", policy={"purposes": {"responder": {"sections": {"procedures": {"show": True}}}}})
    assert len(shown["long_term"]["procedures"]) == 5


@pytest.mark.parametrize(
    ("purpose", "first"), [("planner", "# State"), ("tool", "# Procedures"), ("responder", "# Quotes")]
)
def test_the_text_formats_begin_with_what_the_purpose_is_for(world: World, purpose: str, first: str) -> None:
    text = world.rendered({"purpose": purpose, "query": "Ana", "budget": {"max_tokens": 0}}, format="text")
    headings = [line.strip() for line in lines_of(text) if line.startswith("#")]
    assert headings[0] == first
    order = {name: rule.order for name, rule in POLICY.purposes[purpose].sections.items()}
    names = {
        "# State": "working_state",
        "# Procedures": "procedures",
        "# Quotes": "key_quotes",
        "# Facts": "facts",
        "# Summary": "rolling_summary",
        "# Episodes": "episodes",
        "# Open loops": "open_loops",
        "# Tool evidence": "last_tool_evidence",
        "# Insights": "insights",
    }
    places = [order[names[heading]] for heading in headings]
    assert places == sorted(places)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_preferences_are_facts_until_they_are_split_off(world: World, purpose: str) -> None:
    together, split = asked(world, purpose), asked(world, purpose, policy={"split_preferences": True})
    assert {one["fact_key"] for one in together["long_term"]["facts"]} == {"city", "preference.tea"}
    assert together["long_term"]["preferences"] == []
    assert [one["fact_key"] for one in split["long_term"]["facts"]] == ["city"]
    assert [one["fact_key"] for one in split["long_term"]["preferences"]] == ["preference.tea"]
    hidden = asked(
        world,
        purpose,
        policy={"split_preferences": True, "purposes": {purpose: {"sections": {"facts": {"show": False}}}}},
    )
    assert hidden["long_term"]["facts"] == [] and len(hidden["long_term"]["preferences"]) == 1


def test_preferences_take_no_place_of_the_facts(world: World) -> None:
    packet = asked(world, "planner", policy={"split_preferences": True, "max_facts": 1})
    assert len(packet["long_term"]["facts"]) == len(packet["long_term"]["preferences"]) == 1


def test_without_a_question_nothing_is_quoted_but_the_session(world: World) -> None:
    packet = world.packet({"purpose": "responder", "budget": {"max_tokens": 0}})
    assert [one["quote"] for one in packet["short_term"]["key_quotes"]] == ["first", "second"]
    assert {"kind": "event", "filter": "no_query", "excluded": 12} in packet["explain"]["filters"]


def test_the_window_is_the_newest_turns_in_order_and_is_not_quoted_again(world: World) -> None:
    packet = asked(world, "responder", policy={"include_conversation_window": True, "conversation_window": 3})
    window = packet["short_term"]["conversation_window"]
    assert [one["evidence_id"] for one in window] == ["e9", "e10", "e11"]
    assert list(window[0]) == ["role", "content", "evidence_id", "ts"]
    quoted = {one["evidence_id"] for one in packet["short_term"]["key_quotes"] if "ts" in one}
    assert not quoted & {"e9", "e10", "e11"} and "e8" in quoted


def test_the_state_keeps_every_key(world: World) -> None:
    for given in (asked(world, "responder"), World().packet({})):
        assert list(given["short_term"]["working_state"]) == [
            "goal",
            "plan",
            "slots",
            "constraints",
            "tool_evidence",
            "decisions",
            "risks",
            "open_loops",
            "state_version",
        ]


def test_another_run_has_its_own_state_and_insights(world: World) -> None:
    other = {**SCOPE, "run_id": "r9"}
    packet = json.loads(
        json.loads(
            world.engine.read(
                "build_memory_packet",
                {"request": {"scope": other, "purpose": "planner", "query": "Ana"}, "render": True},
            )
        )
    )
    assert state(packet) == {} and packet["insight"]["patterns"] == []
    assert packet["short_term"]["rolling_summary"] == "Ana and trams."
    assert len(packet["long_term"]["facts"]) == 2
    assert {"kind": "insight", "filter": "other_run", "excluded": 4} in packet["explain"]["filters"]
