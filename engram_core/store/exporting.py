"""A store, or what a tenant, user, agent, session or run has in it, as lines of JSON, and back. Driven by ``keeping``.

The first line says what the file is; each further one is a record; the last one counts them and has their digest, so
that a file that was cut short is known before anything of it is stored. An owner is imported in one transaction: what
is there already and equal stays, so an import can be repeated and goes on where it ended; what is there and differs is
refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from engram_core.errors import BadInput, Conflict
from engram_core.store import records
from engram_core.store import statements as sql
from engram_core.store.migrations import VERSION
from engram_core.store.tables import CHANGES, OWNER, OWNERS, Table
from engram_core.store.transaction import Owner
from engram_core.values import dump_json

if TYPE_CHECKING:
    from engram_core.store.connection import Connection

FORMAT = 1
SCHEMAS = (1, 2, 3, 4)
"""Schemas whose exports can be read: what changed since the first of them are further tables."""
_EXPORT = "engram.export"
_PART_ROWS = 500


class Counts(NamedTuple):
    """What an export wrote, or an import stored and left as it was."""

    owners: int
    records: int
    kept: int = 0


def export(reader: Connection, out: Callable[[bytes], object], scope: dict[str, str], made: str,
           progress: Callable[[int], None]) -> Counts:
    """Write everything the given ids name, in one state of the database.

    Of a session or run only what belongs to it is written, with its changes and the owner's revision, so that its
    records keep their numbers; what belongs to the user and agent as a whole is not, nor are checkpoints.
    """
    digest = blake2b(digest_size=16)
    owners = count = 0
    reader.begin_reading()
    try:
        out(_line({"format": _EXPORT, "version": FORMAT, "schema": VERSION, "made": made, "scope": scope}))
        within = {name: value for name, value in scope.items() if name not in OWNER}
        for owner in [one for one in records.owners(reader) if _within(one, scope)]:
            before = count
            for table in _tables(within):
                if table is OWNERS and count == before:
                    continue  # nobody of that session or run
                for record in records.records(reader, owner, table, {} if table is OWNERS else within):
                    line = _line({"table": record.table, "row": record.row})
                    digest.update(line)
                    out(line)
                    count += 1
                    progress(count)
            owners += count > before
        out(_line({"end": {"owners": owners, "records": count, "digest": digest.hexdigest()}}))
    finally:
        reader.end_reading()
    return Counts(owners, count)


def check(file: IO[bytes], name: str) -> None:
    """Read a whole export and raise BadInput, naming the line, for one that is foreign, newer, cut short or changed."""
    digest, count, end = blake2b(digest_size=16), 0, None
    for number, line in enumerate(file, 1):
        if number == 1:
            _check_head(_parsed(line, name, number), name)
        elif end is not None:
            raise BadInput(f"{name} line {number}: something follows the end", hint="is it two files in one?")
        else:
            found = _parsed(line, name, number)
            end = found.get("end")
            if end is None:
                _record(found, name, number)
                digest.update(line)
                count += 1
    if not isinstance(end, dict):
        raise BadInput(f"{name} was cut short: it has no last line", hint="export it again")
    if end.get("records") != count or end.get("digest") != digest.hexdigest():
        raise BadInput(f"{name} was changed or cut: it has {count} records, its end speaks of {end.get('records')}",
                       hint="export it again")


def load(file: IO[bytes], writer: Connection, name: str, progress: Callable[[int], None]) -> Counts:
    """Store a checked export, owner by owner."""
    owners = count = kept = 0
    for owner, lines in _by_owner(file, name):
        writer.begin()
        try:
            stored, left = _load_owner(writer, owner, lines, name)
        except BaseException:
            writer.rollback()
            raise
        writer.commit()
        owners, count, kept = owners + 1, count + stored, kept + left
        progress(count + kept)
    return Counts(owners, count, kept)


def _load_owner(writer: Connection, owner: Owner, lines: Iterable[tuple[int, records.Record]],
                name: str) -> tuple[int, int]:
    stored = kept = 0
    part: list[records.Record] = []
    for number, record in lines:
        there = _there(writer, records.BY_NAME[record.table], record.row)
        if there is None:
            part.append(record)
            stored += 1
            if len(part) >= _PART_ROWS:
                records.put(writer, part)
                part = []
        elif there == record.row:
            kept += 1
        else:
            raise Conflict(f"{name} line {number}: {'/'.join(owner)} has other memories of its own in {record.table}; "
                           "nothing of this owner was stored",
                           hint="import into an empty database, or forget that owner's memories first")
    records.put(writer, part)
    return stored, kept


def _there(writer: Connection, table: Table, row: dict[str, Any]) -> dict[str, Any] | None:
    names = tuple(column.name for column in table.all_columns())
    keys = [key for key in sql.primary_key(table) if key not in OWNER]
    where = " AND ".join(f"{key}={{{key}}}" for key in keys) or "1=1"
    found = writer.execute(sql.select(table, writer.dialect, names, where=where), row)
    return dict(zip(names, found[0], strict=True)) if found else None


def _by_owner(file: IO[bytes], name: str) -> Iterator[tuple[Owner, Iterator[tuple[int, records.Record]]]]:
    """Cut the records where the owner changes; each owner's lines stand together."""
    waiting: list[tuple[int, records.Record]] = []

    def following() -> Iterator[tuple[int, records.Record]]:
        for number, line in enumerate(file, 1):
            found = _parsed(line, name, number)
            if number > 1 and "end" not in found:
                yield number, _record(found, name, number)

    stream = following()
    first = next(stream, None)
    while first is not None:
        owner, waiting = _owner(first[1]), [first]

        def of_one(owner: Owner = owner, waiting: list[tuple[int, records.Record]] = waiting) -> Iterator[
                tuple[int, records.Record]]:
            yield waiting.pop()
            for item in stream:
                if _owner(item[1]) != owner:
                    waiting.append(item)
                    return
                yield item

        yield owner, of_one()
        first = waiting[0] if waiting else None


