"""Gather what a packet is made from: the state, the turns of the session, the best memories of every layer and kind.

The only reads of a build happen here and where lines are fetched; everything between is pure. Driven by build.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from engram_core.kernel.pool import PINNED_RANK, Pool
from engram_core.layout import INSIGHT_ARRAYS
from engram_core.recall import timex
from engram_core.recall.candidates import ARRAY, KIND, REASON, SECTION, SECTION_OF_ARRAY
from engram_core.recall.excerpts import MOST_TOKENS
from engram_core.recall.index import KINDS, STATUSES, OwnerIndex
from engram_core.recall.signals import LAYER_VALUES, effective, half_life_ms
from engram_core.recall.state import Part, state_parts
from engram_core.scope import Scope
from engram_core.values import day_of, dump_json

if TYPE_CHECKING:
    from engram_core.packet import PacketRequest
    from engram_core.policy import Policy, Purpose
    from engram_core.recall.cache import IndexCache, Meaning
    from engram_core.store.reads import Reads

SECTION_OF_KIND = {"event": "key_quotes", "fact": "facts", "episode": "episodes", "procedure": "procedures",
                   "insight": "insights"}
"""The section each ranked kind goes to."""
CAPS = {"fact": "max_facts", "procedure": "max_procedures", "episode": "max_episodes", "insight": "max_insights"}
_UNCUT = 1 << 30  # tokens; of these kinds a packet shows all or nothing
_STATE_RANK = 10 * PINNED_RANK
_FILTER = {("insight", "task_type"): "not_validated", ("insight", "validity"): "expired"}
Taken = dict[tuple[str, str, int], tuple[str, int]]
"""What the stable part holds: section and fold by kind, layer and seq."""


class Question(NamedTuple):
    """A request made ready: its moment, words, cues and policy.

    ``canonical`` is the request as JSON, ``room`` the tokens there are, None without a limit, ``part`` what is wanted.
    """

    scope: Scope
    request: PacketRequest
    policy: Policy
    purpose: Purpose
    now_ms: int
    text: str
    asked: bool
    range: tuple[int, int] | None
    canonical: str = ""
    room: int | None = None
    part: str = "all"

    @property
    def still(self) -> bool:
        """Whether this asks for the stable part, where nothing but what is stored decides."""
        return self.part == "stable"

    @property
    def intervals(self) -> list[tuple[int, int]]:
        """The days the question speaks of."""
        return timex.resolve(self.text, day_of(self.now_ms)) if self.asked else []


class Ranking(NamedTuple):
    """How a kind is ranked for a purpose; ``hidden`` says why it has no candidates, "" when it may have some."""

    kind: str
    number: int
    hidden: str
    weights: tuple[float, ...]
    half_life: float
    arrays: tuple[int, ...]
    cap: int
    cap_reason: int
    folds: bool


class Gathered:
    """Everything that was found, before the budget: candidates in the pool and what they say.

    ``lines`` are their own full lines, those known so far, by number; ``forms`` what is or would be emitted for those
    that have been asked for it, or are no single ranked memory. ``units`` holds, for a candidate that leads others, all
    of them in the order of their lines.
    """

    def __init__(self, question: Question, layers: list[tuple[str, OwnerIndex]]) -> None:
        self.question = question
        self.layers = layers
        self.state: dict[str, Any] = {}
        self.scores: list[Any] = []
        self.meaning: Meaning | None = None
        self.pool = Pool([index.ids for _, index in layers], SECTION_OF_ARRAY)
        self.lines: dict[int, str] = {}
        self.forms: dict[int, list[tuple[str, str]]] = {}
        self.units: dict[int, list[int]] = {}
        self.counts: dict[str, dict[str, Any]] = {}
        self.conflicts: list[dict[str, Any]] = []

    def count(self, kind: str) -> dict[str, Any]:
        """Return the counts of a kind, making them at first."""
        counts = self.counts.get(kind)
        if counts is None:
            counts = self.counts[kind] = {"total": 0, "candidates": 0, "not_ranked": 0, "filtered": {}}
        return counts

    def set_forms(self, number: int, forms: list[tuple[str, str]]) -> None:
        """Say what a candidate says, in full and shorter."""
        self.forms[number], self.lines[number] = forms, forms[0][1]


def gather(question: Question, reads: Reads, cache: IndexCache, exclude: Taken | None = None) -> Gathered:
    """Read the state and the indexes and rank every kind; what is excluded is in the stable part already."""
    found = Gathered(question, cache.layers(question.scope, reads, turns_wanted(question)))
    parts: list[Part] = []
    if not question.still:
        found.state, parts = state_parts(question, found.layers[0][1], reads)
        found.question = question = _with_weak_cues(question, found.state)
    if question.text:
        found.meaning = cache.meaning(question.text, question.policy.recipe)
        found.scores = [index.text.query(question.text, weights=question.policy.recipe or None,
                                         intervals=question.intervals, keywords=question.request.cues.keywords,
                                         meaning=found.meaning and found.meaning.vector)
                        for _, index in found.layers]
    for part in parts:
        _add_part(found, part)
    window = _window(found, reads)
    for ranking in rankings(question):
        first = found.pool.n
        _rank(found, ranking)
        if found.pool.n > first:
            shown = [part.fold for part in parts if part.fold and not part.reason
                     and _is_open(question, part.section)] if ranking.kind == "event" else []
            _mark(found, ranking, first, window, exclude or {}, shown)
    _collect_conflicts(found)
    return found


def _is_open(question: Question, section: str) -> bool:
    rule = question.purpose.sections.get(section)
    return rule is not None and rule.show


def _with_weak_cues(question: Question, state: dict[str, Any]) -> Question:
    """Let the working state ask when nothing else does: its goal, open loops and slots, and the task type."""
    if question.asked or (not state and question.request.task_type == "generic"):
        return question
    words = [state.get("goal", ""), *state.get("open_loops", ()), *map(str, state.get("slots", {}).values())]
    if question.request.task_type != "generic":
        words.append(question.request.task_type)
    text = " ".join(word for word in words if word).strip()
    return question._replace(text=text) if text else question


def _add_part(found: Gathered, part: Part) -> int:
    reason = part.reason if _is_open(found.question, part.section) else "not_for_purpose"
    number = found.pool.add(KIND[part.kind], ARRAY[part.array], part.id, _STATE_RANK - part.place, 1.0, REASON[reason])
    found.set_forms(number, part.forms)
    counts = found.count(part.kind)
    counts["total"] += 1
    counts["candidates"] += 1
    return number


def rankings(question: Question) -> tuple[Ranking, ...]:
    """Return how each kind is ranked, worked out once for a policy, a purpose and what is asked with."""
    cued = bool(question.request.cues.tags or question.request.cues.entities or question.range)
    key = (question.policy.digest, question.request.purpose, question.still, bool(question.text), question.asked, cued)
    known = _RANKINGS.get(key)
    if known is None:
        if len(_RANKINGS) > 1000:
            _RANKINGS.clear()
        known = _RANKINGS[key] = tuple(_ranking(question, kind, cued) for kind in KINDS)
    return known


_RANKINGS: dict[tuple[object, ...], tuple[Ranking, ...]] = {}


def _ranking(question: Question, kind: str, cued: bool) -> Ranking:
    policy = question.policy
    arrays = (ARRAY[SECTION_OF_KIND[kind]],) if kind != "insight" else tuple(ARRAY[name] for name in INSIGHT_ARRAYS)
    if kind == "fact" and policy.split_preferences:
        arrays = (*arrays, ARRAY["preferences"])
    cap = CAPS.get(kind, "")
    return Ranking(
        kind, KINDS.index(kind), _hidden(question, kind),
        effective(question.purpose.weights[kind], text=bool(question.text), cues=cued), half_life_ms(policy, kind),
        arrays, getattr(policy, cap) if cap else -1, REASON[cap], kind != "fact")


def _rank(found: Gathered, ranking: Ranking) -> None:
    """Take the best of a kind into the pool, and count all the others and why they are out."""
    kind, counts = ranking.kind, found.count(ranking.kind)
    selections: list[Any] = []
    for at, (level, index) in enumerate(found.layers):
        total = index.table.total(ranking.number)
        counts["total"] += total
        if not ranking.hidden and (level == "user" or kind not in ("event", "insight")):
            selection = select(found, ranking, at)
            selections.append(selection)
            total -= selection.total
            counts["not_ranked"] += selection.not_ranked
            for name, number in selection.filtered.items():
                _filtered(counts, filter_name(kind, name), number)
        if total:
            _filtered(counts, ranking.hidden or "other_run", total)
    if ranking.hidden:
        return
    policy = found.question.policy
    if kind == "event" and len(found.layers[0][1].calls):
        selections[0] = _whole_units(found, ranking, selections[0], counts)
    kept, left = found.pool.rank(ranking.number, ranking.arrays, selections, policy.max_total_candidates,
                                 ranking.weights[0], policy.cost_exponent,
                                 MOST_TOKENS if kind == "event" else _UNCUT)
    counts["candidates"] += kept
    counts["not_ranked"] += left


def _filtered(counts: dict[str, Any], name: str, number: int) -> None:
    counts["filtered"][name] = counts["filtered"].get(name, 0) + number


def filter_name(kind: str, name: int | str) -> str:
    """Return what a filter of the table is called for a kind."""
    return STATUSES[kind][name] if type(name) is int else _FILTER.get((kind, str(name)), str(name))


def _mark(found: Gathered, ranking: Ranking, first: int, window: set[int], exclude: Taken, shown: list[int]) -> None:
    """Give the ranked of a kind the reasons that need no budget, what does not count for the kind's cap first."""
    pool, kind = found.pool, ranking.kind
    taken = [value for key, value in exclude.items() if key[0] == kind]
    if taken:
        _exclude(found, first, exclude)
    if kind == "fact":
        _mark_facts(found, first)
    if kind == "procedure" and found.question.request.cues.tags:
        _apply_tags(found, first)
    if window and kind == "event":
        for number in range(first, pool.n):
            if pool.brief(number)[3] in window:
                pool.set_reason(number, REASON["in_window"])
    section = SECTION_OF_KIND[kind]
    pool.mark(first, SECTION[section], cap=ranking.cap, cap_reason=ranking.cap_reason, fold=ranking.folds,
              fold_reason=REASON["duplicate"], seen=shown + [fold for _, fold in taken if fold],
              taken=sum(name == section for name, _ in taken))
    if kind == "event" and len(found.layers[0][1].calls):
        _join_units(found, first)


