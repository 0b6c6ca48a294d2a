"""Episodes and procedures: told once or replaced, found by time, tag and task."""

from __future__ import annotations

from typing import Any

import pytest

from engram_core.errors import BadInput, Conflict, UnknownField
from tests.engine.conftest import SCOPE, Asked


def episode(memory: Asked, id_: str, start: str, end: str | None = None, **fields: Any) -> Any:
    span = {"start": start, **({"end": end} if end else {})}
    told = {"episode_id": id_, "summary": f"about {id_}", "time_range": span, **fields}
    return memory.write("append_episode", episode=told)


def listed(memory: Asked, **wanted: Any) -> list[str]:
    return [one["episode_id"] for one in memory.read("list_episodes", episode_filter=wanted)["episodes"]]


def procedure(memory: Asked, id_: str, task: str, **fields: Any) -> Any:
    return memory.write("upsert_procedure",
                        procedure={"procedure_id": id_, "task_type": task, "content": ["step"], **fields})["outcome"]


def test_the_same_episode_again_is_a_duplicate(memory: Asked) -> None:
    assert not episode(memory, "a", "2026-01-01T00:00:00Z")["duplicate"]
    assert episode(memory, "a", "2026-01-01T01:00:00+01:00")["duplicate"]
    with pytest.raises(Conflict, match="episode 'a' already exists with other content"):
        episode(memory, "a", "2026-01-01T00:00:01Z")


def test_an_episode_matches_a_range_it_overlaps(memory: Asked) -> None:
    episode(memory, "long", "2026-01-01T00:00:00Z", "2026-01-31T00:00:00Z")
    episode(memory, "moment", "2026-01-10T00:00:00Z")
    episode(memory, "later", "2026-02-01T00:00:00Z", "2026-02-02T00:00:00Z")

    def within(start: str | None, end: str | None) -> list[str]:
        return listed(memory, time_range={"start": start, "end": end})

    assert within("2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z") == ["long"]
    assert within("2026-01-10T00:00:00Z", "2026-01-10T00:00:00Z") == ["long", "moment"]
    assert within("2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z") == ["long", "later"]  # both ends are included
    assert within("2026-01-31T00:00:01Z", None) == ["later"]
    assert within(None, "2025-12-31T23:59:59Z") == []
    assert listed(memory, limit=2) == ["moment", "later"]


def test_they_are_listed_in_the_order_of_time(memory: Asked) -> None:
    episode(memory, "c", "2026-01-01T00:00:00.500Z")
    episode(memory, "b", "2026-01-01T00:00:00Z")
    episode(memory, "a", "2026-01-01T00:00:01Z", scope_level="tenant")
    assert listed(memory) == ["b", "c", "a"]


def test_tags_and_entities_filter(memory: Asked) -> None:
    episode(memory, "a", "2026-01-01T00:00:00Z", tags=["x", "y"])
    episode(memory, "b", "2026-01-01T00:00:00Z", tags=["y"], entities=["Ana"])
    assert listed(memory, tags=["y"]) == ["a", "b"]
    assert listed(memory, tags=["x", "z"]) == ["a"]
    assert listed(memory, tags=["y"], entities=["Ana"]) == ["b"]


def test_the_more_recent_scores_higher(memory: Asked) -> None:
    memory.at(1_800_000_000_000)
    episode(memory, "old", "2020-01-01T00:00:00Z")
    episode(memory, "new", "2027-01-01T00:00:00Z")
    episode(memory, "future", "2040-01-01T00:00:00Z")
    scores = [one["recency_score"] for one in memory.read("list_episodes")["episodes"]]
    assert 0 <= scores[0] < scores[1] < scores[2] == 1


