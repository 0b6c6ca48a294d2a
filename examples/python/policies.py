"""The same question under other policies: single fields for one request, insights and who may see them.

    python examples/python/policies.py
"""

from __future__ import annotations

from typing import Any

from engram import BadInput, Memory

SCOPE = {"user_id": "ada", "agent_id": "demo", "session_id": "s", "run_id": "r"}
POLICIES: dict[str, dict[str, Any]] = {
    "as shipped": {}, "two facts": {"max_facts": 2}, "with the last turns": {"include_conversation_window": True},
    "preferences apart": {"split_preferences": True}, "insights for all": {"allow_insights_in_responder": True}}


def main() -> None:
    """Ask once for each policy."""
    with Memory(in_memory=True) as memory:
        for key, value in (("preference.tea", "green"), ("city", "Lyon"), ("cat", "Miso"), ("work", "surveyor")):
            memory.upsert_fact(SCOPE, {"fact_key": key, "value": value})
        memory.append_event({"scope": SCOPE, "payload": "Good morning!"})
        memory.append_insight(SCOPE, {"id": "in1", "type": "pattern", "statement": "Ada writes in the morning"})
        memory.update_insight(SCOPE, "in1", {"validation_state": "validated"})
        for name, fields in POLICIES.items():
            packet = memory.build_memory_packet({"scope": SCOPE, "policy_id": name.replace(" ", "-") if fields else
                                                 "default", "policy": fields, "budget": {"max_tokens": 800}})
            long, short = packet["long_term"], packet["short_term"]
            print(f"{name}: {len(long['facts'])} facts, {len(long['preferences'])} preferences, "
                  f"{len(short['conversation_window'])} turns, {len(packet['insight']['patterns'])} insights")
        try:
            memory.build_memory_packet({"scope": SCOPE, "policy": {"max_fact": 2}})
        except BadInput as error:
            print(f"refused: {error}")


if __name__ == "__main__":
    main()
