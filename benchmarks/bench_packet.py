"""Packets over the socket against the floor: one warm connection, a prepared SELECT of exactly the emitted rows.

Prints JSON. Goals: at 10,000 memories of one owner, persist=true, explanation included, the median is at most 4 x
the floor without a query (hoped for: 2.5) and 6 x with one (4); p99/median at most 1.5 x the floor's, best of five;
from 1,000 to 100,000 memories the median without a query grows at most 1.5 x, and with one, the part outside the kernel
(by timers around every call of it, in one process) does too. For both, the sizes take turns. `each_alone` shows what
they do not share then: Python finds its caches the colder, the longer the kernel was at work, on a shared machine also
after waiting for as long without touching memory. Also printed: the fetch of 40 rows by key from an open SQLite
connection, the yardstick of the earlier library (43 x, 140 x, 1,250 x that fetch).

    python benchmarks packet [--sizes 1000,10000,100000] [--requests 400] [--runs 5]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import accumulate
from types import ModuleType, SimpleNamespace
from typing import NamedTuple

from engram import Memory
from engram_core.daemon.handlers import Engine
from engram_core.recall import budget, compose, gather, index, lines
from engram_core.settings import load

SCOPE = {"tenant_id": "default", "user_id": "ada", "agent_id": "cli", "session_id": "s0", "run_id": "r0"}
START = 1_700_000_000_000
QUERIES = 50
# The whole floor: rows by key from a warm connection, written to a socket.
FLOOR = '''
import socket, sqlite3, sys, json
path, at, plan = sys.argv[1], sys.argv[2], json.loads(sys.stdin.readline())
db = sqlite3.connect(path)
owner = "tenant_id='default' AND user_id='ada' AND agent_id='cli'"
statements = [[(f"SELECT {column} FROM {table} WHERE {owner} AND seq IN ({','.join('?' * len(seqs))})", seqs)
               for table, column, seqs in one] for one in plan]
server = socket.socket(socket.AF_UNIX); server.bind(at); server.listen(1); print("ready", flush=True)
peer, _ = server.accept()
while line := peer.recv(65536):
    parts = [row[0] for sql, seqs in statements[int(line)] for row in db.execute(sql, seqs)]
    peer.sendall(",".join(parts).encode() + b"\\n")
'''


def words(rnd: random.Random) -> Callable[[int], str]:
    """Return a maker of texts whose words are as unevenly used as content words: Zipf-Mandelbrot, 1 / (rank + 10)."""
    vocabulary = ["".join(rnd.choices("abcdefghijklmnopqrstuvwxyz", k=rnd.randint(3, 9))) for _ in range(6000)]
    weights = list(accumulate(1 / (rank + 10) for rank in range(1, len(vocabulary) + 1)))
    return lambda count: " ".join(rnd.choices(vocabulary, cum_weights=weights, k=count))


def fill(memory: Memory, size: int) -> list[str]:
    """Store ``size`` memories: 70 % events, 20 % facts, 8 % episodes, 2 % procedures; return queries."""
    rnd = random.Random(size)
    text = words(rnd)
    events = [{"scope": {**SCOPE, "session_id": f"s{at // 30}"}, "event_id": f"e{at}", "ts_ms": START + at * 60_000,
               "payload": {"role": ("user", "assistant")[at % 2], "content": text(rnd.randint(5, 30))}}
              for at in range(size * 7 // 10)]
    for at in range(0, len(events), 500):
        memory.append_events(events[at:at + 500])
    for at in range(size // 5):
        memory.upsert_fact(SCOPE, {"fact_key": f"key{at}", "value": text(6), "confidence": rnd.random(),
                                   "sources": [f"e{at}"]})
    for at in range(size * 8 // 100):
        memory.append_episode(SCOPE, {"episode_id": f"ep{at}", "summary": text(20), "sources": [f"e{at}"],
                                      "time_range": {"start": START + at * 3_600_000}})
    for at in range(size * 2 // 100):
        memory.upsert_procedure(SCOPE, {"procedure_id": f"p{at}", "task_type": "generic", "content": text(30)})
    return [text(6) for _ in range(QUERIES)]


def request(size: int, query: str | None) -> dict[str, object]:
    """Return a packet request."""
    return {"scope": SCOPE, "purpose": "responder", "now": START + size * 60_000, "query": query}


def plan(database: str, packet: dict[str, object]) -> list[tuple[str, str, list[int]]]:
    """Return the keys of the rows a packet emits, by table."""
    db = sqlite3.connect(database)
    short, long = packet["short_term"], packet["long_term"]
    assert isinstance(short, dict) and isinstance(long, dict)
    cited = [one["id"] for one in packet["citations"]]  # type: ignore[attr-defined]
    wanted = [("events", "line", "event_id", [one["evidence_id"] for one in short["key_quotes"]] + cited),
              ("facts", "body", "fact_id", [one["fact_id"] for one in long["facts"]]),
              ("episodes", "body", "episode_id", [one["episode_id"] for one in long["episodes"]]),
              ("procedures", "body", "procedure_id", [one["procedure_id"] for one in long["procedures"]])]
    out = []
    for table, column, key, ids in wanted:
        marks = ",".join("?" * len(ids))
        seqs = [row[0] for row in db.execute(f"SELECT seq FROM {table} WHERE {key} IN ({marks})", ids)]
        if seqs:
            out.append((table, column, seqs))
    return out


def ask(peer: socket.socket, line: bytes) -> float:
    """Send a line, take the whole reply line, return the seconds it took."""
    start = time.perf_counter()
    peer.sendall(line)
    while not peer.recv(1 << 20).endswith(b"\n"):
        pass
    return time.perf_counter() - start


def connect(path: str) -> socket.socket:
    """Return a connected Unix socket."""
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(path)
    return peer


def compare(daemon: socket.socket, floor: socket.socket, lines: list[bytes], requests: int) -> dict[str, float]:
    """Interleave packets and floor reads and return medians and tails in microseconds."""
    mine, theirs = [], []
    for at in range(requests):
        number = at % len(lines)
        mine.append(ask(daemon, lines[number]) * 1e6)
        theirs.append(ask(floor, b"%d" % number) * 1e6)
    out = {"packet_us": statistics.median(mine), "floor_us": statistics.median(theirs)}
    out["ratio"] = out["packet_us"] / out["floor_us"]
    tails = [sorted(one)[int(0.99 * len(one))] / statistics.median(one) for one in (mine, theirs)]
    out["p99_over_median"], out["floor_p99_over_median"] = tails
    out["tail_ratio"] = tails[0] / tails[1]
    return {name: round(value, 3) for name, value in out.items()}


def fetch_40(database: str) -> float:
    """Return the median microseconds of fetching 40 rows by key on an open connection."""
    db = sqlite3.connect(database)
    seqs = [row[0] for row in db.execute("SELECT seq FROM events LIMIT 40")]
    sql = ("SELECT line FROM events WHERE tenant_id='default' AND user_id='ada' AND agent_id='cli' "
           f"AND seq IN ({','.join('?' * len(seqs))})")
    times = []
    for _ in range(300):
        start = time.perf_counter()
        db.execute(sql, seqs).fetchall()
        times.append(time.perf_counter() - start)
    return round(statistics.median(times) * 1e6, 1)


class Timers:
    """Count the seconds spent in the kernel's calls of a packet."""

    def __init__(self) -> None:
        self.spent = 0.0
        self._depth = 0

    def timed(self, inner: Callable[..., object]) -> Callable[..., object]:
        """Return a call that is timed; one made by another counts once."""
        def run(*args: object, **more: object) -> object:
            start = time.perf_counter()
            self._depth += 1
            try:
                return inner(*args, **more)
            finally:
                self._depth -= 1
                if not self._depth:
                    self.spent += time.perf_counter() - start
        return run

    def around(self, kernel: type, *names: str) -> type:
        """Return a class like the kernel's whose methods are timed."""
        return type(kernel.__name__, (kernel,), {name: self.timed(getattr(kernel, name)) for name in names})

    def functions(self, module: ModuleType) -> SimpleNamespace:
        """Return what stands for a module of the kernel: its functions, timed."""
        return SimpleNamespace(**{name: self.timed(value) for name, value in vars(module).items()
                                  if not name.startswith("_") and callable(value)})