def _hidden(question: Question, kind: str) -> str:
    """Return why a kind has no candidates at all, "" when it may have some."""
    sections = [SECTION_OF_KIND[kind]]
    if kind == "fact" and question.policy.split_preferences:
        sections.append("preferences")
    if not any(_is_open(question, section) for section in sections):
        return "not_for_purpose"
    if kind == "insight" and allowed_insights(question) == "none":
        return "not_for_purpose"
    return "no_query" if kind == "event" and not question.asked else ""


def allowed_insights(question: Question) -> str:
    """Return which insights the purpose may show: none, validated or unrejected; the responder never shows more."""
    policy, purpose = question.policy, question.request.purpose
    if purpose == "responder":
        return "validated" if policy.allow_insights_in_responder else "none"
    if purpose == "tool":
        return "unrejected" if policy.include_insights_in_tool else "none"
    return question.purpose.insights


def select(found: Gathered, ranking: Ranking, at: int, *, most: int = 0, subset: list[int] | None = None) -> Any:
    """Return the best of a kind in one layer, ``most`` or as many as the policy ranks, among ``subset`` or all."""
    question, policy, kind = found.question, found.question.policy, ranking.kind
    level, index = found.layers[at]
    asked = question.request.cues
    cues = list(dict.fromkeys([*asked.tags, *asked.entities])) if asked.tags or asked.entities else []
    ncues = len(cues) + (question.range is not None)
    groups, extra = None, {}
    if kind == "procedure" and question.request.task_type != "generic":
        groups = {index.name("generic"), index.name(question.request.task_type)}
    if kind == "insight":
        run = index.runs.get((question.scope.session_id, question.scope.run_id), [])
        subset = run if subset is None else [doc for doc in subset if doc in run]
        if allowed_insights(question) == "validated":
            groups = {index.name("validated")}
    if kind == "episode" and not question.asked and ncues == 0:
        extra = {"oldest": question.now_ms - policy.episode_time_window_days * 86_400_000}
    return index.table.select(
        ranking.number, most or policy.max_total_candidates, now=question.now_ms, weights=ranking.weights,
        half_life=ranking.half_life, layer=LAYER_VALUES[level], scores=found.scores[at] if found.scores else None,
        cues=[number for number in map(index.name, cues) if number >= 0], ncues=ncues, range_=question.range,
        groups=groups, subset=subset, moments=kind == "episode", whole=question.still, **extra)


