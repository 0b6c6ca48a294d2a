"""Packets over the socket against the floor: one warm connection, a prepared SELECT of exactly the emitted rows.

Prints JSON. Goals: at 10,000 memories of one owner, persist=true, explanation included, the median is at most 4 x
the floor without a query (hoped for: 2.5) and 6 x with one (4); p99/median at most 1.5 x the floor's, best of five;
from 1,000 to 100,000 memories the median without a query grows at most 1.5 x, and with one, the part outside the kernel
(`outside_kernel_us`, by timers around every call of it, in one process) does too. Also printed: the fetch of 40 rows by
key from an open SQLite connection, the yardstick of the earlier library (43 x / 140 x / 1,250 x that fetch).

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
from itertools import accumulate
from pathlib import Path
from types import ModuleType, SimpleNamespace

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


def outside_kernel(database: str, requests: list[dict[str, object]], times: int) -> float:
    """Return the median microseconds that a packet takes beside the kernel's own work."""
    timers = Timers()
    pool = [name for name in vars(gather.Pool) if not name.startswith("_") and name != "n"]
    places = [(index, "TextIndex", ("query",)), (index, "Table", ("select",)), (gather, "Pool", tuple(pool)),
              (budget, "Fit", ("run",))]
    held = [(module, name, getattr(module, name)) for module, name, _ in places]
    held += [(module, "shown", module.shown) for module in (compose, lines)]
    for module, name, methods in places:
        setattr(module, name, timers.around(getattr(module, name), *methods))
    for module in (compose, lines):
        module.shown = timers.functions(module.shown)
    try:
        engine = Engine(load(env=os.environ), database)
        taken = []
        for at in range(times + len(requests)):
            timers.spent = 0.0
            start = time.perf_counter()
            engine.read("build_memory_packet", {"request": requests[at % len(requests)], "render": True})
            taken.append(time.perf_counter() - start - timers.spent)
        engine.close()
    finally:
        for module, name, kernel in held:
            setattr(module, name, kernel)
    return round(statistics.median(taken[len(requests):]) * 1e6, 1)


def measure(size: int, requests: int, runs: int) -> dict[str, object]:
    """Fill a fresh database and compare with and without queries."""
    with tempfile.TemporaryDirectory(prefix="eb") as home:
        os.environ.update(HOME=home, XDG_RUNTIME_DIR=home)
        for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "ENGRAM_SOCKET"):
            os.environ.pop(name, None)
        memory = Memory.connect()
        queries = fill(memory, size)
        database, path = memory.status()["database"], memory.status()["socket"]
        results: dict[str, object] = {"memories": size, "fetch_40_us": fetch_40(database)}
        for name, asked in (("no_query", [None]), ("query", queries)):
            packets = [memory.build_memory_packet(request(size, one)) for one in asked]
            asking = [json.dumps({"jsonrpc": "2.0", "id": 1, "method": "build_memory_packet", "params": {
                "request": request(size, one), "render": True}}).encode() + b"\n" for one in asked]
            at = f"{home}/floor-{name}.sock"
            server = subprocess.Popen([sys.executable, "-c", FLOOR, database, at], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True)
            assert server.stdin and server.stdout
            server.stdin.write(json.dumps([plan(database, one) for one in packets]) + "\n")
            server.stdin.flush()
            server.stdout.readline()
            daemon, floor = connect(path), connect(at)
            done = [compare(daemon, floor, asking, requests) for _ in range(runs)]
            best = min(done, key=lambda one: one["tail_ratio"])
            best["times_fetch_40"] = round(best["packet_us"] / float(str(results["fetch_40_us"])), 1)
            results[name] = best
            daemon.close()
            floor.close()
            server.wait()
        memory.shutdown()
        asked = [request(size, one) for one in queries]
        results["outside_kernel_us"] = {
            "no_query": outside_kernel(database, [request(size, None)], requests),
            "query": outside_kernel(database, asked, requests)}
        Path(database).unlink(missing_ok=True)
        return results


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    rows = [measure(int(size), given.requests, given.runs) for size in given.sizes.split(",")]
    found: dict[str, object] = {"bench": "packet", "rows": rows}
    if len(rows) > 1:
        for name, part, key in (("growth_without_query", "no_query", "packet_us"),
                                ("growth_outside_kernel_with_query", "outside_kernel_us", "query")):
            first, last = (row[part][key] for row in (rows[0], rows[-1]))  # type: ignore[index]
            found[name] = round(last / first, 2)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
