"""The PostgreSQL driver: its dialect, its pool, and the map from its errors to ours. Driven by the store.

psycopg 3. Connections are in autocommit mode and transactions are statements like any other, so
that the first statement of a snapshot can travel with its BEGIN. Tables and keys are compared by bytes (COLLATE "C").
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from engram_core.dsn import secrets, shown
from engram_core.errors import AccessDenied, Busy, ConfigError, EngramError, StoreCorrupt, StoreError, Unavailable
from engram_core.store.connection import Collision, Options, Row, Values
from engram_core.store.dialect import Dialect
from engram_core.store.server import (
    CONNECT_S,
    LOCK_S,
    Health,
    Pool,
    Session,
    Statement,
    is_quiet,
    read_password,
    without,
)

try:
    import psycopg
    from psycopg import conninfo, pq
    from psycopg.adapt import Transformer

    from engram_core.store.pipeline import Asked, answers, asked
except ImportError as error:
    raise ConfigError(f"the driver of PostgreSQL is not installed: {error.name} is missing",
                      hint="run: pip install 'engram[postgres]'") from error

if TYPE_CHECKING:
    from engram_core.store.connection import Connection

POSTGRES = Dialect(
    types={"key": 'TEXT COLLATE "C"', "text": "TEXT", "json": "TEXT", "ms": "BIGINT", "int": "BIGINT",
           "real": "DOUBLE PRECISION"},
    parameter="%({name})s",
    quote='"',
    table_tail="",
    upsert="{insert} ON CONFLICT ({keys}) DO UPDATE SET {sets}",
    excluded="excluded.{name}",
    begin=("BEGIN ISOLATION LEVEL READ COMMITTED",),
    begin_blind="BEGIN ISOLATION LEVEL READ COMMITTED",
    begin_reading="BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    begin_ahead=("BEGIN ISOLATION LEVEL READ COMMITTED",),  # refused where the one before has failed
    upsert_where=True,
    exclusive=" FOR UPDATE",
    shared=" FOR SHARE",
)
OLDEST = 12
SCHEMA_LOCK = 0x656E6772616D  # "engram"
_BACK = "try again; what was acknowledged is there when it is back"
_BY_CODE: dict[str, tuple[type[EngramError], str]] = {
    "40001": (Collision, "try again"), "40P01": (Collision, "try again"), "55P03": (Collision, "try again"),
    "23505": (Collision, "try again"), "57014": (Busy, "try again, or raise store.answer_timeout_ms"),
    "25006": (Unavailable, _BACK), "57P01": (Unavailable, _BACK), "57P02": (Unavailable, _BACK),
    "57P03": (Unavailable, _BACK), "57P05": (Unavailable, _BACK), "53300": (Unavailable, _BACK),
    "25P03": (Unavailable, _BACK), "25P04": (Unavailable, _BACK),
    "42501": (AccessDenied, "ask for the right, or name a database of ours in store.url"),
    "28000": (AccessDenied, "check the user and the password of store.url"),
    "28P01": (AccessDenied, "check the user and the password of store.url"),
    "53100": (StoreError, "free space on the server's disk; nothing acknowledged is lost"),
    "XX001": (StoreCorrupt, "restore a backup of the server"),
    "XX002": (StoreCorrupt, "restore a backup of the server"),
}
# libpq has only words for what goes wrong before there is a session.
_BY_WORDS: tuple[tuple[str, type[EngramError], str], ...] = (
    ("could not translate host name", ConfigError, "check the host in store.url"),
    ("failed to resolve host", ConfigError, "check the host in store.url"),
    ("password authentication failed", AccessDenied, "check the user of store.url, and the password in "
     "store.password_file, PGPASSWORD or ~/.pgpass"),
    ("no password supplied", AccessDenied, "put it into store.password_file, PGPASSWORD or ~/.pgpass"),
    ("no pg_hba.conf entry", AccessDenied, "have the server let this host in (pg_hba.conf)"),
    ("certificate file", ConfigError, "check sslrootcert, sslcert and sslkey in store.url"),
    ("private key file", ConfigError, "check sslkey in store.url"),
    ("does not exist", AccessDenied, "check the user in store.url, or have the database created"),
    ("permission denied", AccessDenied, "ask for the right, or name a database of ours in store.url"),
    ("certificate", ConfigError, "check sslmode, sslrootcert and the host's name in store.url"),
    ("SSL", ConfigError, "check sslmode in store.url and the server's ssl"),
    ("invalid", ConfigError, "check store.url"),
)


class _Patient(psycopg.Connection[Any]):
    """A connection that does not wait for ever: a server that says nothing for so long is away."""

    silence_s = 4.0

    def wait(self, gen: Generator[Any, Any, Any], interval: float = 0.0, timeout: float | None = None) -> Any:
        """Drive one exchange with the server; every byte that comes starts the patience anew."""
        poll = select.poll()
        known = 0
        try:
            wanted = next(gen)
            while True:
                if wanted != known:
                    known = wanted
                    poll.register(self.pgconn.socket, (select.POLLIN if wanted & 1 else 0) |
                                  (select.POLLOUT if wanted & 2 else 0))
                ready = poll.poll(self.silence_s * 1000)
                if not ready:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"the server said nothing for {self.silence_s:g} s")
                bits = ready[0][1]
                broken = bits & ~(select.POLLIN | select.POLLOUT)
                wanted = gen.send(wanted if broken else (1 if bits & select.POLLIN else 0) |
                                  (2 if bits & select.POLLOUT else 0))
        except StopIteration as end:
            return end.value
        except (KeyboardInterrupt, SystemExit):
            self.pgconn.finish()  # what it would have answered must not answer the next statement
            raise


_MOST_PREPARED = 256


class PostgresWire:
    """One real connection. Statements go by libpq's own pipeline: psycopg's takes several times as long for each.

    A statement with parameters is prepared when it is met for the second time.
    """

    def __init__(self, raw: _Patient, name: str) -> None:
        self.raw, self._name = raw, name
        self._loading = Transformer(raw)
        self._prepared: dict[bytes, bytes] = {}  # what statements are called, b"" after the first time
        self._made = 0
        self._sent: deque[list[tuple[int, bytes]]] = deque()  # places, or -1 and what is prepared, of each pipeline
        self._results: list[pq.abc.PGresult] = []  # that have come of the first
        self._complete = False

    def batch(self, statements: Sequence[Statement]) -> list[list[Row]]:
        """Run statements in a pipeline: one way there and back."""
        found: list[list[Row]] = [[] for _ in statements]
        for place, result in self._exchange(statements):
            if result.status == pq.ExecStatus.TUPLES_OK:
                self._loading.set_pgresult(result)
                found[place] = self._loading.load_rows(0, result.ntuples, tuple)
        self._loading.set_pgresult(None)
        return found

    def change(self, statements: Sequence[Statement]) -> int:
        """Run statements likewise, and return how many rows the last one changed."""
        return self._exchange(statements)[-1][1].command_tuples or 0

    def _exchange(self, statements: Sequence[Statement]) -> list[tuple[int, pq.abc.PGresult]]:
        self.send(statements)
        return self.receive()

    def send(self, statements: Sequence[Statement]) -> None:
        """Send statements without waiting for what they return."""
        connection = self.raw.pgconn
        try:
            wanted = [one for place, (sql, values) in enumerate(statements) for one in asked(place, sql, values)]
            connection.enter_pipeline_mode()
            sent: list[tuple[int, bytes]] = []  # place or -1, and what is prepared by it
            if len(self._prepared) > _MOST_PREPARED and connection.transaction_status == pq.TransactionStatus.IDLE:
                self._prepared.clear()
                connection.send_query_params(b"DEALLOCATE ALL", None)
                sent.append((-1, b""))
            for one in wanted:
                self._send(connection, one, sent)
            connection.pipeline_sync()
            connection.flush()
            self._sent.append(sent)
        except psycopg.Error as error:
            raise mapped(error, self._name) from error

    def has_come(self) -> bool:
        """Take what has come of the results of what was sent first, and tell whether that is all or the end."""
        collecting = answers(self.raw.pgconn, self._results)
        try:
            if not self._complete and next(collecting) == 1:
                collecting.send(1)
            return self._complete
        except StopIteration:
            self._complete = True
        except psycopg.Error:
            pass  # which ``receive`` will meet
        return True

    def receive(self) -> list[tuple[int, pq.abc.PGresult]]:
        """Return the results of what was sent first, each with its statement's place."""
        connection, sent = self.raw.pgconn, self._sent.popleft()
        try:
            if not self._complete:
                self.raw.wait(answers(connection, self._results))
            results, self._results, self._complete = self._results, [], False
            if not self._sent:
                connection.exit_pipeline_mode()
            for (_, text), result in zip(sent, results, strict=True):
                if text and result.status != pq.ExecStatus.COMMAND_OK:
                    self._prepared.pop(text, None)
            failed = next((one for one in results if one.status == pq.ExecStatus.FATAL_ERROR), None)
            if failed is not None:
                if failed.error_field(pq.DiagnosticField.SQLSTATE) is None:
                    raise psycopg.OperationalError(failed.get_error_message())
                raise psycopg.errors.error_from_result(failed)
        except psycopg.Error as error:
            raise mapped(error, self._name) from error
        return [(place, result) for (place, _), result in zip(sent, results, strict=True) if place >= 0]

    def _send(self, connection: pq.abc.PGconn, one: Asked, sent: list[tuple[int, bytes]]) -> None:
        name = self._prepared.get(one.text)
        if name is None:
            if one.parameters:
                self._prepared[one.text] = b""
            connection.send_query_params(one.text, one.parameters, one.types)
        else:
            if not name:
                self._made += 1
                name = self._prepared[one.text] = b"s%d" % self._made
                connection.send_prepare(name, one.text, one.types)
                sent.append((-1, one.text))
            connection.send_query_prepared(name, one.parameters)
        sent.append((one.place, b""))

    def stream(self, sql: str, values: Values) -> Iterator[Row]:
        """Fetch rows in portions by a cursor of the server, which lives in a transaction."""
        try:
            alone = self.raw.info.transaction_status == pq.TransactionStatus.IDLE
            if alone:
                self.raw.execute(POSTGRES.begin_reading)
            try:
                with self.raw.cursor(name="portions") as cursor:
                    cursor.itersize = 256
                    yield from cursor.execute(sql, values or None)
            finally:
                if alone and not self.raw.closed:
                    self.raw.execute("ROLLBACK")
        except psycopg.Error as error:
            raise mapped(error, self._name) from error

    def fileno(self) -> int:
        """Return the connection's descriptor."""
        return self.raw.pgconn.socket

    def is_alive(self, *, ask: bool) -> bool:
        """Look at the connection, and ask on it."""
        if self.raw.closed or not is_quiet(self.raw.pgconn.socket):
            return False
        try:
            if ask:
                self.raw.execute("")
        except psycopg.Error:
            return False
        return True

    def hang_up(self) -> None:
        """Close the connection."""
        self.raw.close()