def _whole_units(found: Gathered, ranking: Ranking, selection: Any, counts: dict[str, Any]) -> Any:
    """Return the selection with every tool call beside its result, at the cost of the worst when it gets too many."""
    calls, most = found.layers[0][1].calls, found.question.policy.max_total_candidates
    docs = selection.docs
    chosen: dict[int, None] = {}
    for doc in docs:
        unit = calls.unit(doc) if doc in calls else [doc]
        if doc not in chosen and len(chosen) + len(unit) <= most:
            chosen.update(dict.fromkeys(unit))
    if len(chosen) == len(docs) and all(doc in chosen for doc in docs):
        return selection
    counts["not_ranked"] += len(docs) - len(chosen)
    return select(found, ranking, 0, most=most, subset=list(chosen))


def _join_units(found: Gathered, first: int) -> None:
    """Let tool calls and their results stand and fall together."""
    pool, calls = found.pool, found.layers[0][1].calls
    numbers = {pool.brief(number)[3]: number for number in range(first, pool.n)}
    for doc, number in numbers.items():
        if doc in calls and number not in found.units:
            unit = [numbers[one] for one in calls.unit(doc)]
            if len(unit) > 1 and number == min(unit):
                join(found, number, unit)


def join(found: Gathered, lead: int, unit: list[int]) -> None:
    """Make candidates one unit, led by one of them; ``unit`` is in the order of their lines."""
    found.units[lead] = unit
    others = [number for number in unit if number != lead]
    found.pool.join(lead, others, found.question.policy.cost_exponent, MOST_TOKENS)


