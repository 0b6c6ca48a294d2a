"""Take over the SQLite file of the earlier Engram library: every memory in it, through the same checks as a caller's.

Driven by `keeping`. The file is only read. All of it is checked before anything is stored; what is there already stays
as it is, so an import can be repeated. Its stored packets are left: they were built by another ranking.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from engram_core.errors import BadInput, EngramError, StoreCorrupt
from engram_core.scope import SCOPE_FIELDS

if TYPE_CHECKING:
    from engram_core.daemon.handlers import Engine

__all__ = ["Taken", "check", "is_sqlite", "load"]

VERSION = 1  # of its schema; there was no other
GROUP = 200  # memories of one transaction
NOBODYS = {"session_id": "import", "run_id": "import"}  # for what belongs to a user and agent as a whole
STATUSES = ["active", "disputed", "deprecated"]

_TABLES: dict[str, tuple[str, ...]] = {
    "events": (*SCOPE_FIELDS, "event_id", "ts", "kind", "payload", "tags", "entities"),
    "facts": (*SCOPE_FIELDS[:3], "fact_id", "fact_key", "value_json", "status", "valid_from", "valid_to", "confidence",
              "sources", "scope_level", "notes"),
    "episodes": (*SCOPE_FIELDS[:3], "episode_id", "start_ts", "end_ts", "summary", "highlights", "tags", "entities",
                 "sources", "compression_level"),
    "procedures": (*SCOPE_FIELDS[:3], "procedure_id", "task_type", "content_json", "priority", "sources",
                   "applicability"),
    "insights": (*SCOPE_FIELDS, "insight_id", "kind", "statement", "trigger", "confidence", "validation_state",
                 "tests_suggested", "expires_at", "sources"),
    "stm_state": (*SCOPE_FIELDS[:4], "rolling_summary", "key_quotes"),
    "wm_state": (*SCOPE_FIELDS, "state_json"),
}
_ORDER = {"events": "ts, rowid"}  # the others in the order they came


class Taken(NamedTuple):
    """What an import stored, left as it was because it was there, and did not take over."""

    owners: int
    records: int
    kept: int
    packets: int


class _Memory(NamedTuple):
    method: str
    params: dict[str, Any]
    name: str  # for messages: its table and id

    @property
    def scope(self) -> dict[str, str]:
        """Whose it is."""
        found: dict[str, str] = (self.params["event"] if self.method == "append_event" else self.params)["scope"]
        return found


def is_sqlite(head: bytes) -> bool:
    """Tell from a file's first bytes whether it is an SQLite database."""
    return head.startswith(b"SQLite format 3\0")


@contextmanager
def _opened(source: str) -> Iterator[sqlite3.Connection]:
    database = sqlite3.connect(f"file:{quote(source)}?mode=ro", uri=True)
    try:
        yield database
    except sqlite3.DatabaseError as exc:
        raise StoreCorrupt(f"{source} cannot be read: {exc}",
                           hint="copy the file again, with its -wal beside it") from exc
    finally:
        database.close()


def check(engine: Engine, source: str) -> None:
    """Read the whole file; raise BadInput or StoreCorrupt, naming the row, for what could not be stored.

    The engine only checks requests: it may be one whose database is in memory.
    """
    with _opened(source) as database:
        _check(database, source)
        for memory in _memories(database, source):
            try:
                engine.check_write(memory.method, memory.params)
            except EngramError as error:
                raise type(error)(f"{source}: {memory.name}: {error.message}", hint=error.hint) from None


def load(engine: Engine, source: str, progress: Callable[[int], None]) -> Taken:
    """Store what a checked file holds."""
    with _opened(source) as database:
        known = _Known(engine)
        owners: set[tuple[str, ...]] = set()
        group: list[_Memory] = []
        stored = kept = 0
        for memory in _memories(database, source):
            owners.add(tuple(memory.scope.values())[:3])
            if known.has(memory):
                kept += 1
                continue
            group.append(memory)
            if len(group) == GROUP:
                new = _store(engine, source, group)
                stored, kept, group = stored + new, kept + GROUP - new, []
                progress(stored + kept)
        new = _store(engine, source, group)
        packets = database.execute("SELECT count(*) FROM context_builds").fetchone()[0]
        return Taken(len(owners), stored + new, kept + len(group) - new, packets)


def _check(database: sqlite3.Connection, source: str) -> None:
    tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    if {"meta", "owners", "changes"} <= tables:
        raise BadInput(f"{source} is a database of this Engram", hint=f"engram restore {source}, or engram store copy")
    for table, columns in (*_TABLES.items(), ("schema_migrations", ("version",)), ("context_builds", ("packet_json",))):
        there = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
        if not set(columns) <= there:
            raise BadInput(f"{source} is an SQLite file, but not one of the earlier library: "
                           + (f"its {table} has no {min(set(columns) - there)}" if there else f"it has no {table}"),
                           hint="name a file made by engram export or by the earlier library")
    version = database.execute("SELECT max(version) FROM schema_migrations").fetchone()[0]
    if version != VERSION:
        raise BadInput(f"{source} has schema version {version}; read is {VERSION}",
                       hint="open it with the version of the library that wrote it, and export from there")
    found = database.execute("PRAGMA quick_check").fetchone()[0]
    if found != "ok":
        raise StoreCorrupt(f"{source} is damaged: {found}", hint="take an older copy of it")


# ---- reading


