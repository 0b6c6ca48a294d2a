"""The driver of MySQL and MariaDB: their dialects, pool, and the map from their errors to ours. Driven by the store.

PyMySQL. The two differ in how an upsert names the new row and in what their collations are called; both compare keys
by their bytes, trailing blanks included. Statements of one batch travel together as one text.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from engram_core.dsn import parse, secrets, shown
from engram_core.errors import AccessDenied, Busy, ConfigError, EngramError, StoreCorrupt, StoreError, Unavailable
from engram_core.kernel.sqlvalues import filled
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
    import pymysql
    from pymysql.constants import CLIENT, COMMAND
    from pymysql.cursors import SSCursor

    from engram_core.store.answers import Answers
except ImportError as error:
    raise ConfigError(f"the driver of MySQL and MariaDB is not installed: {error.name} is missing",
                      hint="run: pip install 'engram[mysql]'") from error

if TYPE_CHECKING:
    from engram_core.store.connection import Connection


def _types(collation: str) -> dict[str, str]:
    return {"key": f"VARCHAR(110) COLLATE {collation}", "text": "LONGTEXT", "json": "LONGTEXT", "ms": "BIGINT",
            "int": "BIGINT", "real": "DOUBLE"}


MARIADB = Dialect(
    types=_types("utf8mb4_nopad_bin"),
    parameter="%({name})s",
    quote="`",
    table_tail=" ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin",
    upsert="{insert} ON DUPLICATE KEY UPDATE {sets}",
    excluded="VALUES({name})",
    begin=("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION"),
    begin_blind="START TRANSACTION",
    begin_reading="START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    begin_ahead=("ROLLBACK", "START TRANSACTION"),  # which alone would commit what is there of the one before
    exclusive=" FOR UPDATE",
    shared=" LOCK IN SHARE MODE",
    inline_indexes=True,
    schema_in_one=False,
)
MYSQL = replace(
    MARIADB,
    types=_types("utf8mb4_0900_bin"),
    table_tail=MARIADB.table_tail.replace("utf8mb4_nopad_bin", "utf8mb4_0900_bin"),
    upsert="{insert} AS new ON DUPLICATE KEY UPDATE {sets}",
    excluded="new.{name}",
)
OLDEST = {"MariaDB": (10, 5), "MySQL": (8, 0, 20)}
SCHEMA_LOCK = "engram.schema"
_BACK = "try again; what was acknowledged is there when it is back"
_USER = "check the user of store.url, and the password in store.password_file or ENGRAM_STORE_URL"
_RIGHT = "ask for the right, or name a database of ours in store.url"
_AWAY = (1040, 1047, 1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1290, 1792, 1836, 1927, 2002, 2003,
         2006, 2013, 2014, 2027, 2055, 4031)
_BY_CODE: dict[int, tuple[type[EngramError], str]] = {
    **dict.fromkeys(_AWAY, (Unavailable, _BACK)),
    **dict.fromkeys((1020, 1062, 1205, 1213, 3572), (Collision, "try again")),
    **dict.fromkeys((1028, 1317, 1907, 1969, 3024), (Busy, "try again, or raise store.answer_timeout_ms")),
    **dict.fromkeys((1044, 1142, 1143, 1227, 1370), (AccessDenied, _RIGHT)),
    **dict.fromkeys((1045, 1698, 3118, 4151), (AccessDenied, _USER)),
    1153: (StoreError, "raise max_allowed_packet on the server, or send less at once"),
    1021: (StoreError, "free space on the server's disk; nothing acknowledged is lost"),
    1114: (StoreError, "free space on the server's disk; nothing acknowledged is lost"),
    1034: (StoreCorrupt, "restore a backup of the server"), 1712: (StoreCorrupt, "restore a backup of the server"),
}
_OPTIONS = ("ssl_mode", "ssl_ca", "ssl_cert", "ssl_key", "unix_socket", "password")
_PARAMETER = re.compile(r"%\((\w+)\)s")
_SSL_MODES = ("disabled", "preferred", "required", "verify_ca", "verify_identity")


@lru_cache(maxsize=1024)
def _template(sql: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the pieces of a statement around its parameters, and the names of these."""
    found = _PARAMETER.split(sql)
    return tuple(found[::2]), tuple(found[1::2])


