"""Select memories the slow, obvious way. Driven by test_table.py, which holds the compiled table equal to it."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field
from typing import Any

NEVER, ALWAYS = -(1 << 62), 1 << 62


@dataclass
class Memory:
    """Everything a table is told about a memory."""

    kind: int
    seq: int
    ts: int
    status: int
    importance: float
    start: int = NEVER
    end: int = ALWAYS
    group: int = -1
    pinned: bool = False
    cues: list[int] = field(default_factory=list)
    uses: int = 0
    alive: bool = True

    def __post_init__(self) -> None:
        self.importance = array("f", [self.importance])[0]  # kept with four bytes

    @property
    def ended(self) -> int:
        return self.start if self.end == ALWAYS else self.end


@dataclass
class Asked:
    """What a selection is asked for."""

    kind: int
    k: int
    now: int
    weights: tuple[float, float, float, float, float, float]
    half_life: float
    layer: float
    relevance: dict[int, float] | None = None
    cues: list[int] = field(default_factory=list)
    ncues: int = 0
    range_: tuple[int, int] | None = None
    groups: set[int] | None = None
    subset: list[int] | None = None
    moments: bool = False
    oldest: int = NEVER
    whole: bool = False


class ReferenceTable:
    """Memories by document number."""

    def __init__(self) -> None:
        self.memories: list[Memory] = []

    def select(self, asked: Asked) -> dict[str, Any]:
        docs = range(len(self.memories)) if asked.subset is None else asked.subset
        there = [doc for doc in docs if self.memories[doc].alive and self.memories[doc].kind == asked.kind]
        filtered: dict[int | str, int] = {}
        left = []
        for doc in there:
            why = self.excluded(doc, asked)
            if why:
                filtered[why] = filtered.get(why, 0) + 1
            else:
                left.append(doc)
        left.sort(key=lambda doc: -self.memories[doc].seq)
        if asked.relevance is None and not asked.ncues and not asked.whole:
            left = left[: asked.k] + [doc for doc in left[asked.k :] if self.memories[doc].pinned]
        signals = {doc: self.signals(doc, asked) for doc in left}
        scores = {doc: self.score(signals[doc], asked) for doc in left}
        left.sort(key=lambda doc: (self.memories[doc].pinned, scores[doc], self.memories[doc].seq), reverse=True)
        del left[asked.k :]
        return {
            "docs": left,
            "scores": [scores[doc] for doc in left],
            "signals": [signals[doc] for doc in left],
            "filtered": filtered,
            "total": len(there),
            "not_ranked": len(there) - len(left) - sum(filtered.values()),
        }

    def excluded(self, doc: int, asked: Asked) -> int | str:
        one = self.memories[doc]
        if one.status:
            return one.status
        if not asked.moments and not one.start <= asked.now <= one.end:
            return "validity"
        if asked.moments and asked.oldest != NEVER and one.ended < asked.oldest:
            return "time_window"
        return "task_type" if asked.groups is not None and one.group not in asked.groups else 0

    def signals(self, doc: int, asked: Asked) -> tuple[float, float, float, float, float, float]:
        one = self.memories[doc]
        raw = max(0.0, (asked.relevance or {}).get(doc, 0.0))
        recency = 1.0 if one.ts >= asked.now else math.exp2((one.ts - asked.now) / asked.half_life)
        hits = len(set(one.cues) & set(asked.cues))
        if asked.range_ is not None:
            first, last = one.ts, one.ts
            if one.start != NEVER:
                first, last = one.start, one.ended if asked.moments else one.end
            hits += first <= asked.range_[1] and last >= asked.range_[0]
        cue = min(hits, asked.ncues) / asked.ncues if asked.ncues else 0.0
        return (raw / (1.0 + raw), recency, one.importance, cue, asked.layer, one.uses / (one.uses + 5))

    def score(self, signals: tuple[float, ...], asked: Asked) -> float:
        total = 0.0
        for weight, value in zip(asked.weights, signals, strict=True):
            total += weight * value
        return total
