"""Gather what a packet is made from: the state, the turns of the session, the best memories of every layer and kind.

The only reads of a build happen here and in compose, which fetches the lines of what is kept; everything between is
pure. Driven by recall/build.py.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from engram_core.recall import timex
from engram_core.recall.candidates import INSIGHT_ARRAY, Candidate
from engram_core.recall.index import KINDS, STATUSES, IndexCache, OwnerIndex
from engram_core.recall.signals import LAYER_VALUES, effective, half_life_ms
from engram_core.scope import SCOPE_LEVELS, Scope
from engram_core.values import day_of, dump_json

if TYPE_CHECKING:
    from engram_core.packet import PacketRequest
    from engram_core.policy import Policy, Purpose
    from engram_core.store.reads import Reads

SECTION = {"event": "key_quotes", "fact": "facts", "episode": "episodes", "procedure": "procedures", "insight": "insights"}
"""The section each ranked kind goes to."""
CAPS = {"fact": "max_facts", "procedure": "max_procedures", "episode": "max_episodes", "insight": "max_insights"}
Taken = frozenset[tuple[str, str, int]]
_FIRST = 1_000_000.0
"""Added to the rank of pinned memories; the parts of the state rank above them."""


class Question(NamedTuple):
    """A request made ready: its moment, words, cues and policy."""

    scope: Scope
    request: PacketRequest
    policy: Policy
    purpose: Purpose
    now_ms: int
    text: str
    asked: bool
    words: tuple[str, ...]
    range: tuple[int, int] | None
    still: bool = False

    @property
    def intervals(self) -> list[tuple[int, int]]:
        """The days the question speaks of."""
        return timex.resolve(self.text, day_of(self.now_ms)) if self.asked else []


class Gathered:
    """Everything that was found, before the budget."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.state: dict[str, Any] = {}
        self.stm: dict[str, Any] = {}
        self.layers: list[tuple[str, OwnerIndex]] = []
        self.scores: dict[str, Any] = {}
        self.candidates: list[Candidate] = []
        self.counts: dict[str, dict[str, Any]] = {}
        self.conflicts: list[dict[str, Any]] = []
        self.weights: dict[str, tuple[float, ...]] = {}
        self.texts: dict[tuple[int, int], str] = {}


def gather(question: Question, reads: Reads, cache: IndexCache, exclude: Taken = frozenset()) -> Gathered:
    """Read the state and the indexes and rank every kind; what is excluded is in the stable part already."""
    found = Gathered(question)
    scope = question.scope
    state, stm = (None, None) if question.still else (reads.working_state(scope), reads.short_term(scope))
    found.state = json.loads(state) if state else {}
    found.stm = json.loads(stm) if stm else {}
    found.question = question = _with_weak_cues(question, found.state)
    for level in SCOPE_LEVELS:
        index = cache.get(scope.layer(level), reads)
        if level == "user" or index.table.live:
            found.layers.append((level, index))
    if question.text:
        for level, index in found.layers:
            found.scores[level] = index.text.query(question.text, weights=question.policy.recipe or None,
                                                   intervals=question.intervals, keywords=question.request.cues.keywords)
    _state_candidates(found)
    window = _window(found, reads)
    for kind in KINDS:
        _rank_kind(found, kind, window)
    _shadow(found)
    for one in found.candidates:
        if (one.kind, one.layer, one.seq) in exclude:
            one.reason = "in_stable_part"
    return found


def _with_weak_cues(question: Question, state: dict[str, Any]) -> Question:
    """Let the working state ask when nothing else does: its goal, open loops and slots, and the task type."""
    if question.asked:
        return question
    words = [state.get("goal", ""), *state.get("open_loops", ()), *map(str, state.get("slots", {}).values())]
    if question.request.task_type != "generic":
        words.append(question.request.task_type)
    return question._replace(text=" ".join(word for word in words if word).strip())


