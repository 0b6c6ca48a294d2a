"""What can be read of a scope: lists, states, lines by seq, changes since a revision. Driven by handlers and recall."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from engram_core.scope import SCOPE_FIELDS, Scope
from engram_core.store import statements as sql
from engram_core.store.packed import unpack
from engram_core.store.tables import (
    BUILDS,
    CHANGES,
    EVENTS,
    MEMORIES,
    OWNERS,
    SHORT_TERMS,
    VECTORS,
    WORKING_STATES,
    Table,
)
from engram_core.store.transaction import Owner, bound
from engram_core.values import INT_MAX, format_time, parse_time

if TYPE_CHECKING:
    from engram_core.models import EpisodeFilter, FactFilter, InsightFilter
    from engram_core.store.connection import Connection

_KEPT = ("created_at", "updated_at", "recalled_at", "recall_count", "pinned")
_CITED = ("event_id", "session_id", "run_id", "seq", "line", "body", "ts")
NEWEST_BUILD = "at DESC, build_id DESC"
_CHUNK = 500
REPLY_BYTES = 3 << 20
"""Characters of rows after which a list ends early and says where to go on; as bytes they fit the longest reply."""
_HELD_FROM = "COALESCE(valid_from, CASE WHEN replaces IS NOT NULL AND status <> 'disputed' THEN created_at END)"
"""Since when a fact holds: what replaced another value without saying since when does from its creation on."""
_OWNERS_NOTED = 10_000
_ROW_BYTES = 400
"""What a listed row takes beside its body: scope, seq, times."""


Request = tuple[str, dict[str, Any]]
"""A statement with its values."""


class Change(NamedTuple):
    """A line of the audit trail, as an index needs it."""

    revision: int
    kind: str
    seq: int
    op: str


class News(NamedTuple):
    """A change with what it changed, as that is now: a memory's columns, or a state's body; None where it is gone."""

    revision: int
    kind: str
    seq: int
    op: str
    session_id: str
    run_id: str
    row: tuple[Any, ...] | None


class Reads:
    """The reading side of a store over one connection; not safe for two threads at once.

    Where the database is ``far``, what is wanted next is named beforehand and comes in one go, by ``ahead``; the reads
    themselves are the same.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._dialect = connection.dialect
        self.far = connection.far
        self.rows_read = 0
        self._epoch, self._still = 0, False  # in one state nothing changes, and each has its number
        self._ahead: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
        self._wrote: dict[Owner, int] = {}
        self.late = False  # whether news was asked for only when it was seen that there is some

    @contextmanager
    def one_state(self) -> Iterator[None]:
        """Let all reads inside see the same state of the store, whatever is committed meanwhile."""
        began = self._connection.begin_reading()
        if self.far and began:
            self._epoch += 1
            self._still = True
            self.late = False
        try:
            yield
        finally:
            self._ahead.clear()
            self._still = False
            if began:
                self._connection.end_reading()

    def ahead(self, requests: list[Request], *, last: bool = False) -> None:
        """Ask for what the next reads will want; ``last`` says that those are all, and ends the one state."""
        if requests:
            found = self._connection.batch(requests, last=last)
            for (text, values), rows in zip(requests, found, strict=True):
                self._ahead[text, *values.values()] = rows

    def wrote(self, revisions: dict[Owner, int]) -> None:
        """Note what this process has committed: there is news of it."""
        if len(self._wrote) > _OWNERS_NOTED:
            self._wrote.clear()
        self._wrote.update(revisions)

    def surely_has_news(self, owner: Owner, after: int) -> bool:
        """Tell whether it is known without asking that the owner has changed after the revision."""
        return after < 0 or self._wrote.get(owner, -1) > after

    def has_no_news(self, owner: Owner, after: int, columns: Columns) -> None:
        """Let the next ``news`` know what is known already."""
        text, values = self.of_news(owner, after, columns)
        self._ahead[text, *values.values()] = []

    def has(self, request: Request) -> bool:
        """Tell whether the rows of a request are here already."""
        return (request[0], *request[1].values()) in self._ahead

    def _rows(self, text: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        rows = self._ahead.pop((text, *values.values()), None) if self._ahead else None
        if rows is None:
            rows = self._connection.execute(text, values)
        self.rows_read += len(rows)
        return rows

    def select(self, table: Table, scope: Scope | Owner, columns: tuple[str, ...], *, level: str = "owner",
               where: str = "", order: str = "", limit: int | None = None, **values: Any) -> list[tuple[Any, ...]]:
        """Return rows of the scope."""
        text = sql.select(table, self._dialect, columns, level=level, where=where, order=order, limit=limit is not None)
        return self._rows(text, bound(scope, limit=limit, **values))

    def stamp(self) -> int:
        """Return a number that changes whenever anything was committed elsewhere; equal means nothing to look for.

        A negative one means that there is no such number here.
        """
        return self._epoch if self._still else self._connection.stamp()

    def revision(self, owner: Owner) -> int:
        """Return the owner's revision, 0 for one that never wrote."""
        rows = self._rows(*self.of_revision(owner))
        return int(rows[0][0]) if rows else 0

    def of_revision(self, owner: Owner) -> Request:
        """Return what ``revision`` asks."""
        return sql.select(OWNERS, self._dialect, ("revision",)), bound(owner)

    def changes(self, owner: Owner, after: int) -> list[Change]:
        """Return what changed for the owner after the revision, in order."""
        rows = self.select(CHANGES, owner, ("revision", "kind", "seq", "op"), where="revision > {after}",
                            order="revision", after=after)
        return [Change(*row) for row in rows]

    def news(self, owner: Owner, after: int, columns: Columns) -> list[News]:
        """Return what changed for the owner after the revision, in order, with the columns of each kind."""
        found = []
        for row in self._rows(*self.of_news(owner, after, columns)):
            start, end = _places(columns)[row[1]]
            part = row[start:end]  # a memory begins with its seq, a state is its body
            revision, kind, seq, op, session, run = row[:6]
            found.append(News(revision, kind, seq, op, session, run, part if part[0] is not None else None))
        return found

    def of_news(self, owner: Owner, after: int, columns: Columns) -> Request:
        """Return what ``news`` asks."""
        parts = tuple((kind, MEMORIES[kind], names) for kind, names in columns)
        return sql.news(CHANGES, (*parts, *_STATES), self._dialect), bound(owner, after=after)

    def memories(self, kind: str, owner: Owner, columns: tuple[str, ...], seqs: list[int] | None = None,
                 ) -> list[tuple[Any, ...]]:
        """Return columns of the owner's memories of a kind, all of them or those with the given seqs, by seq."""
        return [row for request in self.of_memories(kind, owner, columns, seqs) for row in self._rows(*request)]

    def vectors(self, owner: Owner, model: str) -> list[tuple[Any, ...]]:
        """Return seq, digest and vector of the owner's texts, those of one model."""
        return self._rows(*self.of_vectors(owner, model))

    def of_vectors(self, owner: Owner, model: str) -> Request:
        """Return what ``vectors`` asks."""
        return (sql.select(VECTORS, self._dialect, ("seq", "digest", "vector"), where="model={model}"),
                bound(owner, model=model))

    def of_memories(self, kind: str, owner: Owner, columns: tuple[str, ...], seqs: list[int] | None = None,
                    ) -> list[Request]:
        """Return what ``memories`` asks."""
        if seqs is None:
            return [(sql.select(MEMORIES[kind], self._dialect, columns, order="seq"), bound(owner))]
        return self._by(MEMORIES[kind], owner, columns, "seq", seqs)

    def by_keys(self, table: Table, owner: Owner, columns: tuple[str, ...], by: str, keys: list[Any], *,
                where: str = "", **values: Any) -> list[tuple[Any, ...]]:
        """Return the owner's rows whose ``by`` column is one of the keys and that meet the condition."""
        return [row for text, bounds in self._by(table, owner, columns, by, keys, where=where)
                for row in self._rows(text, {**bounds, **values})]

    def _by(self, table: Table, owner: Scope | Owner, columns: tuple[str, ...], by: str, keys: list[Any],
            where: str = "") -> list[Request]:
        requests = []
        for start in range(0, len(keys), _CHUNK):
            named = sql.numbered(keys[start:start + _CHUNK])
            requests.append((sql.select_many(table, self._dialect, columns, len(named), by=by, where=where),
                             bound(owner, **named)))
        return requests

    def list_events(self, scope: Scope, *, level: str, start: int | None, end: int | None, limit: int | None,
                    after_seq: int | None) -> tuple[list[dict[str, Any]], int | None]:
        """Return events in order and the seq to go on after, None at the end.

        With a limit and no ``after_seq`` they are the newest in time order, fewer when they are very large. Otherwise
        they come in the order of appending.
        """
        where = ["1=1"]
        if start is not None:
            where.append("ts >= {start}")
        if end is not None:
            where.append("ts <= {end}")
        if after_seq is not None:
            where.append("seq > {after}")
        newest = limit is not None and after_seq is None
        text = sql.select(EVENTS, self._dialect, ("seq", "session_id", "run_id", "body", *_KEPT), level=level,
                          where=" AND ".join(where), order="ts DESC, seq DESC" if newest else "seq", limit=True)
        values = bound(scope, limit=min(limit or INT_MAX, INT_MAX - 1) + 1, start=start, end=end, after=after_seq)
        rows, more = self._fitting(self._connection.stream(text, values), limit, body=3)
        if newest:
            rows.reverse()
        events = [self._event(scope, row) for row in rows]
        return events, events[-1]["seq"] if more and not newest else None

    def _fitting(self, found: Iterable[tuple[Any, ...]], limit: int | None, *, body: int) -> tuple[list[Any], bool]:
        """Return the first rows that fit a reply, at least one, and whether there are more."""
        rows: list[Any] = []
        size = 0
        for row in found:
            size += len(row[body]) + _ROW_BYTES
            if rows and (size > REPLY_BYTES or len(rows) == limit):
                self.rows_read += len(rows)
                return rows, True
            rows.append(row)
        self.rows_read += len(rows)
        return rows, False

    @staticmethod
    def _event(scope: Scope, row: tuple[Any, ...]) -> dict[str, Any]:
        event = {"tags": [], "entities": [], **json.loads(row[3])}
        ids = dict(zip(SCOPE_FIELDS, (*scope.owner, row[1], row[2]), strict=True))
        return {"event_id": event.pop("event_id"), "scope": ids, "kind": event.pop("kind"),
                "payload": event.pop("payload"), "ts": event.pop("ts"), **event, "seq": row[0], **_kept(row[4:])}

    def working_state(self, scope: Scope) -> str | None:
        """Return the run's working state as JSON."""
        rows = self._rows(*self.of_states(scope)[0])
        return rows[0][0] if rows else None

    def short_term(self, scope: Scope) -> str | None:
        """Return the session's short-term state as JSON."""
        rows = self._rows(*self.of_states(scope)[1])
        return rows[0][0] if rows else None

    def of_states(self, scope: Scope) -> list[Request]:
        """Return what ``working_state`` and ``short_term`` ask."""
        return [(sql.select(table, self._dialect, ("body",), level=level), bound(scope))
                for table, level in ((WORKING_STATES, "run"), (SHORT_TERMS, "session"))]

    def _listed(self, kind: str, owner: Scope | Owner, *, where: str = "", order: str = "seq", limit: int | None = None,
                extra: tuple[str, ...] = (), level: str = "owner", **values: Any) -> list[dict[str, Any]]:
        columns = ("body", *_KEPT, *extra)
        rows = self.select(MEMORIES[kind], owner, columns, where=where, order=order, limit=limit, level=level,
                            **values)
        return [{**json.loads(row[0]), **dict(zip(extra, row[6:], strict=True)), **_kept(row[1:6])} for row in rows]

    def list_facts(self, scope: Scope, wanted: FactFilter) -> list[dict[str, Any]]:
        """Return the facts of the scope and of what is shared with it, newest version last.

        With ``as_of`` they are as they were then: what was recorded later is not there, and no status has changed yet.
        """
        where = ["1=1"]
        at = wanted.valid_at_ms if wanted.valid_at_ms is not None else _ms(wanted.valid_at)
        as_of = _ms(wanted.as_of)
        if wanted.fact_key is not None:
            where.append("fact_key={fact_key}")
        if as_of is not None:
            where.append("created_at <= {as_of}")
        else:
            if wanted.status:
                where.append("status IN (" + ", ".join(f"'{one}'" for one in wanted.status) + ")")
            if at is not None:
                where.append(f"({_HELD_FROM} IS NULL OR {_HELD_FROM} <= {{at}}) "
                             "AND (valid_to IS NULL OR valid_to >= {at})")
        facts: list[dict[str, Any]] = []
        for level in ("tenant", "agent", "user"):
            owner = scope.layer(level)
            found = self._listed("fact", owner, where=" AND ".join(where), fact_key=wanted.fact_key, at=at, as_of=as_of,
                                 extra=("version", "replaces", "replaced_by", "past"))
            found = [_then(one, as_of) for one in found]
            if as_of is not None:
                found = [one for one in found if one["status"] in (wanted.status or ("active", "disputed"))
                         and (at is None or _holds(one, at))]
            facts += self._linked(owner, found)
        return facts if wanted.limit is None else facts[-wanted.limit:]

    def _linked(self, owner: Owner, facts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Write the links between facts as ``fact_id#version``; a forgotten one leaves none."""
        wanted = {one[link] for one in facts for link in ("replaces", "replaced_by") if one[link] is not None}
        if not wanted:
            return facts
        names = {seq: f"{id_}#{version}" for seq, id_, version in
                 self.memories("fact", owner, ("seq", "fact_id", "version"), sorted(wanted))}
        return [{**one, "replaces": names.get(one["replaces"]), "replaced_by": names.get(one["replaced_by"])}
                for one in facts]

    def list_episodes(self, scope: Scope, wanted: EpisodeFilter) -> list[dict[str, Any]]:
        """Return the episodes that overlap the range and share a wanted tag and entity, by their start."""
        start, end = wanted.time_range.bounds() if wanted.time_range else (None, None)
        where = [text for bound, text in ((end, "starts <= {end}"), (start, "COALESCE(ends, starts) >= {start}"))
                 if bound is not None]
        found: list[dict[str, Any]] = []
        for level in ("tenant", "agent", "user"):
            found += self._listed("episode", scope.layer(level), order="starts, seq", start=start, end=end,
                                  where=" AND ".join(where))
        found = [one for one in found
                 if _shares(one.get("tags"), wanted.tags) and _shares(one.get("entities"), wanted.entities)]
        found.sort(key=lambda one: parse_time("start", one["time_range"]["start"]))
        return found if wanted.limit is None else found[-wanted.limit:]

    def list_procedures(self, scope: Scope, task_type: str | None, limit: int | None) -> list[dict[str, Any]]:
        """Return the procedures for a task type, or all, the most important first."""
        found: list[dict[str, Any]] = []
        for level in ("user", "agent", "tenant"):
            found += self._listed("procedure", scope.layer(level), order="priority DESC, seq", task_type=task_type,
                                  where="" if task_type is None else "task_type={task_type}")
        found.sort(key=lambda one: -int(one.get("priority", 0)))
        return found if limit is None else found[:limit]

    def list_insights(self, scope: Scope, wanted: InsightFilter, now_ms: int) -> list[dict[str, Any]]:
        """Return the run's insights; those past their end are marked expired."""
        rows = self._listed("insight", scope, level="run", extra=("expires", "ended"))
        found = []
        for one in rows:
            expires, ended = one.pop("expires"), one.pop("ended")
            if ended or (expires is not None and expires <= now_ms):
                one["expired"] = True
            if not wanted.validation_state or one["validation_state"] in wanted.validation_state:
                found.append(one)
        return found if wanted.limit is None else found[-wanted.limit:]

    def builds(self, scope: Scope, limit: int | None) -> list[str]:
        """Return the run's newest packets as JSON, in time order."""
        text = sql.select(BUILDS, self._dialect, ("packet",), level="run", order=NEWEST_BUILD, limit=True)
        stored = self._connection.stream(text, bound(scope, limit=limit or INT_MAX))
        rows, _ = self._fitting(((unpack(row[0]),) for row in stored), limit, body=0)
        return [row[0] for row in reversed(rows)]

    def explanation(self, scope: Scope, build_id: str | None) -> str | None:
        """Return a build's explanation as JSON, the run's last one without an id."""
        where = "explanation <> ''" if build_id is None else "explanation <> '' AND build_id={build_id}"
        rows = self.select(BUILDS, scope, ("explanation",), level="run", order=NEWEST_BUILD, limit=1, where=where,
                            build_id=build_id)
        return unpack(rows[0][0]) if rows else None

    def source_events(self, scope: Scope, ids: list[str]) -> dict[str, tuple[str, int]]:
        """Resolve event ids cited by memories to (line or body, ts).

        The run's event wins, then the session's, then the newest.
        """
        found: dict[str, tuple[tuple[bool, bool, int], str, int]] = {}
        for request in self.of_source_events(scope, ids):
            for id_, session, run, seq, line, body, ts in self._rows(*request):
                mine = session == scope.session_id
                rank = (mine and run == scope.run_id, mine, seq)
                if id_ not in found or rank > found[id_][0]:
                    found[id_] = (rank, line or body, ts)
        return {id_: (text, ts) for id_, (_, text, ts) in found.items()}

    def of_source_events(self, scope: Scope, ids: list[str]) -> list[Request]:
        """Return what ``source_events`` asks."""
        return self._by(EVENTS, scope, _CITED, "event_id", ids)


Columns = tuple[tuple[str, tuple[str, ...]], ...]
"""The columns wanted of each kind of memory."""
_STATES = (("working_state", WORKING_STATES, ("body",)), ("short_term", SHORT_TERMS, ("body",)))


@lru_cache(maxsize=8)
def _places(columns: Columns) -> dict[str, tuple[int, int]]:
    """Return where in a row of news each kind's columns are."""
    found, at = {}, 6
    for kind, names in (*columns, *((kind, names) for kind, _, names in _STATES)):
        found[kind] = (at, at + len(names))
        at += len(names)
    return found


def _ms(time: str | None) -> int | None:
    return None if time is None else parse_time("time", time)


def _then(fact: dict[str, Any], as_of: int | None) -> dict[str, Any]:
    """Return the fact as it was at a time, by what its row remembers of its past."""
    past = json.loads(fact.pop("past") or "[]")
    if as_of is None:
        return fact
    body = next((body for until, body in past if until > as_of), None)
    if body is None:
        return fact
    kept = {name: value for name, value in fact.items() if name in _KEPT or name in ("version", "replaces")}
    return {**body, **kept, "replaced_by": None}


def _holds(fact: dict[str, Any], at: int) -> bool:
    validity = fact.get("validity", {})
    start, end = _ms(validity.get("valid_from")), _ms(validity.get("valid_to"))
    if start is None and fact["replaces"] is not None and fact["status"] != "disputed":
        start = _ms(fact["created_at"])
    return (start is None or start <= at) and (end is None or end >= at)


def _shares(have: list[str] | None, wanted: list[str]) -> bool:
    return not wanted or bool(set(have or ()) & set(wanted))


def _kept(row: tuple[Any, ...]) -> dict[str, Any]:
    created, updated, recalled, count, pinned = row
    kept: dict[str, Any] = {"created_at": format_time(created), "updated_at": format_time(updated),
                            "recall_count": count, "pinned": bool(pinned)}
    if recalled is not None:
        kept["recalled_at"] = format_time(recalled)
    return kept


