"""What a budget promises, over random stores, policies and texts in many scripts, counted in the emitted bytes."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engram_core import tokens
from engram_core.errors import BudgetTooSmall
from engram_core.recall.budget import CUT_TOKENS
from engram_core.recall.excerpts import quote_sentences
from engram_core.sections import PURPOSES
from tests.packet.emitted import check_lines, ids_in, json_sections, text_sections
from tests.packet.world import FORMATS, JSON, TOKENIZERS, World, emitted_tokens, memories, requests

slow = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
BUDGET_REASONS = ("budget_section", "budget_total")
RULES = {"full": 0, "short": 1, "reference": 2}


def skeleton(form: str, tokenizer: str) -> int:
    """Return what the empty packet takes."""
    return emitted_tokens(
        tokenizer, World().rendered({"budget": {"max_tokens": 0}}, format=form, tokenizer=tokenizer, bare=True)
    )


def built(world: World, request: JSON, form: str, tokenizer: str) -> tuple[str, JSON, JSON] | None:
    """Build a packet, or see that the budget is rightly refused."""
    try:
        return world.both(request, format=form, tokenizer=tokenizer)
    except BudgetTooSmall as error:
        least = skeleton(form, tokenizer)
        assert request["budget"]["max_tokens"] < least
        assert str(least) in error.message
        return None


@slow
@given(memories(), requests(), FORMATS, TOKENIZERS)
def test_the_total_and_every_section_limit_hold_and_the_report_is_exact(
    stored: list[tuple[str, JSON]], request: JSON, form: str, tokenizer: str
) -> None:
    found = built(World().fill(stored), request, form, tokenizer)
    if found is None:
        return
    text, report, _ = found
    check_lines(text, form)
    most = request["budget"]["max_tokens"]
    used = emitted_tokens(tokenizer, text)
    assert not most or used <= most
    assert report["used_tokens"] == report["used_tokens_est"] == used
    usage = recounted(text, form, tokenizer)
    assert report["section_usage"] == usage
    if form == "json":
        empty = skeleton(form, tokenizer) - (tokenizer == "bytes" and '"allow_in_responder":true' in text)
        assert sum(usage.values()) + empty == used
    limits = dict(request["budget"].get("per_section", {}))
    if "insight" in limits:
        limits["insights"] = min(limits.pop("insight"), limits.get("insights", 10**9))
    for section, limit in limits.items():
        assert usage.get(section, 0) <= limit
        assert limit or section not in usage


def recounted(text: str, form: str, tokenizer: str) -> dict[str, int]:
    """Count the lines of every section by themselves."""
    if form == "json":
        lines, empty = json_sections(text)
        return {
            section: emitted_tokens(tokenizer, "".join(own))
            - emitted_tokens(tokenizer, "".join(empty.get(section, [])))
            for section, own in lines.items()
        }
    return {section: emitted_tokens(tokenizer, "".join(own)) for section, own in text_sections(text, form).items()}


@slow
@given(memories(), requests(), FORMATS)
def test_every_memory_is_accounted_for_once(stored: list[tuple[str, JSON]], request: JSON, form: str) -> None:
    world = World().fill(stored)
    found = built(world, request, form, "o200k_base")
    if found is None:
        return
    text, report, account = found
    rows = account["candidates"]
    for kind, counts in account["counts"].items():
        of_kind = [row for row in rows if row["kind"] == kind]
        assert counts["candidates"] == len(of_kind)
        assert counts["total"] == counts["candidates"] + counts["not_ranked"] + sum(counts["filtered"].values())
        if kind in ("event", "fact", "episode", "procedure", "insight"):
            assert counts["total"] == stored_rows(world, kind)
            assert len(of_kind) <= request["policy"].get("max_total_candidates", 100)
    kept = [row for row in rows if row["outcome"] != "omitted"]
    assert len(report["omissions"]) == len(rows) - len(kept)
    assert all(row["reason"] for row in rows if row["outcome"] == "omitted")
    assert not any(row["reason"] for row in kept)
    if form == "json":
        named = {
            (row["section"], row["id"])
            for row in kept
            if row["section"] not in ("working_state", "rolling_summary", "open_loops")
        }
        assert ids_in(json.loads(text)) == named
    by_section = {one["section"]: one for one in account["budget"]["sections"]}
    for section, one in by_section.items():
        outcomes = [row["outcome"] for row in rows if row["section"] == section]
        if section != "citations":
            assert (one["kept"], one["omitted"]) == (outcomes.count("kept"), outcomes.count("omitted"))
            assert one["degraded"] == sum(outcome.startswith("degraded:") for outcome in outcomes)


def stored_rows(world: World, kind: str) -> int:
    """Return how many memories of a kind the layers of the scope hold."""
    owners = [("t", "u", "a")] + ([("t", "", "a"), ("t", "", "")] if kind not in ("event", "insight") else [])
    return sum(len(world.engine.store.reads.memories(kind, owner, ("seq",))) for owner in owners)


@slow
@given(memories(), requests(), FORMATS)
def test_nothing_omitted_for_budget_would_have_fitted_nor_gave_way_to_a_lesser_one(
    stored: list[tuple[str, JSON]], request: JSON, form: str
) -> None:
    found = built(World().fill(stored), request, form, "o200k_base")
    if found is None or not request["budget"]["max_tokens"]:
        return
    _, _, account = found
    charged = charge(account, form)
    left = request["budget"]["max_tokens"] - account["budget"]["skeleton_tokens"] - sum(charged.values())
    limits = {one["section"]: one["limit"] for one in account["budget"]["sections"] if one["limit"] is not None}
    if charged and form != "json":
        left -= wrapper(form)
    rules = purpose_rules(request)
    rows = sorted((row for row in account["candidates"] if leads(row)), key=lambda row: row["rank"])
    for at, row in enumerate(rows):
        if row["reason"] not in BUDGET_REASONS:
            continue
        section = row["section"]
        shortest = shortest_allowed(row, rules, form, account["query"])
        room = left if section not in limits else min(left, limits[section] - charged.get(section, 0))
        opening = heading(section, form) if section not in charged and form != "json" else 0
        opening_all = wrapper(form) if not charged and form != "json" else 0
        assert shortest + opening > (room if opening_all == 0 else min(room, left - opening_all)), row
        for lesser in rows[at + 1 :]:
            if lesser["section"] == section and lesser["outcome"] != "omitted":
                assert max(1, lesser["used_tokens"]) < row_shortest(row, rules), (row, lesser)


def leads(row: JSON) -> bool:
    return "unit" not in row or row["unit"]["lead"] == row["id"]


def charge(account: JSON, form: str) -> dict[str, int]:
    """Return what the fit charged each section for what it kept: the larger of an item's two counts."""
    charged: dict[str, int] = {}
    for row in account["candidates"]:
        if row["outcome"] != "omitted":
            opening = heading(row["section"], form) if form != "json" and row["section"] not in charged else 0
            cost = max(1, row["used_tokens"]) if leads(row) else 0
            charged[row["section"]] = charged.get(row["section"], 0) + opening + cost
    return charged


