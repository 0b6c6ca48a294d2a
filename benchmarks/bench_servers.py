"""PostgreSQL and MariaDB: a packet against its round trips and rows, and how many commits eight clients' appends take.

Each server's own settings for durability are read back and printed (fsync, synchronous_commit,
innodb_flush_log_at_trx_commit). The floor of a packet is three ``SELECT 1`` and one fetch by key of the rows that it
emits, on one connection of the same driver; both are taken in turn. Round trips are counted by the store. A packet is
measured as it is in use, where the index remembers the lines of what was emitted lately, and once more with none of
them remembered, so that it reads all its rows (``reading``); the goal is for the former.

Appends are acknowledged to eight clients by a daemon; the commits are the server's own count (transaction numbers,
Com_commit). In turn with them two loops of the plain drivers commit row by row on one connection of the same kind,
with the same durability. ``loop_rows``: a short text and a number into a table with a primary key and nothing else.
``loop_appends``: what an append writes, the event in the product's own table with its three indexes, its line in
``changes``, the owner's revision locked and counted up, as a program would that has no group commit. The goal is for
the former, the harder one: it stands and falls with the disk, for where an fsync (``fsync_ms``) takes a small part of
a millisecond, the loop's row costs hardly more than its way to the server, and what a daemon does for an
acknowledgement (a line read, checked, redacted, counted, written to two tables and answered) shares two cores with
server and clients.

Goals: packet at most 1.5 x the floor, at most three round trips; appends of eight clients at least 2 x the rate of the
loop of rows and at most 0.3 commits per acknowledgement.

    python benchmarks servers [--size 10000] [--requests 300] [--appends 1000]
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_packet import SCOPE, fill, request
from installed import fsync_ms

from engram import Memory
from engram_core.store.connection import Options
from engram_core.store.store import open_database

CLIENTS = 8
ROUNDS = 5
BODY = "word " * 25
GOALS = {"packet": 1.5, "trips": 3, "appends_rate": 2.0, "commits_per_ack": 0.3}
SERVERS = {"postgresql": ("ENGRAM_TEST_POSTGRES_DSN", "postgresql:///{name}?host=/var/run/postgresql"),
           "mysql": ("ENGRAM_TEST_MYSQL_DSN", "mysql://root@localhost/{name}?unix_socket=/run/mysqld/mysqld.sock")}
OWNER = "tenant_id='default' AND user_id='ada' AND agent_id='cli'"


def url_of(kind: str) -> str:
    """Return the URL of a database of our own on the server."""
    variable, usual = SERVERS[kind]
    given, name = os.environ.get(variable), f"engram_bench_{os.getpid()}"
    if not given:
        return usual.format(name=name)
    head, mark, query = given.partition("?")
    scheme, _, rest = head.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/{name}{mark}{query}"


def plan(connection: Any, packet: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the statements that fetch the rows which a packet emits, by key."""
    short, long = packet["short_term"], packet["long_term"]
    wanted = [("events", "line", "event_id", [one["evidence_id"] for one in short["key_quotes"]]
               + [one["id"] for one in packet["citations"]]),
              ("facts", "body", "fact_id", [one["fact_id"] for one in long["facts"]]),
              ("episodes", "body", "episode_id", [one["episode_id"] for one in long["episodes"]]),
              ("procedures", "body", "procedure_id", [one["procedure_id"] for one in long["procedures"]])]
    out = []
    for table, column, key, ids in wanted:
        if ids:
            seqs = [connection.execute(f"SELECT seq FROM {table} WHERE {OWNER} AND {key}=%(id)s", {"id": id_})[0][0]
                    for id_ in ids]
            marks = ",".join(f"%(p{at})s" for at in range(len(seqs)))
            out.append((f"SELECT seq, {column} FROM {table} WHERE {OWNER} AND seq IN ({marks})",
                        {f"p{at}": seq for at, seq in enumerate(seqs)}))
    return out


