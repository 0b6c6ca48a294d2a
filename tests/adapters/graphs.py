"""Graphs that tests run, and a program that runs one until it is killed."""

from __future__ import annotations

import operator
import time
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.channels.delta import DeltaChannel
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send, interrupt

STEPS = 12


class State(TypedDict):
    """What most of the graphs keep."""

    n: int
    log: Annotated[list[str], operator.add]


def add(left: list[str], right: list[list[str]]) -> list[str]:
    """Reduce the writes of a delta channel."""
    return left + [one for part in right for one in part]


class Delta(TypedDict):
    """A log that is stored as what was added to it, with a whole copy at every third write."""

    n: int
    log: Annotated[list[str], DeltaChannel(add, snapshot_frequency=3)]


def counting(folder: Path | None = None, state: Any = State) -> StateGraph[Any, Any, Any, Any]:
    """Return a graph that counts to STEPS; a step says in a file that it was begun, and takes long enough to be hit."""
    def step(state: Any) -> dict[str, Any]:
        if folder is not None:
            with open(folder / "begun", "a") as file:
                print(state["n"], file=file)
            time.sleep(0.01)
        return {"n": state["n"] + 1, "log": [f"step {state['n']}"]}

    graph = StateGraph(state)
    graph.add_node("step", step)
    graph.add_edge(START, "step")
    graph.add_conditional_edges("step", lambda state: END if state["n"] >= STEPS else "step")
    return graph


def asking() -> StateGraph[Any, Any, Any, Any]:
    """Return a graph that asks a person in the middle of a subgraph."""
    def ask(state: State) -> dict[str, Any]:
        return {"log": [f"told {interrupt({'question': 'how many?', 'n': state['n']})}"]}

    inner = StateGraph(State)
    inner.add_node("before", lambda state: {"log": ["inner"]})
    inner.add_node("ask", ask)
    inner.add_edge(START, "before")
    inner.add_edge("before", "ask")
    graph = StateGraph(State)
    graph.add_node("first", lambda state: {"n": state["n"] + 1, "log": ["first"]})
    graph.add_node("inner", inner.compile())
    graph.add_node("last", lambda state: {"log": ["last"]})
    for one, other in ((START, "first"), ("first", "inner"), ("inner", "last"), ("last", END)):
        graph.add_edge(one, other)
    return graph


def branching(broken: set[int], ran: list[int]) -> StateGraph[Any, Any, Any, Any]:
    """Return a graph with five branches at once, those in ``broken`` failing."""
    def work(state: dict[str, int]) -> dict[str, Any]:
        ran.append(state["at"])
        if state["at"] in broken:
            raise RuntimeError(f"branch {state['at']} fell")
        return {"log": [f"branch {state['at']}"]}

    graph = StateGraph(State)
    graph.add_node("plan", lambda state: {"n": 5})
    graph.add_node("work", work)
    graph.add_node("join", lambda state: {"log": ["joined"]})
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", lambda state: [Send("work", {"at": at}) for at in range(state["n"])], ["work"])
    graph.add_edge("work", "join")
    return graph
