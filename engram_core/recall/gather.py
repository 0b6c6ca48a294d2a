"""Gather what a packet is made from: the state, the turns of the session, the best memories of every layer and kind.

The only reads of a build happen here and where lines are fetched; everything between is pure. Driven by build.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from engram_core.kernel.pool import PINNED_RANK, Pool
from engram_core.recall import timex
from engram_core.recall.candidates import KIND, REASON, SECTION
from engram_core.recall.index import KINDS, STATUSES, IndexCache, OwnerIndex
from engram_core.recall.signals import LAYER_VALUES, effective, half_life_ms
from engram_core.recall.state import Part, state_parts
from engram_core.scope import SCOPE_LEVELS, Scope
from engram_core.values import day_of, dump_json

if TYPE_CHECKING:
    from engram_core.packet import PacketRequest
    from engram_core.policy import Policy, Purpose
    from engram_core.store.reads import Reads

SECTION_OF_KIND = {"event": "key_quotes", "fact": "facts", "episode": "episodes", "procedure": "procedures",
                   "insight": "insights"}
"""The section each ranked kind goes to."""
CAPS = {"fact": "max_facts", "procedure": "max_procedures", "episode": "max_episodes", "insight": "max_insights"}
_STATE_RANK = 10 * PINNED_RANK
_FILTER = {("insight", "task_type"): "not_validated", ("insight", "validity"): "expired"}
Taken = frozenset[tuple[str, str, int]]


class Question(NamedTuple):
    """A request made ready: its moment, words, cues and policy. ``canonical`` is the request as JSON, ``still`` asks
    for the stable part."""

    scope: Scope
    request: PacketRequest
    policy: Policy
    purpose: Purpose
    now_ms: int
    text: str
    asked: bool
    range: tuple[int, int] | None
    canonical: str = ""
    still: bool = False

    @property
    def intervals(self) -> list[tuple[int, int]]:
        """The days the question speaks of."""
        return timex.resolve(self.text, day_of(self.now_ms)) if self.asked else []


class Gathered:
    """Everything that was found, before the budget: candidates in the pool, lines known so far in ``forms``."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.state: dict[str, Any] = {}
        self.layers: list[tuple[str, OwnerIndex]] = []
        self.scores: list[Any] = []
        self.pool: Pool
        self.forms: dict[int, list[tuple[str, str]]] = {}
        self.arrays: dict[int, str] = {}
        self.counts: dict[str, dict[str, Any]] = {}
        self.conflicts: list[dict[str, Any]] = []
        self.weights: dict[str, tuple[float, ...]] = {}

    def count(self, kind: str) -> dict[str, Any]:
        """Return the counts of a kind, making them at first."""
        return self.counts.setdefault(kind, {"total": 0, "candidates": 0, "not_ranked": 0, "filtered": {}})


def gather(question: Question, reads: Reads, cache: IndexCache, exclude: Taken = frozenset()) -> Gathered:
    """Read the state and the indexes and rank every kind; what is excluded is in the stable part already."""
    found = Gathered(question)
    scope = question.scope
    for level in SCOPE_LEVELS:
        index = cache.get(scope.layer(level), reads)
        if level == "user" or index.table.live:
            found.layers.append((level, index))
    parts: list[Part] = []
    if not question.still:
        found.state, parts = state_parts(question, found.layers[0][1], reads)
    found.question = question = _with_weak_cues(question, found.state)
    if question.text:
        found.scores = [index.text.query(question.text, weights=question.policy.recipe or None,
                                         intervals=question.intervals, keywords=question.request.cues.keywords)
                        for _, index in found.layers]
    found.pool = Pool([index.ids for _, index in found.layers])
    for part in parts:
        _add_part(found, part)
    window = _window(found, reads)
    for kind in KINDS:
        _rank_kind(found, kind, window)
    _shadow(found)
    if exclude:
        _exclude(found, exclude)
    return found


