"""Clients and daemons of different versions: the golden matrix, an older daemon replaced, migrations killed."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engram_core.store.migrations import VERSION
from tests.daemon_fixture import ROOT, RUN_COMMAND, RUN_DAEMON, Home, ask
from tests.faults.world import Log, append, check, line, start, wait_until

OLD, NOW, NEXT = ((1, 1), "0.0.9"), ((1, 2), "0.1.0"), ((2, 3), "0.2.0")
VERSIONS = {"N-1": OLD, "N": NOW, "N+1": NEXT}
Install = Callable[..., dict[str, str]]
Older = Callable[[], "subprocess.Popen[bytes]"]
COMPAT = Path(__file__).parents[1] / "compat"

# client, daemon -> what happens to a write. N speaks protocols 1 and 2, N+1 speaks 2 and 3.
GOLDEN = {
    ("N-1", "N-1"): "works", ("N-1", "N"): "works", ("N-1", "N+1"): "refused",
    ("N", "N-1"): "works", ("N", "N"): "works", ("N", "N+1"): "works after hello",
    ("N+1", "N-1"): "replaces", ("N+1", "N"): "works", ("N+1", "N+1"): "works",
}



@pytest.fixture
def installed(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Lay out installations of other versions: this program by links, with a version file, and changes, of its own."""
    def lay_out(version: str, **changed: str) -> dict[str, str]:
        folder = tmp_path / version
        folder.mkdir()
        for name in ("engram", "engram_core", "engram_cli", "config"):
            subprocess.run(["cp", "-rs", str(ROOT / name), str(folder)], check=True)
        protocol, number = VERSIONS[version]
        files = {"_version": f"__version__ = {number!r}\nPROTOCOL = {protocol}\n", **changed}
        for name, text in files.items():
            path = folder / "engram_core" / (name.replace(".", "/") + ".py")
            path.unlink()
            path.write_text(text)
        return {"PYTHONPATH": str(folder)}
    return lay_out


CLIENT = """
import json, sys
from engram import Memory
from engram_core.errors import EngramError
from engram_core._version import PROTOCOL
m = Memory.connect(cwd="/", timeout=8)
try:
    if %r:
        m.hello(protocol=PROTOCOL)
    print(json.dumps({"stored": m.append_event({"payload": "x"})["durability"], "daemon": m.status()["version"]}))
except EngramError as error:
    print(json.dumps({"kind": error.kind, "message": error.message, "hint": error.hint}))
"""


@pytest.mark.parametrize(("client", "daemon"), GOLDEN, ids=str)
def test_the_golden_matrix(home: Home, installed: Install, client: str, daemon: str) -> None:
    wanted = GOLDEN[client, daemon]
    places = {version: installed(version) for version in {client, daemon}}
    process = start(home, RUN_DAEMON, **places[daemon])
    found = subprocess.run([sys.executable, "-c", CLIENT % (wanted == "works after hello")], capture_output=True,
                           env={**home.env, **places[client]}, cwd="/", timeout=30, check=True)
    answer = json.loads(found.stdout)
    if wanted == "refused":
        assert answer["kind"] == "protocol", answer
        assert "protocol 1" in answer["message"] and "2 to 3" in answer["message"], answer
        assert VERSIONS[daemon][1] in answer["message"] and answer["hint"]
        assert process.poll() is None  # an older client never ends a newer daemon
    else:
        assert answer["stored"] == "committed", answer
        if wanted == "replaces":
            assert process.wait(5) == 0 and answer["daemon"] == VERSIONS[client][1]
        else:
            assert process.poll() is None and answer["daemon"] == VERSIONS[daemon][1]


def test_a_raw_client_is_told_both_versions(home: Home, installed: Install) -> None:
    start(home, RUN_DAEMON, **installed("N+1"))
    with home.connect() as sock:
        error = ask(sock, line("append_event", event={}).strip())["error"]
        assert error["data"]["kind"] == "protocol" and "speaks 2 to 3" in error["message"]
        error = ask(sock, line("hello", protocol=[1, 1], version="0.0.9").strip())["error"]
        assert "0.0.9 speaks protocol 1 to 1" in error["message"] and "0.2.0 speaks 2 to 3" in error["message"]
        assert ask(sock, line("hello", protocol=[1, 2]).strip())["result"]["protocol"] == [2, 3]
        assert "result" in ask(sock, line("status").strip())


# ---- an older daemon that does not know what it is asked


@pytest.fixture
def older(home: Home, installed: Install) -> Callable[[], subprocess.Popen[bytes]]:
    """Start daemons of an older version that lacks a method."""
    path = ROOT / "engram_core/protocol/messages.py"
    lacking = path.read_text() + "\ndel OPERATIONS['search']\nREADS = READS - {'search'}\n"
    place = installed("N-1", **{"protocol.messages": lacking})
    return lambda: start(home, RUN_DAEMON, **place)


def test_a_newer_command_replaces_an_older_daemon_that_lacks_it(home: Home, older: Older) -> None:
    process = older()
    assert home.engram("append", "kept").returncode == 0
    found = home.engram("search", "kept")
    assert found.returncode == 0 and b"kept" in found.stdout, found
    assert process.wait(5) == 0
    assert len(home.pids()) == 1


def test_what_an_older_daemon_can_do_it_does(home: Home, older: Older) -> None:
    process = older()
    for args in (("append", "x"), ("packet", "-q", "x"), ("events",)):
        assert home.engram(*args).returncode == 0
    found = home.engram("status")
    assert found.returncode == 0 and b"engram daemon restart" in found.stderr
    assert process.poll() is None
    assert "note" in home.engram("doctor").stdout.decode()


