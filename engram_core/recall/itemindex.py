"""The index of an owner's items: their order, their namespaces and the words they are found by. Driven by the handlers.

Brought up to date by revision before each search. An item that is gone is taken out when its row is not found, so a
search reads on until it has what was asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from heapq import nlargest
from itertools import islice
from typing import TYPE_CHECKING, Any

from engram_core.kernel.index import TextIndex
from engram_core.recall import timex
from engram_core.store import items
from engram_core.values import day_of

if TYPE_CHECKING:
    from engram_core.store.items import Stored
    from engram_core.store.reads import Reads
    from engram_core.store.transaction import Owner

OPEN = 16
"""Owners whose items are indexed at once."""
_CHUNK = 64
Found = tuple[tuple[str, ...], "Stored", float | None]
"""A namespace, an item in it, and its score where there was a query."""


class ItemIndex:
    """The items of one owner."""

    def __init__(self, owner: Owner, language: str) -> None:
        self.owner = owner
        self._text = TextIndex(language)
        self._seq = -1
        self._docs: dict[tuple[str, str], int] = {}  # oldest first
        self._seqs: list[int] = []
        self._keys: list[tuple[str, str] | None] = []
        self._paths: dict[str, tuple[str, ...]] = {}

    def refresh(self, reads: Reads) -> None:
        """Take in what was written since."""
        rows = items.newer(reads, self.owner, self._seq)
        if any(row[0] not in self._paths for row in rows):
            self._paths = items.paths(reads, self.owner)
        for place, item, seq, words, updated_at in rows:
            self._remove((place, item))
            self._docs[place, item] = len(self._keys)
            self._keys.append((place, item))
            self._seqs.append(seq)
            self._text.add(words or "", dialogue=False, ts_ms=updated_at,
                           intervals=timex.resolve(words[:2000], day_of(updated_at)) if words else [])
            self._seq = seq

    def search(self, reads: Reads, prefix: tuple[str, ...], query: str, matches: Callable[[Any], bool] | None,
               now_ms: int, weights: dict[str, float] | None, likely: int) -> Iterator[Found]:
        """Yield the items of a namespace and below, best first by a query, without one newest first.

        So many are ``likely`` wanted, and read at once.
        """
        likely = min(likely or _CHUNK, _CHUNK)
        ranked = self._ranked(prefix, query, now_ms, weights, likely)
        while part := list(islice(ranked, likely)):
            likely = _CHUNK
            rows = items.by_seq(reads, self.owner, [self._seqs[doc] for doc, _ in part], now_ms)
            for doc, score in part:
                key, stored = self._keys[doc], rows.get(self._seqs[doc])
                if key is None:
                    continue
                if stored is None:
                    self._remove(key)
                elif matches is None or matches(stored.value):
                    yield self._paths[key[0]], stored, score

    def _ranked(self, prefix: tuple[str, ...], query: str, now_ms: int,
                weights: dict[str, float] | None, likely: int) -> Iterator[tuple[int, float | None]]:
        depth = len(prefix)
        within = {place for place, path in self._paths.items() if path[:depth] == prefix}
        if not query:
            yield from [(doc, None) for key, doc in reversed(self._docs.items()) if key[0] in within]
            return
        scores = self._text.query(query, weights=weights, intervals=timex.resolve(query, day_of(now_ms)))
        raw = list(scores.raw())
        found = [doc for doc, part in enumerate(raw) if part > 0]
        if len(within) < len(self._paths):
            found = [doc for doc in found if (key := self._keys[doc]) and key[0] in within]
        best = nlargest(likely, found, key=raw.__getitem__)  # most searches want no more
        yield from ((doc, raw[doc]) for doc in best)
        found.sort(key=raw.__getitem__, reverse=True)
        yield from ((doc, raw[doc]) for doc in found[len(best):])

    def _remove(self, key: tuple[str, str]) -> None:
        doc = self._docs.pop(key, None)
        if doc is not None:
            self._text.remove(doc)
            self._keys[doc] = None

    @property
    def worn(self) -> bool:
        """Tell whether more was taken out than is in."""
        return len(self._keys) > 1000 and len(self._keys) > 2 * len(self._docs)


class ItemIndexes:
    """The open indexes, the least recently used dropped."""

    def __init__(self, language: str) -> None:
        self._language = language
        self._open: OrderedDict[Owner, ItemIndex] = OrderedDict()

    def get(self, owner: Owner, reads: Reads) -> ItemIndex:
        """Return the index of an owner, fresh as of now."""
        index = self._open.pop(owner, None)
        if index is None or index.worn:
            index = ItemIndex(owner, self._language)
        index.refresh(reads)
        self._open[owner] = index
        while len(self._open) > OPEN:
            self._open.popitem(last=False)
        return index
