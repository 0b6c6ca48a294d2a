"""Search through an engine with a database of its own: order, budgets, excerpts, kinds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engram_core import tokens
from engram_core.daemon.handlers import Engine
from engram_core.errors import EngramError
from engram_core.settings import load

SCOPE = {"tenant_id": "default", "user_id": "ada", "agent_id": "cli", "session_id": "s1", "run_id": "r1"}
TALK = [
    ("user", "My sister Ana moved to Lisbon last week."),
    ("assistant", "How does she like it there?"),
    ("user", "She loves the trams, and her flat looks over the river."),
    ("user", "We should buy a new toaster."),
    ("user", "The toaster is broken since Monday."),
    ("assistant", "A toaster with four slots costs about sixty euros."),
]
KEEPER = "The lighthouse keeper was Olga."
LONG = " ".join(f"Chapter {number} tells of harbour {number} and of the ships that lay there." for number in range(60))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Give an engine that holds a short talk, a long text and a fact."""
    found = Engine(load(env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]}), str(tmp_path / "engram.db"))
    for number, (role, text) in enumerate(TALK):
        write(found, "append_event", event={"event_id": f"e{number}", "scope": SCOPE, "ts": "2026-03-02T10:00:00Z",
                                            "payload": {"role": role, "content": text}})
    write(found, "append_event", event={"event_id": "long", "scope": SCOPE, "ts": "2026-03-03T10:00:00Z",
                                        "payload": {"role": "user", "content": f"{LONG} {KEEPER} {LONG}"}})
    write(found, "upsert_fact", scope=SCOPE, fact={"fact_key": "kitchen.toaster", "value": "four slots"})
    yield found
    found.close()


def write(engine: Engine, method: str, **params: Any) -> None:
    """Run one writing operation, raising its error."""
    result = engine.write([(method, {**params, "at_ms": 1_772_445_600_000} if "event" in params else params)])[0]
    if isinstance(result, EngramError):
        raise result


def search(engine: Engine, query: str, **params: Any) -> list[dict[str, Any]]:
    """Return the hits of a search."""
    hits = json.loads(engine.read("search", {"scope": SCOPE, "query": query, **params}))["hits"]
    assert isinstance(hits, list)
    return hits


def test_best_first_with_what_made_it_so(engine: Engine) -> None:
    hits = search(engine, "where does Ana live", kinds=["event"])
    assert hits[0]["id"] == "e0"
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    for hit in hits:
        assert sum(hit["parts"].values()) == pytest.approx(hit["score"], abs=1e-4)
    assert "Ana" in hits[0]["matched"]
    assert hits[0]["text"] == TALK[0][1]


def test_only_the_wanted_kinds_and_as_many_as_wanted(engine: Engine) -> None:
    assert {hit["kind"] for hit in search(engine, "toaster")} == {"event", "fact"}
    assert [hit["kind"] for hit in search(engine, "toaster", kinds=["fact"])] == ["fact"]
    assert len(search(engine, "toaster", limit=2)) == 2
    assert len(search(engine, "toaster", limit=2, max_tokens=1000)) == 2


def test_nothing_is_found_for_words_nobody_said(engine: Engine) -> None:
    assert search(engine, "zeppelin") == []
    assert search(engine, "zeppelin", max_tokens=500) == []


@pytest.mark.parametrize("budget", [1, 15, 40, 60, 100, 250, 1000])
def test_the_texts_of_a_budget_fit_into_it(engine: Engine, budget: int) -> None:
    count = tokens.get("o200k_base").count
    for query in ("toaster", "Ana and the toaster in Lisbon", "lighthouse keeper", "harbour ships"):
        hits = search(engine, query, max_tokens=budget)
        assert sum(count(hit["text"]) for hit in hits) <= sum(hit["tokens"] for hit in hits) <= budget
        assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)


def test_more_budget_finds_at_least_as_much_of_a_short_talk(engine: Engine) -> None:
    found = [len(search(engine, "toaster", kinds=["event"], max_tokens=budget)) for budget in (20, 40, 80, 400)]
    assert found == sorted(found)
    assert found[0] >= 1


def test_room_that_is_left_goes_to_a_short_text_far_down_the_order(engine: Engine) -> None:
    padding = "while we walked along the shore and then had soup with bread and butter at the small inn by the mill"
    texts = {"best": f"Lanterns flew with the kite at the festival: kite, lanterns, festival, {padding} and {padding}.",
             **{f"middle{at}": f"The kite festival, number {at}, {padding}, {padding}." for at in range(40)},
             "short": "Some kite or other."}
    for number, (id_, text) in enumerate(texts.items()):
        write(engine, "append_event", event={"event_id": id_, "scope": {**SCOPE, "session_id": f"s{number}"},
                                             "ts": "2026-03-02T10:00:00Z",
                                             "payload": {"role": "user", "content": text}})
    hits = search(engine, "kite festival lanterns", kinds=["event"], max_tokens=95)
    assert [hit["id"] for hit in hits] == ["best", "short"]


def test_a_long_text_is_cut_to_what_matters_only_within_a_budget(engine: Engine) -> None:
    [cut] = [hit for hit in search(engine, "lighthouse keeper", max_tokens=300) if hit["id"] == "long"]
    assert KEEPER in cut["text"]
    assert len(cut["text"]) < 1200
    [whole] = [hit for hit in search(engine, "lighthouse keeper") if hit["id"] == "long"]
    assert whole["text"] == f"{LONG} {KEEPER} {LONG}"


def test_what_is_no_longer_valid_is_not_found(engine: Engine) -> None:
    write(engine, "upsert_fact", scope=SCOPE, fact={"fact_key": "guest", "value": "Ana stays over Easter",
                                                    "validity": {"valid_to": "2026-04-06T00:00:00Z"}})
    for now, found in (("2026-04-01T00:00:00Z", True), ("2026-05-01T00:00:00Z", False)):
        hits = search(engine, "who stays over Easter", kinds=["fact"], now=now)
        assert any("Easter" in hit["text"] for hit in hits) is found


def test_a_forgotten_memory_is_not_found(engine: Engine) -> None:
    assert "e0" in {hit["id"] for hit in search(engine, "Lisbon", max_tokens=500)}
    write(engine, "forget", scope=SCOPE, selector={"ids": ["e0"]})
    assert "e0" not in {hit["id"] for hit in search(engine, "Lisbon", max_tokens=500)}
