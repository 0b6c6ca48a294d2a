"""Compose what was kept into a packet: lines in their arrays, citations, the report and the reasons. Driven by build.

Everything here follows from the candidates as the budget left them; reasons and counts are written down, never found
out a second time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from json.encoder import encode_basestring as quoted
from typing import TYPE_CHECKING, Any

from engram_core import layout
from engram_core.kernel import shown
from engram_core.recall.account import filters
from engram_core.recall.ahead import of_sources
from engram_core.recall.budget import UNLIMITED, Counter, Spent
from engram_core.recall.candidates import ARRAY, ARRAYS, KIND, REASONS, SECTION_OF_ARRAY, SECTIONS
from engram_core.recall.gather import CAPS, Gathered
from engram_core.recall.lines import MOST_CITED, Known, forms_of, read_lines, wants_lines
from engram_core.scope import SCOPE_FIELDS
from engram_core.values import dump_json, format_time

if TYPE_CHECKING:
    from engram_core.policy import Policy
    from engram_core.store.reads import Reads

_CITE_TOKENS = 12
"""No citation takes fewer tokens, so no more of them are looked up than could fit."""
_FEW = 4  # more than the room seems to hold: it is counted exactly only afterwards


class Composed:
    """A packet in pieces, ready to be written in any layout.

    ``led`` are the numbers of the kept candidates in rank order, one for each unit; ``kept`` holds those that go with
    them as well.
    """

    def __init__(self, found: Gathered, spent: Spent, build_id: str) -> None:
        self.found, self.spent, self.build_id = found, spent, build_id
        self.fields: dict[str, str] = {}
        self.summary = '""'
        self.arrays: dict[str, list[str]] = {}
        self.usage: dict[str, int] = {}
        self.used = 0
        self.kept: list[int] = []
        self.led: list[int] = []
        self.generated = format_time(found.question.now_ms)

    def bare(self) -> str:
        """Write the counted lines as JSON."""
        return layout.document(self.fields, self.summary, self.arrays, allow_insights=self.allows())

    def json(self) -> str:
        """Write the whole packet as JSON."""
        return layout.document(self.fields, self.summary, self.arrays, allow_insights=self.allows(),
                               envelope=(self.meta_json(), self.report_json(), self.explain_json()))

    def envelope_tokens(self) -> int:
        """Count what the whole JSON packet has beyond the counted lines; as slow as all counting of long text."""
        count = self.spent.counter.tokenizer.count
        return count(self.json()) - count(self.bare())

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
            items = [self.spent.counter.text(name, one) for line in lines for one in line.split(",\n")]
            sections.setdefault(layout.SECTION_OF[name], []).extend(items)
        rules = self.found.question.purpose.sections
        order = sorted(layout.HEADINGS, key=lambda name: rules[name].order if name in rules else 0)
        return layout.text_document({name: sections[name] for name in order if name in sections}, form)

    def allows(self) -> bool:
        """Tell whether the responder may speak of insights."""
        return self.found.question.policy.allow_insights_in_responder

    def meta_json(self) -> str:
        """Write which packet this is."""
        question = self.found.question
        scope = ",".join(f'"{name}":{quoted(id_)}' for name, id_ in zip(SCOPE_FIELDS, question.scope, strict=True))
        return (f'{{"schema_version":"v1","scope":{{{scope}}},"generated_at":"{self.generated}",'
                f'"build_id":"{self.build_id}","tokenizer":{quoted(self.spent.counter.tokenizer.name)},'
                f'{question.canonical[1:]}')

    def report_json(self) -> str:
        """Write how the budget was spent."""
        pool = self.found.pool
        degradations = [{"section": SECTIONS[section], "id": pool.id(number), "from": "full",
                         "to": self.found.forms[number][form][0], "saved": saved}
                        for number, form, section, saved in shown.shortened(pool, self.led)]
        budget = self.found.question.request.budget.max_tokens
        return (f'{{"max_tokens":{budget},"used_tokens":{self.used},"used_tokens_est":{self.used},'
                f'"section_usage":{_numbers(self.usage)},'
                f'"degradations":{dump_json(degradations) if degradations else "[]"},'
                f'"omissions":[{shown.omissions(pool, _HEADS, _TAILS)}]}}')

    def report(self) -> dict[str, Any]:
        """Return how the budget was spent."""
        report: dict[str, Any] = json.loads(self.report_json())
        return report

    def meta(self) -> dict[str, Any]:
        """Return which packet this is."""
        meta: dict[str, Any] = json.loads(self.meta_json())
        return meta

    def explain_json(self) -> str:
        """Write the short account of why; the whole one is stored under the build_id."""
        found, question = self.found, self.found.question
        omitted: dict[str, dict[str, int]] = {}
        for section, reason, number in shown.left_out(found.pool):
            omitted.setdefault(SECTIONS[section], {})[REASONS[reason]] = number
        left_out = ",".join([f'"{section}":{_numbers(reasons)}' for section, reasons in omitted.items()])
        counts = {kind: counts["candidates"] for kind, counts in found.counts.items()}
        excluded = ",".join([f'{{"kind":"{kind}","filter":"{name}","excluded":{number}}}'
                             for kind, name, number in filters(found)])
        return (f'{{"policy_id":{quoted(question.request.policy_id)},'
                f'"selected":[{shown.selected(found.pool, self.kept, _SECTIONS)}],'
                f'"candidate_counts":{_numbers(counts)},{_limits(question.policy)},'
                f'"determinism":{{"order":"score, then id","now":"{self.generated}"}},'
                f'"omitted":{{{left_out}}},"filters":[{excluded}],'
                f'"conflicts":{dump_json(found.conflicts) if found.conflicts else "[]"}}}')


def _numbers(table: Mapping[str, int]) -> str:
    """Write numbers by names of ours; the encoder takes longer to be set up than this takes."""
    return "{" + ",".join([f'"{name}":{number}' for name, number in table.items()]) + "}"


_SECTIONS = list(SECTIONS)
_HEADS = [f'{{"section":"{section}","id":' for section in SECTIONS]
_TAILS = [f',"reason":"{reason}"}}' for reason in REASONS]
_LIMITS = ("max_total_candidates", *CAPS.values(), "max_key_quotes")
_WRITTEN_LIMITS: dict[str, str] = {}


def _limits(policy: Policy) -> str:
    """Write the policy's limits, once for each policy."""
    known = _WRITTEN_LIMITS.get(policy.digest)
    if known is None:
        if len(_WRITTEN_LIMITS) > 100:
            _WRITTEN_LIMITS.clear()
        limits = {"candidate_limits": {name: getattr(policy, name) for name in _LIMITS},
                  "time_window_days": policy.episode_time_window_days}
        known = _WRITTEN_LIMITS[policy.digest] = dump_json(limits)[1:-1]
    return known