def test_what_is_listed_is_accepted_back(memory: Asked) -> None:
    episode(memory, "a", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", highlights=["h"], tags=["t"], sources=["e"])
    episode(memory, "b", "2026-01-01T00:00:00Z", compression_level="theme", scope_level="agent")
    before = memory.read("list_episodes")["episodes"]
    assert [memory.write("append_episode", episode=one)["duplicate"] for one in before] == [True, True]
    procedure(memory, "p", "deploy", content={"a": None}, applicability={"tags": None}, priority=3)
    procedures = memory.read("list_procedures")["procedures"]
    assert [memory.write("upsert_procedure", procedure=one)["outcome"] for one in procedures] == ["unchanged"]
    assert procedures[0]["content"] == {"a": None}
    assert procedures[0]["applicability"] == {"tags": None}


def test_a_procedure_is_replaced_by_its_id(memory: Asked) -> None:
    assert [procedure(memory, "p", "deploy", content=c) for c in ("a", "a", "b")] == ["created", "unchanged", "updated"]
    (found,) = memory.read("list_procedures")["procedures"]
    assert found["content"] == "b"
    assert memory.packet("deploy", task_type="deploy")["long_term"]["procedures"][0]["content"] == "b"


def test_procedures_come_by_task_and_priority(memory: Asked) -> None:
    procedure(memory, "low", "deploy", priority=-5)
    procedure(memory, "high", "deploy", priority=9, scope_level="tenant")
    procedure(memory, "other", "review")

    def found(**params: Any) -> list[str]:
        return [one["procedure_id"] for one in memory.read("list_procedures", **params)["procedures"]]

    assert found() == ["high", "other", "low"]
    assert found(task_type="deploy") == ["high", "low"]
    assert found(task_type="deploy", limit=1) == ["high"]


def test_ids_are_made_when_none_is_given(memory: Asked) -> None:
    one = memory.write("append_episode", episode={"summary": "s", "time_range": {"start": "2026-01-01T00:00:00Z"}})
    assert one["episode_id"].startswith("ep_")
    assert memory.write("upsert_procedure", procedure={"task_type": "t", "content": 1})["procedure_id"].startswith("p_")


@pytest.mark.parametrize(("method", "params", "said"), [
    ("append_episode", {"episode": {"summary": "s"}}, "episode.time_range is missing"),
    ("append_episode", {"episode": {"summary": "s", "time_range": {"start": "2026-01-01"}}},
     "episode.time_range.start is '2026-01-01', which has no time zone; write 2026-01-01T00:00:00Z"),
    ("append_episode", {"episode": {"summary": "s", "time_range": {"start": 2000, "end": 1000}}},
     "lies before the start"),
    ("append_episode", {"episode": {"summary": 1, "time_range": {"start": 0}}},
     "episode.summary is 1; allowed is a text"),
    ("upsert_procedure", {"procedure": {"task_type": "t"}}, "procedure.content is missing"),
    ("upsert_procedure", {"procedure": {"task_type": "t", "content": 1, "priority": 1001}},
     "procedure.priority is 1001; allowed is a whole number from -1000 to 1000"),
    ("upsert_procedure", {"procedure": {"task_type": "t", "content": 1, "priority": 1.5}},
     "procedure.priority is 1.5; allowed is a whole number"),
])
def test_what_is_bad_is_named(memory: Asked, method: str, params: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        memory.write(method, **params)


def test_a_bad_filter_is_named(memory: Asked) -> None:
    with pytest.raises(UnknownField, match=r"episode_filter.time_range has the unknown key 'form'"):
        listed(memory, time_range={"form": 1})
    with pytest.raises(BadInput, match="task_type is empty"):
        memory.read("list_procedures", task_type="")


def test_pins(memory: Asked) -> None:
    episode(memory, "a", "2026-01-01T00:00:00Z")
    procedure(memory, "p", "t", scope_level="agent")
    memory.event("one", event_id="e")
    memory.event("two", event_id="e", scope={**SCOPE, "run_id": "r2"})
    for kind, id_ in (("episode", "a"), ("procedure", "p"), ("event", "e")):
        assert memory.write("set_pinned", kind=kind, id=id_, pinned=True) == {"kind": kind, "id": id_, "pinned": True}
    assert memory.read("list_episodes")["episodes"][0]["pinned"]
    assert memory.read("list_procedures")["procedures"][0]["pinned"]
    events = memory.read("list_events", level="session")["events"]
    assert [(one["payload"], one["pinned"]) for one in events] == [("one", True), ("two", False)]
    memory.write("set_pinned", kind="episode", id="a", pinned=False)
    assert not memory.read("list_episodes")["episodes"][0]["pinned"]


@pytest.mark.parametrize(("params", "said"), [
    ({"kind": "fact", "id": "x", "pinned": True}, "fact 'x' is not here"),
    ({"kind": "facts", "id": "x", "pinned": True}, "kind is 'facts'; allowed are event, fact"),
    ({"kind": [], "id": "x", "pinned": True}, r"kind is \[\]; allowed are"),
    ({"kind": "fact", "id": 1, "pinned": True}, "id is 1; allowed is text"),
    ({"kind": "fact", "id": "x", "pinned": "yes"}, "pinned is 'yes'; allowed are true, false"),
])
def test_bad_pins_are_named(memory: Asked, params: dict[str, Any], said: str) -> None:
    with pytest.raises(Exception, match=said):
        memory.write("set_pinned", **params)