class MysqlWire:
    """One real connection."""

    def __init__(self, raw: pymysql.connections.Connection[Any], name: str, most_bytes: int) -> None:
        self.raw, self._name, self._most, self._answers = raw, name, most_bytes, Answers(raw)

    def _check_size(self, text: bytes) -> None:
        if len(text) + 1 > self._most:
            raise StoreError(f"database {self._name}: a statement has {len(text):,} bytes, and the server takes "
                             f"{self._most:,} (max_allowed_packet)", hint=_BY_CODE[1153][1])

    def _run(self, text: bytes) -> None:
        self._check_size(text)
        try:
            self.raw.query(text)
        except (pymysql.Error, OSError) as error:
            raise mapped(error, self._name) from error

    @staticmethod
    def _text(sql: str, values: Values) -> bytes:
        return filled(*_template(sql), values)  # backslashes escape: the mode that would change that is not among ours

    def _texts(self, sql: str, values: Values | list[Values]) -> Iterator[bytes]:
        """Yield a statement, or those that insert rows: many rows each, but no more than the server takes."""
        if not isinstance(values, list):
            yield self._text(sql, values)
            return
        into, _, row = sql.partition(" VALUES ")
        head = f"{into} VALUES ".encode()
        texts: list[bytes] = []
        size = len(head)
        for one in values:
            text = self._text(row, one)
            if texts and size + len(text) >= self._most:
                yield head + b", ".join(texts)
                texts, size = [], len(head)
            texts.append(text)
            size += len(text) + 2
        yield head + b", ".join(texts)

    def _rows(self) -> list[Row]:
        found = self.raw._result
        return list(found.rows) if found is not None and found.rows else []

    def batch(self, statements: Sequence[Statement]) -> list[list[Row]]:
        """Run statements as one text, one way there and back, or as few as the server takes."""
        found: list[list[Row]] = [[] for _ in statements]
        texts: list[bytes] = []
        places: list[int] = []
        size = 0
        for place, (sql, values) in enumerate(statements):
            for text in self._texts(sql, values):
                if texts and size + len(text) >= self._most:
                    self._together(texts, places, found)
                    texts, places, size = [], [], 0
                texts.append(text)
                places.append(place)
                size += len(text) + 2
        if texts:
            self._together(texts, places, found)
        return found

    def _together(self, texts: list[bytes], places: list[int], found: list[list[Row]]) -> None:
        self._run(b"; ".join(texts))
        for at, place in enumerate(places):
            if at:
                self._next()
            found[place] = self._rows()
        while self.raw._result.has_next:  # of a statement that was several
            self._next()

    def _next(self) -> None:
        try:
            self.raw.next_result()
        except (pymysql.Error, OSError) as error:
            raise mapped(error, self._name) from error

    def stream(self, sql: str, values: Values) -> Iterator[Row]:
        """Take rows as the server sends them; when nobody wants the rest the connection is hung up."""
        whole, cursor = False, None
        try:
            cursor = self.raw.cursor(SSCursor)
            cursor.execute(self._text(sql, values))
            while row := cursor.fetchone():
                yield row
            cursor.close()
            whole = True
        except (pymysql.Error, OSError) as error:
            raise mapped(error, self._name) from error
        finally:
            if not whole:  # the rest is on its way, and nobody is to wait for it
                if cursor is not None and cursor._result is not None:
                    cursor._result.unbuffered_active = False
                self.raw._force_close()

    def change(self, statements: Sequence[Statement]) -> int:
        """Run statements and return how many rows the last one found."""
        self.batch(statements)
        return int(self.raw.affected_rows())

    def send(self, statements: Sequence[Statement]) -> None:
        """Send statements as one text without waiting for what they return."""
        try:
            text = b"; ".join(one for statement in statements for one in self._texts(*statement))
            self._check_size(text)
            self.raw._execute_command(COMMAND.COM_QUERY, text)
        except (pymysql.Error, OSError) as error:
            raise mapped(error, self._name) from error

    def has_come(self) -> bool:
        """Take what has come, and tell whether it is all of the answer to what was sent first, or the end."""
        try:
            return self._answers.read(wait=False) > 0
        except (pymysql.Error, OSError):  # which ``receive`` will meet
            return True

    def receive(self) -> None:
        """Wait for the answer to what was sent first."""
        try:
            self._answers.take()
        except (pymysql.Error, OSError) as error:
            raise mapped(error, self._name) from error

    def fileno(self) -> int:
        """Return the connection's descriptor."""
        return int(self.raw._sock.fileno())

    def is_alive(self, *, ask: bool) -> bool:
        """Look at the connection, and ask on it."""
        if not self.raw.open or not is_quiet(self.raw._sock.fileno()):
            return False
        try:
            if ask:
                self.raw.ping(reconnect=False)
        except (pymysql.Error, OSError):
            return False
        return True

    def hang_up(self) -> None:
        """Close the connection, with a goodbye where it can be said."""
        try:
            self.raw.close()
        except (pymysql.Error, OSError):
            self.raw._force_close()


