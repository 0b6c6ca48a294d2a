"""``engram import`` of the earlier library's SQLite file: all kinds come over, twice is once, others are refused.

The file is made here by the statements of that library's schema, version 1.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from engram import Memory
from tests.daemon_fixture import Home

OWNER = "tenant_id TEXT NOT NULL, user_id TEXT NOT NULL, agent_id TEXT NOT NULL"
RUN = f"{OWNER}, session_id TEXT NOT NULL, run_id TEXT NOT NULL"
RUN_KEY = "tenant_id, user_id, agent_id, session_id, run_id"
OWNER_KEY = "tenant_id, user_id, agent_id"
SCHEMA = f"""
CREATE TABLE schema_migrations (version INTEGER NOT NULL, applied_at INTEGER NOT NULL);
CREATE TABLE events (event_id TEXT PRIMARY KEY, {RUN}, ts INTEGER NOT NULL, kind TEXT NOT NULL, payload TEXT NOT NULL,
    tags TEXT NOT NULL, entities TEXT NOT NULL);
CREATE TABLE wm_state ({RUN}, state_json TEXT NOT NULL, updated_at INTEGER NOT NULL, PRIMARY KEY ({RUN_KEY}));
CREATE TABLE stm_state ({OWNER}, session_id TEXT NOT NULL, rolling_summary TEXT NOT NULL, key_quotes TEXT NOT NULL,
    updated_at INTEGER NOT NULL, PRIMARY KEY ({OWNER_KEY}, session_id));
CREATE TABLE facts ({OWNER}, fact_id TEXT NOT NULL, fact_key TEXT NOT NULL, value_json TEXT NOT NULL,
    status TEXT NOT NULL, valid_from INTEGER, valid_to INTEGER, confidence REAL NOT NULL, sources TEXT NOT NULL,
    scope_level TEXT NOT NULL, notes TEXT NOT NULL, PRIMARY KEY ({OWNER_KEY}, fact_id));
CREATE TABLE episodes ({OWNER}, episode_id TEXT NOT NULL, start_ts INTEGER NOT NULL, end_ts INTEGER,
    summary TEXT NOT NULL, highlights TEXT NOT NULL, tags TEXT NOT NULL, entities TEXT NOT NULL, sources TEXT NOT NULL,
    compression_level TEXT NOT NULL, recency_score REAL, PRIMARY KEY ({OWNER_KEY}, episode_id));
CREATE TABLE procedures ({OWNER}, procedure_id TEXT NOT NULL, task_type TEXT NOT NULL, content_json TEXT NOT NULL,
    priority INTEGER NOT NULL, sources TEXT NOT NULL, applicability TEXT NOT NULL,
    PRIMARY KEY ({OWNER_KEY}, procedure_id));
CREATE TABLE insights ({RUN}, insight_id TEXT NOT NULL, kind TEXT NOT NULL, statement TEXT NOT NULL,
    trigger TEXT NOT NULL, confidence REAL NOT NULL, validation_state TEXT NOT NULL, tests_suggested TEXT NOT NULL,
    expires_at TEXT NOT NULL, sources TEXT NOT NULL, PRIMARY KEY ({RUN_KEY}, insight_id));
CREATE TABLE context_builds (id INTEGER PRIMARY KEY AUTOINCREMENT, {RUN}, ts INTEGER NOT NULL,
    packet_json TEXT NOT NULL);
