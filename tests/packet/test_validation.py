"""What a wrong request is told: the field, its value, what is allowed, and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engram_core.errors import BadInput, ConfigError, EngramError, NotFound, TokenizerError, UnknownField
from engram_core.policy import Policies
from engram_core.shipped import path as shipped
from tests.packet.world import SCOPE, World


def refused(request: Any, **params: Any) -> EngramError:
    with pytest.raises(EngramError) as caught:
        World().ask("build_memory_packet", request=request, **params)
    return caught.value


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (
            {"purpose": "planer"},
            BadInput,
            ["request.purpose", "'planer'", "planner, tool, responder", "did you mean planner"],
        ),
        ({"purpos": "tool"}, UnknownField, ["'purpos'", "did you mean purpose"]),
        ({"budget": {"max_tokens": -1}}, BadInput, ["request.budget.max_tokens", "-1", "from 0 to"]),
        ({"budget": {"max_tokens": 1.5}}, BadInput, ["request.budget.max_tokens", "1.5", "a whole number"]),
        ({"budget": {"max_token": 5}}, UnknownField, ["'max_token'", "did you mean max_tokens"]),
        (
            {"budget": {"per_section": {"fact": 5}}},
            BadInput,
            ["request.budget.per_section", "fact", "did you mean facts"],
        ),
        (
            {"budget": {"per_section": {"facts": -5}}},
            BadInput,
            ["request.budget.per_section", "per_section.facts is -5", " 0"],
        ),
        ({"policy_id": "defualt"}, BadInput, ["policy_id is 'defualt'", "default", "did you mean default"]),
        ({"policy_id": "../secret"}, BadInput, ["policy_id is '../secret'"]),
        ({"policy": {"max_fact": 3}}, BadInput, ["max_fact", "did you mean max_facts"]),
        ({"policy": {"purposes": {"planner": {"weights": {"fact": {"usage": 0.5}}}}}}, BadInput, ["usage"]),
        ({"policy": {"max_facts": -3}}, BadInput, ["policy.max_facts", "-3", "from 0 to"]),
        ({"policy": {"max_facts": "many"}}, BadInput, ["policy.max_facts", "'many'", "whole number"]),
        (
            {"policy": {"purposes": {"responder": {"sections": {"fact": {"share": 1}}}}}},
            BadInput,
            ["fact", "did you mean facts"],
        ),
        (
            {"policy": {"purposes": {"responder": {"sections": {"facts": {"share": 2}}}}}},
            BadInput,
            ["share", "2", "from 0 to 1"],
        ),
        ({"policy": {"recipe": {"bm52": 1}}}, BadInput, ["bm52", "known are"]),
        ({"now": "2026-06-01T12:00:00"}, BadInput, ["request.now", "no time zone", "2026-06-01T12:00:00Z"]),
        ({"now": "yesterday"}, BadInput, ["request.now", "'yesterday'", "2026-01-31T09:30:00Z"]),
        ({"now": True}, BadInput, ["request.now is true", "2026-01-31T09:30:00Z"]),
        ({"cues": {"tags": "a"}}, BadInput, ["request.cues.tags", "'a'", "a list"]),
        ({"cues": {"tag": ["a"]}}, UnknownField, ["'tag'", "did you mean tags"]),
        (
            {"cues": {"time_range": {"start": "2026-02-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"}}},
            BadInput,
            ["request.cues.time_range", "before the start"],
        ),
        ({"query": 5}, BadInput, ["request.query", "5", "a text"]),
        ({"query": "\ud800"}, BadInput, ["lone surrogate"]),
        ({"task_type": ""}, BadInput, ["request.task_type", "empty", "at least 1 character"]),
        ({"persist": "yes"}, BadInput, ["request.persist", "'yes'", "true or false"]),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(
    given: dict[str, Any], kind: type[EngramError], words: list[str]
) -> None:
    error = refused({"scope": SCOPE, **given})
    assert isinstance(error, kind)
    for word in words:
        assert word in str(error), str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"format": "jsn"}, ["format is 'jsn'", "json, text, markdown"]),
        ({"part": "stabel"}, ["part is 'stabel'", "all, stable, volatile"]),
        ({"max_chars": 0}, ["max_chars is 0", "from 1"]),
        ({"max_chars": True}, ["max_chars is true", "from 1"]),
        ({"tokenizer": "o200k"}, ["'o200k'", "did you mean o200k_base"]),
        ({"tokenizer": "file:/x.json"}, ["file:/x.json", "o200k_base"]),
        ({"max_chars": 10}, ["max_chars is 10", "empty packet", "--format text"]),
    ],
)
def test_a_wrong_way_of_showing_is_told(given: dict[str, Any], words: list[str]) -> None:
    error = refused({"scope": SCOPE}, **given)
    assert isinstance(error, BadInput)
    for word in words:
        assert word in str(error), str(error)


def test_an_unknown_tokenizer_is_its_own_error() -> None:
    assert isinstance(refused({"scope": SCOPE}, tokenizer="gpt"), TokenizerError)


@pytest.mark.parametrize("request_", [None, [], "x", 5])
def test_a_request_that_is_no_object(request_: Any) -> None:
    assert "allowed is an object" in str(refused(request_))


def test_an_unknown_policy_with_overrides_is_a_label() -> None:
    packet = World().packet({"policy_id": "mine", "policy": {"max_facts": 3}})
    assert packet["meta"]["policy_id"] == packet["explain"]["policy_id"] == "mine"
    assert packet["explain"]["candidate_limits"]["max_facts"] == 3


def test_zero_tokens_are_no_limit() -> None:
    world = World()
    for number in range(80):
        world.say(f"Ana said thing number {number} " + "and more " * 20, event_id=f"e{number}")
    packet = world.packet({"query": "Ana", "budget": {"max_tokens": 0}})
    assert len(packet["short_term"]["key_quotes"]) == 80
    assert packet["budget_report"]["max_tokens"] == 0 and not packet["budget_report"]["omissions"]


def test_a_memory_that_is_not_there_cannot_be_explained() -> None:
    with pytest.raises(NotFound, match="memory 'nope' is not in this scope"):
        World().explained({}, memory_id="nope")
    with pytest.raises(NotFound, match="no packet was built"):
        World().ask("explain", scope=SCOPE)
    with pytest.raises(NotFound, match="build 'b_0' is not"):
        World().ask("explain", scope=SCOPE, build_id="b_0")


def test_a_policy_of_ones_own_names_only_what_it_changes(tmp_path: Path) -> None:
    (tmp_path / "default.toml").write_text("max_facts = 2\n")
    (tmp_path / "terse.toml").write_text("max_episodes = 1\n[purposes.responder.sections]\nfacts = {share = 0.9}\n")
    policies = Policies([str(tmp_path), shipped("policies")])
    assert policies.load("default", {}).max_facts == 2
    terse = policies.load("terse", {})
    assert (terse.max_facts, terse.max_episodes) == (2, 1)
    assert terse.purposes["responder"].sections["facts"].share == 0.9
    assert terse.purposes["responder"].sections["key_quotes"].share == 0.5
    assert policies.load("terse", {"max_facts": 9}).max_facts == 9
    assert terse.digest != policies.load("default", {}).digest


def test_a_policy_file_with_a_typo_names_the_file_and_the_field(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("max_fcts = 2\n")
    (tmp_path / "worse.toml").write_text("max_facts = \n")
    policies = Policies([str(tmp_path), shipped("policies")])
    with pytest.raises(ConfigError, match=r"bad.*max_fcts.*max_facts"):
        policies.load("bad", {})
    with pytest.raises(ConfigError, match=r"worse\.toml.*line 1"):
        policies.load("worse", {})


def test_a_refused_request_is_json_safe() -> None:
    assert json.dumps(str(refused({"scope": SCOPE, "purpose": "\u2028" * 500})))