def _rank(score: float, tokens: int, exponent: float) -> float:
    return float(score / max(1, tokens) ** exponent)


def _rank_kind(found: Gathered, kind: str, window: set[int]) -> None:
    question = found.question
    counts: dict[str, Any] = {"total": 0, "candidates": 0, "not_ranked": 0, "filtered": {}}
    found.counts[kind] = counts
    shown = _shown(question, kind)
    merged: list[Candidate] = []
    for level, index in found.layers:
        selection = _select(found, kind, level, index) if shown else None
        if selection is None:
            _count_hidden(counts, kind, index)
            continue
        counts["total"] += selection.total
        counts["not_ranked"] += selection.not_ranked
        for name, number in selection.filtered.items():
            reason = STATUSES[kind][name] if type(name) is int else _FILTER.get((kind, name), name)
            counts["filtered"][reason] = counts["filtered"].get(reason, 0) + number
        merged += _candidates(found, kind, level, index, selection)
    merged.sort(key=lambda one: (not one.pinned, -one.score, one.id))
    most = question.policy.max_total_candidates
    counts["not_ranked"] += max(0, len(merged) - most)
    del merged[most:]
    counts["candidates"] = len(merged)
    _mark(found, kind, merged, window)
    found.candidates += merged


_FILTER = {("insight", "task_type"): "not_validated", ("insight", "validity"): "expired"}


def _shown(question: Question, kind: str) -> bool:
    section = question.purpose.sections.get(SECTION[kind])
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


def _select(found: Gathered, kind: str, level: str, index: OwnerIndex) -> Any:
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
        half_life=half_life_ms(policy, kind), layer=LAYER_VALUES[level], scores=found.scores.get(level),
        cues=[number for number in map(index.name, cues) if number >= 0], ncues=ncues, range_=question.range,
        groups=groups, subset=subset, moments=kind == "episode", **extra)


def _candidates(found: Gathered, kind: str, level: str, index: OwnerIndex, selection: Any) -> list[Candidate]:
    question, made = found.question, []
    section, exponent = SECTION[kind], question.policy.cost_exponent
    for doc, score, signals in zip(selection.docs, selection.scores, selection.signals, strict=True):
        costs = index.table.costs(doc)
        about = index.table.about(doc)
        key, array, id_ = section, section, index.ids[doc]
        if kind == "insight":
            array = INSIGHT_ARRAY[index.types[doc]]
        elif kind == "fact" and question.policy.split_preferences and index.keys[doc].startswith("preference"):
            key = array = "preferences"
        rank = _rank(score, costs[0][0], exponent) + (_FIRST if about[4] else 0.0)
        made.append(Candidate(kind, key, array, id_, layer=level, score=score, signals=signals, index=index, doc=doc,
                              seq=about[1], costs=costs, pinned=about[4], rank=rank))
    return made


def _mark(found: Gathered, kind: str, ranked: list[Candidate], window: set[int]) -> None:
    """Give the reasons that need no budget: duplicates, turns in the window, what does not apply, the kind's cap."""
    question = found.question
    cap = getattr(question.policy, CAPS[kind]) if kind in CAPS else None
    tags = frozenset(question.request.cues.tags)
    seen: set[int] = set()
    taken = 0
    for one in ranked:
        assert one.index is not None
        folded = one.index.table.about(one.doc)[5]
        if folded and folded in seen:
            one.reason = "duplicate"
        elif kind == "event" and one.doc in window:
            one.reason = "in_window"
        elif kind == "procedure" and tags and not tags & one.index.applies.get(one.doc, tags):
            one.reason = "applicability"
        elif cap is not None and one.section != "preferences" and taken >= cap:
            one.reason = CAPS[kind]
            one.place = taken + 1
            taken += 1
            continue
        else:
            taken += 1
        seen.add(folded)
        one.place = taken


