"""The open recall indexes of a database, each brought up to date before it is used. Driven by gather and search."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from engram_core.recall.index import OwnerIndex
from engram_core.scope import SCOPE_LEVELS

if TYPE_CHECKING:
    from engram_core.recall.embedding import Embedding
    from engram_core.scope import Scope
    from engram_core.store.reads import Reads
    from engram_core.store.transaction import Owner
    from engram_core.tokens import Tokenizer

_DEAD = 4096  # documents taken out of an index before it is worth making anew


class Meaning(NamedTuple):
    """What an embedding model says of a question: its vector, or why that is absent."""

    model: str
    vector: bytes | None
    absent: str


class IndexCache:
    """The open indexes of a database, the least recently used dropped when they hold more than ``limit`` bytes."""

    def __init__(self, tokenizer: Callable[[], Tokenizer], language: str, limit: int,
                 embedding: Embedding | None = None) -> None:
        self.embedding = embedding
        self._model = ""
        self._open: OrderedDict[Owner, OwnerIndex] = OrderedDict()
        self._tokenizer = tokenizer
        self._language = language
        self._limit = limit
        self._sizes: dict[Owner, int] = {}
        self._last: tuple[int, Owner | None, list[tuple[str, OwnerIndex]]] = (-1, None, [])
        self.nbytes = 0

    def layers(self, scope: Scope, reads: Reads, turns: int = 0) -> list[tuple[str, OwnerIndex]]:
        """Return the indexes of the scope's layers, fresh as of now: the user's, and wider ones that hold anything.

        ``turns`` of the session will be wanted too.
        """
        if self.embedding is not None and self._model != self.embedding.model_id:
            self._model = self.embedding.model_id  # it was loaded just now: from here on the indexes have vectors
            for one in list(self._open):
                self.drop(one)
        stamp, owner = reads.stamp(), scope.owner
        if stamp < 0 or self._last[:2] != (stamp, owner):
            if reads.far:
                from engram_core.recall import ahead  # late: it looks into indexes, and few have a far database

                ahead.ask_news([self._known(scope.layer(level)) for level in SCOPE_LEVELS], scope, turns, reads, stamp)
            found = [(level, self.get(scope.layer(level), reads, stamp)) for level in SCOPE_LEVELS]
            found = [(level, index) for level, index in found if level == "user" or index.table.live]
            self._last = (stamp, owner, found)
        return self._last[2]

    def get(self, owner: Owner, reads: Reads, stamp: int) -> OwnerIndex:
        """Return the owner's index, fresh as of the reads' stamp."""
        index = self._known(owner)
        before = index.revision
        index.refresh(reads, stamp)
        if index.dead > max(_DEAD, int(index.table.live)):  # it would hold ever more of what was forgotten
            index = self._new(owner)
            index.refresh(reads, stamp)
        self._open[owner] = index
        self._open.move_to_end(owner)
        if index.revision != before:
            size = index.nbytes
            self.nbytes += size - self._sizes.get(owner, 0)
            self._sizes[owner] = size
            self._shrink()
        return index

    def _known(self, owner: Owner) -> OwnerIndex:
        return self._open.get(owner) or self._new(owner)

    def _new(self, owner: Owner) -> OwnerIndex:
        return OwnerIndex(owner, self._tokenizer(), self._language, self._model)

    def meaning(self, text: str, weights: Mapping[str, float]) -> Meaning | None:
        """Return a question's vector, or why there is none; None where no model is asked or it weighs nothing."""
        if self.embedding is None or not weights.get("meaning") or not text:
            return None
        vector, absent = self.embedding.question(text)
        if vector is not None and self._model != self.embedding.model_id:
            vector, absent = None, "the model was loaded just now"
        return Meaning(self.embedding.model_id or self.embedding.name, vector, absent)

    def take_unembedded(self, most: int) -> tuple[OwnerIndex, dict[int, tuple[str, int, str]]] | None:
        """Return an open index and some of its texts that have no vector, by document; None when there are none."""
        for index in list(self._open.values()):
            if index.unembedded:
                docs = list(index.unembedded)[:most]
                return index, {doc: index.unembedded.pop(doc) for doc in docs}
        return None

    def _shrink(self) -> None:
        """Drop indexes until the rest fits the limit; the last used one stays."""
        while len(self._open) > 1 and self.nbytes > self._limit:
            self.drop(next(iter(self._open)))

    def take_counted(self, most: int) -> tuple[Owner, int, list[tuple[str, int, str]]] | None:
        """Return some counts that were made for an owner and the revision they hold for, None when there are none."""
        for owner, index in list(self._open.items()):
            if index.counted:
                taken, index.counted = index.counted[:most], index.counted[most:]
                return owner, index.revision, taken
        return None

    def recalled(self, owner: Owner, kind: str, seqs: list[int]) -> None:
        """Count recalls that were stored; those of other processes are known from when an index is opened."""
        index = self._open.get(owner)
        if index is not None:
            for doc in [found for seq in seqs if (found := index.doc(kind, seq)) is not None]:
                index.table.used(doc)

    def is_warm(self, owner: Owner, most: int) -> bool:
        """Tell whether the owner's index is open and holds at most so many memories."""
        index = self._open.get(owner)
        return index is not None and bool(index.table.live <= most)

    def drop(self, owner: Owner) -> None:
        """Forget the owner's index; it opens again at its next use."""
        if self._open.pop(owner, None) is not None:
            self.nbytes -= self._sizes.pop(owner, 0)
            self._last = (-1, None, [])

    def facts(self) -> dict[str, int]:
        """Return how many owners and memories are indexed and the bytes held."""
        return {"owners": len(self._open), "memories": sum(int(one.table.live) for one in self._open.values()),
                "bytes": self.nbytes}
