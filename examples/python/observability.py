"""What happened inside: the log of a packet, its explanation, and spans where OpenTelemetry is installed.

    python examples/python/observability.py
"""

from __future__ import annotations

import logging
import sys

from engram import Memory

SCOPE = {"user_id": "ada", "agent_id": "demo", "session_id": "s", "run_id": "r"}


def spans_to(stream: object) -> bool:
    """Print each span when it ends; tell whether OpenTelemetry is there."""
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
    except ImportError:
        return False

    def line(span: ReadableSpan) -> str:
        return f"span {span.name}: {dict(span.attributes or {})}\n"

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=stream, formatter=line)))  # type: ignore
    trace.set_tracer_provider(provider)
    return True


def main() -> None:
    """Build a packet that does not hold everything, and look at it from all sides."""
    logging.basicConfig(stream=sys.stdout, format="%(name)s %(levelname)s %(message)s")
    logging.getLogger("engram.recall").setLevel(logging.DEBUG)  # its lines hold texts of memories
    if not spans_to(sys.stdout):
        print("opentelemetry-sdk is not installed: no spans")
    with Memory(in_memory=True) as memory:
        for number in range(4):
            text = f"The vault {number} is downstairs"
            memory.append_event({"scope": SCOPE, "event_id": f"e{number}", "payload": text})
        memory.build_memory_packet({"scope": SCOPE, "query": "Where is the vault?", "budget": {"max_tokens": 260}})
        for row in memory.explain(SCOPE)["candidates"]:
            print(f"explained {row['id']}: {row['outcome']} {row['reason']} {row['miss']}".rstrip())


if __name__ == "__main__":
    main()
