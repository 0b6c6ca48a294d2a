"""Facts: one active value per key and level, history kept and linked, the past readable."""

from __future__ import annotations

from typing import Any

import pytest

from engram_core.errors import BadInput, Conflict, UnknownField
from tests.engine.conftest import SCOPE, Asked

DAY = 86_400_000
JAN = 1_767_225_600_000  # 2026-01-01


def told(facts: list[dict[str, Any]]) -> list[tuple[Any, str]]:
    return [(one["value"], one["status"]) for one in facts]


def test_another_value_supersedes_the_active_one(memory: Asked) -> None:
    memory.at(JAN)
    first = memory.fact("city", "Oslo")
    memory.at(JAN + DAY)
    second = memory.fact("city", "Bergen")
    assert (first["outcome"], first["version"], first["superseded"]) == ("created", 1, None)
    assert (second["outcome"], second["version"]) == ("superseded", 2)
    assert second["superseded"] == f"{first['fact_id']}#1"
    old, new = memory.facts()
    assert told([old, new]) == [("Oslo", "deprecated"), ("Bergen", "active")]
    assert old["validity"]["valid_to"] == "2026-01-02T00:00:00Z"
    assert (old["replaced_by"], new["replaces"]) == (f"{old['fact_id']}#2", f"{old['fact_id']}#1")
    assert (old["replaces"], new["replaced_by"]) == (None, None)


def test_there_is_one_active_value_whatever_happened(memory: Asked) -> None:
    for value in ("a", "b", "a", "c", "c", "b"):
        memory.fact("k", value)
    assert told(memory.facts(status=["active"])) == [("b", "active")]
    assert [one["version"] for one in memory.facts(fact_key="k")] == [1, 2, 3, 4, 5]


def test_the_same_value_refreshes_without_a_version(memory: Asked) -> None:
    memory.fact("city", {"name": "Oslo", "zip": 1}, confidence=0.4, sources=["e1"], notes="said once")
    done = memory.fact("city", {"zip": 1, "name": "Oslo"}, confidence=0.9, sources=["e2", "e1"])
    assert (done["outcome"], done["version"]) == ("refreshed", 1)
    (fact,) = memory.facts()
    assert (fact["confidence"], fact["sources"], fact["notes"]) == (0.9, ["e1", "e2"], "said once")


def test_a_refresh_keeps_what_it_does_not_state(memory: Asked) -> None:
    memory.fact("city", "Oslo", confidence=0.9, validity={"valid_from": "2026-01-01T00:00:00Z"})
    memory.fact("city", "Oslo")
    (fact,) = memory.facts()
    assert (fact["confidence"], fact["validity"]["valid_from"]) == (0.9, "2026-01-01T00:00:00Z")


def test_a_dispute_keeps_both(memory: Asked) -> None:
    memory.fact("city", "Oslo")
    done = memory.fact("city", "Bergen", on_conflict="dispute")
    assert done["outcome"] == "disputed"
    assert told(memory.facts()) == [("Oslo", "disputed"), ("Bergen", "disputed")]


def test_calling_one_disputed_value_active_settles_it(memory: Asked) -> None:
    memory.fact("city", "Oslo")
    memory.fact("city", "Bergen", on_conflict="dispute")
    assert memory.fact("city", "Oslo")["outcome"] == "refreshed"  # only repeated: still disputed
    assert told(memory.facts()) == [("Oslo", "disputed"), ("Bergen", "disputed")]
    assert memory.fact("city", "Oslo", status="active")["outcome"] == "superseded"
    assert told(memory.facts()) == [("Oslo", "active"), ("Bergen", "deprecated")]


def test_a_third_value_ends_a_dispute(memory: Asked) -> None:
    memory.fact("city", "Oslo")
    memory.fact("city", "Bergen", on_conflict="dispute")
    memory.fact("city", "Trondheim")
    assert told(memory.facts()) == [("Oslo", "deprecated"), ("Bergen", "deprecated"), ("Trondheim", "active")]


def test_a_retracted_fact_can_be_set_again(memory: Asked) -> None:
    memory.fact("city", "Oslo")
    memory.fact("city", "Oslo", status="deprecated")
    assert memory.facts(status=["active"]) == []
    assert memory.fact("city", "Oslo")["version"] == 2


def test_the_record_of_something_past_leaves_what_holds(memory: Asked) -> None:
    memory.fact("city", "Bergen")
    assert memory.fact("city", "Oslo", status="deprecated")["outcome"] == "created"
    assert told(memory.facts(status=["active"])) == [("Bergen", "active")]


