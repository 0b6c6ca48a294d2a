"""``Memory``: every operation as a blocking method, in plain dicts and lists.

Driven by programs and by the command line. The engine runs in this process or in the daemon; a method names its wire
method and its parameters, the rest is the same for all of them. Its awaited twin is `aio`; a test compares the two.
"""

from __future__ import annotations

import os
import sys

from engram.calls import Caller, closed, explained, is_plain, outcome_of, unwrap
from engram.transport import find
from engram_core.errors import BadInput
from engram_core.protocol.lines import read_result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import Any, Protocol, Self

    from engram.inprocess import InProcess
    from engram.session import Session
    from engram.types import (
        Appended,
        BuildWritten,
        Deletion,
        EpisodeWritten,
        Explanation,
        FactWritten,
        Given,
        Hit,
        InsightUpdated,
        InsightWritten,
        Packet,
        Pinned,
        ProcedureWritten,
        RunEnded,
        ShortTerm,
        StoredEpisode,
        StoredEvent,
        StoredFact,
        StoredInsight,
        StoredProcedure,
        WorkingState,
    )
    from engram_core.errors import EngramError
    from engram_core.settings import Settings

    Json = dict[str, Any]

    class Transport(Protocol):
        """What carries request lines to an engine and reply lines back."""

        def exchange(self, line: bytes, *, timeout: float | None) -> bytes: ...
        def stream(self, lines: Iterable[bytes], *, timeout: float | None) -> Iterator[bytes]: ...
        def close(self) -> None: ...

__all__ = ["Memory"]