def heading(section: str, form: str) -> int:
    from engram_core import layout

    return emitted_tokens("o200k_base", layout.heading(section, form))


def wrapper(form: str) -> int:
    from engram_core import layout

    return emitted_tokens("o200k_base", layout.OPENING) + emitted_tokens("o200k_base", layout.CLOSING)


def purpose_rules(request: JSON) -> dict[str, str]:
    over = request["policy"].get("purposes", {}).get(request["purpose"], {}).get("sections", {})
    return {section: rule["max_form"] for section, rule in over.items()}


def row_shortest(row: JSON, rules: dict[str, str]) -> int:
    costs: list[int] = list(row["tokens"].values())
    rule = rules.get(row["section"], "short")
    if rule == "full":
        costs = costs[:1]
    elif rule == "short" and row["kind"] in ("event", "episode", "quote") and len(costs) > 1:
        costs = costs[:-1]
    return max(1, min(costs))


def shortest_allowed(row: JSON, rules: dict[str, str], form: str, query: Any) -> int:
    """Return the tokens of the shortest form, of a long quote that was never cut those of the sentences that matter."""
    cost = row_shortest(row, rules)
    if (
        row["kind"] != "event"
        or len(row["tokens"]) > 1
        or "unit" in row
        or cost <= CUT_TOKENS
        or len(row["text"]) >= 200
    ):
        return cost
    count = tokens.get("o200k_base").count
    cut = quote_sentences(row["text"], row.get("matched", []), CUT_TOKENS, count)
    return cost if rules.get("key_quotes") == "full" else min(cost, cost - count(row["text"]) + count(cut))


