"""Have the texts of open indexes embedded in quiet moments, and store their vectors. Driven by the engine's upkeep."""

from __future__ import annotations

import time
from binascii import b2a_base64
from typing import TYPE_CHECKING

from engram_core.recall.embedding import digest_of

if TYPE_CHECKING:
    import threading

    from engram_core.recall.cache import IndexCache
    from engram_core.recall.embedding import Asked, Embedding
    from engram_core.recall.index import OwnerIndex
    from engram_core.store.store import Store

BATCH = 16
PAUSE_S = 60.0
_WAIT_S = 0.005


class Vectors:
    """Some texts at a time: given to the model, and when it has answered stored and put into their index."""

    def __init__(self, embedding: Embedding, store: Store, reading: threading.RLock) -> None:
        self._embedding, self._store, self._reading = embedding, store, reading
        self._asked: Asked | None = None
        self._index: OwnerIndex | None = None
        self._texts: dict[int, tuple[str, int, str]] = {}
        self._most = BATCH
        self._again = 0.0

    def step(self, cache: IndexCache, now_ms: int) -> bool:
        """Do a little and return whether there is more to do soon."""
        if self._asked is not None and not self._asked.wait(_WAIT_S):
            return True
        # Indexes are changed under this lock only; a read that holds it must not hold up the writes.
        if not self._reading.acquire(blocking=False):
            return True
        try:
            if self._asked is not None:
                asked, self._asked = self._asked, None
                self._finish(asked, now_ms)
            return self._begin(cache)
        finally:
            self._reading.release()

    def _begin(self, cache: IndexCache) -> bool:
        """Give the next texts to the model; tell whether there were any."""
        if not self._embedding.model_id or time.monotonic() < self._again:
            return False
        taken = cache.take_unembedded(self._most)
        if taken is None:
            return False
        self._index, self._texts = taken
        self._asked = self._embedding.ask([text for _, _, text in self._texts.values()])
        return True

    def _finish(self, asked: Asked, now_ms: int) -> None:
        """Store what the model said; texts that it failed on are tried once more one by one, then left."""
        index, texts = self._index, self._texts
        if index is None:
            return
        if asked.problem:
            self._again = time.monotonic() + PAUSE_S
            if len(texts) > 1:
                self._most = 1
                index.unembedded.update(texts)
            return
        self._most = BATCH
        rows = [(kind, seq, digest_of(text), b2a_base64(vector, newline=False).decode())
                for (kind, seq, text), vector in zip(texts.values(), asked.vectors, strict=True)]
        self._store.group([lambda tx: tx.embedded(index.owner, index.model, rows)], now_ms)
        for doc, vector in zip(texts, asked.vectors, strict=True):
            index.embedded(doc, vector)