class PostgresSession(Session):
    """The store's connection."""

    def begin_schema(self) -> None:
        """Wait until nobody else changes the schema, then open the transaction that does."""
        self.begin()
        self.execute(f"SELECT pg_advisory_xact_lock({SCHEMA_LOCK})")

    def tables(self) -> set[str]:
        """Return the names of the tables in the schema that ours are made in."""
        return {row[0] for row in self.execute("SELECT tablename FROM pg_tables WHERE schemaname=current_schema()")}

    def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns."""
        return [row[0] for row in self.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema=current_schema() "
            "AND table_name=%(table)s ORDER BY ordinal_position", {"table": table})]


class PostgresDatabase:
    """A database on a server, made when it is missing."""

    kind, far = "postgresql", True

    def __init__(self, url: str, options: Options) -> None:
        self.name = shown(url)
        self._health = Health()
        where, hidden = _where(url, options, self.name)
        _look(where, self.name, hidden, options)
        self._pool = Pool(lambda: _open(where, self.name, options, hidden), self._health)
        self._writer = PostgresSession(self.name, POSTGRES, self._pool, self._health)
        self._reader = PostgresSession(self.name, POSTGRES, self._pool, self._health)

    def writer(self) -> Connection:
        """Return the connection that writes."""
        return self._writer

    def reader(self) -> Connection:
        """Return the one that reads."""
        return self._reader

    def facts(self) -> dict[str, Any]:
        """Return version, durability and size."""
        names = ("server_version", "fsync", "synchronous_commit", "full_page_writes")
        row = self._writer.execute("SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
                                   + ", pg_database_size(current_database())")[0]
        return {**dict(zip(("version", *names[1:], "db_bytes"), row, strict=True))}

    def health(self) -> dict[str, Any]:
        """Return what is known without asking."""
        return self._health.facts()

    def trips(self) -> int:
        """Return how often the server was asked and answered."""
        return self._health.trips

    def mend(self) -> Connection:
        """Go on with the same connection: what is wrong with a real one is seen when it is taken."""
        return self._writer

    def wait_at_most(self, seconds: float) -> None:
        """Nothing to do: the limits of a server's connection are short."""

    def checkpoint(self) -> bool:
        """Have the server look at tables that have grown much since it did; its log is the operator's.

        Before that it takes an owner to have a row or two, and reads all of them by any index to find a few.
        """
        grown = [row[0] for row in self._writer.execute(
            "SELECT relname FROM pg_class WHERE relnamespace=current_schema()::regnamespace AND relkind='r' "
            "AND pg_relation_size(oid) > 2 * 8192 * GREATEST(relpages, 4)")]
        if grown:
            self._writer.execute("ANALYZE " + ", ".join(f'"{name}"' for name in grown))
        return True

    def close(self) -> None:
        """Close all connections."""
        self._writer.close()
        self._reader.close()
        self._pool.close()


