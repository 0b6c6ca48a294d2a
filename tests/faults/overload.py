"""Two hundred clients at full speed against a daemon with its default limit: ``python -m tests.faults.overload``.

Measured in one run: how many are served, how soon the others are refused and whether they are told to retry, the p99 of
``status`` over a held connection, over a new one and of a bare asyncio echo under the same load on the processor, and
the growth of the daemon over the last two thirds. Clients run in four processes; one that is refused comes again after
a pause that grows, as our own client does.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import multiprocessing
import os
import random
import shutil
import socket
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.daemon_fixture import Home
from tests.faults.world import event_line, line

CLIENTS, PROCESSES, LIMIT = 200, 4, 64
SPAN = 16  # descriptors come and go by those that are being refused, never by more


async def _client(path: str, name: str, end: float, found: dict[str, Any]) -> None:
    """Append without end; when refused, note how soon and how, and come again."""
    number, pause, dice = 0, 0.02, random.Random(name)
    while time.monotonic() < end:
        began = time.monotonic()
        try:
            reader, writer = await asyncio.open_unix_connection(path, limit=1 << 20)
            try:
                while time.monotonic() < end:
                    writer.write(event_line(f"{name}-{number}", "x" * 200))
                    data = await reader.readline()
                    if not data.endswith(b"\n"):
                        found["broken"].append(f"hung up {number}")
                        break
                    reply = json.loads(data)
                    if "error" in reply:
                        found["refused"] += 1
                        if number and reply["error"]["message"].split()[0] != "all":
                            found["broken"].append(reply["error"]["message"])
                        found["refusals_ms"].append((time.monotonic() - began) * 1000)
                        found["retryable"] &= bool(reply["error"]["data"]["retryable"])
                        break
                    found["served"].add(name)
                    found["appends"] += 1
                    number += 1
                    pause = 0.02
            finally:
                writer.close()
        except OSError as exc:
            found["broken"].append(errno.errorcode.get(exc.errno or 0, type(exc).__name__))
        await asyncio.sleep(pause * (0.5 + dice.random()))
        pause = min(pause * 2, 1.0)


def _process(path: str, at: int, end: float, pipe: Connection) -> None:
    found: dict[str, Any] = {"served": set(), "refused": 0, "refusals_ms": [], "retryable": True, "appends": 0,
                             "broken": []}

    async def run() -> None:
        await asyncio.gather(*(_client(path, f"p{at}c{n}", end, found) for n in range(CLIENTS // PROCESSES)))

    asyncio.run(run())
    pipe.send(found)


def _echo(path: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.readline():
            writer.write(data)
        writer.close()

    async def run() -> None:
        server = await asyncio.start_unix_server(serve, path)
        await server.serve_forever()

    asyncio.run(run())


def _ask(sock: socket.socket, sent: bytes) -> tuple[float, bytes]:
    began = time.perf_counter()
    sock.sendall(sent)
    data = b""
    while not data.endswith(b"\n"):
        piece = sock.recv(1 << 16)
        if not piece:
            break
        data += piece
    return (time.perf_counter() - began) * 1000, data


def _connect(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(10)
    sock.connect(path)
    return sock


def p99(values: list[float]) -> float:
    """Return the ninety-ninth percentile."""
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))] if values else float("nan")


def facts(pid: int) -> tuple[int, int, int]:
    """Return resident KiB, open descriptors and threads of a process."""
    text = Path(f"/proc/{pid}/status").read_text().splitlines()
    values = {name: value.split()[0] for name, _, value in (row.partition(":") for row in text) if value.split()}
    return int(values["VmRSS"]), len(os.listdir(f"/proc/{pid}/fd")), int(values["Threads"])


def slope(points: list[tuple[float, float]]) -> float:
    """Return the slope of the line nearest to the points."""
    n = len(points)
    if n < 2:
        return 0.0
    mx, my = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    return sum((x - mx) * (y - my) for x, y in points) / (sum((x - mx) ** 2 for x, _ in points) or 1.0)


def run(seconds: float) -> dict[str, Any]:
    """Run the overload and return its figures."""
    home = Home(Path(tempfile.mkdtemp(prefix="eo", dir="/tmp")))
    context = multiprocessing.get_context("spawn")
    echo = context.Process(target=_echo, args=(str(home.path / "echo"),), daemon=True)
    try:
        home.start()
        pid = home.record()["pid"]
        idle = facts(pid)[1]
        echo.start()
        while not (home.path / "echo").exists():
            time.sleep(0.01)
        end = time.monotonic() + seconds + 1.5
        pipes = [context.Pipe(duplex=False) for _ in range(PROCESSES)]
        clients = [context.Process(target=_process, args=(str(home.socket), at, end, pipes[at][1]), daemon=True)
                   for at in range(PROCESSES)]
        for one in clients:
            one.start()
        time.sleep(1.5)
        found = _measure(home, pid, end - time.monotonic() - 0.5)  # while all clients are there
        found["descriptors_idle"] = idle
        parts = [pipe.recv() for pipe, _ in pipes]
        for one in clients:
            one.join(10)
        refusals = [ms for part in parts for ms in part["refusals_ms"]]
        found.update(
            served=len(set().union(*(part["served"] for part in parts))), appends=sum(p["appends"] for p in parts),
            refused=sum(p["refused"] for p in parts), retryable=all(p["retryable"] for p in parts),
            refusal_p50_ms=round(sorted(refusals)[len(refusals) // 2], 1) if refusals else None,
            refusal_p99_ms=round(p99(refusals), 1), refusal_max_ms=round(max(refusals, default=0.0), 1),
            broken=[one for part in parts for one in part["broken"]][:20])
        found["alive"] = home.record().get("pid") == pid
        return found
    finally:
        echo.kill()
        home.stop()
        shutil.rmtree(home.path, ignore_errors=True)


def _measure(home: Home, pid: int, seconds: float) -> dict[str, Any]:
    began = time.monotonic()
    held = _connect(str(home.socket))
    echo = _connect(str(home.path / "echo"))
    ask = line("status")
    held_ms: list[float] = []
    fresh_ms: list[float] = []
    echo_ms: list[float] = []
    refused = tried = 0
    most = 0
    memory: list[tuple[float, float]] = []
    descriptors: list[int] = []
    threads: list[int] = []
    reply = _ask(held, ask)[1]
    assert b'"result"' in reply, reply
    while (now := time.monotonic() - began) < seconds:
        for _ in range(4):
            taken, data = _ask(held, ask)
            held_ms.append(taken)
            most = max(most, json.loads(data)["result"]["connections"])
            echo_ms.append(_ask(echo, data)[0])
        tried += 1
        at = time.perf_counter()
        with _connect(str(home.socket)) as sock:
            if b'"result"' in _ask(sock, ask)[1]:
                fresh_ms.append((time.perf_counter() - at) * 1000)
            else:
                refused += 1
        if now > seconds / 3:
            rss, count, running = facts(pid)
            memory.append((now / 60, rss / 1024))
            descriptors.append(count)
            threads.append(running)
        time.sleep(0.02)
    held.close()
    echo.close()
    return {"seconds": round(seconds + 0.5),
            "status_p99_ms": round(p99(held_ms), 2), "echo_p99_ms": round(p99(echo_ms), 2),
            "ratio": round(p99(held_ms) / p99(echo_ms), 1), "fresh_status_p99_ms": round(p99(fresh_ms), 2),
            "fresh_refused": refused, "fresh_tried": tried, "most_connections": most,
            "rss_mib": round(memory[-1][1], 1), "rss_slope_mib_per_min": round(slope(memory), 2),
            "descriptors": [min(descriptors), max(descriptors)], "threads": [min(threads), max(threads)]}


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    found = run(parser.parse_args().seconds)
    print(json.dumps(found))
    good = (found["alive"] and found["served"] == LIMIT and found["retryable"] and not found["broken"]
            and found["ratio"] <= 10 and found["refusal_max_ms"] <= 100 and found["rss_slope_mib_per_min"] <= 1
            and found["descriptors"][1] - found["descriptors"][0] <= SPAN)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
