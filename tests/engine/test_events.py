"""Events: appended once, listed in order and in pages, accepted back as they are listed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engram_core.errors import BadInput, Conflict
from tests.engine.conftest import SCOPE, Asked

OTHER_RUN = {**SCOPE, "run_id": "r2"}


def texts(memory: Asked, **params: Any) -> list[Any]:
    return [one["payload"] for one in memory.read("list_events", **params)["events"]]


def test_the_same_event_again_is_a_duplicate(memory: Asked) -> None:
    first = memory.event({"role": "user", "content": "hi"}, event_id="e1", tags=["a"])
    again = memory.event({"content": "hi", "role": "user"}, event_id="e1", tags=["a"])
    assert (first["duplicate"], again["duplicate"], again["seq"]) == (False, True, first["seq"])
    assert len(texts(memory)) == 1


@pytest.mark.parametrize("change", [{"payload": "bye"}, {"kind": "system"}, {"tags": ["x"]}, {"entities": ["x"]},
                                    {"ts": "2026-01-01T00:00:00Z"}])
def test_other_content_under_a_used_id_is_a_conflict(memory: Asked, change: dict[str, Any]) -> None:
    memory.event("hi", event_id="e1")
    with pytest.raises(Conflict, match=r"event_id 'e1' is already used in this run with (another time|other content)"):
        memory.write("append_event", event={"scope": SCOPE, "event_id": "e1", "payload": "hi", **change})
    assert texts(memory) == ["hi"]


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (1, True), (0, False), ("1", 1), (None, ""), ([], {})])
def test_values_that_only_look_alike_are_not_the_same(memory: Asked, one: Any, other: Any) -> None:
    memory.event({"x": one}, event_id="e1")
    with pytest.raises(Conflict):
        memory.event({"x": other}, event_id="e1")


def test_the_time_is_content_only_when_the_caller_gives_it(memory: Asked) -> None:
    memory.event("hi", event_id="e1", ts="2026-01-01T00:00:00Z")
    assert memory.event("hi", event_id="e1")["duplicate"]
    assert memory.event("hi", event_id="e1", ts_ms=1767225600000)["duplicate"]
    assert memory.event("hi", event_id="e1", ts="2026-01-01T01:00:00+01:00")["duplicate"]


def test_one_id_may_be_used_in_every_run(memory: Asked) -> None:
    assert not memory.event("one", event_id="e1")["duplicate"]
    assert not memory.event("two", event_id="e1", scope=OTHER_RUN)["duplicate"]
    assert texts(memory) == ["one"]
    assert texts(memory, level="session") == ["one", "two"]


def test_a_batch_is_appended_whole_or_not_at_all(memory: Asked) -> None:
    memory.event("old", event_id="used")
    batch = [{"scope": SCOPE, "event_id": id_, "payload": id_} for id_ in ("a", "b", "used", "c")]
    with pytest.raises(Conflict, match=r"events\[2\]: .*none of the events was appended"):
        memory.write("append_events", events=batch)
    assert texts(memory) == ["old"]
    batch[2]["payload"] = "old"
    results = memory.write("append_events", events=batch)["results"]
    assert [one["duplicate"] for one in results] == [False, False, True, False]
    again = memory.write("append_events", events=batch)["results"]
    assert [one["duplicate"] for one in again] == [True] * 4
    assert [one["seq"] for one in again] == [one["seq"] for one in results]


def test_a_batch_may_say_the_same_twice(memory: Asked) -> None:
    twice = [{"scope": SCOPE, "event_id": "a", "payload": 1}] * 2
    assert [one["duplicate"] for one in memory.write("append_events", events=twice)["results"]] == [False, True]


def test_a_bad_event_of_a_batch_is_named(memory: Asked) -> None:
    with pytest.raises(BadInput, match=r"events\[1\]: event.payload is missing"):
        memory.write("append_events", events=[{"scope": SCOPE, "payload": 1}, {"scope": SCOPE}])


def test_operations_of_one_group_do_not_disturb_each_other(memory: Asked) -> None:
    memory.event("x", event_id="used")
    ops = [("append_event", {"event": {"scope": SCOPE, "event_id": id_, "payload": "y"}}) for id_ in ("a", "used", "b")]
    ops.insert(1, ("append_event", {"event": {"scope": SCOPE}}))
    outcomes = memory.engine.write(ops)
    assert [isinstance(one, bytes) for one in outcomes] == [True, False, False, True]
    assert texts(memory) == ["x", "y", "y"]


def test_a_limit_gives_the_newest_in_time_order(memory: Asked) -> None:
    for day in (3, 1, 5, 2, 4):
        memory.event(day, ts=f"2026-01-0{day}T00:00:00Z")
    assert texts(memory, limit=3) == [3, 4, 5]
    assert texts(memory, limit=99) == [1, 2, 3, 4, 5]
    assert texts(memory) == [3, 1, 5, 2, 4]


def test_pages_together_are_everything_once(memory: Asked) -> None:
    for number in range(25):
        memory.event(number, ts_ms=1000 - number)
    found: list[Any] = []
    after: int | None = 0
    while after is not None:
        page = memory.read("list_events", limit=10, after_seq=after)
        assert len(page["events"]) in (10, 5)
        found += page["events"]
        after = page["next"]
    assert [one["payload"] for one in found] == list(range(25))


def test_a_reply_too_large_ends_early_and_says_where(memory: Asked) -> None:
    for number in range(8):
        memory.event(f"{number}" + "x" * 900_000)
    page = memory.read("list_events")
    assert 0 < len(page["events"]) < 8
    assert page["next"] == page["events"][-1]["seq"]
    while page["next"] is not None:
        more = memory.read("list_events", after_seq=page["next"])
        page = {"events": page["events"] + more["events"], "next": more["next"]}
    assert [one["payload"][0] for one in page["events"]] == list("01234567")
    newest = memory.read("list_events", limit=8)
    assert [one["payload"][0] for one in newest["events"]] == list("01234567")[-len(newest["events"]):]
    assert newest["next"] is None


def test_time_ranges_include_both_ends(memory: Asked) -> None:
    for second in range(5):
        memory.event(second, ts_ms=second * 1000)
    assert texts(memory, time_range={"start": "1970-01-01T00:00:01Z", "end": "1970-01-01T00:00:03Z"}) == [1, 2, 3]
    assert texts(memory, time_range={"start_ms": 3000}) == [3, 4]


def test_levels_widen_from_run_to_owner(memory: Asked) -> None:
    memory.event("run")
    memory.event("session", scope=OTHER_RUN)
    memory.event("owner", scope={**SCOPE, "session_id": "s2"})
    memory.event("someone else", scope={**SCOPE, "user_id": "bob"})
    assert texts(memory) == ["run"]
    assert texts(memory, level="session") == ["run", "session"]
    assert texts(memory, level="owner") == ["run", "session", "owner"]


def test_what_is_listed_is_accepted_back(memory: Asked) -> None:
    memory.event({"role": "assistant", "content": "hé\u0000", "n": 1.5}, tags=["t"], entities=["E"], kind="message")
    memory.event("later", ts="2026-01-01T00:00:00.123456Z")
    memory.write("set_pinned", kind="event", id=memory.read("list_events")["events"][0]["event_id"], pinned=True)
    listed = memory.read("list_events")["events"]
    again = memory.write("append_events", events=listed)["results"]
    assert all(one["duplicate"] for one in again)
    assert memory.read("list_events")["events"] == listed


def test_a_listed_event_has_all_its_fields(memory: Asked) -> None:
    memory.event("x", event_id="e1", ts_ms=1)
    (event,) = memory.read("list_events")["events"]
    assert {name: event[name] for name in ("event_id", "scope", "kind", "payload", "ts", "tags", "entities", "pinned",
                                           "recall_count")} == {
        "event_id": "e1", "scope": SCOPE, "kind": "message", "payload": "x", "ts": "1970-01-01T00:00:00.001Z",
        "tags": [], "entities": [], "pinned": False, "recall_count": 0}
    assert set(event) >= {"seq", "created_at", "updated_at"}


@pytest.mark.parametrize("text", ["", " ", "\u0000\u0001\u001b[31m", "\u2028\u2029", "\U0001f469\u200d\U0001f4bb",
                                  "Ω≈ç√", "שלום"])
def test_any_text_comes_back_unchanged(memory: Asked, text: str) -> None:
    memory.event({"content": text, text: 1})
    assert texts(memory) == [{"content": text, text: 1}]


def test_ten_megabytes_come_back_unchanged(memory: Asked, backend: str) -> None:
    text = "word " * (1_000_000 if backend == "mariadb" else 2_000_000)  # its server takes 16 MiB in a statement
    memory.event(text)
    assert texts(memory) == [text]


def test_the_rendered_reply_is_the_id_and_a_line_end(memory: Asked) -> None:
    event = {"scope": SCOPE, "event_id": "e1", "payload": 1}
    (reply,) = memory.engine.write([("append_event", {"event": event, "render": True})])
    assert isinstance(reply, bytes) and json.loads(reply) == "e1\n"


@pytest.mark.parametrize(("params", "said"), [
    ({"limit": 0}, "limit is 0; allowed is a whole number from 1"),
    ({"limit": 10**30}, "limit is 1000"), ({"limit": True}, "limit is true"), ({"limit": "5"}, "limit is '5'"),
    ({"after_seq": -1}, "after_seq is -1"), ({"after_seq": 10**30}, "after_seq is 1000"),
    ({"level": "tenant"}, "level is 'tenant'; allowed are run, session, owner"),
    ({"time_range": {"start": "2026-01-01"}}, "time_range.start is '2026-01-01', which has no time zone"),
    ({"time_range": {"start_ms": 2, "end_ms": 1}}, "time_range: the end .* lies before the start"),
    ({"time_range": []}, r"time_range is \[\]; allowed is an object"),
    ({"scope": {}}, "scope.user_id is missing"), ({"scope": "x", "cwd": "/"}, "scope is 'x'; allowed is an object"),
    ({"scope": {}, "cwd": 3}, "cwd is 3"),
    ({"scope": {**SCOPE, "user": "x"}}, "scope has the unknown key 'user'.*did you mean user_id"),
    ({"scope": {**SCOPE, "run_id": ""}}, "scope.run_id is empty"),
    ({"scope": {**SCOPE, "run_id": "x" * 121}}, "scope.run_id is 121 characters long; allowed is text of 1 to 110"),
])
def test_bad_parameters_are_named(memory: Asked, params: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        memory.read("list_events", **params)