open_database = PostgresDatabase


def _where(url: str, options: Options, name: str) -> tuple[str, list[str]]:
    """Return libpq's text for the database, with what we add where the URL says nothing, and the secrets in it."""
    hidden = secrets(url)
    try:
        found = conninfo.conninfo_to_dict(url)
    except psycopg.Error as error:
        raise ConfigError(f"store.url {name!r} cannot be read: {without(str(error), hidden)}",
                          hint="write it like postgresql://user@host:5432/engram") from error
    defaults: dict[str, Any] = {
        "dbname": "engram", "connect_timeout": CONNECT_S, "application_name": "engram", "client_encoding": "UTF8",
        "target_session_attrs": "read-write" if options.writable else "any",
        "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 2,
        "tcp_user_timeout": options.answer_ms}
    if options.password_file:
        defaults["password"] = read_password(options.password_file)
    found = {**defaults, **found}
    hidden += [str(found[key]) for key in ("password", "sslpassword") if found.get(key)]
    return conninfo.make_conninfo("", **found), hidden


def _open(where: str, name: str, options: Options, hidden: list[str]) -> PostgresWire:
    """Connect to the first of the hosts that may be written to."""
    try:
        raw = _Patient.connect(where, autocommit=True)
        raw.silence_s = options.answer_ms / 1000
        set_up(raw, options)
    except psycopg.Error as error:
        found = mapped(error, name, hidden)
        raise found if isinstance(found, Unavailable) else Unavailable(found.message, hint=found.hint) from error
    return PostgresWire(raw, name)


