"""Overload, a soak in short, and the bounds of queue, replies and connections."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from engram import Memory
from engram_core.daemon.server import RESERVED
from tests.daemon_fixture import RUN_DAEMON, SCOPE, Home, ask, reply
from tests.faults import overload, soak
from tests.faults.world import event_line, line, start, wait_until

OVERLOAD_S = float(os.environ.get("ENGRAM_OVERLOAD_S", "12"))
SOAK_APPENDS = int(os.environ.get("ENGRAM_SOAK_APPENDS", "40000"))


@pytest.mark.xdist_group("load")
def test_two_hundred_clients_at_full_speed(capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    found = overload.run(OVERLOAD_S)
    with capsys.disabled():
        print(f"\noverload: {json.dumps(found)} {time.monotonic() - began:.0f} s")
    assert found["alive"] and 64 <= found["served"] <= 72 and found["most_connections"] <= 68
    assert found["refused"] > 0 and found["retryable"]
    assert found["refusal_p50_ms"] <= 20 and found["refusal_p99_ms"] <= 100
    assert not found["broken"]
    assert found["ratio"] <= 10, found
    assert found["fresh_refused"] <= found["fresh_tried"] // 20
    assert found["descriptors"][1] - found["descriptors"][0] <= overload.SPAN
    assert found["descriptors"][1] <= found["descriptors_idle"] + overload.LIMIT + RESERVED + overload.SPAN
    if OVERLOAD_S >= 60:
        assert found["rss_slope_mib_per_min"] <= 1


@pytest.mark.xdist_group("load")
def test_a_short_soak_stays_flat(capsys: pytest.CaptureFixture[str]) -> None:
    found = soak.run(SOAK_APPENDS)
    with capsys.disabled():
        print(f"\nsoak: {json.dumps(found)}")
    assert found["alive"] and found["appends"] == SOAK_APPENDS
    assert found["descriptors"][0] == found["descriptors"][1] and found["threads"][0] == found["threads"][1]
    assert found["wal_kib"][1] < 65 << 10


def test_beyond_the_limit_four_may_ask_for_status_and_the_rest_is_refused_at_once(home: Home) -> None:
    home.start(ENGRAM_DAEMON_MAX_CONNECTIONS="5")
    held = [home.connect() for _ in range(5)]
    for sock in held:
        assert "result" in ask(sock, line("status").strip())
    reserved = [home.connect() for _ in range(4)]
    for sock in reserved:
        assert "result" in ask(sock, line("hello", client="x", version="1", protocol=[1, 1]).strip())
        assert ask(sock, line("status").strip())["result"]["connections"] <= 9
    times = []
    for sent in (line("status"), event_line("e1", "x"), b"", b"{nonsense\n", line("status")[:20]):
        began = time.monotonic()
        with home.connect() as sock:
            sock.sendall(sent)
            error = reply(sock)["error"]
            times.append(time.monotonic() - began)
            assert (error["data"]["kind"], error["data"]["retryable"], error["data"]["exit"]) == ("busy", True, 75)
            assert sock.recv(1) == b""
    assert max(times) < 0.1, times
    # A reserved place serves nothing else while all are taken, and becomes a full one when there is room.
    assert ask(reserved[0], event_line("e2", "x").strip())["error"]["data"]["kind"] == "busy"
    held[0].close()
    assert wait_until(lambda: ask(reserved[1], line("status").strip())["result"]["connections"] == 7, 2)
    assert "result" in ask(reserved[1], event_line("e3", "x").strip())


def test_silent_connections_beyond_the_limit_do_not_keep_status_out(home: Home) -> None:
    home.start(ENGRAM_DAEMON_MAX_CONNECTIONS="3")
    held = [home.connect() for _ in range(3)]
    for sock in held:
        ask(sock, line("status").strip())
    silent = [home.connect() for _ in range(60)]
    with home.connect() as sock:
        assert "result" in ask(sock, line("status").strip())
    for sock in silent:
        assert reply(sock)["error"]["data"]["kind"] == "busy"
        sock.close()


def test_more_writes_than_the_queue_takes_are_refused_in_their_order(home: Home) -> None:
    """The writer is held up; what comes beyond the bound is told to retry, and everything else is stored."""
    small = "import sys; from engram_core.daemon import server; server.MAX_QUEUED = 200_000; " + RUN_DAEMON
    start(home, small, ENGRAM_FAILPOINT="commit.before=sleep@1+")
    with home.connect() as sock:
        sock.sendall(b"".join(event_line(f"e{n}", "x" * 50_000, n) for n in range(20)))
        data = b""
        sock.settimeout(30)
        while data.count(b"\n") < 20:
            data += sock.recv(1 << 18)
    replies = [json.loads(row) for row in data.splitlines()]
    assert [one["id"] for one in replies] == list(range(20))
    refused = [one["id"] for one in replies if "error" in one]
    assert refused and all(replies[at]["error"]["data"]["retryable"] for at in refused)
    assert "MiB are waiting" in replies[refused[0]]["error"]["message"]
    with Memory.connect(cwd="/", timeout=30) as memory:
        stored = {event["event_id"] for event in memory.request("list_events", {"scope": SCOPE})["events"]}
    assert stored == {f"e{one['id']}" for one in replies if "result" in one}


def test_replies_that_nobody_takes_are_bounded(home: Home) -> None:
    small = "import sys; from engram_core.daemon import server; server.MAX_UNSENT = 4 << 20; " + RUN_DAEMON
    start(home, small)
    with Memory.connect(cwd="/") as memory:
        for number in range(8):
            memory.append_event({"scope": SCOPE, "payload": f"{number}" + "x" * 600_000})
    deaf = []
    for _ in range(3):
        sock = home.connect()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(line("list_events", scope=SCOPE))
        deaf.append(sock)
    with home.connect() as good:
        assert wait_until(lambda: "error" in ask(good, line("list_facts", scope=SCOPE).strip()), 4)
        error = ask(good, line("list_facts", scope=SCOPE).strip())["error"]
        assert error["data"]["retryable"] and "not taken" in error["message"]
        assert "result" in ask(good, line("status").strip())
        assert "result" in ask(good, event_line("e1", "x").strip())  # writes are not held up by it
        assert wait_until(lambda: "result" in ask(good, line("list_facts", scope=SCOPE).strip()), 8)
    for sock in deaf:
        sock.close()


def test_a_thousand_connections_may_be_configured(home: Home) -> None:
    code = ("import resource, subprocess, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096)); "
            "sys.exit(subprocess.run([sys.executable, '-c', sys.argv[1]]).returncode)")
    process = subprocess.Popen([sys.executable, "-c", code, RUN_DAEMON], stdin=subprocess.DEVNULL,
                               env={**home.env, "ENGRAM_DAEMON_MAX_CONNECTIONS": "400"})
    try:
        assert wait_until(lambda: home.record().get("pid"))
        held = []
        for number in range(350):
            held.append(home.connect())
            if number % 50 == 49:  # fewer at once than may wait to be accepted
                ask(held[-1], line("status").strip())
        assert ask(held[-1], line("status").strip())["result"]["connections"] == 350
        for sock in held:
            sock.close()
    finally:
        home.stop()
        process.kill()
        process.wait()