MARKS = [f"zq{number}xw" for number in range(12)]


@slow
@given(st.data())
def test_nothing_dropped_survives_elsewhere(data: st.DataObject) -> None:
    world = World()
    for number, mark in enumerate(MARKS):
        if number % 2:
            world.say(f"{mark} Ana " + "word " * data.draw(st.integers(0, 60)), event_id=f"e{number}")
        else:
            world.write(
                "upsert_fact", fact={"fact_key": f"k{number}", "value": f"{mark} Ana", "sources": [f"e{number - 1}"]}
            )
    world.write(
        "patch_working_state",
        patch={
            "goal": "zqgoalxw",
            "open_loops": ["zqloopxw"],
            "risks": ["zqriskxw"],
            "tool_evidence": [{"evidence_id": f"t{at}", "summary": f"zqtool{at}xw"} for at in range(5)],
        },
    )
    request = {
        "purpose": data.draw(st.sampled_from(PURPOSES)),
        "query": "Ana",
        "budget": {"max_tokens": data.draw(st.integers(190, 900))},
    }
    text, _, account = world.both(request)
    packet = json.loads(text)
    rows = {(row["kind"], row["id"]): row for row in account["candidates"]}
    cited = {source for fact in packet["long_term"]["facts"] for source in fact.get("sources", [])}
    for row in rows.values():
        for mark in [word for word in row["text"].replace('"', " ").split() if word.startswith("zq")]:
            if row["outcome"] == "omitted" and not (row["kind"] == "event" and row["id"] in cited):
                assert mark not in text
    assert {citation["id"] for citation in packet["citations"]} <= cited
    assert "zqtool0xw" not in text and "zqtool1xw" not in text


@slow
@given(memories(), requests(), FORMATS, st.integers(0, 3))
def test_the_same_store_request_and_now_give_the_same_bytes_however_the_index_was_made(
    stored: list[tuple[str, JSON]], request: JSON, form: str, pins: int
) -> None:
    world = World()
    for at, memory in enumerate(stored):
        world.fill([memory])
        if at % 7 == 3:  # the index follows the writes instead of being made at the end
            world.both({"budget": {"max_tokens": 0}, "query": "Ana", "persist": False})
    facts = world.ask("list_facts", scope=world.request()["scope"])["facts"]
    for fact in facts[:pins]:
        world.write("set_pinned", kind="fact", id=fact["fact_id"], pinned=True)
        world.both({"budget": {"max_tokens": 0}, "persist": False})
        world.write("set_pinned", kind="fact", id=fact["fact_id"], pinned=False)
    if stored and stored[0][0] == "append_event":
        world.write("forget", selector={"ids": ["e0"]})
    try:
        first = world.rendered(request, format=form)
    except BudgetTooSmall:
        return
    assert world.rendered(request, format=form) == first
    world.forget_index()
    assert world.rendered(request, format=form) == first


@pytest.mark.parametrize("tokenizer", ["o200k_base", "cl100k_base", "bytes", "estimate"])
@pytest.mark.parametrize("form", ["json", "text", "markdown"])
def test_the_minimum_is_the_skeleton(form: str, tokenizer: str) -> None:
    world = World()
    world.say("Ana moved to Lisbon")
    least = tokens.get(tokenizer).count(World().rendered({}, format=form, tokenizer=tokenizer, bare=True))
    assert (least == 0) == (form != "json")
    request: JSON = {"query": "Ana", "budget": {"max_tokens": max(1, least)}}
    assert tokens.get(tokenizer).count(world.rendered(request, format=form, tokenizer=tokenizer, bare=True)) == least
    if least:
        request["budget"]["max_tokens"] = least - 1
        with pytest.raises(BudgetTooSmall, match=rf"max_tokens is {least - 1}.* takes {least} tokens in {form}"):
            world.rendered(request, format=form, tokenizer=tokenizer)


