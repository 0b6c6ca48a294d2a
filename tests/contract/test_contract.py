"""One contract, every way to an engine: the same calls give the same bytes and the same errors."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engram import AsyncMemory, Memory
from engram_core.daemon.handlers import Engine
from engram_core.protocol.messages import ADAPTED, OPERATIONS
from tests.contract.calls import ASK, CALLS, EPISODE, GOOD, INSIGHT, OTHER, PROCEDURE, SCOPE, event
from tests.contract.transports import NOW, TRANSPORTS, Awaited, opened, outcome
from tests.daemon_fixture import Home
from tests.servers import SERVERS, databases, need

NOT_MEMORIES = {"hello", "status", "reload", "shutdown"}
EMPTY: list[tuple[str, dict[str, Any]]] = [
    ("append_event", {"event": event("", "x", 1)}), ("append_events", {"events": [event("", "x", 1)]}),
    ("upsert_fact", {"scope": SCOPE, "fact": {"fact_key": "", "value": 1}}),
    ("upsert_fact", {"scope": SCOPE, "fact": {"fact_id": "", "fact_key": "k", "value": 1}}),
    ("append_episode", {"scope": SCOPE, "episode": {**EPISODE, "episode_id": ""}}),
    ("upsert_procedure", {"scope": SCOPE, "procedure": {**PROCEDURE, "procedure_id": ""}}),
    ("append_insight", {"scope": SCOPE, "insight": {**INSIGHT, "id": ""}}),
    ("update_insight", {"scope": SCOPE, "id": "", "patch": {"confidence": 0.5}}),
    ("set_pinned", {"scope": SCOPE, "kind": "event", "id": ""}),
    ("update_stm", {"scope": SCOPE, "stm_state": {"key_quotes": [{"evidence_id": "", "quote": "q"}]}}),
    ("patch_working_state", {"scope": SCOPE, "patch": {"tool_evidence": [{"evidence_id": "", "summary": "s"}]}}),
    ("write_context_build", {"scope": SCOPE, "packet": {"meta": {"build_id": ""}}}),
    ("forget", {"scope": SCOPE, "selector": {"ids": [""]}}),
    ("explain", {"scope_or_request": SCOPE, "build_id": ""}), ("explain", {"scope_or_request": ASK, "memory_id": ""}),
    ("list_procedures", {"scope": SCOPE, "task_type": ""}), ("policies", {"policy_id": ""}),
]
"""Every other id that can be given, empty."""
ANYTHING = {"packet", "id", "kind", "query", "task_type", "limit"}  # arguments without keys of their own to be wrong


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "now_ms", staticmethod(lambda: NOW))


def test_the_calls_reach_every_operation() -> None:
    assert {method for method, _, _ in CALLS} == set(OPERATIONS) - NOT_MEMORIES - ADAPTED == set(GOOD)


def run(memory: Any) -> list[str]:
    """Make all calls; one that counts stored packets waits until those built before are stored."""
    results: list[str] = []
    built: set[str] = set()
    for method, args, named in CALLS:
        if method in ("forget", "list_context_builds"):
            wait_for_builds(memory, built)
        results.append(outcome(memory, method, args, named))
        if method == "build_memory_packet" and args[0].get("persist", True) and '"error"' not in results[-1][:9]:
            packet = json.loads(results[-1])
            built.add(packet.get("meta", packet)["build_id"])
        if method == "forget" and not named.get("dry_run"):
            built.clear()
    return results


def wait_for_builds(memory: Any, built: set[str]) -> None:
    """Wait until packets are stored, which happens when it is quiet."""
    until = time.monotonic() + 20
    while not built <= {one["meta"]["build_id"] for one in memory.list_context_builds(SCOPE)}:
        assert time.monotonic() < until, "packets were not stored"
        time.sleep(0.1)  # asking more often would not be quiet


@pytest.mark.usefixtures("stopped")
def test_every_way_gives_the_same_bytes(home: Home) -> None:
    found: dict[str, list[str]] = {}
    for name in TRANSPORTS:
        if name == "async-socket":  # an empty database again
            home.stop()
            home.database.unlink()
            home.database.with_name("engram.db.endpoint").unlink(missing_ok=True)
            for rest in home.database.parent.glob("engram.db-*"):
                rest.unlink()
        with opened(name, home) as memory:
            found[name] = run(memory)
    reference = found.pop("memory-socket")
    for name, results in found.items():
        for call, given, expected in zip(CALLS, results, reference, strict=True):
            assert given == expected, f"{name}: {call}"
    errors = [json.loads(one)["error"][0] for one in reference if one.startswith('{"error"')]
    assert set(errors) == {"BadInput", "Conflict", "NotFound", "BudgetTooSmall"}


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize("backend", SERVERS)
def test_a_server_gives_the_same_bytes(home: Home, backend: str, tmp_path: Path) -> None:
    with Memory(in_memory=True) as memory:
        reference = run(memory)
    name = {"postgresql": "postgres", "mariadb": "mysql"}[backend]
    need(backend)
    with databases(backend, tmp_path) as made:
        with Memory(backend=name, dsn=made.fresh(), timeout=60) as memory:
            for call, given, expected in zip(CALLS, run(memory), reference, strict=True):
                assert given == expected, f"{backend}: {call}"
        awaited = Awaited(AsyncMemory(backend=name, dsn=made.fresh(), timeout=60))
        for call, given, expected in zip(CALLS, run(awaited), reference, strict=True):
            assert given == expected, f"{backend}, awaited: {call}"
        awaited.end()


def wrong_inputs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield for every operation: an unknown key, a wrong type, NaN, an empty id, in each argument that can have it."""
    yield from ((method, "an empty one", named) for method, named in EMPTY)
    for method, good in GOOD.items():
        for name, value in good.items():
            inner = value[0] if isinstance(value, list) else value
            put: Callable[[Any], Any] = (lambda one: [one]) if isinstance(value, list) else lambda one: one
            yield method, "wrong type", {**good, name: 7 if name != "limit" else "7"}
            if not isinstance(inner, dict):
                continue
            yield method, "NaN", {**good, name: put({**inner, "value": float("nan")})}
            yield method, "no JSON", {**good, name: put({**inner, "value": {1, 2}})}
            if name not in ANYTHING:
                yield method, "unknown key", {**good, name: put({**inner, "colour": "red"})}
            scope = inner if name == "scope" else inner.get("scope")
            if scope is not None:
                empty = {**scope, "user_id": ""}
                yield method, "empty id", {**good, name: put(empty if name == "scope" else {**inner, "scope": empty})}
                short = {key: one for key, one in scope.items() if key != "run_id"}
                yield method, "missing id", {**good, name: put(short if name == "scope" else {**inner, "scope": short})}


