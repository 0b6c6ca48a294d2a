"""Packets, explanations and searches as a person asks for them."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Person


@pytest.fixture
def told(engram: Person) -> Person:
    for text in ("Ada moved to Lyon in May", "the cat is called Mia", "we deploy on Fridays"):
        engram.done("append", text)
    engram.done("fact", "set", "city", "Lyon")
    return engram


def test_a_packet_holds_what_was_asked_for_within_its_budget(told: Person) -> None:
    packet = told.done("packet", "-q", "where does Ada live", "--max-tokens", "400").json
    assert packet["meta"]["purpose"] == "responder"
    assert packet["budget_report"]["used_tokens"] <= 400
    assert packet["short_term"]["key_quotes"][0]["quote"] == "Ada moved to Lyon in May"


def test_a_packet_in_text_is_ready_for_a_prompt(told: Person) -> None:
    text = told.done("packet", "-q", "where does Ada live", "--format", "text").out
    assert "Ada moved to Lyon in May" in text and not text.startswith("{")
    assert len(told.done("packet", "-q", "Ada", "--format", "text", "--max-chars", "120").out) <= 120


def test_every_option_reaches_the_packet(told: Person) -> None:
    meta = told.done("packet", "--purpose", "planner", "--task-type", "deploy", "--tag", "t", "--entity", "Ada",
                     "--keyword", "Lyon", "--now", "2027-01-01T00:00:00Z", "--policy", "default",
                     "--tokenizer", "cl100k_base", "--max-tokens", "900").json["meta"]
    assert (meta["purpose"], meta["task_type"], meta["tokenizer"]) == ("planner", "deploy", "cl100k_base")
    assert meta["generated_at"].startswith("2027-01-01T00:00:00")
    assert meta["cues"] == {"tags": ["t"], "entities": ["Ada"], "keywords": ["Lyon"], "time_range": None}
    assert meta["budget"]["max_tokens"] == 900
    assert told.done("packet", "--no-limit").json["meta"]["budget"]["max_tokens"] == 0


def test_the_same_request_at_the_same_time_gives_the_same_bytes(told: Person) -> None:
    asked = ("packet", "-q", "Lyon", "--now", "2027-01-01T00:00:00Z", "--no-persist")
    assert told.done(*asked).out == told.done(*asked).out


@pytest.mark.parametrize(("args", "code", "said"), [
    (("--max-tokens", "3"), 65, "max_tokens is 3"),
    (("--max-tokens", "0"), 2, "--no-limit"),
    (("--max-tokens", "-5"), 2, "from 1 to 100000000"),
    (("--max-tokens", "many"), 2, "many"),
    (("--no-limit", "--max-tokens", "5"), 2, "exclude each other"),
    (("--purpose", "responde"), 65, "responde"),
    (("--format", "xml"), 65, "xml"),
    (("--part", "half"), 65, "half"),
    (("--policy", "absent"), 65, "absent"),
    (("--tokenizer", "absent"), 65, "absent"),
    (("--now", "2027-01-01T00:00:00"), 65, "2027-01-01T00:00:00"),
])
def test_a_wrong_request_is_refused_in_one_line(told: Person, args: tuple[str, ...], code: int, said: str) -> None:
    answer = told("packet", *args)
    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err and answer.err.count("\n") == 1


def test_a_budget_that_is_too_small_is_answered_with_what_the_command_takes(told: Person) -> None:
    found = told("packet", "-q", "cat", "--max-tokens", "5")
    assert found.code == 65 and "or take --format text" in found.err
    found = told("explain", "-q", "cat", "--max-tokens", "5")
    assert found.code == 65 and "give at least" in found.err and "--format" not in found.err
    assert told("packet", "-q", "cat", "--max-tokens", "5", "--format", "text").code == 0
    for command in ("packet", "explain"):
        found = told(command, "-q", "cat", "--tag", "")
        assert found.code == 65 and "tags[0] is empty" in found.err
    assert "event.tags[0] is empty" in told("append", "--tag", "", "x").err


def test_the_last_packet_is_explained_or_any_by_its_id(told: Person) -> None:
    first = told.done("packet", "-q", "where does Ada live").json["meta"]["build_id"]
    told.done("packet", "-q", "cat")
    assert told.done("explain", "--json").json["query"] == "cat"
    found = told.done("explain", first, "--json").json
    assert (found["schema"], found["query"]) == ("engram.explain/1", "where does Ada live")
    plain = told.done("explain", first).out
    assert "where does Ada live" in plain and "Ada moved to Lyon in May" in plain and "\x1b" not in plain
    assert told("explain", "absent").code == 1


def test_one_memorys_arithmetic_is_shown(told: Person) -> None:
    id = told.done("append", "Ada speaks French").out.strip()
    told.done("packet", "-q", "what does Ada speak")
    assert id in told.done("explain", "--memory", id).out
    assert told("explain", "--memory", "absent").code == 1


def test_a_packet_can_be_explained_without_being_stored(told: Person) -> None:
    told.done("packet", "-q", "cat")
    assert told.done("explain", "-q", "Lyon", "--purpose", "planner", "--json").json["query"] == "Lyon"
    assert told.done("explain", "--json").json["query"] == "cat"
    assert told("explain", "some-id", "-q", "Lyon").code == 2


def test_before_the_first_packet_explain_says_what_to_type(engram: Person) -> None:
    answer = engram("explain")
    assert "engram packet" in answer.err + answer.out


def test_a_search_lists_the_best_first(told: Person) -> None:
    rows = [row.split("\t") for row in told.done("search", "where does Ada live").out.splitlines()]
    assert rows[0][1:3] == ["event", "Ada moved to Lyon in May"]
    assert [float(row[0]) for row in rows] == sorted((float(row[0]) for row in rows), reverse=True)
    hits = told.done("search", "Lyon", "--kind", "fact", "--json").json["hits"]
    assert {hit["kind"] for hit in hits} == {"fact"}
    assert len(told.done("search", "Lyon", "--limit", "1", "--ndjson").lines) == 1
    assert told.done("search", "-", stdin="Lyon\n").out != ""
