"""What databases on a server have in common: a connection that is taken from a pool and replaced when it was lost.

A driver of such a database gives real connections and their pool; the transactions, the state that reads see and the
second try are here. Driven by the store through the interface of `connection`.
"""

from __future__ import annotations

import os
import select
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from engram_core.errors import ConfigError, EngramError, Unavailable
from engram_core.values import format_time

if TYPE_CHECKING:
    from engram_core.store.connection import Row, Values
    from engram_core.store.dialect import Dialect

CONNECT_S = 3
LOCK_S = 2.0
"""How long a server lets us wait for a lock: shorter than for an answer, or a held lock looked like a lost server."""
MOST_IDLE = 4
_MOST_WAITING = 256  # statements, or rows of one table, that wait for the next statement
ASK_S = 30.0
"""A connection that nobody used for so long is asked before it is used; a younger one is only looked at."""
T = TypeVar("T")
Statement = tuple[str, "Values | list[Values]"]
"""A statement with its values, or one that inserts a row with those of many rows."""


class Wire(Protocol):
    """One real connection to a server. Its errors are mapped; after `Unavailable` it is not used again."""

    def batch(self, statements: Sequence[Statement]) -> list[list[Row]]:
        """Run statements on one way to the server and back, none after one that failed, and return the rows of each."""

    def change(self, statements: Sequence[Statement]) -> int:
        """Run statements likewise, and return how many rows the last one changed."""

    def send(self, statements: Sequence[Statement]) -> object:
        """Send statements without waiting for what they return."""

    def has_come(self) -> bool:
        """Tell, without waiting, whether ``receive`` would not have to wait."""

    def receive(self) -> object:
        """Wait for the end of what was sent first, and raise what one of its statements met."""

    def fileno(self) -> int:
        """Return the descriptor on which answers come."""

    def stream(self, sql: str, values: Values) -> Iterator[Row]:
        """Run a statement and hand out its rows as they come."""

    def is_alive(self, *, ask: bool) -> bool:
        """Tell whether the connection is there: by a look at it, or also by asking the server."""

    def hang_up(self) -> None:
        """Close the connection, whatever state it is in."""


