"""SQL as pure text: every statement is made here from a table and a dialect, and can be read without a server.

No statement on an owner's table can be made without naming the scope it is bound to: that is what keeps tenants,
users and agents apart. ``level`` says how much of the scope binds it: "tenant", "owner", "session" or "run".
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from engram_core.store.dialect import Dialect
from engram_core.store.tables import OWNER, RUN, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEVELS = {"tenant": OWNER[:1], "owner": OWNER, "session": RUN[:4], "run": RUN}


def create_table(table: Table, dialect: Dialect) -> list[str]:
    """Return the statements that make the table and its indexes."""
    def name(word: str) -> str:
        return f"{dialect.quote}{word}{dialect.quote}"

    lines = [f"  {name(c.name)} {dialect.types[c.kind]}{'' if c.null else ' NOT NULL'}" for c in table.all_columns()]
    lines.append(f"  PRIMARY KEY ({', '.join(map(name, primary_key(table)))})")
    made = []
    for unique, group in (("UNIQUE ", table.unique), ("", table.indexes)):
        for columns in group:
            index, listed = name(f"{table.name}_{columns[-1]}"), ", ".join(map(name, columns))
            if dialect.inline_indexes:
                lines.append(f"  {unique}KEY {index} ({listed})")
            else:
                made.append(f"CREATE {unique}INDEX IF NOT EXISTS {index} ON {name(table.name)} ({listed})")
    return [f"CREATE TABLE IF NOT EXISTS {name(table.name)} (\n" + ",\n".join(lines) + f"\n){dialect.table_tail}",
            *made]


def primary_key(table: Table) -> tuple[str, ...]:
    """Return the key's columns: rows named by seq belong to the owner, all others to the table's whole scope."""
    return (*(OWNER if table.key == ("seq",) else table.scope), *table.key)


def _scoped(table: Table, dialect: Dialect, level: str) -> str:
    """The isolation: the condition that binds a statement to its scope, or to nothing for a table without one."""
    if not table.scope:
        return "1=1"
    ids = [one for one in _LEVELS[level] if one in table.scope]
    return " AND ".join(f"{one}={dialect.parameter.format(name=one)}" for one in ids)


@lru_cache(maxsize=512)
def insert(table: Table, dialect: Dialect) -> str:
    """Insert one whole row."""
    names = [column.name for column in table.all_columns()]
    values = ", ".join(dialect.parameter.format(name=one) for one in names)
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({values})"


@lru_cache(maxsize=512)
def upsert(table: Table, dialect: Dialect) -> str:
    """Insert one whole row, or replace the columns of the row with the same key."""
    keys = primary_key(table)
    rest = [column.name for column in table.all_columns() if column.name not in keys]
    sets = ", ".join(f"{one}={dialect.excluded.format(name=one)}" for one in rest)
    return dialect.upsert.format(insert=insert(table, dialect), keys=", ".join(keys), sets=sets)


@lru_cache(maxsize=8)
def touch(table: Table, dialect: Dialect, column: str, within: int) -> str:
    """Insert one whole row, or set the time in ``column`` of the row with the same key, unless it is hardly older.

    A database that cannot set it on a condition sets it always.
    """
    new = dialect.excluded.format(name=column)
    text = dialect.upsert.format(insert=insert(table, dialect), keys=", ".join(primary_key(table)),
                                 sets=f"{column}={new}")
    unless = f"{new} - {table.name}.{column} BETWEEN 0 AND {within:d}"
    return text + (f" WHERE NOT {unless}" if dialect.upsert_where else "")


@lru_cache(maxsize=64)
def add_missing(table: Table, dialect: Dialect) -> str:
    """Insert one whole row, or leave the row with the same key as it is."""
    keys = primary_key(table)
    kept = next(column.name for column in table.all_columns() if column.name not in keys)
    return dialect.upsert.format(insert=insert(table, dialect), keys=", ".join(keys),
                                 sets=f"{kept}={table.name}.{kept}")


@lru_cache(maxsize=64)
def copy_rows(table: Table, dialect: Dialect, column: str) -> str:
    """Insert copies of an owner's rows whose ``column`` is old with it being new, where the key is free."""
    names = [one.name for one in table.all_columns()]
    new = dialect.parameter.format(name="new")
    taken = " AND ".join(f"o.{one}={new}" if one == column else f"o.{one}={table.name}.{one}"
                         for one in primary_key(table))
    return (f"INSERT INTO {table.name} ({', '.join(names)}) "
            f"SELECT {', '.join(new if one == column else one for one in names)} FROM {table.name} "
            f"WHERE {_scoped(table, dialect, 'owner')} AND {column}={dialect.parameter.format(name='old')} "
            f"AND NOT EXISTS (SELECT 1 FROM {table.name} o WHERE {taken})")


@lru_cache(maxsize=512)
def select(table: Table, dialect: Dialect, columns: tuple[str, ...], *, level: str = "owner", where: str = "",
           order: str = "", limit: bool = False, lock: str = "") -> str:
    """Select columns within a scope; ``where`` uses named parameters as ``{name}``, ``lock`` is one of the dialect."""
    text = f"SELECT {', '.join(columns)} FROM {table.name} WHERE {_scoped(table, dialect, level)}"
    if where:
        text += f" AND {_named(where, dialect)}"
    if order:
        text += f" ORDER BY {order}"
    return text + (f" LIMIT {dialect.parameter.format(name='limit')}" if limit else "") + lock