WRONG = list(wrong_inputs())


@pytest.mark.usefixtures("stopped")
def test_bad_input_is_the_same_error_everywhere(home: Home) -> None:
    found: dict[str, list[str]] = {}
    for name in TRANSPORTS:
        with opened(name, home) as memory:
            found[name] = [outcome(memory, method, (), named) for method, _, named in WRONG]
    reference = found.pop("memory-socket")
    for (method, what, named), one in zip(WRONG, reference, strict=True):
        assert one.startswith('{"error"'), f"{method}: {what} was taken: {named}"
        kind, message, *_, is_value_error = json.loads(one)["error"]
        assert is_value_error, f"{method}: {what} is a {kind}, which is no ValueError"
        word = {"unknown key": "colour", "empty id": "user_id", "missing id": "run_id"}.get(what, "")
        assert word in message, (method, what, message)
    for name, results in found.items():
        for wrong, given, expected in zip(WRONG, results, reference, strict=True):
            assert given == expected, f"{name}: {wrong}"


@pytest.mark.parametrize("name", TRANSPORTS)
def test_what_is_closed_says_so(home: Home, name: str) -> None:
    with opened(name, home) as memory:
        memory.append_event(event("c1", "x", 1))
        memory.close()
        memory.close()
        for method, named in GOOD.items():
            assert '"this Memory is closed; nothing was done"' in outcome(memory, method, (), named)


