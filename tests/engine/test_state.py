"""Working state and short-term state: replaced field by field, guarded by a version, alone in their place."""

from __future__ import annotations

from typing import Any

import pytest

from engram_core.errors import BadInput, Conflict, UnknownField
from tests.engine.conftest import SCOPE, Asked


def patch(memory: Asked, fields: dict[str, Any], **params: Any) -> dict[str, Any]:
    return dict(memory.write("patch_working_state", patch=fields, **params)["working_state"])


def state(memory: Asked, **other: str) -> Any:
    return memory.read("get_working_state", scope={**SCOPE, **other})["working_state"]


def test_there_is_no_state_before_the_first_change(memory: Asked) -> None:
    assert state(memory) is None
    assert patch(memory, {})["state_version"] == 0
    assert state(memory) is None


def test_a_given_field_replaces_the_whole_field(memory: Asked) -> None:
    patch(memory, {"goal": "g", "plan": ["a", "b"], "slots": {"x": 1, "y": 2}})
    found = patch(memory, {"plan": ["c"], "slots": {"z": 3}})
    assert (found["goal"], found["plan"], found["slots"]) == ("g", ["c"], {"z": 3})
    assert state(memory) == found


def test_the_version_counts_changes(memory: Asked) -> None:
    assert [patch(memory, {"goal": goal})["state_version"] for goal in ("a", "a", "b", "b")] == [1, 1, 2, 2]
    assert patch(memory, {"state_version": 9})["state_version"] == 9
    assert patch(memory, {"goal": "c", "state_version": 5})["state_version"] == 5
    assert patch(memory, {"goal": "d"})["state_version"] == 6


def test_a_stale_version_is_a_conflict_and_changes_nothing(memory: Asked) -> None:
    patch(memory, {"goal": "a"}, expected_version=0)
    with pytest.raises(Conflict, match="the working state is at version 1, expected_version was 0"):
        patch(memory, {"goal": "b"}, expected_version=0)
    assert state(memory)["goal"] == "a"
    assert patch(memory, {"goal": "b"}, expected_version=1)["state_version"] == 2


def test_of_many_who_expect_the_same_version_one_wins(memory: Asked) -> None:
    ops = [("patch_working_state", {"scope": SCOPE, "patch": {"goal": str(number)}, "expected_version": 0})
           for number in range(9)]
    outcomes = memory.engine.write(ops)
    assert [isinstance(one, bytes) for one in outcomes] == [True] + [False] * 8
    assert state(memory)["goal"] == "0"


def test_slots_are_merged_and_removed_one_by_one(memory: Asked) -> None:
    patch(memory, {"slots": {"a": 1, "b": 2}})
    assert patch(memory, {}, merge_slots={"b": 3, "c": 4})["slots"] == {"a": 1, "b": 3, "c": 4}
    assert patch(memory, {}, remove_slots=["a", "none"])["slots"] == {"b": 3, "c": 4}
    assert patch(memory, {"slots": {}}, merge_slots={"x": 1}, remove_slots=["x"])["slots"] == {}


def test_each_run_has_its_own(memory: Asked) -> None:
    patch(memory, {"goal": "mine"})
    for name in SCOPE:
        assert state(memory, **{name: "other"}) is None


def test_what_is_read_is_accepted_back(memory: Asked) -> None:
    full = {"goal": "g", "plan": ["p"], "slots": {"s": None}, "constraints": {"c": [1]}, "decisions": ["d"],
            "tool_evidence": [{"evidence_id": "e1", "summary": "s", "kind": "tool_result"}], "risks": ["r"],
            "open_loops": ["o"]}
    found = patch(memory, full)
    assert found == {**full, "state_version": 1}
    assert patch(memory, found) == found


@pytest.mark.parametrize(("params", "said"), [
    ({"patch": {"gaol": "x"}}, "patch has the unknown key 'gaol'.*did you mean goal"),
    ({"patch": []}, r"patch is \[\]; allowed is an object"), ({"patch": {"goal": None}}, "patch.goal is null"),
    ({"patch": {"plan": "a"}}, "patch.plan is 'a'; allowed is a list"),
    ({"patch": {"state_version": -1}}, "patch.state_version is -1; allowed is a whole number from 0"),
    ({"patch": {"state_version": 1 << 70}}, "patch.state_version is"),
    ({"patch": {"tool_evidence": [{"summary": "x"}]}}, r"patch.tool_evidence\[0\].evidence_id is missing"),
    ({"patch": {"tool_evidence": [{"evidence_id": "e", "x": 1}]}}, r"patch.tool_evidence\[0\] has the unknown key 'x'"),
    ({"patch": {}, "merge_slots": [1]}, r"merge_slots is \[1\]; allowed is an object"),
    ({"patch": {}, "remove_slots": "a"}, "remove_slots is 'a'; allowed is a list of texts"),
    ({"patch": {}, "remove_slots": [1]}, r"remove_slots\[0\] is 1; allowed is text"),
    ({"patch": {}, "expected_version": "1"}, "expected_version is '1'; allowed is a whole number from 0"),
    ({"patch": {}, "merge_slots": {"a": float("nan")}}, "merge_slots.a is nan"),
])
def test_bad_patches_are_refused_by_name(memory: Asked, params: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        memory.write("patch_working_state", **params)
    assert state(memory) is None


def test_short_term_state_belongs_to_the_session(memory: Asked) -> None:
    assert memory.read("get_stm")["stm"] is None
    stm = {"rolling_summary": "so far", "key_quotes": [{"evidence_id": "e1", "quote": "hi", "role": "assistant",
                                                        "ts": "2026-01-01T00:00:00Z"}]}
    memory.write("update_stm", stm_state=stm)
    assert memory.read("get_stm", scope={**SCOPE, "run_id": "r2"})["stm"] == stm
    assert memory.read("get_stm", scope={**SCOPE, "session_id": "s2"})["stm"] is None
    memory.write("update_stm", stm_state=memory.read("get_stm")["stm"])
    assert memory.read("get_stm")["stm"] == stm
    memory.write("update_stm", stm_state={})
    assert memory.read("get_stm")["stm"] == {"rolling_summary": "", "key_quotes": []}


def test_a_bad_short_term_state_is_refused(memory: Asked) -> None:
    with pytest.raises(UnknownField, match=r"stm_state has the unknown key 'summary'.*did you mean rolling_summary"):
        memory.write("update_stm", stm_state={"summary": "x"})
    with pytest.raises(BadInput, match=r"stm_state.key_quotes\[0\].role is 'bot'; allowed are user, assistant"):
        memory.write("update_stm", stm_state={"key_quotes": [{"evidence_id": "e", "quote": "q", "role": "bot"}]})