"""
ADA = ("acme", "ada", "assistant", "s1", "r1")
SCOPE = dict(zip(RUN_KEY.split(", "), ADA, strict=True))
AT = 1_767_225_600_000  # 2026-01-01


def insert(database: sqlite3.Connection, table: str, *values: Any) -> None:
    database.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "engram.db"
    path.parent.mkdir()
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode=WAL")
    database.executescript(SCHEMA)
    insert(database, "schema_migrations", 1, AT)
    for number in range(450):  # more than one group; stored out of order
        at = AT + 1000 * (450 - number)
        payload = json.dumps({"role": "user", "content": f"turn {number}: Ada lives in Lyon"})
        insert(database, "events", f"e{number}", *ADA, at, "message", payload, '["move",""]', "[]")
    insert(database, "events", "t1", *ADA, AT, "tool_result", '{"tool_call_id":"c1","ok":true}', "[]", '["Lyon"]')
    for fact_id, value, status in (("f1", "Paris", "active"), ("f2", "Lyon", "active"), ("f3", "Rome", "disputed")):
        key = "city" if status == "active" else "wish"
        insert(database, "facts", *ADA[:3], fact_id, key, json.dumps(value), status, AT, None, 0.9, '["e1"]', "user",
               "n")
    insert(database, "episodes", *ADA[:3], "ep1", AT, AT + 5, "moved", '["boxes"]', '["move"]', "[]", '["e1"]', "raw",
           0.5)
    insert(database, "procedures", *ADA[:3], "p1", "move", '{"steps":["pack"]}', 10, "[]", '{"when":"moving"}')
    insert(database, "insights", *ADA, "i1", "pattern", "likes rivers", "synthesis", 0.4, "testing", '["ask"]',
           "run_end", "[]")
    quotes = '[{"evidence_id":"e1","quote":"Lyon","role":"user","ts":null}]'
    insert(database, "stm_state", *ADA[:4], "about moving", quotes, AT)
    insert(database, "wm_state", *ADA, json.dumps({
        "goal": "settle", "plan": ["pack"], "slots": {"city": "Lyon"}, "constraints": {}, "tool_evidence": [],
        "decisions": [], "risks": [], "state_version": 7}), AT)
    insert(database, "context_builds", 1, *ADA, AT, "{}")
    database.commit()
    database.close()
    return path


def test_every_kind_comes_over_and_twice_is_once(home: Home, file: Path) -> None:
    before = file.read_bytes()
    found = home.engram("import", str(file), "--json")
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    assert (told["records"], told["kept"], told["owners"], told["packets"]) == (451 + 3 + 5, 0, 1, 1)
    assert file.read_bytes() == before
    home.start()
    with Memory.connect(timeout=20) as memory:
        events = memory.list_events(SCOPE)
        assert [one["event_id"] for one in events[:3]] == ["t1", "e449", "e448"] and len(events) == 451
        assert events[1]["tags"] == ["move"] and events[1]["ts"] == "2026-01-01T00:00:01Z"
        facts = {one["fact_id"]: one for one in memory.list_facts(SCOPE)}
        assert {one: facts[one]["status"] for one in facts} == {"f1": "deprecated", "f2": "active", "f3": "disputed"}
        assert (facts["f2"]["value"], facts["f2"]["confidence"], facts["f2"]["notes"]) == ("Lyon", 0.9, "n")
        assert memory.list_episodes(SCOPE)[0]["highlights"] == ["boxes"]
        assert memory.list_procedures(SCOPE, "move")[0]["content"] == {"steps": ["pack"]}
        assert memory.list_insights(SCOPE)[0]["validation_state"] == "testing"
        assert memory.get_stm(SCOPE)["rolling_summary"] == "about moving"  # type: ignore[index]
        state = memory.get_working_state(SCOPE)
        assert state is not None and (state["goal"], state["state_version"]) == ("settle", 7)
        assert "Lyon" in json.dumps(memory.build_memory_packet({"scope": SCOPE, "query": "where does Ada live"}))
        memory.patch_working_state(SCOPE, {"goal": "rest"})
        memory.upsert_fact(SCOPE, {"fact_key": "city", "value": "Nice"})
        refused = home.engram("import", str(file))
        assert refused.returncode == 75 and b"engram daemon stop" in refused.stderr
    home.engram("daemon", "stop")
    again = json.loads(home.engram("import", str(file), "--json").stdout)
    assert (again["records"], again["kept"]) == (0, 459)
    home.start()
    with Memory.connect(timeout=20) as memory:  # what happened since stays
        assert memory.get_working_state(SCOPE)["goal"] == "rest"  # type: ignore[index]
        assert [one["value"] for one in memory.list_facts(SCOPE, {"status": ["active"]})] == ["Nice"]


def _sql(text: str) -> Any:
    def spoil(path: Path) -> None:
        with sqlite3.connect(path) as database:
            database.executescript(text)
        database.close()
    return spoil


def _damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096 * 4:4096 * 12] = b"\xff" * (4096 * 8)
    path.write_bytes(data)


BAD = {
    "another program's": (_sql("DROP TABLE wm_state; DROP TABLE events"), 65, "no events"),
    "another layout": (_sql("ALTER TABLE facts DROP COLUMN notes"), 65, "facts has no notes"),
    "newer": (_sql("UPDATE schema_migrations SET version=2"), 65, "schema version 2"),
    "a payload that is no JSON": (_sql("UPDATE events SET payload='{' WHERE event_id='e7'"), 65, "events e7"),
    "a role nobody knows": (_sql("""UPDATE events SET payload='{"role":"boss"}' WHERE event_id='e7'"""), 65,
                            "events e7: event.payload.role"),
    "an empty id": (_sql("UPDATE facts SET user_id='' WHERE fact_id='f1'"), 65, "facts f1"),
    "damaged": (_damage, 74, "malformed"),
}


@pytest.mark.parametrize(("spoil", "code", "said"), BAD.values(), ids=BAD)
def test_a_file_that_cannot_be_taken_over_is_refused_whole(home: Home, file: Path, spoil: Any, code: int,
                                                           said: str) -> None:
    spoil(file)
    found = home.engram("import", str(file))
    assert found.returncode == code and found.stderr.count(b"\n") == 1, found
    assert str(file) in found.stderr.decode() and said in found.stderr.decode(), found.stderr
    assert not home.database.exists()


def test_a_database_of_this_engram_is_named_as_one(home: Home, tmp_path: Path) -> None:
    home.start()
    assert home.engram("append", "x").returncode == 0
    assert home.engram("backup", str(tmp_path / "copy.db")).returncode == 0
    home.engram("daemon", "stop")
    found = home.engram("import", str(tmp_path / "copy.db"))
    assert found.returncode == 65 and b"engram restore" in found.stderr
