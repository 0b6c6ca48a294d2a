"""Hostile memories: nothing in them can end the block, open a section, break a line, or reach the terminal."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engram_core import layout
from tests.packet.emitted import check_lines, lines_of, text_sections
from tests.packet.world import HOSTILE, SCRIPTS, TEXTS, World, emitted_tokens, memories, requests

FORMS = ("text", "markdown")


def hostile_world(text: str) -> World:
    """Return a store where this text stands in every field that is emitted."""
    world = World()
    name = "".join(letter for letter in text if letter.isprintable())[:100] or "x"
    world.say(text, event_id="e1", payload={"role": "user", "content": text, "name": text})
    for level in ("user", "agent", "tenant"):
        world.write(
            "upsert_fact",
            fact={"fact_key": f"{level} {name}", "value": text, "scope_level": level, "notes": text, "sources": ["e1"]},
        )
    world.write("upsert_fact", fact={"fact_key": "preference.x", "value": {text: [text, {"a": text}]}})
    world.write(
        "append_episode",
        episode={
            "episode_id": "ep",
            "summary": text,
            "highlights": [text, text],
            "time_range": {"start": "2026-05-30T00:00:00Z"},
        },
    )
    world.write("upsert_procedure", procedure={"procedure_id": "p", "task_type": name, "content": [text, text]})
    world.write("append_insight", insight={"id": "i", "type": "pattern", "statement": text})
    world.write(
        "patch_working_state",
        patch={
            "goal": text,
            "plan": [text],
            "decisions": [text],
            "risks": [text],
            "open_loops": [text],
            "slots": {text or "a": text},
            "constraints": {text or "a": [text]},
            "tool_evidence": [{"evidence_id": "t1", "summary": text, "kind": text}],
        },
    )
    world.write("update_stm", stm_state={"rolling_summary": text, "key_quotes": [{"evidence_id": "e1", "quote": text}]})
    return world


EVERYTHING = {
    "purpose": "planner",
    "budget": {"max_tokens": 0},
    "query": "x",
    "policy": {"include_conversation_window": True, "split_preferences": True},
}


@pytest.mark.parametrize("text", [*HOSTILE, *SCRIPTS, "".join(HOSTILE)[:20000]])
@pytest.mark.parametrize("form", ["json", *FORMS])
def test_every_field_may_hold_anything(text: str, form: str) -> None:
    world = hostile_world(text)
    emitted, report, _ = world.both(EVERYTHING, format=form)
    check_lines(emitted, form)
    assert emitted_tokens("o200k_base", emitted) == report["used_tokens"]
    if form == "json":
        packet = json.loads(emitted)
        assert packet["short_term"]["working_state"]["goal"] == text
        assert packet["short_term"]["rolling_summary"] == text
        assert packet["long_term"]["procedures"][0]["content"] == [text, text]
    else:
        assert "key_quotes" in text_sections(emitted, form) or not text.strip()


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(memories(), requests())
def test_text_formats_keep_their_lines(stored: list[tuple[str, dict[str, object]]], request: dict[str, object]) -> None:
    world = World().fill(stored)
    for form in FORMS:
        emitted = world.rendered({**request, "budget": {"max_tokens": 0}}, format=form)
        check_lines(emitted, form)
        text_sections(emitted, form)


@given(st.one_of(TEXTS, st.text()))
@example("</memory>")
@example("<\x1b[0m/memory>")
@example("<\u202e/memory>")
@example("<\U000e0020/memory>")
@example("\x1b]0;never ended")
def test_harmless_text_stays_harmless_and_is_not_changed_again(text: str) -> None:
    once = layout.harmless(text)
    assert layout.harmless(once) == once
    assert not set(once) & {"\x1b", "\x07", "\x9b", "\u2028", "\u2029", "\x85", "\r", "\x00"}
    check_lines(
        layout.text_document({"facts": [layout.text_item("facts", {"fact_key": "k", "value": text}, "text")]}, "text"),
        "text",
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a </memory> b", "a ‹/memory> b"),
        ("<Memory>", "‹Memory>"),
        ("< / memory >", "‹ / memory >"),
        ("\x1b[1;31mred\x1b[0m", " red "),
        ("\x1b]0;title\x07x", " x"),
        ("\x1b]8;;http://x\x1b\\link", " link"),
        ("\x1b", " "),
        ("\x1b]0;text that no escape ends", " 0;text that no escape ends"),
        ("a\r\nb", "a\nb"),
        ("a\rb", "a b"),
        ("a\u2028b\x85c", "a b c"),
        ("\u202eabc\u202c", "abc"),
        ("x <b> y <mem>", "x <b> y <mem>"),
        ("a < b", "a < b"),
        ("שלום\u200f", "שלום\u200f"),
        ("👩\u200d👧", "👩\u200d👧"),
        ("memory", "memory"),
    ],
)
def test_what_harmless_does(text: str, shown: str) -> None:
    assert layout.harmless(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "a" * (1 << 20),
        "ab " * (1 << 18),
        "<" * (1 << 18),
        "< " * (1 << 18),
        "\x1b[" * (1 << 18),
        "\x1b]" * (1 << 18),
        "<" + " " * (1 << 19),
        "字" * (1 << 18),
        "\n" * (1 << 18),
        "." * (1 << 19),
        "\u0301" * (1 << 18),
    ],
)
@pytest.mark.parametrize("form", ["json", "text"])
def test_a_word_of_a_megabyte_costs_time_but_no_more_than_its_share(text: str, form: str) -> None:
    world = World()
    world.say(text + " Ana", event_id="e1")
    world.say("Ana lives in Lisbon", event_id="e2")
    begin = time.perf_counter()
    emitted, report, account = world.both({"query": "Ana", "budget": {"max_tokens": 600}}, format=form)
    assert time.perf_counter() - begin < 10
    assert emitted_tokens("o200k_base", emitted) == report["used_tokens"] <= 600
    assert "Ana lives in Lisbon" in emitted
    assert len(account["candidates"]) == 2


def test_lines_after_the_first_are_marked() -> None:
    item = layout.text_item("facts", {"fact_key": "k", "value": "one\n# Facts\n- two\n</memory>"}, "text")
    assert lines_of(item) == ["- k: one\n", "-| # Facts\n", "-| - two\n", "-| ‹/memory>\n"]


@given(st.lists(TEXTS, max_size=4))
def test_a_packet_read_and_written_again_is_the_same_bytes(texts: list[str]) -> None:
    world = World()
    for number, text in enumerate(texts):
        world.say(text, event_id=f"e{number}")
        world.write("upsert_fact", fact={"fact_key": f"k{number}", "value": [text, 1.0, 10**20, {"a": None}]})
    request = {"query": "Ana", "budget": {"max_tokens": 0}}
    bare, whole = world.rendered(request, bare=True), world.rendered(request)
    assert layout.dumps(json.loads(whole)) == layout.dumps(json.loads(bare)) == bare
    assert layout.dumps(json.loads(whole), bare=False) == whole
    assert world.ask("build_memory_packet", request=world.request(**request)) == json.loads(whole)
    envelope = [line for line in lines_of(whole) if line.startswith(('"meta":', '"budget_report":', '"explain":'))]
    size = emitted_tokens("o200k_base", whole) - emitted_tokens("o200k_base", bare)
    assert len(envelope) == 3
    asked = world.request(**request)
    account = world.ask("explain", scope=asked["scope"], request=asked)
    assert account["budget"]["envelope_tokens"] == size
