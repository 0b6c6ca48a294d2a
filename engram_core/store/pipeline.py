"""How statements travel to PostgreSQL and their results back: libpq's pipeline. Driven by its driver."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from functools import lru_cache
from typing import NamedTuple

import psycopg
from psycopg import pq

from engram_core.kernel.sqlvalues import HasNul, parameters
from engram_core.store.connection import Values

__all__ = ["Asked", "answers", "asked"]

_PARAMETER, _PLACE = re.compile(r"%\((\w+)\)s"), re.compile(r"\$(\d+)")
_INT8 = 20  # the number of a type: all our numbers are of this one
_FEW, _MANY = 8, 32  # rows of an insert: 1 to 8, 16 or 32: few texts to prepare, and few statements to send


@lru_cache(maxsize=1024)
def _native(sql: str, rows: int = 1) -> tuple[bytes, tuple[str, ...]]:
    """Return a statement as the server takes it, inserting so many rows, and the names of $1, $2 and on in a row."""
    places: dict[str, int] = {}
    text = _PARAMETER.sub(lambda found: f"${places.setdefault(found[1], len(places) + 1)}", sql)
    if rows > 1:
        head, _, row = text.partition(" VALUES ")
        text = f"{head} VALUES " + ", ".join(_shifted(row, at * len(places)) for at in range(rows))
    return text.encode(), tuple(places)


def _shifted(row: str, by: int) -> str:
    return _PLACE.sub(lambda found: f"${int(found[1]) + by}", row)


class Asked(NamedTuple):
    """A statement as it is sent: where it stands among those asked for, its text, and what it takes of which rows."""

    place: int
    text: bytes
    names: tuple[str, ...]
    rows: list[Values]
    parameters: list[bytes | None]

    @property
    def types(self) -> list[int]:
        """The types of the parameters, 0 for one that the server is to find out."""
        return [_INT8 if type(row[name]) is int else 0 for row in self.rows for name in self.names]


def asked(place: int, sql: str, values: Values | list[Values]) -> Iterator[Asked]:
    """Yield a statement, or those that insert rows."""
    rows = values if isinstance(values, list) else [values]
    at, end = 0, len(rows)
    while at < end:
        count = min(end - at, _FEW) if end - at < 2 * _FEW else _MANY if end - at >= _MANY else 2 * _FEW
        text, names = _native(sql, count)
        part = rows[at:at + count]
        try:
            yield Asked(place, text, names, part, parameters(part, names))
        except HasNul:
            raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes") from None
        at += count


def answers(connection: pq.abc.PGconn, results: list[pq.abc.PGresult]) -> Generator[int, int, None]:
    """Send what waits and collect all results up to the pipeline's end."""
    while connection.flush():
        if (yield 3) & 1:
            connection.consume_input()
    while True:
        while connection.is_busy():
            yield 1
            connection.consume_input()
        found = connection.get_result()
        if found is not None and found.status == pq.ExecStatus.PIPELINE_SYNC:
            return
        if found is not None:
            results.append(found)
        elif connection.status != pq.ConnStatus.OK:
            raise psycopg.OperationalError(connection.get_error_message())
