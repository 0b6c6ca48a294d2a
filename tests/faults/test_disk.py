"""A disk that is full, failing or read-only, a damaged database: said aloud, nothing lost, never an empty start."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engram import Memory
from engram_core.daemon.logs import LOG_BYTES
from tests.daemon_fixture import RUN_COMMAND, RUN_DAEMON, SCOPE, Home, ask, reply
from tests.faults.world import Faults, Log, Writers, append, check, line, start, wait_until


def refused(reply: dict) -> dict:  # type: ignore[type-arg]
    error = reply["error"]
    assert error["data"]["exit"] == 74, error
    assert error["message"] and error["data"]["hint"], error
    return error  # type: ignore[no-any-return]


# ---- full


@pytest.mark.parametrize("failure", ["full", "eio-write", "eio-sync"])
def test_a_disk_that_fails_under_an_append_is_said_and_mends_itself(faults: Faults, failure: str) -> None:
    log = Log()
    faults.start()
    with faults.home.connect() as sock:
        for number in range(10):
            append(sock, log, f"before{number}", "x")
        faults.ask(failure)
        for number in range(5):
            refused(append(sock, log, f"during{number}", "x"))
        found = ask(sock, line("status").strip())["result"]
        assert found["pid"] == faults.home.record()["pid"]
        faults.end(failure)
        for number in range(10):
            assert "result" in append(sock, log, f"after{number}", "x")
        # What failed can be sent again under its id, and is there once.
        for number in range(5):
            assert "result" in append(sock, log, f"during{number}", "x")
    assert faults.home.process is not None
    faults.home.process.kill()
    faults.home.process.wait()
    verdict = check(faults.home.database, log)
    assert verdict, verdict
    assert len(verdict.stored) == 25


def test_a_failed_sync_acknowledges_nothing_until_the_database_was_looked_through(faults: Faults) -> None:
    """The database is damaged while the disk fails: when syncs succeed again, nothing may be written to it."""
    log = Log()
    faults.start()
    with faults.home.connect() as sock:
        for number in range(200):
            append(sock, log, f"e{number}", "x" * 700)
        ask(sock, line("forget", 1, scope=SCOPE, selector={"ids": ["none"]}).strip())
    database = faults.home.database
    with faults.home.connect() as sock:
        faults.ask("eio-sync")
        refused(append(sock, log, "failed", "x"))
        faults.end("eio-sync")
        damaged = bytearray(database.read_bytes())
        for page in range(8192, len(damaged), 4096):
            damaged[page:page + 200] = b"\xff" * 200
        with open(database, "r+b") as file:
            file.write(damaged)
        database.with_name("engram.db-wal").unlink()
        error = refused(append(sock, log, "second", "x"))
        assert "restore" in error["data"]["hint"]
    assert not log.acknowledged & {"failed", "second"}


@pytest.fixture
def small(home: Home) -> Iterator[Home]:
    """Give a home whose database lies on a disk of two megabytes."""
    folder = home.database.parent
    folder.mkdir(parents=True, mode=0o700)
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", str(folder)],
                                           capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield home
    finally:
        home.stop()
        time.sleep(0.05)
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_refuses_keeps_everything_and_recovers_when_space_returns(small: Home) -> None:
    log = Log()
    small.start()
    ballast = small.database.with_name("ballast")
    ballast.write_bytes(bytes(1_400_000))
    with small.connect() as sock:
        number = 0
        while "result" in append(sock, log, f"e{number}", "x" * 3000):
            number += 1
            assert number < 2000
        assert number > 5
        assert "full" in refused(append(sock, log, "full", "x" * 3000))["message"]
        found = small.engram("append", "hello " * 500)
        assert found.returncode == 74 and found.stderr.count(b"\n") == 1, found.stderr
        ballast.unlink()
        assert "result" in append(sock, log, "again", "x" * 3000)
    assert small.engram("append", "y").returncode == 0
    small.process.terminate()  # type: ignore[union-attr]
    small.process.wait()  # type: ignore[union-attr]
    with Memory.connect(cwd="/") as memory:
        events = {event["event_id"] for event in memory.request("list_events", {"scope": SCOPE})["events"]}
        assert log.acknowledged <= events | {one for one in log.acknowledged if one not in log.sent}
    verdict = check(small.database, log, integrity=True)
    assert not (verdict.lost or verdict.doubled) and verdict.integrity == "ok"


def test_a_full_disk_under_the_checkpoint_loses_nothing(small: Home) -> None:
    """The log is to be moved into a database that cannot grow: it stays, and is moved when there is space."""
    log = Log()
    process = small.start()
    with small.connect() as sock:
        for number in range(30):
            assert "result" in append(sock, log, f"e{number}", "x" * 3000)
    wal = small.database.with_name("engram.db-wal")
    assert wal.stat().st_size > 400_000 > small.database.stat().st_size
    with open(small.database.with_name("ballast"), "wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(bytes(4096))
        except OSError:
            pass
    process.terminate()
    assert process.wait(5) == 0
    assert wal.stat().st_size > 400_000
    assert small.engram("append", "y").returncode == 74
    small.database.with_name("ballast").unlink()
    assert small.engram("append", "y").returncode == 0
    assert small.engram("daemon", "stop").returncode == 0
    assert not wal.exists() or wal.stat().st_size == 0
    verdict = check(small.database, log)
    assert not (verdict.lost or verdict.doubled or verdict.changed) and verdict.integrity == "ok"


def test_a_full_disk_under_the_spool_is_an_error_and_leaves_no_half_file(small: Home) -> None:
    small.database.with_name("ballast").write_bytes(bytes(2_097_152 - 16_384))
    env = {"ENGRAM_AUTOSTART": "0"}
    codes = [small.engram("append", "x" * 3000, env=env).returncode for _ in range(12)]
    assert set(codes) == {0, 74} and codes[0] == 0 and codes[-1] == 74
    spool = small.database.with_name("engram.db.spool")
    kept = sorted(spool.iterdir())
    assert len(kept) == codes.count(0)
    assert all(json.loads(path.read_bytes())["params"]["event"]["payload"] for path in kept)
    small.database.with_name("ballast").unlink()
    assert small.engram("append", "y").returncode == 0
    with Memory.connect(cwd="/") as memory:
        assert len(memory.list_events({})) == codes.count(0) + 1


def test_a_full_disk_under_the_log_disturbs_nobody(home: Home) -> None:
    home.log.parent.mkdir(parents=True, mode=0o700)
    home.log.symlink_to("/dev/full")
    assert home.engram("append", "x").returncode == 0  # a link is not followed: there is no log then
    home.stop()
    home.log.unlink()
    if os.geteuid() == 0 and not subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs",
                                                 str(home.log.parent)], capture_output=True).returncode:
        try:
            (home.log.parent / "ballast").write_bytes(bytes(65536))
            assert home.engram("append", "y").returncode == 0
            assert home.engram("append", "z").returncode == 0
        finally:
            home.stop()
            subprocess.run(["umount", "-l", str(home.log.parent)], check=True)


def test_the_log_never_outgrows_its_bound(home: Home) -> None:
    program = ("import os, logging, sys; from engram_core.daemon import logs; h = logs.set_up('info', {}); "
               f"h.to_file({str(home.log)!r}); log = logging.getLogger('engram.daemon'); "
               "[log.info('line %d %s', n, 'x' * 200) for n in range(20000)]")
    subprocess.run([sys.executable, "-c", program], env=home.env, check=True)
    sizes = {path.name: path.stat().st_size for path in home.log.parent.iterdir()}
    assert set(sizes) == {"daemon.log", "daemon.log.1"}
    assert all(size <= LOG_BYTES for size in sizes.values())
    assert all(path.stat().st_mode & 0o077 == 0 for path in home.log.parent.iterdir())
    assert home.log.read_text().splitlines()[-1].endswith("x" * 200)


def test_a_supervised_daemon_logs_json_lines(home: Home) -> None:
    home.start(ENGRAM_SUPERVISED="1")
    home.process.terminate()  # type: ignore[union-attr]
    home.process.wait()  # type: ignore[union-attr]
    rows = [json.loads(row) for row in (home.path / "stderr").read_text().splitlines()]
    assert rows and all(set(row) == {"level", "logger", "message"} for row in rows)
    assert "serves" in rows[0]["message"]


# ---- read-only, no descriptors


def test_a_read_only_database_is_said_at_the_start_and_under_way(small: Home) -> None:
    log = Log()
    small.start()
    folder = str(small.database.parent)
    with small.connect() as sock:
        append(sock, log, "before", "x")
        small.process.kill()  # type: ignore[union-attr]
        small.process.wait()  # type: ignore[union-attr]
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    found = small.engram("append", "x")
    assert found.returncode in (74, 77) and found.stderr.count(b"\n") == 1, found
    assert b"Read-only" in found.stderr or b"readonly" in found.stderr, found.stderr
    subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
    assert small.engram("append", "y").returncode == 0
    assert check(small.database, log).lost == []


@pytest.mark.parametrize("free", [0, 2])
def test_a_daemon_without_descriptors_lives_and_recovers(home: Home, free: int) -> None:
    """With a few left it keeps them for itself and says so; with none clients wait, and who is served already is."""
    home.start()
    pid = home.record()["pid"]
    first = home.connect()
    time.sleep(0.5)  # it loads what the first packet needs, on the thread that then answers this
    assert "result" in ask(first, line("build_memory_packet", request={"scope": SCOPE, "query": "x"}).strip())
    used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    unused = [number for number in range(len(used) + 8) if number not in used]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (unused[free], 8192))  # so many may still be opened
    held = [home.connect() for _ in range(10)]
    for _ in range(3):
        assert ask(first, line("status").strip())["result"]["pid"] == pid
    log = Log()
    append(first, log, "e1", "x")
    assert log.acknowledged == {"e1"}
    for sock in held:
        if free:
            error = reply(sock)["error"]
            assert error["data"]["retryable"] and "file descriptors" in error["message"]
        sock.close()
    found = home.engram("append", "x", "--timeout", "1")
    assert found.returncode == 75 and found.stderr.count(b"\n") == 1
    told = (home.path / "stderr").read_text().splitlines()
    assert len(told) == 2 and ("descriptors are used up" if free else "cannot accept") in told[1], told
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (1024, 8192))
    assert home.engram("append", "y", "--timeout", "5").returncode == 0
    assert home.record()["pid"] == pid


# ---- damage


def _middle_page(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096 * 3:4096 * 3 + 2000] = os.urandom(2000)
    path.write_bytes(data)


def _newer(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("UPDATE meta SET value='99' WHERE name='schema'")


DAMAGE = {
    "a corrupt page": (_middle_page, "restore"),
    "half the file": (lambda path: os.truncate(path, path.stat().st_size // 2), "restore"),
    "zeros": (lambda path: path.write_bytes(bytes(path.stat().st_size)), "restore"),
    "a newer schema": (_newer, "newer"),
}


@pytest.mark.parametrize(("harm", "word"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_database_is_refused_kept_and_never_replaced(home: Home, harm, word: str) -> None:  # type: ignore
    home.start()
    with Memory.connect(cwd="/") as memory:
        memory.append_events([{"payload": f"{n} " + "x" * 500} for n in range(300)])
    home.process.terminate()  # type: ignore[union-attr]
    home.process.wait()  # type: ignore[union-attr]
    harm(home.database)
    before = home.database.read_bytes()
    for command in (("append", "x"), ("packet", "-q", "x")):
        found = home.engram(*command)
        assert found.returncode == 74, found.stderr
        assert str(home.database).encode() in found.stderr and word.encode() in found.stderr, found.stderr
    assert home.database.read_bytes() == before
    assert wait_until(lambda: home.pids() == set())


def test_a_log_without_its_database_and_a_cut_log(home: Home) -> None:
    log = Log()
    home.start()
    with home.connect() as sock:
        for number in range(60):
            append(sock, log, f"e{number}", "x" * 500)
    home.process.kill()  # type: ignore[union-attr]
    home.process.wait()  # type: ignore[union-attr]
    wal = home.database.with_name("engram.db-wal")
    kept = home.path / "kept"
    shutil.copy(home.database, kept)
    home.database.unlink()
    size = wal.stat().st_size
    found = home.engram("append", "x")
    assert found.returncode == 74 and str(wal).encode() in found.stderr
    assert not home.database.exists() and wal.stat().st_size == size  # no empty start
    shutil.copy(kept, home.database)
    os.truncate(wal, size - 5000)
    assert home.engram("append", "y").returncode == 0  # what is whole in the log is taken, the rest was cut off
    found_rows = check(home.database, log)
    assert found_rows.integrity == "ok" and not found_rows.doubled


def test_a_database_removed_under_the_daemon_ends_it(home: Home) -> None:
    home.start()
    assert home.process is not None
    quick = ("import sys; from engram_core.daemon import selfcheck; selfcheck.CHECK_S = 0.1; " + RUN_DAEMON)
    home.process.kill()
    home.process.wait()
    process = start(home, quick)
    home.database.unlink()
    assert process.wait(5) == 0
    assert b"was removed or replaced" in (home.path / "stderr").read_bytes()


# ---- a reader that stays


def test_a_reader_that_holds_a_snapshot_is_seen_and_the_log_shrinks_when_it_goes(home: Home) -> None:
    program = ("import sys; from engram_core.daemon import selfcheck; selfcheck.CHECK_S = 0.2; "
               "selfcheck.WAL_WARN = 1 << 20; " + RUN_DAEMON)
    start(home, program)
    wal = home.database.with_name("engram.db-wal")
    reader = sqlite3.connect(home.database, isolation_level=None)
    with Memory.connect(cwd="/") as memory:
        memory.append_event({"payload": "first"})
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        for _ in range(8):
            memory.append_events([{"payload": "x" * 4000} for _ in range(100)])
        assert wal.stat().st_size > 1 << 20
        assert wait_until(lambda: memory.status()["warnings"])
        assert "keeps it from being emptied" in memory.status()["warnings"][0]
        reader.execute("ROLLBACK")
        assert wait_until(lambda: wal.stat().st_size == 0, 10)
        assert wait_until(lambda: not memory.status()["warnings"])
    reader.close()


def test_an_export_that_nobody_takes_is_seen_under_load_and_the_log_shrinks_when_it_goes(home: Home) -> None:
    """Another program of ours holds one state, its pipe full, while eight clients write."""
    program = ("import sys; from engram_core.daemon import selfcheck; selfcheck.CHECK_S = 0.2; "
               "selfcheck.WAL_WARN = 4 << 20; " + RUN_DAEMON)
    start(home, program)
    wal = home.database.with_name("engram.db-wal")
    log = Log()
    with Memory.connect(cwd="/", timeout=20) as memory:
        memory.append_events([{"payload": "x" * 4000} for _ in range(200)])
        held = subprocess.Popen([sys.executable, "-c", RUN_COMMAND, "export", "-"], env=home.env,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert held.stdout is not None and held.stdout.read(1) == b"{"  # it has begun, and will wait for its reader
        writers = Writers(home, log, name="x")
        try:
            assert wait_until(lambda: memory.status()["warnings"], 30)
            assert "keeps it from being emptied" in memory.status()["warnings"][0]
        finally:
            held.kill()
            held.wait()
            held.stdout.close()
        acknowledged = len(log.acknowledged)
        assert wait_until(lambda: len(log.acknowledged) > acknowledged + 100)  # nobody was held up
        writers.end()
        assert wait_until(lambda: wal.stat().st_size == 0 and not memory.status()["warnings"], 20)
    verdict = check(home.database, log)
    assert not (verdict.lost or verdict.doubled or verdict.torn) and verdict.integrity == "ok"


def test_our_own_reader_gives_its_snapshot_up(tmp_path: Path) -> None:
    from engram_core.errors import DeadlineExceeded
    from engram_core.store import sqlite
    from engram_core.store.store import Store

    store = Store(str(tmp_path / "a.db"))
    reader = store._reader
    assert reader.begin_reading()
    assert sqlite._READ_S <= 30
    reader._expires = time.monotonic() - 1
    slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 50000000) SELECT max(i) FROM n"
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        reader.execute(slow)
    assert time.monotonic() - began < 2
    reader.rollback()
    assert reader.execute("SELECT 1") == [(1,)]
    store.close()
