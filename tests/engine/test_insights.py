"""Insights: they live in a run, move from state to state, expire, and may become lasting memories."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engram_core.errors import BadInput, Conflict, NotFound, UnknownField
from tests.engine.conftest import SCOPE, Asked

INSIGHT = {"id": "i1", "type": "pattern", "statement": "deploys fail on Fridays", "sources": ["e1"]}
HOUR = 3_600_000


def add(memory: Asked, **fields: Any) -> Any:
    return memory.write("append_insight", insight={**INSIGHT, **fields})


def change(memory: Asked, state: str = "", id: str = "i1", **params: Any) -> Any:
    return memory.write("update_insight", id=id, patch={"validation_state": state} if state else {}, **params)


def listed(memory: Asked, **wanted: Any) -> list[dict[str, Any]]:
    return list(memory.read("list_insights", insight_filter=wanted)["insights"])


def test_defaults(memory: Asked) -> None:
    memory.write("append_insight", insight={"type": "strategy", "statement": "s"})
    (insight,) = listed(memory)
    assert {name: insight[name] for name in ("trigger", "confidence", "validation_state", "tests_suggested", "sources",
                                             "expires_at")} == {
        "trigger": "synthesis", "confidence": 0.3, "validation_state": "unvalidated", "tests_suggested": [],
        "sources": [], "expires_at": "run_end"}


def test_the_same_insight_again_is_a_duplicate_even_after_it_changed(memory: Asked) -> None:
    assert not add(memory)["duplicate"]
    assert add(memory)["duplicate"]
    change(memory, "testing")
    assert add(memory)["duplicate"]
    assert listed(memory)[0]["validation_state"] == "testing"
    with pytest.raises(Conflict, match="insight 'i1' already exists with other content"):
        add(memory, statement="deploys fail on Mondays")


def test_an_id_may_be_used_in_every_run(memory: Asked) -> None:
    add(memory)
    other = {**SCOPE, "run_id": "r2"}
    assert not memory.write("append_insight", scope=other, insight={**INSIGHT, "statement": "other"})["duplicate"]
    assert [one["statement"] for one in listed(memory)] == [INSIGHT["statement"]]


@pytest.mark.parametrize("path", [["testing", "validated"], ["testing", "rejected"], ["validated"], ["rejected"],
                                  ["validated", "rejected", "testing", "validated"], ["testing", "testing"]])
def test_states_that_may_follow(memory: Asked, path: list[str]) -> None:
    add(memory)
    for state in path:
        assert change(memory, state)["insight"]["validation_state"] == state


@pytest.mark.parametrize("path", [["testing", "unvalidated"], ["validated", "testing"], ["rejected", "validated"]])
def test_states_that_may_not(memory: Asked, path: list[str]) -> None:
    add(memory)
    *before, last = path
    for state in before:
        change(memory, state)
    with pytest.raises(Conflict, match=f"insight 'i1' is {before[-1]}; it can become .*, not {last}"):
        change(memory, last)
    assert listed(memory)[0]["validation_state"] == before[-1]


def test_other_fields_can_be_patched(memory: Asked) -> None:
    add(memory)
    memory.write("update_insight", id="i1", patch={"confidence": 0.9, "statement": "new", "tests_suggested": ["look"],
                                                   "expires_at": "2030-01-01T00:00:00Z"})
    (insight,) = listed(memory)
    assert (insight["confidence"], insight["statement"], insight["tests_suggested"], insight["expires_at"]) == (
        0.9, "new", ["look"], "2030-01-01T00:00:00Z")


def test_ending_the_run_expires_what_lives_until_then(memory: Asked) -> None:
    add(memory)
    add(memory, id="i2", statement="b", expires_at="2999-01-01T00:00:00Z")
    assert memory.write("end_run") == {"expired_insights": 1}
    assert [(one["id"], one.get("expired", False)) for one in listed(memory)] == [("i1", True), ("i2", False)]
    assert memory.write("end_run") == {"expired_insights": 0}


def test_an_insight_expires_at_its_time(memory: Asked) -> None:
    memory.at(HOUR)
    add(memory, expires_at="1970-01-01T02:00:00Z")
    assert "expired" not in listed(memory)[0]
    memory.at(2 * HOUR)
    assert listed(memory)[0]["expired"] is True


def test_expired_and_rejected_ones_are_in_no_packet(memory: Asked) -> None:
    memory.at(HOUR)
    add(memory, id="ended", expires_at="1970-01-01T02:00:00Z")
    add(memory, id="wrong", statement="it is the moon")
    add(memory, id="alive", statement="it is the tide")
    change(memory, "rejected", id="wrong")
    memory.at(2 * HOUR)
    patterns = memory.packet("why", now=memory.clock)["insight"]["patterns"]
    assert [one["id"] for one in patterns] == ["alive"]


@pytest.mark.parametrize("flag", [False, True])
def test_the_responder_never_sees_what_is_not_validated(memory: Asked, flag: bool) -> None:
    add(memory)
    add(memory, id="i2", statement="deploys fail when it rains")
    change(memory, "validated", id="i2")
    packet = json.dumps(memory.packet("deploys", purpose="responder", policy={"allow_insights_in_responder": flag}))
    assert "Fridays" not in packet
    assert ("rains" in packet) is flag


def test_what_is_listed_is_accepted_back(memory: Asked) -> None:
    add(memory)
    add(memory, id="i2", statement="b", tests_suggested=["x"])
    change(memory, "testing", id="i2")
    memory.write("end_run")
    before = listed(memory)
    assert before[0]["expired"]
    for insight in before:
        assert memory.write("append_insight", insight=insight)["duplicate"]
    assert listed(memory) == before


def test_filters(memory: Asked) -> None:
    for number in range(4):
        add(memory, id=f"i{number}", statement=str(number))
    change(memory, "validated", id="i1")
    assert [one["id"] for one in listed(memory, validation_state=["validated"])] == ["i1"]
    assert [one["id"] for one in listed(memory, limit=2)] == ["i2", "i3"]


@pytest.mark.parametrize(("kind", "id_field", "lister"), [
    ("fact", "fact_id", "list_facts"), ("procedure", "procedure_id", "list_procedures"),
    ("episode", "episode_id", "list_episodes")])
def test_a_validated_insight_becomes_a_memory_that_cites_it(memory: Asked, kind: str, id_field: str, lister: str,
                                                            ) -> None:
    add(memory)
    with pytest.raises(Conflict, match="insight 'i1' is unvalidated; only a validated one is promoted"):
        change(memory, promote=kind)
    done = change(memory, "validated", promote=kind)
    assert done["promoted"]["kind"] == kind
    (made,) = memory.read(lister)[lister.removeprefix("list_")]
    assert made[id_field] == done["promoted"]["id"]
    assert made["sources"] == ["e1", "i1"]
    assert "deploys fail on Fridays" in json.dumps(made)
    assert change(memory, promote=kind)["promoted"] == done["promoted"]  # a repeated request does it once
    assert len(memory.read(lister)[lister.removeprefix("list_")]) == 1


def test_a_failed_promotion_changes_nothing(memory: Asked) -> None:
    add(memory)
    with pytest.raises(BadInput, match=r"promoted.confidence is 7"):
        change(memory, "validated", promote="fact", promoted={"confidence": 7})
    assert listed(memory)[0]["validation_state"] == "unvalidated"


def test_fields_of_the_promoted_memory_can_be_given(memory: Asked) -> None:
    add(memory, id="i" * 110)
    change(memory, "validated", id="i" * 110, promote="fact",
           promoted={"fact_key": "deploy.day", "value": "not Friday", "sources": ["e9"], "scope_level": "tenant"})
    (fact,) = memory.facts()
    assert (fact["fact_key"], fact["value"], fact["sources"], fact["scope_level"]) == (
        "deploy.day", "not Friday", ["e9", "e1", "i" * 110], "tenant")
    change(memory, id="i" * 110, promote="procedure")
    assert len(memory.read("list_procedures")["procedures"]) == 1


@pytest.mark.parametrize(("params", "error", "said"), [
    ({"id": "none"}, NotFound, "insight 'none' is not in run 'r1'"), ({"id": ""}, BadInput, "id is empty"),
    ({"patch": {"type": "pattern"}}, UnknownField, "patch has the unknown key 'type'; known are validation_state"),
    ({"patch": {"validation_state": "done"}}, BadInput, "insight.validation_state is 'done'; allowed are"),
    ({"patch": {"confidence": 2}}, BadInput, "insight.confidence is 2; allowed is a number from 0 to 1"),
    ({"patch": [1]}, BadInput, r"patch is \[1\]; allowed is an object"),
    ({"patch": {"expires_at": "never"}}, BadInput, "insight.expires_at is 'never'; allowed are run_end and a time"),
    ({"promote": "event"}, BadInput, "promote is 'event'; allowed are fact, procedure, episode"),
    ({"promoted": {"value": 1}}, BadInput, "promoted is given without promote"),
    ({"promote": "fact", "promoted": "x"}, BadInput, "promoted is 'x'; allowed is an object"),
    ({"promote": "fact", "patch": {"validation_state": "validated"}, "promoted": {"sources": "x"}}, BadInput,
     "promoted.sources is 'x'; allowed is a list"),
    ({"promote": "fact", "patch": {"validation_state": "validated"}, "promoted": {"vlaue": 1}}, UnknownField,
     "promoted has the unknown key 'vlaue'.*did you mean value"),
])
def test_bad_changes_are_refused_by_name(memory: Asked, params: dict[str, Any], error: type[Exception], said: str,
                                         ) -> None:
    add(memory)
    with pytest.raises(error, match=said):
        memory.write("update_insight", **{"id": "i1", **params})
    assert listed(memory)[0]["validation_state"] == "unvalidated"


def test_a_bad_insight_is_refused_by_name(memory: Asked) -> None:
    with pytest.raises(BadInput, match=r"insight.type is 'idea'; allowed are hypothesis, strategy, pattern"):
        add(memory, type="idea")
    with pytest.raises(BadInput, match=r"insight.statement is missing"):
        memory.write("append_insight", insight={"type": "pattern"})
