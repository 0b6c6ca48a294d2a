"""Spend the budget: count every form of every candidate in the request's layout and let the kernel choose.

Driven by recall/build.py between gather and compose. Counts are exact: the parts add up to the emitted bytes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from engram_core import layout
from engram_core.errors import BudgetTooSmall
from engram_core.kernel.fit import BUDGET_SECTION, BUDGET_TOTAL, MAX_ITEMS, Fit
from engram_core.recall.candidates import ARRAYS, KIND, REASON, REFERRING, SECTION, SECTIONS
from engram_core.recall.excerpts import QUOTE_TOKENS
from engram_core.recall.gather import Gathered, Question
from engram_core.recall.lines import CUT_TOKENS, cut_quotes, forms_of, read_lines
from engram_core.values import dump_json

if TYPE_CHECKING:
    from engram_core.recall.index import OwnerIndex
    from engram_core.store.reads import Reads
    from engram_core.tokens import Tokenizer

UNLIMITED = 1 << 40
_BATCH = 8
"""At least so many long quotes are cut at once, more where the budget could hold more, and twice as many each time."""
_MODEST = {"key_quotes": 150}
"""The item_tokens of sections whose policy names none: no shipped policy does, which older daemons read as well."""


class Counter:
    """Counts lines in one layout with one tokenizer; what was counted once is remembered by content."""

    def __init__(self, tokenizer: Tokenizer, form: str) -> None:
        self.tokenizer, self.form = tokenizer, form
        self._seen: dict[tuple[str, str], tuple[int, int]] = {}
        self._forms: dict[tuple[str, str], list[tuple[int, int]]] = {}  # of memories, by their own lines
        self._texts: dict[tuple[str, str], str] = {}
        self._headings: dict[str, int] = {}
        self.plans: dict[tuple[object, ...], Plan] = {}
        bare = [layout.document({}, '""', {}, allow_insights=allows) for allows in (False, True)]
        # without and with insights allowed in the responder
        self.empty = [tokenizer.count(one) if form == "json" else 0 for one in bare]
        self.skeleton = max(self.empty)
        quote = dump_json({"evidence_id": "e", "quote": "", "role": "user", "ts": "2026-01-01T00:00:00Z"})
        self.least_quote = self.item("key_quotes", quote)[0] + QUOTE_TOKENS // 2  # in less, no excerpt says anything
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

    def forms(self, found: Gathered, number: int) -> list[tuple[int, int]]:
        """Return the tokens of a candidate's forms; those of a memory that was not cut are read off its line once."""
        array = ARRAYS[found.pool.brief(number)[1]]
        if number in found.forms:
            return [self.item(array, line) for _, line in found.forms[number]]
        key = (array, found.lines[number])
        costs = self._forms.get(key)
        if costs is None:
            if len(self._forms) > 20_000:
                self._forms.clear()
            costs = self._forms[key] = [self.item(array, line) for _, line in forms_of(found, number)]
        return costs

    def text(self, array_: str, line: str) -> str:
        """Write an item as lines of the text format."""
        key = (array_, line)
        text = self._texts.get(key)
        if text is None:
            if len(self._texts) > 2_000:
                self._texts.clear()
            text = self._texts[key] = layout.text_item(array_, json.loads(line), self.form)
        return text

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
            whole = sum([count(self.text(array_, one)) for one in line.split(",\n")])
        return whole, whole


class Plan(NamedTuple):
    """What a policy, a purpose and the limits of a request make of the sections, in the order of SECTIONS.

    ``table`` is for the fit, ``rules`` are the shortest forms allowed.
    """

    limits: dict[str, int]
    shares: dict[str, float]
    table: list[tuple[float, int, int, int, int]]
    rules: list[int]


class Spent(NamedTuple):
    """What the budget decided: the kept candidates in rank order, and what each section could fill at first."""

    counter: Counter
    budget: int
    plan: Plan
    caps: list[int]
    kept: list[int]
    left: int


_RULES = {"full": 0, "short": 1, "reference": 2}
_FIT_REASONS = [0] * 5
_FIT_REASONS[BUDGET_SECTION] = REASON["budget_section"]
_FIT_REASONS[BUDGET_TOTAL] = REASON["budget_total"]
_FIT_REASONS[MAX_ITEMS] = REASON["max_items"]


def plan_for(question: Question, counter: Counter) -> Plan:
    """Return the sections' plan, worked out once for a policy, a purpose and its limits."""
    limits = question.request.budget.per_section
    key = (question.policy.digest, question.request.purpose, question.still, *limits.items())
    known = counter.plans.get(key)
    if known is None:
        if len(counter.plans) > 1000:
            counter.plans.clear()
        known = counter.plans[key] = _plan(question, counter, {str(name): most for name, most in limits.items()})
    return known