def test_as_of_reads_the_past(memory: Asked) -> None:
    memory.at(JAN)
    memory.fact("city", "Oslo")
    memory.at(JAN + 2 * DAY)
    memory.fact("city", "Bergen", on_conflict="dispute")
    memory.at(JAN + 4 * DAY)
    memory.fact("city", "Trondheim")

    def then(day: float) -> list[tuple[Any, str]]:
        return told(memory.facts(as_of=JAN + int(day * DAY)))

    assert then(-1) == []
    assert then(0) == then(1) == [("Oslo", "active")]
    assert then(3) == [("Oslo", "disputed"), ("Bergen", "disputed")]
    assert then(5) == [("Trondheim", "active")]
    (then_active,) = memory.facts(as_of=JAN + DAY, status=["active"])
    assert then_active["validity"] == {"valid_from": None, "valid_to": None}
    assert then_active["replaced_by"] is None
    assert memory.facts(as_of=JAN + DAY, status=["disputed"]) == []


def test_valid_at_tells_what_held(memory: Asked) -> None:
    memory.fact("city", "Oslo", validity={"valid_from": "2020-01-01T00:00:00Z"})
    memory.fact("city", "Bergen", validity={"valid_from": "2024-06-01T00:00:00Z"})
    assert told(memory.facts(valid_at="2021-01-01T00:00:00Z")) == [("Oslo", "deprecated")]
    assert told(memory.facts(valid_at="2025-01-01T00:00:00Z")) == [("Bergen", "active")]
    assert told(memory.facts(valid_at_ms=1_577_836_799_999)) == []


def test_what_replaced_a_value_did_not_hold_before(memory: Asked) -> None:
    memory.at(JAN)
    memory.fact("city", "Oslo")
    memory.at(JAN + 2 * DAY)
    memory.fact("city", "Bergen")
    assert told(memory.facts(valid_at_ms=JAN - DAY)) == [("Oslo", "deprecated")]
    assert told(memory.facts(valid_at_ms=JAN + DAY)) == [("Oslo", "deprecated")]
    assert told(memory.facts(valid_at_ms=JAN + 3 * DAY)) == [("Bergen", "active")]
    assert told(memory.facts(valid_at_ms=JAN + DAY, as_of=JAN + DAY)) == [("Oslo", "active")]
    assert memory.facts(valid_at_ms=JAN + DAY, as_of=JAN + 3 * DAY) == []  # then it was no longer active
    assert memory.facts(status=["active"])[0]["validity"]["valid_from"] is None


def test_of_disputed_values_neither_replaced_the_other(memory: Asked) -> None:
    memory.at(JAN)
    memory.fact("city", "Oslo")
    memory.at(JAN + DAY)
    memory.fact("city", "Bergen", on_conflict="dispute")
    assert told(memory.facts(valid_at_ms=JAN - DAY)) == [("Oslo", "disputed"), ("Bergen", "disputed")]
    assert memory.facts(valid_at_ms=JAN - DAY, as_of=JAN + DAY) == memory.facts(valid_at_ms=JAN - DAY)


def test_filters_go_together(memory: Asked) -> None:
    for number in range(5):
        memory.fact(f"k{number}", number)
    memory.fact("k4", 44)
    assert [one["value"] for one in memory.facts(limit=2, status=["active"])] == [3, 44]
    assert [one["value"] for one in memory.facts(fact_key="k4")] == [4, 44]


def test_a_fact_id_names_one_key(memory: Asked) -> None:
    memory.fact("city", "Oslo", fact_id="f1")
    with pytest.raises(Conflict, match="fact_id 'f1' already names the fact_key 'city'"):
        memory.fact("town", "Oslo", fact_id="f1")


def test_the_id_follows_from_the_key(memory: Asked) -> None:
    assert memory.fact("city", 1)["fact_id"] == memory.fact("city", 2)["fact_id"] != memory.fact("town", 1)["fact_id"]


def test_levels_are_kept_apart_and_read_together(memory: Asked) -> None:
    for level in ("user", "agent", "tenant"):
        assert memory.fact("tone", level, scope_level=level)["outcome"] == "created"
    assert [one["value"] for one in memory.facts()] == ["tenant", "agent", "user"]

    def seen(**other: str) -> list[Any]:
        facts = memory.read("list_facts", scope={**SCOPE, **other}, fact_filter={})["facts"]
        return [one["value"] for one in facts]

    assert seen(user_id="bob") == ["tenant", "agent"]
    assert seen(user_id="bob", agent_id="other") == ["tenant"]
    assert seen(tenant_id="t2") == []
    assert seen(session_id="s9", run_id="r9") == ["tenant", "agent", "user"]


