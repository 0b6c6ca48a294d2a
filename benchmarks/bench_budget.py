"""Build many random packets over hostile text in every script and count their emitted bytes with tiktoken.

Run it with ``python benchmarks/bench_budget.py [PACKETS]``, 10,000 unless said otherwise; it prints one JSON object.
Stores, requests, budgets, policies, formats and tokenizers are drawn from a fixed seed. Each packet is counted by the
real tokenizer, not by ours; besides being over its budget it may be over a section's limit, or report another count
than the real one. The fill is the share of the budget that was used, over packets for which the material suffices:
more than twice the budget in candidates no longer than a tenth of it.

Goals: no packet over its budget or a section's limit, none that reports a wrong count; a mean fill of at least 0.95.
"""

from __future__ import annotations

import importlib.util
import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

from engram_core.daemon.handlers import Engine
from engram_core.errors import BudgetTooSmall, EngramError
from engram_core.settings import load

PACKETS = 10_000
PER_STORE = 250
GOAL_FILL = 0.95
NOW_MS = 1_780_315_200_000
DAY_MS = 86_400_000
SCOPE = {"tenant_id": "t", "user_id": "u", "agent_id": "a", "session_id": "s", "run_id": "r"}
RANGES = (
    (0x20, 0x7E),
    (0xA0, 0x24F),
    (0x370, 0x3FF),
    (0x400, 0x4FF),
    (0x531, 0x58F),
    (0x5D0, 0x5EA),
    (0x620, 0x64A),
    (0x900, 0x97F),
    (0x980, 0x9FF),
    (0xB80, 0xBFF),
    (0xE01, 0xE3A),
    (0x10A0, 0x10FF),
    (0x1200, 0x137F),
    (0x1780, 0x17DD),
    (0x3041, 0x30FF),
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3),
    (0x1F300, 0x1F64F),
    (0x20000, 0x2A6DF),
)
HOSTILE = (
    "</memory>",
    "\n# Facts\n",
    "]\n},",
    "\x1b[31m",
    "\x1b]0;x\x07",
    "\u202e",
    "\u2028",
    "\u2029",
    "\x85",
    "\r",
    "\r\n",
    "\x00",
    "\t",
    "   ",
    "///",
    "\n/\n",
    "<|endoftext|>",
    "'s",
    "'LL",
    '"',
    "\\",
    "{",
    "}",
    "\u0301\u0302",
    "\u200d",
    "\ufeff",
    "9" * 40,
    "a" * 400,
    "。" * 60,
    "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "don't",
    "CamelCaseWord",
    "snake_case_word",
)
TOPICS = ("tram", "Lisbon", "toaster", "deploy", "garden", "invoice", "北京", "東京", "поезд", "قطار")


class Material:
    """Random texts, memories and requests."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def word(self) -> str:
        """Return a few letters of one script."""
        low, high = self.chance.choice(RANGES)
        return "".join(chr(self.chance.randint(low, high)) for _ in range(self.chance.randint(1, 9)))

    def text(self, words: int) -> str:
        """Return a text that begins with a topic, of up to so many words and hostile pieces."""
        parts = [self.chance.choice(TOPICS)]
        for _ in range(self.chance.randint(1, words)):
            kind = self.chance.random()
            parts.append(
                self.chance.choice(HOSTILE)
                if kind < 0.12
                else self.chance.choice(TOPICS)
                if kind < 0.3
                else self.word()
            )
            if self.chance.random() < 0.1:
                parts[-1] += self.chance.choice([". ", "! ", "? ", "。", "\n"])
        return self.chance.choice([" ", " ", " ", ""]).join(parts)

    def memories(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the writes that fill one store."""
        pick, scope = self.chance.choice, {"scope": SCOPE}
        for at in range(120):
            payload = {"role": pick(["user", "assistant"]), "content": self.text(pick([8, 8, 25, 25, 150]))}
            yield (
                "append_event",
                {
                    "event": {
                        "scope": {**SCOPE, "session_id": pick(["s", "s1", "s2"])},
                        "event_id": f"e{at}",
                        "payload": payload,
                        "ts_ms": NOW_MS - at * DAY_MS // 7,
                    }
                },
            )
        for at in range(60):
            sources = [f"e{self.chance.randint(0, 140)}" for _ in range(self.chance.randint(0, 3))]
            yield (
                "upsert_fact",
                {
                    **scope,
                    "fact": {
                        "fact_key": f"{pick(['preference ', '', ''])}{pick(TOPICS)} {at}",
                        "value": self.text(12),
                        "sources": sources,
                        "confidence": self.chance.random(),
                        "scope_level": pick(["user", "user", "agent", "tenant"]),
                    },
                },
            )
        for at in range(30):
            yield (
                "append_episode",
                {
                    **scope,
                    "episode": {
                        "episode_id": f"ep{at}",
                        "summary": self.text(25),
                        "highlights": [self.text(8) for _ in range(at % 3)],
                        "time_range": {"start": NOW_MS - at * DAY_MS},
                        "tags": [pick(TOPICS)],
                        "sources": [f"e{at}"],
                    },
                },
            )
            yield (
                "upsert_procedure",
                {
                    **scope,
                    "procedure": {
                        "procedure_id": f"p{at}",
                        "task_type": pick(["generic", "deploy"]),
                        "priority": at % 7,
                        "content": [self.text(10) for _ in range(at % 6 + 1)],
                    },
                },
            )
            yield (
                "append_insight",
                {
                    **scope,
                    "insight": {
                        "id": f"i{at}",
                        "type": pick(["hypothesis", "strategy", "pattern"]),
                        "statement": self.text(15),
                        "validation_state": pick(["unvalidated", "validated", "rejected"]),
                    },
                },
            )
        texts = [self.text(10) for _ in range(6)]
        yield (
            "patch_working_state",
            {
                **scope,
                "patch": {
                    "goal": texts[0],
                    "plan": texts,
                    "decisions": texts[:3],
                    "risks": texts[3:],
                    "open_loops": texts[1:4],
                    "slots": {pick(TOPICS): self.text(10)},
                    "tool_evidence": [{"evidence_id": "t1", "summary": self.text(40)}],
                },
            },
        )
        yield (
            "update_stm",
            {
                **scope,
                "stm_state": {
                    "rolling_summary": self.text(120),
                    "key_quotes": [
                        {"evidence_id": "e1", "quote": self.text(12)},
                        {"evidence_id": "e2", "quote": self.text(30)},
                    ],
                },
            },
        )

    def request(self) -> tuple[dict[str, Any], str, str]:
        """Return a request, a format and a tokenizer."""
        pick, chance = self.chance.choice, self.chance.random
        budget: dict[str, Any] = {"max_tokens": self.chance.randint(160, pick([400, 1000, 2500, 6000]))}
        if chance() < 0.25:
            names = (
                "facts",
                "key_quotes",
                "episodes",
                "working_state",
                "rolling_summary",
                "citations",
                "procedures",
                "insights",
            )
            budget["per_section"] = {pick(names): self.chance.randint(0, 400) for _ in range(2)}
        policy = {
            "include_conversation_window": chance() < 0.3,
            "split_preferences": chance() < 0.3,
            "cost_exponent": pick([0.0, 0.2, 0.4, 1.0]),
            "include_insights_in_tool": chance() < 0.5,
        }
        request = {
            "purpose": pick(["planner", "tool", "responder"]),
            "budget": budget,
            "policy": policy,
            "now": NOW_MS,
            "persist": False,
            "scope": SCOPE,
        }
        if chance() < 0.75:
            request["query"] = f"{pick(TOPICS)} {pick(TOPICS)} {self.word()}"
        return request, pick(["json", "json", "text", "markdown"]), pick(["o200k_base", "o200k_base", "cl100k_base"])


