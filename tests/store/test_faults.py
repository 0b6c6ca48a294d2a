"""A server that restarts, falls silent, kills or turns read-only: no acknowledged write is lost, none happens twice."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from engram_core.errors import EngramError, Unavailable
from engram_core.store import copying
from engram_core.store.connection import Options
from engram_core.store.store import Posted, Store
from engram_core.store.transaction import Transaction
from tests.daemon_fixture import RUN_COMMAND, Home
from tests.proxy import Proxy
from tests.servers import SERVERS, PrivateServer, need_private, statement
from tests.store.conftest import SCOPE, Opened, appending, setting

BACK_S = 5.0
pytestmark = pytest.mark.xdist_group("faults")


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[PrivateServer]:
    """Give a server of our own, to be stopped at will."""
    found = need_private(request.param)
    yield found
    found.remove()


@pytest.fixture
def proxy(server: PrivateServer) -> Iterator[Proxy]:
    """Give a way to the server that can be cut."""
    found = Proxy(server.port)
    yield found
    found.close()


_numbers = iter(range(1000))


def database(server: PrivateServer, port: int | None = None, name: str = "") -> str:
    return server.url(name or f"faults_{next(_numbers)}", port)


class Log:
    """A client that appends one event after the other, repeats what was not acknowledged, and notes every answer."""

    def __init__(self, url: str) -> None:
        self.opened = Opened(Store(url, busy_ms=500, answer_ms=2500))
        self.acks: list[tuple[str, float]] = []
        self.errors: list[EngramError] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            try:
                self.opened.event({"n": number}, f"e{number}")
            except EngramError as error:
                self.errors.append(error)
                continue
            self.acks.append((f"e{number}", time.monotonic()))
            number += 1

    def await_acks(self, count: int, seconds: float = 20.0) -> None:
        """Wait for so many more acknowledgements."""
        wanted, until = len(self.acks) + count, time.monotonic() + seconds
        while len(self.acks) < wanted:
            assert time.monotonic() < until, (len(self.acks), self.errors[-1:])
            time.sleep(0.01)

    def first_after(self, moment: float) -> float:
        """Return how long after a moment the next acknowledgement came."""
        return next(at for _, at in self.acks if at > moment) - moment

    def end(self) -> None:
        """Stop, and compare what was acknowledged with what is stored."""
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()
        stored = [event["event_id"] for event in self.opened.events()]
        assert len(stored) == len(set(stored))
        assert {id_ for id_, _ in self.acks} <= set(stored)
        assert len(stored) - len(self.acks) <= 1  # the last one may not have been answered any more
        revisions = [one.revision for one in self.opened.store.reads.changes(SCOPE.owner, 0)]
        assert revisions == list(range(1, len(stored) + 1))
        assert all(error.retryable and error.exit_code == 75 and "\n" not in str(error) for error in self.errors)
        self.opened.store.close()


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_a_restart(server: PrivateServer, kill: bool) -> None:
    log = Log(database(server))
    log.await_acks(20)
    server.stop(kill=kill)
    time.sleep(1.5)
    assert log.errors and log.errors[-1].kind == "unavailable"
    assert not log.opened.store.health()["available"]
    server.start()
    back = time.monotonic()
    log.await_acks(20)
    assert log.first_after(back) < BACK_S
    assert log.opened.store.health()["available"]
    log.end()


def test_a_black_hole(server: PrivateServer, proxy: Proxy) -> None:
    log = Log(database(server, proxy.port))
    log.await_acks(20)
    proxy.mode = "swallow"
    time.sleep(4)
    acks = len(log.acks)
    time.sleep(1)
    assert len(log.acks) == acks
    proxy.mode = "pass"  # for new connections; the old ones stay silent
    back = time.monotonic()
    log.await_acks(20)
    assert log.first_after(back) < BACK_S
    log.end()


def test_cut_connections_are_not_even_noticed(server: PrivateServer, proxy: Proxy) -> None:
    log = Log(database(server, proxy.port))
    for _ in range(20):
        log.await_acks(5)
        proxy.cut()
    log.await_acks(5)
    assert not log.errors
    log.end()


def lose_once(proxy: Proxy, mark: bytes, where: str) -> list[bytes]:
    """Have the connection cut once, before or after a request with the mark reaches the server; return what it cut."""
    cut: list[bytes] = []

    def once(data: bytes) -> str:
        if mark in data and not cut:
            cut.append(data)
            return where
        return ""

    proxy.on_request = once
    return cut


def killing(server: PrivateServer) -> tuple[str, str]:
    """Return the statement that asks for the number of a connection, and the one that ends it from another."""
    if server.backend == "postgresql":
        return "SELECT pg_backend_pid()", "SELECT pg_terminate_backend({})"
    return "SELECT CONNECTION_ID()", "KILL {}"


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_commit_whose_answer_is_lost_happens_once(server: PrivateServer, proxy: Proxy, where: str) -> None:
    opened = Opened(Store(database(server, proxy.port)))
    opened.fact("k", 1)
    def compare(tx: Transaction) -> Any:
        """Change a fact if it is what it was: done twice it would tell."""
        found = setting("k", 2)(tx)
        return found["version"]

    cut = lose_once(proxy, b"COMMIT", where)
    results = opened.store.group([appending("x", "e1"), compare, appending("y", "e2")], 7)
    assert cut
    assert [results[0][1], results[1], results[2][1]] == [False, 2, False]
    assert [event["payload"] for event in opened.events()] == ["x", "y"]
    assert opened.store.reads.revision(SCOPE.owner) == 5
    assert [one.revision for one in opened.store.reads.changes(SCOPE.owner, 0)] == [1, 2, 3, 4, 5]
    opened.store.close()


@pytest.mark.parametrize("where", ["before", "after"])
def test_appends_whose_answer_is_lost_happen_once(server: PrivateServer, proxy: Proxy, where: str) -> None:
    opened = Opened(Store(database(server, proxy.port)))
    opened.event("first", "e0")
    cut = lose_once(proxy, b"lost", where)
    results = opened.store.group([appending("lost", "e1"), appending("and found", "e2"), appending("lost", "e1")], 7,
                                 [(SCOPE, "e1"), (SCOPE, "e2"), (SCOPE, "e1")])
    assert cut and b"COMMIT" in cut[0]  # all of it is on the way at once
    assert results == [(2, False), (3, False), (2, True)]
    assert opened.event("after", "e3") == (4, False)
    assert [event["payload"] for event in opened.events()] == ["first", "lost", "and found", "after"]
    assert [one.revision for one in opened.store.reads.changes(SCOPE.owner, 0)] == [1, 2, 3, 4]
    opened.store.close()


def post(opened: Opened, *events: tuple[str, str]) -> Posted:
    posted = opened.store.post([appending(*one) for one in events], 7, [(SCOPE, id_) for _, id_ in events])
    assert posted is not None
    return posted


@pytest.mark.parametrize("where", ["before", "after"])
def test_posted_appends_whose_answer_is_lost_happen_once(server: PrivateServer, proxy: Proxy, where: str) -> None:
    opened = Opened(Store(database(server, proxy.port)))
    opened.event("first", "e0")
    cut = lose_once(proxy, b"lost", where)
    posted = [post(opened, ("lost", "e1"), ("and found", "e2")), post(opened, ("behind", "e3"))]
    assert [opened.store.settle(one) for one in posted] == [[(2, False), (3, False)], [(4, False)]]
    assert cut
    assert opened.event("after", "e4") == (5, False)
    assert [event["payload"] for event in opened.events()] == ["first", "lost", "and found", "behind", "after"]
    assert [one.revision for one in opened.store.reads.changes(SCOPE.owner, 0)] == [1, 2, 3, 4, 5]
    opened.store.close()


def test_a_backend_killed_with_appends_on_their_way(server: PrivateServer) -> None:
    url = database(server)
    opened = Opened(Store(url))
    opened.event("first", "e0")
    ask, end = killing(server)
    number = opened.store.database.writer().execute(ask)[0][0]
    posted = post(opened, ("x", "e1"))
    statement(url, end.format(number))
    assert opened.store.settle(posted) == [(2, False)]
    assert [event["payload"] for event in opened.events()] == ["first", "x"]
    opened.store.close()


def test_a_backend_killed_in_mid_transaction(server: PrivateServer) -> None:
    url = database(server)
    opened = Opened(Store(url))
    killed: list[int] = []

    def kill_me(tx: Transaction) -> str:
        appending("x", "e1")(tx)
        if len(killed) < 2:
            connection = tx._connection
            ask, end = killing(server)
            killed.append(connection.execute(ask)[0][0])
            statement(url, end.format(killed[-1]))
            time.sleep(0.05)
        appending("y", "e2")(tx)
        return "done"

    assert opened.run(kill_me) == "done"
    assert len(killed) == 2
    assert [event["payload"] for event in opened.events()] == ["x", "y"]
    opened.store.close()


def test_a_connection_that_the_server_closed_for_idleness(server: PrivateServer) -> None:
    limit = ["--wait-timeout=5"]
    if server.backend == "postgresql":
        limit = ["-c", "idle_session_timeout=5s"] if server.version() >= 14 else []
    server.stop()
    server.start(*limit)
    opened = Opened(Store(database(server)))
    opened.event("before", "e1")
    opened.events()
    time.sleep(6)
    assert [event["payload"] for event in opened.events()] == ["before"]
    opened.event("after", "e2")
    assert opened.store.health()["connections_lost"] == 0  # they were seen to be gone when they were taken
    opened.store.close()
    server.stop()
    server.start()


def test_a_server_that_turns_read_only_is_left_for_one_that_can_be_written(server: PrivateServer) -> None:
    other = need_private(server.backend)
    try:
        for one in (server, other):
            one.make_user("app")
        name = f"failover_{next(_numbers)}"
        first, second = (one.url(name).replace("//engram@", "//app@").replace("//root@", "//app@")
                         for one in (server, other))
        both = first.replace(f":{server.port}/", f":{server.port},127.0.0.1:{other.port}/")
        opened = Opened(Store(both, busy_ms=2000))
        opened.event("on the first", "e1")
        server.read_only(True)
        with pytest.raises(EngramError) as caught:  # nobody has made the other one's data ready: it is another store
            Opened(Store(first, busy_ms=300)).event("x", "e9")
        assert (caught.value.kind, caught.value.exit_code) == ("unavailable", 75)
        copying.copy(first.replace("//app@", f"//{server.owner}@"), second, source=Options(), target=Options())
        start = time.monotonic()
        opened.event("on the second", "e2")
        assert time.monotonic() - start < BACK_S
        assert [event["payload"] for event in opened.events()] == ["on the first", "on the second"]
        opened.store.close()
        found = Opened(Store(second))
        assert len(found.events()) == 2
        found.store.close()
    finally:
        server.read_only(False)
        other.remove()


def test_commands_say_so_meanwhile_and_go_on_afterwards(server: PrivateServer, home: Home) -> None:
    env = {**home.env, "ENGRAM_STORE_URL": database(server), "ENGRAM_STORE_BUSY_TIMEOUT_MS": "500"}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", RUN_COMMAND, *words], env=env, text=True, capture_output=True)

    try:
        assert run("append", "hello").returncode == 0
        assert json.loads(run("status", "--json").stdout)[_kind(server)]["available"] is True
        server.stop(kill=True)
        failed = run("append", "--require-commit", "lost?") if "--require-commit" in run("append", "--help").stdout \
            else run("append", "lost?")
        assert failed.returncode == 75, failed.stderr
        assert failed.stderr.count("\n") <= 2 and "Traceback" not in failed.stderr
        start = time.monotonic()
        found = json.loads(run("status", "--json").stdout)
        assert time.monotonic() - start < 3
        assert found[_kind(server)]["available"] is False and found[_kind(server)]["away_since"]
        server.start()
        back = time.monotonic()
        while run("append", "again").returncode != 0:
            assert time.monotonic() - back < BACK_S
        assert "hello" in run("packet", "--query", "hello").stdout
    finally:
        run("daemon", "stop")


def _kind(server: PrivateServer) -> str:
    return "postgresql" if server.backend == "postgresql" else "mysql"


def test_nobody_waits_for_ever(server: PrivateServer) -> None:
    proxy = Proxy(server.port)
    url = database(server, proxy.port)
    opened = Opened(Store(url, busy_ms=300, answer_ms=2500))
    opened.event("x", "e1")
    proxy.mode = "swallow"
    for ask in (lambda: opened.event("y", "e2"), opened.events, lambda: Store(url, answer_ms=2500)):
        _within(12.0, ask)
    proxy.close()
    opened.store.close()


def _within(seconds: float, ask: Callable[[], Any]) -> None:
    start = time.monotonic()
    with pytest.raises(Unavailable):
        ask()
    assert time.monotonic() - start < seconds