def packets(url: str, size: int, requests: int) -> dict[str, Any]:
    """Build packets in this process, in turn with their floor, and return medians in microseconds."""
    from engram_core.daemon.handlers import Engine
    from engram_core.settings import load

    engine = Engine(load(env={"HOME": "/nonexistent"}), url)
    database: Any = engine.store.database
    side = open_database(url, Options())
    floor = side.reader()
    found: dict[str, Any] = {}
    for name, query in (("no_query", None), ("query", "a question of some words")):
        params = {"request": {**request(size, query), "persist": False}}
        for _ in range(20):
            packet = json.loads(engine.read("build_memory_packet", params))
        statements = plan(floor, packet)
        mine, reading, theirs, trips = [], [], [], []
        for _ in range(requests):
            for taken in (reading, mine):
                if taken is reading:
                    for index in list(engine.cache._open.values()):
                        index.lines.held.clear()
                        index.citations.held.clear()
                before, start = database.trips(), time.perf_counter()
                engine.read("build_memory_packet", params)
                taken.append(time.perf_counter() - start)
                trips.append(database.trips() - before)
            start = time.perf_counter()
            for _ in range(3):
                floor.execute("SELECT 1")
            for statement in statements:
                floor.execute(*statement)
            theirs.append(time.perf_counter() - start)
        packet_us, reading_us, floor_us = (round(statistics.median(one) * 1e6, 1) for one in (mine, reading, theirs))
        found[name] = {"packet_us": packet_us, "floor_us": floor_us, "ratio": round(packet_us / floor_us, 2),
                       "reading_us": reading_us, "reading_ratio": round(reading_us / floor_us, 2),
                       "most_trips": max(trips), "fetches": len(statements)}
    found["settings"] = engine.store.facts()
    side.close()
    engine.close()
    return found


def commits(connection: Any, kind: str) -> int:
    """Return the server's own count of committed transactions."""
    if kind == "postgresql":  # transactions that wrote: each has a number of its own
        return int(connection.execute("SELECT txid_snapshot_xmax(txid_current_snapshot())")[0][0])
    return int(connection.execute("SHOW GLOBAL STATUS LIKE 'Com_commit'")[0][1])


def plain(url: str, kind: str) -> Any:
    """Connect with the driver alone, as anyone would: transactions begin by themselves and end with ``commit``."""
    from engram_core.store import mysql, postgres

    if kind == "postgresql":
        return postgres.psycopg.connect(url)
    return mysql.pymysql.connect(**{**mysql._hosts(url, Options())[0][0], "autocommit": False})


def bare_rows(loop: Any, count: int) -> float:
    """Insert short rows into a table without indexes, one commit each, and return the seconds of one."""
    cursor = loop.cursor()
    cursor.execute("DROP TABLE IF EXISTS bench_loop")
    cursor.execute("CREATE TABLE bench_loop (seq BIGINT PRIMARY KEY, body VARCHAR(1000))")
    loop.commit()
    start = time.perf_counter()
    for at in range(count):
        cursor.execute("INSERT INTO bench_loop VALUES (%s, %s)", (at, BODY))
        loop.commit()
    return (time.perf_counter() - start) / count


def whole_rows(loop: Any, first: int, count: int) -> float:
    """Write what an append writes, for an owner of the loop's own, one commit each, and return the seconds of one."""
    cursor = loop.cursor()
    texts = {}
    for table in ("events", "changes"):
        cursor.execute(f"SELECT * FROM {table} WHERE {OWNER} ORDER BY {'seq' if table == 'events' else 'revision'} "
                       "DESC LIMIT 1")
        names, row = [one[0] for one in cursor.description], cursor.fetchone()
        texts[table] = (f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(f'%({one})s' for one in names)})",
                        {**dict(zip(names, row, strict=True)), "user_id": "loop"})
    loop.commit()
    owner = OWNER.replace("ada", "loop")
    if not first:
        cursor.execute("INSERT INTO owners (tenant_id, user_id, agent_id, revision) "
                       "VALUES ('default', 'loop', 'cli', 0)")
        loop.commit()
    start = time.perf_counter()
    for at in range(first + 1, first + count + 1):
        cursor.execute(f"SELECT revision FROM owners WHERE {owner} FOR UPDATE")
        assert cursor.fetchone()[0] == at - 1
        for text, values in texts.values():
            cursor.execute(text, {**values, "seq": at, "revision": at, "event_id": f"e{at}", "id": f"e{at}"})
        cursor.execute(f"UPDATE owners SET revision=%s WHERE {owner}", (at,))
        loop.commit()
    return (time.perf_counter() - start) / count