class Memory:
    """The memories of one database, in this process or through its daemon.

    Scopes, events, facts and all else are plain dicts, as JSON; pydantic models are taken too. One object may be used
    by any number of threads. ``close`` it, or use it in a ``with``; what was acknowledged is on disk in any case.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, in_memory: bool = False, backend: str = "sqlite",
                 dsn: str | None = None, database: str | None = None, *, timeout: float | None = None,
                 cwd: str | None = None, config: str | None = None) -> None:
        """Open a database in this process: a file, "data/engram.db" when none is named, or one in memory.

        Without any argument, and when ENGRAM_SOCKET is set, it talks to the daemon there, as ``connect`` does.
        ``backend`` may also be "postgres" or "mysql", with a ``dsn`` and, apart from it, the name of the ``database``.
        ``timeout`` is in seconds, for each call.
        """
        self._caller = Caller(timeout=timeout, cwd=cwd)
        self._inside: InProcess | None = None
        self._transport: Transport
        if (path, in_memory, backend, dsn, database) == (None, False, "sqlite", None, None) and \
                os.environ.get("ENGRAM_SOCKET"):
            self._transport = _daemon(None, config, None)
        else:
            from engram.inprocess import InProcess, inside

            self._transport = self._inside = InProcess(inside(
                path, in_memory=in_memory, backend=backend, dsn=dsn, database=database, config=config))
        self._open = True

    @classmethod
    def connect(cls, socket: str | None = None, *, timeout: float | None = None, cwd: str | None = None,
                config: str | None = None, settings: Settings | None = None) -> Self:
        """Talk to the daemon at a socket, or to the one of this user, which is started when none runs.

        ``timeout`` is in seconds, for each call. With ``cwd`` the daemon completes scopes from the project and user
        configuration as the command line does; without it all ids of a scope must be given. ``settings`` are those to
        go by, when they are loaded already.
        """
        memory = cls.__new__(cls)
        memory._caller = Caller(timeout=timeout, cwd=cwd)
        memory._inside = None
        memory._transport = _daemon(socket, config, settings)
        memory._open = True
        return memory

    def close(self) -> None:
        """Hang up, or store what waits and close the database; a further call is an error."""
        self._open = False
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    # ---- the one way out

    def request(self, method: str, params: Mapping[str, Any]) -> Any:
        """Send one request by its wire name and return its result."""
        if not self._open:
            raise closed()
        if "opentelemetry.trace" in sys.modules:  # else nobody can have asked for spans
            from engram.telemetry import span

            with span(method, params) as seen:
                seen.result = self._exchange(method, params)
                return seen.result
        return self._exchange(method, params)

    def _exchange(self, method: str, params: Mapping[str, Any]) -> Any:
        if self._inside is not None and is_plain(method):
            return self._inside.ask(method, self._caller.params(method, params), timeout=self._caller.timeout)
        line = self._caller.line(method, params)
        return read_result(self._transport.exchange(line, timeout=self._caller.timeout))

    def stream(self, method: str, params: Iterable[Mapping[str, Any]]) -> Generator[Any | EngramError]:
        """Send many requests of one method without waiting for each; yield a result or an error for each, in order.

        Writes that follow each other this way share their commits.
        """
        if not self._open:
            raise closed()
        refused: list[tuple[int, BadInput]] = []  # what cannot be sent at all: its place in the stream, and why

        def lines() -> Iterator[bytes]:
            for place, one in enumerate(params):
                try:
                    line = self._caller.line(method, one)
                except BadInput as exc:
                    refused.append((place, exc))
                    continue
                yield line

        place = 0
        for reply in self._transport.stream(lines(), timeout=self._caller.timeout):
            while refused and refused[0][0] == place:
                yield refused.pop(0)[1]
                place += 1
            yield outcome_of(reply)
            place += 1
        yield from (exc for _, exc in refused)

    def _get(self, method: str, params: Mapping[str, Any], key: str = "") -> Any:
        return unwrap(method, self.request(method, params), key)

    # ---- events

    def append_event(self, event: Given) -> Appended:
        """Append what happened; the result says its id, and whether it had been appended before."""
        found: Appended = self._get("append_event", {"event": event})
        return found

    def append_events(self, events: list[Given]) -> list[Appended]:
        """Append several events in one transaction: all of them, or none and an error."""
        found: list[Appended] = self._get("append_events", {"events": events}, "results")
        return found

    def list_events(self, scope: Given, time_range: Given | None = None, limit: int | None = None, *,
                    after_seq: int | None = None, level: str | None = None) -> list[StoredEvent]:
        """Return the newest events, or those after a seq, in time order; without a limit all of them."""
        params = {"scope": scope, "time_range": time_range, "limit": limit, "level": level}
        events: list[StoredEvent] = []
        while True:
            found = self._get("list_events", {**params, "after_seq": after_seq})
            events += found["events"]
            after_seq = found["next"]
            if after_seq is None or limit is not None:
                return events

    # ---- the state of the work

    def get_working_state(self, scope: Given) -> WorkingState | None:
        """Return the run's working state, None when it has none."""
        found: WorkingState | None = self._get("get_working_state", {"scope": scope}, "working_state")
        return found

    def patch_working_state(self, scope: Given, patch: Given, *, expected_version: int | None = None,
                            merge_slots: Given | None = None,
                            remove_slots: list[str] | None = None) -> WorkingState:
        """Replace the given fields of the working state; return all of it.

        With ``expected_version`` a state that has another version is a Conflict and stays as it is.
        """
        found: WorkingState = self._get("patch_working_state", {
            "scope": scope, "patch": patch, "expected_version": expected_version, "merge_slots": merge_slots,
            "remove_slots": remove_slots}, "working_state")
        return found

    def get_stm(self, scope: Given) -> ShortTerm | None:
        """Return the session's short-term state, None when it has none."""
        found: ShortTerm | None = self._get("get_stm", {"scope": scope}, "stm")
        return found

    def update_stm(self, scope: Given, stm_state: Given) -> None:
        """Replace the session's short-term state."""
        self._get("update_stm", {"scope": scope, "stm_state": stm_state})

    def end_run(self, scope: Given) -> RunEnded:
        """End the run: its insights that last only as long expire."""
        found: RunEnded = self._get("end_run", {"scope": scope})
        return found

    # ---- long-term memories

    def list_facts(self, scope: Given, fact_filter: Given | None = None) -> list[StoredFact]:
        """Return the facts of the scope's layers."""
        found: list[StoredFact] = self._get("list_facts", {"scope": scope, "fact_filter": fact_filter}, "facts")
        return found

    def upsert_fact(self, scope: Given, fact: Given, *, on_conflict: str | None = None) -> FactWritten:
        """Set a fact; another value of its key is superseded, or disputed with ``on_conflict="dispute"``."""
        found: FactWritten = self._get("upsert_fact", {"scope": scope, "fact": fact, "on_conflict": on_conflict})
        return found

    def list_episodes(self, scope: Given, episode_filter: Given | None = None) -> list[StoredEpisode]:
        """Return the episodes of the scope's layers."""
        found: list[StoredEpisode] = self._get(
            "list_episodes", {"scope": scope, "episode_filter": episode_filter}, "episodes")
        return found

    def append_episode(self, scope: Given, episode: Given) -> EpisodeWritten:
        """Append an episode."""
        found: EpisodeWritten = self._get("append_episode", {"scope": scope, "episode": episode})
        return found

    def list_procedures(self, scope: Given, task_type: str | None = None,
                        limit: int | None = None) -> list[StoredProcedure]:
        """Return the procedures for a task type, or all."""
        found: list[StoredProcedure] = self._get(
            "list_procedures", {"scope": scope, "task_type": task_type, "limit": limit}, "procedures")
        return found

    def upsert_procedure(self, scope: Given, procedure: Given) -> ProcedureWritten:
        """Set a procedure."""
        found: ProcedureWritten = self._get("upsert_procedure", {"scope": scope, "procedure": procedure})
        return found

    def list_insights(self, scope: Given, insight_filter: Given | None = None) -> list[StoredInsight]:
        """Return the run's insights."""
        found: list[StoredInsight] = self._get(
            "list_insights", {"scope": scope, "insight_filter": insight_filter}, "insights")
        return found

    def append_insight(self, scope: Given, insight: Given) -> InsightWritten:
        """Append an insight."""
        found: InsightWritten = self._get("append_insight", {"scope": scope, "insight": insight})
        return found

    def update_insight(self, scope: Given, id: str, patch: Given | None = None, *, promote: str | None = None,
                       promoted: Given | None = None) -> InsightUpdated:
        """Change an insight's state or fields, or promote a validated one to a fact, procedure or episode."""
        found: InsightUpdated = self._get("update_insight", {
            "scope": scope, "id": id, "patch": patch, "promote": promote, "promoted": promoted})
        return found

    def set_pinned(self, scope: Given, kind: str, id: str, pinned: bool = True) -> Pinned:
        """Pin a memory, or unpin it: pinned ones come first and are never forgotten by a rule."""
        found: Pinned = self._get("set_pinned", {"scope": scope, "kind": kind, "id": id, "pinned": pinned})
        return found

    def forget(self, scope: Given, selector: Given, *, dry_run: bool = False) -> Deletion:
        """Delete memories and everything made of them; return what was, or would be, deleted."""
        found: Deletion = self._get("forget", {"scope": scope, "selector": selector, "dry_run": dry_run})
        return found

    # ---- recall

    def build_memory_packet(self, request: Given, **show: Any) -> Packet:
        """Return the packet for a request; ``show`` takes tokenizer, part, bare, format and max_chars."""
        found: Packet = self._get("build_memory_packet", {"request": request, **show})
        return found

    def explain(self, scope_or_request: Given, build_id: str | None = None, *,
                memory_id: str | None = None) -> Explanation:
        """Explain a stored packet of a scope (None: its last), or what a request would give."""
        found: Explanation = self._get("explain", explained(scope_or_request, build_id, memory_id))
        return found

    def search(self, scope: Given, query: str, *, kinds: list[str] | None = None, limit: int | None = None,
               now: str | int | None = None, max_tokens: int | None = None) -> list[Hit]:
        """Return the memories that answer a query best, 20 of them, or as many as ``max_tokens`` hold."""
        found: list[Hit] = self._get("search", {
            "scope": scope, "query": query, "kinds": kinds, "limit": limit, "now": now, "max_tokens": max_tokens},
            "hits")
        return found

    def list_context_builds(self, scope: Given, limit: int | None = None) -> list[Packet]:
        """Return the run's newest stored packets."""
        found: list[Packet] = self._get("list_context_builds", {"scope": scope, "limit": limit}, "builds")
        return found

    def write_context_build(self, scope: Given, packet: Given) -> BuildWritten:
        """Store a packet made elsewhere."""
        found: BuildWritten = self._get("write_context_build", {"scope": scope, "packet": packet})
        return found

    def policies(self, policy_id: str | None = None, *, table: Json | None = None,
                 source: str | None = None) -> Json:
        """List the policies, return one with every field, or check a table; ``source`` names it in what is wrong."""
        found: Json = self._get("policies", {"policy_id": policy_id, "table": table, "source": source})
        return found

    def session(self, *, user: str, agent: str, session: str | None = None, run: str | None = None,
                tenant: str = "default") -> Session:
        """Return a session to talk in: a ``with`` around it ends its run; ids not given are new ones."""
        from engram.session import Session

        return Session(self, user=user, agent=agent, session=session, run=run, tenant=tenant)

    # ---- the engine

    def hello(self, protocol: tuple[int, int] = (1, 1)) -> Json:
        """Agree on a protocol version with the daemon."""
        from engram_core import __version__

        found: Json = self._get("hello", {"client": "engram-python", "version": __version__,
                                          "protocol": list(protocol)})
        return found

    def status(self, scope: Given | None = None) -> Json:
        """Describe the daemon, or the engine in this process."""
        found: Json = self._get("status", {"scope": scope})
        return found

    def reload(self) -> Json:
        """Have the configuration read again."""
        found: Json = self._get("reload", {})
        return found

    def shutdown(self) -> Json:
        """Have the daemon finish what it has accepted and exit."""
        found: Json = self._get("shutdown", {})
        return found


def _daemon(socket: str | None, config: str | None, settings: Settings | None) -> Transport:
    from engram.pool import UnixPool

    return UnixPool(find(env=os.environ, socket=socket, config=config, settings=settings))
