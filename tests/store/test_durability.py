"""What was acknowledged is there afterwards, once, whatever happened to the process."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engram_core.store.store import Store
from tests.store.conftest import Opened

ROOT = Path(__file__).parents[2]
CYCLES = 20


def worker(path: Path, name: str, first: int, size: int, most: int) -> subprocess.Popen[str]:
    arguments = [str(path), name, str(first), str(size), str(most)]
    return subprocess.Popen([sys.executable, "-m", "tests.store.worker", *arguments], cwd=ROOT,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_an_acknowledged_write_is_on_the_disk(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "a.db"))
    facts = store.facts()
    assert (facts["synchronous"], facts["journal_mode"]) == (2, "wal")
    store.close()
    relaxed = Store(str(tmp_path / "a.db"), durability="normal")
    assert (relaxed.facts()["synchronous"], relaxed.durability) == (1, "normal")
    relaxed.close()


def test_nothing_acknowledged_is_lost_to_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "killed.db"
    chance = random.Random(7)
    acknowledged: list[int] = []
    first = 0
    for cycle in range(CYCLES):
        process = worker(path, "e", first, chance.choice([1, 3, 20]), 1_000_000)
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n", process.stderr.read() if process.stderr else ""
        threading.Timer(chance.uniform(0.001, 0.06), process.kill).start()
        seen = [int(line) for line in process.stdout if line.endswith("\n") and line.strip().isdigit()]
        process.wait()
        acknowledged += seen
        first = 1_000_000 * (cycle + 1)
        store = Store(str(path))
        events = [event["payload"]["n"] for event in Opened(store).events()]
        store.close()
        assert len(events) == len(set(events))
        assert set(acknowledged) <= set(events)
    assert len(acknowledged) > CYCLES
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    (revision,), (changes,) = (database.execute(f"SELECT {what}").fetchone() for what in (
        "revision FROM owners", "max(revision) FROM changes"))
    assert revision == changes == database.execute("SELECT count(*) FROM events").fetchone()[0]
    database.close()


def test_a_group_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "groups.db"
    chance = random.Random(3)
    for cycle in range(5):
        process = worker(path, "e", cycle * 10_000, 100, 10_000)
        assert process.stdout is not None and process.stdout.readline() == "open\n"
        threading.Timer(chance.uniform(0.005, 0.1), process.kill).start()
        process.communicate()
        store = Store(str(path))
        assert len(Opened(store).events()) % 100 == 0
        store.close()


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    processes = [worker(path, name, 0, size, 150) for name, size in (("a", 1), ("b", 7), ("c", 30))]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.split()[1:] == [str(number) for number in range(150)]
    store = Store(str(path))
    events = Opened(store).events()
    assert {event["event_id"] for event in events} == {f"{name}{n}" for name in "abc" for n in range(150)}
    assert [event["seq"] for event in events] == list(range(1, 451))
    store.close()


@pytest.mark.parametrize("count", [8])
def test_many_first_starts_at_once_all_succeed(tmp_path: Path, count: int) -> None:
    path = tmp_path / "new" / "first.db"
    processes = [worker(path, f"p{number}-", 0, 1, 3) for number in range(count)]
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    store = Store(str(path))
    assert len(Opened(store).events()) == 3 * count
    store.close()
