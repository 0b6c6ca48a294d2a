"""Copy a whole store into an empty one, of whatever kind; begun again it goes on. Driven by `engram store copy`.

The source is read in one state and never changed. The target says in ``meta`` what is being copied into it, so that no
daemon takes half a store for a whole one, until counts and digests of every owner's tables are equal on both sides.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from engram_core.dsn import identity, is_server, shown
from engram_core.errors import BadInput, NotFound, StoreError
from engram_core.store import records
from engram_core.store import statements as sql
from engram_core.store.connection import Options
from engram_core.store.migrations import UNFINISHED, VERSION, check_schema, migrate, refuse_unfinished
from engram_core.store.store import open_database
from engram_core.store.tables import META, Table
from engram_core.store.transaction import Owner, bound

if TYPE_CHECKING:
    from engram_core.store.connection import Connection, Database

_PART_CHARS = 1 << 20
_PART_ROWS = 1000


class Report(NamedTuple):
    """What a copy did: who and what is in the target now, and how much of it was there already."""

    owners: int
    records: int
    copied: int
    kept: int
    digest: str


def copy(source_url: str, target_url: str, *, source: Options, target: Options,
         watch: Callable[[int, int], None] | None = None) -> Report:
    """Copy everything, verify it, and return what was done; raise before anything is written where it cannot be."""
    if _same(source_url, target_url):
        raise BadInput(f"the target {shown(target_url)} is the source itself", hint="name another database with --to")
    if not is_server(source_url) and not os.path.exists(source_url):
        raise NotFound(f"there is no database {source_url} to copy", hint="name it with --from, or see: engram status")
    with _opened(source_url, source._replace(writable=False)) as old, _opened(target_url, target) as new:
        _refuse_other(old)
        migrate(new.writer())
        reader, writer, checker = old.reader(), new.writer(), new.reader()
        _claim(writer, source_url, new.name)
        reader.begin_reading()
        try:
            report = _Copy(reader, writer, checker, new.name, watch).run()
        finally:
            reader.end_reading()
        writer.begin()
        writer.change(sql.delete(META, writer.dialect, where="name={name}"), {"name": UNFINISHED})
        writer.commit()
        new.checkpoint()
    return report


def _same(one: str, other: str) -> bool:
    if is_server(one) != is_server(other):
        return False
    return identity(one) == identity(other) if is_server(one) else os.path.realpath(one) == os.path.realpath(other)


@contextmanager
def _opened(url: str, options: Options) -> Iterator[Database]:
    database = open_database(url, options)
    try:
        yield database
    finally:
        database.close()


def _refuse_other(source: Database) -> None:
    """Raise for a source that is no store of this version, without changing it."""
    found = check_schema(source.reader())
    if found == 0:
        raise NotFound(f"database {source.name} is empty", hint="name the store to copy with --from")
    if found != VERSION:
        raise StoreError(f"database {source.name} has schema {found}, this program writes {VERSION}",
                         hint="open it once with this version, for example with: engram status")
    refuse_unfinished(source.reader())


def _claim(writer: Connection, source_url: str, name: str) -> None:
    """Mark the target as this source's copy; refuse one that holds something else."""
    mark = identity(source_url) if is_server(source_url) else os.path.realpath(source_url)
    found = writer.execute(sql.select(META, writer.dialect, ("value",), where="name={name}"), {"name": UNFINISHED})
    if found and found[0][0] != mark:
        raise BadInput(f"the target {name} is the unfinished copy of another store",
                       hint="finish that one, or name an empty database with --to")
    if not found:
        if next(records.owners(writer), None) is not None:
            raise BadInput(f"the target {name} is not empty", hint="name an empty or a new database with --to")
        writer.begin()
        writer.change(sql.insert(META, writer.dialect), {"name": UNFINISHED, "value": mark})
        writer.commit()


class _Copy:
    def __init__(self, reader: Connection, writer: Connection, checker: Connection, name: str,
                 watch: Callable[[int, int], None] | None) -> None:
        self._reader, self._writer, self._checker, self._name = reader, writer, checker, name
        self._watch = watch
        self._done = self._total = self._copied = self._kept = 0

    def run(self) -> Report:
        """Copy owner by owner; what an earlier attempt left and is equal stays."""
        owners = list(records.owners(self._reader))
        self._total = sum(records.count(self._reader, owner, table) for owner in owners for table in records.OWNED)
        whole = blake2b(digest_size=16)
        for owner in owners:
            for table in records.OWNED:
                found = self._table(owner, table)
                whole.update(f"{found.rows} {found.digest}\n".encode())
        for owner in list(records.owners(self._checker)):
            if owner not in owners:  # gone from the source since an earlier attempt
                for table in records.OWNED:
                    self._clear(owner, table)
        return Report(len(owners), self._done, self._copied, self._kept, whole.hexdigest())

    def _table(self, owner: Owner, table: Table) -> records.Sum:
        there = records.sum_of(records.records(self._checker, owner, table))
        if there.rows:
            wanted = records.sum_of(records.records(self._reader, owner, table))
            if wanted == there:
                self._kept += wanted.rows
                self._step(wanted.rows)
                return wanted
            self._clear(owner, table)
        summing = records.Summing()
        with closing(records.records(self._reader, owner, table)) as stream:
            self._write(summing.over(stream))
        written = records.sum_of(records.records(self._checker, owner, table))
        if written != summing.sum:
            raise StoreError(f"the copy in {self._name} differs from its source: {table.name} of {'/'.join(owner)} has "
                             f"{written.rows} records with the digest {written.digest}, not {summing.sum.rows} with "
                             f"{summing.sum.digest}", hint="run the same command again: it goes on where they differ")
        self._copied += written.rows
        return written

    def _clear(self, owner: Owner, table: Table) -> None:
        self._writer.begin()
        self._writer.change(sql.delete(table, self._writer.dialect), bound(owner))
        self._writer.commit()

    def _write(self, stream: Iterable[records.Record]) -> None:
        part: list[records.Record] = []
        size = 0
        for record in stream:
            part.append(record)
            size += records.size_of(record)
            if size > _PART_CHARS or len(part) == _PART_ROWS:
                self._put(part)
                part, size = [], 0
        if part:
            self._put(part)

    def _put(self, part: list[records.Record]) -> None:
        self._writer.begin()
        try:
            records.put(self._writer, part)
        except BaseException:
            self._writer.rollback()
            raise
        self._writer.commit()
        self._step(len(part))

    def _step(self, count: int) -> None:
        self._done += count
        if self._watch is not None:
            self._watch(self._done, self._total)


__all__ = ["Report", "copy"]
