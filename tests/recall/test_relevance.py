"""What a memory is relevant for: words near in meaning, wishes, notes, and the goal when nothing is asked."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from engram_core.kernel.index import TextIndex
from engram_core.kernel.related import related
from engram_core.recall.search import coarse
from tests.packet.world import SCOPE, World

ROOT = Path(__file__).parents[2]


def hits(world: World, query: str, **params: Any) -> list[dict[str, Any]]:
    found = world.ask("search", scope=SCOPE, query=query, **params)["hits"]
    assert isinstance(found, list)
    return found


def test_a_word_nobody_used_finds_what_is_near_in_meaning() -> None:
    world = World()
    world.say("Our children start school in August.")
    world.say("The tram was late again.")
    world.say("I painted the fence.")
    found = hits(world, "Where do the kids go?")
    assert found[0]["text"].startswith("Our children")
    assert found[0]["parts"]["related"] > 0 and "children" in found[0]["matched"]


def test_words_that_memories_hold_speak_for_themselves() -> None:
    world = World()
    for number in range(6):
        world.say(f"The kids built raft number {number}.")
    world.say("Our children start school in August.")
    found = hits(world, "What did the kids build?")
    assert "kids" in found[0]["text"]
    assert all("related" not in hit["parts"] for hit in found if "children" in hit["text"])


def test_related_words_are_few_and_near() -> None:
    near = related("children")
    assert 0 < len(near) <= 20 and all(0.6 < share <= 1 for _, share in near)
    assert related("qxzv") == []


def test_a_caption_is_found_like_what_was_said() -> None:
    world = World()
    world.say("Look at this! [image: a lighthouse at dusk]")
    assert "[image:" in hits(world, "lighthouse")[0]["text"]


def test_a_standing_wish_counts_as_far_as_it_is_about_the_question() -> None:
    world = World()
    world.say("Always answer with the harbour's name when I ask for tides.")
    world.say("I prefer tea to coffee.")
    world.say("The tides are high today.")
    found = hits(world, "tides harbour tea")
    gained = {hit["text"].split()[0]: hit["parts"].get("instruction", 0) for hit in found}
    assert gained["Always"] > gained["I"] > 0 == gained["The"]


def test_one_persons_notes_lend_each_other_no_words() -> None:
    notes, talk = TextIndex(), TextIndex()
    for number, text in enumerate(("the blue boat leaks", "the boat has a new sail", "a sail of canvas")):
        notes.add(text, session="s", speaker="me")
        talk.add(text, session="s", speaker=("me", "you")[number % 2])
    assert not notes.query("blue boat").expanded and talk.query("blue boat").expanded


def test_what_a_hit_costs_is_never_less_than_the_rule_of_thumb() -> None:
    assert coarse("abcdefgh") == 2 and coarse("猫が好き") == 4 and coarse("猫 and") == 2
    world = World()
    for number in range(40):
        world.say(f"Boat number {number} has a sail of canvas and a mast of pine.")
    found = hits(world, "boat sail", max_tokens=200)
    assert found and sum(hit["tokens"] for hit in found) <= 200
    assert all(hit["tokens"] >= len(hit["text"]) / 4 for hit in found)


@pytest.mark.parametrize(("goal", "first"), [("Book the ferry to Hull", "ferry"), ("Repair the greenhouse", "glass")])
def test_a_planners_packet_follows_the_goal(goal: str, first: str) -> None:
    world = World()
    for key, value in (("travel.ferry", "the ferry to Hull leaves at nine"), ("work.desk", "the desk by the window"),
                       ("garden.glass", "greenhouse panes are 4 mm"), ("food.tea", "green tea in the morning")):
        world.write("upsert_fact", fact={"fact_key": key, "value": value})
    world.write("patch_working_state", patch={"goal": goal})
    packet = world.packet({"purpose": "planner", "budget": {"max_tokens": 600}})
    assert first in packet["long_term"]["facts"][0]["fact_key"]
    other = "Repair the greenhouse" if "ferry" in goal else "Book the ferry to Hull"
    world.write("patch_working_state", patch={"goal": other})
    changed = world.packet({"purpose": "planner", "budget": {"max_tokens": 600}})
    assert changed["long_term"]["facts"][0]["fact_key"] != packet["long_term"]["facts"][0]["fact_key"]


@pytest.mark.parametrize("text", [
    "x" * 1_000_000, " ".join(f"w{number}" for number in range(1_000_000)), "the of and " * 100_000, "😀" * 100_000,
    "\x01\x02\x03 " * 100_000, "́" * 300_000, "กข" * 200_000])
def test_hostile_texts_cost_bounded_time_and_memory(text: str) -> None:
    tracemalloc.start()
    begin = process_time()
    index = TextIndex()
    index.add(text, session="s", speaker="user")
    index.add("a plain note about boats", session="s", speaker="user")
    scores = index.query(text)
    assert index.query("boats").score(1) > index.query("boats").score(0)
    assert process_time() - begin < 20 and index.nbytes < 60 * len(text) + 10_000_000
    assert len(scores) == 2 and index.query("").empty and not index.query("").expanded
    tracemalloc.stop()


@pytest.mark.parametrize(("query", "first"), [
    ("", []), ("the of and", []), ("what is it to you", []), ("\x01\x02", []), ("zzz" * 100_000, []),
    ("🎉🎉", []), ("the boats 🎉 \x01", ["boats"]), ("the " * 4_000 + "boats", ["boats"])])
def test_odd_questions_find_what_they_name_or_nothing(query: str, first: list[str]) -> None:
    world = World()
    for id_, text in (("boats", "A plain note about boats."), ("word", "y" * 1_000_000), ("party", "🎉🎉🎉"),
                      ("stops", "the of and " * 1000), ("control", "\x01\x02\x03 " * 1000), ("tea", "Green tea.")):
        world.say(text, event_id=id_)
    begin = process_time()
    assert [hit["id"] for hit in hits(world, query)][:1] == first
    assert [hit["id"] for hit in hits(world, query, max_tokens=200)][:1] == first
    packet = world.packet({"purpose": "responder", "query": query, "budget": {"max_tokens": 300}})
    assert packet["budget_report"]["used_tokens"] <= 300
    assert process_time() - begin < 10


def test_no_list_was_written_from_a_benchmark() -> None:
    import os

    folder = os.environ.get("ENGRAM_BENCH_DATA", "")
    if not folder:
        pytest.skip("ENGRAM_BENCH_DATA names no folder")
    asked: set[str] = set()
    names: set[str] = set()
    for path in Path(folder).glob("*-dev.json"):
        for memory in json.loads(path.read_text(encoding="utf-8"))["memories"]:
            asked |= {question["text"] for question in memory["questions"]}
            names |= {turn["speaker"] for turn in memory["turns"] if len(turn["speaker"]) > 4 and "locomo" in path.name}
    lists = [*(ROOT / "engram_core/kernel").glob("*.py"), *(ROOT / "engram_core/recall").glob("*.py"),
             *(ROOT / "benchmarks/labelled").rglob("*.txt")]
    for path in lists:
        text = path.read_text(encoding="utf-8")
        assert not [question for question in asked if len(question) > 12 and question in text], path
        assert not [name for name in names if f" {name} " in text], path