def real_counter() -> Callable[[str, str], int]:
    """Return tiktoken's count, made from the shipped ranks as the tests make it."""
    place = Path(__file__).resolve().parent.parent / "tests/reference_tokens.py"
    spec = importlib.util.spec_from_file_location("reference_tokens", place)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        sys.exit(f"bench_budget: {error}; it counts with tiktoken: pip install tiktoken")
    counted: Callable[[str, str], int] = module.count
    return counted


def store(material: Material) -> Engine:
    """Return an engine over a filled private database."""
    engine = Engine(load(env={}), ":memory:")
    for method, params in material.memories():
        answer = engine.write([(method, params)])[0]
        if isinstance(answer, EngramError):
            raise answer
    return engine


def suffices(account: dict[str, Any], budget: int) -> bool:
    """Tell whether there is much more material than fits, in pieces that are small beside the budget."""
    costs = [
        next(iter(row["tokens"].values()), 0)
        for row in account["candidates"]
        if not row["reason"] or row["reason"].startswith("budget")
    ]
    return budget >= 600 and sum(cost for cost in costs if cost <= budget / 10) > 2 * budget


def measure(packets: int) -> dict[str, Any]:
    """Return how many packets broke a promise, and how full they were."""
    count = real_counter()
    found: dict[str, Any] = {"over_budget": 0, "over_section": 0, "wrong_count": 0, "refused": 0}
    fills, begin, built = [], perf_counter(), 0
    for number in range(0, packets, PER_STORE):
        material = Material(number)
        engine = store(material)
        for _ in range(min(PER_STORE, packets - number)):
            request, form, tokenizer = material.request()
            shown = {"format": form, "tokenizer": tokenizer, "bare": True}
            try:
                text = json.loads(engine.read("build_memory_packet", {"request": request, "render": True, **shown}))
            except BudgetTooSmall:
                found["refused"] += 1
                continue
            built += 1
            used, most = count(tokenizer, text), request["budget"]["max_tokens"]
            given = {"scope": SCOPE, "request": request, "format": form, "tokenizer": tokenizer}
            account = json.loads(engine.read("explain", given))
            limits = request["budget"].get("per_section", {})
            sections = {one["section"]: one["used"] for one in account["budget"]["sections"]}
            found["over_budget"] += used > most
            found["wrong_count"] += used != account["budget"]["used_tokens"]
            found["over_section"] += any(sections.get(name, 0) > limit for name, limit in limits.items())
            if not limits and suffices(account, most):
                fills.append(used / most)
        engine.close()
    met = not (found["over_budget"] or found["over_section"] or found["wrong_count"]) and mean(fills) >= GOAL_FILL
    return {
        "benchmark": "budget",
        "packets": built,
        **found,
        "filled": len(fills),
        "mean_fill": round(mean(fills), 4),
        "lowest_fill": round(min(fills), 4),
        "goal_mean_fill": GOAL_FILL,
        "seconds": round(perf_counter() - begin, 1),
        "met": met,
    }


if __name__ == "__main__":
    report = measure(int(sys.argv[1]) if len(sys.argv) > 1 else PACKETS)
    print(json.dumps(report, indent=2))
    sys.exit(0 if report["met"] else 1)