@lru_cache(maxsize=64)
def step(table: Table, dialect: Dialect, column: str) -> str:
    """Set a column that may not be null to ``new`` where it is ``old``, and fail where it is anything else."""
    old, new = (dialect.parameter.format(name=name) for name in ("old", "new"))
    return (f"UPDATE {table.name} SET {column}=CASE WHEN {column}={old} THEN {new} END "
            f"WHERE {_scoped(table, dialect, 'owner')}")


@lru_cache(maxsize=512)
def update(table: Table, dialect: Dialect, columns: tuple[str, ...], *, level: str = "owner", where: str) -> str:
    """Set columns of the rows within a scope that meet the condition."""
    sets = ", ".join(f"{one}={dialect.parameter.format(name='new_' + one)}" for one in columns)
    return f"UPDATE {table.name} SET {sets} WHERE {_scoped(table, dialect, level)} AND {_named(where, dialect)}"


@lru_cache(maxsize=512)
def delete(table: Table, dialect: Dialect, *, level: str = "owner", where: str = "1=1") -> str:
    """Delete the rows within a scope that meet the condition."""
    return f"DELETE FROM {table.name} WHERE {_scoped(table, dialect, level)} AND {_named(where, dialect)}"


@lru_cache(maxsize=256)
def select_many(table: Table, dialect: Dialect, columns: tuple[str, ...], count: int, *, level: str = "owner",
                by: str = "seq", where: str = "") -> str:
    """Select the rows within a scope whose ``by`` column is one of ``count`` values: parameters p0, p1, p2."""
    marks = ", ".join(dialect.parameter.format(name=f"p{at}") for at in range(count))
    more = f" AND {_named(where, dialect)}" if where else ""
    return (f"SELECT {', '.join(columns)} FROM {table.name} WHERE {_scoped(table, dialect, level)}{more} "
            f"AND {by} IN ({marks})")


def numbered(values: Sequence[Any]) -> dict[str, Any]:
    """Return values as the parameters p0, p1 and so on, the last one repeated up to a power of two.

    So only a few statements are ever prepared, whatever the number of values.
    """
    return {f"p{at}": values[min(at, len(values) - 1)] for at in range(1 << (len(values) - 1).bit_length())}


@lru_cache(maxsize=64)
def delete_many(table: Table, dialect: Dialect, count: int) -> str:
    """Delete the owner's rows with one of ``count`` seqs: parameters p0, p1 and so on."""
    marks = ", ".join(dialect.parameter.format(name=f"p{at}") for at in range(count))
    return f"DELETE FROM {table.name} WHERE {_scoped(table, dialect, 'owner')} AND seq IN ({marks})"


@lru_cache(maxsize=8)
def news(changes: Table, parts: tuple[tuple[str, Table, tuple[str, ...]], ...], dialect: Dialect) -> str:
    """Select an owner's changes after a revision, and beside each what it changed as it is now.

    Every part is a kind, the table its rows are in and their columns; a row is found by its seq, where its table has
    no seq by the session and run of the change.
    """
    named = ", ".join(f"c.{one}" for one in ("revision", "kind", "seq", "op", "session_id", "run_id"))
    joins = ""
    for at, (kind, table, columns) in enumerate(parts):
        named += "".join(f", t{at}.{one}" for one in columns)
        by = (*OWNER, "seq") if table.key == ("seq",) else table.scope
        joins += f" LEFT JOIN {table.name} t{at} ON c.kind='{kind}' AND " + " AND ".join(
            f"t{at}.{one}=c.{one}" for one in by)
    scope = " AND ".join(f"c.{one}={dialect.parameter.format(name=one)}" for one in OWNER)
    after = dialect.parameter.format(name="after")
    return f"SELECT {named} FROM {changes.name} c{joins} WHERE {scope} AND c.revision > {after} ORDER BY c.revision"


@lru_cache(maxsize=8)
def owners(table: Table, dialect: Dialect) -> str:
    """Select the next owners there are, for upkeep: the one statement across owners, and it reads names alone."""
    marks = [dialect.parameter.format(name=name) for name in OWNER]
    after = " OR ".join(
        "(" + " AND ".join([*(f"{one}={mark}" for one, mark in zip(OWNER[:at], marks, strict=False)),
                            f"{OWNER[at]} > {marks[at]}"]) + ")" for at in range(len(OWNER)))
    names = ", ".join(OWNER)
    limit = dialect.parameter.format(name="limit")
    one_each = "" if table.scope == OWNER and not table.key else "DISTINCT "
    return f"SELECT {one_each}{names} FROM {table.name} WHERE {after} ORDER BY {names} LIMIT {limit}"


@lru_cache(maxsize=64)
def recalled(table: Table, dialect: Dialect, count: int) -> str:
    """Note a recall on the owner's rows with one of ``count`` seqs, parameters p0, p1 … and now."""
    marks = ", ".join(dialect.parameter.format(name=f"p{at}") for at in range(count))
    return (f"UPDATE {table.name} SET recalled_at={dialect.parameter.format(name='now')}, recall_count=recall_count+1 "
            f"WHERE {_scoped(table, dialect, 'owner')} AND seq IN ({marks})")


def _named(where: str, dialect: Dialect) -> str:
    """The caller's condition with its parameters, in brackets: no OR in it may reach past the scope."""
    out, rest = "(", where
    while "{" in rest:
        head, _, tail = rest.partition("{")
        name, _, rest = tail.partition("}")
        out += head + dialect.parameter.format(name=name)
    return out + rest + ")"
