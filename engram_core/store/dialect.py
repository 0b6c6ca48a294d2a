"""Databases as data: everything in which one SQL database differs from another. Code asks this object, never a name.

Each driver's file holds the objects of its own databases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)  # one object per database: statements are cached by identity
class Dialect:
    """How one database writes types, parameters, names and the end of a table.

    ``types`` maps column kinds to SQL types; ``parameter`` is a format with the parameter's name; ``insert`` is a
    format with ``table``, ``columns`` and ``values``, ``upsert`` one with ``insert``, ``keys`` and ``sets``,
    ``excluded`` one with the column's ``name``. ``begin`` are the statements that open a writing transaction,
    ``begin_blind`` is the one that opens one which asks nothing before it writes, ``begin_ahead`` are those that open
    one behind another whose outcome nobody knows yet and which may have failed half way, ``begin_reading`` is the one
    that opens a transaction whose reads all see the same state. ``exclusive`` and ``shared`` end a select whose row is
    to be locked; a database that lets one writer in at a time needs neither. ``upsert_where`` says that an upsert may
    end in a condition for the row that is there. ``inline_indexes`` says that indexes are made with their table,
    ``schema_in_one`` that changes of the schema are undone with their transaction.
    """

    types: Mapping[str, str]
    parameter: str
    quote: str
    table_tail: str
    upsert: str
    excluded: str
    begin: tuple[str, ...]
    begin_blind: str
    begin_reading: str
    begin_ahead: tuple[str, ...] = ()
    exclusive: str = ""
    shared: str = ""
    upsert_where: bool = False
    inline_indexes: bool = False
    schema_in_one: bool = True
