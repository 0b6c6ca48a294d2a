"""The stable and the volatile part of a prompt, and the limit in characters. Driven by the daemon's handlers.

The stable part (preferences, facts, procedures by id) is chosen without query, cues or anything the clock moves, in
its own share of the budget, so that a provider's prompt cache keeps hitting; the volatile part is all the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engram_core import layout
from engram_core.packet import Cues
from engram_core.policy import Section, Weights
from engram_core.recall.build import build_packet
from engram_core.recall.gather import Question

if TYPE_CHECKING:
    from engram_core.recall.budget import Counter
    from engram_core.recall.compose import Composed
    from engram_core.recall.index import IndexCache
    from engram_core.store.reads import Reads

_STILL = Weights(relevance=0, recency=0, importance=1, cues=0, layer=0.05)


def build_part(question: Question, part: str, reads: Reads, cache: IndexCache, counter: Counter, *,
               most_chars: int | None = None) -> Composed:
    """Build the wanted part, with less of the budget when it would have more characters than allowed."""
    budget = question.request.budget.max_tokens
    packet = _build(question, part, reads, cache, counter, budget)
    while most_chars is not None and (size := _chars(packet, counter)) > most_chars:
        spent = packet.used
        if spent <= counter.skeleton:
            break
        budget = max(counter.skeleton, min(spent - 1, spent * most_chars // size))
        packet = _build(question, part, reads, cache, counter, budget)
    return packet


def _chars(packet: Composed, counter: Counter) -> int:
    return len(packet.bare() if counter.form == "json" else packet.text(counter.form))


def _build(question: Question, part: str, reads: Reads, cache: IndexCache, counter: Counter, budget: int) -> Composed:
    if part == "all":
        return build_packet(_with_budget(question, budget), reads, cache, counter)
    still = build_packet(_still(question, budget), reads, cache, counter)
    if part == "stable":
        return still
    left = max(budget - still.used, counter.skeleton) if budget else 0
    taken = frozenset((one.kind, still.found.layers[one.layer][0], one.seq) for one in still.kept)
    return build_packet(_with_budget(question, left), reads, cache, counter, exclude=taken)


def _with_budget(question: Question, tokens: int) -> Question:
    budget = question.request.budget.model_copy(update={"max_tokens": tokens})
    return question._replace(request=question.request.model_copy(update={"budget": budget}))


def _still(question: Question, budget: int) -> Question:
    """Return the question that asks for the stable part: nothing but what is stored decides."""
    policy = question.policy
    shown = {name: rule.model_copy(update={"share": 1.0}) if name in layout.STABLE and rule.show
             else Section(share=0.0, show=False) for name, rule in question.purpose.sections.items()}
    purpose = question.purpose.model_copy(update={
        "sections": shown, "weights": dict.fromkeys(question.purpose.weights, _STILL), "state": []})
    tokens = int(budget * policy.stable_share) if budget else 0
    request = question.request.model_copy(update={"query": None, "cues": Cues()})
    asked = question._replace(request=request, purpose=purpose, text="", asked=False, range=None, still=True)
    return _with_budget(asked, tokens)
