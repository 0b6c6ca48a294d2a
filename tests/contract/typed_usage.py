"""Programs as a type checker sees them; checked by mypy --strict in test_typing.py and never run.

A line with ``type: ignore`` is one that must be wrong: mypy complains about an ignore that is not needed.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, assert_type

import pydantic

from engram import AsyncMemory, AsyncSession, BadInput, EngramError, Memory, Session
from engram.types import Appended, FactWritten, Hit, Packet, Scope, StoredEvent, StoredFact, WorkingState

scope: Scope = {"user_id": "ada", "agent_id": "bot", "session_id": "s", "run_id": "r"}


class Note(pydantic.BaseModel):
    """A model of a user's own."""

    payload: str
    scope: dict[str, str]


def blocking(memory: Memory, plain: dict[str, str]) -> None:
    """Use a Memory."""
    assert_type(memory.append_event({"scope": scope, "payload": "x"}), Appended)
    assert_type(memory.append_event(Note(payload="x", scope=plain)), Appended)
    assert_type(memory.append_events([{"scope": plain, "payload": {"content": "x"}}]), list[Appended])
    assert_type(memory.list_events(scope, {"start_ms": 1}, 10), list[StoredEvent])
    assert_type(memory.list_events(plain)[0]["seq"], int)
    assert_type(memory.get_working_state(scope), WorkingState | None)
    assert_type(memory.upsert_fact(scope, {"fact_key": "k", "value": 1}), FactWritten)
    assert_type(memory.list_facts(scope, {"status": ["active"]}), list[StoredFact])
    assert_type(memory.build_memory_packet({"scope": scope, "query": "q"}, format="text"), Packet)
    assert_type(memory.search(scope, "q", limit=3), list[Hit])
    assert_type(memory.stream("append_event", []), Generator[Any | EngramError])
    memory.update_stm(scope, {"rolling_summary": ""})
    memory.append_event("text")  # type: ignore[arg-type]
    memory.list_events(scope, limit="3")  # type: ignore[arg-type]
    memory.search(scope)  # type: ignore[call-arg]
    memory.append_evnt({})  # type: ignore[attr-defined]
    print(memory.search(scope, "q")[0]["colour"])  # type: ignore[typeddict-item]
    error: ValueError = BadInput("x", hint="y")
    print(error)
    with Memory(path="x.db") as opened, opened.session(user="u", agent="a") as session:
        assert_type(session, Session)
        assert_type(session.user("hello"), Appended)
        assert_type(session.scope, Scope)


async def awaited(memory: AsyncMemory) -> None:
    """Use an AsyncMemory."""
    assert_type(await memory.append_event({"scope": scope, "payload": "x"}), Appended)
    assert_type(await memory.build_memory_packet({"scope": scope}), Packet)
    memory.append_event({"scope": scope, "payload": "x"})["seq"]  # type: ignore[index]
    async with AsyncMemory.connect() as opened, opened.session(user="u", agent="a") as session:
        assert_type(session, AsyncSession)
        assert_type(await session.packet("planner", query="q"), Packet)
