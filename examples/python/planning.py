"""Planning with a working state: a goal, steps that are done one by one, what a tool found, what is still open.

    python examples/python/planning.py
"""

from __future__ import annotations

from engram import Conflict, Memory

STEPS = ["find a train", "book a hotel", "tell the cat sitter"]


def search_trains(city: str) -> str:
    """Stand in for a tool."""
    return f"to {city}: 08:50, 10:04"


def main() -> None:
    """Work through a plan, and show what the planner and the tool are given on the way."""
    with Memory(in_memory=True) as memory, memory.session(user="ada", agent="planner") as talk:
        talk.user("Plan my weekend in Lyon. No train before nine, please.")
        talk.remember("preference.trains", "never before nine")
        state = memory.patch_working_state(talk.scope, {"goal": "a weekend in Lyon", "plan": STEPS,
                                                        "open_loops": ["who feeds the cat?"]})
        result = search_trains("Lyon")
        call = {"id": "call-1", "function": {"name": "search_trains", "arguments": '{"city":"Lyon"}'}}
        found = talk.tool(call, result)
        state = memory.patch_working_state(talk.scope, {
            "plan": STEPS[1:], "decisions": ["take the 10:04"],
            "tool_evidence": [{"evidence_id": found[-1]["event_id"], "summary": result}],
        }, expected_version=state["state_version"], merge_slots={"train": "10:04"})
        try:  # somebody with an old copy of the plan
            memory.patch_working_state(talk.scope, {"plan": STEPS}, expected_version=1)
        except Conflict as error:
            print(f"refused: {error.message}")
        for purpose in ("planner", "tool", "responder"):
            short = talk.packet(purpose, query="What next?", max_tokens=800)["short_term"]
            working = short["working_state"]
            print(f"{purpose}: goal {working['goal']!r}, plan {working['plan']}, decisions {working['decisions']}, "
                  f"open {short['open_loops']}, evidence {[one['summary'] for one in short['last_tool_evidence']]}")


if __name__ == "__main__":
    main()
