"""Let recall_bench.py ask Engram: ``--systems "cmd:python benchmarks/recall_adapter.py"``, JSON lines both ways.

Turns go to a daemon of its own in a temporary home; the ids come back as ``search`` ranked them.
"""

import json
import os
import sys
import tempfile
from typing import Any

SCOPE = {"tenant_id": "bench", "user_id": "someone", "agent_id": "bench", "session_id": "asking", "run_id": "bench"}


def event(turn: dict[str, Any]) -> dict[str, Any]:
    """Return a turn as an event; a time without a zone is taken as UTC."""
    return {"event_id": turn["id"], "scope": {**SCOPE, "session_id": turn["session"]},
            "payload": {"name": turn["speaker"], "content": turn["text"]}, "ts": turn["ts"] and turn["ts"] + "Z"}


with tempfile.TemporaryDirectory(prefix="eg") as home:
    for name in [name for name in os.environ if name.startswith(("ENGRAM_", "XDG_"))]:
        del os.environ[name]
    os.environ |= {"HOME": home, "XDG_RUNTIME_DIR": home}
    from engram import EngramError, Memory

    with Memory.connect() as memory:
        for line in sys.stdin:
            asked = json.loads(line)
            if asked["op"] == "index":
                for reply in memory.stream("append_event", ({"event": event(turn)} for turn in asked["turns"])):
                    if isinstance(reply, EngramError):
                        raise reply
                answer: dict[str, Any] = {"ok": True}
            else:
                now = asked["now"] and asked["now"] + "Z"
                answer = {"ids": [hit["id"] for hit in memory.search(
                    SCOPE, asked["question"], now=now, max_tokens=asked["budget"])]}
            print(json.dumps(answer), flush=True)
        memory.shutdown()