def _owner(record: records.Record) -> Owner:
    return (record.row[OWNER[0]], record.row[OWNER[1]], record.row[OWNER[2]])


def _tables(within: dict[str, str]) -> list[Table]:
    """Return the tables that hold what belongs to a session or run, or all of them."""
    return [one for one in records.OWNED if one in (OWNERS, CHANGES) or set(within) <= set(one.scope)]


def _within(owner: Owner, scope: dict[str, str]) -> bool:
    return all(scope.get(name, value) == value for name, value in zip(OWNER, owner, strict=True))


def _line(value: dict[str, Any]) -> bytes:
    return dump_json(value).encode() + b"\n"


def _parsed(line: bytes, name: str, number: int) -> dict[str, Any]:
    if not line.endswith(b"\n"):
        raise BadInput(f"{name} was cut short in line {number}", hint="export it again")
    try:
        found = json.loads(line)
    except ValueError as exc:
        raise BadInput(f"{name} line {number} is not JSON: {exc}", hint="name a file made by engram export") from exc
    if not isinstance(found, dict):
        raise BadInput(f"{name} line {number} is no JSON object", hint="name a file made by engram export")
    return found


def _check_head(head: dict[str, Any], name: str) -> None:
    if head.get("format") != _EXPORT:
        raise BadInput(f"{name} is no export of Engram", hint="name a file made by engram export")
    version, schema = head.get("version"), head.get("schema")
    if version != FORMAT or schema not in SCHEMAS:
        raise BadInput(f"{name} is an export of version {version}, schema {schema}; this program reads version "
                       f"{FORMAT}, schema {VERSION}", hint="import it with the Engram that wrote it")


def _record(found: dict[str, Any], name: str, number: int) -> records.Record:
    table = records.BY_NAME.get(str(found.get("table")))
    row = found.get("row")
    if table is None or not isinstance(row, dict) or list(row) != [one.name for one in table.all_columns()]:
        raise BadInput(f"{name} line {number} is no record of this schema", hint="name a file made by engram export")
    return records.Record(table.name, row)


__all__ = ["Counts", "check", "export", "load"]
