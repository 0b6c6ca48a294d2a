"""Appends, packets and forgetting for a long time against one daemon, whose size must not change: ``make soak``.

Memory, descriptors, threads and the write-ahead log are looked at all the time; after the first third none may grow.
The events are forgotten again in slices, so that a run of ten million needs no disk of its own; packets are asked for
on the way. ``--appends 10000000`` is the nightly run; with ``--seconds`` it ends after that time, and says what the
slope of memory over the appends it did would come to over all of them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.daemon_fixture import SCOPE, Home, ask
from tests.faults.overload import facts, slope
from tests.faults.world import line

BATCH = 250
KEEP = 20_000
WARM_S = 1.5  # in which the daemon, let alone, loads all that reads need: a file it just opens would count as grown


def run(appends: int, seconds: float = float("inf")) -> dict[str, Any]:
    """Append that many events, or as many as fit into the time, and return the daemon's figures."""
    home = Home(Path(tempfile.mkdtemp(prefix="ek", dir="/tmp")))
    try:
        home.start()
        pid = home.record()["pid"]
        time.sleep(WARM_S)
        began = time.monotonic()
        memory: list[tuple[float, float]] = []  # by millions of appends
        seen: dict[str, list[int]] = {"descriptors": [], "threads": [], "wal_kib": []}
        done, forgotten, packets = 0, 0, 0
        sock = home.connect()
        sock.settimeout(60)
        while done < appends and time.monotonic() - began < seconds:
            events = [{"scope": {**SCOPE, "session_id": f"s{(done // KEEP) % 2}"}, "event_id": f"e{done + n}",
                       "payload": f"event {done + n}: Ada went to city {n} and met person {done % 977}"}
                      for n in range(BATCH)]
            reply = ask(sock, line("append_events", events=events).strip())
            assert "result" in reply, reply
            done += BATCH
            if done % 5000 == 0:
                reply = ask(sock, line("build_memory_packet", request={
                    "scope": SCOPE, "query": f"where did Ada meet person {packets}",
                    "budget": {"max_tokens": 800}}).strip())
                assert "result" in reply, reply
                packets += 1
            if done % KEEP == 0 and done > KEEP:  # the session before this one
                old = f"s{(done // KEEP) % 2}"
                reply = ask(sock, line("forget", scope={**SCOPE, "session_id": old}, selector={
                    "session": True, "kinds": ["event"]}).strip())
                assert "result" in reply, reply
                forgotten += reply["result"]["rows"]
            part = max(done / appends, (time.monotonic() - began) / seconds)
            if part > 1 / 3 and done % 2500 == 0:
                rss, descriptors, threads = facts(pid)
                memory.append((done / 1e6, rss / 1024))
                seen["descriptors"].append(descriptors)
                seen["threads"].append(threads)
                wal = home.database.with_name("engram.db-wal")
                seen["wal_kib"].append(wal.stat().st_size // 1024 if wal.exists() else 0)
        index = ask(sock, line("status").strip())["result"]["index"]
        sock.close()
        half = len(memory) // 2
        # What is forgotten is given back in strokes, so it is the peaks that must not grow.
        first, second = (max((y for _, y in part), default=0.0) for part in (memory[:half], memory[half:]))
        took = time.monotonic() - began
        return {"appends": done, "forgotten": forgotten, "packets": packets, "seconds": round(took),
                "per_second": round(done / took), "alive": home.record().get("pid") == pid,
                "rss_mib": [round(min(y for _, y in memory), 1), round(max(y for _, y in memory), 1)],
                "index": index, "rss_growth_mib": round(second - first, 2),
                "rss_slope_mib_per_million": round(slope(memory), 2),
                "rss_mib_more_over_all": round(slope(memory) * appends / 1e6, 1),
                **{name: [min(values), max(values)] for name, values in seen.items()}}
    finally:
        home.stop()
        shutil.rmtree(home.path, ignore_errors=True)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--appends", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    given = parser.parse_args()
    found = run(given.appends, given.seconds)
    print("soak: " + json.dumps(found))
    return 0 if found["alive"] and found["rss_growth_mib"] < 8 else 1


if __name__ == "__main__":
    sys.exit(main())
