"""SQL as pure text: every statement is made here from a table and a dialect, and can be read without a server.

No statement on an owner's table can be made without naming the scope it is bound to: that is what keeps tenants,
users and agents apart. ``level`` says how much of the scope binds it: "tenant", "owner", "session" or "run".
"""

from __future__ import annotations

from functools import lru_cache

from engram_core.store.dialect import Dialect
from engram_core.store.tables import OWNER, RUN, Table

_LEVELS = {"tenant": OWNER[:1], "owner": OWNER, "session": RUN[:4], "run": RUN}


def create_table(table: Table, dialect: Dialect) -> list[str]:
    """Return the statements that make the table and its indexes."""
    def name(word: str) -> str:
        return f"{dialect.quote}{word}{dialect.quote}"

    lines = [f"  {name(c.name)} {dialect.types[c.kind]}{'' if c.null else ' NOT NULL'}" for c in table.all_columns()]
    lines.append(f"  PRIMARY KEY ({', '.join(map(name, primary_key(table)))})")
    made = [f"CREATE TABLE IF NOT EXISTS {name(table.name)} (\n" + ",\n".join(lines) + f"\n){dialect.table_tail}"]
    for unique, group in (("UNIQUE ", table.unique), ("", table.indexes)):
        for columns in group:
            index = f"{table.name}_{columns[-1]}"
            made.append(f"CREATE {unique}INDEX IF NOT EXISTS {name(index)} ON {name(table.name)} "
                        f"({', '.join(map(name, columns))})")
    return made


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
    return f"{insert(table, dialect)} {dialect.upsert.format(keys=', '.join(keys), sets=sets)}"


@lru_cache(maxsize=512)
def select(table: Table, dialect: Dialect, columns: tuple[str, ...], *, level: str = "owner", where: str = "",
           order: str = "", limit: bool = False) -> str:
    """Select columns within a scope; ``where`` uses named parameters as ``{name}``."""
    text = f"SELECT {', '.join(columns)} FROM {table.name} WHERE {_scoped(table, dialect, level)}"
    if where:
        text += f" AND {_named(where, dialect)}"
    if order:
        text += f" ORDER BY {order}"
    return text + (f" LIMIT {dialect.parameter.format(name='limit')}" if limit else "")


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
                by: str = "seq") -> str:
    """Select the rows within a scope whose ``by`` column is one of ``count`` values: parameters p0, p1, p2."""
    marks = ", ".join(dialect.parameter.format(name=f"p{at}") for at in range(count))
    return f"SELECT {', '.join(columns)} FROM {table.name} WHERE {_scoped(table, dialect, level)} AND {by} IN ({marks})"


@lru_cache(maxsize=8)
def owners(table: Table, dialect: Dialect) -> str:
    """Select the next owners there are, for upkeep: the one statement across owners, and it reads names alone."""
    marks = [dialect.parameter.format(name=name) for name in OWNER]
    after = " OR ".join(
        "(" + " AND ".join([*(f"{one}={mark}" for one, mark in zip(OWNER[:at], marks, strict=False)),
                            f"{OWNER[at]} > {marks[at]}"]) + ")" for at in range(len(OWNER)))
    names = ", ".join(OWNER)
    limit = dialect.parameter.format(name="limit")
    return f"SELECT {names} FROM {table.name} WHERE {after} ORDER BY {names} LIMIT {limit}"


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
