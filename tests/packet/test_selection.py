"""Which memories become candidates, which of them are out before any budget, and what the explanation says of each."""

from __future__ import annotations

from typing import Any

import pytest

from engram_core.errors import BadInput
from tests.packet.world import DAY_MS, JSON, NOW, NOW_MS, SCOPE, World


def rows(world: World, **request: Any) -> dict[str, JSON]:
    _, _, account = world.both({"purpose": "planner", "budget": {"max_tokens": 0}, **request})
    return {row["id"]: row for row in account["candidates"]}


def fact(world: World, key: str, value: Any = "v", **more: Any) -> str:
    return str(
        world.write("upsert_fact", fact={"fact_key": key, "value": value, "fact_id": f"f-{key}-{value}", **more})[
            "fact_id"
        ]
    )


def procedure(world: World, id_: str, **more: Any) -> None:
    world.write(
        "upsert_procedure", procedure={"procedure_id": id_, "task_type": "generic", "content": f"do {id_}", **more}
    )


@pytest.mark.parametrize(("wide", "narrow"), [("tenant", "agent"), ("tenant", "user"), ("agent", "user")])
def test_the_narrower_layer_wins(wide: str, narrow: str) -> None:
    world = World()
    fact(world, "city", "Oslo", scope_level=wide)
    fact(world, "city", "Lisbon", scope_level=narrow)
    found = rows(world)
    assert found["f-city-Oslo"]["reason"] == "shadowed" and found["f-city-Oslo"]["layer"] == wide
    assert found["f-city-Lisbon"]["outcome"] == "kept"


def test_it_wins_even_when_it_is_no_candidate_itself_but_not_when_it_no_longer_holds() -> None:
    world = World()
    fact(world, "city", "Lisbon", confidence=0.0)
    fact(world, "city", "Oslo", scope_level="tenant", confidence=1.0)
    for number in range(3):
        fact(world, f"k{number}", confidence=1.0)
    found = rows(world, policy={"max_total_candidates": 2})
    assert "f-city-Lisbon" not in found
    assert found.get("f-city-Oslo", {"reason": "shadowed"})["reason"] == "shadowed"
    ended = World()
    fact(ended, "city", "Lisbon", validity={"valid_to": NOW_MS - DAY_MS})
    fact(ended, "city", "Oslo", scope_level="tenant")
    assert rows(ended)["f-city-Oslo"]["outcome"] == "kept"


def test_shadowed_facts_take_no_place() -> None:
    world = World()
    for number in range(4):
        fact(world, f"k{number}", "wide", scope_level="tenant", confidence=1.0)
        fact(world, f"k{number}", "narrow", confidence=0.1)
    found = rows(world, policy={"max_facts": 4})
    assert [row["outcome"] for id_, row in sorted(found.items()) if "narrow" in id_] == ["kept"] * 4


def test_procedures_for_other_tags_take_no_place_and_hide_no_twin() -> None:
    world = World()
    for number in range(5):
        procedure(world, f"p{number}", priority=9, applicability={"tags": ["cooking"]})
    procedure(world, "p5", priority=9, content="same words", applicability={"tags": ["cooking"]})
    procedure(world, "q1", content="same words", applicability={"tags": ["travel"]})
    procedure(world, "q2", content="other words")
    found = rows(world, cues={"tags": ["travel"]}, policy={"max_procedures": 2})
    assert {id_ for id_, row in found.items() if row["outcome"] == "kept"} == {"q1", "q2"}
    assert found["p0"]["reason"] == "applicability"
    assert rows(world, policy={"max_procedures": 9})["p0"]["outcome"] == "kept"


def test_generic_procedures_stay_eligible() -> None:
    world = World()
    procedure(world, "p1", task_type="deploy")
    procedure(world, "p2")
    procedure(world, "p3", task_type="cook")
    _, _, account = world.both({"purpose": "planner", "task_type": "deploy", "budget": {"max_tokens": 0}})
    assert {row["id"] for row in account["candidates"] if row["kind"] == "procedure"} == {"p1", "p2"}
    assert {"kind": "procedure", "filter": "task_type", "excluded": 1} in account["filters"]


def test_pinned_memories_come_first_in_their_section_however_old_and_weak() -> None:
    world = World()
    fact(world, "old", confidence=0.0)
    for number in range(130):
        fact(world, f"k{number}", "x" * 20, confidence=1.0)
    world.write("set_pinned", kind="fact", id="f-old-v", pinned=True)
    for request in ({}, {"query": "k3"}, {"policy": {"max_facts": 1}}, {"budget": {"max_tokens": 260}}):
        packet = world.packet({"purpose": "planner", **request})
        assert packet["long_term"]["facts"][0]["fact_id"] == "f-old-v"
    world.write("set_pinned", kind="fact", id="f-old-v", pinned=False)
    assert "f-old-v" not in rows(world)


