"""The packets built since the last quiet moment, waiting to be written with their explanations. Driven by the engine.

They are written after their replies, outside revisions, and may be lost in a crash. Only the newest of each run are
kept, in memory as on disk.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from engram_core.store.packed import pack
from engram_core.store.reads import NEWEST_BUILD
from engram_core.store.tables import BUILDS, CHANGES
from engram_core.values import dump_json

if TYPE_CHECKING:
    from engram_core.recall.compose import Composed
    from engram_core.scope import Scope
    from engram_core.store.store import Store
    from engram_core.store.transaction import Owner, Transaction

SLICE = 2
"""Builds written in one go, so that a packet asked for meanwhile never waits long."""


class Builds:
    """The waiting builds. ``add`` and ``find`` are called by reads, ``flush`` by the writer."""

    def __init__(self, store: Store, keep: int, recalled: Callable[[Owner, str, list[int]], None]) -> None:
        self._store, self.keep, self._recalled = store, keep, recalled
        self._waiting: dict[Scope, deque[_Waiting]] = {}
        self._last = 0
        self._lock = threading.Lock()

    def add(self, packet: Composed) -> None:
        """Remember a packet; the oldest of its run beyond the limit is let go."""
        seen = {index.owner: index.revision for _, index in packet.found.layers}
        with self._lock:
            self._last = max(self._last + 1, time.time_ns() // 1_000_000)  # the order of building, whatever the clock
            queue = self._waiting.setdefault(packet.found.question.scope, deque())
            queue.append(_Waiting(packet, self._last, seen))
            while len(queue) > self.keep:
                queue.popleft()

    def find(self, scope: Scope, build_id: str | None) -> Composed | None:
        """Return the waiting build of the run, its newest one without an id."""
        with self._lock:
            queue = self._waiting.get(scope, ())
            return next((one.packet for one in reversed(queue) if build_id in (None, one.packet.build_id)), None)

    def drop(self, tenant: str) -> int:
        """Forget the tenant's waiting builds, because something in them is being forgotten."""
        with self._lock:
            gone = [scope for scope in self._waiting if scope.tenant_id == tenant]
            return sum(len(self._waiting.pop(scope)) for scope in gone)

    def flush(self) -> bool:
        """Write a few waiting builds and return whether there are more.

        Runs beside reads: a build's candidates, lines and scores do not change any more, and each look into an index
        is one call of the kernel.
        """
        with self._lock:
            taken = [one for queue in self._waiting.values() for one in list(queue)[:SLICE]][:SLICE]
        if not taken:
            return False
        from engram_core.recall.account import explanation  # late, as is the next: no start-up waits for recall

        operations = []
        for one in taken:
            account = dump_json(explanation(one.packet, self._store.writer_reads), "explanation")
            operations.append(self._operation(one, account))
        self._store.group(operations, time.time_ns() // 1_000_000)
        for one in taken:
            for (kind, owner), seqs in _recalled(one.packet).items():
                self._recalled(owner, kind, seqs)
        with self._lock:
            for one in taken:
                scope = one.packet.found.question.scope
                queue = self._waiting.get(scope)
                if queue is not None and one in queue:
                    queue.remove(one)
                    if not queue:
                        del self._waiting[scope]
            return bool(self._waiting)

    def _operation(self, one: _Waiting, account: str) -> Callable[[Transaction], None]:
        packet = one.packet
        text = packet.json().replace("\n", "")

        def run(tx: Transaction) -> None:
            for owner, revision in one.seen.items():
                tx.hold_still(owner)
                if tx.select(CHANGES, owner, ("revision",), limit=1, seen=revision,
                             where="revision > {seen} AND op='forget'"):
                    return  # it may hold what was forgotten since
            store_build(tx, packet.found.question.scope, packet.build_id, text, account, self.keep, at=one.at,
                        recalled=_recalled(packet))
        return run


class _Waiting(NamedTuple):
    """A build with the time of its making and the revisions it was made from."""

    packet: Composed
    at: int
    seen: dict[Owner, int]


def _recalled(packet: Composed) -> dict[tuple[str, Owner], list[int]]:
    from engram_core.recall.index import KINDS

    found: dict[tuple[str, Owner], list[int]] = {}
    for number in packet.kept:
        kind, _, layer, doc, seq, _ = packet.found.pool.brief(number)
        if doc >= 0:
            found.setdefault((KINDS[kind], packet.found.layers[layer][1].owner), []).append(seq)
    return found


def store_build(tx: Transaction, scope: Scope, build_id: str, packet: str, account: str, keep: int, *, at: int,
                recalled: dict[tuple[str, Owner], list[int]]) -> None:
    """Write a build, drop the run's oldest beyond ``keep``, and count the recalls."""
    tx.upsert(BUILDS, scope, {"build_id": build_id, "packet": pack(packet), "explanation": pack(account),
                               "at": at})
    old = tx.select(BUILDS, scope, ("at", "build_id"), level="run", order=NEWEST_BUILD, limit=keep + 1)
    if len(old) > keep:
        tx.delete(BUILDS, scope, level="run", where="at < {at} OR build_id={gone}", at=old[keep][0],
                  gone=old[keep][1])
    for (kind, owner), seqs in recalled.items():
        tx.recalled(kind, owner, seqs)
