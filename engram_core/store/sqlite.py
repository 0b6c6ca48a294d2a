"""The SQLite driver: connections, transactions and the map from SQLite's errors to ours. Driven by the store.

Write-ahead log; one connection writes, others read. The module stays on the interpreter's own sqlite3 because the
daemon's first start waits for it; sqlite-utils serves where the schema is looked into.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engram_core.errors import Busy, EngramError, StoreCorrupt, StoreError
from engram_core.store.dialect import SQLITE

_FULL = "free space on that disk and try again; nothing acknowledged is lost"
_BY_CODE: dict[int, tuple[type[EngramError], str]] = {
    sqlite3.SQLITE_BUSY: (Busy, "another process holds the database; try again"),
    sqlite3.SQLITE_LOCKED: (Busy, "another process holds the database; try again"),
    sqlite3.SQLITE_FULL: (StoreError, _FULL),
    sqlite3.SQLITE_READONLY: (StoreError, "make the database and its directory writable"),
    sqlite3.SQLITE_CANTOPEN: (StoreError, "check that the directory exists and is ours"),
    sqlite3.SQLITE_CORRUPT: (StoreCorrupt, "keep the file and restore a backup"),
    sqlite3.SQLITE_NOTADB: (StoreCorrupt, "the file is no database; name another path in store.url"),
    sqlite3.SQLITE_IOERR: (StoreError, "look at the disk"),
}


class SqliteConnection:
    """One connection. ``path`` ":memory:" keeps everything in this process."""

    dialect = SQLITE

    def __init__(self, path: str, *, durability: str = "full", busy_ms: int = 5000, writer: bool = True) -> None:
        self.path = path
        try:
            if path != ":memory:":
                _make_private(path)
            self._db = sqlite3.connect(path, timeout=busy_ms / 1000, isolation_level=None, check_same_thread=False,
                                       cached_statements=256)
            self._set_up(durability, writer)
        except sqlite3.Error as error:
            raise self.mapped(error) from error

    def _set_up(self, durability: str, writer: bool) -> None:
        run = self._db.execute
        if writer:
            run("PRAGMA journal_mode=WAL")
            run("PRAGMA journal_size_limit=67108864")
        run(f"PRAGMA synchronous={'FULL' if durability == 'full' else 'NORMAL'}")
        run("PRAGMA secure_delete=ON")
        run("PRAGMA trusted_schema=OFF")

    def execute(self, sql: str, values: Mapping[str, Any] | Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self.mapped(error) from error

    def execute_many(self, sql: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Run one statement for many rows."""
        try:
            self._db.executemany(sql, rows)
        except sqlite3.Error as error:
            raise self.mapped(error) from error

    def change(self, sql: str, values: Mapping[str, Any]) -> int:
        """Run one statement and return how many rows it changed."""
        try:
            return self._db.execute(sql, values).rowcount
        except sqlite3.Error as error:
            raise self.mapped(error) from error

    def begin(self) -> None:
        """Open a writing transaction, waiting for other writers."""
        self.execute(self.dialect.begin)

    def commit(self) -> None:
        """Make the transaction durable; raise when that cannot be known, after undoing it."""
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self.rollback()
            raise self.mapped(error) from error

    def rollback(self) -> None:
        """Undo the open transaction, if any."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def facts(self) -> dict[str, Any]:
        """Return what an operator asks of the database: version, durability, sizes in bytes."""
        read = self._db.execute
        level = read("PRAGMA synchronous").fetchone()[0]
        return {"version": sqlite3.sqlite_version, "synchronous": level,
                "journal_mode": read("PRAGMA journal_mode").fetchone()[0],
                "db_bytes": _size(self.path), "wal_bytes": _size(self.path + "-wal")}

    def tables(self) -> set[str]:
        """Return the names of the tables there are."""
        return {row[0] for row in self.execute("SELECT name FROM sqlite_master WHERE type='table'")}

    def checkpoint(self) -> None:
        """Move the write-ahead log into the database and shorten it, unless a reader is in the way."""
        self.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def quick_check(self) -> str:
        """Return "ok" or the first damage found."""
        return str(self.execute("PRAGMA quick_check(1)")[0][0])

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def mapped(self, error: sqlite3.Error) -> EngramError:
        """Return our error for SQLite's; the message names the database."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        kind, hint = _BY_CODE.get(code, (StoreError, ""))
        return kind(f"database {self.path}: {error}", hint=hint)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _make_private(path: str) -> None:
    """Make the database file with mode 0600 before SQLite would make it by the umask; its log inherits the mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(f"database {path}: {error.strerror}", hint="name a writable file in store.url") from error
