"""The whole account of a packet: every candidate with its score, signals, tokens, outcome, reason and nearest miss.

Driven by the daemon, when an explanation is asked for or stored with its build.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from engram_core.recall.budget import Counter, is_indexed
from engram_core.recall.candidates import ARRAYS, CANDIDATE_KINDS, REASON, REASONS, SECTIONS
from engram_core.recall.gather import CAPS, SECTION_OF_KIND, Gathered, allowed_insights, filter_name, rankings, select
from engram_core.recall.index import KINDS
from engram_core.recall.lines import LINE_COLUMN, forms_of, read_lines
from engram_core.recall.signals import SIGNALS
from engram_core.values import dump_json, format_time

if TYPE_CHECKING:
    from engram_core.recall.compose import Composed
    from engram_core.store.reads import Reads

_TEXT_CHARS = 200
_WEIGHED = frozenset(REASON[name] for name in ("budget_section", "budget_total", "max_items"))
"""The reasons that the budget gives, which has counted whatever it omits."""


def filters(found: Gathered) -> list[tuple[str, str, int]]:
    """Return (kind, filter, number) for each hard filter and the memories it excluded."""
    return [(kind, name, number) for kind, counts in found.counts.items()
            for name, number in sorted(counts["filtered"].items())]


def explanation(packet: Composed, reads: Reads, *, memory_id: str | None = None) -> dict[str, Any]:
    """Return the account of every candidate, or of those with one id."""
    found, spent, question = packet.found, packet.spent, packet.found.question
    pool = found.pool
    numbers = range(pool.n)
    read_lines([number for number in numbers if pool.brief(number)[3] >= 0], reads, found)
    accounts = [pool.account(number) for number in numbers]
    if not is_indexed(found.layers, spent.counter):
        _count_uncounted(found, spent.counter, accounts)
    order = sorted(numbers, key=lambda number: (-accounts[number]["rank"], pool.id(number)))
    rank = {number: at for at, number in enumerate(order, 1)}
    rows = [_row(packet, number, accounts[number], rank[number]) for number in numbers
            if memory_id in (None, pool.id(number))]
    if memory_id is not None and not rows:
        rows = row_on_demand(found, reads, memory_id, spent.counter)
    return {
        "schema": "engram.explain/1", "build_id": packet.build_id, "generated_at": format_time(question.now_ms),
        "scope": question.scope._asdict(), "purpose": question.request.purpose, "query": question.request.query,
        "task_type": question.request.task_type, "request": json.loads(question.canonical),
        "policy": {"id": question.request.policy_id, "overrides": question.request.policy,
                   "digest": question.policy.digest, "insights": allowed_insights(question)},
        "tokenizer": spent.counter.tokenizer.name, "format": spent.counter.form,
        "budget": {"max_tokens": question.request.budget.max_tokens, "used_tokens": packet.used,
                   "skeleton_tokens": spent.counter.skeleton, "envelope_tokens": packet.envelope_tokens(),
                   "sections": _sections(packet, accounts)},
        "candidates": rows, "counts": found.counts, "filters": [
            {"kind": kind, "filter": name, "excluded": number} for kind, name, number in filters(found)],
        "conflicts": found.conflicts,
        **({"meaning": {"model": found.meaning.model, "absent": found.meaning.absent}} if found.meaning else {})}


def _count_uncounted(found: Gathered, counter: Counter, accounts: list[dict[str, Any]]) -> None:
    """Give what was out before the budget its tokens in this layout, in place of those the index holds."""
    for number, one in enumerate(accounts):
        weighed = one["lead"] < 0 and (one["kept"] >= 0 or one["reason"] in _WEIGHED)
        if one["doc"] >= 0 and not weighed and number in found.lines:
            array = ARRAYS[one["array"]]
            one["costs"] = [counter.item(array, line) for _, line in forms_of(found, number)]


def _sections(packet: Composed, accounts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    spent, rows = packet.spent, []
    plan = spent.plan
    for at, (name, share) in enumerate(plan.shares.items()):
        forms = [one["kept"] for one in accounts if one["section"] == at]
        if share or forms:
            rows.append({"section": name, "share": share, "cap": spent.caps[at],
                         "limit": plan.limits.get(name), "used": packet.usage.get(name, 0), "kept": forms.count(0),
                         "degraded": sum(form > 0 for form in forms), "omitted": forms.count(-1)})
    cited = len(packet.arrays.get("citations", ()))
    if cited:
        left = spent.budget - packet.used + packet.usage["citations"]
        rows.append({"section": "citations", "share": 0.0, "cap": left, "limit": plan.limits.get("citations"),
                     "used": packet.usage["citations"], "kept": cited, "degraded": 0, "omitted": 0})
    return rows


def _row(packet: Composed, number: int, one: dict[str, Any], rank: int) -> dict[str, Any]:
    found = packet.found
    kind = CANDIDATE_KINDS[one["kind"]]
    line = found.lines.get(number, "")
    forms = forms_of(found, number) if line else []
    row: dict[str, Any] = {"kind": kind, "id": found.pool.id(number), "section": SECTIONS[one["section"]],
                           "layer": _layer(found, kind, one), "rank": rank, "score": round(one["score"], 6),
                           "pinned": one["pinned"]}
    if one["doc"] >= 0:
        row["signals"] = _signals(one["signals"], found, kind)
        if found.scores:
            scores = found.scores[one["layer"]]
            row["relevance"] = {name: round(value, 6) for name, value in scores.parts(one["doc"]).items() if value}
            row["matched"] = scores.matched(one["doc"])
    names = [name for name, _ in forms]
    row["tokens"] = {name: max(pair) for name, pair in zip(names, one["costs"], strict=False)}
    kept = one["kept"]
    lead = one["lead"] if one["lead"] >= 0 else number
    form = "" if kept <= 0 else names[kept] if lead == number else found.forms[lead][kept][0]
    row["outcome"] = "omitted" if kept < 0 else "kept" if kept == 0 else f"degraded:{form}"
    row["reason"], row["miss"] = REASONS[one["reason"]], _miss(packet, one)
    row["used_tokens"] = max(one["costs"][kept]) if kept >= 0 and one["lead"] < 0 else 0
    row["text"] = _text(kind, line)[:_TEXT_CHARS] if line else ""
    if lead in found.units:  # a tool call and its results; the tokens are the lead's
        row["unit"] = {"lead": found.pool.id(lead), "ids": [found.pool.id(member) for member in found.units[lead]]}
    return row


def _signals(values: tuple[float, ...], found: Gathered, kind: str) -> dict[str, dict[str, float]]:
    """Return each signal's value and weight; use is named only where a policy weighs it."""
    return {name: {"value": round(value, 6), "weight": round(weight, 6)} for name, value, weight
            in zip(SIGNALS, values, rankings(found.question)[KINDS.index(kind)].weights, strict=True)
            if weight or name != "use"}


