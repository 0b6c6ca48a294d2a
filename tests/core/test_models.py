"""The memory kinds: their lines, their schema, and that a model's own output is accepted back."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_core import models
from engram_core.errors import BadInput, UnknownField
from engram_core.models import (
    Episode,
    EpisodeFilter,
    Event,
    Fact,
    FactFilter,
    Insight,
    InsightFilter,
    Procedure,
    Selector,
    ShortTerm,
    WorkingState,
    build,
)

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=6)
ID = st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6)
JSON = st.recursive(st.none() | st.booleans() | st.integers(-5, 5) | TEXT,
                    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2), max_leaves=4)
NAMES = st.lists(TEXT, max_size=2)
TAGS = st.lists(TEXT.filter(bool), max_size=3)
SHARE = st.floats(0, 1) | st.sampled_from([0, 1])
TIME = st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01T02:00:00+01:00", 1767229200000])
LEVEL = st.sampled_from(["user", "agent", "tenant"])
KINDS: dict[type[models.Model], st.SearchStrategy[dict[str, Any]]] = {
    Fact: st.fixed_dictionaries({"fact_key": ID, "value": JSON}, optional={
        "fact_id": ID, "status": st.sampled_from(["active", "disputed", "deprecated"]), "confidence": SHARE,
        "validity": st.fixed_dictionaries({}, optional={"valid_from": TIME, "valid_to": st.none()}),
        "sources": st.lists(ID, max_size=2), "scope_level": LEVEL, "notes": TEXT}),
    Episode: st.fixed_dictionaries({"episode_id": ID, "summary": TEXT, "time_range": st.fixed_dictionaries({
        "start": TIME})}, optional={"highlights": NAMES, "tags": TAGS, "entities": TAGS, "scope_level": LEVEL}),
    Procedure: st.fixed_dictionaries({"procedure_id": ID, "task_type": ID, "content": JSON}, optional={
        "priority": st.integers(-1000, 1000), "applicability": st.dictionaries(TEXT, JSON, max_size=2)}),
    Insight: st.fixed_dictionaries({"id": ID, "type": st.sampled_from(["hypothesis", "strategy", "pattern"]),
                                    "statement": TEXT}, optional={"confidence": SHARE, "expires_at": TIME}),
    WorkingState: st.fixed_dictionaries({}, optional={"goal": TEXT, "plan": NAMES, "slots": st.dictionaries(
        TEXT, JSON, max_size=2), "state_version": st.integers(0, 9)}),
    ShortTerm: st.fixed_dictionaries({}, optional={"rolling_summary": TEXT, "key_quotes": st.lists(
        st.fixed_dictionaries({"evidence_id": ID, "quote": TEXT}, optional={"ts": TIME}), max_size=2)}),
}
ANY = st.one_of([st.tuples(st.just(model), values) for model, values in KINDS.items()])


@given(ANY)
def test_a_line_holds_all_that_is_not_default(drawn: tuple[type[models.Model], dict[str, Any]]) -> None:
    model, value = drawn
    made = build(model, value, "x")
    line = made.line()
    assert "\n" not in line
    assert build(model, json.loads(line), "x") == made
    assert build(model, json.loads(line), "x").line() == line


@given(ANY)
def test_what_a_model_writes_it_accepts(drawn: tuple[type[models.Model], dict[str, Any]]) -> None:
    model, value = drawn
    made = build(model, value, "x")
    assert build(model, made.model_dump(mode="json"), "x") == made
    assert build(model, made, "x") == made


@given(ANY)
def test_what_is_accepted_fits_the_schema(drawn: tuple[type[models.Model], dict[str, Any]]) -> None:
    model, value = drawn
    made = build(model, value, "x").model_dump(mode="json")
    jsonschema.validate(made, model.model_json_schema())


@given(ANY)
def test_what_the_store_keeps_is_ignored(drawn: tuple[type[models.Model], dict[str, Any]]) -> None:
    model, value = drawn
    kept = dict.fromkeys(model.KEPT, object())
    assert build(model, {**value, **kept}, "x", keep=True) == build(model, value, "x")
    with pytest.raises(BadInput):
        build(model, {**value, **kept}, "x")


@given(ANY, st.text(min_size=1, max_size=5))
def test_an_unknown_key_is_named(drawn: tuple[type[models.Model], dict[str, Any]], key: str) -> None:
    model, value = drawn
    if key not in model.model_fields:
        with pytest.raises(BadInput) as caught:
            build(model, {**value, key: 1}, "x")
        assert isinstance(caught.value, UnknownField) or "surrogate" in caught.value.message
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("model", "value", "said"), [
    (Fact, {"fact_key": "k", "value": 1, "Status": "active"}, "x has the unknown key 'Status'.*did you mean status"),
    (Fact, {"fact_key": "k", "value": 1, "validity": {"from": 1}},
     "x.validity has the unknown key 'from'; known are valid_"),
    (ShortTerm, {"key_quotes": [{"evidence_id": "e", "qoute": "q"}]}, r"x.key_quotes\[0\].quote is missing"),
    (ShortTerm, {"key_quotes": [{"evidence_id": "e", "quote": "q", "rolle": 1}]},
     r"x.key_quotes\[0\] has the unknown key 'rolle'; known are evidence_id, quote, role, ts; did you mean role"),
    (EpisodeFilter, {"limit": 0}, "x.limit is 0; allowed is a whole number from 1"),
    (EpisodeFilter, {"time_range": {"start_ms": "1"}}, "x.time_range.start is '1'; allowed is a time"),
    (FactFilter, {"valid_at_ms": 1.5}, "x.valid_at_ms is 1.5; allowed is a whole number"),
    (InsightFilter, {"validation_state": ["ok"]}, r"x.validation_state\[0\] is 'ok'; allowed are unvalidated, testing"),
    (Selector, {"session": 1}, "x.session is 1; allowed is true or false"),
    (Insight, {"id": "i", "type": "pattern", "statement": "s", "trigger": "luck"},
     "x.trigger is 'luck'; allowed are conflict"),
    (WorkingState, {"tool_evidence": [1]}, r"x.tool_evidence\[0\] is 1; allowed is an object"),
    (Event, {"scope": {}, "payload": 1}, "x.scope.user_id is missing; give x.scope.user_id"),
    (Event, {"payload": 1}, "x.scope is missing"),
    (Procedure, "text", "x is 'text'; allowed is an object; its keys: procedure_id, task_type"),
])
def test_refusals_name_path_value_and_what_is_allowed(model: type[models.Model], value: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        build(model, value, "x")


def test_a_null_of_the_callers_own_is_kept() -> None:
    line = json.loads(build(Fact, {"fact_key": "k", "value": {"a": None}}, "fact").line())
    assert line["value"] == {"a": None}
    line = json.loads(build(Procedure, {"procedure_id": "p", "task_type": "t", "content": [None], "applicability": {
        "x": None}}, "procedure").line())
    assert (line["content"], line["applicability"]) == ([None], {"x": None})


def test_models_can_be_given_in_place_of_objects() -> None:
    fact = Fact(fact_key="k", value=1)
    assert build(Fact, fact, "fact") == fact
    assert fact.fact_id == build(Fact, {"fact_key": "k", "value": 2}, "fact").fact_id


@pytest.mark.parametrize("model", [Event, Fact, Episode, Procedure, Insight, WorkingState, ShortTerm, Selector])
def test_the_schema_is_a_valid_one_and_closed(model: type[models.Model]) -> None:
    schema = model.model_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(model.model_fields)