def test_equal_texts_of_a_kind_keep_the_best_and_facts_are_never_equal() -> None:
    world = World()
    for number, text in enumerate(["Ana likes trams", "ana  LIKES trams", "Ana likes trams", "Ana likes boats"]):
        world.say(text, event_id=f"e{number}")
    fact(world, "a", "trams")
    fact(world, "b", "trams")
    found = rows(world, query="Ana trams")
    assert sum(found[f"e{number}"]["reason"] == "duplicate" for number in range(3)) == 2
    assert found["e3"]["outcome"] == found["f-a-trams"]["outcome"] == found["f-b-trams"]["outcome"] == "kept"


def test_what_the_session_quotes_is_not_quoted_again() -> None:
    world = World()
    world.say("Ana likes trams", event_id="e0")
    world.say("Ana likes trams and boats", event_id="e1")
    world.write(
        "update_stm",
        stm_state={
            "key_quotes": [
                {"evidence_id": "e0", "quote": "Ana likes  trams"},
                {"evidence_id": "e1", "quote": "ana likes trams"},
            ]
        },
    )
    _, _, account = world.both({"query": "Ana"})
    assert [(row["kind"], row["id"], row["reason"]) for row in account["candidates"]] == [
        ("quote", "e0", ""),
        ("quote", "e1", "duplicate"),
        ("event", "e0", "duplicate"),
        ("event", "e1", ""),
    ]


def test_disputed_facts_are_both_there_and_reported() -> None:
    world = World()
    world.write("upsert_fact", fact={"fact_key": "city", "value": "Oslo"})
    world.write("upsert_fact", fact={"fact_key": "city", "value": "Bergen"}, on_conflict="dispute")
    packet = world.packet({"purpose": "responder"})
    assert {(one["value"], one["status"]) for one in packet["long_term"]["facts"]} == {
        ("Oslo", "disputed"),
        ("Bergen", "disputed"),
    }
    id_ = packet["long_term"]["facts"][0]["fact_id"]
    assert packet["explain"]["conflicts"] == [{"fact_key": "city", "ids": [f"{id_}#1", f"{id_}#2"]}]


def test_facts_hold_only_in_their_time() -> None:
    world = World()
    fact(world, "past", validity={"valid_to": NOW_MS - 1})
    fact(world, "now", validity={"valid_from": NOW_MS, "valid_to": NOW_MS})
    fact(world, "future", validity={"valid_from": NOW_MS + 1})
    _, _, account = world.both({"purpose": "planner"})
    assert [row["id"] for row in account["candidates"]] == ["f-now-v"]
    assert {"kind": "fact", "filter": "validity", "excluded": 2} in account["filters"]


def test_insights_end_when_they_expire() -> None:
    world = World()
    for name, end in (("past", NOW_MS), ("left", NOW_MS + 1)):
        world.write("append_insight", insight={"id": name, "type": "pattern", "statement": name, "expires_at": end})
    listed = world.ask("list_insights", scope=SCOPE)["insights"]
    assert {one["id"] for one in listed if not one.get("expired")} == {"left"} == set(rows(world))


def test_old_episodes_need_a_question_a_cue_or_a_range() -> None:
    world = World()
    world.write(
        "append_episode",
        episode={
            "episode_id": "old",
            "summary": "a trip",
            "tags": ["sea"],
            "time_range": {"start": NOW_MS - 100 * DAY_MS},
        },
    )
    assert "old" not in rows(world)
    assert "old" in rows(world, query="what trips")
    assert "old" in rows(world, cues={"tags": ["sky"]})
    assert "old" in rows(world, policy={"episode_time_window_days": 200})


def test_cues_raise_scores_and_exclude_nothing() -> None:
    world = World()
    for number, tags in enumerate([["a", "b"], ["a"], []]):
        world.write(
            "append_episode",
            episode={
                "episode_id": f"ep{number}",
                "summary": f"thing {number}",
                "tags": tags,
                "time_range": {"start": NOW_MS - DAY_MS},
            },
        )
    found = rows(world, cues={"tags": ["a", "b"], "entities": ["a"]})
    assert [found[f"ep{number}"]["signals"]["cues"]["value"] for number in range(3)] == [1.0, 0.5, 0.0]
    inside = rows(world, cues={"time_range": {"start": NOW_MS - 2 * DAY_MS, "end": NOW_MS}})
    outside = rows(world, cues={"time_range": {"end": NOW_MS - 2 * DAY_MS}})
    assert inside["ep2"]["signals"]["cues"]["value"] == 1 and outside["ep2"]["signals"]["cues"]["value"] == 0


