"""Messages of LangChain as events of Engram, and back. Driven by the history, the injector and the middleware.

A message's id names its event, so the same message recorded twice is one event; the event's payload is what a model's
API calls a message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

__all__ = ["event_of", "message_of", "text_of"]

_ROLES = {"human": "user", "ai": "assistant", "tool": "tool", "system": "system"}


def text_of(message: BaseMessage) -> str:
    """Return the text of a message, whatever blocks it is made of."""
    if isinstance(message.content, str):
        return message.content
    return "\n".join(one if isinstance(one, str) else str(one.get("text", "")) for one in message.content
                     if isinstance(one, str) or one.get("type") == "text")


def event_of(message: BaseMessage, scope: Mapping[str, Any], place: object = None) -> dict[str, Any] | None:
    """Return the event that a message is; None for one without anything to keep.

    ``place`` stands for a message that has no id: where it is in its conversation.
    """
    role = _ROLES.get(message.type)
    if role is None:
        return None
    payload: dict[str, Any] = {"role": role, "content": text_of(message)}
    if message.name:
        payload["name"] = message.name
    kind = "message"
    if isinstance(message, AIMessage) and message.tool_calls:
        payload["tool_calls"] = [
            {"id": call["id"] or "", "type": "function", "function": {
                "name": call["name"], "arguments": json.dumps(call["args"], ensure_ascii=False, default=str)}}
            for call in message.tool_calls]
        payload["content"] = payload["content"] or None
    elif isinstance(message, ToolMessage):
        kind = "tool_result"
        payload = {**payload, "tool_call_id": message.tool_call_id,
                   **({"status": "error"} if message.status == "error" else {})}
    event: dict[str, Any] = {"scope": dict(scope), "kind": kind, "payload": payload}
    if message.id or place is not None:
        known = message.id or json.dumps([place, payload], sort_keys=True)
        digest = blake2b(f"{scope['session_id']}\0{known}".encode("utf-8", "replace"), digest_size=12).hexdigest()
        event["event_id"] = f"lc_{digest}"
        if message.id:
            payload["id"] = message.id
    return event


def message_of(event: Mapping[str, Any]) -> BaseMessage | None:
    """Return the message that an event is, None for one that is none."""
    payload = event["payload"]
    if isinstance(payload, str):
        return HumanMessage(payload, id=event["event_id"]) if event["kind"] == "message" else None
    if event["kind"] not in ("message", "tool_result") or not isinstance(payload, Mapping):
        return None
    content = payload.get("content", payload.get("text"))
    common: dict[str, Any] = {"content": content if isinstance(content, str) else "" if content is None else
                              json.dumps(content, ensure_ascii=False), "id": payload.get("id") or event["event_id"]}
    if payload.get("name"):
        common["name"] = payload["name"]
    if event["kind"] == "tool_result" or payload.get("role") == "tool":
        return ToolMessage(**common, tool_call_id=payload.get("tool_call_id") or "",
                           status=payload.get("status", "success"))
    role = payload.get("role", "user")
    if role in ("assistant", "ai", "model"):
        return AIMessage(**common, tool_calls=_calls(payload.get("tool_calls") or ()))
    return (SystemMessage if role in ("system", "developer") else HumanMessage)(**common)


def _calls(calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for call in calls:
        function = call.get("function") or {}
        try:
            args = json.loads(function.get("arguments") or "{}")
        except ValueError:
            args = {"arguments": function.get("arguments")}
        found.append({"id": call.get("id"), "name": function.get("name") or "", "type": "tool_call",
                      "args": args if isinstance(args, dict) else {"arguments": args}})
    return found
