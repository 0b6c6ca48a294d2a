"""A session: short names for calls of a Memory, its scope filled in, the run ended at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from engram import AsyncMemory, BadInput, Memory

CALL = {"id": "c1", "type": "function", "function": {"name": "trains", "arguments": "{}"}}
INSIGHT = {"type": "hypothesis", "statement": "Ada likes trains", "expires_at": "run_end"}


@pytest.fixture
def memory() -> Iterator[Memory]:
    with Memory(in_memory=True) as found:
        yield found


def test_what_is_said_is_appended_in_the_scope(memory: Memory) -> None:
    with memory.session(user="ada", agent="bot") as talk:
        talk.user("Which train?", name="Ada", tags=["travel"])
        talk.assistant({"role": "assistant", "content": "The 10:04."})
        events = memory.list_events(talk.scope)
        assert [event["payload"] for event in events] == [
            {"role": "user", "content": "Which train?", "name": "Ada"}, {"role": "assistant", "content": "The 10:04."}]
        assert events[0]["tags"] == ["travel"]
        assert {key: talk.scope[key] for key in ("tenant_id", "user_id", "agent_id")} == {
            "tenant_id": "default", "user_id": "ada", "agent_id": "bot"}


def test_a_tool_call_is_told_once(memory: Memory) -> None:
    with memory.session(user="ada", agent="bot") as talk:
        talk.assistant({"content": None, "tool_calls": [CALL]})
        assert len(talk.tool(CALL, "08:50")) == 1  # the assistant's message told it already
        assert len(talk.tool({**CALL, "id": "c2"}, {"at": "10:04"})) == 2
        assert len(talk.tool("weather", "sunny")) == 2
        kinds = [event["kind"] for event in memory.list_events(talk.scope)]
        assert kinds == ["message", "tool_result", "message", "tool_result", "message", "tool_result"]
        with pytest.raises(BadInput, match="call is 7"):
            talk.tool(7, "x")  # type: ignore[arg-type]


def test_remembered_facts_and_packets_are_the_memorys_own(memory: Memory) -> None:
    with memory.session(user="ada", agent="bot", tenant="acme") as talk:
        assert talk.remember("city", "Lyon", confidence=0.9)["fact_id"]
        packet = talk.packet("planner", query="Where does Ada live?", max_tokens=300, persist=False)
        assert packet["long_term"]["facts"][0]["value"] == "Lyon"
        assert (packet["meta"]["purpose"], packet["budget_report"]["max_tokens"]) == ("planner", 300)
        assert packet["meta"]["scope"] == talk.scope


def test_leaving_ends_the_run(memory: Memory) -> None:
    with memory.session(user="ada", agent="bot", session="s", run="r1") as talk:
        memory.append_insight(talk.scope, INSIGHT)
    assert memory.end_run(talk.scope)["expired_insights"] == 0  # nothing is left to expire
    with memory.session(user="ada", agent="bot", session="s") as next_run:
        assert next_run.scope["session_id"] == "s" and next_run.scope["run_id"] != "r1"


def test_the_first_error_is_the_one_that_is_seen() -> None:
    memory = Memory(in_memory=True)
    with pytest.raises(ZeroDivisionError), memory.session(user="ada", agent="bot"):
        memory.close()  # so that ending the run fails too
        raise ZeroDivisionError
    with pytest.raises(BadInput, match="closed"), memory.session(user="ada", agent="bot"):
        pass


def test_the_awaited_session_does_the_same() -> None:
    async def main() -> None:
        async with AsyncMemory(in_memory=True) as memory:
            async with memory.session(user="ada", agent="bot") as talk:
                await talk.user("Which train?")
                await talk.tool(CALL, "08:50")
                await talk.remember("city", "Lyon")
                await memory.append_insight(talk.scope, INSIGHT)
                packet = await talk.packet(query="Where does Ada live?")
                assert packet["long_term"]["facts"][0]["value"] == "Lyon"
                assert len(await memory.list_events(talk.scope)) == 3
            assert (await memory.end_run(talk.scope))["expired_insights"] == 0

    asyncio.run(main())
