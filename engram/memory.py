"""``Memory``: every operation as a blocking method, in plain dicts and lists.

Driven by programs and by the command line. A method names its wire method, fills in what the client decides (ids and
times of what is new, so that a repeated request happens once) and unwraps the result; the rules are the daemon's.
"""

from __future__ import annotations

import json
import os
import threading
import time

from engram.transport import UnixTransport, find
from engram_core.errors import BadInput, ProtocolError
from engram_core.ids import new_id
from engram_core.protocol.lines import cut_result, read_error, write_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import Any, Protocol, Self

    from engram_core.errors import EngramError
    from engram_core.settings import Settings

    Json = dict[str, Any]

    class Transport(Protocol):
        """What carries request lines to an engine and reply lines back."""

        def exchange(self, line: bytes, *, timeout: float | None = None) -> bytes: ...
        def stream(self, lines: Iterable[bytes], *, timeout: float | None = None) -> Iterator[bytes]: ...
        def close(self) -> None: ...

__all__ = ["Memory", "new_id"]


class Memory:
    """The memories of one database, through its daemon.

    Scopes, events, facts and all else are plain dicts, as JSON; pydantic models are taken too.
    One object may be used by several threads; they take turns.
    """

    def __init__(self) -> None:
        """Talk to the daemon, as ``Memory.connect()`` does."""
        self._open(UnixTransport(find(env=os.environ)), timeout=None, cwd=None)

    @classmethod
    def connect(cls, socket: str | None = None, *, timeout: float | None = None, cwd: str | None = None,
                config: str | None = None, settings: Settings | None = None) -> Self:
        """Talk to the daemon at a socket, or to the one of this user, which is started when none runs.

        ``timeout`` is in seconds, for each call. With ``cwd`` the daemon completes scopes from the project and user
        configuration as the command line does; without it all ids of a scope must be given. ``settings`` are those to
        go by, when they are loaded already.
        """
        memory = cls.__new__(cls)
        place = find(env=os.environ, socket=socket, config=config, settings=settings)
        memory._open(UnixTransport(place), timeout=timeout, cwd=cwd)
        return memory

    def _open(self, transport: Transport, *, timeout: float | None, cwd: str | None) -> None:
        self._transport, self._timeout, self._cwd = transport, timeout, cwd
        self._lock = threading.Lock()
        self._number = 0

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    # ---- the one way out

    def request(self, method: str, params: Mapping[str, Any]) -> Any:
        """Send one request by its wire name and return its result."""
        with self._lock:
            return _result(self._transport.exchange(self._line(method, params), timeout=self._timeout))

    def stream(self, method: str, params: Iterable[Mapping[str, Any]]) -> Generator[Any | EngramError]:
        """Send many requests of one method without waiting for each; yield a result or an error for each, in order.

        Writes that follow each other this way share their commits. The connection is busy until the stream ends.
        """
        refused: list[tuple[int, BadInput]] = []  # what cannot be sent at all: its place in the stream, and why

        def lines() -> Iterator[bytes]:
            for place, one in enumerate(params):
                try:
                    line = self._line(method, one)
                except BadInput as exc:
                    refused.append((place, exc))
                    continue
                yield line

        with self._lock:
            place = 0
            for reply in self._transport.stream(lines(), timeout=self._timeout):
                while refused and refused[0][0] == place:
                    yield refused.pop(0)[1]
                    place += 1
                result = cut_result(reply)
                yield read_error(reply) if result is None else json.loads(result)
                place += 1
            yield from (exc for _, exc in refused)

    def _line(self, method: str, params: Mapping[str, Any]) -> bytes:
        sent = {name: _plain(value) for name, value in params.items() if value is not None}
        if method == "append_event":
            sent.setdefault("at_ms", time.time_ns() // 1_000_000)
            sent["event"] = _named(sent.get("event"), sent["at_ms"])
        elif method == "append_events" and isinstance(sent.get("events"), list):
            sent.setdefault("at_ms", time.time_ns() // 1_000_000)
            sent["events"] = [_named(event, sent["at_ms"]) for event in sent["events"]]
        if self._cwd is not None:
            sent["cwd"] = self._cwd
            if method not in _WITHOUT_SCOPE:
                _complete(sent)
        if self._timeout is not None:
            sent.setdefault("timeout_ms", max(1, round(self._timeout * 1000)))
        self._number += 1
        return write_request(self._number, method, sent)

    # ---- events

    def append_event(self, event: Json) -> Json:
        """Append what happened; the result says its id, and whether it had been appended before."""
        return self._dict("append_event", {"event": event})

    def append_events(self, events: list[Json]) -> list[Json]:
        """Append several events in one transaction: all of them, or none and an error."""
        return self._list("append_events", {"events": [_plain(event) for event in events]}, "results")

    def list_events(self, scope: Json, time_range: Json | None = None, limit: int | None = None, *,
                    after_seq: int | None = None, level: str | None = None) -> list[Json]:
        """Return the newest events, or those after a seq, in time order; without a limit all of them."""
        params = {"scope": scope, "time_range": time_range, "limit": limit, "level": level}
        events: list[Json] = []
        while True:
            found = self._dict("list_events", {**params, "after_seq": after_seq})
            events += found["events"]
            after_seq = found["next"]
            if after_seq is None or limit is not None:
                return events

    # ---- the state of the work

    def get_working_state(self, scope: Json) -> Json | None:
        """Return the run's working state, None when it has none."""
        return self._maybe("get_working_state", {"scope": scope}, "working_state")

    def patch_working_state(self, scope: Json, patch: Json, *, expected_version: int | None = None,
                            merge_slots: Json | None = None, remove_slots: list[str] | None = None) -> Json:
        """Replace the given fields of the working state; return all of it."""
        return self._dict("patch_working_state", {
            "scope": scope, "patch": patch, "expected_version": expected_version, "merge_slots": merge_slots,
            "remove_slots": remove_slots}, "working_state")

    def get_stm(self, scope: Json) -> Json | None:
        """Return the session's short-term state, None when it has none."""
        return self._maybe("get_stm", {"scope": scope}, "stm")

    def update_stm(self, scope: Json, stm_state: Json) -> None:
        """Replace the session's short-term state."""
        self.request("update_stm", {"scope": scope, "stm_state": stm_state})

    def end_run(self, scope: Json) -> Json:
        """End the run: its insights that last only as long expire."""
        return self._dict("end_run", {"scope": scope})

    # ---- long-term memories

    def list_facts(self, scope: Json, fact_filter: Json | None = None) -> list[Json]:
        """Return the facts of the scope's layers."""
        return self._list("list_facts", {"scope": scope, "fact_filter": fact_filter}, "facts")

    def upsert_fact(self, scope: Json, fact: Json, *, on_conflict: str | None = None) -> Json:
        """Set a fact; another value of its key is superseded, or disputed with ``on_conflict="dispute"``."""
        return self._dict("upsert_fact", {"scope": scope, "fact": fact, "on_conflict": on_conflict})

    def list_episodes(self, scope: Json, episode_filter: Json | None = None) -> list[Json]:
        """Return the episodes of the scope's layers."""
        return self._list("list_episodes", {"scope": scope, "episode_filter": episode_filter}, "episodes")

    def append_episode(self, scope: Json, episode: Json) -> Json:
        """Append an episode."""
        return self._dict("append_episode", {"scope": scope, "episode": _named(episode, None, "ep_", "episode_id")})

    def list_procedures(self, scope: Json, task_type: str | None = None, limit: int | None = None) -> list[Json]:
        """Return the procedures for a task type, or all."""
        return self._list("list_procedures", {"scope": scope, "task_type": task_type, "limit": limit}, "procedures")

    def upsert_procedure(self, scope: Json, procedure: Json) -> Json:
        """Set a procedure."""
        return self._dict("upsert_procedure", {"scope": scope, "procedure": procedure})

    def list_insights(self, scope: Json, insight_filter: Json | None = None) -> list[Json]:
        """Return the run's insights."""
        return self._list("list_insights", {"scope": scope, "insight_filter": insight_filter}, "insights")

    def append_insight(self, scope: Json, insight: Json) -> Json:
        """Append an insight."""
        return self._dict("append_insight", {"scope": scope, "insight": _named(insight, None, "in_", "id")})

    def update_insight(self, scope: Json, id: str, patch: Json | None = None, *, promote: str | None = None,
                       promoted: Json | None = None) -> Json:
        """Change an insight's state or fields, or promote a validated one to a fact, procedure or episode."""
        return self._dict("update_insight", {"scope": scope, "id": id, "patch": patch, "promote": promote,
                                             "promoted": promoted})

    def set_pinned(self, scope: Json, kind: str, id: str, pinned: bool = True) -> Json:
        """Pin a memory, or unpin it: pinned ones come first and are never forgotten by a rule."""
        return self._dict("set_pinned", {"scope": scope, "kind": kind, "id": id, "pinned": pinned})

    def forget(self, scope: Json, selector: Json, *, dry_run: bool = False) -> Json:
        """Delete memories and everything made of them; return what was, or would be, deleted."""
        return self._dict("forget", {"scope": scope, "selector": selector, "dry_run": dry_run})

    # ---- recall

    def build_memory_packet(self, request: Json, **show: Any) -> Json:
        """Return the packet for a request; ``show`` takes tokenizer, part, bare, format and max_chars."""
        return self._dict("build_memory_packet", {"request": request, **show})

    def explain(self, scope_or_request: Json, build_id: str | None = None, *, memory_id: str | None = None) -> Json:
        """Explain a stored packet of a scope (None: its last), or what a request would give."""
        given = _plain(scope_or_request)
        request = given if isinstance(given, dict) and "scope" in given else None
        return self._dict("explain", {"scope": given if request is None else request["scope"], "request": request,
                                      "build_id": build_id, "memory_id": memory_id})

    def search(self, scope: Json, query: str, *, kinds: list[str] | None = None, limit: int | None = None,
               now: str | None = None, max_tokens: int | None = None) -> list[Json]:
        """Return the memories that answer a query best."""
        return self._list("search", {"scope": scope, "query": query, "kinds": kinds, "limit": limit, "now": now,
                                     "max_tokens": max_tokens}, "hits")

    def list_context_builds(self, scope: Json, limit: int | None = None) -> list[Json]:
        """Return the run's newest stored packets."""
        return self._list("list_context_builds", {"scope": scope, "limit": limit}, "builds")

    def write_context_build(self, scope: Json, packet: Json) -> Json:
        """Store a packet made elsewhere."""
        return self._dict("write_context_build", {"scope": scope, "packet": packet})

    def policies(self, policy_id: str | None = None, *, table: Json | None = None, source: str | None = None) -> Json:
        """List the policies, return one with every field, or check a table; ``source`` names it in what is wrong."""
        return self._dict("policies", {"policy_id": policy_id, "table": table, "source": source})

    # ---- the daemon

    def hello(self, protocol: tuple[int, int] = (1, 1)) -> Json:
        """Agree on a protocol version with the daemon."""
        from engram_core import __version__

        return self._dict("hello", {"client": "engram-python", "version": __version__, "protocol": list(protocol)})

    def status(self, scope: Json | None = None) -> Json:
        """Describe the daemon."""
        return self._dict("status", {"scope": scope})

    def reload(self) -> Json:
        """Have the daemon read its configuration again."""
        return self._dict("reload", {})

    def shutdown(self) -> Json:
        """Have the daemon finish what it has accepted and exit."""
        return self._dict("shutdown", {})

    # ---- results

    def _dict(self, method: str, params: Mapping[str, Any], key: str = "") -> Json:
        result = self.request(method, params)
        found = result.get(key) if key and isinstance(result, dict) else result
        if not isinstance(found, dict):
            raise ProtocolError(f"the result of {method} is no object", hint="engram status shows the daemon's version")
        return found

    def _list(self, method: str, params: Mapping[str, Any], key: str) -> list[Json]:
        found = self._dict(method, params)[key]
        return found if isinstance(found, list) else []

    def _maybe(self, method: str, params: Mapping[str, Any], key: str) -> Json | None:
        return self._dict(method, params).get(key)


def _result(reply: bytes) -> Any:
    result = cut_result(reply)
    if result is None:
        raise read_error(reply)
    return json.loads(result)


def _plain(value: Any) -> Any:
    """Return a pydantic model as a dict of what was set in it."""
    return value.model_dump(mode="json", exclude_unset=True) if hasattr(value, "model_dump") else value


def _named(item: Any, now_ms: int | None, prefix: str = "e_", key: str = "event_id") -> Json:
    """Return a copy of something new with an id of its own, so that sending it twice stores it once."""
    found = _plain(item)
    if not isinstance(found, dict):
        raise BadInput(f"{key.removesuffix('_id')} is {str(found)[:60]!r}; allowed is an object")
    if found.get(key) is None:
        found = {**found, key: new_id(prefix, now_ms or time.time_ns() // 1_000_000)}
    return found


_WITHOUT_SCOPE = ("hello", "policies", "reload", "shutdown")
_VARIABLES = {"tenant_id": "ENGRAM_TENANT", "user_id": "ENGRAM_USER", "agent_id": "ENGRAM_AGENT",
              "session_id": "ENGRAM_SESSION", "run_id": "ENGRAM_RUN"}


def _complete(params: Json) -> None:
    """Add the ids of ENGRAM_* variables to the scopes of a request: they are the client's, not the daemon's."""
    ids = {key: os.environ[name] for key, name in _VARIABLES.items() if os.environ.get(name)}
    if not ids:
        return
    events = params.get("events") or [params.get("event")]
    holders = [item for item in (*events, params.get("request")) if isinstance(item, dict)]
    for holder in holders or [params]:
        holder["scope"] = {**ids, **{k: v for k, v in (holder.get("scope") or {}).items() if v is not None}}