class Filled(NamedTuple):
    """A daemon whose one owner has so many memories."""

    size: int
    memory: Memory
    queries: list[str]
    database: str
    path: str

    def asked(self, *, query: bool) -> list[dict[str, object]]:
        """Return the requests without a query, or those with one."""
        return [request(self.size, one) for one in self.queries] if query else [request(self.size, None)]

    def lines(self, *, query: bool) -> list[bytes]:
        """Return them as they go over the socket."""
        return [json.dumps({"jsonrpc": "2.0", "id": 1, "method": "build_memory_packet", "params": {
            "request": one, "render": True}}).encode() + b"\n" for one in self.asked(query=query)]


def filled(size: int, stack: ExitStack) -> Filled:
    """Start a daemon in a home of its own and fill it."""
    home = stack.enter_context(tempfile.TemporaryDirectory(prefix="eb"))
    os.environ.update(HOME=home, XDG_RUNTIME_DIR=home)
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "ENGRAM_SOCKET"):
        os.environ.pop(name, None)
    memory = Memory.connect()
    stack.callback(memory.shutdown)
    queries = fill(memory, size)
    status = memory.status()
    return Filled(size, memory, queries, status["database"], status["socket"])


def outside_kernel(places: list[Filled], times: int, *, query: bool) -> list[float]:
    """Return for each place the median microseconds that a packet takes beside the kernel's own work.

    The places take turns in one process, so that all find the caches as the others' kernels left them.
    """
    timers = Timers()
    pool = [name for name in vars(gather.Pool) if not name.startswith("_") and name != "n"]
    kernels = [(index, "TextIndex", ("query",)), (index, "Table", ("select",)), (gather, "Pool", tuple(pool)),
               (budget, "Fit", ("run",))]
    held = [(module, name, getattr(module, name)) for module, name, _ in kernels]
    held += [(module, "shown", module.shown) for module in (compose, lines)]
    for module, name, methods in kernels:
        setattr(module, name, timers.around(getattr(module, name), *methods))
    for module in (compose, lines):
        module.shown = timers.functions(module.shown)
    try:
        engines = [Engine(load(env=os.environ), place.database) for place in places]
        asked = [place.asked(query=query) for place in places]
        taken: list[list[float]] = [[] for _ in places]
        for at in range(times + QUERIES):
            for engine, requests, out in zip(engines, asked, taken, strict=True):
                timers.spent = 0.0
                start = time.perf_counter()
                engine.read("build_memory_packet", {"request": requests[at % len(requests)], "render": True})
                out.append(time.perf_counter() - start - timers.spent)
        for engine in engines:
            engine.close()
    finally:
        for module, name, kernel in held:
            setattr(module, name, kernel)
    return [round(statistics.median(one[QUERIES:]) * 1e6, 1) for one in taken]


