"""What version 1 wrote opens and means the same: its database, packet, configuration, policy and socket lines."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from engram_core import policy, settings
from engram_core.daemon.handlers import Engine
from engram_core.shipped import path as shipped
from engram_core.store.store import Store
from tests.compat.make_version_1 import NEXT, REQUEST, SCOPE
from tests.daemon_fixture import Home, ask

HERE = Path(__file__).parent / "v1"
VOLATILE = {"created_at", "updated_at", "recalled_at", "recall_count", "recency_score", "build_id", "generated_at",
            "score", "parts", "capabilities", "message", "hint"}
EARNED = {"parts", "relevance"}
"""Objects that name only what gave a memory its score, which depends on the ranking of the day."""
JUDGED = {"build_memory_packet", "explain", "search", "list_context_builds"}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Open a copy of the old database with the present program."""
    shutil.copy(HERE / "engram.db", tmp_path / "engram.db")
    found = Engine(settings.load(env={"HOME": str(tmp_path)}), str(tmp_path / "engram.db"))
    yield found
    found.close()


def read(engine: Engine, method: str, **params: Any) -> Any:
    return json.loads(engine.read(method, params))


def holds(new: Any, old: Any, *, values: bool, path: str = "") -> list[str]:
    """Return where what is said now lacks something that was said then; more may be said now."""
    if isinstance(old, dict):
        if not isinstance(new, dict):
            return [f"{path}: {new!r} is no object"]
        return [line for key, one in old.items() for line in (
            holds(new[key], {} if key in EARNED and not values else one, path=f"{path}.{key}",
                  values=values and key not in VOLATILE)
            if key in new else [f"{path}.{key} is missing"])]
    if isinstance(old, list):
        if not isinstance(new, list) or (values and len(new) != len(old)):
            return [f"{path}: {new!r} is not the list {old!r}"]
        if not values and all(isinstance(one, dict) and "id" in one for one in [*new, *old]):
            ids = {(one.get("kind"), one["id"]): one for one in new}  # the order is what is judged anew
            old = [one for one in old if (one.get("kind"), one["id"]) in ids]
            new = [ids[one.get("kind"), one["id"]] for one in old]
        return [line for at, (one, other) in enumerate(zip(new, old, strict=False))
                for line in holds(one, other, values=values, path=f"{path}[{at}]")]
    if values:
        return [] if new == old else [f"{path}: {new!r} was {old!r}"]
    number = (int, float)
    return [] if old is None or new is None or type(new) is type(old) or (
        isinstance(new, number) and isinstance(old, number)) else [f"{path}: {new!r} was {old!r}"]


def test_every_list_says_what_it_said(engine: Engine) -> None:
    for listing in json.loads((HERE / "listings.json").read_text()):
        found = read(engine, listing["method"], **listing["params"])
        assert holds(found, listing["result"], values=True) == [], listing["method"]


def test_what_was_listed_is_accepted_back(engine: Engine) -> None:
    for event in read(engine, "list_events", scope=SCOPE)["events"]:
        (reply,) = engine.write([("append_event", {"event": event})])
        assert isinstance(reply, bytes) and json.loads(reply)["duplicate"]
    for fact in read(engine, "list_facts", scope=SCOPE)["facts"]:
        (reply,) = engine.write([("upsert_fact", {"scope": SCOPE, "fact": fact})])
        assert isinstance(reply, bytes) and json.loads(reply)["outcome"] == "refreshed"


def test_its_memories_are_recalled(engine: Engine) -> None:
    packet = json.dumps(read(engine, "build_memory_packet", request=REQUEST))
    assert "Lisbon" in packet
    assert "heating coil" in json.dumps(read(engine, "search", scope=NEXT, query="what did the search say of the coil"))
    assert read(engine, "explain", scope=NEXT)["candidates"]


