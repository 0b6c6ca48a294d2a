"""``Memory`` against a real daemon: every operation has its method, and what programs rely on."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic
import pytest

import engram
from engram import BadInput, ConfigError, Conflict, DeadlineExceeded, EngramError, Memory, NoDaemon
from engram_core.protocol.messages import ADAPTED, OPERATIONS
from tests.daemon_fixture import SCOPE, Home


def test_every_operation_has_a_method_of_its_name() -> None:
    own = {name for name, _ in inspect.getmembers(Memory, inspect.isfunction) if not name.startswith("_")}
    assert own - {"request", "stream", "close", "session"} == set(OPERATIONS) - ADAPTED
    assert all(getattr(Memory, name).__doc__ for name in own)


def test_the_package_offers_its_names_lazily() -> None:
    assert engram.__all__ == sorted(engram.__all__)
    assert all(getattr(engram, name) is not None for name in engram.__all__)
    heavy = {"asyncio", "sqlite3", "pydantic", "typer", "rich", "logging", "socket"}
    code = f"import sys; from engram import Memory, EngramError; print(sorted({heavy!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True,
                           cwd=Path(engram.__file__).parent.parent)
    assert found.stdout == b"[]\n"


def test_states_are_kept(memory: Memory) -> None:
    assert memory.get_working_state({}) is None
    assert memory.get_stm({}) is None
    state = memory.patch_working_state({}, {"goal": "ship it"}, merge_slots={"city": "Lyon"})
    assert (state["goal"], state["slots"], state["state_version"]) == ("ship it", {"city": "Lyon"}, 1)
    with pytest.raises(Conflict, match="version 1"):
        memory.patch_working_state({}, {"goal": "x"}, expected_version=0)
    assert memory.get_working_state({}) == state
    memory.update_stm({}, {"rolling_summary": "so far"})
    stm = memory.get_stm({})
    assert stm is not None and stm["rolling_summary"] == "so far"


def test_long_term_memories_are_kept(memory: Memory) -> None:
    memory.upsert_fact({}, {"fact_key": "city", "value": "Paris"})
    assert memory.upsert_fact({}, {"fact_key": "city", "value": "Lyon"})["outcome"] == "superseded"
    assert [fact["value"] for fact in memory.list_facts({}, {"status": ["active"]})] == ["Lyon"]
    episode = memory.append_episode({}, {"summary": "moved", "time_range": {"start": "2026-01-01T00:00:00Z"}})
    assert [one["episode_id"] for one in memory.list_episodes({})] == [episode["episode_id"]]
    memory.upsert_procedure({}, {"procedure_id": "p1", "task_type": "deploy", "content": "push the button"})
    assert [one["procedure_id"] for one in memory.list_procedures({}, "deploy")] == ["p1"]
    insight = memory.append_insight({}, {"type": "pattern", "statement": "moves in May"})
    assert [one["id"] for one in memory.list_insights({})] == [insight["id"]]


def test_policies_are_listed_returned_and_checked(memory: Memory) -> None:
    listed = memory.policies()["policies"]
    assert [one["name"] for one in listed] == ["default"]
    whole = memory.policies("default")
    assert (whole["name"], whole["file"], whole["policy"]["max_facts"]) == ("default", listed[0]["file"], 30)
    assert memory.policies(table={"max_facts": 3}, source="mine") == {"checked": "mine"}
    assert memory.policies(table={}) == {"checked": "table"}
    with pytest.raises(ConfigError, match=r"mine: policy has the unknown key 'max_fact'"):
        memory.policies(table={"max_fact": 3}, source="mine")
    for wrong in ({"policy_id": "none-such"}, {"policy_id": 3}, {"policy_id": "default", "table": {}}, {"table": []},
                  {"table": {}, "source": 3}, {"source": "mine"}):
        with pytest.raises(BadInput, match=r"policy_id|table|source"):
            memory.request("policies", wrong)


def test_a_batch_is_all_or_nothing(memory: Memory) -> None:
    with pytest.raises(BadInput, match=r"events\[1\]"):
        memory.append_events([{"payload": "a"}, {"payload": "b", "kind": "mesage"}])
    assert memory.list_events({}) == []
    assert [one["seq"] for one in memory.append_events([{"payload": "a"}, {"payload": "b"}])] == [1, 2]


def test_a_stream_goes_on_past_a_bad_item(memory: Memory) -> None:
    items = [{"event": {"payload": f"{n}", **({"kind": "mesage"} if n == 7 else {})}} for n in range(1500)]
    found = list(memory.stream("append_event", items))
    bad = [at for at, one in enumerate(found) if isinstance(one, EngramError)]
    assert (len(found), bad) == (1500, [7])
    assert [event["payload"] for event in memory.list_events({})] == [f"{n}" for n in range(1500) if n != 7]
    assert memory.status()["queue"] == 0


def test_a_slow_stream_answers_each_item_at_once(memory: Memory) -> None:
    answered = threading.Event()

    def items() -> Iterator[dict[str, Any]]:
        yield {"event": {"payload": "first"}}
        assert answered.wait(10)
        yield {"event": {"payload": "second"}}

    for _ in memory.stream("append_event", items()):
        answered.set()
    assert len(memory.list_events({})) == 2


def test_a_stream_left_early_does_not_spoil_the_next_request(memory: Memory) -> None:
    stream = memory.stream("append_event", ({"event": {"payload": "x"}} for _ in range(2000)))
    next(stream)
    stream.close()
    assert memory.status()["version"] == engram.__version__


def test_models_are_taken_as_what_was_set_in_them(memory: Memory) -> None:
    class Event(pydantic.BaseModel):
        payload: str
        kind: str = "message"
        tags: list[str] = []

    memory.append_event(Event(payload="typed"))  # type: ignore[arg-type]
    memory.append_events([Event(payload="typed too", tags=["t"])])  # type: ignore[list-item]
    assert [event["payload"] for event in memory.list_events({})] == ["typed", "typed too"]


def test_without_a_folder_the_scope_must_be_whole(daemon: Home) -> None:
    with Memory.connect() as memory:
        with pytest.raises(BadInput, match="user_id"):
            memory.append_event({"scope": {"session_id": "s"}, "payload": "x"})
        memory.append_event({"scope": SCOPE, "payload": "x"})
        assert len(memory.list_events(SCOPE)) == 1


def test_threads_take_turns_on_one_connection(memory: Memory) -> None:
    def append(name: str) -> None:
        for number in range(10):
            memory.append_event({"payload": f"{name}{number}"})

    threads = [threading.Thread(target=append, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(memory.list_events({})) == 40


def test_a_forked_child_uses_a_connection_of_its_own(memory: Memory) -> None:
    memory.append_event({"payload": "parent"})
    child = os.fork()
    if child == 0:
        try:
            memory.append_event({"payload": "child"})
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    memory.append_event({"payload": "parent"})
    assert [event["payload"] for event in memory.list_events({})] == ["parent", "child", "parent"]


def test_a_long_list_comes_in_pages(memory: Memory) -> None:
    for number in range(24):
        memory.append_event({"payload": f"{number}-" + "x" * 700_000})
    assert [event["payload"].split("-")[0] for event in memory.list_events({})] == [f"{n}" for n in range(24)]


def test_a_deadline_is_kept(daemon: Home) -> None:
    import signal
    import time

    assert daemon.process is not None
    with Memory.connect(timeout=0.5) as memory:
        memory.status()
        daemon.process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            memory.status()
        assert 0.45 < time.monotonic() - began < 1
        daemon.process.send_signal(signal.SIGCONT)
        assert memory.status()["pid"] == daemon.process.pid


def test_no_daemon_and_none_allowed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGRAM_AUTOSTART", "0")
    with pytest.raises(NoDaemon, match="engram daemon start"):
        Memory.connect().status()


def test_without_arguments_the_environment_decides(daemon: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(daemon.path)
    with Memory() as memory:
        assert memory.status()["database"] == str(daemon.path / "data/engram.db")
    monkeypatch.setenv("ENGRAM_SOCKET", str(daemon.socket))
    with Memory() as memory:
        assert memory.status()["socket"] == str(daemon.socket)
    with Memory(in_memory=True) as memory:
        assert memory.status()["database"] == ":memory:"


def test_a_stalled_call_holds_up_nobody_else(daemon: Home) -> None:
    """A daemon that does not answer one connection: the others of the same Memory go on."""
    with Memory.connect(timeout=20) as memory:
        items = threading.Event()

        def slow() -> Iterator[dict[str, Any]]:
            yield {"event": {"scope": SCOPE, "payload": "x"}}
            items.wait(10)

        stream = memory.stream("append_event", slow())
        next(stream)
        assert len(memory.list_events(SCOPE)) == 1
        items.set()
        assert list(stream) == []


def test_contradicting_arguments_are_refused(home: Home) -> None:
    for wrong, word in ({"backend": "oracle"}, "backend"), ({"dsn": "x"}, "dsn"), ({"path": ""}, "path"), \
            ({"path": ":memory:"}, "in_memory=True"), ({"backend": "postgres"}, "dsn"), ({"timeout": 0}, "timeout"), \
            ({"backend": "mysql", "dsn": "postgresql://u:secret@h/d"}, "mysql://"), \
            ({"backend": "postgres", "in_memory": True, "dsn": "postgresql:///x"}, "in_memory"):
        with pytest.raises(BadInput, match=word) as caught:
            Memory(**wrong)  # type: ignore[arg-type]
        assert "secret" not in str(caught.value)