def _look(where: str, name: str, hidden: list[str], options: Options) -> None:
    """Connect once, make the database when it is missing, and refuse a server or an encoding that will not do."""
    try:
        raw = psycopg.connect(where, autocommit=True)
    except psycopg.Error as error:
        if not options.writable or not _create(where, name, hidden):
            raise mapped(error, name, hidden) from error
        try:
            raw = psycopg.connect(where, autocommit=True)
        except psycopg.Error as again:
            raise mapped(again, name, hidden) from again
    with raw:
        version, encoding = raw.info.server_version, raw.info.parameter_status("server_encoding")
    if version < OLDEST * 10_000:
        raise StoreError(f"database {name} is on PostgreSQL {version // 10_000}; the oldest served is {OLDEST}",
                         hint="upgrade the server, or name another one in store.url")
    if encoding != "UTF8":
        raise StoreError(f"database {name} has the encoding {encoding}; it must be UTF8",
                         hint="create it with: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0")


def _create(where: str, name: str, hidden: list[str]) -> bool:
    """Make the database by way of the one that every server has; False when it is not this that is missing."""
    found = conninfo.conninfo_to_dict(where)
    database = str(found["dbname"])
    try:
        raw = psycopg.connect(conninfo.make_conninfo("", **{**found, "dbname": "postgres"}), autocommit=True)
    except psycopg.Error:
        return False
    with raw:
        if raw.execute("SELECT 1 FROM pg_database WHERE datname=%s", (database,)).fetchone():
            return False
        try:
            raw.execute(psycopg.sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(
                psycopg.sql.Identifier(database)))
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            pass  # another first start was faster
        except psycopg.errors.InsufficientPrivilege as error:
            raise AccessDenied(f"database {name} is missing and may not be created by this user",
                               hint=f'have it created: CREATE DATABASE "{database}" ENCODING \'UTF8\'') from error
        except psycopg.Error as error:
            raise mapped(error, name, hidden) from error
    return True


def set_up(raw: psycopg.Connection[Any], options: Options) -> None:
    """Set a fresh connection's limits, and plans that always go by the keys."""
    settings = {"statement_timeout": 10 * options.answer_ms, "lock_timeout": round(LOCK_S * 1000),
                "idle_in_transaction_session_timeout": 10 * options.answer_ms, "plan_cache_mode": "force_generic_plan",
                "enable_seqscan": "off"}
    if options.durability == "normal":
        settings["synchronous_commit"] = "off"
    raw.execute("; ".join(f"SET {name}={value}" for name, value in settings.items()))
    if options.durability == "full":
        raw.execute("SELECT set_config('synchronous_commit', 'on', false) "
                    "WHERE current_setting('synchronous_commit') IN ('off', 'local')")


def mapped(error: psycopg.Error, name: str, hidden: Iterable[str] = ()) -> EngramError:
    """Return our error for PostgreSQL's; the message names the database."""
    text = without(str(error), hidden)
    code = error.sqlstate
    if code is not None:
        kind, hint = _BY_CODE.get(code, (Unavailable, _BACK) if code[:2] == "08" else (StoreError, ""))
    elif isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        kind, hint = next(((kind, hint) for words, kind, hint in _BY_WORDS if words in text), (Unavailable, _BACK))
    else:
        kind, hint = StoreError, ""
    return kind(f"database {name}: {text}", hint=hint)


__all__ = ["POSTGRES", "PostgresDatabase", "mapped", "open_database"]
