"""The database servers that tests use, and databases on them that are a test's own.

A server is the one that ENGRAM_TEST_POSTGRES_DSN or ENGRAM_TEST_MYSQL_DSN names, else the local one, else a private
one started from installed programs. With CI=true a missing server is a failure, elsewhere a skip that says why.
Databases are made when they are first needed, emptied between tests and dropped at the end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from engram_core.errors import EngramError
from engram_core.store.connection import Options
from engram_core.store.store import Store, open_database
from engram_core.store.tables import TABLES

BACKENDS = ("sqlite", "postgresql", "mariadb")
SERVERS = BACKENDS[1:]
SKIPPED = {"postgresql": "no PostgreSQL answers and none is installed; run: make services",
           "mariadb": "no MySQL or MariaDB answers and none is installed; run: make services"}


def _answers(url: str) -> bool:
    try:
        open_database(url, Options()).close()
    except EngramError:
        return False
    return True


def _with_database(url: str, name: str) -> str:
    head, mark, query = url.partition("?")
    scheme, _, rest = head.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/{name}{mark}{query}"


def _candidates(backend: str) -> list[str]:
    if backend == "postgresql":
        given = os.environ.get("ENGRAM_TEST_POSTGRES_DSN")
        return [given] if given else ["postgresql:///postgres?host=/var/run/postgresql",
                                      "postgresql://postgres@127.0.0.1:5432/postgres"]
    given = os.environ.get("ENGRAM_TEST_MYSQL_DSN")
    user = os.environ.get("USER", "root")
    return [given] if given else [f"mysql://{user}@localhost/engram_probe?unix_socket=/run/mysqld/mysqld.sock",
                                  "mysql://root@localhost/engram_probe?unix_socket=/run/mysqld/mysqld.sock",
                                  "mysql://root@127.0.0.1:3306/engram_probe"]


@cache
def server(backend: str) -> str:
    """Return the URL of a server's database to start from, "" when there is no server."""
    for url in _candidates(backend):
        if _answers(url):
            return url
    started = PrivateServer.of(backend)
    return started.url("postgres" if backend == "postgresql" else "engram_probe") if started else ""


def need(backend: str) -> str:
    """Return the URL of a server, or skip the test and say why; with CI=true that is a failure."""
    url = server(backend)
    if not url:
        if os.environ.get("CI") == "true":
            pytest.fail(SKIPPED[backend])
        pytest.skip(SKIPPED[backend])
    return url


def need_private(backend: str) -> PrivateServer:
    """Return a started server of our own, or skip the test and say why; with CI=true that is a failure."""
    found = PrivateServer.of(backend)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(SKIPPED[backend])
        pytest.skip(SKIPPED[backend])
    return found


# ---- databases

_made: dict[str, list[str]] = {name: [] for name in SERVERS}
_used: set[str] = set()


@contextmanager
def databases(backend: str, folder: Path) -> Iterator[Databases]:
    """Give out databases of a backend; each is empty, and free again at the end."""
    found = Databases(backend, folder)
    try:
        yield found
    finally:
        _used.difference_update(found.urls)


class Databases:
    """What gives a test its databases."""

    def __init__(self, backend: str, folder: Path) -> None:
        self.backend, self._folder = backend, folder
        self.urls: list[str] = []

    def release(self, url: str) -> None:
        """Give a database back before the end."""
        _used.discard(url)

    def fresh(self) -> str:
        """Return the URL of one more database with nothing in it."""
        if self.backend == "sqlite":
            url = str(self._folder / f"{len(self.urls)}.db")
        else:
            start = need(self.backend)
            url = next((one for one in _made[self.backend] if one not in _used), "")
            if not url:
                url = _with_database(start, f"engram_test_{os.getpid()}_{len(_made[self.backend])}")
                _made[self.backend].append(url)
            else:
                empty(url)
            _used.add(url)
        self.urls.append(url)
        return url


def empty(url: str) -> None:
    """Take all rows out of a database's tables."""
    database = open_database(url, Options())
    writer = database.writer()
    there = writer.tables()
    writer.begin()
    for table in TABLES:
        if table.scope and table.name in there:
            writer.execute(f"DELETE FROM {table.name}")
    writer.commit()
    database.close()


def statement(url: str, sql: str) -> list[Any]:
    """Run one statement as the server's user, on a connection of its own, and return its rows."""
    database = open_database(url, Options())
    try:
        return database.writer().execute(sql)
    finally:
        database.close()


def drop(url: str) -> None:
    """Drop a database."""
    backend = "postgresql" if url.startswith("postgres") else "mariadb"
    name = url.partition("?")[0].rpartition("/")[2]
    if backend == "postgresql":
        import psycopg

        with psycopg.connect(server(backend), autocommit=True) as raw:  # without our limit for locks
            raw.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        return
    try:
        statement(server(backend), f"DROP DATABASE IF EXISTS {name}")
    except EngramError as error:
        print(f"{name} could not be dropped: {error}", file=sys.stderr)


def clean() -> None:
    """Drop the databases of this session and what a killed one left; end the servers we started."""
    for urls in _made.values():
        for url in urls:
            drop(url)
        urls.clear()
    for one in _started:
        one.remove()
    _started.clear()


# ---- servers of our own

_started: list[PrivateServer] = []


