"""A store copied from any database to any other is the same store, also when the copying was cut short."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engram_core.errors import EngramError, StoreError
from engram_core.store import copying, records
from engram_core.store.connection import Options
from engram_core.store.copying import copy
from engram_core.store.store import Store, open_database
from tests.daemon_fixture import RUN_COMMAND, Home
from tests.packet.test_backends import fill, said
from tests.packet.world import SCOPE, World
from tests.servers import BACKENDS, SERVERS, Databases, databases

PLAIN = {"source": Options(), "target": Options()}
PAIRS = [(one, other) for one in BACKENDS for other in BACKENDS]


def stream(url: str) -> list[Any]:
    """Return every record of a store."""
    database = open_database(url, Options())
    reader = database.reader()
    found = [record for owner in records.owners(reader) for table in records.OWNED
             for record in records.records(reader, owner, table)]
    database.close()
    return found


def filled(url: str) -> list[str]:
    """Fill a store, with memories of more than one owner and packets, and return what it says."""
    world = World(url)
    fill(world)
    for user in ("Ada", "ada", "ada "):
        world.write("append_event", scope={**SCOPE, "user_id": user}, event={"payload": f"I am {user}"})
    world.write("write_context_build", scope={**SCOPE, "user_id": "nobody"}, packet={"meta": {}, "x": "\u0000é"})
    world.packet({"query": "Bob"})
    world.engine.after_commit()
    found = said(world)
    world.engine.close()
    return found


@pytest.fixture
def places(tmp_path: Path) -> Any:
    """Give a maker of databases by backend."""
    with databases("sqlite", tmp_path) as files, databases("postgresql", tmp_path) as one, \
            databases("mariadb", tmp_path) as other:
        yield {"sqlite": files, "postgresql": one, "mariadb": other}


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda name: name)
def test_a_copy_is_the_same_store(places: dict[str, Databases], one: str, other: str) -> None:
    source, target = places[one].fresh(), places[other].fresh()
    expected = filled(source)
    steps: list[tuple[int, int]] = []
    report = copy(source, target, **PLAIN, watch=lambda done, total: steps.append((done, total)))
    assert stream(source) == stream(target)
    assert report.records == report.copied == len(stream(target)) == steps[-1][0] == steps[-1][1]
    assert report.owners == 7  # with those that hold what is shared
    world = World(target)
    assert said(world) == expected
    world.engine.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_copy_cut_short_is_no_store_and_goes_on(places: dict[str, Databases], backend: str,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = places["sqlite"].fresh(), places[backend].fresh()
    filled(source)
    monkeypatch.setattr(copying, "_PART_ROWS", 3)

    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy(source, target, **PLAIN, watch=stop)
    with pytest.raises(StoreError, match=r"is an unfinished copy of .*; finish it by running the same"):
        Store(target)
    world = World(source)  # it goes on living meanwhile
    world.say("something new")
    world.write("forget", selector={"ids": ["e7"]})
    world.engine.close()
    report = copy(source, target, **PLAIN)
    assert report.kept > 0
    assert stream(source) == stream(target)
    Store(target).close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_cannot_be_a_target_is_refused(places: dict[str, Databases], backend: str, tmp_path: Path) -> None:
    source, target = places["sqlite"].fresh(), places[backend].fresh()
    filled(source)
    before = stream(source)
    world = World(target)
    world.say("already here")
    world.engine.close()
    for url, said_ in ((target, "is not empty; name an empty or a new database"), (source, "is the source itself")):
        with pytest.raises(EngramError, match=said_):
            copy(source, url, **PLAIN)
    with pytest.raises(EngramError, match="there is no database"):
        copy(str(tmp_path / "none.db"), target, **PLAIN)
    assert stream(source) == before
    assert len(stream(target)) == 3


@pytest.mark.parametrize("backend", SERVERS)
def test_the_command_copies_and_says_what_it_did(places: dict[str, Databases], backend: str, home: Home) -> None:
    target = places[backend].fresh()
    home.database.parent.mkdir(parents=True)
    filled(str(home.database))

    def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", RUN_COMMAND, "store", "copy", *words], text=True,
                              env={**home.env, "USER": os.environ.get("USER", "root"), **env}, capture_output=True)

    found = run("--to", target, "--json")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["records"] == len(stream(target))
    again = run("--to", target)
    assert (again.returncode, "is not empty" in again.stderr) == (65, True)
    secret = run("--to", "postgresql://ada:geheim@127.0.0.1:1/x")
    assert (secret.returncode, "geheim" in secret.stderr) == (65, False)
    away = run("--to", "postgresql://ada:geheim@127.0.0.1:1/x".replace(":geheim", ""))
    assert away.returncode == 75
    hidden = run(ENGRAM_COPY_TO="mysql://ada:geheim@127.0.0.1:1/x")
    assert (hidden.returncode, "geheim" in hidden.stderr + hidden.stdout) == (75, False), hidden.stderr
