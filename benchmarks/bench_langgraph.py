"""LangGraph and LangChain on Engram beside the official SQLite saver, in one run, on one file system, both durable.

    python benchmarks/bench_langgraph.py [--only graph,concurrent,disk,search,middleware] [--rounds N]

Goals, of wall time unless said otherwise: a graph of 50 steps with ``EngramSaver`` in this process at most 1.5 x
SqliteSaver's (1.0 is hoped for), through the daemon at most 2 x; 8 graphs at once, awaited, at most 0.7 x
AsyncSqliteSaver's, none failed and none lost; a store search over 10,000 items at most 5 ms; what the middleware adds
to a call of the model at 10,000 memories at most 3 x a packet over the socket; a thread of 200 turns at most 0.5 x
SqliteSaver's bytes on disk. Needs ``pip install langchain langgraph langgraph-checkpoint-sqlite``, which the extra
"dev" has. Medians, of rounds that take turns; one line per figure on stderr, the JSON on stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import operator
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

sys.path.append(str(Path(__file__).resolve().parent.parent))  # where Engram is not installed, the checkout is

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.store.base import PutOp

from engram import AsyncMemory, Memory
from engram.adapters.langchain import EngramMiddleware
from engram.adapters.langgraph import EngramSaver, EngramStore

STEPS, GRAPHS, TURNS, ITEMS, MEMORIES = 50, 8, 200, 10_000, 10_000
GOALS = {"graph_embedded": 1.5, "graph_socket": 2.0, "concurrent": 0.7, "disk": 0.5, "search_ms": 5.0,
         "middleware": 3.0}
SCOPE = {"tenant_id": "default", "user_id": "ada", "agent_id": "bot", "session_id": "s1", "run_id": "main"}
WORDS = [f"{a}{b}" for a in ("har", "bo", "lan", "ri", "mo", "ka", "ste", "vil") for b in (
    "bour", "tern", "ver", "dal", "stone", "mark", "field", "lyn", "ton", "berg", "ra", "nia")]


class State(TypedDict):
    """What the counting graph keeps."""

    n: int
    log: Annotated[list[str], operator.add]


def sentence(rng: random.Random, words: int) -> str:
    """Return words in a row."""
    return " ".join(rng.choice(WORDS) for _ in range(words))


def counting() -> StateGraph[Any, Any, Any, Any]:
    """Return a graph of STEPS steps."""
    graph = StateGraph(State)
    graph.add_node("step", lambda state: {"n": state["n"] + 1, "log": [f"step {state['n']} looked at the weather"]})
    graph.add_edge(START, "step")
    graph.add_conditional_edges("step", lambda state: END if state["n"] >= STEPS else "step")
    return graph


@contextmanager
def official(path: Path) -> Iterator[SqliteSaver]:
    """Open the official saver, an acknowledgement being on disk as with Engram."""
    connection = sqlite3.connect(path, check_same_thread=False)
    saver = SqliteSaver(connection)
    saver.setup()
    connection.execute("PRAGMA synchronous=FULL")
    yield saver
    connection.close()


@contextmanager
def daemon(home: Path) -> Iterator[None]:
    """Let this process find a daemon of its own."""
    home.mkdir(mode=0o700)
    os.environ.update(HOME=str(home), XDG_RUNTIME_DIR=str(home))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "ENGRAM_SOCKET"):
        os.environ.pop(name, None)
    try:
        yield
    finally:
        with Memory.connect() as memory:
            memory.request("shutdown", {})


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds something took."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def graphs(folder: Path, rounds: int) -> dict[str, Any]:
    """Run the counting graph on each saver in turn."""
    with official(folder / "official.db") as theirs, EngramSaver(folder / "engram.db") as ours, \
            Memory.connect() as memory:
        savers = {"official": theirs, "embedded": ours, "socket": EngramSaver(memory)}
        compiled = {name: counting().compile(checkpointer=saver) for name, saver in savers.items()}
        took: dict[str, list[float]] = {name: [] for name in savers}
        for number in range(rounds + 1):
            for name, graph in compiled.items():
                config: Any = {"configurable": {"thread_id": f"t{number}"}, "recursion_limit": 2 * STEPS}
                seconds = timed(lambda graph=graph, config=config: graph.invoke(  # type: ignore[misc]
                    {"n": 0, "log": []}, config))
                took[name] += [seconds] if number else []  # the first is for warming up
    found = {name: statistics.median(one) for name, one in took.items()}
    return {"official_ms": found["official"] * 1000, "embedded_ms": found["embedded"] * 1000,
            "socket_ms": found["socket"] * 1000, "graph_embedded": found["embedded"] / found["official"],
            "graph_socket": found["socket"] / found["official"]}


def concurrent(folder: Path, rounds: int) -> dict[str, Any]:
    """Run GRAPHS graphs at once, awaited, on each saver in turn, and look whether all is there."""
    async def run(saver: Any, number: int) -> float:
        graph = counting().compile(checkpointer=saver)
        configs: list[Any] = [{"configurable": {"thread_id": f"c{number}.{at}"}, "recursion_limit": 2 * STEPS}
                              for at in range(GRAPHS)]
        began = time.perf_counter()
        results = await asyncio.gather(*(graph.ainvoke({"n": 0, "log": []}, config) for config in configs),
                                       return_exceptions=True)
        seconds = time.perf_counter() - began
        for config, result in zip(configs, results, strict=True):
            if isinstance(result, BaseException):
                raise result
            stored = [one async for one in saver.alist({"configurable": config["configurable"]})]
            assert len(stored) == STEPS + 2 and stored[0].checkpoint["channel_values"]["n"] == STEPS
        return seconds

    async def both() -> dict[str, list[float]]:
        took: dict[str, list[float]] = {"official": [], "engram": []}
        async with AsyncSqliteSaver.from_conn_string(str(folder / "async.db")) as theirs:
            await theirs.setup()
            await theirs.conn.execute("PRAGMA synchronous=FULL")
            async with AsyncMemory(folder / "async_engram.db") as memory:
                ours = EngramSaver(memory)
                for number in range(rounds + 1):
                    for name, saver in (("official", theirs), ("engram", ours)):
                        seconds = await run(saver, number)
                        took[name] += [seconds] if number else []
        return took
    found = {name: statistics.median(one) for name, one in asyncio.run(both()).items()}
    return {"official_ms": found["official"] * 1000, "engram_ms": found["engram"] * 1000,
            "concurrent": found["engram"] / found["official"], "failed": 0, "lost": 0}


def disk(folder: Path, rounds: int) -> dict[str, Any]:
    """Keep a conversation of TURNS turns with each saver, and compare what is on disk and how long it took."""
    def chat(saver: Any) -> float:
        rng = random.Random(8)
        graph = StateGraph(MessagesState)
        graph.add_node("model", lambda state: {"messages": [AIMessage(sentence(rng, 60))]})
        graph.add_edge(START, "model")
        compiled = graph.compile(checkpointer=saver)
        config: Any = {"configurable": {"thread_id": "t"}}
        return timed(lambda: [compiled.invoke({"messages": [HumanMessage(sentence(rng, 15))]}, config)
                              for _ in range(TURNS)])

    def size(name: str) -> int:
        return sum(path.stat().st_size for path in folder.glob(f"{name}*"))
    with official(folder / "disk_official.db") as theirs:
        seconds = {"official": chat(theirs)}
        theirs.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with EngramSaver(folder / "disk_engram.db") as ours:
        seconds["engram"] = chat(ours)
        began = time.perf_counter()
        assert ours.get_tuple({"configurable": {"thread_id": "t"}}) is not None
        read = time.perf_counter() - began
    sizes = {"official": size("disk_official.db"), "engram": size("disk_engram.db")}
    return {"official_bytes": sizes["official"], "engram_bytes": sizes["engram"], "official_s": seconds["official"],
            "engram_s": seconds["engram"], "engram_read_ms": read * 1000,
            "disk": sizes["engram"] / sizes["official"]}


def search(folder: Path, rounds: int) -> dict[str, Any]:
    """Search a store of ITEMS items."""
    rng = random.Random(8)
    with EngramStore(folder / "store.db") as store:
        for start in range(0, ITEMS, 500):
            store.batch([PutOp(("users", f"u{n % 50}"), f"k{n}", {"text": sentence(rng, 12)})
                         for n in range(start, start + 500)])
        first = timed(lambda: store.search(("users",), query=sentence(rng, 2)))
        took = [timed(lambda: store.search(("users",), query=sentence(rng, 3))) for _ in range(40 * rounds)]
    return {"search_ms": statistics.median(took) * 1000, "first_ms": first * 1000}


def middleware(folder: Path, rounds: int) -> dict[str, Any]:
    """Time what the middleware does for one call of the model, and a packet by itself, at MEMORIES memories."""
    from langchain.agents.middleware.types import ModelRequest
    from langchain_core.language_models.fake_chat_models import FakeListChatModel

    rng = random.Random(8)
    with Memory.connect() as memory:
        for start in range(0, MEMORIES - 200, 200):
            memory.append_events([{"scope": {**SCOPE, "session_id": f"s{start}"}, "payload": {
                "role": "user", "content": sentence(rng, 12)}} for _ in range(200)])
        for n in range(200):
            memory.upsert_fact(SCOPE, {"fact_key": f"k{n}", "value": sentence(rng, 6)})
        around = EngramMiddleware(memory, scope={name: one for name, one in SCOPE.items() if name != "session_id"})
        model = FakeListChatModel(responses=["x"])
        plain, adorned = [], []
        for n in range(40 * rounds):
            text = sentence(rng, 5)
            asked: Any = {"scope": {**SCOPE, "session_id": "main"}, "query": text}
            plain.append(timed(lambda asked=asked: memory.build_memory_packet(asked)))  # type: ignore[misc]
            turn = HumanMessage(sentence(rng, 5), id=f"m{n}")
            request: Any = ModelRequest(model=model, messages=[turn])
            adorned.append(timed(lambda request=request: around.wrap_model_call(  # type: ignore[misc]
                request, lambda one: one)))
        around.close()
    found = statistics.median(plain[5:]), statistics.median(adorned[5:])
    return {"packet_ms": found[0] * 1000, "added_ms": found[1] * 1000, "middleware": found[1] / found[0]}


PARTS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "graph": graphs, "concurrent": concurrent, "disk": disk, "search": search, "middleware": middleware}


def main() -> int:
    """Run the parts and return 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each part")
    given = parser.parse_args()
    found: dict[str, Any] = {}
    missed = []
    with tempfile.TemporaryDirectory(prefix="eb", dir="/tmp") as made, daemon(Path(made) / "home"):
        for name in given.only.split(","):
            found[name] = PARTS[name](Path(made), given.rounds)
            for key, value in found[name].items():
                goal = GOALS.get(key)
                missed += [key] if goal is not None and value > goal else []
                print(f"{name:<11} {key:<16} {value:>12.3f}" + ("" if goal is None else f"   goal {goal}"),
                      file=sys.stderr, flush=True)
    print(json.dumps({"bench": "langgraph", "found": found, "goals": GOALS, "missed": missed}, indent=1))
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
