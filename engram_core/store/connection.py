"""What the store asks of a database: one interface for every driver. Held here as types, driven by store and reads.

A driver's file gives a ``Database`` for a URL; that gives connections, one for the writer and one for reads. Their
errors are Engram's. Two of them say that the same may succeed at once: `Unavailable` when the server is away or the
connection was lost, and ``Collision`` when another writer was there first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from engram_core.errors import Busy
from engram_core.store.dialect import Dialect

Row = tuple[Any, ...]
Values = Mapping[str, Any]


class Collision(Busy):
    """Another transaction was in the way and this one was undone whole; run again it may succeed."""


class Options(NamedTuple):
    """How to open a database: what an acknowledgement means, how long to wait for whom, and whether to write."""

    durability: str = "full"
    busy_ms: int = 5000
    answer_ms: int = 4000
    password_file: str = ""
    writable: bool = True


class Connection(Protocol):
    """One connection as the store sees it; a server's may be another one underneath after every transaction."""

    name: str
    dialect: Dialect
    far: bool

    def execute(self, sql: str, values: Values = ...) -> list[Row]:
        """Run one statement and return its rows."""

    def batch(self, statements: Sequence[tuple[str, Values]], *, last: bool = False) -> list[list[Row]]:
        """Run reading statements on one way to the database and back; ``last`` ends their shared state with them."""

    def stream(self, sql: str, values: Values) -> Iterator[Row]:
        """Run one statement and hand out its rows one by one, for replies that end when they are full."""

    def insert(self, sql: str, rows: Sequence[Values]) -> None:
        """Run a statement that inserts one row for each of the rows, at the latest with the commit."""

    def change(self, sql: str, values: Values) -> int:
        """Run one statement and return how many rows it changed."""

    def defer(self, sql: str, values: Values) -> None:
        """Run one statement at the latest with the commit; nobody wants to know how many rows it changed."""

    def begin(self, *, blind: bool = False) -> None:
        """Open a writing transaction; a ``blind`` one asks nothing before all that it relies on is locked."""

    def commit(self) -> None:
        """Make the transaction durable; raise Unavailable when that cannot be known, another error when it is not."""

    def rollback(self) -> None:
        """Undo the open transaction, if any."""

    def begin_reading(self) -> bool:
        """Let all reads until ``end_reading`` see one state; False where there is but one connection."""

    def end_reading(self) -> None:
        """Let go of that state."""

    def stamp(self) -> int:
        """Return a number that stays the same as long as nothing was committed by others; -1 where nobody knows."""

    def begin_schema(self) -> None:
        """Open a transaction that no other change of the schema runs beside."""

    def tables(self) -> set[str]:
        """Return the names of the tables there are."""

    def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns."""

    def close(self) -> None:
        """Close the connection."""


class FarConnection(Connection, Protocol):
    """A connection to a server: transactions may follow each other before it is known what became of the first."""

    def post(self) -> bool:
        """Send the open transaction and go on; ``settle`` says what became of it.

        False, and nothing was sent, when that had to wait.
        """

    def has_come(self) -> bool:
        """Tell, without waiting, whether ``settle`` would not have to wait."""

    def fileno(self) -> int:
        """Return the descriptor on which that shows."""

    def settle(self) -> None:
        """Wait for the transaction that was posted first; raise like ``commit``."""


class Database(Protocol):
    """An opened database: what it is called, its connections, and what an operator asks of it."""

    name: str
    kind: str
    far: bool

    def writer(self) -> Connection:
        """Return the connection that writes."""

    def reader(self) -> Connection:
        """Return the connection that reads; the writer's own where there can be only one."""

    def facts(self) -> dict[str, Any]:
        """Return version, durability and sizes, asking the database."""

    def health(self) -> dict[str, Any]:
        """Return sizes and what is known of its health, without asking the database."""

    def mend(self) -> Connection:
        """Look through the database after a failed write, and return the connection that writes from here on."""

    def wait_at_most(self, seconds: float) -> None:
        """Let writers give up sooner, for who tries again by a deadline of its own."""

    def checkpoint(self) -> bool:
        """Make what was deleted unreadable where the database keeps a log for a while; False to be asked again."""

    def close(self) -> None:
        """Close all connections."""
