"""Build a packet: from a checked request to composed lines and their explanation. Driven by the daemon's handlers.

Same store, same request, same ``now``: same bytes.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from engram_core._version import __version__
from engram_core.errors import BadInput
from engram_core.recall import trace
from engram_core.recall.budget import Counter, spend
from engram_core.recall.compose import Composed, compose
from engram_core.recall.gather import Question, Taken, gather
from engram_core.values import check_ms, parse_time

if TYPE_CHECKING:
    from engram_core.packet import PacketRequest
    from engram_core.policy import Policy
    from engram_core.recall.cache import IndexCache
    from engram_core.recall.lines import Known
    from engram_core.scope import Scope
    from engram_core.store.reads import Reads


def moment(value: Any, clock_ms: int, field: str = "request.now") -> int:
    """Return the moment a request is for; the clock's when it names none."""
    if value is None:
        return clock_ms
    return check_ms(field, value) if type(value) is int else parse_time(field, value)


def make_question(scope: Scope, request: PacketRequest, policy: Policy, now_ms: int, canonical: str) -> Question:
    """Join request and policy; raise BadInput when the policy says nothing about the purpose."""
    purpose = policy.purposes.get(request.purpose)
    if purpose is None:
        raise BadInput(f"policy {request.policy_id!r} has no purpose {request.purpose!r}",
                       hint=f"known are {', '.join(policy.purposes)}")
    words = " ".join(part for part in (request.query or "", *request.cues.keywords) if part).strip()
    span = None
    if request.cues.time_range is not None:
        start, end = request.cues.time_range.bounds()
        span = (-(1 << 62) if start is None else start, 1 << 62 if end is None else end)
    room = request.budget.max_tokens or None
    return Question(scope, request, policy, purpose, now_ms, words, bool(words), span, canonical, room)


def build_packet(question: Question, reads: Reads, cache: IndexCache, counter: Counter, *,
                 exclude: Taken | None = None, known: Known | None = None, last: bool = False,
                 ) -> Composed:
    """Gather, spend and compose; what is excluded is in the stable part already.

    ``known`` is what was read beforehand for the same candidates. ``last`` says that nothing else is read afterwards in
    the same state of the store.
    """
    found = gather(question, reads, cache, exclude)
    if known is not None:
        found.lines.update(known.lines)
    spent = spend(found, counter, reads)
    revisions = [(level, one.revision) for level, one in found.layers]
    packet = compose(found, spent, reads, _build_id(question, revisions, counter), known=known, last=last)
    log = trace.listener()
    if log is not None:
        trace.tell(log, packet, reads)
    return packet


def _build_id(question: Question, revisions: list[tuple[str, int]], counter: Counter) -> str:
    text = "\x00".join((*question.scope, question.canonical, str(revisions), question.policy.digest,
                        str(question.now_ms), str(question.room), counter.tokenizer.name, counter.form, question.part,
                        __version__))
    return "b_" + hashlib.blake2b(text.encode(), digest_size=10).hexdigest()
