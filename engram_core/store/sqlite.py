"""The SQLite driver: its dialect, files, connections, and the map from SQLite's errors to ours. Driven by the store.

Write-ahead log; one connection writes, others read. The module stays on the interpreter's own sqlite3 because the
daemon's first start waits for it; the tests look into its schema with sqlite-utils.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from engram_core.errors import Busy, DeadlineExceeded, EngramError, StoreCorrupt, StoreError
from engram_core.store.connection import Options
from engram_core.store.dialect import Dialect
from engram_core.store.migrations import VERSION, check_schema

SQLITE = Dialect(
    types={"key": "TEXT", "text": "TEXT", "json": "TEXT", "ms": "INTEGER", "int": "INTEGER", "real": "REAL"},
    parameter=":{name}",
    quote='"',
    table_tail=" WITHOUT ROWID",
    upsert="{insert} ON CONFLICT ({keys}) DO UPDATE SET {sets}",
    excluded="excluded.{name}",
    begin=("BEGIN IMMEDIATE",),
    begin_blind="BEGIN IMMEDIATE",
    begin_reading="BEGIN",
    upsert_where=True,
)
CHECKED_BYTES = 64 << 20
"""A database up to this size is looked through for damage when it opens; a larger one would delay the start, and
damage in it is refused where it is met."""
_LOOKS = 3
_KEEP = "keep the file and restore a backup with: engram restore FILE; or name another path in store.url"
_HEAD = b"SQLite format 3\0"
_CHECKPOINT_MS = 50
_READ_S = 30.0  # a reader that holds the state of a moment longer than this would keep the log from being emptied
_LOOK_EVERY = 100_000  # steps of SQLite's machine between two looks at the clock, well under 10 ms
_LOOK_S = 0.001  # up to twice as long, so that those who wait do not look all at once
_ROW = " VALUES ("
_MANY = 256
_AT_ONCE = 16  # rows of one insert: 16 times the widest table is well below what one statement may hold
_FULL = "free space on that disk and try again; nothing acknowledged is lost"
_BY_CODE: dict[int, tuple[type[EngramError], str]] = {
    sqlite3.SQLITE_BUSY: (Busy, "another process holds the database; try again"),
    sqlite3.SQLITE_LOCKED: (Busy, "another process holds the database; try again"),
    sqlite3.SQLITE_FULL: (StoreError, _FULL),
    sqlite3.SQLITE_READONLY: (StoreError, "make the database and its directory writable"),
    sqlite3.SQLITE_CANTOPEN: (StoreError, "check that the directory exists and is ours"),
    sqlite3.SQLITE_CORRUPT: (StoreCorrupt, _KEEP),
    sqlite3.SQLITE_NOTADB: (StoreCorrupt, _KEEP),
    sqlite3.SQLITE_INTERRUPT: (DeadlineExceeded, "ask for less at once; a reader may hold one state for 30 s"),
    sqlite3.SQLITE_IOERR: (StoreError, "look at the disk, for example with: df and dmesg"),
}


class SqliteDatabase:
    """One file, or ":memory:" for a private database of this process."""

    kind, far = "sqlite", False

    def __init__(self, path: str, options: Options) -> None:
        self.name = path
        self._options = options
        if path != ":memory:":
            from engram_core.store.backup import keep_before_migration, refuse_half_restored  # late: it opens files too

            _make_folder(os.path.dirname(path) or ".")
            refuse_half_restored(path)
            if check_file(path):
                found = _refuse_foreign(path, options.busy_ms)
                if 0 < found < VERSION:
                    keep_before_migration(path, found)
        self._writer = self._open("write")
        self._reader: SqliteConnection | None = None

    def _open(self, role: str) -> SqliteConnection:
        return SqliteConnection(self.name, durability=self._options.durability, busy_ms=self._options.busy_ms,
                                role=role)

    def writer(self) -> SqliteConnection:
        """Return the one connection that writes."""
        return self._writer

    def reader(self) -> SqliteConnection:
        """Return the one that reads; in memory it is the same."""
        if self._reader is None:
            self._reader = self._writer if self.name == ":memory:" else self._open(
                "read" if self._options.writable else "copy")  # who only reads may take the time it needs
        return self._reader

    def facts(self) -> dict[str, Any]:
        """Return version, durability and sizes in bytes."""
        return self._writer.facts()

    def health(self) -> dict[str, Any]:
        """Return the bytes of the database and its log, without opening either."""
        return sizes(self.name)

    def checkpoint(self) -> bool:
        """Empty the write-ahead log; False when a reader was in the way."""
        return self.name == ":memory:" or self._writer.checkpoint()

    def mend(self) -> SqliteConnection:
        """Open the database anew after a failure and look through it, and return the connection that writes now."""
        if self.name != ":memory:":
            if not check_file(self.name):
                raise StoreCorrupt(f"database {self.name} is gone or empty",
                                   hint="restore a backup with: engram restore FILE")
            _refuse_foreign(self.name, self._options.busy_ms)
            fresh = self._open("write")
            self._writer.close()
            self._writer = fresh
        return self._writer

    def wait_at_most(self, seconds: float) -> None:
        """Let writers give up sooner."""
        self._options = self._options._replace(busy_ms=min(self._options.busy_ms, round(seconds * 1000)))
        self._writer.wait_at_most(seconds)

    def close(self) -> None:
        """Close both connections."""
        if self._reader is not None and self._reader is not self._writer:
            self._reader.close()
        self._writer.close()


open_database = SqliteDatabase


@lru_cache(maxsize=512)
def _insert(sql: str, rows: int) -> tuple[str, tuple[str, ...]]:
    """Return an insert of one row as one of several, with its parameters by place, and their names."""
    head, mark, rest = sql.partition(_ROW)
    named, _, tail = rest.partition(")")
    names = tuple(one.strip().removeprefix(":") for one in named.split(","))
    row = f"({', '.join('?' * len(names))})"
    return f"{head}{mark[:-1]}{', '.join([row] * rows)}{tail}", names


class SqliteConnection:
    """One connection. ``path`` ":memory:" keeps everything in this process.

    ``role`` is "write", "read", "copy" for a reader that may take its time, or "check" for a look at a file that must
    stay as it is whatever it turns out to be.
    """

    dialect, far = SQLITE, False

    def __init__(self, path: str, *, durability: str = "full", busy_ms: int = 5000, role: str = "write") -> None:
        self.path = self.name = path
        self._busy_s = busy_ms / 1000
        self._expires = 0.0  # of the reading transaction, when there is one
        self._impatient = role == "read"
        self._looks = False
        self._waiting: dict[str, list[Mapping[str, Any]]] = {}  # inserts of the open transaction
        name = path
        if role == "write" and path != ":memory:":
            _make_private(path)
        if role == "check":
            # Immutable: SQLite makes no files beside it then; it must not look at a log that is being written.
            name = "file:" + path.replace("%", "%25").replace("?", "%3f").replace("#", "%23") + "?mode=ro"
            name += "&immutable=1" if is_at_rest(path) else ""
        try:
            self._db = sqlite3.connect(name, timeout=self._busy_s, isolation_level=None, check_same_thread=False,
                                       cached_statements=256, uri=role == "check")
        except sqlite3.Error as error:
            raise self.mapped(error) from error
        try:
            self._set_up(durability, role)
        except sqlite3.Error as error:
            self._db.close()
            raise self.mapped(error) from error

    def _set_up(self, durability: str, role: str) -> None:
        run = self._db.execute
        run("PRAGMA trusted_schema=OFF")
        if role == "write":
            self._use_log()
            run("PRAGMA journal_size_limit=67108864")
            run("PRAGMA secure_delete=ON")
        if role in ("read", "copy"):
            run("PRAGMA query_only=ON")
        if role == "read":
            self._db.set_progress_handler(self._expired, _LOOK_EVERY)
        run(f"PRAGMA synchronous={'FULL' if durability == 'full' else 'NORMAL'}")

    def _use_log(self) -> None:
        """Turn the write-ahead log on; SQLite itself does not wait for another process that is doing so."""
        until = time.monotonic() + self._busy_s
        while True:
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(0.005)

    def execute(self, sql: str, values: Mapping[str, Any] | Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        self._insert_waiting()
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self.mapped(error) from error

    def batch(self, statements: Sequence[tuple[str, Mapping[str, Any]]], *, last: bool = False,
              ) -> list[list[tuple[Any, ...]]]:
        """Run statements one after the other: they have no way to go."""
        return [self.execute(sql, values) for sql, values in statements]

    def stream(self, sql: str, values: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        """Run one statement and hand out its rows one by one, for replies that end when they are full."""
        try:
            cursor = self._db.execute(sql, values)
            try:
                yield from cursor
            finally:
                cursor.close()
        except sqlite3.Error as error:
            raise self.mapped(error) from error

    def insert(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run an inserting statement for each of the rows, in a transaction before its next statement or its commit.

        Those of a group go into few statements: each one that is run has the interpreter's other threads take turns.
        """
        waiting = self._waiting.setdefault(sql, [])
        waiting += rows
        if len(waiting) >= _MANY or not self._db.in_transaction:
            self._insert_waiting()

    def _insert_waiting(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, {}
        try:
            for sql, rows in waiting.items():
                for start in range(0, len(rows), _AT_ONCE):
                    part = rows[start:start + _AT_ONCE]
                    text, names = _insert(sql, len(part))
                    self._db.execute(text, [row[name] for row in part for name in names])
        except sqlite3.Error as error:
            raise self.mapped(error) from error

    def change(self, sql: str, values: Mapping[str, Any]) -> int:
        """Run one statement and return how many rows it changed."""
        self._insert_waiting()
        try:
            return self._db.execute(sql, values).rowcount
        except sqlite3.Error as error:
            raise self.mapped(error) from error

    def defer(self, sql: str, values: Mapping[str, Any]) -> None:
        """Run one statement; that of one row waits for others like it."""
        if _ROW in sql:
            self.insert(sql, (values,))
        else:
            self.change(sql, values)

    def begin(self, *, blind: bool = False) -> None:
        """Open a writing transaction, waiting for other writers.

        SQLite itself looks ten times a second in the end, so that one of several processes could wait for seconds. From
        the first time on this connection does not wait in any other statement: nothing is in a writer's way then.
        """
        if not self._looks:
            self._looks = True
            self.execute("PRAGMA busy_timeout=0")
        until = time.monotonic() + self._busy_s
        while True:
            try:
                self._db.execute(self.dialect.begin[0])
                return
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise self.mapped(error) from error
            time.sleep(_LOOK_S * (1 + (time.monotonic_ns() >> 6 & 63) / 64))

    def wait_at_most(self, seconds: float) -> None:
        """Let ``begin`` give up sooner, for who tries again by a deadline of its own."""
        self._busy_s = min(self._busy_s, seconds)

    def begin_schema(self) -> None:
        """Open a transaction that changes tables: here every writing one may."""
        self.begin()

    def begin_reading(self) -> bool:
        """Let all reads until ``end_reading`` see one state; False where the only connection writes too."""
        if self.path == ":memory:" or self._db.in_transaction:
            return False
        self.execute(self.dialect.begin_reading)
        self._expires = time.monotonic() + _READ_S if self._impatient else 0.0
        return True

    def _expired(self) -> bool:
        return 0.0 < self._expires < time.monotonic()

    def end_reading(self) -> None:
        """Let go of the state."""
        self.rollback()

    def commit(self) -> None:
        """Make the transaction durable; raise when that cannot be known, after undoing it."""
        try:
            self._insert_waiting()
            self._db.execute("COMMIT")
        except EngramError:
            self.rollback()
            raise
        except sqlite3.Error as error:
            self.rollback()
            raise self.mapped(error) from error

    def rollback(self) -> None:
        """Undo the open transaction, if any."""
        self._expires = 0.0
        self._waiting = {}
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def facts(self) -> dict[str, Any]:
        """Return what an operator asks of the database: version, durability, sizes in bytes."""
        read = self._db.execute
        level = read("PRAGMA synchronous").fetchone()[0]
        return {"version": sqlite3.sqlite_version, "synchronous": level,
                "journal_mode": read("PRAGMA journal_mode").fetchone()[0], **sizes(self.path)}

    def stamp(self) -> int:
        """Return a number that changes whenever another connection has committed."""
        if self.path == ":memory:":
            return self._db.total_changes
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def tables(self) -> set[str]:
        """Return the names of the tables there are."""
        return {row[0] for row in self.execute("SELECT name FROM sqlite_master WHERE type='table'")}

    def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns."""
        return [row[0] for row in self.execute("SELECT name FROM pragma_table_info(?)", (table,))]

    def checkpoint(self) -> bool:
        """Move the write-ahead log into the database and empty it; False when a reader is in the way."""
        self.execute(f"PRAGMA busy_timeout={_CHECKPOINT_MS}")  # a reader may stay long, and writers wait meanwhile
        try:
            return bool(self.execute("PRAGMA wal_checkpoint(TRUNCATE)")[0][0] == 0)
        finally:
            self.execute(f"PRAGMA busy_timeout={0 if self._looks else round(self._busy_s * 1000)}")

    def copy_to(self, target: str, pages: int, progress: Callable[[int], None]) -> None:
        """Copy all pages into a file of its own without a log; ``progress`` gets the bytes copied so far."""
        def step(_: int, left: int, total: int) -> None:
            progress((total - left) * size)

        out = sqlite3.connect(target, isolation_level=None)
        try:
            size = self._db.execute("PRAGMA page_size").fetchone()[0]
            self._db.backup(out, pages=pages, progress=step)
            out.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_CORRUPT or code == sqlite3.SQLITE_NOTADB:
                raise self.mapped(error) from error
            raise StoreError(f"file {target}: {error}", hint="free space there, or name another place") from error
        finally:
            out.close()

    def quick_check(self) -> str:
        """Return "ok" or the first damage found."""
        return " ".join(str(self.execute("PRAGMA quick_check(1)")[0][0]).split())

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def mapped(self, error: sqlite3.Error) -> EngramError:
        """Return our error for SQLite's; the message names the database."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        kind, hint = _BY_CODE.get(code, (StoreError, ""))
        return kind(f"database {self.path}: {error}", hint=hint)


def sizes(path: str) -> dict[str, int]:
    """Return the bytes of the database file and of its log."""
    return {"db_bytes": _size(path), "wal_bytes": _size(path + "-wal")}


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def check_file(path: str) -> bool:
    """Tell whether there is a database to open; raise StoreCorrupt for what is none, or when only its log is left.

    SQLite would start empty then: over a file too short to be one of its own, or deleting a log with everything
    acknowledged that is only there.
    """
    if path == ":memory:":
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(len(_HEAD))
    except FileNotFoundError:
        head = b""
    except OSError as error:
        raise StoreError(f"database {path}: {error.strerror}", hint="name a file of ours in store.url") from error
    if head and head != _HEAD:
        raise StoreCorrupt(f"database {path}: the file is no SQLite database", hint=_KEEP)
    if not head and (left := _size(path + "-wal")) > 0:
        raise StoreCorrupt(f"database {path} is empty or gone, but its log {path}-wal has {left} bytes",
                           hint="keep the log, restore the database beside it, or move the log away to start empty")
    return bool(head)


def is_at_rest(path: str) -> bool:
    """Tell whether the database file alone holds everything: no log and no journal beside it."""
    return _size(path + "-wal") == 0 and _size(path + "-journal") == 0


def _make_private(path: str) -> None:
    """Make the database file with mode 0600 before SQLite would make it by the umask; its log inherits the mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(f"database {path}: {error.strerror}", hint="name a writable file in store.url") from error


def _make_folder(path: str) -> None:
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        raise StoreError(f"folder {path}: {error.strerror}", hint="name a file of ours in store.url") from error


def _refuse_foreign(path: str, busy_ms: int) -> int:
    """Raise for a file that is damaged, newer or another program's, before anything is written; return its schema.

    What looks damaged is looked at again: it may be that another process has just begun to write.
    """
    for left in range(_LOOKS - 1, -1, -1):
        try:
            return _look(path, busy_ms)
        except StoreCorrupt:
            if not left:
                raise
            time.sleep(0.05)
    raise AssertionError


def _look(path: str, busy_ms: int) -> int:
    connection = SqliteConnection(path, busy_ms=busy_ms, role="check")
    try:
        schema = check_schema(connection)
        if schema == 0 or os.stat(path).st_size > CHECKED_BYTES:
            return schema
        damage = connection.quick_check()
    finally:
        connection.close()
    if damage != "ok":
        raise StoreCorrupt(f"database {path} is damaged: {damage}", hint=_KEEP)
    return schema
