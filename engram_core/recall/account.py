"""The whole account of a packet: every candidate with its score, signals, tokens, outcome, reason and nearest miss.

Driven by the daemon, when an explanation is asked for or stored with its build.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from engram_core.recall.budget import read_lines
from engram_core.recall.candidates import CANDIDATE_KINDS, REASON, REASONS, SECTIONS
from engram_core.recall.gather import CAPS, Gathered, allowed_insights
from engram_core.recall.signals import SIGNALS
from engram_core.values import dump_json, format_time

if TYPE_CHECKING:
    from engram_core.recall.compose import Composed
    from engram_core.store.reads import Reads

_TEXT_CHARS = 200


def filters(found: Gathered) -> list[dict[str, Any]]:
    """Return how many memories each hard filter excluded."""
    return [{"kind": kind, "filter": name, "excluded": number} for kind, counts in found.counts.items()
            for name, number in sorted(counts["filtered"].items())]


def explanation(packet: Composed, reads: Reads, *, memory_id: str | None = None) -> dict[str, Any]:
    """Return the account of every candidate, or of those with one id."""
    found, spent, question = packet.found, packet.spent, packet.found.question
    pool = found.pool
    numbers = range(pool.n)
    read_lines([number for number in numbers if pool.brief(number)[3] >= 0], reads, found)
    accounts = [pool.account(number) for number in numbers]
    order = sorted(numbers, key=lambda number: (-accounts[number]["rank"], pool.id(number)))
    rank = {number: at for at, number in enumerate(order, 1)}
    rows = [_row(packet, number, accounts[number], rank[number]) for number in numbers
            if memory_id in (None, pool.id(number))]
    return {
        "schema": "engram.explain/1", "build_id": packet.build_id, "generated_at": format_time(question.now_ms),
        "scope": question.scope._asdict(), "purpose": question.request.purpose, "query": question.request.query,
        "task_type": question.request.task_type,
        "policy": {"id": question.request.policy_id, "overrides": question.request.policy,
                   "digest": question.policy.digest, "insights": allowed_insights(question)},
        "tokenizer": spent.counter.tokenizer.name, "format": spent.counter.form,
        "budget": {"max_tokens": question.request.budget.max_tokens, "used_tokens": packet.used,
                   "skeleton_tokens": spent.counter.skeleton, "sections": _sections(packet, accounts)},
        "candidates": rows, "counts": found.counts, "filters": filters(found), "conflicts": found.conflicts}


def _sections(packet: Composed, accounts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    spent, rows = packet.spent, []
    for at, (name, share) in enumerate(spent.shares.items()):
        forms = [one["kept"] for one in accounts if one["section"] == at]
        if share or forms:
            rows.append({"section": name, "share": share, "cap": spent.caps.get(name, 0), "limit": spent.limits.get(name),
                         "used": packet.usage.get(name, 0), "kept": forms.count(0),
                         "degraded": sum(form > 0 for form in forms), "omitted": forms.count(-1)})
    cited = len(packet.arrays.get("citations", ()))
    if cited:
        rows.append({"section": "citations", "share": 0.0, "cap": spent.left, "limit": spent.limits.get("citations"),
                     "used": packet.usage["citations"], "kept": cited, "degraded": 0, "omitted": 0})
    return rows


def _row(packet: Composed, number: int, one: dict[str, Any], rank: int) -> dict[str, Any]:
    found = packet.found
    kind = CANDIDATE_KINDS[one["kind"]]
    forms = found.forms.get(number, [])
    row: dict[str, Any] = {"kind": kind, "id": found.pool.id(number), "section": SECTIONS[one["section"]],
                           "layer": _layer(found, kind, one), "rank": rank, "score": round(one["score"], 6),
                           "pinned": one["pinned"]}
    if one["doc"] >= 0:
        row["signals"] = {name: {"value": round(value, 6), "weight": round(weight, 6)} for name, value, weight
                          in zip(SIGNALS, one["signals"], found.weights[kind], strict=True)}
        if found.scores:
            scores = found.scores[one["layer"]]
            row["relevance"] = {name: round(value, 6) for name, value in scores.parts(one["doc"]).items() if value}
            row["matched"] = scores.matched(one["doc"])
    names = [name for name, _ in forms] + [f"short{at}" for at in range(len(forms), len(one["costs"]))]
    row["tokens"] = {name: max(pair) for name, pair in zip(names, one["costs"], strict=False)}
    kept = one["kept"]
    row["outcome"] = "omitted" if kept < 0 else "kept" if kept == 0 else f"degraded:{names[kept]}"
    row["reason"], row["miss"] = REASONS[one["reason"]], _miss(packet, one)
    row["used_tokens"] = max(one["costs"][kept]) if kept >= 0 else 0
    row["text"] = _text(kind, forms[0][1])[:_TEXT_CHARS] if forms else ""
    return row


def _layer(found: Gathered, kind: str, one: dict[str, Any]) -> str:
    if one["doc"] >= 0:
        return found.layers[one["layer"]][0]
    return "session" if kind in ("rolling_summary", "quote", "turn") else "run"


def _miss(packet: Composed, one: dict[str, Any]) -> str:
    reason = REASONS[one["reason"]]
    if one["reason"] in (REASON["budget_section"], REASON["budget_total"]):
        return f"would fit with {one['miss']} more tokens"
    if reason in CAPS.values():
        return f"rank {one['place']} of {getattr(packet.found.question.policy, reason)}"
    if reason == "max_items":
        rule = packet.found.question.purpose.sections[SECTIONS[one["section"]]]
        return f"rank {one['miss']} of {rule.max_items}"
    return ""


def _text(kind: str, line: str) -> str:
    value = json.loads(line)
    if kind == "working_state":
        return "; ".join(f"{key}: {text}" for key, text in value.items() if key != "state_version")
    if type(value) is str:
        return value
    if kind == "fact":
        return f"{value['fact_key']}: {value['value'] if type(value['value']) is str else dump_json(value['value'])}"
    for name in ("quote", "content", "summary", "statement"):
        if name in value:
            return str(value[name]) if type(value[name]) is str else dump_json(value[name])
    return line
