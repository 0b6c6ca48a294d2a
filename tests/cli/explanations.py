"""Explanations as the daemon sends them, written by hand: full, without a question, empty, hostile."""

from __future__ import annotations

from typing import Any

WEIGHTS = {"relevance": 0.6, "recency": 0.15, "importance": 0.1, "cues": 0.1, "layer": 0.05}
SHARES = {
    "working_state": 0.08,
    "rolling_summary": 0.07,
    "key_quotes": 0.40,
    "conversation_window": 0.0,
    "open_loops": 0.03,
    "last_tool_evidence": 0.0,
    "facts": 0.25,
    "preferences": 0.0,
    "procedures": 0.0,
    "episodes": 0.12,
    "insights": 0.0,
    "citations": 0.05,
}
SCOPE = {
    "tenant_id": "default",
    "user_id": "maya",
    "agent_id": "assistant",
    "session_id": "s14",
    "run_id": "r1",
}


def memory(
    section: str,
    kind: str,
    id: str,
    text: str,
    *,
    values: tuple[float, ...],
    rank: int,
    full: int,
    short: int = 0,
    outcome: str = "kept",
    reason: str = "",
    miss: str = "",
    matched: tuple[str, ...] = (),
    layer: str = "user",
    parts: dict[str, float] | None = None,
) -> dict[str, Any]:
    """Return one candidate whose score is the sum its signals say."""
    signals = {name: {"value": v, "weight": WEIGHTS[name]} for name, v in zip(WEIGHTS, values, strict=True)}
    used = {"kept": full, "omitted": 0}.get(outcome, short)
    made = {
        "kind": kind,
        "id": id,
        "section": section,
        "layer": layer,
        "rank": rank,
        "score": round(sum(s["value"] * s["weight"] for s in signals.values()), 6),
        "signals": signals,
        "matched": list(matched),
        "tokens": {"full": full, "short": short or full},
        "outcome": outcome,
        "reason": reason,
        "miss": miss,
        "used_tokens": used,
        "text": text,
    }
    return {**made, "relevance": parts} if parts else made


def explanation(candidates: list[dict[str, Any]], *, max_tokens: int, **changes: Any) -> dict[str, Any]:
    """Return a whole explanation whose budget adds up over the candidates."""
    budget = []
    for name, share in SHARES.items():
        mine = [c for c in candidates if c["section"] == name]
        count = {
            state: sum(c["outcome"].startswith(state) for c in mine)
            for state in ("kept", "degraded", "omitted")
        }
        budget.append(
            {
                "section": name,
                "share": share,
                "cap": int(share * max_tokens),
                "limit": None,
                "used": sum(c["used_tokens"] for c in mine),
                **count,
            }
        )
    used = sum(s["used"] for s in budget)
    made = {
        "schema": "engram.explain/1",
        "build_id": "b_7f3a9c12d0e45b68",
        "generated_at": "2025-11-22T14:03:11Z",
        "scope": SCOPE,
        "purpose": "responder",
        "query": "Where do we keep the paper invoices, and since when?",
        "task_type": "generic",
        "policy": {"id": "default", "overrides": {}, "digest": "8ac1f0"},
        "tokenizer": "o200k_base",
        "budget": {
            "max_tokens": max_tokens,
            "used_tokens": used + 88,
            "skeleton_tokens": 88,
            "sections": budget,
        },
        "candidates": candidates,
        "counts": {},
        "filters": [],
        "conflicts": [],
    }
    return {**made, **changes}