def _shadow(found: Gathered) -> None:
    """Let the narrower layer's fact win over the same key of a wider one, and collect disputed facts."""
    best: dict[str, str] = {}
    disputed: dict[str, list[str]] = {}
    for one in found.candidates:
        if one.kind == "fact" and one.index is not None:
            key = one.index.keys[one.doc]
            if key not in best or LAYER_VALUES[one.layer] > LAYER_VALUES[best[key]]:
                best[key] = one.layer
            if one.doc in one.index.disputed:
                disputed.setdefault(key, []).append(f"{one.id}#{one.index.versions[one.doc]}")
    for one in found.candidates:
        if one.kind == "fact" and one.index is not None and best[one.index.keys[one.doc]] != one.layer:
            one.reason = one.reason or "shadowed"
    found.conflicts = [{"fact_key": key, "ids": sorted(ids)} for key, ids in sorted(disputed.items())]


# The state of run and session ---------------------------------------------------------------------------------------


def _state_candidates(found: Gathered) -> None:
    question, state = found.question, found.state
    for at, one in enumerate(found.stm.get("key_quotes", ())):
        _add_state(found, "quote", "key_quotes", one["evidence_id"], dump_json(one), at,
                   "max_key_quotes" if at >= question.policy.max_key_quotes else "")
    for at, loop in enumerate(state.get("open_loops", ())):
        _add_state(found, "open_loop", "open_loops", f"open_loop:{at}", dump_json(loop), at)
    evidence = state.get("tool_evidence", ())
    for at, one in enumerate(reversed(evidence)):
        _add_state(found, "tool_evidence", "last_tool_evidence", one["evidence_id"], dump_json(one), at,
                   "last_tool_evidence_limit" if at >= question.policy.last_tool_evidence_limit else "")


def _add_state(found: Gathered, kind: str, section: str, id_: str, line: str, at: int, reason: str = "") -> None:
    shown = found.question.purpose.sections.get(section)
    if shown is None or not shown.show:
        reason = "not_for_purpose"
    found.candidates.append(Candidate(kind, section, section, id_, layer="session" if kind == "quote" else "run",
                                      forms=[("full", line)], score=1.0, rank=10 * _FIRST - at, reason=reason))
    counts = found.counts.setdefault(kind, {"total": 0, "candidates": 0, "not_ranked": 0, "filtered": {}})
    counts["total"] += 1
    counts["candidates"] += 1


def _window(found: Gathered, reads: Reads) -> set[int]:
    """Add the newest turns of the session, if the policy wants them, and return their document numbers."""
    question = found.question
    section = question.purpose.sections.get("conversation_window")
    most = question.policy.conversation_window
    if not question.policy.include_conversation_window or section is None or not section.show or most == 0:
        return set()
    index = found.layers[0][1]
    turns: list[int] = []
    for doc in reversed(index.sessions.get(question.scope.session_id, ())):
        if index.table.alive(doc) and index.table.about(doc)[3] == 0:
            turns.append(doc)
            if len(turns) == most:
                break
    seqs = {index.table.about(doc)[1]: doc for doc in turns}
    lines = dict(reads.memories("event", question.scope.owner, ("seq", "line"), list(seqs))) if seqs else {}
    counts = found.counts.setdefault("turn", {"total": len(turns), "candidates": len(turns), "not_ranked": 0, "filtered": {}})
    assert counts["total"] == len(turns)
    for at, (seq, doc) in enumerate(seqs.items()):
        quote = json.loads(lines[seq])
        turn = {"role": quote["role"], "content": quote["quote"], "evidence_id": quote["evidence_id"], "ts": quote["ts"]}
        if "name" in quote:
            turn["name"] = quote["name"]
        found.candidates.append(Candidate("turn", "conversation_window", "conversation_window", index.ids[doc],
                                          layer="session", forms=[("full", dump_json(turn))], score=1.0, seq=seq,
                                          rank=10 * _FIRST - at))
    return set(turns)