@pytest.mark.parametrize("text", [
    "budgetmark " + "plain words without an end " * 200,
    "budgetmark\n" + "\n".join(f"line {n} of the log" for n in range(250)),
    " ".join(f"Sentence {n} of the budgetmark tells a little." for n in range(150))], ids=["run-on", "log", "prose"])
def test_one_long_memory_uses_the_budget(text: str) -> None:
    world = World()
    world.say(text, event_id="long")
    for most in (400, 1000):
        report = world.packet({"query": "budgetmark", "budget": {"max_tokens": most}})["budget_report"]
        assert [one["id"] for one in report["degradations"]] == ["long"]
        assert report["used_tokens"] > 186 + 60
    assert report["used_tokens"] > 500


LONG = "Ana went on and on about this and that without end. " * 12


@pytest.mark.parametrize("form", ["json", "text", "markdown"])
@pytest.mark.parametrize("most", [500, 900, 1500, 3000])
def test_long_quotes_are_cut_until_nothing_more_fits(form: str, most: int) -> None:
    """However many are cut at once, the budget is not left half empty beside quotes whose best sentences would fit."""
    world = World()
    for number in range(90):
        world.say(f"{number}. {LONG} Ana bought lamp {number} in Lisbon. {LONG}", event_id=f"e{number}")
    _, report, account = world.both({"query": "Ana lamp Lisbon", "budget": {"max_tokens": most}}, format=form)
    omitted = [row for row in account["candidates"] if row["reason"] in BUDGET_REASONS]
    assert omitted and report["used_tokens"] > 0.8 * most
    left = most - report["used_tokens"]
    assert all(row_shortest(row, {}) > left for row in omitted if len(row["tokens"]) > 1)
    assert all(len(row["tokens"]) > 1 for row in omitted) or left < CUT_TOKENS


@pytest.mark.parametrize("form", ["json", "text"])
def test_one_long_turn_does_not_take_the_room_of_several(form: str) -> None:
    """It is quoted in part beside others, and whole where nothing else wants the room."""
    def quoted(others: int, most: int) -> tuple[str, int]:
        world = World()
        world.say(f"{LONG * 4} Ana bought a lamp in Lisbon, a green lamp. {LONG * 4}", event_id="long")
        for number in range(others):
            world.say(f"{number}. {LONG} Ana asked Bert {number} about Lisbon.", event_id=f"e{number}")
        _, _, account = world.both({"query": "Ana lamp Lisbon", "budget": {"max_tokens": most}}, format=form)
        kept = [row for row in account["candidates"] if row["outcome"] != "omitted"]
        return next(row["outcome"] for row in kept if row["id"] == "long"), len(kept)

    assert quoted(0, 1500) == ("kept", 1)
    outcome, count = quoted(60, 1500)
    assert outcome == "degraded:sentences" and count > 12


@pytest.mark.parametrize("seed", range(40))
def test_a_packet_is_the_same_when_it_is_asked_for_again(seed: int) -> None:
    """What the first build finds out about long turns that cannot be cut changes nothing in the next one."""
    chance, world = random.Random(seed), World()
    for at in range(chance.randint(15, 40)):
        if chance.random() < 0.7:
            world.say("tram " * chance.randint(1, 6) + "word " * chance.randint(90, 120))
        else:
            cut = f"Nothing else was said on day {at}. " * chance.randint(10, 40)
            world.say("A tram came. " * chance.randint(1, 3) + cut)
    request = {"query": "tram", "budget": {"max_tokens": chance.randint(300, 1500)}, "persist": False}
    first, again = (
        world.rendered(request, format="markdown", tokenizer="cl100k_base", bare=True) for _ in range(2)
    )
    assert first == again
