"""A clock that jumps: order by number, nothing negative, deadlines by the clock that does not jump."""

from __future__ import annotations

import json
import time

from engram import Memory
from tests.daemon_fixture import SCOPE
from tests.faults.world import Faults, Log, append

HOUR, YEAR = 3600, 31_557_600


def test_order_and_scores_survive_a_clock_that_jumps(faults: Faults) -> None:
    faults.start()
    log = Log()
    scope = dict(SCOPE)
    offsets = [0, -HOUR, 10 * YEAR, 0, HOUR, -HOUR, 0]
    with faults.home.connect() as sock:
        for number, offset in enumerate(offsets):
            faults.ask("clock", str(offset))
            assert "result" in append(sock, log, f"e{number}", f"Ada moved to city {number}")
    with Memory.connect() as memory:
        listed = memory.request("list_events", {"scope": scope, "after_seq": 0, "limit": 50})["events"]
        assert [event["event_id"] for event in sorted(listed, key=lambda one: one["seq"])] == list(log.sent)
        for offset in (-HOUR, 0, 10 * YEAR):
            faults.ask("clock", str(offset))
            request = {"scope": scope, "query": "where did Ada move", "budget": {"max_tokens": 900}}
            packet = memory.build_memory_packet(request)
            account = json.dumps(memory.explain(scope, packet["meta"]["build_id"]))
            assert '"recency":-' not in account.replace(" ", "")
            assert "Ada moved" in json.dumps(packet)


def test_deadlines_do_not_follow_the_clock(faults: Faults) -> None:
    faults.start()
    with Memory.connect(cwd="/", timeout=5) as memory:
        for offset in (10 * YEAR, -HOUR, 0):
            faults.ask("clock", str(offset))
            began = time.monotonic()
            assert memory.append_event({"payload": f"at {offset}"})["durability"] == "committed"
            assert memory.build_memory_packet({"query": "at"})["meta"]
            assert memory.status()["uptime_s"] < 60
            assert time.monotonic() - began < 5
    # Half a line is dropped after five seconds of the other clock.
    with faults.home.connect() as sock:
        began = time.monotonic()
        sock.sendall(b'{"jsonrpc"')
        faults.ask("clock", str(10 * YEAR))
        while sock.recv(4096):
            pass
        assert 4.5 < time.monotonic() - began < 6


def test_summer_time_changes_nothing(faults: Faults) -> None:
    """Around an hour that a time zone has twice, stored times are UTC and in order."""
    faults.start(TZ="Europe/Berlin")
    target = 1_792_890_000  # 2026-10-25 00:20 UTC: 02:20 in Berlin for the first time
    with Memory.connect(cwd="/") as memory:
        for number, at in enumerate((target, target + HOUR, target + 2 * HOUR)):
            faults.ask("clock", str(round(at - time.time())))
            memory.append_event({"event_id": f"e{number}", "payload": "x", "ts_ms": at * 1000})
        times = [event["ts"] for event in memory.list_events({})]
    assert times == sorted(times) and all(text.endswith("Z") for text in times)
