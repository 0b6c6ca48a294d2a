"""The stable and the volatile part of a prompt, and the limit in characters. Driven by the daemon's handlers.

The stable part (preferences, facts, procedures by id) is chosen without query, cues or anything the clock moves, in
its own share of the budget, so that a provider's prompt cache keeps hitting; the volatile part is all the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engram_core import layout
from engram_core.errors import BadInput
from engram_core.packet import Cues
from engram_core.policy import Section, Weights
from engram_core.recall.budget import is_indexed, other_form, spend, too_small
from engram_core.recall.build import build_packet
from engram_core.recall.candidates import CANDIDATE_KINDS, KIND, SECTION_OF_ARRAY, SECTIONS
from engram_core.recall.compose import used
from engram_core.recall.gather import Gathered, Question, Taken, gather, turns_wanted
from engram_core.recall.lines import Known, read_all

if TYPE_CHECKING:
    from engram_core.recall.budget import Counter
    from engram_core.recall.cache import IndexCache
    from engram_core.recall.compose import Composed
    from engram_core.store.reads import Reads

_STILL = Weights(relevance=0, recency=0, importance=1, cues=0, layer=0.05)


def build_part(question: Question, part: str, reads: Reads, cache: IndexCache, counter: Counter, *,
               most_chars: int | None = None) -> Composed:
    """Build the wanted part, with less room when it would have more characters than allowed."""
    taken: Taken = {}
    question = question._replace(part=part)
    still = None if part == "all" else _still(question, counter)
    if still is not None and part == "stable":
        question, still = still, None
    known = _read_ahead(question, still, reads, cache, counter, most_chars) if reads.far else None
    if still is not None:
        found = gather(still, reads, cache)
        spent = spend(found, counter, reads)
        taken = _taken(found, spent.kept)
        room = None if question.room is None else question.room - used(found, spent)
        question = question._replace(room=room)
    packet = build_packet(question, reads, cache, counter, exclude=taken, known=known, last=most_chars is None)
    while most_chars is not None and (size := _chars(packet, counter)) > most_chars:
        if packet.used <= counter.skeleton:
            raise BadInput(f"max_chars is {most_chars}; the empty packet alone has {size} characters in {counter.form}",
                           hint=f"give at least {size}" + other_form(counter))
        room = max(counter.skeleton, min(packet.used - 1, packet.used * most_chars // size))
        question = question._replace(room=room)
        packet = build_packet(question, reads, cache, counter, exclude=taken, known=known)
    return packet


def _read_ahead(question: Question, still: Question | None, reads: Reads, cache: IndexCache, counter: Counter,
                most_chars: int | None) -> Known | None:
    """Ask a far database at once for what would take more than three questions: two packets in turn, late news.

    What is excluded later changes neither the candidates nor their numbers, only whether they may be kept.
    """
    layers = cache.layers(question.scope, reads, turns_wanted(question))
    if not reads.late and most_chars is None and (still is None or is_indexed(layers, counter)):
        return None  # a stable part of counted memories is chosen without a look at any line
    return read_all([gather(one, reads, cache) for one in (question, still) if one is not None], reads)


def _chars(packet: Composed, counter: Counter) -> int:
    return len(packet.bare() if counter.form == "json" else packet.text(counter.form))


def _taken(found: Gathered, kept: list[int]) -> Taken:
    taken = {}
    for number in kept:
        kind, array, layer, doc, seq, _ = found.pool.brief(number)
        level, index = found.layers[layer]
        fold = 0 if kind == KIND["fact"] else index.table.about(doc)[5]
        taken[CANDIDATE_KINDS[kind], level, seq] = (SECTIONS[SECTION_OF_ARRAY[array]], fold)
    return taken


def _still(question: Question, counter: Counter) -> Question:
    """Return the question that asks for the stable part; its room is its share of what the skeletons leave."""
    policy = question.policy
    shown = {name: rule.model_copy(update={"share": 1.0}) if name in layout.STABLE and rule.show
             else Section(share=0.0, show=False) for name, rule in question.purpose.sections.items()}
    purpose = question.purpose.model_copy(update={
        "sections": shown, "weights": dict.fromkeys(question.purpose.weights, _STILL), "state": []})
    room = question.room
    if room is not None:
        room -= 2 * counter.skeleton
        if room < 0:
            raise too_small(question.request.budget.max_tokens, counter, 2)
        room = counter.skeleton + int(room * policy.stable_share)
    request = question.request.model_copy(update={"query": None, "cues": Cues()})
    return question._replace(request=request, purpose=purpose, text="", asked=False, range=None, room=room,
                             part="stable")
