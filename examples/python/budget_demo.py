"""The same memories in smaller and smaller budgets: what stays, what is shortened, what goes, and why.

    python examples/python/budget_demo.py
"""

from __future__ import annotations

from engram import BudgetTooSmall, Memory

SCOPE = {"user_id": "ada", "agent_id": "demo", "session_id": "s", "run_id": "r"}


def main() -> None:
    """Fill a memory and ask for it in four budgets."""
    with Memory(in_memory=True) as memory:
        for number in range(12):
            value = f"Ada has been to city number {number}, and liked its market"
            memory.upsert_fact(SCOPE, {"fact_key": f"city.{number}", "value": value, "notes": "told in passing",
                                       "confidence": 0.5 + number / 30})
        for number in range(6):
            memory.append_episode(SCOPE, {
                "episode_id": f"trip-{number}", "summary": f"Trip {number}: two days of walking and one of rain",
                "highlights": ["the train was late", "the soup was good"],
                "time_range": {"start": f"2026-0{number + 1}-01T00:00:00Z", "end": f"2026-0{number + 1}-03T00:00:00Z"}})
        for budget in (2000, 900, 450, 100):
            request = {"scope": SCOPE, "purpose": "planner", "query": "Which cities and trips does Ada remember?",
                       "now": "2026-07-01T00:00:00Z", "budget": {"max_tokens": budget}}
            try:
                packet = memory.build_memory_packet(request)
            except BudgetTooSmall as error:
                print(f"{budget:>5} tokens: {error}")
                continue
            report, kept = packet["budget_report"], packet["long_term"]
            reasons = sorted({one["reason"] for one in report["omissions"]})
            print(f"{budget:>5} tokens: {report['used_tokens']} used, {len(kept['facts'])} facts, "
                  f"{len(kept['episodes'])} episodes, {len(report['degradations'])} shortened, "
                  f"{len(report['omissions'])} left out ({', '.join(reasons) or 'nothing'})")


if __name__ == "__main__":
    main()
