"""One writing transaction: revisions, the audit trail and the savepoint around each operation. Driven by the writer.

An owner's revision grows by one for every changed row; rows and their line in ``changes`` commit together, so whoever
has seen revision r finds everything newer by one indexed query.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from engram_core.scope import SCOPE_FIELDS, Scope
from engram_core.store import statements as sql
from engram_core.store.tables import CHANGES, MEMORIES, OWNERS, Table

if TYPE_CHECKING:
    from engram_core.store.sqlite import SqliteConnection

Owner = tuple[str, str, str]


def bound(scope: Scope | Owner, **values: Any) -> dict[str, Any]:
    """Return statement parameters: the scope's ids and the given values; every statement's come from here."""
    return {**dict(zip(SCOPE_FIELDS, scope, strict=False)), **values}


class Transaction:
    """An open transaction at one moment ``now_ms``. Made by ``Store.group``."""

    def __init__(self, connection: SqliteConnection, now_ms: int) -> None:
        self.now_ms = now_ms
        self._connection = connection
        self._dialect = connection.dialect
        self._revisions: dict[Owner, int] = {}
        self._stored: dict[Owner, int] = {}
        self._changes: list[dict[str, Any]] = []

    @contextmanager
    def operation(self) -> Iterator[None]:
        """Undo what happens inside when it raises, and nothing else of the transaction."""
        revisions, changes = dict(self._revisions), len(self._changes)
        self._connection.execute("SAVEPOINT operation")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK TO operation")
            self._connection.execute("RELEASE operation")
            self._revisions = revisions
            del self._changes[changes:]
            raise
        self._connection.execute("RELEASE operation")

    def next_revision(self, owner: Owner) -> int:
        """Take the owner's next revision; rows made now use it as their seq."""
        current = self._revisions.get(owner)
        if current is None:
            rows = self._connection.execute(sql.select(OWNERS, self._dialect, ("revision",)), bound(owner))
            current = self._stored[owner] = rows[0][0] if rows else 0
        self._revisions[owner] = current + 1
        return current + 1

    def changed(self, owner: Owner, revision: int, kind: str, seq: int, id_: str, op: str, *,
                session: str = "", run: str = "") -> None:
        """Note the change in the audit trail; op is add, update or forget."""
        self._changes.append(bound(owner, revision=revision, kind=kind, seq=seq, id=id_, op=op, session_id=session,
                                   run_id=run, at=self.now_ms))

    def select(self, table: Table, scope: Scope | Owner, columns: tuple[str, ...], *, level: str = "owner",
               where: str = "", order: str = "", limit: int | None = None, **values: Any) -> list[tuple[Any, ...]]:
        """Read rows of the scope inside the transaction."""
        text = sql.select(table, self._dialect, columns, level=level, where=where, order=order, limit=limit is not None)
        return self._connection.execute(text, bound(scope, limit=limit, **values))

    def insert(self, table: Table, scope: Scope | Owner, values: Mapping[str, Any]) -> None:
        """Add one whole row."""
        self._connection.change(sql.insert(table, self._dialect), bound(scope, **values))

    def upsert(self, table: Table, scope: Scope | Owner, values: Mapping[str, Any]) -> None:
        """Add one whole row or replace the one with its key."""
        self._connection.change(sql.upsert(table, self._dialect), bound(scope, **values))

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

    def owners(self, after: Owner, limit: int) -> list[Owner]:
        """Return the next owners there are, for upkeep."""
        text = sql.owners(OWNERS, self._dialect)
        return [(row[0], row[1], row[2]) for row in self._connection.execute(text, bound(after, limit=limit))]

    def add_memory(self, kind: str, scope: Scope | Owner, columns: Mapping[str, Any], *, id_: str, body: str,
                   tokens: str | None, pinned: bool = False) -> int:
        """Insert a memory with what the store keeps about it and return its seq."""
        owner: Owner = (scope[0], scope[1], scope[2])
        seq = self.next_revision(owner)
        self.insert(MEMORIES[kind], scope, {
            **columns, "seq": seq, "body": body, "tokens": tokens, "pinned": int(pinned), "created_at": self.now_ms,
            "updated_at": self.now_ms, "recalled_at": None, "recall_count": 0})
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
        if self.select(OWNERS, owner, ("revision",)) == [(revision,)]:
            for kind, seq, tokens in counts:
                self.update(MEMORIES[kind], owner, {"tokens": tokens}, where="seq={seq}", seq=seq)

    def finish(self) -> None:
        """Write the revisions and the audit trail; the caller commits next."""
        for owner, revision in self._revisions.items():
            if revision != self._stored.get(owner):
                self._connection.change(sql.upsert(OWNERS, self._dialect), bound(owner, revision=revision))
        if self._changes:
            self._connection.execute_many(sql.insert(CHANGES, self._dialect), self._changes)
