"""The schema's history as numbered steps, the same for every database. Driven by the store when it opens.

A step is a function from dialect to statements. Steps are only ever added; a database of every released version lies in
tests/compat and must open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from engram_core.errors import SchemaTooNew, StoreCorrupt, StoreError
from engram_core.failpoints import reach
from engram_core.store.dialect import Dialect
from engram_core.store.statements import create_table
from engram_core.store.tables import CHECKPOINT_TABLES, FIRST_TABLES, ITEM_TABLES, TABLES, VECTORS, Table

if TYPE_CHECKING:
    from engram_core.store.connection import Connection


def _making(tables: Iterable[Table]) -> Callable[[Dialect], list[str]]:
    return lambda dialect: [statement for table in tables for statement in create_table(table, dialect)]


STEPS: tuple[Callable[[Dialect], list[str]], ...] = (
    _making(FIRST_TABLES), _making(CHECKPOINT_TABLES), _making(ITEM_TABLES), _making((VECTORS,)))
VERSION = len(STEPS)
_APPLICATION = "engram"
UNFINISHED = "copy of"
"""The row of ``meta`` that says what a copy that is not whole yet is of."""


def refuse_unfinished(connection: Connection) -> None:
    """Raise StoreError for a store that is still being copied, or whose copying was cut short."""
    found = connection.execute(f"SELECT value FROM meta WHERE name='{UNFINISHED}'")
    if found:
        raise StoreError(f"database {connection.name} is an unfinished copy of {' '.join(found[0][0].split())}",
                         hint="finish it by running the same `engram store copy` again, or drop it")


def migrate(connection: Connection) -> int:
    """Bring the database to this program's schema and return the version it had; 0 means it was empty."""
    try:
        found = check_schema(connection)
    except StoreCorrupt:
        if connection.dialect.schema_in_one:
            raise
        found = 0  # tables that are being made are seen in part: look again when nobody makes any
    if found == VERSION:
        return found
    try:
        connection.begin_schema()
        found = check_schema(connection)  # another process may have been faster
        for step in STEPS[found:]:
            for statement in step(connection.dialect):
                reach("migrate.statement")
                connection.execute(statement)
        if found == 0:
            connection.execute("INSERT INTO meta (name, value) VALUES ('application', 'engram')")
            connection.execute(f"INSERT INTO meta (name, value) VALUES ('schema', '{VERSION}')")
        else:
            connection.execute(f"UPDATE meta SET value='{VERSION}' WHERE name='schema'")
        reach("migrate.before")
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
    reach("migrate.after")
    return found


def check_schema(connection: Connection) -> int:
    """Return the database's schema version, 0 for an empty one.

    Raises SchemaTooNew for a newer database and StoreCorrupt for one of another program.
    """
    names = connection.tables()
    if not names:
        return 0
    rows: dict[str, str] = {}
    if _is_ours(connection, names):
        rows = {row[0]: row[1] for row in connection.execute("SELECT name, value FROM meta")}
        if not rows and not connection.dialect.schema_in_one and names <= {table.name for table in TABLES}:
            return 0  # the making of the tables was cut short
    if rows.get("application") != _APPLICATION or not str(rows.get("schema", "")).isdigit():
        raise StoreCorrupt(f"database {connection.name} belongs to another program: it has the tables "
                           f"{', '.join(sorted(names)[:5])}", hint="name another path in store.url")
    found = int(rows["schema"])
    if found > VERSION:
        raise SchemaTooNew(f"database {connection.name} has schema {found}, this program knows up to {VERSION}",
                           hint="install the newer Engram that wrote it, or name another path in store.url")
    return found


def _is_ours(connection: Connection, names: set[str]) -> bool:
    return "meta" in names and connection.columns("meta") == ["name", "value"]
