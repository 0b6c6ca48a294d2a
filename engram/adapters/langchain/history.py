"""The adapters of the earlier library by their names: history, context injector, checkpointer, node middleware.

Driven by programs written for them. They are thin: everything is an operation of ``Memory``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage, SystemMessage

from engram.adapters.langchain.messages import event_of, message_of
from engram.memory import Memory
from engram_core.errors import BadInput

__all__ = ["EngramChatMessageHistory", "EngramCheckpointer", "EngramContextInjector", "EngramNodeMiddleware"]

_STATE = ("goal", "plan", "slots", "constraints", "tool_evidence", "decisions", "risks", "open_loops")
_ROOM = 500_000


class EngramChatMessageHistory(BaseChatMessageHistory):
    """The turns of a session as messages; LangChain has deprecated histories, and this works as long as it has them."""

    def __init__(self, memory: Memory, scope: Mapping[str, Any], limit: int | None = None) -> None:
        self._memory, self._scope, self._limit = memory, dict(scope), limit

    @property
    def messages(self) -> list[BaseMessage]:
        """The newest ``limit`` messages of the session, or all, in their order."""
        events = self._memory.list_events(self._scope, limit=self._limit, level="session")
        return [message for event in events if (message := message_of(event)) is not None]

    @messages.setter
    def messages(self, messages: list[BaseMessage]) -> None:
        raise BadInput("messages of a history cannot be set", hint="use add_messages, or clear")

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Append messages; one with an id that is there already is not appended again."""
        events: list[Any] = [event for message in messages if (event := event_of(message, self._scope)) is not None]
        if events:
            self._memory.append_events(events)

    def clear(self) -> None:
        """Forget the turns of the session."""
        self._memory.forget(self._scope, {"kinds": ["event"], "session": True})


class EngramContextInjector:
    """Build packets for prompts."""

    def __init__(self, memory: Memory, scope: Mapping[str, Any]) -> None:
        self._memory, self._scope = memory, dict(scope)

    def build_packet(self, purpose: str = "responder", task_type: str = "generic", **request: Any) -> Any:
        """Return the packet for a purpose; further arguments are those of a request, as query and budget."""
        return self._memory.build_memory_packet({
            "scope": self._scope, "purpose": purpose, "task_type": task_type, **request})

    def messages(self, query: str | None = None, purpose: str = "responder", task_type: str = "generic",
                 **request: Any) -> list[BaseMessage]:
        """Return the packet as a system message to stand before a conversation; nothing when there is nothing."""
        packet: Any = self._memory.build_memory_packet({
            "scope": self._scope, "purpose": purpose, "task_type": task_type, "query": query, **request},
            format="markdown")
        return [SystemMessage(packet["text"])] if packet["text"].strip() else []


class EngramCheckpointer:
    """Keep a graph's state as the working state of a run; for LangGraph itself there is ``EngramSaver``."""

    def __init__(self, memory: Memory, scope: Mapping[str, Any]) -> None:
        self._memory, self._scope = memory, dict(scope)

    def put(self, state: Mapping[str, Any]) -> Any:
        """Store a state and return the working state: fields of it are replaced, other keys become slots."""
        slots = {key: value for key, value in state.items() if key not in _STATE and key != "state_version"}
        return self._memory.patch_working_state(
            self._scope, {key: value for key, value in state.items() if key in _STATE}, merge_slots=slots or None)

    def get(self) -> Any:
        """Return the working state of the run, None when it has none."""
        return self._memory.get_working_state(self._scope)


class EngramNodeMiddleware:
    """Give a node its packet and record what it changed."""

    def __init__(self, memory: Memory, scope: Mapping[str, Any]) -> None:
        self._memory, self._scope = memory, dict(scope)

    def before_node(self, state: Mapping[str, Any], purpose: str = "planner", task_type: str = "generic",
                    **request: Any) -> dict[str, Any]:
        """Return the state with the packet under ``memory_packet``."""
        packet = self._memory.build_memory_packet({
            "scope": self._scope, "purpose": purpose, "task_type": task_type, **request})
        return {**state, "memory_packet": packet}

    def after_node(self, update: Mapping[str, Any], **event: Any) -> dict[str, Any]:
        """Record a node's update: messages as turns, all else as a change of state; return it without the packet."""
        kept = {key: value for key, value in update.items() if key != "memory_packet"}
        messages = [one for one in kept.get("messages") or () if isinstance(one, BaseMessage)]
        events: list[Any] = [one for message in messages if (one := event_of(message, self._scope)) is not None]
        patch = {key: value for key, value in kept.items() if key != "messages" or not messages}
        if patch:
            events.append({"scope": self._scope, "kind": "state_patch", "payload": patch, **event})
        if events:
            self._memory.append_events(events)
        return kept