def test_a_fact_that_still_holds_lies_in_every_later_range() -> None:
    world = World()
    fact(world, "since", validity={"valid_from": NOW_MS - 300 * DAY_MS})
    found = rows(world, cues={"time_range": {"start": NOW_MS - 10 * DAY_MS}})
    assert found["f-since-v"]["signals"]["cues"]["value"] == 1


def test_scores_are_the_sum_of_their_signals_and_stay_comparable_without_words() -> None:
    world = World()
    fact(world, "a", "Ana", confidence=1.0)
    for request in ({"query": "Ana"}, {}, {"cues": {"tags": ["x"]}}):
        row = rows(world, **request)["f-a-Ana"]
        assert row["score"] == pytest.approx(
            sum(one["value"] * one["weight"] for one in row["signals"].values()), abs=1e-5
        )
        assert sum(one["weight"] for one in row["signals"].values()) == pytest.approx(1.9)


def test_what_was_recalled_often_scores_more_only_where_the_policy_weighs_it() -> None:
    world = World()
    fact(world, "tea", "green")
    for _ in range(5):
        world.packet({"purpose": "planner", "query": "tea"})
        while world.engine.after_commit():
            pass
    fact(world, "tea2", "black")
    plain = rows(world, query="tea")
    assert "use" not in plain["f-tea-green"]["signals"]
    weighed = {"purposes": {"planner": {"weights": {"fact": {"use": 0.5}}}}}
    for _ in range(2):  # kept up to date, and made afresh from the store
        found = rows(world, query="tea", policy=weighed)
        often, never = found["f-tea-green"], found["f-tea2-black"]
        assert often["signals"]["use"]["value"] == 0.5 and never["signals"]["use"]["value"] == 0.0
        gained = often["score"] - never["score"] - 0.5 * often["signals"]["use"]["weight"]
        others = [name for name in often["signals"] if name != "use"]
        assert gained == pytest.approx(sum(
            one["signals"][name]["value"] * one["signals"][name]["weight"] * sign
            for one, sign in ((often, 1), (never, -1)) for name in others), abs=1e-5)
        world.forget_index()


def test_the_state_asks_when_nobody_does() -> None:
    world = World()
    fact(world, "toaster", "broken")
    fact(world, "tram", "late")
    world.write("patch_working_state", patch={"goal": "repair the toaster"})
    found = rows(world)
    assert found["f-toaster-broken"]["signals"]["relevance"]["value"] > 0
    assert found["f-tram-late"]["signals"]["relevance"]["value"] == 0


def test_evidence_comes_newest_first_and_quotes_as_the_session_wrote_them() -> None:
    world = World()
    world.write("update_stm", stm_state={"key_quotes": [{"evidence_id": id_, "quote": f"said {id_}"} for id_ in "zma"]})
    world.write("patch_working_state", patch={"tool_evidence": [{"evidence_id": id_} for id_ in "bac"]})
    packet = world.packet({"purpose": "planner"})
    assert [one["evidence_id"] for one in packet["short_term"]["key_quotes"]] == ["z", "m", "a"]
    assert [one["evidence_id"] for one in packet["short_term"]["last_tool_evidence"]] == ["c", "a", "b"]


# Citations -----------------------------------------------------------------------------------------------------------


def test_citations_are_of_what_is_there_once_and_short() -> None:
    world = World()
    world.say("Ana moved to Lisbon. " * 20, event_id="e1", ts="2026-05-01T08:00:00Z")
    fact(world, "city", "Lisbon", sources=["e1", "gone"])
    fact(world, "home", "Lisbon", sources=["e1"])
    packet = world.packet({"purpose": "responder"})
    assert [(one["id"], one["type"], one["ts"]) for one in packet["citations"]] == [
        ("e1", "message", "2026-05-01T08:00:00Z")
    ]
    assert len(packet["citations"][0]["summary"]) <= 82
    quoted = world.packet({"purpose": "responder", "query": "Lisbon"})
    assert [one["evidence_id"] for one in quoted["short_term"]["key_quotes"]] == ["e1"] and quoted["citations"] == []
    none = world.packet(
        {"purpose": "responder", "policy": {"purposes": {"responder": {"sections": {"citations": {"max_items": 0}}}}}}
    )
    assert none["citations"] == []
    hidden = world.packet(
        {"purpose": "responder", "policy": {"purposes": {"responder": {"sections": {"citations": {"show": False}}}}}}
    )
    assert hidden["citations"] == []


