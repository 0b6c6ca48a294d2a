"""Spend the budget: count every form of every candidate in the request's layout and let the kernel choose.

Driven by recall/build.py between gather and compose. Counts are exact: the parts add up to the emitted bytes.
"""

from __future__ import annotations

import json
from array import array
from typing import TYPE_CHECKING, Any

from engram_core import layout
from engram_core.errors import BudgetTooSmall
from engram_core.kernel.fit import BUDGET_SECTION, BUDGET_TOTAL, MAX_ITEMS, Fit
from engram_core.policy import SECTIONS
from engram_core.recall.candidates import Candidate
from engram_core.recall.forms import quote_sentences, summary_cut, working_state_forms
from engram_core.recall.gather import Gathered
from engram_core.recall.items import short_forms, shortest_allowed
from engram_core.values import dump_json

if TYPE_CHECKING:
    from engram_core.store.reads import Reads
    from engram_core.tokens import Tokenizer

UNLIMITED = 1 << 40
CUT_TOKENS = 100
"""A quote longer than this has a shorter form: the sentences that matter."""
CUTS = 24
"""At most this many of the best long quotes are cut; each costs a read and a few counts."""
LINE_COLUMN = {"event": "line", "fact": "body", "episode": "body", "procedure": "body", "insight": "body"}


class Counter:
    """Counts lines in one layout with one tokenizer; what was counted once is remembered by content."""

    def __init__(self, tokenizer: Tokenizer, form: str) -> None:
        self.tokenizer, self.form = tokenizer, form
        self._seen: dict[tuple[str, str], tuple[int, int]] = {}
        self._headings: dict[str, int] = {}
        empty = layout.document({}, '""', {})
        self.skeleton = tokenizer.count(empty) if form == "json" else 0
        self.wrapper = 0 if form == "json" else tokenizer.count(layout.OPENING) + tokenizer.count(layout.CLOSING)

    def heading(self, section: str) -> int:
        """Return the tokens of what opens a section when it gets its first item."""
        if self.form == "json":
            return 0
        if section not in self._headings:
            self._headings[section] = self.tokenizer.count(layout.heading(section, self.form))
        return self._headings[section]

    def item(self, array_: str, line: str) -> tuple[int, int]:
        """Return the tokens of an item as an inner and as a last one."""
        key = (array_, line)
        found = self._seen.get(key)
        if found is None:
            if len(self._seen) > 20_000:
                self._seen.clear()
            found = self._seen[key] = self._count(array_, line)
        return found

    def _count(self, array_: str, line: str) -> tuple[int, int]:
        count = self.tokenizer.count
        if self.form == "json":
            if array_ == "working_state":
                extra = sum(count(layout.state_line(name, value)) - count(layout.state_line(name, layout.STATE_DEFAULTS[name]))
                            for name, value in json.loads(line).items())
                return extra, extra
            if array_ == "rolling_summary":
                extra = count(layout.summary_line(line)) - count(layout.summary_line('""'))
                return extra, extra
            return count(line + ",\n"), count(line + "\n")
        if array_ == "working_state":
            whole = sum(count(layout.text_item("working_state", (name, json.loads(value)), self.form))
                        for name, value in json.loads(line).items() if name != "state_version")
        else:
            whole = count(layout.text_item(array_, json.loads(line), self.form))
        return whole, whole


class Spent:
    """What the budget decided."""

    def __init__(self, counter: Counter, budget: int, shares: dict[str, float], caps: dict[str, int],
                 limits: dict[str, int]) -> None:
        self.counter, self.budget = counter, budget
        self.shares, self.caps, self.limits = shares, caps, limits
        self.kept: list[Candidate] = []
        self.left = 0


def spend(found: Gathered, counter: Counter, reads: Reads) -> Spent:
    """Choose what is kept and in which form; raise BudgetTooSmall when not even the empty packet fits."""
    question = found.question
    budget = question.request.budget.max_tokens or UNLIMITED
    if budget < counter.skeleton:
        raise BudgetTooSmall(
            f"budget.max_tokens is {budget}; the empty packet alone takes {counter.skeleton} tokens in {counter.form}",
            hint=f"give at least {counter.skeleton}, or take --format text")
    _state_forms(found)
    items = [one for one in found.candidates if not one.reason]
    items.sort(key=lambda one: (-one.rank, one.id))
    _complete_costs(items, counter, reads, found)
    limits: dict[str, int] = {str(name): tokens for name, tokens in question.request.budget.per_section.items()}
    if "insight" in limits:
        limits["insights"] = min(limits.pop("insight"), limits.get("insights", UNLIMITED))
    sections = [name for name in SECTIONS if name != "citations"]
    number = {name: at for at, name in enumerate(sections)}
    table, shares = [], {}
    rules: dict[str, Any] = {**question.purpose.sections}
    for name in sections:
        rule = rules.get(name)
        share = rule.share if rule else 0.0
        most = -1 if rule is None or rule.max_items is None else rule.max_items
        shares[name] = share
        table.append((share, limits.get(name, -1), most, counter.heading(name)))
    starts, flat, last = array("i", [0]), array("i"), array("i")
    for one in items:
        flat.extend([max(pair) if max(pair) > 0 else 0 for pair in one.costs])
        starts.append(len(flat))
        last.append(one.shortest)
    fit = Fit(table, array("i", [number[one.section] for one in items]), starts, flat, last, wrapper=counter.wrapper)
    fit.run(min(budget - counter.skeleton, (1 << 31) - 1))
    spent = Spent(counter, budget, shares, dict(zip(sections, fit.section_caps, strict=True)), limits)
    for at, one in enumerate(items):
        one.kept = fit.form(at)
        if one.kept < 0:
            one.reason = {BUDGET_SECTION: "budget_section", BUDGET_TOTAL: "budget_total", MAX_ITEMS: "max_items"}[fit.reason(at)]
            one.miss = fit.miss(at)
        else:
            spent.kept.append(one)
    spent.left = budget - counter.skeleton - fit.used
    return spent


