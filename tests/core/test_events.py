"""Events: the quick check and the pydantic model accept and refuse the same; what an event says as a turn."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_core.errors import BadInput
from engram_core.events import EVENT_KINDS, Turn, check_event, event_json, turn_of
from engram_core.models import Event, build
from engram_core.values import format_time

SCOPE = {"tenant_id": "t", "user_id": "u", "agent_id": "a", "session_id": "s", "run_id": "r"}

TEXTS = st.text(max_size=5) | st.sampled_from(["\ud800", "a\0", "x" * 120, "x" * 121, "", "é", "\x7f", "\x80"])
ODD = st.sampled_from([None, True, 0, 1, 1.5, -1, float("nan"), [], {}, "", "x", ["x"], [1], {"x": 1}, 10**20, b"x"])
TIMES = st.sampled_from(["2026-01-31T09:30:00Z", "2026-01-31T09:30:00", "2026-01-31", "soon", "",
                         "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.9999Z", "2026-01-31T09:30:00+02:00"])
STAMPS = st.sampled_from([0, -1, 1767225600000, 253402300799999, 253402300800000, -62135596800000, -62135596800001])
PAYLOADS = st.recursive(TEXTS | st.integers() | st.floats() | st.none(), lambda inner: st.lists(inner, max_size=2)
                        | st.dictionaries(TEXTS, inner, max_size=2), max_leaves=4)
ROLES = st.sampled_from(["user", "Assistant", "AI", "usr", "", "system", "tool", "İ"])
SCOPES = st.fixed_dictionaries(dict.fromkeys(SCOPE, TEXTS | ODD)) | st.dictionaries(
    st.sampled_from([*SCOPE, "user", ""]), TEXTS, max_size=6) | st.just(SCOPE)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "event_id": TEXTS | ODD, "scope": st.just(SCOPE) | SCOPES | ODD,
    "kind": st.sampled_from([*EVENT_KINDS, "mesage", "Message"]) | ODD,
    "payload": PAYLOADS | ODD | st.fixed_dictionaries({"role": ROLES | ODD}), "ts": TIMES | ODD,
    "ts_ms": STAMPS | ODD, "tags": st.lists(TEXTS, max_size=2) | ODD, "entities": st.lists(TEXTS, max_size=2) | ODD,
    "seq": ODD, "created_at": ODD, "pinned": ODD, "recall_count": ODD, "version": ODD, "expired": ODD, "evnet_id": ODD,
}


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """Mostly good events with a few fields replaced or left out: ones that are all wrong would show little."""
    changed = draw(st.lists(st.sampled_from(list(FIELDS)), max_size=3, unique=True))
    event = {"scope": SCOPE, "payload": "x", **{name: draw(FIELDS[name]) for name in changed}}
    left_out = draw(st.sampled_from([None, None, None, None, "scope", "payload"]))
    return {name: value for name, value in event.items() if name != left_out}


@settings(max_examples=1500)
@given(events())
def test_the_quick_check_and_the_model_agree(event: dict[str, Any]) -> None:
    try:
        quick = check_event(event, at_ms=7, new_id="made")
    except BadInput as error:
        assert error.message
        with pytest.raises(BadInput):
            build(Event, event, "event", keep=True)
        return
    slow = build(Event, event, "event", keep=True)
    assert quick.scope._asdict() == {**slow.scope.model_dump(), "tenant_id": slow.scope.tenant_id or "default"}
    assert quick.event_id == (slow.event_id or "made")
    assert (quick.kind, quick.tags, quick.entities) == (slow.kind, slow.tags or [], slow.entities or [])
    assert quick.timed is (slow.ts is not None or slow.ts_ms is not None)
    if slow.ts_ms is not None:
        assert quick.ts_ms == slow.ts_ms
    else:
        assert format_time(quick.ts_ms) == (slow.ts or format_time(7))


@settings(max_examples=300)
@given(st.sampled_from(list(FIELDS)).flatmap(lambda name: st.tuples(st.just(name), FIELDS[name])))
def test_a_refusal_names_the_field(field: tuple[str, Any]) -> None:
    name, value = field
    try:
        check_event({"scope": SCOPE, "payload": "x", name: value}, at_ms=0)
    except BadInput as error:
        assert error.message.startswith("event")
        assert name in error.message


@pytest.mark.parametrize(("event", "said"), [
    ([], r"event is \[\]; allowed is an object with event_id, scope"),
    ({"evnt_id": "x"}, "event has the unknown key 'evnt_id'.*did you mean event_id"),
    ({"scope": SCOPE}, "event.payload is missing; give a text, or an object like"),
    ({"payload": 1}, "event.scope is null; allowed is an object with tenant_id"),
    ({"scope": {"user_id": "u"}, "payload": 1}, "event.scope.agent_id is missing; give all of user_id"),
    ({"scope": SCOPE, "payload": {"a": float("nan")}}, "event.payload.a is nan"),
    ({"scope": SCOPE, "payload": {"role": "asistant"}},
     "event.payload.role is 'asistant'; allowed are user.*assistant"),
    ({"scope": SCOPE, "payload": 1, "kind": "mesage"}, "event.kind is 'mesage'; allowed are.*did you mean message"),
    ({"scope": SCOPE, "payload": 1, "tags": "a"}, "event.tags is 'a'; allowed is a list of texts"),
    ({"scope": SCOPE, "payload": 1, "tags": ["a", ""]}, r"event.tags\[1\] is empty; allowed is text of at least 1"),
    ({"scope": SCOPE, "payload": 1, "entities": [""]}, r"event.entities\[0\] is empty; allowed is text of at least 1"),
    ({"scope": SCOPE, "payload": 1, "ts": "2026-01-31T09:30"},
     "event.ts is '2026-01-31T09:30', which has no time zone"),
    ({"scope": SCOPE, "payload": 1, "ts": "bad", "ts_ms": 1}, "event.ts is 'bad'"),
])
def test_refusals_are_one_clear_line(event: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        check_event(event, at_ms=0)
    assert "\n" not in str(caught.value)


def test_ts_ms_wins_over_ts() -> None:
    event = check_event({"scope": SCOPE, "payload": 1, "ts": "2026-01-31T09:30:00Z", "ts_ms": 5}, at_ms=0)
    assert (event.ts_ms, event.timed) == (5, True)


def test_the_stored_form_has_what_was_given() -> None:
    given = {"scope": SCOPE, "event_id": 'e"1', "payload": {"a": "\u2028"}, "tags": ["t"], "ts_ms": 0}
    event = check_event(given, at_ms=5)
    assert event_json(event) == ('{"event_id":"e\\"1","kind":"message","payload":{"a":"\u2028"},'
                                 '"ts":"1970-01-01T00:00:00Z","tags":["t"]}')


@pytest.mark.parametrize(("kind", "payload", "turn"), [
    ("message", "hi", Turn("user", "", "hi", (), "")),
    ("message", {"role": "AI", "content": "hi", "name": "Ana"}, Turn("assistant", "Ana", "hi", (), "")),
    ("message", {"text": "hi"}, Turn("user", "", "hi", (), "")),
    ("message", {"role": "system", "content": "be kind"}, Turn("system", "", "be kind", (), "")),
    ("message", {"content": [{"type": "text", "text": "a"}, {"type": "image"}, {"text": "b"}]},
     Turn("user", "", "a\nb", (), "")),
    ("message", {"role": "assistant", "content": None, "tool_calls": [{"id": "c1"}, {"id": 5}, "x"]},
     Turn("assistant", "", '[{"id":"c1"},{"id":5},"x"]', ("c1",), "")),
    ("tool_result", {"tool_call_id": "c1", "content": {"ok": True}}, Turn("tool", "", '{"ok":true}', (), "c1")),
    ("tool_result", [1, 2], Turn("tool", "", "[1,2]", (), "")),
    ("message", 5, None), ("message", [], None), ("state_patch", {"content": "x"}, None), ("system", "boot", None),
])
def test_what_an_event_says(kind: str, payload: Any, turn: Turn | None) -> None:
    assert turn_of(kind, payload) == turn


@given(st.sampled_from(EVENT_KINDS), PAYLOADS | st.dictionaries(
    st.sampled_from(["role", "content", "text", "name", "tool_calls", "tool_call_id", "result"]), PAYLOADS))
def test_any_payload_may_be_asked(kind: str, payload: Any) -> None:
    try:
        found = turn_of(kind, payload)
    except BadInput:
        return  # never stored: check_event refuses it
    assert found is None or (found.role in ("user", "assistant", "tool", "system") and type(found.text) is str)
