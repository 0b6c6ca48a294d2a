"""EngramMiddleware in real agents with a scripted model: what the model is shown, what is recorded, and an outage."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.types import Command, interrupt

from engram import AsyncMemory, BadInput, Memory
from engram.adapters.langchain import EngramMiddleware
from engram.adapters.langgraph import EngramSaver
from tests.adapters.agents import Scripted, calling
from tests.daemon_fixture import Home

SCOPE = {"tenant_id": "default", "user_id": "ada", "agent_id": "bot", "session_id": "t1", "run_id": "main"}
CONTEXT = {"user_id": "ada", "agent_id": "bot"}
THREAD: Any = {"configurable": {"thread_id": "t1"}}


@dataclass
class Context:
    """The context of a run, as an object."""

    user_id: str
    agent_id: str = "bot"


@pytest.fixture
def memory() -> Iterator[Memory]:
    with Memory(in_memory=True) as found:
        yield found


def said(text: str) -> Any:
    return {"messages": [HumanMessage(text)]}


def recorded(memory: Memory, scope: dict[str, str] = SCOPE) -> list[tuple[str, Any]]:
    return [(one["kind"], one["payload"].get("content") or [call["id"] for call in one["payload"]["tool_calls"]])
            for one in memory.list_events(scope)]


@tool
def trains(to: str) -> str:
    """Look up trains."""
    return f"08:50 to {to}"


def test_the_model_sees_the_packet_and_the_state_does_not(memory: Memory) -> None:
    memory.upsert_fact(SCOPE, {"fact_key": "home.city", "value": "Lyon"})
    memory.append_event({"scope": {**SCOPE, "session_id": "old"}, "payload": "the piano stays in Paris"})
    model = Scripted(replies=["in Lyon", "still in Lyon"])
    agent = create_agent(model, [trains], system_prompt="Be brief.", middleware=[EngramMiddleware(memory)],
                         checkpointer=EngramSaver(memory))
    for text in ("where is the piano?", "and my home?"):
        state = agent.invoke(said(text), THREAD, context=CONTEXT)
    system, *rest = model.asked[0]
    assert isinstance(system, SystemMessage)
    assert system.text.startswith("Be brief.\n\n") and "home.city" in system.text and "Lyon" in system.text
    assert len(rest) == 1 and "the piano stays in Paris" in rest[0].text
    assert rest[0].text.endswith("\n\nwhere is the piano?")
    assert [one.text for one in state["messages"]] == [
        "where is the piano?", "in Lyon", "and my home?", "still in Lyon"]
    assert [one.text for one in model.asked[1][1:3]] == ["where is the piano?", "in Lyon"]
    assert recorded(memory) == [("message", text) for text in (
        "where is the piano?", "in Lyon", "and my home?", "still in Lyon")]


def test_the_system_message_stays_the_same_over_ten_turns(memory: Memory) -> None:
    for n in range(8):
        memory.upsert_fact(SCOPE, {"fact_key": f"k{n}", "value": f"value {n}", "confidence": n / 10})
    model = Scripted(reply=lambda messages: f"answer {len(messages)}")
    agent = create_agent(model, system_prompt="Be brief.", middleware=[EngramMiddleware(memory)],
                         checkpointer=EngramSaver(memory))
    for n in range(10):
        agent.invoke(said(f"question {n} about value {n}"), THREAD, context=CONTEXT)
    systems = {messages[0].text for messages in model.asked}
    assert len(model.asked) == 10 and len(systems) == 1 and "value 7" in systems.pop()
    memory.upsert_fact(SCOPE, {"fact_key": "k0", "value": "changed"})
    agent.invoke(said("and now?"), THREAD, context=CONTEXT)
    assert "changed" in model.asked[-1][0].text


@pytest.mark.parametrize("made", [Memory, AsyncMemory])
def test_awaited_with_tools_and_blocks(tmp_path: Path, made: Any) -> None:
    async def run() -> None:
        memory = made(tmp_path / "m.db")
        middleware = EngramMiddleware(memory, scope={"agent_id": "bot"})
        model = Scripted(replies=[calling("trains", "c1", to="Lyon"), "at 08:50"])
        agent = create_agent(model, [trains], middleware=[middleware], context_schema=Context)
        blocks: Any = [{"type": "text", "text": "when does the train go?"}]
        found = await agent.ainvoke({"messages": [HumanMessage(blocks)]}, THREAD, context=Context("ada"))
        assert [type(one) for one in found["messages"]] == [HumanMessage, AIMessage, ToolMessage, AIMessage]
        first, second = model.asked
        assert [type(one) for one in second] == [HumanMessage, AIMessage, ToolMessage]  # the call with its result
        assert second[0] == first[0]  # one turn, one packet
        closed = memory.close()
        if closed is not None:
            await closed
    asyncio.run(run())
    with Memory(tmp_path / "m.db") as memory:
        assert recorded(memory) == [("message", "when does the train go?"), ("message", ["c1"]),
                                    ("tool_result", "08:50 to Lyon"), ("message", "at 08:50")]


def test_a_resumed_and_a_retried_run_record_nothing_twice(memory: Memory) -> None:
    @tool
    def ask(what: str) -> str:
        """Ask a person."""
        return f"told {interrupt(what)}"

    def agent(*replies: Any) -> Any:  # a new process each time: nothing is remembered but by the databases
        return create_agent(Scripted(replies=list(replies)), [ask], middleware=[EngramMiddleware(memory)],
                            checkpointer=EngramSaver(memory))

    first = agent(calling("ask", "c1", what="how many?")).invoke(said("book it"), THREAD, context=CONTEXT)
    assert first["__interrupt__"]
    with pytest.raises(RuntimeError, match="the model is down"):
        agent(RuntimeError("the model is down")).invoke(Command(resume="two"), THREAD, context=CONTEXT)
    agent("booked two").invoke(None, THREAD, context=CONTEXT)
    agent("welcome").invoke(said("thanks"), THREAD, context=CONTEXT)
    assert recorded(memory) == [
        ("message", "book it"), ("message", ["c1"]), ("tool_result", "told two"), ("message", "booked two"),
        ("message", "thanks"), ("message", "welcome")]


def test_another_thread_remembers_and_another_user_does_not(memory: Memory) -> None:
    model = Scripted(reply=lambda messages: "noted")
    agent = create_agent(model, middleware=[EngramMiddleware(memory)], checkpointer=EngramSaver(memory))
    agent.invoke(said("my cat is called Turing"), THREAD, context=CONTEXT)
    for user, knows in (("ada", True), ("bob", False)):
        agent.invoke(said("what is the name of my cat?"), {"configurable": {"thread_id": f"t-{user}"}},
                     context={**CONTEXT, "user_id": user})
        assert ("Turing" in model.asked[-1][-1].text) is knows
    configured: Any = {"configurable": {"thread_id": "t9", "user_id": "ada", "agent_id": "bot"}}
    agent.invoke(said("and the cat?"), configured)
    assert "Turing" in model.asked[-1][-1].text


def test_the_model_may_use_its_memory_itself(memory: Memory) -> None:
    middleware = EngramMiddleware(memory, tools=True, record=False)
    model = Scripted(replies=[calling("remember", "c1", key="home.city", value="Lyon"),
                              calling("recall", "c2", query="city of home"), "known"])
    agent = create_agent(model, middleware=[middleware])
    found = agent.invoke(said("I live in Lyon"), context=CONTEXT)
    (fact,) = memory.list_facts(SCOPE)
    assert (fact["fact_key"], fact["value"]) == ("home.city", "Lyon")
    assert "Lyon" in found["messages"][4].text and fact["fact_id"] in found["messages"][4].text
    model = Scripted(replies=[calling("forget", "c3", id=fact["fact_id"]), calling("forget", "c4", id="f_none"),
                              calling("recall", "c5", query="city of home"), "gone"])
    agent = create_agent(model, middleware=[middleware])
    found = asyncio.run(agent.ainvoke(said("forget my city"), context=CONTEXT))
    assert [one.text for one in found["messages"] if isinstance(one, ToolMessage)] == [
        "Forgotten.", "Nothing has the id f_none.", "Nothing was found."]
    assert memory.list_facts(SCOPE) == [] and memory.list_events(SCOPE) == []


@pytest.mark.parametrize("how", ["stopped", "gone"])
@pytest.mark.parametrize("awaited", [False, True])
def test_an_agent_goes_on_without_its_memory(home: Home, caplog: pytest.LogCaptureFixture, how: str, awaited: bool,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGRAM_AUTOSTART", "0")
    process = home.start()
    middleware = EngramMiddleware(Memory.connect(timeout=5), deadline=0.3)
    model = Scripted(reply=lambda messages: f"answer {len(messages)}")
    agent = create_agent(model, middleware=[middleware])
    history: list[Any] = []

    def turn(text: str) -> float:
        began = time.monotonic()
        given: Any = {"messages": [*history, HumanMessage(text)]}
        found = asyncio.run(agent.ainvoke(given, THREAD, context=CONTEXT)) if awaited else agent.invoke(
            given, THREAD, context=CONTEXT)
        history[:] = found["messages"]
        return time.monotonic() - began

    turn("the first")
    os.kill(process.pid, signal.SIGSTOP if how == "stopped" else signal.SIGKILL)
    with caplog.at_level(logging.WARNING, "engram.adapters"):
        took = [turn(f"without {n}") for n in range(3)]
    assert max(took) < 2 and sum(took) < 3
    assert len(model.asked) == 4
    assert [one.message for one in caplog.records] == [next(one.message for one in caplog.records)]
    assert "goes on without it" in caplog.text
    if how == "stopped":
        os.kill(process.pid, signal.SIGCONT)
    else:
        home.start()
    time.sleep(2.1)  # after a failure nobody asks for two seconds
    turn("the last")
    with Memory.connect() as memory:
        texts = [text for _, text in recorded(memory)]
    assert [text for text in texts if not str(text).startswith("answer")] == [
        "the first", "without 0", "without 1", "without 2", "the last"]
    assert len(texts) == len(set(map(str, texts))) == 10
    middleware.close()


def test_what_is_too_large_to_record_is_said_and_the_rest_is_recorded(memory: Memory,
                                                                      caplog: pytest.LogCaptureFixture) -> None:
    model = Scripted(replies=["x" * (2 << 20), "small"])
    agent = create_agent(model, middleware=[EngramMiddleware(memory)], checkpointer=EngramSaver(memory))
    with caplog.at_level(logging.WARNING, "engram.adapters"):
        agent.invoke(said("say much"), THREAD, context=CONTEXT)
        agent.invoke(said("say little"), THREAD, context=CONTEXT)
    assert [text for _, text in recorded(memory)] == ["say much", "say little", "small"]
    assert "a turn was not recorded: the request has" in caplog.text


def test_bad_input_is_said(memory: Memory) -> None:
    with pytest.raises(BadInput, match="user_id is given neither by the run's context"):
        create_agent(Scripted(replies=["x"]), middleware=[EngramMiddleware(memory)]).invoke(said("hello"))
    with pytest.raises(BadInput, match="scope has the unknown key 'user'"):
        EngramMiddleware(memory, scope={"user": "ada"})
    with pytest.raises(BadInput, match="deadline is 0"):
        EngramMiddleware(memory, deadline=0)
