"""What was acknowledged is on the disk: kill -9 at fail points and at random, the sync before the reply, power cuts."""

from __future__ import annotations

import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest

from engram import Memory
from engram_core.failpoints import POINTS
from tests.daemon_fixture import ROOT, RUN_DAEMON, SCOPE, Home, ask
from tests.faults.torture import Torture
from tests.faults.world import Faults, Log, Writers, append, check, line, wait_until

CYCLES = int(os.environ.get("ENGRAM_TORTURE_CYCLES", "100"))
SERVING = ("commit.before", "commit.after", "reply.before", "reply.after")
STARTING = ("migrate.statement", "migrate.before", "migrate.after", "publish.before", "publish.after")


def test_every_fail_point_is_in_the_code_and_every_one_in_the_code_is_listed() -> None:
    called = set()
    for package in ("engram", "engram_core", "engram_cli"):
        for path in (ROOT / package).rglob("*.py"):
            called |= set(re.findall(r'\breach\("([a-z.]+)"\)', path.read_text()))
    assert called == set(POINTS)


def test_kill_9_cycles_lose_and_double_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    torture = Torture(CYCLES, seed=7, verbose=False)
    with capsys.disabled():
        print()
        good = torture.run()
    assert good, torture.faults
    assert (torture.done, torture.lost, torture.doubled) == (CYCLES, 0, 0)
    assert torture.fewest >= 20 and torture.fewest_in_flight > 0
    assert sorted(torture.starts)[len(torture.starts) // 2] < 1.0


@pytest.mark.parametrize("point", SERVING)
def test_a_kill_at_a_point_of_a_write_keeps_every_promise(home: Home, point: str) -> None:
    log = Log()
    home.start(ENGRAM_FAILPOINT=f"{point}=kill@5")
    assert home.process is not None
    with home.connect() as sock:
        for number in range(20):
            try:
                append(sock, log, f"e{number}", f"text {number}")
            except (OSError, ConnectionResetError):
                break
    assert home.process.wait(5) == -9
    home.start()
    verdict = check(home.database, log)
    assert verdict, verdict
    # The daemon's own upkeep commits too, so a point of the commit may come sooner.
    assert 2 <= len(log.acknowledged) <= (5 if point == "reply.after" else 4)
    # Sent again under its id, what was under way is there once.
    with home.connect() as sock:
        for event_id, text in log.sent.items():
            assert "result" in append(sock, log, event_id, text)
    assert check(home.database, log)


@pytest.mark.parametrize("point", STARTING)
def test_a_kill_at_a_point_of_the_start_leaves_a_database_that_opens(home: Home, point: str) -> None:
    for count in (1, 2, 7) if point == "migrate.statement" else (1,):
        home.process = subprocess.Popen([sys.executable, "-c", RUN_DAEMON], stdin=subprocess.DEVNULL, cwd="/",
                                        env={**home.env, "ENGRAM_FAILPOINT": f"{point}=kill@{count}"})
        assert home.process.wait(10) == -9
    home.start()
    with Memory.connect(cwd="/") as memory:
        memory.append_event({"payload": "x"})
        assert len(memory.list_events({})) == 1


@pytest.mark.parametrize("point", ["checkpoint.before", "checkpoint.after"])
def test_a_kill_around_a_checkpoint_loses_nothing(home: Home, point: str) -> None:
    log = Log()
    home.start(ENGRAM_FAILPOINT=f"{point}=kill")
    assert home.process is not None
    forgotten = False
    with home.connect() as sock:
        try:
            for number in range(30):
                append(sock, log, f"e{number}", f"text {number}")
            append(sock, log, "gone", "to be forgotten")
            forgotten = "result" in ask(sock, line("forget", 1, scope=SCOPE, selector={"ids": ["gone"]}).strip())
        except (AssertionError, OSError):
            pass  # the daemon's upkeep was there first
    assert home.process.wait(10) == -9
    if forgotten:
        log.acknowledged.discard("gone")
    home.start()
    verdict = check(home.database, log)
    assert verdict, verdict
    assert not forgotten or "gone" not in verdict.stored


# ---- what kill -9 cannot see


def test_no_reply_goes_out_before_the_log_is_synced(faults: Faults) -> None:
    faults.ask("trace")
    faults.start()
    log, home = Log(), faults.home

    def client(name: int) -> None:
        with home.connect() as sock:
            for number in range(60):
                append(sock, log, f"e{name}-{number}", f"TOK{name * 1000 + number:08d}")

    threads = [Thread(target=client, args=(name,)) for name in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with home.connect() as sock:  # a reply that shows the token, to know that replies are seen
        assert len(ask(sock, line("list_events", 1, scope=SCOPE, limit=240).strip())["result"]["events"]) == 240
    written: dict[str, int] = {}
    synced, replied = [], {}
    for at, row in enumerate((faults.folder / "trace").read_text().splitlines()):
        what, _, token = row.partition(" ")
        if what == "W":
            written.setdefault(token, at)
        elif what == "S":
            synced.append(at)
        else:
            replied.setdefault(token, at)
    assert len(written) == len(replied) == 240
    assert len(synced) >= 15
    for token, at in written.items():
        assert any(at < sync < replied[token] for sync in synced), token


def test_each_acknowledgement_waits_for_a_sync_that_returned(faults: Faults) -> None:
    """One client, one line at a time: the reply's bytes themselves are the mark."""
    faults.ask("trace")
    faults.start()
    with faults.home.connect() as sock:
        for number in range(40):
            reply = ask(sock, line("append_event", 1, event={"scope": SCOPE, "event_id": f"TOK{number:08d}",
                                                             "payload": "x"}).strip())
            assert reply["result"]["durability"] == "committed"
    state: dict[str, str] = {}
    last = ""
    for row in (faults.folder / "trace").read_text().splitlines():
        what, _, token = row.partition(" ")
        if what == "W":
            state[token] = "written"
            last = token
        elif what == "S" and last:
            state = dict.fromkeys(state, "synced")
        elif what == "R":
            assert state[token] == "synced", token
    assert len(state) == 40


def durable(faults: Faults, target: Path, *, dice: random.Random | None) -> None:
    """Lay out what a power cut leaves: names and contents as of their last sync.

    With dice, of every sector that was written since then a coin decides whether it reached the disk.
    """
    shadow, folder = faults.folder / "shadow", faults.home.database.parent
    target.mkdir()
    names = (shadow / f"dir-{folder.stat().st_ino}").read_text().splitlines()
    for row in names:
        inode, _, name = row.partition(" ")
        kept = shadow / f"ino-{inode}"
        data = bytearray(kept.read_bytes() if kept.exists() else b"")
        now = folder / name
        if dice is not None and now.exists() and now.stat().st_ino == int(inode) and not name.endswith("-shm"):
            fresh = now.read_bytes()
            for at in range(0, len(fresh), 512):
                if fresh[at:at + 512] != data[at:at + 512] and dice.random() < 0.5:
                    if len(data) < at:
                        data.extend(bytes(at - len(data)))
                    data[at:at + 512] = fresh[at:at + 512]
        if name.startswith("engram.db") and not name.endswith("-shm"):
            (target / name).write_bytes(data)


@pytest.mark.parametrize("seed", range(4))
def test_a_power_cut_loses_nothing_acknowledged(faults: Faults, tmp_path: Path, seed: int) -> None:
    (faults.folder / "shadow").mkdir()
    home, log, dice = faults.home, Log(), random.Random(seed)
    faults.start()
    writers = Writers(home, log, name=f"p{seed}", seed=seed)
    assert wait_until(lambda: len(log.acknowledged) > 150)
    if seed % 2:  # with a checkpoint on the way
        with home.connect() as sock:
            ask(sock, line("forget", 1, scope=SCOPE, selector={"ids": ["none"]}).strip())
        assert wait_until(lambda: len(log.acknowledged) > 400)
    assert home.process is not None
    home.process.kill()
    home.process.wait()
    writers.end()
    for name, coin in (("nothing unsynced", None), ("half of it", dice), ("another half", dice)):
        left = tmp_path / name.replace(" ", "-")
        durable(faults, left, dice=coin)
        verdict = check(left / "engram.db", log, writers.batches)
        assert verdict, (name, verdict)
        assert len(log.acknowledged) > 150


def test_the_power_cut_test_would_notice(faults: Faults, tmp_path: Path) -> None:
    """With durability normal the log is not synced before the reply: the same cut must lose acknowledged events."""
    (faults.folder / "shadow").mkdir()
    log = Log()
    faults.start(ENGRAM_STORE_DURABILITY="normal")
    with faults.home.connect() as sock:
        for number in range(30):
            append(sock, log, f"e{number}", "x")
    assert faults.home.process is not None
    faults.home.process.kill()
    faults.home.process.wait()
    durable(faults, tmp_path / "left", dice=None)
    try:
        verdict = check(tmp_path / "left" / "engram.db", log)
    except sqlite3.OperationalError:
        return  # not even the tables had reached the disk
    assert verdict.lost


def test_the_same_id_a_hundred_times_and_across_a_restart_is_one_row(home: Home) -> None:
    home.start()
    log, answers = Log(), []

    def client() -> None:
        with home.connect() as sock:
            for _ in range(10):
                answers.append(append(sock, log, "same", "text")["result"])

    threads = [Thread(target=client) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert home.process is not None
    home.process.kill()
    home.process.wait()
    home.start()
    with home.connect() as sock:
        answers.append(append(sock, log, "same", "text")["result"])
    assert len(answers) == 101 and sum(not one["duplicate"] for one in answers) == 1
    assert len({(one["event_id"], one["seq"]) for one in answers}) == 1
    verdict = check(home.database, log)
    assert verdict and verdict.stored == {"same"}


def test_the_torture_can_be_repeated_from_the_command_line() -> None:
    began = time.monotonic()
    found = subprocess.run([sys.executable, "-m", "tests.faults.torture", "--cycles", "2", "--seed", "3"], cwd=ROOT,
                           capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stdout
    assert re.search(r"torture: 2 cycles .* 0 lost, 0 doubled, 0 other faults", found.stdout), found.stdout
    assert time.monotonic() - began < 60
    assert shutil.which("make")