def test_its_packet_is_still_a_packet(engine: Engine) -> None:
    old = json.loads((HERE / "packet.json").read_text())
    new = read(engine, "build_memory_packet", request=REQUEST)
    for packet in (old, new):
        packet.pop("budget_report"), packet.pop("explain")
    assert holds(new, old, values=False) == []
    (reply,) = engine.write([("write_context_build", {"scope": {**SCOPE, "run_id": "r9"}, "packet": old})])
    assert isinstance(reply, bytes)
    assert read(engine, "list_context_builds", scope={**SCOPE, "run_id": "r9"})["builds"] == [old]


def test_it_is_forgotten_like_any_other(engine: Engine) -> None:
    engine.write([("forget", {"scope": SCOPE, "selector": {"all": True}})])
    assert read(engine, "list_events", scope=SCOPE, level="owner")["events"] == []
    assert read(engine, "search", scope=SCOPE, query="Lisbon trams")["hits"] == []


def test_a_migrated_database_equals_a_fresh_one(tmp_path: Path) -> None:
    shutil.copy(HERE / "engram.db", tmp_path / "old.db")
    shapes = []
    for name in ("old.db", "new.db"):
        Store(str(tmp_path / name)).close()
        database = Database(str(tmp_path / name))
        tables = {table.name: ([tuple(column) for column in table.columns], table.pks,
                               sorted((index.name, index.columns, index.unique) for index in table.indexes))
                  for table in database.tables}
        shapes.append((tables, list(database.query("SELECT * FROM meta ORDER BY name"))))
        database.close()
    assert shapes[0] == shapes[1]


def test_its_configuration_is_understood(tmp_path: Path) -> None:
    found = settings.load(env={"HOME": str(tmp_path)}, config=_private(HERE / "engram.toml", tmp_path))
    expected = {"store.durability": "normal", "store.busy_timeout_ms": 1000, "daemon.max_connections": 8,
                "daemon.log_level": "warning", "daemon.request_timeout_ms": 5000, "scope.user": "ada",
                "scope.session": "work", "packet.policy": "brief", "packet.max_tokens": 900,
                "packet.tokenizer": "cl100k_base", "recall.language": "german", "recall.index_memory_mb": 64,
                "redact.enabled": True, "redact.patterns": {"ticket": "TICKET-[0-9]{4,}"},
                "retention.events_days": 365, "retention.builds_per_run": 10, "retention.insights_days": 7}
    assert {key: found.get(key) for key in expected} == expected


def test_its_policy_is_understood(tmp_path: Path) -> None:
    _private(HERE / "brief.toml", tmp_path)
    found = policy.Policies([str(tmp_path), shipped("policies")]).load("brief", {})
    assert (found.max_facts, found.cost_exponent, found.split_preferences) == (5, 0.5, True)
    assert found.half_life_days["event"] == 7.0
    assert found.purposes["planner"].sections["facts"].share == 0.5


def _private(source: Path, folder: Path) -> str:
    target = folder / source.name
    target.write_text(source.read_text())
    target.chmod(0o600)
    return str(target)


def test_a_client_of_then_is_served_now(home: Home) -> None:
    home.start()
    sock = home.connect()
    wrong = []
    for number, line in enumerate((HERE / "transcript.jsonl").read_text().splitlines(), 1):
        exchange = json.loads(line)
        got, then = ask(sock, exchange["sent"].encode()), exchange["got"]
        method = next((name for name in JUDGED if f'"{name}"' in exchange["sent"]), "")
        for part in ("jsonrpc", "id"):
            assert got.get(part) == then[part]
        if "error" in then:
            wrong += [f"line {number}{found}" for found in holds(got, {"error": then["error"]}, values=True)]
        elif isinstance(then["result"], str):
            assert isinstance(got.get("result"), str), (number, got)
        elif method:
            result = {key: one for key, one in then["result"].items() if key not in ("budget_report", "explain")}
            wrong += [f"line {number}{found}" for found in holds(got.get("result"), result, values=False)]
        else:
            wrong += [f"line {number}{found}" for found in holds(got.get("result"), then["result"], values=True)]
    sock.close()
    assert wrong == []
