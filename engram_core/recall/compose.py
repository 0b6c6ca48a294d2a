"""Compose what was kept into a packet: lines in their arrays, citations, the report and the reasons. Driven by build.

Everything here follows from the candidates as the budget left them; reasons and counts are written down, never found
out a second time.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring as quoted
from typing import TYPE_CHECKING, Any

from engram_core import layout
from engram_core.recall.account import filters
from engram_core.recall.budget import UNLIMITED, Spent, array_of, kept_candidate, read_lines
from engram_core.recall.candidates import REASONS, SECTIONS, Kept
from engram_core.recall.gather import CAPS, Gathered
from engram_core.scope import SCOPE_FIELDS
from engram_core.values import dump_json, format_time

if TYPE_CHECKING:
    from engram_core.store.reads import Reads

_CITE_TOKENS = 12
"""No citation takes fewer tokens, so no more of them are looked up than could fit."""


class Composed:
    """A packet in pieces, ready to be written in any layout.

    ``led`` are the kept candidates in rank order, one for each unit; ``kept`` holds those that go with them as well.
    """

    def __init__(self, found: Gathered, spent: Spent, build_id: str) -> None:
        self.found, self.spent, self.build_id = found, spent, build_id
        self.fields: dict[str, str] = {}
        self.summary = '""'
        self.arrays: dict[str, list[str]] = {}
        self.usage: dict[str, int] = {}
        self.used = 0
        self.kept: list[Kept] = []
        self.led: list[Kept] = []
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
            if name != "citations":
                items = [layout.text_item(name, json.loads(one), form) for line in lines for one in line.split(",\n")]
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
        degradations = [{"section": one.section, "id": one.id, "from": "full", "to": self.form_name(one),
                         "saved": self._full_cost(one) - max(one.inner, one.last)} for one in self.led if one.form > 0]
        omissions = self.found.pool.omissions(_HEADS, _TAILS, quoted)
        budget = self.found.question.request.budget.max_tokens
        return (f'{{"max_tokens":{budget},"used_tokens":{self.used},"used_tokens_est":{self.used},'
                f'"section_usage":{dump_json(self.usage)},"degradations":{dump_json(degradations)},'
                f'"omissions":[{omissions}]}}')

    def report(self) -> dict[str, Any]:
        """Return how the budget was spent."""
        report: dict[str, Any] = json.loads(self.report_json())
        return report

    def meta(self) -> dict[str, Any]:
        """Return which packet this is."""
        meta: dict[str, Any] = json.loads(self.meta_json())
        return meta

    def form_name(self, one: Kept) -> str:
        """Return the name of the kept form."""
        return self.found.forms[one.number][one.form][0]

    def _full_cost(self, one: Kept) -> int:
        return int(max(self.found.pool.account(one.number)["costs"][0]))

    def explain_json(self) -> str:
        """Write the short account of why; the whole one is stored under the build_id."""
        found, policy = self.found, self.found.question.policy
        omitted: dict[str, dict[str, int]] = {}
        for section, reason, number in found.pool.left_out():
            omitted.setdefault(SECTIONS[section], {})[REASONS[reason]] = number
        selected = [f'{{"id":{quoted(one.id)},"section":"{one.section}","score":{round(one.score, 4)!r}}}'
                    for one in self.kept]
        rest = {"candidate_counts": {kind: counts["candidates"] for kind, counts in found.counts.items()},
                "candidate_limits": {name: getattr(policy, name) for name in _LIMITS},
                "time_window_days": policy.episode_time_window_days,
                "determinism": {"order": "score, then id", "now": self.generated},
                "omitted": omitted, "filters": filters(found), "conflicts": found.conflicts}
        return (f'{{"policy_id":{quoted(found.question.request.policy_id)},"selected":[{",".join(selected)}],'
                f'{dump_json(rest)[1:]}')


_HEADS = [f'{{"section":"{section}","id":' for section in SECTIONS]
_TAILS = [f',"reason":"{reason}"}}' for reason in REASONS]
_LIMITS = ("max_total_candidates", *CAPS.values(), "max_key_quotes")


def compose(found: Gathered, spent: Spent, reads: Reads, build_id: str) -> Composed:
    """Fetch the lines of what is kept, lay them out, add citations while there is room, and count exactly."""
    read_lines([one.number for one in spent.kept if one.doc >= 0], reads, found)
    packet = Composed(found, spent, build_id)
    packet.led = [one for one in spent.kept if one.number in found.forms]
    packet.kept = packet.led if not found.units else [kept_candidate(found, number) for one in packet.led
                                                      for number in found.units.get(one.number, (one.number,))]
    arrays: dict[str, list[Kept]] = {}
    for one in packet.led:
        arrays.setdefault(found.arrays.get(one.number) or array_of(found, one.number), []).append(one)
    for name, members in arrays.items():
        _present(name, members, still=found.question.still)
        lines = [found.forms[one.number][one.form][1] for one in members]
        if name == "working_state":
            packet.fields = json.loads(lines[0])
        elif name == "rolling_summary":
            packet.summary = lines[0]
        else:
            packet.arrays[name] = lines
    _count(packet, arrays)
    if spent.counter.form == "json" and not found.question.still:
        _cite(packet, reads)
    return packet


def _present(array: str, members: list[Kept], *, still: bool) -> None:
    """Order an array: the stable part by id, turns by time, parts of the state as they came, all else by score."""
    if still:
        members.sort(key=lambda one: one.id)
    elif array == "conversation_window":
        members.sort(key=lambda one: -one.number)
    elif array not in ("open_loops", "last_tool_evidence"):
        members.sort(key=lambda one: (one.doc >= 0, one.number if one.doc < 0 else 0, not one.pinned, -one.score,
                                      one.id))


def _count(packet: Composed, arrays: dict[str, list[Kept]]) -> None:
    counter = packet.spent.counter
    total = counter.empty[packet.allows()] + (counter.wrapper if arrays else 0)
    for members in arrays.values():
        section = members[0].section
        if section not in packet.usage:
            packet.usage[section] = counter.heading(section)
            total += packet.usage[section]
        cost = sum([one.inner for one in members[:-1]]) + members[-1].last
        packet.usage[section] += cost
        total += cost
    packet.used = total


def _cite(packet: Composed, reads: Reads) -> None:
    """Resolve what the kept memories cite, in the rank order of those who cite, as far as the budget goes."""
    spent, found = packet.spent, packet.found
    room = spent.budget - packet.used
    limit = spent.limits.get("citations")
    room = min(room, UNLIMITED if limit is None else limit)
    rule = found.question.purpose.sections.get("citations")
    if (rule is not None and not rule.show) or room < _CITE_TOKENS:
        return
    shown = {one.id for one in packet.kept if one.kind in ("event", "turn", "quote")}
    wanted: dict[str, None] = {}
    for one in packet.kept:  # in rank order, as they were filled
        if one.doc >= 0:
            for id_ in found.layers[one.layer][1].cites.get(one.doc, ()):
                if id_ not in shown:
                    wanted[id_] = None
    most = 1000 if rule is None or rule.max_items is None else min(1000, rule.max_items)
    ids = list(wanted)[: min(room // _CITE_TOKENS, 1000)]
    if not ids:
        return
    events = found.layers[0][1].sources(found.question.scope, ids, reads)
    lines: list[str] = []
    used = 0
    for id_ in ids:
        if id_ not in events or len(lines) == most:
            continue
        line = events[id_]
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