def full() -> dict[str, Any]:
    """Return a packet for a question: several sections, degraded and omitted memories, a conflict."""
    quote, fact = ("key_quotes", "event"), ("facts", "fact")
    candidates = [
        memory(
            "working_state",
            "working_state",
            "r1",
            "goal: close the third quarter; slots: quarter=Q3, due=30 November",
            values=(0.21, 1.0, 0.8, 0.0, 0.0),
            rank=1,
            full=96,
            short=41,
        ),
        memory(
            "rolling_summary",
            "summary",
            "s14",
            "Maya is closing the books for the third quarter. She has the bank"
            " statements and looks for the paper invoices of the workshop.",
            values=(0.48, 0.97, 0.5, 0.0, 0.0),
            rank=1,
            full=118,
            short=64,
        ),
        memory(
            *quote,
            "e_01jcz8q4k2m7",
            "The paper invoices are in the blue binder now, top shelf in the workshop office. I moved"
            " them on the 14th of September, after the pipe burst in the cellar.",
            values=(0.96, 0.42, 0.5, 0.5, 0.0),
            rank=1,
            full=71,
            short=38,
            matched=("paper", "invoices", "keep"),
            parts={
                "bm25": 4.81,
                "pairs": 1.12,
                "session": 0.84,
                "neighbours": 0.66,
                "question": 0.41,
                "time": 0.0,
            },
        ),
        memory(
            *quote,
            "e_01jcz8q9v0xa",
            "Then I will look for invoices in the binder first and only ask you for the ones that"
            " are missing.",
            values=(0.74, 0.42, 0.5, 0.5, 0.0),
            rank=2,
            full=44,
            matched=("invoices",),
        ),
        memory(
            *quote,
            "e_01jb1w22c9ds",
            "Long answer, sorry. We used to keep everything in the cellar, the paper from the"
            " suppliers in grey boxes by year and the receipts for fuel in the drawer of the old desk.",
            values=(0.69, 0.17, 0.5, 0.0, 0.0),
            rank=3,
            full=212,
            short=58,
            outcome="degraded:sentences",
            matched=("keep", "paper"),
        ),
        memory(
            *quote,
            "e_01jd40bbn1qe",
            "since the pipe burst, nothing made of paper goes below ground floor",
            values=(0.55, 0.61, 0.5, 0.0, 0.0),
            rank=4,
            full=31,
            matched=("paper", "since"),
        ),
        memory(
            *quote,
            "e_01jc77pm3zrt",
            "Scans of the invoices go to the shared folder; the originals stay for ten years.",
            values=(0.52, 0.35, 0.5, 0.0, 0.0),
            rank=5,
            full=37,
            matched=("invoices",),
        ),
        memory(
            *quote,
            "e_01j9x0d8mmcu",
            "Here is the full text of the insurance letter about the water damage, as you asked:"
            " Dear Ms Okonkwo, with reference to your claim of the 15th of September …",
            values=(0.44, 0.12, 0.5, 0.0, 0.0),
            rank=6,
            full=486,
            short=302,
            outcome="omitted",
            reason="budget_total",
            miss="would fit with 264 more tokens",
            matched=("paper",),
        ),
        memory(
            *quote,
            "e_01j9x0d9ak3f",
            "Keep the paper copies too, the tax office wants originals.",
            values=(0.43, 0.12, 0.5, 0.0, 0.0),
            rank=7,
            full=45,
            outcome="omitted",
            reason="budget_total",
            miss="would fit with 7 more tokens",
            matched=("keep", "paper"),
        ),
        memory(
            *quote,
            "e_01jd9fn20wpk",
            "Where do we keep the paper invoices?",
            values=(0.93, 0.9, 0.5, 0.0, 0.0),
            rank=8,
            full=18,
            outcome="omitted",
            reason="in_window",
            matched=("paper", "invoices", "keep"),
        ),
        memory(
            *quote,
            "e_01jcz8r1h8yb",
            "the  PAPER invoices are in the blue binder now, top shelf in the workshop office. i moved"
            " them on the 14th of september, after the pipe burst in the cellar.",
            values=(0.95, 0.40, 0.5, 0.0, 0.0),
            rank=9,
            full=71,
            outcome="omitted",
            reason="duplicate",
            matched=("paper", "invoices"),
        ),
        *[
            memory(
                *quote,
                f"e_01j8{n:02d}s5wkqp",
                text,
                values=(0.38 - 0.01 * n, 0.1, 0.5, 0.0, 0.0),
                rank=10 + n,
                full=40 + 9 * n,
                outcome="omitted",
                reason="max_key_quotes",
                miss=f"rank {11 + n} of 10",
                matched=("invoices",),
            )
            for n, text in enumerate(
                (
                    "The invoices for the lathe are in euros, please convert them before you add them up.",
                    "I have sent three invoices to the wrong address again.",
                    "Can you write a friendly reminder for the unpaid invoices?",
                    "Two invoices from the timber yard carry the same number.",
                    "Yes, invoices first, then the wages.",
                    "The new accountant wants the invoices as PDF, one file for each supplier.",
                    "No invoices this week.",
                )
            )
        ],
        memory(
            *fact,
            "office.invoices.place",
            "office.invoices.place: blue binder, top shelf, workshop office",
            values=(0.91, 0.44, 0.95, 1.0, 0.0),
            rank=1,
            full=62,
            short=29,
            matched=("invoices",),
            parts={"bm25": 3.9, "grams": 0.8},
        ),
        memory(
            *fact,
            "office.invoices.retention",
            "office.invoices.retention: originals are kept for ten years",
            values=(0.66, 0.36, 0.9, 1.0, 0.0),
            rank=2,
            full=58,
            short=27,
            matched=("invoices", "keep"),
        ),
        memory(
            *fact,
            "company.vat",
            "company.vat: quarterly, due on the tenth",
            values=(0.12, 0.2, 0.8, 0.0, 1.0),
            rank=3,
            full=49,
            short=22,
            outcome="degraded:key_value",
            layer="tenant",
        ),
        memory(
            *fact,
            "office.invoices.place#1",
            "office.invoices.place: grey boxes, cellar",
            values=(0.88, 0.08, 0.2, 1.0, 0.0),
            rank=4,
            full=57,
            short=27,
            outcome="omitted",
            reason="superseded",
            matched=("invoices",),
        ),
        memory(
            *fact,
            "office.invoices.format",
            "office.invoices.format: PDF, one file for each supplier",
            values=(0.51, 0.3, 0.7, 1.0, 1.0),
            rank=5,
            full=55,
            short=25,
            outcome="omitted",
            reason="shadowed",
            layer="agent",
            matched=("invoices",),
        ),
        memory(
            "episodes",
            "episode",
            "ep_water_damage",
            "Water damage in the cellar: the pipe burst on 13 September, the archive"
            " moved to the office, the insurance paid on 2 October.",
            values=(0.58, 0.3, 0.6, 0.0, 0.0),
            rank=1,
            full=190,
            short=74,
            outcome="degraded:summary",
            matched=("paper", "since"),
        ),
        memory(
            "episodes",
            "episode",
            "ep_q2_closing",
            "Closing of the second quarter: eleven invoices were missing, nine of them"
            " found in the drawer of the old desk.",
            values=(0.41, 0.05, 0.6, 0.0, 0.0),
            rank=2,
            full=160,
            short=66,
            outcome="omitted",
            reason="budget_section",
            miss="would fit with 38 more tokens",
            matched=("invoices",),
        ),
        memory(
            "insights",
            "insight",
            "in_0007",
            "Maya looks for a paper in the place where it was before the last move.",
            values=(0.35, 0.7, 0.3, 0.0, 0.0),
            rank=1,
            full=33,
            outcome="omitted",
            reason="not_validated",
        ),
    ]
    made = explanation(
        candidates,
        max_tokens=800,
        policy={
            "id": "default",
            "overrides": {"max_facts": 12, "weights": {"cues": 0.1}},
            "digest": "8ac1f0",
        },
        counts={
            "event": {"total": 1204, "candidates": 16, "not_ranked": 1171, "filtered": {"kind": 17}},
            "fact": {
                "total": 61,
                "candidates": 5,
                "not_ranked": 0,
                "filtered": {"status": 44, "validity": 12},
            },
            "episode": {"total": 9, "candidates": 2, "not_ranked": 0, "filtered": {"time_window": 7}},
            "procedure": {"total": 4, "candidates": 0, "not_ranked": 0, "filtered": {"purpose": 4}},
            "insight": {"total": 3, "candidates": 1, "not_ranked": 0, "filtered": {"expired": 2}},
        },
        filters=[
            {"kind": "event", "filter": "kind", "excluded": 17},
            {"kind": "fact", "filter": "status", "excluded": 44},
        ],
        conflicts=[{"fact_key": "accountant.name", "ids": ["f_accountant_name", "f_accountant_name_2"]}],
        timings={"gather_ms": 1.21, "signals_ms": 0.64, "fit_ms": 0.09, "compose_ms": 0.47},
    )
    for section in made["budget"]["sections"]:
        if section["section"] == "episodes":
            section["limit"] = 100
        if section["section"] == "citations":
            section.update(used=36, kept=4)
    made["budget"]["used_tokens"] += 36
    return made


