"""Spans of OpenTelemetry, in the words of its conventions for memory operations of generative AI.

Driven by `memory` and `aio` when the program has loaded opentelemetry-api: without it, or a provider, there is nobody
to see a span. What was said and asked is left out unless OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT is true.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace

from engram_core._version import __version__
from engram_core.errors import EngramError

__all__ = ["OPERATIONS", "span"]

OPERATIONS: Mapping[str, str] = {
    "build_memory_packet": "search_memory", "search": "search_memory", "list_events": "search_memory",
    "get_working_state": "search_memory", "get_stm": "search_memory", "list_facts": "search_memory",
    "list_episodes": "search_memory", "list_procedures": "search_memory", "list_insights": "search_memory",
    "list_context_builds": "search_memory", "explain": "search_memory",
    "append_event": "create_memory", "append_events": "create_memory", "append_episode": "create_memory",
    "append_insight": "create_memory", "write_context_build": "create_memory",
    "upsert_fact": "upsert_memory", "upsert_procedure": "upsert_memory", "update_stm": "upsert_memory",
    "patch_working_state": "update_memory", "update_insight": "update_memory", "set_pinned": "update_memory",
    "end_run": "update_memory", "forget": "delete_memory",
}
"""What each call is in the conventions; calls about policies or the daemon have no span."""
_IDS = {"upsert_fact": "fact_id", "append_event": "event_id", "append_episode": "episode_id", "append_insight": "id",
        "upsert_procedure": "procedure_id"}
_LISTS = ("hits", "events", "facts", "episodes", "procedures", "insights", "builds", "results")
_CONTENT = {"append_event": "event", "append_events": "events", "append_episode": "episode",
            "append_insight": "insight", "write_context_build": "packet", "upsert_fact": "fact",
            "upsert_procedure": "procedure", "update_stm": "stm_state", "patch_working_state": "patch",
            "update_insight": "patch"}
_NOTHING: dict[str, Any] = {}


class Seen:
    """What the call hands over for its span."""

    __slots__ = ("result",)

    def __init__(self) -> None:
        self.result: Any = None


@contextmanager
def span(method: str, params: Mapping[str, Any]) -> Iterator[Seen]:
    """Record a call as a span of its kind, with what it was about and what came of it."""
    seen = Seen()
    operation = OPERATIONS.get(method)
    if operation is None:
        yield seen
        return
    tracer = trace.get_tracer("engram", __version__)
    with tracer.start_as_current_span(operation, kind=trace.SpanKind.CLIENT, record_exception=False,
                                      set_status_on_exception=False) as current:
        if not current.is_recording():
            yield seen
            return
        current.set_attributes({"gen_ai.operation.name": operation, "gen_ai.provider.name": "engram",
                                "engram.method": method, **_about(params)})
        if _captures():
            current.set_attributes(_content(method, params))
        try:
            yield seen
        except EngramError as error:  # its message may quote what was sent
            current.set_attribute("error.type", error.kind)
            current.set_status(trace.StatusCode.ERROR, str(error) if _captures() else error.kind)
            raise
        current.set_attributes(_outcome(method, seen.result))


def _captures() -> bool:
    return os.environ.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "").lower() == "true"


def _about(params: Mapping[str, Any]) -> dict[str, str]:
    """Return whose memory it is: ids, no content."""
    held = params.get("request") or params.get("event") or params
    scope = held.get("scope", _NOTHING) if isinstance(held, Mapping) else _NOTHING
    if not isinstance(scope, Mapping):
        return {}
    names = {"session_id": "gen_ai.conversation.id", "agent_id": "gen_ai.agent.id", "user_id": "user.id",
             "tenant_id": "engram.tenant.id", "run_id": "engram.run.id"}
    return {names[name]: value for name, value in scope.items() if name in names and isinstance(value, str)}


def _content(method: str, params: Mapping[str, Any]) -> dict[str, str]:
    request = params.get("request")
    query = params.get("query") or (request.get("query") if isinstance(request, Mapping) else None)
    found = {"gen_ai.memory.query.text": query} if isinstance(query, str) else {}
    written = params.get(_CONTENT.get(method, ""))
    if written is not None:
        found["gen_ai.memory.records"] = json.dumps(written, ensure_ascii=False, default=str)
    return found


def _outcome(method: str, result: Any) -> dict[str, Any]:
    """Return how many memories a call gave, and the id of what it wrote."""
    if not isinstance(result, dict):
        return {}
    found: dict[str, Any] = {}
    for name in _LISTS:
        if isinstance(result.get(name), list):
            found["gen_ai.memory.record.count"] = len(result[name])
    if isinstance(result.get(_IDS.get(method, "")), str):
        found["gen_ai.memory.record.id"] = result[_IDS[method]]
    if method == "build_memory_packet" and "budget_report" in result:
        report = result["budget_report"]
        found |= {"engram.packet.used_tokens": report["used_tokens"], "engram.packet.max_tokens": report["max_tokens"],
                  "engram.packet.omissions": len(report["omissions"])}
        if "explain" in result:
            found["gen_ai.memory.record.count"] = len(result["explain"]["selected"])
    return found