def _plan(question: Question, counter: Counter, limits: dict[str, int]) -> Plan:
    if "insight" in limits:
        limits["insights"] = min(limits.pop("insight"), limits.get("insights", UNLIMITED))
    plan = Plan(limits, {}, [], [])
    for name in SECTIONS:
        rule = question.purpose.sections.get(name)
        plan.shares[name] = rule.share if rule else 0.0
        most = -1 if rule is None or rule.max_items is None else rule.max_items
        modest = _MODEST.get(name, -1) if rule is None or rule.item_tokens is None else rule.item_tokens
        plan.table.append((plan.shares[name], limits.get(name, -1), most, counter.heading(name), modest))
        plan.rules.append(_RULES[rule.max_form] if rule else 1)
    return plan


def spend(found: Gathered, counter: Counter, reads: Reads) -> Spent:
    """Choose what is kept and in which form; raise BudgetTooSmall when not even the empty packet fits."""
    question, pool = found.question, found.pool
    budget = UNLIMITED if question.room is None else question.room
    if budget < counter.skeleton:
        raise too_small(question.request.budget.max_tokens, counter, 1 if question.part == "all" else 2)
    plan = plan_for(question, counter)
    room = min(budget - counter.skeleton, plan.limits.get("key_quotes", UNLIMITED))
    uncut = _complete_costs(found, counter, reads, room)
    batch = _BATCH
    while True:
        *arrays, numbers = pool.arrays(plan.rules, REFERRING)
        fit = Fit(plan.table, *arrays, wrapper=counter.wrapper)
        fit.run(min(budget - counter.skeleton, UNLIMITED))
        kept = pool.settle(fit, numbers, _FIT_REASONS)
        left = min(budget - counter.skeleton - fit.used, room - fit.section_used[SECTION["key_quotes"]])
        if left < counter.least_quote or not _cut_more(found, counter, reads, uncut, batch):
            break
        batch *= 2
        pool.reopen(_FIT_REASONS)
    return Spent(counter, budget, plan, fit.section_caps, kept, budget - counter.skeleton - fit.used)


def too_small(budget: int, counter: Counter, parts: int) -> BudgetTooSmall:
    """Return the error for a budget that does not even hold the skeleton of each part of the prompt."""
    least = parts * counter.skeleton
    what = "the empty packet alone takes" if parts == 1 else "its stable and volatile parts take, when empty,"
    return BudgetTooSmall(f"budget.max_tokens is {budget}; {what} {least} tokens in {counter.form}",
                          hint=f"give at least {least}" + other_form(counter))


def other_form(counter: Counter) -> str:
    """Return the end of a hint that names the form which takes least, where another one is asked for."""
    return "" if counter.form == "text" else ", or take --format text"


def is_indexed(layers: list[tuple[str, OwnerIndex]], counter: Counter) -> bool:
    """Tell whether the tokens that the indexes hold are those of this layout and tokenizer."""
    return counter.form == "json" and layers[0][1].tokenizer_name == counter.tokenizer.name


def _complete_costs(found: Gathered, counter: Counter, reads: Reads, room: int) -> list[int]:
    """Give every candidate the tokens of its forms in this layout, and the best long quotes shorter forms.

    Returns the long quotes that have none yet, the best first.
    """
    pool = found.pool
    for number in found.forms:
        if count_forms(found, number, counter) <= 0 and counter.form != "json":
            pool.set_reason(number, REASON["nothing_to_show"])
    indexed = is_indexed(found.layers, counter)
    if not indexed:
        ranked = [one for one in pool.active() if one not in found.forms]
        read_lines(ranked, reads, found)
        for number in ranked:
            if number in found.lines:
                count_forms(found, number, counter)
    if room >= UNLIMITED // 2:
        return []
    long = pool.longer(KIND["event"], CUT_TOKENS, indexed)
    if reads.far:
        read_lines(long, reads, found)  # all at once: more may be cut below
    _cut(found, long, max(_BATCH, room // CUT_TOKENS), counter, reads)
    return long


def _cut_more(found: Gathered, counter: Counter, reads: Reads, uncut: list[int], batch: int) -> bool:
    """Cut the next of the long quotes that were left out beside room for a short one, and tell whether any was."""
    out = [number for number in uncut if found.pool.brief(number)[5] < 0]
    left = out.copy()
    cut = _cut(found, left, batch, counter, reads)
    seen = set(out[:len(out) - len(left)])
    uncut[:] = [number for number in uncut if number not in seen]
    return cut > 0


def _cut(found: Gathered, numbers: list[int], wanted: int, counter: Counter, reads: Reads) -> int:
    """Give the first so many of the quotes that can be cut shorter forms; take all that were looked at from the list.

    What cannot be cut does not count: it is found out once and not asked for again, and the same request must have the
    same answer then.
    """
    done = 0
    while numbers and done < wanted:
        part = numbers[:wanted - done]
        del numbers[:len(part)]
        for number in cut_quotes(found, part, counter.tokenizer, reads):
            count_forms(found, number, counter)
            done += 1
    return done


def count_forms(found: Gathered, number: int, counter: Counter) -> int:
    """Give a candidate the tokens of all its forms in this layout, and return those of the full one."""
    costs = counter.forms(found, number)
    found.pool.set_costs(number, costs)
    return costs[0][0]
