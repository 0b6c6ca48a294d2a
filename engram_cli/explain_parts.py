"""What an explanation says, as plain values: sections, rows, reasons, figures. Driven by the explain views.

Explanations are stored and outlive the version that wrote them: an absent field is shown as absent, never an
error; an unknown signal, section, form or reason is shown under its own name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.cells import cell_len, set_cell_size

from engram_cli import output
from engram_core.errors import NotFound, nearest

Json = Mapping[str, Any]

SHOWN_OMITTED = 8
TEXT_GIVEN = 200  # characters of a memory's text that an explanation holds
SIGNALS = ("relevance", "recency", "importance", "cues", "layer")

# code: (family, what it means). The families give the colours: no room, over a count, by a rule.
REASONS: dict[str, tuple[str, str]] = {
    "budget_section": ("room", "its section's limit in tokens left no room for it"),
    "budget_total": ("room", "nothing was left of the whole budget"),
    "max_items": ("count", "the purpose takes no more of this section"),
    "max_total": ("count", "the policy's max_total_candidates was reached"),
    "not_ranked": ("count", "enough better ones of its kind were found"),
    "duplicate": ("rule", "a better ranked memory says the same words"),
    "shadowed": ("rule", "a narrower layer holds a fact of the same key"),
    "in_window": ("rule", "the conversation window already holds this turn"),
    "not_for_purpose": ("rule", "the policy leaves this out for the purpose"),
    "superseded": ("rule", "a newer value of the same key took its place"),
    "disputed": ("rule", "another value of the same key contradicts it"),
    "deprecated": ("rule", "it was retracted or replaced"),
    "expired": ("rule", "its time was over"),
    "not_valid": ("rule", "it is not valid at the time of the build"),
    "not_validated": ("rule", "an insight reaches the responder only when validated"),
    "rejected": ("rule", "the insight was tested and rejected"),
}

# Marks of the writing direction and of width 0 would move the columns beside the text, and hide what it says.
_INVISIBLE = re.compile("[\u061c\u200b\u200e\u200f\u2060-\u206f\ufeff]")


class Row(NamedTuple):
    """One candidate as the tables show it."""

    raw: Json
    id: str
    rank: int | None
    score: float | None
    parts: dict[str, float]
    text: str
    state: str
    form: str
    reason: str
    miss: str
    full: int | None
    used: int
    lead: str  # the memory it goes in together with, whose tokens include its own


class Section(NamedTuple):
    """One section of the packet: its part of the budget, and its rows in the order of filling."""

    name: str
    share: float
    cap: int | None
    limit: int | None
    used: int
    rows: list[Row]

    def of(self, *states: str) -> list[Row]:
        """Return the rows in one of these states."""
        return [row for row in self.rows if row.state in states]

    @property
    def set_aside(self) -> bool:
        """Tell whether the purpose shows nothing of this section, so that there is nothing to compare in it."""
        return not self.used and bool(self.rows) and all(row.reason == "not_for_purpose" for row in self.rows)


class Pool(NamedTuple):
    """What became of the stored memories of one kind before ranking."""

    kind: str
    stored: int
    candidates: int
    not_ranked: int
    filtered: str


def clean(text: object) -> str:
    """Return text on one line, without terminal escapes, controls and invisible marks."""
    return " ".join(_INVISIBLE.sub("", output.clean(str(text))).split())


def fit(text: str, width: int, *, mark: str = "…") -> str:
    """Return text padded or shortened to exactly this many terminal cells."""
    if width <= 0:
        return ""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    # A wide character that does not fit leaves a blank, which belongs after the mark and not before it.
    room = max(0, width - cell_len(mark))
    return set_cell_size(set_cell_size(text, room).rstrip() + mark, width)


def row(candidate: Json) -> Row:
    """Read one candidate of the explanation."""
    state, _, form = str(candidate.get("outcome") or "omitted").partition(":")
    reason = candidate.get("reason") or ""
    if state not in ("kept", "degraded", "omitted"):
        state, reason = "omitted", reason or state
    tokens = candidate.get("tokens") or {}
    full = tokens.get("full", max(tokens.values(), default=None))
    lead = str((candidate.get("unit") or {}).get("lead") or "")
    text = str(candidate.get("text", ""))
    layer = str(candidate.get("layer") or "")
    shared = f"[{layer}] " if layer in ("agent", "tenant") else ""
    return Row(
        raw=candidate,
        id=clean(candidate.get("id", "")),
        rank=candidate.get("rank"),
        score=candidate.get("score"),
        parts=contributions(candidate),
        text=shared + clean(text) + ("…" if len(text) >= TEXT_GIVEN else ""),
        state=state,
        form=clean(form),
        reason=clean(reason),
        miss=clean(candidate.get("miss") or ""),
        full=full,
        used=int(candidate.get("used_tokens") or 0),
        lead=clean(lead) if lead != candidate.get("id") else "",
    )


def contributions(candidate: Json) -> dict[str, float]:
    """Return what each signal added to the score."""
    signals = candidate.get("signals") or {}
    return {name: product(entry) for name, entry in signals.items()}


def product(entry: Json) -> float:
    """Return one signal's value times its weight."""
    return float(entry.get("value") or 0.0) * float(entry.get("weight") or 0.0)