def no_query() -> dict[str, Any]:
    """Return a planner's packet without a question and without a limit, as read from the store."""
    candidates = [
        memory(
            "facts",
            "fact",
            f"project.{name}",
            f"project.{name}: {value}",
            values=(0.0, 0.9 - n / 10, 0.7, 0.0, 0.0),
            rank=n + 1,
            full=20 + n,
        )
        for n, (name, value) in enumerate((("deadline", "3 March"), ("lead", "Tomas"), ("budget", 42000)))
    ]
    made = explanation(candidates, max_tokens=1000, purpose="planner", query=None, task_type="release")
    made["budget"]["max_tokens"] = 0
    for section in made["budget"]["sections"]:
        section["cap"] = None
    return made


def empty() -> dict[str, Any]:
    """Return the packet of a scope nothing was ever written to."""
    return explanation([], max_tokens=2048, query="anything?")


def filtered_out() -> dict[str, Any]:
    """Return a packet whose every stored memory was excluded by a filter."""
    counts = {"fact": {"total": 3, "candidates": 0, "not_ranked": 0, "filtered": {"status": 3}}}
    return explanation([], max_tokens=2048, counts=counts)


def scripts() -> dict[str, Any]:
    """Return memories in wide, right-to-left and combining scripts, and ones that attack the terminal."""
    texts = (
        "請求書は青いバインダーに入れて、事務所の一番上の棚に置いてあります。九月十四日に移しました。",
        "인보이스는 파란색 바인더에 있습니다. 사무실 맨 위 선반입니다. 9월 14일에 옮겼습니다.",
        "החשבוניות נמצאות בקלסר הכחול, על המדף העליון במשרד, מאז הארבעה עשר בספטמבר.",
        "الفواتير في الملف الأزرق على الرف العلوي في المكتب منذ الرابع عشر من سبتمبر",
        "🧾 invoices 📘 blue binder 🏢 office 🗓 14 September 🎉 done 🎉 done 🎉 done 🎉 done",
        "चालान नीले बाइंडर में हैं, कार्यालय की सबसे ऊपर वाली शेल्फ पर, चौदह सितंबर से।",
        "ok \x1b[31mred\x1b[0m \x1b]0;owned\x07 "
        "\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\ \u202egnp.exe \x9b2J bell\x07 [bold]no markup[/bold]",
    )
    candidates = [
        memory(
            "key_quotes",
            "event",
            f"e_{n}",
            text,
            values=(0.9 - n / 10, 0.3, 0.5, 0.0, 0.0),
            rank=n + 1,
            full=40 + n,
        )
        for n, text in enumerate(texts)
    ]
    return explanation(candidates, max_tokens=1000, query="請求書はどこにありますか？ \x1b[2J")


def bare() -> dict[str, Any]:
    """Return what an older version may have stored: no signals, no tokens, names of its own."""
    return {
        "schema": "engram.explain/1",
        "candidates": [
            {"kind": "dream", "id": "d1", "text": "of an older version", "outcome": "kept"},
            {"kind": "dream", "id": "d2", "outcome": "omitted", "reason": "too_dreamy"},
        ],
    }