def test_what_is_listed_is_accepted_back(memory: Asked) -> None:
    memory.fact("city", "Oslo", notes="n", sources=["e1"])
    memory.fact("city", {"a": None, "b": [1, {"c": None}]})
    memory.fact("tone", "dry")
    memory.fact("tone", "warm", on_conflict="dispute")
    memory.fact("rule", 1, scope_level="tenant")
    memory.write("set_pinned", kind="fact", id=memory.fact("pet", None)["fact_id"], pinned=True)
    before = memory.facts()
    for fact in before:
        assert memory.write("upsert_fact", fact=fact)["outcome"] == "refreshed"
    assert memory.facts() == before


def test_a_history_can_be_moved_to_another_database(make: Any) -> None:
    old, new = make(), make()
    for value in ("a", "b", "c"):
        old.fact("k", value)
    for fact in old.facts():
        new.write("upsert_fact", fact=fact)
    assert told(new.facts()) == told(old.facts())


def test_a_pin_stays_with_the_fact_not_with_its_value(memory: Asked) -> None:
    id_ = memory.fact("city", "Oslo")["fact_id"]
    memory.write("set_pinned", kind="fact", id=id_, pinned=True)
    memory.fact("city", "Bergen")
    assert [one["pinned"] for one in memory.facts()] == [True, True]
    memory.write("set_pinned", kind="fact", id=id_, pinned=False)
    assert [one["pinned"] for one in memory.facts()] == [False, False]


def test_recalls_are_counted(memory: Asked) -> None:
    memory.fact("city", "Oslo")
    memory.packet("Oslo")
    memory.settle()
    (fact,) = memory.facts()
    assert fact["recall_count"] == 1
    assert "recalled_at" in fact
    assert memory.fact("city", "Oslo")["outcome"] == "refreshed"


@pytest.mark.parametrize(("fact", "said"), [
    ({"confidence": 7}, "fact.confidence is 7; allowed is a number from 0 to 1"),
    ({"confidence": -0.1}, "fact.confidence is -0.1"), ({"confidence": float("nan")}, "fact.confidence is nan"),
    ({"value": {"a": [float("inf")]}}, r"fact.value.a\[0\] is inf; allowed are finite numbers"),
    ({"value": "\ud800"}, "fact.value holds a lone surrogate"),
    ({"status": "acitve"}, "fact.status is 'acitve'; allowed are active, disputed, deprecated; did you mean active"),
    ({"fact_key": ""}, "fact.fact_key is empty"), ({"fact_key": "x" * 121}, "fact.fact_key is 121 characters long"),
    ({"fact_key": "a\tb"}, "fact.fact_key is 'a.tb'; allowed is text without control characters"),
    ({"fact_key": None}, "fact.fact_key is null; allowed is a text"),
    ({"validity": {"valid_from": "2026-01-01T00:00:00"}}, "fact.validity.valid_from is .* which has no time zone"),
    ({"validity": {"valid_from": "soon"}}, "fact.validity.valid_from is 'soon'; allowed is a time like"),
    ({"validity": {"valid_from": "2026-01-02T00:00:00Z", "valid_to": "2026-01-01T00:00:00Z"}}, "lies before"),
    ({"sources": "e1"}, "fact.sources is 'e1'; allowed is a list"), ({"sources": [""]}, r"fact.sources\[0\] is empty"),
    ({"scope_level": "run"}, "fact.scope_level is 'run'; allowed are user, agent, tenant"),
])
def test_a_bad_fact_is_refused_by_name(memory: Asked, fact: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        memory.write("upsert_fact", fact={"fact_key": "k", "value": 1, **fact})
    assert memory.facts() == []


def test_unknown_keys_are_refused_with_the_nearest(memory: Asked) -> None:
    with pytest.raises(UnknownField, match=r"fact has the unknown key 'confidense'.*did you mean confidence"):
        memory.fact("k", 1, confidense=1)
    with pytest.raises(UnknownField, match=r"fact_filter has the unknown key 'state'.*did you mean status"):
        memory.facts(state=["active"])


@pytest.mark.parametrize("params", [{"fact": None}, {"fact": []}, {"fact": {"fact_key": "k"}},
                                    {"fact": {"fact_key": "k", "value": 1}, "on_conflict": "ask"}])
def test_malformed_requests_are_refused(memory: Asked, params: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        memory.write("upsert_fact", **params)
