"""Programs written for the earlier Engram library: they run unchanged. Written from its users' side, in their words."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import engram
from engram import AsyncMemory, BadInput, EngramError, Memory

ROOT = Path(engram.__file__).parent.parent
SCOPE = {"tenant_id": "acme", "user_id": "u1", "agent_id": "assistant", "session_id": "s1", "run_id": "r1"}
ALL = ["append_event", "list_events", "get_working_state", "patch_working_state", "get_stm", "update_stm", "list_facts",
       "upsert_fact", "list_episodes", "append_episode", "list_procedures", "upsert_procedure", "list_insights",
       "append_insight", "write_context_build", "list_context_builds", "build_memory_packet"]


@pytest.fixture
def memory() -> Iterator[Memory]:
    with Memory(in_memory=True) as found:
        yield found


def run(folder: Path, program: str, **env: str) -> str:
    found = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], cwd=folder, text=True, timeout=60,
                           env={"PYTHONPATH": str(ROOT), "HOME": str(folder), "PATH": "/usr/bin:/bin", **env},
                           capture_output=True)
    assert found.returncode == 0, found.stderr
    return found.stdout + found.stderr


def test_the_seventeen_operations_are_there() -> None:
    for name in ALL:
        assert callable(getattr(Memory, name)) and callable(getattr(AsyncMemory, name))


def test_a_preference_is_counted_in_facts(memory: Memory) -> None:
    memory.upsert_fact(SCOPE, {"fact_id": "f1", "fact_key": "user_preference", "value": "short answers",
                               "status": "active", "confidence": 0.9})
    packet = memory.build_memory_packet({
        "scope": SCOPE, "purpose": "responder", "task_type": "generic", "budget": {"max_tokens": 2000}})
    assert [fact["fact_key"] for fact in packet["long_term"]["facts"]] == ["user_preference"]
    assert packet["long_term"]["preferences"] == []
    assert packet["explain"]["candidate_counts"]["fact"] == 1
    assert packet["budget_report"]["section_usage"]["facts"] > 0
    assert 0 < packet["budget_report"]["used_tokens_est"] <= 2000
    assert packet["budget_report"]["omissions"] == []
    assert packet["meta"]["scope"] == SCOPE
    assert packet["explain"]["candidate_limits"]["max_facts"] == 30


def test_two_gathered_appends_of_a_memory_that_is_never_closed(tmp_path: Path) -> None:
    program = """
        import asyncio
        from engram import AsyncMemory

        scope = {"tenant_id": "acme", "user_id": "u1", "agent_id": "assistant", "session_id": "s1", "run_id": "r1"}

        async def main():
            memory = AsyncMemory(path="data/engram.db")
            results = await asyncio.gather(
                memory.append_event({"event_id": "a", "scope": scope, "kind": "message", "payload": {"text": "one"}}),
                memory.append_event({"event_id": "b", "scope": scope, "kind": "message", "payload": {"text": "two"}}))
            print(len(await memory.list_events(scope)), results[0]["event_id"], results[1]["event_id"])

        asyncio.run(main())
    """
    assert run(tmp_path, program) == "2 a b\n"
    assert run(tmp_path, program) == "2 a b\n"
    with Memory(path=tmp_path / "data/engram.db") as memory:
        assert [event["payload"]["text"] for event in memory.list_events(SCOPE)] == ["one", "two"]


def test_a_request_without_purpose_means_the_responder(memory: Memory) -> None:
    for number in range(8):
        memory.upsert_fact(SCOPE, {"fact_id": f"f{number}", "fact_key": f"key{number}", "value": "some value " * 4})
    for number in range(4):
        memory.append_episode(SCOPE, {"episode_id": f"ep{number}", "summary": f"episode {number}", "time_range": {
            "start": f"2026-03-0{number + 1}T00:00:00Z", "end": f"2026-03-0{number + 1}T01:00:00Z"}})
    memory.append_episode(SCOPE, {"episode_id": "old", "summary": "long ago", "time_range": {
        "start": "2025-01-01T00:00:00Z", "end": "2025-01-01T01:00:00Z"}})
    packet = memory.build_memory_packet({
        "scope": SCOPE, "now": "2026-03-05T00:00:00Z",
        "policy": {"max_facts": 5, "max_episodes": 2, "episode_time_window_days": 7},
        "budget": {"max_tokens": 2000, "per_section": {"facts": 200}}})
    assert packet["meta"]["purpose"] == "responder"
    assert len(packet["long_term"]["facts"]) <= 5 and len(packet["long_term"]["episodes"]) <= 2
    assert packet["budget_report"]["section_usage"]["facts"] <= 200
    assert packet["explain"]["time_window_days"] == 7
    assert packet["explain"]["candidate_counts"]["episode"] == 4
    assert {one["reason"] for one in packet["budget_report"]["omissions"]} >= {"max_facts", "max_episodes"}


def test_a_label_beside_overrides_is_only_a_label(memory: Memory) -> None:
    request = {"scope": SCOPE, "policy_id": "experiment-7", "policy": {"max_facts": 1}}
    packet = memory.build_memory_packet(request)
    assert packet["meta"]["policy_id"] == packet["explain"]["policy_id"] == "experiment-7"
    assert packet["explain"]["candidate_limits"]["max_facts"] == 1
    with pytest.raises(BadInput, match="experiment-7"):
        memory.build_memory_packet({"scope": SCOPE, "policy_id": "experiment-7"})


def test_the_earlier_logger_shows_scores_and_trimming(tmp_path: Path) -> None:
    told = run(tmp_path, """
        import logging
        logging.basicConfig(level=logging.INFO)
        logging.getLogger("engram_store").setLevel(logging.DEBUG)
        from engram import Memory

        scope = {"tenant_id": "acme", "user_id": "u1", "agent_id": "assistant", "session_id": "s1", "run_id": "r1"}
        memory = Memory(in_memory=True)
        for number in range(6):
            memory.upsert_fact(scope, {"fact_key": f"key{number}", "value": "v" * 20, "confidence": 0.5})
        memory.build_memory_packet({"scope": scope, "purpose": "planner", "policy": {"max_facts": 2}})
    """)
    assert "DEBUG:engram_store:" in told
    assert "score=" in told and "trimmed, max_facts" in told


def test_the_twelve_fields_of_a_policy(memory: Memory) -> None:
    fields = {"max_total_candidates": 100, "max_facts": 30, "max_procedures": 5, "max_episodes": 20, "max_insights": 10,
              "max_key_quotes": 10, "conversation_window": 5, "episode_time_window_days": 30,
              "last_tool_evidence_limit": 3, "include_conversation_window": False, "include_insights_in_tool": False,
              "allow_insights_in_responder": False}
    shipped = memory.policies("default")["policy"]
    assert {name: shipped[name] for name in fields} == fields
    for name, value in fields.items():
        changed = (not value) if isinstance(value, bool) else value + 1
        packet = memory.build_memory_packet({"scope": SCOPE, "policy": {name: changed}, "persist": False})
        assert packet["meta"]["policy"] == {name: changed}


FACT_FILTERS: list[dict[str, Any]] = [
    {}, {"status": ["active"]}, {"status": ["active", "disputed"]}, {"valid_at": "2026-01-02T00:00:00Z"},
    {"valid_at_ms": 1_767_312_000_000}, {"limit": 1}, {"status": ["deprecated"], "limit": 5}]
EPISODE_FILTERS: list[dict[str, Any]] = [
    {}, {"time_range": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-03T00:00:00Z"}},
    {"time_range": {"start_ms": 1_767_225_600_000}}, {"time_range": {"end_ms": 1_767_484_800_000}}, {"tags": ["t"]},
    {"entities": ["e"]}, {"limit": 2}]
INSIGHT_FILTERS: list[dict[str, Any]] = [{}, {"validation_state": ["unvalidated"]}, {"limit": 1}]


def test_every_shape_of_a_filter(memory: Memory) -> None:
    memory.upsert_fact(SCOPE, {"fact_id": "f", "fact_key": "k", "value": 1,
                               "validity": {"valid_from": "2026-01-01T00:00:00Z", "valid_to": None}})
    memory.append_episode(SCOPE, {"episode_id": "ep", "summary": "s", "tags": ["t"], "entities": ["e"], "time_range": {
        "start": "2026-01-02T00:00:00Z", "end": "2026-01-02T01:00:00Z"}})
    memory.append_insight(SCOPE, {"id": "in", "type": "hypothesis", "statement": "s"})
    memory.upsert_procedure(SCOPE, {"procedure_id": "p", "task_type": "deploy", "content": "c", "priority": 1})
    for fact_filter in FACT_FILTERS:
        assert len(memory.list_facts(SCOPE, fact_filter)) == (0 if fact_filter.get("status") == ["deprecated"] else 1)
    for episode_filter in EPISODE_FILTERS:
        assert [one["episode_id"] for one in memory.list_episodes(SCOPE, episode_filter)] == ["ep"]
    for insight_filter in INSIGHT_FILTERS:
        assert [one["id"] for one in memory.list_insights(SCOPE, insight_filter)] == ["in"]
    assert [one["procedure_id"] for one in memory.list_procedures(SCOPE, "deploy", 3)] == ["p"]
    assert memory.list_procedures(SCOPE, "other") == []


def test_events_as_they_were_sent_and_listed(memory: Memory) -> None:
    memory.append_event({"event_id": "1", "scope": SCOPE, "kind": "message", "payload": "plain text", "ts_ms": 1000})
    memory.append_event({"event_id": "2", "scope": SCOPE, "kind": "tool_result", "payload": {"result": [1]},
                         "ts": "1970-01-01T00:00:02Z", "ts_ms": 3000, "tags": ["t"], "entities": ["e"]})
    events = memory.list_events(SCOPE, {"start_ms": 0, "end_ms": 5000}, 10)
    assert [event["event_id"] for event in events] == ["1", "2"]
    assert events[1]["ts"] == "1970-01-01T00:00:03Z"
    request = {"scope": SCOPE, "policy": {"include_conversation_window": True}, "now": 10_000}
    window = memory.build_memory_packet(request)["short_term"]["conversation_window"]
    assert (window[0]["role"], window[0]["content"]) == ("user", "plain text")


def test_states_are_returned_whole(memory: Memory) -> None:
    state = memory.patch_working_state(SCOPE, {"goal": "g", "plan": ["a"], "slots": {"x": 1}})
    assert set(state) >= {"goal", "plan", "slots", "constraints", "tool_evidence", "decisions", "risks",
                          "state_version"}
    assert (state["goal"], state["state_version"]) == ("g", 1)
    assert memory.update_stm(SCOPE, {"rolling_summary": "s", "key_quotes": []}) is None
    assert memory.get_stm({**SCOPE, "run_id": "another"}) == {"rolling_summary": "s", "key_quotes": []}


def test_builds_are_written_and_listed(memory: Memory) -> None:
    packet = memory.build_memory_packet({"scope": SCOPE, "persist": False})
    memory.write_context_build(SCOPE, packet)
    assert memory.list_context_builds(SCOPE, 1) == [packet]


def test_errors_of_bad_input_are_value_errors(memory: Memory) -> None:
    with pytest.raises(ValueError, match="kind"):
        memory.append_event({"scope": SCOPE, "kind": "nonsense", "payload": "x"})
    with pytest.raises(EngramError):
        memory.append_event({"payload": "x"})


def test_other_backends_are_accepted_by_name() -> None:
    for backend, dsn in ("postgres", "postgresql://nobody@127.0.0.1:1/engram"), ("mysql", "mysql://nobody@127.0.0.1:1/x"):
        with pytest.raises(EngramError) as caught:  # accepted, and then refused for what is there or is not
            Memory(backend=backend, dsn=dsn, database="engram")
        assert "backend" not in str(caught.value)


def test_one_event_loop_may_gather_everything() -> None:
    async def main() -> int:
        async with AsyncMemory(in_memory=True) as memory:
            await asyncio.gather(*(memory.append_event({"scope": SCOPE, "payload": f"{n}"}) for n in range(50)))
            return len(await memory.list_events(SCOPE))

    assert asyncio.run(main()) == 50


def test_the_logger_is_silent_by_default(memory: Memory, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    memory.build_memory_packet({"scope": SCOPE})
    assert caplog.records == []