class MysqlSession(Session):
    """The store's connection."""

    _alone_at_schema = False

    def begin_schema(self) -> None:
        """Wait until nobody else changes the schema. The statements themselves cannot be undone here.

        A cluster has no such lock; there the statements run in one order everywhere, and making twice does no harm.
        """
        self.begin()
        clustered = self.execute("SHOW VARIABLES LIKE 'wsrep_on'")
        if not clustered or clustered[0][1] != "ON":
            self._alone_at_schema = self.execute(f"SELECT GET_LOCK('{SCHEMA_LOCK}', {round(LOCK_S)})")[0][0] == 1
            if not self._alone_at_schema:
                raise Collision("another program is making the tables", hint="try again")

    def _ending(self, sql: str) -> list[Statement]:
        found = super()._ending(sql)
        if self._alone_at_schema:
            self._alone_at_schema = False
            found.append((f"SELECT RELEASE_LOCK('{SCHEMA_LOCK}')", {}))
        return found

    def tables(self) -> set[str]:
        """Return the names of the tables there are."""
        return {row[0] for row in self.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema=DATABASE()")}

    def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns."""
        return [row[0] for row in self.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema=DATABASE() "
            "AND table_name=%(table)s ORDER BY ordinal_position", {"table": table})]


class MysqlDatabase:
    """A database on a server, made when it is missing."""

    kind, far = "mysql", True

    def __init__(self, url: str, options: Options) -> None:
        self.name = shown(url)
        self._health = Health()
        hosts, hidden = _hosts(url, options)
        dialect = _look(hosts, self.name, hidden, create=options.writable)
        self._pool = Pool(lambda: _open(hosts, self.name, options, hidden), self._health)
        self._writer = MysqlSession(self.name, dialect, self._pool, self._health)
        self._reader = MysqlSession(self.name, dialect, self._pool, self._health)

    def writer(self) -> Connection:
        """Return the connection that writes."""
        return self._writer

    def reader(self) -> Connection:
        """Return the one that reads."""
        return self._reader

    def facts(self) -> dict[str, Any]:
        """Return version, durability and size."""
        rows: dict[str, Any] = {row[0]: row[1] for row in self._writer.execute(
            "SHOW GLOBAL VARIABLES WHERE variable_name IN ('version', 'innodb_flush_log_at_trx_commit', 'sync_binlog', "
            "'log_bin', 'max_allowed_packet', 'wsrep_on')")}
        size = self._writer.execute("SELECT SUM(data_length + index_length) FROM information_schema.tables "
                                    "WHERE table_schema=DATABASE()")[0][0]
        return {**rows, "db_bytes": int(size or 0)}

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
        """Nothing to do: the server's log is the operator's."""
        return True

    def close(self) -> None:
        """Close all connections."""
        self._writer.close()
        self._reader.close()
        self._pool.close()


open_database = MysqlDatabase


def _hosts(url: str, options: Options) -> tuple[list[dict[str, Any]], list[str]]:
    """Return what to connect with, for each of the URL's hosts, and the secrets in it."""
    parts, given = parse(url)
    for key in given:
        if key not in _OPTIONS:
            raise ConfigError(f"store.url has the option {key!r}; known are {', '.join(_OPTIONS)}",
                              hint="remove it, or set it on the server")
    password = parts["password"] or given.get("password", "")
    if options.password_file:
        password = password or read_password(options.password_file)
    common: dict[str, Any] = {
        "user": parts["user"] or None, "password": password, "database": parts["database"] or "engram",
        "charset": "utf8mb4", "connect_timeout": CONNECT_S, "read_timeout": options.answer_ms / 1000,
        "write_timeout": options.answer_ms / 1000, "autocommit": True,
        "client_flag": CLIENT.MULTI_STATEMENTS | CLIENT.FOUND_ROWS, "program_name": "engram", **_tls(given)}
    if given.get("unix_socket"):
        common["unix_socket"] = given["unix_socket"]
    found = []
    for host in (parts["hosts"] or "localhost").split(","):
        name, _, port = host.rpartition(":") if host.count(":") == 1 or (host.startswith("[") and "]:" in host) \
            else (host, "", "")
        if port and not port.isdigit():
            raise ConfigError(f"store.url has the port {port!r}; allowed is a number", hint="write host:3306")
        found.append({**common, "host": name.strip("[]"), "port": int(port or 3306)})
    return found, [*secrets(url), password]


def _tls(given: dict[str, str]) -> dict[str, Any]:
    """Return PyMySQL's TLS options; certificates are checked as soon as an authority is named."""
    mode = given.get("ssl_mode", "verify_ca" if given.get("ssl_ca") else "preferred").lower()
    if mode not in _SSL_MODES:
        raise ConfigError(f"store.url has ssl_mode={mode}; allowed are {', '.join(_SSL_MODES)}",
                          hint="leave it out to encrypt where the server can")
    if mode == "disabled":
        return {"ssl_disabled": True}
    if mode == "preferred":
        return {}
    try:
        context = ssl.create_default_context(cafile=given.get("ssl_ca"))
        if given.get("ssl_cert"):
            context.load_cert_chain(given["ssl_cert"], given.get("ssl_key"))
    except OSError as error:
        raise ConfigError(f"store.url: the TLS files cannot be used: {error}",
                          hint="check ssl_ca, ssl_cert and ssl_key") from error
    context.check_hostname = mode == "verify_identity"
    if mode == "required":
        context.verify_mode = ssl.CERT_NONE
    return {"ssl": context}


def connect(host: dict[str, Any], name: str, hidden: Iterable[str]) -> pymysql.connections.Connection[Any]:
    """Connect to one host."""
    try:
        return pymysql.connect(**host)
    except (pymysql.Error, OSError) as error:
        raise mapped(error, name, hidden) from error


def _open(hosts: list[dict[str, Any]], name: str, options: Options, hidden: list[str]) -> MysqlWire:
    """Connect to the first host that answers and may be written to."""
    first: EngramError | None = None
    for host in hosts:
        try:
            raw = connect(host, name, hidden)
            return MysqlWire(raw, name, set_up(raw, name, options))
        except EngramError as error:
            first = first or error
    assert first is not None
    raise first if isinstance(first, Unavailable) else Unavailable(first.message, hint=first.hint)


def _look(hosts: list[dict[str, Any]], name: str, hidden: list[str], *, create: bool) -> Dialect:
    """Make the database on the first host that answers, when it is missing, and return how that server talks."""
    first: EngramError | None = None
    for host in hosts:
        try:
            raw = connect({**host, "database": None}, name, hidden)
        except EngramError as error:
            first = first or error
            continue
        try:
            with raw.cursor() as cursor:
                dialect = _dialect(raw.get_server_info(), name)
                cursor.execute("SELECT default_character_set_name FROM information_schema.schemata "
                               "WHERE schema_name=%s", (host["database"],))
                found = cursor.fetchone()
                if found is None and not create:
                    raise StoreError(f"database {name} does not exist", hint="check its name")
                if found is None:
                    collation = dialect.table_tail.rpartition(" ")[2]
                    quoted = str(host["database"]).replace("`", "``")
                    cursor.execute(f"CREATE DATABASE IF NOT EXISTS `{quoted}` CHARACTER SET utf8mb4 "
                                   f"COLLATE {collation}")
                elif found[0] != "utf8mb4":
                    raise StoreError(f"database {name} has the character set {found[0]}; it must be utf8mb4",
                                     hint="create it with: CREATE DATABASE … CHARACTER SET utf8mb4")
                return dialect
        except (pymysql.Error, OSError) as error:
            raise mapped(error, name, hidden) from error
        finally:
            raw.close()
    assert first is not None
    raise first


def _dialect(info: str, name: str) -> Dialect:
    maker = "MariaDB" if "mariadb" in info.lower() else "MySQL"
    number = info.lower().replace("5.5.5-", "").partition("-")[0]
    version = tuple(int(part) for part in number.split(".") if part.isdigit())
    oldest = OLDEST[maker]
    if version < oldest:
        raise StoreError(f"database {name} is on {maker} {number}; the oldest served is "
                         f"{'.'.join(map(str, oldest))}", hint="upgrade the server, or name another one in store.url")
    return MARIADB if maker == "MariaDB" else MYSQL


def set_up(raw: pymysql.connections.Connection[Any], name: str, options: Options) -> int:
    """Set a fresh connection's limits, refuse a server that only reads, and return its longest statement."""
    try:
        with raw.cursor() as cursor:
            cursor.execute("SELECT @@global.read_only, @@max_allowed_packet, @@version")
            read_only, most, version = cursor.fetchone() or (0, 0, "")
            limit = "max_statement_time=" + str(options.answer_ms / 100) if "maria" in version.lower() else \
                f"max_execution_time={10 * options.answer_ms}"
            cursor.execute(f"SET SESSION sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', {limit}, "
                           f"innodb_lock_wait_timeout={round(LOCK_S)}")
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SHOW VARIABLES LIKE 'wsrep_on'")
            if (cursor.fetchone() or ("", "OFF"))[1] == "ON":  # a cluster: see what was acknowledged by any node
                cursor.execute("SET SESSION wsrep_sync_wait=1")
    except (pymysql.Error, OSError) as error:
        raise mapped(error, name) from error
    if options.writable and str(read_only) not in ("0", "OFF"):
        raw.close()
        raise Unavailable(f"database {name}: the server is read-only", hint=_BACK)
    return int(most)


def mapped(error: Exception, name: str, hidden: Iterable[str] = ()) -> EngramError:
    """Return our error for the driver's; the message names the database."""
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    said = error.args[1] if len(error.args) > 1 else error
    if isinstance(error, OSError) or (code == 0 and isinstance(error, pymysql.err.InterfaceError)):
        code = 2006
    kind, hint = _BY_CODE.get(code, (StoreError, ""))
    text = without(str(said), hidden)
    if code in (2003, 2005) and ("Name or service" in text or "not known" in text or "resolution" in text):
        kind, hint = ConfigError, "check the host in store.url"
    if isinstance(getattr(error, "original_exception", None), ssl.SSLCertVerificationError):
        kind, hint = ConfigError, "check ssl_mode, ssl_ca and the host's name in store.url"
    return kind(f"database {name}: {text} ({code})", hint=hint)


__all__ = ["MARIADB", "MYSQL", "MysqlDatabase", "mapped", "open_database"]