def _memories(database: sqlite3.Connection, source: str) -> Iterator[_Memory]:
    """Hand out all memories as the requests that store them."""
    for table, columns in _TABLES.items():
        rows = database.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY {_ORDER.get(table, 'rowid')}")
        for values in rows:
            row = dict(zip(columns, values, strict=True))
            scope = {**NOBODYS, **{name: row.pop(name) for name in SCOPE_FIELDS if name in row}}
            scope = {name: scope[name] for name in SCOPE_FIELDS}
            what = f"{table} {next((row[name] for name in row if name.endswith('_id')), '/'.join(scope.values()))}"
            try:
                yield _REQUESTS[table](scope, row, what)
            except (ValueError, TypeError) as exc:
                raise BadInput(f"{source}: {what} is not readable: {exc}", hint="is the file whole?") from exc


def _read(text: str) -> Any:
    return json.loads(text)


def _names(text: str) -> list[str]:
    """Return the tags that say something; the earlier library took empty ones."""
    return [name for name in _read(text) if name != ""]


def _event(scope: dict[str, str], row: dict[str, Any], name: str) -> _Memory:
    return _Memory("append_event", {"event": {
        "scope": scope, "event_id": row["event_id"], "kind": row["kind"], "payload": _read(row["payload"]),
        "ts_ms": row["ts"], "tags": _names(row["tags"]), "entities": _names(row["entities"])}}, name)


def _fact(scope: dict[str, str], row: dict[str, Any], name: str) -> _Memory:
    return _Memory("upsert_fact", {"scope": scope, "fact": {
        "fact_id": row["fact_id"], "fact_key": row["fact_key"], "value": _read(row["value_json"]),
        "status": row["status"], "confidence": row["confidence"], "sources": _read(row["sources"]),
        "scope_level": row["scope_level"], "notes": row["notes"],
        "validity": {end: row[end] for end in ("valid_from", "valid_to") if row[end] is not None}}}, name)


def _episode(scope: dict[str, str], row: dict[str, Any], name: str) -> _Memory:
    span = {"start": row["start_ts"]} | ({} if row["end_ts"] is None else {"end": row["end_ts"]})
    return _Memory("append_episode", {"scope": scope, "episode": {
        "episode_id": row["episode_id"], "time_range": span, "summary": row["summary"],
        "highlights": _read(row["highlights"]), "tags": _names(row["tags"]), "entities": _names(row["entities"]),
        "sources": _read(row["sources"]), "compression_level": row["compression_level"]}}, name)


def _procedure(scope: dict[str, str], row: dict[str, Any], name: str) -> _Memory:
    return _Memory("upsert_procedure", {"scope": scope, "procedure": {
        "procedure_id": row["procedure_id"], "task_type": row["task_type"], "content": _read(row["content_json"]),
        "priority": row["priority"], "sources": _read(row["sources"]),
        "applicability": _read(row["applicability"])}}, name)


def _insight(scope: dict[str, str], row: dict[str, Any], name: str) -> _Memory:
    return _Memory("append_insight", {"scope": scope, "insight": {
        "id": row["insight_id"], "type": row["kind"], "statement": row["statement"], "trigger": row["trigger"],
        "confidence": row["confidence"], "validation_state": row["validation_state"],
        "tests_suggested": _read(row["tests_suggested"]), "expires_at": row["expires_at"],
        "sources": _read(row["sources"])}}, name)


def _short_term(scope: dict[str, str], row: dict[str, Any], name: str) -> _Memory:
    return _Memory("update_stm", {"scope": scope, "stm_state": {
        "rolling_summary": row["rolling_summary"], "key_quotes": _read(row["key_quotes"])}}, name)


def _working(scope: dict[str, str], row: dict[str, Any], name: str) -> _Memory:
    return _Memory("patch_working_state", {"scope": scope, "patch": _read(row["state_json"])}, name)


_REQUESTS: dict[str, Callable[[dict[str, str], dict[str, Any], str], _Memory]] = {
    "events": _event, "facts": _fact, "episodes": _episode, "procedures": _procedure, "insights": _insight,
    "stm_state": _short_term, "wm_state": _working,
}


# ---- storing


class _Known:
    """Tell what is there already of the kinds that a second write would change; the others know a repetition."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ids: dict[tuple[str, ...], set[str]] = {}

    def has(self, memory: _Memory) -> bool:
        scope = memory.scope
        if memory.method == "upsert_fact":
            return memory.params["fact"]["fact_id"] in self._of("fact", scope, "list_facts", {
                "fact_filter": {"status": STATUSES}})
        if memory.method == "upsert_procedure":
            given = memory.params["procedure"]
            return given["procedure_id"] in self._of(f"procedure {given['task_type']}", scope, "list_procedures", {
                "task_type": given["task_type"]})
        if memory.method == "patch_working_state":
            return self._ask("get_working_state", scope)["working_state"] is not None
        return memory.method == "update_stm" and self._ask("get_stm", scope)["stm"] is not None

    def _of(self, kind: str, scope: dict[str, str], method: str, more: dict[str, Any]) -> set[str]:
        at = (kind, *scope.values())
        if at not in self._ids:  # asked once, before the first of them is stored
            (rows,) = (value for value in self._ask(method, scope, **more).values() if isinstance(value, list))
            self._ids[at] = {row.get("fact_id") or row["procedure_id"] for row in rows}
        return self._ids[at]

    def _ask(self, method: str, scope: dict[str, str], **more: Any) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._engine.read(method, {"scope": scope, **more}))
        return found


def _store(engine: Engine, source: str, group: list[_Memory]) -> int:
    """Write a group in one transaction and return how many of them are new."""
    new = 0
    for memory, outcome in zip(group, engine.write([(one.method, one.params) for one in group]), strict=True):
        if isinstance(outcome, EngramError):
            raise type(outcome)(f"{source}: {memory.name}: {outcome.message}", hint=outcome.hint)
        new += not _repeated(outcome)
    return new


def _repeated(outcome: bytes) -> bool:
    found = json.loads(outcome)
    return type(found) is dict and found.get("duplicate") is True
