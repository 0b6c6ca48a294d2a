"""Excerpts: the run of a long text's sentences that says most about a question's terms. Driven by lines and search.

What does not depend on the question (the sentences, their tokens, which words stand where) is worked out once for a
text and remembered, so that a long turn that is a candidate for many questions costs each of them little.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from itertools import accumulate
from operator import or_
from threading import Lock

from engram_core.recall.sentences import CJK, UNSPACED, pieces

MARK = "…"
MOST_TOKENS = 200  # what a text that can be cut is taken to cost at most when a budget is filled
QUOTE_TOKENS = 64  # a quote below this says too little to stand for its turn
_REMEMBERED_CHARS = 1 << 20

Count = Callable[[str], int]
Run = tuple[int, int]

_WORD = re.compile(r"[^\W_]+")
_NO_SPACES = re.compile(f"[{CJK}{UNSPACED}]")


class Measured:
    """A text in pieces: the tokens of each, and in which of them its words stand."""

    def __init__(self, text: str, count: Count) -> None:
        self.parts = pieces(text)
        self.size = count(text)
        self.sizes: list[int] = []
        self._count = count
        self._folded: list[str] = []
        self._words: dict[str, list[int]] = {}
        self._heads: dict[str, set[str]] = {}

    def read(self) -> None:
        """Count the pieces and find their words, which a text that is kept whole does not need."""
        self.sizes = [self._count(part) for part in self.parts]
        self._folded = [part.casefold() for part in self.parts]
        for at, folded in enumerate(self._folded):
            for word in set(_WORD.findall(folded)):
                self._words.setdefault(word, []).append(at)
        for word in self._words:
            self._heads.setdefault(word[:4], set()).add(word)

    def holding(self, terms: Sequence[str]) -> list[int]:
        """Return, for each piece, the terms it holds as the bits of a number, counting inflected words."""
        hits = [0] * len(self.parts)
        for bit, term in enumerate(terms):
            for at in self._with(term) if term else ():
                hits[at] |= 1 << bit
        return hits

    def _with(self, term: str) -> Iterator[int]:
        """Yield the pieces that have the term, or a word that differs from it only in its ending."""
        if _NO_SPACES.search(term) or not _WORD.fullmatch(term):
            yield from (at for at, folded in enumerate(self._folded) if term in folded)
            return
        words = {term}
        if len(term) >= 4:
            words |= {term[:-1], term[:-2]} if len(term) > 4 else {term[:-1]}
            stem = term if len(term) < 6 else term[: max(5, len(term) - 3)]
            words |= {word for word in self._heads.get(term[:4], ())
                      if word.startswith(stem) and len(word) <= len(term) + 3}
        for word in words:
            yield from self._words.get(word, ())


_measured: OrderedDict[tuple[str, Count], Measured] = OrderedDict()
_chars = 0
_remembering = Lock()  # several engines of one process may be asked at once


def measured(text: str, count: Count) -> Measured:
    """Return the text in pieces, remembered until a megabyte of other texts was asked for."""
    global _chars
    with _remembering:
        found = _measured.get((text, count))
        if found is not None:
            _measured.move_to_end((text, count))
            return found
    found = Measured(text, count)
    with _remembering:
        if _measured.setdefault((text, count), found) is found:
            _chars += len(text)
        while _chars > _REMEMBERED_CHARS and len(_measured) > 1:
            (old, _), _ = _measured.popitem(last=False)
            _chars -= len(old)
    return found


def quote_sentences(text: str, terms: Sequence[str], room: int, count: Count, *, least: int = QUOTE_TOKENS) -> str:
    """Return the run of sentences that says most about the terms, marked where something was left out.

    The run is about ``least`` tokens long, more when a neighbour holds a further term, less in less room. What has no
    sentences (logs, lists, encoded data) is taken by lines or by words.
    When no sentence with a term fits, the best one is returned although it is longer than the room.
    """
    if not text.strip():
        return ""
    found = measured(text, count)
    parts = found.parts
    if len(parts) == 1 or found.size <= room:
        return text
    if not found.sizes:
        found.read()
    start, end = _best_run(found.sizes, found.holding(terms), room - 2 * count(f" {MARK}"), least)
    before = f"{MARK} " if start else ""
    after = f" {MARK}" if end < len(parts) else ""
    return f"{before}{''.join(parts[start:end]).strip()}{after}"


def _best_run(sizes: list[int], hits: list[int], room: int, least: int) -> Run:
    """Return the run with most terms, most densely, the first of equals, of the wanted length if one fits."""
    floor = min(sum(sizes), least, room)
    best, best_value = (0, 0), (False, False, -1, 0.0)
    counts = [0, *accumulate(hit.bit_count() for hit in hits)]
    for start, end, size in _runs(sizes, floor, room):
        number = counts[end] - counts[start]
        terms = reduce(or_, hits[start:end]).bit_count() if number else 0
        value = (terms > 0, size >= floor, terms, number / max(size, 1))
        if value > best_value:
            best, best_value = (start, end), value
    if best == (0, 0) or (any(hits) and not best_value[0]):
        at = max(range(len(sizes)), key=lambda i: (hits[i].bit_count(), -sizes[i], -i))
        return at, at + 1
    return _widened(best, sizes, hits, room, floor)


def _runs(sizes: list[int], floor: int, room: int) -> Iterator[tuple[int, int, int]]:
    """Yield start, end and size: for every end the shortest run that reaches the floor, or what fits."""
    start = size = 0
    for end, last in enumerate(sizes, 1):
        size += last
        while start < end - 1 and (size > room or size - sizes[start] >= floor):
            size -= sizes[start]
            start += 1
        if size <= room:
            yield start, end, size


def _widened(run: Run, sizes: list[int], hits: list[int], room: int, floor: int) -> Run:
    """Take neighbours in until the run is long enough, and then those that bring a further term, while they fit."""
    start, end = run
    size, held = sum(sizes[start:end]), reduce(or_, hits[start:end], 0)
    while True:
        short = size < floor
        if end < len(sizes) and (short or hits[end] & ~held) and size + sizes[end] <= room:
            held, size, end = held | hits[end], size + sizes[end], end + 1
        elif start and (short or hits[start - 1] & ~held) and size + sizes[start - 1] <= room:
            held, size, start = held | hits[start - 1], size + sizes[start - 1], start - 1
        else:
            return start, end
