"""One of several programs that open the same database at once: it appends, reads what the others wrote, and reports.

Driven by test_processes.py: ``writer.py PATH NAME COUNT START OTHERS``; it begins when the file START is there and ends
when it has seen COUNT events of every one of OTHERS.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from engram import Memory


def main() -> None:
    """Append and look; print one line of JSON."""
    path, name, count, start = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
    others = sys.argv[5].split(",")
    scope = {"user_id": "ada", "agent_id": "bot", "session_id": "s", "run_id": name}
    print("here", flush=True)
    while not start.exists():
        time.sleep(0.002)
    began, slowest = time.monotonic(), 0.0
    with Memory(path=path) as memory:
        opened = time.monotonic() - began
        for number in range(count):
            before = time.monotonic()
            found = memory.append_event({"scope": scope, "event_id": f"{name}-{number}",
                                         "payload": f"{number} of {name}"})
            assert found["duplicate"] is False
            slowest = max(slowest, time.monotonic() - before)
            if number == 0:
                assert memory.search(scope, f"of {name}")[0]["id"] == f"{name}-0"
        written = time.monotonic() - began
        until = time.monotonic() + 240
        seen: dict[str, int] = {}
        while min((seen.get(one, 0) for one in others), default=count) < count:
            assert time.monotonic() < until, seen
            seen = {one: len(memory.list_events({**scope, "run_id": one})) for one in others}
            time.sleep(0.02)
        last = [memory.search(scope, f"{count - 1} of {one}", limit=100) for one in others]
        assert all(any(hit["id"] == f"{one}-{count - 1}" for hit in hits)
                   for one, hits in zip(others, last, strict=True)), "the index has not seen the others' writes"
    print(json.dumps({"name": name, "opened": opened, "written": written, "slowest": slowest}), flush=True)


if __name__ == "__main__":
    main()