def sections(explanation: Json) -> list[Section]:
    """Return the sections in the budget's order, then those only candidates name."""
    found: dict[str, list[Row]] = {}
    budget = {str(s.get("section", "")): s for s in (explanation.get("budget") or {}).get("sections") or []}
    for name in budget:
        found[name] = []
    for candidate in explanation.get("candidates") or []:
        name = str(candidate.get("section") or candidate.get("kind") or "other")
        found.setdefault(name, []).append(row(candidate))
    return [_section(name, budget.get(name, {}), rows) for name, rows in found.items()]


def _section(name: str, entry: Json, rows: list[Row]) -> Section:
    rows.sort(key=lambda r: (r.rank is None, r.rank or 0, -(r.score or 0.0), r.id))
    used = entry.get("used")
    return Section(
        name=clean(name),
        share=float(entry.get("share") or 0.0),
        cap=entry.get("cap"),
        limit=entry.get("limit"),
        used=int(used if used is not None else sum(r.used for r in rows)),
        rows=rows,
    )


def signal_names(rows: Sequence[Row]) -> list[str]:
    """Return the signals these rows have, the known ones first."""
    present = {name for r in rows for name in r.parts}
    return [s for s in SIGNALS if s in present] + sorted(present.difference(SIGNALS))


def find(explanation: Json, wanted: str) -> list[Row]:
    """Return the rows of the memory with this id, or with the only id that starts or ends so."""
    rows = [row(candidate) for candidate in explanation.get("candidates") or []]
    same = [r for r in rows if r.raw.get("id") == wanted]
    if same:
        return same
    near = {r.id for r in rows if wanted and (r.id.startswith(wanted) or r.id.endswith(wanted))}
    if len(near) == 1:
        return [r for r in rows if r.id in near]
    if near:
        raise NotFound(f"memory {clean(wanted)!r} could be any of {len(near)}", hint="give more of the id")
    guess = nearest(wanted, [r.id for r in rows])
    hint = f"did you mean {guess}?" if guess else "engram explain --json lists the ids of all candidates"
    raise NotFound(f"memory {clean(wanted)!r} is not among the candidates of this packet", hint=hint)


def short_miss(miss: str, *, unit: bool = False) -> str:
    """Return the nearest miss in few characters: +38 or 31/30; with the unit +38 tokens or rank 31 of 30."""
    if tokens := re.search(r"([\d,]+) more token", miss):
        return f"+{tokens[1]} tokens" if unit else f"+{tokens[1]}"
    if place := re.search(r"rank ([\d,]+) of ([\d,]+)", miss):
        return f"rank {place[1]} of {place[2]}" if unit else f"{place[1]}/{place[2]}"
    return miss


def reason_family(code: str) -> str:
    """Return room, count or rule."""
    if code in REASONS:
        return REASONS[code][0]
    return "count" if code.startswith("max_") else "rule"


def reason_meaning(code: str) -> str:
    """Return one line on what the reason code means, or "" for one this version does not know."""
    if code in REASONS:
        return REASONS[code][1]
    return f"the policy's {code} was reached" if code.startswith("max_") else ""


def reason_counts(listed: Sequence[Section]) -> list[tuple[str, int]]:
    """Return each reason code with the number of memories it left out, the most frequent first."""
    counts: dict[str, int] = {}
    for section in listed:
        for r in section.of("omitted"):
            counts[r.reason or "(none)"] = counts.get(r.reason or "(none)", 0) + 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def policy_words(explanation: Json) -> str:
    """Return the policy's name and what the request changed in it."""
    policy = explanation.get("policy") or {}
    changed = [f"{key}={value}" for key, value in sorted(_flat(policy.get("overrides") or {}))]
    words = clean(policy.get("id") or "default")
    return f"{words} with {clean(', '.join(changed))}" if changed else words


def _flat(tree: Json, prefix: str = "") -> list[tuple[str, Any]]:
    out: list[tuple[str, Any]] = []
    for key, value in tree.items():
        out += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(prefix + key, value)]
    return out


