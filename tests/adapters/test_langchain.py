"""The retriever under LangChain's own suite, and the adapters by the earlier library's names."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables.history import RunnableWithMessageHistory
from langchain_tests.integration_tests import RetrieversIntegrationTests

import engram
from engram import AsyncMemory, EngramError, Memory
from engram.adapters.langchain import EngramRetriever
from tests.daemon_fixture import Home

SCOPE = {"tenant_id": "t", "user_id": "ada", "agent_id": "bot", "session_id": "s1", "run_id": "r1"}


@pytest.fixture
def memory() -> Iterator[Memory]:
    with Memory(in_memory=True) as found:
        yield found


def filled(memory: Memory) -> Memory:
    """Return the memory with something to find."""
    memory.append_events([{"scope": SCOPE, "event_id": f"e{n}", "payload": f"the harbour of Lyon has {n} boats"}
                          for n in range(12)])
    memory.upsert_fact(SCOPE, {"fact_id": "f1", "fact_key": "home", "value": "a boat in the harbour"})
    return memory


class TestRetriever(RetrieversIntegrationTests):
    """LangChain's suite for retrievers."""

    _memory = filled(Memory(in_memory=True))

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return EngramRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"memory": self._memory, "scope": SCOPE}

    @property
    def retriever_query_example(self) -> str:
        return "boats in the harbour"


@pytest.mark.parametrize("place", ["memory", "path", "socket", "async"])
def test_documents_say_what_they_are(home: Home, place: str) -> None:
    if place == "socket":
        home.start()
    with (Memory.connect() if place == "socket" else Memory(home.path / "r.db")) as memory:
        filled(memory)
        given: Any = {"path": str(home.path / "r.db"), "async": AsyncMemory(home.path / "r.db")}.get(place, memory)
        retriever = EngramRetriever(memory=given, scope=SCOPE, k=3, kinds=["event", "fact"])

        async def run() -> list[Document]:
            found = await retriever.ainvoke("the harbour's boats")
            if isinstance(given, AsyncMemory):
                await given.close()
            return found
        found = asyncio.run(run())
        if place != "async":
            assert retriever.invoke("the harbour's boats") == found
            assert [one.metadata["kind"] for one in retriever.invoke("boat", kinds=["fact"])] == ["fact"]
        retriever.close()
    assert len(found) == 3 and found[0].id == found[0].metadata["id"]
    assert found[0].metadata["score"] >= found[1].metadata["score"] > 0
    assert {one.metadata["kind"] for one in found} <= {"event", "fact"}


def test_a_history_keeps_messages_of_every_kind(memory: Memory) -> None:
    history = engram.EngramChatMessageHistory(memory, SCOPE, limit=5)
    call = {"id": "c1", "name": "trains", "args": {"to": "Lyon"}, "type": "tool_call"}
    given = [SystemMessage("be brief"), HumanMessage("hello", name="Ada"), AIMessage("", tool_calls=[call]),
             ToolMessage("08:50", tool_call_id="c1", name="trains"), AIMessage([{"type": "text", "text": "at 08:50"}])]
    history.add_messages(given)
    found = history.messages
    assert [(type(one), one.name, one.text) for one in found] == [(type(one), one.name, one.text) for one in given]
    assert isinstance(found[2], AIMessage) and found[2].tool_calls == [call]
    assert isinstance(found[3], ToolMessage) and found[3].tool_call_id == "c1"
    history.add_messages(found)  # with the ids they have now
    history.add_message(HumanMessage("again", id="m1"))
    history.add_message(HumanMessage("again", id="m1"))
    assert [one.text for one in engram.EngramChatMessageHistory(memory, SCOPE).messages].count("again") == 1
    assert len(history.messages) == 5
    other = {**SCOPE, "session_id": "s2"}
    assert engram.EngramChatMessageHistory(memory, other).messages == []
    history.clear()
    assert history.messages == []


def test_a_runnable_with_history(memory: Memory) -> None:
    def histories(session_id: str) -> Any:
        return engram.EngramChatMessageHistory(memory, {**SCOPE, "session_id": session_id}, limit=10)

    seen: list[int] = []

    def answer(messages: list[Any]) -> AIMessage:
        seen.append(len(messages))
        return AIMessage(f"that was number {len(messages)}")

    from langchain_core.runnables import RunnableLambda

    chain = RunnableWithMessageHistory(RunnableLambda(answer), histories)
    for session in ("one", "one", "two"):
        chain.invoke([HumanMessage("hi")], {"configurable": {"session_id": session}})
    assert seen == [1, 3, 1]


def test_an_injector_gives_packets_and_messages(memory: Memory) -> None:
    injector = engram.EngramContextInjector(memory, SCOPE)
    assert injector.messages(query="nothing yet") == []
    filled(memory)
    packet = injector.build_packet(purpose="planner", task_type="generic")
    assert packet["meta"]["purpose"] == "planner" and packet["long_term"]["facts"][0]["fact_id"] == "f1"
    (message,) = injector.messages(query="where is home", budget={"max_tokens": 200})
    assert isinstance(message, SystemMessage) and "a boat in the harbour" in message.text


def test_a_checkpointer_keeps_the_state_of_a_run(memory: Memory) -> None:
    keeper = engram.EngramCheckpointer(memory, SCOPE)
    assert keeper.get() is None
    keeper.put({"goal": "visit Lyon", "plan": ["book"], "city": "Lyon"})
    keeper.put({"plan": [], "n": 2})
    state = keeper.get()
    assert (state["goal"], state["plan"], state["slots"]) == ("visit Lyon", [], {"city": "Lyon", "n": 2})
    assert engram.EngramCheckpointer(memory, {**SCOPE, "run_id": "r2"}).get() is None


def test_a_node_gets_its_packet_and_its_update_is_recorded(memory: Memory) -> None:
    filled(memory)
    around = engram.EngramNodeMiddleware(memory, {**SCOPE, "session_id": "s9"})
    state = around.before_node({"messages": [], "n": 1}, query="home", purpose="tool")
    assert state["n"] == 1 and state["memory_packet"]["meta"]["purpose"] == "tool"
    update = {"messages": [AIMessage("done", id="a1")], "n": 2, "memory_packet": state["memory_packet"]}
    assert around.after_node(update) == {"messages": update["messages"], "n": 2}
    events = memory.list_events({**SCOPE, "session_id": "s9"})
    assert [(one["kind"], one["payload"]) for one in events] == [
        ("message", {"role": "assistant", "content": "done", "id": "a1"}), ("state_patch", {"n": 2})]


def test_names_that_are_not_there_are_said(tmp_path: Path) -> None:
    with pytest.raises(AttributeError, match="EngramNothing"):
        engram.adapters.langchain.EngramNothing  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(EngramError, match="messages of a history cannot be set"):
        engram.EngramChatMessageHistory(Memory(tmp_path / "m.db"), SCOPE).messages = []
