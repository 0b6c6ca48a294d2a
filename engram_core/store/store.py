"""A store: one database opened, migrated and checked, with a writing and a reading connection. Driven by the engine."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, cast

from engram_core.dsn import driver_of, shown
from engram_core.errors import ConfigError, EngramError, StoreError, Unavailable
from engram_core.failpoints import reach
from engram_core.store.connection import Collision, Options
from engram_core.store.migrations import VERSION, migrate, refuse_unfinished
from engram_core.store.reads import Reads
from engram_core.store.transaction import Owner, Transaction

if TYPE_CHECKING:
    from engram_core.scope import Scope
    from engram_core.store.connection import Database, FarConnection

T = TypeVar("T")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.005, 0.25
_SHARED_S = 1.0
_MOST_LEFT = 10_000


class _Left:
    """The revisions at which this process left owners: appends go on from there without asking, until that is wrong."""

    def __init__(self) -> None:
        self._revisions: dict[Owner, int] = {}
        self._shared: dict[Owner, float] = {}  # until when

    def at(self, revisions: Mapping[Owner, int]) -> None:
        """Note where owners are after a commit."""
        if len(self._revisions) > _MOST_LEFT:
            self._revisions.clear()
        self._revisions.update(revisions)

    def are_shared(self, owners: Iterable[Owner]) -> None:
        """Note that others write to some of these owners: they are asked for, for a while."""
        now = time.monotonic()
        self._shared = {owner: until for owner, until in self._shared.items() if until > now}
        self._shared.update(dict.fromkeys(owners, now + _SHARED_S))

    def known(self, events: Iterable[tuple[Scope, str]]) -> dict[Owner, int]:
        """Return the revisions of all owners of the events, nothing when one of them may be at another."""
        owners = {scope.owner for scope, _ in events}
        now = time.monotonic()
        if any(owner not in self._revisions or self._shared.get(owner, now) > now for owner in owners):
            return {}
        return {owner: self._revisions[owner] for owner in owners}


class Posted:
    """A group of appends on its way to a far database: what becomes of it when all goes well, or why that is not so."""

    __slots__ = ("appended", "error", "landed", "now_ms", "operations", "results", "transaction")

    def __init__(self, operations: list[Callable[[Transaction], Any]], now_ms: int,
                 appended: Sequence[tuple[Scope, str]], transaction: Transaction) -> None:
        self.operations, self.now_ms, self.appended, self.transaction = operations, now_ms, appended, transaction
        self.results: list[Any | EngramError] = []
        self.error: EngramError | None = None
        self.landed = False


class Store:
    """The durable side of the engine.

    ``group`` runs in one thread at a time, ``reads`` in one other; a private database in memory has only one
    connection, so its owner must not do both at once.
    """

    schema = VERSION

    def __init__(self, url: str, *, durability: str = "full", busy_ms: int = 5000, answer_ms: int = 4000,
                 password_file: str = "") -> None:
        self.durability = durability
        self._suspect = False  # a write failed in the database or below it: look before the next one
        self._left = _Left()
        self._posted: deque[Posted] = deque()
        self._undone = False  # a posted group failed, and what is left of it on the connection was not undone yet
        self._patience_s = busy_ms / 1000
        self.database = open_database(url, Options(durability, busy_ms, answer_ms, password_file))
        self.name, self.kind, self.far = self.database.name, self.database.kind, self.database.far
        self._writer = self.database.writer()
        self._line = cast("FarConnection", self._writer) if self.far else None
        try:
            self._again(lambda: migrate(self._writer))
            refuse_unfinished(self._writer)
            self._reader = self.database.reader()
        except BaseException:
            self.database.close()
            raise
        self.reads = Reads(self._reader)
        self.writer_reads = Reads(self._writer)

    def group(self, operations: list[Callable[[Transaction], Any]], now_ms: int,
              appended: Sequence[tuple[Scope, str]] = ()) -> list[Any | EngramError]:
        """Run operations in one transaction and commit it durably; an operation that raises is undone alone.

        ``appended`` names all events there will be when the operations do nothing but append events: a far database is
        then asked for them once, or not at all where its owners were last written from here.
        Returns each one's result or error. Raises when the transaction itself fails: then nothing of it happened.
        Where a transaction can meet others, or lose its server, it is run again for a while. When it is not known
        whether it was committed, its trail in ``changes`` tells, and nothing happens twice.
        """
        self._land_all()
        doubtful: list[tuple[Transaction, list[Any | EngramError]]] = []
        return self._again(lambda: self._attempt(operations, now_ms, appended, doubtful))

    def post(self, operations: list[Callable[[Transaction], Any]], now_ms: int,
             appended: Sequence[tuple[Scope, str]]) -> Posted | None:
        """Send a group that does nothing but append events and do not wait for the commit; ``settle`` does.

        None when that is not possible: the database is at hand, or an owner was not last written from here. A group may
        be posted behind another one. It goes on from where that one leaves their owners, so one fails with the other.
        """
        line = self._line
        known = self._left.known(appended) if appended and not self._suspect and not self._undone else {}
        if line is None or not known:
            return None
        line.begin(blind=True)
        try:
            posted = Posted(operations, now_ms, appended, Transaction(line, now_ms))
            posted.transaction.assume(appended, known)
            posted.results = self._done(operations, posted.transaction)
        except BaseException:
            line.rollback()
            raise
        reach("commit.before")
        try:
            if not line.post():
                return None
        except EngramError as error:
            self._fail(posted, error)
        else:
            self._left.at(posted.transaction.revisions)
        self._posted.append(posted)
        return posted

    def has_come(self) -> bool:
        """Tell, without waiting, whether it is known what became of the group that was posted first."""
        assert self._line is not None
        return self._posted[0].landed or self._line.has_come()

    def fileno(self) -> int:
        """Return the descriptor on which that shows."""
        return -1 if self._line is None else self._line.fileno()

    def land(self, posted: Posted) -> bool:
        """Take note of what became of the group that was posted first; False when ``settle`` has to run it again."""
        self._land(posted)
        return posted.error is None

    def settle(self, posted: Posted) -> list[Any | EngramError]:
        """Return what ``group`` would, for the group that was posted first; run it again where it has failed."""
        assert self._posted[0] is posted
        self._land(posted)
        if posted.error is not None:
            self._land_all()  # before the connection is used for anything else
        self._posted.popleft()
        if posted.error is None:
            return posted.results
        doubtful = [(posted.transaction, posted.results)] if isinstance(posted.error, Unavailable) else []
        return self._again(lambda: self._attempt(posted.operations, posted.now_ms, posted.appended, doubtful))

    def _fail(self, posted: Posted, error: EngramError) -> None:
        posted.error, posted.landed, self._undone = error, True, True
        self._left.are_shared(posted.transaction.revisions)

    def _land_all(self) -> None:
        for posted in self._posted:
            self._land(posted)

    def _land(self, posted: Posted) -> None:
        """Wait for what becomes of a posted group."""
        if posted.landed:
            return
        assert self._line is not None
        try:
            self._line.settle()
        except EngramError as error:
            self._fail(posted, error)
            return
        except BaseException:
            self._fail(posted, Unavailable(f"database {self.name}: the answer was not read", hint="try again"))
            raise
        posted.landed = True
        self.reads.wrote(posted.transaction.revisions)
        reach("commit.after")

    def _again(self, run: Callable[[], T]) -> T:
        """Run a transaction, and run it again while others are in its way or the server is away."""
        until = time.monotonic() + self._patience_s
        pause = _FIRST_PAUSE_S
        while True:
            try:
                return run()
            except (Collision, Unavailable):
                if time.monotonic() + pause > until:
                    raise
            time.sleep(pause * random.uniform(0.5, 1.5))  # not all of those who met are to meet again
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _attempt(self, operations: list[Callable[[Transaction], Any]], now_ms: int,
                 appended: Sequence[tuple[Scope, str]],
                 doubtful: list[tuple[Transaction, list[Any | EngramError]]]) -> list[Any | EngramError]:
        self._undone = False
        if self._suspect:
            self._mend()
        try:
            return self._group(operations, now_ms, appended, doubtful)
        except StoreError:
            self._suspect = True
            raise
        except OSError as error:
            self._suspect = True
            raise StoreError(f"database {self.name}: {error.strerror}", hint="look at the disk") from error

    def _group(self, operations: list[Callable[[Transaction], Any]], now_ms: int,
               appended: Sequence[tuple[Scope, str]],
               doubtful: list[tuple[Transaction, list[Any | EngramError]]]) -> list[Any | EngramError]:
        known = self._left.known(appended) if not doubtful else {}
        if known:
            try:
                return self._run(operations, now_ms, doubtful, lambda transaction: transaction.assume(appended, known),
                                 blind=True)
            except Unavailable:
                raise
            except EngramError:  # another wrote to an owner, or an event is there already: now with a look
                self._left.are_shared(known)
        return self._run(operations, now_ms, doubtful, lambda transaction: transaction.foresee(appended))

    def _run(self, operations: list[Callable[[Transaction], Any]], now_ms: int,
             doubtful: list[tuple[Transaction, list[Any | EngramError]]],
             prepare: Callable[[Transaction], None], *, blind: bool = False) -> list[Any | EngramError]:
        self._writer.begin(blind=blind)
        try:
            transaction = Transaction(self._writer, now_ms)
            for earlier, found in doubtful:
                if transaction.has_happened(earlier):
                    self._writer.rollback()
                    return found
            if self.far:
                prepare(transaction)
            results = self._done(operations, transaction)
            reach("commit.before")
            try:
                self._writer.commit()
            except Unavailable:
                doubtful.append((transaction, results))
                raise
        except BaseException:
            self._writer.rollback()
            raise
        if self.far:
            self.reads.wrote(transaction.revisions)
            self._left.at(transaction.revisions)
        reach("commit.after")
        return results

    @staticmethod
    def _done(operations: list[Callable[[Transaction], Any]], transaction: Transaction) -> list[Any | EngramError]:
        """Run operations up to the commit."""
        results: list[Any | EngramError] = []
        for operation in operations:
            try:
                results.append(operation(transaction))
            except EngramError as error:
                if error.exit_code == 74 or error.retryable:
                    raise
                results.append(error)
        transaction.finish()
        return results

    @property
    def healthy(self) -> bool:
        """Tell whether the last write succeeded, or the database was looked through since."""
        return not self._suspect

    def _mend(self) -> None:
        """Look through the database after a failure: nothing is acknowledged before that is done."""
        self._writer = self.database.mend()
        self.writer_reads = Reads(self._writer)
        self._suspect = False

    def wait_at_most(self, seconds: float) -> None:
        """Have ``group`` raise Busy after so long, for who tries again by a deadline of its own."""
        self._patience_s = min(self._patience_s, seconds)
        self.database.wait_at_most(seconds)

    def facts(self) -> dict[str, Any]:
        """Return what an operator asks of the database."""
        return self.database.facts()

    def health(self) -> dict[str, Any]:
        """Return sizes and what is known of the database's health, without asking it."""
        return self.database.health()

    def checkpoint(self) -> bool:
        """Let go of what a log still holds of deleted rows; False when a reader was in the way."""
        self._land_all()
        reach("checkpoint.before")
        done = self.database.checkpoint()
        reach("checkpoint.after")
        return done

    def close(self) -> None:
        """Close all connections."""
        self.database.close()


def open_database(url: str, options: Options) -> Database:
    """Open the database of a URL or path by its driver; raise ConfigError where that is not installed."""
    driver = driver_of(url)
    if not driver:
        raise ConfigError(f"store.url is {shown(url)!r}, and no driver serves that",
                          hint="give a path, or a URL with sqlite, postgresql or mysql before ://")
    opened: Database = import_module(f"engram_core.store.{driver}").open_database(url, options)
    return opened


__all__ = ["Posted", "Store", "open_database"]