class PrivateServer:
    """A server in a temporary folder, started from installed programs; it can be stopped, killed and started again."""

    def __init__(self, backend: str, programs: dict[str, str]) -> None:
        self.backend = backend
        self._programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="es", dir="/tmp"))
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        _started.append(self)
        self._run_as = self._user()
        self._initialise()

    @classmethod
    def of(cls, backend: str) -> PrivateServer | None:
        """Make and start one, None where its programs are not installed."""
        programs = _programs(backend)
        if not programs:
            return None
        found = cls(backend, programs)
        found.start()
        return found

    def _user(self) -> list[str]:
        """Return how to run a program as somebody who is not root, which neither server wants to be."""
        if os.geteuid() != 0:
            return []
        user = "postgres" if self.backend == "postgresql" else "mysql"
        shutil.chown(self.folder, user)
        return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]

    def own(self, folder: Path) -> None:
        """Let the server read a folder of ours that nobody else may."""
        for path in (folder, *folder.iterdir()):
            path.chmod(0o700 if path.is_dir() else 0o600)
            if self._run_as:
                shutil.chown(path, "postgres" if self.backend == "postgresql" else "mysql")

    def _initialise(self) -> None:
        data = str(self.folder / "data")
        command = [self._programs["initdb"], "-D", data, "-A", "trust", "-U", "engram", "-E", "UTF8", "--locale=C"] if \
            self.backend == "postgresql" else [self._programs["install"], "--no-defaults", f"--datadir={data}",
                                               "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run([*self._run_as, *command], check=True, capture_output=True, cwd=self.folder)

    def start(self, *options: str) -> None:
        """Start the server and wait until it answers."""
        data = str(self.folder / "data")
        if self.backend == "postgresql":
            command = [self._programs["postgres"], "-D", data, "-p", str(self.port), "-k", str(self.folder), "-h",
                       "127.0.0.1", *options]
        else:
            command = [self._programs["mariadbd"], "--no-defaults", f"--datadir={data}", f"--port={self.port}",
                       "--bind-address=127.0.0.1", f"--socket={self.folder}/s.sock", f"--pid-file={self.folder}/pid",
                       "--innodb-flush-log-at-trx-commit=1", *options]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen([*self._run_as, *command], stdout=log, stderr=log, cwd=self.folder)
        until = time.monotonic() + 30
        while not _answers(self.url("postgres" if self.backend == "postgresql" else "engram_probe")):
            assert time.monotonic() < until and self.process.poll() is None, (self.folder / "log").read_text()[-3000:]
            time.sleep(0.05)

    def url(self, database: str, port: int | None = None) -> str:
        """Return the URL of a database on it, by way of another port if need be."""
        user, scheme = ("engram", "postgresql") if self.backend == "postgresql" else ("root", "mysql")
        return f"{scheme}://{user}@127.0.0.1:{port or self.port}/{database}"

    @property
    def owner(self) -> str:
        """The user who may do everything."""
        return "engram" if self.backend == "postgresql" else "root"

    def version(self) -> int:
        """Return the server's major version."""
        found = statement(self.url("postgres" if self.backend == "postgresql" else "engram_probe"),
                          "SHOW server_version" if self.backend == "postgresql" else "SELECT VERSION()")
        return int(str(found[0][0]).partition(".")[0])

    def make_user(self, name: str, password: str = "", *, create: bool = True) -> None:
        """Make a user who may do what a program needs and nothing more."""
        if self.backend == "postgresql":
            secret = f"PASSWORD '{password}'" if password else ""
            statement(self.url("postgres"), f"CREATE ROLE {name} LOGIN {'CREATEDB' if create else ''} {secret}")
            if password:
                rules = self.folder / "data/pg_hba.conf"
                rules.write_text(f"host all {name} 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
                statement(self.url("postgres"), "SELECT pg_reload_conf()")
                time.sleep(0.3)
        else:
            url = self.url("engram_probe")
            secret = f"IDENTIFIED BY '{password}'" if password else ""
            statement(url, f"CREATE OR REPLACE USER {name}@'%' {secret}")
            if create:
                statement(url, f"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, INDEX, ALTER ON *.* TO {name}@'%'")

    def read_only(self, on: bool) -> None:
        """Let the server take no more changes, or take them again."""
        if self.backend == "postgresql":
            url = self.url("postgres")
            import psycopg

            with psycopg.connect(url, autocommit=True) as raw:
                raw.execute("SET default_transaction_read_only = off")
                raw.execute(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if on else 'off'}")
                raw.execute("SELECT pg_reload_conf()")
        else:
            import pymysql

            with pymysql.connect(host="127.0.0.1", port=self.port, user="root") as raw, raw.cursor() as cursor:
                cursor.execute(f"SET GLOBAL read_only = {int(on)}")
        time.sleep(0.3)

    def stop(self, *, kill: bool = False) -> None:
        """Stop the server, at once or in its own way."""
        if self.process is not None:
            if kill:
                self.process.kill()
            elif self.backend == "postgresql":
                self.process.send_signal(2)  # "fast": connections are closed, the log is flushed
            else:
                self.process.terminate()
            self.process.wait(30)
            self.process = None

    def remove(self) -> None:
        """Stop the server and delete what it kept."""
        self.stop(kill=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _programs(backend: str) -> dict[str, str]:
    """Return the paths of a server's programs, {} unless all are installed."""
    path = os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin"
    if backend == "postgresql":
        path = ":".join([str(one) for one in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)] + [path])
        wanted = {"initdb": "initdb", "postgres": "postgres"}
    else:
        wanted = {"mariadbd": "mariadbd", "install": "mariadb-install-db"}
    found = {name: shutil.which(program, path=path) for name, program in wanted.items()}
    return {name: one for name, one in found.items() if one} if all(found.values()) else {}


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


__all__ = ["BACKENDS", "SERVERS", "Databases", "PrivateServer", "Store", "databases", "drop", "empty", "free_port",
           "need", "need_private", "server", "statement"]
