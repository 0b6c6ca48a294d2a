"""Backup beside writers, restore, and everything that can be wrong with the files or end them half-way."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engram import Memory
from tests.daemon_fixture import RUN_COMMAND, Home
from tests.faults.world import Log, Writers, append, check, wait_until


def filled(home: Home, count: int = 30) -> Log:
    """Start a daemon and let a client write a few events."""
    log = Log()
    home.start()
    with home.connect() as sock:
        for number in range(count):
            append(sock, log, f"e{number}", f"text {number} " + "x" * 300)
    return log


def stop(home: Home) -> None:
    assert home.process is not None
    home.process.terminate()
    home.process.wait()


def refused(found: subprocess.CompletedProcess[bytes], code: int, *words: str) -> None:
    assert found.returncode == code, found
    assert found.stderr.count(b"\n") == 1 and b"Traceback" not in found.stderr
    for word in words:
        assert word in found.stderr.decode(), found.stderr


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if ".part-" in path.name or path.name.endswith((".new", ".restore"))]


def test_a_backup_beside_eight_writers_holds_every_acknowledgement_before_it(home: Home) -> None:
    home.start()
    log = Log()
    writers = Writers(home, log, name="b")
    for turn in range(3):
        assert wait_until(lambda turn=turn: len(log.acknowledged) > 100 * (turn + 1))  # type: ignore[misc]
        before = set(log.acknowledged)
        target = home.path / f"copy{turn}.db"
        found = home.engram("backup", str(target), "--json")
        assert found.returncode == 0, found.stderr
        assert json.loads(found.stdout)["schema"] == "engram.backup/1"
        assert target.stat().st_mode & 0o777 == 0o600
        assert not target.with_name(target.name + "-wal").exists()
        verdict = check(target, log)
        assert not verdict.doubled and verdict.integrity == "ok" and not verdict.strange
        assert before <= verdict.stored
    writers.end()
    assert leftovers(home.path) == []


def test_a_backup_goes_on_while_more_is_written_than_it_copies(home: Home) -> None:
    """A copy that began anew at each commit would never end."""
    home.start()
    with Memory.connect(cwd="/") as memory:
        for _ in range(6):
            memory.append_events([{"payload": "x" * 8000} for _ in range(100)])
    writers = Writers(home, Log(), name="w")
    began = time.monotonic()
    assert home.engram("backup", str(home.path / "copy.db")).returncode == 0
    assert time.monotonic() - began < 20
    writers.end()


def test_a_backup_without_a_daemon_and_of_what_a_killed_one_left(home: Home) -> None:
    log = filled(home)
    home.process.kill()  # type: ignore[union-attr]
    home.process.wait()  # type: ignore[union-attr]
    assert home.engram("backup", str(home.path / "copy.db")).returncode == 0
    assert check(home.path / "copy.db", log)
    assert home.pids() == set()


def test_nothing_is_written_over(home: Home) -> None:
    filled(home, 2)
    existing = home.path / "there.db"
    existing.write_text("mine")
    link = home.path / "link.db"
    link.symlink_to(home.path / "nowhere")
    refused(home.engram("backup", str(existing)), 65, "exists")
    refused(home.engram("backup", str(link)), 65, "exists")
    refused(home.engram("backup", str(home.database)), 65, "live database")
    refused(home.engram("backup", str(home.path / "no" / "folder.db")), 65, "mkdir -p")
    assert existing.read_text() == "mine" and link.is_symlink()
    stop(home)
    refused(home.engram("backup", str(home.path / "x.db"), env={"ENGRAM_STORE_URL": str(home.path / "none.db")}), 74,
            "no database")
    assert not (home.path / "none.db").exists()


def test_a_backup_onto_a_full_disk_leaves_nothing(home: Home) -> None:
    small = home.path / "small"
    small.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)],
                                           capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        filled(home)
        refused(home.engram("backup", str(small / "copy.db")), 74, "copy.db")
        assert list(small.iterdir()) == []
        assert home.engram("append", "x").returncode == 0
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


@pytest.mark.parametrize("point", ["backup.before", "backup.after"])
def test_a_backup_killed_half_way_is_whole_or_has_no_name(home: Home, point: str) -> None:
    log = filled(home)
    target = home.path / "copy.db"
    found = home.engram("backup", str(target), env={"ENGRAM_FAILPOINT": f"{point}=kill"})
    assert found.returncode == -9
    assert target.exists() is (point == "backup.after")
    if target.exists():
        assert check(target, log)
    else:
        assert home.engram("backup", str(target)).returncode == 0


def test_restore_brings_back_what_the_backup_held_and_keeps_the_rest_aside(home: Home) -> None:
    log = filled(home)
    copy = home.path / "copy.db"
    assert home.engram("backup", str(copy)).returncode == 0
    later = json.loads(home.engram("append", "later", "--json").stdout)["event_id"]
    refused(home.engram("restore", str(copy), "--yes"), 75, "engram daemon stop", str(home.database))
    with Memory.connect(cwd="/") as memory:
        assert memory.status()["pid"] == home.process.pid  # type: ignore[union-attr]
    stop(home)
    refused(home.engram("restore", str(copy)), 2, "--yes")
    found = json.loads(home.engram("restore", str(copy), "--yes", "--json").stdout)
    assert (found["schema"], found["database"]) == ("engram.restore/1", str(home.database))
    assert home.engram("append", "after").returncode == 0
    assert check(home.database, log).lost == []
    kept = sqlite3.connect(found["kept"])
    assert kept.execute("SELECT count(*) FROM events WHERE event_id=?", (later,)).fetchone() == (1,)
    kept.close()
    rows = sqlite3.connect(home.database)
    assert rows.execute("SELECT count(*) FROM events WHERE event_id=?", (later,)).fetchone() == (0,)
    rows.close()
    assert leftovers(home.database.parent) == []


def _newer(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("UPDATE meta SET value='99' WHERE name='schema'")


def _foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE notes (x)")


BAD = {
    "cut short": (lambda path: os.truncate(path, path.stat().st_size // 2), ""),
    "no database": (lambda path: path.write_text("hello " * 4000), "no SQLite database"),
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "gone": (lambda path: path.unlink(), "not there"),
    "foreign": (_foreign, "another program"),
    "newer": (_newer, "schema 99"),
    "a page of noise": (lambda path: path.write_bytes(path.read_bytes()[:12288] + os.urandom(4096)
                                                      + path.read_bytes()[16384:]), ""),
}


@pytest.mark.parametrize(("spoil", "word"), BAD.values(), ids=BAD)
def test_a_bad_backup_is_refused_before_anything_is_touched(home: Home, spoil, word: str) -> None:  # type: ignore
    log = filled(home)
    copy = home.path / "copy.db"
    assert home.engram("backup", str(copy)).returncode == 0
    stop(home)
    spoil(copy)
    before = {path.name: path.read_bytes() for path in home.database.parent.iterdir() if path.is_file()}
    found = home.engram("restore", str(copy), "--yes")
    refused(found, 74, str(copy), word)
    after = {path.name: path.read_bytes() for path in home.database.parent.iterdir() if path.is_file()}
    assert after == before
    assert check(home.database, log)


@pytest.mark.parametrize("point", ["restore.checked", "restore.kept", "restore.before", "restore.after"])
def test_a_restore_killed_at_any_step_never_looks_empty_and_can_be_repeated(home: Home, point: str) -> None:
    old = filled(home)
    copy = home.path / "copy.db"
    assert home.engram("backup", str(copy)).returncode == 0
    with home.connect() as sock:
        append(sock, old, "later", "after the backup")
    home.process.kill()  # type: ignore[union-attr] - so that the log is not empty
    home.process.wait()  # type: ignore[union-attr]
    assert home.database.with_name("engram.db-wal").stat().st_size > 0
    found = home.engram("restore", str(copy), "--yes", env={"ENGRAM_FAILPOINT": f"{point}=kill"})
    assert found.returncode == -9
    if point == "restore.checked":
        assert home.engram("append", "x").returncode == 0  # nothing had been touched
        assert check(home.database, old).lost == []
        home.engram("daemon", "stop")
    else:
        refused(home.engram("packet"), 74, "cut short", "engram restore")
    found = home.engram("restore", str(copy), "--yes", "--json")
    assert found.returncode == 0, found.stderr
    kept = Path(json.loads(found.stdout)["kept"])
    assert check(kept, old).lost == []  # with what the log held
    assert home.engram("append", "y").returncode == 0
    with Memory.connect(cwd="/") as memory:
        assert memory.status()["database"] == str(home.database)


def test_a_restore_into_an_empty_home(home: Home, tmp_path: Path) -> None:
    log = filled(home)
    copy = tmp_path / "copy.db"
    assert home.engram("backup", str(copy)).returncode == 0
    stop(home)
    shutil.rmtree(home.database.parent)
    found = home.engram("restore", str(copy), "--yes", "--json")
    assert found.returncode == 0 and json.loads(found.stdout)["kept"] == ""
    home.start()
    assert check(home.database, log)
    assert home.database.stat().st_mode & 0o777 == 0o600


def test_a_daemon_cannot_start_under_a_restore(home: Home) -> None:
    filled(home)
    copy = home.path / "copy.db"
    assert home.engram("backup", str(copy)).returncode == 0
    stop(home)
    restoring = subprocess.Popen([sys.executable, "-c", RUN_COMMAND, "restore", str(copy), "--yes"], env={
        **home.env, "ENGRAM_FAILPOINT": "restore.before=stop"}, stderr=subprocess.PIPE)
    assert wait_until(lambda: home.database.with_name("engram.db.restoring").exists())
    time.sleep(0.1)
    found = home.engram("packet", "--timeout", "2")
    assert found.returncode in (69, 74, 75) and found.stderr.count(b"\n") == 1, found
    restoring.send_signal(18)
    assert restoring.wait(10) == 0, restoring.stderr
    assert home.engram("append", "x").returncode == 0
