"""Hold the compiled selection equal to the plain reference, through every kind of change to the table."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from engram_core.kernel.index import TextIndex
from engram_core.kernel.table import ALWAYS, NEVER, SIGNALS, Table
from tests.kernel.reference_table import Asked, Memory, ReferenceTable

WORDS = ("ana", "fox", "tram", "lisbon")
NOW = 1_000_000
WEIGHTS = st.one_of(st.just(0.0), st.sampled_from([0.25, 0.5, 1.0]), st.floats(0, 3))


class Pair:
    """A table and its reference with a text index beside them, changed together."""

    def __init__(self) -> None:
        self.table, self.reference, self.text = Table(), ReferenceTable(), TextIndex()
        self.seqs: list[int] = []

    def add(self, memory: Memory, words: list[str]) -> None:
        number = self.table.add(
            memory.kind,
            seq=memory.seq,
            ts=memory.ts,
            status=memory.status,
            importance=memory.importance,
            start=memory.start,
            end=memory.end,
            group=memory.group,
            pinned=memory.pinned,
            uses=memory.uses,
            cues=memory.cues,
            costs=[(3, 2)],
        )
        assert number == len(self.reference.memories) == self.text.add(" ".join(words), dialogue=False)
        self.reference.memories.append(memory)

    def remove(self, doc: int) -> None:
        self.table.remove(doc)
        self.text.remove(doc)
        self.reference.memories[doc].alive = False

    def pin(self, doc: int, pinned: bool) -> None:
        self.table.set_pinned(doc, pinned)
        self.reference.memories[doc].pinned = pinned

    def alive(self) -> list[int]:
        return [doc for doc, one in enumerate(self.reference.memories) if one.alive]


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    """A table after adding, changing (removed and added again under the old seq), pinning and removing."""
    pair = Pair()
    for seq in range(1, draw(st.integers(0, 25)) + 1):
        pair.add(draw(memory(seq)), draw(st.lists(st.sampled_from(WORDS), max_size=3)))
        for doc in pair.alive()[-1:] if draw(st.integers(0, 3)) == 0 else []:
            old = pair.reference.memories[draw(st.sampled_from(pair.alive()))] if draw(st.booleans()) else None
            if draw(st.booleans()):
                pair.pin(doc, draw(st.booleans()))
            if old is not None:
                changed = pair.reference.memories.index(old)
                pair.remove(changed)
                if draw(st.integers(0, 2)):
                    again = draw(memory(old.seq))
                    pair.add(again, draw(st.lists(st.sampled_from(WORDS), max_size=3)))
    return pair


@st.composite
def memory(draw: st.DrawFn, seq: int) -> Memory:
    start, end = NEVER, ALWAYS
    if draw(st.integers(0, 2)) == 0:
        start = NOW + draw(st.integers(-50, 20))
        end = start + draw(st.integers(0, 60)) if draw(st.booleans()) else ALWAYS
    elif draw(st.integers(0, 4)) == 0:
        end = NOW + draw(st.integers(-20, 20))
    return Memory(
        kind=draw(st.integers(0, 1)),
        seq=seq,
        ts=NOW - draw(st.integers(-10, 100)),
        status=draw(st.sampled_from([0, 0, 0, 1, 2])),
        importance=draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
        start=start,
        end=end,
        group=draw(st.integers(-1, 2)),
        pinned=draw(st.integers(0, 7)) == 0,
        uses=draw(st.integers(0, 3)),
        cues=draw(st.lists(st.integers(0, 3), max_size=4)),
    )


@st.composite
def questions(draw: st.DrawFn, pair: Pair) -> tuple[Asked, Any]:
    cues = draw(st.lists(st.integers(0, 4), max_size=3, unique=True)) if draw(st.booleans()) else []
    range_ = None
    if draw(st.integers(0, 2)) == 0:
        first = NOW + draw(st.integers(-100, 10))
        range_ = (first, first + draw(st.integers(0, 60)))
    asked = Asked(
        kind=draw(st.integers(0, 1)),
        k=draw(st.integers(1, 8)),
        now=NOW,
        weights=(draw(WEIGHTS), draw(WEIGHTS), draw(WEIGHTS), draw(WEIGHTS), draw(WEIGHTS), draw(WEIGHTS)),
        half_life=draw(st.sampled_from([1.0, 30.0, 1000.0])),
        layer=draw(st.sampled_from([1.0, 0.5, 0.25])),
        cues=cues,
        ncues=len(cues) + (range_ is not None),
        range_=range_,
        moments=draw(st.booleans()),
        whole=draw(st.booleans()),
    )
    if draw(st.integers(0, 3)) == 0:
        asked.groups = draw(st.sets(st.integers(-1, 2)))
    if draw(st.integers(0, 3)) == 0:
        asked.oldest = NOW - draw(st.integers(0, 50))
    if draw(st.integers(0, 3)) == 0 and pair.reference.memories:
        asked.subset = draw(st.lists(st.integers(0, len(pair.reference.memories) - 1), unique=True))
    scores = None
    if draw(st.booleans()):
        scores = pair.text.query(" ".join(draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=2))))
        asked.relevance = dict(enumerate(scores.raw()))
    return asked, scores


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), pairs())
def test_selection_equals_the_reference(data: st.DataObject, pair: Pair) -> None:
    asked, scores = data.draw(questions(pair))
    extra = {} if asked.oldest == NEVER else {"oldest": asked.oldest}
    found = pair.table.select(
        asked.kind,
        asked.k,
        now=asked.now,
        weights=asked.weights,
        half_life=asked.half_life,
        layer=asked.layer,
        scores=scores,
        cues=asked.cues,
        ncues=asked.ncues,
        range_=asked.range_,
        groups=asked.groups,
        subset=asked.subset,
        moments=asked.moments,
        whole=asked.whole,
        **extra,
    )
    wanted = pair.reference.select(asked)
    assert found.filtered == wanted["filtered"]
    assert (found.total, found.not_ranked) == (wanted["total"], wanted["not_ranked"])
    assert found.scores == pytest.approx(wanted["scores"], abs=1e-12)
    assume(
        len({round(score, 9) for score in wanted["scores"]}) == len(wanted["scores"])
        or found.scores == wanted["scores"]
    )
    assert found.docs == wanted["docs"]
    for values, expected in zip(found.signals, wanted["signals"], strict=True):
        assert values == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(pairs())
def test_what_is_counted_is_what_is_there(pair: Pair) -> None:
    for kind in (0, 1):
        there = [one for one in pair.reference.memories if one.alive and one.kind == kind]
        counts = pair.table.status_counts(kind)
        assert sum(counts) == len(there)
        assert [sum(one.status == status for one in there) for status in range(8)] == counts
    assert pair.table.live == len(pair.alive())
    assert pair.table.size == len(pair.reference.memories)
    for doc, one in enumerate(pair.reference.memories):
        assert pair.table.alive(doc) is one.alive
        if one.alive:
            assert pair.table.about(doc)[:5] == (one.kind, one.seq, one.ts, one.status, one.pinned)
            assert pair.table.costs(doc) == [(3, 2)]
    assert pair.table.nbytes > 0 or not pair.reference.memories


def filled(count: int, **more: Any) -> Table:
    table = Table()
    for seq in range(1, count + 1):
        table.add(0, seq=seq, ts=NOW, status=0, importance=0.5, **more)
    return table


def chosen(table: Table, k: int, **more: Any) -> list[int]:
    return list(table.select(0, k, now=NOW, weights=(1, 0.5, 0.5, 0.5, 0, 0), half_life=10.0, layer=1.0, **more).docs)


def test_of_equal_memories_the_newer_come_first() -> None:
    assert chosen(filled(10), 3) == [9, 8, 7]
    assert chosen(filled(10), 3, whole=True) == [9, 8, 7]


def test_a_changed_memory_keeps_its_place_in_time() -> None:
    table = filled(5)
    table.remove(1)
    table.add(0, seq=2, ts=NOW, status=0, importance=0.5)
    assert chosen(table, 2) == [4, 3]
    assert chosen(table, 5) == [4, 3, 2, 5, 0]


def test_a_pinned_memory_is_chosen_however_old() -> None:
    table = filled(1000)
    table.set_pinned(3, True)
    assert chosen(table, 3) == [3, 999, 998]
    table.set_pinned(3, False)
    assert chosen(table, 3) == [999, 998, 997]


def test_a_cue_named_twice_counts_once() -> None:
    table = Table()
    table.add(0, seq=1, ts=NOW, status=0, importance=0, cues=[7, 7])
    found = table.select(0, 1, now=NOW, weights=(0, 0, 0, 1, 0, 0), half_life=1.0, layer=1.0, cues=[7, 8], ncues=2)
    assert found.signals[0][SIGNALS.index("cues")] == 0.5


@pytest.mark.parametrize("number", [-1, 3, 10**9])
def test_a_number_that_is_no_memory_is_refused(number: int) -> None:
    table = filled(3)
    for use in (table.remove, table.costs, table.about):
        with pytest.raises(ValueError, match="no memory has the number"):
            use(number)
    assert not table.alive(number)


def test_nothing_is_asked_for() -> None:
    with pytest.raises(ValueError, match="k is 0"):
        chosen(filled(3), 0)


def test_importance_is_kept_with_four_bytes() -> None:
    table = Table()
    table.add(0, seq=1, ts=NOW, status=0, importance=0.1)
    assert math.isclose(table.about(0)[9], 0.1, rel_tol=1e-6)