def _with_weak_cues(question: Question, state: dict[str, Any]) -> Question:
    """Let the working state ask when nothing else does: its goal, open loops and slots, and the task type."""
    if question.asked or question.still:
        return question
    words = [state.get("goal", ""), *state.get("open_loops", ()), *map(str, state.get("slots", {}).values())]
    if question.request.task_type != "generic":
        words.append(question.request.task_type)
    text = " ".join(word for word in words if word).strip()
    return question._replace(text=text) if text else question


def _add_part(found: Gathered, part: Part) -> None:
    section = found.question.purpose.sections.get(part.section)
    reason = part.reason if section is not None and section.show else "not_for_purpose"
    number = found.pool.add(KIND[part.kind], SECTION[part.section], part.id, _STATE_RANK - part.place, 1.0,
                            REASON[reason], 0)
    found.forms[number] = part.forms
    found.arrays[number] = part.array
    counts = found.count(part.kind)
    counts["total"] += 1
    counts["candidates"] += 1


def _rank_kind(found: Gathered, kind: str, window: set[int]) -> None:
    question, counts = found.question, found.count(kind)
    shown = _shown(question, kind)
    selections: list[Any] = []
    for at, (level, index) in enumerate(found.layers):
        selection = _select(found, kind, level, index, at) if shown else None
        selections.append(selection)
        if selection is None:
            _count_hidden(counts, kind, index)
            continue
        counts["total"] += selection.total
        counts["not_ranked"] += selection.not_ranked
        for name, number in selection.filtered.items():
            reason = STATUSES[kind][name] if type(name) is int else _FILTER.get((kind, name), str(name))
            counts["filtered"][reason] = counts["filtered"].get(reason, 0) + number
    if not shown:
        return
    policy, section = question.policy, SECTION_OF_KIND[kind]
    first = found.pool.n
    split = kind == "fact" and policy.split_preferences
    kept, left = found.pool.rank(
        KIND[kind], SECTION[section], selections, policy.max_total_candidates, policy.cost_exponent,
        cap=getattr(policy, CAPS[kind]) if kind in CAPS else -1, cap_reason=REASON[CAPS.get(kind, "")],
        fold=kind != "fact", fold_reason=REASON["duplicate"], window=window if kind == "event" and window else None,
        window_reason=REASON["in_window"], elsewhere=[index.preferences for _, index in found.layers] if split else None,
        other_section=SECTION["preferences"])
    counts["candidates"] += kept
    counts["not_ranked"] += left
    if kind == "procedure" and question.request.cues.tags:
        _apply_tags(found, first)


def _shown(question: Question, kind: str) -> bool:
    section = question.purpose.sections.get(SECTION_OF_KIND[kind])
    if section is None or not section.show:
        return False
    if kind == "insight":
        return allowed_insights(question) != "none"
    return kind != "event" or question.asked


def allowed_insights(question: Question) -> str:
    """Return which insights the purpose may show: none, validated or unrejected; the responder never shows more."""
    policy, purpose = question.policy, question.request.purpose
    if purpose == "responder":
        return "validated" if policy.allow_insights_in_responder else "none"
    if purpose == "tool":
        return "unrejected" if policy.include_insights_in_tool else "none"
    return question.purpose.insights


def _count_hidden(counts: dict[str, Any], kind: str, index: OwnerIndex) -> None:
    total = sum(index.table.status_counts(KINDS.index(kind)))
    counts["total"] += total
    if total:
        counts["filtered"]["not_for_purpose"] = counts["filtered"].get("not_for_purpose", 0) + total


