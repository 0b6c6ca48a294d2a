"""Spend the budget: count every form of every candidate in the request's layout and let the kernel choose.

Driven by recall/build.py between gather and compose. Counts are exact: the parts add up to the emitted bytes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from engram_core import layout
from engram_core.errors import BudgetTooSmall
from engram_core.kernel.fit import BUDGET_SECTION, BUDGET_TOTAL, MAX_ITEMS, Fit
from engram_core.recall.candidates import (
    CANDIDATE_KINDS,
    INSIGHT_ARRAY,
    KIND,
    REASON,
    REFERRING,
    SECTION,
    SECTIONS,
    Kept,
)
from engram_core.recall.forms import QUOTE_TOKENS, quote_sentences
from engram_core.recall.gather import Gathered
from engram_core.recall.index import KINDS
from engram_core.recall.items import short_forms
from engram_core.values import dump_json

if TYPE_CHECKING:
    from engram_core.store.reads import Reads
    from engram_core.tokens import Tokenizer

UNLIMITED = 1 << 40
CUT_TOKENS = 100
"""A quote longer than this has a shorter form: the sentences that matter."""
_CUT_FORMS = ("excerpt", "sentences", "reference")
CUT_CHARS = 200_000
"""A longer text has no shorter form: finding its sentences would hold up everyone else."""
_BATCH = 8
"""At least so many long quotes are cut at once, more of them where the budget could hold more."""
_PASSES = 3
"""So often at most the budget is fitted anew because there was room left for quotes not cut yet."""
LINE_COLUMN = {"event": "line", "fact": "body", "episode": "body", "procedure": "body", "insight": "body"}


class Counter:
    """Counts lines in one layout with one tokenizer; what was counted once is remembered by content."""

    def __init__(self, tokenizer: Tokenizer, form: str) -> None:
        self.tokenizer, self.form = tokenizer, form
        self._seen: dict[tuple[str, str], tuple[int, int]] = {}
        self._headings: dict[str, int] = {}
        bare = [layout.document({}, '""', {}, allow_insights=allows) for allows in (False, True)]
        # without and with insights allowed in the responder
        self.empty = [tokenizer.count(one) if form == "json" else 0 for one in bare]
        self.skeleton = max(self.empty)
        quote = dump_json({"evidence_id": "e", "quote": "", "role": "user", "ts": "2026-01-01T00:00:00Z"})
        self.least_quote = self.item("key_quotes", quote)[0] + QUOTE_TOKENS // 2
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
                extra = sum(count(layout.state_line(name, value))
                            - count(layout.state_line(name, layout.STATE_DEFAULTS[name]))
                            for name, value in json.loads(line).items())
                return extra, extra
            if array_ == "rolling_summary":
                extra = count(layout.summary_line(line)) - count(layout.summary_line('""'))
                return extra, extra
            return count(line + ",\n"), count(line + "\n")  # of several lines as well: all but the last end in ",\n"
        if array_ == "working_state":
            whole = sum(count(layout.text_item("working_state", (name, json.loads(value)), self.form))
                        for name, value in json.loads(line).items() if name != "state_version")
        else:
            whole = sum([count(layout.text_item(array_, json.loads(one), self.form)) for one in line.split(",\n")])
        return whole, whole


class Spent:
    """What the budget decided: the kept candidates, the caps and limits of the sections, what is left."""

    def __init__(self, counter: Counter, budget: int, shares: dict[str, float], limits: dict[str, int]) -> None:
        self.counter, self.budget = counter, budget
        self.shares, self.limits = shares, limits
        self.caps: dict[str, int] = {}
        self.kept: list[Kept] = []
        self.left = 0


_RULES = {"full": 0, "short": 1, "reference": 2}
_FIT_REASONS = [0] * 5
_FIT_REASONS[BUDGET_SECTION] = REASON["budget_section"]
_FIT_REASONS[BUDGET_TOTAL] = REASON["budget_total"]
_FIT_REASONS[MAX_ITEMS] = REASON["max_items"]


def spend(found: Gathered, counter: Counter, reads: Reads) -> Spent:
    """Choose what is kept and in which form; raise BudgetTooSmall when not even the empty packet fits."""
    question, pool = found.question, found.pool
    budget = UNLIMITED if question.room is None else question.room
    if budget < counter.skeleton:
        raise too_small(question.request.budget.max_tokens, counter, 1 if question.part == "all" else 2)
    limits = {str(name): tokens for name, tokens in question.request.budget.per_section.items()}
    if "insight" in limits:
        limits["insights"] = min(limits.pop("insight"), limits.get("insights", UNLIMITED))
    room = min(budget - counter.skeleton, limits.get("key_quotes", UNLIMITED))
    uncut = _complete_costs(found, counter, reads, room)
    spent = Spent(counter, budget, {}, limits)
    table, rules = [], []
    for name in SECTIONS:
        rule = question.purpose.sections.get(name)
        spent.shares[name] = rule.share if rule else 0.0
        most = -1 if rule is None or rule.max_items is None else rule.max_items
        table.append((spent.shares[name], limits.get(name, -1), most, counter.heading(name)))
        rules.append(_RULES[rule.max_form] if rule else 1)
    for again in reversed(range(_PASSES)):
        *arrays, numbers = pool.arrays(rules, REFERRING)
        fit = Fit(table, *arrays, wrapper=counter.wrapper)
        fit.run(min(budget - counter.skeleton, UNLIMITED))
        kept = pool.settle(fit, numbers, _FIT_REASONS)
        left = min(budget - counter.skeleton - fit.used, room - fit.section_used[SECTION["key_quotes"]])
        if not (again and uncut and left >= counter.least_quote and _cut_more(found, counter, reads, uncut)):
            break
        pool.reopen(_FIT_REASONS)
    spent.caps = dict(zip(SECTIONS, fit.section_caps, strict=True))
    spent.kept = [kept_candidate(found, number) for number in kept]
    spent.left = budget - counter.skeleton - fit.used
    return spent


def too_small(budget: int, counter: Counter, parts: int) -> BudgetTooSmall:
    """Return the error for a budget that does not even hold the skeleton of each part of the prompt."""
    least = parts * counter.skeleton
    what = "the empty packet alone takes" if parts == 1 else "its stable and volatile parts take, when empty,"
    return BudgetTooSmall(f"budget.max_tokens is {budget}; {what} {least} tokens in {counter.form}",
                          hint=f"give at least {least}, or take --format text")


def kept_candidate(found: Gathered, number: int) -> Kept:
    """Return a candidate with its names."""
    kind, section, layer, doc, seq, form, inner, last, score, pinned = found.pool.brief(number)
    return Kept(number, found.pool.id(number), CANDIDATE_KINDS[kind], SECTIONS[section], layer, doc, seq, form, inner,
                last, score, pinned)


def is_indexed(found: Gathered, counter: Counter) -> bool:
    """Tell whether the tokens that the index holds are those of this layout and tokenizer."""
    return counter.form == "json" and found.layers[0][1].tokenizer_name == counter.tokenizer.name


def _complete_costs(found: Gathered, counter: Counter, reads: Reads, room: int) -> list[int]:
    """Give every candidate the tokens of its forms in this layout, and the best long quotes shorter forms.

    Returns the long quotes that have none yet, the best first.
    """
    pool = found.pool
    for number, forms in list(found.forms.items()):
        costs = [counter.item(found.arrays[number], line) for _, line in forms]
        pool.set_costs(number, costs)
        if costs[0][0] <= 0 and counter.form != "json":
            pool.set_reason(number, REASON["nothing_to_show"])
    if not is_indexed(found, counter):
        ranked = [one for one in pool.active() if one not in found.forms]
        read_lines(ranked, reads, found)
        _set_costs(found, ranked, counter)
    if room >= UNLIMITED // 2:
        return []
    long = pool.longer(KIND["event"], CUT_TOKENS, pool.n)
    most = max(_BATCH, room // CUT_TOKENS)
    _cut_quotes(found, long[:most], counter, reads)
    return long[most:]


def _cut_more(found: Gathered, counter: Counter, reads: Reads, uncut: list[int]) -> bool:
    """Cut the next of the long quotes that were left out beside room for a short one, and tell whether any was."""
    out = [number for number in uncut if found.pool.brief(number)[5] < 0][:_BATCH]
    for number in out:
        uncut.remove(number)
    _cut_quotes(found, out, counter, reads)
    return bool(out)


def _set_costs(found: Gathered, numbers: list[int], counter: Counter) -> None:
    for number in numbers:
        if number in found.forms:
            array = found.arrays.get(number) or array_of(found, number)
            found.pool.set_costs(number, [counter.item(array, line) for _, line in found.forms[number]])


def array_of(found: Gathered, number: int) -> str:
    """Return the array of the packet that a ranked candidate goes to."""
    kind, section, layer, doc, *_ = found.pool.brief(number)
    if kind == KIND["insight"]:
        return INSIGHT_ARRAY[found.layers[layer][1].types[doc]]
    return SECTIONS[section]


def read_lines(numbers: list[int], reads: Reads, found: Gathered) -> None:
    """Fetch the lines of ranked candidates and make all their forms; one that was forgotten meanwhile is dropped."""
    groups: dict[tuple[int, int], list[tuple[int, int, int, int]]] = {}
    wanted: dict[int, None] = {}
    for number in numbers:
        if number not in found.forms:
            wanted.update(dict.fromkeys(found.units.get(number, (number,))))
    for number in wanted:
        kind, _, layer, doc, seq, form, *_ = found.pool.brief(number)
        line = found.layers[layer][1].lines.get(doc)
        if line is None:
            groups.setdefault((layer, kind), []).append((number, doc, seq, form))
        else:
            _set_forms(found, number, KINDS[kind], line, form)
    for (layer, kind_number), members in groups.items():
        name = KINDS[kind_number]
        index = found.layers[layer][1]
        lines: dict[int, str] = dict(reads.memories(name, index.owner, ("seq", LINE_COLUMN[name]),
                                                    [seq for _, _, seq, _ in members]))
        for number, doc, seq, form in members:
            line = lines.get(seq)
            if line is None:
                found.pool.drop(number, REASON["forgotten"])
                continue
            index.lines.put(doc, line)
            _set_forms(found, number, name, line, form)
    for number in wanted:
        if number in found.units:
            said = [found.forms[one][0][1] for one in found.units[number] if one in found.forms]
            found.forms[number] = [("full", ",\n".join(said))]


def _set_forms(found: Gathered, number: int, kind: str, line: str, form: int) -> None:
    found.forms[number] = [("full", line)]
    if form != 0 and kind != "event":
        found.forms[number] += short_forms(kind, json.loads(line))


def _cut_quotes(found: Gathered, numbers: list[int], counter: Counter, reads: Reads) -> None:
    """Add the sentences that matter, and a bare reference, to the forms of long quotes."""
    read_lines(numbers, reads, found)
    for number in numbers:
        if number not in found.forms:
            continue
        unit = found.units.get(number, [number])
        lines = found.forms[number][0][1].split(",\n")
        forms = [_cut_quote(found, one, line, counter) for one, line in zip(unit, lines, strict=True)]
        longest = max(map(len, filter(None, forms)), default=0)
        for name in _CUT_FORMS[len(_CUT_FORMS) - longest:]:
            at = _CUT_FORMS.index(name) - len(_CUT_FORMS)  # from the end: not every quote has the first
            cut = [line if form is None else form[max(at, -len(form))] for line, form in zip(lines, forms, strict=True)]
            found.forms[number].append((name, ",\n".join(cut)))
    _set_costs(found, numbers, counter)


def _cut_quote(found: Gathered, number: int, line: str, counter: Counter) -> list[str] | None:
    """Return a quote's shorter forms, None when it has none: half of a very long one, what matters, a reference."""
    if len(line) > CUT_CHARS:
        return None
    _, _, layer, doc, *_ = found.pool.brief(number)
    quote = json.loads(line)
    matched = found.scores[layer].matched(doc) if found.scores else []
    cut = quote_sentences(quote["quote"], matched, CUT_TOKENS, counter.tokenizer.count)
    if not cut or cut == quote["quote"]:
        return None
    half = counter.tokenizer.count(quote["quote"]) // 2
    texts = [cut, ""]
    if half >= 2 * CUT_TOKENS:
        texts.insert(0, quote_sentences(quote["quote"], matched, half, counter.tokenizer.count, least=half * 3 // 4))
    return [dump_json({**quote, "quote": text}) for text in texts]
