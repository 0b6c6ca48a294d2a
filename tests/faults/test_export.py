"""Export and import: every kind comes back, the same twice, and bad files are refused whole."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engram import Memory
from tests.daemon_fixture import RUN_COMMAND, SCOPE, Home
from tests.faults.world import Log, Writers, wait_until

TABLES = ("owners", "changes", "events", "facts", "episodes", "procedures", "insights", "working_states",
          "short_terms", "builds", "threads", "checkpoints", "channel_blobs", "checkpoint_writes",
          "checkpoint_pieces", "item_places", "items")


def filled(home: Home) -> None:
    """Store something of every kind, of two owners, and stop."""
    home.start()
    with Memory.connect(timeout=20) as memory:
        for user in ("ada", "bob"):
            scope = {**SCOPE, "user_id": user}
            memory.append_events([{"scope": scope, "payload": f"{n} Ada lives in Lyon"} for n in range(30)])
            for value in ("Paris", "Lyon"):
                memory.upsert_fact(scope, {"fact_key": "city", "value": value})
            memory.append_episode(scope, {"summary": "moved", "time_range": {"start": "2026-01-01T00:00:00Z"}})
            memory.upsert_procedure(scope, {"task_type": "move", "content": "pack"})
            memory.append_insight(scope, {"statement": "likes rivers", "type": "hypothesis"})
            memory.patch_working_state(scope, {"goal": "settle"})
            memory.update_stm(scope, {"rolling_summary": "about moving"})
            memory.build_memory_packet({"scope": scope, "query": "where does Ada live"})
            space = {"scope": scope, "thread_id": "t1", "ns": ""}
            memory.request("put_checkpoint_piece", {**space, "digest": "d", "piece": 0, "data": "rQUJD"})
            thread = {**space, "checkpoint_id": "c1"}
            memory.request("put_checkpoint", {**thread, "metadata": "{}", "body": ["msgpack", "rAA==", 0],
                                              "versions": {"a": "1"}, "values": {"a": ["bytes", "d", 1]}})
            memory.request("put_items", {"scope": scope, "items": [[["notes"], "k", {"text": "boat"}, "boat", 1000]]})
            memory.request("put_checkpoint_writes", {**thread, "writes": [["k1", 0, "", "a", "null", "r", 0]]})
        assert wait_until(lambda: len(memory.list_context_builds({**SCOPE, "user_id": "bob"})) == 1)
    home.process.terminate()  # type: ignore[union-attr]
    home.process.wait()  # type: ignore[union-attr]


def rows(path: Path, where: str = "1=1") -> dict[str, list[tuple[Any, ...]]]:
    with sqlite3.connect(path) as database:
        return {table: sorted(database.execute(f"SELECT * FROM {table} WHERE {where}").fetchall(), key=repr)
                for table in TABLES}


def fresh(home: Home, name: str) -> dict[str, str]:
    return {"ENGRAM_STORE_URL": str(home.path / name)}


def test_every_kind_comes_back_and_a_second_import_changes_nothing(home: Home) -> None:
    filled(home)
    file = home.path / "all.ndjson"
    found = json.loads(home.engram("export", str(file), "--json").stdout)
    assert found["schema"] == "engram.export/1" and found["owners"] >= 2
    assert file.stat().st_mode & 0o777 == 0o600
    env = fresh(home, "new.db")
    first = json.loads(home.engram("import", str(file), "--json", env=env).stdout)
    assert (first["records"], first["kept"]) == (found["records"], 0)
    assert rows(home.path / "new.db") == rows(home.database)
    again = json.loads(home.engram("import", str(file), "--json", env=env).stdout)
    assert (again["records"], again["kept"]) == (0, found["records"])
    other = home.path / "again.ndjson"
    home.engram("export", str(other), env=env)
    assert file.read_bytes().splitlines()[1:] == other.read_bytes().splitlines()[1:]
    # A daemon works on it.
    asked = ("packet", "--user", "ada", "--session", "s1", "--run", "r1", "-q", "where does Ada live")
    packet = home.engram(*asked, env=env)
    assert b"Lyon" in packet.stdout
    home.engram("daemon", "stop", env=env)


def test_one_owner_alone(home: Home) -> None:
    filled(home)
    out = home.engram("export", "--user", "bob", "-")
    assert out.returncode == 0 and b"of 1 owner" in out.stderr
    file = home.path / "bob.ndjson"
    file.write_bytes(out.stdout)
    assert home.engram("import", str(file), env=fresh(home, "bob.db")).returncode == 0
    assert rows(home.path / "bob.db") == rows(home.database, "user_id='bob'")


BY_RUN = ("events", "insights", "working_states", "builds")


def test_one_session_or_run_alone(home: Home) -> None:
    filled(home)
    home.start()
    with Memory.connect(timeout=20) as memory:
        for session, run in (("s1", "r2"), ("s2", "r1")):
            scope = {**SCOPE, "session_id": session, "run_id": run}
            memory.append_event({"scope": scope, "payload": f"in {session} {run}"})
            memory.patch_working_state(scope, {"goal": session})
    home.process.terminate()  # type: ignore[union-attr]
    home.process.wait()  # type: ignore[union-attr]
    for given, where in ((("--user", "ada", "--session", "s1"), "user_id='ada' AND session_id='s1'"),
                         (("--user", "ada", "--session", "s1", "--run", "r2"),
                          "user_id='ada' AND session_id='s1' AND run_id='r2'"),
                         (("--run", "r1",), "run_id='r1'")):
        file, new = home.path / "part.ndjson", home.path / "part.db"
        assert home.engram("export", *given, str(file)).returncode == 0
        assert home.engram("import", str(file), env=fresh(home, "part.db")).returncode == 0
        for table in BY_RUN:
            with sqlite3.connect(new) as one, sqlite3.connect(home.database) as all_of_them:
                wanted = sorted(all_of_them.execute(f"SELECT * FROM {table} WHERE {where}"), key=repr)
                assert sorted(one.execute(f"SELECT * FROM {table}"), key=repr) == wanted and (wanted or "r2" in where)
        with sqlite3.connect(new) as one:
            assert one.execute("SELECT count(*) FROM facts").fetchone() == (0,)
            assert one.execute("SELECT count(*) FROM short_terms").fetchone()[0] == ("run" not in where)
        # It goes on there: a new event gets a number of its own, and what came is found.
        env = fresh(home, "part.db")
        scope = ("--user", "ada", "--session", "s1", "--run", "r2")
        assert home.engram("append", "more", *scope, env=env).returncode == 0
        found = home.engram("search", "in s1 r2" if "r2" in where else "Lyon", *scope, "--json", env=env)
        assert json.loads(found.stdout)["hits"], found
        home.engram("daemon", "stop", env=env)
        file.unlink()
        for path in home.path.glob("part.db*"):
            path.unlink()


def test_a_session_nobody_has_is_an_empty_export(home: Home) -> None:
    filled(home)
    out = home.engram("export", "--session", "nowhere", "-")
    assert out.returncode == 0 and b"0 records of 0 owners" in out.stderr
    assert [json.loads(row) for row in out.stdout.splitlines()][-1]["end"]["records"] == 0


def test_an_export_beside_writers_is_one_state(home: Home) -> None:
    home.start()
    log = Log()
    writers = Writers(home, log, name="x")
    assert wait_until(lambda: len(log.acknowledged) > 100)
    before = set(log.acknowledged)
    assert home.engram("export", str(home.path / "live.ndjson")).returncode == 0
    writers.end()
    found = [json.loads(line) for line in (home.path / "live.ndjson").read_bytes().splitlines()[1:-1]]
    events = {one["row"]["event_id"] for one in found if one["table"] == "events"}
    revisions = sum(one["row"]["revision"] for one in found if one["table"] == "owners")
    assert before <= events and revisions == sum(one["table"] == "changes" for one in found)
    refused = home.engram("import", str(home.path / "live.ndjson"))
    assert refused.returncode == 75 and b"engram daemon stop" in refused.stderr


def _newer(data: bytes) -> bytes:
    head, _, rest = data.partition(b"\n")
    return json.dumps({**json.loads(head), "version": 99}).encode() + b"\n" + rest


BAD = {
    "cut in a line": (lambda data: data[:len(data) // 2], "cut short"),
    "without its end": (lambda data: data[:data.rstrip().rindex(b"\n") + 1], "cut short"),
    "a line less": (lambda data: b"\n".join([*data.split(b"\n")[:4], *data.split(b"\n")[5:]]), "changed or cut"),
    "a changed text": (lambda data: data.replace(b"Lyon", b"Rome", 1), "changed or cut"),
    "foreign": (lambda data: b'{"hello":"world"}\n' + data, "no export of Engram"),
    "no JSON": (lambda data: b"\0\1 no JSON\n", "not JSON"),
    "newer": (_newer, "version 99"),
    "two files in one": (lambda data: data + data, "follows the end"),
    "empty": (lambda data: b"", "cut short"),
}


@pytest.mark.parametrize(("spoil", "word"), BAD.values(), ids=BAD)
def test_a_bad_file_is_refused_before_anything_is_stored(home: Home, spoil, word: str) -> None:  # type: ignore
    filled(home)
    file = home.path / "x.ndjson"
    assert home.engram("export", str(file)).returncode == 0
    bad = home.path / "bad.ndjson"
    bad.write_bytes(spoil(file.read_bytes()))
    found = home.engram("import", str(bad), env=fresh(home, "new.db"))
    assert found.returncode == 65 and found.stderr.count(b"\n") == 1, found
    assert word in found.stderr.decode() and str(bad) in found.stderr.decode()
    assert not (home.path / "new.db").exists()


def test_an_import_killed_between_owners_goes_on_and_never_leaves_half_of_one(home: Home) -> None:
    filled(home)
    file = home.path / "x.ndjson"
    assert home.engram("export", str(file)).returncode == 0
    env = fresh(home, "new.db")
    program = ("from engram_core.store import exporting as e; real = e._load_owner\n"
               "def load(writer, owner, lines, name):\n"
               "    found = real(writer, owner, lines, name)\n"
               "    if owner[1] == 'bob':\n        import os; os.kill(os.getpid(), 9)\n"
               "    return found\n"
               "e._load_owner = load\n" + RUN_COMMAND)
    killed = subprocess.run([sys.executable, "-c", program, "import", str(file)], env={**home.env, **env}, cwd="/")
    assert killed.returncode == -9
    assert rows(home.path / "new.db", "user_id='bob'") == {table: [] for table in TABLES}
    assert rows(home.path / "new.db", "user_id='ada'") == rows(home.database, "user_id='ada'")
    assert home.engram("import", str(file), env=env).returncode == 0
    assert rows(home.path / "new.db") == rows(home.database)


def test_other_memories_of_the_same_owner_are_refused_by_line(home: Home) -> None:
    filled(home)
    file = home.path / "x.ndjson"
    assert home.engram("export", str(file)).returncode == 0
    env = fresh(home, "other.db")
    assert home.engram("append", "mine", "--user", "ada", "--session", "s1", "--run", "r1", env=env).returncode == 0
    home.engram("daemon", "stop", env=env)
    before = rows(home.path / "other.db", "user_id='ada'")
    found = home.engram("import", str(file), env=env)
    assert found.returncode == 65 and b"other memories of its own" in found.stderr
    assert rows(home.path / "other.db", "user_id='ada'") == before


def test_nothing_is_written_over_and_a_full_disk_leaves_nothing(home: Home) -> None:
    filled(home)
    there = home.path / "there.ndjson"
    there.write_text("mine")
    assert home.engram("export", str(there)).returncode == 65 and there.read_text() == "mine"
    small = home.path / "small"
    small.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small)],
                                           capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        found = home.engram("export", str(small / "x.ndjson"))
        assert found.returncode == 74 and list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
    assert shutil.disk_usage(home.path)
