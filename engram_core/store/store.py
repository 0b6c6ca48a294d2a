"""A store: one database opened, migrated and checked, with a writing and a reading connection. Driven by the engine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engram_core.errors import StoreCorrupt, StoreError
from engram_core.store.migrations import VERSION, check_schema, migrate
from engram_core.store.reads import Reads
from engram_core.store.sqlite import SqliteConnection, check_file, sizes
from engram_core.store.transaction import Transaction

if TYPE_CHECKING:
    from engram_core.errors import EngramError

CHECKED_BYTES = 64 << 20
"""A database up to this size is looked through for damage when it opens; a larger one would delay the start, and
damage in it is refused where it is met."""
_LOOKS = 3


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
        if check_file(path):
            _refuse_foreign(path, busy_ms)
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
        from engram_core.errors import EngramError

        results: list[Any | EngramError] = []
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
        except BaseException:
            self._writer.rollback()
            raise
        self._writer.commit()
        return results

    def facts(self) -> dict[str, Any]:
        """Return what an operator asks of the database."""
        return self._writer.facts()

    def sizes(self) -> dict[str, int]:
        """Return the bytes of the database and its log, without opening either."""
        return sizes(self.path)

    def checkpoint(self) -> bool:
        """Empty the write-ahead log; False when a reader was in the way."""
        return self.path == ":memory:" or self._writer.checkpoint()

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


def _refuse_foreign(path: str, busy_ms: int) -> None:
    """Raise for a file that is damaged, newer or another program's, before anything is written to it.

    What looks damaged is looked at again: it may be that another process has just begun to write.
    """
    for left in range(_LOOKS - 1, -1, -1):
        try:
            _look(path, busy_ms)
            break
        except StoreCorrupt:
            if not left:
                raise
            time.sleep(0.05)


def _look(path: str, busy_ms: int) -> None:
    connection = SqliteConnection(path, busy_ms=busy_ms, role="check")
    try:
        if check_schema(connection) == 0 or os.stat(path).st_size > CHECKED_BYTES:
            return
        damage = connection.quick_check()
    finally:
        connection.close()
    if damage != "ok":
        raise StoreCorrupt(f"database {path} is damaged: {damage}",
                           hint="keep the file and restore a backup, or name another path in store.url")