def test_a_daemon_is_replaced_at_most_once_in_ten_seconds(home: Home, older: Older) -> None:
    older()
    assert home.engram("search", "x").returncode in (0, 1)
    home.engram("daemon", "stop")
    second = older()
    found = home.engram("search", "x")
    assert found.returncode == 76 and second.poll() is None, found


def test_under_a_supervisor_no_client_ends_the_daemon(home: Home, older: Older) -> None:
    process = older()
    assert home.engram("search", "x", env={"ENGRAM_SUPERVISED": "1"}).returncode == 76
    assert process.poll() is None


def test_twenty_newer_commands_at_once_replace_it_once(home: Home, older: Older) -> None:
    older()
    commands = [subprocess.Popen([sys.executable, "-c", RUN_COMMAND, "search", "x", "--timeout", "40"], env=home.env,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                for _ in range(12)]
    done = [(one.communicate(timeout=60), one.returncode) for one in commands]
    assert {code for _, code in done} <= {0, 1}, done
    assert len(home.pids()) == 1


def test_acknowledged_writes_survive_the_replacement(home: Home, older: Older) -> None:
    older()
    log = Log()
    with home.connect() as sock:
        for number in range(50):
            append(sock, log, f"e{number}", "x")
    assert home.engram("search", "x").returncode == 0
    assert check(home.database, log)


def test_an_idle_daemon_whose_program_was_replaced_ends_by_itself(home: Home, installed: Install) -> None:
    env = installed("N")
    quick = ("import sys; from engram_core.daemon import selfcheck; selfcheck.CHECK_S = 0.2; selfcheck.IDLE_S = 0.3; "
             + RUN_DAEMON)
    process = start(home, quick, **env)
    time.sleep(0.6)
    assert process.poll() is None
    version = Path(env["PYTHONPATH"]) / "engram_core/_version.py"
    fresh = version.with_name("fresh")
    fresh.write_text(version.read_text())
    fresh.replace(version)  # as an installer does
    assert process.wait(5) == 0
    assert "another version of Engram was installed" in (home.path / "stderr").read_text()


# ---- databases


def test_a_database_of_every_released_version_opens(home: Home) -> None:
    for number, folder in enumerate(sorted(COMPAT.glob("v*"))):
        database = home.path / f"old{number}.db"
        shutil.copy(folder / "engram.db", database)
        found = home.engram("events", "--json", "--level", "owner", env={"ENGRAM_STORE_URL": str(database)})
        assert found.returncode == 0, found.stderr
        home.engram("daemon", "stop", env={"ENGRAM_STORE_URL": str(database)})


MIGRATING = """
from engram_core.store import migrations
def second(dialect):
    return ["CREATE TABLE notes (id TEXT PRIMARY KEY)", "INSERT INTO notes VALUES ('a')",
            "CREATE INDEX notes_id ON notes (id)"]
migrations.STEPS = (*migrations.STEPS, second)
migrations.VERSION = len(migrations.STEPS)
import engram_core.store.store as s
s.VERSION = migrations.VERSION
s.Store.schema = migrations.VERSION
"""


@pytest.mark.parametrize("spec", ["migrate.statement=kill@1", "migrate.statement=kill@2", "migrate.statement=kill@3",
                                  "migrate.before=kill", "migrate.after=kill"])
def test_a_migration_killed_at_each_step_resumes_and_a_copy_is_kept(home: Home, spec: str) -> None:
    log = Log()
    home.start()
    with home.connect() as sock:
        for number in range(20):
            append(sock, log, f"e{number}", "x")
    home.process.terminate()  # type: ignore[union-attr]
    home.process.wait()  # type: ignore[union-attr]
    killed = subprocess.run([sys.executable, "-c", MIGRATING + RUN_DAEMON], timeout=20,
                            env={**home.env, "ENGRAM_FAILPOINT": spec}, stdin=subprocess.DEVNULL)
    assert killed.returncode == -9
    if spec != "migrate.after=kill":  # rolled back: this version can still use it
        home.start()
        with home.connect() as sock:
            append(sock, log, "between", "x")
        home.process.terminate()  # type: ignore[union-attr]
        home.process.wait()  # type: ignore[union-attr]
    start(home, MIGRATING + RUN_DAEMON)
    with home.connect() as sock:
        append(sock, log, "later", "x")
    assert check(home.database, log)
    with sqlite3.connect(home.database) as database:
        assert database.execute("SELECT value FROM meta WHERE name='schema'").fetchone() == (str(VERSION + 1),)
        assert database.execute("SELECT id FROM notes").fetchall() == [("a",)]
    kept = list(home.database.parent.glob(f"engram.db.schema-{VERSION}*"))
    assert len(kept) == 1 and kept[0].stat().st_mode & 0o777 == 0o600
    before = sqlite3.connect(kept[0])
    assert before.execute("SELECT value FROM meta WHERE name='schema'").fetchone() == (str(VERSION),)
    assert before.execute("SELECT count(*) FROM events").fetchone()[0] >= 20
    before.close()
    home.process.kill()  # type: ignore[union-attr]
    home.process.wait()  # type: ignore[union-attr]
    found = home.engram("append", "x")  # this, older, program refuses the newer schema
    assert found.returncode == 74 and b"newer" in found.stderr
    assert wait_until(lambda: home.pids() == set()) and os.path.exists(home.database)
