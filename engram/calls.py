"""What a call sends and what comes back, the same for both twins: ids and times, request lines, results.

Driven by `memory` and `aio`. The client decides ids and times of what is new before the first send, so that a request
sent again happens once; the rules are the engine's.
"""

from __future__ import annotations

import os
from time import time_ns

from engram_core.errors import BadInput, EngramError, ProtocolError
from engram_core.ids import new_id
from engram_core.protocol.lines import plain, read_result, write_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Json = dict[str, Any]

__all__ = ["DEFAULT_PATH", "Caller", "closed", "explained", "is_plain", "outcome_of", "unwrap"]

DEFAULT_PATH = "data/engram.db"
"""Where the earlier library kept its memories, and ``Memory()`` without a daemon does."""

_WITHOUT_SCOPE = ("hello", "policies", "reload", "shutdown")
_VARIABLES = {"tenant_id": "ENGRAM_TENANT", "user_id": "ENGRAM_USER", "agent_id": "ENGRAM_AGENT",
              "session_id": "ENGRAM_SESSION", "run_id": "ENGRAM_RUN"}
_NEW = {"append_episode": ("episode", "ep_", "episode_id"), "append_insight": ("insight", "in_", "id")}
"""Where a call carries something new, and what its id is called."""


class Caller:
    """Write the request lines of one Memory: numbers, folder and time limit."""

    __slots__ = ("_number", "cwd", "timeout")

    def __init__(self, *, timeout: float | None, cwd: str | None) -> None:
        if timeout is not None and not 0 < timeout <= 3600:
            raise BadInput(f"timeout is {str(timeout)[:40]}; allowed are seconds above 0, at most 3600")
        self.timeout, self.cwd = timeout, cwd
        self._number = 0

    def line(self, method: str, params: Mapping[str, Any]) -> bytes:
        """Return the request line of a call; raise BadInput for what cannot be sent."""
        sent = self.params(method, params)
        if self.timeout is not None:
            sent.setdefault("timeout_ms", max(1, round(self.timeout * 1000)))
        self._number = number = self._number + 1  # two threads may take the same one: each has its own connection
        return write_request(number, method, sent)

    def params(self, method: str, params: Mapping[str, Any]) -> Json:
        """Return the parameters that an engine is sent: new ones have an id, a folder goes with them."""
        sent = {name: value for name, value in params.items() if value is not None}
        if method == "append_event":
            if "at_ms" not in sent:
                sent["at_ms"] = time_ns() // 1_000_000
            event = sent.get("event")
            if type(event) is not dict or event.get("event_id") is None:
                sent["event"] = _named(event, sent["at_ms"])
        elif method == "append_events" and isinstance(sent.get("events"), list | tuple):
            now = sent.setdefault("at_ms", time_ns() // 1_000_000)
            sent["events"] = [_named(event, now) for event in sent["events"]]
        elif method in _NEW:
            name, prefix, key = _NEW[method]
            sent[name] = _named(sent.get(name), None, prefix, key)
        if self.cwd is not None:
            sent["cwd"] = self.cwd
            if method not in _WITHOUT_SCOPE:
                _complete(sent)
        return sent


def is_plain(method: str) -> bool:
    """Tell whether an engine in this process takes a method's parameters as they are.

    Those of checkpoints are: a saver makes them of JSON's own types, a graph asks at every step, and a line of text
    each time would take longer than what is asked for.
    """
    return "checkpoint" in method


def outcome_of(reply: bytes) -> Any | EngramError:
    """Return the result or the error in a reply line."""
    try:
        return read_result(reply)
    except EngramError as error:
        return error


def unwrap(method: str, result: Any, key: str) -> Any:
    """Return what a result holds under a key, or all of it without one."""
    if not isinstance(result, dict) or (key and key not in result):
        raise ProtocolError(f"the result of {method} is not what it should be",
                            hint="engram status shows the daemon's version")
    return result[key] if key else result


def explained(scope_or_request: Any, build_id: str | None, memory_id: str | None) -> Json:
    """Return the parameters of ``explain``: a request holds a scope, a scope does not."""
    given = plain(scope_or_request)
    request = given if isinstance(given, dict) and "scope" in given else None
    return {"scope": given if request is None else request["scope"], "request": request, "build_id": build_id,
            "memory_id": memory_id}


def closed() -> BadInput:
    """Return the error for a call on what was closed."""
    return BadInput("this Memory is closed; nothing was done", hint="open another one")


def _named(found: Any, now_ms: int | None, prefix: str = "e_", key: str = "event_id") -> Any:
    """Return a copy of something new with an id of its own; what is no object is the engine's to refuse."""
    found = plain(found)
    if isinstance(found, dict) and found.get(key) is None:
        return {**found, key: new_id(prefix, now_ms if type(now_ms) is int else time_ns() // 1_000_000)}
    return found


def _complete(params: Json) -> None:
    """Add the ids of ENGRAM_* variables to the scopes of a request: they are the client's, not the daemon's."""
    ids = {key: os.environ[name] for key, name in _VARIABLES.items() if os.environ.get(name)}
    if not ids:
        return
    if isinstance(params.get("events"), list | tuple):
        params["events"] = [_scoped(event, ids) for event in params["events"]]
        return
    for name in ("event", "request"):
        if name in params:
            params[name] = _scoped(params[name], ids)
            return
    params.update(_scoped(params, ids))


def _scoped(holder: Any, ids: Json) -> Any:
    """Return a copy of what holds a scope, with ids in it that it lacks."""
    holder = plain(holder)
    if not isinstance(holder, dict):
        return holder
    given = plain(holder.get("scope")) or {}
    if not isinstance(given, dict):
        return holder
    return {**holder, "scope": {**ids, **{key: value for key, value in given.items() if value is not None}}}
