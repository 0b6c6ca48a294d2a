"""Databases as data: everything in which one SQL database differs from another. Code asks this object, never a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)  # one object per database: statements are cached by identity
class Dialect:
    """How one database writes types, parameters, names and the end of a table.

    ``types`` maps column kinds to SQL types; ``parameter`` is a format with the parameter's name; ``upsert`` is a
    format with ``keys`` and ``sets``, ``excluded`` one with the column's ``name``; ``begin`` opens a writing
    transaction, ``begin_reading`` one whose reads all see the same state.
    """

    types: Mapping[str, str]
    parameter: str
    quote: str
    table_tail: str
    upsert: str
    excluded: str
    begin: str
    begin_reading: str
    max_parameters: int


SQLITE = Dialect(
    types={"key": "TEXT", "text": "TEXT", "json": "TEXT", "ms": "INTEGER", "int": "INTEGER", "real": "REAL"},
    parameter=":{name}",
    quote='"',
    table_tail=" WITHOUT ROWID",
    upsert="ON CONFLICT ({keys}) DO UPDATE SET {sets}",
    excluded="excluded.{name}",
    begin="BEGIN IMMEDIATE",
    begin_reading="BEGIN",
    max_parameters=30_000,
)
