"""The schema's history as numbered steps, the same for every database. Driven by the store when it opens.

A step is a function from dialect to statements. Steps are only ever added; a database of every released version lies in
tests/compat and must open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from engram_core.errors import SchemaTooNew, StoreCorrupt
from engram_core.failpoints import reach
from engram_core.store.dialect import Dialect
from engram_core.store.statements import create_table
from engram_core.store.tables import TABLES

if TYPE_CHECKING:
    from engram_core.store.sqlite import SqliteConnection


def _first(dialect: Dialect) -> list[str]:
    return [statement for table in TABLES for statement in create_table(table, dialect)]


STEPS: tuple[Callable[[Dialect], list[str]], ...] = (_first,)
VERSION = len(STEPS)
_APPLICATION = "engram"


def migrate(connection: SqliteConnection) -> int:
    """Bring the database to this program's schema and return the version it had; 0 means it was empty."""
    found = check_schema(connection)
    if found == VERSION:
        return found
    connection.begin()
    try:
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
    except BaseException:
        connection.rollback()
        raise
    connection.commit()
    reach("migrate.after")
    return found


def check_schema(connection: SqliteConnection) -> int:
    """Return the database's schema version, 0 for an empty one.

    Raises SchemaTooNew for a newer database and StoreCorrupt for one of another program.
    """
    names = connection.tables()
    if not names:
        return 0
    rows = dict(connection.execute("SELECT name, value FROM meta")) if _is_ours(connection, names) else {}
    if rows.get("application") != _APPLICATION or not str(rows.get("schema", "")).isdigit():
        raise StoreCorrupt(f"database {connection.path} belongs to another program: it has the tables "
                           f"{', '.join(sorted(names)[:5])}", hint="name another path in store.url")
    found = int(rows["schema"])
    if found > VERSION:
        raise SchemaTooNew(f"database {connection.path} has schema {found}, this program knows up to {VERSION}",
                           hint="install the newer Engram that wrote it, or name another path in store.url")
    return found


def _is_ours(connection: SqliteConnection, names: set[str]) -> bool:
    return "meta" in names and connection.columns("meta") == ["name", "value"]