def compose(found: Gathered, spent: Spent, reads: Reads, build_id: str, *, known: Known | None = None,
            last: bool = False) -> Composed:
    """Fetch the lines of what is kept, lay them out, add citations while there is room, and count exactly.

    ``known`` is what was read beforehand. ``last`` says that nothing else is read after this in the same state of the
    store.
    """
    packet = Composed(found, spent, build_id)
    cites = spent.counter.form == "json" and not found.question.still
    cited = {} if known is None else known.cited
    if reads.far and known is None:
        index, scope = found.layers[0][1], found.question.scope
        most = min(max(0, spent.left) // _CITE_TOKENS + _FEW, MOST_CITED)
        ids = _cited_ids(found, spent.kept)[:most] if cites else []
        reads.ahead(wants_lines(spent.kept, reads, found) + of_sources(index, scope, ids, reads), last=last)
        cited = {**dict.fromkeys(ids, ""), **index.sources(scope, ids, reads)}
    read_lines(spent.kept, reads, found)
    packet.led = [number for number in spent.kept if number in found.lines]
    packet.kept = packet.led if not found.units else [one for number in packet.led
                                                      for one in found.units.get(number, (number,))]
    said = {number: forms_of(found, number)[form][1]
            for number, form, _, _ in shown.shortened(found.pool, packet.led)}
    if found.units:
        said = {**{number: forms_of(found, number)[0][1] for number in packet.led if number in found.units}, **said}
    for array, numbers in _arranged(found, packet.led):
        if said:
            lines = [said.get(number) or found.lines[number] for number in numbers]
        else:
            lines = [found.lines[number] for number in numbers]
        _place(packet, ARRAYS[array], lines)
        _count(found, array, numbers, spent.counter, packet.usage)
    packet.used = _empty(found, spent.counter, packet.led) + sum(packet.usage.values())
    if cites:
        _cite(packet, reads, cited)
    return packet


_WINDOW = ARRAY["conversation_window"]


def used(found: Gathered, spent: Spent) -> int:
    """Return the tokens that a packet without citations will take; nothing is read for it."""
    usage: dict[str, int] = {}
    for array, numbers in _arranged(found, spent.kept):
        _count(found, array, numbers, spent.counter, usage)
    return _empty(found, spent.counter, spent.kept) + sum(usage.values())


def _empty(found: Gathered, counter: Counter, led: list[int]) -> int:
    return counter.empty[found.question.policy.allow_insights_in_responder] + (counter.wrapper if led else 0)


def _arranged(found: Gathered, led: list[int]) -> Iterator[tuple[int, list[int]]]:
    """Yield each array's candidates in the order of its lines."""
    for array, numbers in shown.arranged(found.pool, led):
        if array == _WINDOW:
            numbers.reverse()  # the newest was found first
        elif found.question.still:
            numbers.sort(key=found.pool.id)
        yield array, numbers


def _count(found: Gathered, array: int, numbers: list[int], counter: Counter, usage: dict[str, int]) -> None:
    section = SECTIONS[SECTION_OF_ARRAY[array]]
    if section not in usage:
        usage[section] = counter.heading(section)
    usage[section] += shown.tokens(found.pool, numbers)


def _place(packet: Composed, array: str, lines: list[str]) -> None:
    if array == "working_state":
        packet.fields = json.loads(lines[0])
    elif array == "rolling_summary":
        packet.summary = lines[0]
    else:
        packet.arrays[array] = lines


_QUOTING = {KIND["event"], KIND["turn"], KIND["quote"]}
"""The kinds of candidates that are an event's own words."""


def _cited_ids(found: Gathered, kept: list[int]) -> list[str]:
    """Return what candidates cite and do not show themselves, in the rank order of those who cite."""
    quoted_ids = shown.ids_of(found.pool, kept, _QUOTING)
    wanted: dict[str, None] = {}
    for layer, doc in shown.docs(found.pool, kept):  # in rank order, as they were filled
        for id_ in found.layers[layer][1].cites.get(doc, ()):
            if id_ not in quoted_ids:
                wanted[id_] = None
    return list(wanted)


def _cite(packet: Composed, reads: Reads, cited: dict[str, str]) -> None:
    """Resolve what the kept memories cite as far as the budget goes; ``cited`` are lines known already, "" if none."""
    spent, found = packet.spent, packet.found
    room = spent.budget - packet.used
    limit = spent.plan.limits.get("citations")
    room = min(room, UNLIMITED if limit is None else limit)
    rule = found.question.purpose.sections.get("citations")
    most = MOST_CITED if rule is None or rule.max_items is None else min(MOST_CITED, rule.max_items)
    if (rule is not None and not rule.show) or room < _CITE_TOKENS or most == 0:
        return
    ids = _cited_ids(found, packet.kept)[: min(room // _CITE_TOKENS, MOST_CITED)]
    unknown = [id_ for id_ in ids if id_ not in cited]
    if not ids:
        return
    events = {**cited, **found.layers[0][1].sources(found.question.scope, unknown, reads)}
    lines: list[str] = []
    used = exact = inner = 0
    item = spent.counter.item
    for id_ in ids:
        line = events.get(id_)
        if line:
            as_inner, as_last = item("citations", line)
            cost = max(as_inner, as_last)
            if used + cost <= room:
                lines.append(line)
                used += cost
                exact = inner + as_last
                inner += as_inner
                if len(lines) == most:
                    break
    if lines:
        packet.arrays["citations"] = lines
        packet.usage["citations"] = exact
        packet.used += exact
