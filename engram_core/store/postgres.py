"""The PostgreSQL driver: its dialect, its pool, and the map from its errors to ours. Driven by the store.

psycopg 3. Connections are in autocommit mode and transactions are statements like any other, so
that the first statement of a snapshot can travel with its BEGIN. Tables and keys are compared by bytes (COLLATE "C").
"""

from __future__ import annotations

import re
import select
from collections.abc import Generator, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from engram_core.dsn import secrets, shown
from engram_core.errors import AccessDenied, Busy, ConfigError, EngramError, StoreCorrupt, StoreError, Unavailable
from engram_core.kernel.sqlvalues import HasNul, parameters
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


_PARAMETER, _PLACE = re.compile(r"%\((\w+)\)s"), re.compile(r"\$(\d+)")
_INT8 = 20  # the number of a type: all our numbers are of this one
_MOST_PREPARED = 256
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


class _Asked(NamedTuple):
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


def _asked(place: int, sql: str, values: Values | list[Values]) -> Iterator[_Asked]:
    """Yield a statement, or those that insert rows."""
    rows = values if isinstance(values, list) else [values]
    at, end = 0, len(rows)
    while at < end:
        count = min(end - at, _FEW) if end - at < 2 * _FEW else _MANY if end - at >= _MANY else 2 * _FEW
        text, names = _native(sql, count)
        part = rows[at:at + count]
        try:
            yield _Asked(place, text, names, part, parameters(part, names))
        except HasNul:
            raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes") from None
        at += count


def _answers(connection: pq.abc.PGconn) -> Generator[int, int, list[pq.abc.PGresult]]:
    """Send what waits and return all results up to the pipeline's end."""
    while connection.flush():
        if (yield 3) & 1:
            connection.consume_input()
    results: list[pq.abc.PGresult] = []
    while True:
        while connection.is_busy():
            yield 1
            connection.consume_input()
        found = connection.get_result()
        if found is not None and found.status == pq.ExecStatus.PIPELINE_SYNC:
            return results
        if found is not None:
            results.append(found)
        elif connection.status != pq.ConnStatus.OK:
            raise psycopg.OperationalError(connection.get_error_message())


class PostgresWire:
    """One real connection. Statements go by libpq's own pipeline: psycopg's takes several times as long for each.

    A statement with parameters is prepared when it is met for the second time.
    """

    def __init__(self, raw: _Patient, name: str) -> None:
        self.raw, self._name = raw, name
        self._loading = Transformer(raw)
        self._prepared: dict[bytes, bytes] = {}  # what statements are called, b"" after the first time
        self._made = 0

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
        """Run statements likewise and return how many rows the last one changed."""
        return self._exchange(statements)[-1][1].command_tuples or 0

    def _exchange(self, statements: Sequence[Statement]) -> list[tuple[int, pq.abc.PGresult]]:
        """Send statements and return their results, each with its statement's place."""
        connection = self.raw.pgconn
        try:
            asked = [one for place, (sql, values) in enumerate(statements) for one in _asked(place, sql, values)]
            connection.enter_pipeline_mode()
            sent: list[tuple[int, bytes]] = []  # place or -1, and what is prepared by it
            if len(self._prepared) > _MOST_PREPARED and connection.transaction_status == pq.TransactionStatus.IDLE:
                self._prepared.clear()
                connection.send_query_params(b"DEALLOCATE ALL", None)
                sent.append((-1, b""))
            for one in asked:
                self._send(connection, one, sent)
            connection.pipeline_sync()
            results = self.raw.wait(_answers(connection))
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

    def _send(self, connection: pq.abc.PGconn, one: _Asked, sent: list[tuple[int, bytes]]) -> None:
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
