"""No scope ever reads or writes another's rows: generated scopes, every operation, the whole database compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engram_core.errors import EngramError
from engram_core.protocol.messages import OPERATIONS, READS, WRITES
from engram_core.scope import SCOPE_FIELDS
from engram_core.store.tables import TABLES
from tests.engine.conftest import Asked
from tests.servers import SERVERS

# Ids that a careless comparison takes for one another.
IDS = st.just("a") | st.sampled_from(["A", "á", "a ", "b", "%", "_", "a' OR '1'='1", "ab"])
SCOPES = st.tuples(*[IDS] * len(SCOPE_FIELDS)).map(lambda ids: dict(zip(SCOPE_FIELDS, ids, strict=True)))
Scope = dict[str, str]
THREAD = {"thread_id": "t1", "ns": ""}
RUN_TABLES = ("events", "insights", "working_states", "builds")
READ_BY = {"run": SCOPE_FIELDS, "session": SCOPE_FIELDS[:4], "owner": SCOPE_FIELDS[:3]}


def mark(scope: Scope) -> str:
    """Return a word that names the scope, to be found wherever its memories are."""
    return "m" + "x".join(f"{name}".encode().hex() for name in scope.values()) + "m"


def fill(memory: Asked, scope: Scope) -> None:
    """Write one of everything, under the same ids in every scope."""
    word = mark(scope)
    calls: list[tuple[str, dict[str, Any]]] = [
        ("append_event", {"event": {"scope": scope, "event_id": "e", "payload": {"content": word}}}),
        ("upsert_fact", {"fact": {"fact_key": "k", "value": word}}),
        ("append_episode", {"episode": {"episode_id": "ep", "summary": word, "time_range": {"start": 0}}}),
        ("upsert_procedure", {"procedure": {"procedure_id": "p", "task_type": "t", "content": word}}),
        ("append_insight", {"insight": {"id": "i", "type": "pattern", "statement": word}}),
        ("patch_working_state", {"patch": {"goal": word}}),
        ("update_stm", {"stm_state": {"rolling_summary": word}}),
        ("write_context_build", {"packet": {"meta": {"build_id": "b"}, "text": word}}),
        *(("put_checkpoint", {**THREAD, "checkpoint_id": f"c{n}", "run_id": f"r{n}", "metadata": "{}",
                              "body": ["t", word, 0], "versions": {"a": f"{n}"}, "values": {"a": ["t", word, 0]}})
          for n in range(2)),
        ("put_checkpoint_writes", {**THREAD, "checkpoint_id": "c1", "writes": [["k", 0, "", "a", "t", word, 0]]}),
        ("put_items", {"items": [[["n"], "k", {"text": word}, word, 1], [["n"], "k2", {"text": word}, word, None]]}),
        ("put_checkpoint_piece", {**THREAD, "digest": "d", "piece": 0, "data": word}),
    ]
    outcomes = memory.engine.write([(method, params if method == "append_event" else {"scope": scope, **params})
                                    for method, params in calls])
    for (method, _), outcome in zip(calls, outcomes, strict=True):  # the owner may have told it from another run
        assert not isinstance(outcome, EngramError) or method == "append_episode"


def rows(memory: Asked) -> dict[tuple[str, ...], tuple[Any, ...]]:
    """Return every row of every table that belongs to somebody, by table and key."""
    connection = memory.engine.store._writer
    found = {}
    for table in TABLES:
        if table.scope:
            names = [column.name for column in table.all_columns()]
            for row in connection.execute(f"SELECT {', '.join(names)} FROM {table.name}"):
                key = row[:len(table.scope)] + tuple(row[names.index(name)] for name in table.key)
                found[(table.name, *key)] = row
    return found


CHANGES: dict[str, Callable[[Scope], list[tuple[str, dict[str, Any]]]]] = {
    "forget all": lambda s: [("forget", {"selector": {"all": True}})],
    "forget ids": lambda s: [("forget", {"selector": {"ids": ["e", "ep", "p", "i"]}})],
    "forget run": lambda s: [("forget", {"selector": {"run": True}})],
    "forget session": lambda s: [("forget", {"selector": {"session": True}})],
    "forget before": lambda s: [("forget", {"selector": {"before": "2999-01-01T00:00:00Z"}})],
    "forget builds": lambda s: [("forget", {"selector": {"kinds": ["build"]}})],
    "pin": lambda s: [("set_pinned", {"kind": kind, "id": id_, "pinned": True}) for kind, id_ in (
        ("event", "e"), ("episode", "ep"), ("procedure", "p"), ("insight", "i"))],
    "facts": lambda s: [("upsert_fact", {"fact": {"fact_key": "k", "value": "new"}}),
                        ("upsert_fact", {"fact": {"fact_key": "k", "value": "newer"}, "on_conflict": "dispute"})],
    "insight": lambda s: [("update_insight", {"id": "i", "patch": {"validation_state": "validated"},
                                              "promote": "fact"})],
    "end run": lambda s: [("end_run", {})],
    "procedure": lambda s: [("upsert_procedure", {"procedure": {"procedure_id": "p", "task_type": "t", "content": 2}})],
    "state": lambda s: [("patch_working_state", {"patch": {"goal": "other"}, "merge_slots": {"a": 1}}),
                        ("update_stm", {"stm_state": {}})],
    "builds": lambda s: [("write_context_build", {"packet": {"meta": {"build_id": name}}}) for name in ("b", "c", "d")],
    "checkpoints": lambda s: [("copy_checkpoints", {"source": "t1", "target": "t2"}),
                              ("prune_checkpoints", {"thread_ids": ["t2"]}),
                              ("delete_checkpoints", {"run_ids": ["r0"]}),
                              ("delete_checkpoints", {"thread_ids": ["t1"]}),
                              ("put_checkpoint_writes", {**THREAD, "checkpoint_id": "c1", "replace": True,
                                                         "writes": [["k", -1, "", "a", "t", "new", 0]]})],
    "items": lambda s: [("touch_items", {"keys": [[["n"], "k"]]}), ("sweep_items", {}),
                        ("put_items", {"items": [[["n"], "k2", None, None, None], [["m"], "k", {}, "", None]]})],
    "events": lambda s: [("append_event", {"event": {"scope": s, "event_id": "e2", "payload": 1}})],
}


def test_every_writing_operation_is_tried() -> None:
    tried = {method for make in CHANGES.values() for method, _ in make({})}
    filled = {"append_events", "append_episode", "append_insight", "put_checkpoint", "put_checkpoint_piece"}
    assert tried | filled == set(WRITES)


SEVERAL = st.lists(SCOPES, min_size=2, max_size=6, unique_by=lambda one: tuple(one.values()))
MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FEW = settings(MANY, max_examples=12)  # on a server every commit waits for a disk
ON_FILES = pytest.mark.parametrize("backend", ["sqlite"])
ON_SERVERS = pytest.mark.parametrize("backend", SERVERS)


@ON_FILES
@MANY
@given(SEVERAL, st.data())
def test_a_write_touches_rows_of_its_own_scope_only(make: Callable[..., Asked], scopes: list[Scope],
                                                    data: st.DataObject) -> None:
    _write(make, scopes, data)


@ON_SERVERS
@FEW
@given(SEVERAL, st.data())
def test_a_write_on_a_server_touches_rows_of_its_own_scope_only(make: Callable[..., Asked], scopes: list[Scope],
                                                                data: st.DataObject) -> None:
    _write(make, scopes, data)


def _write(make: Callable[..., Asked], scopes: list[Scope], data: st.DataObject) -> None:
    memory = make(retention__builds_per_run=2)
    for scope in scopes:
        fill(memory, scope)
    scope, name = data.draw(st.sampled_from(scopes)), data.draw(st.sampled_from(list(CHANGES)))
    before = rows(memory)
    for method, params in CHANGES[name](scope):
        memory.engine.write([(method, params if method == "append_event" else {"scope": scope, **params})])
    after = rows(memory)
    memory.done()
    owner = tuple(scope.values())[:3]
    for key in before.keys() | after.keys():
        if before.get(key) != after.get(key):
            assert key[1:4] == owner, (name, key)
            if name in ("insight", "end run", "state", "builds", "events") and key[0] in RUN_TABLES:
                assert (before.get(key) or after[key])[:5] == tuple(scope.values()), (name, key)


@ON_FILES
@MANY
@given(SEVERAL)
def test_a_read_shows_what_is_its_own_only(make: Callable[..., Asked], scopes: list[Scope]) -> None:
    _read(make, scopes)


@ON_SERVERS
@FEW
@given(SEVERAL)
def test_a_read_on_a_server_shows_what_is_its_own_only(make: Callable[..., Asked], scopes: list[Scope]) -> None:
    _read(make, scopes)


def _read(make: Callable[..., Asked], scopes: list[Scope]) -> None:
    memory = make()
    for scope in scopes:
        fill(memory, scope)
    for scope in scopes:
        for method, level in (("list_events", "run"), ("get_working_state", "run"), ("list_insights", "run"),
                              ("list_context_builds", "run"), ("get_stm", "session"), ("list_facts", "owner"),
                              ("list_episodes", "owner"), ("list_procedures", "owner")):
            text = json.dumps(memory.read(method, scope=scope))
            _only(text, scope, scopes, level, needed=level == "run")
        for level in ("session", "owner"):
            _only(json.dumps(memory.read("list_events", scope=scope, level=level)), scope, scopes, level)
        for method, params in (("get_checkpoint", THREAD), ("list_checkpoints", {}),
                               ("get_checkpoint_pieces", {**THREAD, "digest": "d"}), ("search_items", {}),
                               ("search_items", {"query": " ".join(map(mark, scopes))}), ("list_item_namespaces", {}),
                               ("get_items", {"keys": [[["n"], "k2"]]})):
            _only(json.dumps(memory.read(method, scope=scope, **params)), scope, scopes, "owner")
        _only(json.dumps(memory.read("search", scope=scope, query=" ".join(map(mark, scopes)))), scope, scopes, "owner")
        for purpose in ("planner", "responder", "tool"):
            packet = memory.packet(" ".join(map(mark, scopes)), scope=scope, purpose=purpose)
            del packet["meta"]
            _only(json.dumps(packet), scope, scopes, "owner")
    memory.done()


def _only(text: str, scope: Scope, scopes: list[Scope], level: str, *, needed: bool = True) -> None:
    """Say that a text holds marks of scopes that share the level's ids, and of no other."""
    for other in scopes:
        if mark(other) in text:
            assert all(scope[name] == other[name] for name in READ_BY[level]), (level, scope, other)
    assert not needed or level != "run" or mark(scope) in text


def test_every_reading_operation_needs_a_scope(memory: Asked) -> None:
    for method in READS:
        for scope in (None, {}, {"tenant_id": "t"}, {"tenant_id": "t", "user_id": "", "agent_id": "", "session_id": "",
                                                     "run_id": ""}):
            needed = [name for name in OPERATIONS[method].required if name != "scope"]
            asked: dict[str, Any] = {"scope": scope, **dict.fromkeys(needed, "x")}
            if method == "build_memory_packet":
                asked = {"request": {"scope": scope, "query": "x"}}
            with pytest.raises(EngramError, match="scope"):
                memory.engine.read(method, asked)


def test_an_empty_id_never_reaches_what_is_shared(memory: Asked) -> None:
    memory.fact("k", "shared", scope_level="tenant")
    for name in ("user_id", "agent_id"):
        with pytest.raises(EngramError, match=f"scope.{name} is empty"):
            memory.read("list_facts", scope={"tenant_id": "t", "user_id": "u", "agent_id": "a", "session_id": "s",
                                             "run_id": "r", name: ""})
