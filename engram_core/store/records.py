"""A whole store as one stream of records: owner by owner, table by table, by key. Driven by copies, exports, imports.

A record is one row of one table. Everything that belongs to somebody is in the stream but vectors, which the other
side makes again from the memories; what describes the database itself (``meta``) is not, for the other side has its
own. Where a digest is wanted it is made from the records' JSON, which is the same on every database.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from hashlib import blake2b
from heapq import merge
from typing import TYPE_CHECKING, Any, NamedTuple

from engram_core.store import statements as sql
from engram_core.store.tables import BUILDS, OWNER, OWNERS, TABLES, THREADS, VECTORS, Table
from engram_core.store.transaction import Owner, bound
from engram_core.values import dump_json

if TYPE_CHECKING:
    from engram_core.store.connection import Connection

OWNED: tuple[Table, ...] = (*(table for table in TABLES if table.scope and table not in (OWNERS, VECTORS)), OWNERS)
"""The tables of a stream in their order; an owner's revision comes last, when everything it stands for is there."""
BY_NAME = {table.name: table for table in OWNED}
_PAGE = 200
_ALL: Mapping[str, str] = {}


class Record(NamedTuple):
    """One row: its table's name and its values by column."""

    table: str
    row: dict[str, Any]


class Sum(NamedTuple):
    """How many records there are, and a digest of them in their order."""

    rows: int
    digest: str


def owners(connection: Connection) -> Iterator[Owner]:
    """Hand out the names of everyone who has anything, in order."""
    last: Owner | None = None
    for owner in merge(*(_owners(connection, table) for table in (OWNERS, BUILDS, THREADS))):  # no changes but theirs
        if owner != last:
            yield owner
        last = owner


def _owners(connection: Connection, table: Table) -> Iterator[Owner]:
    after: Owner = ("", "", "")
    while page := connection.execute(sql.owners(table, connection.dialect), bound(after, limit=_PAGE)):
        for row in page:
            after = (row[0], row[1], row[2])
            yield after


def records(connection: Connection, owner: Owner, table: Table, within: Mapping[str, str] = _ALL) -> Generator[Record]:
    """Hand out an owner's records of a table by key, few at a time however many there are.

    ``within`` narrows them to a session or run; the table must have those columns.
    """
    names = tuple(column.name for column in table.all_columns())
    key = ", ".join(sql.primary_key(table)[len(OWNER):])
    where = " AND ".join(f"{name}={{{name}}}" for name in within)
    for row in connection.stream(sql.select(table, connection.dialect, names, where=where, order=key),
                                 bound(owner, **within)):
        yield Record(table.name, dict(zip(names, row, strict=True)))


def count(connection: Connection, owner: Owner, table: Table) -> int:
    """Return how many records of a table an owner has."""
    return int(connection.execute(sql.select(table, connection.dialect, ("COUNT(*)",)), bound(owner))[0][0])


class Summing:
    """Sum up records as they pass."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=16)
        self._count = 0

    def over(self, stream: Iterable[Record]) -> Iterator[Record]:
        """Hand the records on."""
        for record in stream:
            self._hash.update(dump_json(list(record.row.values())).encode() + b"\n")
            self._count += 1
            yield record

    @property
    def sum(self) -> Sum:
        """The sum so far."""
        return Sum(self._count, self._hash.hexdigest())


def sum_of(stream: Iterable[Record]) -> Sum:
    """Return the sum of a stream, reading all of it."""
    summing = Summing()
    for _ in summing.over(stream):
        pass
    return summing.sum


def put(connection: Connection, part: list[Record]) -> None:
    """Insert records into their tables, inside a transaction; they are there already is an error."""
    at = 0
    while at < len(part):
        table = BY_NAME[part[at].table]
        end = at
        while end < len(part) and part[end].table == table.name:
            end += 1
        connection.insert(sql.insert(table, connection.dialect), [record.row for record in part[at:end]])
        at = end


def size_of(record: Record) -> int:
    """Return about how many characters a record takes, to know when a part is large enough to be written."""
    return 200 + sum(len(value) for value in record.row.values() if type(value) is str)


__all__ = ["BY_NAME", "OWNED", "Record", "Sum", "Summing", "count", "owners", "put", "records", "size_of", "sum_of"]