# The explanation of one memory ---------------------------------------------------------------------------------------


def explained(world: World, id_: str, **request: Any) -> JSON:
    found = world.explained({"purpose": "planner", **request}, memory_id=id_)["candidates"]
    assert len(found) == 1
    row: JSON = found[0]
    return row


def test_any_memory_can_be_explained() -> None:
    world = World()
    for number in range(20):
        fact(world, f"k{number:02}", confidence=1.0 if number else 0.0)
    world.say("Ana", event_id="e1")
    procedure(world, "p1", task_type="cook")
    world.write(
        "append_insight", scope={**SCOPE, "run_id": "r9"}, insight={"id": "i9", "type": "pattern", "statement": "x"}
    )
    world.write(
        "append_insight", insight={"id": "i1", "type": "pattern", "statement": "x", "validation_state": "rejected"}
    )
    kept = explained(world, "f-k19-v")
    assert (kept["outcome"], kept["reason"]) == ("kept", "")
    low = explained(world, "f-k00-v", query="k19", policy={"max_total_candidates": 5})
    assert (low["outcome"], low["reason"], low["miss"]) == ("omitted", "not_ranked", "rank 20 of 5")
    assert low["score"] == pytest.approx(sum(one["value"] * one["weight"] for one in low["signals"].values()), abs=1e-5)
    assert explained(world, "e1")["reason"] == "no_query"
    assert explained(world, "p1", task_type="deploy")["reason"] == "task_type"
    assert explained(world, "p1", purpose="responder")["reason"] == "not_for_purpose"
    assert explained(world, "i9")["reason"] == "other_run"
    assert explained(world, "i1")["reason"] == "rejected"


def test_a_request_with_its_scope_is_explained_without_another() -> None:
    world = World()
    fact(world, "city", "Oslo")
    request = {"scope": SCOPE, "purpose": "planner", "now": NOW}
    found = world.ask("explain", request=request)
    assert [row["id"] for row in found["candidates"]] == ["f-city-Oslo"]
    assert world.ask("explain", scope=SCOPE, request=request)["candidates"] == found["candidates"]
    for params in ({}, {"request": {"purpose": "planner"}}, {"build_id": "b"}):
        with pytest.raises(BadInput, match="explain needs the parameter 'scope'"):
            world.ask("explain", **params)


@pytest.mark.parametrize("form", ["json", "text", "markdown"])
@pytest.mark.parametrize("tokenizer", ["o200k_base", "bytes"])
def test_what_is_left_out_is_counted_in_the_layout_that_was_asked_for(form: str, tokenizer: str) -> None:
    world = World()
    for number in range(6):
        fact(world, f"k{number}", "same words")
        procedure(world, f"p{number}")
    asked = {"format": form, "tokenizer": tokenizer}

    def full(facts: int, procedures: int) -> tuple[int, dict[str, int]]:
        request = {"purpose": "planner", "task_type": "generic", "budget": {"max_tokens": 20_000},
                   "policy": {"max_facts": facts, "max_procedures": procedures}}
        rows = world.explained(request, **asked)["candidates"]
        return (sum(row["outcome"] == "omitted" for row in rows), {row["id"]: row["tokens"]["full"] for row in rows})

    none, every = full(30, 30)
    assert (none, len(every)) == (0, 12)
    assert full(2, 1) == (9, every)
    few = {"purpose": "planner", "task_type": "generic", "policy": {"max_total_candidates": 1}}
    for id_, tokens in every.items():  # those that are no candidates at all as well
        (row,) = world.explained(few, memory_id=id_, **asked)["candidates"]
        assert row["tokens"]["full"] == tokens


def test_the_nearest_miss_is_said() -> None:
    world = World()
    for number in range(40):
        fact(world, f"k{number:02}", "value " * 10)
    packet = {"purpose": "planner", "budget": {"max_tokens": 400}}
    missed = [row for row in world.explained(packet)["candidates"] if row["reason"].startswith("budget")]
    assert missed
    more = int(missed[0]["miss"].removeprefix("would fit with ").removesuffix(" more tokens"))
    wider = {**packet, "budget": {"max_tokens": 400 + more}}
    omitted = {row["id"] for row in world.explained(wider)["candidates"] if row["outcome"] == "omitted"}
    assert len(omitted & {row["id"] for row in missed}) < len(missed)
    capped = [row["miss"] for row in world.explained({"purpose": "planner", "policy": {"max_facts": 38}})["candidates"]]
    assert sorted(capped)[-2:] == ["rank 39 of 38", "rank 40 of 38"]
