"""Compose what was kept into a packet: lines in their arrays, citations, the report and the reasons. Driven by build.

Everything here follows from the candidates as the budget left them; reasons and counts are written down, never found
out a second time.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from engram_core import layout
from engram_core.recall.budget import UNLIMITED, Spent, read_lines
from engram_core.recall.candidates import Candidate
from engram_core.recall.gather import CAPS, Gathered, allowed_insights
from engram_core.recall.signals import SIGNALS
from engram_core.values import dump_json, format_time

if TYPE_CHECKING:
    from engram_core.store.reads import Reads

_CITE_TOKENS = 12
"""No citation takes fewer tokens, so no more of them are looked up than could fit."""
_SUMMARY_CHARS = 80
_IN_ORDER = ("conversation_window",)


class Composed:
    """A packet in pieces, ready to be written in any layout."""

    def __init__(self, found: Gathered, spent: Spent, build_id: str) -> None:
        self.found, self.spent, self.build_id = found, spent, build_id
        self.fields: dict[str, str] = {}
        self.summary = '""'
        self.arrays: dict[str, list[str]] = {}
        self.usage: dict[str, int] = {}
        self.used = 0

    def bare(self) -> str:
        """Write the counted lines as JSON."""
        return layout.document(self.fields, self.summary, self.arrays, allow_insights=self._allows())

    def json(self) -> str:
        """Write the whole packet as JSON."""
        return layout.document(self.fields, self.summary, self.arrays, allow_insights=self._allows(),
                               envelope=(dump_json(self.meta()), dump_json(self.report()), dump_json(self.explain())))

    def text(self, form: str) -> str:
        """Write a text format."""
        sections: dict[str, list[str]] = {}
        for name, line in self.fields.items():
            if name != "state_version":
                sections.setdefault("working_state", []).append(
                    layout.text_item("working_state", (name, json.loads(line)), form))
        if self.summary != '""':
            sections["rolling_summary"] = [layout.text_item("rolling_summary", json.loads(self.summary), form)]
        for name, lines in self.arrays.items():
            if name != "citations":
                items = [layout.text_item(name, json.loads(line), form) for line in lines]
                sections.setdefault(layout.SECTION_OF[name], []).extend(items)
        return layout.text_document(sections, form)

    def _allows(self) -> bool:
        return self.found.question.policy.allow_insights_in_responder

    def meta(self) -> dict[str, Any]:
        """Return which packet this is."""
        question = self.found.question
        request = question.request
        return {"schema_version": "v1", "scope": question.scope._asdict(), "generated_at": format_time(question.now_ms),
                "purpose": request.purpose, "task_type": request.task_type, "query": request.query,
                "cues": request.cues.model_dump(mode="json"), "budget": request.budget.model_dump(mode="json"),
                "policy_id": request.policy_id, "build_id": self.build_id, "tokenizer": self.spent.counter.tokenizer.name}

    def report(self) -> dict[str, Any]:
        """Return how the budget was spent."""
        degradations, omissions = [], []
        for one in self.found.candidates:
            if one.kept > 0:
                degradations.append({"section": one.section, "id": one.id, "from": "full", "to": one.form_name(),
                                     "saved": max(one.costs[0]) - max(one.costs[one.kept])})
            elif one.kept < 0:
                omissions.append({"section": one.section, "id": one.id, "reason": one.reason})
        budget = self.found.question.request.budget.max_tokens
        return {"max_tokens": budget, "used_tokens": self.used, "used_tokens_est": self.used,
                "section_usage": self.usage, "degradations": degradations, "omissions": omissions}

    def explain(self) -> dict[str, Any]:
        """Return the short account of why; the whole one is stored under the build_id."""
        found, policy = self.found, self.found.question.policy
        omitted: dict[str, dict[str, int]] = {}
        for one in found.candidates:
            if one.kept < 0:
                reasons = omitted.setdefault(one.section, {})
                reasons[one.reason] = reasons.get(one.reason, 0) + 1
        limits = {name: getattr(policy, name) for name in ("max_total_candidates", *CAPS.values(), "max_key_quotes")}
        return {"policy_id": found.question.request.policy_id,
                "candidate_counts": {kind: counts["candidates"] for kind, counts in found.counts.items()},
                "candidate_limits": limits, "time_window_days": policy.episode_time_window_days,
                "determinism": {"order": "score, then id", "now": format_time(found.question.now_ms)},
                "selected": [{"id": one.id, "section": one.section, "score": round(one.score, 4)} for one in self.spent.kept],
                "omitted": omitted, "filters": self.filters(), "conflicts": found.conflicts}

    def filters(self) -> list[dict[str, Any]]:
        """Return how many memories each hard filter excluded."""
        return [{"kind": kind, "filter": name, "excluded": number} for kind, counts in self.found.counts.items()
                for name, number in sorted(counts["filtered"].items())]


def compose(found: Gathered, spent: Spent, reads: Reads, build_id: str) -> Composed:
    """Fetch the lines of what is kept, lay them out, add citations while there is room, and count exactly."""
    read_lines([one for one in spent.kept if one.index is not None], reads, found)
    packet = Composed(found, spent, build_id)
    kept = [one for one in spent.kept if one.forms]
    kept.sort(key=lambda one: (not one.pinned, one.kind != "quote", -one.score, one.id))
    if found.question.still:
        kept.sort(key=lambda one: one.id)
    for name in _IN_ORDER:
        order = sorted((one for one in kept if one.array == name), key=lambda one: one.seq)
        kept = [one for one in kept if one.array != name] + order
    for one in kept:
        line = one.forms[one.kept][1]
        if one.array == "working_state":
            packet.fields = json.loads(line)
        elif one.array == "rolling_summary":
            packet.summary = line
        else:
            packet.arrays.setdefault(one.array, []).append(line)
    _restore_order(packet, kept)
    _count(packet, kept)
    if spent.counter.form == "json" and not found.question.still:
        _cite(packet, kept, reads)
    return packet


def _restore_order(packet: Composed, kept: list[Candidate]) -> None:
    """Keep open loops as the run wrote them."""
    loops = [one for one in kept if one.array == "open_loops"]
    if loops:
        loops.sort(key=lambda one: -one.rank)
        packet.arrays["open_loops"] = [one.forms[one.kept][1] for one in loops]


def _count(packet: Composed, kept: list[Candidate]) -> None:
    counter = packet.spent.counter
    total = counter.skeleton + (counter.wrapper if kept else 0)
    last = {one.array: one for one in kept}
    for one in kept:
        if one.section not in packet.usage:
            packet.usage[one.section] = counter.heading(one.section)
            total += packet.usage[one.section]
        inner, end = one.costs[one.kept]
        cost = end if last[one.array] is one else inner
        packet.usage[one.section] += cost
        total += cost
    packet.used = total


def _cite(packet: Composed, kept: list[Candidate], reads: Reads) -> None:
    """Resolve what the kept memories cite, in the rank order of those who cite, as far as the budget goes."""
    spent, found = packet.spent, packet.found
    room = spent.budget - packet.used
    limit = spent.limits.get("citations")
    room = min(room, UNLIMITED if limit is None else limit)
    rule = found.question.purpose.sections.get("citations")
    if rule is not None and not rule.show or room < _CITE_TOKENS:
        return
    quoted = {one.id for one in kept if one.kind in ("event", "turn", "quote")}
    wanted: dict[str, None] = {}
    for one in sorted(kept, key=lambda one: (-one.rank, one.id)):
        if one.kind in ("fact", "episode", "procedure", "insight"):
            for id_ in json.loads(one.forms[0][1]).get("sources", ()):
                if id_ not in quoted:
                    wanted[id_] = None
    ids = list(wanted)[: min(room // _CITE_TOKENS, 1000)]
    if not ids:
        return
    events = reads.source_events(found.question.scope, ids)
    lines: list[str] = []
    used = 0
    for id_ in ids:
        if id_ not in events:
            continue
        line = _citation(id_, *events[id_])
        cost = max(spent.counter.item("citations", line))
        if used + cost <= room:
            lines.append(line)
            used += cost
    if lines:
        packet.arrays["citations"] = lines
        exact = sum(spent.counter.item("citations", line)[0] for line in lines[:-1])
        exact += spent.counter.item("citations", lines[-1])[1]
        packet.usage["citations"] = exact
        packet.used += exact


def _citation(id_: str, text: str, ts_ms: int) -> str:
    event = json.loads(text)
    said = event.get("quote")
    kind = "message" if said is not None else event.get("kind", "event")
    if said is None:
        said = dump_json(event.get("payload"))
    summary = " ".join(said.split())
    if len(summary) > _SUMMARY_CHARS:
        summary = summary[:_SUMMARY_CHARS].rsplit(" ", 1)[0] + " …"
    return dump_json({"id": id_, "type": kind, "ts": format_time(ts_ms), "summary": summary})


# The whole account ---------------------------------------------------------------------------------------------------


def explanation(packet: Composed, reads: Reads, *, memory_id: str | None = None) -> dict[str, Any]:
    """Return the account of every candidate: score, signals, tokens, outcome, reason and nearest miss."""
    found, spent, question = packet.found, packet.spent, packet.found.question
    ranked = [one for one in found.candidates if one.index is not None]
    read_lines(ranked, reads, found)
    order = sorted(found.candidates, key=lambda one: (-one.rank, one.id))
    rank = {id(one): at for at, one in enumerate(order, 1)}
    rows = [_row(packet, one, rank[id(one)]) for one in found.candidates if memory_id in (None, one.id)]
    return {
        "schema": "engram.explain/1", "build_id": packet.build_id, "generated_at": format_time(question.now_ms),
        "scope": question.scope._asdict(), "purpose": question.request.purpose, "query": question.request.query,
        "task_type": question.request.task_type,
        "policy": {"id": question.request.policy_id, "overrides": question.request.policy,
                   "insights": allowed_insights(question)},
        "tokenizer": spent.counter.tokenizer.name, "format": spent.counter.form,
        "budget": {"max_tokens": question.request.budget.max_tokens, "used_tokens": packet.used,
                   "skeleton_tokens": spent.counter.skeleton, "sections": _sections(packet)},
        "candidates": rows, "counts": found.counts, "filters": packet.filters(), "conflicts": found.conflicts}


def _sections(packet: Composed) -> list[dict[str, Any]]:
    spent, rows = packet.spent, []
    for name, share in spent.shares.items():
        members = [one for one in packet.found.candidates if one.section == name]
        kept = sum(one.kept == 0 for one in members)
        degraded = sum(one.kept > 0 for one in members)
        if share or members:
            rows.append({"section": name, "share": share, "cap": spent.caps.get(name, 0), "limit": spent.limits.get(name),
                         "used": packet.usage.get(name, 0), "kept": kept, "degraded": degraded,
                         "omitted": len(members) - kept - degraded})
    cited = len(packet.arrays.get("citations", ()))
    if cited:
        rows.append({"section": "citations", "share": 0.0, "cap": spent.left, "limit": spent.limits.get("citations"),
                     "used": packet.usage["citations"], "kept": cited, "degraded": 0, "omitted": 0})
    return rows


def _row(packet: Composed, one: Candidate, rank: int) -> dict[str, Any]:
    found = packet.found
    row: dict[str, Any] = {"kind": one.kind, "id": one.id, "section": one.section, "layer": one.layer, "rank": rank,
                           "score": round(one.score, 6), "pinned": one.pinned}
    if one.signals:
        weights = found.weights[one.kind]
        row["signals"] = {name: {"value": round(value, 6), "weight": round(weight, 6)}
                          for name, value, weight in zip(SIGNALS, one.signals, weights, strict=True)}
        scores = found.scores.get(one.layer)
        if scores is not None:
            row["relevance"] = {name: round(value, 6) for name, value in scores.parts(one.doc).items() if value}
            row["matched"] = scores.matched(one.doc)
    names = [name for name, _ in one.forms] or ["full"]
    row["tokens"] = {name: max(pair) for name, pair in zip(names, one.costs, strict=False)}
    row["outcome"], row["reason"], row["miss"] = one.outcome(), one.reason, _miss(packet, one)
    row["used_tokens"] = max(one.costs[one.kept]) if one.kept >= 0 and one.costs else 0
    row["text"] = _text(one)[:200]
    return row


def _miss(packet: Composed, one: Candidate) -> str:
    if one.reason in ("budget_section", "budget_total"):
        return f"would fit with {one.miss} more tokens"
    if one.reason in CAPS.values():
        return f"rank {one.place} of {getattr(packet.found.question.policy, one.reason)}"
    return f"rank {one.miss} of its section" if one.reason == "max_items" else ""


def _text(one: Candidate) -> str:
    if not one.forms:
        return ""
    value = json.loads(one.forms[0][1])
    if one.kind == "working_state":
        return "; ".join(f"{key}: {text}" for key, text in value.items() if key != "state_version")
    if type(value) is str:
        return value
    if one.kind == "fact":
        return f"{value['fact_key']}: {value['value'] if type(value['value']) is str else dump_json(value['value'])}"
    for name in ("quote", "content", "summary", "statement"):
        if name in value:
            return value[name] if type(value[name]) is str else dump_json(value[name])
    return one.forms[0][1]