def measure(place: Filled, requests: int, runs: int) -> dict[str, object]:
    """Compare packets with and without queries with the floor."""
    results: dict[str, object] = {"memories": place.size, "fetch_40_us": fetch_40(place.database)}
    for name, query in (("no_query", False), ("query", True)):
        packets = [place.memory.build_memory_packet(one) for one in place.asked(query=query)]
        at = f"{place.database}-{name}.sock"
        server = subprocess.Popen([sys.executable, "-c", FLOOR, place.database, at], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        assert server.stdin and server.stdout
        server.stdin.write(json.dumps([plan(place.database, one) for one in packets]) + "\n")
        server.stdin.flush()
        server.stdout.readline()
        daemon, floor = connect(place.path), connect(at)
        done = [compare(daemon, floor, place.lines(query=query), requests) for _ in range(runs)]
        best = min(done, key=lambda one: one["tail_ratio"])
        best["times_fetch_40"] = round(best["packet_us"] / float(str(results["fetch_40_us"])), 1)
        results[name] = best
        daemon.close()
        floor.close()
        server.wait()
    return results


def in_turn(places: list[Filled], requests: int) -> list[float]:
    """Return for each place the median microseconds of a packet without a query, the places taking turns."""
    peers = [connect(place.path) for place in places]
    lines = [place.lines(query=False)[0] for place in places]
    taken: list[list[float]] = [[] for _ in places]
    for _ in range(requests):
        for peer, line, out in zip(peers, lines, taken, strict=True):
            out.append(ask(peer, line) * 1e6)
    for peer in peers:
        peer.close()
    return [round(statistics.median(one), 1) for one in taken]


def growth(places: list[Filled], requests: int) -> dict[str, object]:
    """Return what the largest place takes of the smallest's time: whole packets, and the part outside the kernel."""
    out: dict[str, object] = {}
    for name, taken in (("without_query", in_turn(places, requests)),
                        ("outside_kernel_without_query", outside_kernel(places, requests, query=False)),
                        ("outside_kernel_with_query", outside_kernel(places, requests, query=True)),
                        ("outside_kernel_with_query_each_alone", [
                            outside_kernel([place], requests, query=True)[0] for place in places])):
        out[name] = {"us": taken, "growth": round(taken[-1] / taken[0], 2)}
    return out


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    with ExitStack() as stack:
        places = [filled(int(size), stack) for size in given.sizes.split(",")]
        found: dict[str, object] = {"bench": "packet", "rows": [
            measure(place, given.requests, given.runs) for place in places]}
        if len(places) > 1:
            found["growth"] = growth(places, given.requests)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
