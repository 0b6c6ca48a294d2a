"""One writing transaction: revisions, the audit trail and the savepoint around each operation. Driven by the writer.

An owner's revision grows by one for every changed row; rows and their line in ``changes`` commit together, so whoever
has seen revision r finds everything newer by one indexed query. Where several may write at once, whoever touches an
owner first locks its revision, so that what is read of the owner inside stays true until the commit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from engram_core.errors import EngramError
from engram_core.scope import SCOPE_FIELDS, Scope
from engram_core.store import statements as sql
from engram_core.store.tables import (
    BUILDS,
    CHANGES,
    CHECKPOINT_TABLES,
    EVENTS,
    ITEM_TABLES,
    MEMORIES,
    OWNERS,
    THREADS,
    VECTORS,
    Table,
)

if TYPE_CHECKING:
    from engram_core.store.connection import Connection

Owner = tuple[str, str, str]


def bound(scope: Scope | Owner, **values: Any) -> dict[str, Any]:
    """Return statement parameters: the scope's ids and the given values; every statement's come from here."""
    return {**_ids(scope), **values}


@lru_cache(maxsize=256)
def _ids(scope: Scope | Owner) -> dict[str, str]:
    return dict(zip(SCOPE_FIELDS, scope, strict=False))


EVENT_ROW = ("seq", "body", "ts")
EventRow = tuple[Any, ...]
"""Seq, body and time of an event."""
_CHUNK = 500
_UNREVISED = (CHANGES, BUILDS, *CHECKPOINT_TABLES, *ITEM_TABLES)
"""Tables whose rows may be read without keeping the owner from being changed: by themselves they decide nothing."""


class Transaction:
    """An open transaction at one moment ``now_ms``. Made by ``Store.group``."""

    def __init__(self, connection: Connection, now_ms: int) -> None:
        self.now_ms = now_ms
        self._connection = connection
        self._dialect = connection.dialect
        self._revisions: dict[Owner, int] = {}
        self._stored: dict[Owner, int] = {}
        self._changes: list[dict[str, Any]] = []
        self._depth = 0
        self._made: list[Owner] = []
        self._foreseen: dict[tuple[Scope, str], EventRow | None] = {}
        self.touched: set[Any] = set()
        """What is known to be there, and held where several may write, until the commit."""

    @contextmanager
    def operation(self) -> Iterator[None]:
        """Undo what happens inside when it raises, and nothing else of the transaction."""
        revisions, changes = dict(self._revisions), len(self._changes)
        # A name of its own for each level: on MySQL an inner savepoint takes the place of an outer one of its name.
        self._depth += 1
        name = f"operation{self._depth}"
        self._connection.defer(f"SAVEPOINT {name}", {})
        try:
            yield
        except BaseException as error:
            if isinstance(error, EngramError) and error.retryable:
                raise  # the whole transaction is gone, and its savepoints with it
            self._connection.execute(f"ROLLBACK TO SAVEPOINT {name}")
            self._connection.defer(f"RELEASE SAVEPOINT {name}", {})
            self._revisions = revisions
            del self._changes[changes:]
            self._foreseen.clear()  # some of it may just have been undone
            self.touched.clear()
            raise
        finally:
            self._depth -= 1
        self._connection.defer(f"RELEASE SAVEPOINT {name}", {})

    def hold(self, owner: Owner) -> int:
        """Return the owner's revision, which from here on nobody else changes before the commit."""
        current = self._revisions.get(owner)
        if current is None:
            lock = self._dialect.exclusive
            text = sql.select(OWNERS, self._dialect, ("revision",), lock=lock)
            rows = self._connection.execute(text, bound(owner))
            if not rows and lock:  # what is not there cannot be locked
                self._connection.change(sql.add_missing(OWNERS, self._dialect), bound(owner, revision=0))
                rows = self._connection.execute(text, bound(owner))
                self._made.append(owner)
            current = self._revisions[owner] = self._stored[owner] = rows[0][0] if rows else 0
        return current

    def foresee(self, events: Iterable[tuple[Scope, str]]) -> None:
        """Look up in one go which of these events there are, for a group that does nothing but append them."""
        runs: dict[Scope, dict[str, None]] = {}
        for scope, event_id in events:
            runs.setdefault(scope, {})[event_id] = None
        if not runs:
            return
        owners = sorted({scope.owner for scope in runs})
        lock = sql.select(OWNERS, self._dialect, ("revision",), lock=self._dialect.exclusive)
        asked: list[tuple[str, dict[str, Any]]] = [(lock, bound(owner)) for owner in owners]
        parts = [(scope, list(ids)[start:start + _CHUNK])
                 for scope, ids in runs.items() for start in range(0, len(ids), _CHUNK)]
        for scope, part in parts:
            named = sql.numbered(part)
            asked.append((sql.select_many(EVENTS, self._dialect, ("event_id", *EVENT_ROW), len(named), level="run",
                                          by="event_id"), bound(scope, **named)))
        found = self._connection.batch(asked)
        if not all(found[:len(owners)]):
            return  # an owner that is not there yet cannot be locked: each append looks for itself
        for owner, rows in zip(owners, found, strict=False):
            self._revisions[owner] = self._stored[owner] = rows[0][0]
        for (scope, part), rows in zip(parts, found[len(owners):], strict=True):
            there = {row[0]: row[1:] for row in rows}
            self._foreseen.update({(scope, event_id): there.get(event_id) for event_id in part})

    def assume(self, events: Iterable[tuple[Scope, str]], revisions: Mapping[Owner, int]) -> None:
        """Take it that the owners are at these revisions and have none of these events, without asking.

        Where that is not so the transaction fails: an owner is at another revision, or a row with that key is there.
        """
        self._foreseen = dict.fromkeys(events)
        new = Counter(scope.owner for scope, _ in self._foreseen)
        for owner in sorted(revisions):
            old = self._revisions[owner] = revisions[owner]
            self._stored[owner] = old + new[owner]  # what it comes to when each of them is appended
            self._connection.defer(sql.step(OWNERS, self._dialect, "revision"),
                                   bound(owner, old=old, new=self._stored[owner]))

    def event(self, scope: Scope, event_id: str) -> EventRow | None:
        """Return seq, body and time of an event of the run, None when there is none."""
        if (scope, event_id) in self._foreseen:
            return self._foreseen[scope, event_id]
        rows = self.select(EVENTS, scope, EVENT_ROW, level="run", where="event_id={event_id}", event_id=event_id)
        return rows[0] if rows else None

    def added(self, scope: Scope, event_id: str, row: EventRow) -> None:
        """Note an event that was just appended."""
        if (scope, event_id) in self._foreseen:
            self._foreseen[scope, event_id] = row

    def hold_still(self, owner: Owner) -> None:
        """Keep others from changing what belongs to the owner before the commit, without a change of ours."""
        if self._dialect.shared and owner not in self._revisions:
            self._connection.execute(sql.select(OWNERS, self._dialect, ("revision",), lock=self._dialect.shared),
                                     bound(owner))

    def next_revision(self, owner: Owner) -> int:
        """Take the owner's next revision; rows made now use it as their seq."""
        revision = self._revisions[owner] = self.hold(owner) + 1
        return revision

    def changed(self, owner: Owner, revision: int, kind: str, seq: int, id_: str, op: str, *,
                session: str = "", run: str = "") -> None:
        """Note the change in the audit trail; op is add, update or forget."""
        self._changes.append({**_ids(owner), "revision": revision, "kind": kind, "seq": seq, "id": id_, "op": op,
                              "session_id": session, "run_id": run, "at": self.now_ms})

    def select(self, table: Table, scope: Scope | Owner, columns: tuple[str, ...], *, level: str = "owner",
               where: str = "", order: str = "", limit: int | None = None, **values: Any) -> list[tuple[Any, ...]]:
        """Read rows of the scope inside the transaction."""
        if self._dialect.exclusive and table not in _UNREVISED:
            self.hold((scope[0], scope[1], scope[2]))
        text = sql.select(table, self._dialect, columns, level=level, where=where, order=order, limit=limit is not None)
        return self._connection.execute(text, bound(scope, limit=limit, **values))

    def insert(self, table: Table, scope: Scope | Owner, values: Mapping[str, Any]) -> None:
        """Add one whole row."""
        self._connection.insert(sql.insert(table, self._dialect), [bound(scope, **values)])

    def upsert(self, table: Table, scope: Scope | Owner, values: Mapping[str, Any]) -> None:
        """Add one whole row or replace the one with its key."""
        self.upsert_many(table, scope, (values,))

    def upsert_many(self, table: Table, scope: Scope | Owner, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add whole rows or replace those with their keys."""
        text = sql.upsert(table, self._dialect)
        for row in rows:
            self._connection.defer(text, bound(scope, **row))

    def add_missing(self, table: Table, scope: Scope | Owner, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add whole rows, or leave those with their keys as they are."""
        text = sql.add_missing(table, self._dialect)
        for row in rows:
            self._connection.defer(text, bound(scope, **row))

    def touch(self, table: Table, scope: Scope | Owner, values: Mapping[str, Any], *, column: str, within: int) -> None:
        """Add one whole row, or set the time of the one with its key; one that is not older than ``within`` may stay.

        Where several may write the row is held until the commit in any case.
        """
        self._connection.defer(sql.touch(table, self._dialect, column, within), bound(scope, **values))

    def copy_rows(self, table: Table, scope: Scope | Owner, column: str, old: str, new: str) -> None:
        """Copy the scope's rows with one value of a key's column to those with another, where they are not yet."""
        self._connection.defer(sql.copy_rows(table, self._dialect, column), bound(scope, old=old, new=new))

    def lock(self, table: Table, scope: Scope | Owner, *, where: str, **values: Any) -> None:
        """Keep others from changing rows of the scope before the commit."""
        if self._dialect.exclusive:
            text = sql.select(table, self._dialect, ("1",), where=where, lock=self._dialect.exclusive)
            self._connection.execute(text, bound(scope, **values))

    def update(self, table: Table, scope: Scope | Owner, new: Mapping[str, Any], *, where: str, level: str = "owner",
               **values: Any) -> int:
        """Change columns of the scope's rows that meet the condition; return how many."""
        text = sql.update(table, self._dialect, tuple(new), level=level, where=where)
        return self._connection.change(text, bound(scope, **values, **{f"new_{key}": one for key, one in new.items()}))

    def delete(self, table: Table, scope: Scope | Owner, *, where: str = "1=1", level: str = "owner",
               **values: Any) -> int:
        """Delete the scope's rows that meet the condition; return how many."""
        text = sql.delete(table, self._dialect, level=level, where=where)
        return self._connection.change(text, bound(scope, **values))

    def delete_many(self, table: Table, owner: Owner, seqs: list[int]) -> None:
        """Delete the owner's rows with these seqs."""
        for start in range(0, len(seqs), 200):
            named = sql.numbered(seqs[start:start + 200])
            self._connection.change(sql.delete_many(table, self._dialect, len(named)), bound(owner, **named))

    def owners(self, after: Owner, limit: int) -> list[Owner]:
        """Return the next owners there are, for upkeep."""
        found = {(row[0], row[1], row[2]) for table in (OWNERS, THREADS)
                 for row in self._connection.execute(sql.owners(table, self._dialect), bound(after, limit=limit))}
        return sorted(found)[:limit]

    def add_memory(self, kind: str, scope: Scope | Owner, columns: Mapping[str, Any], *, id_: str, body: str,
                   tokens: str | None, pinned: bool = False) -> int:
        """Insert a memory with what the store keeps about it and return its seq."""
        owner: Owner = (scope[0], scope[1], scope[2])
        seq = self.next_revision(owner)
        self._connection.insert(sql.insert(MEMORIES[kind], self._dialect), [{
            **_ids(scope), **columns, "seq": seq, "body": body, "tokens": tokens, "pinned": int(pinned),
            "created_at": self.now_ms, "updated_at": self.now_ms, "recalled_at": None, "recall_count": 0}])
        session, run = (scope[3], scope[4]) if isinstance(scope, Scope) else ("", "")
        self.changed(owner, seq, kind, seq, id_, "add", session=session, run=run)
        return seq

    def change_memory(self, kind: str, owner: Owner, seq: int, new: Mapping[str, Any], *, id_: str) -> None:
        """Change columns of the memory and note it."""
        self.update(MEMORIES[kind], owner, {**new, "updated_at": self.now_ms}, where="seq={seq}", seq=seq)
        self.changed(owner, self.next_revision(owner), kind, seq, id_, "update")

    def recalled(self, kind: str, owner: Owner, seqs: list[int]) -> None:
        """Count a recall of memories; that is no change, so it takes no revision."""
        for start in range(0, len(seqs), 500):
            part = seqs[start:start + 500]
            self._connection.change(sql.recalled(MEMORIES[kind], self._dialect, len(part)), bound(
                owner, now=self.now_ms, **{f"p{at}": seq for at, seq in enumerate(part)}))

    def counted(self, owner: Owner, revision: int, counts: list[tuple[str, int, str]]) -> None:
        """Store the tokens of rows as they were at a revision; nothing when the owner has changed since."""
        if self.hold(owner) == revision:
            for kind, seq, tokens in counts:
                self.update(MEMORIES[kind], owner, {"tokens": tokens}, where="seq={seq}", seq=seq)

    def embedded(self, owner: Owner, model: str, rows: list[tuple[str, int, str, str]]) -> None:
        """Store vectors of (kind, seq, digest, vector), but none of a memory that was forgotten since."""
        self.hold(owner)
        for kind in dict.fromkeys(row[0] for row in rows):
            part = [row for row in rows if row[0] == kind]
            marks = ", ".join(f"{{i{at}}}" for at in range(len(part)))
            named: dict[str, Any] = {f"i{at}": row[1] for at, row in enumerate(part)}
            there = {seq for (seq,) in self.select(MEMORIES[kind], owner, ("seq",), where=f"seq IN ({marks})", **named)}
            for _, seq, digest, vector in part:
                if seq in there:
                    self.upsert(VECTORS, owner, {"seq": seq, "model": model, "digest": digest, "vector": vector})

    def has_happened(self, earlier: Transaction) -> bool:
        """Tell whether an earlier transaction was committed: then its last line in the audit trail is there."""
        if not earlier._changes:
            return False
        line = earlier._changes[-1]
        owner = (line["tenant_id"], line["user_id"], line["agent_id"])
        self.hold(owner)  # waits for the earlier one where its server has not given it up yet
        columns = ("kind", "seq", "id", "op", "session_id", "run_id", "at")
        rows = self.select(CHANGES, owner, columns, where="revision={revision}", revision=line["revision"])
        return bool(rows) and rows[0] == tuple(line[name] for name in columns)

    @property
    def revisions(self) -> dict[Owner, int]:
        """The revisions of all owners that were touched."""
        return self._revisions

    def finish(self) -> None:
        """Write the revisions and the audit trail; the caller commits next."""
        for owner in self._made:
            if not self._revisions.get(owner):  # it was only there to be locked
                self.delete(OWNERS, owner, where="revision=0")
        for owner, revision in self._revisions.items():
            if revision != self._stored.get(owner):
                self.upsert(OWNERS, owner, {"revision": revision})
        if self._changes:
            self._connection.insert(sql.insert(CHANGES, self._dialect), self._changes)
