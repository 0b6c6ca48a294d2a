"""Events checked and made canonical without any model library, because the first append on a cold machine waits for it.

The rules equal those of ``models.Event``; a property test feeds both the same events. Also what an event says as a
turn of a conversation: role, speaker, text and the tool calls it makes or answers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from engram_core.errors import BadInput, UnknownField, nearest
from engram_core.scope import Scope, check_scope
from engram_core.values import check_id, check_ms, check_names, dump_json, format_time, parse_time, same_json, show

EVENT_KINDS = ("message", "tool_result", "state_patch", "system")
ROLES = ("user", "assistant", "tool", "system")
_FIELDS = ("event_id", "scope", "kind", "payload", "ts", "ts_ms", "tags", "entities")
_KEPT = frozenset(("seq", "created_at", "updated_at", "recalled_at", "recall_count", "pinned"))  # the store's: ignored
_ROLE_NAMES = {"user": "user", "human": "user", "assistant": "assistant", "ai": "assistant", "model": "assistant",
               "tool": "tool", "function": "tool", "system": "system", "developer": "system"}


class Event(NamedTuple):
    """A canonical event: checked, with its time fixed; ``timed`` says whether the caller gave the time.

    ``json`` is the payload as it is stored, written once.
    """

    scope: Scope
    event_id: str
    kind: str
    payload: Any
    ts_ms: int
    timed: bool
    tags: list[str]
    entities: list[str]
    json: str

    def says(self, stored: dict[str, Any]) -> bool:
        """Tell whether a stored event has the same content: everything but scope, id and time."""
        return (self.kind == stored["kind"] and self.tags == stored.get("tags", [])
                and self.entities == stored.get("entities", []) and same_json(self.payload, stored["payload"]))


class Turn(NamedTuple):
    """What an event says in a conversation; ``calls`` are ids of tool calls it makes, ``answers`` the answered one."""

    role: str
    name: str
    text: str
    calls: tuple[str, ...]
    answers: str


def check_event(value: object, *, at_ms: int, new_id: str = "") -> Event:
    """Return the canonical event; raise BadInput naming field, value and what is allowed.

    ``at_ms`` is the time when the event carries none, ``new_id`` its id when it carries none.
    """
    if type(value) is not dict:
        raise BadInput(f"event is {show(value)}; allowed is an object with {', '.join(_FIELDS)}")
    for key in value:
        if key not in _FIELDS and key not in _KEPT:
            near = nearest(str(key), list(_FIELDS))
            raise UnknownField(f"event has the unknown key {show(key)}; known are {', '.join(_FIELDS)}",
                               hint=f"did you mean {near}?" if near else "put your own data into payload")
    kind = value.get("kind", "message")
    if type(kind) is not str or kind not in EVENT_KINDS:
        near = nearest(kind, list(EVENT_KINDS)) if type(kind) is str else ""
        raise BadInput(f"event.kind is {show(kind)}; allowed are {', '.join(EVENT_KINDS)}",
                       hint=f"did you mean {near}?" if near else "leave it out for a message")
    if "payload" not in value:
        raise BadInput("event.payload is missing", hint='give a text, or an object like {"role":"user","content":"…"}')
    ms, text, given = value.get("ts_ms"), value.get("ts"), value.get("event_id")
    said = parse_time("event.ts", text) if text is not None else at_ms
    event = Event(
        check_scope(value.get("scope"), "event.scope"),
        check_id("event.event_id", given) if given is not None else new_id,
        kind, value["payload"], check_ms("event.ts_ms", ms) if ms is not None else said,
        ms is not None or text is not None,
        _names("event.tags", value.get("tags")), _names("event.entities", value.get("entities")),
        dump_json(value["payload"], "event.payload"),
    )
    check_role(event.kind, event.payload)
    return event


def _names(field: str, value: object) -> list[str]:
    found = [] if value is None else check_names(field, value)
    for at, name in enumerate(found):
        if not name:
            raise BadInput(f"{field}[{at}] is empty; allowed is text of at least 1 character")
    return found


def check_role(kind: str, payload: Any) -> None:
    """Raise BadInput for a message whose role nobody knows."""
    if kind == "message" and type(payload) is dict and payload.get("role") is not None:
        role = payload["role"]
        if type(role) is not str or role.lower() not in _ROLE_NAMES:
            near = nearest(role.lower(), list(_ROLE_NAMES)) if type(role) is str else ""
            raise BadInput(f"event.payload.role is {show(role)}; allowed are {', '.join(ROLES)}",
                           hint=f"did you mean {near}?" if near else "leave it out for a user's turn")


def event_json(event: Event) -> str:
    """Write the event as it is stored and listed, without its scope."""
    text = (f'{{"event_id":{dump_json(event.event_id)},"kind":"{event.kind}","payload":{event.json},'
            f'"ts":"{format_time(event.ts_ms)}"')
    if event.tags:
        text += f',"tags":{dump_json(event.tags)}'
    if event.entities:
        text += f',"entities":{dump_json(event.entities)}'
    return text + "}"


def turn_of(kind: str, payload: Any) -> Turn | None:
    """Return what the event says as a conversation turn, None when it says nothing to anyone."""
    if kind == "message":
        if type(payload) is str:
            return Turn("user", "", payload, (), "")
        if type(payload) is not dict:
            return None
        role = _ROLE_NAMES.get(str(payload.get("role", "user")).lower(), "user")
        return Turn(role, _text(payload.get("name")), _content(payload), _calls(payload), _answers(payload))
    if kind == "tool_result":
        if type(payload) is dict:
            return Turn("tool", _text(payload.get("name")), _content(payload), (), _answers(payload))
        return Turn("tool", "", payload if type(payload) is str else dump_json(payload, "payload"), (), "")
    return None


def _text(value: Any) -> str:
    return value if type(value) is str else ""


def _answers(payload: dict[str, Any]) -> str:
    return _text(payload.get("tool_call_id"))


def _calls(payload: dict[str, Any]) -> tuple[str, ...]:
    calls = payload.get("tool_calls")
    if type(calls) is not list:
        return ()
    return tuple(call["id"] for call in calls if type(call) is dict and type(call.get("id")) is str)


def _content(payload: dict[str, Any]) -> str:
    """The words of a message: content or text; content parts joined; a call without words shows the call."""
    found = payload.get("content")
    if found is None:
        found = payload.get("text")
    if found is None:
        found = payload.get("result", payload.get("output"))
    if type(found) is list and found and all(type(part) is dict for part in found):
        words = "\n".join(part["text"] for part in found if type(part.get("text")) is str)
        if words:
            return words
    if found is None or found == "":
        calls = payload.get("tool_calls")
        return dump_json(calls, "payload.tool_calls") if calls else ""
    return found if type(found) is str else dump_json(found, "payload.content")