BLOCKING = [name for name in TRANSPORTS if name.startswith("memory")]
LISTS = [method for method in GOOD if OPERATIONS[method].kind == "read" and method not in ("explain", "policies")]


def in_a_child(check: Callable[[], bool]) -> bool:
    """Fork and tell whether the check holds in the child."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            code = 0 if check() else 1
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize("name", BLOCKING)
def test_a_child_of_a_fork_asks_on_its_own(home: Home, name: str) -> None:
    with opened(name, home) as memory:
        memory.append_event(event("parent", "x", 1))
        asked = {method: GOOD[method] for method in LISTS}
        asked["build_memory_packet"] = {"request": {**ASK, "persist": False}}
        known = [outcome(memory, method, (), named) for method, named in asked.items()]

        def reads_and_writes() -> bool:
            return ([outcome(memory, method, (), named) for method, named in asked.items()] == known
                    and '"duplicate": false' in outcome(memory, "append_event", (event("child", "x", 1),), {}))

        def is_told() -> bool:
            return all("child has none of it" in outcome(memory, method, (), named) for method, named in GOOD.items())

        assert in_a_child(is_told if name == "memory-inside" else reads_and_writes)
        memory.append_event(event("after", "x", 1))
        ids = [one["event_id"] for one in memory.list_events(SCOPE)]
        assert ids == (["parent", "after"] if name == "memory-inside" else ["parent", "child", "after"])


@pytest.mark.parametrize("name", BLOCKING)
def test_threads_share_one_memory(home: Home, name: str) -> None:
    def work(thread: int) -> None:
        try:
            for number in range(50):
                memory.append_event(event(f"e{thread}-{number}", f"n{number} of thread {thread}", 1))
                seen = [one["event_id"] for one in memory.list_events(SCOPE, None, 200)]
                assert f"e{thread}-{number}" in seen, "a thread does not see what it has written"
                if number % 10 == 0:
                    memory.build_memory_packet({"scope": SCOPE, "query": f"thread {thread}"})
        except BaseException as error:
            wrong.append(error)

    wrong: list[BaseException] = []
    with opened(name, home) as memory:
        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert wrong == []
        ids = [one["event_id"] for one in memory.list_events(SCOPE)]
        assert sorted(ids) == sorted(f"e{thread}-{number}" for thread in range(8) for number in range(50))


@pytest.mark.parametrize("name", TRANSPORTS)
def test_many_requests_in_a_stream(home: Home, name: str) -> None:
    with opened(name, home) as memory:
        items = [{"event": event(f"s{n}", f"n{n}", 1, **({"kind": "mesage"} if n == 7 else {}))} for n in range(600)]
        items[9] = {"event": {"scope": SCOPE, "payload": float("nan")}}
        found = list(memory.stream("append_event", items))
        assert [at for at, one in enumerate(found) if isinstance(one, Exception)] == [7, 9]
        assert len(memory.list_events(SCOPE)) == 598
        assert memory.list_events(OTHER) == []


@pytest.mark.parametrize("name", TRANSPORTS)
def test_an_engine_describes_itself(home: Home, name: str) -> None:
    with opened(name, home) as memory:
        assert memory.hello()["protocol"] == [1, 1]
        found = memory.status(SCOPE)
        assert {"version", "pid", "database", "durability", "config", "scope"} <= set(found)
        assert memory.reload()["changed"] is False
        if not name.endswith("socket"):
            assert found["pid"] == os.getpid()
            assert "call close() instead" in outcome(memory, "shutdown", (), {})