def _state_forms(found: Gathered) -> None:
    """Add the working state and the rolling summary, each one candidate with its shorter forms."""
    question = found.question
    if found.state:
        shown = {name: value for name, value in found.state.items() if name in question.purpose.state and value}
        if shown or found.state.get("state_version"):
            whole: dict[str, Any] = {**{str(name): value for name, value in shown.items()}, "state_version": found.state.get("state_version", 0)}
            forms = [("full", whole), *working_state_forms(whole).items()]
            lines = [(name, dump_json({key: dump_json(one) for key, one in form.items() if one or key == "state_version"}))
                     for name, form in forms]
            _add_first(found, "working_state", question.scope.run_id, lines, 2)
    summary = found.stm.get("rolling_summary", "")
    if summary:
        whole_tokens = len(summary) // 4
        cuts = [("cut", summary_cut(summary, whole_tokens * part // 4, lambda text: len(text) // 4)) for part in (3, 2, 1)]
        lines = [("full", dump_json(summary)), *((name, dump_json(cut)) for name, cut in cuts if cut and cut != summary)]
        _add_first(found, "rolling_summary", question.scope.session_id, list(dict.fromkeys(lines)), 1)


def _add_first(found: Gathered, kind: str, id_: str, lines: list[tuple[str, str]], at: int) -> None:
    section = found.question.purpose.sections.get(kind)
    reason = "" if section is not None and section.show else "not_for_purpose"
    found.candidates.append(Candidate(kind, kind, kind, id_, layer="run" if kind == "working_state" else "session",
                                      forms=lines, score=1.0, rank=2e7 + at, reason=reason))
    found.counts[kind] = {"total": 1, "candidates": 1, "not_ranked": 0, "filtered": {}}


def _complete_costs(items: list[Candidate], counter: Counter, reads: Reads, found: Gathered) -> None:
    """Make sure every candidate has the tokens of its forms in this layout, and know its shortest allowed form."""
    indexed = counter.form == "json" and all(index.tokenizer_name == counter.tokenizer.name for _, index in found.layers)
    wanted = [one for one in items if one.index is not None and not indexed]
    long = [one for one in items if one.kind == "event" and one.costs[0][0] > CUT_TOKENS][:CUTS]
    read_lines([*wanted, *(one for one in long if one not in wanted)], reads, found)
    rules: dict[str, Any] = {**found.question.purpose.sections}
    for one in long:
        _cut_quote(one, counter, found.scores[one.layer].matched(one.doc) if one.layer in found.scores else [])
    for one in items:
        if one.forms and len(one.costs) != len(one.forms) or not indexed:
            one.costs = [counter.item(one.array, line) for _, line in one.forms]
        rule = rules.get(one.section)
        one.shortest = shortest_allowed(one.kind, len(one.costs), rule.max_form if rule else "short")


def read_lines(wanted: list[Candidate], reads: Reads, found: Gathered) -> None:
    """Fetch the lines of ranked memories and make all their forms."""
    groups: dict[tuple[str, str], list[Candidate]] = {}
    for one in wanted:
        if not one.forms:
            groups.setdefault((one.layer, one.kind), []).append(one)
    for (_, kind), members in groups.items():
        index = members[0].index
        assert index is not None
        lines = dict(reads.memories(kind, index.owner, ("seq", LINE_COLUMN[kind]), [one.seq for one in members]))
        for one in members:
            line = lines.get(one.seq)
            if line is None:  # forgotten since it was ranked
                one.kept, one.reason = -1, "forgotten"
                continue
            one.forms = [("full", line)]
            if kind != "event" and len(one.costs) > 1:
                one.forms += short_forms(kind, json.loads(line))


def _cut_quote(one: Candidate, counter: Counter, matched: list[str]) -> None:
    quote = json.loads(one.forms[0][1])
    cut = quote_sentences(quote["quote"], matched, CUT_TOKENS, counter.tokenizer.count)
    if cut and cut != quote["quote"]:
        one.forms.append(("sentences", dump_json({**quote, "quote": cut})))
        reference = {key: value for key, value in quote.items() if key != "quote"}
        one.forms.append(("reference", dump_json({**reference, "quote": ""})))
