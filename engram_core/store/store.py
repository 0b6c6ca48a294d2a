"""A store: one database opened, migrated and checked, with a writing and a reading connection. Driven by the engine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from engram_core.errors import EngramError, StoreCorrupt, StoreError
from engram_core.failpoints import reach
from engram_core.store.backup import keep_before_migration, refuse_half_restored
from engram_core.store.migrations import VERSION, check_schema, migrate
from engram_core.store.reads import Reads
from engram_core.store.sqlite import SqliteConnection, check_file, sizes
from engram_core.store.transaction import Transaction

CHECKED_BYTES = 64 << 20
"""A database up to this size is looked through for damage when it opens; a larger one would delay the start, and
damage in it is refused where it is met."""
_LOOKS = 3
_RESTORE = "keep the file and restore a backup with: engram restore FILE; or name another path in store.url"


class Store:
    """The durable side of the engine.

    ``group`` runs in one thread at a time, ``reads`` in one other; a private database in memory has only one
    connection, so its owner must not do both at once.
    """

    schema = VERSION

    def __init__(self, path: str, *, durability: str = "full", busy_ms: int = 5000) -> None:
        self.path, self.durability = path, durability
        if path != ":memory:":
            _make_folder(os.path.dirname(path) or ".")
            refuse_half_restored(path)
        if check_file(path):
            found = _refuse_foreign(path, busy_ms)
            if 0 < found < VERSION:
                keep_before_migration(path, found)
        self._busy_ms = busy_ms
        self._suspect = False  # a write failed in the database or below it: look before the next one
        self._writer = SqliteConnection(path, durability=durability, busy_ms=busy_ms)
        try:
            migrate(self._writer)
            self._reader = self._writer if path == ":memory:" else SqliteConnection(
                path, durability=durability, busy_ms=busy_ms, role="read")
        except BaseException:
            self._writer.close()
            raise
        self.reads = Reads(self._reader)
        self.writer_reads = Reads(self._writer)

    def group(self, operations: list[Callable[[Transaction], Any]], now_ms: int) -> list[Any | EngramError]:
        """Run operations in one transaction and commit it durably; an operation that raises is undone alone.

        Returns each one's result or error. Raises when the transaction itself fails: then nothing of it happened.
        """
        results: list[Any | EngramError] = []
        if self._suspect:
            self._mend()
        try:
            self._group(operations, now_ms, results)
        except StoreError:
            self._suspect = True
            raise
        except OSError as error:
            self._suspect = True
            raise StoreError(f"database {self.path}: {error.strerror}", hint="look at the disk") from error
        return results

    def _group(self, operations: list[Callable[[Transaction], Any]], now_ms: int,
               results: list[Any | EngramError]) -> None:
        self._writer.begin()
        try:
            transaction = Transaction(self._writer, now_ms)
            for operation in operations:
                try:
                    results.append(operation(transaction))
                except EngramError as error:
                    if error.exit_code == 74 or error.retryable:
                        raise
                    results.append(error)
            transaction.finish()
            reach("commit.before")
        except BaseException:
            self._writer.rollback()
            raise
        self._writer.commit()
        reach("commit.after")

    @property
    def healthy(self) -> bool:
        """Tell whether the last write succeeded, or the database was looked through since."""
        return not self._suspect

    def _mend(self) -> None:
        """Open the database anew after a failure and look through it: nothing is acknowledged before that is done."""
        if self.path == ":memory:":
            self._suspect = False
            return
        if not check_file(self.path):
            raise StoreCorrupt(f"database {self.path} is gone or empty",
                               hint="restore a backup with: engram restore FILE")
        _refuse_foreign(self.path, self._busy_ms)
        fresh = SqliteConnection(self.path, durability=self.durability, busy_ms=self._busy_ms)
        self._writer.close()
        self._writer = fresh
        self.writer_reads = Reads(fresh)
        self._suspect = False

    def wait_at_most(self, seconds: float) -> None:
        """Have ``group`` raise Busy after so long, for who tries again by a deadline of its own."""
        self._writer.wait_at_most(seconds)

    def facts(self) -> dict[str, Any]:
        """Return what an operator asks of the database."""
        return self._writer.facts()

    def sizes(self) -> dict[str, int]:
        """Return the bytes of the database and its log, without opening either."""
        return sizes(self.path)

    def checkpoint(self) -> bool:
        """Empty the write-ahead log; False when a reader was in the way."""
        if self.path == ":memory:":
            return True
        reach("checkpoint.before")
        done = self._writer.checkpoint()
        reach("checkpoint.after")
        return done

    def close(self) -> None:
        """Close both connections."""
        if self._reader is not self._writer:
            self._reader.close()
        self._writer.close()


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
        raise StoreCorrupt(f"database {path} is damaged: {damage}", hint=_RESTORE)
    return schema
