"""Statements as text: each is compared with a file, so that a change of any is seen in review.

``python -m tests.store.test_statements`` writes the files anew.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from engram_core.store import statements as sql
from engram_core.store.dialect import Dialect
from engram_core.store.migrations import STEPS
from engram_core.store.mysql import MARIADB, MYSQL
from engram_core.store.postgres import POSTGRES
from engram_core.store.sqlite import SQLITE
from engram_core.store.tables import MEMORIES, OWNERS, TABLES, Table

GOLDENS = Path(__file__).parent / "goldens"
DIALECTS = {"sqlite": SQLITE, "postgresql": POSTGRES, "mysql": MYSQL, "mariadb": MARIADB}
LEVELS = ("tenant", "owner", "session", "run")
SCOPED = [table for table in TABLES if table.scope]


def schema(dialect: Dialect) -> str:
    return "".join(f"{statement};\n\n" for step in STEPS for statement in step(dialect))


def examples(table: Table, dialect: Dialect) -> list[str]:
    """Return one statement of each kind and scope level for a table."""
    names = tuple(column.name for column in table.columns[:2])
    found = [sql.insert(table, dialect), sql.upsert(table, dialect)]
    for level in LEVELS[1:] if table.scope else ():
        found.append(sql.select(table, dialect, names, level=level, where="a={a} OR b={b}", order=names[0], limit=True))
        found.append(sql.update(table, dialect, names[:1], level=level, where="a={a} OR 1=1"))
        found.append(sql.delete(table, dialect, level=level))
    if "seq" in table.key:
        found += [sql.select_many(table, dialect, names, 2), sql.delete_many(table, dialect, 2)]
    if table in MEMORIES.values():
        found.append(sql.recalled(table, dialect, 2))
    return found


def statements(dialect: Dialect) -> str:
    lines = []
    for table in TABLES:
        lines += [f"-- {table.name}", *(f"{statement};" for statement in dict.fromkeys(examples(table, dialect))), ""]
    return "\n".join([*lines, "-- all owners", f"{sql.owners(OWNERS, dialect)};", ""])


@pytest.mark.parametrize("name", DIALECTS)
def test_statements_are_those_in_the_files(name: str) -> None:
    dialect = DIALECTS[name]
    assert (GOLDENS / f"{name}.schema.sql").read_text() == schema(dialect)
    assert (GOLDENS / f"{name}.statements.sql").read_text() == statements(dialect)


@pytest.mark.parametrize("table", SCOPED, ids=lambda table: table.name)
@pytest.mark.parametrize("level", LEVELS)
def test_every_statement_names_its_scope(table: Table, level: str) -> None:
    ids = [one for one in ("tenant_id", "user_id", "agent_id", "session_id", "run_id")[:{
        "tenant": 1, "owner": 3, "session": 4, "run": 5}[level]] if one in table.scope]
    scope = " AND ".join(f"{one}=:{one}" for one in ids)
    hostile = "1=1 OR 2=2"
    for text in (sql.select(table, SQLITE, ("*",), level=level, where=hostile),
                 sql.update(table, SQLITE, (table.columns[0].name,), level=level, where=hostile),
                 sql.delete(table, SQLITE, level=level, where=hostile)):
        assert f"WHERE {scope} AND ({hostile})" in text


def test_sqlite_accepts_every_statement() -> None:
    database = sqlite3.connect(":memory:")
    database.executescript(schema(SQLITE))
    for table in TABLES:
        for statement in examples(table, SQLITE):
            values = dict.fromkeys([column.name for column in table.all_columns()] + [
                "a", "b", "limit", "now", "p0", "p1", f"new_{table.columns[0].name}"], 0)
            text = statement.replace("a=:a OR b=:b", "1=:a OR 2=:b").replace("a=:a", "1=:a")
            database.execute(text, values)


def test_the_next_owners_come_in_order() -> None:
    database = sqlite3.connect(":memory:")
    database.executescript(schema(SQLITE))
    owners = sorted((t, u, a) for t in "ab" for u in ("", "x", "y") for a in ("", "p", "q"))
    for owner in owners:
        database.execute("INSERT INTO owners VALUES (?, ?, ?, 1)", owner)
    found, after = [], ("", "", "")
    while page := database.execute(sql.owners(OWNERS, SQLITE), {
            **dict(zip(("tenant_id", "user_id", "agent_id"), after, strict=True)), "limit": 4}).fetchall():
        found += page
        after = page[-1]
    assert found == owners


if __name__ == "__main__":
    for name, dialect in DIALECTS.items():
        (GOLDENS / f"{name}.schema.sql").write_text(schema(dialect))
        (GOLDENS / f"{name}.statements.sql").write_text(statements(dialect))