class Pool:
    """The open connections of a database that nobody uses just now; looked at when they are taken.

    psycopg_pool is not used for the one and rebuilt for the other: connections here are made by who wants one, at once,
    so that work goes on the moment a server is back. Its waits between attempts grow beyond that.
    """

    def __init__(self, connect: Callable[[], Wire], health: Health) -> None:
        self._connect, self._health = connect, health
        self._idle: list[tuple[Wire, float]] = []
        self._closed = False
        self._lock = threading.Lock()

    def take(self) -> Wire:
        """Return a connection that is alive, an open one or a new one; raise Unavailable when there is none."""
        while True:
            with self._lock:
                wire, since = self._idle.pop() if self._idle else (None, 0.0)
            if wire is None:
                wire = self._connect()
                self._health.connected()
                return wire
            if wire.is_alive(ask=time.monotonic() - since > ASK_S):
                return wire
            wire.hang_up()

    def at_hand(self) -> Wire | None:
        """Return a connection that is open and may be used without asking, None when there is none."""
        while True:
            with self._lock:
                if not self._idle or time.monotonic() - self._idle[-1][1] > ASK_S:
                    return None
                wire, _ = self._idle.pop()
            if wire.is_alive(ask=False):
                return wire
            wire.hang_up()

    def give(self, wire: Wire, *, lost: bool = False) -> None:
        """Take a connection back, or hang up."""
        with self._lock:
            if not lost and not self._closed and len(self._idle) < MOST_IDLE:
                self._idle.append((wire, time.monotonic()))
                return
        wire.hang_up()

    def close(self) -> None:
        """Hang up on all that are idle; what is given back later is hung up then."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for wire, _ in idle:
            wire.hang_up()


class Health:
    """What is known of a server from the work done with it: connections lost, and whether it answers."""

    def __init__(self) -> None:
        self.connections = self.lost = self.trips = 0
        self._away_since: int | None = None
        self._why = ""
        self._lock = threading.Lock()

    def connected(self) -> None:
        """Count a new connection."""
        with self._lock:
            self.connections += 1
            self._away_since = None

    def failed(self, error: EngramError) -> None:
        """Note that a connection was lost or refused."""
        with self._lock:
            self.lost += 1
            self._why = error.message
            if self._away_since is None:
                self._away_since = time.time_ns() // 1_000_000

    def facts(self) -> dict[str, Any]:
        """Return what an operator wants to know, without asking the server."""
        with self._lock:
            facts: dict[str, Any] = {"available": self._away_since is None, "connections_made": self.connections,
                     "connections_lost": self.lost}
            if self._away_since is not None:
                facts["away_since"] = format_time(self._away_since)
            return {**facts, "last_error": self._why} if self._why else facts


class Session:
    """The store's connection to a server: real ones from the pool, one at a time.

    What nobody waits for travels with the next statement that somebody does, so that a transaction whose statements
    return nothing goes there and back once, from its BEGIN to its COMMIT.
    """

    far = True

    def __init__(self, name: str, dialect: Dialect, pool: Pool, health: Health) -> None:
        self.name, self.dialect = name, dialect
        self._pool, self._health = pool, health
        self._held: Wire | None = None
        self._spoiled: Wire | None = None
        self._inside = self._reading = False  # in a transaction; in one that only reads
        self._waiting: list[Statement] = []
        self._opening = 0  # how many statements open the transaction
        self._posted = 0  # transactions that were sent and not settled, all on the connection that is held
        self._undone = False  # one of those failed, and the connection is still in its transaction

    # ---- statements

    def execute(self, sql: str, values: Values = {}) -> list[Row]:  # noqa: B006 - never changed
        """Run one statement and return its rows."""
        return self.batch([(sql, values)])[0]

    def batch(self, statements: Sequence[tuple[str, Values]], *, last: bool = False) -> list[list[Row]]:
        """Run statements on one way to the server and back."""
        ended = last and self._reading
        waiting, self._waiting = self._waiting, []
        sent = [*waiting, *statements, ("COMMIT", {})] if ended else [*waiting, *statements]
        found = self._do(lambda wire: wire.batch(sent))[len(waiting):]
        if ended:
            self._reading = False
            found.pop()
        return found

    def change(self, sql: str, values: Values) -> int:
        """Run one statement and return how many rows it changed."""
        waiting, self._waiting = self._waiting, []
        return self._do(lambda wire: wire.change([*waiting, (sql, values)]))

    def defer(self, sql: str, values: Values) -> None:
        """Keep a statement until the next one, or the commit, takes it along."""
        assert self._inside
        self._waiting.append((sql, values))
        self._send_much()

    def insert(self, sql: str, rows: Sequence[Values]) -> None:
        """Keep rows to be inserted; those of one table that follow each other become one statement."""
        assert self._inside
        before = self._waiting[-1] if self._waiting else None
        if before is not None and before[0] == sql and isinstance(before[1], list):
            before[1].extend(rows)
        else:
            self._waiting.append((sql, list(rows)))
        self._send_much()

    def _send_much(self) -> None:
        last = self._waiting[-1][1]
        if len(self._waiting) >= _MOST_WAITING or (isinstance(last, list) and len(last) >= _MOST_WAITING):
            self.batch([])

    def stream(self, sql: str, values: Values) -> Iterator[Row]:
        """Run one statement and hand out its rows one by one."""
        if self._inside and (self._waiting or self._held is None):
            self.batch([])
        wire = self._held or self._first(lambda wire: wire.batch([("SELECT 1", {})]))[0]
        lost = True
        try:
            yield from wire.stream(sql, values)
            lost = False
        except GeneratorExit:
            lost = False
            raise
        except Unavailable as error:
            self._health.failed(error)
            raise
        except EngramError:
            lost = False
            raise
        finally:
            if wire is not self._held:
                self._pool.give(wire, lost=lost)

    # ---- transactions

    def begin(self, *, blind: bool = False) -> None:
        """Open a writing transaction; the server hears of it with the first statement."""
        if self._undone:
            self.rollback()
        self._inside = True
        opening = self.dialect.begin_ahead if self._posted else (self.dialect.begin_blind,)
        self._waiting = [(one, {}) for one in (opening if blind else self.dialect.begin)]
        self._opening = len(self._waiting)

    def begin_schema(self) -> None:
        """Open a transaction in which the schema may change; the driver's subclass sees to it that it is alone."""
        self.begin()

    def commit(self) -> None:
        """Make the transaction durable; Unavailable means that nobody knows, after another error it is still open."""
        waiting, self._waiting = self._waiting, []
        if self._held is None and len(waiting) > self._opening:
            self._held = self._taken()
        wire = self._held
        if wire is not None:
            self._on(wire, lambda wire: wire.batch([*waiting, *self._ending("COMMIT")]))
        self._let_go()

    def post(self) -> bool:
        """Send the open transaction whole, with its end, and do not wait for the answer, nor for a connection.

        Another one may follow before that: it relies on what this one leaves, so that it fails where this one does.
        """
        sent = [*self._waiting, *self._ending("COMMIT")]
        self._waiting, self._inside = [], False
        self._held = self._held or self._pool.at_hand()
        if self._held is None or self._held is self._spoiled:
            return False
        try:
            self._on(self._held, lambda wire: wire.send(sent))
        except BaseException:
            if not self._posted:
                self.rollback()
            raise
        self._posted += 1
        return True

    def has_come(self) -> bool:
        """Tell, without waiting, whether ``settle`` would not have to wait."""
        return self._held is None or self._held is self._spoiled or self._held.has_come()

    def fileno(self) -> int:
        """Return the descriptor on which the answer to what was posted comes."""
        return -1 if self._held is None else self._held.fileno()

    def settle(self) -> None:
        """Wait for the transaction that was posted first; raise why it failed, Unavailable when nobody knows."""
        wire = self._held
        assert wire is not None
        try:
            if self._spoiled is wire:
                raise Unavailable(f"database {self.name}: the connection was lost")
            wire.receive()
        except EngramError as error:
            self._undone = True
            if isinstance(error, Unavailable) and self._spoiled is not wire:
                self._spoiled = wire
                self._health.failed(error)
            raise
        except BaseException:
            self._undone, self._spoiled = True, wire
            raise
        finally:
            self._posted -= 1
            if not self._posted and not self._undone:
                self._let_go()

    def rollback(self) -> None:
        """Undo the open transaction; a server that is away does so by itself."""
        self._waiting = []
        if self._posted:  # nothing of it was sent
            self._inside = False
            return
        self._undone = False
        if self._held is not None and self._held is not self._spoiled:
            wire = self._held
            try:
                self._on(wire, lambda wire: wire.batch(self._ending("ROLLBACK")))
            except EngramError:
                self._spoiled = wire
        self._let_go()

    def _ending(self, sql: str) -> list[Statement]:
        """Return the statements that end a transaction."""
        return [(sql, {})]

    def begin_reading(self) -> bool:
        """Let all reads until ``end_reading`` see one state; the server hears of it with the first of them."""
        if self._inside:
            return False
        self._inside = self._reading = True
        self._waiting = [(self.dialect.begin_reading, {})]
        return True

    def end_reading(self) -> None:
        """Let go of that state, unless the last batch has done so."""
        if self._reading:
            self.rollback()
        else:
            self._let_go()

    def _let_go(self) -> None:
        """Be in no transaction, and give back the connection that it had."""
        wire, self._held = self._held, None
        self._inside = self._reading = False
        if wire is not None:
            self._pool.give(wire, lost=self._spoiled is wire)
        self._spoiled = None

    def stamp(self) -> int:
        """Nobody knows without asking whether others have committed."""
        return -1

    def tables(self) -> set[str]:
        """Return the names of the tables there are."""
        raise NotImplementedError

    def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what is held."""
        self.rollback()

    # ---- connections

    def _do(self, run: Callable[[Wire], T]) -> T:
        """Do something on the connection that is held in a transaction, and outside of one on any."""
        if self._held is not None:
            return self._on(self._held, run)
        wire, found = self._first(run)
        if self._inside:
            self._held = wire
        else:
            self._pool.give(wire)
        return found

    def _first(self, run: Callable[[Wire], T]) -> tuple[Wire, T]:
        """Do the first thing on a connection, and keep it; one that was lost while nobody looked is replaced."""
        for again in (True, False):
            wire = self._taken()
            try:
                return wire, self._on(wire, run)
            except Unavailable:
                self._pool.give(wire, lost=True)
                if not again:
                    raise
            except BaseException as error:
                if self._inside and isinstance(error, EngramError):
                    self._held = wire  # the transaction is open still, to be undone
                else:
                    self._pool.give(wire, lost=True)
                raise
        raise AssertionError

    def _on(self, wire: Wire, run: Callable[[Wire], T]) -> T:
        """Do something on a connection, and remember when it is no good any more."""
        self._health.trips += 1
        try:
            return run(wire)
        except Unavailable as error:
            self._spoiled = wire
            self._health.failed(error)
            raise
        except EngramError:
            raise
        except BaseException:  # what it would have answered must not answer the next statement
            self._spoiled = wire
            raise

    def _taken(self) -> Wire:
        try:
            return self._pool.take()
        except Unavailable as error:
            self._health.failed(error)
            raise


def is_quiet(fileno: int) -> bool:
    """Tell whether nothing has come on a connection that is not in use: what comes then is its end."""
    poll = select.poll()
    poll.register(fileno, select.POLLIN | select.POLLPRI)
    return fileno >= 0 and not poll.poll(0)


def read_password(path: str) -> str:
    """Return the first line of a file that is ours alone; raise ConfigError otherwise."""
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as file:
            found = os.fstat(file.fileno())
            if found.st_uid not in (os.geteuid(), 0) or stat.S_IMODE(found.st_mode) & 0o077:
                raise ConfigError(f"store.password_file {path} can be read by others "
                                  f"(mode {stat.S_IMODE(found.st_mode):04o})", hint=f"run: chmod 600 {path}")
            return file.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"store.password_file {path} cannot be read: {why}", hint="name a file of ours") from error


def without(text: str, hidden: Iterable[str]) -> str:
    """Return one line of a server's message, without the secrets that it may quote."""
    line = " ".join(text.split())
    for secret in hidden:
        if secret:
            line = line.replace(secret, "***")
    return line