def _apply_tags(found: Gathered, first: int) -> None:
    """Leave out procedures that are for other tags than the request's."""
    tags = frozenset(found.question.request.cues.tags)
    for number in range(first, found.pool.n):
        brief = found.pool.brief(number)
        if not tags & found.layers[brief[2]][1].applies.get(brief[3], tags):
            found.pool.set_reason(number, REASON["applicability"])


def _mark_facts(found: Gathered, first: int) -> None:
    """Let the narrower layer's fact win over the same key of a wider one; close sections the purpose does not show."""
    pool, question = found.pool, found.question
    closed = [ARRAY[name] for name in ("facts", "preferences") if not _is_open(question, name)]
    if len(found.layers) == 1 and not closed:
        return
    for number in range(first, pool.n):
        _, array, layer, doc, *_ = pool.brief(number)
        key = found.layers[layer][1].keys[doc]
        if array in closed:
            pool.set_reason(number, REASON["not_for_purpose"])
        elif any(_holds(index, key, question.now_ms) for _, index in found.layers[:layer]):
            pool.set_reason(number, REASON["shadowed"])


def _holds(index: OwnerIndex, key: str, now_ms: int) -> bool:
    """Tell whether a layer has a fact of this key that is valid now."""
    about = [index.table.about(doc) for doc in index.current.get(key, ())]
    return any(start <= now_ms <= end for *_, start, end, _ in about)


def _collect_conflicts(found: Gathered) -> None:
    """Note the disputed facts among the candidates."""
    if not any(index.disputed for _, index in found.layers):
        return
    disputed: dict[str, list[str]] = {}
    for number in range(found.pool.n):
        kind, _, layer, doc, *_ = found.pool.brief(number)
        if kind == KIND["fact"] and doc in (index := found.layers[layer][1]).disputed:
            disputed.setdefault(index.keys[doc], []).append(f"{index.ids[doc]}#{index.versions[doc]}")
    found.conflicts = [{"fact_key": key, "ids": sorted(ids)} for key, ids in sorted(disputed.items())]


def _exclude(found: Gathered, first: int, exclude: Taken) -> None:
    for number in range(first, found.pool.n):
        kind, _, layer, _, seq, *_ = found.pool.brief(number)
        if (KINDS[kind], found.layers[layer][0], seq) in exclude:
            found.pool.set_reason(number, REASON["in_stable_part"])


def _window(found: Gathered, reads: Reads) -> set[int]:
    """Add the newest turns of the session, if the policy wants them, and return their document numbers."""
    most = turns_wanted(found.question)
    if not most:
        return set()
    index = found.layers[0][1]
    units = index.turns(found.question.scope.session_id, most)
    lines = index.turn_lines([doc for unit in units for doc in unit], reads)
    for at, unit in enumerate(units):
        turns = [_add_part(found, Part("turn", "conversation_window", "conversation_window", index.ids[doc],
                                       [("full", _turn(lines[doc]))], at, ""))
                 for doc in unit if doc in lines]
        if len(turns) > 1:
            found.forms[turns[0]] = [("full", ",\n".join(found.lines[one] for one in turns))]
            join(found, turns[0], turns)
    return {doc for unit in units for doc in unit}


def turns_wanted(question: Question) -> int:
    """Return how many of the newest turns the policy wants."""
    policy = question.policy
    shown = policy.include_conversation_window and _is_open(question, "conversation_window")
    return policy.conversation_window if shown else 0


def _turn(line: str) -> str:
    quote = json.loads(line)
    turn = {"role": quote["role"], "content": quote["quote"], "evidence_id": quote["evidence_id"], "ts": quote["ts"]}
    return dump_json({**turn, **({"name": quote["name"]} if "name" in quote else {})})
