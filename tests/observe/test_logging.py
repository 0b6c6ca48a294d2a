"""What the log tells: candidates, scores and trimming at DEBUG, under both names, and no memory's text above DEBUG."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from engram import EngramError, Memory

SCOPE = {"user_id": "ada", "agent_id": "bot", "session_id": "s", "run_id": "r"}
REQUEST = {"scope": SCOPE, "query": "Where is the vault?", "budget": {"max_tokens": 330}}


@pytest.fixture
def memory() -> Iterator[Memory]:
    with Memory(in_memory=True) as found:
        for number in range(9):
            found.append_event({"scope": SCOPE, "payload": f"The vault number {number} is below the marble fountain"})
        found.upsert_fact(SCOPE, {"fact_key": "vault", "value": "fountain"})
        yield found


@pytest.mark.parametrize("name", ["engram.recall", "engram_store"])
def test_debug_tells_candidates_scores_and_trimming(memory: Memory, caplog: pytest.LogCaptureFixture,
                                                    name: str) -> None:
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, logger=name)
    packet = memory.build_memory_packet(REQUEST)
    told = [record.getMessage() for record in caplog.records if record.name == name]
    candidates = [line for line in told if line.startswith("candidate ")]
    assert len(candidates) == 10 and all("score=" in line for line in candidates)
    omitted = [one["id"] for one in packet["budget_report"]["omissions"]]
    assert omitted
    for id_ in omitted:
        assert any(id_ in line and "trimmed, budget_" in line and "more tokens" in line for line in candidates)
    assert any("marble" in line for line in candidates)
    assert told[0].startswith(f"packet {packet['meta']['build_id']} for the responder")


def test_each_packet_is_told_once(memory: Memory, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    memory.build_memory_packet(REQUEST)
    assert sum(record.getMessage().startswith("packet ") for record in caplog.records) == 1


def test_a_packet_is_the_same_with_and_without_the_log(memory: Memory, caplog: pytest.LogCaptureFixture) -> None:
    request = {**REQUEST, "now": "2030-01-01T00:00:00Z"}
    silent = memory.build_memory_packet(request)
    caplog.set_level(logging.DEBUG)
    assert memory.build_memory_packet(request) == silent


def test_nothing_above_debug_carries_a_memorys_text(memory: Memory, caplog: pytest.LogCaptureFixture,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO)
    memory.build_memory_packet(REQUEST)
    memory.explain(SCOPE)
    memory.search(SCOPE, "marble")
    with pytest.raises(EngramError):
        memory.append_event({"scope": SCOPE, "payload": "marble", "kind": "marbles"})

    from engram_core.daemon import reading

    text = "a defect beside the marble fountain"

    def broken(engine: object, params: dict[str, object]) -> None:
        raise ValueError(text)

    monkeypatch.setitem(reading.HANDLERS, "list_events", broken)  # type: ignore[arg-type]
    with pytest.raises(EngramError, match="defect") as caught:
        memory.list_events(SCOPE)
    assert "marble" not in str(caught.value)
    assert caplog.records  # the defect was told
    assert not [one for one in caplog.records if "marble" in one.getMessage() or "marble" in str(one.exc_text)]
