"""A session: what makes agents short to write. Short names for a few calls of a Memory, with the scope filled in.

Driven by ``Memory.session`` and ``AsyncMemory.session``. There is nothing in it that the Memory itself does not do;
``scope`` is the dict for all other calls.
"""

from __future__ import annotations

import time

from engram_core.errors import BadInput, EngramError
from engram_core.ids import new_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

    from engram.aio import AsyncMemory
    from engram.memory import Memory
    from engram.types import Appended, FactWritten, Packet, Scope

__all__ = ["AsyncSession", "Session"]


class _Talk:
    """What both sessions know: the scope, and which tool calls have been told already."""

    def __init__(self, *, user: str, agent: str, session: str | None, run: str | None, tenant: str) -> None:
        now = time.time_ns() // 1_000_000
        self.scope: Scope = {"tenant_id": tenant, "user_id": user, "agent_id": agent,
                             "session_id": new_id("s_", now) if session is None else session,
                             "run_id": new_id("r_", now) if run is None else run}
        self._called: set[str] = set()

    def _said(self, role: str, content: Any, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the event of a turn; a message as a model's API has it is taken as it is."""
        message = {**content, "role": role} if isinstance(content, dict) else {"role": role, "content": content}
        if "name" in fields:
            message["name"] = fields.pop("name")
        for call in message.get("tool_calls") or ():
            if isinstance(call, dict) and isinstance(call.get("id"), str):
                self._called.add(call["id"])
        return {"scope": self.scope, "payload": message, **fields}

    def _used(self, call: dict[str, Any] | str, result: Any) -> list[Any]:
        """Return the events of a tool's use: the call, unless an assistant's message told it, and its result."""
        made: Any = {"type": "function", "function": {"name": call, "arguments": "{}"}}
        made = made if isinstance(call, str) else call
        if not isinstance(made, dict):
            raise BadInput(f"call is {repr(call)[:60]}; allowed is the name of a tool or a tool call",
                           hint='a tool call is {"id": …, "function": {"name": …, "arguments": …}}')
        if not made.get("id"):
            made = {**made, "id": new_id("call_", time.time_ns() // 1_000_000)}
        name = made["function"].get("name") if isinstance(made.get("function"), dict) else made.get("name")
        answer = {"tool_call_id": made["id"], "content": result, **({"name": name} if isinstance(name, str) else {})}
        events = [{"scope": self.scope, "kind": "tool_result", "payload": answer}]
        if made["id"] not in self._called:
            self._called.add(made["id"])
            events.insert(0, {"scope": self.scope,
                              "payload": {"role": "assistant", "content": None, "tool_calls": [made]}})
        return events

    def _asked(self, purpose: str, query: str | None, max_tokens: int | None, request: dict[str, Any]) -> Any:
        if max_tokens is not None:
            request["budget"] = {**(request.get("budget") or {}), "max_tokens": max_tokens}
        return {"scope": self.scope, "purpose": purpose, "query": query, **request}


class Session(_Talk):
    """Talk in one run of one session; leaving the ``with`` ends the run."""

    def __init__(self, memory: Memory, **ids: Any) -> None:
        super().__init__(**ids)
        self._memory = memory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None,
                 trace: TracebackType | None) -> None:
        try:
            self.end()
        except EngramError:
            if exc is None:  # else what went wrong first is what the caller should see
                raise

    def user(self, content: Any, **fields: Any) -> Appended:
        """Append what the user said; ``fields`` are those of an event, and ``name``, the speaker."""
        return self._memory.append_event(self._said("user", content, fields))

    def assistant(self, content: Any, **fields: Any) -> Appended:
        """Append what the assistant said: a text, or a message of a model's API with its tool calls."""
        return self._memory.append_event(self._said("assistant", content, fields))

    def tool(self, call: dict[str, Any] | str, result: Any) -> list[Appended]:
        """Append a tool call and its result together, or the result alone where an assistant message told the call."""
        return self._memory.append_events(self._used(call, result))

    def remember(self, key: str, value: Any, **fields: Any) -> FactWritten:
        """Set a fact; ``fields`` are those of a fact."""
        return self._memory.upsert_fact(self.scope, {"fact_key": key, "value": value, **fields})

    def packet(self, purpose: str = "responder", *, query: str | None = None, max_tokens: int | None = None,
               **request: Any) -> Packet:
        """Return the memories for a purpose; ``request`` are further fields of a packet's request."""
        return self._memory.build_memory_packet(self._asked(purpose, query, max_tokens, request))

    def end(self) -> None:
        """End the run: what was true for it alone expires."""
        self._memory.end_run(self.scope)


class AsyncSession(_Talk):
    """Talk in one run of one session; leaving the ``async with`` ends the run."""

    def __init__(self, memory: AsyncMemory, **ids: Any) -> None:
        super().__init__(**ids)
        self._memory = memory

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, exc: BaseException | None,
                        trace: TracebackType | None) -> None:
        try:
            await self.end()
        except EngramError:
            if exc is None:  # else what went wrong first is what the caller should see
                raise

    async def user(self, content: Any, **fields: Any) -> Appended:
        """Append what the user said; ``fields`` are those of an event, and ``name``, the speaker."""
        return await self._memory.append_event(self._said("user", content, fields))

    async def assistant(self, content: Any, **fields: Any) -> Appended:
        """Append what the assistant said: a text, or a message of a model's API with its tool calls."""
        return await self._memory.append_event(self._said("assistant", content, fields))

    async def tool(self, call: dict[str, Any] | str, result: Any) -> list[Appended]:
        """Append a tool call and its result together, or the result alone where an assistant message told the call."""
        return await self._memory.append_events(self._used(call, result))

    async def remember(self, key: str, value: Any, **fields: Any) -> FactWritten:
        """Set a fact; ``fields`` are those of a fact."""
        return await self._memory.upsert_fact(self.scope, {"fact_key": key, "value": value, **fields})

    async def packet(self, purpose: str = "responder", *, query: str | None = None, max_tokens: int | None = None,
                     **request: Any) -> Packet:
        """Return the memories for a purpose; ``request`` are further fields of a packet's request."""
        return await self._memory.build_memory_packet(self._asked(purpose, query, max_tokens, request))

    async def end(self) -> None:
        """End the run: what was true for it alone expires."""
        await self._memory.end_run(self.scope)
