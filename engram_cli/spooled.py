"""What ``append`` does when no daemon can be reached: keep the event in the spool, and say so on stderr.

Driven by the fast entry and by the feed of events; loaded only then. ``--require-commit`` asks for an error instead.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import Any

from engram_cli.errors import failure
from engram_cli.output import note
from engram_core.errors import BadInput, Busy

__all__ = ["SPOOLED", "spool_event", "spooled"]

SPOOLED = "spooled"  # the durability an answer names
_IDS = ("tenant_id", "user_id", "agent_id", "session_id", "run_id")


def spooled(line: bytes, why: Exception, *, socket: str | None, required: bool, quiet: bool = False) -> str:
    """Keep one request line, its id and time already made, for the next daemon; return the event's id."""
    from engram.spool import keep
    from engram.transport import find

    entry = failure(why)
    if required:
        raise Busy(f"not committed: {entry['message']}", hint=entry["hint"]) from why
    params = json.loads(line)["params"]
    _check(params["event"], params["at_ms"])
    keep(find(env=os.environ, socket=socket).database, line)
    if not quiet:
        note(f"engram: spooled, the next daemon stores it: {entry['message']}")
    return str(params["event"]["event_id"])


def spool_event(params: Mapping[str, Any], why: Exception, *, cwd: str, socket: str | None, required: bool,
                quiet: bool = False) -> dict[str, Any]:
    """Keep the event of a request that could not be sent; return the answer that says so."""
    from engram_core.ids import new_id

    now = time.time_ns() // 1_000_000
    event = dict(params["event"])
    if event.get("event_id") is None:
        event["event_id"] = new_id("e_", now)
    body = {"jsonrpc": "2.0", "id": 1, "method": "append_event",
            "params": {"event": event, "at_ms": now, "cwd": cwd}}
    line = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
    if len(line) > 1 << 20:
        raise BadInput(f"the request has {len(line)} bytes; allowed are {1 << 20}", hint="split the text")
    return {"event_id": spooled(line, why, socket=socket, required=required, quiet=quiet), "durability": SPOOLED}


def _check(event: Any, at_ms: int) -> None:
    """Refuse now what the daemon would refuse later, when nobody sees it; ids it completes then are not known yet."""
    from engram_core.events import check_event

    scope = event.get("scope") if isinstance(event, dict) else None
    given = scope if isinstance(scope, dict) else {}
    check_event({**event, "scope": {**dict.fromkeys(_IDS, "x"), **given}}, at_ms=at_ms, new_id="e_x")
