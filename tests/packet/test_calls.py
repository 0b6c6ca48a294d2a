"""A tool call is never separated from its result: not among quotes, not in the window, not by any budget."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engram_core.recall.calls import ToolCalls
from tests.packet.world import JSON, SCOPE, World


def call(world: World, number: int, ids: list[str], text: str, **scope: str) -> None:
    event = {
        "event_id": f"e{number}",
        "payload": {"role": "assistant", "content": text, "tool_calls": [{"id": one, "name": "look"} for one in ids]},
    }
    world.write("append_event", scope={**SCOPE, **scope}, event=event)


def result(world: World, number: int, id_: str, text: str, **scope: str) -> None:
    event = {"event_id": f"e{number}", "kind": "tool_result", "payload": {"tool_call_id": id_, "content": text}}
    world.write("append_event", scope={**SCOPE, **scope}, event=event)


def quoted(packet: JSON) -> list[str]:
    return [one["evidence_id"] for one in packet["short_term"]["key_quotes"]]


def test_the_result_comes_with_the_call_that_was_asked_for() -> None:
    world = World()
    call(world, 1, ["c1"], "Looking up the tram timetable")
    for number in range(2, 40):
        world.say(f"Small talk number {number} about nothing much", event_id=f"e{number}")
    result(world, 40, "c1", "zzz 7:40, 8:10")
    packet = world.packet({"query": "tram timetable", "policy": {"max_total_candidates": 5}})
    at = quoted(packet).index("e1")
    assert quoted(packet)[at + 1] == "e40"
    counts = packet["explain"]["candidate_counts"]
    assert counts["event"] == 5


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_budget_separates_them(data: st.DataObject) -> None:
    world = World()
    pairs: dict[str, set[str]] = {}
    number = 0
    for round_ in range(data.draw(st.integers(1, 6))):
        ids = [f"c{round_}x{at}" for at in range(data.draw(st.integers(1, 3)))]
        unit = {f"e{number}"}
        call(world, number, ids, "Ana looks " + "up " * data.draw(st.integers(0, 30)))
        for id_ in ids:
            number += 1
            unit.add(f"e{number}")
            result(world, number, id_, "found. A tram. " * data.draw(st.integers(1, 40)))
            number += 1
            world.say("Ana talks " + "on " * data.draw(st.integers(0, 20)), event_id=f"e{number}")
        number += 1
        pairs.update(dict.fromkeys(unit, unit))
    request: JSON = {
        "query": "Ana",
        "budget": {"max_tokens": data.draw(st.integers(190, 1500))},
        "policy": {
            "max_total_candidates": data.draw(st.integers(1, 20)),
            "include_conversation_window": data.draw(st.booleans()),
            "conversation_window": data.draw(st.integers(1, 6)),
        },
    }
    emitted, _, account = world.both(request)
    packet = json.loads(emitted)
    window = [one["evidence_id"] for one in packet["short_term"]["conversation_window"]]
    for shown in (set(quoted(packet)), set(window)):
        for id_ in shown & set(pairs):
            assert pairs[id_] <= shown
    assert not set(window) & set(quoted(packet))
    for row in account["candidates"]:
        if row["id"] in pairs and row["kind"] == "event":
            outcomes = {
                other["outcome"]
                for other in account["candidates"]
                if other["kind"] == "event" and other["id"] in pairs[row["id"]]
            }
            assert len(outcomes) == 1
    order = quoted(packet)
    for together in pairs.values():
        places = sorted(order.index(one) for one in together if one in order)
        assert not places or places == list(range(places[0], places[0] + len(together)))


def test_both_are_one_row_of_tokens_and_name_each_other() -> None:
    world = World()
    call(world, 1, ["c1"], "Looking for Ana")
    result(world, 2, "c1", "Ana is in Lisbon")
    _, report, account = world.both({"query": "Ana"})
    rows = {row["id"]: row for row in account["candidates"]}
    assert rows["e1"]["unit"] == rows["e2"]["unit"]
    assert rows["e1"]["unit"]["ids"] == ["e1", "e2"]
    assert rows["e1"]["text"] == "Looking for Ana" and rows["e2"]["text"] == "Ana is in Lisbon"
    assert rows["e1"]["outcome"] == rows["e2"]["outcome"] == "kept"
    assert sorted([rows["e1"]["used_tokens"], rows["e2"]["used_tokens"]])[0] == 0
    assert account["candidates"][0]["used_tokens"] >= report["section_usage"]["key_quotes"]
    text = world.rendered({"query": "Ana"}, format="text")
    lines = text.split("\n")
    assert lines.index(next(line for line in lines if "Ana is in Lisbon" in line)) == 1 + lines.index(
        next(line for line in lines if "Looking for Ana" in line)
    )


def test_an_id_used_again_goes_with_its_own_result() -> None:
    world = World()
    for at in range(3):
        call(world, 2 * at, ["call_1"], f"Ana asks {'abc'[at]}")
        result(world, 2 * at + 1, "call_1", f"answer {'abc'[at]}")
    call(world, 8, ["call_1"], "Ana in another run", run_id="r2")
    _, _, account = world.both({"query": "Ana"})
    units = {row["id"]: row.get("unit", {}).get("ids") for row in account["candidates"]}
    assert units["e0"] == ["e0", "e1"] and units["e2"] == ["e2", "e3"] and units["e4"] == ["e4", "e5"]
    assert units["e8"] is None


def test_a_forgotten_result_lets_its_call_go_alone() -> None:
    world = World()
    call(world, 1, ["c1"], "Looking for Ana")
    result(world, 2, "c1", "Ana is in Lisbon")
    assert quoted(world.packet({"query": "Ana"})) == ["e1", "e2"]
    world.write("forget", selector={"ids": ["e2"]})
    assert quoted(world.packet({"query": "Ana"})) == ["e1"]


@pytest.mark.parametrize(
    "payload",
    [
        {"tool_calls": "x"},
        {"tool_calls": [{"id": 5}, "x", {}]},
        {"tool_call_id": ["x"]},
        {"tool_calls": []},
        {"tool_calls": [{"id": ""}]},
        {"tool_call_id": ""},
    ],
)
def test_calls_that_are_none_are_ordinary_turns(payload: dict[str, Any]) -> None:
    world = World()
    world.write("append_event", event={"event_id": "e1", "payload": {"role": "assistant", "content": "Ana", **payload}})
    assert quoted(world.packet({"query": "Ana"})) == ["e1"]


EVENTS = st.lists(
    st.tuples(st.lists(st.sampled_from("abc"), max_size=2, unique=True), st.sampled_from(["", "a", "b", "c"])),
    max_size=12,
)


@given(EVENTS, st.data())
def test_units_depend_only_on_what_is_there(events: list[tuple[list[str], str]], data: st.DataObject) -> None:
    grown, fresh = ToolCalls(), ToolCalls()
    numbers = list(range(len(events)))
    gone = set(data.draw(st.lists(st.sampled_from(numbers), unique=True)) if numbers else [])
    for number in data.draw(st.permutations(numbers)):
        calls, answers = events[number]
        grown.add(number, number, ("s", "r"), tuple(calls), answers)
    for number in gone:
        grown.remove(number)
    for number, (calls, answers) in enumerate(events):
        if number not in gone:
            fresh.add(number, number, ("s", "r"), tuple(calls), answers)
    for number in set(numbers) - gone:
        unit = grown.unit(number)
        assert unit == fresh.unit(number) and number in unit and not set(unit) & gone
        assert unit == sorted(unit)
        assert all(grown.unit(other) == unit for other in unit)
