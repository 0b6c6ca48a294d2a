"""What docs/langgraph.md says of the official savers and stores beside ours, asked of both."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance.test_utils import generate_checkpoint, generate_config, generate_metadata

from engram.adapters.langgraph import EngramSaver, EngramStore

official = pytest.importorskip("langgraph.checkpoint.sqlite", reason="langgraph-checkpoint-sqlite is not installed")
official_aio = pytest.importorskip("langgraph.checkpoint.sqlite.aio")
official_store = pytest.importorskip("langgraph.store.sqlite")


@pytest.fixture
def savers(tmp_path: Path) -> Iterator[tuple[Any, Any]]:
    """Ours and the official one, each on a file of its own."""
    with EngramSaver(tmp_path / "ours.db") as ours, official.SqliteSaver.from_conn_string(
            str(tmp_path / "theirs.db")) as theirs:
        yield ours, theirs


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[Any, Any]]:
    with EngramStore(tmp_path / "ours.db") as ours, official_store.SqliteStore.from_conn_string(
            str(tmp_path / "theirs.db")) as theirs:
        theirs.setup()
        yield ours, theirs


def put(saver: Any, values: dict[str, Any], versions: dict[str, Any], changed: dict[str, Any]) -> None:
    checkpoint = generate_checkpoint(channel_values=values, channel_versions=versions)
    saver.put(generate_config("t"), checkpoint, generate_metadata(), changed)


def test_one_object_is_blocking_and_awaited(savers: tuple[Any, Any]) -> None:
    ours, theirs = savers
    assert asyncio.run(ours.aget_tuple(generate_config("t"))) is None
    assert ours.get_tuple(generate_config("t")) is None and theirs.get_tuple(generate_config("t")) is None
    with pytest.raises(NotImplementedError):
        asyncio.run(theirs.aget_tuple(generate_config("t")))

    async def blocking() -> None:
        async with official_aio.AsyncSqliteSaver.from_conn_string(":memory:") as awaited:
            assert await awaited.aget_tuple(generate_config("t")) is None
            with pytest.raises(asyncio.InvalidStateError):
                awaited.get_tuple(generate_config("t"))
            assert await asyncio.to_thread(awaited.get_tuple, generate_config("t")) is None

    asyncio.run(blocking())


def test_the_extended_operations_are_ours_alone() -> None:
    for name in ("delete_for_runs", "copy_thread", "prune"):
        base = getattr(BaseCheckpointSaver, name)
        assert getattr(EngramSaver, name) is not base
        assert getattr(official.SqliteSaver, name) is base
        assert getattr(official_aio.AsyncSqliteSaver, f"a{name}") is getattr(BaseCheckpointSaver, f"a{name}")
    for name in ("put", "put_writes", "get_tuple", "list", "delete_thread"):
        for saver in (EngramSaver, official.SqliteSaver, official_aio.AsyncSqliteSaver):
            assert getattr(saver, name) is not getattr(BaseCheckpointSaver, name)


def test_a_value_that_did_not_change_is_stored_once(tmp_path: Path, savers: tuple[Any, Any]) -> None:
    large = os.urandom(100_000)
    for saver in savers:
        versions = {"a": saver.get_next_version(None, None)}
        for at in range(10):
            put(saver, {"a": large}, versions, versions if not at else {})
        assert len(list(saver.list(generate_config("t")))) == 10
        found = saver.get_tuple(generate_config("t"))
        assert found is not None and found.checkpoint["channel_values"] == {"a": large}

    def size(name: str) -> int:
        return sum(one.stat().st_size for one in tmp_path.glob(f"{name}.db*"))

    assert size("ours") < 600_000 < 1_000_000 < size("theirs")


def test_a_list_that_pauses_keeps_nobody_from_writing(savers: tuple[Any, Any]) -> None:
    for saver, free in zip(savers, (True, False), strict=True):
        for _ in range(3):
            put(saver, {}, {}, {})
        pages = saver.list(generate_config("t"))
        next(pages)
        writer = threading.Thread(target=put, args=(saver, {}, {}, {}))
        writer.start()
        writer.join(10 if free else 0.5)
        assert writer.is_alive() is not free
        pages.close()
        writer.join(10)
        assert not writer.is_alive()


def test_other_processes_wait_five_seconds_for_the_official_one(savers: tuple[Any, Any]) -> None:
    assert savers[1].conn.execute("PRAGMA busy_timeout").fetchone()[0] == 5000


def test_only_ours_searches_by_words_without_a_model(stores: tuple[Any, Any]) -> None:
    for store, knows in zip(stores, (True, False), strict=True):
        store.put(("u",), "tea", {"text": "likes green tea", "n": 3, "deep": {"x": "y"}})
        store.put(("u",), "boat", {"text": "rows a boat", "n": 5, "deep": {"x": "z"}}, index=False)
        store.put(("u",), "lamp", {"text": "bought a lamp", "n": 7}, index=["text"])
        found = store.search(("u",), query="green tea")
        assert ([one.key for one in found] == ["tea"] and found[0].score > 0) is knows
        assert knows or all(one.score is None for one in found)


def test_filters_are_alike_but_for_nested_ones(stores: tuple[Any, Any]) -> None:
    for store, nested in zip(stores, (True, False), strict=True):
        for at in range(4):
            store.put(("u",), f"k{at}", {"n": at, "deep": {"x": at % 2}})
        for given, keys in (({"n": {"$gte": 2}}, {"k2", "k3"}), ({"n": {"$lt": 1}}, {"k0"}), ({"n": 2}, {"k2"}),
                            ({"n": {"$ne": 1}}, {"k0", "k2", "k3"}), ({"n": {"$gt": 2}}, {"k3"}),
                            ({"n": {"$lte": 0}}, {"k0"}), ({"n": {"$eq": 1}}, {"k1"})):
            assert {one.key for one in store.search(("u",), filter=given)} == keys, (store, given)
        if nested:
            assert {one.key for one in store.search(("u",), filter={"deep": {"x": 1}})} == {"k1", "k3"}
        else:
            with pytest.raises(ValueError, match="Unsupported operator"):
                store.search(("u",), filter={"deep": {"x": 1}})


def test_the_newest_write_comes_first(stores: tuple[Any, Any]) -> None:
    for store in stores:
        for key in ("a", "b", "c"):
            store.put(("u",), key, {"n": 1})
            time.sleep(1.1 if store is stores[1] else 0.002)  # the official one tells seconds apart
        assert [one.key for one in store.search(("u",))] == ["c", "b", "a"]


def test_namespaces_go_by_segment_and_case(stores: tuple[Any, Any]) -> None:
    for store in stores:
        store.put(("Ab", "x"), "k", {"n": 1})
        assert [one.key for one in store.search(("Ab",))] == ["k"]
        for prefix in ("A", "ab", "%", "A_", "*"):
            assert store.search((prefix,)) == [], (store, prefix)


def test_items_live_for_minutes(stores: tuple[Any, Any]) -> None:
    ours, theirs = stores
    ours.put(("u",), "k", {"n": 1}, ttl=5)
    assert ours.supports_ttl and ours.get(("u",), "k") is not None
    assert theirs.supports_ttl and hasattr(theirs, "start_ttl_sweeper")
