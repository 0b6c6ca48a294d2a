"""Real graphs over EngramSaver: interrupted, resumed elsewhere, gone back to, branched, pruned, cut by kill -9."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import Command

from engram import AsyncMemory, EngramError, Memory
from engram.adapters.langgraph import EngramSaver
from tests.adapters.graphs import STEPS, Delta, State, asking, branching, counting
from tests.daemon_fixture import ROOT, Home

THREAD: Any = {"configurable": {"thread_id": "t1"}}
FIRST: Any = {"n": 0, "log": []}


def test_a_graph_that_asks_is_resumed_by_another_process(tmp_path: Path) -> None:
    with EngramSaver(tmp_path / "g.db") as saver:
        found = asking().compile(checkpointer=saver).invoke(FIRST, THREAD)
        assert found["__interrupt__"][0].value == {"question": "how many?", "n": 1}
    with EngramSaver(tmp_path / "g.db") as saver:
        graph = asking().compile(checkpointer=saver)
        assert graph.get_state(THREAD, subgraphs=True).tasks[0].state.values["log"][-1] == "inner"  # type: ignore[union-attr]
        assert graph.invoke(Command(resume="three"), THREAD)["log"] == ["first", "first", "inner", "told three", "last"]
        assert graph.get_state(THREAD).next == ()


@pytest.mark.parametrize("place", ["file", "socket"])
def test_the_same_awaited(home: Home, place: str) -> None:
    async def run() -> None:
        if place == "socket":
            await asyncio.to_thread(home.start)
        memory = AsyncMemory.connect() if place == "socket" else AsyncMemory(home.path / "g.db")
        async with memory:
            graph = asking().compile(checkpointer=EngramSaver(memory))
            assert (await graph.ainvoke(FIRST, THREAD))["__interrupt__"]
            assert (await graph.ainvoke(Command(resume="two"), THREAD))["log"][-2:] == ["told two", "last"]
    asyncio.run(run())


@pytest.mark.parametrize("made", [Memory, AsyncMemory])
def test_a_blocking_subgraph_runs_inside_an_awaited_graph(tmp_path: Path, made: Any) -> None:
    async def run() -> None:
        memory = made(tmp_path / "g.db")
        saver = EngramSaver(memory)
        inner = counting().compile(checkpointer=saver)

        def node(state: State) -> dict[str, Any]:
            return {"log": inner.invoke(FIRST, {"configurable": {"thread_id": "inner"}})["log"]}

        graph = StateGraph(State)
        graph.add_node("node", node)
        graph.add_edge(START, "node")
        found = await graph.compile(checkpointer=saver).ainvoke(FIRST, THREAD)
        assert len(found["log"]) == STEPS
        assert len([one async for one in saver.alist({"configurable": {"thread_id": "inner"}})]) == STEPS + 2
        closed = memory.close()
        if closed is not None:
            await closed
    asyncio.run(run())


def test_a_blocking_call_in_the_loop_of_an_async_memory_is_refused(tmp_path: Path) -> None:
    async def run() -> None:
        async with AsyncMemory(tmp_path / "g.db") as memory:
            saver = EngramSaver(memory)
            assert await saver.aget_tuple(THREAD) is None
            with pytest.raises(EngramError, match=r"in the event loop of its AsyncMemory.*begins with a"):
                saver.get_tuple(THREAD)
    asyncio.run(run())


def test_time_travel_makes_a_branch_and_leaves_the_old_one(tmp_path: Path) -> None:
    with EngramSaver(tmp_path / "g.db") as saver:
        graph = counting().compile(checkpointer=saver)
        graph.invoke(FIRST, THREAD)
        history = list(graph.get_state_history(THREAD))
        assert [one.values.get("n") for one in history] == [*range(STEPS, -1, -1), None]
        then = next(one for one in history if one.values.get("n") == 4)
        fork = graph.update_state(then.config, {"n": STEPS - 1, "log": ["jumped"]})
        assert graph.invoke(None, fork)["log"] == ["step 0", "step 1", "step 2", "step 3", "jumped", "step 11"]
        assert graph.get_state(history[0].config).values["log"] == [f"step {n}" for n in range(STEPS)]
        assert graph.get_state(then.config).values["n"] == 4


def test_of_parallel_branches_only_the_fallen_one_runs_again(tmp_path: Path) -> None:
    ran: list[int] = []
    broken = {3}
    with EngramSaver(tmp_path / "g.db") as saver:
        graph = branching(broken, ran).compile(checkpointer=saver)
        with pytest.raises(RuntimeError, match="branch 3 fell"):
            graph.invoke(FIRST, THREAD, durability="sync")
        done = {write[2][0] for write in saver.get_tuple(THREAD).pending_writes if write[1] == "log"}  # type: ignore[union-attr]
        assert done == {f"branch {at}" for at in ran if at != 3}
    broken.clear()
    again: list[int] = []
    with EngramSaver(tmp_path / "g.db") as saver:
        graph = branching(broken, again).compile(checkpointer=saver)
        found = graph.invoke(None, THREAD)
        assert found["log"] == [*(f"branch {at}" for at in range(5)), "joined"]
        assert sorted(again) == sorted({3} | ({*range(5)} - {*ran}))


def test_pruning_keeps_what_a_delta_channel_is_made_from(tmp_path: Path) -> None:
    with EngramSaver(tmp_path / "g.db") as saver:
        graph = counting(state=Delta).compile(checkpointer=saver)
        graph.invoke(FIRST, THREAD)
        whole = graph.get_state(THREAD).values
        assert whole["log"] == [f"step {n}" for n in range(STEPS)]
        before = len(list(saver.list(THREAD)))
        saver.prune(["t1"])
        left = list(saver.list(THREAD))
        assert 1 <= len(left) <= 4 < before
        assert graph.get_state(THREAD).values == whole
        graph.update_state(THREAD, {"log": ["more"]})
        assert graph.get_state(THREAD).values["log"][-2:] == ["step 11", "more"]


def test_a_copied_thread_goes_its_own_way(tmp_path: Path) -> None:
    with EngramSaver(tmp_path / "g.db") as saver:
        graph = counting(state=Delta).compile(checkpointer=saver)
        graph.invoke(FIRST, THREAD)
        saver.copy_thread("t1", "t2")
        other: Any = {"configurable": {"thread_id": "t2"}}
        graph.update_state(other, {"log": ["other"]})
        assert graph.get_state(other).values["log"][-1] == "other"
        assert graph.get_state(THREAD).values["log"][-1] == "step 11"
        saver.delete_thread("t1")
        assert len(graph.get_state(other).values["log"]) == STEPS + 1


PROGRAM = """
import sys
from pathlib import Path
from engram import Memory
from engram.adapters.langgraph import EngramSaver
from tests.adapters.graphs import counting
saver = EngramSaver(Memory.connect() if sys.argv[1] == "socket" else sys.argv[1])
graph = counting(Path(sys.argv[2])).compile(checkpointer=saver)
print("ready", flush=True)
graph.invoke({"n": 0, "log": []}, {"configurable": {"thread_id": "t1"}}, durability="sync")
"""


def begun(home: Home) -> list[int]:
    """Return the steps that were begun."""
    try:
        return [int(line) for line in (home.path / "begun").read_text().split()]
    except FileNotFoundError:
        return []


@pytest.mark.parametrize("victim", ["daemon", "program", "embedded"])
@pytest.mark.parametrize("after", [2, 7])
def test_after_kill_9_a_graph_goes_on_from_the_last_acknowledged_checkpoint(home: Home, victim: str,
                                                                            after: int) -> None:
    place = str(home.path / "g.db") if victim == "embedded" else "socket"
    if victim != "embedded":
        home.start()
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, place, str(home.path)], cwd=ROOT, text=True,
                               env={**home.env, "ENGRAM_AUTOSTART": "0"}, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    assert program.stdout is not None and program.stdout.readline() == "ready\n"
    until = time.monotonic() + 20
    while len(begun(home)) < after:
        assert time.monotonic() < until and program.poll() is None, program.communicate()
    (home.process if victim == "daemon" and home.process else program).kill()
    error = program.communicate(timeout=20)[1]
    steps = begun(home)
    if victim == "daemon":
        assert home.process is not None
        home.process.wait()
        assert len(steps) < STEPS or program.returncode == 0, error
        home.start()
    with EngramSaver(Memory.connect() if place == "socket" else place) as saver:
        graph = counting(home.path).compile(checkpointer=saver)
        stored = graph.get_state(THREAD).values["n"]
        assert stored in (steps[-1], steps[-1] + 1)  # a step begins when the one before it is acknowledged
        found = graph.invoke(None, THREAD)
        assert (found["n"], found["log"]) == (STEPS, [f"step {n}" for n in range(STEPS)])
        again = begun(home)[len(steps):]  # what a step wrote may have been acknowledged before its checkpoint was
        assert again in ([*range(stored, STEPS)], [*range(stored + 1, STEPS)])