def appends(url: str, kind: str, memory: Memory, count: int) -> dict[str, Any]:
    """Compare appends of eight clients with loops of commits, in turn, and count the server's commits."""
    side = open_database(url, Options())
    counting, loop = side.writer(), plain(url, kind)
    path = memory.status()["socket"]
    lines = [json.dumps({"jsonrpc": "2.0", "id": at, "method": "append_event", "params": {"event": {
        "scope": SCOPE, "payload": f"append {at} " + BODY}}}).encode() + b"\n" for at in range(count)]
    bare, whole, ours, used = [], [], [], 0
    for turn in range(ROUNDS):
        few = count // 4
        bare.append(bare_rows(loop, few))
        whole.append(whole_rows(loop, turn * few, few))
        before = commits(counting, kind)
        start = time.perf_counter()
        clients(path, lines)
        ours.append((time.perf_counter() - start) / count)
        used += commits(counting, kind) - before
    side.close()
    loop.close()

    def rate(theirs: list[float]) -> float:
        return round(statistics.median(one / mine for one, mine in zip(theirs, ours, strict=True)), 2)

    return {"fsync_ms": fsync_ms(os.environ["HOME"]), "loop_rows_per_s": round(1 / statistics.median(bare)),
            "loop_appends_per_s": round(1 / statistics.median(whole)),
            "appends_per_s": round(1 / statistics.median(ours)), "appends_rate": rate(bare),
            "appends_rate_of_whole": rate(whole), "commits_per_ack": round(used / count / ROUNDS, 3)}


def clients(path: str, lines: list[bytes]) -> None:
    """Send lines by eight clients that each wait for the acknowledgement before the next."""
    peers = {}
    poll = select.poll()
    for _ in range(CLIENTS):
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(path)
        peers[peer.fileno()] = peer
        poll.register(peer, select.POLLIN)
    rest = iter(lines)
    for peer, line in zip(peers.values(), rest, strict=False):
        peer.sendall(line)
    done = 0
    while done < len(lines):
        for fd, _ in poll.poll():
            reply = peers[fd].recv(1 << 16)
            assert b'"durability":"committed"' in reply, reply
            done += 1
            if line := next(rest, b""):
                peers[fd].sendall(line)


def measure(kind: str, size: int, requests: int, count: int) -> dict[str, Any]:
    """Fill a fresh database on a server and measure."""
    url = url_of(kind)
    with tempfile.TemporaryDirectory(prefix="eb") as home:
        os.environ.update(HOME=home, XDG_RUNTIME_DIR=home, ENGRAM_STORE_URL=url,
                          ENGRAM_DAEMON_REQUEST_TIMEOUT_MS="120000")
        for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "ENGRAM_SOCKET"):
            os.environ.pop(name, None)
        memory = Memory.connect()
        try:
            fill(memory, size)
            found = {"server": kind, "memories": size, **packets(url, size, requests),
                     **appends(url, kind, memory, count)}
        finally:
            memory.shutdown()
            os.environ.pop("ENGRAM_STORE_URL")
            drop(url, kind)
    return found


def drop(url: str, kind: str) -> None:
    """Drop the database by way of another one of the server."""
    name = url.partition("?")[0].rpartition("/")[2]
    other = open_database(url.replace(name, "postgres" if kind == "postgresql" else "engram_probe"), Options())
    time.sleep(1)  # the daemon hangs up
    other.writer().execute(f"DROP DATABASE {name}")
    other.close()


def main() -> int:
    """Measure, print, and return 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--appends", type=int, default=1000)
    given = parser.parse_args()
    rows = [measure(kind, given.size, given.requests, given.appends) for kind in SERVERS]
    met = {row["server"]: {
        "packet": max(row["no_query"]["ratio"], row["query"]["ratio"]) <= GOALS["packet"],
        "trips": max(row["no_query"]["most_trips"], row["query"]["most_trips"]) <= GOALS["trips"],
        "appends_rate": row["appends_rate"] >= GOALS["appends_rate"],
        "commits_per_ack": row["commits_per_ack"] <= GOALS["commits_per_ack"]} for row in rows}
    print(json.dumps({"bench": "servers", "rows": rows, "goals": GOALS, "met": met}, indent=1))
    return 0 if all(all(one.values()) for one in met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