def scope_words(explanation: Json) -> str:
    """Return the five ids of the scope, from the tenant to the run."""
    scope = explanation.get("scope") or {}
    ids = (scope.get(f"{name}_id") for name in ("tenant", "user", "agent", "session", "run"))
    return " / ".join(clean(i) for i in ids if i)


def pools(explanation: Json) -> list[Pool]:
    """Return per kind how the stored memories became candidates, and which filters excluded the rest."""
    excluded: dict[str, dict[str, int]] = {}
    for entry in explanation.get("filters") or []:
        excluded.setdefault(str(entry.get("kind")), {})[str(entry.get("filter"))] = int(
            entry.get("excluded") or 0
        )
    counts = explanation.get("counts") or {}
    listed = [_pool(kind, counts.get(kind) or {}, excluded.get(kind, {})) for kind in {**counts, **excluded}]
    return [pool for pool in listed if pool.stored or pool.candidates or pool.filtered]


def _pool(kind: str, entry: Json, more: Mapping[str, int]) -> Pool:
    filtered = {**more, **(entry.get("filtered") or {})}
    words = [f"{n:,} {clean(name)}" for name, n in sorted(filtered.items(), key=lambda i: (-i[1], i[0])) if n]
    stored, ranked, rest = (int(entry.get(name) or 0) for name in ("total", "candidates", "not_ranked"))
    return Pool(clean(kind), stored, ranked, rest, ", ".join(words))


def timing_words(explanation: Json) -> str:
    """Return how long each step took, or "" for an explanation read from the store."""
    timings = {name.removesuffix("_ms"): float(ms) for name, ms in (explanation.get("timings") or {}).items()}
    total = timings.pop("total", None)
    steps = ", ".join(f"{clean(name)} {ms:.1f}" for name, ms in timings.items())
    if not steps and total is None:
        return ""
    whole = total if total is not None else sum(timings.values())
    return f"{whole:.1f} ms" + (f": {steps}" if steps else "")


def meaning_words(explanation: Json) -> str:
    """Return which embedding model the question's meaning is from, or why it is absent; "" where none was asked."""
    found = explanation.get("meaning") or {}
    absent = clean(found.get("absent") or "")
    return f"absent: {absent}" if absent else clean(found.get("model") or "")


def conflict_lines(explanation: Json) -> list[tuple[str, str]]:
    """Return each disputed fact key with the ids of its facts."""
    listed = explanation.get("conflicts") or []
    return [(clean(c.get("fact_key", "")), ", ".join(clean(i) for i in c.get("ids") or [])) for c in listed]


def verdict(r: Row) -> str:
    """Return in a few words what became of the memory."""
    if rides_along(r):
        return f"kept together with {r.lead}, whose tokens include it"
    if r.state == "kept":
        return f"kept in full, {r.used:,} tokens"
    if r.state == "degraded":
        return f"degraded to {r.form or 'a shorter form'}, {r.used:,} tokens instead of {r.full or 0:,}"
    return f"omitted: {r.reason}" if r.reason else r.state


def rides_along(r: Row) -> bool:
    """Tell whether the memory is in with another one, as a tool's result is with the call."""
    return bool(r.lead) and r.state == "kept" and not r.used


def outcome_words(r: Row) -> str:
    """Return the outcome's name: of an omitted memory the reason, of one in a shorter form that form."""
    if r.state == "omitted":
        return r.reason or r.state
    return "with its call" if rides_along(r) else r.form or r.state


def token_words(r: Row, none: str) -> str:
    """Return what the memory took, beside what it would have taken in full; of an omitted one the latter."""
    if rides_along(r):
        return none
    if r.full is None:
        return f"{r.used:,}" if r.used else ""
    if r.state == "omitted" or r.used == r.full:
        return f"{r.full:,}"
    return f"{r.used:,}/{r.full:,}"


def score_words(r: Row, none: str) -> str:
    """Return the score; what is going on now has none worth the name, it comes first."""
    if r.score is None:
        return ""
    return f"{r.score:.3f}" if r.parts else none


def scaled(r: Row) -> str:
    """Return how the sum of the relevance's parts became the signal's value, "" when it is that value."""
    value = float(((r.raw.get("signals") or {}).get("relevance") or {}).get("value") or 0.0)
    total = sum(float(v) for v in (r.raw.get("relevance") or {}).values())
    return "" if abs(total - value) < 0.0005 else f"  scaled to {value:.3f}"


def taken_form(r: Row) -> str:
    """Return the name of the form that was emitted, "" for an omitted memory."""
    if r.state == "omitted":
        return ""
    tokens = r.raw.get("tokens") or {}
    if r.state == "kept":
        return "full"
    if r.form in tokens:
        return r.form
    return next((name for name, count in tokens.items() if name != "full" and count == r.used), "")
