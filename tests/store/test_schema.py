"""The file itself: what its tables are, who may open it, and that what is refused is not touched."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from pathlib import Path

import pytest
from sqlite_utils import Database

from engram_core.errors import EngramError, SchemaTooNew, StoreCorrupt, StoreError
from engram_core.store.migrations import VERSION
from engram_core.store.statements import primary_key
from engram_core.store.store import Store
from engram_core.store.tables import MEMORIES, OWNER, TABLES
from tests.store.conftest import Opened


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a database with a memory in it."""
    found = tmp_path / "engram.db"
    store = Store(str(found))
    Opened(store).event("hello", "e1")
    store.close()
    return found


def test_the_tables_are_those_declared(path: Path) -> None:
    database = Database(str(path))
    assert set(database.table_names()) == {table.name for table in TABLES}
    for table in TABLES:
        found = database.table(table.name)
        assert [column.name for column in found.columns] == [column.name for column in table.all_columns()]
        assert [bool(column.notnull) for column in found.columns] == [not column.null for column in table.all_columns()]
        assert tuple(found.pks) == primary_key(table)
        indexes = [(tuple(index.columns), bool(index.unique)) for index in found.indexes if index.origin == "c"]
        declared = [(one, True) for one in table.unique] + [(one, False) for one in table.indexes]
        assert sorted(indexes) == sorted(declared)
    database.close()


def test_every_key_begins_with_whose_it_is() -> None:
    for table in TABLES:
        if table.scope:
            for key in (primary_key(table), *table.unique, *table.indexes):
                assert key[:3] == OWNER
    assert all(primary_key(table) == (*OWNER, "seq") for table in MEMORIES.values())


def test_opening_again_changes_nothing(path: Path) -> None:
    def schema() -> str:
        database = Database(str(path))
        found = str(database.schema)
        database.close()
        return found

    before = schema()
    for _ in range(3):
        store = Store(str(path))
        assert [event["payload"] for event in Opened(store).events()] == ["hello"]
        store.close()
    assert schema() == before


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store = Store(str(tmp_path / "new" / "engram.db"))
        Opened(store).event("x", "e")
        for found in [tmp_path / "new", *(tmp_path / "new").iterdir()]:
            assert stat.S_IMODE(found.stat().st_mode) & 0o077 == 0, found
        store.close()
    finally:
        os.umask(old)


def test_a_newer_schema_is_refused_and_untouched(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("UPDATE meta SET value=? WHERE name='schema'", (str(VERSION + 1),))
    database.commit()
    database.close()
    before = files(path.parent)
    said = f"has schema {VERSION + 1}, this program knows up to {VERSION}; install the newer Engram"
    with pytest.raises(SchemaTooNew, match=said):
        Store(str(path))
    assert files(path.parent) == before


@pytest.mark.parametrize("script", [
    "CREATE TABLE customers (id INTEGER)", "CREATE TABLE meta (name TEXT, value TEXT)", "CREATE TABLE meta (a TEXT)",
    "PRAGMA journal_mode=WAL; CREATE TABLE meta (name TEXT, value TEXT); INSERT INTO meta VALUES ('schema', '1')",
    "CREATE TABLE meta (name TEXT, value TEXT); INSERT INTO meta VALUES ('application', 'engram'), ('schema', 'x')"])
def test_another_programs_database_is_refused_and_untouched(tmp_path: Path, script: str) -> None:
    found = tmp_path / "engram.db"
    database = sqlite3.connect(found)
    database.executescript(script)
    database.close()
    before = files(tmp_path)
    with pytest.raises(StoreCorrupt, match=r"belongs to another program: it has the tables \w+; name another path"):
        Store(str(found))
    assert files(tmp_path) == before


def damaged(path: Path, how: str) -> None:
    data = path.read_bytes()
    half = len(data) // 2
    path.write_bytes({
        "zeroed": bytes(len(data)), "truncated": data[:half], "text": b"not a database\n" * 300, "short": b"x",
        "header": b"\xff" * 16 + data[16:], "page": data[:4096 * 5] + b"\xa5" * 4096 + data[4096 * 6:]}[how])


@pytest.mark.parametrize("how", ["zeroed", "truncated", "text", "short", "header", "page"])
def test_a_damaged_file_is_refused_and_untouched(path: Path, how: str) -> None:
    damaged(path, how)
    before = files(path.parent)
    with pytest.raises(StoreCorrupt, match=r"database /.*engram.db.*; keep the file and restore a backup"):
        Store(str(path))
    assert files(path.parent) == before


def test_a_log_without_its_database_is_never_thrown_away(path: Path) -> None:
    store = Store(str(path))
    Opened(store).event("only in the log", "e2")
    kept = files(path.parent)
    store.close()
    for name, data in kept.items():
        (path.parent / name).write_bytes(data)
    for left in (b"", None):
        path.unlink()
        if left is not None:
            path.write_bytes(left)
        before = files(path.parent)
        with pytest.raises(StoreCorrupt, match=r"is empty or gone, but its log .* has [0-9]+ bytes; keep the log"):
            Store(str(path))
        assert files(path.parent) == before
        path.write_bytes(kept["engram.db"])
    store = Store(str(path))
    assert [event["payload"] for event in Opened(store).events()] == ["hello", "only in the log"]
    store.close()


@pytest.mark.parametrize("name", ["a b.db", "100%.db", "what?.db", "no#1.db", "ü.db", "file:x.db", "%41.db"])
def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    for _ in range(2):
        Store(str(tmp_path / name)).close()
    assert (tmp_path / name).stat().st_size > 0


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path, said in ((tmp_path, "Is a directory"), (tmp_path / "file" / "engram.db", "file: File exists"),
                       (tmp_path / "file" / "more" / "engram.db", "file/more: Not a directory")):
        with pytest.raises(StoreError, match=f"{tmp_path}.*{said}; name a file of ours in store.url"):
            Store(str(path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_cannot_be_written_is_said(path: Path) -> None:
    path.chmod(0o400)
    with pytest.raises(StoreError, match=r"Permission denied; name a writable file in store.url"):
        Store(str(path))


def test_a_database_held_by_another_is_busy_not_broken(path: Path) -> None:
    store = Store(str(path), busy_ms=100)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    start = time.monotonic()
    with pytest.raises(EngramError, match="another process holds the database; try again") as caught:
        Opened(store).event("x", "e9")
    assert caught.value.retryable
    assert time.monotonic() - start < 5
    other.execute("ROLLBACK")
    Opened(store).event("x", "e9")
    store.close()
    other.close()
