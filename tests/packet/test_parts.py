"""The stable part holds still under everything but its own memories, and both parts keep the budget together."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engram_core.errors import BadInput, BudgetTooSmall
from engram_core.sections import PURPOSES
from tests.packet.emitted import check_lines, ids_in, text_sections
from tests.packet.world import DAY_MS, JSON, NOW_MS, SCOPE, World, emitted_tokens, memories, requests

slow = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
FORMS = st.sampled_from(["json", "text", "markdown"])


def settled() -> World:
    world = World()
    for number in range(30):
        world.write(
            "upsert_fact",
            fact={"fact_key": f"key{number}", "value": f"value {number} of Ana", "confidence": (number % 10) / 10},
        )
    world.write("upsert_fact", fact={"fact_key": "preference.tea", "value": "green", "confidence": 1.0})
    for number in range(4):
        world.write(
            "upsert_procedure",
            procedure={"procedure_id": f"p{number}", "task_type": "generic", "content": f"do {number}"},
        )
    return world


def stable(world: World, form: str = "text", **request: Any) -> str:
    return world.rendered({"budget": {"max_tokens": 1200}, **request}, part="stable", format=form, bare=True)


@pytest.mark.parametrize("form", ["json", "text", "markdown"])
@pytest.mark.parametrize("purpose", PURPOSES)
def test_the_stable_part_moves_only_with_its_memories(form: str, purpose: str) -> None:
    world = settled()
    first = stable(world, form, purpose=purpose)
    assert "value 9" in first
    for number in range(20):
        world.say(f"Ana key{number} value", event_id=f"e{number}")
    world.write("append_episode", episode={"episode_id": "ep", "summary": "Ana", "time_range": {"start": NOW_MS}})
    world.write("patch_working_state", patch={"goal": "find Ana", "open_loops": ["key3"]})
    world.write("update_stm", stm_state={"rolling_summary": "key5"})
    world.engine.after_commit()
    assert stable(world, form, purpose=purpose) == first
    for request in (
        {"query": "key7 value"},
        {"cues": {"tags": ["x"], "keywords": ["key1"]}},
        {"now": NOW_MS + 900 * DAY_MS},
        {"cues": {"time_range": {"start": NOW_MS - DAY_MS}}},
        {"persist": True, "query": "key2"},
    ):
        assert stable(world, form, purpose=purpose, **request) == first
    world.forget_index()
    assert stable(world, form, purpose=purpose) == first
    world.write("upsert_fact", fact={"fact_key": "key9", "value": "another value", "confidence": 0.9})
    assert stable(world, form, purpose=purpose) != first


def test_a_weaker_memory_that_finds_no_place_changes_nothing() -> None:
    world = settled()
    first = stable(world, policy={"max_total_candidates": 10, "max_facts": 5})
    for number in range(40):
        world.write("upsert_fact", fact={"fact_key": f"new{number}", "value": "v", "confidence": 0.05})
    assert stable(world, policy={"max_total_candidates": 10, "max_facts": 5}) == first


def test_what_it_holds_and_in_which_order() -> None:
    world = settled()
    packet = json.loads(stable(world, "json", purpose="planner", policy={"split_preferences": True}))
    assert {name for name, _ in ids_in(packet)} == {"facts", "preferences", "procedures"}
    ids = [fact["fact_id"] for fact in packet["long_term"]["facts"]]
    assert ids == sorted(ids) and packet["citations"] == []
    assert packet["short_term"]["working_state"]["goal"] == ""
    assert set(text_sections(stable(world, purpose="responder"), "text")) == {"facts"}


@slow
@given(memories(), requests(), FORMS)
def test_both_parts_keep_the_budget_and_share_no_memory(
    stored: list[tuple[str, JSON]], request: JSON, form: str
) -> None:
    world = World().fill(stored)
    try:
        parts = {part: world.both(request, part=part, format=form) for part in ("stable", "volatile")}
    except BudgetTooSmall as error:
        least = 2 * emitted_tokens("o200k_base", World().rendered({}, bare=True))
        assert form == "json" and str(least) in error.message and "stable and volatile" in error.message
        assert request["budget"]["max_tokens"] < least
        return
    used = 0
    shown: list[set[tuple[str, str, str]]] = []
    for part, (text, report, account) in parts.items():
        check_lines(text, form)
        assert emitted_tokens("o200k_base", text) == report["used_tokens"]
        used += report["used_tokens"]
        kept = [row for row in account["candidates"] if row["outcome"] != "omitted"]
        shown.append({(row["kind"], row["layer"], row["id"]) for row in kept if row["kind"] in ("fact", "procedure")})
        if part == "stable":
            assert {row["kind"] for row in kept} <= {"fact", "procedure"}
    assert not request["budget"]["max_tokens"] or used <= request["budget"]["max_tokens"]
    assert not {key for key in shown[0] & shown[1] if key[0] == "procedure"}
    caps = request["policy"].get("max_procedures", 5)
    assert sum(kind == "procedure" for one in shown for kind, *_ in one) <= caps


def test_the_smallest_share_is_no_licence_for_all() -> None:
    world = settled()
    assert world.rendered({"budget": {"max_tokens": 3}}, part="stable", format="text") == ""
    assert world.rendered({"policy": {"stable_share": 0.0}}, part="stable", format="text") == ""
    whole = {"budget": {"max_tokens": 60}, "policy": {"stable_share": 1.0}}
    both = [world.rendered(whole, part=part, format="text") for part in ("stable", "volatile")]
    assert sum(emitted_tokens("o200k_base", text) for text in both) <= 60


@pytest.mark.parametrize("tokens", [0, 400, 2000])
@pytest.mark.parametrize("part", ["all", "stable", "volatile"])
@pytest.mark.parametrize("form", ["json", "text", "markdown"])
@pytest.mark.parametrize("most", [1, 5, 60, 520, 700, 1000, 3000])
def test_no_more_characters_than_asked_for(form: str, part: str, most: int, tokens: int) -> None:
    world = settled()
    world.say("Ana lives in Lisbon", event_id="e1")
    request = {"query": "Ana", "budget": {"max_tokens": tokens}}
    try:
        text = world.rendered(request, part=part, format=form, max_chars=most, bare=True)
    except BadInput as error:
        assert form == "json" and most < 510 and f"max_chars is {most}" in error.message
        return
    assert len(text) <= most
    check_lines(text, form)
    if most in (700, 1000) and part != "volatile" and tokens != 400:
        assert len(text) > most / 2


def test_the_volatile_part_does_not_move_with_max_chars() -> None:
    """The stable part it follows is the one without a limit in characters."""
    world = settled()
    request = {"query": "key3", "budget": {"max_tokens": 1500}}
    stable_ids = {row["id"] for row in world.both(request, part="stable")[2]["candidates"] if row["outcome"] == "kept"}
    _, _, account = world.both(request, part="volatile", max_chars=900)
    excluded = {row["id"] for row in account["candidates"] if row["reason"] == "in_stable_part"}
    assert excluded and excluded <= stable_ids


def test_parts_are_builds_of_their_own() -> None:
    world = settled()
    builds = {world.packet({}, part=part)["meta"]["build_id"] for part in ("all", "stable", "volatile")}
    assert len(builds) == 3
    for build in builds:
        assert world.ask("explain", scope=SCOPE, build_id=build)["build_id"] == build
    world.engine.after_commit()
    assert world.ask("explain", scope=SCOPE, build_id=min(builds))["build_id"] == min(builds)
