"""What stops a database on a server from being opened is said in one line, with what to do, and without a secret."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from engram_core import dsn
from engram_core.errors import AccessDenied, ConfigError, EngramError, StoreCorrupt, StoreError, Unavailable
from engram_core.store.connection import Options
from engram_core.store.migrations import VERSION
from engram_core.store.server import LOCK_S
from engram_core.store.store import Store, open_database
from engram_core.store.tables import TABLES
from tests.daemon_fixture import RUN_COMMAND, Home
from tests.proxy import Proxy
from tests.servers import SERVERS, Databases, databases, drop, free_port, need, need_private, statement
from tests.store.conftest import Opened

SECRET = "s3cr3t-Geheim"
SCHEMES = {"postgresql": "postgresql", "mariadb": "mysql"}


def refused(url: str, kind: type[EngramError], said: str, **options: object) -> EngramError:
    """Open, and return the one-line error without a secret that this must end in."""
    with pytest.raises(EngramError) as caught:
        open_database(url, Options(**options)).close()  # type: ignore[arg-type]
    error = caught.value
    assert type(error) is kind, error
    assert re.search(said, str(error)), error
    assert "\n" not in str(error) and SECRET not in str(error) and error.hint
    return error


@pytest.mark.parametrize("backend", SERVERS)
def test_where_nobody_answers(backend: str) -> None:
    need(backend)
    scheme, port = SCHEMES[backend], free_port()
    error = refused(f"{scheme}://ada:{SECRET}@127.0.0.1:{port}/x", Unavailable, rf"{scheme}://ada@127.0.0.1:{port}/x")
    assert (error.exit_code, error.retryable) == (75, True)
    refused(f"{scheme}://ada:{SECRET}@no-such-host.invalid/x", ConfigError, "no-such-host.*check the host in store.url")


def test_a_wrong_password() -> None:
    for server in map(need_private, SERVERS):
        try:
            server.make_user("locked", SECRET)
            url = server.url("x").replace(f"//{server.owner}@", "//locked:wrong-Geheim@")
            error = refused(url, AccessDenied, "check the user|store.password_file")
            assert "wrong-Geheim" not in str(error)
            right = url.replace("wrong-Geheim", SECRET)
            Store(right).close()
            file = server.folder / "password"
            file.write_text(SECRET + "\n")
            file.chmod(0o600)
            named = url.replace(":wrong-Geheim@", "@")
            Store(named, password_file=str(file)).close()
            file.chmod(0o644)
            refused(named, ConfigError, "can be read by others.*chmod 600", password_file=str(file))
            refused(named, ConfigError, "cannot be read", password_file=str(file) + "x")
        finally:
            server.remove()


def test_no_right_to_create() -> None:
    for server in map(need_private, SERVERS):
        try:
            server.make_user("small", create=False)
            refused(server.url("missing").replace(f"//{server.owner}@", "//small@"), AccessDenied,
                    "missing.*(have it created|ask for the right)")
        finally:
            server.remove()


@pytest.fixture(params=SERVERS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> object:
    with databases(request.param, tmp_path) as found:
        yield found


def test_a_wrong_character_set(made: Databases) -> None:
    start = need(made.backend)
    name = f"engram_test_{os.getpid()}_latin"
    head, mark, query = start.partition("?")
    url = head.rpartition("/")[0] + f"/{name}" + mark + query
    statement(start, f"CREATE DATABASE {name} " + (
        "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0" if made.backend == "postgresql"
        else "CHARACTER SET latin1"))
    try:
        refused(url, StoreError, "LATIN1; it must be UTF8|latin1; it must be utf8mb4")
    finally:
        drop(url)


def test_a_database_of_another_program(made: Databases) -> None:
    url = made.fresh()
    for table in [table.name for table in TABLES]:
        statement(url, f"DROP TABLE IF EXISTS {table}")
    statement(url, "CREATE TABLE customers (id INT PRIMARY KEY)")
    with pytest.raises(StoreCorrupt, match="belongs to another program: it has the tables customers"):
        Store(url)
    statement(url, "DROP TABLE customers")
    Store(url).close()


def test_a_newer_schema_is_refused(made: Databases) -> None:
    url = made.fresh()
    Store(url).close()
    statement(url, "UPDATE meta SET value='99' WHERE name='schema'")
    with pytest.raises(EngramError, match=r"has schema 99, this program knows up to .*; install the newer"):
        Store(url)
    statement(url, "UPDATE meta SET value='1' WHERE name='schema'")


def test_many_first_starts_at_once(made: Databases) -> None:
    url = made.fresh()
    for table in [table.name for table in TABLES]:
        statement(url, f"DROP TABLE IF EXISTS {table}")
    program = f"from engram_core.store.store import Store; Store({url!r}, busy_ms=20000).close()"
    started = [subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) for _ in range(6)]
    for one in started:
        _, err = one.communicate(timeout=60)
        assert one.returncode == 0, err.decode()
    opened = Opened(Store(url))
    opened.event("x", "e")
    opened.store.close()


def test_a_first_start_waits_for_one_that_takes_long(made: Databases) -> None:
    url = made.fresh()
    for table in [table.name for table in TABLES]:
        statement(url, f"DROP TABLE IF EXISTS {table}")
    database = open_database(url, Options())
    other = database.writer()
    other.begin_schema()
    opened: list[Opened] = []
    waiting = threading.Thread(target=lambda: opened.append(Opened(Store(url, busy_ms=20000))))
    waiting.start()
    time.sleep(LOCK_S + 1)
    assert not opened
    other.rollback()
    waiting.join(20)
    opened[0].event("x", "e")
    opened[0].store.close()
    database.close()


def test_the_driver_is_missing(home: Home) -> None:
    for scheme, module, extra in (("postgresql", "psycopg", "postgres"), ("mysql", "pymysql", "mysql")):
        program = (f"import sys; sys.modules[{module!r}] = None\n"
                   "from engram_core.store.store import Store\n"
                   "from engram_core.errors import ConfigError\n"
                   f"try: Store('{scheme}://h/x')\nexcept ConfigError as error: print(error)")
        said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=home.env)
        assert f"pip install 'engram[{extra}]'" in said.stdout, said.stderr


def test_a_file_asks_for_no_driver(home: Home, tmp_path: Path) -> None:
    drivers = ("psycopg", "pymysql", "ssl", "engram_core.store.server")
    program = (f"import sys; from engram_core.store.store import Store; Store({str(tmp_path / 'a.db')!r}).close()\n"
               f"print([name for name in {drivers} if name in sys.modules])")
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          env=home.env).stdout == "[]\n"


def test_options_nobody_knows() -> None:
    need("mariadb")
    refused("mysql://ada@127.0.0.1/x?sslmode=on", ConfigError, "the option 'sslmode'; known are ssl_mode")
    refused("mysql://ada@127.0.0.1/x?ssl_mode=maybe", ConfigError, "ssl_mode=maybe; allowed are disabled")
    refused("mysql://ada@127.0.0.1/x?ssl_ca=/none", ConfigError, "the TLS files cannot be used")
    refused("mysql://ada@127.0.0.1:a/x", ConfigError, "the port 'a'")
    refused(f"postgresql://ada:{SECRET}@127.0.0.1/x?colour=red", ConfigError, "cannot be read.*colour")


@pytest.mark.parametrize(("url", "shown", "hidden"), [
    ("postgresql://ada:pw@h:5/x?sslmode=require", "postgresql://ada@h:5/x", ["pw"]),
    ("mysql://ada:p%40w@h1,h2/x?password=q", "mysql://ada@h1,h2/x", ["p@w"]),
    ("host=h password='a b' dbname=x user=ada", "host=h user=ada dbname=x", ["a b"]),
    ("postgres:///x", "postgres:///x", []), ("/a/b.db", "/a/b.db", []), ("~/a=b.db", "~/a=b.db", []),
    ("sqlite:///a", "sqlite:///a", []),
])
def test_how_a_url_is_shown(url: str, shown: str, hidden: list[str]) -> None:
    assert dsn.shown(url) == shown
    assert dsn.secrets(url) == hidden
    assert all(secret not in dsn.masked(url) + dsn.identity(url) for secret in hidden)
    if not hidden:
        assert dsn.masked(url) == url


def run(home: Home, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", RUN_COMMAND, *words], env={**home.env, **env}, text=True,
                          capture_output=True)


def test_commands_keep_secrets(home: Home) -> None:
    url = f"postgresql://ada:{SECRET}@127.0.0.1:{free_port()}/x"
    found = run(home, "config", "set", "store.url", url)
    assert found.returncode != 0 and SECRET not in found.stderr and "store.password_file" in found.stderr
    for words in (("config", "show"), ("config", "get", "store.url"), ("config", "show", "--json"),
                  ("append", "x", "--require-commit"), ("daemon", "run"), ("doctor",)):
        found = run(home, *words, ENGRAM_STORE_URL=url)
        assert SECRET not in found.stdout + found.stderr, words
    assert SECRET not in run(home, "daemon", "run", "--database", url).stderr
    log = home.path / ".local/state/engram/daemon.log"
    assert not log.exists() or SECRET not in log.read_text()
    file = home.path / ".config/engram/engram.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'[store]\nurl = "{url}"\n')
    file.chmod(0o644)
    found = run(home, "config", "check")
    assert found.returncode == 78 and SECRET not in found.stderr
    assert "holds a password that others can read" in found.stderr
    file.chmod(0o600)
    assert run(home, "config", "check").returncode == 0


def test_a_daemon_on_a_server(home: Home, made: Databases) -> None:
    home.use(made.fresh())
    assert run(home, "append", "hello server").returncode == 0
    status = json.loads(run(home, "status", "--json").stdout)
    assert status["backend"] in ("postgresql", "mysql") and status[status["backend"]]["available"]
    assert "hello server" in run(home, "packet", "--query", "hello").stdout
    assert "another daemon serves" in run(home, "daemon", "run").stderr
    doctor = run(home, "doctor")
    assert f"schema {VERSION}" in doctor.stdout, doctor.stdout + doctor.stderr
    backup = run(home, "backup", str(home.path / "b.db"))
    assert backup.returncode == 65 and "engram store copy" in backup.stderr
    assert run(home, "daemon", "stop").returncode == 0


def test_what_a_proxy_of_the_tests_does(made: Databases) -> None:
    """The proxy itself: what it carries is carried, what it cuts is cut."""
    server = need_private(made.backend)
    proxy = Proxy(server.port)
    try:
        url = server.url("x", proxy.port)
        Store(url, busy_ms=300).close()
        proxy.mode = "refuse"
        with pytest.raises(Unavailable):
            Store(url, busy_ms=300).close()
    finally:
        proxy.close()
        server.remove()
