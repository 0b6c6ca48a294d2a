"""The memory of a daemon after 10,000 appends and 10 packets: its proportional set size (PSS), as Linux counts it.

The daemon is a process of its own in an empty home; eight clients append events of one owner in 20 sessions, then one
client asks for packets with a query each. PSS is read from ``smaps_rollup`` after 5 s and after ``--wait`` seconds,
with its anonymous part beside it; where that file cannot be read (not Linux, or not root: the daemon forbids other
programs to look into it) the figures are null and nothing is judged.

Goal: at most 80 MiB after 60 s.

    python benchmarks/bench_memory.py [--wait 60] [--appends 10000] [--packets 10]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from bench_append import CLIENTS, clients
from installed import SCOPE, Home, interpreter, request, texts

GOAL_MIB = 80.0
SOON_S = 5.0
SESSIONS = 20


def pss(pid: int) -> dict[str, float] | None:
    """Return PSS and what makes it up, in MiB."""
    try:
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return None
    found = {row.split(":")[0]: int(row.split()[1]) / 1024 for row in rows}
    return {"pss_mib": round(found["Pss"], 1), "anonymous_mib": round(found["Pss_Anon"], 1),
            "files_mib": round(found["Pss_File"], 1)}


def fill(home: Home, appends: int) -> None:
    """Append events, eight clients at once."""
    lines = [request("append_event", {"event": {
        "scope": {**SCOPE, "session_id": f"s{at * SESSIONS // appends}"},
        "payload": {"role": ("user", "assistant")[at % 2], "content": text}}})
        for at, text in enumerate(texts(appends))]
    clients(home, lines, CLIENTS)


def measure(python: str, appends: int, packets: int, wait: float) -> dict[str, Any]:
    """Return the memory at the start, after the appends, and at the two moments after the packets."""
    with Home(python) as home:
        pid = home.start()
        time.sleep(1)
        found: dict[str, Any] = {"appends": appends, "packets": packets, "started": pss(pid)}
        fill(home, appends)
        found["appended"] = pss(pid)
        for query in texts(packets, seed=11):
            home.ask("build_memory_packet", {"request": {"scope": SCOPE, "purpose": "responder", "query": query}})
        done = time.monotonic()
        time.sleep(SOON_S)
        found["after_5_s"] = pss(pid)
        time.sleep(max(0.0, done + wait - time.monotonic()))
        found[f"after_{wait:g}_s"] = found["last"] = pss(pid)
        found["index"] = home.ask("status", {})["index"]
        return found


def main() -> int:
    """Measure, print, and return 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wait", type=float, default=60.0)
    parser.add_argument("--appends", type=int, default=10_000)
    parser.add_argument("--packets", type=int, default=10)
    given = parser.parse_args()
    found = measure(interpreter(), given.appends, given.packets, given.wait)
    last = found.pop("last")
    met = None if last is None else last["pss_mib"] <= GOAL_MIB
    print(json.dumps({"bench": "memory", **found, "goal_mib": GOAL_MIB, "met": met}, indent=1))
    return 1 if met is False else 0


if __name__ == "__main__":
    sys.exit(main())