def _select(found: Gathered, kind: str, level: str, index: OwnerIndex, at: int) -> Any:
    question, policy = found.question, found.question.policy
    if kind in ("event", "insight") and level != "user":
        return None
    cues = [*question.request.cues.tags, *question.request.cues.entities]
    ncues = len(cues) + (question.range is not None)
    weights = effective(question.purpose.weights[kind], text=bool(question.text), cues=ncues > 0)
    found.weights[kind] = weights
    groups, subset, oldest = None, None, None
    if kind == "procedure" and question.request.task_type != "generic":
        groups = {index.name("generic"), index.name(question.request.task_type)}
    if kind == "insight":
        subset = index.runs.get((question.scope.session_id, question.scope.run_id), [])
        if allowed_insights(question) == "validated":
            groups = {index.name("validated")}
    if kind == "episode" and not question.asked and ncues == 0:
        oldest = question.now_ms - policy.episode_time_window_days * 86_400_000
    extra = {} if oldest is None else {"oldest": oldest}
    return index.table.select(
        KINDS.index(kind), policy.max_total_candidates, now=question.now_ms, weights=weights,
        half_life=half_life_ms(policy, kind), layer=LAYER_VALUES[level], scores=found.scores[at] if found.scores else None,
        cues=[number for number in map(index.name, cues) if number >= 0], ncues=ncues, range_=question.range,
        groups=groups, subset=subset, moments=kind == "episode", **extra)


def _apply_tags(found: Gathered, first: int) -> None:
    """Leave out procedures that are for other tags than the request's."""
    tags = frozenset(found.question.request.cues.tags)
    for number in range(first, found.pool.n):
        brief = found.pool.brief(number)
        if not tags & found.layers[brief[2]][1].applies.get(brief[3], tags):
            found.pool.set_reason(number, REASON["applicability"])


def _shadow(found: Gathered) -> None:
    """Let the narrower layer's fact win over the same key of a wider one, and collect disputed facts."""
    several = len(found.layers) > 1
    if not several and not found.layers[0][1].disputed:
        return
    best: dict[str, int] = {}
    facts = []
    disputed: dict[str, list[str]] = {}
    for number in range(found.pool.n):
        kind, _, layer, doc, *_ = found.pool.brief(number)
        if kind == KIND["fact"]:
            index = found.layers[layer][1]
            key = index.keys[doc]
            best[key] = min(layer, best.get(key, layer))
            facts.append((number, key, layer))
            if doc in index.disputed:
                disputed.setdefault(key, []).append(f"{index.ids[doc]}#{index.versions[doc]}")
    for number, key, layer in facts:
        if best[key] != layer:
            found.pool.set_reason(number, REASON["shadowed"])
    found.conflicts = [{"fact_key": key, "ids": sorted(ids)} for key, ids in sorted(disputed.items())]


def _exclude(found: Gathered, exclude: Taken) -> None:
    for number in range(found.pool.n):
        kind, _, layer, _, seq, *_ = found.pool.brief(number)
        if kind < len(KINDS) and (KINDS[kind], found.layers[layer][0], seq) in exclude:
            found.pool.set_reason(number, REASON["in_stable_part"])


def _window(found: Gathered, reads: Reads) -> set[int]:
    """Add the newest turns of the session, if the policy wants them, and return their document numbers."""
    question = found.question
    section = question.purpose.sections.get("conversation_window")
    most = question.policy.conversation_window
    if not question.policy.include_conversation_window or section is None or not section.show or not most:
        return set()
    index = found.layers[0][1]
    turns: dict[int, int] = {}
    for doc in reversed(index.sessions.get(question.scope.session_id, ())):
        if index.table.alive(doc) and index.table.about(doc)[3] == 0:
            turns[index.table.about(doc)[1]] = doc
            if len(turns) == most:
                break
    lines = dict(reads.memories("event", question.scope.owner, ("seq", "line"), list(turns))) if turns else {}
    for at, (seq, doc) in enumerate(turns.items()):
        quote = json.loads(lines[seq])
        turn = {"role": quote["role"], "content": quote["quote"], "evidence_id": quote["evidence_id"], "ts": quote["ts"]}
        if "name" in quote:
            turn["name"] = quote["name"]
        _add_part(found, Part("turn", "conversation_window", "conversation_window", index.ids[doc],
                              [("full", dump_json(turn))], at, ""))
    return set(turns.values())
