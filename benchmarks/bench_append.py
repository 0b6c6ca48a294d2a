"""Appends acknowledged as durable, against a bare sqlite3 loop that commits each row on the same file system.

Interleaved rounds of three: the bare loop, one client that waits for each acknowledgement, and eight clients that each
do. Both databases are in WAL mode with ``PRAGMA synchronous`` read back as 2 (FULL); one process drives all clients
with lines made beforehand, for the start of a command is ``bench_startup``'s matter. Where the disk makes the loop
cheap (an fsync of less than 0.3 ms) what counts is how often the daemon asks the disk: strace counts its calls of
fsync and fdatasync while eight clients append; without strace that figure is null and not judged.

Goals: eight clients acknowledge at least 2 x the loop's rows per second, and one client takes at most 1.5 x the loop's
time per row; where an fsync takes less than 0.3 ms instead at most 0.3 fsyncs per acknowledged append at eight clients.

    python benchmarks/bench_append.py [--appends 1000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import select
import shutil
import socket
import sqlite3
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from installed import SCOPE, Home, fsync_ms, interpreter, request, texts

CLIENTS = 8
CHEAP_FSYNC_MS = 0.3
GOALS = {"eight_clients_rate": 2.0, "one_client_time": 1.5, "fsyncs_per_append": 0.3}


def bare(path: str, bodies: list[str]) -> tuple[float, int]:
    """Return the seconds of the whole yardstick, one commit per row, and its PRAGMA synchronous."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, body TEXT)")
    start = time.perf_counter()
    for body in bodies:
        db.execute("INSERT INTO events (body) VALUES (?)", (body,))
    taken = time.perf_counter() - start
    level = db.execute("PRAGMA synchronous").fetchone()[0]
    db.close()
    return taken, level


def lines(bodies: list[str]) -> list[bytes]:
    """Return a request line per event."""
    return [request("append_event", {"event": {"scope": SCOPE, "payload": body}}) for body in bodies]


def clients(home: Home, sent: list[bytes], count: int) -> float:
    """Return the seconds until all lines are acknowledged, when each client waits for its reply before the next."""
    peers = [home.connect() for _ in range(count)]
    waiting = {peer.fileno(): peer for peer in peers}
    poll = select.poll()
    for peer in peers:
        poll.register(peer, select.POLLIN)
    left = iter(sent)
    acknowledged = 0
    start = time.perf_counter()
    for peer, line in zip(peers, left, strict=False):
        peer.sendall(line)
    while acknowledged < len(sent):
        for fd, _ in poll.poll():
            acknowledged += take(waiting[fd])
            following = next(left, None)
            if following is not None:
                waiting[fd].sendall(following)
    taken = time.perf_counter() - start
    for peer in peers:
        peer.close()
    return taken


def take(peer: socket.socket) -> int:
    """Take one reply and check that it acknowledges a commit."""
    reply = peer.recv(1 << 16)
    if not (reply.endswith(b"\n") and b'"durability":"committed"' in reply):
        raise SystemExit(f"not acknowledged: {reply[:300]!r}")
    return 1


def compare(python: str, appends: int, rounds: int) -> dict[str, Any]:
    """Interleave the loop, one client and eight clients; return medians per append and their ratios."""
    loop, one, eight = [], [], []
    with Home(python) as home:
        home.start()
        bodies = texts(appends)
        sent, few = lines(bodies), appends // 4
        clients(home, sent[:200], CLIENTS)
        for _ in range(rounds):
            taken, level = bare(f"{home.path}/bare.db", bodies[:few])
            loop.append(taken / few)
            one.append(clients(home, sent[:few], 1) / few)
            eight.append(clients(home, sent, CLIENTS) / appends)
        floor = statistics.median(loop)
        status = home.ask("status", {})
        return {"fsync_ms": fsync_ms(home.path), "synchronous": status["sqlite"]["synchronous"],
                "bare_synchronous": level, "bare_us": round(floor * 1e6, 1),
                "one_client_us": round(statistics.median(one) * 1e6, 1),
                "eight_clients_us": round(statistics.median(eight) * 1e6, 1),
                "appends_per_s": round(1 / statistics.median(eight)),
                "one_client_time": round(statistics.median(one) / floor, 2),
                "eight_clients_rate": round(floor / statistics.median(eight), 2)}


def fsyncs(python: str, appends: int) -> float | None:
    """Return the daemon's fsyncs per acknowledged append with eight clients, None where there is no strace."""
    strace = shutil.which("strace")
    if strace is None:
        print("strace is missing (Debian: apt-get install strace): fsyncs are not counted", file=sys.stderr)
        return None
    with Home(python) as home:
        log = Path(home.path, "strace")
        home.start(strace, "-f", "--seccomp-bpf", "-e", "trace=fsync,fdatasync", "-o", str(log))
        clients(home, lines(texts(200)), CLIENTS)
        before = log.read_bytes().count(b"sync(")
        clients(home, lines(texts(appends)), CLIENTS)
        return round((log.read_bytes().count(b"sync(") - before) / appends, 3)


def main() -> int:
    """Measure, print, and return 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--appends", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    python = interpreter()
    found = compare(python, given.appends, given.rounds)
    found["fsyncs_per_append"] = fsyncs(python, given.appends)
    cheap = found["fsync_ms"] < CHEAP_FSYNC_MS
    met = {"durable": found["synchronous"] == found["bare_synchronous"] == 2}
    if not cheap:
        met["eight_clients_rate"] = found["eight_clients_rate"] >= GOALS["eight_clients_rate"]
        met["one_client_time"] = found["one_client_time"] <= GOALS["one_client_time"]
    elif found["fsyncs_per_append"] is not None:
        met["fsyncs_per_append"] = found["fsyncs_per_append"] <= GOALS["fsyncs_per_append"]
    print(json.dumps({"bench": "append", **found, "goals": GOALS,
                      "judged_by": "fsyncs_per_append" if cheap else "eight_clients_rate, one_client_time",
                      "met": met}, indent=1))
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
