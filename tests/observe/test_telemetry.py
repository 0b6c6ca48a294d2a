"""Spans for who has OpenTelemetry, named as its conventions name memory operations; no content unless asked for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import engram
from engram import AsyncMemory, Conflict, Memory
from engram_core.protocol.messages import ADAPTED, OPERATIONS

sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="opentelemetry-sdk is not installed")
SCOPE = {"user_id": "ada", "agent_id": "bot", "session_id": "s", "run_id": "r"}
SECRET = "the marble fountain"
CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


class Kept:
    """A span exporter that keeps what it is given."""

    def __init__(self) -> None:
        self.spans: list[sdk.ReadableSpan] = []

    def export(self, spans: list[sdk.ReadableSpan]) -> None:
        self.spans += spans

    def shutdown(self) -> None:
        pass


KEPT = Kept()


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    from opentelemetry import trace
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    monkeypatch.delenv(CAPTURE, raising=False)
    if not isinstance(trace.get_tracer_provider(), sdk.TracerProvider):
        provider = sdk.TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(KEPT))  # type: ignore[arg-type]
        trace.set_tracer_provider(provider)
    KEPT.spans.clear()
    yield KEPT


def work(memory: Memory) -> None:
    memory.append_event({"scope": SCOPE, "event_id": "e1", "payload": SECRET})
    memory.upsert_fact(SCOPE, {"fact_key": "place", "value": SECRET})
    memory.patch_working_state(SCOPE, {"goal": SECRET})
    memory.build_memory_packet({"scope": SCOPE, "query": SECRET})
    memory.search(SCOPE, SECRET)
    memory.forget(SCOPE, {"all": True})
    memory.status()


def test_spans_are_named_by_the_conventions(kept: Kept) -> None:
    with Memory(in_memory=True) as memory:
        work(memory)
    assert [span.name for span in kept.spans] == [
        "create_memory", "upsert_memory", "update_memory", "search_memory", "search_memory", "delete_memory"]
    for span in kept.spans:
        assert span.attributes is not None
        assert span.attributes["gen_ai.operation.name"] == span.name
        assert span.attributes["gen_ai.conversation.id"] == "s"
    assert kept.spans[0].attributes["gen_ai.memory.record.id"] == "e1"  # type: ignore[index]
    packet = kept.spans[3].attributes
    assert packet is not None and packet["engram.packet.used_tokens"] > 0 and packet["gen_ai.memory.record.count"] == 3


def test_content_only_where_it_is_asked_for(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    with Memory(in_memory=True) as memory:
        work(memory)
        assert SECRET not in "".join(span.to_json() for span in kept.spans)
        monkeypatch.setenv(CAPTURE, "true")
        kept.spans.clear()
        work(memory)
    told = [span.to_json() for span in kept.spans]
    assert SECRET in told[0] and "gen_ai.memory.records" in told[0]
    assert SECRET in told[4] and "gen_ai.memory.query.text" in told[4]


def test_errors_are_told_by_their_kind(kept: Kept) -> None:
    with Memory(in_memory=True) as memory:
        memory.append_event({"scope": SCOPE, "event_id": "e1", "payload": SECRET})
        with pytest.raises(Conflict):
            memory.append_event({"scope": SCOPE, "event_id": "e1", "payload": "other"})
    attributes = kept.spans[-1].attributes
    assert attributes is not None and attributes["error.type"] == "conflict"
    assert kept.spans[-1].status.status_code.name == "ERROR"


def test_the_awaited_twin_has_them_too(kept: Kept) -> None:
    async def main() -> None:
        async with AsyncMemory(in_memory=True) as memory:
            await asyncio.gather(*(memory.append_event({"scope": SCOPE, "payload": f"{n}"}) for n in range(3)))

    asyncio.run(main())
    assert [span.name for span in kept.spans] == ["create_memory"] * 3


def test_every_operation_on_memories_has_its_name() -> None:
    from engram.telemetry import OPERATIONS as NAMES

    assert set(NAMES) == set(OPERATIONS) - ADAPTED - {"policies", "reload", "status", "hello", "shutdown"}


def test_who_does_not_load_it_does_not_pay_for_it(tmp_path: Path) -> None:
    code = ("import sys; from engram import Memory; m = Memory(in_memory=True); m.status(); m.close(); "
            "print([name for name in sys.modules if name.startswith('opentelemetry')])")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True,
                           env={"PYTHONPATH": str(Path(engram.__file__).parent.parent), "HOME": str(tmp_path)})
    assert found.stdout == "[]\n"