def _layer(found: Gathered, kind: str, one: dict[str, Any]) -> str:
    if one["doc"] >= 0:
        return str(found.layers[one["layer"]][0])
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


# Memories that are no candidates -----------------------------------------------------------------------------------


def row_on_demand(found: Gathered, reads: Reads, memory_id: str, counter: Counter) -> list[dict[str, Any]]:
    """Return the rows of what has this id but is no candidate: what excluded it, or how far down it is."""
    rows = []
    for at, (level, index) in enumerate(found.layers):
        for doc, id_ in enumerate(index.ids):
            if id_ == memory_id and index.table.alive(doc):
                rows.append(_missed(found, reads, at, level, doc, counter))
    return rows


def _missed(found: Gathered, reads: Reads, at: int, level: str, doc: int, counter: Counter) -> dict[str, Any]:
    index = found.layers[at][1]
    about = index.table.about(doc)
    kind = KINDS[about[0]]
    ranking = rankings(found.question)[about[0]]
    alone = select(found, ranking, at, most=1, subset=[doc])
    costs = index.table.costs(doc)
    row: dict[str, Any] = {"kind": kind, "id": index.ids[doc], "section": SECTION_OF_KIND[kind], "layer": level,
                           "rank": 0, "score": 0.0, "pinned": about[4],
                           "tokens": {"full": max(costs[0])} if costs else {},
                           "outcome": "omitted", "reason": "not_for_purpose", "miss": "", "used_tokens": 0}
    if alone.docs:
        row["score"] = round(alone.scores[0], 6)
        row["signals"] = _signals(alone.signals[0], found, kind)
        if not any(found.counts[kind]["filtered"].get(name) for name in ("not_for_purpose", "no_query")):
            order = select(found, ranking, at, most=max(1, index.table.live)).docs
            row["rank"] = order.index(doc) + 1 if doc in order else len(order) + 1
            row["reason"] = "not_ranked"
            row["miss"] = f"rank {row['rank']} of {found.question.policy.max_total_candidates}"
        elif found.counts[kind]["filtered"].get("no_query"):
            row["reason"] = "no_query"
    elif alone.filtered:
        row["reason"] = filter_name(kind, next(iter(alone.filtered)))
    else:
        row["reason"] = "other_run"
    if found.scores:
        row["relevance"] = {name: round(value, 6) for name, value in found.scores[at].parts(doc).items() if value}
        row["matched"] = found.scores[at].matched(doc)
    lines = reads.memories(kind, index.owner, (LINE_COLUMN[kind],), [about[1]])
    line = lines[0][0] if lines else ""
    row["text"] = _text(kind, line)[:_TEXT_CHARS] if line else ""
    if line and not is_indexed(found.layers, counter):
        array = index.table.variant(doc) if kind == "insight" else 0
        row["tokens"] = {"full": max(counter.item(ARRAYS[ranking.arrays[array]], line))}
    return row
